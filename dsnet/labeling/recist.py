"""RECIST marks: the long and the short axis that a radiologist draws over a lesion.

Points are `(x, y)` = (column, row) in pixels with pixel centres at integers. A format with another
origin is brought here by its reader.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# An axis drawn shorter than this many pixels has no direction to trust.
SHORTEST_AXIS = 0.25
# Coordinates beyond this, in pixels, belong to no image, and products of them would overflow.
FARTHEST = 1e9
# Short over long axis where the short one is unknown: the median of 6,173 marks that people drew
# (5 % below 0.42, 5 % above 0.97), and of 0.6 to 0.99 the best for labels of half of LIDC.
ASSUMED_RATIO = 0.75
# What can be odd about a mark; the compiled code tells them as bits in this order.
PROBLEMS = (
    "zero-length long axis",
    "zero-length short axis",
    "axes do not cross",
    "axes are more than 30 degrees from perpendicular",
    "mark lies outside the image",
    "mark lies partly outside the image",
)


@dataclass(frozen=True, eq=False)
class RecistMark:
    """The two axes of a lesion, or its long axis alone.

    What needs a shape (masks, directions, centre, bounds) is that of the mark with its `axes`: an
    unknown short one is assumed there, and in the whole of labelling. `problems` and the quality
    scores look at what was drawn alone.

    Attributes
    ----------
    long_axis : ndarray, shape [2, 2], float64
        End points, one `(x, y)` a row, in pixels. The long axis is the longer one.
    short_axis : ndarray, shape [2, 2], float64, or None
        Likewise; None where it is unknown.
    """

    long_axis: np.ndarray
    short_axis: np.ndarray | None

    @classmethod
    def from_coordinates(cls, coordinates: Sequence[float] | np.ndarray) -> RecistMark:
        """Mark from eight numbers in DeepLesion's order, in pixels.

        Parameters
        ----------
        coordinates : sequence of 8 floats
            `x1, y1, x2, y2` of one axis, then of the other. The axes may come in any
            order; the longer becomes the long axis (the first one, where they tie). The last four
            all NaN: the first axis is the long one, the short one is unknown.

        Raises
        ------
        ValueError
            When there are not eight numbers, or one is infinite, beyond +-1e9, or NaN (but for
            all of the last four).
        TypeError
            When they are not numbers.
        """
        values = _as_numbers(coordinates, 8, "coordinates")
        if all(map(math.isnan, values[4:].tolist())):
            return cls(_usable(values[:4], "coordinates").reshape(2, 2).copy(), None)
        first, second = _usable(values, "coordinates").reshape(2, 2, 2)
        if _length(second) > _length(first):
            first, second = second, first
        return cls(first.copy(), second.copy())

    @classmethod
    def from_long_axis(cls, ends: Sequence[float] | np.ndarray) -> RecistMark:
        """Mark of a long axis (a line, an arrow) whose short axis is unknown.

        Parameters
        ----------
        ends : sequence of 4 floats
            `x1, y1, x2, y2` in pixels.

        Raises
        ------
        ValueError
            When there are not four numbers, or one is NaN, infinite or beyond +-1e9.
        TypeError
            When they are not numbers.
        """
        values = _usable(_as_numbers(ends, 4, "ends"), "ends")
        return cls(values.reshape(2, 2).copy(), None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecistMark) and np.array_equal(
            self.coordinates, other.coordinates, equal_nan=True
        )

    def __hash__(self) -> int:
        return hash(self.coordinates.tobytes())

    @property
    def coordinates(self) -> np.ndarray:
        """float64 [8]: the long axis' x1, y1, x2, y2, then the short axis', NaN where unknown."""
        short = np.full(4, np.nan) if self.short_axis is None else self.short_axis.ravel()
        return np.concatenate([self.long_axis.ravel(), short])

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """The long and the short axis; where that is unknown, the one of `assumed`."""
        if self.short_axis is not None:
            return self.long_axis, self.short_axis
        dx, dy = self.long_axis[1] - self.long_axis[0]
        half = 0.5 * ASSUMED_RATIO * np.array([-dy, dx])
        middle = self.long_axis.mean(0)
        return self.long_axis, np.stack([middle - half, middle + half])

    def assumed(self) -> RecistMark:
        """The mark itself, or with an assumed short axis where it is unknown.

        Perpendicular to the long one, through its middle, `ASSUMED_RATIO` of its length.
        """
        return self if self.short_axis is not None else RecistMark(*self.axes)

    @property
    def long_diameter(self) -> float:
        """Length of the long axis in pixels."""
        return _length(self.long_axis)

    @property
    def short_diameter(self) -> float:
        """Length of the short axis in pixels; NaN where it is unknown."""
        return float("nan") if self.short_axis is None else _length(self.short_axis)

    @property
    def directions(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors `(x, y)` along the long axis and perpendicular to it."""
        for axis, turn in zip(self.axes, (False, True), strict=True):
            if _length(axis) >= SHORTEST_AXIS:
                along = (axis[1] - axis[0]) / _length(axis)
                if turn:
                    along = np.array([along[1], -along[0]])
                break
        else:
            along = np.array([1.0, 0.0])
        return along, np.array([-along[1], along[0]])

    @property
    def center(self) -> np.ndarray:
        """float64 [2], `(x, y)`: half way along both axes, measured along each axis."""
        along, across = self.directions
        long_axis, short_axis = self.axes
        return along * dot(long_axis.mean(0), along) + across * dot(short_axis.mean(0), across)

    @property
    def quadrilateral(self) -> np.ndarray:
        """float64 [K, 2], K <= 4: the end points' convex hull, in order around it."""
        return convex_hull(np.concatenate(self.axes))

    def bounds(self) -> tuple[float, float, float, float]:
        """`(x_min, y_min, x_max, y_max)` of the four end points, in pixels."""
        return _bounds(*self.axes)

    def is_outside(self, shape: tuple[int, int]) -> bool:
        """Whether all that was drawn lies outside of an image of `shape` [H, W]."""
        x_min, y_min, x_max, y_max = _bounds(*self._drawn)
        return x_max < -0.5 or y_max < -0.5 or x_min > shape[1] - 0.5 or y_min > shape[0] - 0.5

    @property
    def _drawn(self) -> list[np.ndarray]:
        return [axis for axis in (self.long_axis, self.short_axis) if axis is not None]

    def translated(self, dx: float, dy: float) -> RecistMark:
        """The mark moved by `(dx, dy)` pixels."""
        shift = np.array([dx, dy])
        short_axis = None if self.short_axis is None else self.short_axis + shift
        return RecistMark(self.long_axis + shift, short_axis)

    def scaled(self, sx: float, sy: float) -> RecistMark:
        """The mark on an image resized by `(sx, sy)`: pixel edges stay on pixel edges."""
        scale = np.array([sx, sy], dtype=np.float64)
        moved = (self.coordinates.reshape(4, 2) + 0.5) * scale - 0.5
        return RecistMark.from_coordinates(moved)

    def extent(self, sx: float, sy: float) -> tuple[float, float, float]:
        """Width, height and long diameter of what `scaled` gives, in pixels; raises as it does."""
        points = [point for axis in self._drawn for point in axis.tolist()]
        xs, ys = (
            [(x + 0.5) * sx - 0.5 for x, _ in points],
            [(y + 0.5) * sy - 0.5 for _, y in points],
        )
        if self.short_axis is None or not max(map(abs, (*xs, *ys))) <= FARTHEST:
            scaled = self.scaled(sx, sy)
            x_min, y_min, x_max, y_max = scaled.bounds()
            return x_max - x_min, y_max - y_min, scaled.long_diameter
        lengths = np.hypot(xs[1] - xs[0], ys[1] - ys[0]), np.hypot(xs[3] - xs[2], ys[3] - ys[2])
        return max(xs) - min(xs), max(ys) - min(ys), float(max(lengths))

    def ellipse_mask(self, shape: tuple[int, int], *, scale: float = 1.0) -> np.ndarray:
        """Pixels inside the ellipse of the axes, its diameters times `scale`.

        An axis shorter than a pixel counts as one pixel, so that the ellipse has an area.
        Returns a bool array of `shape` [H, W]; it may be empty where the mark is outside.
        """
        along, across = self.directions
        x, y = _grid(shape)
        offset_x, offset_y = x - self.center[0], y - self.center[1]
        half_along = max(self.long_diameter, 1.0) / 2 * scale
        _, short_axis = self.axes
        drawn = short_axis[1] - short_axis[0]
        half_across = max(abs(dot(drawn, across)), 1.0) / 2 * scale
        u = (offset_x * along[0] + offset_y * along[1]) / half_along
        v = (offset_x * across[0] + offset_y * across[1]) / half_across
        return u * u + v * v <= 1.0

    def quadrilateral_mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Pixels whose centres lie in the quadrilateral of the end points.

        Where it holds no pixel centre, the pixel nearest to the mark's centre stands for
        it, if that lies in the image. Returns a bool array of `shape` [H, W].
        """
        x, y = _grid(shape)
        corners = self.quadrilateral
        inside = np.ones(shape, dtype=bool)
        if len(corners) < 3:
            inside[:] = False
        for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            edge = end - start
            inside &= edge[0] * (y - start[1]) - edge[1] * (x - start[0]) >= 0
        if not inside.any():
            column, row = np.rint(self.center).astype(int)
            if 0 <= row < shape[0] and 0 <= column < shape[1]:
                inside[row, column] = True
        return inside

    def axes_mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Pixels that the two axes run through. Returns a bool array of `shape` [H, W]."""
        mask = np.zeros(shape, dtype=bool)
        for axis in self.axes:
            # The same pixels whichever end was drawn first.
            start, end = sorted(axis, key=tuple)
            steps = 4 * int(np.ceil(min(np.abs(end - start).max(), 1e5))) + 1
            points = start + (end - start) * np.linspace(0.0, 1.0, steps)[:, None]
            column, row = np.rint(points).astype(np.int64).T
            kept = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
            mask[row[kept], column[kept]] = True
        return mask

    def problems(self, shape: tuple[int, int] | None = None) -> list[str]:
        """What is odd about the mark as it was drawn, in words; an empty list where nothing is.

        Parameters
        ----------
        shape : (H, W), optional
            The image's, to also tell an end point outside it.
        """
        found = []
        for problem, axis in zip(PROBLEMS, self._drawn, strict=False):
            if _length(axis) < SHORTEST_AXIS:
                found.append(problem)
        if not found and self.short_axis is not None:
            if not _axes_cross(self.long_axis, self.short_axis):
                found.append(PROBLEMS[2])
            along, _ = self.directions
            slope = abs(dot(self.short_axis[1] - self.short_axis[0], along)) / self.short_diameter
            if slope > 0.5:
                found.append(PROBLEMS[3])
        if shape is not None:
            x_min, y_min, x_max, y_max = _bounds(*self._drawn)
            if self.is_outside(shape):
                found.append(PROBLEMS[4])
            elif x_min < -0.5 or y_min < -0.5 or x_max > shape[1] - 0.5 or y_max > shape[0] - 0.5:
                found.append(PROBLEMS[5])
        return found


def shown(value: object) -> str:
    """What came, as an error tells it."""
    try:
        return reprlib.repr(value)
    except Exception:
        return type(value).__name__


def ordered_coordinates(coordinates: np.ndarray) -> np.ndarray:
    """What `RecistMark.from_coordinates` makes of many rows at once.

    Parameters
    ----------
    coordinates : array [N, 8]

    Returns
    -------
    ndarray [N, 8], float64
        The long axis first; all NaN in rows that `from_coordinates` refuses.
    """
    try:
        rows = np.array(coordinates, dtype=np.float64).reshape(-1, 2, 2, 2)
    except (TypeError, ValueError, OverflowError):
        return np.full((len(coordinates), 8), np.nan)
    usable = np.all(np.abs(rows) <= FARTHEST, axis=(2, 3))  # each axis
    usable[:, 1] |= np.isnan(rows[:, 1]).all(axis=(1, 2))  # or unknown
    rows[~usable.all(axis=1)] = np.nan
    length = np.hypot(*np.moveaxis(rows[:, :, 1] - rows[:, :, 0], -1, 0))
    swapped = length[:, 1] > length[:, 0]
    rows[swapped] = rows[swapped, ::-1]
    return rows.reshape(-1, 8)


def dot(points: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """How far `points` [..., 2] lie along `direction` [2].

    Not by BLAS: some processors' kernels fuse product and sum, and a pixel that lies on an
    ellipse's very edge would be in or out by the machine.
    """
    return points[..., 0] * direction[0] + points[..., 1] * direction[1]


def _as_numbers(values: Sequence[float] | np.ndarray, count: int, name: str) -> np.ndarray:
    try:
        numbers = np.asarray(values, dtype=np.float64).ravel()
    except Exception as error:  # Or whatever the object's own code raises.
        raise TypeError(f"{name} must be {count} numbers, got {shown(values)}") from error
    if numbers.size != count:
        raise ValueError(f"{name} must be {count} numbers, got {numbers.size}")
    return numbers


def _usable(numbers: np.ndarray, name: str) -> np.ndarray:
    """The numbers; ValueError where one belongs to no image."""
    values = numbers.tolist()
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{name} must be finite, got {values}")
    if max(map(abs, values)) > FARTHEST:
        raise ValueError(f"{name} must be within +-{FARTHEST:g} pixels, got {values}")
    return numbers


def _axes_cross(long_axis: np.ndarray, short_axis: np.ndarray, tolerance: float = 1.0) -> bool:
    # One pixel of slack: real marks may just fail to touch.
    (p, q), (r, s) = long_axis, short_axis
    d, e = q - p, s - r
    long_length, short_length = _length(long_axis), _length(short_axis)
    determinant = d[0] * e[1] - d[1] * e[0]
    if abs(determinant) < 1e-9 * long_length * short_length:
        return False
    gap = r - p
    at_long = (gap[0] * e[1] - gap[1] * e[0]) / determinant
    at_short = (gap[0] * d[1] - gap[1] * d[0]) / determinant
    slack_long, slack_short = tolerance / long_length, tolerance / short_length
    return -slack_long <= at_long <= 1 + slack_long and -slack_short <= at_short <= 1 + slack_short


# Of four numbers Python makes sums in a tenth of the time that NumPy takes to begin.


def _length(axis: np.ndarray) -> float:
    (x0, y0), (x1, y1) = axis.tolist()
    return float(np.hypot(x1 - x0, y1 - y0))


def _bounds(*axes: np.ndarray) -> tuple[float, float, float, float]:
    points = [point for axis in axes for point in axis.tolist()]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if math.isnan(sum(xs) + sum(ys)):
        return math.nan, math.nan, math.nan, math.nan
    return min(xs), min(ys), max(xs), max(ys)


def _grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return x.astype(np.float64), y.astype(np.float64)


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
