"""The RECIST mark that follows from a binary mask."""

from __future__ import annotations

import numpy as np

from dsnet.labeling.points import convex_hull, dot
from dsnet.labeling.recist import RecistMark


def recist_from_mask(
    mask: np.ndarray,
    *,
    perpendicular: float = 0.05,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> RecistMark:
    """The mark that a careful reader would draw over a binary mask.

    Boundary pixel centres, the longest chord between two of them, then the longest chord
    perpendicular to it (|cos| <= `perpendicular`), each end moved half a pixel outward,
    since the lesion ends at its pixels' edges and not at their centres.

    Parameters
    ----------
    mask : array, shape [H, W]
        Non-zero is lesion.
    spacing : (row, column)
        Millimetres per pixel: longest and perpendicular are so in millimetres. The mark is in
        pixels all the same.

    Raises
    ------
    ValueError
        When the mask is empty or not two-dimensional, or a spacing is not above 0.
    """
    mask = np.asarray(mask) != 0
    if mask.ndim != 2:
        raise ValueError(f"mask must be [H, W], got shape {mask.shape}")
    if not mask.any():
        raise ValueError("mask must hold at least one lesion pixel, got none")
    if len(spacing) != 2 or not (min(spacing) > 0 and np.isfinite(spacing).all()):
        raise ValueError(f"spacing must be (row, column), above 0, got {spacing}")
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    row, column = np.nonzero(mask & ~inner)
    points = np.stack([column, row], 1).astype(np.float64)
    points = convex_hull(points) if len(points) > 2048 else points

    apart = points[None] - points[:, None]
    difference = apart * np.array([spacing[1], spacing[0]])
    length = np.hypot(difference[..., 0], difference[..., 1])
    # Of several longest chords, the one with the longest perpendicular.
    best, i, j, k, m = -1.0, 0, 0, 0, 0
    for first, second in np.argwhere(np.triu(length >= length.max() - 1e-9, 1)):
        direction = difference[first, second] / length[first, second]
        slope = np.abs(dot(difference, direction))
        upright = np.where(slope <= perpendicular * length, length, 0.0)
        at = np.unravel_index(np.argmax(upright), upright.shape)
        if upright[at] > best:
            best, i, j, k, m = upright[at], first, second, int(at[0]), int(at[1])
    # Half a pixel is one of the picture's, along the axis as it lies there.
    along = apart[i, j] / np.hypot(*apart[i, j]) if length[i, j] > 0 else np.array([1.0, 0.0])
    across = np.array([-along[1], along[0]])
    short = points[[k, m]]
    if best <= 0:
        short = np.repeat(points[[i, j]].mean(0, keepdims=True), 2, axis=0)
    else:
        across = apart[k, m] / np.hypot(*apart[k, m])
    long_axis = points[[i, j]] + 0.5 * np.array([-along, along])
    short_axis = short + 0.5 * np.array([-across, across])
    return RecistMark.from_coordinates(np.concatenate([long_axis, short_axis]).ravel())
