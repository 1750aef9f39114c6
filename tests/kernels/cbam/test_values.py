"""CBAM's kernels against the reference, and what is its own: ties, NaN, the size of the gate."""

import pytest
import torch

import suites
from compare import compare, relative_rms, run
from operations import CBAM, cbam_inputs, gradient_for


class TestValues(suites.Values):
    operation = CBAM


@pytest.mark.parametrize("kernel", [1, 5, 7])
def test_other_kernel_sizes_and_no_biases(ops, device, kernel):
    inputs = cbam_inputs(kernel=kernel, bias=False, norm=kernel == 7, device=device)
    compare(ops.cbam, ops.cbam_reference, inputs, gradient_for(inputs))


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


@pytest.mark.parametrize("values", [torch.zeros, torch.ones])
def test_ties_go_to_the_first(ops, device, values):
    """A constant image ties everywhere; each gradient goes where the reference sends it."""
    inputs = cbam_inputs(device=device, norm=True)
    inputs["x"] = values(inputs["x"].shape, device=device)
    compare(ops.cbam, ops.cbam_reference, inputs, gradient_for(inputs))


def test_coarse_values_tie_like_the_reference(ops, device):
    inputs = cbam_inputs((2, 8, 9, 9), device=device)
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


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("x", torch.zeros(2, 8, 6), ValueError,
         r"x must have shape \[any, any, any, any\], got \[2, 8, 6\]"),
        ("x", torch.zeros(2, 8, 0, 6), ValueError, "x must be empty in its batch alone, got"),
        ("fc1_weight", torch.zeros(4, 7), ValueError,
         r"fc1_weight must have shape \[any, 8\], got \[4, 7\]"),
        ("fc2_weight", None, TypeError, r"fc2_weight must be a tensor of shape \[8, 2\], got None"),
        ("fc2_weight", [1.0], TypeError, "fc2_weight must be a tensor of shape .*, got a list"),
        ("conv_weight", torch.zeros(1, 2, 4, 4), ValueError,
         "conv_weight must be square and of odd size, got"),
        ("conv_bias", torch.zeros(1, dtype=torch.int32), TypeError,
         "conv_bias must be a floating-point tensor, got torch.int32"),
        ("residual", torch.zeros(2, 8, 6, 9), ValueError, "residual must have shape"),
        ("residual", torch.zeros(2, 8, 6, 8, device="meta"), ValueError,
         "residual must be on cpu as the input, got meta"),
        ("scale", torch.zeros(8), TypeError, r"shift must be a tensor of shape \[8\], got None"),
        ("norm_weight", torch.zeros(1), TypeError, "norm_bias must be a tensor .*, got None"),
    ],
)  # fmt: skip
def test_bad_input(ops, name, value, error, words):
    with pytest.raises(error, match=f"^{words}"):
        ops.cbam(**cbam_inputs() | {name: value})


def test_statistics_of_one_pixel_are_refused(ops):
    with pytest.raises(ValueError, match="x must have more than one pixel for batch statistics"):
        ops.cbam(**cbam_inputs((1, 8, 1, 1), norm=True))


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
