"""RECIST marks: the long and the short axis that a radiologist draws over a lesion.

Points are `(x, y)` = (column, row) in pixels with pixel centres at integers. A format with another
origin is brought here by its reader.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence

import numpy as np

from dsnet.labeling.points import (
    axes_cross,
    bounds_of,
    convex_hull,
    dot,
    hypot,
    length_of,
    scaled_ends,
)

# An axis drawn shorter than this many pixels has no direction to trust.
SHORTEST_AXIS = 0.25
# Coordinates beyond this, in pixels, belong to no image, and products of them would overflow.
FARTHEST = 1e9
# Short over long axis where the short one is unknown: the median of 6,173 marks that people drew
# (5 % below 0.42, 5 % above 0.97), and of 0.6 to 0.99 the best for labels of half of LIDC.
ASSUMED_RATIO = 0.75
_UNKNOWN = (math.nan,) * 4
# What can be odd about a mark; the compiled code tells them as bits in this order.
PROBLEMS = (
    "zero-length long axis",
    "zero-length short axis",
    "axes do not cross",
    "axes are more than 30 degrees from perpendicular",
    "mark lies outside the image",
    "mark lies partly outside the image",
)


class RecistMark:
    """The two axes of a lesion, or its long axis alone.

    What needs a shape (masks, directions, centre, bounds) is that of the mark with its `axes`: an
    unknown short one is assumed there, and in the whole of labelling. `problems` and the quality
    scores look at what was drawn alone. A mark cannot be changed, nor can its arrays.

    Attributes
    ----------
    long_axis : ndarray, shape [2, 2], float64
        End points, one `(x, y)` a row, in pixels. The long axis is the longer one.
    short_axis : ndarray, shape [2, 2], float64, or None
        Likewise; None where it is unknown.
    """

    # Plain numbers: an archive has millions of marks, and of eight numbers NumPy takes ten times as
    # long to make arrays as Python to work with them.
    __slots__ = ("_numbers",)
    _numbers: tuple[float, ...]

    def __init__(self, long_axis: np.ndarray, short_axis: np.ndarray | None) -> None:
        long, short = np.asarray(long_axis), _UNKNOWN if short_axis is None else short_axis
        numbers = np.concatenate([long.ravel(), np.asarray(short).ravel()])
        self._numbers = tuple(_as_numbers(numbers, 8, "axes"))

    @classmethod
    def of_numbers(cls, numbers: tuple[float, ...]) -> RecistMark:
        """Of what `numbers` gives, the long axis first; it is not looked at."""
        mark = object.__new__(cls)
        mark._numbers = numbers
        return mark

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
        if all(map(math.isnan, values[4:])):
            return cls.of_numbers((*_usable(values[:4], "coordinates"), *_UNKNOWN))
        first, second = _usable(values, "coordinates")[:4], values[4:]
        if length_of(second) > length_of(first):
            first, second = second, first
        return cls.of_numbers((*first, *second))

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
        return cls.of_numbers((*_usable(_as_numbers(ends, 4, "ends"), "ends"), *_UNKNOWN))

    def __reduce__(self):
        return RecistMark.of_numbers, (self._numbers,)

    def __repr__(self) -> str:
        return f"RecistMark(long_axis={self.long_axis!r}, short_axis={self.short_axis!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecistMark) and np.array_equal(
            self.coordinates, other.coordinates, equal_nan=True
        )

    def __hash__(self) -> int:
        return hash(self.coordinates.tobytes())

    @property
    def coordinates(self) -> np.ndarray:
        """float64 [8]: the long axis' x1, y1, x2, y2, then the short axis', NaN where unknown."""
        return np.array(self._numbers)

    @property
    def numbers(self) -> tuple[float, ...]:
        """`coordinates` as plain numbers."""
        return self._numbers

    @property
    def long_axis(self) -> np.ndarray:
        return _axis(self._numbers[:4])

    @property
    def short_axis(self) -> np.ndarray | None:
        return None if self._is_line else _axis(self._numbers[4:])

    @property
    def _is_line(self) -> bool:
        """Whether the short axis is unknown."""
        return all(map(math.isnan, self._numbers[4:]))

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """The long and the short axis; where that is unknown, the one of `assumed`."""
        long_axis, short_axis = self.long_axis, self.short_axis
        if short_axis is not None:
            return long_axis, short_axis
        dx, dy = long_axis[1] - long_axis[0]
        half = 0.5 * ASSUMED_RATIO * np.array([-dy, dx])
        middle = long_axis.mean(0)
        return long_axis, np.stack([middle - half, middle + half])

    def assumed(self) -> RecistMark:
        """The mark itself, or with an assumed short axis where it is unknown.

        Perpendicular to the long one, through its middle, `ASSUMED_RATIO` of its length.
        """
        return RecistMark(*self.axes) if self._is_line else self

    @property
    def long_diameter(self) -> float:
        """Length of the long axis in pixels."""
        return length_of(self._numbers[:4])

    @property
    def short_diameter(self) -> float:
        """Length of the short axis in pixels; NaN where it is unknown."""
        return length_of(self._numbers[4:])

    @property
    def directions(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors `(x, y)` along the long axis and perpendicular to it."""
        for axis, turn in zip(self.axes, (False, True), strict=True):
            length = length_of(axis.ravel().tolist())
            if length >= SHORTEST_AXIS:
                along = (axis[1] - axis[0]) / length
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
        return bounds_of(self.assumed()._numbers)

    def is_outside(self, shape: tuple[int, int]) -> bool:
        """Whether all that was drawn lies outside of an image of `shape` [H, W]."""
        x_min, y_min, x_max, y_max = bounds_of(self._drawn)
        return x_max < -0.5 or y_max < -0.5 or x_min > shape[1] - 0.5 or y_min > shape[0] - 0.5

    @property
    def _drawn(self) -> tuple[float, ...]:
        """The numbers of the axes that are known."""
        return self._numbers[:4] if self._is_line else self._numbers

    def translated(self, dx: float, dy: float) -> RecistMark:
        """The mark moved by `(dx, dy)` pixels."""
        x0, y0, x1, y1, x2, y2, x3, y3 = self._numbers
        return RecistMark.of_numbers(
            (x0 + dx, y0 + dy, x1 + dx, y1 + dy, x2 + dx, y2 + dy, x3 + dx, y3 + dy)
        )

    def scaled(self, sx: float, sy: float) -> RecistMark:
        """The mark on an image resized by `(sx, sy)`: pixel edges stay on pixel edges."""
        xs, ys = scaled_ends(self._numbers, sx, sy)
        return RecistMark.from_coordinates([n for point in zip(xs, ys, strict=True) for n in point])

    def extent(self, sx: float, sy: float) -> tuple[float, float, float]:
        """Width, height and long diameter of what `scaled` gives, in pixels; raises as it does."""
        xs, ys = scaled_ends(self._numbers, sx, sy)
        if self._is_line or not max(map(abs, (*xs, *ys))) <= FARTHEST:
            scaled = self.scaled(sx, sy)
            x_min, y_min, x_max, y_max = scaled.bounds()
            return x_max - x_min, y_max - y_min, scaled.long_diameter
        lengths = hypot(xs[1] - xs[0], ys[1] - ys[0]), hypot(xs[3] - xs[2], ys[3] - ys[2])
        return max(xs) - min(xs), max(ys) - min(ys), max(lengths)

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
        lengths = self.long_diameter, self.short_diameter
        for problem, length in zip(PROBLEMS, lengths, strict=False):
            if length < SHORTEST_AXIS:  # an unknown one is NaN
                found.append(problem)
        short_axis = self.short_axis
        if not found and short_axis is not None:
            if not axes_cross(self.long_axis, short_axis):
                found.append(PROBLEMS[2])
            along, _ = self.directions
            slope = abs(dot(short_axis[1] - short_axis[0], along)) / self.short_diameter
            if slope > 0.5:
                found.append(PROBLEMS[3])
        if shape is not None:
            x_min, y_min, x_max, y_max = bounds_of(self._drawn)
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


def _as_numbers(values: Sequence[float] | np.ndarray, count: int, name: str) -> list[float]:
    if type(values) is list and len(values) == count and set(map(type, values)) == {float}:
        return values
    try:
        numbers = np.asarray(values, dtype=np.float64).ravel()
    except Exception as error:  # Or whatever the object's own code raises.
        raise TypeError(f"{name} must be {count} numbers, got {shown(values)}") from error
    if numbers.size != count:
        raise ValueError(f"{name} must be {count} numbers, got {numbers.size}")
    return numbers.tolist()


def _usable(values: list[float], name: str) -> list[float]:
    """The numbers; ValueError where one belongs to no image."""
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{name} must be finite, got {values}")
    if max(map(abs, values)) > FARTHEST:
        raise ValueError(f"{name} must be within +-{FARTHEST:g} pixels, got {values}")
    return values


def _axis(numbers: tuple[float, ...]) -> np.ndarray:
    axis = np.array(numbers).reshape(2, 2)
    axis.flags.writeable = False
    return axis


def _grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return x.astype(np.float64), y.astype(np.float64)
