"""Many small shards of a store made few; killed at any moment, it has every row once.

    1. the merged shard is written as `.merge-...`, synced
    2. a line of the journal says that it stands for its parts: from here on the rows are in it
    3. it gets the name of its first part, the other parts are removed
    4. the manifest is written, the journal removed

Killed before 2, the next writer removes it; after 2, that writer does 3 and 4 (`roll_forward`), and
whoever reads until then takes the merged file and passes over the parts.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dsnet.data.store.entries import describe, is_full, sha256
from dsnet.data.store.journal import JournalWriter
from dsnet.data.store.keys import FEW, KeyIndex
from dsnet.data.store.lock import StoreLock
from dsnet.data.store.manifest import MERGE, State, read_state, write_manifest
from dsnet.data.store.places import folder_of
from dsnet.data.store.reader import REMEDY, LabelStore, open_store
from dsnet.data.store.record import STATUSES, usual_score_columns
from dsnet.data.store.shards import describe_shard, write_unnamed
from dsnet.data.store.stage import SHARD_BYTES
from dsnet.data.store.sums import sums_in, with_sums
from dsnet.files import sync

# A shard's footer is read for one row of it: long ones make that slow.
SHARD_ROWS = 2048


def compact_store(path: str | os.PathLike, shard_rows: int = SHARD_ROWS) -> tuple[int, int]:
    """Merge neighbouring small shards; the rows, their order and every value stay.

    Killed at any moment nothing is lost or there twice, and the next writer finishes what was
    begun. Entries of older stores are completed. While the parts are replaced, tools that read the
    folder without its manifest may find rows twice or not at all.

    Parameters
    ----------
    path : path
        Of a store that nobody writes to.
    shard_rows : int
        Rows that a shard is filled up to, of at most 256 MB.

    Returns
    -------
    before, after : int
        Shards.

    Raises
    ------
    FileNotFoundError, ValueError
        When there is no store, or it is damaged; nothing is merged of what is.
    RuntimeError
        When another process writes to the store.
    """
    if shard_rows < 1:
        raise ValueError(f"shard_rows must be at least 1, got {shard_rows!r}")
    path = folder_of(path, "be compacted")
    open_store(path)  # so that no foreign folder gets a lock file
    lock = StoreLock(path)
    try:
        roll_forward(path)
        store = open_store(path)
        listed = {entry["name"]: entry for entry in store.manifest["shards"]}
        entries = [_whole_entry(store, name, listed.get(name)) for name in store.shards]
        counts = dict.fromkeys(STATUSES, 0)
        for entry in entries:
            counts["ok"] += entry["rows"] - entry["failed"]
            counts["failed"] += entry["failed"]
        counts = {"rows": sum(counts.values()), **counts}
        manifest = {**store.manifest, "shards": entries, "counts": counts}
        journal = JournalWriter(path, write_manifest(path, manifest, usual_score_columns()))
        try:
            for group in _groups(entries, shard_rows):
                _merge(store, group, journal, counts)
        finally:
            journal.close()
        finish(path, read_state(path))
        after = open_store(path)
        listed = {entry["name"]: entry for entry in after.manifest["shards"]}
        KeyIndex(path, listed, after.shard_keys).save(FEW)
        return len(entries), len(listed)
    finally:
        lock.release()


def roll_forward(path: Path) -> None:
    """Finish what a killed compaction has begun; for the one that holds the lock.

    Raises
    ------
    OSError
        When a file cannot be renamed or removed.
    """
    try:
        state = read_state(path)
    except ValueError:
        return  # Whoever opens the store says what is wrong.
    if state.moved or state.gone:
        finish(path, state)
    for name in os.listdir(path):
        if name.startswith(MERGE):
            Path(path, name).unlink(missing_ok=True)


def finish(path: Path, state: State) -> None:
    """Give merged shards their names, remove their parts, and say so in the manifest."""
    for name, moved in state.moved.items():
        if (path / moved).exists():
            os.replace(path / moved, path / name)
    for name in state.gone - state.moved.keys():
        (path / name).unlink(missing_ok=True)
    sync(path)
    write_manifest(path, state.manifest, usual_score_columns())


def _whole_entry(store: LabelStore, name: str, listed: dict[str, Any] | None) -> dict[str, Any]:
    """A shard's whole entry; an older one is completed once the file is what it says."""
    if listed is not None:
        if is_full(listed) and sums_in(listed) is not None:
            return listed
        _require_sum(store.path / name, listed)
    return describe_shard(store.path / name, store.shard_rows(name))


def _require_sum(file: Path, entry: dict[str, Any]) -> None:
    if sha256(file) != entry["sha256"]:
        raise ValueError(f"shard {file} is damaged: its checksum is not the manifest's; {REMEDY}")


def _groups(entries: list[dict[str, Any]], shard_rows: int) -> Iterator[list[dict[str, Any]]]:
    """Neighbours that are one shard together, two or more."""
    group: list[dict[str, Any]] = []
    for entry in entries:
        rows = sum(part["rows"] for part in group) + entry["rows"]
        size = sum(part["bytes"] for part in group) + entry["bytes"]
        if group and (rows > shard_rows or size > SHARD_BYTES):
            if len(group) > 1:
                yield group
            group = []
        group.append(entry)
    if len(group) > 1:
        yield group


def _merge(store: LabelStore, group, journal: JournalWriter, counts: dict[str, int]) -> None:
    import pyarrow as pa

    tables = []
    for entry in group:
        _require_sum(store.path / entry["name"], entry)
        tables.append(store.shard_table(entry["name"]))
    whole = pa.concat_tables(tables, promote_options="default")
    whole = whole.replace_schema_metadata(tables[0].schema.metadata)
    first, *others = (entry["name"] for entry in group)
    place = store.path / f"{MERGE}{uuid.uuid4().hex}"
    file = write_unnamed(place, whole)
    sync(store.path)
    keys, statuses = (whole[column].to_pylist() for column in ("key", "status"))
    entry = with_sums(describe(place, keys, statuses, first, file), whole)
    journal.append([{"shard": entry, "gone": others, "staged": place.name, "counts": counts}])
    os.replace(place, store.path / first)
    sync(store.path)
    for name in others:
        (store.path / name).unlink(missing_ok=True)
