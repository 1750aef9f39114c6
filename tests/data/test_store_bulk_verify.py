"""A table of rows verified by its columns: never passed where a row is wrong."""

import copy
import math

import numpy as np
import pyarrow as pa
import pytest
from store_damage import DAMAGE

from dsnet.data.store import LabelRecord
from dsnet.data.store.bulk_verify import are_sound
from dsnet.data.store.record import encode, schema, usual_score_columns
from dsnet.data.store.verify import verify_row

SCHEMA = schema(usual_score_columns())


def some_rows(seed, bits, count=9):
    """Sound rows of every kind: without a mark, a spacing, arrays, with readers and neighbours."""
    draw, rows = np.random.default_rng(seed), []
    for number in range(count):
        key = f"é{number}"
        if draw.random() < 0.25:
            kept = {"metadata": {"a": [1, None]}} if number % 2 else {}
            rows.append(encode(LabelRecord.from_error(key, "s", "broken", **kept), bits))
            continue
        shape = tuple(draw.integers(1, 6, 2).tolist())
        alpha = draw.random(shape, dtype=np.float32)
        mark = draw.random(8) * 5
        if draw.random() < 0.3:
            mark[4:] = math.nan
        extra = {
            "truth": alpha > 0.3,
            "readers": alpha,
            "neighbours": draw.random((2 * (1 + number % 2), *shape), dtype=np.float32),
            "mark": mark,
            "spacing": (0.7, 0.8),
            "offset": (-3.0, 0.0),
            "scale": (1.0, 2.0),
            "quality": {"overall": 0.75, "expected_dice": math.nan},
            "notes": ("odd", ""),
        }
        record = LabelRecord(
            key=key, image=alpha, alpha=alpha, binary=alpha >= 0.5,
            trimap=draw.choice(np.array([0, 128, 255], np.uint8), shape),
            **{name: value for name, value in extra.items() if draw.random() < 0.6},
        )  # fmt: skip
        rows.append(encode(record, bits))
    return rows


def table_of(rows):
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def each_is_sound(table, bits):
    try:
        for row in table.to_pylist():
            verify_row(row, bits)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("seed", range(10))
def test_sound_rows_are_told_by_their_columns(seed, bits):
    table = table_of(some_rows(seed, bits, count=seed * 3))
    assert are_sound(table, bits) and each_is_sound(table, bits)
    # Also of a part, whose buffers begin elsewhere, and of several chunks.
    parts = [table.slice(2, 5), pa.concat_tables([table.slice(1, 3), table.slice(6, 2)])]
    assert all(are_sound(part, bits) for part in parts)
    # Columns that older shards lack.
    assert are_sound(table.drop_columns(["truth", "readers", "neighbours"]), bits)
    assert not len(table) or table["alpha"].null_count == len(table) or (
        not are_sound(table, 24 - bits) and not each_is_sound(table, 24 - bits)
    )  # fmt: skip


MORE = [
    ("key", "", 0), ("key", None, 0), ("status", "bad", 0), ("status", None, 0),
    ("status", "failed", 1), ("error", None, 0), ("height", None, 0), ("height", 0, 0),
    ("width", -1, 0), ("binary", None, 0), ("alpha", None, 0), ("readers", b"", 0),
    ("neighbours", b"", 0), ("neighbours", b"\0" * 7, 0), ("truth", b"\1", 0), ("mark", [], 0),
    ("mark", [math.nan] * 4 + [None] * 4, 0), ("mark", [1.0] * 4 + [math.nan] * 4, 0),
    ("mark", [1.0] * 16, 0), ("spacing_row", 0.0, 0), ("spacing_column", None, 0),
    ("scale_y", math.nan, 0), ("offset_y", math.inf, 0), ("quality_overall", -math.inf, 0),
    ("quality_overall", math.nan, 1), ("quality_overall", None, 1), ("seconds_cut", math.inf, 0),
    ("metadata", "NaN", 0), ("metadata", "3", 0), ("metadata", "{}", 1),
    ("notes", [None], 0), ("notes", [], 1),
]  # fmt: skip


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("column", "value"), [d[:2] for d in DAMAGE] + [m[:2] for m in MORE])
def test_a_row_that_is_not_sound_is_never_passed(column, value, bits):
    passed = 0
    for seed in range(2):
        rows = some_rows(seed, bits)
        for place in (0, 8):
            changed = copy.deepcopy(rows)
            changed[place][column] = value
            table = table_of(changed)
            sound = each_is_sound(table, bits)
            assert not are_sound(table, bits) or sound
            passed += sound and are_sound(table, bits)
    if (column, value, 1) in MORE and column != "status":
        assert passed == 4  # Sound, and told so.


@pytest.mark.parametrize("seed", range(4))
def test_of_planes_with_a_changed_byte_none_is_passed_that_is_not_sound(seed):
    draw = np.random.default_rng(seed)
    sound = 0
    for number in range(25):
        rows = some_rows(seed, 16)
        planes = [(r, n) for r in rows for n in ("alpha", "binary", "trimap", "truth") if r.get(n)]
        row, name = planes[draw.integers(len(planes))]
        data = bytearray(row[name])
        data[draw.integers(len(data))] = draw.choice([0, 1, 2, 127, 128, 255])
        row[name] = bytes(data)
        table = table_of(rows)
        each = each_is_sound(table, 16)
        assert are_sound(table, 16) == each, number
        sound += each
    assert 2 < sound < 23


def test_text_that_is_no_utf8_is_left_to_whoever_reads_rows():
    table = table_of(some_rows(1, 16))
    for name in ("key", "source", "error", "metadata"):
        wrong = pa.array([b"\xff{}"] * len(table), pa.binary()).view(pa.string())
        at = table.column_names.index(name)
        assert not are_sound(table.set_column(at, name, wrong), 16)


def test_columns_of_another_kind_are_left_to_whoever_reads_rows():
    table = table_of(some_rows(1, 16))
    for name in table.column_names:
        if name in ("truth", "readers", "neighbours") or name.startswith(("quality_", "seconds_")):
            continue
        assert not are_sound(table.drop_columns([name]), 16), name
