"""Grey pictures from files: whatever lies under the name, it costs no more than its own row."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dsnet import _C
from dsnet.data.picture_headers import picture_size
from dsnet.data.png import PNG_BEGINNING, PngFile, read_png
from dsnet.data.remote import RemoteFile

# What OpenCV reads without loss, and `picture_headers` can check.
PICTURE_ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".pgm")
# A side of 4096: four times a mammogram's area would be needed to reach it. Labelling takes some
# 200 bytes a pixel.
MAX_PIXELS = 2**24
# A file may hold colours of 16 bits, and text.
_BYTES_A_PIXEL = 8
_BYTES_BESIDE = 2**24


def read_regular_file(path: str | Path | RemoteFile, most: int, first: int | None = None) -> bytes:
    """All bytes of a regular file of at most `most` bytes, or its `first` ones alone.

    One at an address is read likewise, see `RemoteFile.read`.

    Raises
    ------
    ValueError
        When there is none, it cannot be read, is larger, or is a pipe, a device or a folder, which
        could hang or never end; the message names the file.
    """
    if isinstance(path, RemoteFile):
        return path.read(most, first)
    descriptor, size = _opened(path)
    try:
        if size > most:
            raise ValueError(f"{path}: must be of at most {most} bytes, got {size}")
        # One byte more than there should be, to see the end; a file may grow meanwhile.
        left, parts = most if first is None else first, []
        while left > 0 and (part := os.read(descriptor, min(left, size + 1))):
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error
    finally:
        os.close(descriptor)


def open_regular_file(path: str | Path) -> BinaryIO:
    """A regular file, open for reading.

    Raises
    ------
    ValueError
        As `read_regular_file`, of any size.
    """
    return open(_opened(path)[0], "rb")


def _opened(path: str | Path) -> tuple[int, int]:
    """Descriptor and size of a regular file."""
    try:
        # Opening a pipe waits for a writer, unless told not to.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            os.close(descriptor)
            raise ValueError(f"{path}: must be a regular file")
        return descriptor, state.st_size
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # A name with a NUL; its message names no file.
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def most_bytes(max_pixels: int) -> int:
    """How large a file of so many pixels may be."""
    return max_pixels * _BYTES_A_PIXEL + _BYTES_BESIDE


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Raise ValueError where a picture would have more than `max_pixels`."""
    if height * width > max_pixels:
        raise ValueError(
            f"the header states {width}x{height} pixels, more than the {max_pixels} allowed"
        )


class Picture:
    """A picture's file whose header and checksums are right; its pixels are decoded when wanted.

    Attributes
    ----------
    path : path
    shape : (H, W)
        As the header states it.
    """

    def __init__(
        self,
        path: str | Path | RemoteFile,
        data: bytes | _C.FileData,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.path = path
        self._file: PngFile | bytes
        if data.startswith(PNG_BEGINNING):
            self._file = png = read_png(data)
            self._kind, self.shape = "PNG", (png.height, png.width)
        else:
            self._file = bytes(data)
            self._kind, *size = picture_size(self._file)
            self.shape = (size[0], size[1])
        if self.shape[0] * self.shape[1] > max_pixels:
            try:
                check_pixels(*self.shape, max_pixels)
            except ValueError as error:
                raise ValueError(f"the {self._kind} could not be decoded: {error}") from error

    def pixels(self, rows: int | None = None, cols: int | None = None) -> np.ndarray:
        """The grey values as they are stored.

        Parameters
        ----------
        rows, cols : int, optional
            The upper left part of so many is all that is wanted: the rest of a plain PNG is not
            decoded. By default the whole.

        Returns
        -------
        ndarray [rows, cols], uint8 or uint16

        Raises
        ------
        ValueError
            When they cannot be decoded, are in colour or partly transparent; the message names the
            file.
        """
        return self.pixels_and_least(rows, cols)[0]

    def pixels_and_least(
        self, rows: int | None = None, cols: int | None = None
    ) -> tuple[np.ndarray, int | None]:
        """As `pixels`, and the least of them that is not 0, where decoding told it of uint16."""
        height, width = self.shape
        rows = height if rows is None else min(rows, height)
        cols = width if cols is None else min(cols, width)
        file = self._file
        if isinstance(file, PngFile) and file.bits and rows > 0:
            found = file.pixels(rows, cols)
            if found is not None:
                return found
        try:
            return self._by_opencv()[:rows, :cols], None
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error

    def _by_opencv(self) -> np.ndarray:
        import cv2

        data = self._file.file() if isinstance(self._file, PngFile) else self._file
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            raise ValueError(f"the {self._kind} could not be decoded: {error.err}") from error
        if pixels is None or pixels.shape[:2] != self.shape:
            raise ValueError(f"the {self._kind} could not be decoded")
        return _grey(pixels)


def open_picture(path: str | Path | RemoteFile, max_pixels: int = MAX_PIXELS) -> Picture:
    """A PNG, TIFF, BMP or PGM file, read and checked; its pixels are not decoded yet.

    Parameters
    ----------
    path : path or RemoteFile
    max_pixels : int
        More are refused by the header, before anything is decoded.

    Raises
    ------
    ValueError
        When the file is missing, no such picture, cut short, damaged or too large; the message
        names it.
    """
    if not isinstance(path, RemoteFile):
        picture = first_picture((path,), max_pixels)
        if picture is not None:
            return picture
    # What is odd about it is found here, and told.
    return picture_of(path, read_regular_file(path, most_bytes(max_pixels)), max_pixels)


def first_picture(paths: Sequence[str | Path], max_pixels: int) -> Picture | None:
    """As `open_picture`, of the first of several places where anything lies.

    None where there is none, or it is no regular file that can be read: `open_picture` tells.
    """
    found = _C.read_file(paths, most_bytes(max_pixels))
    if found is None:
        return None
    at, data = found
    return picture_of(paths[at], data, max_pixels)


def picture_of(
    path: str | Path | RemoteFile, data: bytes | _C.FileData, max_pixels: int
) -> Picture:
    """As `open_picture`, of what the file holds."""
    try:
        return Picture(path, data, max_pixels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_pixels(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The grey values of a PNG, TIFF, BMP or PGM file as they are stored.

    Parameters
    ----------
    path, max_pixels
        See `open_picture`.

    Returns
    -------
    ndarray [H, W], uint8 or uint16

    Raises
    ------
    ValueError
        When the file is missing, no such picture, cut short, damaged, too large, in colour or
        partly transparent; the message names it.
    """
    return open_picture(path, max_pixels).pixels()


def _grey(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"must have 8 or 16 bits a pixel, got {pixels.dtype}")
    if pixels.ndim == 2:
        return pixels
    channels = pixels.shape[2]
    if channels not in (3, 4) or any(
        not np.array_equal(pixels[..., 0], pixels[..., c]) for c in (1, 2)
    ):
        raise ValueError(f"must be a grey image, got {channels} channels")
    if channels == 4 and (pixels[..., 3] != np.iinfo(pixels.dtype).max).any():
        raise ValueError("must not be transparent, got pixels that are")
    return np.ascontiguousarray(pixels[..., 0])
