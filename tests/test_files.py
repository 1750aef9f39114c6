"""Files that are there whole or not at all."""

import json
import os
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from dsnet import files


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
