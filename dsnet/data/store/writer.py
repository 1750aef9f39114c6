"""The label store: a folder of Parquet shards and a small manifest.

    STORE/_manifest.parquet       version, settings, creation time, counts, shards
    STORE/shard-00000.parquet     rows as `dsnet.data.store.record` lays them out, zstd

A shard is written under a temporary name, synced and renamed: it is there whole or not at
all, and a killed run loses at most the rows since the last shard. Keys are unique, and nothing
but Parquet has a content, so that pandas, pyarrow and polars read the folder as it is, DuckDB
`STORE/*.parquet`.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dsnet import __version__
from dsnet.data.store.lock import LOCK, StoreLock
from dsnet.data.store.manifest import FORMAT, KEY, origin_of, shard_files, write_manifest
from dsnet.data.store.reader import LabelStore, open_store
from dsnet.data.store.record import LabelRecord, encode, json_ready, schema, usual_score_columns
from dsnet.data.store.shards import describe_shard, write_shard
from dsnet.files import TEMPORARY, sync

# Bounds the memory of rows not yet on disk, whatever the crop size.
SHARD_BYTES = 256 * 2**20
# What older stores, which do not tell these settings, were made with.
IMPLIED = {"origin": 0.0}
# The first shard is written after this share of `shard_seconds`, the next ones after twice as long
# each, until that is reached: a run that is killed again and again gets on all the same.
FIRST_SHARE = 1 / 32


class StoreWriter:
    """Writes a label store; use as a context manager, whose exit flushes (Ctrl-C included).

    Parameters
    ----------
    path : str or Path
        Folder of the store; made where absent.
    settings : dict
        What the labels depend on; JSON values. A resumed store must have the same.
    alpha_bits : {8, 16}
    shard_rows : int
        Rows of a shard.
    shard_seconds : float
        A shard is written at the latest when a row comes this long after the last shard; the
        first ones sooner, see `FIRST_SHARE`.
    resume : bool
        Go on with an existing store; `done` then holds its keys, failed rows included.
    retry_failed : bool or callable
        With `resume`: first drop the failed rows, so that they can be appended anew; of a
        callable those for whose `error` it returns true.

    Attributes
    ----------
    done : set of str
        Keys that are stored or waiting to be.

    Raises
    ------
    FileExistsError
        When the folder is not empty and `resume` is false.
    ValueError
        When a resumed store's settings differ, or it is damaged, or no store.
    RuntimeError
        When another process writes to the store.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        settings: dict[str, Any],
        *,
        alpha_bits: int = 16,
        shard_rows: int = 1024,
        shard_seconds: float = 30.0,
        resume: bool = False,
        retry_failed: bool | Callable[[str], object] = False,
    ) -> None:
        if alpha_bits not in (8, 16):
            raise ValueError(f"alpha_bits must be 8 or 16, got {alpha_bits!r}")
        if shard_rows < 1:
            raise ValueError(f"shard_rows must be at least 1, got {shard_rows!r}")
        if not isinstance(settings, dict):
            raise TypeError(f"settings must be a dict, got {type(settings).__name__}")
        self.path = Path(path)
        self.alpha_bits = alpha_bits
        self.shard_rows = shard_rows
        self.shard_seconds = shard_seconds
        self.done: set[str] = set()
        self._settings = json_ready(settings)
        self._pending: list[dict[str, Any]] = []
        self._pending_bytes = 0
        self._shards: dict[str, dict[str, Any]] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._next = 0
        self._score_columns = usual_score_columns()
        self._last_flush = time.monotonic()
        self._patience = FIRST_SHARE * shard_seconds
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"path must be a folder, {self.path} is a file")
        if not resume and self.path.is_dir() and _contents(self.path):
            # Looked at before the lock too, so that no foreign folder gets a lock file.
            raise FileExistsError(_not_empty(self.path))
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = StoreLock(self.path)
        try:
            self._start(resume, retry_failed)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def append(self, record: LabelRecord) -> None:
        """Add a row; it is on disk after the shard is full, `flush` or `close`.

        Raises
        ------
        ValueError
            When the key is already there, or a field is wrong (see `record.encode`).
        """
        if not self._lock.held:
            raise ValueError(f"the store {self.path} is closed")
        if record.key in self.done:
            raise ValueError(f"key must be new to the store, got {record.key!r} again")
        row = encode(record, self.alpha_bits)
        self._pending.append(row)
        self.done.add(record.key)
        self._pending_bytes += sum(len(value) for value in row.values() if type(value) is bytes)
        waited = time.monotonic() - self._last_flush
        if (
            len(self._pending) >= self.shard_rows
            or self._pending_bytes >= SHARD_BYTES
            or waited >= self._patience
        ):
            self.flush()

    def flush(self) -> None:
        """Write the waiting rows as one shard. Interrupted anywhere, it can be called again."""
        if self._pending:
            name = f"shard-{self._next:05d}.parquet"
            self._write_shard(name, self._table(self._pending))
            self._patience = min(2 * self._patience, self.shard_seconds)
            # The number moves together with the rows: a repeat overwrites its own shard.
            self._next, self._pending, self._pending_bytes = self._next + 1, [], 0
            self._write_manifest()
        self._last_flush = time.monotonic()

    def close(self) -> None:
        """Flush and release the store; a second call does nothing."""
        if not self._lock.held:
            return
        try:
            self.flush()
        finally:
            self._lock.release()

    def _start(self, resume: bool, retry_failed) -> None:
        held = _contents(self.path)
        if held and not resume:
            raise FileExistsError(_not_empty(self.path))
        for stale in self.path.glob(f"{TEMPORARY}*"):
            stale.unlink(missing_ok=True)
        self._created = _now()
        if held:
            self._take_up(retry_failed)
        self._write_manifest()

    def _take_up(self, retry_failed) -> None:
        store = open_store(self.path)
        _require_same(self._settings, store.manifest["settings"])
        if store.alpha_bits != self.alpha_bits:
            raise ValueError(
                f"alpha_bits differs from the store's: got {self.alpha_bits},"
                f" {self.path} has {store.alpha_bits}"
            )
        self._created = store.manifest["created"]
        names = shard_files(self.path)
        self._next = max((int(name[6:-8]) + 1 for name in names), default=0)
        known = {shard["name"]: shard for shard in store.manifest["shards"]}
        for name in names:
            # A shard that a crash kept out of the manifest is whole: it has its final name.
            described = known.get(name)
            self._shards[name] = described or describe_shard(
                self.path / name, store.shard_rows(name)
            )
            self._counts[name] = store.shard_counts(name)
        if retry_failed:
            for name in names:
                if self._counts[name].get("failed"):
                    self._drop_failed(name, store, retry_failed)
        self.done = set(open_store(self.path).keys)

    def _drop_failed(self, name: str, store: LabelStore, chosen) -> None:
        import pyarrow as pa

        table = store.shard_table(name)
        rows = table.select(["status", "error"]).to_pylist()
        left = [
            number
            for number, row in enumerate(rows)
            if row["status"] == "ok" or (callable(chosen) and not chosen(row["error"] or ""))
        ]
        if len(left) == len(rows):
            return
        kept = table.take(pa.array(left, pa.int64()))
        # Out of the manifest first: a crash now leaves a whole shard that is taken up anew.
        del self._shards[name], self._counts[name]
        self._write_manifest()
        if kept.num_rows:
            self._write_shard(name, kept)
        else:
            (self.path / name).unlink()
            sync(self.path)
        self._write_manifest()

    def _table(self, rows: list[dict[str, Any]]):
        import pyarrow as pa

        for row in rows:
            for name in row:
                if name.startswith(("quality_", "seconds_")) and name not in self._score_columns:
                    self._score_columns.append(name)
        told = schema(self._score_columns).with_metadata({KEY: origin_of(self._origin())})
        return pa.Table.from_pylist(rows, schema=told)

    def _origin(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "alpha_bits": self.alpha_bits,
            "settings": self._settings,
            "created": self._created,
        }

    def _write_shard(self, name: str, table) -> None:
        write_shard(self.path / name, table)
        self._shards[name] = describe_shard(self.path / name, table.num_rows)
        self._counts[name] = dict(Counter(table["status"].to_pylist()))

    def _write_manifest(self) -> None:
        counts = Counter(ok=0, failed=0)
        for shard in self._counts.values():
            counts.update(shard)
        manifest = {
            **self._origin(),
            "dsnet_version": __version__,
            "updated": _now(),
            "counts": {"rows": counts.total(), **counts},
            "shards": [self._shards[name] for name in sorted(self._shards)],
        }
        write_manifest(self.path, manifest, self._score_columns)


def _contents(path: Path) -> list[str]:
    return [n for n in os.listdir(path) if n != LOCK and not n.startswith(TEMPORARY)]


def _not_empty(path: Path) -> str:
    return f"the folder {path} is not empty: pass resume=True to go on with its store"


def _require_same(settings: dict[str, Any], stored: dict[str, Any]) -> None:
    for name, value in IMPLIED.items():
        if name in settings or name in stored:
            settings, stored = {name: value, **settings}, {name: value, **stored}
    for name in sorted(settings.keys() | stored.keys()):
        if name not in settings or name not in stored or settings[name] != stored[name]:
            raise ValueError(
                f"setting {name!r} differs from the store's: got"
                f" {settings.get(name, 'none')!r}, the store has {stored.get(name, 'none')!r}"
            )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
