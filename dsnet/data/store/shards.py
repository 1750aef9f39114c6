"""One shard of a store: opened, read, written, and told whole by its size and columns."""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from dsnet.data.remote import RemoteFile
from dsnet.data.store.direct import aligned, write_direct
from dsnet.data.store.entries import Written, describe, hash_keys, written
from dsnet.data.store.pages import Page, Unknown, pages_of, value_at
from dsnet.data.store.places import Place, arrow_source, size_of, whole_source
from dsnet.data.store.planes import ARRAY_COLUMNS, LATER_COLUMNS
from dsnet.data.store.record import schema
from dsnet.data.store.spare import Spare
from dsnet.data.store.sums import COLUMNS, Told, with_sums
from dsnet.files import sync, telling, write_atomically

# Each column of each row group costs some 10 us to write and to read. What a reader holds of the
# planes is bounded by bytes.
GROUP_ROWS, GROUP_BYTES = 256, 8 * 2**20
# A page of planes is decompressed for one label: 8 images of 64 x 64.
PAGE_BYTES, PAGE_ROWS = 64 * 2**10, 8
# Of a group of fewer rows pages are not worth to be looked for.
FEW_ROWS = 32
# A file is rarely larger than its table and so much.
SLACK_BYTES = 2**20
_spare = Spare()


@contextmanager
def naming(path: Place) -> Iterator[None]:
    """Turn pyarrow's errors into a ValueError that names the shard.

    Raises
    ------
    ValueError
        When it is missing or damaged.
    OSError
        When the system cannot open or read it: that is not the shard's fault.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # The last, of a name.
        number = getattr(error, "errno", None)
        if number == errno.ENOENT:
            raise ValueError(f"shard {path} is missing") from None
        if number is not None:
            raise OSError(number, os.strerror(number), str(path)) from error
        raise ValueError(f"shard {path} is damaged: {error}") from error


@contextmanager
def opened(path: Place, whole: bool = False) -> Iterator[Any]:
    """A shard as a `pyarrow.parquet.ParquetFile`, page checksums verified; see `naming`.

    `whole`: much of it will be read, see `places.whole_source`.
    """
    import pyarrow.parquet as pq

    with naming(path), (whole_source if whole else arrow_source)(path) as source:
        # Of an address all that a row group needs is asked for at once.
        far = not isinstance(path, Path)
        yield pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=far)


class OpenShard:
    """A shard that stays open, to read one row now and then.

    Parameters
    ----------
    path : Path or RemoteFile

    Raises
    ------
    ValueError, OSError
        As `naming`.
    """

    def __init__(self, path: Place) -> None:
        import pyarrow.parquet as pq

        self._path = path
        with naming(path):
            self._source = arrow_source(path)
            self._file = pq.ParquetFile(
                self._source,
                page_checksum_verification=True,
                pre_buffer=not isinstance(path, Path),
            )
        metadata = self._file.metadata
        groups = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
        self._ends = list(accumulate(groups))
        self._pages: dict[int, dict[str, list[Page]]] = {}

    def row(self, number: int) -> dict[str, Any]:
        """The column values of a row; reads its row group, but of the planes its pages alone.

        Raises
        ------
        ValueError
            When that is damaged.
        """
        group = bisect_right(self._ends, number)
        begin = self._ends[group - 1] if group else 0
        with naming(self._path):
            if group >= len(self._ends):
                raise OSError(f"it has no row {number}")
            planes = self._planes(group, number - begin, self._ends[group] - begin)
            others = [n for n in self._file.schema_arrow.names if n not in planes]
            table = self._file.read_row_group(group, columns=others, use_threads=False)
        return {**table.slice(number - begin, 1).to_pylist()[0], **planes}

    def _planes(self, group: int, row: int, rows: int) -> dict[str, bytes | None]:
        """Those of a row of a group that can be read alone."""
        if rows <= FEW_ROWS or not isinstance(self._path, Path):
            return {}
        if group not in self._pages:
            self._pages[group] = self._pages_of(group)
        try:
            return {n: value_at(self._source, p, row) for n, p in self._pages[group].items()}
        except Unknown:
            return {}

    def _pages_of(self, group: int) -> dict[str, list[Page]]:
        metadata = self._file.metadata.row_group(group)
        chunks = map(metadata.column, range(metadata.num_columns))
        try:
            return {
                chunk.path_in_schema: pages_of(self._source, chunk)
                for chunk in chunks
                if chunk.path_in_schema in ARRAY_COLUMNS and chunk.physical_type == "BYTE_ARRAY"
            }
        except Unknown:
            return {}

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        self._source.close()


def checked_metadata(path: Place, listed: dict[str, Any] | None):
    """Parquet metadata of a shard.

    Raises
    ------
    ValueError
        When its size, rows or columns are not those of the manifest's entry or of a store.
    """
    if listed and (size := size_of(path)) is not None and size != listed["bytes"]:
        raise ValueError(
            f"shard {path} is damaged: {size} bytes, the manifest says {listed['bytes']}"
        )
    with opened(path) as file:
        if listed and file.metadata.num_rows != listed["rows"]:
            raise ValueError(
                f"shard {path} is damaged: {file.metadata.num_rows} rows,"
                f" the manifest says {listed['rows']}"
            )
        found = {field.name: field.type for field in file.schema_arrow}
        for field in (f for f in schema([]) if f.name not in LATER_COLUMNS or f.name in found):
            if found.get(field.name) != field.type:
                raise ValueError(
                    f"shard {path} is damaged: it has no column {field.name!r} of {field.type}"
                )
        for name, kind in found.items():
            if name.startswith(("quality_", "seconds_")) and str(kind) != "double":
                raise ValueError(
                    f"shard {path} is damaged: column {name!r} must be double, got {kind}"
                )
        return file.metadata


def hashes_in(table, told: Told | None) -> np.ndarray:
    """The hashes of a table's keys; `told` as of `send_shard`."""
    return hash_keys(table["key"].to_pylist()) if told is None else told.hashes


@contextmanager
def _encoded(table) -> Iterator[memoryview]:
    """A Parquet file of a shard's rows, with the metadata of the table's schema; for a while."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    there = set(table.column_names)
    options: dict[str, Any] = {
        # zstd saves a tenth more and takes four times as long, most of it to begin each page.
        "compression": "lz4",
        "row_group_size": max(1, min(GROUP_ROWS, GROUP_BYTES * len(table) // (table.nbytes + 1))),
        "data_page_size": PAGE_BYTES,
        # How many values are added to a page before its size is looked at.
        "write_batch_size": PAGE_ROWS,
        "use_dictionary": [name for name in ("source", "status", "error") if name in there],
        # Of pixels a smallest and a largest value say nothing.
        "write_statistics": [name for name in ("key", "status") if name in there],
        "write_page_checksum": True,
    }
    # In memory first: pages are many small writes, and the checksums need not read it again.
    most = table.nbytes + SLACK_BYTES
    (room,) = _spare.take() or [np.empty(0, np.uint8)]
    if len(room) < most:
        room = aligned(most)
    made = pa.FixedSizeBufferWriter(pa.py_buffer(room))
    try:
        pq.write_table(table, made, **options)
        data = room.data[: made.tell()]
    except OSError:  # It is larger.
        made = pa.BufferOutputStream()
        pq.write_table(table, made, **options)
        data = memoryview(made.getvalue())
    yield data
    _spare.give([room])


def write_parquet(path: Path, table) -> Written:
    """Write a shard's rows to a file, as it is, with the metadata of the table's schema."""
    with _encoded(table) as data:
        write_direct(path, data)
        return written(data)


def write_unnamed(path: Path, table) -> Written:
    """As `write_parquet`, a file that is not the store's yet: synced, or gone.

    Raises
    ------
    OSError
        When it cannot be written; it names a file.
    """
    try:
        with telling(path):
            file = write_parquet(path, table)
        sync(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return file


def write_shard(path: Path, table) -> Written:
    """Put a shard with a table's rows in the place of `path`, whole or not at all.

    The metadata of the table's schema go into its footer: `manifest.origin_of`.
    """
    found: list[Written] = []
    write_atomically(path, lambda temporary: found.append(write_parquet(temporary, table)))
    return found[0]


def send_shard(place: RemoteFile, table, told: Told | None = None) -> dict[str, Any]:
    """Put a shard with a table's rows at an address, whole; its entry in the manifest.

    Parameters
    ----------
    place : RemoteFile
    table : pyarrow.Table
    told : Told, optional
        Of these rows; else they are looked through.

    Raises
    ------
    ValueError
        When it cannot be put there, or is not there then.
    """
    with _encoded(table) as data:
        place.write(bytes(data))
        file = written(data)
    if (size := place.size()) != file.bytes:
        raise ValueError(f"{place}: must be of {file.bytes} bytes once it is sent, got {size}")
    return entry_of_rows(place, table, file, told)


def entry_of_rows(place: Place, table, file: Written, told: Told | None) -> dict[str, Any]:
    """The entry of a shard that was written just now; `told` as of `send_shard`."""
    if told is not None:
        return told.entry(place.name, file)
    keys, statuses = (table[column].to_pylist() for column in ("key", "status"))
    return with_sums(describe(place, keys, statuses, file=file), table)


def describe_shard(path: Place, rows: int) -> dict[str, Any]:
    """A shard's entry in the manifest, from the file; see `entries.describe`."""
    try:
        with opened(path, whole=True) as file:
            found = file.read(columns=["key", "status"])
        keys, statuses = (found[name].to_pylist() for name in ("key", "status"))
    except (ValueError, KeyError):
        keys, statuses = [None] * rows, []
    entry = describe(path, keys if len(keys) == rows else [None] * rows, statuses)
    try:
        with opened(path, whole=True) as file:
            return with_sums(entry, file.read(columns=COLUMNS))
    except (ValueError, KeyError):  # Whoever reads the rows says what is wrong.
        return entry
