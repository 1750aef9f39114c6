"""Tables of marks, CSV or Parquet: of DeepLesion's layout, as DL_info.csv, or a documented one.

Columns, in any order and case: `sop_instance_uid` or `file`; `x1, y1, x2, y2` of the long axis and,
where it is known, `x3, y3, x4, y4` of the short one; `origin`. Further ones are read where they are
there: see `COLUMNS`. Others are left alone.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from dsnet.data.datasets.coordinates import CORNER, check_origin
from dsnet.data.datasets.deeplesion import read_annotations
from dsnet.data.marks.bounded import read_bytes, told
from dsnet.data.marks.record import FoundMark, Refused, points, refuse, shown, text
from dsnet.data.tables import LONGEST_FIELD, read_table

LONG_AXIS = ("x1", "y1", "x2", "y2")
SHORT_AXIS = ("x3", "y3", "x4", "y4")
# What a column is, by its name in lower case.
COLUMNS = {
    "sop_instance_uid": "the picture's SOP instance UID",
    "file": "or its file, below the folder of pictures",
    **dict.fromkeys(LONG_AXIS, "the long axis' ends"),
    **dict.fromkeys(SHORT_AXIS, "the short axis' ends; empty where it is unknown"),
    "origin": "where coordinates count from: 0 (pixel centres at integers), 0.5 (the corner of the "
    "first pixel) or 1 (centres counted from one)",
    "frame": "of a picture of several, the first being 1",
    "series_instance_uid": "the picture's series",
    "label": "what it is called",
    "tracking_id": "the lesion's name",
    "tracking_uid": "the lesion's UID",
    "reader": "who drew it",
    "long_mm": "length of the long axis as it was written, mm",
    "short_mm": "of the short one",
    "row_spacing": "mm from one row to the next",
    "column_spacing": "mm from one column to the next",
}
_DEEPLESION = ("File_name", "Measurement_coordinates")
MOST_TABLE_BYTES = 2**28
# A record takes about a kilobyte.
MOST_ROWS = 2_000_000
_PARQUET = b"PAR1"


def is_table(data: bytes) -> bool:
    """Whether a file is a table of marks: by the whole of a Parquet file, or a CSV's beginning."""
    if data[:4] == _PARQUET:
        try:
            names = _parquet("", data).schema_arrow.names
        except ValueError:
            return True  # damaged: whoever reads it tells
    else:
        names = _header(data)
    return set(_DEEPLESION) <= set(names) or _is_marks([name.lower() for name in names])


def read_marks_table(
    source: str,
    data: bytes | None = None,
    refused: Refused | None = None,
    *,
    origin: float | None = None,
) -> list[FoundMark]:
    """The marks of a CSV or Parquet table.

    Parameters
    ----------
    source : str
        The file, or what `data` is called.
    data : bytes, optional
        What it holds.
    refused : list, optional
        Where a bad row is told; without it that raises.
    origin : float, optional
        Of a table without a column `origin`. DeepLesion's own counts from 0.5, which is the default
        for it; another has none: a row that does not tell is refused.

    Returns
    -------
    list of FoundMark
        In the order of the rows; `index` is the line, the header being line 1.

    Raises
    ------
    ValueError
        When the file is no such table; the message names it.
    """
    if origin is not None:
        origin = check_origin(origin)
    content = read_bytes(source, data, MOST_TABLE_BYTES)
    is_parquet = content[:4] == _PARQUET
    names = _parquet_names(source, content) if is_parquet else _header(content)
    if set(_DEEPLESION) <= set(names):
        return _deeplesion(source, content, refused, CORNER if origin is None else origin)
    rows = _parquet_rows(source, content) if is_parquet else _csv_rows(source, content, refused)
    marks = []
    for line, fields in rows:
        try:
            marks.append(_mark(fields, source, line, origin))
        except ValueError as error:
            refuse(refused, source, f"row {line}: {error}")
    return marks


def _header(data: bytes) -> list[str]:
    first = data[: 64 * LONGEST_FIELD].lstrip(b"\xef\xbb\xbf\r\n").splitlines()[:1]
    try:
        rows = list(csv.reader([first[0].decode("utf-8")])) if first else []
    except (UnicodeDecodeError, csv.Error):
        return []
    return [name.strip() for name in rows[0]] if rows else []


def _is_marks(names: list[str]) -> bool:
    return set(LONG_AXIS) <= set(names) and bool({"sop_instance_uid", "file"} & set(names))


def _deeplesion(
    source: str, content: bytes, refused: Refused | None, origin: float
) -> list[FoundMark]:
    marks = []
    for row in read_annotations(source, origin=origin, data=content):
        if row.mark is None:
            refuse(refused, source, row.error)
            continue
        marks.append(
            FoundMark(
                long_axis=row.mark.long_axis,
                short_axis=row.mark.short_axis,
                file=row.file_name,
                label="" if row.lesion_type == "unknown" else row.lesion_type,
                written_spacing=row.spacing,
                source=source,
                format="deeplesion",
                index=row.row,
            )
        )
    return marks


def _csv_rows(
    source: str, content: bytes, refused: Refused | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    table = read_table(source, lower=True, data=content)
    _require(source, table.columns)
    for row in table.rows:
        if row.error:
            refuse(refused, source, f"row {row.line}: {row.error}")
        else:
            yield row.line, row.fields


def _parquet(source: str, content: bytes) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(io.BytesIO(content))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{source}: no Parquet can be read: {told(error)}") from error


def _parquet_names(source: str, content: bytes) -> list[str]:
    file = _parquet(source, content)
    if file.metadata.num_rows > MOST_ROWS:
        raise ValueError(f"{source}: must have at most {MOST_ROWS} rows")
    return [name.strip() for name in file.schema_arrow.names]


def _parquet_rows(source: str, content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa

    file = _parquet(source, content)
    names = file.schema_arrow.names
    by_column = {name.lower(): name for name in names if name.lower() in COLUMNS}
    _require(source, list(by_column))
    line = 1
    try:
        for batch in file.iter_batches(batch_size=4096, columns=list(by_column.values())):
            for row in batch.to_pylist():
                line += 1
                yield line, {low: row.get(name) for low, name in by_column.items()}
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{source}: no Parquet can be read: {told(error)}") from error


def _require(source: str, names: list[str]) -> None:
    if not _is_marks(names):
        raise ValueError(
            f"{source}: must have the columns sop_instance_uid or file, x1, y1, x2 and y2, got "
            f"{shown(names)}"
        )


def _mark(fields: dict, source: str, line: int, origin: float | None) -> FoundMark:
    instance, file = _word(fields, "sop_instance_uid"), _word(fields, "file")
    if not (instance or file):
        raise ValueError("sop_instance_uid or file must tell the picture, got neither")
    stated = _number(fields, "origin")
    origin = check_origin(stated) if stated is not None else origin
    if origin is None:
        raise ValueError("origin must be stated, by the column or for the whole table, got none")
    long = _axis(fields, LONG_AXIS, origin)
    if long is None:
        raise ValueError("x1, y1, x2, y2 must be numbers, got none")
    spacing = tuple(_number(fields, name) for name in ("row_spacing", "column_spacing"))
    if None not in spacing and not all(value > 0 for value in spacing):  # type: ignore[operator]
        raise ValueError(f"row_spacing and column_spacing must be > 0, got {spacing}")
    frame = _number(fields, "frame")
    if frame is not None and not (frame >= 1 and frame == int(frame)):
        raise ValueError(f"frame must be a whole number from 1, got {frame:g}")
    lengths = [_number(fields, name) for name in ("long_mm", "short_mm")]
    if wrong := [length for length in lengths if length is not None and length < 0]:
        raise ValueError(f"long_mm and short_mm must be >= 0, got {wrong[0]:g}")
    return FoundMark(
        long_axis=long,
        short_axis=_axis(fields, SHORT_AXIS, origin),
        series_uid=_word(fields, "series_instance_uid") or None,
        instance_uid=instance or None,
        frame=None if frame is None else int(frame),
        file=file or None,
        label=_word(fields, "label"),
        tracking_id=_word(fields, "tracking_id") or None,
        tracking_uid=_word(fields, "tracking_uid") or None,
        reader=_word(fields, "reader") or None,
        long_mm=lengths[0],
        short_mm=lengths[1],
        written_spacing=None if None in spacing else spacing,  # type: ignore[arg-type]
        units="" if lengths == [None, None] else "mm",
        source=source,
        format="table",
        index=line,
    )


def _axis(fields: dict, names: tuple[str, ...], origin: float) -> np.ndarray | None:
    """Ends of an axis; None where all of its cells are empty."""
    values = [_number(fields, name) for name in names]
    if values == [None] * 4:
        return None
    if None in values:
        raise ValueError(f"{', '.join(names)} must be four numbers or none, got {values}")
    return points(values, 2, origin)


def _number(fields: dict, name: str) -> float | None:
    """A cell's number; None where it is empty, absent or NaN."""
    value = fields.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be a number, got {shown(value)}") from error
    if np.isinf(number):
        raise ValueError(f"{name} must be finite, got {number}")
    return None if np.isnan(number) else number


def _word(fields: dict, name: str) -> str:
    return text(fields.get(name))
