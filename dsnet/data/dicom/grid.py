"""Where the slices of a series lie: the grid of voxels that they are, if they are one.

Coordinates are DICOM's: millimetres towards the patient's left, back and head (LPS).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# Millimetres that slices may lie off a regular grid: positions are written in so many digits.
_REGULAR_MM = 0.02
# Of the distance itself: tables of scanners move that exactly.
_REGULAR_SHARE = 0.01


class VoxelGrid(NamedTuple):
    """A volume's grid, slices in the order of `places`.

    Attributes
    ----------
    affine : ndarray [4, 4], float64
        From (column, row, slice) to LPS millimetres.
    shape : (slices, rows, columns)
    places : list of (instance UID, frame)
    """

    affine: np.ndarray
    shape: tuple[int, int, int]
    places: list[tuple[str, int | None]]


def voxel_grid(entries: Sequence[Any], thickness: float | None = None) -> VoxelGrid:
    """The grid of a series' slices; sheared where the gantry was tilted.

    Parameters
    ----------
    entries : sequence of SliceEntry
        Along the normal.
    thickness : float, optional
        Of the slice, millimetres, for a series of one; 1 mm where None.

    Raises
    ------
    ValueError
        When the slices are no volume: one lacks its position, orientation or spacing, or differs in
        them or in size, two lie in one place, or the distances are not equal.
    """
    if not entries:
        raise ValueError("the series has no slice")
    for name in ("position", "orientation", "spacing"):
        if any(getattr(entry, name) is None for entry in entries):
            raise ValueError(f"a slice of the series has no {name}: it is no volume")
    first = entries[0]
    for name, slack in (("orientation", 1e-4), ("spacing", 1e-4)):
        values = np.array([getattr(entry, name) for entry in entries], np.float64)
        if np.abs(values - values[0]).max() > slack:
            raise ValueError(f"the slices of the series differ in {name}: it is no volume")
    if len({(entry.rows, entry.columns) for entry in entries}) > 1:
        raise ValueError("the slices of the series differ in size: it is no volume")
    along_row, along_column = np.array(first.orientation, np.float64).reshape(2, 3)
    normal = np.cross(along_row, along_column)
    positions = np.array([entry.position for entry in entries], np.float64)
    if len(entries) == 1:
        step = normal * (thickness or 1.0)
    else:
        steps = np.diff(positions, axis=0)
        heights = steps @ normal
        if heights.min() * heights.max() <= 0:
            raise ValueError("slices of the series lie in one place: it is no volume")
        step = (positions[-1] - positions[0]) / (len(entries) - 1)
        regular = positions[0] + step * np.arange(len(entries))[:, None]
        off = float(np.linalg.norm(positions - regular, axis=1).max())
        if off > max(_REGULAR_MM, _REGULAR_SHARE * float(np.linalg.norm(step))):
            raise ValueError(
                f"the distances between the slices of the series are not equal (off by up to"
                f" {off:.3g} mm): it is no volume"
            )
    affine = np.eye(4)
    affine[:3, 0] = along_row * first.spacing[1]
    affine[:3, 1] = along_column * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    places = [(entry.instance_uid, entry.frame) for entry in entries]
    return VoxelGrid(affine, (len(entries), first.rows, first.columns), places)


def slice_distance(entries: Sequence[Any]) -> float | None:
    """Millimetres along the normal from one slice to the next; None where they are no volume."""
    if len(entries) < 2:
        return None
    try:
        affine = voxel_grid(entries).affine
    except ValueError:
        return None
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return float(abs(affine[:3, 2] @ normal) / np.linalg.norm(normal))
