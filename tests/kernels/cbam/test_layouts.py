"""CBAM's kernels on memory of every kind: strided, expanded, sliced, beyond 2^31 elements."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compare import relative_rms, run
from operations import LAYOUTS_BEYOND_32_BITS, STRIDED, cbam_inputs, gradient_for


@pytest.mark.parametrize("layout", STRIDED)
def test_strided_inputs_and_gradients(ops, device, layout):
    inputs = cbam_inputs(norm=True, residual=True, device=device)
    expected = {}
    for where in ("x", "gradient", "residual"):
        given = dict(inputs)
        gradient = gradient_for(inputs)
        if where == "gradient":
            gradient = STRIDED[layout](gradient)
        else:
            given[where] = STRIDED[layout](given[where])
        got = run(ops.cbam, given, gradient)
        expected = run(ops.cbam_reference, given, gradient)
        for name, value in expected.items():
            assert relative_rms(got[name], value) <= 1e-5, (where, name)


def test_the_fast_layouts_are_not_copied(launch, device):
    """Contiguous, channels_last and their slices over batch and channels are walked as is."""
    x = torch.randn(4, 16, 6, 8, device=device)
    last = x.contiguous(memory_format=torch.channels_last)
    for view in (x, x[::2], x[:, 4:], last, last[1:], last[:, :8]):
        dense = launch.dense(view, launch.is_channels_last(view))
        assert dense.data_ptr() == view.data_ptr()
    for view in (x[:, :, 1:], x[..., ::2], x.transpose(2, 3)):
        dense = launch.dense(view, launch.is_channels_last(view))
        assert dense.shape == view.shape


def test_expanded_gradient(ops, device):
    inputs = cbam_inputs(device=device)
    x = inputs["x"].requires_grad_()
    ops.cbam(**inputs).sum().backward()
    got, x.grad = x.grad, None
    ops.cbam_reference(**inputs).sum().backward()
    assert relative_rms(got, x.grad) < 1e-5


def test_output_has_the_input_memory_format(ops, device):
    inputs = cbam_inputs(channels_last=True, device=device)
    assert ops.cbam(**inputs).is_contiguous(memory_format=torch.channels_last)
    inputs = cbam_inputs(device=device)
    assert ops.cbam(**inputs).is_contiguous()


def test_parameters_with_gaps(ops, device):
    """Every parameter as a slice of something larger; scale and shift also expanded."""
    inputs = cbam_inputs(norm=True, prologue=True, device=device)
    gradient = gradient_for(inputs)
    want = run(ops.cbam_reference, inputs, gradient)
    gaps = {
        name: torch.stack([value, value + 1], -1)[..., 0]
        for name, value in inputs.items()
        if isinstance(value, torch.Tensor) and name not in ("x", "running_mean", "running_var")
    }
    assert not any(value.numel() > 1 and value.is_contiguous() for value in gaps.values())
    got = run(ops.cbam, inputs | gaps, gradient)
    for name, value in want.items():
        assert relative_rms(got[name], value) <= 1e-5, name
    inputs["scale"] = torch.full((1,), 1.5, device=device).expand(16)
    got, want = ops.cbam(**inputs), ops.cbam_reference(**inputs)
    assert relative_rms(got, want) <= 1e-5


def test_residual_of_another_dtype(ops, device):
    """A narrow residual does not narrow the gradients that pass it by."""
    inputs = cbam_inputs(residual=True, device=device)
    inputs["residual"] = inputs["residual"].bfloat16()
    gradient = gradient_for(inputs)
    got, want = (run(f, inputs, gradient) for f in (ops.cbam, ops.cbam_reference))
    for name, value in want.items():
        assert got[name].dtype == value.dtype
        assert relative_rms(got[name], value) <= (5e-3 if name == "residual" else 1e-5), name


def test_what_is_too_large_goes_to_the_reference(launch, device):
    one = torch.zeros((), device=device)
    assert launch.runs_kernels(one.expand(1, 2**15 - 1, 2, 2))
    assert not launch.runs_kernels(one.expand(1, 2**15, 2, 2))
    assert launch.runs_kernels(one.expand(1, 2, 2**15, 2**15))
    assert not launch.runs_kernels(one.expand(1, 2, 2**15, 2**15 + 1))
    assert not launch.runs_kernels(one.double().expand(1, 2, 3, 3))


@pytest.mark.parametrize("layout", LAYOUTS_BEYOND_32_BITS)
def test_offsets_beyond_32_bits(ops, launch, device, layout, tmp_path):
    """Views whose last element lies past 2^31 elements, of a file that is mostly a hole."""
    if device != "cpu":
        pytest.skip("memory with holes is the CPU's")
    shape, stride = LAYOUTS_BEYOND_32_BITS[layout]
    size = sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) + 1
    assert size > 2**31
    file = np.memmap(tmp_path / "holes", np.float16, "w+", shape=(2 * size,))
    memory = torch.from_numpy(file)
    inputs = cbam_inputs(shape, dtype=torch.float16, residual=True, prologue=True)
    gradient = gradient_for(inputs)
    got_inputs = dict(inputs)
    got_inputs["x"] = torch.as_strided(memory, shape, stride).copy_(inputs["x"])
    there = torch.as_strided(memory, shape, stride, size).copy_(gradient)
    assert launch.dense(there, stride[1] == 1).data_ptr() == there.data_ptr()
    got = run(ops.cbam, got_inputs, there)
    want = run(ops.cbam, inputs, gradient)
    for name, value in want.items():
        assert relative_rms(got[name], value) <= 1e-6, name
    del got_inputs, there, memory, file
    (tmp_path / "holes").unlink()


@pytest.mark.long
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shape_any_options(ops, launch, device, data):
    """Random shapes, layouts, options, tiles and seeds against the reference."""
    integer = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    flag = lambda: data.draw(st.booleans())  # noqa: E731
    shape = integer(1, 3), integer(1, 40), integer(1, 12), integer(1, 12)
    channels_last = flag()
    norm = flag() and shape[0] * shape[2] * shape[3] > 1
    inputs = cbam_inputs(
        shape, channels_last=channels_last, device=device, norm=norm, training=flag(),
        residual=flag(), prologue=flag(), bias=flag(), kernel=data.draw(st.sampled_from([1, 3, 5])),
        hidden=integer(1, 9), seed=integer(0, 1000),
    )  # fmt: skip
    if "residual" in inputs and flag():
        inputs["residual"] = inputs["residual"].transpose(2, 3).contiguous().transpose(2, 3)
    gradient = gradient_for(inputs)
    gradient = gradient.contiguous(memory_format=torch.channels_last) if flag() else gradient
    tile = launch.Tile(2 ** integer(0, 4), 2 ** integer(4, 6), 1)
    launch.choose_tile("cbam", channels_last, tile)
    try:
        got = run(ops.cbam, inputs, gradient)
    finally:
        launch.choose_tile("cbam", channels_last, None)
    want = run(ops.cbam_reference, inputs, gradient, torch.float64)
    for name, value in want.items():
        # Gradients that cancel to nearly nothing keep the rounding of what they are sums of.
        error = (got[name].double() - value).square().mean().sqrt()
        assert error <= 2e-5 * max(float(value.square().mean().sqrt()), 1.0), name
