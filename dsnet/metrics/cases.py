"""All figures of every case: overlap, soft masks as such, surfaces."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dsnet.metrics.arguments import Mask, binary, pair
from dsnet.metrics.masks import (
    dice_of,
    hausdorff95,
    overlap_counts,
    ppv_of,
    sensitivity_of,
    soft_mask_mae,
    surface_dice,
)
from dsnet.metrics.soft import brier_score, calibration_error


def evaluate_cases(
    soft: Mask,
    soft_truth: Mask,
    binary_truth: Mask | None = None,
    *,
    found: Mask | None = None,
    chance: Mask | None = None,
    surface: bool = True,
    tolerance: float = 1.0,
    spacing: Sequence[float] | None = None,
) -> dict[str, torch.Tensor]:
    """All figures of every case.

    Parameters
    ----------
    soft, soft_truth : array or Tensor [H, W], [N, H, W] or [N, 1, H, W], in 0..1
        Predicted and true soft mask.
    binary_truth : array or Tensor, optional
        `soft_truth` binarised when not given.
    found : array or Tensor, bool, optional
        The predicted binary mask; by default where `soft` is at least one half.
    chance : array or Tensor, in 0..1, optional
        How likely each pixel is lesion, which `soft` is held to as a probability: the share of the
        readers who marked it. By default the binary truth.
    surface : bool
        Whether to compute the figures that need MONAI.
    tolerance, spacing
        See `surface_dice`.

    Returns
    -------
    dict of str to Tensor [N] float64
        ``dice``, ``sensitivity``, ``ppv``, ``soft_mask_mae``, ``brier``, ``calibration_error``, and
        with `surface` ``hausdorff95`` and ``surface_dice``. The soft mask's own three are NaN where
        it is not finite.

    Raises
    ------
    ValueError, TypeError
        As `overlap_counts` and `brier_score`.
    """
    truth = soft_truth if binary_truth is None else binary_truth
    mask = soft if found is None else found
    counts = overlap_counts(mask, truth)
    out = {
        "dice": dice_of(counts),
        "sensitivity": sensitivity_of(counts),
        "ppv": ppv_of(counts),
        "soft_mask_mae": soft_mask_mae(soft, soft_truth),
    }
    x, y = pair(soft, truth if chance is None else chance)
    y = binary(y) if chance is None else y
    sound = x.isfinite().flatten(1).all(1)
    for name, metric in (("brier", brier_score), ("calibration_error", calibration_error)):
        values = torch.full(sound.shape, torch.nan, dtype=torch.float64, device=x.device)
        values[sound] = metric(x[sound], y[sound])
        out[name] = values
    if surface:
        out["hausdorff95"] = hausdorff95(mask, truth, spacing)
        out["surface_dice"] = surface_dice(mask, truth, tolerance, spacing)
    return out
