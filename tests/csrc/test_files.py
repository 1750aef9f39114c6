"""Files read whole, in compiled code: what they hold, or nothing where anything is odd."""

import os
from pathlib import Path

import numpy as np
import pytest

from dsnet import _C
from dsnet.data.picture_file import read_regular_file

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
MOST = 2**20


@pytest.mark.parametrize("size", [1, 4095, 4096, 150_001])
def test_a_file_is_read_whole(tmp_path, size):
    data = np.random.default_rng(size).bytes(size)
    (tmp_path / "here").write_bytes(data)
    (tmp_path / "link").symlink_to("here")
    for path in (tmp_path / "here", str(tmp_path / "link"), os.fsencode(tmp_path / "here")):
        assert _C.read_file([path], size) == (0, data)
        assert _C.read_file([path], size - 1) is None
        assert read_regular_file(os.fsdecode(path), size) == data
    with pytest.raises(ValueError, match=f"here: must be of at most {size - 1} bytes, got {size}"):
        read_regular_file(tmp_path / "here", size - 1)


def test_the_first_that_is_there_is_meant(tmp_path):
    for name in ("a", "b", "\udcff\u00e9"):
        (tmp_path / name).write_bytes(os.fsencode(name))
    absent, below_a_file = tmp_path / "no" / "c", tmp_path / "a" / "c"
    places = [absent, below_a_file, tmp_path / "b", tmp_path / "a"]
    assert _C.read_file(places, MOST) == (2, b"b")
    assert _C.read_file(tuple(places[1:]), MOST) == (1, b"b")
    assert _C.read_file([tmp_path / "\udcff\u00e9"], MOST) == (0, b"\xff\xc3\xa9")
    for places in ([], [absent], [absent, below_a_file]):
        assert _C.read_file(places, MOST) is None


def test_what_is_odd_is_not_read_and_none_behind_it(tmp_path):
    (tmp_path / "plain").write_bytes(b"data")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    odd = [tmp_path / "pipe", tmp_path / "empty", tmp_path / "loop", tmp_path, "/dev/zero"]
    odd += [f"{tmp_path}/plain\0", f"{tmp_path}/{'a' * 300}", "/proc/self/status"]
    for path in odd:
        assert _C.read_file([path, tmp_path / "plain"], MOST) is None
    assert read_regular_file(tmp_path / "empty", MOST) == b""
    assert b"Name:" in read_regular_file("/proc/self/status", MOST)
    for path in (5, None, [tmp_path]):
        with pytest.raises(TypeError):
            _C.read_file([path], MOST)


def test_no_descriptor_is_left_open(tmp_path):
    (tmp_path / "plain").write_bytes(b"data")
    before = len(list(Path("/dev/fd").iterdir()))
    for most in (3, MOST):
        for path in (tmp_path / "plain", tmp_path, tmp_path / "none"):
            _C.read_file([path], most)
    assert len(list(Path("/dev/fd").iterdir())) == before
