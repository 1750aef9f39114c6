"""PNG files: the checksums of their chunks, and the pixels of plain ones as far as they are wanted.

Plain is grey of 8 or 16 bits, not interlaced, without anything that could change a pixel: what
DeepLesion and most archives of slices are. Such a file is inflated down to the last row that is
wanted. Whatever else a file is, or whatever is wrong with it, is OpenCV's to read or to refuse.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsnet import _C

try:  # Intel's ISA-L, which inflates in half the time.
    from isal import isal_zlib as _deflate
except ImportError:  # no wheel for this machine
    _deflate = zlib
_DAMAGED: Any = (ValueError, zlib.error, _deflate.error)

PNG_BEGINNING = b"\x89PNG\r\n\x1a\n"
# Of what may stand beside the pixels, what says nothing of them.
_BESIDE = frozenset((b"tEXt", b"tIME", b"pHYs"))
# OpenCV's and libpng's own limits are higher.
_LONGEST_SIDE = 2**16
# Of a chunk: its length and name, its checksum.
_HEAD, _SUM = struct.Struct(">I4s").unpack_from, struct.Struct(">I").unpack_from


@dataclass(frozen=True)
class PngFile:
    """A PNG file whose chunks are whole.

    Attributes
    ----------
    height, width : int
        As its header states them.
    bits : int
        8 or 16 of a plain file; 0 of any other.
    """

    height: int
    width: int
    bits: int
    _parts: tuple[memoryview, ...]

    def pixels(self, rows: int, cols: int) -> np.ndarray | None:
        """The upper left pixels of a plain file.

        Below the last row nothing is inflated: Adler-32, which is over all rows, is looked at where
        all of them are wanted. The chunks' own checksums have been.

        Returns
        -------
        ndarray [rows, cols], uint8 or uint16, or None
            None where anything is odd: OpenCV reads or refuses it.
        """
        wanted = rows * (1 + self.width * self.bits // 8)
        compressed = b"".join(self._parts)
        inflater = _deflate.decompressobj()
        whole = rows == self.height
        try:
            # One byte more: then the end is seen, and what goes on beyond it is not inflated.
            filtered = inflater.decompress(compressed, wanted + whole)
            if len(filtered) != wanted or (whole and not inflater.eof):
                return None
            return _C.png_pixels(filtered, width=self.width, bits=self.bits, rows=rows, cols=cols)
        except _DAMAGED:
            return None


def read_png(data: bytes) -> PngFile:
    """A PNG file, each of its chunks compared with its checksum; nothing is inflated.

    Parameters
    ----------
    data : bytes
        All of the file.

    Raises
    ------
    ValueError
        When it is cut short or damaged, or holds several frames.
    """
    view, crc32, size = memoryview(data), _deflate.crc32, len(data)
    position, header, before = len(PNG_BEGINNING), b"", b""
    parts, plain = [], True
    while True:
        length, name = _HEAD(data, position) if position + 8 <= size else (size, b"")
        end = position + 12 + length
        if end > size:
            raise ValueError(f"the PNG is cut short after {size} bytes")
        if (crc32(view[position + 4 : end - 4]),) != _SUM(data, end - 4):
            raise ValueError(f"the PNG is damaged at byte {position}")
        if not header:
            if name != b"IHDR" or end - position != 25:
                raise ValueError("the PNG is damaged: it does not begin with its header")
            header = data[position + 8 : end - 4]
        elif name == b"IDAT":
            plain &= not parts or before == name
            parts.append(view[position + 8 : end - 4])
        elif name == b"IEND":
            break
        elif name == b"acTL":
            raise ValueError("the PNG holds several frames, one is wanted")
        else:
            plain &= name in _BESIDE
        before = name
        position = end
    width, height, bits, *kind = struct.unpack(">IIBBBBB", header)
    plain &= bits in (8, 16) and kind == [0, 0, 0, 0] and bool(parts)
    plain &= 0 < width <= _LONGEST_SIDE and 0 < height <= _LONGEST_SIDE
    return PngFile(height, width, bits if plain else 0, tuple(parts))
