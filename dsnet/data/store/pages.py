"""One value of a binary column, without the rest of its row group.

pyarrow reads whole row groups. Small ones would do for a label that is looked at now and then, but
each costs as much for every column, written or read, as a hundred numbers do. So groups are long,
and what is large in them, the planes, lies in small pages, each with its checksum. Here the page of
a row is found and read alone. Pages as `shards.write_parquet` has them are known; whatever else is
met, damage included, is left to pyarrow: `Unknown`.

The layout: https://parquet.apache.org/docs/file-format/data-pages/; thrift's compact protocol,
PageHeader and DataPageHeader of parquet.thrift, PLAIN byte arrays, RLE / bit-packed levels.
"""

from __future__ import annotations

import re
import zlib
from typing import Any, NamedTuple

# A page's header: its kind (data), bytes, compressed bytes and checksum; how many values, PLAIN,
# their levels RLE; statistics without a content, or none.
_NUMBER = rb"([\x80-\xff]{0,9}[\x00-\x7f])"
_HEADER = re.compile(
    rb"\x15\x00\x15%b\x15%b\x15%b\x1c\x15%b\x15\x00\x15\x06\x15\x06(?:\x1c\x00)?\x00\x00"
    % ((_NUMBER,) * 4)
)
_LONGEST_HEADER = 64


class Unknown(Exception):
    """Not as `shards.write_parquet` writes it."""


class Page(NamedTuple):
    """A data page.

    Attributes
    ----------
    first, rows : int
        Which rows of its group.
    offset, length : int
        Where its compressed bytes are.
    size : int
        Of its bytes.
    checksum : int
        CRC-32 of its compressed bytes.
    """

    first: int
    rows: int
    offset: int
    length: int
    size: int
    checksum: int


def pages_of(source: Any, chunk: Any) -> list[Page]:
    """The pages of a column of a row group.

    Parameters
    ----------
    source : pyarrow.NativeFile
    chunk : pyarrow.parquet.ColumnChunkMetaData

    Raises
    ------
    Unknown
        When they are not all of the known kind, or have together not the rows and bytes of the
        column.
    """
    if chunk.has_dictionary_page or chunk.compression != "LZ4":
        raise Unknown
    pages: list[Page] = []
    rows, at = 0, chunk.data_page_offset
    end = at + chunk.total_compressed_size
    while at < end:
        header = _HEADER.match(source.read_at(_LONGEST_HEADER, at))
        if header is None:
            raise Unknown
        size, length, checksum, count = map(_number, header.groups())
        page = Page(rows, count, at + header.end(), length, size, checksum % 2**32)
        if count < 1 or length < 0 or size < 4:
            raise Unknown
        pages.append(page)
        rows += count
        at = page.offset + length
    if at != end or rows != chunk.num_values:
        raise Unknown
    return pages


def value_at(source: Any, pages: list[Page], row: int) -> bytes | None:
    """A row's value of the binary column whose pages these are; None where it is null.

    Raises
    ------
    Unknown
        When the page is not what its header says.
    """
    import pyarrow as pa

    page = next(page for page in pages if row < page.first + page.rows)
    packed = source.read_at(page.length, page.offset)
    if len(packed) != page.length or zlib.crc32(packed) != page.checksum:
        raise Unknown
    try:
        data = pa.Codec("lz4_raw").decompress(packed, page.size, asbytes=True)
    except (OSError, pa.ArrowException):
        raise Unknown from None
    begin = 4 + int.from_bytes(data[:4], "little")
    there = _levels(data[4:begin], page.rows)
    found, at, wanted = None, begin, row - page.first
    for number, given in enumerate(there):
        if given:
            start = at + 4
            at = start + int.from_bytes(data[at:start], "little")
            if number == wanted:
                found = data[start:at]
    if at != len(data):
        raise Unknown
    return found


def _levels(data: bytes, count: int) -> list[int]:
    """Of so many values 1 for one that is there, 0 for a null."""
    levels: list[int] = []
    at = 0
    while at < len(data) and len(levels) < count:
        number = shift = 0
        while True:
            if at >= len(data) or shift > 28:
                raise Unknown
            byte = data[at]
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        if number & 1:  # Groups of eight, a bit each; those of the last one may be too many.
            packed = data[at : at + (number >> 1)]
            at += number >> 1
            levels += [byte >> bit & 1 for byte in packed for bit in range(8)][
                : count - len(levels)
            ]
        elif at >= len(data) or data[at] > 1 or number >> 1 > count - len(levels):
            raise Unknown
        else:
            levels += [data[at]] * (number >> 1)
            at += 1
    if len(levels) != count or at != len(data):
        raise Unknown
    return levels


def _number(data: bytes) -> int:
    """A number of thrift's compact protocol: seven bits a byte, the lowest first; zigzag."""
    found = 0
    for byte in reversed(data):
        found = found << 7 | (byte & 127)
    return (found >> 1) ^ -(found & 1)
