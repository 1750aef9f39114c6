"""Marks and the slices that they lie on, found for a command: with bars, and errors by option."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dsnet.archive.run import is_in_use
from dsnet.console import Bar, UserError, print_table

if TYPE_CHECKING:
    from dsnet.archive.naming import Naming
    from dsnet.data.dicom.index import SeriesIndex
    from dsnet.data.marks.match import MatchedMark
    from dsnet.data.marks.record import FoundMarks
    from dsnet.data.remote import RemoteFile


def find_on_slices(
    images: str,
    marks: str,
    *,
    cache: str | None = None,
    workers: int = 1,
    gsps_origin: float,
    table_origin: float | None = None,
) -> tuple[FoundMarks, SeriesIndex, list[MatchedMark]]:
    """The marks of a place, the slices of another, and which lies on which.

    Bars on a terminal tell how far it is: an archive's headers take minutes to hours.

    Parameters
    ----------
    images, cache, workers
        See `dsnet.data.dicom.index.index_series`.
    marks, gsps_origin, table_origin
        See `dsnet.data.marks.find.find_marks`.

    Raises
    ------
    UserError
        When a place is none; it names the option.
    """
    from dsnet.data.dicom.index import index_series
    from dsnet.data.marks.find import find_marks
    from dsnet.data.marks.match import match_marks

    with Bar(on_stderr=True) as bar:
        with named("--images", "--index"):
            index = index_series(
                images, cache, workers=workers, progress=lambda d, n: bar.show("slices", d, n)
            )
        with named("--marks"):
            found = find_marks(
                marks,
                gsps_origin=gsps_origin,
                table_origin=table_origin,
                progress=lambda done: bar.show("files of marks", done, None),
            )
    return found, index, match_marks(found.marks, index)


def tell_found(
    found: FoundMarks,
    matched: list[MatchedMark],
    index: SeriesIndex,
    naming: Naming,
    everything: bool,
) -> None:
    """Print what was found; without `everything` what does not match or cannot be read alone."""
    from dsnet.archive.dicom import found_tables

    for title, heads, rows in found_tables(found, matched, index, naming):
        if everything or not title[0].isdigit():
            print(f"{title}:")
            print_table(rows, heads)


def require_new(out: str | Path | RemoteFile, goes_on: bool) -> None:
    """UserError where a new store would be written into a folder that is not empty."""
    if not goes_on and is_in_use(out):
        raise UserError(f"{out} is not empty: add --resume to go on with it, or give another --out")


@contextlib.contextmanager
def named(place: str, cache: str = "") -> Iterator[None]:
    """Tell a ValueError by the options that its arguments `place` and `cache` came from."""
    try:
        yield
    except ValueError as error:
        told = str(error)
        for name, option in (("place ", place), ("cache ", cache), ("hash_key ", place)):
            if told.startswith(name) and option:
                raise UserError(f"{option} {told.removeprefix(name)}") from error
        raise UserError(f"{place}: {told}") from error
