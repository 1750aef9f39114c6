"""A store's review: who gets which label next, what was decided, and how far it is."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsnet.console import warn
from dsnet.data.store.decisions import MADE, Decision, DecisionLog, new_id, read_decisions
from dsnet.data.store.reader import LabelStore
from dsnet.data.store.record import LabelRecord
from dsnet.data.store.verdicts import Verdicts
from dsnet.data.store.versions import write_version
from dsnet.reviewing.catalogue import ORDERS, Catalogue
from dsnet.reviewing.labels import Labels
from dsnet.reviewing.leases import LEASE_SECONDS, Leases

# Verdicts whose time tells the rate.
_RECENT = 50


class Lent(ValueError):
    """Another reader holds the label."""


@dataclass(frozen=True)
class Plan:
    """Which labels are reviewed, and how.

    Attributes
    ----------
    order : str
        One of `catalogue.ORDERS`.
    seed : int
        Of the random order and of the sample.
    sample : int or None
        Only so many labels, chosen at random.
    blind : bool
        No score is shown.
    readings : int
        Readers who are to decide on each label.
    """

    order: str = "expected-dice"
    seed: int = 0
    sample: int | None = None
    blind: bool = False
    readings: int = 1

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"order must be one of {ORDERS}, got {self.order!r}")
        if self.blind and self.order == "expected-dice":
            raise ValueError("order must not be 'expected-dice' in a blind review: it tells scores")
        if self.sample is not None and self.sample < 1:
            raise ValueError(f"sample must be at least 1, got {self.sample}")
        if self.readings < 1:
            raise ValueError(f"readings must be at least 1, got {self.readings}")


class Review:
    """The review of a store, open; safe to share between threads.

    Parameters
    ----------
    store : LabelStore
    plan : Plan
    clock : callable
        Of the leases.

    Attributes
    ----------
    catalogue : Catalogue
    verdicts : Verdicts
        Of every process that wrote before this one began, and of this one.
    labels : Labels
    leases : Leases
    """

    def __init__(
        self,
        store: LabelStore,
        plan: Plan | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store, self.plan = store, plan or Plan()
        found = read_decisions(store.path)
        for told in (*found.torn, *found.damaged):
            warn(told)
        self.verdicts = Verdicts(found.rows)
        self.catalogue = Catalogue(store)
        self.labels = Labels(store, self.verdicts)
        self.leases = Leases(len(store), LEASE_SECONDS, clock)
        self._log = DecisionLog(store.path)
        self._lock = threading.RLock()
        self._index = {key: index for index, key in enumerate(store.keys)}
        self._chosen = self.catalogue.shown
        if self.plan.sample is not None:
            self._chosen = np.zeros(len(store), bool)
            self._chosen[self.catalogue.sample(self.plan.sample, self.plan.seed)] = True
        order = self.catalogue.order(self.plan.order, self.plan.seed)
        self._order = order[self._chosen[order]]
        self._place = np.full(len(store), -1)
        self._place[self._order] = np.arange(len(self._order))
        # By label how many readers' verdicts stand, and by reader on which labels.
        self._readings = np.zeros(len(store), np.int32)
        self._decided: dict[str, np.ndarray] = {}
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_RECENT))
        for key in self.verdicts.keys:
            self._recount(key)

    @property
    def count(self) -> int:
        """Labels that are reviewed."""
        return len(self._order)

    def next(self, reader: str, after: int | None, count: int) -> list[int]:
        """Lend a reader the next labels.

        Parameters
        ----------
        reader : str
        after : int or None
            The index of the label behind which to go on in the order; None: from its beginning.
        count : int
            At most so many.

        Returns
        -------
        list of int
            Labels on which neither this reader nor as many as `Plan.readings` decided, and which
            no other one holds.
        """
        with self._lock:
            start = 0 if after is None else int(self._place[self._known(after)]) + 1
            closed = self._closed(reader) | self.leases.of_others(reader)
            order = self._order[start:]
            found = order[np.flatnonzero(~closed[order])[:count]].tolist()
            return [index for index in found if self.leases.lend(index, reader)]

    def decide(self, index: int, reader: str, verdict: str, **rest: Any) -> Decision:
        """Keep a reader's verdict on a label; on disk when this returns.

        Parameters
        ----------
        index : int
        reader, verdict : str
        **rest
            reason, comment, seconds, version: as `Decision` has them.

        Raises
        ------
        Lent
            When another reader holds the label.
        ValueError
            When a field is not what it must be, the version is none of the label's, or a label
            without a mask is accepted.
        """
        with self._lock:
            key = self._borrowed(index, reader)
            record = self.labels.read(index, rest.get("version", MADE))
            if verdict == "accept" and record.status != "ok":
                raise ValueError("verdict must not be 'accept' of a label that has no mask")
            row = self._log.append("verdict", key, reader, verdict=verdict, **rest)
            self._take(row)
            if row.seconds is not None:
                self._recent[reader].append(row.seconds)
            self.leases.give_back([index], reader)
            return row

    def keep_mended(
        self, index: int, reader: str, record: LabelRecord, by: str, base: str, comment: str = ""
    ) -> Decision:
        """Keep a mended label as a further version; on disk when this returns.

        Raises
        ------
        Lent
            When another reader holds the label.
        ValueError
            When the record cannot be stored.
        """
        with self._lock:
            key, version = self._borrowed(index, reader), new_id()
            told = write_version(self.store.path, version, record, self.store.alpha_bits)
            row = self._log.append(
                "mend", key, reader,
                version=version, mended_by=by, base=base, file_sum=told, comment=comment,
            )  # fmt: skip
            self._take(row)
            return row

    def undo(self, reader: str, id: str | None = None) -> Decision | None:
        """Undo a row of the reader's, by default the last that stands; the row, or None.

        Raises
        ------
        ValueError
            When the row is another reader's, or undone already.
        """
        with self._lock:
            row = self.verdicts.last(reader) if id is None else self.verdicts.row(id)
            if row is None:
                return None
            if row.reader != reader:
                raise ValueError("decision must be the reader's own")
            if self.verdicts.is_undone(row):
                raise ValueError("decision must not be undone already")
            self._take(self._log.append("undo", row.key, reader, undoes=row.id))
            if row.key in self._index:
                self.leases.lend(self._index[row.key], reader)
            return row

    def index_of(self, key: str) -> int | None:
        """Where a key stands in the store; None where it does not."""
        return self._index.get(key)

    def version(self, index: int) -> str:
        """Which version of a label is shown first: the newest."""
        mended = self.verdicts.mended(self.store.keys[index])
        return mended[-1].version if mended else MADE

    def progress(self, reader: str | None) -> dict[str, Any]:
        """How far the review is, and how far the reader: what the page's strip shows."""
        with self._lock:
            done = self._readings >= self.plan.readings
            reviewed = int((done & self._chosen).sum())
            mine = left = rate = seconds_left = None
            if reader:
                own = self._decided.get(reader)
                mine = 0 if own is None else int((own & self._chosen).sum())
                left = int((self._chosen & ~self._closed(reader)).sum())
                if spent := self._recent.get(reader):
                    mean = max(sum(spent) / len(spent), 0.05)
                    rate, seconds_left = round(3600 / mean, 1), round(left * mean, 1)
            shown = None if self.plan.blind else self.catalogue.histogram(self._chosen, done)
            return {
                "count": self.count,
                "reviewed": reviewed,
                "mine": mine,
                "left": left,
                "rate_per_hour": rate,
                "seconds_left": seconds_left,
                "histogram": shown,
            }

    def chosen(self) -> np.ndarray:
        """Bool [N]: the labels that are reviewed."""
        return self._chosen

    def decided_by(self) -> list[dict[str, Any]]:
        """Each reader, and on how many labels a verdict of his stands."""
        with self._lock:
            return [{"name": n, "decided": int(d.sum())} for n, d in self._decided.items()]

    def _closed(self, reader: str) -> np.ndarray:
        closed = self._readings >= self.plan.readings
        own = self._decided.get(reader)
        return closed if own is None else closed | own

    def _take(self, row: Decision) -> None:
        self.verdicts.take(row)
        self._recount(row.key)

    def _recount(self, key: str) -> None:
        index = self._index.get(key)
        if index is None:  # A row that the store has no more.
            return
        readers = self.verdicts.standing(key)
        self._readings[index] = len(readers)
        for reader in readers:
            self._decided.setdefault(reader, np.zeros(len(self.store), bool))
        for reader, decided in self._decided.items():
            decided[index] = reader in readers

    def _borrowed(self, index: int, reader: str) -> str:
        self._known(index)
        if not self.leases.lend(index, reader):
            raise Lent(f"the label is before {self.leases.holder(index) or 'another reader'}")
        return self.store.keys[index]

    def _known(self, index: int) -> int:
        if not 0 <= index < len(self.store):
            raise IndexError(f"index must be below {len(self.store)}, got {index}")
        return index
