"""Of binary masks: overlap, soft mask error and surface distance, case by case."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch

from dsnet.dependencies import needed
from dsnet.metrics.arguments import Mask, binary, pair


class Overlap(NamedTuple):
    """True positive, false positive and false negative pixels of every case."""

    tp: torch.Tensor
    fp: torch.Tensor
    fn: torch.Tensor


class Summary(NamedTuple):
    """Over cases; `std` is the population's (NumPy's default), as "mean ± std" in the paper."""

    mean: float
    std: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.std:.4f} (n={self.count})"


def overlap_counts(prediction: Mask, truth: Mask) -> Overlap:
    """Count pixels of two binary masks.

    Parameters
    ----------
    prediction, truth : array or Tensor [H, W], [N, H, W] or [N, 1, H, W]

    Returns
    -------
    Overlap
        Tensors [N] int64.

    Raises
    ------
    ValueError
        If the shapes differ or have no meaning here.
    TypeError
        For anything but arrays and tensors.
    """
    x, y = pair(prediction, truth)
    x, y = binary(x).flatten(1), binary(y).flatten(1)
    return Overlap((x & y).sum(1), (x & ~y).sum(1), (~x & y).sum(1))


def dice(prediction: Mask, truth: Mask) -> torch.Tensor:
    """``2 TP / (2 TP + FP + FN)`` of every case (paper, "Metrics"); see `overlap_counts`."""
    return dice_of(overlap_counts(prediction, truth))


def sensitivity(prediction: Mask, truth: Mask) -> torch.Tensor:
    """SEN, ``TP / (TP + FN)`` of every case (paper, "Metrics"); see `overlap_counts`."""
    return sensitivity_of(overlap_counts(prediction, truth))


def ppv(prediction: Mask, truth: Mask) -> torch.Tensor:
    """PPV, ``TP / (TP + FP)`` of every case (paper, "Metrics"); see `overlap_counts`."""
    return ppv_of(overlap_counts(prediction, truth))


def soft_mask_mae(prediction: Mask, truth: Mask) -> torch.Tensor:
    """Mean absolute difference of two soft masks over all pixels of each case.

    Raises
    ------
    ValueError
        If the shapes differ or have no meaning here.
    """
    x, y = pair(prediction, truth)
    return (x.double() - y.double()).abs().flatten(1).mean(1)


def hausdorff95(
    prediction: Mask, truth: Mask, spacing: Sequence[float] | None = None
) -> torch.Tensor:
    """95th percentile of the distances between the two borders, the larger of both directions.

    MONAI's `compute_hausdorff_distance`.

    Parameters
    ----------
    prediction, truth : array or Tensor [H, W], [N, H, W] or [N, 1, H, W]
    spacing : (float, float), optional
        Millimetres per pixel, (row, column); pixels without.

    Returns
    -------
    Tensor [N] float64
        In the unit of `spacing`, on the CPU.

    Raises
    ------
    ImportError
        If MONAI is not installed.
    ValueError
        If the shapes differ or have no meaning here, or for a spacing that is not positive.
    """
    metrics = _monai()
    x, y, size = _one_hot(prediction, truth, spacing)
    diagonal = math.hypot(*(n * s for n, s in zip(x.shape[2:], size, strict=True)))
    found, empty, both = _presence(x, y)
    out = torch.where(both, 0.0, torch.full(both.shape, diagonal, dtype=torch.float64))
    if found.any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # MONAI's about its own functions.
            value = metrics.compute_hausdorff_distance(  # pyright: ignore[reportPrivateImportUsage]
                x[found], y[found], include_background=True, percentile=95, spacing=list(size)
            )
        out[~empty] = value[:, 0].double()
    return out


def surface_dice(
    prediction: Mask,
    truth: Mask,
    tolerance: float = 1.0,
    spacing: Sequence[float] | None = None,
) -> torch.Tensor:
    """Share of both borders that lies within `tolerance` of the other one.

    MONAI's `compute_surface_dice` (normalised surface distance, Nikolov et al. 2021).

    Parameters
    ----------
    prediction, truth : array or Tensor [H, W], [N, H, W] or [N, 1, H, W]
    tolerance : float
        In the unit of `spacing`.
    spacing : (float, float), optional
        Millimetres per pixel, (row, column); pixels without.

    Returns
    -------
    Tensor [N] float64
        On the CPU.

    Raises
    ------
    ImportError
        If MONAI is not installed.
    ValueError
        As in `hausdorff95`, or for a negative tolerance.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 or more, got {tolerance}")
    metrics = _monai()
    x, y, size = _one_hot(prediction, truth, spacing)
    found, empty, both = _presence(x, y)
    out = both.double()
    if found.any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            value = metrics.compute_surface_dice(  # pyright: ignore[reportPrivateImportUsage]
                x[found], y[found], [float(tolerance)], include_background=True, spacing=list(size)
            )
        out[~empty] = value[:, 0].double()
    return out


def summarize(values: Mask | Sequence[float]) -> Summary:
    """Mean and standard deviation over cases; waits for the device.

    Raises
    ------
    ValueError
        Without any case.
    """
    array = torch.as_tensor(values).detach().double().cpu().numpy().ravel()
    if array.size == 0:
        raise ValueError("values must hold at least one case, got none")
    return Summary(float(array.mean()), float(array.std()), int(array.size))


def dice_of(counts: Overlap) -> torch.Tensor:
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn, counts)


def sensitivity_of(counts: Overlap) -> torch.Tensor:
    return _ratio(counts.tp, counts.tp + counts.fn, counts)


def ppv_of(counts: Overlap) -> torch.Tensor:
    return _ratio(counts.tp, counts.tp + counts.fp, counts)


def _ratio(part: torch.Tensor, whole: torch.Tensor, counts: Overlap) -> torch.Tensor:
    agree = (counts.tp + counts.fp + counts.fn) == 0
    return torch.where(agree, 1.0, part.double() / whole.clamp(min=1).double())


def _one_hot(prediction: Mask, truth: Mask, spacing: Sequence[float] | None):
    """Masks [N, 1, H, W] bool on the CPU, and the spacing."""
    size = (1.0, 1.0) if spacing is None else tuple(float(s) for s in spacing)
    if len(size) != 2 or not all(s > 0 for s in size):
        raise ValueError(f"spacing must be two positive numbers, row and column, got {spacing}")
    x, y = (binary(mask)[:, None].cpu() for mask in pair(prediction, truth))
    return x, y, size


def _presence(x: torch.Tensor, y: torch.Tensor):
    """Which cases have both masks, which lack one or both, and which lack both."""
    has_x, has_y = x.flatten(1).any(1), y.flatten(1).any(1)
    found = has_x & has_y
    return found, ~found, ~has_x & ~has_y


def _monai():
    with needed("evaluate", "the surface distance"):
        import monai.metrics
    return monai.metrics
