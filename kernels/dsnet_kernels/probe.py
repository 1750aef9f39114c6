"""Whether a module written elsewhere computes what ours does: both are run and compared.

Copies with random weights are run on the CPU in float64: in evaluation and in training mode, at two
sizes, forward and backward, on random numbers and on numbers of which many are equal.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils import parametrize

# More values than that are not probed at the second size, unless the first has more.
MOST_VALUES = 1 << 22
LARGE = (72, 136)
HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


class Case(NamedTuple):
    """One run of a probe."""

    training: bool
    shape: tuple[int, int, int, int]
    ties: bool

    def __str__(self) -> str:
        mode = "training" if self.training else "evaluation"
        equal = ", where values are equal" if self.ties else ""
        return f"in {mode} mode, of {list(self.shape)}{equal}"


def cases(channels: int, side: int) -> list[Case]:
    """Both modes at a size from `side` on and, if memory allows, a large one."""
    small = (2, channels, side, side + 1)
    found = [Case(mode, small, ties) for ties in (False, True) for mode in (False, True)]
    large = (2, channels, max(LARGE[0], 2 * side), max(LARGE[1], 2 * side))
    while large[2] > 2 * side and torch.Size(large).numel() > MOST_VALUES:
        large = (2, channels, large[2] // 2, large[3] // 2)
    return found + [Case(mode, large, False) for mode in (False, True)]


@torch.inference_mode(False)  # what is made in that mode has no gradient
def randomised(module: nn.Module) -> nn.Module:
    """A copy in float64 on the CPU, with random weights that all need gradients.

    Raises
    ------
    ValueError
        For a module with hooks, parametrizations or dropout, which a conversion would lose.
    """
    name = type(module).__name__
    for path, part in module.named_modules():
        # Those of the module itself stay with a host whose forward alone is swapped.
        if path and any(getattr(part, hooks, None) for hooks in HOOKS):
            raise ValueError(
                f"module must have no hooks in its parts, got some at {path} in {name}"
            )
        if parametrize.is_parametrized(part):
            raise ValueError(f"module must not be parametrized, got {path or 'itself'} in {name}")
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0:
            raise ValueError(f"module must have no dropout, got {part} at {path} in {name}")
    copied = copy.deepcopy(module)
    # Of a host that Hugging Face `kernels` treated already the class has the forward.
    copied.__dict__.pop("forward", None)
    copied = copied.to("cpu", torch.float64)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (*copied.parameters(), *copied.buffers()):
            if tensor.is_floating_point():
                if tensor.dim() > 1:
                    fan_in = tensor[0].numel()
                    tensor.copy_(torch.randn(tensor.shape, generator=generator) / fan_in**0.5)
                else:  # a running variance may be among these
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    for parameter in copied.parameters():
        parameter.requires_grad_(True)
    return copied


@torch.inference_mode(False)
@torch.enable_grad()
def difference(
    host: nn.Module,
    ours: Callable[..., torch.Tensor],
    case: Case,
    inputs: int = 1,
    gradients: bool = True,
) -> str | None:
    """What differs between a module and ours in one case; None where nothing does.

    Parameters
    ----------
    host : nn.Module
        Of `randomised`; copies of it are run.
    ours : callable
        Takes a copy of the host and the inputs.
    case : Case
    inputs : int
        Tensors that the module takes, all of the case's shape.
    gradients : bool
        Whether to compare these, too.

    Returns
    -------
    "the output", "the statistics", "a gradient" or None

    Raises
    ------
    ValueError
        When the host does not run, or returns something of another shape, or at random.
    """
    name = type(host).__name__
    generator = torch.Generator().manual_seed(1)
    given = [_numbers(case, generator) for _ in range(inputs)]
    weigh = torch.randn(case.shape, generator=generator, dtype=torch.float64)
    found = []
    with torch.random.fork_rng(devices=[]):
        for run in (None, ours):
            module = copy.deepcopy(host).train(case.training)
            tensors = [tensor.clone().requires_grad_() for tensor in given]
            state = torch.get_rng_state()
            if run is None:
                y = _run(module, tensors, case)
                if not torch.equal(state, torch.get_rng_state()):
                    raise ValueError(f"module must draw no random numbers, got {name} {case}")
            else:
                y = run(module, *tensors)
            wanted = [*tensors, *module.parameters()]
            got: list[torch.Tensor | None] = [None] * len(wanted)
            if gradients and y.requires_grad:
                got = _gradients(y, weigh, wanted, name)
            found.append((y.detach(), list(module.buffers()), got))
    (y, buffers, got), (our_y, our_buffers, our_got) = found
    if not _close(y, our_y):
        return "the output"
    if not all(_close(a, b) for a, b in zip(buffers, our_buffers, strict=True)):
        return "the statistics"
    if not all(_close(a, b) for a, b in zip(got, our_got, strict=True)):
        return "a gradient"
    return None


def _gradients(y, weigh, wanted: list, name: str) -> list[torch.Tensor | None]:
    try:
        return list(torch.autograd.grad((y * weigh).sum(), wanted, allow_unused=True))
    except RuntimeError as error:
        raise ValueError(f"module must have gradients, got {error!r} from {name}") from error


def _numbers(case: Case, generator: torch.Generator) -> torch.Tensor:
    if not case.ties:
        return torch.randn(case.shape, generator=generator, dtype=torch.float64)
    x = torch.randint(-2, 3, case.shape, generator=generator).double()
    # Half of the pixels have 0 as their greatest channel: equal whatever gates are before.
    keep = torch.rand((case.shape[0], 1, *case.shape[2:]), generator=generator) < 0.5
    return torch.where(keep, x, x.clamp(max=0))


def _run(module: nn.Module, tensors: list[torch.Tensor], case: Case) -> torch.Tensor:
    name, count = type(module).__name__, {1: "one tensor"}.get(len(tensors), "two tensors")
    try:
        y = module(*(tensor.clone() for tensor in tensors))
    except Exception as error:
        raise ValueError(
            f"module must take {count} {list(case.shape)}, got {error!r} from {name}"
        ) from error
    if not isinstance(y, torch.Tensor) or y.shape != tensors[0].shape:
        got = list(y.shape) if isinstance(y, torch.Tensor) else type(y).__name__
        raise ValueError(
            f"module must return the gated x {list(case.shape)}, got {got} from {name} "
            "(a module that returns the gate alone is one half of a CBAM)"
        )
    return y


def _close(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    if a is None or b is None:
        # Unused is a gradient of nothing.
        left = a if b is None else b
        return left is None or not left.any()
    if a.shape != b.shape:
        return False
    scale = float(b.abs().max()) if b.numel() else 0.0
    return torch.allclose(a.double(), b.double(), rtol=1e-6, atol=1e-9 * (1 + scale))
