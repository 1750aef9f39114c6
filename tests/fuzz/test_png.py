"""Random PNG files, whole and damaged: what is read is what OpenCV reads, and what it refuses.

`pytest tests/fuzz/test_png.py --long` tries 10,000. A failure names the row that makes the same
file again.
"""

import os
import zlib

import cv2
import numpy as np
import pytest
from fuzz.random_files import random_png

from dsnet.data import png
from dsnet.data.picture_file import Picture
from dsnet.data.picture_headers import picture_size

ROWS = int(os.environ.get("DSNET_FUZZ_ROWS", 100_000)) // 10


def by_opencv(data):
    """Grey pixels, or None of a file that is none or damaged."""
    try:
        _, height, width = picture_size(data)
        if height * width > 2**24:
            return None
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except (ValueError, cv2.error):
        return None
    if pixels is None or pixels.shape[:2] != (height, width):
        return None
    if pixels.ndim == 3:
        grey = all(np.array_equal(pixels[..., 0], pixels[..., c]) for c in (1, 2))
        opaque = pixels.shape[2] == 3 or (pixels[..., 3] == np.iinfo(pixels.dtype).max).all()
        return pixels[..., 0] if grey and opaque else None
    return pixels


def read(data, *part):
    try:
        return Picture("a.png", data).pixels(*part)
    except ValueError:
        return None


def is_the_beginning(data, pixels):
    """Whether a file's stream begins with these rows, whatever comes after them."""
    position, stream = 8, b""
    while data[position + 4 : position + 8] != b"IEND":
        length = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == b"IDAT":
            stream += data[position + 8 : position + 8 + length]
        position += 12 + length
    width, size = int.from_bytes(data[16:20], "big"), pixels.itemsize
    row = 1 + width * size
    # Byte by byte, so that nothing is lost of what comes before an error.
    inflate, raw = zlib.decompressobj(), b""
    for i in range(len(stream)):
        try:
            raw += inflate.decompress(stream[i : i + 1])
        except zlib.error:
            break
    above, cols = [0] * (row - 1), pixels.shape[1] * size
    for y in range(len(pixels)):
        kind, *values = raw[y * row : (y + 1) * row]
        if len(values) != row - 1 or kind > 4:
            return False
        for i in range(row - 1):
            a, c = (values[i - size], above[i - size]) if i >= size else (0, 0)
            nearest = min((abs(above[i] - c), 0, a), (abs(a - c), 1, above[i]),
                          (abs(a + above[i] - 2 * c), 2, c))[2]  # fmt: skip
            values[i] = (values[i] + (0, a, above[i], (a + above[i]) // 2, nearest)[kind]) % 256
        if bytes(values[:cols]) != pixels[y].astype(f">u{size}").tobytes():
            return False
        above = values
    return True


def fuzz(seed, rows):
    counts = {"read": 0, "refused": 0, "read in part": 0}
    for row in rows:
        rng = np.random.default_rng([seed, row])
        data = random_png(rng)
        wanted, found = by_opencv(data), read(data)
        told = f"seed {seed}, row {row}"
        assert (wanted is None) == (found is None), told
        counts["refused" if found is None else "read"] += 1
        if found is not None:
            assert found.dtype == wanted.dtype and np.array_equal(found, wanted), told
        shape = (39, 39) if found is None else found.shape
        part = rng.integers(1, shape[0] + 1), rng.integers(1, shape[1] + 1)
        piece = read(data, *part)
        if found is not None:
            assert np.array_equal(piece, found[: part[0], : part[1]]), told
        elif piece is not None:
            # Its checksums are right, and its damage lies below what was wanted.
            counts["read in part"] += 1
            assert is_the_beginning(data, piece), told
    return counts


@pytest.fixture(params=["as installed", "zlib"])
def deflate(request, monkeypatch):
    if request.param == "zlib":
        monkeypatch.setattr(png, "_inflater", zlib.decompressobj)


def test_random_pngs(deflate):
    counts = fuzz(11, range(600))
    assert min(counts["read"], counts["refused"]) > 150 and counts["read in part"] > 3


@pytest.mark.long
def test_many_random_pngs(deflate):
    fuzz(12, range(ROWS))
