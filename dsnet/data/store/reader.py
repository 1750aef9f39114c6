"""Reading a label store back: as a table, row by row, or as stacked arrays."""

from __future__ import annotations

import operator
import os
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsnet.console import warn
from dsnet.data.store.manifest import DamagedManifest, read_manifest, sha256, shard_files
from dsnet.data.store.record import (
    ARRAY_COLUMNS,
    STATUSES,
    LabelRecord,
    decode,
    schema,
    usual_score_columns,
)
from dsnet.data.store.shards import checked_metadata, opened
from dsnet.data.store.verify import verify_row

# What a person can do about a store that does not open.
REMEDY = "`python -m dsnet.label check STORE --repair` takes out what is damaged"


class StoreArrays(NamedTuple):
    """Stacked labels: `keys` list of N str, `images` and `alphas` float32 [N, H, W],
    `binaries` bool [N, H, W], `trimaps` uint8 [N, H, W]."""

    keys: list[str]
    images: np.ndarray
    alphas: np.ndarray
    binaries: np.ndarray
    trimaps: np.ndarray


def open_store(path: str | os.PathLike) -> LabelStore:
    """Open a label store for reading; a store that is being written is readable, too.

    Raises
    ------
    FileNotFoundError
        When there is no store.
    ValueError
        When the manifest or a shard is damaged or missing, a key is there twice, or the rows are
        not as many as the manifest counts; names the file. `check.repair_store` mends it.
    """
    return LabelStore(path)


class LabelStore:
    """A label store open for reading; see `open_store`.

    Attributes
    ----------
    path : Path
    manifest : dict
        format, dsnet_version, created, settings, counts, shards.
    alpha_bits : int
    keys : list of str
        In the order of the rows.
    damaged : dict of str to str
        Keys of the rows that were read and are not sound, and what is wrong with them.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        try:
            self.manifest = read_manifest(self.path)
        except DamagedManifest as error:
            raise ValueError(f"{error}; {REMEDY}") from error
        self.alpha_bits: int = self.manifest["alpha_bits"]
        self.keys: list[str] = []
        self.damaged: dict[str, str] = {}
        self._listed = {shard["name"]: shard for shard in self.manifest["shards"]}
        self._rows: dict[str, int] = {}
        self._group_rows: dict[str, list[int]] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._sums_checked: set[str] = set()
        try:
            for name in sorted(self._listed.keys() | set(shard_files(self.path))):
                self._take(name)
            self._require_unique_keys()
            self._require_counts()
        except ValueError as error:
            raise ValueError(f"{error}; {REMEDY}") from error

    def __len__(self) -> int:
        return len(self.keys)

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

        schemas = [schema(usual_score_columns())]
        for name in self._rows:
            with opened(self.path / name) as file:
                schemas.append(file.schema_arrow)
        whole = pa.unify_schemas([s.remove_metadata() for s in schemas])
        if columns is None:
            columns = [name for name in whole.names if name not in ARRAY_COLUMNS]
        if unknown := [name for name in columns if name not in whole.names]:
            raise ValueError(f"columns must be among {whole.names}, got {unknown[0]!r}")
        wanted = pa.schema([whole.field(name) for name in columns])
        tables = [wanted.empty_table()]
        for name in self._rows:
            with opened(self.path / name) as file:
                present = [c for c in columns if c in file.schema_arrow.names]
                part = file.read(columns=present)
            # A column that only other shards have (a score added later) reads as null here.
            for field in wanted:
                if field.name not in present:
                    part = part.append_column(field, pa.nulls(part.num_rows, field.type))
            tables.append(part.select(columns).cast(wanted))
        return pa.concat_tables(tables)

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
        for name, groups in self._group_rows.items():
            self._require_sum(name)
            for group in range(len(groups)):
                with opened(self.path / name) as file:
                    rows = file.read_row_group(group).to_pylist()
                for row in rows:
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
            if which not in self._index:
                raise KeyError(f"no key {which!r} in the store {self.path}")
            which = self._index[which]
        which = operator.index(which)
        index = which + len(self) if which < 0 else which
        if not 0 <= index < len(self):
            raise IndexError(f"index must be below {len(self)}, got {which}")
        for name, rows in self._rows.items():
            if index >= rows:
                index -= rows
                continue
            self._require_sum(name)
            for group, rows_of_group in enumerate(self._group_rows[name]):
                if index < rows_of_group:
                    with opened(self.path / name) as file:
                        table = file.read_row_group(group).slice(index, 1)
                    record = self._decoded(table.to_pylist()[0])
                    if record.key in self.damaged:
                        raise ValueError(f"row {record.key!r} of {self.path}: {record.error}")
                    return record
                index -= rows_of_group
        raise AssertionError("row counts of the shards do not add up")

    def arrays(self) -> StoreArrays:
        """All sound labels of status "ok", stacked.

        Raises
        ------
        ValueError
            When they are of several sizes, or there is none.
        """
        # The sizes of rows that nobody has read yet need not be sound, their number is.
        count = sum(counts.get("ok", 0) for counts in self._counts.values())
        keys: list[str] = []
        stacked: list[np.ndarray] = []
        for record in self.records("ok"):
            label = record.labelled()
            stacked = stacked or [np.empty((count, *a.shape), a.dtype) for a in label]
            if label.image.shape != stacked[0].shape[1:]:
                sizes = [label.image.shape, stacked[0].shape[1:]]
                raise ValueError(f"labels must be of one size, {self.path} has {sorted(sizes)}")
            for stack, array in zip(stacked, label, strict=True):
                stack[len(keys)] = array
            keys.append(record.key)
        if not keys:
            raise ValueError(f"labels must be of one size, {self.path} has no label")
        return StoreArrays(keys, *(stack[: len(keys)] for stack in stacked))

    def validate(self) -> list[str]:
        """What is wrong with the store, in words; empty when it is sound."""
        from dsnet.data.store.check import validate_store

        return validate_store(self.path)

    def shard_rows(self, name: str) -> int:
        """Rows of a shard."""
        return self._rows[name]

    def shard_counts(self, name: str) -> dict[str, int]:
        """Rows of a shard by status."""
        return dict(self._counts[name])

    def shard_table(self, name: str):
        """A whole shard as a pyarrow table, arrays included."""
        with opened(self.path / name) as file:
            return file.read()

    @cached_property
    def _index(self) -> dict[str, int]:
        return {key: index for index, key in enumerate(self.keys)}

    def _take(self, name: str) -> None:
        path = self.path / name
        metadata = checked_metadata(path, self._listed.get(name))
        self._rows[name] = metadata.num_rows
        self._group_rows[name] = [
            metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)
        ]
        with opened(path) as file:
            rows = file.read(columns=["key", "status"]).to_pylist()
        for number, row in enumerate(rows):
            if not row["key"] or row["status"] not in STATUSES:
                raise ValueError(
                    f"shard {path} is damaged: row {number} must have a key and a status of"
                    f" {STATUSES}, got {row['key']!r} and {row['status']!r}"
                )
        self.keys += [row["key"] for row in rows]
        self._counts[name] = dict(Counter(row["status"] for row in rows))

    def _require_unique_keys(self) -> None:
        if len(self._index) == len(self.keys):
            return
        key = next(key for key, times in Counter(self.keys).items() if times > 1)
        raise ValueError(
            f"keys of {self.path} must be unique, {len(self.keys) - len(self._index)} are there"
            f" again, first {key!r}"
        )

    def _require_counts(self) -> None:
        counts = Counter(rows=0, ok=0, failed=0)
        # A shard that a crash kept out of the manifest is in its counts neither.
        for name in self._listed:
            counts.update(self._counts[name])
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
            path = self.path / name
            if sha256(path) != self._listed[name]["sha256"]:
                raise ValueError(
                    f"shard {path} is damaged: its checksum is not the manifest's; {REMEDY}"
                )
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
