"""A shard written by any process, to be taken into a store by its writer.

Several processes label into one store: each encodes and writes the rows that it labelled, under a
name that is no shard's, and sends what tells of them. The one `StoreWriter` gives the file its name
and puts it into the manifest. A process that dies, or writes the same rows twice, leaves a file
without a name, which the next writer removes.
"""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsnet.data.remote import PATIENT_TRIES, RemoteFile
from dsnet.data.store.columns import table_of
from dsnet.data.store.manifest import KEY
from dsnet.data.store.places import given_up, store_place
from dsnet.data.store.record import LabelRecord, storable_text, usual_score_columns
from dsnet.data.store.row_columns import RowColumns
from dsnet.data.store.shards import entry_of_rows, hashes_in, send_shard, write_unnamed
from dsnet.data.store.sums import Told

STAGED = ".staged-"
# Bounds the memory of rows not yet on disk, whatever the crop size.
SHARD_BYTES = 256 * 2**20


class StoredRow(NamedTuple):
    """What a run tells of a row that another process stored."""

    key: str
    status: str
    error: str


@dataclass(frozen=True)
class Recipe:
    """How the shards of a store are made; `StoreWriter.recipe` gives it, any process may have it.

    Attributes
    ----------
    path : str
        Folder of the store, or its address.
    alpha_bits : int
    origin : bytes
        `manifest.origin_of`, for the footers.
    """

    path: str
    alpha_bits: int
    origin: bytes


@dataclass(frozen=True)
class StagedShard:
    """A shard that is written and synced, and not yet the store's.

    Attributes
    ----------
    file : str
        Its name in the store's folder.
    entry : dict
        For the manifest, without its name; see `entries`.
    hashes : bytes
        The keys' `entries.hash_keys`.
    rows : tuple of StoredRow
    score_columns : tuple of str
        Those that are not usual.
    left_out : tuple of str
        Keys that came again among its rows.
    """

    file: str
    entry: dict[str, Any]
    hashes: bytes = field(repr=False)
    rows: tuple[StoredRow, ...] = field(repr=False)
    score_columns: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


class ShardBuilder:
    """Rows that become one shard.

    Attributes
    ----------
    number : int
        Of the shard, for whoever counts them.
    keys : dict of str to None
        In the order of the rows.
    left_out : list of str
        Keys that came before: their first row stays.
    """

    def __init__(self, recipe: Recipe, number: int = 0) -> None:
        self._recipe = recipe
        self.number = number
        self._columns = RowColumns(recipe.alpha_bits)
        self.clear()

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, key: object) -> bool:
        return key in self.keys

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys)

    def fills(self, rows: float = math.inf) -> bool:
        """Whether it has so many rows, or their arrays are as large as a shard may be."""
        return len(self.keys) >= rows or self._columns.bytes >= SHARD_BYTES

    def clear(self) -> None:
        """Forget all rows; no table of them may be left."""
        self._columns.clear()
        self.keys: dict[str, None] = {}
        # Of rows that are not just "ok".
        self._told: dict[str, StoredRow] = {}
        self.left_out: list[str] = []

    def append(self, record: LabelRecord) -> None:
        """Add a row.

        Raises
        ------
        ValueError, TypeError
            As `record.encode`.
        """
        self._columns.append(record)
        self.keys[record.key] = None
        if record.status != "ok" or record.error:
            self._told[record.key] = StoredRow(
                record.key, record.status, storable_text(record.error)
            )

    def take(self, record: LabelRecord) -> None:
        """Add a row; one that cannot be stored is added as failed, one that came before is not."""
        if record.key in self.keys:
            self.left_out.append(record.key)
            return
        try:
            self.append(record)
        except (ValueError, TypeError, OverflowError, MemoryError) as error:
            reason = f"cannot be stored: {in_words(error)}"
            self.append(LabelRecord.from_error(record.key, record.source, reason))

    def made(self, score_columns: list[str]) -> tuple[Any, Told | None]:
        """The rows as an Arrow table, of their memory, and what an entry tells of them; None where
        it is to be looked for: an append was interrupted, or a key came twice."""
        arrays, told = self._columns.arrays()
        rows = len(self._columns)
        table = table_of(arrays, rows, score_columns, {KEY: self._recipe.origin})
        return table, told if rows == len(self.keys) else None

    def new_scores(self, known: list[str]) -> list[str]:
        """Score columns of the rows that are not among those that are known."""
        return [name for name in self._columns.scores() if name not in known]

    def stage(self) -> StagedShard | None:
        """Write the rows as one shard, and begin anew; None where there is none.

        Raises
        ------
        OSError
            When it cannot be written, at an address after some minutes; the rows stay.
        """
        if not self.keys:
            return None
        usual = usual_score_columns()
        more = self.new_scores(usual)
        place = store_place(self._recipe.path) / f"{STAGED}{uuid.uuid4().hex}"
        table, told = self.made(usual + more)
        if isinstance(place, RemoteFile):
            try:
                entry = send_shard(RemoteFile(place.address, PATIENT_TRIES), table, told)
            except ValueError as error:
                raise given_up(error) from error
        else:
            entry = entry_of_rows(place, table, write_unnamed(place, table), told)
        hashes = hashes_in(table, told).tobytes()
        del entry["name"], table
        rows = tuple(self._told.get(key) or StoredRow(key, "ok", "") for key in self.keys)
        staged = StagedShard(place.name, entry, hashes, rows, tuple(more), tuple(self.left_out))
        self.clear()
        return staged


def in_words(error: BaseException) -> str:
    """An error in words; its type leads where it is not one that the library explains."""
    text = str(error) or type(error).__name__
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


def hashes_of(staged: StagedShard) -> np.ndarray:
    """The hashes of a staged shard's keys, uint64 [N]."""
    return np.frombuffer(staged.hashes, "<u8")


def remove_staged(folder: Path) -> None:
    """Remove the shards that no writer took; for the one that holds the lock."""
    for name in os.listdir(folder):
        if name.startswith(STAGED):
            Path(folder, name).unlink(missing_ok=True)
