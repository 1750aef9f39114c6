"""Headers of many files, read in processes."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import BinaryIO

from dsnet.data.dicom.entry import TAGS, SliceEntry, entries_of
from dsnet.data.dicom.header import quiet, read_header
from dsnet.data.dicom.places import DICOMDIR_CLASS, Found, is_zip, read_source, zip_members
from dsnet.data.dicom.table import OTHER, REFUSED, SLICE, FileRows
from dsnet.dependencies import needed
from dsnet.signals import end_with_parent, left_to_parent

# Files that go to a process at a time, and such lots under way for each process.
_LOT, _AHEAD = 64, 4
_ENDINGS = (".dcm", ".dicom", ".ima")


def scan(files: Iterable[Found], workers: int = 1) -> Iterator[list[FileRows]]:
    """What each file holds, by its header; an archive gives the rows of its members.

    Parameters
    ----------
    files : iterable of Found
    workers : int
        Processes.

    Yields
    ------
    list of FileRows
        In the order of the files.
    """
    with needed("dicom", "reading DICOM"):
        import pydicom  # noqa: F401
    files = iter(files)
    lots = iter(lambda: list(itertools.islice(files, _LOT)), [])
    first = next(lots, None)
    if first is None:
        return
    second = next(lots, None)
    if workers <= 1 or second is None:
        for lot in itertools.chain((first,), (second,) if second else (), lots):
            yield from map(read_file, lot)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, end_with_parent) as pool:
        waiting: list[tuple[list[Found], Future]] = []
        try:
            for lot in itertools.chain((first, second), lots):
                with left_to_parent():
                    waiting.append((lot, pool.submit(_read_lot, lot)))
                if len(waiting) > workers * _AHEAD:
                    yield from waiting.pop(0)[1].result()
            while waiting:
                yield from waiting.pop(0)[1].result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a process that reads headers died: one worker reads them in this process"
            ) from error
        finally:
            for _, future in waiting:
                future.cancel()


def read_file(file: Found) -> list[FileRows]:
    """What a file holds: one row, or one a member of an archive."""
    if os.path.splitext(file.path)[1].lower() == ".zip" or is_zip(file.path):
        try:
            names, problems = zip_members(file.path)
        except (OSError, ValueError) as error:
            return [FileRows(file, None, [], REFUSED, _without(str(error), file.path))]
        begin = len(file.path) + 1
        return [
            *(read_entries(file, name, f"{file.path}!{name}") for name in names),
            *(FileRows(file, source[begin:], [], REFUSED, why) for source, why in problems),
        ]
    return [read_entries(file, None, file.path)]


def _read_lot(lot: list[Found]) -> list[list[FileRows]]:
    return [read_file(file) for file in lot]


def read_entries(file: Found, member: str | None, source: str) -> FileRows:
    def read(stream: BinaryIO, size: int | None) -> tuple[list[SliceEntry] | None, list[str]]:
        header = read_header(stream, TAGS)
        if str(header.dataset.get("SOPClassUID") or "") == DICOMDIR_CLASS:
            return None, []
        entries, problems = entries_of(header.dataset, header.syntax, source)
        if entries and header.pixels is None:
            problems.append("it has no pixels")
        elif entries and header.file is stream and size is not None:
            assert header.pixels is not None
            if header.pixels + (header.length or 0) > size:
                problems.append("it is cut short: its pixels lack")
        return entries, problems

    try:
        with quiet():
            entries, problems = read_source(source, read)
        if entries is None:
            return FileRows(file, member, [], OTHER, "DICOMDIR")
        if not entries:
            return FileRows(file, member, [], OTHER, "DICOM without a picture")
        return FileRows(file, member, entries, SLICE, "; ".join(problems) or None)
    except (OSError, ValueError) as error:
        reason = _without(str(error), source)
        named = source.lower().endswith(_ENDINGS)
        if reason == "it is no DICOM file" and not named:
            return FileRows(file, member, [], OTHER, "no DICOM")
        return FileRows(file, member, [], REFUSED, reason)
    except Exception as error:  # pydicom raises many kinds when it is asked for a value
        return FileRows(file, member, [], REFUSED, f"{type(error).__name__}: {error}"[:200])


def _without(message: str, source: str) -> str:
    return message.removeprefix(f"{source}: ")
