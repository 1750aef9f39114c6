"""The stored values of one frame, before any rescale."""

from __future__ import annotations

import itertools
import struct
from typing import Any, NamedTuple

import numpy as np

from dsnet.data.dicom.header import Header, numbers, quiet, several, told, whole
from dsnet.data.dicom.streams import Interrupted
from dsnet.data.picture_file import check_pixels
from dsnet.dependencies import needed

# What a frame may take compressed, beside its own size: noise does not shrink.
_COMPRESSED_BESIDE = 2**20
_RLE = "1.2.840.10008.1.2.5"
# Start of frame, of JPEG and JPEG-LS (T.81, table B.1; T.87, table C.1).
_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}


class Stored(NamedTuple):
    """The stored values of a frame.

    Attributes
    ----------
    values : ndarray [H, W], whole numbers of up to 32 bits
        Of the bits that are stored, with their sign.
    padding : ndarray [H, W], bool, or None
        Where PixelPaddingValue, or its range, says that nothing was measured.
    notes : tuple of str
    """

    values: np.ndarray
    padding: np.ndarray | None
    notes: tuple[str, ...]


class _Layout(NamedTuple):
    """Group 28 of a grey picture: sizes in pixels, places in bits."""

    rows: int
    columns: int
    allocated: int
    stored: int
    high: int
    signed: bool


def read_stored(header: Header, frame: int, frames: int, max_pixels: int) -> Stored:
    """Decode one frame of grey values.

    Bits outside of the stored ones are left out (PS3.5, 8.1.1), overlays in them, too.

    Parameters
    ----------
    header : Header
    frame, frames : int
        1-based; and how many there are.
    max_pixels : int
        More are refused by the header, before anything is decoded.

    Raises
    ------
    ValueError
        When there are no pixels, they are cut short, or cannot be decoded.
    """
    layout = _layout(header.dataset)
    check_pixels(layout.rows, layout.columns, max_pixels)
    if header.pixels is None:
        raise ValueError("it has no pixels")
    native = _is_native(header.syntax)
    cells = (_native if native else _decoded)(header, layout, frame, frames)
    return _stored(cells, layout, header.dataset)


def _layout(dataset: Any) -> _Layout:
    names = ("Rows", "Columns", "BitsAllocated")
    rows, columns, allocated = (whole(dataset, name) for name in names)
    if rows < 1 or columns < 1:
        raise ValueError("it has no picture")
    if allocated not in (8, 16, 32):
        raise ValueError(f"BitsAllocated must be 8, 16 or 32, got {allocated}")
    stored = whole(dataset, "BitsStored", allocated)
    high = whole(dataset, "HighBit", stored - 1)
    if not 0 < stored <= high + 1 <= allocated:
        raise ValueError(
            f"BitsStored and HighBit must lie within BitsAllocated {allocated}, got {stored} and"
            f" {high}"
        )
    signed = whole(dataset, "PixelRepresentation")
    if signed not in (0, 1):
        raise ValueError(f"PixelRepresentation must be 0 or 1, got {signed}")
    return _Layout(rows, columns, allocated, stored, high, bool(signed))


def _is_native(syntax: str) -> bool:
    return syntax in (
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.2",
    )


def _native(header: Header, layout: _Layout, frame: int, frames: int) -> np.ndarray:
    count = layout.rows * layout.columns
    size = count * layout.allocated // 8
    if header.length is None:
        raise ValueError("its pixels are in fragments, and the transfer syntax has none")
    if header.length < size * frames:
        raise ValueError(
            f"PixelData must be of {size * frames} bytes ({frames} x {layout.rows} x"
            f" {layout.columns} of {layout.allocated} bits), got {header.length}"
        )
    assert header.pixels is not None
    header.file.seek(header.pixels + size * (frame - 1))
    data = _exactly(header.file, size)
    big = header.syntax == "1.2.840.10008.1.2.2"
    cells = np.frombuffer(data, f"{'>' if big else '<'}u{layout.allocated // 8}")
    cells = cells.astype(cells.dtype.newbyteorder("="), copy=False)
    return cells.reshape(layout.rows, layout.columns)


def _exactly(file: Any, size: int) -> bytes:
    parts, missing = [], size
    while missing and (part := file.read(min(missing, 2**22))):
        parts.append(part)
        missing -= len(part)
    if missing:
        raise ValueError(f"it is cut short: {missing} bytes of its pixels lack")
    return b"".join(parts)


def _decoded(header: Header, layout: _Layout, frame: int, frames: int) -> np.ndarray:
    """The cells of a compressed frame, by the first plug-in of pydicom's that takes it."""
    with needed("dicom", "reading compressed DICOM"):
        from pydicom.encaps import encapsulate
        from pydicom.pixels.decoders.base import get_decoder
    if header.length is not None:
        raise ValueError("its pixels are in no fragments, and the transfer syntax has them")
    data = _frame_bytes(header, layout, frame, frames)
    _check_codestream(data, header.syntax, layout)
    try:
        decoder = get_decoder(header.syntax)
    except NotImplementedError as error:
        raise ValueError(f"transfer syntax {_named(header.syntax)} is none that is read") from error
    if not decoder.is_available:
        raise ValueError(
            f"transfer syntax {_named(header.syntax)} needs another plug-in: "
            + "; ".join(decoder.missing_dependencies or ("none is known",))
        )
    options: dict[str, Any] = {
        "index": 0,
        "raw": True,
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_representation": int(layout.signed),
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_keyword": "PixelData",
        "apply_j2k_sign_correction": True,
        "apply_jls_sign_correction": True,
        "correct_unused_bits": False,
    }
    try:
        with quiet():
            values, _ = decoder.as_array(encapsulate([data], has_bot=False), **options)
    except Exception as error:  # each plug-in has its own
        raise ValueError(
            f"its pixels ({_named(header.syntax)}) cannot be decoded: {told(error)}"
        ) from error
    if values.shape != (layout.rows, layout.columns):
        raise ValueError(f"must be one grey frame, got shape {values.shape}")
    return values.astype(np.int64).astype(f"u{layout.allocated // 8}")


def _frame_bytes(header: Header, layout: _Layout, frame: int, frames: int) -> bytes:
    """The code of one frame; fragments are gone through, not kept (PS3.5, A.4)."""
    from pydicom.encaps import get_frame

    order = ">" if header.syntax == "1.2.840.10008.1.2.2" else "<"
    dataset, extended = header.dataset, None
    if offsets := dataset.get("ExtendedOffsetTable"):
        extended = (offsets, dataset.get("ExtendedOffsetTableLengths") or b"")
    most = _most_compressed(layout)
    assert header.pixels is not None
    file = header.file
    file.seek(header.pixels)
    try:
        with quiet():
            data = get_frame(
                _Careful(file, most),
                frame - 1,
                extended_offsets=extended,
                number_of_frames=frames,
                endianness=order,
            )
    except Interrupted:
        raise
    except Exception as error:
        raise ValueError(f"its fragments cannot be read: {told(error)}") from error
    if not data:
        raise ValueError("its pixels are empty")
    if len(data) > most:
        raise ValueError(f"its compressed pixels must be of at most {most} bytes, got {len(data)}")
    return data


def _most_compressed(layout: _Layout) -> int:
    return layout.rows * layout.columns * layout.allocated // 8 * 2 + _COMPRESSED_BESIDE


class _Careful:
    """A file whose reads are of at most so many bytes: a fragment claims up to four billion."""

    def __init__(self, file: Any, most: int) -> None:
        self._file, self._most = file, most
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._most:
            raise ValueError(f"a fragment must be of at most {self._most} bytes, got {size}")
        return self._file.read(size)


def _check_codestream(data: bytes, syntax: str, layout: _Layout) -> None:
    """Refuse a code whose own size is another one, before a decoder believes it."""
    if syntax == _RLE:
        segments = struct.unpack_from("<I", data.ljust(4, b"\0"))[0]
        if segments != layout.allocated // 8:
            raise ValueError(
                f"its pixels must be {layout.allocated // 8} run-length segments, got {segments}"
            )
        if rle_length(data) > 2 * layout.rows * layout.columns * layout.allocated // 8:
            raise ValueError("its run lengths give more pixels than the header states")
        return
    size = codestream_size(data)
    if size is not None and size != (layout.rows, layout.columns):
        raise ValueError(
            f"the header states {layout.rows}x{layout.columns} pixels, its code {size[0]}x{size[1]}"
        )


def rle_length(data: bytes) -> int:
    """How many bytes the segments of a run-length code come to (PS3.5, annex G)."""
    count, *begins = struct.unpack_from("<16I", data.ljust(64, b"\0"))
    begins = [*begins[: min(count, 15)], len(data)]
    total = 0
    for at, end in itertools.pairwise(begins):
        while at < min(end, len(data)):
            head = data[at]
            if head < 128:
                total, at = total + head + 1, at + head + 2
            else:
                total, at = total + (257 - head) * (head > 128), at + 1 + (head > 128)
    return total


def codestream_size(data: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 code states; None where it states none."""
    at = data.find(b"\xff\x4f\xff\x51")
    if 0 <= at < 2**16 and len(data) >= at + 24:
        # T.800, A.5.1: the size of the grid, and where in it the picture begins.
        right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
        return bottom - top, right - left
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            at += 1 if marker == 0xFF else 2
        elif marker in _FRAME_MARKERS:
            rows, columns = struct.unpack_from(">2H", data, at + 5)
            return rows, columns
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _stored(cells: np.ndarray, layout: _Layout, dataset: Any) -> Stored:
    """Values of the stored bits of cells, unsigned, and which of them are padding."""
    if (plain := _plain(cells, layout, dataset)) is not None:
        return plain
    cells = cells.astype(np.uint32)
    low, span = layout.high + 1 - layout.stored, 1 << layout.allocated
    mask = ((1 << layout.stored) - 1) << low
    values = ((cells & np.uint32(mask)) >> np.uint32(low)).astype(np.int64)
    if layout.signed:
        values -= (values >= 1 << (layout.stored - 1)).astype(np.int64) << layout.stored
    elif layout.stored == 32 and values.max() >= 2**31:
        raise ValueError("its values must be below 2147483648")
    padding = _padding(values, cells, layout, dataset)
    notes = []
    overlays = _overlay_bits(dataset, layout) & ~mask
    if (cells & np.uint32(overlays)).any():
        notes.append("overlays in the unused bits were left out")
    # The sign may go on above the stored bits, or not.
    unused = np.uint32((span - 1) & ~overlays & ~mask)
    odd = ((cells & unused) != 0) & (((cells ^ (values << low).astype(np.uint32)) & unused) != 0)
    if padding is not None:
        odd &= ~padding
    if count := int(odd.sum()):
        notes.append(
            f"{count} pixels have bits set beside the {layout.stored} that are stored: left out"
        )
    return Stored(values.astype(np.int32), padding, tuple(notes))


def _plain(cells: np.ndarray, layout: _Layout, dataset: Any) -> Stored | None:
    """The cells as they are, where each is its value; None where bits have to be told apart."""
    if layout.allocated == 32 or layout.high + 1 != layout.stored or _overlay_bits(dataset, layout):
        return None
    values = cells.view(f"i{cells.itemsize}") if layout.signed else cells
    half = 1 << (layout.stored - 1)
    low, high = (-half, half - 1) if layout.signed else (0, 2 * half - 1)
    if not low <= values.min() <= values.max() <= high:
        return None
    return Stored(values, _padding(values, cells, layout, dataset), ())


def _overlay_bits(dataset: Any, layout: _Layout) -> int:
    """The bits of a cell that overlays lie in (PS3.3, C.9.2; retired, and still met)."""
    bits = 0
    for number in range(0x6000, 0x6020, 2):
        element = dataset.get((number, 0x0102))
        data = dataset.get((number, 0x3000))
        if element is None or data is not None:
            continue
        values = several(element.value)
        if len(values) == 1 and isinstance(values[0], int) and 0 <= values[0] < layout.allocated:
            bits |= 1 << values[0]
    return bits


def _padding(
    values: np.ndarray, cells: np.ndarray, layout: _Layout, dataset: Any
) -> np.ndarray | None:
    """Where PixelPaddingValue .. PixelPaddingRangeLimit lie, of either sign (PS3.3, C.7.5.1.1.2).

    Both are met with the sign of the other representation (63536 for -2000), and outside of the
    stored bits, where the whole cell holds them.
    """
    first = numbers(dataset, "PixelPaddingValue")
    if len(first) != 1:
        return None
    last = numbers(dataset, "PixelPaddingRangeLimit")
    bounds = [int(first[0]), int(last[0] if len(last) == 1 else first[0])]
    span = 1 << layout.allocated
    half = span // 2 if layout.signed else 0
    low, high = sorted((bound + half) % span - half for bound in bounds)
    found = (values >= low) & (values <= high)
    return found | (cells == bounds[0] % span) if low == high else found


def _named(syntax: str) -> str:
    from pydicom.uid import UID

    name = UID(syntax).name
    return f"{name} ({syntax})" if name != syntax else syntax or "of no name"
