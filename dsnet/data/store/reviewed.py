"""A store as its readers left it: the labels that they chose, each in the version that counts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from dsnet.console import warn
from dsnet.data.store.decisions import MADE, Decision, read_decisions
from dsnet.data.store.places import StorePath
from dsnet.data.store.reader import LabelStore, StoreArrays
from dsnet.data.store.record import LabelRecord
from dsnet.data.store.sums import COLUMNS, Sums, sums_of
from dsnet.data.store.verdicts import Verdicts
from dsnet.data.store.versions import read_version, version_row

# Columns that a mended version has of its own, beside its scores.
_OWN = ("status", "error", "mark", "notes")
AS_MADE = "as-made"
NOT_REJECTED = "not-rejected"
# What `--reviewed` takes, and the states (`Verdicts.state`) of the labels that it lets through.
CHOICES = {
    NOT_REJECTED: ("", "accepted", "unsure"),
    "accepted": ("accepted",),
    "unsure": ("unsure",),
    "rejected": ("rejected",),
    AS_MADE: None,
}


def open_reviewed(path: StorePath, which: str = NOT_REJECTED) -> LabelStore:
    """Open a store for those who use its labels: exporters, summaries, training.

    Parameters
    ----------
    path : path
    which : str
        "not-rejected": all but the labels that a reader rejected. "accepted": those that every
        reader who decided accepted. "unsure" and "rejected": the others that were decided.
        "as-made": the store as it is, verdicts and mends passed over.

    Raises
    ------
    FileNotFoundError, ValueError
        As `open_store`.
    """
    if which not in CHOICES:
        raise ValueError(f"which must be one of {tuple(CHOICES)}, got {which!r}")
    found = read_decisions(path) if which != AS_MADE else None
    for told in () if found is None else (*found.torn, *found.damaged):
        warn(told)
    if found is None or not (found.rows or which != NOT_REJECTED):
        return LabelStore(path)
    return ReviewedStore(path, which, Verdicts(found.rows))


def review_note(path: StorePath, which: str) -> str:
    """In a line, what readers' verdicts change about a store's labels, or would; else empty.

    Parameters
    ----------
    path : path
    which : str
        As `open_reviewed` takes it. Of "as-made" what is passed over.
    """
    store = open_reviewed(path, NOT_REJECTED if which == AS_MADE else which)
    if not isinstance(store, ReviewedStore):
        return ""
    if which != AS_MADE:
        return store.told()
    if not store.left_out and not store.mended:
        return ""
    return (
        f"readers rejected {store.left_out} labels and mended {store.mended}; all are taken as"
        f" they were made, --reviewed {NOT_REJECTED} honours that"
    )


class ReviewedStore(LabelStore):
    """A store of which `records`, `table` and `arrays` tell the chosen labels alone.

    A label that was mended comes in the version that counts; a failed row that a reader gave a mark
    is a label then. `keys`, `read` and what tells of shards are those of the store itself.

    Attributes
    ----------
    verdicts : Verdicts
    which : str
        See `open_reviewed`.
    """

    def __init__(self, path: StorePath, which: str, verdicts: Verdicts) -> None:
        super().__init__(path)
        self.which, self.verdicts = which, verdicts
        states = CHOICES[which]
        self._passed = {k for k in self.keys if states is None or verdicts.state(k) in states}
        self._mended = {
            key: version for key in self._passed if (version := verdicts.version(key)) != MADE
        }

    def told(self) -> str:
        """In a line, what the readers' verdicts change about the store."""
        what = "rejected" if self.which == NOT_REJECTED else f"not {self.which}"
        return f"left out {self.left_out} labels, {what} by readers; {self.mended} come as mended"

    @property
    def left_out(self) -> int:
        """Labels that are not among the chosen ones."""
        return len(self.keys) - len(self._passed)

    @property
    def mended(self) -> int:
        """Chosen labels that come in a mended version."""
        return len(self._mended)

    def records(self, status: str | None = None) -> Iterator[LabelRecord]:
        """The chosen rows in order, as `LabelStore.records`.

        A mended version that cannot be read is a failed record that says why, as a damaged row is.
        """
        super().records(status)  # Raises where it is none.
        return self._chosen_records(status)

    def _chosen_records(self, status: str | None) -> Iterator[LabelRecord]:
        for record in super().records():
            if record.key not in self._passed:
                continue
            if record.key in self._mended and record.image is not None:
                record = self._version(record)
            if status in (None, record.status):
                yield record

    def table(self, columns: list[str] | None = None):
        """As `LabelStore.table`, of the chosen rows; a mended one has its own mark and scores.

        Without `columns` two more tell `review_verdict` and `review_version`.
        """
        import pyarrow as pa

        if isinstance(columns, str):
            raise TypeError(f"columns must be a list of str, got {columns!r}")
        wanted = columns if columns is None or "key" in columns else ["key", *columns]
        table = super().table(wanted)
        keys = table["key"].to_pylist()
        parts, begin = [table.slice(0, 0)], 0
        for index, key in enumerate(keys):
            if key in self._passed and key not in self._mended:
                continue
            parts.append(table.slice(begin, index - begin))
            begin = index + 1
            if key in self._mended:
                row = self._row(key, table.slice(index, 1).to_pylist()[0])
                parts.append(pa.Table.from_pylist([row], schema=table.schema))
        found = pa.concat_tables([*parts, table.slice(begin)])
        if columns is not None:
            return found.select(columns)
        kept = found["key"].to_pylist()
        states = [self.verdicts.state(key) or None for key in kept]
        versions = [self._mended.get(key) for key in kept]
        found = found.append_column("review_verdict", pa.array(states, pa.string()))
        return found.append_column("review_version", pa.array(versions, pa.string()))

    def parts(self, columns: list[str]) -> Iterator[Any]:
        """As `LabelStore.parts`, of the chosen rows, all at once."""
        return iter([self.table(columns)])

    @cached_property
    def sums(self) -> Sums:
        """What the chosen rows come to."""
        return sums_of(self.table(COLUMNS))

    def arrays(self) -> StoreArrays:
        """As `LabelStore.arrays`, of the chosen labels."""
        keys, labels = [], []
        for record in self.records("ok"):
            keys.append(record.key)
            labels.append(record.labelled())
        sizes = sorted({label.image.shape for label in labels})
        if len(sizes) != 1:
            raise ValueError(f"labels must be of one size, {self.path} has {sizes or 'no label'}")
        return StoreArrays(keys, *(np.stack(part) for part in zip(*labels, strict=True)))

    def _version(self, made: LabelRecord) -> LabelRecord:
        try:
            return read_version(self.path, made, self._told(made.key), self.alpha_bits)
        except (ValueError, OSError) as error:
            reason = self._damage(made.key, error)
            return LabelRecord.from_error(made.key, made.source, reason)

    def _row(self, key: str, row: dict[str, Any]) -> dict[str, Any]:
        """A row of a table with what the mended version has of its own."""
        try:
            mended = version_row(self.path, self._told(key), self.alpha_bits)
        except (ValueError, OSError) as error:
            lost = {"status": "failed", "error": self._damage(key, error)}
            return {name: lost.get(name, value) for name, value in row.items()}
        own = {*_OWN, *(name for name in row if name.startswith(("quality_", "seconds_")))}
        return {name: mended.get(name) if name in own else row[name] for name in row}

    def _told(self, key: str) -> Decision:
        row = self.verdicts.made(key, self._mended[key])
        if row is None:
            raise ValueError(f"nothing tells of its version {self._mended[key]}")
        return row

    def _damage(self, key: str, error: Exception) -> str:
        if key not in self.damaged:
            self.damaged[key] = str(error)
            warn(f"{self.path}: the mended version of {key} is not to be had: {error}")
        return f"damaged in the store: {error}"
