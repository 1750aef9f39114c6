"""Selective fusion under torch.library's checks, torch.compile, fake tensors and autocast."""

import sys

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from compare import relative_rms, run
from operations import FUSION_KINDS, fusion_inputs, gradient_for

NAMES = (
    "u", "v", "fc_weight", "fc_bias", "a_weight", "a_bias", "b_weight", "b_bias", "norm_weight",
    "norm_bias", "running_mean", "running_var",
)  # fmt: skip
PROLOGUE = ("u_scale", "u_shift", "v_scale", "v_shift")


def operators(ops):
    namespace = getattr(torch.ops, sys.modules[ops.selective_fusion.__module__].NAMESPACE)
    return namespace.selective_fusion.default, namespace.selective_fusion_backward.default


def forward_arguments(inputs: dict) -> tuple:
    batch_stats = "norm_weight" in inputs and inputs["training"]
    head, tail = ([inputs.get(name) for name in names] for names in (NAMES, PROLOGUE))
    return *head, batch_stats, 1e-5, *tail, 0.01


def backward_arguments(inputs: dict, gradient, saved) -> tuple:
    weights = ("fc_weight", "a_weight", "b_weight", "norm_weight", "norm_bias")
    rest = forward_arguments(inputs)
    return (
        gradient, inputs["u"], inputs["v"], saved, *(inputs.get(name) for name in weights),
        rest[12], *rest[14:],
    )  # fmt: skip


STRIDES = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(2, 3),
    "sliced": lambda x: x[1:, 1:],
    "expanded": lambda x: x[:1].expand(x.shape),
    "channels_last sliced": lambda x: x.contiguous(memory_format=torch.channels_last)[:, :3],
    "empty": lambda x: x[:0],
    "one pixel": lambda x: x[..., :1, :1],
}


@pytest.mark.parametrize("layout", STRIDES)
def test_opcheck_strides(ops, device, layout):
    """The fakes' shapes, dtypes and strides are those of the operators, for every layout."""
    forward, backward = operators(ops)
    u, v, gradient = (STRIDES[layout](x) for x in torch.randn(3, 3, 6, 5, 5, device=device))
    for given in ({"u": u}, {"v": v}):
        inputs = fusion_inputs(u.shape, device=device, prologue="v") | given
        arguments = forward_arguments(inputs)
        torch.library.opcheck(forward, arguments, test_utils="test_faketensor")
        _, *saved = forward(*arguments)
        arguments = backward_arguments(inputs, gradient, saved)
        torch.library.opcheck(backward, arguments, test_utils="test_faketensor")


@pytest.mark.parametrize("kind", ["plain", "all"])
def test_opcheck(ops, device, kind):
    inputs = fusion_inputs((2, 4, 3, 4), device=device, **FUSION_KINDS[kind])
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor) and not name.startswith("running"):
            value.requires_grad_()
    torch.library.opcheck(operators(ops)[0], forward_arguments(inputs))


@pytest.mark.parametrize(("kind", "channels_last"), [("plain", False), ("all", True)])
def test_one_graph_for_all_batches(ops, device, kind, channels_last):
    """fullgraph, forward and backward; a second graph for dynamic batches and no third."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(ops.selective_fusion, fullgraph=True, backend=counter)
    for batch in (2, 3, 5):
        inputs = fusion_inputs(
            (batch, 8, 4, 5), channels_last=channels_last, device=device, **FUSION_KINDS[kind]
        )
        got, want = (run(f, inputs, gradient_for(inputs)) for f in (compiled, ops.selective_fusion))
        for name, value in want.items():
            if value is not None:
                assert got[name].stride() == value.stride(), name
                assert torch.equal(got[name], value), name
    assert counter.frame_count <= 2


def test_reference_compiles(ops):
    torch._dynamo.reset()
    inputs = fusion_inputs(norm=True, prologue="u", dtype=torch.float64)
    compiled = torch.compile(ops.selective_fusion, fullgraph=True, backend="aot_eager")
    assert relative_rms(compiled(**inputs), ops.selective_fusion_reference(**inputs)) < 1e-12


def test_autocast_changes_nothing(ops, device):
    """Sums and products are float32 anyway: the result keeps u's dtype and value."""
    inputs = fusion_inputs(dtype=torch.bfloat16, device=device)
    want = ops.selective_fusion(**inputs)
    reference = ops.selective_fusion_reference(**inputs)
    with torch.autocast(device, torch.bfloat16):
        assert torch.equal(ops.selective_fusion(**inputs), want)
        assert torch.equal(ops.selective_fusion_reference(**inputs), reference)


def test_fake_gpu_tensors(ops):
    """For a GPU that is not there: one operator forward, one backward, on that device."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    inputs = fusion_inputs((2, 8, 4, 5), dtype=torch.bfloat16, channels_last=True, prologue="uv")
    called = []

    class Calls(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            called.append(str(function))
            return function(*args, **kwargs or {})

    def fake(t):
        return torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="cuda")

    with FakeTensorMode(), torch.no_grad():
        given = {k: fake(v) for k, v in inputs.items() if isinstance(v, torch.Tensor)}
        with Calls():
            out = ops.selective_fusion(**given)
        _, *saved = operators(ops)[0](*forward_arguments(given))
        du, dv, *gradients = operators(ops)[1](*backward_arguments(given, out, saved))
    assert [name for name in called if "selective" in name] == [str(operators(ops)[0])]
    assert out.stride() == du.stride() == dv.stride() == given["u"].stride()
    assert out.dtype == du.dtype == dv.dtype == torch.bfloat16
    assert all(t.device.type == "cuda" for t in (out, du, dv, *saved, *gradients))
