"""What the rows of a review come to: who says what of a label, and which version of it counts."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable

from dsnet.data.store.decisions import MADE, Decision

STATES = ("accepted", "rejected", "unsure")


class Verdicts:
    """The rows of a review, by label and by reader.

    A reader's last verdict that is not undone stands, by its time. A label is "accepted" where
    every verdict that stands accepts it, "rejected" where one rejects it, else "unsure".

    Parameters
    ----------
    rows : iterable of Decision
        Rows of one time in the order of their writing.
    """

    def __init__(self, rows: Iterable[Decision] = ()) -> None:
        self._of_key: dict[str, list[Decision]] = {}
        self._of_reader: dict[str, list[Decision]] = {}
        self._by_id: dict[str, Decision] = {}
        self._undone: set[str] = set()
        for row in rows:
            self.take(row)

    def take(self, row: Decision) -> None:
        """Count a further row."""
        self._by_id[row.id] = row
        if row.kind == "undo":
            self._undone.add(row.undoes)
            return
        # What was decided while no server was there may come late.
        for rows in (
            self._of_key.setdefault(row.key, []),
            self._of_reader.setdefault(row.reader, []),
        ):
            bisect.insort_right(rows, row, key=lambda each: each.time)

    @property
    def keys(self) -> list[str]:
        """Of the labels that a row is about."""
        return list(self._of_key)

    def readers(self) -> list[str]:
        """Whoever decided something, in the order in which they came."""
        return list(self._of_reader)

    def row(self, id: str) -> Decision | None:
        """The row of that id, an undo, too; None where there is none."""
        return self._by_id.get(id)

    def is_undone(self, row: Decision) -> bool:
        """Whether a later row undoes it."""
        return row.id in self._undone

    def rows(self, key: str) -> list[Decision]:
        """Verdicts and mends of a label by their times, those that are undone, too."""
        return self._of_key.get(key, [])

    def last(self, reader: str) -> Decision | None:
        """What a reader would undo next; None where nothing is left."""
        rows = self._of_reader.get(reader, [])
        return next((row for row in reversed(rows) if row.id not in self._undone), None)

    def standing(self, key: str) -> dict[str, Decision]:
        """By reader, the verdict on a label that stands."""
        found = {}
        for row in self.rows(key):
            if row.kind == "verdict" and row.id not in self._undone:
                found[row.reader] = row
        return found

    def mended(self, key: str) -> list[Decision]:
        """The mended versions of a label that are not undone, in the order of their making."""
        rows = self.rows(key)
        return [row for row in rows if row.kind == "mend" and row.id not in self._undone]

    def made(self, key: str, version: str) -> Decision | None:
        """The row that tells of a mended version, undone or not."""
        rows = self.rows(key)
        return next((r for r in rows if r.kind == "mend" and r.version == version), None)

    def state(self, key: str) -> str:
        """One of `STATES`; empty where nobody decided."""
        said = {row.verdict for row in self.standing(key).values()}
        if not said:
            return ""
        if "reject" in said:
            return "rejected"
        return "accepted" if said == {"accept"} else "unsure"

    def version(self, key: str) -> str:
        """The version that counts: that of the last accept that stands, else `MADE`."""
        accepted = [row for row in self.standing(key).values() if row.verdict == "accept"]
        return max(accepted, key=lambda row: row.time).version if accepted else MADE

    def counts(self, keys: Iterable[str] | None = None) -> Counter[str]:
        """Labels by state, of all or of `keys`; those that nobody decided are under ""."""
        return Counter(self.state(key) for key in (self.keys if keys is None else keys))
