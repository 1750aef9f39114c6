"""Priors of a mask's edge and of votes, by SciPy."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.stats import t as students_t

from dsnet.labeling.constants import FOREGROUND, UNKNOWN

# csrc/trimap/numbers.h has the same numbers.
EDGE_BIAS, EDGE_ERROR, EDGE_REACH = 0.2, 0.5, 2.0
VOTES_ADDED, VOTES_ADDED_AT_HALF = 0.5, 2.4


def mask_prior_reference(
    mask: np.ndarray, trimap: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """`mask_prior` by distance transforms: equal but for rounding."""
    steps = np.array(spacing) / min(spacing)
    signed = np.full(mask.shape, np.nan)
    for side, sign in ((mask, 1), (~mask, -1)):
        # Without a pixel on the other side the edge is as far as can be.
        distance = np.full(mask.shape, EDGE_REACH)
        if not side.all():
            found = ndimage.distance_transform_edt(side, sampling=steps)
            distance = np.minimum(np.asarray(found), EDGE_REACH)
        signed[side] = sign * (distance[side] - 0.5)
    prior = students_t.cdf((signed + EDGE_BIAS) / EDGE_ERROR, df=2)
    return np.where(trimap == UNKNOWN, prior, trimap == FOREGROUND).astype(np.float32)


def votes_prior_reference(masks: np.ndarray) -> np.ndarray:
    """`votes_prior`, pixel by pixel: equal to the bit."""
    spoke = [mask for mask in masks if mask.any()]
    prior = np.zeros(masks.shape[1:], np.float32)
    for pixel in np.ndindex(prior.shape):
        votes = sum(bool(mask[pixel]) for mask in spoke)
        added = VOTES_ADDED_AT_HALF if 2 * votes == len(spoke) else VOTES_ADDED
        if votes:
            prior[pixel] = (votes + added) / (len(spoke) + added)
    return prior
