"""SRGAN, the teacher: its generator SRResNet and its discriminator, for 4x super-resolution.

Public
------
``SRResNet(channels=1, blocks=16, features=64, global_skip=False)``
    ``.forward(image) -> SROutputs(image, features)``; ``.config`` holds the arguments.
``SRDiscriminator(channels=1, features=64)``, ``.forward(image) -> logits [N, 1]``
``SCALE = 4``

Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial
Network", CVPR 2017, figure 4. CT slices are grey, so both take one channel by default.
The losses are in `dsnet.losses` and `dsnet.models.perceptual`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from dsnet.arguments import Range
from dsnet.models.grid import interpolate

SCALE = 4
RANGES = {
    "channels": Range(int, 1, 1024),
    "blocks": Range(int, 1, 1024),
    "features": Range(int, 1, 4096),
}
DISCRIMINATOR_GRID = 6  # What SRGAN's 96x96 crops have become before the dense layers.


class SROutputs(NamedTuple):
    """What the teacher hands out, both on the grid [4 * H, 4 * W]."""

    image: torch.Tensor
    features: torch.Tensor


class SRResNet(nn.Module):
    """SRGAN's generator: residual blocks at low resolution, then two pixel shuffles.

    Parameters
    ----------
    channels : int
        Of the image.
    blocks, features : int
        Residual blocks and their width; 16 and 64 in the work cited.
    global_skip : bool
        Learn the difference to the bicubic image instead of the image. Not in SRGAN but in VDSR
        (Kim et al. 2016); a short training gains from it. Off by default.

    Raises
    ------
    ValueError
        For a number out of `RANGES`.
    """

    def __init__(
        self, channels: int = 1, blocks: int = 16, features: int = 64, global_skip: bool = False
    ):
        super().__init__()
        for name, value in (("channels", channels), ("blocks", blocks), ("features", features)):
            RANGES[name].check(name, value)
        if not isinstance(global_skip, bool):
            raise ValueError(f"global_skip must be a bool, got {global_skip!r}")
        self.config = {
            "channels": channels, "blocks": blocks, "features": features,
            "global_skip": global_skip,
        }  # fmt: skip
        self.first = nn.Sequential(nn.Conv2d(channels, features, 9, padding=4), nn.PReLU())
        self.blocks = nn.Sequential(*(SRBlock(features) for _ in range(blocks)))
        self.collect = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1, bias=False), nn.BatchNorm2d(features)
        )
        self.upsample = nn.Sequential(*(_shuffle(features) for _ in range(2)))
        self.last = nn.Conv2d(features, channels, 9, padding=4)

    def forward(self, image: torch.Tensor) -> SROutputs:
        """Super-resolve.

        Parameters
        ----------
        image : Tensor [N, channels, H, W]
            In 0..1.

        Returns
        -------
        SROutputs
            ``image`` [N, channels, 4 * H, 4 * W], not clamped, and ``features``
            [N, features, 4 * H, 4 * W]: what the last block before the output convolution gives
            (256x256x64 for 64x64, as in the paper's figure 4).

        Raises
        ------
        ValueError
            For another number of dimensions or channels.
        """
        channels = self.config["channels"]
        if image.ndim != 4 or image.shape[1] != channels:
            raise ValueError(f"image must be [N, {channels}, H, W], got {list(image.shape)}")
        low = self.first(image)
        features = self.upsample(low + self.collect(self.blocks(low)))
        enlarged = self.last(features)
        if self.config["global_skip"]:
            enlarged = enlarged + interpolate(image, SCALE)
        return SROutputs(enlarged, features)


class SRBlock(nn.Module):
    """conv-BN-PReLU-conv-BN, plus the input; nothing after the sum."""

    def __init__(self, features: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1, bias=False),
            nn.BatchNorm2d(features),
            nn.PReLU(),
            nn.Conv2d(features, features, 3, padding=1, bias=False),
            nn.BatchNorm2d(features),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class SRDiscriminator(nn.Module):
    """SRGAN's discriminator: eight 3x3 convolutions, every second with stride 2, two dense layers.

    Parameters
    ----------
    channels : int
        Of the image.
    features : int
        Width of the first convolution; doubled three times.
    """

    def __init__(self, channels: int = 1, features: int = 64):
        super().__init__()
        layers = [nn.Conv2d(channels, features, 3, padding=1), nn.LeakyReLU(0.2)]
        widths = [features * 2**level for level in range(4)]
        plan = [(features, features, 2)]
        for a, b in pairwise(widths):
            plan += [(a, b, 1), (b, b, 2)]
        for a, b, stride in plan:
            layers += [nn.Conv2d(a, b, 3, stride=stride, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
        self.convolutions = nn.Sequential(*layers)
        dense = 16 * features
        self.dense = nn.Sequential(
            nn.Linear(widths[-1] * DISCRIMINATOR_GRID**2, dense),
            nn.LeakyReLU(0.2),
            nn.Linear(dense, 1),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Image [N, channels, H, W] to logits [N, 1]; positive means real.

        96x96 is the size in the work cited. Other sizes are brought to its 6x6 grid by adaptive
        average pooling before the dense layers.
        """
        x = self.convolutions(image)
        if x.shape[2:] != (DISCRIMINATOR_GRID, DISCRIMINATOR_GRID):
            x = F.adaptive_avg_pool2d(x, DISCRIMINATOR_GRID)
        return self.dense(x.flatten(1))


def _shuffle(features: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(features, 4 * features, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()
    )
