"""A brush over a label: what it adds or takes away becomes a trimap, which matting solves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsnet.labeling.constants import BACKGROUND, FOREGROUND, UNKNOWN

# Pixels around a stroke that it leaves to matting, so that its edge follows the image's.
BAND = 1.5
# Pixels from a stroke within which it changes the label; beyond the outer one it stays as it is.
NEAR, FAR = 4.0, 10.0
MOST_STROKES, MOST_POINTS = 1000, 20_000


@dataclass(frozen=True, eq=False)
class Stroke:
    """A line of a round brush.

    Attributes
    ----------
    add : bool
        Whether it paints lesion, or takes it away.
    radius : float
        In pixels.
    points : ndarray [K, 2], float64
        (x, y) in pixels, pixel centres at integers.
    """

    add: bool
    radius: float
    points: np.ndarray


def read_strokes(told: Any) -> list[Stroke]:
    """Strokes of the JSON that the page sends: `[{"add", "radius", "points": [[x, y], ...]}]`.

    Raises
    ------
    ValueError
        Naming what is not as it must be.
    """
    if not isinstance(told, list) or not 0 < len(told) <= MOST_STROKES:
        raise ValueError(f"strokes must be a list of 1 to {MOST_STROKES}")
    strokes, points = [], 0
    for one in told:
        if not isinstance(one, dict) or not isinstance(one.get("add"), bool):
            raise ValueError("strokes must have add, true or false")
        radius = one.get("radius")
        if (
            isinstance(radius, bool)
            or not isinstance(radius, (int, float))
            or not (0 < radius <= 1000)
        ):
            raise ValueError(f"radius must be a number above 0, of at most 1000, got {radius!r}")
        line = numbers(one.get("points"), "points").reshape(-1, 2)
        points += len(line)
        if not len(line) or points > MOST_POINTS:
            raise ValueError(f"points must be 1 to {MOST_POINTS} pairs x, y in all strokes")
        strokes.append(Stroke(one["add"], float(radius), line))
    return strokes


def numbers(told: Any, name: str) -> np.ndarray:
    """Float64 of a list of finite numbers within 1e6, or of pairs of them, of JSON."""
    flat = []
    for item in told if isinstance(told, list) else [None]:
        flat += item if isinstance(item, list) and len(item) == 2 else [item]
    for value in flat:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= 1e6:
            raise ValueError(f"{name} must be finite numbers within +-1e6")
    if len(flat) % 2:
        raise ValueError(f"{name} must be pairs x, y")
    return np.array(flat, dtype=np.float64)


def paint(trimap: np.ndarray, strokes: list[Stroke]) -> np.ndarray:
    """A trimap with strokes over it, one after the other.

    What a stroke covers is sure lesion, or sure background. Around it, as wide as `BAND`, what was
    surely the other becomes unknown.

    Parameters
    ----------
    trimap : ndarray [H, W], uint8
    strokes : list of Stroke

    Returns
    -------
    ndarray [H, W], uint8
    """
    painted = trimap.copy()
    for stroke in strokes:
        distance = _distance(stroke.points, trimap.shape, stroke.radius + BAND)
        inside = distance <= stroke.radius
        # A brush that is finer than the pixels paints the one that it is on.
        if not inside.any():
            inside = distance <= min(distance.min(), math.sqrt(0.5))
        other = BACKGROUND if stroke.add else FOREGROUND
        around = (distance <= stroke.radius + BAND) & (painted == other)
        painted[around] = UNKNOWN
        painted[inside] = FOREGROUND if stroke.add else BACKGROUND
    return painted


def share_of_old(strokes: list[Stroke], shape: tuple[int, ...]) -> np.ndarray:
    """Float64 [H, W]: 0 within `NEAR` pixels of what was painted, 1 beyond `FAR`, else between."""
    away = np.full(shape, np.inf)
    for stroke in strokes:
        reached = _distance(stroke.points, shape, stroke.radius + FAR) - stroke.radius
        away = np.minimum(away, reached)
    return np.clip((away - NEAR) / (FAR - NEAR), 0.0, 1.0)


def _distance(points: np.ndarray, shape: tuple[int, ...], reach: float) -> np.ndarray:
    """Of each pixel's centre from a line through points, infinite beyond `reach` + 1."""
    found = np.full(shape, np.inf)
    for start, end in zip(points, [*points[1:], points[-1]], strict=True):
        low = np.floor(np.minimum(start, end) - reach).astype(int)
        high = np.ceil(np.maximum(start, end) + reach).astype(int) + 1
        (x0, y0), (x1, y1) = np.maximum(low, 0), np.minimum(high, shape[::-1])
        if x0 >= x1 or y0 >= y1:
            continue
        # One row and one column of numbers: half of what two whole planes take.
        y, x = np.arange(y0, y1)[:, None], np.arange(x0, x1)[None]
        along = end - start
        length = float(along @ along)
        share = 0.0
        if length > 0:
            share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / length
            share = np.clip(share, 0.0, 1.0)
        away = np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1])
        part = found[y0:y1, x0:x1]
        np.minimum(part, away, out=part)
    return found
