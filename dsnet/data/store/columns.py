"""The rows of a shard as Arrow columns, each made at once from its bytes.

Arrow's own conversion of Python lists asks for pandas, whose import takes half a second of every
worker, and looks at one value after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dsnet.data.store.record import schema

# Offsets of binary columns are 32 bits.
COLUMN_BYTES = 2**31 - 1


def table_of(rows: Sequence[dict[str, Any]], score_columns: list[str], footer: dict):
    """A table of `record.schema` with a row for each of `rows`, as `record.encode` gives them.

    Parameters
    ----------
    rows : sequence of dict
    score_columns : list of str
        `quality_` and `seconds_` columns, those that no row has included.
    footer : dict of bytes to bytes
        The metadata of the table's schema.

    Raises
    ------
    OverflowError
        When a column has more than 2 GiB.
    """
    import pyarrow as pa

    columns = schema(score_columns)
    arrays = [_array([row.get(field.name) for row in rows], field) for field in columns]
    return pa.Table.from_arrays(arrays, schema=columns.with_metadata(footer))


def _array(values: list, field):
    import pyarrow as pa

    kind = field.type
    if pa.types.is_list(kind):
        sizes = [0 if value is None else len(value) for value in values]
        inner = [item for value in values if value is not None for item in value]
        return _from_buffers(kind, values, [_offsets(sizes, field)], _array(inner, kind.field(0)))
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        data = values
        if pa.types.is_string(kind):
            data = [None if value is None else value.encode("utf-8") for value in values]
        sizes = [0 if value is None else len(value) for value in data]
        offsets = _offsets(sizes, field)
        joined = b"".join([value for value in data if value is not None])
        return _from_buffers(kind, values, [offsets, pa.py_buffer(joined)])
    numbers = np.array([0 if value is None else value for value in values], _dtype(kind))
    return _from_buffers(kind, values, [pa.py_buffer(numbers)])


def _from_buffers(kind, values: list, buffers: list, child=None):
    import pyarrow as pa

    missing = np.array([value is None for value in values], dtype=bool)
    valid = None
    if missing.any():
        valid = pa.py_buffer(np.packbits(~missing, bitorder="little"))
    children = None if child is None else [child]
    return pa.Array.from_buffers(kind, len(values), [valid, *buffers], children=children)


def _offsets(sizes: list[int], field):
    import pyarrow as pa

    ends = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=ends[1:])
    if ends[-1] > COLUMN_BYTES:
        raise OverflowError(f"{field.name} of a shard must be below 2 GiB, got {ends[-1]} bytes")
    return pa.py_buffer(ends.astype(np.int32))


def _dtype(kind) -> str:
    return {"int32": "<i4", "double": "<f8"}[str(kind)]


def with_columns(part, rows: int, wanted):
    """A table with every column of a schema: a score that only later shards have is null here."""
    import pyarrow as pa

    arrays = [
        part[field.name].cast(field.type)
        if field.name in part.column_names
        else pa.nulls(rows, field.type)
        for field in wanted
    ]
    return pa.Table.from_arrays(arrays, schema=wanted)
