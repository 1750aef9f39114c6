"""What is wrong with a store, and a store without what is."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from dsnet.data.store.bulk_verify import are_sound, batches
from dsnet.data.store.compact import roll_forward
from dsnet.data.store.entries import describe, hash_keys, in_order, is_full, sha256
from dsnet.data.store.keys import KeyIndex
from dsnet.data.store.lock import StoreLock
from dsnet.data.store.manifest import (
    FINISHED,
    DamagedManifest,
    State,
    manifest_file,
    read_manifest,
    read_state,
    shard_files,
    write_manifest,
)
from dsnet.data.store.places import Place, StorePath, folder_of, size_of, store_place
from dsnet.data.store.rebuild import rebuilt_manifest
from dsnet.data.store.record import usual_score_columns
from dsnet.data.store.review_check import repair_review, review_faults
from dsnet.data.store.review_lock import review_lock
from dsnet.data.store.shards import checked_metadata, describe_shard, opened, write_shard
from dsnet.data.store.sums import COLUMNS, SUMS, are_sums
from dsnet.data.store.verify import verify_row
from dsnet.files import sync


def validate_store(path: StorePath) -> list[str]:
    """Read a whole store and say what is wrong with it; empty when it is sound.

    Checks every shard's checksum, every row's columns, `binary` against `alpha`, that keys are
    unique, the manifest's counts, and what readers decided and mended. Unlike `open_store` it does
    not raise on damage.
    """
    place = store_place(path)
    try:
        state = read_state(place)
    except (ValueError, OSError) as error:
        return [str(error)]
    problems = _Survey(place, state.manifest, state).problems
    try:
        return problems + review_faults(place, state.manifest["alpha_bits"])
    except OSError as error:
        return [*problems, str(error)]


def repair_store(path: str | os.PathLike) -> list[str]:
    """Take out of a store what is damaged, and say what was lost; empty when nothing was.

    A shard that is missing, cannot be read or has another checksum than the manifest says goes as
    a whole, of others the rows that are not sound or whose key came before. Shards that are taken
    out or change are kept in the folder `NAME-damaged` beside the store. Rows that were lost are
    labelled anew by a run that resumes the store. A manifest that is lost or damaged is made anew
    from the shards (`dsnet.data.store.rebuild`); what was left of it is kept there, too.

    Raises
    ------
    FileNotFoundError, ValueError
        When there is no store, it is of a later format, or no manifest can be made: no shard is
        sound, or the shards are of several stores.
    RuntimeError
        When another process writes to the store, or a server takes decisions about its labels.
    OSError
        When the system cannot read a shard: nothing is taken out then.
    """
    path = folder_of(path, "be repaired")
    _manifest_of(path)  # so that no foreign folder gets a lock file
    lock = StoreLock(path)
    try:
        decisions = review_lock(path, "stop that server, then repair")
    except BaseException:
        lock.release()
        raise
    try:
        roll_forward(path)
        manifest, told = _manifest_of(path)
        survey = _Survey(path, manifest)
        if survey.unreadable is not None:
            raise survey.unreadable
        if told and (file := manifest_file(path)):
            _put_aside(path / file.name, _aside(path), move=False)
        if told or survey.problems:
            _rewrite(path, manifest, survey)
        told += [
            text + (f" ({rows} row{'s' * (rows > 1)} lost)" if rows else "")
            for text, rows in survey.found
        ]
        return told + repair_review(
            path, manifest["alpha_bits"], partial(_put_aside, aside=_aside(path))
        )
    finally:
        decisions.release()
        lock.release()


def _manifest_of(path: Path) -> tuple[dict[str, Any], list[str]]:
    """A store's manifest; where it had to be made anew, in words what that cost."""
    try:
        return read_manifest(path), []
    except DamagedManifest as damage:
        return rebuilt_manifest(path, damage)


class _Survey:
    """Every shard read: its problems in words, and the rows of it that stay."""

    def __init__(self, path: Place, manifest: dict[str, Any], state: State | None = None) -> None:
        self.path, self.alpha_bits = path, manifest["alpha_bits"]
        self.found: list[tuple[str, int]] = []  # problem, rows that it costs
        self.kept: dict[str, list[int]] = {}  # shard -> rows
        self.rows: dict[str, int] = {}
        self.counts: dict[str, Counter[str]] = {}
        self.unreadable: OSError | None = None
        self._moved = state.moved if state else {}
        self._seen = KeyIndex(path, {}, self._kept_keys)
        self._listed = {shard["name"]: shard for shard in manifest["shards"]}
        there = set(shard_files(path)) - (state.gone if state else set())
        for name in in_order(self._listed.keys() | there):
            try:
                self._look(name)
            except ValueError as error:
                self.found.append((str(error), self._listed.get(name, {}).get("rows", 0)))
            except OSError as error:
                self.unreadable = error
                self.found.append((str(error), 0))
        whole = all(len(self.kept.get(name, ())) == self.rows.get(name) for name in self._listed)
        told, found = manifest["counts"], Counter(rows=0, ok=0, failed=0)
        for name in self._listed:
            found.update(self.counts.get(name, {}))
        found["rows"] = found["ok"] + found["failed"]
        # Of a store that lost rows the counts are wrong for that reason.
        if whole and told is not None and any(told[name] != found[name] for name in found):
            said = {name: told[name] for name in found}
            self.found.append(
                (
                    f"manifest of {path} must count the rows of its shards, {dict(found)}, got"
                    f" {said}",
                    0,
                )
            )

    @property
    def problems(self) -> list[str]:
        return [text for text, _ in self.found]

    def _look(self, name: str) -> None:
        file, listed = self._file(name), self._listed.get(name)
        if listed and size_of(file) is not None and sha256(file) != listed["sha256"]:
            raise ValueError(f"shard {file} is damaged: its checksum is not the manifest's")
        checked_metadata(file, listed)
        sound: dict[int, tuple[str, str]] = {}
        found: list[tuple[str, int]] = []
        number = 0
        with opened(file) as shard:
            for groups in batches(shard.metadata):
                table = shard.read_row_groups(groups, use_threads=False)
                if are_sound(table, self.alpha_bits):
                    told = (table[name].to_pylist() for name in ("key", "status"))
                    sound.update(enumerate(zip(*told, strict=True), number))
                    number += len(table)
                    continue
                for row in table.to_pylist():
                    try:
                        verify_row(row, self.alpha_bits)
                        sound[number] = row["key"], row["status"]
                    except ValueError as error:
                        found.append((f"row {row['key']!r} of {file}: {error}", 1))
                    number += 1
        keys = [key for key, _ in sound.values()]
        hashes = hash_keys(keys)
        seen, places, kept = self._seen.known(keys, hashes), [], []
        for place, (row, (key, _)) in enumerate(sound.items()):
            if key in seen:
                found.append((f"row {key!r} of {file}: its key is there already", 1))
                continue
            seen.add(key)
            kept.append(row)
            places.append(place)
        self.kept[name], self.rows[name] = kept, number
        self.counts[name] = Counter(sound[row][1] for row in kept)
        self._seen.add(name, hashes[places])
        self._seen.condense()
        self.found += found
        if listed and is_full(listed) and len(kept) == number:
            told = describe(file, keys, [status for _, status in sound.values()], name)
            wrong = [n for n in ("failed", "keys", "tail") if told[n] != listed[n]]
            if SUMS in listed:
                with opened(file) as shard:
                    wrong += [] if are_sums(listed, shard.read(columns=COLUMNS)) else [SUMS]
            if wrong:
                text = f"manifest of {self.path}: {', '.join(wrong)} of {name} must be the shard's"
                self.found.append((text, 0))

    def _file(self, name: str) -> Place:
        moved = self.path / self._moved.get(name, name)
        return moved if size_of(moved) is not None else self.path / name

    def _kept_keys(self, name: str) -> list[str]:
        with opened(self._file(name)) as shard:
            keys = shard.read(columns=["key"])["key"].to_pylist()
        return [keys[row] for row in self.kept[name]]


def _rewrite(path: Path, manifest: dict[str, Any], survey: _Survey) -> None:
    import pyarrow as pa

    aside = _aside(path)
    shards, counts = [], Counter(ok=0, failed=0)
    for name in in_order({s["name"] for s in manifest["shards"]} | set(shard_files(path))):
        file, kept = path / name, survey.kept.get(name, [])
        if not kept or len(kept) < survey.rows[name]:
            _put_aside(file, aside, move=not kept)
        if not kept:
            continue
        if len(kept) < survey.rows[name]:
            with opened(file) as shard:
                table = shard.read()
            write_shard(file, table.take(pa.array(kept, pa.int64())))
        shards.append(describe_shard(file, len(kept)))
        counts.update(survey.counts[name])
    sync(path)
    manifest = {**manifest, "shards": shards, "counts": {"rows": counts.total(), **counts}}
    manifest.pop(FINISHED, None)
    write_manifest(path, manifest, usual_score_columns())


def _aside(path: Path) -> Path:
    resolved = path.resolve()
    return resolved.with_name(f"{resolved.name}-damaged")


def _put_aside(file: Path, aside: Path, *, move: bool) -> None:
    if not os.path.lexists(file):
        return
    aside.mkdir(exist_ok=True)
    number, place = 0, aside / file.name
    while place.exists():
        number += 1
        place = aside / f"{file.stem}-{number}{file.suffix}"
    (shutil.move if move else shutil.copy2)(file, place)
