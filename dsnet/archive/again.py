"""A run that is given again: a digest of what was asked for, and whether a store has all of it.

To read a table of a million marks and to ask for each takes a minute. A store whose run came to its
end keeps the digest, until anything is written to it again; `StoreWriter.finished` tells how. One
that is not finished says what its rows were compared with, or made of: `StoreWriter`'s `asked`.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dsnet import __version__
from dsnet.archive.review import ReviewedJobs
from dsnet.data.parquet_table import table_files
from dsnet.data.store.manifest import ASKED, FINISHED, read_manifest
from dsnet.data.store.places import StorePath, store_place


def asked_of(files: list[str], chosen: dict[str, Any]) -> str:
    """A digest of the rows that a run is asked for; empty where nobody can tell.

    Parameters
    ----------
    files : list of str
        Files, or folders of Parquet, that say which rows there are: of a pipe, which is read once,
        and of an address none can tell.
    chosen : dict
        By what they are chosen; JSON values.
    """
    told = hashlib.sha256(json.dumps([__version__, chosen], sort_keys=True).encode("utf-8"))
    for file in _files(files):
        try:
            if not stat.S_ISREG(os.stat(file).st_mode):
                return ""
            with open(file, "rb") as opened:
                digest = hashlib.sha256()
                while part := opened.read(2**20):
                    digest.update(part)
        except (OSError, ValueError):  # An address, or none: who reads it tells.
            return ""
        told.update(digest.digest())
    return told.hexdigest()


def asked_of_pictures(pictures: Iterable[tuple[str, str]], chosen: dict[str, Any]) -> str:
    """A digest of the pictures that a run is asked for.

    Of a folder its names tell which rows there are, and nothing else does: what a resumed store is
    compared with, and what is left of it, depends on no file's content.

    Parameters
    ----------
    pictures : iterable of (key, source)
        All that there are, in their order.
    chosen : dict
        By what they are chosen; JSON values.
    """
    told = hashlib.sha256(json.dumps([__version__, chosen], sort_keys=True).encode("utf-8"))
    for picture in pictures:
        told.update(repr(picture).encode("utf-8", "surrogatepass"))
    return told.hexdigest()


def _files(tables: list[str]) -> Iterator[str]:
    """Those of folders one by one; of one that is no table its own name."""
    for table in tables:
        try:
            yield from map(str, table_files(Path(table))) if os.path.isdir(table) else [table]
        except ValueError:  # Who reads it tells.
            yield table


def is_finished(store: StorePath, asked: str) -> bool:
    """Whether a store came to the end of a run that asked for the same."""
    return _says(store, FINISHED, asked)


def is_compared(store: StorePath, asked: str) -> bool:
    """Whether all rows of a store agree with what a run asks for: nothing has changed since."""
    return _says(store, ASKED, asked)


def _says(store: StorePath, what: str, asked: str) -> bool:
    try:
        return bool(asked) and read_manifest(store_place(store)).get(what) == asked
    except (OSError, ValueError):  # The run tells.
        return False


def nothing_left(asked: str) -> ReviewedJobs:
    """The jobs of a run whose store is finished."""

    def none(done: object) -> Iterator:
        return iter(())

    return ReviewedJobs(none, lambda store: [], asked)
