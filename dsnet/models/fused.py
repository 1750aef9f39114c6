"""CBAM and selective fusion as modules; the only place that says where they come from.

Public
------
``CBAM(channels, reduction=16)``, ``.forward(x, residual=None, *, scale=None, shift=None)``
``SelectiveFusion(channels, reduction=16, *, norm=True, bias=False)``, ``.forward(u, v, *,
u_scale, u_shift, v_scale, v_shift, negative_slope)``
``fold_batch_norm(norm, x) -> (scale, shift)``
"""

from __future__ import annotations

from typing import Any

import torch

from dsnet_kernels import CBAM, SelectiveFusion
from dsnet_kernels.norms import require_local

__all__ = ["CBAM", "SelectiveFusion", "fold_batch_norm"]


# Any: for torch's stub a BatchNorm2d may lack its statistics and momentum.
def fold_batch_norm(norm: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What a batch norm does to x, as a scale and a shift that a fused operation can apply.

    In training mode the statistics are the batch's, gradients flow through them, and the running
    ones are updated, all as in the module itself.

    Parameters
    ----------
    norm : BatchNorm2d
        With affine weights and a fixed momentum.
    x : Tensor [N, C, H, W]

    Returns
    -------
    tuple of Tensor [C] and Tensor [C]
        ``norm(x) == x * scale[:, None, None] + shift[:, None, None]``, at least float32.

    Raises
    ------
    TypeError, ValueError
        For a norm of another forward, and for a SyncBatchNorm that several processes train.
    """
    require_local(norm)
    if norm.training:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        var, mean = torch.var_mean(wide, (0, 2, 3), correction=0)
        count = x.shape[0] * x.shape[2] * x.shape[3]
        with torch.no_grad():
            unbiased = var * (count / max(count - 1, 1))
            norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
            norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)
            norm.num_batches_tracked.add_(1)
    else:
        mean, var = norm.running_mean, norm.running_var
    scale = norm.weight * torch.rsqrt(var + norm.eps)
    return scale, norm.bias - mean * scale
