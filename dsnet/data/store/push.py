"""A store copied to an address (s3://, ...), so that whoever reads there reads what is here.

Of a store that runs write in a folder: one that is given an address writes there (`address_home`).
Shards are copied as whole objects, each verified by its checksum before it is sent; the manifest,
put now and then and when all of them are there, lists those that are. A push that is killed is
repeated, and sends what is not listed yet.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from dsnet.data.remote import RemoteFile, is_address
from dsnet.data.store.decisions import REVIEW
from dsnet.data.store.entries import SHARD, is_full
from dsnet.data.store.lease import Lease
from dsnet.data.store.lock import LOCK
from dsnet.data.store.manifest import (
    MANIFEST,
    ORIGIN,
    State,
    manifest_bytes,
    read_manifest,
    read_state,
)
from dsnet.data.store.places import folder_of, size_of, sizes
from dsnet.data.store.reader import REMEDY
from dsnet.data.store.record import usual_score_columns

# Sent between two manifests: what a push that is killed need not send again.
SHARDS_A_MANIFEST = 64


class Pushed(NamedTuple):
    """What a push did.

    Attributes
    ----------
    rows, shards : int
        At the address now.
    sent, bytes : int
        Files that were sent, and their bytes.
    removed : int
        Shards that the store has no more.
    """

    rows: int
    shards: int
    sent: int
    bytes: int
    removed: int


def push_store(
    store: str | os.PathLike,
    address: str | RemoteFile,
    tell: Callable[[int, int], object] | None = None,
) -> Pushed:
    """Copy a store to an address, or bring what was copied there before up to date.

    Shards, the manifest with its journal, decisions and mended versions are copied; the store may
    be written meanwhile, and what it has then is pushed by the next one. A shard that is there, of
    the same checksum by the address's manifest and of the same size, is not sent again. Where
    shards changed under their name (`compact`, failed rows tried again), readers of the address
    are told of damage until the push is complete.

    Parameters
    ----------
    store : path
        A folder.
    address : str
        What fsspec writes to: s3://BUCKET/PLACE, memory://, file://, ...
    tell : callable, optional
        Called with (shards done, shards) after each.

    Raises
    ------
    FileNotFoundError, ValueError
        When there is no store, it or a shard is damaged, the address has another store or
        something else, or cannot be written after several tries.
    RuntimeError
        When another process writes to the address.
    """
    path = folder_of(store, "be pushed")
    if not is_address(address):
        raise ValueError(f"address must be one (s3://BUCKET/PLACE, ...), got {address!r}")
    there = address if isinstance(address, RemoteFile) else RemoteFile(address)
    state = read_state(path)
    entries = state.manifest["shards"]
    if not all(map(is_full, entries)):
        raise ValueError(f"the store {path} is of an older version: `label compact` completes it")
    # Looked at before the lease, too, so that no foreign place gets a lock.
    _Target.require_own(there, state.manifest)
    lease = Lease(there)
    try:
        return _push(path, RemoteFile(there.address, allowed=lease.require), state, tell)
    finally:
        lease.release()


def _push(
    path: Path, there: RemoteFile, state: State, tell: Callable[[int, int], object] | None
) -> Pushed:
    entries = state.manifest["shards"]
    target = _Target(there, state.manifest)
    sent = count = 0
    for number, entry in enumerate(entries, 1):
        if not target.has(entry):
            count += target.send(entry, _read(path, state.moved.get(entry["name"]), entry))
            sent += 1
            if sent % SHARDS_A_MANIFEST == 0:
                target.list(entries)
        if tell is not None:
            tell(number, len(entries))
    reviews, review_bytes = _push_review(path, there)
    removed = target.finish(entries)
    rows = state.manifest["counts"]["rows"]
    return Pushed(rows, len(entries), sent + reviews, count + review_bytes, removed)


class _Target:
    """What is at the address, and what is put there."""

    def __init__(self, there: RemoteFile, manifest: dict[str, Any]) -> None:
        self._there, self._manifest = there, manifest
        self._sums: dict[str, str] = {}
        self._sizes = sizes(there)
        if (found := self.require_own(there, manifest)) is not None:
            self._sums = {entry["name"]: entry["sha256"] for entry in found["shards"]}
        else:
            # From here on it is this store's place, whatever becomes of the push.
            self.list([])

    @staticmethod
    def require_own(there: RemoteFile, manifest: dict[str, Any]) -> dict[str, Any] | None:
        """The manifest of this store there; None of a new place; ValueError where there is else."""
        if not sizes(there).keys() - {LOCK}:
            return None
        found = read_manifest(there)
        for name in ORIGIN:
            if found[name] != manifest[name]:
                raise ValueError(
                    f"address must be a new place or have this store, got {there}, where "
                    f"{name} is {found[name]!r}, not {manifest[name]!r}"
                )
        return found

    def has(self, entry: dict[str, Any]) -> bool:
        """Whether a shard is there."""
        name = entry["name"]
        return (self._sums.get(name), self._sizes.get(name)) == (entry["sha256"], entry["bytes"])

    def send(self, entry: dict[str, Any], data: bytes) -> int:
        """Put a shard; its bytes."""
        (self._there / entry["name"]).write(data)
        self._sums[entry["name"]], self._sizes[entry["name"]] = entry["sha256"], len(data)
        return len(data)

    def list(self, entries: list[dict[str, Any]]) -> None:
        """Put a manifest of those shards that are there."""
        there = [entry for entry in entries if self.has(entry)]
        rows, failed = (sum(entry[name] for entry in there) for name in ("rows", "failed"))
        counts = {"rows": rows, "ok": rows - failed, "failed": failed}
        manifest = {**self._manifest, "counts": counts, "shards": there}
        _, data = manifest_bytes(manifest, usual_score_columns())
        (self._there / MANIFEST).write(data)

    def finish(self, entries: list[dict[str, Any]]) -> int:
        """See that all shards are there, list them, and remove others; how many these were."""
        self._sizes = sizes(self._there)
        for entry in entries:
            if not self.has(entry):
                raise ValueError(
                    f"{self._there / entry['name']}: must be of {entry['bytes']} bytes once it is "
                    f"sent, got {self._sizes.get(entry['name'], 'none')}: push again"
                )
        self.list(entries)
        listed = {entry["name"] for entry in entries}
        gone = [name for name in self._sizes if SHARD.fullmatch(name) and name not in listed]
        for name in gone:
            (self._there / name).remove()
        return len(gone)


def _read(path: Path, moved: str | None, entry: dict[str, Any]) -> bytes:
    """A shard's bytes, which are those that the manifest tells of."""
    place = path / (moved or entry["name"])
    if moved is not None and not place.exists():
        place = path / entry["name"]
    try:
        data = place.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"shard {place} is missing: {REMEDY}") from None
    if len(data) != entry["bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise ValueError(
            f"shard {place} is damaged, or has changed while it was copied: its checksum is not "
            f"the manifest's; push again, or {REMEDY}"
        )
    return data


def _push_review(path: Path, there: RemoteFile) -> tuple[int, int]:
    """Send decisions, which only grow, and mended versions, which never change: files, bytes."""
    sent = count = 0
    held = sizes(there / REVIEW)
    for name, size in sorted(sizes(path / REVIEW).items()):
        file = path / REVIEW / name
        # A version's name tells its content.
        if not name.endswith((".jsonl", ".parquet")) or (
            held.get(name) == size and name.endswith(".parquet")
        ):
            continue
        data = file.read_bytes()
        (there / REVIEW / name).write(data)
        if size_of(there / REVIEW / name) != len(data):
            raise ValueError(f"{there / REVIEW / name}: is not what was sent: push again")
        sent, count = sent + 1, count + len(data)
    return sent, count
