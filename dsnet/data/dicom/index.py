"""All slices of a folder, a zip, a DICOMDIR or a DICOMweb server, found by their UIDs.

Public
------
``index_series(place, cache=None, ...) -> SeriesIndex``
``SeriesIndex``: slices by instance, series, frame of reference and file
``read_slice(entry) -> DicomSlice``
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dsnet.data.dicom.entry import SliceEntry
from dsnet.data.dicom.header import read_header
from dsnet.data.dicom.lookup import Groups, Sorted
from dsnet.data.dicom.order import SeriesOrder, order_slices
from dsnet.data.dicom.places import (
    DICOMDIR,
    MAX_MEMBER_BYTES,
    Found,
    dicomdir_files,
    files_below,
    is_zip,
    read_source,
    split_source,
)
from dsnet.data.dicom.query import web_rows
from dsnet.data.dicom.scan import scan
from dsnet.data.dicom.slices import DicomSlice, read_stream
from dsnet.data.dicom.table import (
    OTHER,
    SLICE,
    FileRows,
    TableBuilder,
    beside,
    each_file,
    entry_at,
    files_table,
    path_of,
    path_text,
    pc,
    read_cache,
    require_cache,
    sources,
    unchanged,
    write_cache,
)
from dsnet.data.dicom.web import is_web
from dsnet.data.picture_file import MAX_PIXELS, most_bytes


def index_series(
    place: str | Path,
    cache: str | Path | None = None,
    *,
    workers: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> SeriesIndex:
    """Find the slices of a place by their tags; no pixels are read.

    Parameters
    ----------
    place : path
        A folder, gone through with all below it, zips included; a zip; a DICOMDIR; or the address
        of a DICOMweb server, of a study or a series of it, or of studies by a query
        ("https://pacs/dicom-web/studies?ModalitiesInStudy=CT").
    cache : path, optional
        A Parquet file that keeps the index, also of what was read before an interruption. What has
        not changed since, by path, size and time, is not read again, but for what could not be
        read; of a server a series that has as many instances as then.
    workers : int
        Processes that read headers. With more than one, a script must guard its main module.
    progress : callable, optional
        Called with the files that were read and how many there are to read; what it raises ends
        the reading.

    Returns
    -------
    SeriesIndex
        A file that cannot be read costs its own row, in `problems`.

    Raises
    ------
    ValueError
        When there is no such place, or it is nothing of these, or `cache` is a folder or another
        file than an index: it is not written over.
    ImportError
        When pydicom, or httpx for a server, is not installed.
    """
    here = os.fspath(place)
    require_cache(cache)
    before, builder = read_cache(cache, here), TableBuilder()
    problems: list[tuple[str, str]] = []
    left_out: Counter[str] = Counter()
    kept, read = [], 0
    try:
        if is_web(here):
            for found in web_rows(here, before, problems, progress):
                if isinstance(found, FileRows):
                    builder.add(found)
                    read += 1
                else:
                    kept.append(found)
        else:
            files, left_out, problems = _files(here)
            listed = files_table(files)
            if before is not None:
                same, listed = unchanged(before, listed)
                kept.append(same)
            for rows in scan(each_file(listed), workers):
                builder.add(*rows)
                read += 1
                if progress is not None:
                    progress(read, listed.num_rows)
    except BaseException:
        if cache is not None and read:
            # Hours of reading, which the next index goes on with.
            write_cache(cache, here, beside(builder.table(*kept), before))
        raise
    table = builder.table(*kept)
    if cache is not None and (before is None or read or table.num_rows != before.num_rows):
        write_cache(cache, here, table)
    return SeriesIndex(table, problems, left_out)


def _files(place: str | Path) -> tuple[Any, Counter[str], list[tuple[str, str]]]:
    path = Path(place)
    if path.is_dir():
        files, left_out = files_below(path)
        return files, left_out, []
    if not path.is_file():
        raise ValueError(f"place must be a folder, a zip or a DICOMDIR, there is none at {path}")
    if is_zip(path):
        state = path.stat()
        return [Found(os.fspath(path), state.st_size, state.st_mtime_ns)], Counter(), []
    if path.name.upper() == DICOMDIR:
        files, problems = dicomdir_files(path)
        return files, Counter(), problems
    raise ValueError(f"place must be a folder, a zip or a DICOMDIR, got the file {path}")


class SeriesIndex:
    """Slices, found by what names them.

    Iterating gives the UIDs of the series, in their order; the length is the number of slices.

    Attributes
    ----------
    problems : list of (source, reason)
        Files that gave no slice, and what is wrong with some that did.
    left_out : Counter
        From a reason to the number of files that were not looked at, or hold no picture.
    """

    def __init__(
        self, table: pa.Table, problems: list[tuple[str, str]], left_out: Counter[str]
    ) -> None:
        self.problems = list(problems)
        self.left_out = Counter(left_out)
        is_slice = pc.equal(table["status"], SLICE)
        told = table.filter(
            pc.and_(pc.is_valid(table["reason"]), pc.not_equal(table["status"], OTHER))
        )
        said = zip(
            map(path_of, sources(told).to_pylist()),
            told["member"].to_pylist(),
            told["reason"].to_pylist(),
            strict=True,
        )
        self.problems += dict.fromkeys((f"{s}!{m}" if m else s, r) for s, m, r in said)
        self.left_out.update(table.filter(pc.equal(table["status"], OTHER))["reason"].to_pylist())
        self._table = table.filter(is_slice).combine_chunks()
        self._by_instance = self._sorted()
        self._drop_duplicates()
        self._series = Groups(self._table["series_uid"])
        self._frames_of_reference = Groups(self._table["frame_of_reference_uid"])

    def __len__(self) -> int:
        return self._table.num_rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._series)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the slices take."""
        return self._table.nbytes + sum(
            each.nbytes for each in (self._by_instance, self._series, self._frames_of_reference)
        )

    def slice(self, instance_uid: str, frame: int | None = None) -> SliceEntry | None:
        """The slice of an instance, or None.

        Parameters
        ----------
        instance_uid : str
        frame : int, optional
            1-based; an instance of several frames is None without.
        """
        if not instance_uid:
            return None
        for row in self._by_instance.rows(instance_uid):
            entry = entry_at(self._table, row)
            if entry.frame is None:
                return _of_frame(entry, frame)
            if entry.frame == (frame or (1 if entry.frames == 1 else None)):
                return entry
        return None

    def series(self, series_uid: str) -> list[SliceEntry]:
        """The slices of a series along its normal; empty where there is no such series."""
        return list(self.order(series_uid).slices)

    def order(self, series_uid: str) -> SeriesOrder:
        """The slices of a series along its normal, and what is odd about their places."""
        return self._ordered(series_uid)

    def in_frame_of_reference(self, uid: str) -> list[SliceEntry]:
        """The slices of a frame of reference, in the order of their files."""
        return [entry_at(self._table, row) for row in self._frames_of_reference.rows(uid)]

    def files(self, name: str | Path) -> list[SliceEntry]:
        """The slices of the files of that path, or whose path ends in it, in the order of frames.

        "001.dcm" and "series/001.dcm" are found below a folder; "zip!member" is one path.
        """
        wanted = os.fspath(name).replace("\\", "/").replace("!", "/").strip("/")
        *_, last = wanted.split("/")
        if not last:
            return []
        found = [entry_at(self._table, row) for row in sorted(self._by_name.rows(path_text(last)))]
        ending = f"/{wanted}"
        return [e for e in found if f"/{e.source.replace('!', '/')}".endswith(ending)]

    def file(self, name: str | Path) -> SliceEntry | None:
        """The one slice of `files`; None where there is none, or more than one."""
        found = self.files(name)
        return found[0] if len(found) == 1 else None

    def neighbours(self, entry: SliceEntry, count: int) -> list[SliceEntry | None]:
        """The slices below and above one, along the normal of its series.

        Returns
        -------
        list of 2 * count SliceEntry or None
            One below, one above, two below, ...; None past the end, past a gap, and where the
            series is no stack there.
        """
        return self._ordered(entry.series_uid).neighbours(entry, count)

    def header(self, instance_uid: str) -> Any:
        """The dataset of an instance without its pixels (pydicom.Dataset).

        Raises
        ------
        KeyError
            When there is no such instance.
        ValueError
            When it cannot be read any more; it names the instance, not the file.
        """
        entry = self.slice(instance_uid) or self.slice(instance_uid, 1)
        if entry is None:
            raise KeyError(instance_uid)
        try:
            return read_entry_header(entry)
        except (ValueError, OSError) as error:
            told = str(error)
            for path in (entry.source, split_source(entry.source)[0]):
                told = told.removeprefix(f"{path}: ").replace(path, "its file")
            raise ValueError(f"instance {instance_uid} cannot be read: {told}") from error

    def summary(self) -> list[dict[str, Any]]:
        """A row a series: what it is, how many slices it has, what is odd about it."""
        rows = []
        for uid in self:
            order = self._ordered(uid)
            first = order.slices[0]
            rows.append(
                {
                    "series": uid,
                    "modality": first.modality,
                    "slices": len(order.slices),
                    "size": f"{first.rows}x{first.columns}",
                    "description": first.description,
                    "body part": first.body_part,
                    "notes": "; ".join(order.notes),
                }
            )
        return rows

    @functools.lru_cache(maxsize=16)  # noqa: B019
    def _ordered(self, series_uid: str) -> SeriesOrder:
        rows = self._series.rows(series_uid)
        return order_slices([entry_at(self._table, row) for row in rows])

    @functools.cached_property
    def _by_name(self) -> Sorted:
        """By the last name of each source."""
        member = pc.replace_substring_regex(self._table["member"], "^.*/", "")
        return Sorted(pc.coalesce(member, self._table["name"]).combine_chunks())

    def _sorted(self) -> Sorted:
        return Sorted(self._table["instance_uid"], pc.fill_null(self._table["frame"], 0))

    def _drop_duplicates(self) -> None:
        """Keep the first of slices of one instance and frame, and tell of the others."""
        order = self._by_instance.order
        uids = pc.take(self._table["instance_uid"], pa.array(order)).combine_chunks()
        frames = pc.fill_null(pc.take(self._table["frame"], pa.array(order)), 0).combine_chunks()
        same = pc.and_(pc.equal(uids[1:], uids[:-1]), pc.equal(frames[1:], frames[:-1]))
        same = pc.and_(same, pc.not_equal(uids[1:], "")).to_numpy(zero_copy_only=False)
        repeated = np.flatnonzero(same) + 1
        if not len(repeated):
            return
        # Of each place the last one before it, or itself, where an instance begins.
        begins = np.arange(len(order))
        begins[repeated] = 0
        begins = np.maximum.accumulate(begins)
        for at in repeated:
            entry, other = (entry_at(self._table, int(order[i])) for i in (at, begins[at]))
            if (entry.frame or 1) == 1:
                reason = f"the same instance as {other.source!r}: left out"
                self.problems.append((entry.source, reason))
        kept = np.ones(self._table.num_rows, bool)
        kept[order[repeated]] = False
        self._table = self._table.filter(pa.array(kept)).combine_chunks()
        self._by_instance = self._sorted()


def read_slice(entry: SliceEntry, max_pixels: int = MAX_PIXELS) -> DicomSlice:
    """HU, spacing and notes of a slice of an index.

    Raises
    ------
    ValueError
        As `slices.read_dicom`; the message names the source.
    """
    most = most_bytes(max_pixels) * max(1, entry.frames)
    return read_source(
        entry.source,
        lambda file, size: read_stream(file, entry.source, max_pixels, entry.frame, size),
        min(most, MAX_MEMBER_BYTES),
    )


def read_entry_header(entry: SliceEntry) -> Any:
    """The dataset of a slice's instance without its pixels (pydicom.Dataset)."""
    try:
        return read_source(entry.source, lambda file, _: read_header(file).dataset)
    except ValueError as error:
        words = str(error)
        raise ValueError(words if entry.source in words else f"{entry.source}: {words}") from error


def _of_frame(entry: SliceEntry, frame: int | None) -> SliceEntry | None:
    """A frame of an object whose frames are not told apart by their places."""
    if frame is None or (frame == 1 == entry.frames):
        return entry if entry.frames == 1 else None
    return entry._replace(frame=frame) if 1 <= frame <= entry.frames else None
