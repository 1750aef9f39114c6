"""torch.library's checks, torch.compile, fake tensors and autocast."""

import sys

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from compare import relative_rms, run
from operations import gradient_for, tensors_of
from suites.suite import Suite

FAKED = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(2, 3),
    "sliced": lambda x: x[1:, 1:],
    "expanded": lambda x: x[:1].expand(x.shape),
    "channels_last sliced": lambda x: x.contiguous(memory_format=torch.channels_last)[:, :3],
    "empty": lambda x: x[:0],
    "one pixel": lambda x: x[..., :1, :1],
}


class Compile(Suite):
    def operators(self, ops):
        module = sys.modules[self.operation.fused(ops).__module__]
        namespace = getattr(torch.ops, module.NAMESPACE)
        names = self.operation.name, f"{self.operation.name}_backward"
        return [getattr(namespace, name).default for name in names]

    @pytest.mark.parametrize("layout", FAKED)
    def test_opcheck_strides(self, ops, device, layout):
        """The fakes' shapes, dtypes and strides are those of the operators, for every layout."""
        forward, backward = self.operators(ops)
        x, gradient = (FAKED[layout](x) for x in torch.randn(2, 3, 4, 3, 3, device=device))
        for name in self.operation.images:
            inputs = self.inputs(x.shape, device=device, **self.operation.both_images) | {name: x}
            arguments = self.operation.forward(inputs)
            torch.library.opcheck(forward, arguments, test_utils="test_faketensor")
            if name == self.operation.images[0]:
                arguments = self.operation.backward(inputs, gradient, forward(*arguments))
                torch.library.opcheck(backward, arguments, test_utils="test_faketensor")

    @pytest.mark.parametrize("kind", ["plain", "all"])
    def test_opcheck(self, ops, device, kind):
        inputs = self.kind((2, 4, 3, 4), kind=kind, device=device)
        for name, value in tensors_of(inputs).items():
            value.requires_grad_(not name.startswith("running"))
        torch.library.opcheck(self.operators(ops)[0], self.operation.forward(inputs))

    @pytest.mark.parametrize(("kind", "channels_last"), [("plain", False), ("all", True)])
    def test_one_graph_for_all_batches(self, ops, device, kind, channels_last):
        """fullgraph, forward and backward; a second graph for dynamic batches and no third."""
        torch._dynamo.reset()
        counter = CompileCounterWithBackend("aot_eager")
        fused = self.operation.fused(ops)
        compiled = torch.compile(fused, fullgraph=True, backend=counter)
        for batch in (2, 3, 5):
            inputs = self.kind(
                (batch, 4, 3, 4), kind=kind, channels_last=channels_last, device=device
            )
            got, want = (run(f, inputs, gradient_for(inputs)) for f in (compiled, fused))
            for name, value in want.items():
                assert got[name].stride() == value.stride(), name
                assert torch.equal(got[name], value), name
        assert counter.frame_count <= 2

    def test_reference_compiles(self, ops):
        torch._dynamo.reset()
        inputs = self.inputs(dtype=torch.float64, **self.operation.compiled)
        compiled = torch.compile(self.operation.fused(ops), fullgraph=True, backend="aot_eager")
        want = self.operation.reference(ops)(**inputs)
        assert relative_rms(compiled(**inputs), want) < 1e-12

    def test_autocast_changes_nothing(self, ops, device):
        """Sums and products are float32 anyway: the result keeps its dtype and value."""
        inputs = self.inputs(dtype=torch.bfloat16, device=device, **self.operation.both_images)
        for function in (self.operation.fused(ops), self.operation.reference(ops)):
            want = function(**inputs)
            with torch.autocast(device, torch.bfloat16):
                assert torch.equal(function(**inputs), want)

    def test_fake_gpu_tensors(self, ops):
        """For a GPU that is not there: one operator forward, one backward, on that device."""
        from torch._subclasses.fake_tensor import FakeTensorMode

        inputs = self.inputs(
            (2, 8, 4, 5), dtype=torch.bfloat16, channels_last=True, **self.operation.both_images
        )
        forward, backward = self.operators(ops)
        called = []

        class Calls(torch.utils._python_dispatch.TorchDispatchMode):
            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                called.append(str(function))
                return function(*args, **kwargs or {})

        def fake(t):
            return torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="cuda")

        with FakeTensorMode(), torch.no_grad():
            there = {name: fake(value) for name, value in tensors_of(inputs).items()}
            with Calls():
                out = self.operation.fused(ops)(**there)
            results = forward(*self.operation.forward(there))
            dx, *gradients = backward(*self.operation.backward(there, out, results))
        assert [name for name in called if self.operation.name in name] == [str(forward)]
        x = there[self.operation.images[0]]
        assert out.stride() == dx.stride() == x.stride()
        assert out.dtype == dx.dtype == torch.bfloat16
        assert all(t.device.type == "cuda" for t in (out, dx, *results, *gradients))
