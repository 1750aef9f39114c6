"""Grey pictures from files: whatever lies under the name, it costs no more than its own row."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dsnet.data.picture_headers import picture_size

# What OpenCV reads without loss, and `picture_headers` can check.
PICTURE_ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".pgm")
# A side of 4096: four times a mammogram's area would be needed to reach it. Labelling takes some
# 200 bytes a pixel.
MAX_PIXELS = 2**24
# A file may hold colours of 16 bits, and text.
_BYTES_A_PIXEL = 8
_BYTES_BESIDE = 2**24


def read_regular_file(path: str | Path, most: int, first: int | None = None) -> bytes:
    """All bytes of a regular file of at most `most` bytes, or its `first` ones alone.

    Raises
    ------
    ValueError
        When there is none, it cannot be read, is larger, or is a pipe, a device or a folder, which
        could hang or never end; the message names the file.
    """
    with open_regular_file(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise ValueError(f"{path}: must be of at most {most} bytes, got {size}")
            return file.read(most if first is None else first)
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror or error}") from error


def open_regular_file(path: str | Path) -> BinaryIO:
    """A regular file, open for reading.

    Raises
    ------
    ValueError
        As `read_regular_file`, of any size.
    """
    path = Path(path)
    try:
        # Opening a pipe waits for a writer, unless told not to.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ValueError(f"{path}: must be a regular file")
        return open(descriptor, "rb")
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


def read_pixels(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The grey values of a PNG, TIFF, BMP or PGM file as they are stored.

    Parameters
    ----------
    path : path
    max_pixels : int
        More are refused by the header, before anything is decoded.

    Returns
    -------
    ndarray [H, W], uint8 or uint16

    Raises
    ------
    ValueError
        When the file is missing, no such picture, cut short, damaged, too large, in colour or
        partly transparent; the message names it.
    """
    import cv2

    data = read_regular_file(path, most_bytes(max_pixels))
    kind = "picture"
    try:
        kind, height, width = picture_size(data)
        try:
            check_pixels(height, width, max_pixels)
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except (ValueError, cv2.error) as error:
            told = error.err if isinstance(error, cv2.error) else error
            raise ValueError(f"the {kind} could not be decoded: {told}") from error
        if pixels is None or pixels.shape[:2] != (height, width):
            raise ValueError(f"the {kind} could not be decoded")
        return _grey(pixels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


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
