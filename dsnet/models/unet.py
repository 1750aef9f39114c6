"""The improved backbone, a U-Net of CBAM residual blocks, and the plain U-Net it is compared with.

Public
------
``Backbone(in_channels, out_channels=1, width=64, depth=4, reduction=16)``
``UNet(in_channels, out_channels=1, width=64, depth=4)``
``CBAMBlock(in_channels, out_channels, reduction=16)``
All map [N, in_channels, H, W] to [N, out_channels, H, W] for any H, W; no final activation.

What the paper does not state, and what is taken instead: four down-samplings and channels that
double from `width` to ``16 * width``, one basic block (two 3x3 convolutions) a level and a 1x1
head, all from the classic U-Net (Ronneberger et al. 2015) on which it says it is based; a 1x1
convolution with batch norm on the shortcut where channels change, from ResNet (He et al. 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from dsnet.models.fused import CBAM, fold_batch_norm


class CBAMBlock(nn.Module):
    """Basic block: conv-BN-ReLU-conv-BN-CBAM, plus the shortcut, ReLU.

    Paper, "Improved Backbone"; the order inside is the one that CBAM's authors use in ResNets.

    Parameters
    ----------
    in_channels, out_channels : int
        Where they differ, the shortcut is a 1x1 convolution with batch norm.
    reduction : int
        Of CBAM's channel MLP.
    """

    def __init__(self, in_channels: int, out_channels: int, reduction: int = 16):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.cbam = CBAM(out_channels, reduction)
        self.shortcut = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tensor [N, in_channels, H, W] to [N, out_channels, H, W]."""
        residual = self.shortcut(x)
        out = self.conv2(F.relu(self.norm1(self.conv1(x))))
        # Folded, the norm costs no pass of its own. In eager training the statistics would cost
        # more passes than PyTorch's own batch norm saves; compiled, they are one.
        if self.training and not torch.compiler.is_compiling():
            return self.cbam(self.norm2(out), residual=residual)
        scale, shift = fold_batch_norm(self.norm2, out)
        return self.cbam(out, residual=residual, scale=scale, shift=shift)


class _UShape(nn.Module):
    """Encoder, decoder and skips; subclasses say what a block, a down and an up step are."""

    block: Callable[[int, int], nn.Module]
    coming: Callable[[int, int], int]  # the channels that a down step gives to its block
    down_step: Callable[[int, int], nn.Module]
    up_step: Callable[[int, int], nn.Module]

    def __init__(self, in_channels: int, out_channels: int, width: int, depth: int):
        super().__init__()
        for name, value, least in (
            ("in_channels", in_channels, 1),
            ("out_channels", out_channels, 1),
            ("width", width, 1),
            ("depth", depth, 0),
        ):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.width, self.depth = width, depth
        channels = [width * 2**level for level in range(depth + 1)]
        steps = list(pairwise(channels))
        first = [self.block(in_channels, width)]
        self.encoder = nn.ModuleList(first + [self.block(self.coming(a, b), b) for a, b in steps])
        self.down = nn.ModuleList(self.down_step(a, b) for a, b in steps)
        self.up = nn.ModuleList(self.up_step(b, a) for a, b in reversed(steps))
        self.decoder = nn.ModuleList(self.block(2 * a, a) for a, _ in reversed(steps))
        self.head = nn.Conv2d(width, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features to logits.

        Parameters
        ----------
        x : Tensor [N, in_channels, H, W]
            H and W that are no multiple of ``2 ** depth`` are filled up at the bottom and the
            right with the last row and column, and the result is cropped.

        Returns
        -------
        Tensor [N, out_channels, H, W]

        Raises
        ------
        ValueError
            For another number of dimensions or channels, or an image without pixels.
        """
        require_planes(x, self.in_channels)
        height, width = x.shape[2:]
        x = self.encoder[0](fill_up(x, 2**self.depth))
        skips = []
        for down, block in zip(self.down, self.encoder[1:], strict=True):
            skips.append(x)
            x = block(down(x))
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(torch.cat([skips.pop(), up(x)], 1))
        return self.head(x)[:, :, :height, :width]


class Backbone(_UShape):
    """U-Net of CBAM residual blocks that goes down and up by 4x4 convolutions.

    Paper, "Improved Backbone": down-sampling is a 4x4 convolution with stride 2 and padding 1,
    up-sampling a 4x4 transposed convolution, each with ReLU, in place of pooling.

    Parameters
    ----------
    in_channels, out_channels : int
    width : int
        Channels at full resolution, 64 in the paper; doubled by every down-sampling.
    depth : int
        Number of down-samplings.
    reduction : int
        Of CBAM's channel MLP.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        width: int = 64,
        depth: int = 4,
        reduction: int = 16,
    ):
        self.reduction = reduction
        super().__init__(in_channels, out_channels, width, depth)

    def block(self, a: int, b: int) -> nn.Module:
        return CBAMBlock(a, b, self.reduction)

    def coming(self, a: int, b: int) -> int:
        return b

    def down_step(self, a: int, b: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(a, b, 4, stride=2, padding=1), nn.ReLU())

    def up_step(self, a: int, b: int) -> nn.Module:
        return nn.Sequential(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1), nn.ReLU())


class UNet(_UShape):
    """The baseline: classic U-Net (Ronneberger et al. 2015), padded and with batch norm.

    The original's unpadded convolutions would crop the mask, and it predates batch norm; both
    are added, as in today's re-implementations.
    """

    def __init__(self, in_channels: int, out_channels: int = 1, width: int = 64, depth: int = 4):
        super().__init__(in_channels, out_channels, width, depth)

    def block(self, a: int, b: int) -> nn.Module:
        layers = []
        for channels in (a, b):
            layers += [nn.Conv2d(channels, b, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(b), nn.ReLU()]
        return nn.Sequential(*layers)

    def coming(self, a: int, b: int) -> int:
        return a

    def down_step(self, a: int, b: int) -> nn.Module:
        return nn.MaxPool2d(2)

    def up_step(self, a: int, b: int) -> nn.Module:
        return nn.ConvTranspose2d(a, b, 2, stride=2)


def require_planes(x: torch.Tensor, channels: int) -> None:
    """Raise ValueError unless `x` is [N, channels, H, W] and has pixels."""
    if x.ndim != 4 or x.shape[1] != channels or x.shape[2] * x.shape[3] == 0:
        raise ValueError(f"x must be [N, {channels}, H, W] with H, W >= 1, got {list(x.shape)}")


def fill_up(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Repeat the last row and column of [N, C, H, W] until H and W are multiples.

    Not ``F.pad(mode="replicate")``, whose gradient is not deterministic on CUDA.
    """
    bottom, right = -x.shape[2] % multiple, -x.shape[3] % multiple
    if bottom:
        x = torch.cat([x, x[:, :, -1:].expand(-1, -1, bottom, -1)], 2)
    if right:
        x = torch.cat([x, x[:, :, :, -1:].expand(-1, -1, -1, right)], 3)
    return x
