"""Damaged stores: what is told, which rows are refused, and what a repair leaves."""

import errno
import logging
import os
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_damage import DAMAGE

from dsnet.data.store import (
    LabelRecord,
    StoreWriter,
    export,
    open_store,
    repair_store,
    validate_store,
)
from dsnet.data.store.manifest import write_manifest
from dsnet.data.store.record import usual_score_columns
from dsnet.data.store.shards import describe_shard, opened, write_shard


def make(key, seed=0, **changes):
    random = np.random.default_rng(seed)
    alpha = random.random((6, 5), dtype=np.float32)
    fields = {
        "image": random.random((6, 5), dtype=np.float32),
        "alpha": alpha,
        "binary": alpha >= 0.5,
        "trimap": random.choice(np.array([0, 128, 255], np.uint8), (6, 5)),
        "mark": random.random(8) * 5,
        "spacing": (0.7, 0.8),
        "quality": {"overall": 0.75},
    }
    return LabelRecord(key=key, **{**fields, **changes})


def write(path, count=6, shard_rows=2):
    with StoreWriter(path, {"crop": 64}, shard_rows=shard_rows, shard_seconds=1e9) as writer:
        for number in range(count):
            writer.append(make(f"k{number}", number))
    return path


def rewrite(store, shard, change):
    """Change a shard's rows, and the manifest's sums with it: then only the rows tell."""
    file = store / f"shard-{shard:05d}.parquet"
    manifest = open_store(store).manifest
    with opened(file) as parquet:
        table = parquet.read()
    rows = table.to_pylist()
    change(rows)
    write_shard(file, pa.Table.from_pylist(rows, schema=table.schema))
    listed = [
        describe_shard(file, len(rows)) if entry["name"] == file.name else entry
        for entry in manifest["shards"]
    ]
    manifest = {**manifest, "shards": listed}
    write_manifest(store, manifest, usual_score_columns())
    return manifest


@pytest.mark.parametrize(("column", "value", "told"), DAMAGE)
def test_a_damaged_row_costs_itself_and_is_told(tmp_path, column, value, told, caplog):
    path = write(tmp_path / "store")
    rewrite(path, 1, lambda rows: rows[1].update({column: value}))
    store = open_store(path)
    assert [r.key for r in store.records("ok")] == ["k0", "k1", "k2", "k4", "k5"]
    assert told in store.damaged["k3"] and store.damaged.keys() == {"k3"}
    (failed,) = store.records("failed")
    assert failed.key == "k3" and told in failed.error and failed.image is None
    assert [r.key for r in store.records()] == store.keys
    # Told once, however often it is read.
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert f"row k3 is damaged in the store: {told}" in warning.getMessage()
    with pytest.raises(ValueError, match=r"row 'k3' of .* damaged in the store"):
        store.read("k3")
    assert np.array_equal(store.read("k4").binary, make("k4", 4).binary)
    (problem,) = validate_store(path)
    assert problem.startswith(f"row 'k3' of {path / 'shard-00001.parquet'}: ") and told in problem


def test_a_long_axis_alone_is_no_damage(tmp_path):
    path = write(tmp_path / "store")
    alone = [1.0, 2.0, 3.0, 4.0, *[None] * 4]
    rewrite(path, 1, lambda rows: rows[1].update(mark=alone))
    store = open_store(path)
    assert store.validate() == [] and len(list(store.records("ok"))) == 6
    assert np.array_equal(store.read("k3").mark, np.array(alone, float), equal_nan=True)


def test_exports_leave_a_damaged_row_out(tmp_path):
    path = write(tmp_path / "store")
    rewrite(path, 0, lambda rows: rows[0].update(mark=[float("nan")] * 8))
    rewrite(path, 2, lambda rows: rows[1].update(height=5, width=6, alpha=b"x"))
    good = {"k1", "k2", "k3", "k4"}
    store = open_store(path)
    assert export.export_png(store, tmp_path / "png") == 4
    assert {p.stem for p in (tmp_path / "png/alpha").iterdir()} == good
    assert len((tmp_path / "png/labels.csv").read_text().splitlines()) == 5
    assert export.export_nnunet(open_store(path), tmp_path / "nnunet") == 4
    parts = export.export_npz(open_store(path), tmp_path / "npz", (2, 1, 1))
    assert parts == {"train": 2, "test": 1, "val": 1}
    assert set(open_store(path).arrays().keys) == good
    rewrite(path, 0, lambda rows: rows[0].update(metadata="[" * 100_000))
    assert sum(export.export_npz(open_store(path), tmp_path / "nested", (2, 1, 1)).values()) == 4
    assert store.damaged.keys() == {"k0", "k5"}


@pytest.mark.parametrize("name", [b"parquet-cpp-arrow", b"quality_overall"])
def test_a_shard_whose_sum_is_wrong_is_not_read(tmp_path, name):
    path = write(tmp_path / "store")
    file = path / "shard-00001.parquet"
    # In the footer, which no page's checksum covers: a score would be null, and nobody knew why.
    data = file.read_bytes()
    assert name in data
    file.write_bytes(data.replace(name, name.swapcase()))
    for read in (
        lambda s: list(s.records()),
        lambda s: s.read("k2"),
        lambda s: s.table(["quality_overall"]),
        lambda s: list(s.parts(["quality_overall"])),
        lambda s: s.keys,
        lambda s: "k2" in s,
    ):
        with pytest.raises(
            ValueError, match=r"shard-00001.parquet is damaged: its checksum .*--rep"
        ):
            read(open_store(path))
    with pytest.raises(ValueError, match="its checksum is not the manifest's"):
        export.export_png(open_store(path), tmp_path / "png")
    assert not (tmp_path / "png").exists()


def test_a_column_whose_name_is_no_text_is_damage(tmp_path):
    path = write(tmp_path / "store")
    file = path / "shard-00001.parquet"
    file.write_bytes(file.read_bytes().replace(b"quality_overall", b"quali\xc4=_overall"))
    for read in (lambda s: s.keys, lambda s: s.table(["quality_overall"]), lambda s: s.read("k2")):
        with pytest.raises(ValueError, match=r"shard-00001.parquet is damaged: ") as raised:
            read(open_store(path))
        assert type(raised.value) is ValueError
    assert any("shard-00001" in problem for problem in validate_store(path))


def test_keys_of_a_copied_shard_are_refused(tmp_path):
    path = write(tmp_path / "store")
    shutil.copy(path / "shard-00001.parquet", path / "shard-00007.parquet")
    for opening in (open_store, lambda p: StoreWriter(p, {"crop": 64}, resume=True)):
        with pytest.raises(
            ValueError, match=r"keys of .* must be unique, 2 are there again, fi.*k2"
        ):
            opening(path)
    assert len(validate_store(path)) == 2
    told = repair_store(path)
    where = path / "shard-00007.parquet"
    assert told == [
        f"row '{k}' of {where}: its key is there already (1 row lost)" for k in ("k2", "k3")
    ]
    assert open_store(path).keys == [f"k{i}" for i in range(6)] and validate_store(path) == []
    assert os.listdir(tmp_path / "store-damaged") == ["shard-00007.parquet"]


def test_rows_without_key_or_status_are_refused(tmp_path):
    for number, change in enumerate(
        ({"key": None}, {"key": ""}, {"status": None}, {"status": "x"})
    ):
        path = write(tmp_path / str(number))
        rewrite(path, 1, lambda rows, change=change: rows[0].update(change))
        with pytest.raises(
            ValueError, match=r"shard-00001.parquet is damaged: row 0 must have a key"
        ):
            open_store(path)
        (told,) = repair_store(path)
        assert told.endswith("(1 row lost)")
        assert open_store(path).keys == ["k0", "k1", "k3", "k4", "k5"]


@pytest.mark.parametrize("name", ["rows", "ok", "failed"])
def test_counts_are_checked(tmp_path, name):
    path = write(tmp_path / "store")
    manifest = open_store(path).manifest
    wrong = {**manifest, "counts": {**manifest["counts"], name: 5}}
    write_manifest(path, wrong, usual_score_columns())
    with pytest.raises(ValueError, match=r"must count the rows of its shards, .*'ok': 6"):
        open_store(path)
    (told,) = repair_store(path)
    assert "must count the rows" in told and "lost" not in told
    assert open_store(path).manifest["counts"] == {"rows": 6, "ok": 6, "failed": 0}


@pytest.mark.parametrize("damage", ["remove", "empty", "truncate", "flip", "foreign"])
def test_a_damaged_shard_costs_its_rows(tmp_path, damage):
    path = write(tmp_path / "store")
    file = path / "shard-00001.parquet"
    data = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    elif damage == "foreign":
        pq.write_table(pa.table({"key": ["b"], "status": ["ok"]}), file)
    else:
        data[len(data) // 3] ^= 0xFF
        kept = {"empty": 0, "truncate": len(data) - 9, "flip": len(data)}[damage]
        file.write_bytes(data[:kept])
    before = file.read_bytes() if file.exists() else None
    if damage != "flip":
        with pytest.raises(ValueError, match=r"shard-00001.parquet .*; .*check STORE --repair"):
            open_store(path)
    (told,) = repair_store(path)
    assert told.startswith(f"shard {file} is ") and told.endswith("(2 rows lost)")
    store = open_store(path)
    assert store.keys == ["k0", "k1", "k4", "k5"] and validate_store(path) == []
    assert store.manifest["counts"] == {"rows": 4, "ok": 4, "failed": 0}
    assert store.manifest["settings"] == {"crop": 64}
    if before is not None:
        assert (tmp_path / "store-damaged" / file.name).read_bytes() == before
    # What was lost comes again.
    with StoreWriter(path, {"crop": 64}, resume=True) as writer:
        assert writer.done == {"k0", "k1", "k4", "k5"}
        writer.append(make("k2", 2))
    assert repair_store(path) == []


def test_a_system_that_cannot_open_files_damages_no_shard(tmp_path, monkeypatch):
    path = write(tmp_path / "store")
    real, closed = pa.OSFile, path / "shard-00001.parquet"

    def full(name, *mode):
        if os.fsdecode(name) == str(closed):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(name, *mode)

    monkeypatch.setattr(pa, "OSFile", full)
    for reading in (lambda p: list(open_store(p)), repair_store):
        with pytest.raises(OSError, match="Too many open files") as caught:
            reading(path)
        assert caught.value.errno == errno.EMFILE and "damaged" not in str(caught.value)
    assert validate_store(path) == [f"[Errno 24] Too many open files: '{closed}'"]
    monkeypatch.undo()
    assert validate_store(path) == [] and not (tmp_path / "store-damaged").exists()


def test_a_manifest_whose_schema_nobody_can_read_is_damage(tmp_path):
    """pyarrow has an error of its own for numbers of more than 64 bits, which is no OSError."""
    path = write(tmp_path / "store")
    file, kinds = path / "_manifest.parquet", set()
    data = file.read_bytes()
    for at in range(len(data) - 700, len(data) - 8):
        changed = data[:at] + b"U" + data[at + 1 :]
        try:
            pq.read_metadata(pa.BufferReader(changed)).schema.to_arrow_schema()
        except pa.ArrowNotImplementedError as error:
            kinds.add(type(error))
        except Exception:
            continue
        else:
            continue
        file.write_bytes(changed)
        with pytest.raises(ValueError, match=r"_manifest.parquet is damaged: "):
            open_store(path)
    assert kinds == {pa.ArrowNotImplementedError}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alpha_bits", None),
        ("alpha_bits", 16.0),
        ("alpha_bits", True),
        ("settings", []),
        ("created", None),
        ("counts", None),
        ("counts", {"rows": 6}),
        ("counts", {"rows": 6, "ok": "6", "failed": 0}),
        ("counts", {"rows": 6, "ok": -6, "failed": 12}),
        ("shards", {}),
        ("shards", [None]),
        ("shards", [{"name": "shard-00000.parquet"}]),
        (
            "shards",
            [{"name": "../x/shard-00000.parquet", "rows": 2, "bytes": 9, "sha256": "0" * 64}],
        ),
        ("shards", [{"name": "shard-00000.parquet", "rows": 2, "bytes": 9, "sha256": "0"}]),
    ],
)
def test_every_field_of_a_manifest_is_checked(tmp_path, field, value):
    path = write(tmp_path / "store")
    whole = open_store(path).manifest
    write_manifest(path, {**whole, field: value}, usual_score_columns())
    damaged = rf"_manifest.parquet is damaged: {field} must be"
    with pytest.raises(ValueError, match=rf"{damaged}.*; .*check STORE --repair"):
        open_store(path)
    assert re.search(damaged, validate_store(path)[0])
    # The shards tell what the manifest has lost.
    told = repair_store(path)
    assert re.search(rf"{damaged}.*: made anew from the shards", told[0])
    assert told[1:] == (
        [
            f"manifest of {path}: the checksums of 3 shards are made anew; whether the last ones"
            " are missing is not known"
        ]
        if field == "shards"
        else []
    )
    assert open_store(path).manifest == whole and validate_store(path) == []
    assert os.listdir(tmp_path / "store-damaged") == ["_manifest.parquet"]


def test_two_entries_of_one_shard_are_refused(tmp_path):
    path = write(tmp_path / "store")
    manifest = open_store(path).manifest
    manifest["shards"].append(manifest["shards"][0])
    write_manifest(path, manifest, usual_score_columns())
    with pytest.raises(ValueError, match="shards must be each there once"):
        open_store(path)
