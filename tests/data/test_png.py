"""Plain PNG files: equal to OpenCV's pixels, read no further than wanted, damage refused."""

import zlib

import cv2
import numpy as np
import pytest
from fuzz.random_files import png_chunk, png_file

from dsnet.data import png
from dsnet.data.picture_file import Picture, open_picture, read_pixels
from dsnet.data.png import read_png
from shared_data import shared


@pytest.fixture(params=["as installed", "zlib"], autouse=True)
def deflate(request, monkeypatch):
    if request.param == "zlib":
        monkeypatch.setattr(png, "_inflater", zlib.decompressobj)


@pytest.fixture
def no_opencv(monkeypatch):
    def unwanted(*_):
        raise AssertionError("OpenCV was asked")

    monkeypatch.setattr(cv2, "imdecode", unwanted)


def noise(shape=(60, 50), dtype=np.uint16):
    rng = np.random.default_rng(1)
    return rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def stream_of(pixels):
    kind = f">u{pixels.itemsize}"
    return b"".join(b"\0" + row.astype(kind).tobytes() for row in pixels)


def as_png(pixels, stream=None, *beside):
    header = (pixels.shape[1], pixels.shape[0], 8 * pixels.itemsize, 0, 0, 0, 0)
    data = zlib.compress(stream_of(pixels)) if stream is None else stream
    return png_file(header, *beside, png_chunk(b"IDAT", data))


def compare_with_opencv(path):
    wanted = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if wanted.ndim == 3 and (wanted[..., :1] != wanted[..., :3]).any():
        with pytest.raises(ValueError, match="must be a grey image"):
            read_pixels(path)
        return
    if wanted.ndim == 3:
        wanted = wanted[..., 0]
    found = read_pixels(path)
    assert found.dtype == wanted.dtype and np.array_equal(found, wanted), path
    rng = np.random.default_rng(len(path.name))
    rows, cols = (int(rng.integers(1, side + 1)) for side in wanted.shape)
    part = open_picture(path).pixels(rows, cols)
    assert np.array_equal(part, wanted[:rows, :cols]), path


def test_real_slices_are_opencvs():
    files = [*shared("deeplesion").rglob("*.png"), *shared("lung_ct").rglob("*.png")]
    assert len(files) > 100
    for path in files:
        compare_with_opencv(path)


@pytest.mark.long
def test_every_png_at_hand_is_opencvs():
    files = sorted(shared(".").rglob("*.png"))
    assert len(files) > 1000
    for path in files:
        compare_with_opencv(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_opencv_writes_is_read_without_it(dtype, no_opencv):
    pixels = noise(dtype=dtype)
    for level in (0, 3, 9):
        data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes()
        assert np.array_equal(Picture("a.png", data).pixels(), pixels)


def test_nothing_is_inflated_below_the_last_row_wanted(no_opencv):
    pixels = noise()
    stream = zlib.compress(stream_of(pixels))
    whole = Picture("a.png", as_png(pixels, stream))
    cut = Picture("a.png", as_png(pixels, stream[: len(stream) // 2]))
    for rows, cols in ((1, 1), (20, 50), (25, 7)):
        assert np.array_equal(whole.pixels(rows, cols), pixels[:rows, :cols])
        assert np.array_equal(cut.pixels(rows, cols), pixels[:rows, :cols])
    assert np.array_equal(whole.pixels(10**6, 10**6), pixels)


def test_a_stream_that_is_cut_is_refused_where_it_is_wanted():
    pixels = noise()
    stream = zlib.compress(stream_of(pixels))
    cut = Picture("a.png", as_png(pixels, stream[: len(stream) // 2]))
    for part in ((), (40, 50), (60, 1)):
        with pytest.raises(ValueError, match=r"a\.png: the PNG could not be decoded"):
            cut.pixels(*part)


def test_adler_is_looked_at_where_all_rows_are_wanted():
    pixels = noise()
    stream = bytearray(zlib.compress(stream_of(pixels)))
    stream[-1] ^= 1
    wrong = Picture("a.png", as_png(pixels, bytes(stream)))
    assert np.array_equal(wrong.pixels(59, 50), pixels[:59])
    with pytest.raises(ValueError, match="could not be decoded"):
        wrong.pixels()


def test_damage_anywhere_is_refused_before_anything_is_inflated():
    data = as_png(noise())
    for at in range(8, len(data), 37):
        damaged = bytearray(data)
        damaged[at] ^= 16
        with pytest.raises(ValueError, match=r"damaged at byte|cut short after|does not begin"):
            Picture("a.png", bytes(damaged))


def test_a_bomb_is_not_inflated():
    pixels = noise((4, 4))
    bomb = zlib.compress(stream_of(pixels) + bytes(2**27))
    assert np.array_equal(Picture("a.png", as_png(pixels, bomb)).pixels(), pixels)


@pytest.mark.parametrize(
    "header, beside",
    [
        ((5, 7, 8, 2, 0, 0, 0), ()),
        ((5, 7, 8, 3, 0, 0, 0), ((b"PLTE", b"abc" * 9),)),
        ((5, 7, 8, 4, 0, 0, 0), ()),
        ((5, 7, 4, 0, 0, 0, 0), ()),
        ((5, 7, 8, 0, 0, 0, 1), ()),
        ((5, 7, 8, 0, 0, 0, 0), ((b"tRNS", b"\0\1"),)),
        ((5, 7, 8, 0, 0, 0, 0), ((b"gAMA", b"\0\0\xb1\x8f"),)),
        ((5, 7, 8, 0, 0, 0, 0), ((b"sBIT", b"\5"),)),
        ((70_000, 1, 8, 0, 0, 0, 0), ()),
    ],
)
def test_what_is_not_plain_is_opencvs(header, beside):
    stream = png_chunk(b"IDAT", zlib.compress(bytes(70_001)))
    data = png_file(header, *(png_chunk(*one) for one in beside), stream)
    assert read_png(data).bits == 0
    plain = png_file((5, 7, 8, 0, 0, 0, 0), png_chunk(b"tIME", b"\0" * 7), stream)
    assert read_png(plain).bits == 8
