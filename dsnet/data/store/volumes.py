"""A store's labels as volumes on the grids of their series: NIfTI and NRRD."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsnet.data.dicom.grid import VoxelGrid, voxel_grid
from dsnet.data.dicom.lesions import PlacedLesion
from dsnet.data.nifti import write_nifti
from dsnet.data.nrrd import write_nrrd
from dsnet.data.store.placed import Exported, Refuse, SeriesLesions, SourceImages, export_series
from dsnet.data.store.reader import LabelStore
from dsnet.files import table_cell

_MOST_LESIONS = 65535  # of a series: the label map is uint16
# Colours of segments, apart from each other at a glance; the eighth is the first again.
_COLOURS = (
    "0.9 0.3 0.3", "0.3 0.7 0.3", "0.3 0.5 0.9", "0.9 0.8 0.3", "0.8 0.4 0.8", "0.3 0.8 0.8",
    "0.9 0.6 0.3",
)  # fmt: skip


class LayeredLesion(NamedTuple):
    """A lesion in a series' volume: its value in the label map, its slice, its layer from 0 on."""

    lesion: PlacedLesion
    number: int
    index: int
    layer: int


def export_nifti(
    store: LabelStore,
    out: str | os.PathLike,
    images: SourceImages,
    *,
    min_quality: float | None = None,
    refuse: Refuse | None = None,
) -> Exported:
    """Write `SERIES_UID/labels.nii.gz`, `soft.nii.gz` and `lesions.csv`, a folder each series.

    The volumes have the series' own grid, all its slices along their normal. `labels` (uint16) is 1
    for the series' first lesion in the store, 2 for the second, where the soft mask is at least one
    half; `soft` (float32) the soft masks. Lesions that touch another's soft mask on a slice, as of
    two readers, are in `labels-2` and `soft-2`, and so on, so that none covers another.
    `lesions.csv` tells which is which.

    Parameters
    ----------
    out : path
        New or empty folder.
    images : SourceImages
    min_quality, refuse
        As in `export_series`. Where a series is no volume, its rows are refused.

    Raises
    ------
    FileExistsError, ValueError
        As `export_series`.
    """

    def write(folder: Path, grid: VoxelGrid, layered: list[LayeredLesion]) -> None:
        for layer in range(1 + max(one.layer for one in layered)):
            ending = layer_ending(layer)
            mine = [one for one in layered if one.layer == layer]
            for name, dtype in (("labels", "uint16"), ("soft", "float32")):
                file = folder / f"{name}{ending}.nii.gz"
                write_nifti(
                    file, grid.affine, grid.shape, dtype, _slices(grid, mine, dtype), "dsnet"
                )

    return _export(store, out, images, write, min_quality, refuse)


def export_nrrd(
    store: LabelStore,
    out: str | os.PathLike,
    images: SourceImages,
    *,
    min_quality: float | None = None,
    refuse: Refuse | None = None,
) -> Exported:
    """Write `SERIES_UID/labels.seg.nrrd`, `soft.nrrd` and `lesions.csv`; else as `export_nifti`.

    The label maps carry the segments' names as 3D Slicer's segmentations do.
    """

    def write(folder: Path, grid: VoxelGrid, layered: list[LayeredLesion]) -> None:
        for layer in range(1 + max(one.layer for one in layered)):
            ending = layer_ending(layer)
            mine = [one for one in layered if one.layer == layer]
            write_nrrd(
                folder / f"labels{ending}.seg.nrrd", grid.affine, grid.shape, "uint16",
                _slices(grid, mine, "uint16"), _segments(mine),
            )  # fmt: skip
            write_nrrd(
                folder / f"soft{ending}.nrrd", grid.affine, grid.shape, "float32",
                _slices(grid, mine, "float32"),
            )  # fmt: skip

    return _export(store, out, images, write, min_quality, refuse)


def layered(
    grid: VoxelGrid,
    lesions: list[PlacedLesion],
    beside: Callable[[PlacedLesion], np.ndarray] | None = None,
) -> list[LayeredLesion]:
    """The lesions by their slices, each in the first layer where it touches no earlier one.

    Parameters
    ----------
    beside : callable, optional
        What is drawn of a lesion beside its soft mask: bool [rows, columns].

    Raises
    ------
    ValueError
        When a lesion's slice is not in the grid, or of another size, or there are too many.
    """
    if len(lesions) > _MOST_LESIONS:
        raise ValueError(f"a label map holds at most {_MOST_LESIONS} lesions, got {len(lesions)}")
    taken: dict[tuple[int, int], np.ndarray] = {}
    found = []
    for number, lesion in enumerate(lesions, 1):
        if lesion.shape != grid.shape[1:]:
            raise ValueError(f"shape must be the grid's {grid.shape[1:]}, got {lesion.shape}")
        index = _index(grid, lesion)
        support, layer = lesion.on_slice(lesion.alpha > 0), 0
        if beside is not None:
            support |= beside(lesion)
        while True:
            mask = taken.setdefault((index, layer), np.zeros(lesion.shape, bool))
            if not (mask & support).any():
                break
            layer += 1
        mask |= support
        found.append(LayeredLesion(lesion, number, index, layer))
    return found


def _export(
    store: LabelStore,
    out: str | os.PathLike,
    images: SourceImages,
    write: Callable[[Path, VoxelGrid, list[LayeredLesion]], object],
    min_quality: float | None,
    refuse: Refuse | None,
) -> Exported:
    def write_series(folder: Path, series: SeriesLesions) -> None:
        grid = grid_of(series, images)
        found = layered(grid, series.lesions)
        mine = folder / series.name
        mine.mkdir()
        try:
            write(mine, grid, found)
        except Exception:
            shutil.rmtree(mine)
            raise
        _table(mine / "lesions.csv", found)

    return export_series(store, images, out, write_series, min_quality=min_quality, refuse=refuse)


def grid_of(series: SeriesLesions, images: SourceImages) -> VoxelGrid:
    """The grid of a series; one of a single slice is as thick as that.

    Raises
    ------
    ValueError
        When it is no volume.
    """
    thickness = None
    if len(series.entries) == 1:
        stated = images.header(series.entries[0].instance_uid).get("SliceThickness")
        thickness = float(stated) if stated else None
    return voxel_grid(series.entries, thickness)


def _index(grid: VoxelGrid, lesion: PlacedLesion) -> int:
    for index, (instance, frame) in enumerate(grid.places):
        if instance == lesion.instance_uid and (frame or 1) == (lesion.frame or 1):
            return index
    raise ValueError(f"instance {lesion.instance_uid} is not among the slices of its series")


def _slices(grid: VoxelGrid, mine: list[LayeredLesion], dtype: str) -> Iterator[np.ndarray]:
    on_slice: dict[int, list[LayeredLesion]] = {}
    for one in mine:
        on_slice.setdefault(one.index, []).append(one)
    empty = np.zeros(grid.shape[1:], dtype)
    for index in range(grid.shape[0]):
        if index not in on_slice:
            yield empty
            continue
        whole = np.zeros(grid.shape[1:], dtype)
        for lesion, number, _, _ in on_slice[index]:
            window = whole[lesion.slices]
            if dtype == "float32":
                np.maximum(window, lesion.alpha, out=window)
            else:
                window[lesion.binary] = number
        yield whole


def _segments(mine: list[LayeredLesion]) -> dict[str, str]:
    fields = {}
    for place, (lesion, number, index, _) in enumerate(mine):
        (top, left), (height, width) = lesion.corner, lesion.alpha.shape
        fields |= {
            f"Segment{place}_ID": f"lesion_{number}",
            f"Segment{place}_Name": f"{lesion.label or lesion.place or 'lesion'} {number}",
            f"Segment{place}_LabelValue": str(number),
            f"Segment{place}_Layer": "0",
            f"Segment{place}_Color": _COLOURS[(number - 1) % len(_COLOURS)],
            f"Segment{place}_Extent": (
                f"{left} {left + width - 1} {top} {top + height - 1} {index} {index}"
            ),
            f"Segment{place}_Tags": f"TrackingUniqueIdentifier:{lesion.tracking_uid}|",
        }
    return fields


def _table(path: Path, found: list[LayeredLesion]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(
            ["number", "layer", "slice", "key", "label", "place", "instance_uid", "frame",
             "tracking_uid", "tracking_id"]
        )  # fmt: skip
        for lesion, number, index, layer in found:
            cells = (
                number, layer + 1, index, lesion.key, lesion.label, lesion.place,
                lesion.instance_uid, "" if lesion.frame is None else lesion.frame,
                lesion.tracking_uid, lesion.tracking_id,
            )  # fmt: skip
            table.writerow([table_cell(cell) for cell in cells])


def layer_ending(layer: int) -> str:
    return "" if layer == 0 else f"-{layer + 1}"
