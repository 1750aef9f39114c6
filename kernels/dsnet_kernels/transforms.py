"""What `torch.func`, `torch.vmap` and second derivatives do with an operator."""

from collections.abc import Callable
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad

from .launch import OptionalTensor


def is_transformed(*tensors: OptionalTensor) -> bool:
    """Whether `torch.func` or forward-mode differentiation is at work on these.

    Neither knows the gradients of a custom operator: where forward mode meets one, tangents are
    lost without a word. The reference is right under both.
    """
    if torch._C._are_functorch_transforms_active():
        return True
    return any(t is not None and forward_ad.unpack_dual(t).tangent is not None for t in tensors)


def each_of_batch(operator: Callable[..., Any], batched: int = 0):
    """A rule of `torch.vmap` for a backward operator, whose first argument alone has a batch.

    `torch.autograd.grad` asks for it with ``is_grads_batched=True``; one gradient after the other.
    """

    def rule(info, in_dims, *arguments):
        given = list(arguments)
        dims = [d for d in in_dims if isinstance(d, int)]
        if len(dims) != 1 or in_dims[batched] is None:
            raise NotImplementedError(
                "torch.vmap must be over the gradients alone: take autograd's"
            )
        results = []
        for one in arguments[batched].unbind(in_dims[batched]):
            given[batched] = one
            results.append(operator(*given))
        stacked = [torch.stack(parts) for parts in zip(*results, strict=True)]
        return stacked, [0] * len(stacked)

    return rule


def no_double_backward(operation: str):
    """A backward for a backward operator: second derivatives are refused in so many words."""

    def backward(ctx, *gradients):
        raise NotImplementedError(
            f"{operation} has no second derivative; take {operation}_reference where one is needed"
        )

    return backward
