"""Which keys a store has, in files of sorted hashes: nobody need hold a hundred million texts.

    STORE/_keys-00000.parquet     PAR1 LINE arrays FOOTER

A run is the hashes of some shards' keys in order, each with its place: two arrays of N uint64 that
are mapped into memory, the second of `shard << 32 | row` where `shard` counts the shards that the
first line lists. Runs are made of 2**17 keys and merged with their like up to 2**22, so that there
are few and none is written often. They are a copy of what the shards say: one that is damaged is
passed over, and a shard that is not the one that a run has seen is read itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from dsnet import _C
from dsnet.data.store.carrier import MAGIC, footer
from dsnet.data.store.places import Place
from dsnet.files import require_regular, write_bytes

RUN = re.compile(r"_keys-\d{5,}\.parquet")
# Keys that a writer holds in memory before they become a run, and those of the longest run.
LEAST_RUN, LONGEST_RUN = 2**17, 2**22
ROW_BITS = 32
_DIGITS = 32


class KeyRun:
    """Sorted hashes and their places.

    Attributes
    ----------
    shards : list of (name, digest of its keys)
    hashes, places : ndarray [N], uint64
        Mapped, where the run is a file.
    file : Path or None
    """

    def __init__(
        self,
        shards: list[tuple[str, str]],
        hashes: np.ndarray,
        places: np.ndarray,
        file: Path | None = None,
    ) -> None:
        self.shards, self.hashes, self.places, self.file = shards, hashes, places, file

    def __len__(self) -> int:
        return len(self.hashes)

    def find(self, hashed: int) -> list[tuple[str, int]]:
        """(shard, row) of the keys with a hash."""
        first = _C.first_hash(self.hashes, hashed)
        found = []
        while first < len(self.hashes) and int(self.hashes[first]) == hashed:
            found.append(self._place(first))
            first += 1
        return found

    def find_many(self, hashes: np.ndarray) -> list[tuple[int, str, int]]:
        """(which of the hashes, shard, row) of the keys with one of several hashes."""
        at = np.searchsorted(self.hashes, hashes)
        asked, found = np.arange(len(hashes)), []
        # More than one round only where several keys have the same hash.
        while len(asked := asked[at[asked] < len(self)]):
            asked = asked[self.hashes[at[asked]] == hashes[asked]]
            places = self.places[at[asked]]
            names = [self.shards[shard][0] for shard in (places >> np.uint64(ROW_BITS)).tolist()]
            rows = (places & np.uint64(2**ROW_BITS - 1)).tolist()
            found += zip(asked.tolist(), names, rows, strict=True)
            at[asked] += 1
        return found

    def _place(self, at: int) -> tuple[str, int]:
        place = int(self.places[at])
        return self.shards[place >> ROW_BITS][0], place & (2**ROW_BITS - 1)


def run_of(shards: Mapping[str, np.ndarray], digests: Mapping[str, str]) -> KeyRun:
    """The run of some shards' hashes, which are in the order of their rows."""
    named = [(name, digests[name]) for name in shards]
    parts = [
        np.arange(len(hashes), dtype=np.uint64) | np.uint64(number << ROW_BITS)
        for number, hashes in enumerate(shards.values())
    ]
    return _sorted(named, list(shards.values()), parts)


def merged(runs: Iterable[KeyRun]) -> KeyRun:
    """One run of several."""
    shards: list[tuple[str, str]] = []
    hashes, places = [], []
    for run in runs:
        hashes.append(run.hashes)
        places.append(run.places + np.uint64(len(shards) << ROW_BITS))
        shards += run.shards
    return _sorted(shards, hashes, places)


def _sorted(shards, hashes: list[np.ndarray], places: list[np.ndarray]) -> KeyRun:
    if not shards:
        return KeyRun([], np.empty(0, np.uint64), np.empty(0, np.uint64))
    joined, where = np.concatenate(hashes), np.concatenate(places)
    order = np.argsort(joined, kind="stable")
    return KeyRun(shards, joined[order], where[order])


def run_files(folder: Place) -> list[Path]:
    """The files of a store's runs, in order."""
    if not isinstance(folder, Path):
        return []  # Runs are mapped into memory: of an address the shards themselves are asked.
    names = [path for path in folder.glob("_keys-*.parquet") if RUN.fullmatch(path.name)]
    return sorted(names, key=lambda path: int(path.stem[6:]))


def write_run(folder: Path, run: KeyRun) -> KeyRun:
    """Write a run as the store's next file; the one that is mapped from it."""
    number = max((int(path.stem[6:]) for path in run_files(folder)), default=-1) + 1
    file = folder / f"_keys-{number:05d}.parquet"
    arrays = run.hashes.tobytes() + run.places.tobytes()
    told = {
        "rows": len(run),
        "shards": run.shards,
        "sha256": hashlib.sha256(arrays).hexdigest()[:_DIGITS],
    }
    text = json.dumps(told, separators=(",", ":")).encode("utf-8")
    line = hashlib.sha256(text).hexdigest()[:_DIGITS].encode("ascii") + b" " + text
    line += b" " * (-(len(MAGIC) + len(line) + 1) % 8) + b"\n"  # the arrays are aligned
    write_bytes(file, MAGIC + line + arrays + footer())
    found = read_run(file)
    if found is None:
        raise OSError(f"{file} is not what was written")
    return found


def read_run(file: Path) -> KeyRun | None:
    """The run of a file, mapped; None where it is not what was written."""
    try:
        require_regular(file)
        data = np.memmap(file, np.uint8, mode="r")
        with open(file, "rb") as opened:
            opened.seek(len(MAGIC))
            line = opened.readline()
        digest, _, text = line.rstrip().partition(b" ")
        if hashlib.sha256(text).hexdigest()[:_DIGITS].encode("ascii") != digest:
            return None
        told = json.loads(text)
        rows, begin = told["rows"], len(MAGIC) + len(line)
        arrays = data[begin : begin + 16 * rows]
        if hashlib.sha256(arrays.data).hexdigest()[:_DIGITS] != told["sha256"]:
            return None
        shards = [(name, digest) for name, digest in told["shards"]]
        values = np.require(np.frombuffer(arrays, "<u8"), requirements="A")
        run = KeyRun(shards, values[:rows], values[rows:], file)
        return run if _is_sound(run, rows) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_sound(run: KeyRun, rows: object) -> bool:
    """Whether what it says can be looked up: its sum may be that of whoever made it up."""
    return (
        type(rows) is int
        and 0 <= rows == len(run.hashes) == len(run.places)
        and all(isinstance(text, str) for shard in run.shards for text in shard)
        and (not rows or int(run.places.max()) >> ROW_BITS < len(run.shards))
    )
