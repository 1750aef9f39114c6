"""A column of Parquet as cells of CSV: exact numbers, lists, what is missing."""

import io
import math
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dsnet.data import parquet_cells
from dsnet.data.tables import read_table


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_numbers_are_exact(kind):
    draw = np.random.default_rng(3)
    bits = draw.integers(0, 2**64 if kind is np.float64 else 2**32, 4000, np.uint64)
    odd = bits.astype(np.uint64 if kind is np.float64 else np.uint32).view(kind)
    values = np.concatenate([odd[np.isfinite(odd)], draw.uniform(0, 512, 4000).astype(kind)])
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": values}), buffer)
    table = read_table("t.parquet", data=buffer.getvalue())
    read = np.array([kind(row.fields["a"]) for row in table.rows])
    assert np.array_equal(read, values) and np.array_equal(np.signbit(read), np.signbit(values))


@pytest.mark.parametrize(
    "array",
    [
        pa.array([None, [1.0, 2.5], [math.nan, None]], pa.list_(pa.float32(), 2)),
        pa.array([None, [1.0, 2.5], [math.nan, None]], pa.large_list(pa.float64())),
        pa.array([None, ["1", "2.5"], ["nan", ""]]),
    ],
)
@pytest.mark.parametrize("begin", [0, 1, 3])
def test_lists_with_nulls(array, begin):
    """Also one that is part of another: what is in front of it does not count."""
    batch = pa.record_batch([array.slice(begin), pa.nulls(3 - begin)], ["a", "b"])
    lines = b"".join(
        parquet_cells.lines_of(SimpleNamespace(iter_batches=lambda *_, **__: [batch]), "ab")
    )
    assert lines == b"".join([b'"",\n', b'"1,2.5",\n', b'"nan,",\n'][begin:])


@pytest.mark.parametrize(
    "array, cells",
    [
        (pa.array(["x", None, 'x,"y"', "\n"]), ["x", "", 'x,"y"', "\\n"]),
        (pa.array(["x", "x, y"]).dictionary_encode(), ["x", "x, y"]),
        (pa.array([[1.0, 2.5], None, []]), ["1,2.5", "", ""]),
        (pa.array([1.5, None, math.nan]), ["1.5", "", ""]),
    ],
)
def test_a_column_alone_has_its_cells_and_no_row_less(array, cells):
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": array}), buffer)
    table = read_table("t.parquet", data=buffer.getvalue())
    assert [row.fields["a"] for row in table.rows] == cells


def test_halves():
    column = pa.array([np.float16(0.5), np.float16(65504), np.float16("nan")], pa.float16())
    buffer = io.BytesIO()
    try:
        column.cast(pa.float32())
        pq.write_table(pa.table({"a": column, "b": column}), buffer)
    except pa.ArrowNotImplementedError:
        pytest.skip("this pyarrow writes or casts no halves")
    table = read_table("t.parquet", data=buffer.getvalue())
    assert [row.fields["a"] for row in table.rows] == ["0.5", "65504", ""]
