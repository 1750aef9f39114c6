"""Selective fusion's kernels against the reference: values, gradients, sizes, NaN."""

import pytest
import torch

from compare import compare, relative_rms, run
from operations import FUSION_KINDS, fusion_inputs, gradient_for


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", FUSION_KINDS)
def test_matches_reference(ops, device, kind, channels_last):
    inputs = fusion_inputs(channels_last=channels_last, device=device, **FUSION_KINDS[kind])
    compare(ops.selective_fusion, ops.selective_fusion_reference, inputs, gradient_for(inputs))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_is_no_worse_than_eager(ops, device, dtype, channels_last):
    """Against the float32 reference, and beside the same steps rounded to half each."""
    inputs = fusion_inputs((4, 32, 8, 8), dtype, channels_last, device, prologue="uv")
    gradient = gradient_for(inputs)
    compare(ops.selective_fusion, ops.selective_fusion_reference, inputs, gradient)
    want = run(ops.selective_fusion_reference, inputs, gradient, torch.float32)
    ours = run(ops.selective_fusion, inputs, gradient)
    eager = run(eager_selective_fusion, inputs, gradient, dtype)
    # The interpreter cuts bfloat16 off where the GPU rounds: twice the error.
    slack = 2 if dtype == torch.bfloat16 and device == "cpu" else 1
    for name in want:
        limit = slack * max(relative_rms(eager[name], want[name]), 1e-5)
        assert relative_rms(ours[name], want[name]) <= limit, name


def eager_selective_fusion(
    u, v, fc_weight, fc_bias, a_weight, a_bias, b_weight, b_bias, u_scale, u_shift, v_scale, v_shift
):
    """The module as people write it, every step in u's dtype."""
    functional = torch.nn.functional
    u, v = (
        functional.leaky_relu(x * scale[:, None, None] + shift[:, None, None], 0.01)
        for x, scale, shift in ((u, u_scale, u_shift), (v, v_scale, v_shift))
    )
    z = functional.relu(functional.linear((u + v).mean((2, 3)), fc_weight, fc_bias))
    logits = [functional.linear(z, a_weight, a_bias), functional.linear(z, b_weight, b_bias)]
    a, b = torch.softmax(torch.stack(logits), 0)[..., None, None]
    return a * u + b * v


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1, 1), (1, 3, 1, 7), (3, 5, 7, 1), (1, 67, 5, 3), (2, 130, 3, 3), (1, 2, 33, 65)],
    ids=str,
)
def test_odd_sizes(ops, device, shape, channels_last):
    inputs = fusion_inputs(
        shape, channels_last=channels_last, device=device, norm=True, training=False,
        prologue="uv", hidden=3,
    )  # fmt: skip
    compare(
        ops.selective_fusion, ops.selective_fusion_reference, inputs, gradient_for(inputs), 2e-5
    )


@pytest.mark.parametrize(("channels", "hidden"), [(24, 1), (24, 70), (300, 40)])
def test_hidden_sizes_without_biases(ops, device, channels, hidden):
    """Fewer hidden units than a block, several blocks, blocks cut by many channels."""
    inputs = fusion_inputs((3, channels, 3, 3), device=device, bias=False, hidden=hidden)
    compare(ops.selective_fusion, ops.selective_fusion_reference, inputs, gradient_for(inputs))


def test_a_batch_of_many_blocks_is_normed(ops, device):
    """More samples than the norm's kernels hold at a time, and hidden units in two programs."""
    inputs = fusion_inputs((37, 6, 2, 3), device=device, norm=True, hidden=35)
    compare(ops.selective_fusion, ops.selective_fusion_reference, inputs, gradient_for(inputs))


def test_statistics_far_from_zero(ops, device):
    """Hidden units whose mean is a thousand times their deviation keep their norm."""
    inputs = fusion_inputs((8, 16, 4, 4), device=device, norm=True)
    inputs["fc_bias"] = torch.full((5,), 1000.0, device=device)
    got = ops.selective_fusion(**inputs)
    wide = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
    assert relative_rms(got, ops.selective_fusion_reference(**wide)) < 1e-3


def test_many_chunks_are_joined(ops, launch, device, monkeypatch):
    """Several blocks of channels, several chunks of several blocks of pixels, and odd rests."""
    for channels_last in (False, True):
        monkeypatch.setattr(launch, "PROGRAMS", 9)
        launch.choose_tile("selective_fusion", channels_last, launch.Tile(4, 32, 1))
        inputs = fusion_inputs(
            (2, 10, 11, 23), channels_last=channels_last, device=device, prologue="uv"
        )
        at = launch.walk("selective_fusion", channels_last, 10, 11 * 23)
        assert at.c_blocks > 1
        assert at.splits > 1
        assert at.chunk > at.block_p > 16
        try:
            compare(
                ops.selective_fusion, ops.selective_fusion_reference, inputs, gradient_for(inputs)
            )
        finally:
            launch.choose_tile("selective_fusion", channels_last, None)


@pytest.mark.parametrize("kind", ["plain", "all"])
def test_empty_batch(ops, device, kind):
    inputs = fusion_inputs((0, 8, 4, 4), device=device, **FUSION_KINDS[kind])
    got = run(ops.selective_fusion, inputs, gradient_for(inputs))
    assert got["out"].shape == (0, 8, 4, 4)
    for name, value in got.items():
        if name.startswith("running"):
            assert torch.equal(value, inputs[name])
        elif value is not None:
            assert not value.any(), name


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
    inputs["a_bias"] = torch.full((16,), 500.0, device=device)
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
    inputs = fusion_inputs(device=device, channels_last=True, **FUSION_KINDS[kind])
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


def test_same_bits_again_and_in_any_batch(ops, device):
    inputs = fusion_inputs((3, 16, 8, 8), device=device, prologue="uv")
    gradient = gradient_for(inputs)
    first, second = (run(ops.selective_fusion, inputs, gradient) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    one = inputs | {name: inputs[name][1:2] for name in "uv"}
    alone = run(ops.selective_fusion, one, gradient[1:2])
    for name in ("out", "u", "v"):
        assert torch.equal(alone[name], first[name][1:2]), name


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


@pytest.mark.parametrize("kind", ["all", "all-eval"])
def test_gradcheck_of_the_reference(ops, kind):
    inputs = fusion_inputs((3, 4, 2, 3), hidden=3, **FUSION_KINDS[kind])
    if inputs["training"]:
        del inputs["running_mean"], inputs["running_var"]
    names = [k for k, t in inputs.items() if torch.is_tensor(t) and not k.startswith("running")]
    values = [inputs[name].double().requires_grad_() for name in names]

    def function(*tensors):
        return ops.selective_fusion(**inputs | dict(zip(names, tensors, strict=True)))

    assert torch.autograd.gradcheck(function, values)


def test_second_derivative_is_refused(ops, device):
    inputs = fusion_inputs(device=device)
    u = inputs["u"].requires_grad_()
    out = ops.selective_fusion(**inputs)
    (du,) = torch.autograd.grad(out.square().sum(), u, create_graph=True)
    with pytest.raises(NotImplementedError, match="selective_fusion_reference"):
        du.sum().backward()


def test_frozen_parameters_and_no_grad(ops, device):
    inputs = fusion_inputs(device=device)
    inputs["v"].requires_grad_()
    ops.selective_fusion(**inputs).sum().backward()
    assert inputs["v"].grad is not None
    assert inputs["u"].grad is None
    assert inputs["fc_weight"].grad is None
    with torch.no_grad():
        assert not ops.selective_fusion(**inputs).requires_grad


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("u", torch.zeros(4, 16, 6), ValueError, "u has shape"),
        ("u", torch.zeros(4, 16, 0, 6), ValueError, "only the batch"),
        ("v", torch.zeros(4, 16, 6, 9), ValueError, "v has shape"),
        ("fc_weight", torch.zeros(5, 15), ValueError, "fc_weight has shape"),
        ("a_weight", None, TypeError, "a_weight is None"),
        ("b_weight", torch.zeros(16, 6), ValueError, "b_weight has shape"),
        ("b_bias", torch.zeros(16, dtype=torch.int32), TypeError, "floating"),
        ("u_scale", torch.zeros(16), TypeError, "u_shift is None"),
        ("v_scale", torch.zeros(15), ValueError, "v_scale has shape"),
        ("norm_weight", torch.zeros(5), TypeError, "norm_bias is None"),
    ],
)
def test_bad_input(ops, name, value, error, words):
    with pytest.raises(error, match=words):
        ops.selective_fusion(**fusion_inputs() | {name: value})


def test_statistics_of_one_sample_are_refused(ops):
    with pytest.raises(ValueError, match="more than one sample"):
        ops.selective_fusion(**fusion_inputs((1, 16, 6, 8), norm=True))


def test_warmup_runs_forward_and_backward(ops, device):
    shapes = [(1, 8, 4, 4), (2, 3, 2, 5)]
    options = {"hidden": 3, "bias": True, "prologue": True, "device": device}
    assert ops.warmup_selective_fusion(shapes, channels_last=True, **options) == {}
    assert ops.warmup_selective_fusion(shapes[:1], backward=False, norm=False, device=device) == {}
    with pytest.raises(ValueError, match="nothing would be compiled"):
        ops.warmup_selective_fusion(shapes, dtype=torch.float64, device=device)


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "shape", [(4, 64, 256, 256), (2, 128, 128, 128), (1, 512, 32, 32), (1, 9, 1024, 1024)]
)
def test_real_shapes_on_a_gpu(ops, device, shape, dtype, channels_last):
    inputs = fusion_inputs(
        shape, dtype, channels_last, device, norm=True, training=shape[0] > 2, prologue="uv",
        hidden=32,
    )  # fmt: skip
    compare(ops.selective_fusion, ops.selective_fusion_reference, inputs, gradient_for(inputs))


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [False, True])
def test_warmup_finds_a_tile(ops, launch, channels_last):
    shapes = [(4, 64, 64, 64)]
    measured = ops.warmup_selective_fusion(shapes, channels_last=channels_last, find_tile=True)
    launch.choose_tile("selective_fusion", channels_last, None)
    assert set(measured) == set(launch.TILES[channels_last])
    assert all(time > 0 for time in measured.values())
