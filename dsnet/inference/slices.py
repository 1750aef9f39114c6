"""Marked slices from files: each becomes soft and binary masks, an overlay, and rows of a table.

Public
------
``segment_files(model, annotations, find, out, crop, ...) -> iterator of rows, a slice at a time``
``in_folder(images, annotation) -> Path``: what `find` is for a table that names paths
``COLUMNS``: of ``lesions.csv``

In the folder `out`: ``soft/`` (16-bit PNG, 65535 is 1), ``binary/`` (0 and 255), ``overlay/``,
each under the slice's name, and ``lesions.csv`` with a row for every mark, also for those that
failed.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from dsnet.data.crop_settings import CropSettings
from dsnet.data.ct_image import apply_window, read_slice
from dsnet.data.datasets.boxes import BOX_COLUMNS
from dsnet.data.datasets.deeplesion import DeepLesionAnnotation, choose_window, group_by_file
from dsnet.drawing.overlay import draw_overlay
from dsnet.files import table_cell, write_png
from dsnet.inference.segment import THRESHOLD, LesionMask, segment_slice

COLUMNS = (
    "key", "file", "status", "reason", "x0", "y0", "x1", "y1", "area_px", "area_mm2",
    "soft_area_px", "mean_alpha", "window_low", "window_high", "notes",
)  # fmt: skip


def segment_files(
    model: nn.Module,
    annotations: Sequence[DeepLesionAnnotation],
    find: Callable[[DeepLesionAnnotation], Path],
    out: Path,
    crop: CropSettings,
    *,
    pictures: bool = False,
    spacing: tuple[float, float] | None = None,
    threshold: float = THRESHOLD,
    batch: int = 16,
) -> Iterator[list[dict]]:
    """Segment all marks of a table; yields each slice's rows when its files are written.

    Parameters
    ----------
    model : DSNet or module
        As `segment_slice` takes it.
    annotations : sequence of DeepLesionAnnotation
        Of `read_annotations` or `read_boxes`.
    find : callable
        The file of an annotation's slice; raises ValueError where there is none.
    out : Path
        Folder, made where absent.
    crop : CropSettings
        How the network's crops were made.
    pictures : bool
        Whether the files are windowed pictures and not HU.
    spacing : (row, column), optional
        Millimetres per pixel of slices whose table and file do not say.
    threshold, batch
        As in `segment_slice`.

    Yields
    ------
    list of dict
        A row for each mark of a slice, with some of `COLUMNS`; ``status`` is "ok" or "failed",
        with its ``reason``.
    """
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "lesions.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for group in group_by_file(annotations):
            rows = _segment(model, group, find, out, crop, pictures, spacing, threshold, batch)
            table.writerows({n: table_cell(v) for n, v in row.items()} for row in rows)
            file.flush()
            yield rows


def in_folder(images: Path, annotation: DeepLesionAnnotation) -> Path:
    """The annotation's file by its path below `images`; raises ValueError where it leads out."""
    return images / _relative(annotation)


def _segment(model, group, find, out, crop, pictures, spacing, threshold, batch) -> list[dict]:
    """The table's rows of one slice; writes its pictures where a lesion was segmented."""
    usable = [a for a in group if not a.error]
    errors = {a.key: a.error for a in group if a.error}
    lesions: dict[str, LesionMask] = {}
    if usable:
        try:
            name = _relative(usable[0])
            image, known = read_slice(find(usable[0]), pictures)
            window = None if crop.window == "none" else crop.window
            if window == "auto":
                window = [choose_window(image, a.mark, a.window) for a in usable]
            found = segment_slice(
                model, image, [a.mark for a in usable], size=crop.size,
                network_size=crop.network_size, window=window,
                spacing=next((a.spacing for a in usable if a.spacing), known) or spacing,
                isotropic_mm=crop.isotropic_mm, threshold=threshold, batch=batch,
            )  # fmt: skip
        except ValueError as error:
            errors.update({a.key: str(error) for a in usable})
        else:
            for a, lesion in zip(usable, found.lesions, strict=True):
                if isinstance(lesion, ValueError):
                    errors[a.key] = str(lesion)
                else:
                    lesions[a.key] = lesion
    if lesions:
        shown = next(iter(lesions.values())).window
        titles = list(lesions)
        drawn = image if shown is None else apply_window(image, *shown)
        files = {
            "soft": np.rint(found.soft * 65535).astype(np.uint16),
            "binary": found.binary.astype(np.uint8) * 255,
            "overlay": draw_overlay(drawn, list(lesions.values()), titles),
        }
        for kind, picture in files.items():
            write_png(out / kind / name.with_suffix(".png"), picture)
    return [_row(a, lesions.get(a.key), errors.get(a.key, "")) for a in group]


def _row(annotation: DeepLesionAnnotation, lesion: LesionMask | None, error: str) -> dict:
    row: dict[str, Any] = {"key": annotation.key, "file": annotation.file_name, "status": "failed"}
    if lesion is None:
        return {**row, "reason": " ".join(error.split())}
    row.update(status="ok", area_px=lesion.area_pixels, notes="; ".join(lesion.notes))
    row.update(zip(BOX_COLUMNS, lesion.box or ("",) * 4, strict=True))
    row.update(soft_area_px=f"{lesion.soft.sum():.2f}")
    if lesion.area_pixels:
        row["mean_alpha"] = f"{lesion.mean_alpha:.4f}"
    if lesion.area_mm2 is not None:
        row["area_mm2"] = f"{lesion.area_mm2:.2f}"
    if lesion.window is not None:
        row.update(window_low=lesion.window[0], window_high=lesion.window[1])
    return row


def _relative(annotation: DeepLesionAnnotation) -> Path:
    """The annotation's file, below a folder and not above it."""
    name = Path(annotation.file_name)
    if name.is_absolute() or ".." in name.parts or "\0" in annotation.file_name or not name.name:
        raise ValueError(f"file must be a path below --images, got {annotation.file_name!r}")
    return name
