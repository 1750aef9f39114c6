"""A row of DeepLesion's table: one RECIST mark."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from dsnet.data.datasets.cells import numbers_in, whole_number
from dsnet.data.datasets.common_cells import COMMON_COLUMNS, common_cells
from dsnet.data.datasets.coordinates import read_mark
from dsnet.data.datasets.keys import digest_of, row_content
from dsnet.data.patients import SLICE
from dsnet.data.tables import Row, row_of
from dsnet.labeling.recist import RecistMark

DEEPLESION_LUNG_WINDOW = (-1500.0, 500.0)

FILE_NAME, MARK = "File_name", "Measurement_coordinates"
# All that are read.
COLUMNS = (
    FILE_NAME, MARK, "Patient_index", "Study_index", "Series_ID", "Key_slice_index",
    "Bounding_boxes", "Lesion_diameters_Pixel_", "Normalized_lesion_location",
    "Coarse_lesion_type", "Possibly_noisy", "Slice_range", "Spacing_mm_px_", "Image_size",
    "DICOM_windows", "Patient_gender", "Patient_age", "Train_Val_Test",
)  # fmt: skip


class _Later:
    """A field of a row that labelling does not need: its cell is read when it is asked for."""

    def __init__(self, default: object) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, row: DeepLesionAnnotation | None, owner: type) -> object:
        if row is None:
            return self._default
        # Asked for once: what stands in the row itself comes before this.
        value = row.__dict__[self._name] = getattr(_cells_of(row), self._name)
        return value


def _later(default: object) -> Any:
    return _Later(default)


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
    bounding_box: tuple[float, ...] | None = _later(None)
    diameters: tuple[float, ...] | None = _later(None)
    normalized_location: tuple[float, ...] | None = _later(None)
    lesion_type: str = "unknown"
    possibly_noisy: bool = False
    slice_range: tuple[float, ...] | None = _later(None)
    spacing: tuple[float, float] | None = None
    slice_spacing: float | None = None
    image_size: tuple[float, ...] | None = None
    window: tuple[float, float] | None = None
    gender: str = _later("")
    age: float | None = _later(None)
    split: str = "unknown"
    from_box: bool = False

    def __getstate__(self) -> dict[str, object]:
        """Its fields; the cells that it was made of stay behind."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def in_lung(self) -> bool:
        """Typed as lung, or untyped (all training rows) and shown in the lung window."""
        untyped = self.lesion_type == "unknown"
        return self.lesion_type == "lung" or (untyped and self.window == DEEPLESION_LUNG_WINDOW)

    @property
    def content(self) -> str:
        """As `row_content`."""
        return self.__dict__.get("_content") or row_content(self)

    @property
    def metadata(self) -> dict:
        """What a label keeps of the row."""
        kept: dict[str, Any] = {"row": self.row, "content": self.content}
        if self.patient is None:
            kept[SLICE] = self.file_name
        kept["patient"] = self.patient
        kept["lesion_type"] = self.lesion_type
        kept["possibly_noisy"] = self.possibly_noisy
        kept["split"] = self.split
        return kept


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
    def patient(self) -> int | str | None:
        """DeepLesion's are numbers, other hospitals' any text."""
        if self._named is not None and not self._named.error:
            return self._named.patient
        text = self._get("Patient_index") or ""
        number = whole_number(text)
        return text.strip() or None if number is None else number

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
    def bounding_box(self) -> tuple[float, ...] | None:
        """Its edges as the mark's coordinates count."""
        box = numbers_in(self._get("Bounding_boxes"), 4)
        return None if box is None else tuple(edge - self._origin for edge in box)

    @property
    def diameters(self) -> tuple[float, ...] | None:
        """(long, short), in pixels."""
        return numbers_in(self._get("Lesion_diameters_Pixel_"), 2)

    @property
    def normalized_location(self) -> tuple[float, ...] | None:
        """Along x, y and z."""
        return numbers_in(self._get("Normalized_lesion_location"), 3)

    @property
    def slice_range(self) -> tuple[float, ...] | None:
        """The first and the last."""
        return numbers_in(self._get("Slice_range"), 2)

    @property
    def gender(self) -> str:
        """As it is written."""
        return (self._get("Patient_gender") or "").strip()

    @property
    def age(self) -> float | None:
        """Years."""
        age = numbers_in(self._get("Patient_age"), 1)
        return None if age is None else age[0]

    def annotation(self, key: str) -> DeepLesionAnnotation:
        """All of it; what is a `_Later` is read later."""
        mark, error = self.read_mark()
        patient, study, series, key_slice = self.patient, self.study, self.series, self.key_slice
        common = common_cells(*map(self._get, COMMON_COLUMNS))
        own = f"{patient!r}, {study!r}, {series!r}, {key_slice!r}"
        made = object.__new__(DeepLesionAnnotation)
        made.__dict__.update(
            key=key,
            file_name=file_name_of(self._row),
            row=self._row.line,
            mark=mark,
            error=error,
            patient=patient,
            study=study,
            series=series,
            key_slice=key_slice,
            **common.fields,
            _content=digest_of(f"{common.begin}, {own}, {common.end}"),
            _cells=self,
        )
        return made


def _cells_of(row: DeepLesionAnnotation) -> RowCells:
    """What fields that are read later are read of."""
    kept = row.__dict__
    if "_cells" not in kept:
        # As `_C.TableRows` made it.
        line, text, columns, origin = kept["_source"]
        kept["_cells"] = RowCells(row_of(line, text, columns), origin)
    return kept["_cells"]


def file_name_of(row: Row) -> str:
    """What a row says of its file, also one of another length than the header; else empty."""
    return (row.fields.get(FILE_NAME) or "").strip()


def stem_of(file_name: str) -> str:
    """What a row's key begins with."""
    return file_name.removesuffix(".png")


def millimetres_along(mark: RecistMark, spacing: tuple[float, float] | None) -> float:
    """Millimetres per pixel in the direction of the long axis; 1 without a spacing."""
    if spacing is None:
        return 1.0
    along, _ = mark.directions
    return float(np.hypot(along[0] * spacing[1], along[1] * spacing[0]))
