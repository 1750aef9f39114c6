"""A few points of a plane: in plain numbers, which is quicker than arrays of four."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def dot(points: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """How far `points` [..., 2] lie along `direction` [2].

    Not by BLAS: some processors' kernels fuse product and sum, and a pixel that lies on an
    ellipse's very edge would be in or out by the machine.
    """
    return points[..., 0] * direction[0] + points[..., 1] * direction[1]


def hypot(x: float, y: float) -> float:
    """The C library's, as NumPy's; `math.hypot` differs in the last bit."""
    return abs(complex(x, y))


def length_of(ends: Sequence[float]) -> float:
    """Of a line of `x0, y0, x1, y1`."""
    x0, y0, x1, y1 = ends
    return hypot(x1 - x0, y1 - y0)


def bounds_of(numbers: tuple[float, ...]) -> tuple[float, float, float, float]:
    """`(x_min, y_min, x_max, y_max)` of `x0, y0, x1, y1, ...`; all NaN where one is."""
    if math.isnan(sum(numbers)):
        return math.nan, math.nan, math.nan, math.nan
    xs, ys = numbers[::2], numbers[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def scaled_ends(
    numbers: tuple[float, ...], sx: float, sy: float
) -> tuple[list[float], list[float]]:
    """x and y of the ends on an image resized by `(sx, sy)`."""
    xs, ys = numbers[::2], numbers[1::2]
    return [(x + 0.5) * sx - 0.5 for x in xs], [(y + 0.5) * sy - 0.5 for y in ys]


def axes_cross(long_axis: np.ndarray, short_axis: np.ndarray, tolerance: float = 1.0) -> bool:
    """Whether two lines [2, 2] meet, or would if they were longer by `tolerance` pixels."""
    # One pixel of slack: real marks may just fail to touch.
    (p, q), (r, s) = long_axis, short_axis
    d, e = q - p, s - r
    long_length, short_length = hypot(*d.tolist()), hypot(*e.tolist())
    determinant = d[0] * e[1] - d[1] * e[0]
    if abs(determinant) < 1e-9 * long_length * short_length:
        return False
    gap = r - p
    at_long = (gap[0] * e[1] - gap[1] * e[0]) / determinant
    at_short = (gap[0] * d[1] - gap[1] * d[0]) / determinant
    slack_long, slack_short = tolerance / long_length, tolerance / short_length
    return -slack_long <= at_long <= 1 + slack_long and -slack_short <= at_short <= 1 + slack_short


def convex_hull(points: np.ndarray) -> np.ndarray:
    """Corners in order around the hull, such that each edge has the hull at its left."""
    points = np.unique(points, axis=0)
    if len(points) < 3:
        return points

    def chain(ordered: np.ndarray) -> list[np.ndarray]:
        kept: list[np.ndarray] = []
        for point in ordered:
            while len(kept) > 1:
                a, b = kept[-1] - kept[-2], point - kept[-1]
                if a[0] * b[1] - a[1] * b[0] > 0:
                    break
                kept.pop()
            kept.append(point)
        return kept[:-1]

    return np.array(chain(points) + chain(points[::-1]))
