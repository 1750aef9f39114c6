"""Trimaps of masks and of cuts, by SciPy."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from dsnet import _C
from dsnet.labeling.arguments import as_mask, as_mask_like, as_radius, as_spacing
from dsnet.labeling.constants import BACKGROUND, FOREGROUND, UNKNOWN
from dsnet.labeling.cut import RecistCut
from dsnet.labeling.recist import RecistMark
from dsnet.labeling.reference.parts import connected_parts
from dsnet.labeling.trimap import LEAST_MARGIN, MARGIN_SHARE, inscribed_diameter

# Strategy 3's unknown band; csrc/trimap has the same numbers. Besides the pixels on either side
# of the cut, those whose log-odds are weaker than this (probability 0.18 to 0.82) and that hang
# together with them, as far from the cut as a quarter of the short axis, at least 2 pixels: the
# band widens where the lesion's edge is faint.
FAINT_LOG_ODDS = 1.5
FAINT_SHARE, FAINT_LEAST = 0.25, 2.0

_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def trimap_from_mask_reference(
    mask: np.ndarray,
    *,
    erosion: float | None = None,
    dilation: float | None = None,
    spacing: tuple[float, float] | None = None,
    core: np.ndarray | None = None,
) -> np.ndarray:
    """`trimap_from_mask` in NumPy and SciPy: equal to the bit."""
    lesion = as_mask(mask, "mask")
    protected = as_mask_like(core, lesion, "core") & lesion if core is not None else None
    spacing = as_spacing(spacing)
    erosion = None if erosion is None else as_radius(erosion, "erosion")
    dilation = None if dilation is None else as_radius(dilation, "dilation")

    trimap = np.full(lesion.shape, BACKGROUND, dtype=np.uint8)
    parts, count = connected_parts(lesion, _EIGHT_CONNECTED)
    widest = _mean_background_distance(lesion, spacing) if count and dilation is None else np.inf
    for part, box in enumerate(ndimage.find_objects(parts), start=1):
        margin = 0.0
        if erosion is None or dilation is None:
            diameter = inscribed_diameter(parts[box] == part, spacing)
            margin = max(MARGIN_SHARE * diameter, LEAST_MARGIN * min(spacing))
        eroded = margin if erosion is None else erosion
        dilated = min(margin, widest) if dilation is None else dilation
        # The dilation reaches outside the part's box; beyond it everything is background.
        window = _grown(box, dilated, spacing, lesion.shape)
        component = parts[window] == part
        piece = _C.split_trimap(component, eroded, dilated, *spacing)
        if not (piece == FOREGROUND).any():
            piece[_kept_core(component, protected, window, spacing)] = FOREGROUND
        np.maximum(trimap[window], piece, out=trimap[window])
    return trimap


def trimap_from_cut_reference(cut: RecistCut, mark: RecistMark) -> np.ndarray:
    """`trimap_from_cut` in NumPy and SciPy: equal to the bit."""
    if not cut.mask.any():
        return np.full(cut.mask.shape, BACKGROUND, dtype=np.uint8)
    reach = max(FAINT_SHARE * inscribed_diameter(cut.mask), FAINT_LEAST)
    near = _C.split_trimap(cut.mask, reach, reach) == UNKNOWN
    trimap = _C.split_trimap(cut.mask, LEAST_MARGIN, LEAST_MARGIN)
    border = trimap == UNKNOWN
    faint = near & (np.abs(cut.log_odds) < FAINT_LOG_ODDS)
    # Faint specks apart from the border say nothing about it.
    trimap[ndimage.binary_propagation(border, mask=border | faint)] = UNKNOWN
    if not (trimap == FOREGROUND).any():
        core = mark.quadrilateral_mask(cut.mask.shape) & cut.mask
        if not core.any():
            core = cut.mask & (cut.log_odds >= cut.log_odds[cut.mask].max())
        trimap[core] = FOREGROUND
    return trimap


def _mean_background_distance(lesion: np.ndarray, spacing: tuple[float, float]) -> float:
    # A strip of width w lies w / 4 from its borders on average.
    if lesion.all():
        return np.inf
    distance = np.sqrt(_C.distance_squared(~lesion, *spacing))[~lesion]
    # Summed one after the other, as the compiled one does, for the same bits.
    return float(np.cumsum(distance)[-1] / distance.size)


def _kept_core(
    component: np.ndarray,
    protected: np.ndarray | None,
    window: tuple[slice, slice],
    spacing: tuple[float, float],
) -> np.ndarray:
    if protected is not None:
        kept = protected[window] & component
        if kept.any():
            return kept
    distance = _C.distance_squared(np.pad(component, 1), *spacing)[1:-1, 1:-1]
    return component & (distance >= distance.max() * (1 - 1e-12))


def _grown(
    box: tuple[slice, slice],
    radius: float,
    spacing: tuple[float, float],
    shape: tuple[int, int],
) -> tuple[slice, slice]:
    grown = []
    for side, step, size in zip(box, spacing, shape, strict=True):
        reach = int(min(np.ceil(radius / step), size)) + 1
        grown.append(slice(max(side.start - reach, 0), min(side.stop + reach, size)))
    return grown[0], grown[1]
