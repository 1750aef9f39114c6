"""CBAM and selective fusion as modules; the only place that says where they come from.

Public
------
``CBAM(channels, reduction=16)``, ``.forward(x, residual=None, *, scale=None, shift=None)``
``SelectiveFusion(channels, reduction=16)``, ``.forward(u, v)``
``fold_batch_norm(norm, x) -> (scale, shift)``
"""

import torch
from torch import nn

from dsnet_kernels import CBAM

__all__ = ["CBAM", "SelectiveFusion", "fold_batch_norm"]

SMALLEST_REDUCED_WIDTH = 32  # SKNet's L, the floor of the reduced width.


class SelectiveFusion(nn.Module):
    """Softmax over two branches, channel by channel (paper, figure 4b; Li et al., SKNet, 2019).

    Pooled over pixels, the branches' sum goes through a fully connected layer and ReLU, then
    through one layer a branch; the softmax of these two weighs the branches. SKNet's batch norm
    behind the first layer is left out: figure 4 shows none, and it has no statistics to take from
    the paper's batch of one.

    Parameters
    ----------
    channels : int
    reduction : int
        The hidden layer has ``max(channels // reduction, 32)`` units, as in SKNet.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        hidden = max(channels // reduction, SMALLEST_REDUCED_WIDTH)
        self.reduce = nn.Linear(channels, hidden)
        self.context = nn.Linear(hidden, channels)
        self.detail = nn.Linear(hidden, channels)

    def forward(self, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Blend context u and detail v, both [N, C, H, W]; pooling and softmax are float32."""
        wide = torch.promote_types(u.dtype, torch.float32)
        pooled = (u.to(wide) + v.to(wide)).mean((2, 3)).to(u.dtype)
        hidden = torch.relu(self.reduce(pooled))
        share = torch.sigmoid((self.context(hidden) - self.detail(hidden)).to(wide)).to(u.dtype)
        return v + share[:, :, None, None] * (u - v)


def fold_batch_norm(norm: nn.BatchNorm2d, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
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
    """
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
