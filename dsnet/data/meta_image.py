"""MetaImage volumes: a header of lines, and the voxels beside it or after it.

The format of ITK and MeVisLab: `NAME.mhd` names the file of its voxels, `NAME.raw`, or `NAME.zraw`
where they are compressed; `NAME.mha` holds them itself, after the header. What a reader would have
to guess is refused, and so is a file with fewer or more voxels than its header states.

Public
------
``read_meta_header(path) -> MetaHeader``
``read_meta_volume(header) -> ndarray [slices, H, W]``
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsnet.data.picture_file import MAX_PIXELS, check_pixels, read_regular_file

META_ENDINGS = (".mhd", ".mha")
# MET_LONG has four bytes or eight, by who wrote it.
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2",
    "MET_INT": "i4", "MET_UINT": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
# Voxels of a volume: 1,024 slices of 512x512.
MAX_VOXELS = 2**28
# No header is as long; of an .mha the voxels follow.
_HEADER_BYTES = 2**16
# Of deflate, beside what it could not make smaller.
_DEFLATE_SHARE, _DEFLATE_BESIDE = 1.01, 2**16
# Bytes of another header before the voxels: HeaderSize.
_LONGEST_BEFORE = 2**24


@dataclass(frozen=True)
class MetaHeader:
    """What a header says, checked.

    Attributes
    ----------
    path : Path
        The header's file.
    data : Path
        The voxels' file; `path` itself where they follow the header.
    shape : (slices, H, W)
    dtype : str
        NumPy's, with the byte order of the file.
    compressed : bool
    begin : int or None
        Bytes of `data` before the voxels; None: the voxels are its last bytes.
    stored : int or None
        Bytes of compressed voxels, where the header says.
    spacing : (slice, row, column) or None
        Millimetres; None where the header says none.
    position, directions : tuple of 3 and of 9 float
        Of the first voxel and of the axes, as the header has them; empty where it does not.
    """

    path: Path
    data: Path
    shape: tuple[int, int, int]
    dtype: str
    compressed: bool = False
    begin: int | None = 0
    stored: int | None = None
    spacing: tuple[float, float, float] | None = None
    position: tuple[float, ...] = ()
    directions: tuple[float, ...] = ()


def read_meta_header(path: str | Path, max_pixels: int = MAX_PIXELS) -> MetaHeader:
    """The header of an `.mhd` or `.mha` file of a grey volume; no voxel is read.

    Parameters
    ----------
    path : path
    max_pixels : int
        A volume of larger slices is refused, as is one of more than `MAX_VOXELS` voxels.

    Raises
    ------
    ValueError
        When there is no such file, a line or value is none, the volume is too large, or it is of a
        kind that is not read: text, several channels, other than three dimensions, voxels in a list
        of files. The message names the file.
    """
    path = Path(path)
    data = read_regular_file(path, 2**62, first=_HEADER_BYTES)
    try:
        fields, end = _fields(data)
        return _header(path, fields, end, max_pixels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_meta_volume(header: MetaHeader) -> np.ndarray:
    """The voxels that a header describes.

    Returns
    -------
    ndarray [slices, H, W], of the header's type in this machine's byte order

    Raises
    ------
    ValueError
        When the voxels' file is missing, cut short, longer than the header states, or damaged; the
        message names it.
    """
    wanted = int(np.prod(header.shape)) * np.dtype(header.dtype).itemsize
    most = wanted + _HEADER_BYTES
    if header.compressed:
        most = int(wanted * _DEFLATE_SHARE) + _DEFLATE_BESIDE + _HEADER_BYTES
    if header.begin is None:
        most = wanted + _LONGEST_BEFORE
    data = memoryview(read_regular_file(header.data, most + (header.begin or 0)))
    try:
        begin = max(len(data) - wanted, 0) if header.begin is None else header.begin
        data = data[begin:]
        if header.compressed:
            data = _inflated(data, wanted, header.stored)
        if len(data) != wanted:
            how = "cut short" if len(data) < wanted else "longer than its header states"
            raise ValueError(f"the voxels are {how}: {wanted} bytes wanted, got {len(data)}")
    except ValueError as error:
        raise ValueError(f"{header.data}: {error}") from error
    stored = np.frombuffer(data, header.dtype).reshape(header.shape)
    return stored.astype(stored.dtype.newbyteorder("="))


def _inflated(data: memoryview, wanted: int, stored: int | None) -> bytes:
    if stored is not None:
        if stored > len(data):
            raise ValueError(
                f"the voxels are cut short: CompressedDataSize is {stored}, got {len(data)} bytes"
            )
        data = data[:stored]
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)  # zlib's own frame, or gzip's
    try:
        voxels = inflate.decompress(data, wanted + 1)
    except zlib.error as error:
        raise ValueError(f"the compressed voxels are damaged: {error}") from error
    if len(voxels) <= wanted and not inflate.eof:
        raise ValueError(f"the compressed voxels are cut short after {len(data)} bytes")
    return voxels


def _fields(data: bytes) -> tuple[dict[str, str], int]:
    """The header's lines by their names, and where the last one, ElementDataFile, ends."""
    fields: dict[str, str] = {}
    position = 0
    while "ElementDataFile" not in fields:
        end = data.find(b"\n", position)
        if end < 0:
            end = len(data)
            if position >= end:
                raise ValueError("the header is cut short: it names no ElementDataFile")
        line = data[position:end]
        position = end + 1
        if not line.strip():
            continue
        name, equals, value = line.partition(b"=")
        if not equals or not line.isascii() or b"\0" in line:
            number = 1 + data[: position - 1].count(b"\n")
            raise ValueError(f"not a MetaImage header: line {number} is no NAME = VALUE")
        key = name.strip().decode()
        if key in fields:
            raise ValueError(f"the header has {key} twice")
        fields[key] = value.strip().decode()
    return fields, position


def _header(path: Path, fields: dict[str, str], end: int, max_pixels: int) -> MetaHeader:
    if fields.get("ObjectType", "Image") != "Image":
        raise ValueError(f"ObjectType must be Image, got {fields['ObjectType']!r}")
    if _numbers(fields, "NDims", int) != [3]:
        raise ValueError(f"NDims must be 3, got {fields.get('NDims', 'none')}")
    if not _truth(fields, "BinaryData", True):
        raise ValueError("BinaryData must be True, got False: voxels as text are not read")
    channels = fields.get("ElementNumberOfChannels", "1")
    if channels != "1":
        raise ValueError(f"ElementNumberOfChannels must be 1, got {channels!r}")
    size = _numbers(fields, "DimSize", int)
    if len(size) != 3 or min(size) < 1:
        raise ValueError(f"DimSize must be three numbers >= 1, got {fields.get('DimSize', 'none')}")
    check_pixels(size[1], size[0], max_pixels)
    if size[0] * size[1] * size[2] > MAX_VOXELS:
        told = "x".join(map(str, size))
        raise ValueError(f"the header states {told} voxels, more than the {MAX_VOXELS} allowed")
    kind = fields.get("ElementType", "none")
    if kind not in _TYPES:
        raise ValueError(f"ElementType must be one of {', '.join(_TYPES)}, got {kind}")
    compressed = _truth(fields, "CompressedData", False)
    stored = _numbers(fields, "CompressedDataSize", int) if compressed else []
    if stored and (len(stored) > 1 or stored[0] < 1):
        raise ValueError(f"CompressedDataSize must be one number >= 1, got {stored}")
    data, begin = _where(path, fields, end, compressed)
    return MetaHeader(
        path=path,
        data=data,
        shape=(size[2], size[1], size[0]),
        dtype=(">" if _big_endian(fields) else "<") + _TYPES[kind],
        compressed=compressed,
        begin=begin,
        stored=stored[0] if stored else None,
        spacing=_spacing(fields),
        position=tuple(_of_any(fields, _POSITION, 3)),
        directions=tuple(_of_any(fields, _DIRECTIONS, 9)),
    )


# Of each the names that ITK takes for one another.
_POSITION = ("Offset", "Position", "Origin")
_DIRECTIONS = ("TransformMatrix", "Orientation", "Rotation")


def _where(path: Path, fields: dict[str, str], end: int, compressed: bool):
    """The voxels' file, and the bytes of it before them."""
    name = fields["ElementDataFile"]
    skipped = _numbers(fields, "HeaderSize", int) or [0]
    if len(skipped) > 1 or not -1 <= skipped[0] <= _LONGEST_BEFORE:
        told = fields["HeaderSize"]
        raise ValueError(f"HeaderSize must be one number in -1..{_LONGEST_BEFORE}, got {told}")
    if name.upper() == "LOCAL":
        if skipped[0] > 0:
            raise ValueError(f"HeaderSize must be 0 of voxels in the same file, got {skipped[0]}")
        return path, end
    if not name or "%" in name or name.split()[0].upper() == "LIST":
        raise ValueError(f"ElementDataFile must be one file, got {name!r}")
    # A header from elsewhere must not lead to another folder's files.
    if Path(name).name != name or "\\" in name:
        raise ValueError(f"ElementDataFile must lie beside its header, got {name!r}")
    if skipped[0] < 0:
        if compressed:
            raise ValueError("HeaderSize must not be -1 of compressed voxels")
        return path.with_name(name), None
    return path.with_name(name), skipped[0]


def _big_endian(fields: dict[str, str]) -> bool:
    """Whether the most significant byte is first; where nothing is said it is the last."""
    names = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    told = {_truth(fields, name, False) for name in names if name in fields}
    if len(told) > 1:
        raise ValueError(f"{names[0]} and {names[1]} must be alike, got both True and False")
    return told == {True}


def _spacing(fields: dict[str, str]) -> tuple[float, float, float] | None:
    found = _of_any(fields, ("ElementSpacing", "ElementSize"), 3)
    if not found:
        return None
    if min(found) <= 0:
        raise ValueError(f"ElementSpacing must be > 0, got {found}")
    column, row, between = found
    return between, row, column


def _of_any(fields: dict[str, str], names: tuple[str, ...], count: int) -> list[float]:
    """The numbers of the first of these names that is there; empty where none is."""
    for name in names:
        if name in fields:
            found = _numbers(fields, name, float)
            if len(found) != count or not np.isfinite(found).all():
                raise ValueError(f"{name} must be {count} finite numbers, got {fields[name]!r}")
            return found
    return []


def _numbers(fields: dict[str, str], name: str, kind: type) -> list:
    text = fields.get(name, "")
    try:
        if "_" in text:  # which Python takes inside of a number
            raise ValueError("not a number")
        return [kind(word) for word in text.split()]
    except ValueError as error:
        raise ValueError(f"{name} must be numbers, got {text!r}") from error


def _truth(fields: dict[str, str], name: str, otherwise: bool) -> bool:
    told = fields.get(name)
    if told is None:
        return otherwise
    if told.lower() not in ("true", "false"):
        raise ValueError(f"{name} must be True or False, got {told!r}")
    return told.lower() == "true"
