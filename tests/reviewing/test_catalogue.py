"""Orders, samples and types of a store's labels."""

import json

import numpy as np
import pyarrow as pa
import pytest

from dsnet.data.store import open_store
from dsnet.data.store.record import LabelRecord
from dsnet.reviewing.catalogue import ORDERS, Catalogue, coded, counted, types_of
from dsnet.reviewing.plan import Plan
from review_desk import labelled


@pytest.fixture
def catalogue(write_store):
    scores = [0.9, None, 0.5, 0.7, 0.7, float("nan")]
    types = ["lung", "bone", "liver", "bone", "lung", "lung"]
    marks = [10, 4, 7, None, 1, 4]
    records = []
    for i, (score, name, length) in enumerate(zip(scores, types, marks, strict=True)):
        quality = {} if score is None else {"expected_dice": score}
        mark = None if length is None else [0, 5, length, 5, 3, 4, 3, 6]
        more = {"quality": quality, "mark": mark, "spacing": (1, 2) if i == 4 else None}
        records.append(
            labelled(f"k{i}", i, source=f"s{5 - i}.png", metadata={"kind": name}, size=32, **more)
        )
    records.append(LabelRecord.from_error("nothing", "s.png", "no file"))
    return Catalogue(open_store(write_store(records, "catalogue")))


def test_each_order_is_what_it_says(catalogue):
    orders = {name: catalogue.order(name).tolist() for name in ORDERS}
    assert orders["expected-dice"] == [1, 5, 2, 3, 4, 0]
    assert orders["type"] == [1, 3, 2, 5, 4, 0]  # bone, liver, lung; the worst first
    assert orders["source"] == [5, 4, 3, 2, 1, 0]
    assert orders["size"] == [4, 1, 5, 2, 0, 3]  # 1 px of 2 mm; without a mark last
    assert sorted(orders["random"]) == [0, 1, 2, 3, 4, 5] == sorted(catalogue.sample(99))
    assert orders["random"] == catalogue.order("random", 0).tolist()
    assert any(catalogue.order("random", s).tolist() != orders["random"] for s in range(1, 9))
    # A row without a picture cannot be reviewed.
    assert all(6 not in order for order in orders.values())
    with pytest.raises(ValueError, match="order must be one of"):
        catalogue.order("best")


def test_overall_quality_stands_in_where_no_dice_is_expected(write_store):
    quality = [{"overall": 0.4}, {"expected_dice": 0.3, "overall": 0.9}, {"overall": 0.2}]
    records = [labelled(f"k{i}", i, quality=q, size=32) for i, q in enumerate(quality)]
    found = Catalogue(open_store(write_store(records)))
    assert found.score.tolist() == [0.4, 0.3, 0.2]
    assert found.order("expected-dice").tolist() == [2, 1, 0]


def test_the_histogram_counts_left_and_decided(catalogue):
    chosen, decided = np.ones(7, bool), np.zeros(7, bool)
    decided[[0, 2]] = True
    found = catalogue.histogram(chosen, decided)
    assert len(found["edges"]) == len(found["left"]) + 1 == 21
    assert sum(found["decided"]) == 2 and sum(found["left"]) == 2  # NaN is in no bin
    assert found["decided"][10] == 1 and found["left"][14] == 2
    assert found["decided"][18] == 1


def test_names_are_counted(catalogue):
    chosen = catalogue.shown
    assert counted(catalogue.types, chosen, 9) == [
        {"name": "lung", "count": 3}, {"name": "bone", "count": 2}, {"name": "liver", "count": 1},
    ]  # fmt: skip
    assert len(counted(catalogue.sources, chosen, 2)) == 2


@pytest.mark.parametrize(
    "metadata",
    [
        {}, {"lesion_type": None, "kind": "solid"}, {"lesion_type": ""}, {"lesion_type": "a\"b"},
        {"lesion_type": "back\\slash"}, {"note": '"lesion_type": "bone"', "lesion_type": "lung"},
        {"note": '"lesion_type": "bone"'}, {"inner": {"lesion_type": "bone"}},
        {"inner": {"lesion_type": "bone"}, "lesion_type": "lung"}, {"lesion_type": 5},
        {"lesion_type": "{"}, {"lesion_type": "\u202e"}, {"kind": "lung", "lesion_type": "bone"},
        {"lesion_type": ["a"]}, {"kind": "}"}, {"note": "{", "lesion_type": "lung"},
        {"lesion_type": 5, "kind": "solid"}, {"lesion_type": None, "kind": None},
        {"a\"lesion_type": "bone", "kind": "lung"}, {"lesion_type": False, "kind": "lung"},
    ],
)  # fmt: skip
def test_a_type_is_what_json_says(metadata):
    expected = next(
        (str(metadata[n]) for n in ("lesion_type", "kind") if metadata.get(n)), "unknown"
    )
    text = json.dumps(metadata, ensure_ascii=False)
    # Among others, in two pieces.
    column = pa.chunked_array([['{"kind": "solid"}', text], [text]])
    names, codes = types_of(column)
    assert names == sorted({"solid", expected})
    assert [names[code] for code in codes] == ["solid", expected, expected]


@pytest.mark.parametrize("text", [None, "", "{", '{"lesion_type": "lun', "[]", "null"])
def test_metadata_that_are_none_have_no_type(text):
    names, codes = types_of(pa.chunked_array([[text]], pa.string()))
    assert names == ["unknown"] and codes.tolist() == [0]


def test_a_column_without_a_label_has_no_names():
    for found in (coded, types_of):
        names, codes = found(pa.chunked_array([], pa.string()))
        assert names == [] and codes.dtype == np.int32 and codes.size == 0


def test_texts_are_coded_by_their_order():
    column = pa.chunked_array([["b", None], ["\u00e4", "a", "b"]])
    names, codes = coded(column)
    assert names == ["", "a", "b", "\u00e4"] and codes.tolist() == [2, 0, 3, 1, 2]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"order": "best"}, "order must be one of"),
        ({"blind": True}, "order must not be"),
        ({"sample": 0}, "sample must be at least 1"),
        ({"readings": 0}, "readings must be at least 1"),
    ],
)
def test_a_plan_that_is_none_is_told(wrong, told):
    with pytest.raises(ValueError, match=told):
        Plan(**wrong)
