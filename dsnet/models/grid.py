"""From the input's grid to the finer one of the networks, and back.

Public
------
``interpolate(image, scale=4)``: bicubic, as the peer that super-resolution is compared with
``to_output_grid(mask, scale=4)``: bilinear, so that a soft mask stays in 0..1
``to_input_grid(mask, scale=4)``: mean over each pixel's area, the inverse of the layout above
``resized(plane, shape) -> Tensor [H, W]``: a crop on the grid that a network sees

Pixels are areas throughout (``align_corners=False``): fine pixel centres lie at
``(i + 0.5) / scale - 0.5`` of the coarse grid. The paper says "interpolated original image" and
not how; bicubic is what SRGAN compares with.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F


def interpolate(image: torch.Tensor, scale: int = 4) -> torch.Tensor:
    """Image [N, C, H, W] on the grid [N, C, scale * H, scale * W], bicubic."""
    if scale == 1:
        return image
    size = (image.shape[2] * scale, image.shape[3] * scale)
    return F.interpolate(image, size, mode="bicubic", align_corners=False)


def to_output_grid(mask: torch.Tensor, scale: int = 4) -> torch.Tensor:
    """Soft mask [N, C, H, W] on the grid [N, C, scale * H, scale * W], bilinear."""
    if scale == 1:
        return mask
    size = (mask.shape[2] * scale, mask.shape[3] * scale)
    return F.interpolate(mask, size, mode="bilinear", align_corners=False)


def to_input_grid(mask: torch.Tensor, scale: int = 4) -> torch.Tensor:
    """Soft mask [N, C, scale * H, scale * W] averaged to [N, C, H, W]."""
    return mask if scale == 1 else F.avg_pool2d(mask, scale)


def resized(plane: np.ndarray, shape: tuple[int, int]) -> torch.Tensor:
    """An array [h, w] with values in 0..1 as float32 tensor of another shape, bilinear."""
    tensor = torch.from_numpy(np.array(plane, dtype=np.float32))
    if tuple(tensor.shape) == tuple(shape):
        return tensor
    # antialias: a crop that shrinks keeps its mean.
    big = F.interpolate(tensor[None, None], shape, mode="bilinear", antialias=True)
    return big[0, 0].clamp(0, 1)
