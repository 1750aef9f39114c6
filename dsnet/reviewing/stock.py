"""The labels of a store, numbered: what a writer appends meanwhile gets the next numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from dsnet.data.store.journal import JOURNAL
from dsnet.data.store.manifest import manifest_file
from dsnet.data.store.reader import LabelStore
from dsnet.data.store.record import LabelRecord
from dsnet.reviewing.catalogue import Catalogue


class Stock:
    """A store as it is at one moment; nothing of it changes.

    A run that resumes the store appends rows, and takes failed ones out to try them again. A key
    keeps its number in every later stock: pages and servers name labels by it.

    Parameters
    ----------
    store : LabelStore
    before : Stock, optional
        Of the same store, earlier.

    Attributes
    ----------
    store : LabelStore
    keys : list of str
        By number; of rows that the store has no more, too.
    index : dict of str to int
    catalogue : Catalogue
        By number.
    """

    def __init__(self, store: LabelStore, before: Stock | None = None) -> None:
        self.store = store
        self.keys, self.index = store.keys, {}
        if before is not None:
            self.index = dict(before.index)
            self.keys = [*before.keys, *(key for key in store.keys if key not in self.index)]
        for number in range(len(self.index), len(self.keys)):
            self.index[self.keys[number]] = number
        self._rows: np.ndarray | None = None  # by number; the same where there is none
        if before is not None and self.keys != store.keys:
            self._rows = np.full(len(self.keys), -1, np.int64)
            self._rows[[self.index[key] for key in store.keys]] = np.arange(len(store.keys))
        self.catalogue = Catalogue(store, self._rows)

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, number: int) -> LabelRecord:
        """A label as it was made.

        Raises
        ------
        OSError
            When it is damaged, its file is gone, or the store has it no more.
        """
        row = number if self._rows is None else int(self._rows[number])
        if row < 0:
            raise OSError(f"{self.store.path} has no row {self.keys[number]!r} now")
        try:
            return self.store.read(row)
        except ValueError as error:  # of a shard: damaged, or gone
            raise OSError(str(error)) from error


def stamp(path: Path) -> tuple[Any, ...]:
    """Differs as soon as a writer has changed what the store says of itself."""
    found = []
    for file in (manifest_file(path), path / JOURNAL):
        try:
            status = os.stat(str(file)) if file is not None else None
        except OSError:
            status = None
        found.append(status and (status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)
