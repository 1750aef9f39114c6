"""The rows of a shard as Arrow columns, each made at once from its bytes.

Arrow's own conversion of Python lists asks for pandas, whose import takes half a second of every
worker, and looks at one value after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dsnet.data.store.record import schema

# Offsets of binary columns are 32 bits.
COLUMN_BYTES = 2**31 - 1


def table_of(columns: Mapping[str, Any], rows: int, score_columns: list[str], footer: dict):
    """A table of `record.schema`.

    Parameters
    ----------
    columns : mapping of str to pyarrow.Array
        Each of `rows`; those that are not there are null.
    rows : int
    score_columns : list of str
        `quality_` and `seconds_` columns.
    footer : dict of bytes to bytes
        The metadata of the table's schema.
    """
    import pyarrow as pa

    kinds = schema(score_columns)
    arrays = [columns.get(field.name) for field in kinds]
    arrays = [
        pa.nulls(rows, field.type) if array is None else array
        for field, array in zip(kinds, arrays, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=kinds.with_metadata(footer))


def binary_array(name: str, data: np.ndarray, ends: np.ndarray, there: np.ndarray):
    """A binary column of which the bytes are there, as a pyarrow array that does not copy them.

    Parameters
    ----------
    name : str
    data : uint8 [M]
        Of the rows, one after the other, and of none.
    ends : int64 [N + 1]
        Where in `data` each begins, and the last one ends.
    there : uint8 [N]
        0 where one is null.

    Raises
    ------
    OverflowError
        When it has more than 2 GiB.
    """
    import pyarrow as pa

    missing = len(there) - int(np.count_nonzero(there))
    if missing == len(there):
        return pa.nulls(missing, pa.binary())
    buffers = [_valid(there), _offsets(name, ends), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), len(there), buffers, missing)


def text_array(name: str, ends: np.ndarray, data: bytes):
    """A column of texts, none of them null.

    Parameters
    ----------
    name : str
    ends : int64 [N + 1]
        Where in `data` each begins, and the last one ends.
    data : bytes
        UTF-8.

    Raises
    ------
    OverflowError
        As `binary_array`.
    """
    import pyarrow as pa

    buffers = [None, _offsets(name, ends), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(ends) - 1, buffers, 0)


def number_array(values: np.ndarray, there: np.ndarray):
    """A column of numbers.

    Parameters
    ----------
    values : int32 or float64 [N]
    there : uint8 [N]
        0 where one is null.
    """
    import pyarrow as pa

    kind = pa.int32() if values.dtype == np.int32 else pa.float64()
    missing = len(there) - int(np.count_nonzero(there))
    buffers = [_valid(there), pa.py_buffer(values)]
    return pa.Array.from_buffers(kind, len(values), buffers, missing)


def list_array(name: str, ends: np.ndarray, items, there: np.ndarray | None = None):
    """A column of lists.

    Parameters
    ----------
    name : str
    ends : int64 [N + 1]
        Where among the items each begins, and the last one ends.
    items : pyarrow.Array
    there : uint8 [N], optional
        0 where one is null.

    Raises
    ------
    OverflowError
        When the items are more than 2^31 - 1.
    """
    import pyarrow as pa

    missing = 0 if there is None else len(there) - int(np.count_nonzero(there))
    valid = None if there is None else _valid(there)
    buffers = [valid, _offsets(name, ends)]
    kind = pa.list_(items.type)
    return pa.Array.from_buffers(kind, len(ends) - 1, buffers, missing, children=[items])


def _valid(there: np.ndarray):
    """Arrow's bits of what is there; None where all is."""
    import pyarrow as pa

    return None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))


def _offsets(name: str, ends: np.ndarray):
    import pyarrow as pa

    if ends[-1] > COLUMN_BYTES:
        raise OverflowError(f"{name} of a shard must be below 2 GiB, got {ends[-1]} bytes")
    return pa.py_buffer(ends.astype(np.int32))


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
