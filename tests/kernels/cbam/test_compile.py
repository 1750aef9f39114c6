"""CBAM's operators under torch.library's checks, torch.compile, fake tensors and autocast."""

import subprocess
import sys

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from compare import relative_rms, run
from operations import CBAM_KINDS, cbam_inputs, gradient_for


def operators(ops):
    namespace = getattr(torch.ops, sys.modules[ops.cbam.__module__].NAMESPACE)
    return namespace.cbam.default, namespace.cbam_backward.default


def operator_arguments(inputs: dict) -> tuple:
    names = (
        "x", "fc1_weight", "fc1_bias", "fc2_weight", "fc2_bias", "conv_weight", "conv_bias",
        "norm_weight", "norm_bias", "running_mean", "running_var",
    )  # fmt: skip
    batch_stats = "norm_weight" in inputs and inputs["training"]
    head = [inputs.get(name) for name in names]
    return *head, batch_stats, 1e-5, *(inputs.get(name) for name in ("residual", "scale", "shift"))


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
    x = STRIDES[layout](torch.randn(3, 6, 5, 5, device=device))
    inputs = cbam_inputs(x.shape, device=device, residual=True)
    inputs["x"] = x
    arguments = operator_arguments(inputs)
    torch.library.opcheck(forward, arguments, test_utils="test_faketensor")
    y, *saved = forward(*arguments)
    rest = arguments[1:7]
    gradient = STRIDES[layout](torch.randn(3, 6, 5, 5, device=device))
    torch.library.opcheck(
        backward, (gradient, x, y, saved, *rest, None, False, torch.float32, None, None),
        test_utils="test_faketensor",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["plain", "all"])
def test_opcheck(ops, device, kind):
    inputs = cbam_inputs((2, 4, 3, 4), device=device, **CBAM_KINDS[kind])
    for value in inputs.values():
        if isinstance(value, torch.Tensor):
            value.requires_grad_()
    for name in ("running_mean", "running_var"):
        inputs[name] = inputs[name].detach() if name in inputs else None
    torch.library.opcheck(operators(ops)[0], operator_arguments(inputs))


@pytest.mark.parametrize(("kind", "channels_last"), [("plain", False), ("all", True)])
def test_one_graph_for_all_batches(ops, device, kind, channels_last):
    """fullgraph, forward and backward; a second graph for dynamic batches and no third."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(ops.cbam, fullgraph=True, backend=counter)
    for batch in (2, 3, 5):
        inputs = cbam_inputs(
            (batch, 8, 4, 5), channels_last=channels_last, device=device, **CBAM_KINDS[kind]
        )
        got, want = (run(f, inputs, gradient_for(inputs)) for f in (compiled, ops.cbam))
        for name, value in want.items():
            assert got[name].stride() == value.stride(), name
            assert torch.equal(got[name], value), name
    assert counter.frame_count <= 2


def test_reference_compiles(ops):
    torch._dynamo.reset()
    inputs = cbam_inputs(norm=True, residual=True, dtype=torch.float64)
    compiled = torch.compile(ops.cbam, fullgraph=True, backend="aot_eager")
    assert relative_rms(compiled(**inputs), ops.cbam_reference(**inputs)) < 1e-12


def test_autocast_changes_nothing(ops, device):
    """Sums and products are float32 anyway: the result keeps x's dtype and value."""
    inputs = cbam_inputs(dtype=torch.bfloat16, residual=True, device=device)
    want = ops.cbam(**inputs)
    with torch.autocast(device, torch.bfloat16):
        assert torch.equal(ops.cbam(**inputs), want)
        assert torch.equal(
            ops.cbam_reference(**inputs).to(want.dtype), ops.cbam_reference(**inputs)
        )


def test_fake_gpu_tensors(ops):
    """For a GPU that is not there: one operator forward, one backward, on that device."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    inputs = cbam_inputs((2, 8, 4, 5), dtype=torch.bfloat16, channels_last=True, residual=True)
    called = []

    class Calls(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            called.append(str(function))
            return function(*args, **kwargs or {})

    def fake(t):
        return torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="cuda")

    with FakeTensorMode(), torch.no_grad():
        given = {k: fake(v) for k, v in inputs.items() if isinstance(v, torch.Tensor)}
        x = given["x"]
        with Calls():
            out = ops.cbam(**given)
        y, *saved = operators(ops)[0](*operator_arguments(given))
        rest = operator_arguments(given)[1:7]
        dx, *gradients = operators(ops)[1](
            y, x, y, saved, *rest, None, False, torch.bfloat16, None, None
        )
    assert [name for name in called if "cbam" in name] == [str(operators(ops)[0])]
    assert out.stride() == dx.stride() == x.stride()
    assert out.dtype == dx.dtype == x.dtype
    assert all(t.device.type == "cuda" for t in (out, dx, *saved, *gradients))


def test_without_triton():
    """The package imports and the reference runs where Triton is not installed."""
    program = """
import sys
sys.modules["triton"] = None
import torch, dsnet_kernels
x, w1, w2, conv = (torch.ones(s) for s in ((1, 4, 3, 3), (2, 4), (4, 2), (1, 2, 3, 3)))
assert dsnet_kernels.cbam(x, w1, None, w2, None, conv).shape == x.shape
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1000:]
