"""What a picture's file says of itself, read and checked before a decoder allocates anything.

OpenCV hands back the rows that it could decode of a damaged file, and black for the rest, the first
page of several, a palette's colours: a lesion could be lost in silence. So each format's own
lengths, and PNG's checksums, count first.
"""

from __future__ import annotations

import struct

from dsnet.data.png import PNG_BEGINNING, read_png

_TIFF = {b"II*\0": "<", b"MM\0*": ">"}
# Bytes of TIFF's types of whole numbers: BYTE, SHORT, LONG.
_WHOLE = {1: "B", 3: "H", 4: "I"}
# No compression, LZW, deflate (two numbers), PackBits: the lossless ones.
_LOSSLESS = (1, 5, 8, 32946, 32773)


def picture_size(data: bytes) -> tuple[str, int, int]:
    """Format, height and width of a whole PNG, TIFF, BMP or PGM file.

    Parameters
    ----------
    data : bytes
        All of the file.

    Returns
    -------
    format : str
        "PNG", "TIFF", "BMP" or "PGM".
    height, width : int
        As the header states them; nothing was decoded.

    Raises
    ------
    ValueError
        When it is none of these, cut short, damaged, or of a kind whose grey values a decoder
        would change: lossy compression, several pages, a palette, turned or inverted.
    """
    if data.startswith(PNG_BEGINNING):
        png = read_png(data)
        return "PNG", png.height, png.width
    if data[:4] in _TIFF:
        return "TIFF", *_tiff(data, _TIFF[data[:4]])
    if data.startswith(b"BM"):
        return "BMP", *_bmp(data)
    if data[:2] == b"P5" and data[2:3].isspace():
        return "PGM", *_pgm(data)
    raise ValueError("not a PNG file, nor a TIFF, BMP or PGM one")


def _bmp(data: bytes) -> tuple[int, int]:
    if len(data) < 54:
        raise ValueError(f"the BMP is cut short after {len(data)} bytes")
    (begin,) = struct.unpack("<I", data[10:14])
    head, width, height, _, bits, compression = struct.unpack("<IiiHHI", data[14:34])
    if head < 40 or width < 1 or not height or bits not in (8, 24, 32) or compression:
        raise ValueError("the BMP must hold 8, 24 or 32 bits a pixel, not compressed")
    rows = abs(height)
    if begin + rows * ((width * bits + 31) // 32 * 4) > len(data):
        raise ValueError(f"the BMP is cut short after {len(data)} bytes")
    return rows, width


def _pgm(data: bytes) -> tuple[int, int]:
    numbers, position = [], 2
    while len(numbers) < 3:
        while data[position : position + 1].isspace():
            position += 1
        if data[position : position + 1] == b"#":
            end = data.find(b"\n", position)
            position = len(data) if end < 0 else end
            continue
        end = position
        while data[end : end + 1].isdigit():
            end += 1
        if not 0 < end - position < 10:
            raise ValueError("the PGM is damaged: no three numbers in its header")
        numbers.append(int(data[position:end]))
        position = end
    width, height, top = numbers
    if top not in (255, 65535):
        raise ValueError(f"the PGM must have 255 or 65535 as its largest value, got {top}")
    if min(height, width) < 1 or position + 1 + height * width * (1 + (top > 255)) > len(data):
        raise ValueError(f"the PGM is cut short after {len(data)} bytes")
    return height, width


def _tiff(data: bytes, order: str) -> tuple[int, int]:
    (directory,) = struct.unpack(f"{order}I", data[4:8].ljust(4, b"\0"))
    tags, following = _tiff_tags(data, order, directory)
    if following:
        raise ValueError("the TIFF holds several pages, one is wanted")

    def one(tag: int, default: int) -> int:
        return (tags.get(tag) or [default])[0]

    wanted = (
        ("samples a pixel", one(277, 1), (1,)),
        ("bits a sample", one(258, 1), (8, 16)),
        ("compression", one(259, 1), _LOSSLESS),
        ("photometric interpretation", one(262, -1), (1,)),
        ("orientation", one(274, 1), (1,)),
        ("sample format", one(339, 1), (1,)),
    )
    for name, value, allowed in wanted:
        if value not in allowed:
            told = ", ".join(map(str, allowed))
            raise ValueError(f"the TIFF must be plain grey: its {name} must be {told}, got {value}")
    width, height = one(256, 0), one(257, 0)
    offsets, counts = tags.get(273) or tags.get(324), tags.get(279) or tags.get(325)
    if min(width, height) < 1 or not offsets or not counts or len(offsets) != len(counts):
        raise ValueError("the TIFF is damaged: it does not say where its pixels are")
    if any(begin + count > len(data) for begin, count in zip(offsets, counts, strict=True)):
        raise ValueError(f"the TIFF is cut short after {len(data)} bytes")
    if one(259, 1) == 1 and sum(counts) < height * width * one(258, 1) // 8:
        raise ValueError("the TIFF is damaged: it holds fewer pixels than it states")
    return height, width


def _tiff_tags(data: bytes, order: str, directory: int) -> tuple[dict[int, list[int]], int]:
    """The whole numbers of the first directory, and where the next one is."""
    try:
        (count,) = struct.unpack_from(f"{order}H", data, directory)
        tags = {}
        for entry in range(count):
            place = directory + 2 + 12 * entry
            tag, kind, number = struct.unpack_from(f"{order}HHI", data, place)
            if kind not in _WHOLE or tag not in _READ:
                continue
            form = f"{order}{number}{_WHOLE[kind]}"
            # More numbers than the file has bytes: the form itself could ask for gigabytes.
            if number > len(data):
                raise ValueError("the TIFF is damaged: a tag is longer than the file")
            begin = place + 8
            if struct.calcsize(form) > 4:
                (begin,) = struct.unpack_from(f"{order}I", data, begin)
            tags[tag] = list(struct.unpack_from(form, data, begin))
        (following,) = struct.unpack_from(f"{order}I", data, directory + 2 + 12 * count)
    except struct.error as error:
        raise ValueError(f"the TIFF is cut short after {len(data)} bytes") from error
    return tags, following


_READ = frozenset((256, 257, 258, 259, 262, 273, 274, 277, 279, 324, 325, 339))
