"""What a store comes to: as its manifest says it, and as a count over all rows says it."""

import json
import math
import random

import numpy as np
import pytest

from dsnet.archive.report import failure_reasons, summary_rows, warnings_of
from dsnet.data.datasets.pictures import LIKE_HU
from dsnet.data.store import (
    LabelRecord,
    StoreWriter,
    compact_store,
    open_store,
    repair_store,
    validate_store,
)
from dsnet.data.store.manifest import read_manifest, write_manifest
from dsnet.data.store.record import STAGES, usual_score_columns
from dsnet.data.store.sums import NUMBERS, Mean, Sums, sums_in, sums_of
from dsnet.labeling.notes import EMPTY

SCORES = [math.nan, 0.0, 0.3, 0.59999, 0.6, 0.79999, 0.8, 0.95, 1.0]
PATIENTS = [{}, {"patient": None}, {"patient": ""}, {"patient": 7}, {"subject": "a\\b"},
            {"other": {"patient": "nobody"}}, {"PatientID": "x", "patient": None},
            {"row": -1.5e-7, "patient": "p", "window": [0, 1]}, {"a": '", "patient": "p'},
            {"a": None, "b": True, "subject": False, "c": "é"}, {"other": 3, "patient": ""},
            {"patient": "two\nlines"}, {"a": "patient"}, {"subject": 0.5, "x": {}}]  # fmt: skip
NAMES = ["{}", "000001_02_03_{:03d}", "LIDC-IDRI-0001/{}", "LIDC-IDRI-٠٠٠١/{}", "LIDC-{}"]
NOTES = [EMPTY, f"{LIKE_HU}: --window LOW HIGH reads HU", LIKE_HU, f" {EMPTY}", "odd", ""]
ERRORS = ["", "no image /a/b 3.png, 17 bytes", "row 12: -1.5e-7 is none", "naïve / café", "plain"]


def some_row(draw: random.Random, number: int) -> LabelRecord:
    key = draw.choice(NAMES).format(number) + f"#{number}"
    told = {"metadata": draw.choice(PATIENTS), "notes": tuple(draw.choices(NOTES, k=number % 4))}
    scores = {n.removeprefix("quality_"): draw.choice(SCORES) for n in NUMBERS[:2]}
    told["quality"] = {name: scores[name] for name in draw.sample([*scores], number % 3)}
    told["seconds"] = {s: draw.random() / 1000 for s in draw.sample(STAGES, number % 4)}
    if draw.random() < 0.2:
        return LabelRecord(key=key, status="failed", error=draw.choice(ERRORS), **told)
    alpha = np.full((3, 2), number % 2, np.float32)
    return LabelRecord(key=key, image=alpha, alpha=alpha, binary=alpha >= 0.5,
                       trimap=np.full((3, 2), 128, np.uint8), **told)  # fmt: skip


def some_store(path, seed=0, count=120, **chosen):
    draw = random.Random(seed)
    with StoreWriter(path, {}, shard_seconds=1e9, **{"shard_rows": 16, **chosen}) as writer:
        for number in range(count):
            writer.append(some_row(draw, number))
    return path


def counted(store) -> dict:
    """A literal count of a store's records, without any of the code that sums up."""
    found = {"rows": 0, "failed": 0, "empty": 0, "low": 0, "unknown": 0, "like_hu": 0}
    reasons, numbers = {}, {name: [] for name in NUMBERS}
    for record in store.records():
        found["rows"] += 1
        if record.status == "failed":
            found["failed"] += 1
            reason = {
                "": "no reason given",
                ERRORS[1]: "no image FILE #.png, # bytes",
                ERRORS[2]: "row #: # is none",
                ERRORS[3]: "naïve FILE café",
            }.get(record.error, record.error)
            reasons[reason] = reasons.get(reason, 0) + 1
            continue
        found["empty"] += EMPTY in record.notes
        found["like_hu"] += any(note.startswith(LIKE_HU) for note in record.notes)
        dice = record.quality.get("expected_dice", math.nan)
        overall = record.quality.get("overall", math.nan)
        if math.isnan(dice):
            found["low"] += math.isnan(overall) or overall < 0.6
        else:
            found["low"] += dice < 0.8
        named = record.key.startswith(("000001_02_03_", "LIDC-IDRI-"))
        given = any(record.metadata.get(n) not in (None, "") for n in ("patient", "subject",
                                                                       "PatientID"))  # fmt: skip
        found["unknown"] += not (named or given)
        for name in NUMBERS:
            kind, _, what = name.partition("_")
            value = getattr(record, kind).get(what, math.nan)
            numbers[name] += [] if math.isnan(value) else [value]
    means = {name: (math.fsum(values), len(values)) for name, values in numbers.items()}
    return {**found, "reasons": reasons, "means": means}


def require_counted(store):
    want, sums = counted(store), store.sums
    for name in ("rows", "failed", "empty", "low", "unknown", "like_hu", "reasons"):
        assert getattr(sums, name) == want[name], name
    for name, (total, count) in want["means"].items():
        assert sums.means[name].count == count, name
        assert sums.means[name].total == pytest.approx(total, rel=1e-12), name


def change_entries(path, change):
    """The manifest with other entries: `change` is called with each."""
    manifest = read_manifest(path)
    for number, entry in enumerate(manifest["shards"]):
        change(number, entry)
    write_manifest(path, manifest, usual_score_columns())


def no_rows_are_read(monkeypatch):
    def read(*_):
        raise AssertionError("rows are read")

    monkeypatch.setattr("dsnet.data.store.reader.opened", read)


@pytest.mark.parametrize("seed", range(6))
def test_the_manifest_says_what_a_count_over_all_rows_says(tmp_path, seed, monkeypatch):
    path = some_store(tmp_path / "s", seed, shard_rows=(1, 7, 16, 50, 120, 500)[seed])
    store = open_store(path)
    require_counted(store)
    assert validate_store(path) == []
    want = summary_rows(store), failure_reasons(store), warnings_of(store)
    no_rows_are_read(monkeypatch)
    store = open_store(path)
    assert (summary_rows(store), failure_reasons(store), warnings_of(store)) == want


def test_older_entries_and_those_of_another_version_are_summed_up_by_their_rows(tmp_path):
    path = some_store(tmp_path / "s")
    want = open_store(path).sums

    def change(number, entry):
        if number % 3 == 0:
            del entry["sums"]
        elif number % 3 == 1:
            said = json.loads(entry["sums"])
            entry["sums"] = json.dumps([2, *said[1:3], 1000])

    change_entries(path, change)
    store = open_store(path)
    assert store.sums.is_close(want)
    require_counted(store)
    assert validate_store(path) == []
    # A compaction completes them.
    compact_store(path, 1)
    assert all(sums_in(entry) for entry in read_manifest(path)["shards"])
    require_counted(open_store(path))


def test_sums_follow_their_shard_whatever_is_done_to_it(tmp_path):
    path = some_store(tmp_path / "s", 3)

    def require(path):
        assert all(sums_in(entry) for entry in read_manifest(path)["shards"])
        require_counted(open_store(path))
        assert validate_store(path) == []

    compact_store(path, 50)
    require(path)
    with StoreWriter(path, {}, resume=True, retry_failed=lambda error: error == "plain"):
        pass
    assert "plain" not in open_store(path).sums.reasons
    require(path)
    # A shard that a crash kept out of the manifest.
    manifest = read_manifest(path)
    gone = manifest["shards"].pop()
    kept = {"ok": gone["rows"] - gone["failed"], "failed": gone["failed"], "rows": gone["rows"]}
    manifest["counts"] = {n: manifest["counts"][n] - kept[n] for n in kept}
    write_manifest(path, manifest, usual_score_columns())
    require_counted(open_store(path))
    StoreWriter(path, {}, resume=True).close()
    require(path)
    assert read_manifest(path)["shards"][-1] == gone


UNSOUND = ["", "[", "[1]", "{}", "null", "[1,16,3,0,0,0,0,{},{}]", "[1,16,3,0,0,0,0,[],{}]",
           "[1,-1,3,0,0,0,0,{},{}]", "[1,16.0,3,0,0,0,0,{},{}]", "[1,16,3,0,0,0,0,{},{\"a\":-3}]",
           "[1,16,3,0,0,0,0,{\"quality_overall\":[NaN,1]},{\"a\":3}]",
           "[1,16,3,0,0,0,0,{\"quality_overall\":[1]},{\"a\":3}]",
           "[1,16,3,0,0,0,0,{\"quality_overall\":1},{\"a\":3}]",
           "[1,16,3,0,0,0,0,{\"other\":[1,1]},{\"a\":3}]",
           "[1,16,3,0,0,0,0,{\"seconds_cut\":[1,99]},{\"a\":3}]",
           "[1,16,3,0,0,0,99,{},{\"a\":3}]", "[" * 100_000]  # fmt: skip


@pytest.mark.parametrize("told", UNSOUND, ids=range(len(UNSOUND)))
def test_sums_that_are_none_are_passed_over(tmp_path, told):
    path = some_store(tmp_path / "s", count=32)
    change_entries(path, lambda number, entry: entry.update(sums=told))
    require_counted(open_store(path))


def test_check_tells_sums_that_are_not_the_rows(tmp_path):
    path = some_store(tmp_path / "s")

    def change(number, entry):
        said = json.loads(entry["sums"])
        if number == 1:
            said[3] = 1 - min(said[3], 1)
        if number == 2:
            said[7]["seconds_cut"][0] *= 1.001
        if number == 3:
            said[7] = {}
            entry["sums"] = "[1," + entry["sums"]
            return
        if number == 4:
            said[8] = None  # There were too many.
        entry["sums"] = json.dumps(said)

    change_entries(path, change)
    told = "manifest of {}: sums of shard-{:05d}.parquet must be the shard's"
    assert validate_store(path) == [told.format(path, n) for n in (1, 2, 3)]
    assert repair_store(path) == [told.format(path, n) for n in (1, 2, 3)]
    assert validate_store(path) == []
    require_counted(open_store(path))


def test_sums_must_be_text(tmp_path):
    path = some_store(tmp_path / "s", count=3)
    change_entries(path, lambda number, entry: entry.update(sums=[1]))
    with pytest.raises(ValueError, match="shards must be name, rows, bytes and sha256 of each"):
        open_store(path)


def test_reasons_of_which_each_is_another_stay_out_of_the_manifest(tmp_path):
    words = ["".join(random.Random(n).choices("abcdefgh", k=20)) for n in range(80)]
    with StoreWriter(tmp_path, {}) as writer:
        for number, word in enumerate(words):
            writer.append(LabelRecord.from_error(f"k{number}", "s", word))
    (entry,) = read_manifest(tmp_path)["shards"]
    assert sums_in(entry).reasons is None and len(entry["sums"]) < 100
    assert failure_reasons(open_store(tmp_path)) == sorted((word, 1) for word in words)
    assert validate_store(tmp_path) == []


def test_a_store_of_no_rows_comes_to_nothing(tmp_path):
    StoreWriter(tmp_path, {}).close()
    store = open_store(tmp_path)
    assert store.sums == Sums() and summary_rows(store)[0] == ("rows", "0")
    assert sums_of(store.table(None).slice(0, 0)).means["quality_overall"] == Mean(0.0, 0)
