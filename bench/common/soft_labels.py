"""Soft masks of other methods, and of dsnet before it had priors: what its own are compared with.

Each takes an image [H, W] and the masks [R, H, W] of readers who all marked something; but for
dsnet's the image plays no part.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from dsnet.labeling import (
    BACKGROUND,
    FOREGROUND,
    UNKNOWN,
    closed_form_matting,
    trimap_from_mask,
)

# Of the smoothed mean, in pixels: of 0.5, 0.6, ... 1.5 the one with the least Brier score on half 0
# of LIDC's patients, one reader left out.
SIGMA = 0.7
# Of Kats et al.'s dilation and its soft value, chosen alike of 1, 1.5, 2 and 3 px and of 0.1, 0.2,
# ... 0.5.
RING, RING_VALUE = 1.0, 0.2


def mean_of(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of the readers that mark each pixel."""
    return masks.mean(axis=0)


def smoothed_mean(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """That through a Gaussian."""
    return ndimage.gaussian_filter(masks.mean(axis=0), SIGMA, mode="nearest")


def kats(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Soft labels by dilation, after Kats, Goldberger and Greenspan, "Soft labeling by distilling
    anatomical knowledge for improved MS lesion segmentation", ISBI 2019.

    A pixel of an expert's mask is 1, one that its dilation adds has a constant value below 1. The
    dilation is by a disc of `RING` pixels here, and of several readers the mean of their soft
    labels is taken; the paper has one expert.
    """
    soft = []
    for mask in masks:
        near = np.asarray(ndimage.distance_transform_edt(~mask)) <= RING
        soft.append(np.where(mask, 1.0, np.where(near, RING_VALUE, 0.0)))
    return np.mean(soft, axis=0)


def softseg(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Soft labels of SoftSeg, after Gros, Lemay and Cohen-Adad, "SoftSeg: Advantages of soft versus
    binary training for image segmentation", Medical Image Analysis 71, 2021.

    A mask is not binarised again after interpolation: its soft values are what resampling and
    augmentation leave at borders. Here the readers' mean is resampled linearly by part of a pixel
    and back, on average over all such shifts: along each axis f (1 - f) of either neighbour for a
    shift by f, 1/6 on average.
    """
    soft = masks.mean(axis=0)
    for axis in (0, 1):
        soft = ndimage.convolve1d(soft, [1 / 6, 2 / 3, 1 / 6], axis=axis, mode="nearest")
    return soft


def without_prior(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """dsnet's strategies 1 and 2 before they had priors: grey values alone decide.

    Of several readers what all mark is lesion and what none marks is background, but for strategy
    1's thin band where they agree to the pixel.
    """
    votes = masks.sum(axis=0)
    agreed, marked = votes == votes.max(), votes > 0
    if len(masks) == 1:
        trimap = trimap_from_mask(masks[0])
    else:
        inner = trimap_from_mask(agreed, erosion=0.0)
        outer = trimap_from_mask(marked, dilation=0.0, core=agreed)
        trimap = np.full(marked.shape, UNKNOWN, np.uint8)
        trimap[~marked & (inner == BACKGROUND)] = BACKGROUND
        trimap[agreed & (outer == FOREGROUND)] = FOREGROUND
        if not (trimap == FOREGROUND).any():
            trimap[agreed] = FOREGROUND
    return closed_form_matting(image, trimap)[0]
