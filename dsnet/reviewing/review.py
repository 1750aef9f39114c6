"""A store's review: who gets which label next, what was decided, and how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dsnet.console import warn
from dsnet.data.store.decisions import MADE, Decision, DecisionLog, new_id, read_decisions
from dsnet.data.store.reader import LabelStore, open_store
from dsnet.data.store.verdicts import Verdicts
from dsnet.data.store.versions import write_version
from dsnet.reviewing.labels import Labels
from dsnet.reviewing.leases import LEASE_SECONDS, Leases
from dsnet.reviewing.mending import Mending, noted
from dsnet.reviewing.plan import Plan
from dsnet.reviewing.stock import Stock, stamp
from dsnet.reviewing.tally import Tally
from dsnet.reviewing.views import View, Views


class Conflict(ValueError):
    """What was decided is of something else than what it names."""


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
    stock : Stock
        The store's labels, numbered; `look` brings another one.
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
        self.plan, self.stock = plan or Plan(), Stock(store)
        found = read_decisions(store.path)
        for told in (*found.torn, *found.damaged):
            warn(told)
        self.verdicts = Verdicts(found.rows)
        self.labels = Labels(self.stock, self.verdicts, self.look)
        self.leases = Leases(len(store), LEASE_SECONDS, clock)
        self._log = DecisionLog(store.path)
        self._lock = threading.RLock()
        self._looking = threading.Lock()
        self._stamp: tuple = ()
        self._sample = np.ones(len(store), bool)
        if self.plan.sample is not None:
            self._sample[:] = False
            self._sample[self.stock.catalogue.sample(self.plan.sample, self.plan.seed)] = True
        self._chosen = self._sample & self.stock.catalogue.shown
        self._views = Views(self.plan)
        self._tally = Tally(len(store), self.plan.readings)
        for key in self.verdicts.keys:
            self._recount(key)

    def look(self) -> bool:
        """Take in what a writer did to the store meanwhile; whether there was anything.

        Labels that it appended are reviewed, too, unless a sample is; decisions stay with their
        keys.
        """
        if not self._looking.acquire(blocking=False):
            return False
        try:
            now = stamp(self.store.path)
            if now == self._stamp:
                return False
            try:
                store = open_store(self.store.path)
            except (ValueError, OSError):  # In the middle of a change, or damaged: `read` says so.
                return False
            if store.manifest == self.store.manifest:
                self._stamp = now
                return False
            stock = Stock(store, self.stock)
            with self._lock:
                self._take(stock)
            self._stamp = now
            return True
        finally:
            self._looking.release()

    def _take(self, stock: Stock) -> None:
        before = len(self.stock)
        self.stock = stock
        self.labels.renew(stock)
        self.leases.grow(len(stock))
        self._tally.grow(len(stock))
        joins = np.full(len(stock) - before, self.plan.sample is None)
        self._sample = np.append(self._sample, joins)
        self._chosen = self._sample & stock.catalogue.shown
        self._views.forget()
        # Decisions may be there already, of a label that was lost and made again.
        for key in stock.keys[before:]:
            if self.verdicts.rows(key):
                self._recount(key)

    @property
    def store(self) -> LabelStore:
        """The store, as it was opened last."""
        return self.stock.store

    @property
    def count(self) -> int:
        """Labels that are reviewed."""
        return int(self._chosen.sum())

    def view(self, order: str = "", type: str = "", source: str = "") -> View:
        """The labels that are reviewed in an order, by default the plan's; of a type or source.

        Raises
        ------
        ValueError
            When there is no such order, or it would tell scores in a blind review.
        """
        with self._lock:
            return self._views.view(self.stock.catalogue, self._chosen, order, type, source)

    def next(self, reader: str, view: View, after: int | None, count: int) -> list[int]:
        """Lend a reader the next labels.

        Parameters
        ----------
        reader : str
        view : View
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
        start = 0
        if after is not None and self._known(after) < len(view.place):
            start = int(view.place[after]) + 1
        with self._lock:
            closed = self._tally.closed(reader) | self.leases.of_others(reader)
            order = view.order[start:]
            found = order[np.flatnonzero(~closed[order])[:count]].tolist()
            return [index for index in found if self.leases.lend(index, reader)]

    def decide(
        self,
        index: int,
        reader: str,
        verdict: str,
        *,
        change: Mending | None = None,
        version: str = MADE,
        id: str = "",
        age: float = 0.0,
        **rest: Any,
    ) -> Decision:
        """Keep a reader's verdict on a label; on disk when this returns.

        Whoever holds the label: what was decided counts.

        Parameters
        ----------
        index : int
        reader, verdict : str
        change : Mending, optional
            Kept as a version first, which then is the one that is judged.
        version : str
            That is judged, where nothing is changed.
        id : str
            Of the row; what comes again with the same one counts once.
        age : float
            Seconds since it was decided.
        **rest
            reason, comment, seconds: as `Decision` has them.

        Raises
        ------
        Conflict
            When the id is another row's.
        ValueError
            When a field is not what it must be, the version is none of the label's, or a label
            without a mask is accepted.
        OSError
            When it cannot be written: it does not count.
        """
        with self._lock:
            key = self.stock.keys[self._known(index)]
            if (known := self._again(id, "verdict", key, reader)) is not None:
                return known
            rows: list[Decision] = []
            if change is not None:
                rows.append(self._mended(index, reader, change, new_id(), age, ""))
                version = rows[0].version
            elif verdict == "accept" and self.labels.read(index, version).alpha is None:
                raise ValueError("verdict must not be 'accept' of a label that has no mask")
            elif version != MADE and self.verdicts.made(key, version) is None:
                raise ValueError(f"version must be one of the label's, got {version!r}")
            row = Decision(
                id or new_id(), "verdict", key, reader, self._log.time(age),
                verdict=verdict, version=version, **rest,
            )  # fmt: skip
            self._keep(*rows, row)
            if row.seconds is not None:
                self._tally.spent(reader, row.seconds)
            self.leases.give_back([index], reader)
            return row

    def mend(
        self,
        index: int,
        reader: str,
        change: Mending,
        *,
        comment: str = "",
        id: str = "",
        age: float = 0.0,
    ) -> Decision:
        """Keep a mended label as a further version; on disk when this returns.

        Parameters
        ----------
        index : int
        reader : str
        change : Mending
        comment : str
        id, age
            As `decide` takes them.

        Raises
        ------
        Conflict, ValueError, OSError
            As `decide`.
        """
        with self._lock:
            key = self.stock.keys[self._known(index)]
            if (known := self._again(id, "mend", key, reader)) is not None:
                return known
            row = self._mended(index, reader, change, id or new_id(), age, comment)
            self._keep(row)
            return row

    def undo(self, reader: str, which: str = "", *, id: str = "") -> Decision | None:
        """Undo a row of the reader's, by default the last that stands; that row, or None.

        Parameters
        ----------
        reader : str
        which : str
            The row's id; empty: the last one.
        id : str
            As `decide` takes it.

        Raises
        ------
        Conflict
            When the id is another row's, or `which` another reader's.
        OSError
            When it cannot be written: it does not count.
        """
        with self._lock:
            if (known := self._again(id, "undo", None, reader)) is not None:
                return self.verdicts.row(known.undoes)
            row = self.verdicts.row(which) if which else self.verdicts.last(reader)
            if row is None or row.kind == "undo":
                return None
            if row.reader != reader:
                raise Conflict("decision must be the reader's own")
            if not self.verdicts.is_undone(row):
                time = self._log.time()
                self._keep(Decision(id or new_id(), "undo", row.key, reader, time, undoes=row.id))
            if (index := self.index_of(row.key)) is not None:
                self.leases.lend(index, reader)
            return row

    def index_of(self, key: str) -> int | None:
        """A key's number; None where the store has no such label."""
        return self.stock.index.get(key)

    def version(self, index: int, reader: str) -> str:
        """Which version of a label a reader is shown first: the newest that he may see."""
        mended = self.verdicts.mended(self.stock.keys[index])
        return next((r.version for r in reversed(mended) if self.may_see(r, reader)), MADE)

    def may_see(self, row: Decision, reader: str) -> bool:
        """Whether a reader is shown what a row tells: see `Plan.independent`."""
        return row.reader == reader or not self.plan.independent

    def progress(self, reader: str | None) -> dict[str, Any]:
        """How far the review is, and how far the reader: what the page's strip shows."""
        with self._lock:
            done, tally = self._tally.done, self._tally
            mine = left = rate = seconds_left = None
            if reader:
                mine = int((tally.of(reader) & self._chosen).sum())
                left = int((self._chosen & ~tally.closed(reader)).sum())
                if (mean := tally.seconds_each(reader)) is not None:
                    rate, seconds_left = round(3600 / mean, 1), round(left * mean, 1)
            shown = None
            if not self.plan.blind:
                shown = self.stock.catalogue.histogram(self._chosen, done)
            return {
                "count": self.count,
                "reviewed": int((done & self._chosen).sum()),
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
            return [{"name": n, "decided": d} for n, d in self._tally.readers().items()]

    def _again(self, id: str, kind: str, key: str | None, reader: str) -> Decision | None:
        """The row of that id, where it came before."""
        known = self.verdicts.row(id) if id else None
        if known is None:
            return None
        if (known.kind, known.reader) != (kind, reader) or key not in (None, known.key):
            raise Conflict("id must be new: it is another decision's")
        return known

    def _mended(
        self, index: int, reader: str, change: Mending, id: str, age: float, comment: str
    ) -> Decision:
        """The row of a mended version, whose file is written."""
        base = self.labels.read(index, change.base)
        record = noted(base, change.apply(base), change.by, reader)
        version = new_id()
        told = write_version(self.store.path, version, record, self.store.alpha_bits)
        return Decision(
            id, "mend", self.stock.keys[index], reader, self._log.time(age),
            version=version, mended_by=change.by, base=change.base, file_sum=told, comment=comment,
        )  # fmt: skip

    def _keep(self, *rows: Decision) -> None:
        self._log.append(*rows)
        for row in rows:
            self.verdicts.take(row)
            self._recount(row.key)

    def _recount(self, key: str) -> None:
        index = self.index_of(key)
        if index is not None:  # None of a row that the store has no more.
            self._tally.recount(index, self.verdicts.standing(key))

    def _known(self, index: int) -> int:
        if not 0 <= index < len(self.stock):
            raise IndexError(f"index must be below {len(self.stock)}, got {index}")
        return index
