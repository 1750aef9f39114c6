"""CBAM and selective fusion as modules; the only place that says where they come from.

Public
------
``CBAM(channels, reduction=16)``, ``.forward(x, residual=None, scale=None, shift=None)``
``SelectiveFusion(channels, reduction=16)``, ``.forward(u, v)``
``fold_batch_norm(norm) -> (scale, shift)``
"""

import torch
from torch import nn

from dsnet_kernels import cbam

SMALLEST_REDUCED_WIDTH = 32  # SKNet's L, the floor of the reduced width.


class CBAM(nn.Module):
    """Convolutional block attention with the authors' layout: shared MLP with bias, 7x7, norm."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        self.fc1 = nn.Linear(channels, max(1, channels // reduction))
        self.fc2 = nn.Linear(max(1, channels // reduction), channels)
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1, momentum=0.01)

    def forward(self, x, residual=None, scale=None, shift=None):
        norm = self.norm
        return cbam(
            x, self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias, self.conv.weight,
            norm_weight=norm.weight, norm_bias=norm.bias, running_mean=norm.running_mean,
            running_var=norm.running_var, training=self.training, momentum=norm.momentum,
            eps=norm.eps, residual=residual, scale=scale, shift=shift,
        )  # fmt: skip


class SelectiveFusion(nn.Module):
    """Per channel softmax over two branches, weights from the pooled sum (SKNet)."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        hidden = max(channels // reduction, SMALLEST_REDUCED_WIDTH)
        self.reduce = nn.Linear(channels, hidden)
        self.context = nn.Linear(hidden, channels)
        self.detail = nn.Linear(hidden, channels)

    def forward(self, u, v):
        pooled = (u.float() + v.float()).mean((2, 3)).to(u.dtype)
        hidden = torch.relu(self.reduce(pooled))
        logits = torch.stack([self.context(hidden), self.detail(hidden)])
        a, b = torch.softmax(logits.float(), 0).to(u.dtype)
        return a[:, :, None, None] * u + b[:, :, None, None] * v


def fold_batch_norm(norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift [C] of a batch norm that uses its running statistics."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale
