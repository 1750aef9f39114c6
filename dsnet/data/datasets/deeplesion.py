"""DeepLesion: the table of RECIST marks and its key slices (Yan et al. 2018)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import overload

import numpy as np

from dsnet.data.crop import Crop
from dsnet.data.datasets.annotation import (
    COLUMNS,
    FILE_NAME,
    MARK,
    DeepLesionAnnotation,
    millimetres_along,
)
from dsnet.data.datasets.annotation_table import AnnotationTable, TableText
from dsnet.data.datasets.common_cells import LESION_TYPES, SPLITS
from dsnet.data.datasets.coordinates import CORNER, check_origin
from dsnet.data.datasets.slice_crops import SliceFiles, cut_slice
from dsnet.data.datasets.slice_places import find_slice, open_slice
from dsnet.data.neighbours import read_neighbours
from dsnet.data.picture_file import MAX_PIXELS, open_picture
from dsnet.data.remote import RemoteFile, place_of
from dsnet.data.tables import read_table


def read_annotations(
    path: str | Path, *, origin: float = CORNER, data: bytes | None = None
) -> AnnotationTable:
    """All rows of a table in DeepLesion's layout, also those whose mark cannot be used.

    CSV, or Parquet: a file or a folder of them, see `dsnet.data.parquet_table`.

    They are a sequence of `DeepLesionAnnotation`, each made when it is asked for.

    `Measurement_coordinates` are eight numbers, or four of a long axis alone. `origin` is taken off
    them and the boxes, which leaves pixel centres at integers: 0.5 for DeepLesion's own table.
    `data` is what the file holds, where it was read already.

    Raises
    ------
    ValueError
        When the file cannot be read, is empty, or lacks one of the columns `File_name` and
        `Measurement_coordinates`, or `origin` is not within 0 and 1. A bad row raises nothing: it
        tells in its `error`.
    """
    origin = check_origin(origin)
    table = read_table(path, data=data, wanted=COLUMNS)
    columns = table.columns
    missing = [name for name in (FILE_NAME, MARK) if name not in columns]
    if missing:
        raise ValueError(
            f"{path}: column {', '.join(missing)} is missing; the table has {columns or 'nothing'}"
        )
    return AnnotationTable(TableText(table.rows, origin))


def select(
    annotations: Iterable[DeepLesionAnnotation],
    *,
    types: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    include_noisy: bool = True,
    min_diameter_mm: float | None = None,
    max_diameter_mm: float | None = None,
) -> Sequence[DeepLesionAnnotation]:
    """The rows of these types, splits and long diameters; of a table a table.

    DeepLesion states no type for its training rows: "lung" also takes untyped rows shown in
    the lung window -1500..500 HU. A row with a bad mark passes the filters that its other
    columns pass, so that it is reported and not lost; without a spacing a diameter counts
    one millimetre a pixel.

    Raises
    ------
    ValueError
        When a type or split is unknown.
    """
    for names, known, what in ((types, LESION_TYPES, "types"), (splits, SPLITS, "splits")):
        unknown = sorted(set(names or ()) - set(known.values()))
        if unknown:
            raise ValueError(f"{what} must be of {sorted(known.values())}, got {unknown}")

    def fits(a: DeepLesionAnnotation) -> bool:
        if types is not None and a.lesion_type not in types and not (a.in_lung and "lung" in types):
            return False
        if splits is not None and a.split not in splits:
            return False
        if a.possibly_noisy and not include_noisy:
            return False
        if min_diameter_mm is max_diameter_mm is None or (mark := a.mark) is None:
            return True
        millimetres = mark.long_diameter * millimetres_along(mark, a.spacing)
        if min_diameter_mm is not None and millimetres < min_diameter_mm:
            return False
        return max_diameter_mm is None or millimetres <= max_diameter_mm

    if not isinstance(annotations, AnnotationTable):
        return [a for a in annotations if fits(a)]
    if types is splits is min_diameter_mm is max_diameter_mm is None and include_noisy:
        return annotations
    return annotations.where(fits)


def group_by_file(
    annotations: Iterable[DeepLesionAnnotation],
) -> Sequence[Sequence[DeepLesionAnnotation]]:
    """The rows of each slice together, slices in the order in which they first appear.

    Of a table they are taken apart when they are asked for.
    """
    if isinstance(annotations, AnnotationTable):
        return annotations.by_file()
    groups: dict[str, list[DeepLesionAnnotation]] = {}
    for annotation in annotations:
        groups.setdefault(annotation.file_name, []).append(annotation)
    return list(groups.values())


@overload
def find_image(images_dir: Path, annotation: DeepLesionAnnotation) -> Path: ...
@overload
def find_image(images_dir: str | Path, annotation: DeepLesionAnnotation) -> Path | RemoteFile: ...
def find_image(images_dir: str | Path, annotation: DeepLesionAnnotation) -> Path | RemoteFile:
    """The annotation's PNG below `images_dir`.

    Both `SERIES/KEY.png`, as on DeepLesion's disks, and `SERIES_KEY.png` are looked for, in
    `images_dir` and in its folder `Images_png`.

    Raises
    ------
    ValueError
        When there is none, or the name would lead out of `images_dir`.
    """
    return place_of(find_slice(images_dir, annotation.file_name))


def read_crops(
    annotations: Iterable[DeepLesionAnnotation],
    images_dir: str | Path,
    *,
    size: int = 64,
    window: str | tuple[float, float] = "auto",
    isotropic_mm: float | None = None,
    max_pixels: int = MAX_PIXELS,
    neighbours: int = 0,
    foreign: Collection[int] = (),
    fetched: SliceFiles | ValueError | None = None,
) -> Iterator[tuple[DeepLesionAnnotation, Crop | ValueError]]:
    """Each annotation with its crop, or with the error that it met; each slice is read once.

    Parameters
    ----------
    annotations : iterable of DeepLesionAnnotation
        Rows of one file are handed out together, files in the order of their first rows.
    images_dir : path
        See `find_image`.
    size, isotropic_mm
        See `cut_crop`.
    window : "auto", "none" or (low, high)
        HU; "auto" is `choose_window`; "none" reads 8- or 16-bit pictures that were windowed
        already.
    max_pixels : int
        A slice of more fails its rows, by its header.
    neighbours : int
        Slices on either side that are cut likewise, from the files beside (`KEY - 1`, `KEY + 1`).
        Where there is none, the slice itself stands in, which a note tells.
    foreign : collection of int
        Which of them are another patient's, see `dsnet.data.neighbours.foreign_steps`.
    fetched : SliceFiles or ValueError, optional
        What `fetch_slice` gave, where all annotations are of one slice and it was asked already.

    Raises
    ------
    ValueError
        When `window` is none of these.
    """
    window = _checked(window)
    if fetched is not None:
        rows = list(annotations)
        return iter(cut_slice(rows, fetched, size=size, window=window, isotropic_mm=isotropic_mm))
    how = {"size": size, "window": window, "isotropic_mm": isotropic_mm}
    reading = {"max_pixels": max_pixels, "neighbours": neighbours, "foreign": foreign}
    return chain.from_iterable(
        cut_slice(group, fetch_slice(group, images_dir, **reading), **how)
        for group in group_by_file(annotations)
    )


def fetch_slice(
    annotations: Sequence[DeepLesionAnnotation],
    images_dir: str | Path,
    *,
    max_pixels: int = MAX_PIXELS,
    neighbours: int = 0,
    foreign: Collection[int] = (),
) -> SliceFiles | ValueError:
    """The files of the one slice that annotations are of, read and checked, not decoded.

    Parameters are those of `read_crops`.

    Returns
    -------
    SliceFiles or ValueError
        An error where none of the annotations can be used, or their file cannot.
    """
    for usable in annotations:
        if not usable.error:
            break
    else:
        return ValueError("no usable mark")
    try:
        picture = open_slice(images_dir, usable.file_name, max_pixels)
        if not neighbours:
            return SliceFiles(picture, [])
        read = partial(open_picture, max_pixels=max_pixels)
        beside = read_neighbours(picture.path, neighbours, picture.shape, read, foreign)
        return SliceFiles(picture, beside)
    except ValueError as error:
        return error


def _checked(window) -> str | tuple[float, float]:
    if isinstance(window, str):
        if window in ("auto", "none"):
            return window
    elif np.shape(window) == (2,) and -np.inf < window[0] < window[1] < np.inf:
        return window[0], window[1]
    raise ValueError(f'window must be "auto", "none" or (low, high) in HU, got {window!r}')
