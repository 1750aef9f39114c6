"""From the patient's millimetres to a slice's pixels; lines that are one mark; lengths."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dsnet.data.marks.record import FoundMark

# Of 6,173 marks that people drew 99.1 % have axes that cross within these parts of both, at this
# angle or a wider one.
MIDDLE = (0.1, 0.9)
LEAST_ANGLE = 60.0
# Two lines of one mark lie in one slice; 3-D viewers leave that much between them (mm).
_APART_MM = 1.0
# A length that was rounded to whole mm still agrees; so does one whose ends were rounded to pixels
# by less than this share.
_AGREES_MM = 0.5
_AGREES_SHARE = 0.02
# A length that a program worked out of the ends that it wrote, with two digits or more.
_EXACT_MM, _EXACT_SHARE = 0.006, 1e-3
MOST_LINES = 2000


def to_pixels(
    world: np.ndarray,
    position: Sequence[float],
    orientation: Sequence[float],
    spacing: Sequence[float],
) -> tuple[np.ndarray, np.ndarray]:
    """Points of the patient on a slice's pixel grid (PS3.3, C.7.6.2.1.1, inverted).

    Parameters
    ----------
    world : array [N, 3]
        mm.
    position : 3 numbers
        ImagePositionPatient: the centre of the first pixel.
    orientation : 6 numbers
        ImageOrientationPatient: along a row, then down a column.
    spacing : (row, column)
        PixelSpacing, mm.

    Returns
    -------
    points : ndarray [N, 2], float64
        `(x, y)`, pixel centres at integers.
    distance : ndarray [N], float64
        mm from the slice's plane, signed along its normal.

    Raises
    ------
    ValueError
        When the slice's geometry is none: not finite, a spacing that is not > 0, or directions that
        are not perpendicular unit vectors within 1e-3.
    """
    origin = _finite(position, 3, "position")
    along, down = _finite(orientation, 6, "orientation").reshape(2, 3)
    row_mm, column_mm = _finite(spacing, 2, "spacing")
    if min(row_mm, column_mm) <= 0:
        raise ValueError(f"spacing must be > 0, got {row_mm:g}, {column_mm:g}")
    lengths = np.hypot.reduce([along, down], axis=1)
    if np.abs(lengths - 1).max() > 1e-3 or abs(along @ down) > 1e-3:
        raise ValueError("orientation must be two perpendicular unit vectors")
    normal = np.cross(along, down)
    offsets = np.asarray(world, np.float64).reshape(-1, 3) - origin
    points = np.stack([offsets @ along / column_mm, offsets @ down / row_mm], axis=1)
    return points, offsets @ normal


def placed(
    mark: FoundMark,
    position: Sequence[float],
    orientation: Sequence[float],
    spacing: Sequence[float],
) -> tuple[FoundMark, float]:
    """A mark in patient coordinates on a slice, and how far from its plane it lies.

    Returns
    -------
    mark : FoundMark
        With `long_axis` and, where four ends are known, `short_axis`.
    distance_mm : float
        The largest of its ends'.

    Raises
    ------
    ValueError
        When the mark has no `world`, or the slice no geometry.
    """
    if mark.world is None:
        raise ValueError("mark must be in patient coordinates, got none")
    ends, distance = to_pixels(mark.world, position, orientation, spacing)
    short = ends[2:] if len(ends) == 4 else None
    on_slice = dataclasses.replace(mark, long_axis=ends[:2], short_axis=short)
    return on_slice, float(np.abs(distance).max())


def checked(mark: FoundMark, spacing: Sequence[float] | None) -> tuple[str, ...]:
    """What the mark's written lengths and spacing say against its ends on this slice.

    A written length may differ by 0.5 mm or 2 %, whichever is more: it may have been rounded.

    Parameters
    ----------
    mark : FoundMark
    spacing : (row, column) or None
        The slice's, mm; None where it is unknown: then only the axes are compared.

    Returns
    -------
    tuple of str
        Notes; empty where all agree.
    """
    notes = []
    lengths = [_length_mm(mark, axis, spacing) for axis in (0, 1)]
    for name, written, length in zip(
        ("long", "short"), (mark.long_mm, mark.short_mm), lengths, strict=True
    ):
        if written is None or length is None:
            continue
        if abs(written - length) > max(_AGREES_MM, _AGREES_SHARE * length):
            notes.append(
                f"the {name} axis is written as {written:.2f} mm, its ends are {length:.2f} mm "
                "apart"
            )
    wrong = mark.written_spacing
    if wrong is not None and spacing is not None and not np.allclose(wrong, spacing, rtol=1e-3):
        notes.append(
            f"the mark's file says {wrong[0]:g} x {wrong[1]:g} mm a pixel, its slice "
            f"{spacing[0]:g} x {spacing[1]:g}"
        )
    pixels = [_length_mm(mark, axis, (1.0, 1.0)) for axis in (0, 1)]
    long, short = lengths if None not in lengths else pixels
    if long is not None and short is not None and short > long:
        notes.append("the axis that is called short is the longer one")
    return tuple(notes)


def sides_swapped(mark: FoundMark, spacing: Sequence[float] | None) -> bool:
    """Whether a mark's ends are pixels counted by the other side's millimetres.

    OHIF 3 writes such reports where pixels are not square (it divides by the spacing of rows where
    that of columns is due, and the other way round): the lengths that it wrote fit only so.

    Parameters
    ----------
    mark : FoundMark
    spacing : (row, column) or None
        The slice's, mm.
    """
    if spacing is None or mark.world is not None or np.isclose(*spacing, rtol=1e-3):
        return False
    told = [(axis, mm) for axis, mm in enumerate((mark.long_mm, mark.short_mm)) if mm]

    def fits(sides: Sequence[float]) -> bool:
        lengths = [(_length_mm(mark, axis, sides), mm) for axis, mm in told]
        return all(
            length is None or abs(length - mm) <= _EXACT_MM + _EXACT_SHARE * mm
            for length, mm in lengths
        )

    return bool(told) and fits(spacing[::-1]) and not fits(spacing)


def crossing(first: np.ndarray, second: np.ndarray) -> float | None:
    """How far from both middles two lines cross, or None where they are no axes of one mark.

    Parameters
    ----------
    first, second : arrays [2, D]
        Ends; D is 2, or 3 for lines of the patient in mm.

    Returns
    -------
    float or None
        Of each line's length: 0 where they cross in both middles, 0.4 at most.
    """
    u, v = first[1] - first[0], second[1] - second[0]
    uu, uv, vv = u @ u, u @ v, v @ v
    determinant = uu * vv - uv * uv
    if uu <= 0 or vv <= 0 or determinant <= 0:
        return None
    if uv * uv > np.cos(np.radians(LEAST_ANGLE)) ** 2 * uu * vv:
        return None
    gap = second[0] - first[0]
    at = (vv * (u @ gap) - uv * (v @ gap)) / determinant
    beside = (uv * (u @ gap) - uu * (v @ gap)) / determinant
    low, high = MIDDLE
    if not (low <= at <= high and low <= beside <= high):
        return None
    apart = first[0] + at * u - second[0] - beside * v
    if np.sqrt(apart @ apart) > _APART_MM:
        return None
    return float(max(abs(at - 0.5), abs(beside - 0.5)))


def paired(lines: Sequence[np.ndarray]) -> list[tuple[int, int | None]]:
    """Which lines are one mark: those that cross near the middle of both.

    Where a line crosses several, those two are taken first that cross nearest to their middles.

    Parameters
    ----------
    lines : sequence of arrays [2, D]
        All on one slice.

    Returns
    -------
    list of (long, short)
        Indices, in the order of the first of each pair; `short` is None for a line alone.

    Raises
    ------
    ValueError
        For more than 2000 lines: nobody draws so many, and all pairs are looked at.
    """
    if len(lines) > MOST_LINES:
        raise ValueError(f"a slice must have at most {MOST_LINES} lines, got {len(lines)}")
    if not lines:
        return []
    near = []
    # A line crosses only what its box meets; of many lines few do.
    low = np.array([line.min(0) for line in lines]).reshape(len(lines), -1)
    high = np.array([line.max(0) for line in lines]).reshape(len(lines), -1)
    for i in range(len(lines)):
        meets = (low[i] - _APART_MM <= high[i + 1 :]) & (high[i] + _APART_MM >= low[i + 1 :])
        for j in (i + 1 + np.flatnonzero(meets.all(1))).tolist():
            off = crossing(lines[i], lines[j])
            if off is not None:
                near.append((off, i, j))
    partner: dict[int, int] = {}
    for _, i, j in sorted(near):
        if i not in partner and j not in partner:
            partner[i], partner[j] = j, i
    found: list[tuple[int, int | None]] = []
    for i in range(len(lines)):
        other = partner.get(i)
        if other is None:
            found.append((i, None))
        elif i < other:
            long, short = (i, other) if _length(lines[i]) >= _length(lines[other]) else (other, i)
            found.append((long, short))
    return found


def _length_mm(mark: FoundMark, axis: int, spacing: Sequence[float] | None) -> float | None:
    """mm between the ends of the long (0) or short (1) axis; None where it is unknown."""
    if mark.world is not None:
        ends = mark.world[2 * axis : 2 * axis + 2]
        return _length(ends) if len(ends) == 2 else None
    ends = (mark.long_axis, mark.short_axis)[axis]
    if ends is None or spacing is None:
        return None
    return _length(ends * np.array([spacing[1], spacing[0]]))


def _length(ends: np.ndarray) -> float:
    return float(np.sqrt(np.sum((ends[1] - ends[0]) ** 2)))


def _finite(values: Sequence[float], count: int, name: str) -> np.ndarray:
    try:
        numbers = np.asarray(values, np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be {count} numbers, got {values!r}") from error
    if numbers.size != count or not np.isfinite(numbers).all():
        raise ValueError(f"{name} must be {count} finite numbers, got {numbers.tolist()}")
    return numbers
