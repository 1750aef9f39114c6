"""The keys of a store: whether one is there, and where, without all of them in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from dsnet.data.store.entries import hash_key, hash_keys, is_full, keys_digest
from dsnet.data.store.key_runs import (
    LEAST_RUN,
    LONGEST_RUN,
    ROW_BITS,
    KeyRun,
    merged,
    read_run,
    run_files,
    run_of,
    write_run,
)
from dsnet.data.store.places import Place

# Shards whose keys are held as text.
HELD_SHARDS = 8
# Fewer keys than this are read from their shards quicker than a file is worth.
FEW = 2**13


class KeyIndex:
    """Where the keys of some shards are.

    Parameters
    ----------
    folder : Path or RemoteFile
        Of the store.
    entries : mapping of str to dict
        The shards and their entries, in order.
    keys_of : callable
        Given a shard's name, the list of its keys.
    runs : Path, optional
        Folder of the runs of keys; by default the store's.
    """

    def __init__(
        self,
        folder: Place,
        entries: Mapping[str, dict[str, Any]],
        keys_of: Callable[[str], list[str]],
        runs: Path | None = None,
    ) -> None:
        self._folder, self._keys_of = runs or folder, keys_of
        self._digests: dict[str, str] = {}
        self._held: OrderedDict[str, tuple[list[str], dict[str, int]]] = OrderedDict()
        self._runs: list[KeyRun] = []
        # Of shards that are in no run: what was added, and where each hash is, as runs say it, by
        # the number of the shard's name; of hashes that were there already, their further places.
        self._fresh: dict[str, np.ndarray] = {}
        self._names: list[str] = []
        self._places: dict[int, int] = {}
        self._again: dict[int, list[int]] = {}
        self._dead: list[Path] = []
        wanted = {n: e["keys"] for n, e in entries.items() if is_full(e)}
        for file in run_files(self._folder):
            run = read_run(file)
            seen = [n for n, digest in run.shards if wanted.get(n) == digest] if run else []
            if run is not None and seen:
                self._runs.append(run)
                self._digests.update((name, wanted[name]) for name in seen)
            else:
                self._dead.append(file)
        waiting: dict[str, np.ndarray] = {}
        count = 0
        for name in entries:
            if name not in self._digests:
                waiting[name] = hashes = hash_keys(keys_of(name))
                if keys_digest(hashes) != wanted.get(name, keys_digest(hashes)):
                    raise ValueError(f"shard {folder / name} is damaged: its keys are others")
                count += len(hashes)
                if count >= LEAST_RUN:
                    self._gather(waiting)
                    waiting, count = {}, 0
        if count >= FEW:
            self._gather(waiting)
        else:
            for name, hashes in waiting.items():
                self.add(name, hashes)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.find(key) is not None

    def find(self, key: str) -> tuple[str, int] | None:
        """(shard, row) of a key; None where no shard has it."""
        # Most ask in the order of the rows.
        for name in reversed(self._held):
            if (row := self._held[name][1].get(key)) is not None:
                return name, row
        hashed = hash_key(key)
        if self._runs or hashed in self._places:
            for place in self._all_places(hashed):
                if self._is_there(*place, key):
                    return place
        return None

    def twice(self) -> dict[str, int]:
        """Keys that are there more than once, in the order of the rows, and how often."""
        hashes = [run.hashes for run in self._runs] + list(self._fresh.values())
        if not hashes:
            return {}
        values, counts = np.unique(np.concatenate(hashes), return_counts=True)
        found: dict[str, set[tuple[str, int]]] = {}
        for hashed in values[counts > 1].tolist():
            for name, row in self._all_places(hashed):
                if name in self._digests and row < len(self._keys(name)):
                    found.setdefault(self._keys(name)[row], set()).add((name, row))
        again = {key: places for key, places in found.items() if len(places) > 1}
        order = {name: number for number, name in enumerate(self._digests)}
        first = {key: min((order[n], row) for n, row in again[key]) for key in again}
        return {key: len(again[key]) for key in sorted(again, key=lambda key: first[key])}

    def _all_places(self, hashed: int) -> Iterator[tuple[str, int]]:
        for run in self._runs:
            yield from run.find(hashed)
        yield from self._fresh_places(hashed)

    def _fresh_places(self, hashed: int) -> Iterator[tuple[str, int]]:
        if (place := self._places.get(hashed)) is not None:
            for each in (place, *self._again.get(hashed, ())):
                yield self._names[each >> ROW_BITS], each & (2**ROW_BITS - 1)

    def known(
        self, keys: Sequence[str], hashes: np.ndarray, shards: Container[str] | None = None
    ) -> set[str]:
        """Those of several keys, whose hashes are given, that are there, or in some shards."""
        places = [place for run in self._runs for place in run.find_many(hashes)]
        places += (
            (i, name, row)
            for i, hashed in enumerate(hashes.tolist())
            for name, row in self._fresh_places(hashed)
        )
        # Shard by shard: the keys of few are held.
        return {
            keys[i]
            for i, name, row in sorted(places, key=lambda place: place[1])
            if (shards is None or name in shards) and self._is_there(name, row, keys[i])
        }

    def add(self, name: str, hashes: np.ndarray) -> None:
        """Take in a shard, by the hashes of its keys in the order of its rows."""
        self._digests[name] = keys_digest(hashes)
        self._fresh[name] = hashes
        first = len(self._names) << ROW_BITS
        self._names.append(name)
        new = dict(zip(hashes.tolist(), range(first, first + len(hashes)), strict=True))
        if len(new) < len(hashes) or not self._places.keys().isdisjoint(new):
            for place, hashed in enumerate(hashes.tolist(), first):
                if self._places.setdefault(hashed, place) != place:
                    self._again.setdefault(hashed, []).append(place)
        else:
            self._places.update(new)

    def _gather(self, shards: dict[str, np.ndarray]) -> None:
        """Make one run in memory of what is in none."""
        self._digests.update((name, keys_digest(hashes)) for name, hashes in shards.items())
        self._runs.append(run_of(shards, self._digests))

    def condense(self) -> None:
        """Hold what was added as a run in memory, once it is much."""
        if len(self._places) >= LEAST_RUN:
            self._gather(self._fresh)
            self._begin()

    def _begin(self) -> None:
        """Forget what was added; it is in a run."""
        self._fresh, self._names, self._places, self._again = {}, [], {}, {}

    def drop(self, name: str) -> None:
        """Forget a shard."""
        self._digests.pop(name, None)
        self._held.pop(name, None)
        # Its places stay, as in runs: whoever finds one sees that the key is not there.
        self._fresh.pop(name, None)

    def save(self, least: int | None = None) -> None:
        """Write what is in no file as a run, where that is so many keys; for a writer."""
        kept = [run for run in self._runs if run.file is not None]
        new = [run for run in self._runs if run.file is None]
        if sum(map(len, new)) + len(self._places) < (LEAST_RUN if least is None else least):
            return
        if self._fresh:
            new.append(run_of(self._fresh, self._digests))
        assert isinstance(self._folder, Path)  # Of an address its writer's.
        for run in new:
            taken: list[KeyRun] = []
            while kept and len(kept[-1]) <= len(run) and len(kept[-1]) + len(run) <= LONGEST_RUN:
                taken.append(kept.pop())
                run = merged([taken[-1], run])
            kept.append(write_run(self._folder, run))
            self._dead += [old.file for old in taken if old.file is not None]
        self._runs = kept
        self._begin()
        for file in self._dead:
            file.unlink(missing_ok=True)
        self._dead = []

    def _is_there(self, name: str, row: int, key: str) -> bool:
        """Whether a place that a hash names is the key's: runs may tell of shards of before."""
        if name not in self._digests:
            return False
        keys = self._keys(name)
        return row < len(keys) and keys[row] == key

    def _keys(self, name: str) -> list[str]:
        if name not in self._held:
            keys = self._keys_of(name)
            self._held[name] = keys, {key: row for row, key in enumerate(keys)}
            if len(self._held) > HELD_SHARDS:
                self._held.popitem(last=False)
        return self._held[name][0]


class KeySet(Set):
    """The keys of a store as a set, read from its shards when they are asked for.

    Parameters
    ----------
    index : KeyIndex
    rows : mapping of str to int
        The shards, in order, and how many rows each has.
    keys_of : callable
        Given a shard's name, the list of its keys.
    more : collection of str
        Keys that are in no shard yet.
    """

    def __init__(self, index: KeyIndex, rows, keys_of, more=()) -> None:
        self._index, self._rows, self._keys_of, self._more = index, rows, keys_of, more

    @classmethod
    def _from_iterable(cls, it):
        return set(it)

    def __contains__(self, key: object) -> bool:
        if key in self._more:
            return True
        place = self._index.find(key) if isinstance(key, str) else None
        return place is not None and place[0] in self._rows

    def known(self, keys: Sequence[str]) -> set[str]:
        """Those of many keys that are in it, asked for at once."""
        try:
            hashes = hash_keys(keys)
        except UnicodeEncodeError:  # Of a key that no store has.
            hashes = np.array([hash_key(key) for key in keys], np.uint64)
        found = self._index.known(keys, hashes, self._rows)
        return found.union(key for key in keys if key in self._more)

    def __len__(self) -> int:
        return sum(self._rows.values()) + len(self._more)

    def __iter__(self) -> Iterator[str]:
        for name in list(self._rows):
            yield from self._keys_of(name)
        yield from self._more

    def __repr__(self) -> str:
        return f"<{len(self)} keys>"
