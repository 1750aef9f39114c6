"""The pixel-wise discriminator of the adversarial training.

Public
------
``PixelDiscriminator(image_channels=1, mask_channels=1, width=64)``
``forward(image, mask) -> logits [N, 1, H, W]``

Paper, equations 4 and 5 and figure 6: conditional on the image, one verdict a pixel. Its layers
are not stated; they are those of the PixelGAN in pix2pix (Isola et al. 2017, appendix 6.1.2):
1x1 convolutions to 64, to 128 with batch norm, to 1, leaky ReLU 0.2 between.
"""

import torch
from torch import nn


class PixelDiscriminator(nn.Module):
    """Real or predicted soft mask, for every pixel on its own."""

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

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Judge a mask given its image.

        Parameters
        ----------
        image : Tensor [N, image_channels, H, W]
            The condition, on the mask's grid (`dsnet.models.interpolate` brings it there).
        mask : Tensor [N, mask_channels, H, W]
            Soft mask in 0..1.

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
                f"image has shape {list(image.shape)}, mask {list(mask.shape)}; batch, height and "
                "width must agree"
            )
        return self.layers(torch.cat([image, mask.to(image.dtype)], 1))
