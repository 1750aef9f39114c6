"""A store whose manifest is lost or damaged is repaired from its shards."""

import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from dsnet import label
from dsnet.data.store import (
    LabelRecord,
    StoreWriter,
    open_store,
    repair_store,
    validate_store,
)
from dsnet.data.store.manifest import write_manifest
from dsnet.data.store.record import usual_score_columns
from dsnet.data.store.shards import opened, write_shard

SETTINGS = {"strategy": "recist", "size": 5, "window": [-1350, 150]}


def make(key, seed=0):
    random = np.random.default_rng(seed)
    alpha = random.random((6, 5), dtype=np.float32)
    return LabelRecord(
        key=key,
        image=random.random((6, 5), dtype=np.float32),
        alpha=alpha,
        binary=alpha >= 0.5,
        trimap=np.full((6, 5), 128, np.uint8),
    )


def write(path, count=6, alpha_bits=16, settings=SETTINGS):
    with StoreWriter(
        path, settings, alpha_bits=alpha_bits, shard_rows=2, shard_seconds=1e9
    ) as writer:
        for number in range(count - 1):
            writer.append(make(f"k{number}", number))
        writer.append(LabelRecord.from_error("failed", "x.png", "truncated"))
    return open_store(path).manifest


def age(path):
    """Make the shards those of a version that told nothing in their footers."""
    for file in sorted(path.glob("shard-*.parquet")):
        with opened(file) as shard:
            table = shard.read()
        write_shard(file, table.replace_schema_metadata(None))


def damage(path, how):
    file = path / "_manifest.parquet"
    if how == "lost":
        file.unlink()
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "cut":
        file.write_bytes(file.read_bytes()[:-20])
    elif how == "old":
        file.unlink()
        (path / "manifest.json").write_text('{"format": 1, "settings": {"crop')
    else:
        write_manifest(path, ["no", "object"], usual_score_columns())


HOW = ["lost", "empty", "cut", "old", "other"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("alpha_bits", [8, 16])
def test_a_manifest_is_made_anew_from_the_shards(tmp_path, how, alpha_bits):
    path = tmp_path / "store"
    whole = write(path, alpha_bits=alpha_bits)
    labels = [record.labelled() for record in open_store(path).records("ok")]
    damage(path, how)
    with pytest.raises(ValueError, match=r"manifest .* is .*; .*check STORE --repair"):
        open_store(path)
    with pytest.raises(ValueError, match=r"manifest .* is .*; .*check STORE --repair"):
        StoreWriter(path, SETTINGS, alpha_bits=alpha_bits, resume=True)
    (problem,) = validate_store(path)
    first, second = repair_store(path)
    assert first == f"{problem}: made anew from the shards"
    assert "the checksums of 3 shards are made anew" in second
    store = open_store(path)
    assert validate_store(path) == [] and store.keys == ["k0", "k1", "k2", "k3", "k4", "failed"]
    assert {**store.manifest, "updated": whole["updated"]} == whole
    for got, want in zip(store.records("ok"), labels, strict=True):
        assert all(map(np.array_equal, got.labelled(), want))
    if how != "lost":
        name = "manifest.json" if how == "old" else "_manifest.parquet"
        assert os.listdir(tmp_path / "store-damaged") == [name]
    # And a run goes on with it.
    with StoreWriter(path, SETTINGS, alpha_bits=alpha_bits, resume=True) as writer:
        writer.append(make("k9", 9))
    assert repair_store(path) == [] and len(open_store(path)) == 7


@pytest.mark.parametrize("alpha_bits", [8, 16])
def test_older_shards_tell_the_bits_of_alpha_and_what_is_lost_is_said(tmp_path, alpha_bits):
    path = tmp_path / "store"
    write(path, alpha_bits=alpha_bits)
    age(path)
    damage(path, "lost")
    told = repair_store(path)
    assert any("the settings are lost" in line for line in told)
    assert any("when the store was begun is not known" in line for line in told)
    store = open_store(path)
    assert store.alpha_bits == alpha_bits and store.manifest["settings"] == {}
    assert validate_store(path) == [] and len(list(store.records("ok"))) == 5
    # Nobody can say that these rows were made as those of a run would be.
    with pytest.raises(ValueError, match="setting 'size' differs from the store's"):
        StoreWriter(path, SETTINGS, alpha_bits=alpha_bits, resume=True)


def test_what_is_sound_of_a_manifest_stays(tmp_path):
    path = tmp_path / "store"
    whole = write(path)
    (path / "shard-00001.parquet").unlink()
    # Its list of shards still says what is missing.
    write_manifest(path, {**whole, "created": None}, usual_score_columns())
    first, second = repair_store(path)
    assert "created must be a text, got None: made anew from the shards" in first
    missing = path / "shard-00001.parquet"
    assert second == f"shard {missing} is missing (2 rows lost)"
    found = open_store(path).manifest
    assert {name: found[name] for name in ("settings", "created")} == {
        name: whole[name] for name in ("settings", "created")
    }


def test_damaged_and_missing_shards_beside_a_lost_manifest_are_told(tmp_path):
    path = tmp_path / "store"
    write(path, count=8)
    damage(path, "lost")
    (path / "shard-00001.parquet").unlink()
    broken = path / "shard-00002.parquet"
    broken.write_bytes(broken.read_bytes()[:-9])
    told = repair_store(path)
    assert any("there is no shard-00001.parquet: rows that were there are lost" in t for t in told)
    assert any(t.startswith(f"shard {broken} is damaged") for t in told)
    assert open_store(path).keys == ["k0", "k1", "k6", "failed"] and validate_store(path) == []
    assert os.listdir(tmp_path / "store-damaged") == [broken.name]


def test_shards_of_two_stores_make_no_manifest(tmp_path):
    path = tmp_path / "store"
    write(path)
    write(tmp_path / "other", settings={**SETTINGS, "size": 7})
    (tmp_path / "other/shard-00000.parquet").rename(path / "shard-00007.parquet")
    damage(path, "lost")
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(ValueError, match=r"settings of .* cannot be told: shard-00000.*-00007"):
        repair_store(path)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_what_is_no_store_stays_as_it_is(tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    with pytest.raises(FileNotFoundError):
        repair_store(foreign)
    (foreign / "a.txt").write_text("x")
    with pytest.raises(ValueError, match="is not a label store"):
        repair_store(foreign)
    (foreign / "shard-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="neither a sound manifest nor a sound shard"):
        repair_store(foreign)
    assert sorted(os.listdir(foreign)) == ["a.txt", "shard-00000.parquet"]
    # A later version's manifest is not damaged, and stays.
    path = tmp_path / "store"
    whole = write(path)
    write_manifest(path, {**whole, "format": 2}, usual_score_columns())
    with pytest.raises(ValueError, match="must be of format 1, got 2") as caught:
        repair_store(path)
    assert "--repair" not in str(caught.value)


def test_every_shard_tells_how_its_labels_were_made(tmp_path):
    path = tmp_path / "store"
    whole = write(path)
    # A shard that is written again keeps it.
    StoreWriter(path, SETTINGS, resume=True, retry_failed=True).close()
    for file in sorted(path.glob("shard-*.parquet")):
        told = json.loads(pq.read_metadata(file).metadata[b"dsnet"])
        assert told == {
            name: whole[name] for name in ("format", "alpha_bits", "settings", "created")
        }


def test_the_command_repairs_a_manifest(tmp_path, capsys):
    path = tmp_path / "store"
    write(path)
    damage(path, "empty")
    assert label.main(["check", str(path)]) == 1
    assert label.main(["check", str(path), "--repair"]) == 0
    out = capsys.readouterr().out
    assert "is damaged" in out and "made anew from the shards" in out
    assert out.endswith("6 rows, all checksums right\n")
