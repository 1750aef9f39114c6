"""The pixel-wise discriminator of the adversarial training.

Public
------
``PixelDiscriminator(image_channels=1, mask_channels=1, width=64)``
``forward(image, mask) -> logits [N, 1, H, W]``

Paper, equations 4 and 5 and figure 6: conditional on the image, one verdict a pixel. Its layers
are not stated; they are those of the PixelGAN in pix2pix (Isola et al. 2017, appendix 6.1.2):
1x1 convolutions to 64, to 128 with batch norm, to 1, leaky ReLU 0.2 between.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class PixelDiscriminator(nn.Module):
    """Real or predicted soft mask, for every pixel on its own."""

    layers: Any  # an nn.Sequential; its stub does not tell one kind of layer from another

    def __init__(self, image_channels: int = 1, mask_channels: int = 1, width: int = 64):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(image_channels + mask_channels, width, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 1),
        )

    def forward(
        self, image: torch.Tensor, mask: torch.Tensor, *, frozen: bool = False
    ) -> torch.Tensor:
        """Judge a mask given its image.

        Parameters
        ----------
        image : Tensor [N, image_channels, H, W]
            The condition, on the mask's grid (`dsnet.models.interpolate` brings it there).
        mask : Tensor [N, mask_channels, H, W]
            Soft mask in 0..1.
        frozen : bool
            Pass gradients to image and mask, and none to the weights; leave the batch norm's
            running statistics alone.

        Returns
        -------
        Tensor [N, 1, H, W]
            Logits; positive means real.

        Raises
        ------
        ValueError
            If image and mask do not lie on one grid.
        """
        if image.shape[0] != mask.shape[0] or image.shape[2:] != mask.shape[2:]:
            raise ValueError(
                "image and mask must have one batch, height and width, got "
                f"{list(image.shape)} and {list(mask.shape)}"
            )
        x = torch.cat([image, mask.to(image.dtype)], 1)
        *first, norm, activation, last = self.layers
        for layer in first:
            x = _frozen(layer, x) if frozen else layer(x)
        if torch.compiler.is_compiling() and norm.training:
            return self._weighed(x, frozen)
        for layer in (norm, activation, last):
            x = _frozen(layer, x) if frozen else layer(x)
        return x

    def _weighed(self, x: torch.Tensor, frozen: bool) -> torch.Tensor:
        """The layers from the norm on, for a compiler to make few passes of."""
        norm, activation, last = self.layers[-3:]
        weights = [norm.weight, norm.bias, last.weight.flatten(), last.bias]
        if frozen:
            weights = [weight.detach() for weight in weights]
        gain, offset, weight, bias = weights
        logits, mean, var = _NormedSum.apply(
            x, gain, offset, weight, norm.eps, activation.negative_slope
        )
        if not frozen:
            count = x.numel() // x.shape[1]
            with torch.no_grad():
                norm.running_mean.lerp_(mean, norm.momentum)
                norm.running_var.lerp_(var * (count / max(count - 1, 1)), norm.momentum)
                norm.num_batches_tracked.add_(1)
        return logits + bias


class _NormedSum(torch.autograd.Function):
    """Batch norm, leaky ReLU and 1x1 convolution to one channel, with the batch's statistics.

    What PyTorch differentiates step by step takes gradients of every step as tensors of x's size.
    By hand the gradient needs two passes over x: one for the sums a channel, one that writes dx.

    With ``a = scale * x + shift`` the normed x, ``q = dlogit * slope(a)`` and m the pixels,
    ``S0 = sum(q)`` and ``S1 = sum(q * (x - mean))`` a channel::

        dweight = sum(q * a) = scale * S1 + offset * S0
        dgain = weight * S1 * rstd,  doffset = weight * S0
        dx = scale * (weight * q - (doffset + (x - mean) * rstd * dgain) / m)
    """

    @staticmethod
    def forward(ctx, x, gain, offset, weight, eps, negative_slope):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        var, mean = torch.var_mean(wide, (0, 2, 3), correction=0)
        rstd = torch.rsqrt(var + eps)
        ctx.save_for_backward(x, gain, offset, weight, mean, rstd)
        ctx.negative_slope = negative_slope
        ctx.mark_non_differentiable(mean, var)
        a = x * _wide(rstd * gain) + _wide(offset - mean * rstd * gain)
        y = torch.where(a > 0, a, negative_slope * a)
        return (y * _wide(weight)).sum(1, keepdim=True), mean, var

    @staticmethod
    def backward(ctx, dlogit, _, __):
        x, gain, offset, weight, mean, rstd = ctx.saved_tensors
        scale = _stored(rstd * gain)
        shift = _stored(offset - mean * scale)
        dlogit = _stored(dlogit)
        positive = x * _wide(scale) + _wide(shift) > 0
        q = torch.where(positive, dlogit, ctx.negative_slope * dlogit)
        s0, s1 = q.sum((0, 2, 3)), (q * (x - _wide(mean))).sum((0, 2, 3))
        doffset, dgain = weight * s0, weight * s1 * rstd
        count = x.numel() // x.shape[1]
        slope = scale * rstd * dgain / count
        level = _stored(slope * mean - scale * doffset / count)
        dx = q * _wide(_stored(scale * weight)) - x * _wide(_stored(slope)) + _wide(level)
        return dx.to(x.dtype), dgain, doffset, scale * s1 + offset * s0, None, None


def _stored(x: torch.Tensor) -> torch.Tensor:
    """The same; compiled, computed once and kept in memory, so that what uses it stays small.

    Inductor keeps what takes many inputs: without this, q, four bytes a value of x.
    """
    return x.as_strided(x.shape, x.stride())


def _wide(channels: torch.Tensor) -> torch.Tensor:
    return channels[:, None, None]


def _frozen(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The layer with its weights as constants."""
    if isinstance(layer, nn.Conv2d):
        bias = None if layer.bias is None else layer.bias.detach()
        return F.conv2d(x, layer.weight.detach(), bias)
    if isinstance(layer, nn.BatchNorm2d):
        stored = (None, None) if layer.training else (layer.running_mean, layer.running_var)
        weights = layer.weight.detach(), layer.bias.detach()
        return F.batch_norm(x, *stored, *weights, layer.training, eps=layer.eps)
    return layer(x)
