"""The cut of a RECIST mark in NumPy."""

from __future__ import annotations

from typing import cast

import numpy as np
from scipy import ndimage

from dsnet.labeling.cut import (
    CERTAIN,
    CutFallback,
    RecistCut,
    check_image_and_mark,
)
from dsnet.labeling.edge_model import LEAST_CONTRAST
from dsnet.labeling.recist import RecistMark
from dsnet.labeling.reference.edge_model import lesion_evidence
from dsnet.labeling.reference.parts import connected_parts

# Inner share of the axes that is sure lesion; their ends lie on the border.
SURE_SHARE = 0.6
# A cut this much smaller or larger than the axes' ellipse has gone astray.
_AREA_RANGE = (0.1, 8.0)


def cut_recist_reference(image: np.ndarray, mark: RecistMark) -> RecistCut:
    """`cut_recist` in NumPy."""
    image = check_image_and_mark(image, mark)
    evidence = lesion_evidence(image, mark)
    window = evidence.window
    odds = np.where(evidence.reachable, np.clip(evidence.log_odds, -CERTAIN, CERTAIN), -CERTAIN)
    log_odds = np.full(image.shape, -CERTAIN)
    seeds = _inner_axes(mark).axes_mask(image.shape)[window]
    log_odds[window] = odds
    ellipse = mark.ellipse_mask(image.shape)
    if not ellipse.any():
        ellipse = mark.quadrilateral_mask(image.shape)

    fallback = ""
    mask = np.zeros(image.shape, dtype=bool)
    if abs(evidence.contrast) < LEAST_CONTRAST:
        fallback = CutFallback.CONTRAST.told(abs(evidence.contrast))
    elif not seeds.any():
        fallback = CutFallback.NO_SEEDS.told(0.0)
    else:
        mask[window] = _kept_part((odds >= evidence.threshold) | seeds, seeds)
        share = np.count_nonzero(mask) / max(np.count_nonzero(ellipse), 1)
        if not _AREA_RANGE[0] <= share <= _AREA_RANGE[1]:
            fallback = CutFallback.AREA.told(share)
    if fallback:
        # Certainty about nothing but the ellipse: its rim is where the border may lie.
        inner, outer = (mark.ellipse_mask(image.shape, scale=scale) for scale in (0.75, 1.25))
        log_odds = np.where(inner, CERTAIN, np.where(outer, 0.0, -CERTAIN))
        return RecistCut(ellipse, log_odds.astype(np.float32), fallback)
    return RecistCut(mask, log_odds.astype(np.float32), "")


def _inner_axes(mark: RecistMark) -> RecistMark:
    middle = mark.center
    return RecistMark(*(middle + SURE_SHARE * (axis - middle) for axis in mark.axes))


def _kept_part(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    parts, count = connected_parts(mask)
    if count == 0:
        return mask
    if count > 1:
        votes = np.bincount(parts[seeds & mask], minlength=count + 1)
        votes[0] = 0
        mask = parts == np.argmax(votes)
    return cast(np.ndarray, ndimage.binary_fill_holes(mask))
