"""Small shards merged, and stores whose writer or merger is killed anywhere."""

import errno
import os
import random
import signal
import subprocess
import sys

import pytest
from store_rows import keys_of, row, rows_of, write

from dsnet import files, label
from dsnet.data.store import (
    StoreWriter,
    compact_store,
    open_store,
    repair_store,
    validate_store,
)
from dsnet.data.store.manifest import MANIFEST, MERGE


@pytest.mark.parametrize("shard_rows", [1, 7, 50, 1000])
def test_compacting_changes_nothing_but_the_shards(tmp_path, shard_rows, capsys):
    write(tmp_path / "s", range(60), shard_rows=3)
    before = rows_of(tmp_path / "s")
    settings = open_store(tmp_path / "s").manifest
    code = label.main(["compact", str(tmp_path / "s"), "--shard-rows", str(shard_rows)])
    after = {1: 20, 7: 10, 50: 2, 1000: 1}[shard_rows]
    assert code == 0 and capsys.readouterr().out == f"20 shards are now {after}\n"
    assert rows_of(tmp_path / "s") == before and validate_store(tmp_path / "s") == []
    store = open_store(tmp_path / "s")
    assert {**settings, "shards": 0} == {**store.manifest, "shards": 0}
    names = sorted(os.listdir(tmp_path / "s"))
    assert len(names) == after + 1 and names[0] == MANIFEST
    with StoreWriter(tmp_path / "s", {}, resume=True) as writer:
        writer.append(row(60))
    assert open_store(tmp_path / "s").keys == keys_of(range(61))


def test_a_full_disk_is_named_and_no_merged_part_is_left_on_it(tmp_path, monkeypatch):
    write(tmp_path / "s", range(60), shard_rows=3)
    before = rows_of(tmp_path / "s")
    real_write = os.write

    def full(descriptor, some):
        if len(some) < 3000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, some[:2048])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}"):
            compact_store(tmp_path / "s")
    assert not [name for name in os.listdir(tmp_path / "s") if name.startswith(MERGE)]
    assert rows_of(tmp_path / "s") == before and validate_store(tmp_path / "s") == []


def test_a_damaged_shard_is_not_merged(tmp_path):
    write(tmp_path / "s", range(12), shard_rows=3)
    file = tmp_path / "s" / "shard-00002.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"shard-00002.parquet is damaged.*--repair"):
        compact_store(tmp_path / "s")
    assert file.read_bytes() == data
    (told,) = repair_store(tmp_path / "s")
    assert told.endswith("(3 rows lost)")
    assert compact_store(tmp_path / "s")[1] == 1
    assert open_store(tmp_path / "s").keys == keys_of([0, 1, 2, 3, 4, 5, 9, 10, 11])


# Dies at the N-th thing that it does to the disk.
DYING = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from dsnet.data.store import compact_store
from dsnet.data.store import account
from store_rows import row
from dsnet.data.store import StoreWriter
left = int(sys.argv[2])
def dying(real):
    def call(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call
for name in ("replace", "unlink", "fsync", "write", "rename"):
    setattr(os, name, dying(getattr(os, name)))
account.FEW_SHARDS = 3
if sys.argv[4] == "compact":
    compact_store(sys.argv[1], 7)
else:
    with StoreWriter(sys.argv[1], {}, shard_rows=2, shard_seconds=1e9, resume=True) as writer:
        for number in range(24):
            if row(number).key not in writer.done:
                writer.append(row(number))
"""


def die(path, at, what):
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(path), str(at), here, what],
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_a_compaction_killed_anywhere_has_every_row_once(tmp_path, monkeypatch, seed):
    write(tmp_path / "s", range(24), shard_rows=2)
    before, draw = rows_of(tmp_path / "s"), random.Random(seed)
    for _ in range(8):
        done = die(tmp_path / "s", draw.randrange(1, 40), "compact")
        assert rows_of(tmp_path / "s") == before and validate_store(tmp_path / "s") == []
        if draw.random() < 0.3:
            StoreWriter(tmp_path / "s", {}, resume=True).close()
            assert not [n for n in os.listdir(tmp_path / "s") if n.startswith(".merge-")]
            assert rows_of(tmp_path / "s") == before
        if done:
            break
    monkeypatch.setattr(files, "_cleared", set())  # As any other process.
    compact_store(tmp_path / "s")
    assert rows_of(tmp_path / "s") == before and validate_store(tmp_path / "s") == []
    assert sorted(os.listdir(tmp_path / "s")) == [MANIFEST, "shard-00000.parquet"]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_writer_killed_anywhere_has_every_row_once(tmp_path, seed):
    draw = random.Random(seed)
    for _ in range(8):
        done = die(tmp_path / "s", draw.randrange(1, 50), "write")
        if (tmp_path / "s" / MANIFEST).exists():
            found = open_store(tmp_path / "s").keys
            assert found == keys_of(range(len(found))) and validate_store(tmp_path / "s") == []
        if done:
            break
    write(tmp_path / "t", range(24), shard_rows=2)
    with StoreWriter(tmp_path / "s", {}, resume=True, shard_rows=2) as writer:
        for number in range(24):
            if row(number).key not in writer.done:
                writer.append(row(number))
    assert rows_of(tmp_path / "s") == rows_of(tmp_path / "t")
    assert validate_store(tmp_path / "s") == []
