"""The short way of eager mode: launches that are repeated do what the operator does."""

import ctypes
import sys

import pytest
import torch

from compare import assert_close, relative_rms, run
from operations import CBAM, FUSION, gradient_for, tensors_of

OPERATIONS = {operation.name: operation for operation in (CBAM, FUSION)}
# By turns in one layout and the other; with every option in both.
KINDS = [
    (name, kind, bool(i % 2))
    for name, operation in OPERATIONS.items()
    for i, kind in enumerate(operation.kinds)
] + [(name, "all", False) for name in OPERATIONS]
CPU_ONLY = pytest.mark.skipif(torch.cuda.is_available(), reason="its kernels are interpreted")


def at(address: int, dtype: torch.dtype) -> torch.Tensor:
    """One number of the memory there: the interpreter reads on from its pointer."""
    return torch.frombuffer((ctypes.c_char * 64).from_address(address), dtype=dtype, count=1)


class Compiled:
    """A compiled kernel as Triton's: it takes integers for pointers, and is interpreted."""

    def __init__(self, kernel, args, options, repeated, constants):
        self.kernel, self.repeated, self.src = kernel, repeated, self
        values = dict(zip(kernel.arg_names, args, strict=False))
        # As Triton before 3.3 does, or as later ones.
        names = [name for name in kernel.arg_names if constants or name in values]
        self.signature = dict.fromkeys(names)
        self.dtypes = {k: v.dtype for k, v in values.items() if isinstance(v, torch.Tensor)}
        self.options = options

    def __getitem__(self, grid):
        assert len(grid) == 3

        def launch(*values):
            given = dict(zip(self.signature, values, strict=True))
            pointers = {name: at(given[name], dtype) for name, dtype in self.dtypes.items()}
            self.repeated.append(self.kernel)
            self.kernel[grid](**self.options | given | pointers)

        return launch


class Kernel:
    """Stands in an interpreted kernel's place, and returns what Triton would have compiled."""

    def __init__(self, kernel, repeated, constants):
        self.kernel, self.repeated, self.constants = kernel, repeated, constants
        self.arg_names = kernel.arg_names

    def __getitem__(self, grid):
        def launch(*args, **options):
            self.kernel[grid](*args, **options)
            return Compiled(self.kernel, args, options, self.repeated, self.constants)

        return launch


@pytest.fixture
def plans(ops):
    module = sys.modules[ops.__name__ + ".plans"]
    module.PLANS.clear()
    yield module
    module.PLANS.clear()


@pytest.fixture
def repeated(ops, plans, monkeypatch):
    """The kernels that were launched again, in order."""
    return stand_in(ops, monkeypatch, constants=True)


def stand_in(ops, monkeypatch, constants: bool) -> list:
    launched = []
    for name in OPERATIONS:
        for part in ("forward", "backward"):
            module = sys.modules[f"{ops.__name__}.{name}.{part}"]
            for key, value in list(vars(module).items()):
                if key.endswith("_kernel") and hasattr(value, "arg_names"):
                    monkeypatch.setattr(module, key, Kernel(value, launched, constants))
    return launched


def by_the_operator(operation, ops, plans, inputs, gradient):
    """What the custom operator computes, as compilers call it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[f"{ops.__name__}.{operation.name}.op"], "alone", lambda: False)
        return run(operation.fused(ops), inputs, gradient)


@CPU_ONLY
@pytest.mark.parametrize(("name", "kind", "channels_last"), KINDS)
def test_repeated_launches_compute_what_the_operator_does(
    ops, plans, repeated, name, kind, channels_last
):
    operation = OPERATIONS[name]
    for seed in (0, 1):
        options = operation.kinds[kind] | {"seed": seed, "channels_last": channels_last}
        inputs = operation.inputs((2, 4, 3, 4), **options)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        gradient = gradient_for(inputs, seed).contiguous(memory_format=layout)
        got = run(operation.fused(ops), inputs, gradient)
        # The first time forward and backward are recorded.
        assert bool(repeated) == (seed > 0)
        want = by_the_operator(operation, ops, plans, inputs, gradient)
        for key, value in want.items():
            assert got[key].stride() == value.stride(), key
            assert torch.equal(got[key], value), key
    if kind == "all":
        assert len(repeated) == operation.kernels
    assert len(plans.PLANS) == 1


@CPU_ONLY
@pytest.mark.parametrize("name", OPERATIONS)
def test_triton_that_takes_no_constants_at_a_launch(ops, plans, monkeypatch, name):
    """As before 3.3."""
    repeated = stand_in(ops, monkeypatch, constants=False)
    operation = OPERATIONS[name]
    inputs = operation.inputs((2, 4, 3, 4), **operation.kinds["plain"])
    gradient = gradient_for(inputs)
    first, second = (run(operation.fused(ops), inputs, gradient) for _ in range(2))
    assert repeated
    assert all(torch.equal(first[key], second[key]) for key in first)


@CPU_ONLY
def test_a_recording_does_not_take_two_arguments_for_one(ops, repeated):
    inputs = CBAM.inputs((2, 4, 3, 4), residual=True)
    once = inputs | {"residual": inputs["x"]}
    gradient = gradient_for(inputs)
    for given in (once, inputs, once):
        got, want = (run(f, given, gradient) for f in (ops.cbam, ops.cbam_reference))
        assert_close(got, want, 1e-5)
    assert repeated


@CPU_ONLY
@pytest.mark.parametrize("name", OPERATIONS)
def test_what_must_be_copied_is_copied_every_time(ops, repeated, name):
    operation = OPERATIONS[name]
    for seed in (0, 1):
        inputs = operation.inputs((2, 4, 3, 5), seed=seed)
        first = operation.images[0]
        inputs[first] = inputs[first].transpose(2, 3).contiguous().transpose(2, 3)
        gradient = gradient_for(inputs, seed)
        got, want = (
            run(f, inputs, gradient) for f in (operation.fused(ops), operation.reference(ops))
        )
        assert_close(got, want, 1e-5)
    assert not repeated


@CPU_ONLY
@pytest.mark.parametrize("name", OPERATIONS)
def test_saved_tensors_may_come_back_in_another_layout(ops, repeated, name):
    """As from the CPU's memory by `torch.autograd.graph.save_on_cpu`."""
    operation = OPERATIONS[name]
    inputs = operation.inputs((2, 4, 3, 5), channels_last=True)
    gradient = gradient_for(inputs)
    want = run(operation.reference(ops), inputs, gradient)

    def moved(tensor):
        return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)

    for _ in range(2):
        assert_close(run(operation.fused(ops), inputs, gradient), want, 1e-5)
        with torch.autograd.graph.saved_tensors_hooks(moved, lambda tensor: tensor):
            assert_close(run(operation.fused(ops), inputs, gradient), want, 1e-5)


@pytest.mark.parametrize("name", OPERATIONS)
def test_running_statistics_are_written_where_they_lie(ops, device, plans, name):
    operation = OPERATIONS[name]
    inputs = operation.inputs((3, 4, 3, 5), norm=True, device=device)
    theirs = {k: v.clone() for k, v in tensors_of(inputs).items() if k.startswith("running")}
    versions = {key: inputs[key]._version for key in theirs}
    for _ in range(2):
        operation.fused(ops)(**inputs)
        operation.reference(ops)(**inputs | theirs)
    for key, value in theirs.items():
        assert relative_rms(inputs[key], value) < 1e-5
        assert inputs[key]._version > versions[key]


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_running_statistics_keep_their_dtype(ops, device, plans, name, dtype):
    operation = OPERATIONS[name]
    inputs = operation.inputs((3, 4, 3, 5), norm=True, device=device)
    ours = {k: v.to(dtype) for k, v in tensors_of(inputs).items() if k.startswith("running")}
    theirs = {key: value.clone() for key, value in ours.items()}
    operation.fused(ops)(**inputs | ours)
    operation.reference(ops)(**inputs | theirs)
    for key, value in theirs.items():
        assert ours[key].dtype == dtype
        assert relative_rms(ours[key], value) < (1e-3 if dtype == torch.float16 else 1e-6)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_lazy_negative_is_no_memory_to_read(ops, device, plans, name):
    operation = OPERATIONS[name]
    inputs = operation.inputs((2, 4, 3, 5), device=device)
    first = operation.images[0]
    want = operation.reference(ops)(**inputs)
    twice = torch.stack([inputs[first], -inputs[first]], -1)
    inputs[first] = torch.view_as_complex(twice).conj().imag
    assert inputs[first].is_neg()
    assert relative_rms(operation.fused(ops)(**inputs), want) < 1e-5
    inputs[first] = inputs[first].resolve_neg().contiguous().requires_grad_()
    out = operation.fused(ops)(**inputs)
    gradient = torch.view_as_complex(torch.stack([out, out], -1)).conj().imag.detach()
    assert gradient.is_neg()
    (got,) = torch.autograd.grad(out, inputs[first], gradient, retain_graph=True)
    (want,) = torch.autograd.grad(out, inputs[first], -out.detach())
    assert relative_rms(got, want) < 1e-5


def test_a_subclass_and_a_mode_see_the_operator(ops, device, plans):
    inputs = CBAM.inputs((2, 4, 3, 5), device=device)
    seen = []

    class Mode(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **kwargs or {})

    class Kind(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            seen.append(getattr(function, "__name__", str(function)))
            return super().__torch_function__(function, types, args, kwargs or {})

    with Mode():
        ops.cbam(**inputs)
    assert any("::cbam" in name or ".cbam." in name for name in seen)
    seen.clear()
    assert type(ops.cbam(**inputs | {"x": inputs["x"].as_subclass(Kind)})) is Kind
    assert any("cbam" in name for name in seen)
    assert not plans.PLANS


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_call_is_checked_whatever_was_called_before(ops, device, plans, name):
    operation = OPERATIONS[name]
    inputs = operation.inputs((2, 4, 3, 5), device=device)
    first, second = operation.images
    want = operation.fused(ops)(**inputs)
    for _ in range(2):
        with pytest.raises(ValueError, match=f"{second} must have shape"):
            operation.fused(ops)(**inputs | {second: inputs[first][:1]})
    assert torch.equal(operation.fused(ops)(**inputs), want)
    assert len(plans.PLANS) == 1


def test_plans_are_not_kept_without_end(ops, device, plans, monkeypatch):
    monkeypatch.setattr(plans, "MOST_PLANS", 3)
    inputs = CBAM.inputs((1, 4, 1, 2), device=device)
    for step in range(7):
        # An option of its own for each.
        ops.cbam(**inputs, eps=1e-5 * (1 + step))
        assert len(plans.PLANS) <= 3


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_change_in_place_before_the_backward_is_found(ops, device, plans, name):
    operation = OPERATIONS[name]
    inputs = operation.inputs((2, 4, 3, 5), device=device)
    first = operation.images[0]
    leaf = inputs[first].clone().requires_grad_()
    image = leaf * 1
    out = operation.fused(ops)(**inputs | {first: image})
    image.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()
