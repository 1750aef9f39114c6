"""DeepLesion: the table of RECIST marks and its key slices (Yan et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np

from dsnet.data.crop import Crop
from dsnet.data.datasets.cells import numbers_in, usual_numbers, whole_number
from dsnet.data.datasets.coordinates import CORNER, check_origin, read_mark
from dsnet.data.datasets.image_size import stated_size
from dsnet.data.datasets.keys import RowKeys, row_content
from dsnet.data.datasets.slice_crops import SliceFiles, cut_slice
from dsnet.data.datasets.slice_places import find_slice, open_slice
from dsnet.data.neighbours import read_neighbours
from dsnet.data.patients import SLICE
from dsnet.data.picture_file import MAX_PIXELS, open_picture
from dsnet.data.remote import RemoteFile, place_of
from dsnet.data.tables import read_table
from dsnet.labeling.recist import RecistMark

LESION_TYPES = {
    -1: "unknown",
    1: "bone",
    2: "abdomen",
    3: "mediastinum",
    4: "liver",
    5: "lung",
    6: "kidney",
    7: "soft tissue",
    8: "pelvis",
}
SPLITS = {1: "train", 2: "val", 3: "test"}
DEEPLESION_LUNG_WINDOW = (-1500.0, 500.0)

_REQUIRED = ("File_name", "Measurement_coordinates")


@dataclass(frozen=True)
class DeepLesionAnnotation:
    """One row of `DL_info.csv`: one RECIST mark.

    Attributes
    ----------
    key : str
        `File_name` without its ending and a digest of the mark, see `keys.RowKeys`.
    row : int
        Line of the table, the header being line 1.
    error : str
        Why the mark cannot be used; empty where it can. `mark` is None then.
    spacing : (row, column) or None
        Millimetres per pixel.
    window : (low, high) or None
        HU.
    lesion_type, split : str
        Values of `LESION_TYPES` and `SPLITS`; "unknown" where the table does not say.
    diameters : (long, short) or None
        As the table states them, in pixels.
    from_box : bool
        Whether the mark is a box's middle lines, and nobody drew it.
    """

    key: str
    file_name: str
    row: int
    mark: RecistMark | None
    error: str = ""
    patient: int | str | None = None
    study: int | None = None
    series: int | None = None
    key_slice: int | None = None
    bounding_box: tuple[float, ...] | None = None
    diameters: tuple[float, ...] | None = None
    normalized_location: tuple[float, ...] | None = None
    lesion_type: str = "unknown"
    possibly_noisy: bool = False
    slice_range: tuple[float, ...] | None = None
    spacing: tuple[float, float] | None = None
    slice_spacing: float | None = None
    image_size: tuple[float, ...] | None = None
    window: tuple[float, float] | None = None
    gender: str = ""
    age: float | None = None
    split: str = "unknown"
    from_box: bool = False

    @property
    def in_lung(self) -> bool:
        """Typed as lung, or untyped (all training rows) and shown in the lung window."""
        return self.lesion_type == "lung" or (
            self.lesion_type == "unknown" and self.window == DEEPLESION_LUNG_WINDOW
        )

    @property
    def metadata(self) -> dict:
        """What a label keeps of the row."""
        return {
            "row": self.row,
            "content": row_content(self),
            **({SLICE: self.file_name} if self.patient is None else {}),
            "patient": self.patient,
            "lesion_type": self.lesion_type,
            "possibly_noisy": self.possibly_noisy,
            "split": self.split,
        }


def read_annotations(
    path: str | Path, *, origin: float = CORNER, data: bytes | None = None
) -> list[DeepLesionAnnotation]:
    """All rows of a table in DeepLesion's layout, also those whose mark cannot be used.

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
    table = read_table(path, data=data)
    columns = table.columns
    missing = [name for name in _REQUIRED if name not in columns]
    if missing:
        raise ValueError(
            f"{path}: column {', '.join(missing)} is missing; the table has {columns or 'nothing'}"
        )
    keys = RowKeys()
    annotations = []
    for row in table.rows:
        fields, line = row.fields, row.line
        name = (fields.get("File_name") or "").strip()
        key = keys.key(name.removesuffix(".png"), fields.get("Measurement_coordinates"))
        if row.error:
            reason = f"row {line}: {row.error}"
            annotations.append(DeepLesionAnnotation(key, name, line, None, reason))
        else:
            annotations.append(_annotation(fields, key, name, line, origin))
    return annotations


def select(
    annotations: Iterable[DeepLesionAnnotation],
    *,
    types: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    include_noisy: bool = True,
    min_diameter_mm: float | None = None,
    max_diameter_mm: float | None = None,
) -> list[DeepLesionAnnotation]:
    """The rows of these types, splits and long diameters.

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
        if a.mark is None or (min_diameter_mm is None and max_diameter_mm is None):
            return True
        millimetres = a.mark.long_diameter * _millimetres_along(a)
        if min_diameter_mm is not None and millimetres < min_diameter_mm:
            return False
        return max_diameter_mm is None or millimetres <= max_diameter_mm

    return [a for a in annotations if fits(a)]


def group_by_file(
    annotations: Iterable[DeepLesionAnnotation],
) -> list[list[DeepLesionAnnotation]]:
    """The rows of each slice together, slices in the order in which they first appear."""
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
    _check_window(window)
    for group in group_by_file(annotations):
        found = fetched
        if found is None:
            found = fetch_slice(
                group, images_dir, max_pixels=max_pixels, neighbours=neighbours, foreign=foreign
            )
        yield from cut_slice(group, found, size=size, window=window, isotropic_mm=isotropic_mm)


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
    if all(annotation.error for annotation in annotations):
        return ValueError("no usable mark")
    try:
        picture = open_slice(images_dir, annotations[0].file_name, max_pixels)
        if not neighbours:
            return SliceFiles(picture, [])
        read = partial(open_picture, max_pixels=max_pixels)
        beside = read_neighbours(picture.path, neighbours, picture.shape, read, foreign)
        return SliceFiles(picture, beside)
    except ValueError as error:
        return error


def _check_window(window) -> None:
    if isinstance(window, str):
        usable = window in ("auto", "none")
    else:
        usable = np.shape(window) == (2,) and -np.inf < window[0] < window[1] < np.inf
    if not usable:
        raise ValueError(f'window must be "auto", "none" or (low, high) in HU, got {window!r}')


def _millimetres_along(annotation: DeepLesionAnnotation) -> float:
    """Millimetres per pixel in the direction of the long axis."""
    if annotation.spacing is None or annotation.mark is None:
        return 1.0
    along, _ = annotation.mark.directions
    return float(np.hypot(along[0] * annotation.spacing[1], along[1] * annotation.spacing[0]))


def _annotation(fields, key: str, name: str, line: int, origin: float) -> DeepLesionAnnotation:
    mark, error, get = None, "", fields.get
    try:
        mark = read_mark(fields["Measurement_coordinates"], origin)
        if not name:
            raise ValueError("File_name is empty")
    except (ValueError, TypeError) as problem:
        mark, error = None, f"row {line}: {problem}"
    box = numbers_in(get("Bounding_boxes"), 4)
    spacing = usual_numbers(get("Spacing_mm_px_"), 3)
    if spacing is not None and not (all(map(math.isfinite, spacing)) and min(spacing) > 0):
        spacing = None
    lesion_type, split = (whole_number(get(c)) for c in ("Coarse_lesion_type", "Train_Val_Test"))
    age = usual_numbers(get("Patient_age"), 1)
    window = usual_numbers(get("DICOM_windows"), 2)
    return DeepLesionAnnotation(
        key=key,
        file_name=name,
        row=line,
        mark=mark,
        error=error,
        patient=_patient(get("Patient_index") or ""),
        study=whole_number(get("Study_index")),
        series=whole_number(get("Series_ID")),
        key_slice=whole_number(get("Key_slice_index")),
        bounding_box=None if box is None else tuple(edge - origin for edge in box),
        diameters=numbers_in(get("Lesion_diameters_Pixel_"), 2),
        normalized_location=numbers_in(get("Normalized_lesion_location"), 3),
        lesion_type=LESION_TYPES.get(lesion_type or 0, "unknown"),
        possibly_noisy=whole_number(get("Possibly_noisy")) == 1,
        slice_range=numbers_in(get("Slice_range"), 2),
        spacing=None if spacing is None else (spacing[1], spacing[0]),
        slice_spacing=None if spacing is None else spacing[2],
        image_size=stated_size(get("Image_size")),
        window=None if window is None else (window[0], window[1]),
        gender=(get("Patient_gender") or "").strip(),
        age=None if age is None else age[0],
        split=SPLITS.get(split or 0, "unknown"),
    )


def _patient(text: str) -> int | str | None:
    """DeepLesion's are numbers, other hospitals' any text."""
    number = whole_number(text)
    return text.strip() or None if number is None else number
