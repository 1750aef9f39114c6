"""The label store: a folder, or an address, of Parquet shards and a small manifest.

    STORE/_manifest.parquet       version, settings, creation time, counts, shards
    STORE/_journal.parquet        the shards since, where they are many: `journal`
    STORE/_keys-00000.parquet     the keys, where they are many: `key_runs`
    STORE/shard-00000.parquet     rows as `dsnet.data.store.record` lays them out

A shard is written under a temporary name, synced and renamed: it is there whole or not at
all, and a killed run loses at most the rows since the last shard. Keys are unique, and nothing
but Parquet has a content, so that pandas, pyarrow and polars read the folder as it is, DuckDB
`STORE/*.parquet`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

from dsnet import __version__
from dsnet.data.store.account import ShardAccount
from dsnet.data.store.entries import shard_name, shard_number
from dsnet.data.store.home import home_of
from dsnet.data.store.keys import FEW, KeySet
from dsnet.data.store.manifest import ASKED, FINISHED, FORMAT, origin_of, shard_files
from dsnet.data.store.places import StorePath, path_text
from dsnet.data.store.reader import LabelStore
from dsnet.data.store.record import LabelRecord, decode, json_ready
from dsnet.data.store.retry import without_failed
from dsnet.data.store.settings import require_same
from dsnet.data.store.shards import describe_shard, hashes_in, opened
from dsnet.data.store.stage import Recipe, ShardBuilder, StagedShard, hashes_of
from dsnet.data.store.sums import Told

# The first shard is written after this share of `shard_seconds`, the next ones after twice as long
# each, until that is reached: a run that is killed again and again gets on all the same.
FIRST_SHARE = 1 / 32


class StoreWriter:
    """Writes a label store; use as a context manager, whose exit flushes (Ctrl-C included).

    Parameters
    ----------
    path : path or RemoteFile
        Folder of the store, made where absent; or an address that fsspec writes to (s3://, ...).
    settings : dict
        What the labels depend on; JSON values. A resumed store must have the same.
    alpha_bits : {8, 16}
    shard_rows : int
        Rows of a shard.
    shard_seconds : float
        Longest time between two shards while rows come; the first ones sooner: `FIRST_SHARE`.
    resume : bool
        Go on with an existing store; `done` then holds its keys, failed rows included.
    retry_failed : bool, str or callable
        With `resume`: first drop the failed rows, so that they can be appended anew; of a text
        those whose `error` begins with it, of a callable those for whose `error` it returns true.
    asked : str
        What all rows, those that are there included, agree with; the manifest says so until
        another writer comes.

    Attributes
    ----------
    recipe : Recipe
        With which any process can make a shard of this store; see `stage`.
    finished : str
        What the manifest shall say that all rows are of; set before the writer is closed.

    Raises
    ------
    FileExistsError
        When the folder is not empty and `resume` is false.
    ValueError
        When a resumed store's settings differ, or it is damaged, or no store.
    RuntimeError
        When another process writes to the store.
    OSError
        Here and later: when it cannot be written; at an address, after some minutes.
    """

    def __init__(
        self,
        path: StorePath,
        settings: dict[str, Any],
        *,
        alpha_bits: int = 16,
        shard_rows: int = 1024,
        shard_seconds: float = 30.0,
        resume: bool = False,
        retry_failed: bool | str | Callable[[str], object] = False,
        asked: str = "",
    ) -> None:
        if alpha_bits not in (8, 16):
            raise ValueError(f"alpha_bits must be 8 or 16, got {alpha_bits!r}")
        if shard_rows < 1:
            raise ValueError(f"shard_rows must be at least 1, got {shard_rows!r}")
        if not isinstance(settings, dict):
            raise TypeError(f"settings must be a dict, got {type(settings).__name__}")
        self._home = home_of(path)
        self.path = self._home.place
        self.alpha_bits = alpha_bits
        self.shard_rows, self.shard_seconds = shard_rows, shard_seconds
        self._settings = json_ready(settings)
        self._asked, self.finished = asked, ""
        self._last_flush = time.monotonic()
        self._patience = FIRST_SHARE * shard_seconds
        if not resume:
            # Looked at before the lock too, so that no foreign folder gets a lock file.
            self._require_empty(self._home.contents())
        try:
            self._home.take()
            self._start(resume, retry_failed)
        except BaseException:
            self._home.release()
            raise

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            self.close()
        except OSError:
            if not isinstance(error, OSError):  # Else it is the same again.
                raise

    def append(self, record: LabelRecord) -> None:
        """Add a row; it is on disk after the shard is full, `flush` or `close`.

        Raises
        ------
        ValueError
            When the key is already there, or a field is wrong (see `record.encode`).
        """
        if not self.add(record):
            raise ValueError(f"key must be new to the store, got {record.key!r} again")

    def add(self, record: LabelRecord) -> bool:
        """As `append`; false where the key is there already, whose row stays as it is."""
        if not self._home.held:
            self._require_open()
        pending = self._pending
        if record.key in pending.keys or self._account.has(record.key):
            return False
        pending.append(record)
        waited = time.monotonic() - self._last_flush
        if pending.fills(self.shard_rows) or waited >= self._patience:
            self.flush()
        return True

    def flush(self) -> None:
        """Write the waiting rows as one shard. Interrupted anywhere, it can be called again."""
        if len(self._pending):
            columns = self._account.score_columns
            columns += self._pending.new_scores(columns)
            self._write_shard(shard_name(self._pending.number), *self._pending.made(columns))
            self._patience = min(2 * self._patience, self.shard_seconds)
            # The number moves together with the rows: a repeat overwrites its own shard.
            written = self._pending
            self._begin(written.number + 1)
            written.clear()
        self._account.write()
        self._last_flush = time.monotonic()

    def commit(self, staged: StagedShard) -> tuple[str, list[str]]:
        """Take in a shard that any process staged with this store's `recipe`, as its next one.

        Returns
        -------
        name : str
            Of the shard; empty where no row is left.
        left_out : list of str
            Keys that the store has already: their rows are not taken.

        Raises
        ------
        ValueError
            When rows are waiting to be flushed: the order would not be that of the calls.
        """
        self._require_open()
        if len(self._pending):
            raise ValueError("rows must be flushed before a shard is taken in")
        left_out = [*staged.left_out]
        entry, hashes = staged.entry, hashes_of(staged)
        keys = [row.key for row in staged.rows]
        known = self._account.index.known(keys, hashes)
        if known:
            left_out += [key for key in keys if key in known]
            left = [number for number, key in enumerate(keys) if key not in known]
            if not left:
                self._home.remove(staged.file)
                return "", left_out
            entry, hashes = self._home.shorten(staged.file, left), hashes[left]
        name = shard_name(self._pending.number)
        self._begin(self._pending.number + 1)
        columns = self._account.score_columns
        columns += [column for column in staged.score_columns if column not in columns]
        self._home.take_in(staged.file, name, entry)
        self._account.add({**entry, "name": name}, hashes)
        self._account.write()
        return name, left_out

    def records(self, name: str) -> Iterator[LabelRecord]:
        """The rows of a shard as they are stored; none of the name "" that `commit` may give."""
        if name:
            with opened(self.path / name, whole=True) as shard:
                for group in range(shard.num_row_groups):
                    for row in shard.read_row_group(group).to_pylist():
                        yield decode(row, self.alpha_bits)

    def close(self) -> None:
        """Flush and release the store; a second call does nothing."""
        if not self._home.held:
            return
        try:
            self.flush()
            if self._account.journalled or self.finished:
                self._account.write_whole()
            self._home.save_keys(self._account.index, FEW)
            self._home.finish()
        finally:
            self._account.close()
            self._home.release()

    def _require_open(self) -> None:
        if not self._home.held:
            raise ValueError(f"the store {self.path} is closed")

    def _require_empty(self, contents: list[str]) -> None:
        if contents:
            raise FileExistsError(
                f"the folder {self.path} is not empty: pass resume=True to go on with its store"
            )

    def _start(self, resume: bool, retry_failed) -> None:
        held = self._home.contents()
        if not resume:
            self._require_empty(held)
        self._home.clear(bool(held))
        self._created = _now()
        self._account = ShardAccount(self._home, self._head)
        number = self._take_up(retry_failed) if held else 0
        origin = origin_of(self._origin())
        self.recipe = Recipe(path_text(self.path), self.alpha_bits, origin)
        self._begin(number)
        self._account.write_whole()

    def _begin(self, number: int) -> None:
        self._pending = ShardBuilder(self.recipe, number)

    @property
    def done(self) -> KeySet:
        """Keys that are stored or waiting to be; read from the shards, not held."""
        return self._account.keys(self._pending)

    def stored(self) -> KeySet:
        """The keys that are in shards now; does not change when more come."""
        return self._account.keys()

    def _take_up(self, retry_failed) -> int:
        """Take in what is there; the number of the next shard."""
        store = LabelStore(self.path, unlisted=True)
        require_same(self._settings, store.manifest["settings"])
        if store.alpha_bits != self.alpha_bits:
            raise ValueError(
                f"alpha_bits differs from the store's: got {self.alpha_bits},"
                f" {self.path} has {store.alpha_bits}"
            )
        self._created = store.manifest["created"]
        names = shard_files(self.path)
        known = {shard["name"]: shard for shard in store.manifest["shards"]}
        for name in names:
            # A shard that a crash kept out of the manifest is whole: it has its final name.
            rows = store.shard_rows(name)
            entry = known.get(name) or describe_shard(self.path / name, rows)
            self._account.take_up(name, entry, rows, store.shard_counts(name))
        self._account.read_index()
        if retry_failed:
            for name in names:
                if self._account.failed(name):
                    self._drop_failed(name, store, retry_failed)
        return max((shard_number(name) + 1 for name in names), default=0)

    def _drop_failed(self, name: str, store: LabelStore, chosen) -> None:
        if (kept := without_failed(store, self._account.shards[name], chosen)) is None:
            return
        # Out of the manifest first: a crash now leaves a whole shard that is taken up anew.
        self._account.drop(name)
        self._account.write()
        if kept.num_rows:
            self._write_shard(name, kept)
        else:
            self._home.remove(name)
        self._account.write()

    def _origin(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "alpha_bits": self.alpha_bits,
            "settings": self._settings,
            "created": self._created,
        }

    def _head(self) -> dict[str, Any]:
        """What the manifest says of all rows."""
        return {
            **self._origin(),
            "dsnet_version": __version__,
            "updated": _now(),
            **({ASKED: self._asked} if self._asked else {}),
            **({FINISHED: self.finished} if self.finished else {}),
        }

    def _write_shard(self, name: str, table, told: Told | None = None) -> None:
        self._account.add(self._home.put(name, table, told), hashes_in(table, told))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
