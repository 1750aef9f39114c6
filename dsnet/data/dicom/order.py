"""The slices of a series along its normal, and whether they are a volume.

A label in the plane is right whatever is told here: nothing is repaired.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dsnet.data.dicom.entry import SliceEntry

# Of unit vectors: a twentieth of a degree.
_PARALLEL = 1e-3
# Positions are written with some digits; slices are not thinner than a tenth of a millimetre.
_ONE_PLACE_MM = 0.02
# Of a step, beyond which the next slice is not the neighbour.
_UNEVEN = 0.05
_GAP = 1.5
_TILT_DEGREES = 0.5


class SeriesOrder(NamedTuple):
    """A series along its normal.

    Attributes
    ----------
    slices : tuple of SliceEntry
    along : ndarray [N], float64, or None
        Places along the normal in mm; None where they are not known.
    step : float or None
        The usual distance of two slices, in mm.
    notes : tuple of str
        What is odd: gaps, slices at one place, a tilted gantry, what is no volume.
    """

    slices: tuple[SliceEntry, ...]
    along: np.ndarray | None
    step: float | None
    notes: tuple[str, ...]

    def neighbours(self, entry: SliceEntry, count: int) -> list[SliceEntry | None]:
        """See `SeriesIndex.neighbours`."""
        found: list[SliceEntry | None] = [None] * (2 * count)
        at = next((i for i, other in enumerate(self.slices) if _is(other, entry)), None)
        if at is None or self.along is None or self.step is None:
            return found
        for side, direction in enumerate((-1, 1)):
            here, there = at, at + direction
            for place in range(side, 2 * count, 2):
                if not 0 <= there < len(self.slices):
                    break
                distance = abs(self.along[there] - self.along[here])
                if not _ONE_PLACE_MM < distance < _GAP * self.step:
                    break
                other = self.slices[there]
                if (other.rows, other.columns) != (entry.rows, entry.columns):
                    break
                found[place] = other
                here, there = there, there + direction
        return found


def order_slices(slices: Sequence[SliceEntry]) -> SeriesOrder:
    """Order the slices of one series along their normal.

    Slices without a place, or that are not parallel, are ordered by their numbers.

    Parameters
    ----------
    slices : sequence of SliceEntry
    """
    slices = sorted(slices, key=_number)
    notes = _mixed(slices)
    if not slices or any(s.position is None or s.orientation is None for s in slices):
        lack = sum(s.position is None or s.orientation is None for s in slices)
        if lack:
            notes.append(f"{lack} of {len(slices)} slices have no place: ordered by number")
        return SeriesOrder(tuple(slices), None, None, tuple(notes))
    directions = np.array([s.orientation for s in slices], float)
    normals = np.cross(directions[:, :3], directions[:, 3:])
    sizes = np.linalg.norm(normals, axis=1)
    if np.abs(sizes - 1).max() > 0.01:
        notes.append("its orientation is none: ordered by number")
        return SeriesOrder(tuple(slices), None, None, tuple(notes))
    normals /= sizes[:, None]
    if np.abs(normals - normals[0]).max() > _PARALLEL:
        notes.append("its slices are not parallel, no volume: ordered by number")
        return SeriesOrder(tuple(slices), None, None, tuple(notes))
    positions = np.array([s.position for s in slices], float)
    along = positions @ normals[0]
    order = np.argsort(along, kind="stable")
    slices, along, positions = [slices[i] for i in order], along[order], positions[order]
    step = _step(along)
    notes += _steps(along, step) + _tilt(positions, normals[0], slices)
    return SeriesOrder(tuple(slices), along, step, tuple(notes))


def _number(entry: SliceEntry) -> tuple:
    number = entry.number if entry.number is not None else 2**31
    return number, entry.frame or 0, entry.source


def _is(one: SliceEntry, other: SliceEntry) -> bool:
    if one.instance_uid or other.instance_uid:
        return (one.instance_uid, one.frame) == (other.instance_uid, other.frame)
    return (one.source, one.frame) == (other.source, other.frame)


def _mixed(slices: Sequence[SliceEntry]) -> list[str]:
    notes = []
    sizes = {(s.rows, s.columns) for s in slices}
    if len(sizes) > 1:
        told = ", ".join(f"{rows}x{columns}" for rows, columns in sorted(sizes))
        notes.append(f"its slices are of several sizes: {told}")
    spacings = {s.spacing for s in slices}
    if None in spacings:
        lack = sum(s.spacing is None for s in slices)
        notes.append(f"{lack} of {len(slices)} slices have no PixelSpacing")
    known = np.array([s for s in spacings if s is not None])
    if len(known) > 1 and np.ptp(known, axis=0).max() > 1e-3 * known.max():
        notes.append("its slices are of several spacings")
    return notes


def _step(along: np.ndarray) -> float | None:
    steps = np.diff(along)
    steps = steps[steps > _ONE_PLACE_MM]
    return float(np.median(steps)) if len(steps) else None


def _steps(along: np.ndarray, step: float | None) -> list[str]:
    notes = []
    steps = np.diff(along)
    if same := int((steps <= _ONE_PLACE_MM).sum()):
        notes.append(f"{same} slices lie where another one does")
    apart = steps[steps > _ONE_PLACE_MM]
    if step is None:
        return notes
    gaps = apart[apart >= _GAP * step]
    if len(gaps):
        notes.append(
            f"{len(gaps)} gaps of up to {gaps.max():g} mm between slices {step:g} mm apart"
        )
    uneven = apart[(np.abs(apart - step) > _UNEVEN * step) & (apart < _GAP * step)]
    if len(uneven):
        notes.append(
            f"its slices are {apart.min():g} to {apart[apart < _GAP * step].max():g} mm apart"
        )
    return notes


def _tilt(positions: np.ndarray, normal: np.ndarray, slices: Sequence[SliceEntry]) -> list[str]:
    """A gantry that is tilted moves each slice in its plane (and GantryDetectorTilt says so)."""
    notes = []
    steps = np.diff(positions, axis=0)
    along = steps @ normal
    moved = along > _ONE_PLACE_MM
    if moved.any():
        aside = np.linalg.norm(steps[moved] - along[moved, None] * normal, axis=1)
        angles = np.degrees(np.arctan2(aside, along[moved]))
        if angles.max() > _TILT_DEGREES:
            middle = float(np.median(angles))
            if np.abs(angles - middle).max() < _TILT_DEGREES:
                notes.append(f"its slices are shifted by {middle:.1f} degrees: a tilted gantry")
            else:
                notes.append(
                    f"its slices are shifted by up to {angles.max():.1f} degrees: no volume"
                )
    tilts = {round(s.tilt, 2) for s in slices if s.tilt}
    if tilts:
        notes.append(f"GantryDetectorTilt {', '.join(f'{tilt:g}' for tilt in sorted(tilts))}")
    return notes
