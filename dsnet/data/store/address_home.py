"""A store at an address (s3://, ...), as its writer changes it.

    1. Whoever labelled rows puts their shard there under a name that is no shard's (`stage`).
    2. The one writer has the storage copy it to its name, and sees that it came whole.
    3. The manifest, or the journal beside it, then lists it: readers go by these (`reader`).
    4. What has no name is removed.

Killed between 2 and 3, the shard is there and listed by the next writer that resumes; before 2 its
rows are labelled again. The address alone says what is labelled, so that any machine goes on. On
its own disk the writer has the runs of keys, which are copied there, too. What fails is tried for
three minutes, and then ends the run: what is listed there stays whole.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dsnet.data.remote import PATIENT_TRIES, RemoteFile
from dsnet.data.store.journal import JOURNAL, SentJournal
from dsnet.data.store.key_runs import RUN, run_files
from dsnet.data.store.keys import KeyIndex
from dsnet.data.store.lease import Lease
from dsnet.data.store.lock import LOCK
from dsnet.data.store.manifest import (
    MANIFEST,
    MERGE,
    OLD_MANIFEST,
    digest_of,
    manifest_bytes,
    manifest_file,
    read_state,
)
from dsnet.data.store.places import MOST_BYTES, Place, given_up
from dsnet.data.store.shards import opened, send_shard
from dsnet.data.store.stage import STAGED
from dsnet.data.store.sums import Told
from dsnet.files import TEMPORARY


class AddressHome:
    """An address; see `home.Home`."""

    def __init__(self, address: RemoteFile) -> None:
        self.place: Place = address
        # While the lease is held: tried for long, and only as long as nobody else writes there.
        self._there = address
        self._lease: Lease | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="dsnet-")
        self.keys = Path(self._folder.name)
        self._runs: set[str] = set()
        # Read by nobody any more: the journal before the manifest, what older versions wrote.
        self._dead: set[str] = set()

    @property
    def held(self) -> bool:
        return self._lease is not None and self._lease.held

    def contents(self) -> list[str]:
        passing = (TEMPORARY, STAGED, MERGE)
        return [n for n in self._there.sizes() if n != LOCK and not n.startswith(passing)]

    def take(self) -> None:
        self._lease = Lease(self._there)
        address, allowed = self._there.address, self._lease.require
        self._there = RemoteFile(address, PATIENT_TRIES, allowed)

    def clear(self, begun: bool) -> None:
        """As `Home.clear`, and fetch the runs of keys.

        Raises
        ------
        ValueError
            When a compaction was begun, which only a folder finishes.
        """
        if begun and manifest_file(self.place) is not None:
            state = read_state(self.place)
            if state.moved or state.gone:
                raise ValueError(
                    f"the store {self.place} is a copy of one that was being compacted: it must be"
                    " finished in its folder, by `python -m dsnet.label compact STORE`, and pushed"
                )
        with self._telling():
            for name in self._there.sizes():
                if name.startswith((TEMPORARY, STAGED, MERGE)):
                    (self._there / name).remove()
                elif RUN.fullmatch(name):
                    (self.keys / name).write_bytes((self._there / name).read(MOST_BYTES))
                    self._runs.add(name)
                elif name in (JOURNAL, OLD_MANIFEST):
                    self._dead.add(name)

    def put(self, name: str, table, told: Told | None = None) -> dict[str, Any]:
        with self._telling():
            return send_shard(self._there / name, table, told)

    def take_in(self, staged: str, name: str, entry: dict[str, Any]) -> None:
        with self._telling():
            (self._there / staged).copy(self._there / name)
            if (size := (self._there / name).size()) != entry["bytes"]:
                raise ValueError(
                    f"{self._there / name}: must be of {entry['bytes']} bytes once it is copied,"
                    f" got {size}"
                )
            (self._there / staged).remove()

    def shorten(self, staged: str, rows: list[int]) -> dict[str, Any]:
        import pyarrow as pa

        with opened(self._there / staged) as shard:
            table = shard.read()
        return self.put(staged, table.take(pa.array(np.array(rows, np.int64))))

    def remove(self, name: str) -> None:
        with self._telling():
            (self._there / name).remove()

    def write_manifest(self, manifest: dict[str, Any], score_columns: list[str]) -> str:
        text, data = manifest_bytes(manifest, score_columns)
        self._send(MANIFEST, data)
        for name in sorted(self._dead):
            self.remove(name)
        self._dead = set()
        return digest_of(text)

    def journal(self, base: str) -> SentJournal:
        self._dead.add(JOURNAL)
        return SentJournal(partial(self._send, JOURNAL), base)

    def journal_lines(self, shards: int) -> int:
        # Both are put whole: this many lines make that least.
        return math.isqrt(shards)

    def save_keys(self, index: KeyIndex, least: int | None = None) -> None:
        index.save(least)
        files = {file.name: file for file in run_files(self.keys)}
        for name in sorted(files.keys() - self._runs):
            self._send(name, files[name].read_bytes())
        for name in sorted(self._runs - files.keys()):
            self.remove(name)
        self._runs = set(files)

    def finish(self) -> None:
        with self._telling():
            for name in self._there.sizes():
                if name.startswith(STAGED):
                    (self._there / name).remove()

    def release(self) -> None:
        if self._lease is not None:
            self._lease.release()
        self._folder.cleanup()

    def _send(self, name: str, data: bytes) -> None:
        with self._telling():
            (self._there / name).write(data)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn what the address refuses into an OSError: no row's fault.

        What is left to do then is tried once: a run that ends should not wait again and again.
        """
        try:
            yield
        except ValueError as error:
            self._there = RemoteFile(self._there.address, 1, self._there.allowed)
            raise given_up(error) from error
