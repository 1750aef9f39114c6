"""Stores that are written at an address: as in a folder, whatever fails or dies meanwhile."""

import json
import os
import random
import threading
import time

import pytest
from memory_bucket import ADDRESS, names
from store_rows import keys_of, row, rows_of, write

from dsnet.archive import label_archive
from dsnet.archive.jobs import phantom_jobs
from dsnet.data.remote import RemoteFile
from dsnet.data.store import StoreWriter, account, lease, open_store, validate_store
from dsnet.data.store import keys as keys_module
from dsnet.data.store import writer as writer_module
from dsnet.data.store.account import ShardAccount
from dsnet.data.store.lease import Lease
from dsnet.data.store.lock import LOCK
from dsnet.data.store.manifest import MANIFEST
from dsnet.data.store.push import push_store
from dsnet.data.store.stage import Recipe, ShardBuilder

pytestmark = pytest.mark.usefixtures("memory", "waits")


def staged(writer, numbers):
    builder = ShardBuilder(writer.recipe)
    for number in numbers:
        builder.take(row(number))
    return builder.stage()


@pytest.mark.parametrize("few", [64, 2])
def test_the_same_store_as_in_a_folder(tmp_path, monkeypatch, memory, few):
    monkeypatch.setattr(account, "FEW_SHARDS", few)
    here, there = (write(place, range(20), shard_rows=3) for place in (tmp_path / "s", ADDRESS))
    assert rows_of(ADDRESS) == rows_of(tmp_path / "s") and validate_store(ADDRESS) == []
    assert there.manifest["counts"] == here.manifest["counts"]
    assert [e["rows"] for e in there.manifest["shards"]] == [3] * 6 + [2]
    assert names(memory) == [MANIFEST, *there.shards]
    # From a machine that has nothing of it.
    with StoreWriter(ADDRESS, {}, resume=True) as writer:
        assert "k000019" in writer.done and len(writer.stored()) == 20
        with pytest.raises(ValueError, match="key must be new to the store, got 'k000007' again"):
            writer.append(row(7))
        writer.append(row(20))
    write(tmp_path / "more", range(21))
    with StoreWriter(ADDRESS, {}, resume=True, retry_failed=True) as writer:
        for number in range(21):
            if row(number).status == "failed":
                writer.append(row(number))
    assert sorted(rows_of(ADDRESS)) == rows_of(tmp_path / "more")
    assert validate_store(ADDRESS) == []
    with pytest.raises(ValueError, match="setting 'crop' differs from the store's"):
        StoreWriter(ADDRESS, {"crop": 64}, resume=True)
    with pytest.raises(FileExistsError, match=f"{ADDRESS} is not empty: pass resume=True"):
        StoreWriter(ADDRESS, {})
    # It is a store as any other: a folder's goes on there.
    push_store(tmp_path / "s", "memory://bucket/pushed")
    write("memory://bucket/pushed", range(20, 22), resume=True)
    assert open_store("memory://bucket/pushed").keys == keys_of(range(22))


def test_shards_of_other_processes_are_taken_in(memory):
    with StoreWriter(ADDRESS, {}) as writer:
        for numbers, new, again in (
            ([0, 1, 1], [0, 1], [1]),
            ([2, 3], [2, 3], []),
            ([1, 0], [], [1, 0]),
            ([3, 4], [4], [3]),
        ):
            name, left_out = writer.commit(staged(writer, numbers))
            assert [r.key for r in writer.records(name)] == keys_of(new)
            assert left_out == keys_of(again)
        writer.append(row(5))
        staged(writer, [6])  # Whoever made it died.
    assert open_store(ADDRESS).keys == keys_of(range(6)) and validate_store(ADDRESS) == []
    assert names(memory) == [MANIFEST, *open_store(ADDRESS).shards]


def test_keys_are_kept_there(monkeypatch, memory):
    for name, value in (("FEW", 4), ("LEAST_RUN", 8)):
        monkeypatch.setattr(keys_module, name, value)
    monkeypatch.setattr(writer_module, "FEW", 4)
    write(ADDRESS, range(30), shard_rows=4)
    runs = [name for name in names(memory) if name.startswith("_keys-")]
    assert runs
    read = []
    made = ShardAccount._keys_of
    counted = lambda self, name: read.append(name) or made(self, name)  # noqa: E731
    monkeypatch.setattr(ShardAccount, "_keys_of", counted)
    with StoreWriter(ADDRESS, {}, resume=True) as writer:
        assert read == [] and "k000030" not in writer.done and read == []
        assert "k000029" in writer.done and read == ["shard-00007.parquet"]
        for number in range(30, 60):
            writer.append(row(number))
    assert open_store(ADDRESS).keys == keys_of(range(60)) and validate_store(ADDRESS) == []
    there = [name for name in names(memory) if name.startswith("_keys-")]
    assert there and not set(there) & set(runs)


class Killed(BaseException):
    pass


def dying(after):
    """What changes the address ends the process, as it were, once it did so for the N-th time."""
    left = [after]
    made = {name: getattr(RemoteFile, name) for name in ("write", "remove", "copy")}

    def stand_in(name):
        def act(self, *arguments):
            left[0] -= 1
            if left[0] >= 0:
                made[name](self, *arguments)
            if left[0] <= 0:
                raise Killed

        return act

    return {name: stand_in(name) for name in made}


def test_a_run_that_is_killed_anywhere_goes_on(monkeypatch, memory, tmp_path):
    monkeypatch.setattr(account, "FEW_SHARDS", 2)
    write(tmp_path / "s", range(10), shard_rows=2)
    every = rows_of(tmp_path / "s")
    for after in range(60):
        memory.store.clear()
        died = False
        with monkeypatch.context() as patch:
            for name, act in dying(after).items():
                patch.setattr(RemoteFile, name, act)
            try:
                with StoreWriter(ADDRESS, {}, shard_rows=2) as writer:
                    writer.commit(staged(writer, [0, 1]))
                    for number in range(2, 6):
                        writer.append(row(number))
                    writer.commit(staged(writer, [6, 7]))
            except Killed:
                died = True
        found = seen(ADDRESS)
        assert found == every[: len(found)] and len(found) % 2 == 0
        with StoreWriter(ADDRESS, {}, resume=True, shard_rows=2) as writer:
            stored = writer.stored()
            assert len(stored) in (len(found), len(found) + 2)
            for number in range(10):
                if f"k{number:06d}" not in stored:
                    writer.append(row(number))
        assert rows_of(ADDRESS) == every and validate_store(ADDRESS) == []
        assert names(memory) == [MANIFEST, *open_store(ADDRESS).shards]
        if not died:
            break
    assert 12 < after < 59


def seen(address):
    """The rows that a reader is given; none before there is a store."""
    try:
        return rows_of(address)
    except FileNotFoundError:
        return []
    except ValueError as error:
        assert "is not a label store" in str(error)  # Nothing but the lock.
        return []


class Flaky:
    """A file system of which every second call or so fails, before or after it was done."""

    def __init__(self, system, draw):
        self.system, self.draw = system, draw
        self.protocol, self.failed, self.last = system.protocol, 0, False

    def __getattr__(self, name):
        made = getattr(self.system, name)
        if name not in ("cat_file", "pipe_file", "info", "ls", "rm_file", "cp_file"):
            return made

        def call(*arguments, **options):
            self.last = not self.last and self.draw.random() < 0.5
            self.failed += self.last
            if self.last and self.draw.random() < 0.5:
                raise OSError("503 Slow Down")
            found = made(*arguments, **options)
            if self.last:
                raise OSError("the answer is lost")
            return found

        return call


def test_answers_that_fail_or_get_lost_change_nothing(monkeypatch, memory, tmp_path):
    made, systems = RemoteFile._system, {}

    def system(self):
        found, path = made(self)
        return systems.setdefault(0, Flaky(found, random.Random(5))), path

    monkeypatch.setattr(RemoteFile, "_system", system)
    monkeypatch.setattr(account, "FEW_SHARDS", 2)
    for numbers in (range(12), range(12, 24)):
        with StoreWriter(ADDRESS, {}, resume=True, shard_rows=3) as writer:
            for number in numbers[:6]:
                writer.append(row(number))
            writer.commit(staged(writer, numbers[6:]))
    write(tmp_path / "s", range(24), shard_rows=3)
    assert rows_of(ADDRESS) == rows_of(tmp_path / "s") and validate_store(ADDRESS) == []
    assert systems[0].failed > 60
    monkeypatch.undo()
    assert names(memory) == [MANIFEST, *open_store(ADDRESS).shards]


def test_a_lost_bucket_ends_the_run_and_leaves_the_store_whole(monkeypatch, memory, waits, capsys):
    made = RemoteFile._system

    class Lost:
        protocol = "memory"

        def invalidate_cache(self):
            """Nothing is asked."""

        def __getattr__(self, name):
            def call(*_, **__):
                raise OSError("no route to host")

            return call

    gone = []
    monkeypatch.setattr(RemoteFile, "_system", lambda self: (Lost(), "") if gone else made(self))
    builder = ShardBuilder(Recipe(ADDRESS, 16, b"{}"))
    builder.take(row(0))
    gone.append(True)
    with pytest.raises(OSError, match=r"memory://bucket/place/store/\.staged-.* no route to host"):
        builder.stage()
    assert len(builder) == 1 and 150 < sum(waits) < 200
    gone.clear()
    waits.clear()

    def jobs(done):
        for number, job in enumerate(phantom_jobs(8, 16)(done)):
            if number == 5:
                gone.append(True)
            yield job

    monkeypatch.setattr(StoreWriter, "add", one_row_shards)
    with pytest.raises(OSError, match=r"no route to host .*; the store there is whole, and resume"):
        label_archive(jobs, ADDRESS)
    assert 150 < sum(waits) < 200  # It waited for three minutes, once.
    gone.clear()
    before = len(open_store(ADDRESS))
    assert 0 < before < 8 and validate_store(ADDRESS) == []
    assert label_archive(phantom_jobs(8, 16), ADDRESS, resume=True).rows == 8


add = StoreWriter.add


def one_row_shards(self, record):
    self.shard_rows = 1
    return add(self, record)


def lock_of(**changed):
    told = {"id": "b" * 32, "host": "elsewhere", "machine": "0" * 16, "pid": 7}
    told["time"] = "2026-01-01T00:00:00+00:00"
    return json.dumps({**told, **changed}).encode()


def now(seconds=0.0):
    return lease.datetime.fromtimestamp(time.time() + seconds, lease.timezone.utc).isoformat()


def test_two_writers_are_kept_apart(memory, tmp_path):
    with StoreWriter(ADDRESS, {}) as writer:
        with pytest.raises(
            RuntimeError, match=f"another process is writing .* {ADDRESS}: {os.getpid()} on"
        ):
            StoreWriter(ADDRESS, {}, resume=True)
        writer.append(row(0))
    assert names(memory) == [MANIFEST, "shard-00000.parquet"]
    there = f"/bucket/place/store/{LOCK}"
    # One of another machine that was heard of a moment ago, and one that was not for long.
    memory.pipe_file(there, lock_of(time=now(-100)))
    with pytest.raises(RuntimeError, match=r"7 on elsewhere, heard of at .* 180 seconds later"):
        StoreWriter(ADDRESS, {}, resume=True)
    memory.pipe_file(there, lock_of(time=now(-200)))
    write(ADDRESS, [1], resume=True)
    # One of this machine whose process is dead, and one whose is not.
    own = lease._machine()
    memory.pipe_file(there, lock_of(time=now(), machine=own, pid=2**22 + 1))
    write(ADDRESS, [2], resume=True)
    memory.pipe_file(there, lock_of(time=now(), machine=own, pid=os.getppid()))
    with pytest.raises(RuntimeError, match="another process"):
        StoreWriter(ADDRESS, {}, resume=True)
    for damaged in (b"", b"{}", b"[1]", lock_of(pid="x"), lock_of(time="yesterday"), b"\xff"):
        memory.pipe_file(there, damaged)
        with pytest.raises(RuntimeError, match=r"\.lock must be the lock of a run, got .*: remove"):
            StoreWriter(ADDRESS, {}, resume=True)
    memory.rm_file(there)
    assert open_store(ADDRESS).keys == keys_of(range(3))


def test_nobody_pushes_where_a_run_writes(memory, tmp_path):
    write(tmp_path / "s", range(2))
    push_store(tmp_path / "s", ADDRESS)
    with (
        StoreWriter(ADDRESS, {}, resume=True),
        pytest.raises(RuntimeError, match="another process is writing to the store"),
    ):
        push_store(tmp_path / "s", ADDRESS)
    assert push_store(tmp_path / "s", ADDRESS).sent == 0
    assert names(memory) == [MANIFEST, "shard-00000.parquet", "shard-00001.parquet"]


def test_one_that_was_taken_over_stops(memory, monkeypatch):
    writer = StoreWriter(ADDRESS, {}, shard_rows=1)
    writer.append(row(0))
    # It slept, and somebody else began.
    memory.pipe_file(f"/bucket/place/store/{LOCK}", lock_of(time=now()))
    monkeypatch.setattr(lease, "LEASE_SECONDS", -1.0)
    for act in (lambda: writer.append(row(1)), writer.flush, writer.close):
        with pytest.raises(RuntimeError, match="another process has taken over"):
            act()
    assert open_store(ADDRESS).keys == keys_of([0])
    assert json.loads(memory.cat_file(f"/bucket/place/store/{LOCK}"))["host"] == "elsewhere"


def test_a_lease_is_renewed(memory, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)
    there = f"/bucket/place/store/{LOCK}"
    held = Lease(RemoteFile(ADDRESS))
    put = threading.Event()
    made = memory.pipe_file
    monkeypatch.setattr(
        type(memory), "pipe_file", lambda self, *a, **o: (made(*a, **o), put.set())[0]
    )
    assert put.wait(60)
    memory.rm_file(there)  # Somebody took it for a left-over.
    put.clear()
    assert put.wait(60)
    held.require()
    held.release()
    assert not memory.exists(there)
