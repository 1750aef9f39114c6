"""What a store's writer does where the store lies: in a folder, or at an address.

A folder renames, syncs and locks. An address (`AddressHome`) puts objects whole, copies them, and
says who writes by a lease. All else that a writer does is the same at both.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dsnet.data.remote import RemoteFile
from dsnet.data.store.address_home import AddressHome
from dsnet.data.store.compact import roll_forward
from dsnet.data.store.journal import JournalWriter, SentJournal
from dsnet.data.store.keys import KeyIndex
from dsnet.data.store.lock import LOCK, StoreLock
from dsnet.data.store.manifest import MERGE, write_manifest
from dsnet.data.store.places import Place, StorePath, store_place
from dsnet.data.store.shards import describe_shard, entry_of_rows, opened, write_shard
from dsnet.data.store.stage import STAGED, remove_staged
from dsnet.data.store.sums import Told
from dsnet.files import TEMPORARY, sync


class Home(Protocol):
    """Where a store lies, for the one that writes it.

    Attributes
    ----------
    place : Path or RemoteFile
        Where it is read.
    keys : Path
        Folder of the runs of keys.
    """

    place: Place
    keys: Path

    @property
    def held(self) -> bool:
        """Whether this is the writer, from `take` to `release`."""
        ...

    def contents(self) -> list[str]:
        """Names of what is there, but for what passes."""
        ...

    def take(self) -> None:
        """Become the writer; RuntimeError where another process is."""
        ...

    def clear(self, begun: bool) -> None:
        """Remove what a killed writer left; of a store that was `begun` finish what it began."""
        ...

    def put(self, name: str, table, told: Told | None = None) -> dict[str, Any]:
        """Write a shard, over what is there; its entry. `told` as of `shards.send_shard`."""
        ...

    def take_in(self, staged: str, name: str, entry: dict[str, Any]) -> None:
        """Give a staged shard its name."""
        ...

    def shorten(self, staged: str, rows: list[int]) -> dict[str, Any]:
        """Leave some rows alone of a staged shard; its entry."""
        ...

    def remove(self, name: str) -> None:
        """Remove a shard, a staged one, too."""
        ...

    def write_manifest(self, manifest: dict[str, Any], score_columns: list[str]) -> str:
        """As `manifest.write_manifest`."""
        ...

    def journal(self, base: str) -> JournalWriter | SentJournal:
        """A journal that goes on from a manifest."""
        ...

    def journal_lines(self, shards: int) -> int:
        """Lines of a journal of so many shards after which the manifest takes them in."""
        ...

    def save_keys(self, index: KeyIndex, least: int | None = None) -> None:
        """As `KeyIndex.save`."""
        ...

    def finish(self) -> None:
        """Remove what the writer itself has left."""
        ...

    def release(self) -> None:
        """Let the next one write; a second call does nothing."""
        ...


def home_of(path: StorePath) -> Home:
    """The home of a store that is to be written.

    Raises
    ------
    FileExistsError
        When the path is that of a file.
    """
    place = store_place(path)
    if isinstance(place, RemoteFile):
        return AddressHome(place)
    if place.exists() and not place.is_dir():
        raise FileExistsError(f"path must be a folder, {place} is a file")
    return FolderHome(place)


# A journal that is such a share of the manifest is taken in.
JOURNAL_SHARE = 16


class FolderHome:
    """A folder; see `Home`."""

    def __init__(self, folder: Path) -> None:
        self.place: Place = folder
        self.keys = self._folder = folder
        self._lock: StoreLock | None = None

    @property
    def held(self) -> bool:
        return self._lock is not None and self._lock.held

    def contents(self) -> list[str]:
        passing = (TEMPORARY, STAGED, MERGE)
        there = os.listdir(self._folder) if self._folder.is_dir() else []
        return [n for n in there if n != LOCK and not n.startswith(passing)]

    def take(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = StoreLock(self._folder)

    def clear(self, begun: bool) -> None:
        if begun:
            roll_forward(self._folder)
        for stale in self._folder.glob(f"{TEMPORARY}*"):
            stale.unlink(missing_ok=True)
        remove_staged(self._folder)

    def put(self, name: str, table, told: Told | None = None) -> dict[str, Any]:
        path = self._folder / name
        return entry_of_rows(path, table, write_shard(path, table), told)

    def take_in(self, staged: str, name: str, entry: dict[str, Any]) -> None:
        os.replace(self._folder / staged, self._folder / name)
        sync(self._folder)

    def shorten(self, staged: str, rows: list[int]) -> dict[str, Any]:
        import pyarrow as pa

        file = self._folder / staged
        with opened(file) as shard:
            table = shard.read()
        write_shard(file, table.take(pa.array(np.array(rows, np.int64))))
        return describe_shard(file, len(rows))

    def remove(self, name: str) -> None:
        (self._folder / name).unlink()
        sync(self._folder)

    def write_manifest(self, manifest: dict[str, Any], score_columns: list[str]) -> str:
        return write_manifest(self._folder, manifest, score_columns)

    def journal(self, base: str) -> JournalWriter:
        return JournalWriter(self._folder, base)

    def journal_lines(self, shards: int) -> int:
        return shards // JOURNAL_SHARE

    def save_keys(self, index: KeyIndex, least: int | None = None) -> None:
        index.save(least)

    def finish(self) -> None:
        remove_staged(self._folder)

    def release(self) -> None:
        if self._lock is not None:
            self._lock.release()
