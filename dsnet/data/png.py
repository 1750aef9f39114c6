"""PNG files: the checksums of their chunks, and the pixels of plain ones as far as they are wanted.

Plain is grey of 8 or 16 bits, not interlaced, without anything that could change a pixel: what
DeepLesion and most archives of slices are. Such a file is inflated down to the last row that is
wanted. Whatever else a file is, or whatever is wrong with it, is OpenCV's to read or to refuse.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dsnet import _C

_DAMAGED: Any = (ValueError, zlib.error)
_inflater: Callable[[], Any] = zlib.decompressobj
try:  # Intel's ISA-L, which inflates in half the time.
    from isal import igzip_lib
except ImportError:  # no wheel for this machine
    pass
else:
    # Unlike its decompressobj(), this makes what it gives at once, not by doubling.
    _inflater = partial(igzip_lib.IgzipDecompressor, igzip_lib.DECOMP_ZLIB)
    _DAMAGED += (igzip_lib.error,)

PNG_BEGINNING = b"\x89PNG\r\n\x1a\n"


@dataclass(slots=True)
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
    _data: _C.PngData

    def pixels(self, rows: int, cols: int) -> tuple[np.ndarray, int] | None:
        """The upper left pixels of a plain file, and of 16 bits the least of them that is not 0.

        Below the last row nothing is inflated: Adler-32, which is over all rows, is looked at where
        all of them are wanted. The chunks' own checksums have been.

        Returns
        -------
        (ndarray [rows, cols], uint8 or uint16; int) or None
            0 where all are 0, or of 8 bits. None where anything is odd: OpenCV reads or refuses it.
        """
        wanted = rows * (1 + self.width * self.bits // 8)
        inflater = _inflater()
        whole = rows == self.height
        try:
            # One byte more: then the end is seen, and what goes on beyond it is not inflated.
            filtered = inflater.decompress(self._data, wanted + whole)
            if len(filtered) != wanted or (whole and not inflater.eof):
                return None
            return _C.png_pixels(filtered, width=self.width, bits=self.bits, rows=rows, cols=cols)
        except _DAMAGED:
            return None

    def file(self) -> bytes:
        """All bytes of the file."""
        return self._data.file()


def read_png(data: bytes | _C.FileData) -> PngFile:
    """A PNG file, each of its chunks compared with its checksum; nothing is inflated.

    Parameters
    ----------
    data : bytes or FileData
        All of the file. A FileData is used up: its memory becomes the PngFile's.

    Raises
    ------
    ValueError
        When it is cut short or damaged, or holds several frames.
    """
    return PngFile(*_C.png_data(data))
