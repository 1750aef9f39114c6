"""The cut of strategy 3: which pixels around a RECIST mark are lesion.

As GrabCut does, a minimum cut on the pixel grid weighs each pixel's own evidence against the
length of the border, with the mark as the seed. The evidence is `edge_model`'s instead of two
colour mixtures': on CT a mixture leaks into vessels and the chest wall, has no notion of
where the mark ends, and breaks down on flat patches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from dsnet import _C
from dsnet.labeling.edge_model import LEAST_CONTRAST, lesion_evidence, native_network
from dsnet.labeling.recist import RecistMark

# Cost of one pixel of border between lesion and background, in units of log-odds. Chosen on
# half of LIDC's patients: 0.3 costs no Dice and keeps single pixels from flipping.
BORDER_COST = 0.3
# Log-odds are cut off here: certain, and yet a number.
CERTAIN = 8.0
# Inner share of the axes that is sure lesion; their ends lie on the border.
SURE_SHARE = 0.6
_UNITS = 4096.0
# A cut this much smaller or larger than the axes' ellipse has gone astray.
_AREA_RANGE = (0.1, 8.0)


@dataclass(frozen=True, eq=False)
class RecistCut:
    """A lesion cut out of an image.

    Attributes
    ----------
    mask : ndarray [H, W], bool
    log_odds : ndarray [H, W], float32
        The evidence, within +-`CERTAIN`; far from the mark it is certain background.
    fallback : str
        Empty where the cut worked, else why `mask` is the axes' ellipse.
    """

    mask: np.ndarray
    log_odds: np.ndarray
    fallback: str


def cut_recist(image: np.ndarray, mark: RecistMark) -> RecistCut:
    """Cut the lesion under a RECIST mark out of an image; deterministic.

    Sure lesion: the axes' inner part. Sure background: farther outside the curve through the
    end points than 30 % of the long axis (at least 4 pixels). Of the cut, the part that
    holds the mark is kept and its holes are filled.

    Parameters
    ----------
    image : ndarray [H, W], float
        Grey values in 0..1; read as float32.
    mark : RecistMark
        Touching the image.

    Returns
    -------
    RecistCut
        Where the cut cannot work (no contrast, nothing left, far from the mark's size) its
        mask is the axes' ellipse and `fallback` says why.

    Raises
    ------
    ValueError
        When the image is not [H, W] or not finite, or the mark lies wholly outside it.
    TypeError
        When the image is not floating point or `mark` is no RecistMark.
    """
    image = _checked(image, mark)
    mask, log_odds, code, value = _C.cut_recist(image, mark.coordinates, native_network())
    return RecistCut(mask, log_odds, fallback_words(code, value))


def fallback_words(code: int, value: float) -> str:
    """The native cut's reason to fall back, in words; empty for 0."""
    return (
        "",
        f"contrast {value:.3f} below {LEAST_CONTRAST}",
        "the mark's middle lies outside the image",
        f"the cut's area is {value:.2f} of the axes' ellipse",
    )[code]


def cut_recist_reference(image: np.ndarray, mark: RecistMark) -> RecistCut:
    """`cut_recist` in NumPy, in float64: what the native one is tested against."""
    image = _checked(image, mark)
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
        fallback = fallback_words(1, abs(evidence.contrast))
    elif not seeds.any():
        fallback = fallback_words(2, 0.0)
    else:
        mask[window] = _kept_part(_minimum_cut(odds, seeds), seeds)
        share = np.count_nonzero(mask) / max(np.count_nonzero(ellipse), 1)
        if not _AREA_RANGE[0] <= share <= _AREA_RANGE[1]:
            fallback = fallback_words(3, share)
    if fallback:
        # Certainty about nothing but the ellipse: its rim is where the border may lie.
        inner, outer = (mark.ellipse_mask(image.shape, scale=scale) for scale in (0.75, 1.25))
        log_odds = np.where(inner, CERTAIN, np.where(outer, 0.0, -CERTAIN))
        return RecistCut(ellipse, log_odds.astype(np.float32), fallback)
    return RecistCut(mask, log_odds.astype(np.float32), "")


def _checked(image: np.ndarray, mark: RecistMark) -> np.ndarray:
    if not isinstance(mark, RecistMark):
        raise TypeError(f"mark must be a RecistMark, got {type(mark).__name__}")
    image = np.asarray(image)
    if image.ndim != 2 or 0 in image.shape:
        raise ValueError(f"image must be [H, W] with H, W >= 1, got shape {image.shape}")
    if image.dtype.kind != "f":
        raise TypeError(f"image must be floating point, got dtype {image.dtype}")
    image = np.ascontiguousarray(image, dtype=np.float32)
    if not np.isfinite(image).all():
        raise ValueError("image must be finite, got NaN or infinite values")
    if "mark lies outside the image" in mark.problems(image.shape):
        raise ValueError(
            f"mark must touch the image of {image.shape[0]}x{image.shape[1]} pixels, "
            f"got end points within {tuple(round(v, 2) for v in mark.bounds())} (x, y, x, y)"
        )
    return image


def _inner_axes(mark: RecistMark) -> RecistMark:
    middle = mark.center
    axes = [middle + SURE_SHARE * (axis - middle) for axis in (mark.long_axis, mark.short_axis)]
    return RecistMark.from_coordinates(np.concatenate(axes).ravel())


def _minimum_cut(odds: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    pixels = np.arange(odds.size, dtype=np.int32).reshape(odds.shape)
    source, sink = odds.size, odds.size + 1
    lesion = np.rint(np.where(seeds, 1e4, np.maximum(odds, 0.0)) * _UNITS)
    background = np.rint(np.where(seeds, 0.0, np.maximum(-odds, 0.0)) * _UNITS)
    # Border length on the 8-connected grid: 1 to the side, 1 / sqrt(2) across.
    side, across = round(BORDER_COST * _UNITS), round(BORDER_COST * _UNITS / np.sqrt(2))
    edges = [(source, pixels, lesion), (pixels, sink, background)]
    for one, other, cost in (
        (pixels[:, :-1], pixels[:, 1:], side),
        (pixels[:-1], pixels[1:], side),
        (pixels[:-1, :-1], pixels[1:, 1:], across),
        (pixels[:-1, 1:], pixels[1:, :-1], across),
    ):
        edges += [(one, other, cost), (other, one, cost)]
    starts, ends, capacities = (
        np.concatenate([part.ravel() for part in parts]).astype(np.int32)
        for parts in zip(*(np.broadcast_arrays(*edge) for edge in edges), strict=True)
    )
    graph = sparse.csr_array((capacities, (starts, ends)), shape=(odds.size + 2,) * 2)
    left = graph - csgraph.maximum_flow(graph, source, sink).flow
    left.eliminate_zeros()
    # Of all minimum cuts the one with the least lesion: what the source still reaches.
    reached = csgraph.breadth_first_order(left, source, return_predecessors=False)
    mask = np.zeros(odds.size + 2, dtype=bool)
    mask[reached] = True
    return mask[: odds.size].reshape(odds.shape)


def _kept_part(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    if count > 1:
        votes = np.bincount(parts[seeds & mask], minlength=count + 1)
        votes[0] = 0
        mask = parts == np.argmax(votes)
    return ndimage.binary_fill_holes(mask)
