"""A row of DeepLesion's table: one RECIST mark."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dsnet.data.datasets.cells import numbers_in, usual_numbers, whole_number
from dsnet.data.datasets.coordinates import read_mark
from dsnet.data.datasets.image_size import stated_size
from dsnet.data.datasets.keys import row_content
from dsnet.data.patients import SLICE
from dsnet.data.tables import Row
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

FILE_NAME, MARK = "File_name", "Measurement_coordinates"
# All that are read.
COLUMNS = (
    FILE_NAME, MARK, "Patient_index", "Study_index", "Series_ID", "Key_slice_index",
    "Bounding_boxes", "Lesion_diameters_Pixel_", "Normalized_lesion_location",
    "Coarse_lesion_type", "Possibly_noisy", "Slice_range", "Spacing_mm_px_", "Image_size",
    "DICOM_windows", "Patient_gender", "Patient_age", "Train_Val_Test",
)  # fmt: skip


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
        return is_in_lung(self.lesion_type, self.window)

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


class Named(NamedTuple):
    """The patient that a rule names for a file, or why it names none."""

    patient: str | None
    error: str = ""


class RowCells:
    """What a row's cells say, by the names of `DeepLesionAnnotation`; each is read when asked for.

    Parameters
    ----------
    row : Row
    origin : float
        What is taken off coordinates.
    named : Named, optional
        In the place of the table's patient; a row that it names none for has no mark.
    """

    def __init__(self, row: Row, origin: float, named: Named | None = None) -> None:
        # A line that is no row says nothing, whatever could be read of it.
        self._get = ({} if row.error else row.fields).get
        self._row, self._origin, self._named = row, origin, named

    def read_mark(self) -> tuple[RecistMark | None, str]:
        """The mark, or why there is none."""
        line = self._row.line
        if self._row.error:
            return None, f"row {line}: {self._row.error}"
        try:
            mark = read_mark(self._get(MARK), self._origin)
            if not file_name_of(self._row):
                raise ValueError(f"{FILE_NAME} is empty")
        except (ValueError, TypeError) as problem:
            return None, f"row {line}: {problem}"
        if self._named is not None and self._named.error:
            return None, self._named.error
        return mark, ""

    @property
    def mark(self) -> RecistMark | None:
        """None where there is none that can be used."""
        return self.read_mark()[0]

    @property
    def patient(self) -> int | str | None:
        """DeepLesion's are numbers, other hospitals' any text."""
        if self._named is not None and not self._named.error:
            return self._named.patient
        text = self._get("Patient_index") or ""
        number = whole_number(text)
        return text.strip() or None if number is None else number

    @property
    def lesion_type(self) -> str:
        """Of `LESION_TYPES`."""
        return LESION_TYPES.get(whole_number(self._get("Coarse_lesion_type")) or 0, "unknown")

    @property
    def split(self) -> str:
        """Of `SPLITS`."""
        return SPLITS.get(whole_number(self._get("Train_Val_Test")) or 0, "unknown")

    @property
    def possibly_noisy(self) -> bool:
        """Whether the table says so."""
        said = self._get("Possibly_noisy")
        return whole_number(said) == 1 or (said or "").strip().lower() == "true"

    @property
    def voxel(self) -> tuple[float, ...] | None:
        """Millimetres along x, y and z."""
        spacing = usual_numbers(self._get("Spacing_mm_px_"), 3)
        usable = spacing is not None and all(map(math.isfinite, spacing)) and min(spacing) > 0
        return spacing if usable else None

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Millimetres per pixel: (row, column)."""
        voxel = self.voxel
        return None if voxel is None else (voxel[1], voxel[0])

    @property
    def slice_spacing(self) -> float | None:
        """Millimetres from slice to slice."""
        voxel = self.voxel
        return None if voxel is None else voxel[2]

    @property
    def image_size(self) -> tuple[float, ...] | None:
        """See `stated_size`."""
        return stated_size(self._get("Image_size"))

    @property
    def study(self) -> int | None:
        """Its number."""
        return whole_number(self._get("Study_index"))

    @property
    def series(self) -> int | None:
        """Its number."""
        return whole_number(self._get("Series_ID"))

    @property
    def key_slice(self) -> int | None:
        """Its number."""
        return whole_number(self._get("Key_slice_index"))

    @property
    def window(self) -> tuple[float, float] | None:
        """HU: (low, high)."""
        window = usual_numbers(self._get("DICOM_windows"), 2)
        return None if window is None else (window[0], window[1])

    @property
    def in_lung(self) -> bool:
        """As `DeepLesionAnnotation.in_lung`."""
        return is_in_lung(self.lesion_type, self.window)

    def annotation(self, key: str) -> DeepLesionAnnotation:
        """All of it."""
        mark, error = self.read_mark()
        get, origin = self._get, self._origin
        box = numbers_in(get("Bounding_boxes"), 4)
        age = usual_numbers(get("Patient_age"), 1)
        return DeepLesionAnnotation(
            key=key,
            file_name=file_name_of(self._row),
            row=self._row.line,
            mark=mark,
            error=error,
            patient=self.patient,
            study=self.study,
            series=self.series,
            key_slice=self.key_slice,
            bounding_box=None if box is None else tuple(edge - origin for edge in box),
            diameters=numbers_in(get("Lesion_diameters_Pixel_"), 2),
            normalized_location=numbers_in(get("Normalized_lesion_location"), 3),
            lesion_type=self.lesion_type,
            possibly_noisy=self.possibly_noisy,
            slice_range=numbers_in(get("Slice_range"), 2),
            spacing=self.spacing,
            slice_spacing=self.slice_spacing,
            image_size=self.image_size,
            window=self.window,
            gender=(get("Patient_gender") or "").strip(),
            age=None if age is None else age[0],
            split=self.split,
        )


def file_name_of(row: Row) -> str:
    """What a row says of its file, also one of another length than the header; else empty."""
    return (row.fields.get(FILE_NAME) or "").strip()


def stem_of(file_name: str) -> str:
    """What a row's key begins with."""
    return file_name.removesuffix(".png")


def is_in_lung(lesion_type: str, window: tuple[float, float] | None) -> bool:
    """Whether a lesion is typed as lung, or untyped and shown in the lung window."""
    return lesion_type == "lung" or (lesion_type == "unknown" and window == DEEPLESION_LUNG_WINDOW)


def millimetres_along(mark: RecistMark, spacing: tuple[float, float] | None) -> float:
    """Millimetres per pixel in the direction of the long axis; 1 without a spacing."""
    if spacing is None:
        return 1.0
    along, _ = mark.directions
    return float(np.hypot(along[0] * spacing[1], along[1] * spacing[0]))
