"""Where a soft mask is best cut: Dice at many thresholds at once, and the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

from dsnet.metrics.arguments import THRESHOLD, Mask, binary, pair

# Hundredths; beyond them a mask is all or nothing of what a network answers.
THRESHOLD_GRID = tuple(k / 100 for k in range(5, 96))


class Chosen(NamedTuple):
    """A threshold, and the mean Dice over cases that it gives."""

    threshold: float
    dice: float


def dice_by_threshold(
    prediction: Mask, truth: Mask, thresholds: Sequence[float] = THRESHOLD_GRID
) -> torch.Tensor:
    """Dice of every case with the prediction cut at each threshold, by one histogram a case.

    Parameters
    ----------
    prediction, truth : array or Tensor [H, W], [N, H, W] or [N, 1, H, W]
        The prediction is in from a threshold on, in its own precision; NaN is nowhere in. The truth
        is boolean, or cut at one half.
    thresholds : sequence of T float
        Above 0 and up to 1, growing.

    Returns
    -------
    Tensor [N, T] float64
        On the prediction's device, which is not waited for. 1 where both masks are empty.

    Raises
    ------
    ValueError
        If the shapes differ or have no meaning here, or for thresholds outside the above.
    TypeError
        For anything but arrays and tensors.
    """
    _check(thresholds)
    x, y = pair(prediction, truth)
    x = x if x.is_floating_point() else x.float()
    levels = torch.tensor(thresholds, dtype=torch.float64).to(x.dtype)
    # Half precision has no search of its own; to widen it changes no comparison.
    wide = torch.promote_types(x.dtype, torch.float32)
    x, levels = x.to(wide), levels.to(x.device, wide)
    reached = torch.bucketize(torch.where(x.isnan(), -1.0, x), levels, right=True).flatten(1)
    inside = binary(y).flatten(1)
    pixels = torch.zeros(len(x), len(levels) + 1, dtype=torch.int64, device=x.device)
    found = _from_each_on(pixels.scatter_add(1, reached, torch.ones_like(reached)))
    shared = _from_each_on(pixels.scatter_add(1, reached, inside.long()))
    whole = found + inside.sum(1, keepdim=True)
    return torch.where(whole == 0, 1.0, 2 * shared.double() / whole.clamp(min=1).double())


def choose_threshold(dice: torch.Tensor, thresholds: Sequence[float] = THRESHOLD_GRID) -> Chosen:
    """The threshold of the greatest mean Dice over cases; of equal ones the nearest to one half.

    Parameters
    ----------
    dice : Tensor [N, T] float64
        As `dice_by_threshold` gives it.
    thresholds : sequence of T float

    Returns
    -------
    Chosen
        Of two that are as near the lower one.

    Raises
    ------
    ValueError
        Without a case, or for another number of thresholds.
    """
    _check(thresholds)
    if dice.ndim != 2 or len(dice) == 0 or dice.shape[1] != len(thresholds):
        raise ValueError(
            f"dice must be [N, {len(thresholds)}] with N of at least 1, got {list(dice.shape)}"
        )
    means = dice.double().mean(0).tolist()
    best = max(means)
    equal = [at for at, mean in zip(thresholds, means, strict=True) if mean == best]
    # Rounded: 0.55 is farther from one half than 0.45 is by a bit of float64.
    return Chosen(min(equal, key=lambda at: (round(abs(at - THRESHOLD), 9), at)), best)


def _from_each_on(counts: torch.Tensor) -> torch.Tensor:
    """[N, T]: how many reach each threshold, of [N, T + 1]: how many reach just so many."""
    return counts.flip(1).cumsum(1).flip(1)[:, 1:]


def _check(thresholds: Sequence[float]) -> None:
    growing = all(a < b for a, b in pairwise(thresholds))
    if not thresholds or not growing or not all(0 < at <= 1 for at in thresholds):
        raise ValueError(
            f"thresholds must be growing numbers above 0 and up to 1, got {thresholds!r}"
        )
