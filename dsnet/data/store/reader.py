"""Reading a label store back: as a table, row by row, or as stacked arrays."""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from typing import Any

from dsnet.console import warn
from dsnet.data.remote import RemoteFile
from dsnet.data.store.columns import with_columns
from dsnet.data.store.entries import SHARD, in_order, is_full, sha256, tail_digest
from dsnet.data.store.keys import KeyIndex
from dsnet.data.store.manifest import DamagedManifest, listed_alone, read_state
from dsnet.data.store.places import Place, StorePath, size_of, sizes, store_place
from dsnet.data.store.record import (
    ARRAY_COLUMNS,
    STATUSES,
    LabelRecord,
    decode,
    schema,
    usual_score_columns,
)
from dsnet.data.store.shards import OpenShard, checked_metadata, opened
from dsnet.data.store.stacked import StoreArrays, stacked
from dsnet.data.store.sums import Sums, sums_of_store
from dsnet.data.store.verify import verify_row

# What a person can do about a store that does not open.
REMEDY = "`python -m dsnet.label check STORE --repair` takes out what is damaged"
# Shards whose files stay open between two rows that are read.
OPEN_SHARDS = 16


def open_store(path: StorePath) -> LabelStore:
    """Open a label store for reading, in a folder or at an address that fsspec reads (s3://, ...).

    A store that is being written is readable, too.

    Raises
    ------
    FileNotFoundError
        When there is no store.
    ValueError
        When the manifest is damaged, a shard is missing or of another size, or the rows are not as
        many as the manifest counts; names the file. A shard that the manifest does not tell of, or
        not all of (of an older store), is looked through: its columns, its keys, whether one is
        there twice; at an address a warning tells of it. `check.repair_store` mends it.
    """
    return LabelStore(path)


class LabelStore:
    """A label store open for reading; see `open_store`. `unlisted`: at an address all shards count.

    Attributes
    ----------
    path : Path or RemoteFile
    manifest : dict
        format, dsnet_version, created, settings, counts, shards.
    alpha_bits : int
    keys : list of str
        In the order of the rows; read at first use.
    damaged : dict of str to str
        Keys of the rows that were read and are not sound, and what is wrong with them.
    """

    def __init__(self, path: StorePath, unlisted: bool = False) -> None:
        self.path: Any = store_place(path)
        self._takes_unlisted = unlisted or not isinstance(self.path, RemoteFile)
        try:
            self._state = read_state(self.path)
        except DamagedManifest as error:
            raise ValueError(f"{error}; {REMEDY}") from error
        self.manifest = self._state.manifest
        self.alpha_bits: int = self.manifest["alpha_bits"]
        self.damaged: dict[str, str] = {}
        self._listed = {shard["name"]: shard for shard in self.manifest["shards"]}
        self._rows: dict[str, int] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._sums_checked, self._footers_checked = set[str](), set[str]()
        self._open: OrderedDict[str, OpenShard] = OrderedDict()
        try:
            self._take_all()
            self._require_counts()
        except ValueError as error:
            raise ValueError(f"{error}; {REMEDY}") from error
        self._ends = list(accumulate(self._rows.values()))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __repr__(self) -> str:
        return f"LabelStore({str(self.path)!r}, {len(self)} rows)"

    def __contains__(self, key: object) -> bool:
        return key in self._index

    def __iter__(self) -> Iterator[LabelRecord]:
        return self.records()

    def table(self, columns: list[str] | None = None):
        """The store as a pyarrow table, one row a label.

        Parameters
        ----------
        columns : list of str, optional
            By default all but the array columns (`record.ARRAY_COLUMNS`), which are large.

        Raises
        ------
        ValueError
            When a column is in no shard, or a shard is damaged; names it.
        TypeError
            When `columns` is one str.
        """
        import pyarrow as pa

        if isinstance(columns, str):
            raise TypeError(f"columns must be a list of str, got {columns!r}")
        parts = list(self._parts(columns))
        known = [schema(usual_score_columns()), *(part.schema for part, _ in parts)]
        whole = pa.unify_schemas(known)
        if columns is None:
            columns = [name for name in whole.names if name not in ARRAY_COLUMNS]
        if unknown := [name for name in columns if name not in whole.names]:
            raise ValueError(f"columns must be among {whole.names}, got {unknown[0]!r}")
        wanted = pa.schema([whole.field(name) for name in columns])
        return pa.concat_tables(
            [wanted.empty_table(), *(with_columns(part, rows, wanted) for part, rows in parts)]
        )

    def parts(self, columns: list[str]) -> Iterator[Any]:
        """The rows in order as pyarrow tables of some columns, a shard at a time.

        Parameters
        ----------
        columns : list of str
            Of `record.schema` with the usual scores; one that a shard has not is null there.

        Raises
        ------
        ValueError
            When a column is none of them, or a shard is damaged; names it.
        """
        import pyarrow as pa

        known = schema(usual_score_columns())
        if unknown := [name for name in columns if name not in known.names]:
            raise ValueError(f"columns must be among {known.names}, got {unknown[0]!r}")
        wanted = pa.schema([known.field(name) for name in columns])
        return (with_columns(part, rows, wanted) for part, rows in self._parts(columns))

    def _parts(self, columns: list[str] | None) -> Iterator[tuple[Any, int]]:
        """(what it has of the columns, rows) of each shard."""
        for name, rows in self._rows.items():
            with opened(self._sound(name), whole=True) as file:
                there = file.schema_arrow.names
                wanted = [
                    column
                    for column in there
                    if (column not in ARRAY_COLUMNS if columns is None else column in columns)
                ]
                yield file.read(columns=wanted).replace_schema_metadata(None), rows

    def records(self, status: str | None = None) -> Iterator[LabelRecord]:
        """Every row in order, holding one row group at a time; `status` picks "ok" or "failed".

        A row that is not sound is a failed record that says why, whatever its status; it is
        named in `damaged`, too, and a warning tells it once.

        Raises
        ------
        ValueError
            When a shard's checksum is not the manifest's.
        """
        if status not in (None, *STATUSES):
            raise ValueError(f"status must be one of {STATUSES} or None, got {status!r}")
        return self._records(status)

    def _records(self, status: str | None) -> Iterator[LabelRecord]:
        for name in self._rows:
            self._require_sum(name)
            checked_metadata(self._file(name), self._listed.get(name))
            with opened(self._file(name), whole=True) as file:
                for group in range(file.num_row_groups):
                    for row in file.read_row_group(group).to_pylist():
                        record = self._decoded(row)
                        if status in (None, record.status):
                            yield record

    def read(self, which: int | str) -> LabelRecord:
        """One row by its index (negative counts from the end) or key; reads its row group only.

        Raises
        ------
        KeyError, IndexError
            When there is no such key or index.
        TypeError
            When it is neither a str nor an int.
        ValueError
            When the row or its shard is damaged.
        """
        if isinstance(which, str):
            place = self._index.find(which)
            if place is None:
                raise KeyError(f"no key {which!r} in the store {self.path}")
            name, row = place
        else:
            which = operator.index(which)
            index = which + len(self) if which < 0 else which
            if not 0 <= index < len(self):
                raise IndexError(f"index must be below {len(self)}, got {which}")
            number = bisect_right(self._ends, index)
            name = self._names[number]
            row = index - (self._ends[number - 1] if number else 0)
        record = self._decoded(self._opened(name).row(row))
        if record.key in self.damaged:
            raise ValueError(f"row {record.key!r} of {self.path}: {record.error}")
        return record

    def arrays(self) -> StoreArrays:
        """All sound labels of status "ok", stacked.

        Raises
        ------
        ValueError
            When they are of several sizes, or there is none.
        """
        return stacked(self, sum(counts.get("ok", 0) for counts in self._counts.values()))

    def validate(self) -> list[str]:
        """What is wrong with the store, in words; empty when it is sound."""
        from dsnet.data.store.check import validate_store

        return validate_store(self.path)

    @property
    def shards(self) -> list[str]:
        """The names of the shards, in the order of their rows."""
        return list(self._rows)

    def shard_rows(self, name: str) -> int:
        """Rows of a shard."""
        return self._rows[name]

    def shard_counts(self, name: str) -> dict[str, int]:
        """Rows of a shard by status."""
        return dict(self._counts[name])

    def shard_table(self, name: str, columns: list[str] | None = None):
        """A shard as a pyarrow table, of all its columns unless some are named."""
        with opened(self._sound(name), whole=True) as file:
            return file.read(columns=columns)

    def shard_keys(self, name: str) -> list[str]:
        """The keys of a shard, in the order of its rows."""
        return self.shard_table(name, ["key"])["key"].to_pylist()

    @cached_property
    def keys(self) -> list[str]:
        """The key of each row."""
        return [key for name in self._rows for key in self.shard_keys(name)]

    @cached_property
    def sums(self) -> Sums:
        """What its rows come to: as the manifest says, and of older shards by their rows."""
        return sums_of_store(self)

    @cached_property
    def _names(self) -> list[str]:
        return list(self._rows)

    @cached_property
    def _index(self) -> KeyIndex:
        entries = {name: self._listed.get(name, {}) for name in self._rows}
        return KeyIndex(self.path, entries, self.shard_keys)

    def _file(self, name: str) -> Place:
        """Where a shard is: one that a killed compaction left has another name still."""
        moved = self._state.moved.get(name)
        if moved is not None and size_of(file := self.path / moved) is not None:
            return file
        return self.path / name

    def _sound(self, name: str) -> Place:
        """Where a shard is whose footer, where its entry tells, is what was written.

        Its pages are checked as they are read; a changed footer may have them taken for others.
        """
        path, listed = self._file(name), self._listed.get(name)
        if listed is not None and is_full(listed) and name not in self._footers_checked:
            checked_metadata(path, listed)
            if tail_digest(path) != listed["tail"]:
                raise ValueError(_wrong_sum(path))
            self._footers_checked.add(name)
        return path

    def _opened(self, name: str) -> OpenShard:
        """A shard that is what was written, but for its pages, which are checked when read."""
        shard = self._open.get(name)
        if shard is None:
            if not is_full(self._listed.get(name)):
                self._require_sum(name)
            shard = self._open[name] = OpenShard(self._sound(name))
            if len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(name)
        return shard

    def _take_all(self) -> None:
        there = sizes(self.path)
        found = [n for n in there if SHARD.fullmatch(n) and n not in self._state.gone]
        if not self._takes_unlisted:
            found = listed_alone(self.path, found, self._listed)
        unlisted = False
        for name in in_order(self._listed.keys() | set(found)):
            listed = self._listed.get(name)
            if listed is None or not is_full(listed):
                unlisted = unlisted or listed is None
                self._look_through(name)
                continue
            moved = self._state.moved.get(name, name)
            size = there.get(moved if moved in there else name)
            if size is None:
                raise ValueError(f"shard {self.path / name} is missing")
            if size != listed["bytes"]:
                raise ValueError(
                    f"shard {self.path / name} is damaged: {size} bytes,"
                    f" the manifest says {listed['bytes']}"
                )
            self._rows[name] = listed["rows"]
            ok = listed["rows"] - listed["failed"]
            self._counts[name] = {"ok": ok, "failed": listed["failed"]}
        if unlisted or not all(map(is_full, self._listed.values())):
            self._require_unique_keys()

    def _look_through(self, name: str) -> None:
        """Take in a shard whose entry does not tell enough, or that has none."""
        path = self._file(name)
        metadata = checked_metadata(path, self._listed.get(name))
        self._rows[name] = metadata.num_rows
        rows = self.shard_table(name, ["key", "status"])
        keys, statuses = rows["key"].to_pylist(), rows["status"].to_pylist()
        for number, (key, status) in enumerate(zip(keys, statuses, strict=True)):
            if not key or status not in STATUSES:
                raise ValueError(
                    f"shard {path} is damaged: row {number} must have a key and a status of"
                    f" {STATUSES}, got {key!r} and {status!r}"
                )
        self._counts[name] = dict(Counter(statuses))

    def _require_unique_keys(self) -> None:
        twice = self._index.twice()
        if twice:
            raise ValueError(
                f"keys of {self.path} must be unique, {sum(twice.values()) - len(twice)} are there"
                f" again, first {next(iter(twice))!r}"
            )

    def _require_counts(self) -> None:
        counts = Counter(rows=0, ok=0, failed=0)
        # A shard that a crash kept out of the manifest is in its counts neither.
        for name in self._listed:
            for status, number in self._counts[name].items():
                counts[status] += number
        counts["rows"] = counts["ok"] + counts["failed"]
        said = {name: self.manifest["counts"][name] for name in counts}
        if said != counts:
            raise ValueError(
                f"manifest of {self.path} must count the rows of its shards, {dict(counts)},"
                f" got {said}"
            )

    def _require_sum(self, name: str) -> None:
        """Once a shard: the whole file is what was written, not only its pages."""
        if name in self._listed and name not in self._sums_checked:
            path = self._file(name)
            if sha256(path) != self._listed[name]["sha256"]:
                raise ValueError(_wrong_sum(path))
        self._sums_checked.add(name)

    def _decoded(self, row: dict[str, Any]) -> LabelRecord:
        try:
            verify_row(row, self.alpha_bits)
        except ValueError as error:
            key, reason = row["key"], f"damaged in the store: {error}"
            if key not in self.damaged:
                self.damaged[key] = str(error)
                warn(f"{self.path}: row {key} is {reason}")
            return LabelRecord.from_error(key, row["source"] or "", reason)
        return decode(row, self.alpha_bits)


def _wrong_sum(path: Place) -> str:
    return f"shard {path} is damaged: its checksum is not the manifest's; {REMEDY}"
