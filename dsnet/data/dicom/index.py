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
from dsnet.data.dicom.order import SeriesOrder, order_slices
from dsnet.data.dicom.places import (
    DICOMDIR,
    Found,
    dicomdir_files,
    files_below,
    is_zip,
    open_source,
)
from dsnet.data.dicom.scan import scan
from dsnet.data.dicom.slices import DicomSlice, read_stream
from dsnet.data.dicom.table import (
    OTHER,
    SLICE,
    TableBuilder,
    each_file,
    entry_at,
    files_table,
    pc,
    read_cache,
    sources,
    unchanged,
    write_cache,
)
from dsnet.data.picture_file import MAX_PIXELS


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
        A folder, gone through with all below it, zips included; a zip; or a DICOMDIR.
    cache : path, optional
        A Parquet file that keeps the index. What has not changed since, by path, size and time, is
        not read again.
    workers : int
        Processes that read headers. With more than one, a script must guard its main module.
    progress : callable, optional
        Called with the files that were read and how many there are to read.

    Returns
    -------
    SeriesIndex
        A file that cannot be read costs its own row, in `problems`.

    Raises
    ------
    ValueError
        When there is no such place, or it is nothing of these.
    ImportError
        When pydicom is not installed.
    """
    files, left_out, problems = _files(place)
    here = os.fspath(place)
    listed = files_table(files)
    before, builder = read_cache(cache, here), TableBuilder()
    kept = []
    changed = listed
    if before is not None:
        same, changed = unchanged(before, listed)
        kept.append(same)
    total = changed.num_rows
    for done, rows in enumerate(scan(each_file(changed), workers), 1):
        for row in rows:
            builder.add(row)
        if progress is not None:
            progress(done, total)
    table = builder.table(*kept)
    if cache is not None and (before is None or total or same.num_rows != before.num_rows):
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
            sources(told).to_pylist(),
            told["member"].to_pylist(),
            told["reason"].to_pylist(),
            strict=True,
        )
        self.problems += dict.fromkeys((f"{s}!{m}" if m else s, r) for s, m, r in said)
        self.left_out.update(table.filter(pc.equal(table["status"], OTHER))["reason"].to_pylist())
        self._table = table.filter(is_slice).combine_chunks()
        self._by_instance = _by_instance(self._table)
        self._drop_duplicates()
        self._series = _Groups(self._table["series_uid"])
        self._frames_of_reference = _Groups(self._table["frame_of_reference_uid"])

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
        column, order = self._table["instance_uid"], self._by_instance
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if column[int(order[middle])].as_py() < instance_uid:
                low = middle + 1
            else:
                high = middle
        while low < len(order):
            entry = entry_at(self._table, int(order[low]))
            if entry.instance_uid != instance_uid:
                return None
            if entry.frame is None:
                return _of_frame(entry, frame)
            if entry.frame == (frame or (1 if entry.frames == 1 else None)):
                return entry
            low += 1
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
        found = [entry_at(self._table, int(row)) for row in self._by_name(last)]
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
            When it cannot be read any more.
        """
        entry = self.slice(instance_uid) or self.slice(instance_uid, 1)
        if entry is None:
            raise KeyError(instance_uid)
        return read_entry_header(entry)

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
    def _names(self) -> tuple[pa.Array, np.ndarray]:
        """The last name of each source, and the order of these."""
        member = pc.replace_substring_regex(self._table["member"], "^.*/", "")
        names = pc.coalesce(member, self._table["name"]).combine_chunks()
        return names, pc.sort_indices(names).to_numpy().astype(np.int32)

    def _by_name(self, name: str) -> np.ndarray:
        names, order = self._names
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if names[int(order[middle])].as_py() < name:
                low = middle + 1
            else:
                high = middle
        first = low
        while low < len(order) and names[int(order[low])].as_py() == name:
            low += 1
        return np.sort(order[first:low])

    def _drop_duplicates(self) -> None:
        """Keep the first of slices of one instance and frame, and tell of the others."""
        if len(self._by_instance) < 2:
            return
        order = pa.array(self._by_instance)
        uids = pc.take(self._table["instance_uid"], order).combine_chunks()
        frames = pc.fill_null(pc.take(self._table["frame"], order), 0).combine_chunks()
        same = pc.and_(pc.equal(uids[1:], uids[:-1]), pc.equal(frames[1:], frames[:-1]))
        same = pc.and_(same, pc.not_equal(uids[1:], "")).to_numpy(zero_copy_only=False)
        if not same.any():
            return
        repeated = np.flatnonzero(same) + 1
        # Of each place the last one before it, or itself, where an instance begins.
        begins = np.arange(len(order))
        begins[repeated] = 0
        begins = np.maximum.accumulate(begins)
        for at in repeated:
            rows = self._by_instance[[at, begins[at]]]
            entry, other = (entry_at(self._table, int(row)) for row in rows)
            if (entry.frame or 1) == 1:
                reason = f"the same instance as {other.source}: left out"
                self.problems.append((entry.source, reason))
        kept = np.ones(self._table.num_rows, bool)
        kept[self._by_instance[repeated]] = False
        self._table = self._table.filter(pa.array(kept)).combine_chunks()
        self._by_instance = _by_instance(self._table)


def read_slice(entry: SliceEntry, max_pixels: int = MAX_PIXELS) -> DicomSlice:
    """HU, spacing and notes of a slice of an index.

    Raises
    ------
    ValueError
        As `slices.read_dicom`; the message names the source.
    """
    with open_source(entry.source) as (file, size):
        return read_stream(file, entry.source, max_pixels, entry.frame, size)


def read_entry_header(entry: SliceEntry) -> Any:
    """The dataset of a slice's instance without its pixels (pydicom.Dataset)."""
    with open_source(entry.source) as (file, _):
        try:
            return read_header(file).dataset
        except ValueError as error:
            raise ValueError(f"{entry.source}: {error}") from error


class _Groups:
    """The rows of a table by the values of a column: two numbers a row."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        array = column.combine_chunks()
        codes = pc.fill_null(array.indices, -1).to_numpy(zero_copy_only=False)
        self._order = np.argsort(codes, kind="stable").astype(np.int32)
        self._begins = np.searchsorted(codes[self._order], np.arange(len(array.dictionary) + 1))
        values = array.dictionary.to_pylist()
        self._codes = {
            value: code
            for code, value in enumerate(values)
            if value and self._begins[code] < self._begins[code + 1]
        }

    @property
    def nbytes(self) -> int:
        return self._order.nbytes + self._begins.nbytes

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._codes))

    def rows(self, value: str) -> list[int]:
        code = self._codes.get(value)
        if code is None:
            return []
        return self._order[self._begins[code] : self._begins[code + 1]].tolist()


def _by_instance(table: pa.Table) -> np.ndarray:
    """The rows in the order of their instances and frames."""
    keys = {"uid": table["instance_uid"], "frame": pc.fill_null(table["frame"], 0)}
    order = pc.sort_indices(pa.table(keys), sort_keys=[(name, "ascending") for name in keys])
    return order.to_numpy().astype(np.int32)


def _of_frame(entry: SliceEntry, frame: int | None) -> SliceEntry | None:
    """A frame of an object whose frames are not told apart by their places."""
    if frame is None or (frame == 1 == entry.frames):
        return entry if entry.frames == 1 else None
    return entry._replace(frame=frame) if 1 <= frame <= entry.frames else None
