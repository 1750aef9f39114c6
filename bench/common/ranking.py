"""How well scores tell poor labels from others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a positive has the higher score (Mann and Whitney)."""
    if not 0 < positive.sum() < len(positive):
        return np.nan
    ranks = stats.rankdata(scores)
    count = positive.sum()
    above = ranks[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(positive) - count)))


def intervals(
    judged: Callable[[np.ndarray], dict[str, float]], patient: np.ndarray, times: int = 1000
) -> dict[str, tuple[float, float]]:
    """What `judged` says of rows, from 2.5 to 97.5 % of samples of as many patients (bootstrap)."""
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(patient == one) for one in np.unique(patient)]
    drawn = [
        judged(np.concatenate([rows[k] for k in rng.integers(len(rows), size=len(rows))]))
        for _ in range(times)
    ]
    return {
        name: tuple(np.nanpercentile([each[name] for each in drawn], [2.5, 97.5]).tolist())
        for name in drawn[0]
    }
