"""A store's labels as npz files in the form of FLARE's RECIST task and of MedSAM2."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dsnet.data.ct_image import SOFT_TISSUE_WINDOW
from dsnet.data.dicom.grid import VoxelGrid
from dsnet.data.dicom.lesions import PlacedLesion
from dsnet.data.store.placed import Exported, Refuse, SeriesLesions, SourceImages, export_series
from dsnet.data.store.reader import LabelStore
from dsnet.data.store.volumes import LayeredLesion, grid_of, layer_ending, layered
from dsnet.labeling.derived_mark import recist_from_mask


def export_flare_npz(
    store: LabelStore,
    out: str | os.PathLike,
    images: SourceImages,
    read_hu: Callable[[Any], np.ndarray],
    *,
    min_quality: float | None = None,
    refuse: Refuse | None = None,
) -> Exported:
    """Write `SERIES_UID.npz` with `imgs`, `gts`, `recist` and `spacing`.

    `imgs` [slices, rows, columns] is the series in 0..255 after the HU window that its lesions were
    labelled in (from the lowest to the highest, where these differ). `gts` of that shape has the
    lesions' numbers where their soft masks are at least one half; `recist` their marks as lines of
    one pixel, of a lesion without a mark the axes of its mask. `spacing` is (column, row, slice) in
    millimetres, as SimpleITK has it. Lesions that touch on a slice are in `SERIES_UID-2.npz`, ...

    Parameters
    ----------
    out : path
        New or empty folder.
    images : SourceImages
    read_hu : callable
        From a slice of `images.series` to HU, ndarray [rows, columns].
    min_quality, refuse
        As in `export_series`. Where a series is no volume, its rows are refused.

    Raises
    ------
    FileExistsError, ValueError
        As `export_series`.
    """

    def write(folder: Path, series: SeriesLesions) -> None:
        grid = grid_of(series, images)
        found = layered(grid, series.lesions, lambda lesion: _lines(lesion) > 0)
        volume = _shown(grid, series, read_hu)
        spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
        for layer in range(1 + max(one.layer for one in found)):
            mine = [one for one in found if one.layer == layer]
            gts, recist = _drawn(grid, mine)
            with open(folder / f"{series.name}{layer_ending(layer)}.npz", "wb") as file:
                np.savez_compressed(file, imgs=volume, gts=gts, recist=recist, spacing=spacing)

    return export_series(store, images, out, write, min_quality=min_quality, refuse=refuse)


def _shown(
    grid: VoxelGrid, series: SeriesLesions, read_hu: Callable[[Any], np.ndarray]
) -> np.ndarray:
    windows = [one.window for one in series.lesions if one.window is not None]
    windows = windows or [SOFT_TISSUE_WINDOW]
    low, high = min(one[0] for one in windows), max(one[1] for one in windows)
    volume = np.empty(grid.shape, np.uint8)
    for plane, entry in zip(volume, series.entries, strict=True):
        hu = np.asarray(read_hu(entry), np.float64)
        if hu.shape != plane.shape:
            raise ValueError(f"a slice must be of {plane.shape} pixels, got {hu.shape}")
        plane[:] = np.rint(np.clip((hu - low) / (high - low), 0, 1) * 255)
    return volume


def _drawn(grid: VoxelGrid, mine: list[LayeredLesion]) -> tuple[np.ndarray, np.ndarray]:
    dtype = np.uint8 if max(one.number for one in mine) < 256 else np.uint16
    gts, recist = np.zeros(grid.shape, dtype), np.zeros(grid.shape, dtype)
    for lesion, number, index, _ in mine:
        gts[index][lesion.slices][lesion.binary] = number
        recist[index][_lines(lesion) > 0] = number
    return gts, recist


def _lines(lesion: PlacedLesion) -> np.ndarray:
    """uint8 [rows, columns]: 1 where the axes of its mark are drawn."""
    drawn = np.zeros(lesion.shape, np.uint8)
    mark = lesion.mark
    if mark is not None:
        _draw(drawn, mark.long_axis, mark.short_axis)
    if not drawn.any():
        row, column = lesion.corner
        derived = recist_from_mask(lesion.binary).translated(column, row)
        _draw(drawn, derived.long_axis, derived.short_axis)
    return drawn


def _draw(drawn: np.ndarray, *axes: np.ndarray | None) -> None:
    for axis in axes:
        if axis is not None:
            first, second = (tuple(map(int, end)) for end in np.rint(axis))
            cv2.line(drawn, first, second, 1)
