"""Stores at addresses: copied there whole, read there as in a folder, however often it fails."""

import os
import random
import shutil

import numpy as np
import pytest
from memory_bucket import ADDRESS, names
from store_rows import keys_of, row, rows_of, write

from dsnet import label
from dsnet.data.remote import RemoteFile
from dsnet.data.store import (
    StoreWriter,
    compact_store,
    open_store,
    push,
    repair_store,
    validate_store,
)
from dsnet.data.store.decisions import MADE, Decision, DecisionLog, new_id, read_decisions
from dsnet.data.store.manifest import MANIFEST
from dsnet.data.store.push import push_store
from dsnet.data.store.reviewed import open_reviewed
from dsnet.data.store.versions import write_version

pytestmark = pytest.mark.usefixtures("memory", "waits")


def test_what_is_read_there_is_what_is_here(tmp_path):
    write(tmp_path / "s", range(60), shard_rows=9)
    done = push_store(tmp_path / "s", ADDRESS)
    assert (done.rows, done.shards, done.sent, done.removed) == (60, 7, 7, 0)
    here, there = open_store(tmp_path / "s"), open_store(ADDRESS)
    assert rows_of(ADDRESS) == rows_of(tmp_path / "s") and len(there) == 60
    assert there.keys == keys_of(range(60)) and there.table().equals(here.table())
    assert there.read(31).key == there.read("k000031").key == "k000031"
    assert np.array_equal(there.read(-1).alpha, here.read(-1).alpha)
    assert "k000059" in there and "k000060" not in there
    assert there.manifest["shards"] == here.manifest["shards"]
    assert validate_store(ADDRESS) == []
    push_store(tmp_path / "s", f"file://{tmp_path}/there")
    assert rows_of(tmp_path / "there") == rows_of(f"file://{tmp_path}/there") == rows_of(ADDRESS)
    # Nothing is sent again, and then what is new alone.
    assert push_store(tmp_path / "s", ADDRESS)[2:] == (0, 0, 0)
    with StoreWriter(tmp_path / "s", {}, resume=True) as writer:
        writer.append(row(60))
    assert push_store(tmp_path / "s", ADDRESS).sent == 1
    assert open_store(ADDRESS).keys == keys_of(range(61))


def test_a_store_that_was_compacted_or_tried_again_is_brought_up_to_date(tmp_path, memory):
    write(tmp_path / "s", range(20), shard_rows=3)
    push_store(tmp_path / "s", ADDRESS)
    compact_store(tmp_path / "s", 10)
    done = push_store(tmp_path / "s", ADDRESS)
    assert (done.rows, done.shards, done.sent, done.removed) == (20, 3, 2, 4)
    assert rows_of(ADDRESS) == rows_of(tmp_path / "s") and validate_store(ADDRESS) == []
    with StoreWriter(tmp_path / "s", {}, resume=True, retry_failed=True) as writer:
        writer.append(row(20))
    push_store(tmp_path / "s", ADDRESS)
    assert open_store(ADDRESS).keys == keys_of([n for n in range(21) if n % 7 != 3])
    shards = [f"shard-{number:05}.parquet" for number in (0, 3, 6, 7)]
    assert names(memory) == [MANIFEST, *shards]


def test_reviews_go_along(tmp_path):
    write(tmp_path / "s", range(3), shard_rows=2)
    log, version = DecisionLog(tmp_path / "s"), new_id()
    mended = row(1)
    mended.alpha = np.ones((3, 2), np.float32)
    mended.binary = mended.alpha >= 0.5
    told = write_version(tmp_path / "s", version, mended, 16)
    log.append(Decision(new_id(), "mend", "k000001", "Ann", log.time(), version=version,
                        mended_by="brush", base=MADE, file_sum=told))  # fmt: skip
    log.append(Decision(new_id(), "verdict", "k000001", "Ann", log.time(), verdict="accept",
                        version=version))  # fmt: skip
    push_store(tmp_path / "s", ADDRESS)
    assert [r.key for r in open_reviewed(ADDRESS).records()] == keys_of(range(3))
    (one,) = [r for r in open_reviewed(ADDRESS).records() if r.key == "k000001"]
    assert (one.alpha == 1).all()
    # What is decided later is read by whoever opens it later.
    log.append(Decision(new_id(), "verdict", "k000002", "Ann", log.time(), verdict="reject"))
    push_store(tmp_path / "s", ADDRESS)
    assert read_decisions(ADDRESS).rows == read_decisions(tmp_path / "s").rows
    assert [r.key for r in open_reviewed(ADDRESS).records()] == keys_of(range(2))
    assert validate_store(ADDRESS) == []


def test_what_is_damaged_is_not_sent_and_is_told_there(tmp_path, memory):
    write(tmp_path / "s", range(9), shard_rows=3)
    file = tmp_path / "s" / "shard-00001.parquet"
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"shard-00001\.parquet is damaged"):
        push_store(tmp_path / "s", ADDRESS)
    assert "shard-00001.parquet" not in names(memory)
    file.unlink()
    with pytest.raises(ValueError, match=r"shard \S+shard-00001\.parquet is missing"):
        push_store(tmp_path / "s", ADDRESS)
    file.write_bytes(whole)
    push_store(tmp_path / "s", ADDRESS)
    memory.pipe_file("/bucket/place/store/shard-00001.parquet", bytes(damaged))
    (told,) = validate_store(ADDRESS)
    assert told == (
        f"shard {ADDRESS}/shard-00001.parquet is damaged: its checksum is not the manifest's"
    )
    memory.pipe_file("/bucket/place/store/shard-00001.parquet", whole[:-1])
    with pytest.raises(ValueError, match=rf"{ADDRESS}/shard-00001.parquet is damaged: \d+ bytes"):
        open_store(ADDRESS)
    assert push_store(tmp_path / "s", ADDRESS).sent == 1
    assert validate_store(ADDRESS) == []


def test_a_place_with_something_else_is_refused(tmp_path, memory):
    write(tmp_path / "s", range(3))
    memory.pipe_file("/bucket/place/store/patients.csv", b"a")
    with pytest.raises(ValueError, match=f"{ADDRESS} is not a label store"):
        push_store(tmp_path / "s", ADDRESS)
    with StoreWriter(tmp_path / "other", {"crop": 64}) as writer:
        writer.append(row(1))
    push_store(tmp_path / "other", "memory://bucket/other")
    with pytest.raises(ValueError, match="must be a new place or have this store, got memory"):
        push_store(tmp_path / "s", "memory://bucket/other")
    assert open_store("memory://bucket/other").keys == keys_of([1])
    with pytest.raises(ValueError, match=r"address must be one .*, got 'store'"):
        push_store(tmp_path / "s", "store")
    with pytest.raises(FileNotFoundError, match="no label store at memory://bucket/none"):
        open_store("memory://bucket/none")


class Killed(BaseException):
    pass


def dying(after, kill):
    """`write` and `remove` that end the process, as it were, before or after doing the N-th."""
    left = [after]
    made = {name: getattr(RemoteFile, name) for name in ("write", "remove")}

    def stand_in(name):
        def act(self, *arguments):
            left[0] -= 1
            if left[0] == 0 and kill == "before":
                raise Killed
            made[name](self, *arguments)
            if left[0] == 0:
                raise Killed

        return act

    return {name: stand_in(name) for name in made}


@pytest.mark.parametrize("kill", ["before", "after"])
def test_a_push_that_is_killed_anywhere_is_repeated(tmp_path, monkeypatch, memory, kill):
    monkeypatch.setattr(push, "SHARDS_A_MANIFEST", 2)
    write(tmp_path / "s", range(8), shard_rows=2)
    shutil.copytree(tmp_path / "s", tmp_path / "t")
    compact_store(tmp_path / "t", 4)
    every = rows_of(tmp_path / "s")
    for after in range(1, 40):
        memory.store.clear()
        died = 0
        for store in ("s", "t"):
            with monkeypatch.context() as patch:
                for name, act in dying(after, kill).items():
                    patch.setattr(RemoteFile, name, act)
                try:
                    push_store(tmp_path / store, ADDRESS)
                except Killed:
                    died += 1
            # Whoever reads meanwhile is given rows of the store, once each, or told.
            try:
                found = rows_of(ADDRESS)
                assert all(r in every for r in found)
                assert len({r[0] for r in found}) == len(found)
            except (FileNotFoundError, ValueError):
                pass
            push_store(tmp_path / store, ADDRESS)
            assert rows_of(ADDRESS) == every
        if not died:
            break
    assert 6 < after < 39


class Flaky:
    """A file system of which every call may fail, or give less than was asked for."""

    def __init__(self, system, draw):
        self.system, self.draw = system, draw
        self.protocol, self.failed, self.last = system.protocol, 0, False

    def __getattr__(self, name):
        made = getattr(self.system, name)
        if name not in ("cat_file", "pipe_file", "info", "ls", "rm_file", "isfile"):
            return made

        def call(*arguments, **options):
            # Not twice in a row: four in a row is a failure.
            self.last = not self.last and self.draw.random() < 0.5
            self.failed += self.last
            if self.last and (name != "cat_file" or self.draw.random() < 0.5):
                raise OSError("503 Slow Down")
            found = made(*arguments, **options)
            return found[: len(found) // 2] if self.last else found

        return call


def test_what_fails_now_and_then_is_tried_again(tmp_path, monkeypatch, waits):
    write(tmp_path / "s", range(30), shard_rows=4)
    made = RemoteFile._system
    systems = {}

    def system(self):
        found, path = made(self)
        return systems.setdefault(0, Flaky(found, random.Random(3))), path

    monkeypatch.setattr(RemoteFile, "_system", system)
    push_store(tmp_path / "s", ADDRESS)
    assert rows_of(ADDRESS) == rows_of(tmp_path / "s")
    assert open_store(ADDRESS).read("k000011").key == "k000011" and validate_store(ADDRESS) == []
    assert systems[0].failed > 30 and set(waits) <= {1.0, 2.0}


def test_what_does_not_come_whole_is_told(tmp_path, monkeypatch, memory, waits):
    write(tmp_path / "s", range(3))
    push_store(tmp_path / "s", ADDRESS)
    made = type(memory).cat_file
    monkeypatch.setattr(type(memory), "cat_file", lambda *a, **o: made(*a, **o)[:-1])
    with pytest.raises(ValueError, match=rf"{ADDRESS}/_manifest.parquet: OSError: \d+ bytes came"):
        open_store(ADDRESS)
    assert waits == [1.0, 2.0, 4.0]


def test_what_needs_a_folder_is_refused(tmp_path, capsys):
    write(tmp_path / "s", range(3))
    push_store(tmp_path / "s", ADDRESS)
    for act, what in (
        (lambda: repair_store(ADDRESS), "be repaired"),
        (lambda: compact_store(ADDRESS), "be compacted"),
        (lambda: push_store(ADDRESS, "memory://b"), "be pushed"),
    ):
        with pytest.raises(ValueError, match=f"store must be a folder to {what}, got {ADDRESS}"):
            act()
    with pytest.raises(SystemExit):
        label.main(["demo", "--out", ADDRESS])
    assert f"--out: must be a folder, got the address {ADDRESS}" in capsys.readouterr().err
    assert not os.path.exists("memory:")


def test_the_commands_read_there(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("s", range(8), shard_rows=3)
    assert label.main(["push", "s", ADDRESS]) == 0
    assert capsys.readouterr().out.startswith("8 rows in 3 shards are there: 3 files sent, 0.0 MB")
    assert label.main(["check", ADDRESS]) == 0
    assert capsys.readouterr().out == "8 rows, all checksums right\n"
    assert label.main(["show", ADDRESS, "--count", "2"]) == 0
    assert "rows: 8\n" in capsys.readouterr().out and os.path.isdir("store-sheets")
    assert label.main(["export", ADDRESS, "--format", "png", "--out", "pictures"]) == 0
    assert label.main(["export", "s", "--format", "png", "--out", "here"]) == 0
    assert sorted(os.listdir("pictures")) == sorted(os.listdir("here"))
    assert label.main(["check", ADDRESS, "--repair"]) == 2
    assert "store must be a folder to be repaired" in capsys.readouterr().err
