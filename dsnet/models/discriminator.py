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
import torch.nn.functional as F
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
                f"image has shape {list(image.shape)}, mask {list(mask.shape)}; batch, height and "
                "width must agree"
            )
        x = torch.cat([image, mask.to(image.dtype)], 1)
        *layers, last = self.layers
        for layer in layers:
            x = _frozen(layer, x) if frozen else layer(x)
        if not torch.compiler.is_compiling():
            return _frozen(last, x) if frozen else last(x)
        # To one channel: as a weighted sum it becomes one pass with the norm before it, whose
        # result a convolution would have to find in memory.
        weight, bias = last.weight, last.bias
        if frozen:
            weight, bias = weight.detach(), bias.detach()
        return (x * weight).sum(1, keepdim=True) + bias


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
