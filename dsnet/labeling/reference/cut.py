"""The cut of a RECIST mark in NumPy, in float64."""

from __future__ import annotations

from typing import cast

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from dsnet.labeling.cut import (
    BORDER_COST,
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
_UNITS = 4096.0
# A cut this much smaller or larger than the axes' ellipse has gone astray.
_AREA_RANGE = (0.1, 8.0)


def cut_recist_reference(image: np.ndarray, mark: RecistMark) -> RecistCut:
    """`cut_recist` in NumPy, in float64."""
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
        mask[window] = _kept_part(_minimum_cut(odds, seeds), seeds)
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
    parts, count = connected_parts(mask)
    if count == 0:
        return mask
    if count > 1:
        votes = np.bincount(parts[seeds & mask], minlength=count + 1)
        votes[0] = 0
        mask = parts == np.argmax(votes)
    return cast(np.ndarray, ndimage.binary_fill_holes(mask))
