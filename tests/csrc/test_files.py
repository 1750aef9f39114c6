"""Files read whole, in compiled code: what they hold, or nothing where anything is odd."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fuzz.random_files import png_chunk, png_file

from dsnet import _C
from dsnet.data.picture_file import read_regular_file

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
MOST = 2**20


def read(places, most=MOST):
    """Which place it is, and its bytes."""
    found = _C.read_file(places, most)
    return None if found is None else (found[0], bytes(found[1]))


def png_of(size, seed=0):
    """A plain PNG of some size in parts of random bytes, and what they are together."""
    rng = np.random.default_rng([seed, size])
    parts = [rng.bytes(int(n)) for n in rng.integers(0, size, 4)]
    return png_file((5, 7, 8, 0, 0, 0, 0), *(png_chunk(b"IDAT", one) for one in parts)), b"".join(
        parts
    )


@pytest.mark.parametrize("size", [1, 4095, 4096, 150_001])
def test_a_file_is_read_whole(tmp_path, size):
    data = np.random.default_rng(size).bytes(size)
    (tmp_path / "here").write_bytes(data)
    (tmp_path / "link").symlink_to("here")
    for path in (tmp_path / "here", str(tmp_path / "link"), os.fsencode(tmp_path / "here")):
        assert read([path], size) == (0, data)
        assert _C.read_file([path], size - 1) is None
        assert read_regular_file(os.fsdecode(path), size) == data
    with pytest.raises(ValueError, match=f"here: must be of at most {size - 1} bytes, got {size}"):
        read_regular_file(tmp_path / "here", size - 1)


def test_the_first_that_is_there_is_meant(tmp_path):
    for name in ("a", "b", "\udcff\u00e9"):
        (tmp_path / name).write_bytes(os.fsencode(name))
    absent, below_a_file = tmp_path / "no" / "c", tmp_path / "a" / "c"
    places = [absent, below_a_file, tmp_path / "b", tmp_path / "a"]
    assert read(places) == (2, b"b")
    assert read(tuple(places[1:])) == (1, b"b")
    assert read([tmp_path / "\udcff\u00e9"]) == (0, b"\xff\xc3\xa9")
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


def test_what_was_read_is_asked_and_taken_once(tmp_path):
    data, inside = png_of(3000)
    (tmp_path / "a").write_bytes(data)
    _, file = _C.read_file([tmp_path / "a"], MOST)
    assert bytes(file) == data
    assert file.startswith(data) and file.startswith(b"")
    assert not file.startswith(data + b"1") and not file.startswith(b"\x89PNg")
    found = _C.png_data(file)[3]
    assert bytes(found) == inside and found.file() == data
    for asked in (lambda: _C.png_data(file), lambda: bytes(file), lambda: file.startswith(b"")):
        with pytest.raises(ValueError, match="file must be as it was read, got one that was taken"):
            asked()
    view = memoryview(found)
    assert view.readonly and view.nbytes == len(inside)


def test_memory_is_used_again_and_never_by_two(tmp_path):
    def where(found):
        return np.frombuffer(found[3], np.uint8).ctypes.data

    data, _ = png_of(100_000)
    (tmp_path / "a").write_bytes(data)
    first, second = (_C.png_data(_C.read_file([tmp_path / "a"], MOST)[1]) for _ in range(2))
    place, other = where(first), where(second)
    assert place != other
    view = memoryview(first[3])
    del first
    third = _C.png_data(_C.read_file([tmp_path / "a"], MOST)[1])
    assert where(third) not in (place, other)  # a view keeps it
    del view
    assert where(_C.png_data(_C.read_file([tmp_path / "a"], MOST)[1])) == place


def test_threads_read_each_its_own(tmp_path):
    files = [png_of(size) for size in (10, 3000, 70_000, 150_000, 300_000)]
    for number, (data, _) in enumerate(files):
        (tmp_path / str(number)).write_bytes(data)

    def look(seed):
        kept = []
        for number in np.random.default_rng(seed).integers(0, len(files), 60).tolist():
            kept.append((number, _C.png_data(_C.read_file([tmp_path / str(number)], MOST)[1])[3]))
            number, found = kept[seed % len(kept)]
            assert bytes(found) == files[number][1]
            if len(kept) > 5:
                del kept[:3]
        return all(found.file() == files[number][0] for number, found in kept)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(look, range(16)))
