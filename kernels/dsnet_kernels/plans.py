"""The short way of a call in eager mode: what Python works out for it is kept and used again.

To eager mode a custom operator is half a millisecond of Python and dispatcher. Where nothing but
autograd looks on, an operation therefore is one `torch.autograd.Function`. Its checks, its
layouts and its launches depend on no value, but on shapes, strides, dtypes, devices, alignments
and options alone. A `Plan` keeps them by these: the first call records the launches, later ones
repeat them with other pointers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad

from .launch import OptionalTensor, tile_choices
from .launches import Launches, Recording

PLAIN = (torch.Tensor, torch.nn.Parameter)
MOST_PLANS = 1024


def alone() -> bool:
    """Whether nothing but autograd looks on: no compiler, tracer or mode, nothing of `torch.func`.

    Those see a custom operator, and would not see what a plan does.
    """
    return not (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None
        or forward_ad._current_level >= 0
    )


def described(tensors: Sequence[OptionalTensor]) -> tuple | None:
    """What of these tensors checks and launches depend on; None where memory is not all of one.

    Subclasses, lazy negatives and lazy zeros are the dispatcher's affair; a list is an error's.
    """
    found = []
    for t in tensors:
        if t is None:
            found.append(None)
        elif type(t) not in PLAIN or t.layout != torch.strided or t.is_neg() or t._is_zerotensor():
            return None
        else:
            # Kernels are compiled for pointers that 16 divides, or for any.
            found.append((t.shape, t.stride(), t.dtype, t.device, t.data_ptr() % 16))
    return tuple(found)


class Call:
    """What an operation tells of its calls that are described alike; holds no tensor.

    Attributes
    ----------
    kept : sequence of bool
        Which of the call's tensors the backward needs.
    keeps_output : bool
    updated : sequence of int
        Which of the tensors the launches write.
    """

    kept: Sequence[bool]
    keeps_output = False
    updated: Sequence[int] = ()

    def forward(self, launches: Launches, *tensors: Any) -> list[torch.Tensor]:
        """Allocate the output and one buffer of what else is kept, and launch."""
        raise NotImplementedError

    def backward(self, launches: Launches, *given: Any) -> list[torch.Tensor]:
        """Gradients from the output's, the output or None, the buffer, and what is kept."""
        raise NotImplementedError

    def operator(self, *given: Any) -> list[torch.Tensor]:
        """`backward` by the custom operator, where more than autograd looks on."""
        raise NotImplementedError

    def settle(self, buffer: torch.Tensor, tensors: Sequence[Any]) -> None:
        """Do what is left of a forward."""

    def sorted(self, gradients: list[torch.Tensor]) -> list[OptionalTensor]:
        """Gradients of the call's tensors, in their dtypes."""
        raise NotImplementedError


def typed(gradients: Sequence[torch.Tensor], dtypes: Sequence[Any]) -> list[OptionalTensor]:
    """Gradients in these dtypes; None where there is none, that of a tensor that is absent."""
    return [
        None if dtype is None else gradient if gradient.dtype is dtype else gradient.to(dtype)
        for gradient, dtype in zip(gradients, dtypes, strict=True)
    ]


def dtypes_of(tensors: Sequence[OptionalTensor]) -> list[torch.dtype | None]:
    """Dtypes; None of a tensor that is absent."""
    return [None if t is None else t.dtype for t in tensors]


class Plan:
    """What is kept of the calls that are described alike; without a call they are the reference's.

    `known` has by a key what repeats launches; tensors given under one key are described alike.
    """

    __slots__ = ("call", "known")

    def __init__(self, call: Call | None):
        self.call: Any = call
        self.known: dict[Any, Callable[[Sequence[OptionalTensor]], list[torch.Tensor]]] = {}

    def run(
        self, key: Any, given: Sequence[OptionalTensor], host: Callable[..., list[torch.Tensor]]
    ) -> list[torch.Tensor]:
        """The results of ``host(launches, *given)``, by what is known of its launches."""
        known = self.known.get(key)
        if known is not None:
            return known(given)
        # Each an object of its own, whichever are the same.
        aliases = [None if t is None else t.detach() for t in given]
        recording = Recording(aliases)
        results = host(recording, *aliases)
        replay = recording.replay()
        if len(self.known) >= MOST_PLANS:
            self.known.clear()
        self.known[key] = replay or (lambda given: host(Launches(), *given))
        return results

    def forward(self, tensors: Sequence[OptionalTensor]) -> list[torch.Tensor]:
        """The output, and one buffer of what else the backward needs."""
        call = self.call
        out, buffer = self.run("forward", tensors, call.forward)
        for i in call.updated:
            # Autograd shall know of it, as of any change in place.
            torch.autograd.graph.increment_version(tensors[i])  # type: ignore[arg-type]
        call.settle(buffer, tensors)
        return [out, buffer]

    def backward(self, given: Sequence[OptionalTensor]) -> list[torch.Tensor]:
        """Gradients from what `Call.backward` is given."""
        # Hooks on what is saved may have brought it back in another layout.
        key = described(given) if alone() and not torch.is_grad_enabled() else None
        if key is None:
            return self.call.operator(*given)
        return self.run(key, given, self.call.backward)

    def __call__(self, tensors: Sequence[OptionalTensor]) -> torch.Tensor:
        """The output for these tensors, with a gradient."""
        if torch.is_grad_enabled():
            return _Fused.apply(self, *tensors)
        return self.forward(tensors)[0]


class _Fused(torch.autograd.Function):
    """A call of an operation, by its plan."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Any) -> torch.Tensor:
        out, buffer = plan.forward(tensors)
        call = plan.call
        kept = (t if keep else None for t, keep in zip(tensors, call.kept, strict=True))
        ctx.save_for_backward(out if call.keeps_output else None, buffer, *kept)
        ctx.plan = plan
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        found = ctx.plan.backward((*gradients, *ctx.saved_tensors))
        return None, *ctx.plan.call.sorted(found)


# By operation, description of the tensors, options and choice of tiles.
PLANS: dict[Any, Plan] = {}


def plan_of(
    operation: str,
    tensors: Sequence[OptionalTensor],
    options: tuple,
    make: Callable[..., Call | None],
) -> Plan | None:
    """The plan of a call; None where the tensors have more to them than memory.

    Parameters
    ----------
    operation : str
    tensors : sequence of Tensor or None
    options : tuple
        Numbers and flags.
    make : callable
        Takes the tensors and the options, checks them, and returns a `Call`, or None where the
        reference answers.
    """
    description = described(tensors)
    if description is None:
        return None
    key = operation, description, options, tile_choices()
    plan = PLANS.get(key)
    if plan is None:
        plan = Plan(make(tensors, *options))
        if len(PLANS) >= MOST_PLANS:
            PLANS.clear()
        PLANS[key] = plan
    return plan
