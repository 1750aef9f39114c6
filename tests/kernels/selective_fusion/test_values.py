"""Selective fusion's kernels against the reference, and what is its own: gates, slopes, NaN."""

import pytest
import torch

import suites
from compare import compare, relative_rms, run
from operations import FUSION, fusion_inputs, gradient_for


class TestValues(suites.Values):
    operation = FUSION


@pytest.mark.parametrize(("channels", "hidden"), [(24, 1), (24, 70), (300, 40)])
def test_hidden_sizes_without_biases(ops, device, channels, hidden):
    """Fewer hidden units than a block, several blocks, blocks cut by many channels."""
    # Channels last has the fewest programs; the gate's kernels know no layout.
    inputs = fusion_inputs(
        (2, channels, 3, 3), channels_last=True, device=device, bias=False, hidden=hidden
    )
    compare(ops.selective_fusion, ops.selective_fusion_reference, inputs, gradient_for(inputs))


def test_a_batch_of_many_blocks_is_normed(ops, device):
    """More samples than the norm's kernels hold at a time, and hidden units in two programs."""
    inputs = fusion_inputs((19, 6, 2, 3), channels_last=True, device=device, norm=True, hidden=35)
    compare(ops.selective_fusion, ops.selective_fusion_reference, inputs, gradient_for(inputs))


def test_statistics_far_from_zero(ops, device):
    """Hidden units whose mean is a thousand times their deviation keep their norm."""
    inputs = fusion_inputs((8, 16, 4, 4), channels_last=True, device=device, norm=True)
    inputs["fc_bias"] = torch.full((5,), 1000.0, device=device)
    got = ops.selective_fusion(**inputs)
    wide = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
    assert relative_rms(got, ops.selective_fusion_reference(**wide)) < 1e-3


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
def test_negative_slopes(ops, device, slope):
    inputs = fusion_inputs(device=device, prologue="uv") | {"negative_slope": slope}
    compare(ops.selective_fusion, ops.selective_fusion_reference, inputs, gradient_for(inputs))


def test_a_kink_has_the_gradient_of_the_reference(ops, device):
    """Where the prologue gives exactly 0, leaky_relu's gradient is the slope."""
    inputs = fusion_inputs(device=device, prologue="uv")
    inputs["u"][:, :, ::2] = 0
    inputs["u_shift"].zero_()
    compare(ops.selective_fusion, ops.selective_fusion_reference, inputs, gradient_for(inputs))


def test_saturated_gates(ops, device):
    """Logits of some hundreds: the gate is 0 or 1 and the result one of the branches."""
    inputs = fusion_inputs(device=device)
    inputs["a_bias"] = torch.full((8,), 500.0, device=device)
    assert torch.equal(ops.selective_fusion(**inputs), inputs["u"])
    inputs["a_bias"] = -inputs["a_bias"]
    assert torch.equal(ops.selective_fusion(**inputs), inputs["v"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["plain", "all-eval"])
@pytest.mark.parametrize(
    "where", ["u", "v", "gradient", "fc_weight", "a_weight", "b_bias"]
)  # fmt: skip
def test_nan_and_inf_propagate(ops, device, where, kind, value):
    """The output and the gradients are NaN where the reference's are, and equal elsewhere."""
    inputs = fusion_inputs((2, 8, 4, 5), device=device, channels_last=True, **FUSION.kinds[kind])
    gradient = gradient_for(inputs)
    target = gradient if where == "gradient" else inputs[where]
    target[(1,) * target.dim()] = value
    results = (
        run(f, inputs, gradient) for f in (ops.selective_fusion, ops.selective_fusion_reference)
    )
    got, want = results
    for name, tensor in want.items():
        assert torch.equal(got[name].isnan(), tensor.isnan()), name
        assert torch.allclose(got[name], tensor, equal_nan=True, rtol=1e-4, atol=1e-4), name


def test_reference_is_the_softmax_of_the_paper(ops):
    """Equations 1 to 6 of SKNet, step by step."""
    given = fusion_inputs()
    u, v = given["u"], given["v"]
    s = (u + v).mean((2, 3))
    z = torch.relu(s @ given["fc_weight"].T + given["fc_bias"])
    e_a = (z @ given["a_weight"].T + given["a_bias"]).exp()
    e_b = (z @ given["b_weight"].T + given["b_bias"]).exp()
    a, b = (e / (e_a + e_b) for e in (e_a, e_b))
    want = a[:, :, None, None] * u + b[:, :, None, None] * v
    torch.testing.assert_close(ops.selective_fusion_reference(**given), want)


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("u", torch.zeros(4, 8, 6), ValueError, "u must have shape .*, got"),
        ("u", torch.zeros(4, 8, 0, 6), ValueError, "u must be empty in its batch alone, got"),
        ("v", torch.zeros(4, 8, 6, 9), ValueError,
         r"v must have shape \[4, 8, 6, 8\], got \[4, 8, 6, 9\]"),
        ("fc_weight", torch.zeros(5, 7), ValueError, "fc_weight must have shape"),
        ("a_weight", None, TypeError, r"a_weight must be a tensor of shape \[8, 5\], got None"),
        ("b_weight", torch.zeros(8, 6), ValueError, "b_weight must have shape"),
        ("b_bias", torch.zeros(8, dtype=torch.int32), TypeError,
         "b_bias must be a floating-point tensor, got torch.int32"),
        ("u_scale", torch.zeros(8), TypeError, "u_shift must be a tensor .*, got None"),
        ("v_scale", torch.zeros(7), ValueError, "v_scale must have shape"),
        ("norm_weight", torch.zeros(5), TypeError, "norm_bias must be a tensor .*, got None"),
    ],
)  # fmt: skip
def test_bad_input(ops, name, value, error, words):
    with pytest.raises(error, match=f"^{words}"):
        ops.selective_fusion(**fusion_inputs() | {name: value})


def test_statistics_of_one_sample_are_refused(ops):
    with pytest.raises(ValueError, match="u must have more than one sample for batch statistics"):
        ops.selective_fusion(**fusion_inputs((1, 8, 6, 8), norm=True))
