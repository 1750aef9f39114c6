"""Columns of Parquet as the cells that a CSV file of the same rows would have, many at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute

# Its functions are made when it is imported: pyright knows none.
pc: Any = pyarrow.compute
# Rows that are written together: of usual tables some megabytes.
BATCH = 16384
_TEXTS = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
_LISTS = ("list<", "large_list<", "fixed_size_list<", "list_view<", "large_list_view<")
# What ends a line or a cell, and what may stand in its place.
_BREAKS = (("\r", "\\r"), ("\n", "\\n"))


def header_line(names: Sequence[str]) -> bytes:
    """The first line of a CSV file."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(map(_on_one_line, names))
    return out.getvalue().encode("utf-8", "backslashreplace")


def lines_of(file, names: Sequence[str]) -> Iterator[bytes]:
    """The rows of a Parquet file as lines of CSV, each on one, none of them blank.

    Empty are nulls, and NaN but in lists. A list's values stand between commas. Numbers are the
    shortest that are read as the same. What is no UTF-8 and ends of lines are written as escapes.

    Parameters
    ----------
    file : pyarrow.parquet.ParquetFile
    names : sequence of str
        Of the columns, in the order of the cells; `require_cells` took their types.
    """
    for batch in file.iter_batches(BATCH, columns=list(names)):
        # An empty cell that is alone would be a blank line.
        alone = len(names) == 1
        cells = [_cells(batch.column(batch.schema.get_field_index(name)), alone) for name in names]
        cells[-1] = _joined([cells[-1], "\n"], "")
        lines = _joined(cells, ",")
        if len(lines):
            # Nothing is null, nothing is sliced off: the characters are the text. The buffer of no
            # characters is not empty.
            yield lines.buffers()[2].to_pybytes()[: pc.sum(pc.binary_length(lines)).as_py()]


def require_cells(name: str, kind: pa.DataType) -> None:
    """ValueError where a column of this type cannot be written as cells."""
    inner = _plain(kind)
    if str(inner).startswith(_LISTS):
        inner = _plain(inner.value_type)
    if not (str(inner) in _TEXTS or _is_number(inner)):
        told = str(kind) if len(str(kind)) < 80 else f"{str(kind)[:80]}..."
        raise ValueError(f"column {name} must be of text, numbers or lists of them, got {told}")


def _plain(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_number(kind: pa.DataType) -> bool:
    known = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(of(kind) for of in (*known, pa.types.is_boolean, pa.types.is_null))


def _cells(column: pa.Array, alone: bool) -> pa.Array:
    """The cells of a column, quoted where they have to be or are `alone`, none of them null."""
    column = _storage(column)
    if str(column.type).startswith(_LISTS):
        return _quoted(_between_commas(column))
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    texts = _texts(column)
    if not _is_number(column.type):
        texts = _without_breaks(texts)
        alone = alone or _has(texts, ",", '"')
    return _quoted(texts) if alone else texts


def _storage(column: pa.Array) -> pa.Array:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    return column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column


def _between_commas(column: pa.Array) -> pa.Array:
    lengths = pc.fill_null(pc.cast(pc.list_value_length(column), pa.int64()), 0)
    ends = pc.cumulative_sum(lengths)
    begins = pa.concat_arrays([pa.array([0], pa.int64()), ends]).cast(pa.int32())
    values = _texts(_storage(pc.list_flatten(column)))
    values = _without_breaks(values)
    return pc.binary_join(pa.ListArray.from_arrays(begins, values.cast(pa.string())), ",").cast(
        pa.large_string()
    )


def _texts(column: pa.Array) -> pa.Array:
    if str(column.type) in _TEXTS:
        column = column.cast(pa.large_binary())
        try:
            texts = column.cast(pa.large_string())
        except pa.ArrowInvalid:  # Some are no UTF-8.
            read = [
                value and value.decode("utf-8", "backslashreplace") for value in column.to_pylist()
            ]
            texts = pa.array(read, pa.large_string())
    elif pa.types.is_float16(column.type):
        texts = column.cast(pa.float32()).cast(pa.large_string())
    else:
        texts = column.cast(pa.large_string())
    return pc.fill_null(texts, "")


def _quoted(texts: pa.Array) -> pa.Array:
    if _has(texts, '"'):
        texts = pc.replace_substring(texts, '"', '""')
    return _joined(['"', texts, '"'], "")


def _without_breaks(texts: pa.Array) -> pa.Array:
    for character, written in _BREAKS:
        if _has(texts, character):
            texts = pc.replace_substring(texts, character, written)
    return texts


def _has(texts: pa.Array, *characters: str) -> bool:
    """Whether any may have one of these characters."""
    data = texts.buffers()[2]
    said = b"" if data is None else data.to_pybytes()
    return any(character.encode() in said for character in characters)


def _joined(cells: Sequence[pa.Array | str], between: str) -> pa.Array:
    large = pa.large_string()
    said = [pa.scalar(cell, large) if isinstance(cell, str) else cell for cell in cells]
    return pc.binary_join_element_wise(*said, pa.scalar(between, large))


def _on_one_line(name: str) -> str:
    for character, written in _BREAKS:
        name = name.replace(character, written)
    return name
