"""Reading a label store back: as a table, row by row, or as stacked arrays."""

from __future__ import annotations

import hashlib
import json
import operator
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsnet.data.store.record import (
    ARRAY_COLUMNS,
    LABEL_COLUMNS,
    STATUSES,
    LabelRecord,
    decode,
    encode,
    schema,
    usual_score_columns,
)

FORMAT = 1
MANIFEST = "manifest.json"
SHARD = re.compile(r"shard-\d{5,}\.parquet")


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
        When the manifest or a shard is damaged or missing; names the file.
    """
    return LabelStore(path)


class LabelStore:
    """A label store open for reading; see `open_store`.

    Attributes
    ----------
    path : Path
    manifest : dict
        As `manifest.json` has it: format, dsnet_version, created, settings, counts, shards.
    alpha_bits : int
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        self.alpha_bits: int = self.manifest["alpha_bits"]
        self._rows: dict[str, int] = {}
        self._group_rows: dict[str, list[int]] = {}
        listed = {shard["name"]: shard for shard in self.manifest["shards"]}
        for name in sorted(listed.keys() | set(shard_files(self.path))):
            metadata = self._metadata(name, listed.get(name))
            self._rows[name] = metadata.num_rows
            self._group_rows[name] = [
                metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)
            ]

    def __len__(self) -> int:
        return sum(self._rows.values())

    def __repr__(self) -> str:
        return f"LabelStore({str(self.path)!r}, {len(self)} rows)"

    def __contains__(self, key: object) -> bool:
        return key in self._index

    def __iter__(self) -> Iterator[LabelRecord]:
        return self.records()

    @cached_property
    def keys(self) -> list[str]:
        """Keys in the order of the rows."""
        return self.table(["key"])["key"].to_pylist()

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

        schemas = [schema(usual_score_columns())] + [
            self._open(name).schema_arrow for name in self._rows
        ]
        whole = pa.unify_schemas([s.remove_metadata() for s in schemas])
        if columns is None:
            columns = [name for name in whole.names if name not in ARRAY_COLUMNS]
        if unknown := [name for name in columns if name not in whole.names]:
            raise ValueError(f"columns must be among {whole.names}, got {unknown[0]!r}")
        wanted = pa.schema([whole.field(name) for name in columns])
        tables = [wanted.empty_table()]
        for name in self._rows:
            file = self._open(name)
            present = [c for c in columns if c in file.schema_arrow.names]
            # A column that only other shards have (a score added later) reads as null here.
            with self._naming(name):
                part = file.read(columns=present)
            for field in wanted:
                if field.name not in present:
                    part = part.append_column(field, pa.nulls(part.num_rows, field.type))
            tables.append(part.select(columns).cast(wanted))
        return pa.concat_tables(tables)

    def records(self, status: str | None = None) -> Iterator[LabelRecord]:
        """Every row in order, holding one row group at a time; `status` picks "ok" or "failed"."""
        if status not in (None, *STATUSES):
            raise ValueError(f"status must be one of {STATUSES} or None, got {status!r}")
        return self._records(status)

    def _records(self, status: str | None) -> Iterator[LabelRecord]:
        for name in self._rows:
            file = self._open(name)
            for group in range(len(self._group_rows[name])):
                with self._naming(name):
                    rows = file.read_row_group(group).to_pylist()
                for row in rows:
                    if status is None or row["status"] == status:
                        yield decode(row, self.alpha_bits)

    def read(self, which: int | str) -> LabelRecord:
        """One row by its index (negative counts from the end) or key; reads its row group only.

        Raises
        ------
        KeyError, IndexError
            When there is no such key or index.
        TypeError
            When it is neither a str nor an int.
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
            for group, rows_of_group in enumerate(self._group_rows[name]):
                if index < rows_of_group:
                    with self._naming(name):
                        table = self._open(name).read_row_group(group).slice(index, 1)
                    return decode(table.to_pylist()[0], self.alpha_bits)
                index -= rows_of_group
        raise AssertionError("row counts of the shards do not add up")

    def arrays(self) -> StoreArrays:
        """All labels of status "ok", stacked.

        Raises
        ------
        ValueError
            When they are of several sizes, or there is none.
        """
        rows = self.table(["status", "height", "width"]).to_pylist()
        sizes = Counter((r["height"], r["width"]) for r in rows if r["status"] == "ok")
        if len(sizes) != 1:
            raise ValueError(f"labels must be of one size, {self.path} has {sorted(sizes)}")
        ((height, width), count) = sizes.popitem()
        stacked = [
            np.empty((count, height, width), dtype)
            for dtype in (np.float32, np.float32, np.bool_, np.uint8)
        ]
        keys = []
        for index, record in enumerate(self.records("ok")):
            keys.append(record.key)
            for stack, name in zip(stacked, LABEL_COLUMNS, strict=True):
                stack[index] = getattr(record, name)
        return StoreArrays(keys, *stacked)

    def validate(self) -> list[str]:
        """What is wrong with the store, in words; empty when it is sound."""
        return validate_store(self.path)

    def shard_rows(self, name: str) -> int:
        """Rows of a shard."""
        return self._rows[name]

    def shard_counts(self, name: str) -> dict[str, int]:
        """Rows of a shard by status."""
        with self._naming(name):
            statuses = self._open(name).read(columns=["status"])["status"]
        return dict(Counter(statuses.to_pylist()))

    def shard_table(self, name: str):
        """A whole shard as a pyarrow table, arrays included."""
        with self._naming(name):
            return self._open(name).read()

    @cached_property
    def _index(self) -> dict[str, int]:
        return {key: index for index, key in enumerate(self.keys)}

    def _open(self, name: str):
        import pyarrow.parquet as pq

        with self._naming(name):
            return pq.ParquetFile(self.path / name, page_checksum_verification=True)

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Turn pyarrow's errors into a ValueError that names the shard."""
        import pyarrow as pa

        try:
            yield
        except FileNotFoundError:
            raise ValueError(f"shard {self.path / name} is missing") from None
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"shard {self.path / name} is damaged: {error}") from error

    def _metadata(self, name: str, listed: dict[str, Any] | None):
        path = self.path / name
        if listed and path.exists() and path.stat().st_size != listed["bytes"]:
            raise ValueError(
                f"shard {path} is damaged: {path.stat().st_size} bytes,"
                f" the manifest says {listed['bytes']}"
            )
        with self._open(name) as file:
            if listed and file.metadata.num_rows != listed["rows"]:
                raise ValueError(
                    f"shard {path} is damaged: {file.metadata.num_rows} rows,"
                    f" the manifest says {listed['rows']}"
                )
            found = {field.name: field.type for field in file.schema_arrow}
            for field in (f for f in schema([]) if f.name != "truth"):
                if found.get(field.name) != field.type:
                    raise ValueError(
                        f"shard {path} is damaged: it has no column {field.name!r} of {field.type}"
                    )
            return file.metadata


def validate_store(path: str | os.PathLike) -> list[str]:
    """Read a whole store and say what is wrong with it; empty when it is sound.

    Checks every shard's checksum, every row's arrays, `binary` against `alpha`, and that keys
    are unique. Unlike `open_store` it does not raise on damage.
    """
    import pyarrow as pa

    path = Path(path)
    try:
        manifest = read_manifest(path)
    except (ValueError, FileNotFoundError) as error:
        return [str(error)]
    problems = []
    for shard in manifest["shards"]:
        file = path / shard["name"]
        if file.exists() and sha256(file) != shard["sha256"]:
            problems.append(f"shard {file} is damaged: its checksum is not the manifest's")
    try:
        store = LabelStore(path)
        for key, times in Counter(store.keys).items():
            if times > 1:
                problems.append(f"key {key!r} is there {times} times")
        for record in store.records():
            try:
                encode(record, store.alpha_bits)
            except (TypeError, ValueError) as error:
                problems.append(f"row {record.key!r}: {error}")
    except (ValueError, OSError, pa.ArrowException) as error:
        problems.append(str(error))
    return problems


def shard_files(path: Path) -> list[str]:
    """Names of the shards in a folder, in order."""
    return sorted(name for name in os.listdir(path) if SHARD.fullmatch(name))


def read_manifest(path: Path) -> dict[str, Any]:
    """A store's manifest; raises as `open_store` does."""
    file = path / MANIFEST
    if path.is_file():
        raise ValueError(f"path must be a folder, {path} is a file")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        found = manifest["format"]
        complete = all(name in manifest for name in ("alpha_bits", "settings", "shards", "counts"))
    except FileNotFoundError:
        if path.is_dir() and os.listdir(path):
            raise ValueError(f"{path} is not a label store: it has no {MANIFEST}") from None
        raise FileNotFoundError(f"no label store at {path}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"manifest {file} is damaged: {error}") from error
    if found != FORMAT or not complete:
        raise ValueError(f"manifest {file} must be of format {FORMAT}, got {found!r}")
    return manifest


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
