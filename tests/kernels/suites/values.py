"""Against the reference: values, gradients, odd sizes, halves, refusals, warm-up."""

import pytest
import torch

from compare import TOLERANCE, assert_close, relative_rms, run
from operations import gradient_for, tensors_of
from suites.suite import Suite


class Values(Suite):
    @pytest.mark.parametrize("channels_last", [False, True])
    def test_matches_reference(self, ops, device, every_kind, channels_last):
        self.compare(ops, self.kind(kind=every_kind, channels_last=channels_last, device=device))

    @pytest.mark.parametrize("channels_last", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_is_no_worse_than_eager(self, ops, device, dtype, channels_last):
        """Against the float32 reference, and beside the same steps rounded to half each."""
        inputs = self.inputs(
            (4, 16, 8, 8), dtype, channels_last=channels_last, device=device, **self.operation.half
        )
        gradient = gradient_for(inputs)
        want = run(self.operation.reference(ops), inputs, gradient, torch.float32)
        ours = run(self.operation.fused(ops), inputs, gradient)
        assert_close(ours, want, TOLERANCE[dtype])
        eager = run(self.operation.eager, inputs, gradient, dtype)
        # The interpreter cuts bfloat16 off where the GPU rounds: twice the error.
        slack = 2 if dtype == torch.bfloat16 and device == "cpu" else 1
        for name in want:
            if not name.startswith("running"):
                limit = slack * max(relative_rms(eager[name], want[name]), 1e-5)
                assert relative_rms(ours[name], want[name]) <= limit, name

    @pytest.mark.parametrize("channels_last", [False, True])
    @pytest.mark.parametrize(
        "shape",
        [(1, 1, 1, 1), (1, 3, 1, 7), (3, 5, 7, 1), (1, 67, 5, 3), (1, 130, 3, 3), (1, 2, 33, 65)],
        ids=str,
    )
    def test_odd_sizes(self, ops, device, shape, channels_last):
        inputs = self.inputs(
            shape, channels_last=channels_last, device=device, hidden=3, **self.operation.odd
        )
        self.compare(ops, inputs, tolerance=2e-5)

    @pytest.mark.parametrize("channels_last", [False, True])
    def test_many_chunks_are_joined(self, ops, launch, device, channels_last, monkeypatch):
        """Several blocks of channels, several chunks of several blocks of pixels, and odd rests."""
        monkeypatch.setattr(launch, "PROGRAMS", 9)
        name = self.operation.name
        launch.choose_tile(name, channels_last, launch.Tile(*self.operation.tile))
        try:
            inputs = self.inputs(
                (1, 10, 11, 23),
                channels_last=channels_last,
                device=device,
                **self.operation.many_chunks,
            )
            at = launch.walk(name, channels_last, 10, 11 * 23)
            assert at.c_blocks > 1
            assert at.splits > 1
            assert at.chunk > at.block_p >= self.operation.tile[1]
            self.compare(ops, inputs)
        finally:
            launch.choose_tile(name, channels_last, None)

    @pytest.mark.parametrize("kind", ["plain", "all"])
    def test_empty_batch(self, ops, device, kind):
        inputs = self.kind((0, 8, 4, 4), kind=kind, device=device)
        got = run(self.operation.fused(ops), inputs, gradient_for(inputs))
        assert got["out"].shape == (0, 8, 4, 4)
        for name, value in got.items():
            if name.startswith("running"):
                assert torch.equal(value, inputs[name])
            else:
                assert not value.any(), name

    def test_same_bits_again_and_in_any_batch(self, ops, device):
        inputs = self.inputs(
            (3, 8, 8, 8), device=device, **self.operation.many_chunks | {"norm": False}
        )
        gradient = gradient_for(inputs)
        fused = self.operation.fused(ops)
        first, second = (run(fused, inputs, gradient) for _ in range(2))
        assert all(torch.equal(first[name], second[name]) for name in first)
        images = [name for name in self.operation.images if name in inputs]
        one = inputs | {name: inputs[name][1:2] for name in images}
        alone = run(fused, one, gradient[1:2])
        for name in ("out", *images):
            assert torch.equal(alone[name], first[name][1:2]), name

    @pytest.mark.parametrize("training", [True, False])
    def test_gradcheck_of_the_reference(self, ops, training):
        inputs = self.kind((3, 4, 2, 3), kind="all", hidden=3) | {"training": training}
        if training:
            del inputs["running_mean"], inputs["running_var"]
        names = [name for name in tensors_of(inputs) if not name.startswith("running")]
        values = [inputs[name].double().requires_grad_() for name in names]

        def function(*tensors):
            return self.operation.fused(ops)(**inputs | dict(zip(names, tensors, strict=True)))

        assert torch.autograd.gradcheck(function, values)

    def test_second_derivative_is_refused(self, ops, device):
        inputs = self.inputs(device=device)
        x = inputs[self.operation.images[0]].requires_grad_()
        out = self.operation.fused(ops)(**inputs)
        (dx,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        with pytest.raises(NotImplementedError, match=f"{self.operation.name}_reference"):
            dx.sum().backward()

    def test_frozen_parameters_and_no_grad(self, ops, device):
        inputs = self.inputs(device=device)
        x = [inputs[n] for n in self.operation.images if n in inputs][-1].requires_grad_()
        self.operation.fused(ops)(**inputs).sum().backward()
        assert x.grad is not None
        assert all(value.grad is None for value in tensors_of(inputs).values() if value is not x)
        with torch.no_grad():
            assert not self.operation.fused(ops)(**inputs).requires_grad

    def test_warmup_runs_forward_and_backward(self, ops, device):
        warmup = getattr(ops, f"warmup_{self.operation.name}")
        shapes = [(1, 8, 4, 4), (2, 3, 2, 5)]
        all_of_it, forward_alone = self.operation.warmups
        assert warmup(shapes, channels_last=True, device=device, **all_of_it) == {}
        assert warmup(shapes[:1], backward=False, device=device, **forward_alone) == {}
        assert warmup([], device=device) == {}
        with pytest.raises(ValueError, match=r"got .*float64: nothing would be compiled"):
            warmup(shapes, dtype=torch.float64, device=device)

    @pytest.mark.gpu
    @pytest.mark.parametrize("channels_last", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    @pytest.mark.parametrize(
        "shape", [(4, 64, 256, 256), (2, 128, 128, 128), (1, 512, 32, 32), (1, 9, 1024, 1024)]
    )
    def test_real_shapes_on_a_gpu(self, ops, device, shape, dtype, channels_last):
        # A norm over the batch wants some samples.
        training = self.operation.name == "cbam" or shape[0] > 2
        inputs = self.kind(
            shape,
            dtype,
            channels_last,
            device,
            kind="all",
            training=training,
            **self.operation.on_a_gpu,
        )
        self.compare(ops, inputs)

    @pytest.mark.gpu
    @pytest.mark.parametrize("channels_last", [False, True])
    def test_warmup_finds_a_tile(self, ops, launch, channels_last):
        warmup = getattr(ops, f"warmup_{self.operation.name}")
        measured = warmup([(4, 64, 64, 64)], channels_last=channels_last, find_tile=True)
        launch.choose_tile(self.operation.name, channels_last, None)
        assert set(measured) == set(launch.TILES[channels_last])
        assert all(time > 0 for time in measured.values())
