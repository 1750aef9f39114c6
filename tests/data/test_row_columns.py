"""Rows read into columns: as `encode` has them one by one, and nothing of a row that is refused."""

import enum
import hashlib
import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from dsnet import _C
from dsnet.data.datasets.pictures import LIKE_HU
from dsnet.data.store import LabelRecord
from dsnet.data.store.entries import hash_key, hash_keys
from dsnet.data.store.planes import ARRAY_COLUMNS
from dsnet.data.store.record import encode, encode_plain, usual_score_columns
from dsnet.data.store.stage import Recipe, ShardBuilder
from dsnet.data.store.sums import Sums, sums_of
from dsnet.labeling.notes import EMPTY

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


def all_scores(builder):
    usual = usual_score_columns()
    return usual + builder.new_scores(usual)


def table_of(records, bits=16):
    builder = ShardBuilder(Recipe("nowhere", bits, b"{}"))
    for record in records:
        builder.append(record)
    return builder.made(all_scores(builder))[0]


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
    draw = np.random.default_rng(11)
    some = draw.integers(0, 2**64, 2000, np.uint64).view(np.float64)
    powers = [base * 10.0**power for power in range(-8, 24) for base in (1, -1.5, 9.999, 123456)]
    steps = np.nextafter(np.array(powers), draw.choice([-math.inf, math.inf], len(powers)))
    numbers = [*some[np.isfinite(some)].tolist(), *powers, *steps.tolist(), *draw.random(500)]
    for number in map(float, numbers):
        record = LabelRecord("k", metadata={"n": number}, status="failed")
        rows = _C.RowColumns(16, [], ())
        assert rows.append(record)
        assert rows.arrays()["metadata"][1] == f'{{"n": {number!r}}}'.encode()
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
    first, second = rows.made(usual_score_columns())[0].to_pylist()
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
    assert told(builder.made(usual_score_columns())[0]) == expected(good)


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
    rows = _C.RowColumns(16, [], ())
    planes = [None] * len(ARRAY_COLUMNS)
    with pytest.raises(ValueError, match="a row must begin before it ends"):
        rows.end(planes, 1, 1)
    assert not rows.begin(LabelRecord(""))
    with pytest.raises(ValueError, match="a row must begin before it ends"):
        rows.end(planes, 1, 1)
    assert not rows.append(LabelRecord("")) and not rows.append(LabelRecord("no arrays"))
    assert len(rows) == 0 and rows.begin(LabelRecord("k", status="failed"))
    with pytest.raises(ValueError, match="planes must be 7, got 1"):
        rows.end([None], 1, 1)
    with pytest.raises(TypeError):
        rows.end([b"", "text", *planes[2:]], 1, 1)
    rows.end(planes, None, None)
    assert len(rows) == 1 and rows.hashes().tolist() == hash_keys(["k"]).tolist()


def test_rows_of_other_arrays_than_uint8_are_refused_as_room():
    for wrong in ([np.empty(4, np.int8)] * 7, [np.empty(8, np.uint8)[::2]] * 7, [None] * 7):
        with pytest.raises(TypeError, match="room must be a contiguous uint8 array"):
            _C.RowColumns(16, wrong, ())
    with pytest.raises(ValueError, match="room must be 7 arrays, got 1"):
        _C.RowColumns(16, [np.empty(1, np.uint8)], ())
    with pytest.raises(ValueError, match="room must be writable"):
        _C.RowColumns(16, [np.frombuffer(b"abc", np.uint8)] * 7, ())
    with pytest.raises(ValueError, match="alpha_bits must be 8 or 16, got 9"):
        _C.RowColumns(9, [], ())


def test_memory_that_is_used_again_holds_nothing_of_before():
    draw = np.random.default_rng(7)
    builder = ShardBuilder(Recipe("nowhere", 16, b"{}"))
    for count in (3, 40, 5):  # Larger and smaller ones, each in what the last one left.
        records = [some_record(draw, number) for number in range(count)]
        builder.clear()
        for record in records:
            builder.append(record)
        assert told(builder.made(all_scores(builder))[0]) == expected(records)


KEYS = [
    *("a", "é" * 70, "x" * 127, "x" * 128, "x" * 129, "y" * 1000),
    *("000001_03_01_088", "a/000001_03_01", "00001_03_01", "LIDC-IDRI-0001/3", "LIDC-IDRI-001"),
    *("٠٠٠٠٠١_٠٣_٠١", "LIDC-IDRI-000٣", "é/000001_03_01"),
]
PATIENTS = [
    *({}, {"patient": ""}, {"patient": None}, {"patient": math.nan}, {"patient": 0}, {"a": "b"}),
    *({"subject": "s"}, {"PatientID": "", "subject": False}, {"patient": [], "a": np.int64(3)}),
    *({"patient": np.float64("nan")}, {"patient_id": np.float32(2)}, {"Patient": "x"}),
]


def test_an_entry_tells_what_its_rows_come_to():
    """The shard's own table, gone through by Arrow's functions, says the same."""
    draw = np.random.default_rng(3)
    notes = [
        (),
        (EMPTY,),
        ("a", EMPTY),
        (EMPTY + "!",),
        (LIKE_HU,),
        (f"{LIKE_HU}: x", EMPTY),
        ("",),
    ]
    records = []
    for number, (key, metadata) in enumerate(itertools.product(KEYS, PATIENTS)):
        record = some_record(draw, number)
        quality = {"overall": draw.random(), "expected_dice": draw.choice([0.7, 0.9, math.nan])}
        told = replace(record, key=f"{key}{number:03d}".replace("x00", "x"), metadata=metadata)
        records.append(
            replace(told, notes=notes[number % 7], quality=quality if number % 3 else {})
        )
    builder = ShardBuilder(Recipe("nowhere", 16, b"{}"))
    empty = builder.made(usual_score_columns())[1]
    assert empty is not None and empty.sums == Sums()
    for record in records:
        builder.append(record)
    table, told = builder.made(usual_score_columns())
    assert told is not None and told.sums == sums_of(table)
    assert told.sums.unknown > 0 and 0 < told.sums.like_hu < told.sums.empty and told.sums.low
    keys = [record.key for record in records]
    digests = [hashlib.blake2b(key.encode(), digest_size=8).digest() for key in [*keys, *KEYS]]
    wanted = [int.from_bytes(digest, "little") for digest in digests]
    assert told.hashes.tolist() == wanted[: len(keys)]
    assert hash_keys([*keys, *KEYS]).tolist() == wanted == list(map(hash_key, [*keys, *KEYS]))


def test_the_place_of_a_hash_is_numpys():
    draw = np.random.default_rng(4)
    for size in (0, 1, 2, 100, 5000):
        even = draw.integers(0, 2**64, size, np.uint64)
        for hashes in (np.sort(even), np.sort(even // 2**40), np.full(size, 7, np.uint64)):
            some = draw.choice(hashes, 20) if size else hashes
            for wanted in [0, 1, 7, 8, 2**63, 2**64 - 1, *some.tolist(), *(some + 1).tolist()]:
                at = np.searchsorted(hashes, np.uint64(wanted))
                assert _C.first_hash(hashes, wanted) == at
    for wrong in (hashes.astype(np.int64), hashes[::2], hashes.tolist()):
        with pytest.raises(TypeError, match="hashes must be a contiguous uint64 array"):
            _C.first_hash(wrong, 1)
