"""Random manifests and rows: an error in words or sound records, and never anything else.

`pytest tests/fuzz --long` tries a tenth of DSNET_FUZZ_ROWS of each. A failure names the seed and
the row that make the same case again.
"""

import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pytest
from fuzz.random_stores import (  # noqa: F401
    ODD,
    damage,
    one_thread,
    pick,
    record,
)

from dsnet import label
from dsnet.data.store import (
    StoreWriter,
    export,
    open_store,
    repair_store,
    validate_store,
)
from dsnet.data.store.manifest import MANIFEST, OLD_MANIFEST, write_manifest
from dsnet.data.store.record import encode, usual_score_columns
from dsnet.data.store.shards import describe_shard, opened, write_shard

ROWS = int(os.environ.get("DSNET_FUZZ_ROWS", 100_000)) // 10
SHARD = "shard-00000.parquet"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "store"
    rng = np.random.default_rng(0)
    with StoreWriter(path, {"crop": 64}, shard_seconds=1e9) as writer:
        for number in range(8):
            writer.append(record(number, rng))
    return path


def attempt(call, *arguments):
    """What comes, or the error in words that may come instead."""
    try:
        return call(*arguments)
    except (ValueError, OSError, RuntimeError) as error:
        assert type(error) in (ValueError, FileNotFoundError, FileExistsError, OSError), repr(error)
        assert str(error)
        return error


def use(path, out):
    """Every way to read a store; what comes is sound."""
    assert all(isinstance(problem, str) for problem in validate_store(path))
    store = attempt(open_store, path)
    if isinstance(store, Exception):
        return
    records = attempt(lambda: list(store.records()))
    for found in [] if isinstance(records, Exception) else records:
        encode(found, store.alpha_bits)  # Raises on what is not sound.
    keys = attempt(lambda: store.keys)
    for key in [] if isinstance(keys, Exception) else keys[:3]:
        attempt(store.read, key)
    attempt(store.arrays)
    made = attempt(export.export_png, store, out / "png")
    if isinstance(made, int):
        assert made == len(list((out / "png/alpha").iterdir())) > 0


def require_told(path, sound):
    """A shard has a checksum: what is not as it was written is told, and nothing of it is read."""
    if (path / SHARD).read_bytes() != (sound / SHARD).read_bytes():
        assert validate_store(path)
    store = attempt(open_store, path)
    found = None if isinstance(store, Exception) else attempt(lambda: list(store.records()))
    if isinstance(found, list):
        require_same(path, sound)


def require_same(path, sound):
    """Every row that a store still has is the one that was written, to the last bit."""
    store, whole = attempt(open_store, path), open_store(sound)
    if isinstance(store, Exception):
        return
    for key in store.keys:
        assert encode(store.read(key), 16) == encode(whole.read(key), 16), key


def mend(path):
    """What a repair leaves is sound."""
    if not isinstance(attempt(repair_store, path), Exception):
        assert validate_store(path) == []
        open_store(path)


def bad_manifest(rng, path, text):
    manifest = json.loads(text)
    for _ in range(rng.integers(1, 3)):
        holder = manifest
        if rng.random() < 0.3 and isinstance(manifest.get("counts"), dict):
            holder = manifest["counts"]
        elif rng.random() < 0.4 and isinstance(manifest.get("shards"), list):
            holder = manifest["shards"][0] if manifest["shards"] else None
        if not isinstance(holder, dict) or not holder:
            continue
        name = pick(rng, sorted(holder))
        if rng.random() < 0.2:
            del holder[name]
        else:
            holder[name] = pick(rng, ODD)
    told = json.dumps(manifest)
    if rng.random() < 0.3:
        at = int(rng.integers(len(told)))
        told = (
            told[:at] + pick(rng, ["", "\x00", "}", "[" * 5000, "é", '"', "9" * 5000]) + told[at:]
        )
    if rng.random() < 0.5:
        (path / MANIFEST).unlink()
        data = told.encode("utf-8", "surrogatepass")
        (path / OLD_MANIFEST).write_bytes(data[: len(data) if rng.random() < 0.9 else 40])
    elif rng.random() < 0.8:
        write_manifest(path, manifest, usual_score_columns())
    else:
        data = bytearray((path / MANIFEST).read_bytes())
        for at in rng.integers(len(data), size=3):
            data[at] ^= 1 << rng.integers(8)
        (path / MANIFEST).write_bytes(data)


def odd_value(rng, kind):
    if rng.random() < 0.3:
        return None
    if kind == pa.string():
        return pick(rng, ["", "x", "ok", "failed", "k1", "{", "[]", "null", "[" * 3000, '{"a":1}'])
    if kind == pa.int32():
        return pick(rng, [0, -1, 1, 5, 6, 2**31 - 1, -(2**31)])
    if kind == pa.binary():
        return pick(rng, [b"", b"\x00", b"\xff" * 30, rng.bytes(int(rng.integers(80)))])
    if kind == pa.float64():
        return pick(rng, [0.0, -1.0, float("nan"), float("inf"), 1e308, 5e-324])
    items = [None, "x", ""] if kind == pa.list_(pa.string()) else [None, 1.0, float("nan"), 1e300]
    return [pick(rng, items) for _ in range(pick(rng, [0, 1, 4, 8, 8, 9]))]


def bad_rows(rng, path, text):
    manifest = json.loads(text)
    with opened(path / SHARD) as file:
        table = file.read()
    rows = table.to_pylist()
    for _ in range(rng.integers(1, 4)):
        field = pick(rng, table.schema)
        pick(rng, rows)[field.name] = odd_value(rng, field.type)
    if rng.random() < 0.2:
        rows.append(dict(pick(rng, rows)))
    if rng.random() < 0.1:
        rows = rows[: rng.integers(3)]
    found = pa.Table.from_pylist(rows, schema=table.schema)
    if rng.random() < 0.1:
        found = found.drop_columns([pick(rng, found.column_names)])
    if rng.random() < 0.1:
        found = found.append_column("quality_new", pa.array(["x"] * len(found)))
    write_shard(path / SHARD, found)
    if rng.random() < 0.8:
        manifest["shards"] = [describe_shard(path / SHARD, len(found))]
        counts = [sum(row["status"] == status for row in rows) for status in ("ok", "failed")]
        manifest["counts"] = dict(zip(("ok", "failed"), counts, strict=True), rows=sum(counts))
    write_manifest(path, manifest, usual_score_columns())


def bad_bytes(rng, path, text):
    """A file of the store that was written over, cut, torn or put together from two halves."""
    damage(rng, path / pick(rng, [SHARD, SHARD, SHARD, MANIFEST]))


KINDS = {"manifests": bad_manifest, "rows": bad_rows, "bytes": bad_bytes}


def fuzz(sound, tmp_path, name, seed, count):
    text = json.dumps(open_store(sound).manifest)
    for row in range(count):
        place = tmp_path / str(row)
        shutil.copytree(sound, place / "store")
        try:
            rng = np.random.default_rng([seed, row])
            KINDS[name](rng, place / "store", text)
            if name == "bytes":
                require_told(place / "store", sound)
            use(place / "store", place)
            if row % 10 == 0:
                show = ["show", str(place / "store"), "--out", str(place / "sheets")]
                assert label.main(show) in (0, 1, 2)
            mend(place / "store")
            if name == "bytes":
                require_same(place / "store", sound)
        except Exception as error:
            raise AssertionError(f"{name}: seed {seed}, row {row}: {error!r}") from error
        shutil.rmtree(place)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", KINDS)
def test_random_stores(sound, tmp_path, name):
    fuzz(sound, tmp_path, name, seed=1, count=60)


@pytest.mark.long
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", KINDS)
def test_many_random_stores(sound, tmp_path, name):
    fuzz(sound, tmp_path, name, seed=2, count=ROWS)
