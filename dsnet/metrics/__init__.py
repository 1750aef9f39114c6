"""How good a predicted mask is: overlap, soft mask error and surface distance, case by case.

Public
------
``dice(prediction, truth)``, ``sensitivity(...)``, ``ppv(...)``   -> Tensor [N] float64
``soft_mask_mae(prediction, truth)``                              -> Tensor [N] float64
``hausdorff95(prediction, truth, spacing=None)``                  -> Tensor [N] float64
``surface_dice(prediction, truth, tolerance=1.0, spacing=None)``  -> Tensor [N] float64
``overlap_counts(prediction, truth) -> Overlap(tp, fp, fn)``      Tensors [N] int64
``evaluate_cases(soft, soft_truth, ...) -> dict name -> Tensor [N]``, all of the above and two below
``threshold_dice(prediction, truth)``, ``soft_dice(...)``         -> Tensor [N] float64
``brier_score(prediction, truth)``                                -> Tensor [N] float64
``calibration_error(prediction, truth, bins=10)``                 -> Tensor [N] float64
``dice_by_threshold(prediction, truth, thresholds)``               -> Tensor [N, T] float64
``choose_threshold(dice, thresholds) -> Chosen(threshold, dice)``
``paired_difference(values, reference, clusters, ...) -> Difference(mean, low, high, ...)``
``summarize(values) -> Summary(mean, std, count)``

Masks are [H, W], [N, H, W] or [N, 1, H, W], NumPy arrays or tensors; the first is one case.
Boolean ones are taken as they are, others binarised at 0.5, as the paper's soft masks are. The
overlap figures stay on the tensors' device and do not wait for it; the surface distances are
MONAI's and run on the CPU (``pip install dsnet[evaluate]``).

Empty masks. Where truth and prediction are both empty they agree: Dice, SEN, PPV and surface Dice
are 1 and the distance is 0. Where only one of them is, nothing is found: those four are 0, an
undefined ratio included, and the distance is the diagonal of the image, the largest that there
is (as BraTS has it), so that means stay finite and no case drops out.
"""

from __future__ import annotations

from dsnet.metrics.bootstrap import Difference, paired_difference
from dsnet.metrics.cases import evaluate_cases
from dsnet.metrics.masks import (
    Overlap,
    Summary,
    dice,
    hausdorff95,
    overlap_counts,
    ppv,
    sensitivity,
    soft_mask_mae,
    summarize,
    surface_dice,
)
from dsnet.metrics.soft import brier_score, calibration_error, soft_dice, threshold_dice
from dsnet.metrics.threshold import THRESHOLD_GRID, Chosen, choose_threshold, dice_by_threshold

__all__ = [
    "THRESHOLD_GRID",
    "Chosen",
    "Difference",
    "Overlap",
    "Summary",
    "brier_score",
    "calibration_error",
    "choose_threshold",
    "dice",
    "dice_by_threshold",
    "evaluate_cases",
    "hausdorff95",
    "overlap_counts",
    "paired_difference",
    "ppv",
    "sensitivity",
    "soft_dice",
    "soft_mask_mae",
    "summarize",
    "surface_dice",
    "threshold_dice",
]
