"""Selective fusion's kernels on memory of every kind: strided, expanded, sliced, far apart."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compare import relative_rms, run
from operations import LAYOUTS_BEYOND_32_BITS, STRIDED, fusion_inputs, gradient_for


@pytest.mark.parametrize("layout", STRIDED)
@pytest.mark.parametrize("where", ["u", "v", "gradient"])
def test_strided_inputs_and_gradients(ops, device, where, layout):
    inputs = fusion_inputs((2, 16, 5, 6), prologue="v", device=device)
    gradient = gradient_for(inputs)
    if where == "gradient":
        gradient = STRIDED[layout](gradient)
    else:
        inputs[where] = STRIDED[layout](inputs[where])
    got, want = (
        run(f, inputs, gradient) for f in (ops.selective_fusion, ops.selective_fusion_reference)
    )
    for name, value in want.items():
        assert relative_rms(got[name], value) <= 1e-5, name


def test_fast_layouts_are_read_where_they_lie(ops, launch, device, monkeypatch):
    """Contiguous or channels_last, and slices of them: nothing of u's size is copied."""
    forward = sys.modules[ops.__name__ + ".selective_fusion.forward"]
    backward = sys.modules[ops.__name__ + ".selective_fusion.backward"]
    copies = []

    def dense(x, channels_last):
        result = launch.dense(x, channels_last)
        copies.append(result.data_ptr() != x.data_ptr())
        return result

    for module in (forward, backward):
        monkeypatch.setattr(module, "dense", dense)
    for channels_last in (False, True):
        inputs = fusion_inputs((4, 16, 5, 6), channels_last=channels_last, device=device)
        gradient = gradient_for(inputs)
        if channels_last:
            gradient = gradient.contiguous(memory_format=torch.channels_last)
        for name in "uv":
            inputs[name] = inputs[name][1:]
        run(ops.selective_fusion, inputs, gradient[1:])
    assert copies == [False] * 10


def test_expanded_gradient(ops, device):
    inputs = fusion_inputs(device=device)
    leaves = [inputs[name].requires_grad_() for name in "uv"]
    got = torch.autograd.grad(ops.selective_fusion(**inputs).sum(), leaves)
    want = torch.autograd.grad(ops.selective_fusion_reference(**inputs).sum(), leaves)
    for ours, theirs in zip(got, want, strict=True):
        assert relative_rms(ours, theirs) < 1e-5


def test_output_has_the_memory_format_of_u(ops, device):
    inputs = fusion_inputs(channels_last=True, device=device)
    inputs["v"] = inputs["v"].contiguous()
    assert ops.selective_fusion(**inputs).is_contiguous(memory_format=torch.channels_last)
    swapped = inputs | {"u": inputs["v"], "v": inputs["u"]}
    assert ops.selective_fusion(**swapped).is_contiguous()


def test_branches_of_two_dtypes(ops, device):
    """Each branch's gradient has its dtype, the result u's."""
    inputs = fusion_inputs(device=device)
    inputs["v"] = inputs["v"].bfloat16()
    gradient = gradient_for(inputs)
    got, want = (
        run(f, inputs, gradient) for f in (ops.selective_fusion, ops.selective_fusion_reference)
    )
    for name, value in want.items():
        assert got[name].dtype == value.dtype
        assert relative_rms(got[name], value) <= (1e-2 if name == "v" else 1e-5), name


def test_parameters_with_gaps(ops, device):
    """Every parameter as a slice of something larger, as the module's two logits are."""
    inputs = fusion_inputs(norm=True, training=False, prologue="uv", device=device)
    gradient = gradient_for(inputs)
    want = run(ops.selective_fusion_reference, inputs, gradient)
    gaps = {
        name: torch.stack([value, value + 1], -1)[..., 0]
        for name, value in inputs.items()
        if isinstance(value, torch.Tensor) and name not in ("u", "v")
    }
    assert not any(value.is_contiguous() for value in gaps.values())
    got = run(ops.selective_fusion, inputs | gaps, gradient)
    for name, value in want.items():
        assert relative_rms(got[name], value) <= 1e-5, name


@pytest.mark.parametrize("layout", LAYOUTS_BEYOND_32_BITS)
def test_offsets_beyond_32_bits(ops, launch, device, layout, tmp_path):
    """Views whose last element lies past 2^31 elements, of a file that is mostly a hole."""
    if device != "cpu":
        pytest.skip("memory with holes is the CPU's")
    shape, stride = LAYOUTS_BEYOND_32_BITS[layout]
    size = sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) + 1
    assert size > 2**31
    file = np.memmap(tmp_path / "holes", np.float16, "w+", shape=(3 * size,))
    memory = torch.from_numpy(file)
    inputs = fusion_inputs(shape, dtype=torch.float16, prologue="uv")
    values = inputs["u"], inputs["v"], gradient_for(inputs)
    far = [
        torch.as_strided(memory, shape, stride, i * size).copy_(value)
        for i, value in enumerate(values)
    ]
    assert all(launch.dense(x, stride[1] == 1).data_ptr() == x.data_ptr() for x in far)
    got = run(ops.selective_fusion, inputs | {"u": far[0], "v": far[1]}, far[2])
    want = run(ops.selective_fusion, inputs, values[2])
    for name, value in want.items():
        assert relative_rms(got[name], value) <= 1e-6, name
    del far, memory, file
    (tmp_path / "holes").unlink()


@pytest.mark.long
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shape_any_options(ops, launch, device, data):
    """Random shapes, layouts, options, tiles and seeds against the reference."""
    integer = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    flag = lambda: data.draw(st.booleans())  # noqa: E731
    shape = integer(1, 4), integer(1, 40), integer(1, 12), integer(1, 12)
    channels_last = flag()
    inputs = fusion_inputs(
        shape, channels_last=channels_last, device=device, norm=flag(),
        # Two samples' statistics make every unit 1 or -1, and its gradient rounding alone.
        training=shape[0] > 2 and flag(), prologue=data.draw(st.sampled_from(["", "u", "v", "uv"])),
        bias=flag(), hidden=integer(1, 40), seed=integer(0, 1000),
    )  # fmt: skip
    if flag():
        inputs["v"] = inputs["v"].transpose(2, 3).contiguous().transpose(2, 3)
    gradient = gradient_for(inputs)
    gradient = gradient.contiguous(memory_format=torch.channels_last) if flag() else gradient
    tile = launch.Tile(2 ** integer(0, 4), 2 ** integer(4, 6), 1)
    launch.choose_tile("selective_fusion", channels_last, tile)
    try:
        got = run(ops.selective_fusion, inputs, gradient)
    finally:
        launch.choose_tile("selective_fusion", channels_last, None)
    want = run(ops.selective_fusion_reference, inputs, gradient, torch.float64)
    for name, value in want.items():
        if value is not None:
            # Gradients that cancel to nearly nothing keep the rounding of what they are sums of.
            error = (got[name].double() - value).square().mean().sqrt()
            assert error <= 5e-5 * max(float(value.square().mean().sqrt()), 1.0), name
