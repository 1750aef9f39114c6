"""Priors of strategies 1 and 2: what matting is told besides the image's grey values.

Grey values alone cannot say where between two readers' edges the lesion ends: of readers' marks
around a nodule matting takes the densest part, and its binary mask leaves a sixth of the lesion
out. What people drew is evidence of its own, and joins matting's quadratic form as strategy 3's cut
does: `closed_form_matting` says how. The numbers were chosen on half of LIDC's patients, by one
reader left out (`python -m bench.studies.soft_masks` measures the other half).

Alpha mattes of nodules came before: Wang et al., "Medical Matting", MICCAI 2021 (arXiv 2106.09887)
and "3D Matting", 2022 (2209.07843, 2210.05104), where networks learn them.
"""

from __future__ import annotations

import numpy as np

from dsnet import _C
from dsnet.labeling.arguments import as_mask, as_rater_masks, as_spacing

# Weight of a reader's edge in strategy 1. Of 0.1, 0.3, 0.6, 1 and 3: by 0.3 the soft mask of one
# reader agrees best with the others' masks, thresholded at one half, and costs no Brier score; a
# larger weight follows the reader's own errors.
MASK_PRIOR_WEIGHT = 0.3
# Weight of the votes in strategy 2, which is strategy 3's. Less leaves out what half of the readers
# mark, more follows the votes where the image knows better.
VOTES_PRIOR_WEIGHT = 3.0


def mask_prior(
    mask: np.ndarray, trimap: np.ndarray, spacing: tuple[float, float] | None = None
) -> np.ndarray:
    """How likely each pixel is lesion that one reader marked, or did not (strategy 1).

    Where the trimap is unknown, by the signed distance d from the pixel's centre to the mask's
    edge (half-way between two pixels' centres; positive inside; in units of the smaller spacing):
    a pixel's grey values let the lesion end 0.2 px inside of where readers draw, and a reader's
    error is taken as Student's with two degrees of freedom and a scale of half a pixel,

        1/2 + t / (2 sqrt(2 + t^2)),  t = (d + 0.2) / 0.5.

    Centres farther apart than two pixels count as two.

    Parameters
    ----------
    mask : array [H, W]
        Non-zero is lesion.
    trimap : ndarray [H, W], uint8
        Of `trimap_from_mask`.
    spacing : (row, column), optional
        Millimetres per pixel.

    Returns
    -------
    ndarray [H, W], float32
        In 0..1; 0 and 1 where the trimap is sure.
    """
    lesion = np.ascontiguousarray(as_mask(mask, "mask"))[None].view(np.uint8)
    split = np.ascontiguousarray(trimap)[None]
    return _C.mask_prior(lesion, split, *as_spacing(spacing))[0]


def votes_prior(masks: np.ndarray) -> np.ndarray:
    """How likely each pixel is lesion by the readers' votes (strategy 2).

    Of n readers who marked something k mark the pixel: (k + a) / (n + a), 0 for k = 0. Half a vote
    is added, a = 0.5, for readers mark faint rims that matting gives to the background. Where just
    half of them mark the pixel a = 2.4: LIDC's 50 % consensus counts those, and with 2.5 or more
    11 votes of 20 would weigh less than 10.

    Parameters
    ----------
    masks : array [R, H, W]
        R >= 1 raters; non-zero is lesion. Raters who marked nothing are left out.

    Returns
    -------
    ndarray [H, W], float32
        In 0..1.
    """
    lesions = as_rater_masks(masks)
    spoke = lesions[lesions.any(axis=(1, 2))]
    return _C.votes_prior(max(len(spoke), 1))[spoke.sum(axis=0)]
