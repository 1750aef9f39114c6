"""The label store: resuming, locks, crashes and damage."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dsnet.data.store import LabelRecord, StoreWriter, open_store, validate_store
from dsnet.data.store.lock import StoreLock


def make(key="a", seed=0):
    random = np.random.default_rng(seed)
    alpha = random.random((12, 10), dtype=np.float32)
    return LabelRecord(
        key=key,
        image=random.random((12, 10), dtype=np.float32),
        alpha=alpha,
        binary=alpha >= 0.5,
        trimap=random.choice(np.array([0, 128, 255], np.uint8), (12, 10)),
        quality={"overall": 0.75},
        seconds={"cut": 0.001},
    )


def failed(key, error="truncated PNG"):
    return LabelRecord.from_error(key, "series/002.png", ValueError(error))


def write(path, records, settings=None, **options):
    # Shards by their rows: time is the machine's.
    with StoreWriter(path, settings or {"crop": 64}, shard_seconds=1e9, **options) as writer:
        for record in records:
            writer.append(record)
    return open_store(path)


def test_duplicate_keys_are_refused(tmp_path):
    with StoreWriter(tmp_path, {}, shard_rows=1) as writer:
        writer.append(make("a"))
        with pytest.raises(ValueError, match="'a' again"):
            writer.append(make("a"))
    with (
        StoreWriter(tmp_path, {}, resume=True) as writer,
        pytest.raises(ValueError, match="'a' again"),
    ):
        writer.append(make("a"))
    assert open_store(tmp_path).keys == ["a"]


def test_resume_goes_on(tmp_path):
    write(tmp_path, [make("a"), failed("b")], {"crop": 64, "sizes": (1, 2)})
    first = open_store(tmp_path).manifest
    with StoreWriter(tmp_path, {"crop": 64, "sizes": (1, 2)}, resume=True) as writer:
        assert writer.done == {"a", "b"}
        writer.append(make("c"))
    store = open_store(tmp_path)
    assert store.keys == ["a", "b", "c"]
    assert store.manifest["created"] == first["created"]
    assert store.manifest["counts"] == {"rows": 3, "ok": 2, "failed": 1}
    assert store.validate() == []


def test_resume_can_retry_failed_rows(tmp_path):
    records = [make("a"), failed("b"), failed("c"), failed("d")]
    write(tmp_path, records, shard_rows=2)
    with StoreWriter(tmp_path, {"crop": 64}, resume=True, retry_failed=True) as writer:
        assert writer.done == {"a"}
        writer.append(make("b"))
        writer.append(failed("c", "again"))
    store = open_store(tmp_path)
    assert sorted(store.keys) == ["a", "b", "c"]
    assert store.read("b").status == "ok" and store.read("c").error == "again"
    assert store.manifest["counts"] == {"rows": 3, "ok": 2, "failed": 1}
    assert store.validate() == []


def test_interrupted_retry_loses_no_good_row(tmp_path, monkeypatch):
    def interrupted(writer, name, table):
        raise KeyboardInterrupt

    write(tmp_path, [make("a"), failed("b")])
    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "_write_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            StoreWriter(tmp_path, {"crop": 64}, resume=True, retry_failed=True)
    assert open_store(tmp_path).keys == ["a", "b"]
    with StoreWriter(tmp_path, {"crop": 64}, resume=True, retry_failed=True) as writer:
        assert writer.done == {"a"}
    assert open_store(tmp_path).keys == ["a"]
    assert validate_store(tmp_path) == []


def test_folder_of_a_run_killed_at_its_start_counts_as_empty(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".tmp-1-manifest.json").write_text("{")
    assert write(tmp_path, [make()]).keys == ["a"]
    assert sorted(os.listdir(tmp_path)) == ["_manifest.parquet", "shard-00000.parquet"]


def test_resume_of_nothing_starts_a_store(tmp_path):
    assert write(tmp_path / "new" / "store", [make()], resume=True).keys == ["a"]


def test_existing_folders_are_not_overwritten(tmp_path):
    write(tmp_path / "store", [make()])
    with pytest.raises(FileExistsError, match="resume"):
        StoreWriter(tmp_path / "store", {"crop": 64})
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "holiday.txt").write_text("x")
    with pytest.raises(FileExistsError, match="foreign"):
        StoreWriter(foreign, {})
    assert os.listdir(foreign) == ["holiday.txt"]
    with pytest.raises(ValueError, match="not a label store"):
        StoreWriter(foreign, {}, resume=True)
    with pytest.raises(FileExistsError, match="is a file"):
        StoreWriter(foreign / "holiday.txt", {})


def test_different_settings_are_named(tmp_path):
    write(tmp_path, [make()], {"crop": 64, "window": [-1500, 500]})
    with pytest.raises(ValueError, match=r"'crop'.* 96, the store has 64"):
        StoreWriter(tmp_path, {"crop": 96, "window": [-1500, 500]}, resume=True)
    with pytest.raises(ValueError, match=r"'window'"):
        StoreWriter(tmp_path, {"crop": 64}, resume=True)
    with pytest.raises(ValueError, match="alpha_bits"):
        settings = {"crop": 64, "window": (-1500, 500)}
        StoreWriter(tmp_path, settings, alpha_bits=8, resume=True)
    # A refused writer leaves no lock behind.
    StoreWriter(tmp_path, {"crop": 64, "window": [-1500, 500]}, resume=True).close()


def test_second_writer_is_refused(tmp_path):
    with StoreWriter(tmp_path, {}) as writer:
        writer.append(make())
        with pytest.raises(RuntimeError, match="another process is writing"):
            StoreWriter(tmp_path, {}, resume=True)
    with StoreWriter(tmp_path, {}, resume=True) as writer:
        assert writer.done == {"a"}
    with pytest.raises(ValueError, match="closed"):
        writer.append(make("b"))


def test_interrupt_keeps_what_was_appended(tmp_path):
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path, {}) as writer:
        writer.append(make())
        raise KeyboardInterrupt
    assert open_store(tmp_path).keys == ["a"]


def test_interrupted_flush_can_be_repeated(tmp_path, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path, {}) as writer:
        writer.append(make())
        with monkeypatch.context() as patch:
            # After the shard has its name, before the manifest knows it.
            patch.setattr(writer._account, "write", interrupted)
            writer.flush()
    store = open_store(tmp_path)
    assert store.keys == ["a"] and len(os.listdir(tmp_path)) >= 2
    with StoreWriter(tmp_path, {}, resume=True) as writer:
        assert writer.done == {"a"}
    assert [shard["rows"] for shard in open_store(tmp_path).manifest["shards"]] == [1]
    assert store.validate() == []


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks_a_writer_goes_on_with_a_warning(tmp_path, monkeypatch, caplog, number):
    def flock(descriptor, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert write(tmp_path, [make()]).keys == ["a"]
    (told,) = caplog.messages
    assert f"the file system has no locks ({os.strerror(number)})" in told


def test_a_lock_that_fails_otherwise_is_no_lock(tmp_path, monkeypatch):
    def flock(descriptor, how):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output error"):
        write(tmp_path, [make()])


def test_a_lock_is_that_of_the_file_that_has_its_name(tmp_path, monkeypatch):
    first = StoreLock(tmp_path)
    real = fcntl.flock

    def flock(descriptor, how):
        # Its holder ends between the opening and the locking.
        first.release()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    second = StoreLock(tmp_path)
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="another process is writing"):
        StoreLock(tmp_path)
    second.release()
    second.release()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("retried", ["died", "die", lambda error: error == "died"])
def test_what_may_be_retried_is_chosen_by_its_reason(tmp_path, retried):
    write(tmp_path, [failed("a", "died"), failed("b"), make("c")], shard_rows=2)
    chosen = {"resume": True, "retry_failed": retried}
    with StoreWriter(tmp_path, {"crop": 64}, **chosen) as writer:
        assert writer.done == {"b", "c"}
    assert open_store(tmp_path).keys == ["b", "c"] and validate_store(tmp_path) == []


def test_no_row_is_read_where_no_reason_begins_as_those_that_are_retried(tmp_path, monkeypatch):
    errors = ["row 12: the worker is fine", "the workers/x died", "a.png: 7 is none", ""]
    write(tmp_path, [failed(f"k{n}", error) for n, error in enumerate(errors)], shard_rows=2)
    with monkeypatch.context() as patched:
        patched.setattr("dsnet.data.store.reader.LabelStore.shard_table", None)
        chosen = {"resume": True, "retry_failed": "the worker died on 3 files"}
        with StoreWriter(tmp_path, {"crop": 64}, **chosen) as writer:
            assert len(writer.done) == 4
    for retried, left in (("the workers/x d", [0, 2, 3]), ("row 1", [2, 3]), ("", [])):
        with StoreWriter(tmp_path, {"crop": 64}, resume=True, retry_failed=retried or True):
            pass
        assert open_store(tmp_path).keys == [f"k{n}" for n in left]


CRASH = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_store_safety import make
from dsnet.data import store
writer = store.StoreWriter({path!r}, {{}}, shard_rows=4, shard_seconds=1e9)
replace = os.replace
def replace_or_die(source, target):
    if {where!r} in str(target):
        if {after}:
            replace(source, target)
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = replace_or_die
for i in range(20):
    writer.append(make(f"k{{i}}", seed=i))
"""


@pytest.mark.parametrize(
    ("where", "after", "kept"),
    [("shard-00002", False, 8), ("shard-00002", True, 12), ("manifest", False, 4)],
)
def test_killed_run_loses_at_most_the_unwritten_shard(tmp_path, where, after, kept):
    path = tmp_path / "store"
    here = os.path.dirname(os.path.abspath(__file__))
    code = CRASH.format(tests=here, path=str(path), where=where, after=after)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert open_store(path).keys == [f"k{i}" for i in range(kept)]
    stale = [name for name in os.listdir(path) if name.startswith(".tmp-")]
    assert bool(stale) is not after
    # DuckDB's `*.parquet` takes hidden files, too, and would fail on half a shard.
    assert not [name for name in stale if name.endswith(".parquet")]
    with StoreWriter(path, {}, shard_rows=4, shard_seconds=1e9, resume=True) as writer:
        assert len(writer.done) == kept
        assert not [name for name in os.listdir(path) if name.startswith(".tmp-")]
        for i in range(20):
            if f"k{i}" not in writer.done:
                writer.append(make(f"k{i}", seed=i))
    store = open_store(path)
    assert store.keys == [f"k{i}" for i in range(20)]
    for i, record in enumerate(store):
        assert np.array_equal(record.binary, make(seed=i).binary)
    assert store.validate() == []


@pytest.mark.parametrize("damage", ["truncate", "empty", "remove", "flip"])
def test_damage_is_named(tmp_path, damage):
    write(tmp_path, [make(f"k{i}", seed=i) for i in range(4)], shard_rows=2)
    file = tmp_path / "shard-00001.parquet"
    data = bytearray(file.read_bytes())
    if damage == "truncate":
        file.write_bytes(data[:-10])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "remove":
        file.unlink()
    else:
        data[len(data) // 3] ^= 0xFF
        file.write_bytes(data)
    if damage != "flip":
        with pytest.raises(ValueError, match=r"shard-00001\.parquet"):
            open_store(tmp_path)
        with pytest.raises(ValueError, match=r"shard-00001\.parquet"):
            StoreWriter(tmp_path, {"crop": 64}, resume=True)
    assert any("shard-00001.parquet" in problem for problem in validate_store(tmp_path))


def test_damaged_manifest_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no label store"):
        open_store(tmp_path / "none")
    write(tmp_path, [make()])
    text = json.dumps(open_store(tmp_path).manifest)
    (tmp_path / "_manifest.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(ValueError, match=r"_manifest\.parquet is damaged"):
        open_store(tmp_path)
    pq.write_table(pa.table({"key": ["b"]}), tmp_path / "_manifest.parquet")
    with pytest.raises(ValueError, match=r"_manifest\.parquet is damaged: it has no text"):
        open_store(tmp_path)
    (tmp_path / "_manifest.parquet").unlink()
    manifest = tmp_path / "manifest.json"
    for wrong in (text[:50], "[]", "{}", json.dumps({**json.loads(text), "format": 99})):
        manifest.write_text(wrong)
        with pytest.raises(ValueError, match=r"manifest\.json"):
            open_store(tmp_path)
        assert validate_store(tmp_path)


def test_flipped_bytes_are_noticed_when_read(tmp_path):
    store = write(tmp_path, [make("k0", seed=0), make("k1", seed=1)])
    file = tmp_path / "shard-00000.parquet"
    data = file.read_bytes()
    # The image is noise, which no codec shrinks: its bytes stand in the file as they are.
    image = store.table(["image"])["image"][0].as_py()
    start = data.index(image[:16])
    for place in range(start, start + len(image), 7):
        file.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        with pytest.raises(ValueError, match=r"shard-00000\.parquet is damaged"):
            list(open_store(tmp_path))
        with pytest.raises(ValueError, match=r"shard-00000\.parquet is damaged"):
            open_store(tmp_path).read("k0")


def test_foreign_shards_are_named(tmp_path):
    write(tmp_path, [make()])
    foreign = pa.table({"key": ["b"], "status": ["ok"]})
    pq.write_table(foreign, tmp_path / "shard-00001.parquet")
    with pytest.raises(ValueError, match=r"shard-00001\.parquet is damaged: it has no column"):
        open_store(tmp_path)
    assert any("shard-00001.parquet" in problem for problem in validate_store(tmp_path))


def test_wrong_ways_to_read_are_named(tmp_path):
    store = write(tmp_path, [make()])
    with pytest.raises(TypeError, match="columns must be a list"):
        store.table("key")
    with pytest.raises(ValueError, match="status must be one of"):
        store.records("good")
    with pytest.raises(TypeError):
        store.read(0.5)
    with pytest.raises(ValueError, match="is a file"):
        open_store(tmp_path / "_manifest.parquet")
