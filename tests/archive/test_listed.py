"""A table held as numbers beside a store's rows: the same verdicts as by a dict of texts."""

import json
import random

import pyarrow as pa
import pytest

from dsnet.archive import listed
from dsnet.archive.listed import ListedContents, contents_in

OTHERS = [None, "", "0123456", "0123ABCD", 17, [1], {"content": "00000000"}]


def by_a_dict(rows, keys, contents):
    now = dict(rows)
    there = [key in now for key in keys]
    same = [c is None or k not in now or now[k] == c for k, c in zip(keys, contents, strict=True)]
    return there, same


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_told_as_by_a_dict(seed):
    draw = random.Random(seed)
    count = (0, 1, 2, 300, 3000)[seed]
    rows = [(f"é{n}/{draw.random()}", f"{draw.getrandbits(32):08x}") for n in range(count)]
    table = ListedContents(iter(rows))
    assert len(table) == count
    asked = draw.sample(rows, count // 2) + [(f"x{n}", "00000000") for n in range(7)]
    draw.shuffle(asked)
    keys = [key for key, _ in asked]
    contents = [
        content if draw.random() < 0.6 else draw.choice([*OTHERS, "ffffffff"])
        for _, content in asked
    ]
    there, same = table.compare(keys, contents)
    assert (there.tolist(), same.tolist()) == by_a_dict(rows, keys, contents)
    assert [len(part) for part in table.compare([], [])] == [0, 0]


def test_keys_whose_hashes_begin_alike_are_told_apart(monkeypatch):
    # As "a1" and "b1": the first half is the digit's, the second the letter's.
    monkeypatch.setattr(listed, "_hash", lambda key: b"%08d%-8s" % (int(key[1:]), key[:1].encode()))
    rows = [(f"{letter}{n}", f"{n:08x}") for n in (3, 1, 2) for letter in "cab"]
    keys = [f"{letter}{n}" for n in range(5) for letter in "zbacd"]
    contents = ["00000002"] * len(keys)
    there, same = ListedContents(rows).compare(keys, contents)
    assert (there.tolist(), same.tolist()) == by_a_dict(rows, keys, contents)


def test_contents_are_those_that_the_metadata_say():
    texts = [
        json.dumps(told, ensure_ascii=False)
        for told in (
            {"row": 2, "content": "0123abcd", "patient": 'x", "content": "ffffffff'},
            {"row": 2, "content": "0123abcd"},
            {"row": 2, "patient": '{"row": 2, "content": "ffffffff"', "content": "89abcdef"},
            {"row": 2, "of": {"content": "ffffffff"}, "content": "01234567"},
            {"content": "0123abcd", "row": -1},
            {"row": 2, "content": "0123ABCD"},
            {"row": 2, "content": 5},
            {"row": 2, "content": None},
            {"row": {"row": 2, "content": "0123abcd"}},
            {},
        )
    ]
    texts += [None, "", "{", "[]", '{"row": 2, "content": "0123abcd",}']
    want = ["0123abcd", "0123abcd", "89abcdef", "01234567", "0123abcd", "0123ABCD", 5, *[None] * 7]
    found = contents_in(pa.chunked_array([texts[:3], texts[3:]], pa.string()))
    # The last is no JSON, and was not written here: only `label check` looks at all of it.
    assert found == [*want, "0123abcd"]
    assert contents_in(pa.chunked_array([[]], pa.string())) == []
