"""Some rows of a DICOM file whose pixels are not compressed: the others are not read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dsnet.data.dicom.header import Header, text, whole
from dsnet.data.picture_file import open_regular_file

# Implicit and explicit little endian, explicit big endian (PS3.5, annex A).
_ORDERS = {"1.2.840.10008.1.2": "<", "1.2.840.10008.1.2.1": "<", "1.2.840.10008.1.2.2": ">"}


def read_rows(path: str | Path, header: Header, begin: int, end: int) -> np.ndarray | None:
    """Rows `begin` to `end` (excluded) of a grey frame's stored values, before any rescale.

    Parameters
    ----------
    path : path
    header : Header
        What `read_header` read of that file.
    begin, end : int
        Within 0 and Rows.

    Returns
    -------
    ndarray [end - begin, Columns], int32, or None
        None where the file has to be read whole, which also tells what is wrong with it: compressed
        or deflated, several frames, colour, other than 8 or 16 bits a pixel, bits in use beside
        those that are stored, a header that does not fit its pixels.

    Raises
    ------
    ValueError
        When the file cannot be read, ends before those rows do, or has no such rows; the message
        names it.
    """
    place = _place(header)
    if place is None or header.pixels is None:
        return None
    height, width, kind, stored = place
    if not 0 <= begin <= end <= height:
        raise ValueError(f"{path}: rows must be within 0 and {height}, got {begin} to {end}")
    row = width * kind.itemsize
    size = (end - begin) * row
    with open_regular_file(path) as file:
        try:
            file.seek(header.pixels + begin * row)
            data = file.read(size)
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror or error}") from error
    if len(data) < size:
        raise ValueError(f"{path}: it is cut short: {size - len(data)} bytes of its pixels lack")
    values = np.frombuffer(data, kind).astype(np.int32).reshape(end - begin, width)
    half = 2 ** (stored - 1)
    low, high = (-half, half - 1) if kind.kind == "i" else (0, 2 * half - 1)
    if values.size and not low <= values.min() <= values.max() <= high:
        return None
    return values


def _place(header: Header) -> tuple[int, int, np.dtype, int] | None:
    """Rows, columns, type and stored bits of a plain grey frame; None of any other."""
    found = header.dataset
    try:
        height, width, allocated = (
            whole(found, name) for name in ("Rows", "Columns", "BitsAllocated")
        )
        stored = whole(found, "BitsStored", allocated)
        plain = (
            header.syntax in _ORDERS
            and allocated in (8, 16)
            and min(height, width) > 0
            and 0 < stored <= allocated
            and whole(found, "HighBit", stored - 1) == stored - 1
            and whole(found, "SamplesPerPixel", 1) == 1
            and whole(found, "NumberOfFrames", 1) == 1
        )
        sign = whole(found, "PixelRepresentation")
    except ValueError:
        return None
    if not plain or sign not in (0, 1) or not _is_grey(header):
        return None
    # A big-endian file may hold 8 bits in words of 16, whose bytes are turned (PS3.5, annex A.3).
    if (allocated == 8 and header.syntax == "1.2.840.10008.1.2.2") or header.length is None:
        return None
    if header.length < height * width * allocated // 8:
        return None
    return height, width, np.dtype(f"{_ORDERS[header.syntax]}{'ui'[sign]}{allocated // 8}"), stored


def _is_grey(header: Header) -> bool:
    return text(header.dataset, "PhotometricInterpretation").startswith("MONOCHROME")
