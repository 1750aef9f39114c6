"""What became of every line of a table: looked up in the store that was labelled from it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.common.broken_archive import KINDS, REASONS, Archive
from dsnet.data.store import open_store
from dsnet.data.store.record import metadata_of

DIGEST_BYTES = 16


@dataclass
class Account:
    """The lines of a table in a store.

    Attributes
    ----------
    digests : ndarray [N, 16], uint8
        Of all that is stored of a line but the times; 0 where it is not there.
    times : ndarray [N]
        How often it is there.
    wrong : dict of str to int
        Rows by kind whose status or reason is not the kind's.
    strangers : int
        Rows of no line.
    problems : list of str
        Some of what is wrong, in words.
    """

    digests: np.ndarray
    times: np.ndarray
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    strangers: int = 0
    problems: list[str] = field(default_factory=list)

    def told(self) -> dict:
        """For a file of results."""
        return {
            "stored_once": int((self.times == 1).sum()), "lost": int((self.times == 0).sum()),
            "doubled": int((self.times > 1).sum()), "of_no_line": self.strangers,
            "statuses": dict(self.statuses), "wrong_by_kind": dict(self.wrong),
        }  # fmt: skip


def account_of(store: Path, archive: Archive) -> Account:
    """Look at every row of a store.

    Parameters
    ----------
    store : Path
    archive : Archive
        That it was labelled from.
    """
    count = len(archive.kinds)
    found = Account(np.zeros((count, DIGEST_BYTES), np.uint8), np.zeros(count, np.int64))
    opened = open_store(store)
    for name in opened.shards:
        table = opened.shard_table(name)
        names = [column for column in table.column_names if not column.startswith("seconds_")]
        for row in table.select(sorted(names)).to_pylist():
            _take(row, found, archive)
    for what, lines in (("lost", found.times == 0), ("doubled", found.times > 1)):
        for line in np.flatnonzero(lines)[:3]:
            found.problems.append(f"line {line + 2} is {what}")
    return found


def _take(row: dict, found: Account, archive: Archive) -> None:
    found.statuses[row["status"]] += 1
    line = metadata_of(row["metadata"]).get("row")
    if not isinstance(line, int) or not 2 <= line < len(archive.kinds) + 2:
        found.strangers += 1
        found.problems.append(f"row {row['key']!r} is of no line: {row['error']}")
        return
    kind = KINDS[archive.kinds[line - 2]]
    reason = REASONS[kind]
    if (row["status"], bool(re.search(reason, row["error"] or ""))) != (
        ("failed", True) if reason else ("ok", True)
    ):
        found.wrong[kind] += 1
        found.problems.append(f"line {line}, {kind}: {row['status']}, {row['error']!r}")
    digest = hashlib.blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES)
    found.digests[line - 2] = np.frombuffer(digest.digest(), np.uint8)
    found.times[line - 2] += 1
