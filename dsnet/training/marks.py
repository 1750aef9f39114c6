"""Marks for a network that sees one: people's where a store has them, else drawn as people draw.

Public
------
``marks_of(mark, truth, soft, key, draws) -> (ndarray [draws, 8], replayed)``
``DRAWS``: how many a training draws of each case

A mark that is derived from its mask would tell the network where the mask ends. People's marks do
not: `dsnet.labeling.draw_mark` replays how they miss. Each of a case's marks follows from its key
and its number alone, so that all networks are trained and scored with the same ones.
"""

from __future__ import annotations

import zlib

import numpy as np

from dsnet.labeling.mark_model import MarkedMask
from dsnet.labeling.recist import RecistMark

DRAWS = 8


def marks_of(
    mark: RecistMark | None, truth: np.ndarray, soft: np.ndarray, key: str, draws: int
) -> tuple[np.ndarray, bool]:
    """A case's marks, as `dsnet.models.mark_plane` takes them.

    Parameters
    ----------
    mark : RecistMark or None
        The one that a person drew, in the pixels of `truth`.
    truth : ndarray [H, W], bool
        What marks are drawn over where nobody drew one.
    soft : ndarray [H, W], float
        In its place where it is empty: the pixels of at least half of its greatest value.
    key : str
        Seeds the draws.
    draws : int
        How many; draw k is the same however many there are.

    Returns
    -------
    ndarray [draws, 8], float64
        With both axes; NaN where there is no lesion to mark.
    bool
        Whether they were drawn here.
    """
    if mark is not None:
        return np.repeat(mark.assumed().coordinates[None], draws, axis=0), False
    if not truth.any():
        truth = (soft >= 0.5 * soft.max()) & (soft > 0)
    if not truth.any():
        return np.full((draws, 8), np.nan), False
    drawn, seed = MarkedMask(truth), zlib.crc32(key.encode("utf-8", "backslashreplace"))
    marks = [drawn.draw(np.random.default_rng([seed, k])).coordinates for k in range(draws)]
    return np.stack(marks), True
