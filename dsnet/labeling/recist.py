"""RECIST marks: the long and the short axis that a radiologist draws over a lesion.

Points are `(x, y)` = (column, row) in pixels with pixel centres at integers, as in
DeepLesion's `Measurement_coordinates`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# An axis drawn shorter than this many pixels has no direction to trust.
SHORTEST_AXIS = 0.25
# Coordinates beyond this, in pixels, belong to no image, and products of them would overflow.
FARTHEST = 1e9
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
    """The two axes of a lesion.

    Attributes
    ----------
    long_axis, short_axis : ndarray, shape [2, 2], float64
        End points, one `(x, y)` a row, in pixels. The long axis is the longer one.
    """

    long_axis: np.ndarray
    short_axis: np.ndarray

    @classmethod
    def from_coordinates(cls, coordinates: Sequence[float] | np.ndarray) -> RecistMark:
        """Mark from eight numbers in DeepLesion's order, in pixels.

        Parameters
        ----------
        coordinates : sequence of 8 floats
            `x1, y1, x2, y2` of one axis, then of the other. The axes may come in any
            order; the longer becomes the long axis (the first one, where they tie).

        Raises
        ------
        ValueError
            When there are not eight numbers, or one is NaN, infinite or beyond +-1e9.
        TypeError
            When they are not numbers.
        """
        try:
            values = np.asarray(coordinates, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"coordinates must be 8 numbers, got {coordinates!r}") from error
        if values.size != 8:
            raise ValueError(f"coordinates must be 8 numbers, got {values.size}")
        if not np.isfinite(values).all():
            raise ValueError(f"coordinates must be finite, got {values.ravel().tolist()}")
        if np.abs(values).max() > FARTHEST:
            raise ValueError(
                f"coordinates must be within +-{FARTHEST:g} pixels, got {values.ravel().tolist()}"
            )
        first, second = values.reshape(2, 2, 2)
        if _length(second) > _length(first):
            first, second = second, first
        return cls(first.copy(), second.copy())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecistMark) and np.array_equal(self.coordinates, other.coordinates)

    def __hash__(self) -> int:
        return hash(self.coordinates.tobytes())

    @property
    def coordinates(self) -> np.ndarray:
        """float64 [8]: the long axis' x1, y1, x2, y2, then the short axis'."""
        return np.concatenate([self.long_axis.ravel(), self.short_axis.ravel()])

    @property
    def long_diameter(self) -> float:
        """Length of the long axis in pixels."""
        return _length(self.long_axis)

    @property
    def short_diameter(self) -> float:
        """Length of the short axis in pixels."""
        return _length(self.short_axis)

    @property
    def directions(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors `(x, y)` along the long axis and perpendicular to it."""
        for axis, turn in ((self.long_axis, False), (self.short_axis, True)):
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
        return along * dot(self.long_axis.mean(0), along) + across * dot(
            self.short_axis.mean(0), across
        )

    @property
    def quadrilateral(self) -> np.ndarray:
        """float64 [K, 2], K <= 4: the end points' convex hull, in order around it."""
        return _convex_hull(np.concatenate([self.long_axis, self.short_axis]))

    def bounds(self) -> tuple[float, float, float, float]:
        """`(x_min, y_min, x_max, y_max)` of the four end points, in pixels."""
        points = np.concatenate([self.long_axis, self.short_axis])
        return (*points.min(0).tolist(), *points.max(0).tolist())

    def translated(self, dx: float, dy: float) -> RecistMark:
        """The mark moved by `(dx, dy)` pixels."""
        shift = np.array([dx, dy])
        return RecistMark(self.long_axis + shift, self.short_axis + shift)

    def scaled(self, sx: float, sy: float) -> RecistMark:
        """The mark on an image resized by `(sx, sy)`: pixel edges stay on pixel edges."""
        scale = np.array([sx, sy], dtype=np.float64)
        moved = [(axis + 0.5) * scale - 0.5 for axis in (self.long_axis, self.short_axis)]
        return RecistMark.from_coordinates(np.concatenate(moved).ravel())

    def ellipse_mask(self, shape: tuple[int, int], *, scale: float = 1.0) -> np.ndarray:
        """Pixels inside the ellipse of the axes, its diameters times `scale`.

        An axis shorter than a pixel counts as one pixel, so that the ellipse has an area.
        Returns a bool array of `shape` [H, W]; it may be empty where the mark is outside.
        """
        along, across = self.directions
        x, y = _grid(shape)
        offset_x, offset_y = x - self.center[0], y - self.center[1]
        half_along = max(self.long_diameter, 1.0) / 2 * scale
        drawn = self.short_axis[1] - self.short_axis[0]
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
        for start, end in (self.long_axis, self.short_axis):
            steps = 4 * int(np.ceil(min(np.abs(end - start).max(), 1e5))) + 1
            points = start + (end - start) * np.linspace(0.0, 1.0, steps)[:, None]
            column, row = np.rint(points).astype(np.int64).T
            kept = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
            mask[row[kept], column[kept]] = True
        return mask

    def problems(self, shape: tuple[int, int] | None = None) -> list[str]:
        """What is odd about the mark, in words; an empty list where nothing is.

        Parameters
        ----------
        shape : (H, W), optional
            The image's, to also tell an end point outside it.
        """
        found = []
        for problem, axis in zip(PROBLEMS, (self.long_axis, self.short_axis), strict=False):
            if _length(axis) < SHORTEST_AXIS:
                found.append(problem)
        if not found:
            if not self._axes_cross():
                found.append(PROBLEMS[2])
            along, _ = self.directions
            slope = abs(dot(self.short_axis[1] - self.short_axis[0], along)) / self.short_diameter
            if slope > 0.5:
                found.append(PROBLEMS[3])
        if shape is not None:
            x_min, y_min, x_max, y_max = self.bounds()
            if x_max < -0.5 or y_max < -0.5 or x_min > shape[1] - 0.5 or y_min > shape[0] - 0.5:
                found.append(PROBLEMS[4])
            elif x_min < -0.5 or y_min < -0.5 or x_max > shape[1] - 0.5 or y_max > shape[0] - 0.5:
                found.append(PROBLEMS[5])
        return found

    def _axes_cross(self, tolerance: float = 1.0) -> bool:
        # One pixel of slack: real marks may just fail to touch.
        (p, q), (r, s) = self.long_axis, self.short_axis
        d, e = q - p, s - r
        determinant = d[0] * e[1] - d[1] * e[0]
        if abs(determinant) < 1e-9 * _length(self.long_axis) * _length(self.short_axis):
            return False
        gap = r - p
        at_long = (gap[0] * e[1] - gap[1] * e[0]) / determinant
        at_short = (gap[0] * d[1] - gap[1] * d[0]) / determinant
        slack_long = tolerance / self.long_diameter
        slack_short = tolerance / self.short_diameter
        return (
            -slack_long <= at_long <= 1 + slack_long and -slack_short <= at_short <= 1 + slack_short
        )


def ordered_coordinates(coordinates: np.ndarray) -> np.ndarray:
    """What `RecistMark.from_coordinates` makes of many rows at once.

    Parameters
    ----------
    coordinates : array [N, 8]

    Returns
    -------
    ndarray [N, 8], float64
        The long axis first; NaN in rows that `from_coordinates` refuses.
    """
    try:
        rows = np.array(coordinates, dtype=np.float64).reshape(-1, 2, 2, 2)
    except (TypeError, ValueError):
        return np.full((len(coordinates), 8), np.nan)
    rows[~(np.abs(rows) <= FARTHEST).all(axis=(1, 2, 3))] = np.nan
    length = np.hypot(*np.moveaxis(rows[:, :, 1] - rows[:, :, 0], -1, 0))
    swapped = length[:, 1] > length[:, 0]
    rows[swapped] = rows[swapped, ::-1]
    return rows.reshape(-1, 8)


def as_mark(prompt) -> RecistMark:
    """A mark of a `RecistMark`, its 8 coordinates, or a box (x0, y0, x1, y1).

    A box becomes the mark of its middle lines. Its bounds are the box, so that it is cut where a
    mark of these bounds is; only how far a large lesion is shrunk also depends on the long axis.

    Raises
    ------
    ValueError
        For another count of numbers, numbers that are not finite, or a box without an area.
    TypeError
        When they are not numbers.
    """
    if isinstance(prompt, RecistMark):
        return prompt
    if np.size(prompt) != 4:
        if np.size(prompt) != 8:
            raise ValueError(
                f"a prompt must be a mark of 8 coordinates or a box of 4, got {np.size(prompt)}"
            )
        return RecistMark.from_coordinates(prompt)
    try:
        x0, y0, x1, y1 = (float(v) for v in np.ravel(prompt))
    except (TypeError, ValueError) as error:
        raise TypeError(f"a box must be 4 numbers, got {prompt!r}") from error
    if not (x0 < x1 and y0 < y1):
        raise ValueError(
            f"a box must be x0, y0, x1, y1 with x0 < x1 and y0 < y1, got {x0:g}, {y0:g}, "
            f"{x1:g}, {y1:g}"
        )
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return RecistMark.from_coordinates([x0, y, x1, y, x, y0, x, y1])


def recist_from_mask(mask: np.ndarray, *, perpendicular: float = 0.05) -> RecistMark:
    """The mark that a careful reader would draw over a binary mask.

    Boundary pixel centres, the longest chord between two of them, then the longest chord
    perpendicular to it (|cos| <= `perpendicular`), each end moved half a pixel outward,
    since the lesion ends at its pixels' edges and not at their centres.

    Parameters
    ----------
    mask : array, shape [H, W]
        Non-zero is lesion.

    Raises
    ------
    ValueError
        When the mask is empty or not two-dimensional.
    """
    mask = np.asarray(mask) != 0
    if mask.ndim != 2:
        raise ValueError(f"mask must be [H, W], got shape {mask.shape}")
    if not mask.any():
        raise ValueError("mask must hold at least one lesion pixel, got none")
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    row, column = np.nonzero(mask & ~inner)
    points = np.stack([column, row], 1).astype(np.float64)
    points = _convex_hull(points) if len(points) > 2048 else points

    difference = points[None] - points[:, None]
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
    along = difference[i, j] / length[i, j] if length[i, j] > 0 else np.array([1.0, 0.0])
    across = np.array([-along[1], along[0]])
    short = points[[k, m]]
    if best <= 0:
        short = np.repeat(points[[i, j]].mean(0, keepdims=True), 2, axis=0)
    else:
        across = difference[k, m] / length[k, m]
    long_axis = points[[i, j]] + 0.5 * np.array([-along, along])
    short_axis = short + 0.5 * np.array([-across, across])
    return RecistMark.from_coordinates(np.concatenate([long_axis, short_axis]).ravel())


def dot(points: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """How far `points` [..., 2] lie along `direction` [2].

    Not by BLAS: some processors' kernels fuse product and sum, and a pixel that lies on an
    ellipse's very edge would be in or out by the machine.
    """
    return points[..., 0] * direction[0] + points[..., 1] * direction[1]


def _length(axis: np.ndarray) -> float:
    return float(np.hypot(*(axis[1] - axis[0])))


def _grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return x.astype(np.float64), y.astype(np.float64)


def _convex_hull(points: np.ndarray) -> np.ndarray:
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
