"""The rows of a shard as Arrow columns, each made at once from its bytes.

Arrow's own conversion of Python lists asks for pandas, whose import takes half a second of every
worker, and looks at one value after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from itertools import accumulate
from typing import Any

import numpy as np

from dsnet.data.store.record import schema

# Offsets of binary columns are 32 bits.
COLUMN_BYTES = 2**31 - 1
# The size of a row that is null.
MISSING = -1


def table_of(
    rows: Sequence[dict[str, Any]],
    score_columns: list[str],
    footer: dict,
    made: Mapping[str, Any] | None = None,
):
    """A table of `record.schema` with a row for each of `rows`, as `record.encode` gives them.

    Parameters
    ----------
    rows : sequence of dict
    score_columns : list of str
        `quality_` and `seconds_` columns, those that no row has included.
    footer : dict of bytes to bytes
        The metadata of the table's schema.
    made : mapping of str to pyarrow.Array, optional
        Columns that are there already; of these the rows are not asked.

    Raises
    ------
    OverflowError
        When a column has more than 2 GiB.
    """
    import pyarrow as pa

    columns = schema(score_columns)
    arrays = {} if made is None else dict(made)
    left = [field for field in columns if field.name not in arrays]
    names = [field.name for field in left]
    values = (
        zip(*[tuple(map(row.get, names)) for row in rows], strict=True)
        if rows
        else [()] * len(left)
    )
    arrays.update(
        (field.name, _array(each, field)) for field, each in zip(left, values, strict=True)
    )
    ordered = [arrays[name] for name in columns.names]
    return pa.Table.from_arrays(ordered, schema=columns.with_metadata(footer))


def binary_array(name: str, data: np.ndarray, sizes: np.ndarray):
    """A binary column of which the bytes are there, as a pyarrow array that does not copy them.

    Parameters
    ----------
    name : str
    data : uint8 [N]
        Of the rows, one after the other.
    sizes : int64 [rows]
        Of each row; `MISSING` where it is null.

    Raises
    ------
    OverflowError
        When it has more than 2 GiB.
    """
    import pyarrow as pa

    there = sizes != MISSING
    missing = len(sizes) - int(there.sum())
    if missing == len(sizes):
        return pa.nulls(missing, pa.binary())
    ends = np.concatenate([[0], np.cumsum(np.where(there, sizes, 0))])
    valid = pa.py_buffer(np.packbits(there, bitorder="little")) if missing else None
    buffers = [valid, _checked_offsets(ends, name), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), len(sizes), buffers, missing)


def _array(values: Sequence, field):
    import pyarrow as pa

    kind = field.type
    missing = values.count(None)
    if missing == len(values):
        return pa.nulls(missing, kind)
    if pa.types.is_list(kind):
        lists = [value or () for value in values] if missing else values
        offsets = _offsets(lists, field)
        inner = _array([item for value in lists for item in value], kind.field(0))
        return _from_buffers(kind, values, missing, [offsets], inner)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        data = [value or b"" for value in values] if missing else values
        if pa.types.is_string(kind):
            data = [value.encode("utf-8") if value else b"" for value in values]
        buffers = [_offsets(data, field), pa.py_buffer(b"".join(data))]
        return _from_buffers(kind, values, missing, buffers)
    data = [0 if value is None else value for value in values] if missing else values
    return _from_buffers(kind, values, missing, [pa.py_buffer(np.array(data, _dtype(kind)))])


def _from_buffers(kind, values: Sequence, missing: int, buffers: list, child=None):
    import pyarrow as pa

    valid = None
    if missing:
        there = np.array([value is not None for value in values])
        valid = pa.py_buffer(np.packbits(there, bitorder="little"))
    children = None if child is None else [child]
    return pa.Array.from_buffers(kind, len(values), [valid, *buffers], missing, children=children)


def _offsets(values: Sequence[Sized], field):
    return _checked_offsets([0, *accumulate(map(len, values))], field.name)


def _checked_offsets(ends: Sequence[int] | np.ndarray, name: str):
    import pyarrow as pa

    if ends[-1] > COLUMN_BYTES:
        raise OverflowError(f"{name} of a shard must be below 2 GiB, got {ends[-1]} bytes")
    return pa.py_buffer(np.array(ends, np.int32))


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
