"""Trimaps: where a label is sure lesion, sure background, or unknown.

The paper's section "Labeling of Soft Mask": strategy 1 starts from a binary mask, strategy 2
from several raters' masks, strategy 3 from a RECIST mark, which first becomes a cut.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsnet import _C
from dsnet.labeling.arguments import (
    as_mask,
    as_mask_like,
    as_radius,
    as_rater_masks,
    as_spacing,
)
from dsnet.labeling.constants import BACKGROUND, FOREGROUND, UNKNOWN
from dsnet.labeling.cut import RecistCut, cut_recist
from dsnet.labeling.gpu.arrays import is_on_device
from dsnet.labeling.recist import RecistMark

# Default margin as a share of the lesion's short axis, and its least in pixels; the paper
# does not state its structuring element. Chosen on single readers' masks of LIDC nodules
# against the four readers' consensus (`python -m bench.studies.trimap_margin`): 0.8 % of the sure
# lesion pixels are wrong, 2.3 % of the lesion is sure background, and the binarised soft
# mask's Dice is within 0.002 of the narrowest band's. A least margin of 2 px would empty the
# core of 5 % of the nodules.
MARGIN_SHARE = 0.15
LEAST_MARGIN = 1.0


def trimap_from_mask(
    mask: np.ndarray,
    *,
    erosion: float | None = None,
    dilation: float | None = None,
    spacing: tuple[float, float] | None = None,
    core: np.ndarray | None = None,
) -> np.ndarray:
    """Trimap of a binary mask (strategy 1): erode for the lesion, dilate for the background.

    The structuring elements are true discs: a lesion pixel is sure when its centre is
    farther than `erosion` from every background pixel's centre, a background pixel when it
    is farther than `dilation` from every lesion pixel's. The image's border erodes nothing.

    Parameters
    ----------
    mask : array, shape [H, W]
        Boolean or numeric; non-zero is lesion. NaN is refused.
    erosion, dilation : float, optional
        Radii: millimetres where `spacing` is given, else pixels. By default each connected
        part of the lesion takes 0.15 of its short axis (the diameter of its largest
        inscribed disc), at least one pixel, and the dilation at most the background's mean
        distance to the lesion, so that a membrane between two cells keeps its middle.
    spacing : (row, column), optional
        Millimetres per pixel.
    core : array, shape [H, W], optional
        What must stay lesion however small the mask is (a RECIST mark's quadrilateral, say);
        only its pixels inside `mask` count. A part of the lesion that would erode to nothing
        keeps its core, or where it has none its innermost pixels.

    Returns
    -------
    ndarray, shape [H, W], uint8
        `BACKGROUND` (0), `UNKNOWN` (128) or `FOREGROUND` (255). An empty mask is all
        background, a full one all lesion.

    Notes
    -----
    A mask in a CUDA device's memory (of torch, CuPy, numba, or with DLPack), bool or uint8, may be
    a batch [N, H, W]. Its trimaps are made there, on its library's current stream and without a
    copy to the host, and are an array of the same library.
    """
    if is_on_device(mask):
        from dsnet.labeling.gpu.batches import trimap_on_device

        return trimap_on_device(
            mask,
            erosion=None if erosion is None else as_radius(erosion, "erosion"),
            dilation=None if dilation is None else as_radius(dilation, "dilation"),
            spacing=as_spacing(spacing),
            core=core,
        )
    lesion = as_mask(mask, "mask")
    return _C.trimap_from_mask(
        lesion,
        None if erosion is None else as_radius(erosion, "erosion"),
        None if dilation is None else as_radius(dilation, "dilation"),
        *as_spacing(spacing),
        core=None if core is None else as_mask_like(core, lesion, "core"),
    )


def trimap_from_raters(
    masks: np.ndarray,
    *,
    erosion: float | None = None,
    dilation: float | None = None,
    spacing: tuple[float, float] | None = None,
) -> np.ndarray:
    """Trimap of several raters' masks (strategy 2).

    What all mark is lesion, what none marks is background, the rest is unknown, and with it
    strategy 1's thin band: inside of what all mark, and outside of what any marks. A further
    rater would not stop where the others do: of the pixels that three mark a fourth leaves out
    4 %, most of them at the edge. With a band of 0 it is the paper's rule. One rater alone is
    strategy 1.

    A rater who marked nothing did not see the lesion on this slice and does not speak about
    its border: such masks are left out. Where all are empty the trimap is all background.
    Where the remaining raters have no pixel in common, the pixels that most of them marked
    are the lesion.

    Parameters
    ----------
    masks : array, shape [R, H, W]
        R >= 1 raters; non-zero is lesion.
    erosion, dilation, spacing
        Of the thin band, as in `trimap_from_mask`; by default its default margins, inward for
        the pixels that all mark and outward for those that any marks.

    Returns
    -------
    ndarray, shape [H, W], uint8

    Notes
    -----
    Masks in a CUDA device's memory, bool or uint8, may be a batch [N, R, H, W]; of them holds what
    `trimap_from_mask` says of its own.
    """
    if is_on_device(masks):
        from dsnet.labeling.gpu.batches import raters_on_device

        return raters_on_device(
            masks,
            erosion=None if erosion is None else as_radius(erosion, "erosion"),
            dilation=None if dilation is None else as_radius(dilation, "dilation"),
            spacing=as_spacing(spacing),
        )
    lesions = as_rater_masks(masks)
    spoke = lesions[lesions.any(axis=(1, 2))]
    if len(spoke) == 0:
        return np.full(lesions.shape[1:], BACKGROUND, dtype=np.uint8)
    votes = spoke.sum(axis=0)
    agreed, marked = votes == votes.max(), votes > 0
    inner = trimap_from_mask(agreed, erosion=erosion, dilation=0.0, spacing=spacing)
    outer = trimap_from_mask(marked, erosion=0.0, dilation=dilation, spacing=spacing)
    trimap = np.full(agreed.shape, UNKNOWN, dtype=np.uint8)
    trimap[outer == BACKGROUND] = BACKGROUND
    trimap[inner == FOREGROUND] = FOREGROUND
    return trimap


def trimap_from_recist(image: np.ndarray, mark: RecistMark | Sequence[RecistMark]) -> np.ndarray:
    """Trimap of the lesion under a RECIST mark (strategy 3): `cut_recist`, then a band.

    Parameters
    ----------
    image : ndarray [H, W], float
        Grey values in 0..1 after the HU window.
    mark : RecistMark
        Touching the image.

    Returns
    -------
    ndarray, shape [H, W], uint8

    Notes
    -----
    An image in a CUDA device's memory, float32, may be a batch [N, H, W], then with N marks; of it
    holds what `trimap_from_mask` says of masks. Its grey values are not looked at: those that are
    not finite give some trimap.
    """
    if is_on_device(image):
        from dsnet.labeling.gpu.batches import cut_on_device

        marks = [mark] if isinstance(mark, RecistMark) else list(mark)
        for one in marks:
            if not isinstance(one, RecistMark):
                raise TypeError(f"mark must be a RecistMark, got {type(one).__name__}")
        coordinates = np.array([one.coordinates for one in marks]).reshape(-1, 8)
        return cut_on_device(image, coordinates)[1]
    if not isinstance(mark, RecistMark):
        raise TypeError(f"mark must be a RecistMark, got {type(mark).__name__}")
    return trimap_from_cut(cut_recist(image, mark), mark)


def trimap_from_cut(cut: RecistCut, mark: RecistMark) -> np.ndarray:
    """Trimap of a cut: its border pixels and the faint ones near them are unknown.

    A lesion too small to keep a sure pixel keeps the mark's quadrilateral, or else its most
    certain pixels. Returns uint8 [H, W].
    """
    return _C.trimap_from_cut(cut.mask, cut.log_odds, mark.coordinates)


def consensus(masks: np.ndarray, level: float = 0.5) -> np.ndarray:
    """Pixels that at least the share `level` of the raters marked.

    At 0.5 this is LIDC's 50 % consensus: one reader of two suffices, and a reader who
    marked nothing counts as one who saw nothing (Kubota et al. 2011).

    Parameters
    ----------
    masks : array, shape [R, H, W]
        R >= 1 raters; non-zero is lesion.
    level : float
        In (0, 1].

    Returns
    -------
    ndarray, shape [H, W], bool
    """
    if not 0.0 < level <= 1.0:
        raise ValueError(f"level must be in (0, 1], got {level!r}")
    lesions = as_rater_masks(masks)
    # Votes are whole numbers: the slack keeps 0.3 * 10 from asking for four of ten.
    return lesions.sum(axis=0) >= level * len(lesions) - 1e-9


def inscribed_diameter(mask: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)) -> float:
    """Diameter of the largest disc inside a mask [H, W], in the unit of `spacing`.

    The image's border bounds the disc too. Zero for an empty mask.
    """
    return _C.inscribed_diameter(as_mask(mask, "mask"), *spacing)
