"""Rows read into columns: as `encode` has them one by one, and nothing of a row that is refused."""

import enum
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from dsnet.data.store import LabelRecord
from dsnet.data.store.record import encode, encode_plain, usual_score_columns
from dsnet.data.store.stage import Recipe, ShardBuilder

TEXTS = [
    "",
    "a",
    'q"\\/\b\f\n\r\t\x00\x1f\x7f',
    "é\u2028\U0001f600",
    "x" * 300,
    "\ud800",
    "b\udcff",
]
NUMBERS = [0, -1, 2**63 - 1, -(2**63), 2**63, 10**30, 0.0, -0.0, 0.1, 1e16, 1e-7, 5e-324, 1.5e300]
ODD = [math.nan, -math.inf, True, False, None, np.float32(0.1), np.int64(7), np.arange(3.0)]


def some_value(draw, depth=0):
    kind = draw.integers(0, 6 if depth < 3 else 4)
    if kind == 4:
        return [some_value(draw, depth + 1) for _ in range(draw.integers(0, 4))]
    if kind == 5:
        return some_metadata(draw, depth + 1)
    choices = (TEXTS, NUMBERS, ODD, [*TEXTS, *NUMBERS])[kind]
    return choices[draw.integers(0, len(choices))]


def some_metadata(draw, depth=0):
    names = [*TEXTS[:5], "row", "window"] if draw.random() < 0.9 else [*TEXTS, 3, None]
    return {names[draw.integers(0, len(names))]: some_value(draw, depth) for _ in range(4)}


def some_record(draw, number):
    """One of any kind: plain, of other types that are taken as well, without this or that."""

    def one_of(*choices):
        return choices[draw.integers(0, len(choices))]

    mark = draw.random(8) * 5
    if draw.random() < 0.3:
        mark[4:] = math.nan
    record = LabelRecord(
        f"{one_of('k', 'é', 'x' * 99)}{number}",
        source=one_of("s.png", *TEXTS, 7),
        mark=one_of(None, mark, tuple(mark.tolist()), mark[::-1][::-1], mark.astype(np.float32)),
        spacing=one_of(None, (0.7, 0.8), [1.0, 2.0], np.array([1, 2]), (1, 2)),
        offset=one_of(None, (-3.0, 0.0), (np.float64(1), 2.0)),
        scale=one_of(None, (1.0, 0.5)),
        notes=one_of((), ("a",), ["b", ""], ("c", "\ud800")),
        metadata=some_metadata(draw),
        quality=one_of({}, {"overall": 0.5}, {"own": 1, "overall": math.nan}, {"é": 1.0}),
        seconds=one_of({}, {"cut": 0.25, "matting": np.float64(2)}, {"matting": 1.0, "cut": 3.0}),
    )
    if draw.random() < 0.2:
        return replace(record, status="failed", error=one_of("broken", "", "caf\udcff"))
    alpha = draw.random(tuple(draw.integers(1, 5, 2)), dtype=np.float32)
    trimap = np.full(alpha.shape, 128, np.uint8)
    arrays = {"image": alpha, "alpha": alpha, "binary": alpha >= 0.5, "trimap": trimap}
    if draw.random() < 0.2:
        arrays["truth"] = alpha > 0.2
    return replace(record, **arrays)


def table_of(records, bits=16):
    builder = ShardBuilder(Recipe("nowhere", bits, b"{}"))
    for record in records:
        builder.append(record)
    usual = usual_score_columns()
    return builder.table(usual + builder.new_scores(usual))


def told(table):
    """The rows as text, in which NaN equals itself and -0.0 does not equal 0.0."""
    return [
        {name: repr(value) for name, value in row.items() if value is not None}
        for row in table.to_pylist()
    ]


def expected(records, bits=16):
    return [
        {name: repr(value) for name, value in encode(record, bits).items() if value is not None}
        for record in records
    ]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("seed", range(20))
def test_the_table_has_what_each_row_encodes_to(seed, bits):
    draw = np.random.default_rng(seed)
    records = [some_record(draw, number) for number in range(seed * 2)]
    table = table_of(records, bits)
    table.validate(full=True)
    assert told(table) == expected(records, bits)


def test_json_is_what_the_standard_library_says():
    deep = [1]
    for _ in range(40):
        deep = [deep]
    metadata = {"texts": TEXTS[:5], "n": NUMBERS, "o": [True, False, None, {}, []], "deep": deep}
    record = LabelRecord("k", metadata=metadata, status="failed")
    (row,) = table_of([record]).to_pylist()
    assert row["metadata"] == json.dumps(metadata, ensure_ascii=False)


class Status(str, enum.Enum):
    """A text whose `str` is another."""

    FAILED = "failed"


def test_a_status_of_a_kind_of_text_is_its_characters():
    (row,) = table_of([LabelRecord("k", status=Status.FAILED)]).to_pylist()
    assert (row["key"], row["status"]) == ("k", "failed")


def test_a_long_double_is_a_number_and_what_holds_itself_costs_its_row():
    rows = ShardBuilder(Recipe("nowhere", 16, b"{}"))
    rows.take(LabelRecord("k", status="failed", metadata={"a": np.longdouble(0.5)}))
    endless: dict = {}
    endless["again"] = endless
    rows.take(LabelRecord("e", status="failed", metadata=endless))
    first, second = rows.table(usual_score_columns()).to_pylist()
    assert first["metadata"] == '{"a": 0.5}'
    assert second["key"] == "e" and second["metadata"] == "{}"
    assert second["error"].startswith("cannot be stored: metadata must be nested less deep")


WRONG = {
    "key": ["", "\ud800", 3, None],
    "status": ["good", "", None],
    "mark": [(1.0,) * 7, (1.0,) * 4 + (math.nan,) * 3 + (1.0,), np.full(8, math.inf), "mark"],
    "spacing": [(0.0, 1.0), (1.0, math.nan), (1.0,), (-1, 1)],
    "offset": [(math.inf, 0.0), (1.0, 2.0, 3.0)],
    "scale": [(1.0, 0.0)],
    "notes": ["note", 3],
    "metadata": [{"a": object()}, {"a": {1, 2}}],
    "quality": [{"overall": "high"}, {"overall": None}, {"own\ud800": 1.0}],
    "seconds": [{"cut": []}],
    "alpha": [np.full((2, 2), 2, np.float32), np.zeros((3, 2), np.float32), None],
    "trimap": [np.ones((2, 2), np.uint8)],
}


@pytest.mark.parametrize("field", WRONG)
def test_nothing_stays_of_a_row_that_is_refused(field):
    draw = np.random.default_rng(5)
    alpha = draw.random((2, 2), dtype=np.float32)
    arrays = {"image": alpha, "alpha": alpha, "binary": alpha >= 0.5}
    good = [
        LabelRecord(
            f"k{number}",
            notes=("a", "b"),
            mark=draw.random(8),
            quality={"overall": 0.5},
            metadata={"a": "text"},
            trimap=np.zeros((2, 2), np.uint8),
            **arrays,
        )
        for number in range(3)
    ]
    builder = ShardBuilder(Recipe("nowhere", 16, b"{}"))
    builder.append(good[0])
    for value in WRONG[field]:
        # A score that no other row has.
        bad = replace(good[1], key="bad", quality={"of_the_bad": 1.0}, spacing=(1.0, 1.0))
        bad = replace(bad, **{field: value})
        with pytest.raises((ValueError, TypeError)):
            builder.append(bad)
        assert len(builder) == 1 and list(builder) == ["k0"]
        assert builder.new_scores(["quality_overall"]) == []
    for record in good[1:]:
        builder.append(record)
    assert told(builder.table(usual_score_columns())) == expected(good)


def test_a_refused_row_says_why_as_the_row_alone_does():
    for field, values in WRONG.items():
        for value in values:
            record = replace(LabelRecord("k", status="failed"), **{field: value})
            try:
                encode_plain(record)
            except (ValueError, TypeError) as error:
                with pytest.raises(type(error)) as caught:
                    table_of([record])
                assert str(caught.value) == str(error)


def test_a_row_that_did_not_begin_does_not_end():
    from dsnet import _C

    rows = _C.RowColumns()
    with pytest.raises(ValueError, match="a row must begin before it ends"):
        rows.end(1, 1)
    assert not rows.begin(LabelRecord(""))
    with pytest.raises(ValueError, match="a row must begin before it ends"):
        rows.end(1, 1)
    assert len(rows) == 0
