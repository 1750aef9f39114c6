"""CBAM's kernels against the reference: values, gradients, layouts, sizes, ties, NaN."""

import pytest
import torch

from compare import compare, relative_rms, run
from operations import CBAM_KINDS, cbam_inputs, gradient_for


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", CBAM_KINDS)
def test_matches_reference(ops, device, kind, channels_last):
    inputs = cbam_inputs(channels_last=channels_last, device=device, kernel=7, **CBAM_KINDS[kind])
    compare(ops.cbam, ops.cbam_reference, inputs, gradient_for(inputs))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_is_no_worse_than_eager(ops, device, dtype, channels_last):
    """Against the float32 reference, and beside the same steps rounded to half each."""
    inputs = cbam_inputs(
        (2, 32, 8, 8), dtype, channels_last, device, norm=True, residual=True, kernel=7
    )
    gradient = gradient_for(inputs)
    compare(ops.cbam, ops.cbam_reference, inputs, gradient)
    want = run(ops.cbam_reference, inputs, gradient, torch.float32)
    ours = run(ops.cbam, inputs, gradient)
    eager = run(eager_cbam, inputs, gradient, dtype)
    # The interpreter cuts bfloat16 off where the GPU rounds: twice the error.
    slack = 2 if dtype == torch.bfloat16 and device == "cpu" else 1
    for name in want:
        if not name.startswith("running"):
            limit = slack * max(relative_rms(eager[name], want[name]), 1e-5)
            assert relative_rms(ours[name], want[name]) <= limit, name


def eager_cbam(
    x, fc1_weight, fc1_bias, fc2_weight, fc2_bias, conv_weight, norm_weight, norm_bias, training,
    running_mean, running_var, residual,
):  # fmt: skip
    """The module as people write it, every step in x's dtype."""
    functional = torch.nn.functional

    def mlp(v):
        hidden = functional.relu(functional.linear(v, fc1_weight, fc1_bias))
        return functional.linear(hidden, fc2_weight, fc2_bias)

    gate = torch.sigmoid(mlp(x.mean((2, 3))) + mlp(x.amax((2, 3))))
    x = x * gate[:, :, None, None]
    maps = torch.cat([x.max(1, keepdim=True)[0], x.mean(1, keepdim=True)], 1)
    logit = functional.conv2d(maps, conv_weight, padding=3)
    logit = functional.batch_norm(
        logit, running_mean, running_var, norm_weight, norm_bias, training, 0.01
    )
    return functional.relu(x * torch.sigmoid(logit) + residual)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1, 1), (1, 3, 1, 7), (3, 5, 7, 1), (1, 67, 5, 3), (2, 130, 3, 3), (1, 2, 33, 65)],
    ids=str,
)
def test_odd_sizes(ops, device, shape, channels_last):
    inputs = cbam_inputs(
        shape, channels_last=channels_last, device=device, residual=True, prologue=True, hidden=3
    )
    compare(ops.cbam, ops.cbam_reference, inputs, gradient_for(inputs), tolerance=2e-5)


@pytest.mark.parametrize("kernel", [1, 5])
def test_other_kernel_sizes_and_no_biases(ops, device, kernel):
    inputs = cbam_inputs(kernel=kernel, bias=False, device=device)
    compare(ops.cbam, ops.cbam_reference, inputs, gradient_for(inputs))


def test_many_chunks_are_joined(ops, launch, device, monkeypatch):
    """Several blocks of channels, several chunks of several blocks of pixels, and odd rests."""
    for channels_last in (False, True):
        monkeypatch.setattr(launch, "PROGRAMS", 9)
        launch.choose_tile("cbam", channels_last, launch.Tile(4, 16, 1))
        inputs = cbam_inputs((2, 10, 11, 23), channels_last=channels_last, device=device, norm=True)
        at = launch.walk("cbam", channels_last, 10, 11 * 23)
        assert at.c_blocks > 1
        assert at.splits > 1
        assert at.chunk > at.block_p
        try:
            compare(ops.cbam, ops.cbam_reference, inputs, gradient_for(inputs))
        finally:
            launch.choose_tile("cbam", channels_last, None)


def test_walks_cover_every_pixel_and_channel(launch):
    """Blocks and chunks for the network's shapes and for odd ones."""
    for channels, pixels in [(64, 65536), (128, 16384), (256, 4096), (512, 1024), (1, 1), (67, 15)]:
        for channels_last in (False, True):
            at = launch.walk("cbam", channels_last, channels, pixels)
            assert (at.c_blocks - 1) * at.block_c < channels <= at.c_blocks * at.block_c
            assert at.chunk % at.block_p == 0
            assert (at.splits - 1) * at.chunk < pixels <= at.splits * at.chunk
            at = launch.walk_across("cbam", channels_last, channels, pixels)
            assert (at.p_blocks - 1) * at.block_p < pixels <= at.p_blocks * at.block_p


def test_empty_batch(ops, device):
    inputs = cbam_inputs((0, 8, 4, 4), norm=True, device=device)
    got = run(ops.cbam, inputs, gradient_for(inputs))
    assert got["out"].shape == (0, 8, 4, 4)
    assert all(not got[name].any() for name in ("fc1_weight", "conv_weight", "norm_weight"))
    assert torch.equal(got["running_mean"], inputs["running_mean"])


@pytest.mark.parametrize("values", [torch.zeros, torch.ones])
def test_ties_go_to_the_first(ops, device, values):
    """A constant image ties everywhere; each gradient goes where the reference sends it."""
    inputs = cbam_inputs(device=device, norm=True)
    inputs["x"] = values(inputs["x"].shape, device=device)
    compare(ops.cbam, ops.cbam_reference, inputs, gradient_for(inputs))


def test_coarse_values_tie_like_the_reference(ops, device):
    inputs = cbam_inputs((2, 16, 9, 9), device=device)
    inputs["x"] = inputs["x"].mul(2).round().div(2)
    compare(ops.cbam, ops.cbam_reference, inputs, gradient_for(inputs))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("channels_last", [False, True])
def test_nan_and_inf_propagate(ops, device, value, channels_last):
    inputs = cbam_inputs(residual=True, channels_last=channels_last, device=device)
    inputs["x"][0, 3, 2, 5] = value
    got, want = ops.cbam(**inputs), ops.cbam_reference(**inputs)
    assert torch.equal(got.isnan(), want.isnan())
    assert torch.allclose(got, want, equal_nan=True, rtol=1e-5, atol=1e-6)
    inputs = cbam_inputs(residual=True, device=device)
    inputs["residual"][1, 2, 3, 4] = value
    got, want = ops.cbam(**inputs), ops.cbam_reference(**inputs)
    assert torch.allclose(got, want, equal_nan=True, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["x", "gradient", "residual", "fc1_weight", "fc2_bias"])
def test_nan_and_inf_propagate_backward(ops, device, where, value):
    """Gradients are NaN where the reference's are, and equal elsewhere."""
    inputs = cbam_inputs(residual=True, device=device)
    gradient = gradient_for(inputs)
    target = gradient if where == "gradient" else inputs[where]
    target[(0,) * target.dim()] = value
    got, want = (run(f, inputs, gradient) for f in (ops.cbam, ops.cbam_reference))
    for name, tensor in want.items():
        if name == "conv_weight":
            # Whether NaN times the padding's 0 counts is each convolution's own affair.
            assert got[name][tensor.isnan()].isnan().all()
            tensor = tensor.where(~got[name].isnan(), float("nan"))
        assert torch.equal(got[name].isnan(), tensor.isnan()), name
        assert torch.allclose(got[name], tensor, equal_nan=True, rtol=1e-4, atol=1e-4), name


def test_same_bits_again_and_in_any_batch(ops, device):
    inputs = cbam_inputs((3, 16, 8, 8), device=device)
    gradient = gradient_for(inputs)
    first, second = (run(ops.cbam, inputs, gradient) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    alone = run(ops.cbam, inputs | {"x": inputs["x"][1:2]}, gradient[1:2])
    assert torch.equal(alone["out"], first["out"][1:2])
    assert torch.equal(alone["x"], first["x"][1:2])


def test_gradcheck_of_the_reference(ops):
    inputs = cbam_inputs((2, 4, 3, 4), norm=True, residual=True, prologue=True, kernel=3)
    del inputs["running_mean"], inputs["running_var"]
    names = [name for name, value in inputs.items() if isinstance(value, torch.Tensor)]
    values = [inputs[name].double().requires_grad_() for name in names]

    def function(*tensors):
        return ops.cbam(**inputs | dict(zip(names, tensors, strict=True)))

    assert torch.autograd.gradcheck(function, values)


def test_second_derivative_is_refused(ops, device):
    inputs = cbam_inputs(device=device)
    x = inputs["x"].requires_grad_()
    (dx,) = torch.autograd.grad(ops.cbam(**inputs).square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="cbam_reference"):
        dx.sum().backward()


def test_frozen_parameters_and_no_grad(ops, device):
    inputs = cbam_inputs(device=device)
    inputs["x"].requires_grad_()
    ops.cbam(**inputs).sum().backward()
    assert inputs["x"].grad is not None
    assert inputs["fc1_weight"].grad is None
    with torch.no_grad():
        assert not ops.cbam(**inputs).requires_grad


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("x", torch.zeros(2, 16, 6), ValueError, "x has shape"),
        ("x", torch.zeros(2, 16, 0, 6), ValueError, "only the batch"),
        ("fc1_weight", torch.zeros(4, 15), ValueError, "fc1_weight has shape"),
        ("fc2_weight", None, TypeError, "fc2_weight is None"),
        ("conv_weight", torch.zeros(1, 2, 4, 4), ValueError, "odd"),
        ("conv_bias", torch.zeros(1, dtype=torch.int32), TypeError, "floating"),
        ("residual", torch.zeros(2, 16, 6, 9), ValueError, "residual has shape"),
        ("scale", torch.zeros(16), TypeError, "shift is None"),
        ("norm_weight", torch.zeros(1), TypeError, "norm_bias is None"),
    ],
)
def test_bad_input(ops, name, value, error, words):
    with pytest.raises(error, match=words):
        ops.cbam(**cbam_inputs() | {name: value})


def test_warmup_runs_forward_and_backward(ops, device):
    shapes = [(1, 8, 4, 4), (2, 3, 2, 5)]
    options = {"kernel_size": 3, "norm": True, "residual": True, "prologue": True, "device": device}
    assert ops.warmup_cbam(shapes, channels_last=True, **options) == {}
    assert ops.warmup_cbam(shapes[:1], backward=False, bias=False, device=device) == {}
    with pytest.raises(ValueError, match="nothing would be compiled"):
        ops.warmup_cbam(shapes, dtype=torch.float64, device=device)


def test_the_fastest_tile_is_kept(launch):
    chosen = []

    def measure():
        chosen.append(launch.walk("cbam", False, 64, 4096))
        return [3.0, 1.0, 2.0, 4.0][len(chosen) - 1]

    before = launch.walk("cbam", False, 64, 4096)
    try:
        measured = launch.tune("cbam", False, measure)
        assert len(set(chosen)) == len(measured) == len(launch.TILES[False])
        assert launch.walk("cbam", False, 64, 4096) == chosen[1]
        with pytest.raises(IndexError):
            launch.tune("cbam", False, measure)
        assert launch.walk("cbam", False, 64, 4096) == chosen[1]
    finally:
        launch.choose_tile("cbam", False, None)
    assert launch.walk("cbam", False, 64, 4096) == before


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [False, True])
def test_warmup_finds_a_tile(ops, launch, channels_last):
    shapes = [(4, 64, 64, 64)]
    measured = ops.warmup_cbam(shapes, channels_last=channels_last, find_tile=True)
    launch.choose_tile("cbam", channels_last, None)
    assert set(measured) == set(launch.TILES[channels_last])
    assert all(time > 0 for time in measured.values())


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "shape", [(4, 64, 256, 256), (2, 128, 128, 128), (1, 512, 32, 32), (1, 9, 1024, 1024)]
)
def test_real_shapes_on_a_gpu(ops, device, shape, dtype, channels_last):
    inputs = cbam_inputs(
        shape, dtype, channels_last, device, norm=True, residual=True, prologue=True, kernel=7
    )
    compare(ops.cbam, ops.cbam_reference, inputs, gradient_for(inputs))


@pytest.mark.gpu
def test_current_stream_and_device(ops, device):
    """On a side stream, behind work that is not done yet, and on the last device."""
    device = torch.device("cuda", torch.cuda.device_count() - 1)
    inputs = cbam_inputs((2, 64, 64, 64), device=device)
    late = inputs | {"x": torch.zeros_like(inputs["x"])}
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)
        late["x"].copy_(inputs["x"])
        got = ops.cbam(**late)
    stream.synchronize()
    assert relative_rms(got, ops.cbam_reference(**inputs)) < 1e-5
