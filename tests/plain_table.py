"""The rows of a table in DeepLesion's layout as plain lists: what `AnnotationTable` must equal."""

import csv
import math
from dataclasses import replace

from dsnet.data.datasets.cells import numbers_in, whole_number
from dsnet.data.datasets.coordinates import read_mark
from dsnet.data.datasets.deeplesion import LESION_TYPES, SPLITS, DeepLesionAnnotation
from dsnet.data.datasets.image_size import stated_size
from dsnet.data.datasets.keys import RowKeys
from dsnet.data.tables import LONGEST_FIELD


def plain_lines(data: bytes) -> list[tuple[int, str]]:
    text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    return [(i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]


def plain_row(line: str, columns: list[str]) -> tuple[dict[str, str], str]:
    """The cells by column, and why it is no row."""
    try:
        (cells,) = csv.reader([line], strict=True)
    except csv.Error as error:
        return {}, f"cannot be taken apart: {error}"
    while len(cells) > len(columns) and not cells[-1].strip():
        cells.pop()
    if (longest := max(map(len, cells))) > LONGEST_FIELD:
        return {}, f"fields must be of at most {LONGEST_FIELD} characters, got {longest}"
    fields = dict(zip(columns, cells, strict=False))
    if len(cells) == len(columns):
        return fields, ""
    return fields, f"must have {len(columns)} fields as the header, got {len(cells)}"


def plain_annotations(data: bytes, origin: float = 0.5) -> list[DeepLesionAnnotation]:
    """As `read_annotations` of a table that has the columns that it needs."""
    (_, header), *lines = plain_lines(data)
    (names,) = csv.reader([header], strict=True)
    columns = [name.strip() for name in names]
    keys, found = RowKeys(), []
    for number, line in lines:
        fields, error = plain_row(line, columns)
        name = (fields.get("File_name") or "").strip()
        key = keys.key(name.removesuffix(".png"), fields.get("Measurement_coordinates"))
        if error:
            told = f"row {number}: {error}"
            found.append(DeepLesionAnnotation(key, name, number, None, told))
        else:
            found.append(_annotation(fields, key, name, number, origin))
    return found


def _annotation(fields, key, name, line, origin) -> DeepLesionAnnotation:
    get, mark, error = fields.get, None, ""
    try:
        mark = read_mark(fields["Measurement_coordinates"], origin)
        if not name:
            raise ValueError("File_name is empty")
    except ValueError as problem:
        mark, error = None, f"row {line}: {problem}"
    box, spacing = numbers_in(get("Bounding_boxes"), 4), numbers_in(get("Spacing_mm_px_"), 3)
    if spacing is not None and not (all(map(math.isfinite, spacing)) and min(spacing) > 0):
        spacing = None
    text, noisy = get("Patient_index") or "", get("Possibly_noisy") or ""
    number = whole_number(text)
    return DeepLesionAnnotation(
        key=key,
        file_name=name,
        row=line,
        mark=mark,
        error=error,
        patient=number if number is not None else text.strip() or None,
        study=whole_number(get("Study_index")),
        series=whole_number(get("Series_ID")),
        key_slice=whole_number(get("Key_slice_index")),
        bounding_box=None if box is None else tuple(edge - origin for edge in box),
        diameters=numbers_in(get("Lesion_diameters_Pixel_"), 2),
        normalized_location=numbers_in(get("Normalized_lesion_location"), 3),
        lesion_type=LESION_TYPES.get(whole_number(get("Coarse_lesion_type")) or 0, "unknown"),
        possibly_noisy=whole_number(noisy) == 1 or noisy.strip().lower() == "true",
        slice_range=numbers_in(get("Slice_range"), 2),
        spacing=None if spacing is None else (spacing[1], spacing[0]),
        slice_spacing=None if spacing is None else spacing[2],
        image_size=stated_size(get("Image_size")),
        window=numbers_in(get("DICOM_windows"), 2),
        gender=(get("Patient_gender") or "").strip(),
        age=(numbers_in(get("Patient_age"), 1) or (None,))[0],
        split=SPLITS.get(whole_number(get("Train_Val_Test")) or 0, "unknown"),
    )


def plain_groups(rows: list[DeepLesionAnnotation]) -> list[list[DeepLesionAnnotation]]:
    """As `group_by_file`."""
    groups: dict[str, list[DeepLesionAnnotation]] = {}
    for row in rows:
        groups.setdefault(row.file_name, []).append(row)
    return list(groups.values())


def plain_with_patients(rows, patient) -> list[DeepLesionAnnotation]:
    """As `with_patients` by a rule that was made already."""
    named = []
    for row in rows:
        try:
            named.append(replace(row, patient=patient(row.file_name)))
        except ValueError as error:
            named.append(replace(row, mark=None, error=row.error or str(error)))
    return named
