"""Batch norms within an operation: their running statistics, and what modules give of them."""

from typing import Any

import torch


def blend(running_mean, running_var, mean, var, count, momentum) -> None:
    """Blend a batch's mean and (biased) variance into the running ones, if there are any."""
    if running_mean is None:
        return
    with torch.no_grad():
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((var * (count / (count - 1))).to(running_var.dtype), momentum)


def in_kernels_reach(*running: Any) -> bool:
    """Whether a kernel can write these running statistics where they lie."""
    return all(t.dtype == torch.float32 and t.is_contiguous() for t in running)


def settle(running_mean, running_var, mean, var, new_mean, new_var, count, momentum) -> None:
    """Take over running statistics that a kernel blended in float32, if they are of that dtype.

    Others are blended here, in their own.
    """
    if {running_mean.dtype, running_var.dtype} != {torch.float32}:
        blend(running_mean, running_var, mean, var, count, momentum)
        return
    with torch.no_grad():
        running_mean.copy_(new_mean)
        running_var.copy_(new_var)


def require_local(norm: Any) -> None:
    """Raise for a batch norm that is not PyTorch's own, or that needs other processes' statistics.

    Raises
    ------
    TypeError
        For a module of another forward.
    ValueError
        For a SyncBatchNorm in training, of several processes.
    """
    if isinstance(norm, torch.nn.SyncBatchNorm):
        if norm.training and torch.distributed.is_initialized():
            count = torch.distributed.get_world_size(norm.process_group)
            if count > 1:
                raise ValueError(
                    "norm must take this process' statistics alone, got a SyncBatchNorm of "
                    f"{count} processes: leave it out of convert_sync_batchnorm"
                )
    elif type(norm).forward is not torch.nn.modules.batchnorm._BatchNorm.forward:
        raise TypeError(f"norm must be a batch norm of PyTorch, got a {type(norm).__name__}")


def norm_arguments(norm: Any) -> dict[str, Any]:
    """What an operation needs of a batch norm module; counts the batch as that module would."""
    require_local(norm)
    if norm.momentum is None:
        raise ValueError("norm.momentum must be a number, got None (a cumulative average)")
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return {
        "norm_weight": norm.weight,
        "norm_bias": norm.bias,
        "running_mean": norm.running_mean,
        "running_var": norm.running_var,
        "training": norm.training,
        "momentum": norm.momentum,
        "eps": norm.eps,
    }
