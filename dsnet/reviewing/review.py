"""A store's review: who gets which label next, what was decided, and how far it is."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dsnet.console import warn
from dsnet.data.store.decisions import MADE, Decision, DecisionLog, new_id, read_decisions
from dsnet.data.store.reader import LabelStore
from dsnet.data.store.verdicts import Verdicts
from dsnet.data.store.versions import write_version
from dsnet.reviewing.catalogue import Catalogue
from dsnet.reviewing.labels import Labels
from dsnet.reviewing.leases import LEASE_SECONDS, Leases
from dsnet.reviewing.mending import Mending, noted
from dsnet.reviewing.plan import TELLING, Plan

# Verdicts whose time tells the rate.
_RECENT = 50
_KEPT_VIEWS = 8


class Conflict(ValueError):
    """What was decided is of something else than what it names."""


class View(NamedTuple):
    """Labels in an order: `order`, their indices; `place` int32 [N], where each stands, or -1."""

    order: np.ndarray
    place: np.ndarray


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
        self._views: OrderedDict[tuple, View] = OrderedDict()
        # By label how many readers' verdicts stand, and by reader on which labels.
        self._readings = np.zeros(len(store), np.int32)
        self._decided: dict[str, np.ndarray] = {}
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_RECENT))
        for key in self.verdicts.keys:
            self._recount(key)

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
        order = order or self.plan.order
        if self.plan.blind and order in TELLING:
            raise ValueError(f"order must not tell scores in a blind review, got {order!r}")
        wanted = (order, type, source)
        with self._lock:
            if wanted in self._views:
                self._views.move_to_end(wanted)
                return self._views[wanted]
            found = self.catalogue.order(order, self.plan.seed)
            chosen = self._chosen
            if type:
                chosen = chosen & self.catalogue.named(self.catalogue.types, type)
            if source:
                chosen = chosen & self.catalogue.named(self.catalogue.sources, source)
            found = found[chosen[found]]
            place = np.full(len(self.store), -1, np.int32)
            place[found] = np.arange(len(found))
            self._views[wanted] = made = View(found, place)
            while len(self._views) > _KEPT_VIEWS:
                self._views.popitem(last=False)
            return made

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
        start = 0 if after is None else int(view.place[self._known(after)]) + 1
        with self._lock:
            closed = self._closed(reader) | self.leases.of_others(reader)
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
            key = self.store.keys[self._known(index)]
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
                self._recent[reader].append(row.seconds)
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
            key = self.store.keys[self._known(index)]
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
            if row.key in self._index:
                self.leases.lend(self._index[row.key], reader)
            return row

    def index_of(self, key: str) -> int | None:
        """Where a key stands in the store; None where it does not."""
        return self._index.get(key)

    def version(self, index: int, reader: str) -> str:
        """Which version of a label a reader is shown first: the newest that he may see."""
        mended = self.verdicts.mended(self.store.keys[index])
        return next((r.version for r in reversed(mended) if self.may_see(r, reader)), MADE)

    def may_see(self, row: Decision, reader: str) -> bool:
        """Whether a reader is shown what a row tells: see `Plan.independent`."""
        return row.reader == reader or not self.plan.independent

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
            id, "mend", self.store.keys[index], reader, self._log.time(age),
            version=version, mended_by=change.by, base=change.base, file_sum=told, comment=comment,
        )  # fmt: skip

    def _keep(self, *rows: Decision) -> None:
        self._log.append(*rows)
        for row in rows:
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

    def _known(self, index: int) -> int:
        if not 0 <= index < len(self.store):
            raise IndexError(f"index must be below {len(self.store)}, got {index}")
        return index
