"""Memory of every kind: strided, expanded, sliced, beyond 2^31 elements."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compare import assert_close, relative_rms, run
from operations import gradient_for, tensors_of
from suites.suite import Suite

STRIDED = {
    "batch step": lambda x: x.repeat(2, 1, 1, 1)[::2],
    "channel slice": lambda x: torch.cat([x, x], 1)[:, x.shape[1] :],
    "cropped": lambda x: torch.nn.functional.pad(x, (1, 2, 1, 1))[:, :, 1:-1, 1:-2],
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "channels_last slice": lambda x: torch.cat([x, x], 1).contiguous(
        memory_format=torch.channels_last
    )[:, : x.shape[1]],
    "expanded": lambda x: x[:1].expand(x.shape),
}
HUGE = 2**30 + 16
BEYOND_32_BITS = {
    "samples": ((3, 4, 5, 8), (HUGE, 40, 8, 1)),
    "channels": ((1, 4, 5, 8), (HUGE, HUGE, 8, 1)),
    "samples, 64-bit stride": ((2, 4, 5, 8), (2**31 + 64, 40, 8, 1)),
    "samples, channels last": ((3, 4, 5, 8), (HUGE, 1, 32, 4)),
}


def any_case(test):
    """The test on random data; Hypothesis wants a function of its own for each operation."""
    options = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    return pytest.mark.long(options(given(data=st.data())(test)))


class Layouts(Suite):
    @pytest.mark.parametrize("layout", STRIDED)
    @pytest.mark.parametrize("first", [True, False])
    def test_strided_inputs_and_gradients(self, ops, device, first, layout):
        """The first image, whose layout the kernels take; or all else, to be read in its layout."""
        inputs = self.inputs(shape=(2, 8, 5, 6), device=device, **self.operation.both_images)
        gradient = gradient_for(inputs)
        leading, other = self.operation.images
        if first:
            inputs[leading] = STRIDED[layout](inputs[leading])
        else:
            inputs[other], gradient = STRIDED[layout](inputs[other]), STRIDED[layout](gradient)
        got, want = self.results(ops, inputs, gradient)
        assert_close(got, want, 1e-5)

    def test_expanded_gradient(self, ops, device):
        inputs = self.inputs(device=device)
        leaves = [inputs[n].requires_grad_() for n in self.operation.images if n in inputs]
        got, want = (
            torch.autograd.grad(function(**inputs).sum(), leaves)
            for function in (self.operation.fused(ops), self.operation.reference(ops))
        )
        for ours, theirs in zip(got, want, strict=True):
            assert relative_rms(ours, theirs) < 1e-5

    def test_the_output_has_the_first_images_memory_format(self, ops, device):
        first, second = self.operation.images
        last = self.inputs(channels_last=True, device=device, **self.operation.both_images)
        last[second] = last[second].contiguous()
        fused = self.operation.fused(ops)
        assert fused(**last).is_contiguous(memory_format=torch.channels_last)
        swapped = last | {first: last[second], second: last[first]}
        assert fused(**swapped).is_contiguous()

    def test_images_of_two_dtypes(self, ops, device):
        """Each gradient has its image's dtype, the result the first's, and nothing else narrows."""
        _, narrow = self.operation.images
        inputs = self.inputs(device=device, **self.operation.both_images)
        inputs[narrow] = inputs[narrow].bfloat16()
        got, want = self.results(ops, inputs, gradient_for(inputs))
        for name, value in want.items():
            assert got[name].dtype == value.dtype
            limit = self.operation.narrow_error if name == narrow else 1e-5
            assert relative_rms(got[name], value) <= limit, name

    def test_parameters_with_gaps(self, ops, device):
        """Every parameter as a slice of something larger, as a module's may be."""
        inputs = self.inputs(device=device, **self.operation.every_parameter)
        gradient = gradient_for(inputs)
        want = run(self.operation.reference(ops), inputs, gradient)
        gaps = {
            name: torch.stack([value, value + 1], -1)[..., 0]
            for name, value in tensors_of(inputs).items()
            if name not in self.operation.images
        }
        assert not any(value.numel() > 1 and value.is_contiguous() for value in gaps.values())
        got = run(self.operation.fused(ops), inputs | gaps, gradient)
        assert_close(got, want, 1e-5)

    @pytest.mark.parametrize("layout", BEYOND_32_BITS)
    @pytest.mark.usefixtures("overflow_is_an_error")
    def test_offsets_beyond_32_bits(self, ops, launch, layout, tmp_path):
        """Views whose last element lies past 2^31 elements, of a file that is mostly a hole."""
        shape, stride = BEYOND_32_BITS[layout]
        size = sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) + 1
        assert size > 2**31
        file = np.memmap(tmp_path / "holes", np.float16, "w+", shape=(3 * size,))
        memory = torch.from_numpy(file)
        inputs = self.inputs(shape, dtype=torch.float16, **self.operation.far)
        gradient = gradient_for(inputs)
        values = *(inputs[name] for name in self.operation.images), gradient
        far = [
            torch.as_strided(memory, shape, stride, i * size).copy_(value)
            for i, value in enumerate(values)
        ]
        assert all(launch.dense(x, stride[1] == 1).data_ptr() == x.data_ptr() for x in far)
        there = inputs | dict(zip(self.operation.images, far[:2], strict=True))
        fused = self.operation.fused(ops)
        got, want = run(fused, there, far[2]), run(fused, inputs, gradient)
        assert_close(got, want, 1e-6)
        del there, far, memory, file
        (tmp_path / "holes").unlink()

    def check_any_shape(self, ops, launch, device, data):
        """Random shapes, layouts, options, tiles and seeds against the reference."""

        def integer(low, high):
            return data.draw(st.integers(low, high))

        def flag():
            return data.draw(st.booleans())

        def choose(values):
            return data.draw(st.sampled_from(values))

        shape = integer(1, 4), integer(1, 40), integer(1, 12), integer(1, 12)
        channels_last = flag()
        options = self.operation.any_options(shape, integer, flag, choose)
        inputs = self.inputs(
            shape, channels_last=channels_last, device=device, seed=integer(0, 1000), **options
        )
        second = self.operation.images[1]
        if second in inputs and flag():
            inputs[second] = inputs[second].transpose(2, 3).contiguous().transpose(2, 3)
        gradient = gradient_for(inputs)
        gradient = gradient.contiguous(memory_format=torch.channels_last) if flag() else gradient
        tile = launch.Tile(2 ** integer(0, 4), 2 ** integer(4, 6), 1)
        launch.choose_tile(self.operation.name, channels_last, tile)
        try:
            got = run(self.operation.fused(ops), inputs, gradient)
        finally:
            launch.choose_tile(self.operation.name, channels_last, None)
        want = run(self.operation.reference(ops), inputs, gradient, torch.float64)
        for name, value in want.items():
            if value is not None:
                error = (got[name].double() - value).square().mean().sqrt()
                # Gradients that cancel keep the rounding of what they are sums of.
                limit = self.operation.any_error * max(float(value.square().mean().sqrt()), 1.0)
                assert error <= limit, name
