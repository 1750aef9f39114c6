"""Detailed representation fusion: what the SR teacher saw, brought to the segmentation network.

Public
------
``EDRFM(image_channels=3, feature_channels=64, out_channels=64)``
``SDRFM(image_channels=3, feature_channels=64, out_channels=64, reduction=16)``
Both: ``forward(interpolated, sr_image, features) -> [N, out_channels, H, W]``.

Paper, "Detailed Representation Transfer" and figure 4, whose shapes are the defaults: two
three-channel images (6), 64 feature maps, 64 channels out. The paper does not state the slope of
the leaky ReLU; 0.2 is SRGAN's and pix2pix's. It does not state the reduction of the fully
connected layers either; 16 with a floor of 32 is SKNet's.
"""

from __future__ import annotations

import torch
from torch import nn

from dsnet.models.fused import SelectiveFusion, fold_batch_norm

SLOPE = 0.2


def convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    """3x3 convolution, batch norm, leaky ReLU, as drawn in figure 4."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(SLOPE),
    )


class EDRFM(nn.Module):
    """Efficient fusion: everything concatenated, then one convolution (figure 4a)."""

    def __init__(self, image_channels: int = 3, feature_channels: int = 64, out_channels: int = 64):
        super().__init__()
        self.fuse = convolution(2 * image_channels + feature_channels, out_channels)

    def forward(
        self, interpolated: torch.Tensor, sr_image: torch.Tensor, features: torch.Tensor
    ) -> torch.Tensor:
        """Fuse.

        Parameters
        ----------
        interpolated, sr_image : Tensor [N, image_channels, H, W]
        features : Tensor [N, feature_channels, H, W]

        Returns
        -------
        Tensor [N, out_channels, H, W]
        """
        return self.fuse(torch.cat([interpolated, sr_image, features], 1))


class SDRFM(nn.Module):
    """Selective fusion: a softmax a channel between context and detail branch (figure 4b)."""

    def __init__(
        self,
        image_channels: int = 3,
        feature_channels: int = 64,
        out_channels: int = 64,
        reduction: int = 16,
    ):
        super().__init__()
        self.context = convolution(2 * image_channels, out_channels)
        self.detail = convolution(feature_channels, out_channels)
        # Without batch norm on the pooled vector: the paper trains at batch size 1.
        self.select = SelectiveFusion(out_channels, reduction, norm=False, bias=True)

    def forward(
        self, interpolated: torch.Tensor, sr_image: torch.Tensor, features: torch.Tensor
    ) -> torch.Tensor:
        """Fuse; see `EDRFM.forward`."""
        images = torch.cat([interpolated, sr_image], 1)
        # As in the backbone's blocks: folded, norm and leaky ReLU cost no pass of their own.
        if self.training and not torch.compiler.is_compiling():
            return self.select(self.context(images), self.detail(features))
        context, detail = self.context[0](images), self.detail[0](features)
        u_scale, u_shift = fold_batch_norm(self.context[1], context)
        v_scale, v_shift = fold_batch_norm(self.detail[1], detail)
        return self.select(
            context,
            detail,
            u_scale=u_scale,
            u_shift=u_shift,
            v_scale=v_scale,
            v_shift=v_shift,
            negative_slope=SLOPE,
        )
