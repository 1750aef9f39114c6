"""Files that are there whole or not at all."""

import contextlib
import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys

import cv2
import numpy as np
import pyarrow as pa
import pytest

from dsnet import files
from dsnet.data.store import shards


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.write_atomically(path, fail)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_file_appears_in_a_new_folder_with_the_umasks_rights(tmp_path):
    path = tmp_path / "new" / "folder" / "f.txt"
    before = os.umask(0o027)
    try:
        files.write_text(path, "Größe\n")
    finally:
        os.umask(before)
    assert path.read_bytes() == "Größe\n".encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(path.parent.iterdir()) == [path]


def test_the_unfinished_file_lies_beside_hidden_and_without_the_ending(tmp_path):
    seen = []

    def write(temporary):
        seen.append(temporary)
        temporary.write_text("x")

    for name in ("shard-00000.parquet", "n" * 200 + ".parquet"):
        files.write_atomically(tmp_path / name, write)
    assert len(set(seen)) == 2
    for temporary in seen:
        assert temporary.parent == tmp_path and temporary.name.startswith(files.TEMPORARY)
        assert temporary.suffix == "" and len(temporary.name) < 100


def test_file_and_folder_are_synced_around_the_renaming(tmp_path, monkeypatch):
    done = []
    real_sync, real_replace = files.sync, os.replace
    monkeypatch.setattr(files, "sync", lambda p: (done.append(("sync", p)), real_sync(p)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(("to", b)), real_replace(a, b)))
    files.write_bytes(tmp_path / "f", b"x")
    (first, temporary), named, last = done
    assert first == "sync" and temporary.name.startswith(files.TEMPORARY)
    assert named == ("to", tmp_path / "f") and last == ("sync", tmp_path)


KILLED = """
import os, signal, sys
from dsnet import files
from dsnet.data.store import shards
def write(temporary):
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
files.write_atomically(sys.argv[1], write)
"""


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "f.json"
    files.write_json(path, {"a": [1, None]})
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert json.loads(path.read_text()) == {"a": [1, None]}


@pytest.mark.parametrize(
    "shape, dtype", [((3, 4), np.uint8), ((3, 4), np.uint16), ((3, 4, 3), "u1")]
)
def test_a_png_comes_back_under_any_name(tmp_path, shape, dtype):
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    files.write_png(tmp_path / "ünï.picture", pixels)
    data = (tmp_path / "ünï.picture").read_bytes()
    assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), pixels)


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    def half(folder):
        (folder / "a").write_text("a")
        assert not (tmp_path / "out").exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.build_folder(tmp_path / "out", half)
    assert os.listdir(tmp_path) == []
    files.build_folder(tmp_path / "out", lambda folder: (folder / "a").write_text("a"))
    assert os.listdir(tmp_path) == ["out"] and os.listdir(tmp_path / "out") == ["a"]
    with pytest.raises(FileExistsError, match="out must be a new or empty folder"):
        files.build_folder(tmp_path / "out", half)


DEAD = """
import sys
from dsnet import files
from dsnet.data.store import shards
print(files._process())
"""


def process_that_ended():
    done = subprocess.run([sys.executable, "-c", DEAD], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_next_write_clears_what_killed_ones_left(tmp_path):
    dead, living = process_that_ended(), f"{files._process().split('-')[0]}-{os.getppid()}"
    far = "0" * 8
    gone = [f".tmp-{dead}-0-f", f".tmp-{dead.split('-')[1]}-7-shard", f".tmp-{far}-1-0-old"]
    kept = [f".tmp-{living}-0-f", f".tmp-{far}-{dead.split('-')[1]}-0-f", ".tmp-notes", "tmp-1-2"]
    for name in (*gone, *kept):
        (tmp_path / name).write_text("half")
    # Of another machine's processes nobody knows: after a day they are gone.
    os.utime(tmp_path / gone[-1], (0, 0))
    files.write_text(tmp_path / "f", "whole")
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "f"])
    # Once a process: a folder of thousands is not listed for each of its files.
    (tmp_path / gone[0]).write_text("half")
    files.write_text(tmp_path / "g", "whole")
    assert (tmp_path / gone[0]).exists()


KILLED_EXPORT = """
import os, signal, sys
from dsnet import files
from dsnet.data.store import shards
def write(folder):
    (folder / "a").write_text("a")
    os.kill(os.getpid(), signal.SIGKILL)
files.build_folder(sys.argv[1], write)
"""


def test_the_next_export_clears_what_killed_ones_left(tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", KILLED_EXPORT, str(out)])
        assert done.returncode == -signal.SIGKILL
        (left,) = tmp_path.iterdir()  # The first one's is gone.
        assert left.name.startswith(".out.tmp-")
    other = tmp_path / f".out.tmp-{files._process().split('-')[0]}-{os.getppid()}"
    other.mkdir()
    files.build_folder(out, lambda folder: (folder / "a").write_text("a"))
    assert sorted(tmp_path.iterdir()) == [other, out]


def test_two_do_not_fill_one_mount_point(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(tmp_path))
    other = tmp_path / f".{tmp_path.name}.tmp-{files._process().split('-')[0]}-{os.getppid()}"
    other.mkdir()
    fill = lambda folder: (folder / "a").write_text("a")  # noqa: E731
    with pytest.raises(FileExistsError, match="is being written"):
        files.build_folder(tmp_path, fill)
    assert list(tmp_path.iterdir()) == [other]
    other.rmdir()
    files.build_folder(tmp_path, fill)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_that_syncs_no_folders_is_told_once(tmp_path, monkeypatch, caplog, number):
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(files, "_warned", set())
    files.write_text(tmp_path / "f", "x")
    files.write_text(tmp_path / "f", "y")
    assert (tmp_path / "f").read_text() == "y"
    (told,) = caplog.messages
    assert "the file system syncs no folders" in told and os.strerror(number) in told


def test_a_full_disk_is_no_odd_file_system(tmp_path, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        files.write_text(tmp_path / "f", "x")
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def full_after(size):
    """No file grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_shard(path):
    noise = np.random.default_rng(0).bytes(5000)
    shards.write_shard(path, pa.table({"key": ["k"], "pixels": pa.array([noise])}))


def write_folder(path):
    files.build_folder(path, lambda folder: (folder / "part").write_bytes(bytes(5000)))


@pytest.mark.parametrize(
    "write", [lambda path: files.write_bytes(path, bytes(5000)), write_shard, write_folder]
)
def test_a_full_disk_is_told_with_the_file(tmp_path, write):
    with full_after(1000), pytest.raises(OSError, match=r"[Tt]oo large") as told:
        write(tmp_path / "mine")
    assert told.value.filename == str(tmp_path / "mine") and "/mine'" in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_names_a_file_keeps_it(tmp_path):
    with pytest.raises(FileNotFoundError) as told, files.telling(tmp_path / "other"):
        (tmp_path / "this").read_bytes()
    assert told.value.filename == str(tmp_path / "this")


def test_a_cell_is_no_formula():
    for text in ("=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r\n=1", "-", "=-1"):
        assert files.table_cell(text) == f"'{text}"
    for same in ("a=1", "-1.5", "+3e4", "", " ", -1.5, None, 7, ["=1"], "P-1"):
        assert files.table_cell(same) is same
