"""Run an operation and its float32 reference on the same numbers and compare every tensor."""

import torch

TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


def relative_rms(got: torch.Tensor, want: torch.Tensor) -> float:
    got, want = got.double(), want.double()
    scale = want.square().mean().sqrt()
    error = (got - want).square().mean().sqrt()
    return float(error / scale) if scale > 0 else float(error)


def run(function, inputs: dict, gradient: torch.Tensor, dtype=None) -> dict[str, torch.Tensor]:
    """The output and the gradient of each floating tensor that is not a running statistic.

    Leaves keep the inputs' strides; with a dtype all floating tensors are cast first.
    """
    leaves = {}
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor):
            if dtype is not None:
                value = value.to(dtype)
            value = value.detach().clone() if name.startswith("running") else value.detach()
            value.requires_grad_(not name.startswith("running"))
        leaves[name] = value
    out = function(**leaves)
    out.backward(gradient.to(out.dtype))
    results = {"out": out.detach()}
    for name, value in leaves.items():
        if isinstance(value, torch.Tensor):
            results[name] = value if name.startswith("running") else value.grad
    return results


def assert_close(got: dict, want: dict, limit: float) -> None:
    """Assert that every tensor has the wanted one's shape, and at most this relative RMS error."""
    for name, value in want.items():
        assert got[name].shape == value.shape, name
        error = relative_rms(got[name], value)
        assert error <= limit, f"{name}: relative RMS {error:.2e} above {limit:.0e}"


def compare(function, reference, inputs: dict, gradient, tolerance: float | None = None) -> None:
    """Assert that the function's output and gradients are the float32 reference's."""
    got = run(function, inputs, gradient)
    want = run(reference, inputs, gradient, torch.float32)
    assert_close(got, want, tolerance or TOLERANCE[next(iter(inputs.values())).dtype])
