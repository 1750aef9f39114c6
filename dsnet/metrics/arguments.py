"""Masks as the metrics take them."""

from __future__ import annotations

import numpy as np
import torch

THRESHOLD = 0.5
Mask = np.ndarray | torch.Tensor


def binary(mask: torch.Tensor) -> torch.Tensor:
    """The mask as it is where it is boolean, else cut at one half."""
    return mask if mask.dtype == torch.bool else mask >= THRESHOLD


def pair(prediction: Mask, truth: Mask) -> tuple[torch.Tensor, torch.Tensor]:
    """Both masks as [N, H, W] on the prediction's device; ValueError or TypeError says why not."""
    x, y = _cases("prediction", prediction), _cases("truth", truth)
    if x.shape != y.shape:
        raise ValueError(
            f"truth must have the shape of prediction {list(prediction.shape)}, got "
            f"{list(truth.shape)}"
        )
    return x, y.to(x.device)


def _cases(name: str, mask: Mask) -> torch.Tensor:
    """[N, H, W]"""
    if isinstance(mask, np.ndarray):
        mask = torch.from_numpy(np.ascontiguousarray(mask))
    elif not isinstance(mask, torch.Tensor):
        raise TypeError(f"{name} must be an array or a tensor, got {type(mask).__name__}")
    mask = mask.detach()
    if mask.ndim == 2:
        return mask[None]
    if mask.ndim == 4 and mask.shape[1] == 1:
        return mask[:, 0]
    if mask.ndim != 3:
        raise ValueError(
            f"{name} must be [H, W], [N, H, W] or [N, 1, H, W], got {list(mask.shape)}"
        )
    return mask
