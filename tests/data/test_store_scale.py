"""Stores of many shards: the journal, the keys in files, compaction, and kills in each of them."""

import hashlib
import json
import os
import random
import shutil
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from store_rows import keys_of, row, rows_of, write

from dsnet.archive.report import failure_reasons, summary_rows
from dsnet.data.store import (
    StoreWriter,
    account,
    compact_store,
    key_runs,
    keys,
    open_store,
    repair_store,
    validate_store,
)
from dsnet.data.store import writer as writer_module
from dsnet.data.store.entries import hash_key, hash_keys, in_order, shard_name
from dsnet.data.store.journal import JOURNAL, DamagedJournal, read_journal
from dsnet.data.store.key_runs import merged, read_run, run_of, write_run
from dsnet.data.store.keys import KeyIndex
from dsnet.data.store.manifest import MANIFEST, read_manifest

ENGINES = ["pandas", "polars", "duckdb", "pyarrow.dataset"]


def test_shards_are_read_in_the_order_of_their_numbers():
    names = [shard_name(number) for number in (9, 99999, 100000, 1000000, 0)]
    assert in_order(names) == [shard_name(n) for n in (0, 9, 99999, 100000, 1000000)]


def test_many_shards_go_into_a_journal_and_then_into_the_manifest(tmp_path):
    writer = StoreWriter(tmp_path, {}, shard_rows=1, shard_seconds=1e9)
    sizes = []
    for number in range(140):
        writer.append(row(number))
        assert len(open_store(tmp_path)) == number + 1
        sizes.append((tmp_path / MANIFEST).stat().st_mtime_ns)
    assert len(set(sizes)) < 80  # Written anew at each of the first 64, and then seldom.
    journal = read_journal(tmp_path)
    assert 0 < len(journal.lines) < 76 and not journal.torn
    counts = read_manifest(tmp_path)["counts"]
    assert counts == {"rows": 140, "ok": 120, "failed": 20} and validate_store(tmp_path) == []
    writer.close()
    assert not (tmp_path / JOURNAL).exists()
    store = open_store(tmp_path)
    assert store.keys == keys_of(range(140)) and store.manifest["counts"] == counts


@pytest.mark.parametrize("engine", ENGINES)
def test_other_engines_pass_over_the_journal_and_the_keys(tmp_path, engine, monkeypatch):
    module = pytest.importorskip(engine)
    monkeypatch.setattr(keys, "LEAST_RUN", 16)
    write(tmp_path / "s", range(40), shard_rows=8)
    writer = StoreWriter(tmp_path / "s", {}, resume=True, shard_rows=1, shard_seconds=1e9)
    monkeypatch.setattr(account, "FEW_SHARDS", 2)
    for number in range(40, 60):
        writer.append(row(number))
    writer._account.index.save(1)
    names = os.listdir(tmp_path / "s")
    assert JOURNAL in names and any(n.startswith("_keys-") for n in names)
    where = str(tmp_path / "s")
    if engine == "polars":
        found = module.read_parquet(where)["key"].to_list()
    elif engine == "duckdb":
        found = module.sql(f"select key from '{where}/*.parquet'").fetchall()
        found = [key for (key,) in found]
    elif engine == "pandas":
        found = module.read_parquet(where)["key"].tolist()
    else:
        found = module.dataset(where, format="parquet").to_table()["key"].to_pylist()
    assert sorted(found) == keys_of(range(60))
    writer.close()


def journalled(path, monkeypatch, count=12):
    """A store that was killed with a journal."""
    monkeypatch.setattr(account, "FEW_SHARDS", 4)
    writer = StoreWriter(path, {}, shard_rows=1, shard_seconds=1e9)
    for number in range(count):
        writer.append(row(number))
    writer._home.release()  # As the system does of a killed process.
    assert read_journal(path).lines
    return path / JOURNAL


def test_a_torn_last_line_is_told_and_costs_nothing(tmp_path, monkeypatch, caplog):
    file = journalled(tmp_path, monkeypatch)
    whole = file.read_bytes()
    lines = len(read_journal(tmp_path).lines)
    last = whole.rindex(b'{"shard"')
    for cut in range(last - 17, len(whole)):
        if cut % 37 and cut > last + 40:
            continue
        file.write_bytes(whole[:cut])
        caplog.clear()
        journal = read_journal(tmp_path)
        end = whole.index(b"\n", last)
        assert len(journal.lines) == lines - (cut <= end), cut
        assert open_store(tmp_path).keys == keys_of(range(12))
        told = [message for message in caplog.messages if "its last line was cut short" in message]
        assert bool(told) == (cut != last - 17)
    file.write_bytes(whole[: last + 5])
    with StoreWriter(tmp_path, {}, resume=True) as writer:
        assert writer.done == set(keys_of(range(12)))
        writer.append(row(12))
    assert open_store(tmp_path).keys == keys_of(range(13)) and validate_store(tmp_path) == []


def test_a_flipped_bit_in_a_journal_is_told_and_mended(tmp_path, monkeypatch):
    file = journalled(tmp_path, monkeypatch)
    data = bytearray(file.read_bytes())
    data[data.index(b'{"shard"') + 12] ^= 1
    file.write_bytes(data)
    with pytest.raises(DamagedJournal, match="line 2 is not what was written"):
        read_journal(tmp_path)
    for opening in (open_store, lambda p: StoreWriter(p, {}, resume=True)):
        with pytest.raises(ValueError, match=r"_journal.parquet is damaged.*check STORE --repair"):
            opening(tmp_path)
    (problem,) = validate_store(tmp_path)
    assert "_journal.parquet is damaged: line 2" in problem
    assert repair_store(tmp_path)[0] == f"{problem}: made anew from the shards"
    assert open_store(tmp_path).keys == keys_of(range(12)) and validate_store(tmp_path) == []


def test_a_journal_of_an_older_manifest_is_passed_over(tmp_path, monkeypatch):
    file = journalled(tmp_path, monkeypatch)
    stale = file.read_bytes()
    StoreWriter(tmp_path, {}, resume=True).close()  # The manifest has taken it in,
    file.write_bytes(stale)  # and the crash came before it was removed.
    assert open_store(tmp_path).keys == keys_of(range(12)) and validate_store(tmp_path) == []


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(account, "FEW_SHARDS", 2)
    writer = StoreWriter(tmp_path, {}, shard_rows=1, shard_seconds=1e9)
    for number in range(3):
        writer.append(row(number))
    before, real = (tmp_path / JOURNAL).read_bytes(), os.write

    def full(descriptor, data):
        if not os.path.samestat(os.fstat(descriptor), os.stat(tmp_path / JOURNAL)):
            return real(descriptor, data)
        real(descriptor, data[:50])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match=f"No space left on device: '.*/{JOURNAL}'"):
            writer.append(row(3))
    assert (tmp_path / JOURNAL).read_bytes() == before
    writer.append(row(5))
    writer.close()
    assert open_store(tmp_path).keys == keys_of([0, 1, 2, 3, 5]) and validate_store(tmp_path) == []


def test_runs_of_keys_find_what_is_there(tmp_path):
    draw = random.Random(0)
    names = [f"patient {draw.random()}" for _ in range(5000)]
    shards = {shard_name(i): hash_keys(names[1000 * i : 1000 * i + 1000]) for i in range(5)}
    one = run_of({n: shards[n] for n in list(shards)[:2]}, dict.fromkeys(shards, "x"))
    two = run_of({n: shards[n] for n in list(shards)[2:]}, dict.fromkeys(shards, "x"))
    run = write_run(tmp_path, merged([one, two]))
    assert len(run) == 5000 and run.file == tmp_path / "_keys-00000.parquet"
    for number in (0, 1, 999, 1000, 2500, 4999):
        place = shard_name(number // 1000), number % 1000
        assert run.find(hash_key(names[number])) == [place]
        assert run.find_many(hash_keys([names[number], "no"])) == [(0, *place)]
    assert run.find(0) == run.find(2**64 - 1) == run.find(hash_key("nobody")) == []
    data = bytearray(run.file.read_bytes())
    for place in (6, len(data) // 2, 40):
        changed = bytearray(data)
        changed[place] ^= 1
        run.file.write_bytes(changed)
        assert read_run(run.file) is None
    run.file.write_bytes(data[:-5000])
    assert read_run(run.file) is None


@pytest.mark.parametrize("seed", range(4))
def test_many_hashes_are_found_as_each_alone(seed):
    draw = np.random.default_rng(seed)
    # Few values, so that many keys share one; those at both ends of the range, too.
    values = np.r_[draw.integers(0, 2**64, 30, np.uint64), np.uint64(0), np.uint64(2**64 - 1)]
    sizes = draw.integers(0, (1, 5, 60, 200)[seed], 4)
    shards = {shard_name(i): draw.choice(values, size) for i, size in enumerate(sizes)}
    run = run_of(shards, dict.fromkeys(shards, "x"))
    asked = np.r_[draw.choice(values, 50), draw.integers(0, 2**64, 20, np.uint64)]
    want = [(i, *place) for i, hashed in enumerate(asked.tolist()) for place in run.find(hashed)]
    assert sorted(run.find_many(asked)) == sorted(want) and len(set(want)) == len(want)
    everywhere = [(n, row) for n, hashes in shards.items() for row in range(len(hashes))]
    assert {place[1:] for place in run.find_many(values)} == set(everywhere)
    assert run.find_many(values[:0]) == []


def test_a_key_that_no_store_can_hold_is_asked_for_among_others(tmp_path):
    write(tmp_path, range(5), shard_rows=2)
    with StoreWriter(tmp_path, {}, resume=True) as writer:
        assert writer.done.known(["k000001", "caf\udce9", "x", "k000004"]) == {"k000001", "k000004"}


def test_keys_that_share_a_hash_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(keys, "hash_key", lambda key: len(key))
    monkeypatch.setattr(keys, "hash_keys", lambda found: np.array([len(k) for k in found], "<u8"))
    texts = {"shard-00000.parquet": ["a", "b", "cc"], "shard-00001.parquet": ["d", "ee"]}
    for few in (1, 100):
        monkeypatch.setattr(keys, "FEW", few)
        index = KeyIndex(tmp_path, {name: {} for name in texts}, texts.__getitem__)
        assert index.find("b") == ("shard-00000.parquet", 1)
        assert index.find("ee") == ("shard-00001.parquet", 1)
        assert index.find("x") is None and index.find("xx") is None and "d" in index
        assert index.known(["x", "d", "cc", "yy"], np.array([1, 1, 2, 2], "<u8")) == {"d", "cc"}
        assert index.twice() == {}
    texts["shard-00001.parquet"].append("b")
    assert KeyIndex(tmp_path, {n: {} for n in texts}, texts.__getitem__).twice() == {"b": 2}


def test_a_writer_knows_its_keys_from_files_and_after_a_change(tmp_path, monkeypatch):
    monkeypatch.setattr(keys, "FEW", 10)
    monkeypatch.setattr(writer_module, "FEW", 10)
    monkeypatch.setattr(keys, "LEAST_RUN", 32)
    write(tmp_path, range(100), shard_rows=8)
    assert key_runs.run_files(tmp_path)
    with StoreWriter(tmp_path, {}, resume=True, shard_rows=8, shard_seconds=1e9) as writer:
        assert writer.done == set(keys_of(range(100))) and len(writer.done) == 100
        with pytest.raises(ValueError, match="'k000077' again"):
            writer.append(row(77))
    failed = {f"k{n:06d}" for n in range(100) if n % 7 == 3}
    with StoreWriter(
        tmp_path, {}, resume=True, retry_failed=True, shard_rows=8, shard_seconds=1e9
    ) as writer:
        assert writer.done == set(keys_of(range(100))) - failed
        writer.append(row(3))
    store = open_store(tmp_path)
    assert len(store) == 100 - len(failed) + 1 and store.read("k000003").error == "broken 3"
    for file in key_runs.run_files(tmp_path):
        file.write_bytes(b"PAR1")
    assert open_store(tmp_path).read("k000042").key == "k000042"
    assert "k000010" not in open_store(tmp_path) and validate_store(tmp_path) == []


def as_before(path):
    """Make a store one of the versions before: zstd, row groups of 64, four fields an entry."""
    manifest = open_store(path).manifest
    for entry in manifest["shards"]:
        file = path / entry["name"]
        table = pq.read_table(file)
        pq.write_table(table, file, compression="zstd", row_group_size=64, write_page_checksum=True)
        data = file.read_bytes()
        entry["bytes"], entry["sha256"] = len(data), hashlib.sha256(data).hexdigest()
        for name in ("failed", "keys", "tail", "sums"):
            del entry[name]
    text = json.dumps(manifest, indent=1).encode()
    columns = pq.read_schema(path / MANIFEST).with_metadata({b"dsnet": text})
    pq.write_table(columns.empty_table(), path / MANIFEST)


def test_a_store_of_the_versions_before_opens_and_goes_on(tmp_path):
    write(tmp_path / "s", range(30), shard_rows=8)
    before = rows_of(tmp_path / "s")
    as_before(tmp_path / "s")
    store = open_store(tmp_path / "s")
    assert rows_of(tmp_path / "s") == before and store.validate() == []
    assert store.read("k000017").key == store.read(17).key == "k000017"
    assert set(store.manifest["shards"][0]) == {"name", "rows", "bytes", "sha256"}
    # However slow the machine is: rows by time would be a shard more.
    again = {"resume": True, "retry_failed": True, "shard_seconds": 1e9}
    with StoreWriter(tmp_path / "s", {}, **again) as writer:
        assert len(writer.done) == 26 and "k000003" not in writer.done
        writer.append(row(3))
        writer.append(row(30))
    assert open_store(tmp_path / "s").keys[-2:] == keys_of([3, 30])
    as_before(tmp_path / "s")
    sound = rows_of(tmp_path / "s")
    assert compact_store(tmp_path / "s") == (5, 1)
    assert rows_of(tmp_path / "s") == sound and validate_store(tmp_path / "s") == []
    assert set(open_store(tmp_path / "s").manifest["shards"][0]) > {"failed", "keys", "tail"}
    as_before(tmp_path / "s")
    shutil.copy(tmp_path / "s" / "shard-00000.parquet", tmp_path / "s" / "shard-00009.parquet")
    with pytest.raises(ValueError, match=r"must be unique, 28 are there again, first 'k000000'"):
        open_store(tmp_path / "s")


@pytest.mark.parametrize("seed", [0, 1])
def test_a_row_of_a_flipped_shard_is_right_or_refused(tmp_path, seed):
    """`read` takes the pages' checksums and the footer's for the file's."""
    write(tmp_path / "s", range(40), shard_rows=40)
    sound = {r.key: r for r in open_store(tmp_path / "s")}
    file, draw = tmp_path / "s" / "shard-00000.parquet", random.Random(seed)
    data = file.read_bytes()
    refused = 0
    for _ in range(400):
        at, bit = draw.randrange(len(data)), 1 << draw.randrange(8)
        file.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
        key = f"k{draw.randrange(40):06d}"
        try:
            found = open_store(tmp_path / "s").read(key)
        except (ValueError, OSError):
            refused += 1
            continue
        want = sound[key]
        assert (found.key, found.status, found.error) == (want.key, want.status, want.error), at
        assert found.quality == want.quality and found.metadata == want.metadata, at
        assert want.alpha is None or np.array_equal(found.alpha, want.alpha), at
        assert want.alpha is None or np.array_equal(found.image, want.image), at
    assert refused > 100


@pytest.mark.long
def test_a_hundred_thousand_rows(tmp_path, monkeypatch):
    count = 100_000
    chosen = {"shard_rows": 200, "shard_seconds": 1e9}
    with StoreWriter(tmp_path, {}, **chosen) as writer:
        for number in range(count):
            writer.append(row(number))
    store = open_store(tmp_path)
    failed = len(range(3, count, 7))
    assert len(store) == count and len(store.shards) == 500
    assert store.manifest["counts"] == {"rows": count, "ok": count - failed, "failed": failed}
    for number in (0, 99_999, 50_000, 12_345):
        assert store.read(number).key == store.read(f"k{number:06d}").key == f"k{number:06d}"
    rows = dict(summary_rows(store))
    assert rows["rows"] == str(count)
    assert rows["failed"] == f"{failed} ({100 * failed / count:.1f} %)"
    quality = [n % 4 / 4 for n in range(count) if n % 7 != 3]
    assert rows["mean quality"] == f"{sum(quality) / len(quality):.3f}"
    reasons = Counter(f"broken {n % 5}" for n in range(3, count, 7))
    assert failure_reasons(store) == [("broken #", sum(reasons.values()))]
    with StoreWriter(tmp_path, {}, resume=True, **chosen) as writer:
        assert all(f"k{n:06d}" in writer.done for n in range(0, count, 3))
        assert f"k{count:06d}" not in writer.done
    assert compact_store(tmp_path, 1000) == (500, 100) and validate_store(tmp_path) == []
    assert open_store(tmp_path).keys == keys_of(range(count))


def test_failed_rows_of_many_shards_are_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(account, "FEW_SHARDS", 4)
    write(tmp_path / "s", range(40), shard_rows=2)
    writer = StoreWriter(tmp_path / "s", {}, resume=True, shard_rows=2, shard_seconds=1e9)
    writer.append(row(40))
    writer.flush()
    writer._home.release()  # As the system does of a killed process.
    assert JOURNAL in os.listdir(tmp_path / "s")
    failed = [n for n in range(41) if n % 7 == 3]
    with StoreWriter(tmp_path / "s", {}, resume=True, retry_failed=True) as writer:
        assert len(writer.stored()) == 41 - len(failed)
        for number in failed:
            writer.append(row(number))
    others = [n for n in range(41) if n % 7 != 3]
    assert open_store(tmp_path / "s").keys == keys_of([*others, *failed])
    assert validate_store(tmp_path / "s") == []
