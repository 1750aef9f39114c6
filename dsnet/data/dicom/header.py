"""The header of a DICOM file, read from any stream within limits, and what its tags say.

Public
------
``read_header(file, tags=None) -> Header``: everything before the pixels
``numbers(place, name)``, ``several(value)``, ``text(place, name)``: values as they ought to be
``group(dataset, name, frame=None)``: a functional group of an enhanced object
``quiet()``: without pydicom's warnings
``told(error)``: one line of whatever pydicom raised
"""

from __future__ import annotations

import contextlib
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np

from dsnet.data.dicom.streams import Interrupted, Limited, Pulled
from dsnet.dependencies import needed

# Of the largest enhanced objects, whose frames tell some kilobytes each.
MAX_HEADER_BYTES = 2**26
# Of a deflated file: what its pixels may come to besides.
MAX_INFLATED_BYTES = 2**30
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_DEFLATED, _BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
# PS3.5, 7.1.2: these have their length in 32 bits.
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
# PS3.10, 7.1: there are about twenty.
_META_ELEMENTS = 64


class Header(NamedTuple):
    """What stands before the pixels of a file.

    Attributes
    ----------
    dataset : pydicom.Dataset
    syntax : str
        UID of the transfer syntax; guessed from the bytes where the file tells none.
    file : file
        Where the pixels can be read: the file itself, or what was inflated of it.
    pixels : int or None
        Where the value of PixelData begins in `file`.
    length : int or None
        Its bytes; None where it is not told beforehand (fragments).
    """

    dataset: Any
    syntax: str
    file: BinaryIO
    pixels: int | None
    length: int | None


def read_header(file: BinaryIO, tags: list[str] | None = None) -> Header:
    """Read a DICOM file up to its pixels.

    A preamble may lack. No more than `MAX_HEADER_BYTES` are read, whatever lengths the file
    claims, and a deflated file is inflated as far as it is read.

    Parameters
    ----------
    file : binary file
        Seekable, at its beginning.
    tags : list of str, optional
        Keywords; by default all of them.

    Raises
    ------
    ValueError
        When it is no DICOM, or damaged.
    ImportError
        When pydicom is not installed.
    """
    with needed("dicom", "reading DICOM"):
        from pydicom.datadict import tag_for_keyword
        from pydicom.filereader import read_dataset
        from pydicom.tag import BaseTag
    try:
        meta, begin = _meta(file)
    except struct.error as error:
        raise ValueError("the file ends within its first tags") from error
    syntax = _text_of(meta.get(0x00020010, b""))
    if syntax == _DEFLATED:
        file.seek(begin)
        file, begin = _inflated(file), 0
    file.seek(begin)
    if not syntax:
        syntax = _guessed(file.read(8))
        file.seek(begin)
    wanted = None
    if tags is not None:
        wanted = [BaseTag(cast(int, tag_for_keyword(name))) for name in tags]
    source = Limited(file, begin + MAX_HEADER_BYTES)
    try:
        with quiet():
            dataset = read_dataset(
                cast(BinaryIO, source),
                syntax == _IMPLICIT,
                syntax != _BIG_ENDIAN,
                stop_when=lambda tag, vr, length: int(tag) in _PIXELS,
                specific_tags=cast(Any, wanted),
            )
    except Exception as error:  # pydicom raises many kinds; to the caller the file is unusable
        cause = source.failed or error
        if isinstance(cause, Interrupted):
            raise cause from error
        raise ValueError(f"its header cannot be read: {told(cause)}") from error
    implicit = bool(dataset.original_encoding[0])
    pixels, length = _pixel_data(file, implicit, ">" if syntax == _BIG_ENDIAN else "<")
    with quiet():
        _complete(dataset, meta)
    return Header(dataset, syntax, file, pixels, length)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's warnings: what matters of them is told with the file's name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def numbers(place: Any, name: str) -> list[float]:
    """The numbers of a tag; none where it is absent or empty.

    Raises
    ------
    ValueError
        When it holds anything but finite numbers.
    """
    try:
        values = [float(value) for value in several(place.get(name)) if str(value).strip()]
    except Exception as error:  # pydicom reads a value when it is asked for it
        raise ValueError(f"{name} must be numbers: {told(error)}") from error
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got {values}")
    return values


def whole(place: Any, name: str, default: int = 0) -> int:
    """The whole number of a tag; `default` where it is absent or empty."""
    values = numbers(place, name)
    if not values:
        return default
    if len(values) != 1 or values[0] != int(values[0]):
        raise ValueError(f"{name} must be one whole number, got {values}")
    return int(values[0])


def text(place: Any, name: str) -> str:
    """The text of a tag, several joined as DICOM writes them; "" where it is absent or broken."""
    try:
        values = [str(value) for value in several(place.get(name))]
    except Exception:  # pydicom decodes a value when it is asked for it
        return ""
    return "\\".join(values).strip(" \0")


def several(value: Any) -> list:
    """A tag's values as a list, however many there are."""
    # A person's name is one value, though it can be gone through.
    if value is None or isinstance(value, str | bytes) or hasattr(value, "family_name"):
        return [] if value is None else [value]
    try:
        return list(value)
    except TypeError:
        return [value]


def group(dataset: Any, name: str, frame: int | None = None) -> Any:
    """A functional group (PS3.3, C.7.6.16): of that frame, or else the shared one, or None.

    Parameters
    ----------
    dataset : pydicom.Dataset
    name : str
        Of the group's sequence.
    frame : int, optional
        1-based, as DICOM counts; by default the first.
    """
    at = 0 if frame is None else frame - 1
    items = several(dataset.get("PerFrameFunctionalGroupsSequence"))
    shared = several(dataset.get("SharedFunctionalGroupsSequence"))
    for item in (*items[at : at + 1], *shared[:1]):
        held = several(item.get(name))
        if held:
            return held[0]
    return None


def told(error: BaseException) -> str:
    """An error in one line, with its kind where that is news."""
    words = " ".join(str(error).split())
    return words if isinstance(error, ValueError) and words else f"{type(error).__name__}: {words}"


def _meta(file: BinaryIO) -> tuple[dict[int, bytes], int]:
    """The elements of group 2, and where what follows them begins (PS3.10, 7.1)."""
    found: dict[int, bytes] = {}
    head = file.read(132)
    at = 132 if head[128:] == b"DICM" else 0
    for _ in range(_META_ELEMENTS):
        file.seek(at)
        start = file.read(12)
        if start[:2] != b"\x02\x00":
            break
        number, kind = 0x00020000 | struct.unpack_from("<H", start, 2)[0], start[4:6]
        if kind in _LONG:
            size, begin = struct.unpack_from("<I", start, 8)[0], at + 12
        elif kind.isalpha() and kind.isupper():
            size, begin = struct.unpack_from("<H", start, 6)[0], at + 8
        else:
            size, begin = struct.unpack_from("<I", start, 4)[0], at + 8
        if size > MAX_HEADER_BYTES:
            raise ValueError(f"its header claims a value of {size} bytes")
        file.seek(begin)
        found[number] = file.read(min(size, 128))
        at = begin + size
    if not at and not _begins_a_dataset(head):
        raise ValueError("it is no DICOM file")
    return found, at


def _begins_a_dataset(head: bytes) -> bool:
    """Whether bytes without a preamble are the first element of group 8, of a plausible length."""
    if len(head) < 16 or head[:2] not in (b"\x08\x00", b"\x00\x08"):
        return False
    order = "<" if head[0] == 8 else ">"
    number = struct.unpack_from(f"{order}H", head, 2)[0]
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    size = struct.unpack_from(f"{order}{'H' if explicit else 'I'}", head, 6 if explicit else 4)[0]
    return number <= 0x20 and size <= 1024


def _guessed(start: bytes) -> str:
    if start[:2] == b"\x00\x08":
        return _BIG_ENDIAN
    return _EXPLICIT if start[4:6].isalpha() and start[4:6].isupper() else _IMPLICIT


def _inflated(file: BinaryIO) -> BinaryIO:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def pull(size: int) -> bytes:
        try:
            while not inflate.eof:
                data = inflate.unconsumed_tail or file.read(size)
                if not data:
                    break
                if more := inflate.decompress(data, size):
                    return more
        except zlib.error as error:
            raise ValueError(f"it cannot be inflated: {error}") from error
        return b""

    return cast(BinaryIO, Pulled(pull, MAX_INFLATED_BYTES))


def _pixel_data(file: BinaryIO, implicit: bool, order: str) -> tuple[int | None, int | None]:
    """Where the value of PixelData begins, and its length; the file stands before its tag."""
    at = file.tell()
    start = file.read(12)
    if len(start) < 8 or struct.unpack_from(f"{order}HH", start) != (0x7FE0, 0x0010):
        return None, None
    if implicit or start[4:6] not in _LONG:
        begin = at + 8
        size = struct.unpack_from(f"{order}I", start, 4)[0]
    else:
        begin, size = at + 12, struct.unpack_from(f"{order}I", start.ljust(12, b"\0"), 8)[0]
    return begin, None if size == 0xFFFFFFFF else size


def _complete(dataset: Any, meta: dict[int, bytes]) -> None:
    """Class and instance where group 2 alone tells them."""
    for name, number in (("SOPClassUID", 0x00020002), ("SOPInstanceUID", 0x00020003)):
        if not text(dataset, name) and (known := _text_of(meta.get(number, b""))):
            setattr(dataset, name, known)


def _text_of(value: bytes) -> str:
    return value.decode("ascii", "replace").strip(" \0")
