"""Of soft masks as such: overlap at many thresholds or at none, probabilities, their calibration.

The truth may be soft, too: several readers' mean, or a label's alpha.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dsnet.metrics.arguments import Mask, pair
from dsnet.metrics.masks import dice

# QUBIQ's.
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def threshold_dice(
    prediction: Mask, truth: Mask, thresholds: Sequence[float] = THRESHOLDS
) -> torch.Tensor:
    """Dice of both masks cut at a threshold, averaged over thresholds, of every case.

    The score of the challenge QUBIQ (Li et al., "QUBIQ: Uncertainty Quantification for Biomedical
    Image Segmentation Challenge", 2024).

    Parameters
    ----------
    prediction, truth : array or Tensor [H, W], [N, H, W] or [N, 1, H, W], in 0..1
    thresholds : sequence of float
        In 0..1, at least one; a pixel is in from the threshold on. A boolean mask is itself at all.

    Returns
    -------
    Tensor [N] float64

    Raises
    ------
    ValueError
        If the shapes differ or have no meaning here, a value is not in 0..1, or for thresholds
        outside the above.
    TypeError
        For anything but arrays and tensors.
    """
    if len(thresholds) == 0 or not all(0 < threshold <= 1 for threshold in thresholds):
        raise ValueError(
            f"thresholds must be one or more numbers above 0 and up to 1, got {thresholds!r}"
        )
    x, y = _probabilities(prediction, truth)
    return torch.stack([dice(_cut(x, at), _cut(y, at)) for at in thresholds]).mean(0)


def soft_dice(prediction: Mask, truth: Mask) -> torch.Tensor:
    """Dice of soft masks that is greatest, 1, where the prediction is the truth, of every case.

    ``(|x| + |y| - |x - y|) / (|x| + |y|)``, |.| the sum of absolute values: the first of the Dice
    semimetrics of Wang et al., "Dice Semimetric Losses", MICCAI 2023 (arXiv 2303.16296). On binary
    masks it is Dice. The usual soft Dice, ``2 <x, y> / (|x| + |y|)``, is greatest for a hard mask
    even where the truth is soft.

    Parameters
    ----------
    prediction, truth : array or Tensor [H, W], [N, H, W] or [N, 1, H, W], in 0..1

    Returns
    -------
    Tensor [N] float64
        1 where both are 0 everywhere.

    Raises
    ------
    ValueError, TypeError
        As `threshold_dice`.
    """
    x, y = (mask.double().flatten(1) for mask in _probabilities(prediction, truth))
    whole = x.sum(1) + y.sum(1)
    apart = (x - y).abs().sum(1)
    return torch.where(whole == 0, 1.0, (whole - apart) / torch.where(whole == 0, 1.0, whole))


def brier_score(prediction: Mask, truth: Mask) -> torch.Tensor:
    """Mean squared difference of every case: the Brier score of a soft mask as probabilities.

    Least where the prediction is the probability of the truth; a soft truth is itself at its best.

    Raises
    ------
    ValueError, TypeError
        As `threshold_dice`.
    """
    x, y = (mask.double().flatten(1) for mask in _probabilities(prediction, truth))
    return (x - y).square().mean(1)


def calibration_error(prediction: Mask, truth: Mask, bins: int = 10) -> torch.Tensor:
    """Expected calibration error over the pixels of every case.

    Pixels fall into bins of equal width by the prediction; in each the mean prediction should be
    the mean truth. Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning",
    AAAI 2015. Of many cases at once: join them to one.

    Parameters
    ----------
    prediction, truth : array or Tensor [H, W], [N, H, W] or [N, 1, H, W], in 0..1
    bins : int
        1 or more; each holds its lower edge, the last one 1 as well.

    Returns
    -------
    Tensor [N] float64
        Absolute differences of the means, weighted by the bins' shares of the pixels.

    Raises
    ------
    ValueError, TypeError
        As `threshold_dice`, and for fewer bins.
    """
    if bins != int(bins) or bins < 1:
        raise ValueError(f"bins must be a whole number of 1 or more, got {bins!r}")
    x, y = (mask.double().flatten(1) for mask in _probabilities(prediction, truth))
    number = (x * bins).long().clamp(max=int(bins) - 1)
    excess = torch.zeros(len(x), int(bins), dtype=torch.float64, device=x.device)
    return excess.scatter_add(1, number, x - y).abs().sum(1) / x.shape[1]


def _probabilities(prediction: Mask, truth: Mask) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = pair(prediction, truth)
    for name, mask in (("prediction", x), ("truth", y)):
        if not bool(((mask >= 0) & (mask <= 1)).all()):  # NaN is neither
            raise ValueError(f"{name} must be in 0..1, got values outside or NaN")
    return x, y


def _cut(mask: torch.Tensor, threshold: float) -> torch.Tensor:
    # In the mask's own precision: 7 of 10 readers in float32 are cut at the float32 0.7.
    if not mask.is_floating_point():
        return mask >= threshold
    return mask >= torch.tensor(threshold, dtype=mask.dtype, device=mask.device)
