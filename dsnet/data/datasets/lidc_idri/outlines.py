"""Outlines become masks: the line itself is outside of the nodule.

LIDC's readers drew "outer borders": a line on the first pixels that do not belong to the nodule,
or, around a hole, that do not belong to it either (Armato et al. 2011, section II.C; McNitt-Gray et
al., "The Lung Image Database Consortium (LIDC) data collection process for nodule detection and
annotation", Academic Radiology 14, 2007). So no pixel on a line belongs to the nodule.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dsnet.data.datasets.lidc_idri.readings import Outline

# Pixels that a line may pass. A nodule that fills a slice has some 2000.
_MOST_STEPS = 2**20


def enclosed(
    points: np.ndarray, offset: tuple[int, int], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """What a closed line encloses, and the line, in a window of the slice.

    A pixel is enclosed where the line winds around its centre; it is on the line where its centre
    is, exactly. Both in integers.

    Parameters
    ----------
    points : ndarray [N, 2], int
        (x, y) of the slice; the last is joined with the first.
    offset : (x, y)
        The window's first pixel in the slice.
    shape : (H, W)
        Of the window; nothing is drawn outside of it.

    Returns
    -------
    inside, line : ndarray [H, W], bool
        No pixel is in both.

    Raises
    ------
    ValueError
        When the line is longer than any that was drawn on a slice.
    """
    height, width = shape
    start = np.asarray(points, dtype=np.int64) - offset
    step = np.roll(start, -1, axis=0) - start
    if np.abs(step).max(axis=1).sum() > _MOST_STEPS:
        raise ValueError(f"an outline must pass at most {_MOST_STEPS} pixels, got more")
    line = np.zeros(shape, dtype=bool)
    parts = np.gcd(*np.abs(step).T)
    which, number = _counted(np.maximum(parts, 1))
    on = start[which] + number[:, None] * (step[which] // np.maximum(parts, 1)[which, None])
    on = on[((on >= 0) & (on < (width, height))).all(axis=1)]
    line[on[:, 1], on[:, 0]] = True

    # Of each row that a part of the line crosses, how often it winds around what is left of it.
    which, number = _counted(np.abs(step[:, 1]))
    up = np.sign(step[which, 1])
    row = np.minimum(start[which, 1], start[which, 1] + step[which, 1]) + number
    # The first column that is not left of the crossing, rounded up in integers.
    rise = (row - start[which, 1]) * step[which, 0] * up
    column = start[which, 0] - (-rise // np.abs(step[which, 1]))
    winds = np.zeros((height, width + 1), dtype=np.int32)
    within = (row >= 0) & (row < height) & (column > 0)
    row, up, column = row[within], up[within], np.minimum(column[within], width)
    np.add.at(winds, (row, 0), up)
    np.add.at(winds, (row, column), -up)
    inside = np.cumsum(winds, axis=1)[:, :width] != 0
    return inside & ~line, line


def nodule_mask(
    outlines: Iterable[Outline], offset: tuple[int, int], shape: tuple[int, int]
) -> np.ndarray:
    """What a reader's outlines on one slice make of it: the enclosed, less holes and their lines.

    Parameters
    ----------
    outlines : iterable of Outline
    offset, shape
        As `enclosed` has them.

    Returns
    -------
    ndarray [H, W], bool
    """
    mask = np.zeros(shape, dtype=bool)
    holes = np.zeros(shape, dtype=bool)
    for outline in outlines:
        inside, line = enclosed(outline.points, offset, shape)
        if outline.included:
            mask |= inside
        else:
            holes |= inside | line
    return mask & ~holes


def bounds(outlines: Iterable[Outline]) -> tuple[int, int, int, int]:
    """Smallest and largest pixel of the lines, both included: (x, y, x, y)."""
    points = np.concatenate([outline.points for outline in outlines])
    (x, y), (far_x, far_y) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x, y, far_x, far_y


def diameter_mm(outlines: Iterable[Outline], spacing: tuple[float, float]) -> float:
    """The longest chord within a slice, in millimetres; of the lines, less the lines themselves.

    Parameters
    ----------
    outlines : iterable of Outline
        One reader's of one nodule.
    spacing : (row, column)
        Millimetres per pixel.
    """
    scale = np.array([spacing[1], spacing[0]])
    longest = 0.0
    for outline in outlines:
        if outline.included:
            points = _row_ends(outline.points) * scale
            for number, point in enumerate(points):
                longest = max(longest, float(np.hypot(*(points[number:] - point).T).max()))
    # From the middle of the first pixel outside to the middle of the last: one pixel too many.
    return max(0.0, longest - float(scale.mean()))


def _row_ends(points: np.ndarray) -> np.ndarray:
    """The first and last point of each row: the ends of the longest chord are among them."""
    order = points[np.lexsort((points[:, 0], points[:, 1]))]
    new_row = np.diff(order[:, 1]) > 0
    return order[np.append(True, new_row) | np.append(new_row, True)]


def _counted(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For counts 2, 0, 1: which 0, 0, 2 and number 0, 1, 0."""
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
