"""Which shards a store has while it is written, and how its manifest and its journal say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dsnet.data.store.entries import in_order
from dsnet.data.store.journal import JournalWriter, SentJournal
from dsnet.data.store.keys import KeyIndex, KeySet
from dsnet.data.store.record import usual_score_columns
from dsnet.data.store.shards import opened
from dsnet.data.store.stage import ShardBuilder

if TYPE_CHECKING:
    from dsnet.data.store.home import Home

# Of so many shards the manifest is written anew at each; of more, what is new goes into a journal,
# and the manifest takes it in when it has `Home.journal_lines`.
FEW_SHARDS = 64


class ShardAccount:
    """The account of a store whose lock is held.

    Parameters
    ----------
    home : Home
        Of the store.
    head : callable
        Gives what the manifest says besides the shards and their counts.

    Attributes
    ----------
    shards : dict
        From a shard's name to its entry in the manifest.
    index : KeyIndex
        Of their keys.
    score_columns : list of str
        Of all shards; a writer adds what comes new.
    """

    def __init__(self, home: Home, head: Callable[[], dict[str, Any]]) -> None:
        self._home, self._head = home, head
        self.shards: dict[str, dict[str, Any]] = {}
        self.score_columns = usual_score_columns()
        self._counts: dict[str, dict[str, int]] = {}
        self._rows: dict[str, int] = {}
        self._totals = Counter(ok=0, failed=0)
        self._unsaid: list[dict[str, Any]] = []
        self._journal: JournalWriter | SentJournal | None = None
        self._base: str | None = None
        self.read_index()

    @property
    def journalled(self) -> bool:
        """Whether a journal says what the manifest does not."""
        return self._journal is not None

    def read_index(self) -> None:
        """Begin the index of keys with the shards that were taken up."""
        home = self._home
        self.index = KeyIndex(home.place, self.shards, self._keys_of, home.keys)

    def keys(self, pending: ShardBuilder | None = None) -> KeySet:
        """The keys of the shards that are there now; with those of rows that wait, the keys of what
        comes, too."""
        if pending is None:
            return KeySet(self.index, dict(self._rows), self._keys_of)
        return KeySet(self.index, self._rows, self._keys_of, pending)

    def has(self, key: object) -> bool:
        """Whether a key is in one of the shards that are there now."""
        if not self._rows or not isinstance(key, str):
            return False
        place = self.index.find(key)
        return place is not None and place[0] in self._rows

    def failed(self, name: str) -> int:
        """How many rows of a shard failed."""
        return self._counts[name].get("failed", 0)

    def take_up(self, name: str, entry: dict[str, Any], rows: int, counts: dict[str, int]) -> None:
        """Take in a shard of an earlier run, of which the manifest is to be written anew."""
        self.shards[name], self._rows[name], self._counts[name] = entry, rows, counts
        self._totals.update(counts)

    def add(self, entry: dict[str, Any], hashes: np.ndarray) -> None:
        """Take in a shard, in the place of one of its name; `write` says so."""
        if (name := entry["name"]) in self.shards:
            self.drop(name)
        counts = {"ok": entry["rows"] - entry["failed"], "failed": entry["failed"]}
        self.take_up(name, entry, entry["rows"], counts)
        self.index.add(name, hashes)
        self._unsaid.append({"shard": entry, "counts": self._told_counts()})

    def drop(self, name: str) -> None:
        """Take out a shard; `write` says so."""
        self._totals.subtract(self._counts.pop(name))
        del self.shards[name], self._rows[name]
        self.index.drop(name)
        self._unsaid.append({"gone": [name], "counts": self._told_counts()})

    def write(self) -> None:
        """Say what is new, in the manifest or its journal."""
        if not self._unsaid:
            return
        count = len(self.shards)
        lines = len(self._unsaid) + (self._journal.lines if self._journal is not None else 0)
        most = max(FEW_SHARDS, self._home.journal_lines(count))
        # A journal goes on from a manifest of this account's.
        if self._base is None or count <= FEW_SHARDS or lines > most:
            self.write_whole()
        else:
            if self._journal is None:
                self._journal = self._home.journal(self._base)
            self._journal.append(self._unsaid)
            self._unsaid = []
        self._home.save_keys(self.index)

    def write_whole(self) -> None:
        """Say all in the manifest."""
        self.close()
        manifest = {
            **self._head(),
            "counts": self._told_counts(),
            "shards": [self.shards[name] for name in in_order(self.shards)],
        }
        self._base = self._home.write_manifest(manifest, self.score_columns)
        self._unsaid = []

    def close(self) -> None:
        """Let go of the journal; a second call does nothing."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _told_counts(self) -> dict[str, int]:
        return {"rows": self._totals.total(), **self._totals}

    def _keys_of(self, name: str) -> list[str]:
        with opened(self._home.place / name, whole=True) as file:
            return file.read(columns=["key"])["key"].to_pylist()
