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
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from dsnet.data.crop_settings import CropSettings
from dsnet.data.ct_image import apply_window, choose_window, read_slice
from dsnet.data.datasets.boxes import BOX_COLUMNS
from dsnet.data.datasets.deeplesion import DeepLesionAnnotation, group_by_file
from dsnet.data.datasets.image_size import require_size
from dsnet.data.datasets.picture_files import readable
from dsnet.data.neighbours import foreign_steps, read_neighbours
from dsnet.data.patients import owner_by_table
from dsnet.data.picture_file import MAX_PIXELS
from dsnet.drawing.overlay import draw_overlay
from dsnet.files import table_cell, telling, write_png
from dsnet.inference.inputs import sees
from dsnet.inference.segment import LesionMask, segment_slice
from dsnet.models import unwrap

COLUMNS = (
    "key", "file", "status", "reason", "x0", "y0", "x1", "y1", "area_px", "area_mm2",
    "soft_area_px", "mean_alpha", "window_low", "window_high", "notes",
)  # fmt: skip


KINDS = ("soft", "binary", "overlay")


def segment_files(
    model: nn.Module,
    annotations: Sequence[DeepLesionAnnotation],
    find: Callable[[DeepLesionAnnotation], Path],
    out: Path,
    crop: CropSettings,
    *,
    pictures: bool = False,
    spacing: tuple[float, float] | None = None,
    threshold: float | None = None,
    batch: int = 16,
    max_pixels: int = MAX_PIXELS,
    flips: bool = False,
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
    threshold, batch, flips
        As in `segment_slice`.
    max_pixels : int
        A slice of more fails its rows, by its header.

    Yields
    ------
    list of dict
        A row for each mark of a slice, with some of `COLUMNS`; ``status`` is "ok" or "failed",
        with its ``reason``.
    """
    names, count = _picture_names(annotations), sees(unwrap(model))[0]
    owner = owner_by_table(annotations)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "lesions.csv"
    with telling(path), open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for group in group_by_file(annotations):
            foreign = foreign_steps(group[0].file_name, count, group[0].patient, owner)
            read = partial(_read, group, find, pictures, max_pixels, count, foreign)
            name = names.get(group[0].file_name, Path())
            rows = _segment(model, group, read, out, name, crop, spacing, threshold, batch, flips)
            table.writerows({n: table_cell(v) for n, v in row.items()} for row in rows)
            file.flush()
            yield rows


def in_folder(images: Path, annotation: DeepLesionAnnotation) -> Path:
    """The annotation's file by its path below `images`; raises ValueError where it leads out."""
    return images / _relative(annotation)


def _read(group, find, pictures, max_pixels, count, foreign):
    """The slice of a group's rows, its spacing where the file tells, and its neighbours; ValueError
    else."""
    first = next(a for a in group if not a.error)
    try:
        _relative(first)
        path = find(first)
        image, spacing = read_slice(path, pictures, max_pixels)
        beside = read_neighbours(
            path,
            count,
            image.shape,
            lambda file: read_slice(file, pictures, max_pixels)[0],
            foreign,
        )
        return image, spacing, beside
    except (ValueError, ImportError):
        raise
    except Exception as error:  # Whatever a file does, it costs its own rows.
        raise ValueError(f"{first.file_name}: {type(error).__name__}: {error}") from error


def _segment(model, group, read, out, name, crop, spacing, threshold, batch, flips) -> list[dict]:
    """The table's rows of one slice; writes its pictures where a lesion was segmented."""
    usable, errors = [], {a.key: a.error for a in group if a.error}
    lesions: dict[str, LesionMask] = {}
    if len(errors) < len(group):
        try:
            image, known, beside = read()
            usable = _of_this_size(group, image.shape, errors)
            window = None if crop.window == "none" else crop.window
            if window == "auto":
                window = [choose_window(image, a.mark, a.window) for a in usable]
            # A network that sees marks is told of boxes, and notes it.
            prompts = [a.mark.bounds() if a.from_box else a.mark for a in usable]
            found = segment_slice(
                model, image, prompts, size=crop.size,
                network_size=crop.network_size, window=window,
                spacing=next((a.spacing for a in usable if a.spacing), known) or spacing,
                isotropic_mm=crop.isotropic_mm, threshold=threshold, batch=batch, flips=flips,
                neighbours=beside,
            )  # fmt: skip
        except (ValueError, MemoryError) as error:
            told = str(error) or type(error).__name__
            errors.update({a.key: told for a in group if a.key not in errors})
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
        for kind in KINDS:
            write_png(out / kind / name, files[kind])
    elif all(_is_below(a) for a in group):
        # What an earlier run left is not this one's answer.
        for kind in KINDS:
            if os.path.isfile(old := out / kind / name):  # Path's raises where a name is too long
                old.unlink()
    return [_row(a, lesions.get(a.key), errors.get(a.key, "")) for a in group]


def _of_this_size(group, shape, errors: dict[str, str]) -> list:
    """The rows without an error whose table states this size, or none; tells the others'."""
    usable = []
    for a in group:
        if a.key in errors:
            continue
        try:
            require_size(a.image_size, shape)
            usable.append(a)
        except ValueError as error:
            errors[a.key] = str(error)
    return usable


def _picture_names(annotations) -> dict[str, Path]:
    """By file, the name of its pictures; files that differ in their endings alone keep them."""
    files = {a.file_name: Path(a.file_name) for a in annotations if Path(a.file_name).name}
    stems = Counter(file.with_suffix("") for file in files.values())
    return {
        name: file.with_suffix(".png" if stems[file.with_suffix("")] == 1 else f"{file.suffix}.png")
        for name, file in files.items()
    }


def _row(annotation: DeepLesionAnnotation, lesion: LesionMask | None, error: str) -> dict:
    row: dict[str, Any] = {"key": annotation.key, "file": annotation.file_name, "status": "failed"}
    if lesion is None:
        return {**row, "reason": readable(" ".join(error.split()))}
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


def _is_below(annotation: DeepLesionAnnotation) -> bool:
    try:
        return bool(_relative(annotation))
    except ValueError:
        return False


def _relative(annotation: DeepLesionAnnotation) -> Path:
    """The annotation's file, below a folder and not above it."""
    name = Path(annotation.file_name)
    if name.is_absolute() or ".." in name.parts or "\0" in annotation.file_name or not name.name:
        raise ValueError(f"file must be a path below --images, got {annotation.file_name!r}")
    return name
