"""A PNG's filters undone, against the specification's own words, on every vector unit."""

import numpy as np
import pytest
from fuzz.random_files import png_chunk, png_file

from dsnet import _C


@pytest.fixture(params=_C.vector_units())
def unit(request):
    _C.use_vector_unit(request.param)
    yield request.param
    _C.use_vector_unit(_C.vector_units()[-1])


def paeth(a, b, c):
    """PNG specification, 9.4."""
    p = a + b - c
    pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
    if pa <= pb and pa <= pc:
        return a
    return b if pb <= pc else c


def filtered(pixels, filters):
    """Rows of bytes as a PNG holds them, byte by byte as section 9.2 has it."""
    bpp = pixels.dtype.itemsize
    rows = [list(row.astype(f">u{bpp}").tobytes()) for row in pixels]
    out = bytearray()
    for y, kind in enumerate(filters):
        above = rows[y - 1] if y else [0] * len(rows[y])
        out.append(kind)
        for i, x in enumerate(rows[y]):
            a = rows[y][i - bpp] if i >= bpp else 0
            b, c = above[i], above[i - bpp] if i >= bpp else 0
            expected = (0, a, b, (a + b) // 2, paeth(a, b, c))[kind]
            out.append((x - expected) % 256)
    return bytes(out)


def smooth(rng, shape, dtype):
    """Pixels like a picture's: near values, at times a jump, at times the ends of the range."""
    top = np.iinfo(dtype).max
    pixels = np.cumsum(rng.integers(-3, 4, shape), axis=1) + rng.integers(0, top)
    jumps = rng.random(shape) < 0.1
    pixels[jumps] = rng.choice([0, 1, 127, 128, 255, 256, 32767, 32768, top], int(jumps.sum()))
    return (pixels % (top + 1)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_filter_on_every_size(unit, dtype):
    rng = np.random.default_rng(3)
    shapes = [(1, 1), (1, 40), (40, 1), (7, 9), (8, 8), (9, 7), (16, 17), (23, 31), (24, 64)]
    for shape in shapes:
        for kinds in ([0], [1], [2], [3], [4], [0, 1, 2, 3, 4], [3, 4], [1, 2, 4], [0, 0, 0, 3]):
            pixels = smooth(rng, shape, dtype)
            data = filtered(pixels, rng.choice(kinds, shape[0]).tolist())
            bits = 8 * pixels.itemsize
            how = {"width": shape[1], "bits": bits}
            found, least = _C.png_pixels(data, rows=shape[0], cols=shape[1], **how)
            assert least == (0 if bits == 8 else min(pixels[pixels > 0], default=0))
            assert found.dtype == dtype and np.array_equal(found, pixels)
            rows, cols = rng.integers(0, shape[0] + 1), rng.integers(0, shape[1] + 1)
            part, least = _C.png_pixels(data, rows=rows, cols=cols, **how)
            seen = pixels[:rows, :cols]
            assert least == (0 if bits == 8 else min(seen[seen > 0], default=0))
            assert np.array_equal(part, pixels[:rows, :cols])


def test_random_bytes_are_the_same_on_every_unit():
    rng = np.random.default_rng(4)
    for dtype in (np.uint8, np.uint16):
        bytes_a_pixel = np.dtype(dtype).itemsize
        for _ in range(20):
            rows, width = rng.integers(1, 70, 2)
            data = rng.integers(0, 256, (rows, 1 + width * bytes_a_pixel), dtype=np.uint8)
            data[:, 0] = rng.integers(0, 5, rows)
            found = []
            try:
                for unit in _C.vector_units():
                    _C.use_vector_unit(unit)
                    how = {"width": width, "bits": 8 * bytes_a_pixel, "rows": rows, "cols": width}
                    found.append(_C.png_pixels(data.tobytes(), **how)[0])
            finally:
                _C.use_vector_unit(_C.vector_units()[-1])
            assert filtered(found[0], data[:, 0].tolist()) == data.tobytes()
            assert all(np.array_equal(found[0], other) for other in found)


def test_what_is_no_row_is_refused(unit):
    good = {"width": 2, "bits": 8, "rows": 2, "cols": 2}
    assert _C.png_pixels(b"\0ab\1\1\1", **good)[0].tolist() == [[97, 98], [1, 2]]
    for data, changed, told in (
        (b"\0ab\0a", {}, "filtered must hold 2 rows of 2 pixels, got 5 bytes"),
        (b"", {}, "got 0 bytes"),
        (b"\0ab\5ab", {}, "filters 0 to 4, got another one in row 1"),
        (b"\xff\0\0\0ab", {"cols": 0}, "got another one in row 0"),
        (b"\0ab\0ab", {"bits": 4}, "bits must be 8 or 16, got 4"),
        (b"\0ab\0ab", {"width": 0}, "width must be within 1 and 2147483647, got 0"),
        (b"\0ab\0ab", {"cols": 3}, "cols must be within 0 and the width of 2, got 3"),
        (b"\0ab\0ab", {"cols": -1}, "cols must be within 0"),
        (b"\0ab\0ab", {"rows": -1}, "rows must be within 0"),
        (b"\0ab\0ab", {"rows": 2**31 - 1, "width": 2**31 - 1}, "filtered must hold"),
    ):
        with pytest.raises(ValueError, match=told):
            _C.png_pixels(data, **{**good, **changed})
    for data in (np.zeros(3, np.uint16), np.zeros((2, 3), np.uint8), np.zeros(12, np.uint8)[::2]):
        with pytest.raises(TypeError, match="filtered must be contiguous bytes, got items of"):
            _C.png_pixels(data, **good)
    # Below the rows that are wanted there may be anything.
    assert _C.png_pixels(b"\0ab\xff", **{**good, "rows": 1})[0].tolist() == [[97, 98]]
    assert _C.png_pixels(b"", **{**good, "rows": 0})[0].shape == (0, 2)


def png_data(data):
    """As `_C.png_data`, what is compressed as bytes; the file can be had again."""
    *stated, found = _C.png_data(data)
    assert found.file() == data
    return *stated, bytes(found)


def test_chunks_of_every_length_are_compared_with_their_checksums():
    rng = np.random.default_rng(4)
    header = (5, 7, 16, 0, 0, 0, 0)
    for size in [*range(200), 1023, 4096, 8192, 70_001]:
        inside, more = rng.bytes(size), rng.bytes(int(rng.integers(0, 40)))
        data = png_file(header, *(png_chunk(b"IDAT", part) for part in (inside, more)))
        assert png_data(data) == (7, 5, 16, inside + more)
        damaged = bytearray(data)
        damaged[33 + 4 + int(rng.integers(0, size + 8))] ^= 1 << int(rng.integers(0, 8))
        with pytest.raises(ValueError, match=r"the PNG is damaged at byte 33$"):
            _C.png_data(bytes(damaged))


def test_what_is_wrong_with_chunks_is_told():
    idat = png_chunk(b"IDAT", b"abc")
    whole = png_file((5, 7, 8, 0, 0, 0, 0), idat)
    for size in range(8, len(whole)):
        with pytest.raises(ValueError, match=f"the PNG is cut short after {size} bytes"):
            _C.png_data(whole[:size])
    assert png_data(whole + b"more") == (7, 5, 8, b"abc")
    apart = png_file((5, 7, 8, 0, 0, 0, 0), idat, png_chunk(b"tEXt", b""), idat)
    assert png_data(apart) == (7, 5, 0, b"")
    frames = png_file((5, 7, 8, 0, 0, 0, 0), png_chunk(b"acTL", b""), idat)
    with pytest.raises(ValueError, match="the PNG holds several frames, one is wanted"):
        _C.png_data(frames)
    with pytest.raises(ValueError, match="it does not begin with its header"):
        _C.png_data(whole[:8] + idat + whole[8:])
    with pytest.raises(TypeError, match="file must be contiguous bytes, got items of"):
        _C.png_data(np.zeros(9, np.uint16))
    with pytest.raises(TypeError, match="file must be bytes, got str"):
        _C.png_data("text")


def test_a_file_in_many_parts_is_as_it_was():
    rng = np.random.default_rng(5)
    beside = png_chunk(b"tEXt", b"a\0b"), png_chunk(b"tIME", bytes(7))
    for count in (0, 1, 2, 3, 40):
        parts = [rng.bytes(int(n)) for n in rng.integers(0, 300, count)]
        chunks = [png_chunk(b"IDAT", part) for part in parts]
        data = png_file((5, 7, 8, 0, 0, 0, 0), beside[0], *chunks, beside[1]) + rng.bytes(9)
        assert png_data(data) == (7, 5, 8 if count else 0, b"".join(parts))
        colour = png_file((5, 7, 8, 2, 0, 0, 0), *chunks, *beside)
        assert png_data(colour) == (7, 5, 0, b"")
