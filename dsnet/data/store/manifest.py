"""The store's manifest: what was asked for, what is there, and how it is told whole.

    STORE/_manifest.parquet     no rows, the shards' columns; its footer's `dsnet` is JSON
    STORE/_journal.parquet      what is new since: `dsnet.data.store.journal`
    STORE/manifest.json         the same JSON, as older versions wrote it

A Parquet file, so that whatever reads the folder as a data set finds nothing but Parquet there;
the underscore makes most tools pass over it, and to the others it has no rows. What the shards
cannot tell, `origin_of`, stands in every shard's footer, too: `dsnet.data.store.rebuild`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsnet.console import warn
from dsnet.data.remote import RemoteFile, Unreachable, is_file
from dsnet.data.store.entries import SHARD, in_order, is_entry, shard_number
from dsnet.data.store.journal import (
    JOURNAL,
    DamagedJournal,
    Journal,
    read_journal,
    remove_journal,
)
from dsnet.data.store.places import MOST_BYTES, Place, names, read_whole, whole_source
from dsnet.data.store.record import schema
from dsnet.files import write_bytes

FORMAT = 1
MANIFEST = "_manifest.parquet"
OLD_MANIFEST = "manifest.json"
COUNTS = ("rows", "ok", "failed")
ORIGIN = ("alpha_bits", "settings", "created")
# What the store was finished for: all rows of it are there. Whatever changes rows forgets it.
FINISHED = "finished"
# What its rows agree with: those of a run that is asked for the same need not be compared again.
ASKED = "asked"
KEY = b"dsnet"  # in the footer of the manifest and of every shard
# In the manifest's footer, `digest_of` its text; older ones have none.
_SUM = b"dsnet.sum"
MERGE = ".merge-"  # how the name of a merged shard begins that is not the store's yet
_MERGED = re.compile(re.escape(MERGE) + "[0-9a-f]+")
# Tries to read a manifest and its journal while a writer replaces both.
_TRIES = 100
# Of a footer, which is as long as the list of the shards.
_THRIFT_BYTES = 2**31 - 1


class DamagedManifest(ValueError):
    """A store whose manifest is lost or damaged; `check.repair_store` makes it anew."""


@dataclass
class State:
    """A store's manifest and its journal together.

    Attributes
    ----------
    manifest : dict
        With what the journal adds.
    base : str
        Digest of the manifest's own text, as a journal names it.
    moved : dict of str to str
        Shards whose file still has another name: what a killed compaction left to be renamed.
    gone : set of str
        Shards that it left to be removed: their rows are in others.
    journalled : bool
        Whether the journal says anything.
    """

    manifest: dict[str, Any]
    base: str
    moved: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    journalled: bool = False


def read_manifest(path: Place) -> dict[str, Any]:
    """A store's manifest with its journal, every field of it checked.

    Raises
    ------
    FileNotFoundError
        When there is no store.
    ValueError
        When it is of another format, or the folder holds something else; `DamagedManifest` when
        it or its journal is lost or damaged.
    """
    return read_state(path).manifest


def read_state(path: Place) -> State:
    """A store's manifest with its journal; raises as `read_manifest`."""
    if isinstance(path, Path) and path.is_file():
        raise ValueError(f"path must be a folder, {path} is a file")
    for _ in range(_TRIES):
        if isinstance(path, RemoteFile):
            path.forget()
        file = manifest_file(path)
        if file is None:
            if shard_files(path):
                raise DamagedManifest(f"manifest {path / MANIFEST} is missing")
            if names(path):
                raise ValueError(f"{path} is not a label store: it has no {MANIFEST}")
            raise FileNotFoundError(f"no label store at {path}")
        text = _text_of(file)
        try:
            journal = read_journal(path)
        except DamagedJournal as error:
            raise DamagedManifest(str(error)) from error
        if _text_of(file) == text:  # No writer has put another in its place meanwhile.
            break
    manifest = _loaded(file, text)
    for name, wrong in faults(manifest):
        raise DamagedManifest(f"manifest {file} is damaged: {name} must be {wrong}")
    manifest["shards"].sort(key=lambda shard: shard_number(shard["name"]))
    state = State(manifest, digest_of(text))
    if journal is not None and journal.base == state.base:
        _take_in(path, state, journal)
    return state


def _take_in(path: Place, state: State, journal: Journal) -> None:
    entries = {entry["name"]: entry for entry in state.manifest["shards"]}
    counts = state.manifest["counts"]
    for number, line in enumerate(journal.lines, 2):
        gone = line.get("gone", [])
        new = line.get("shard")
        if not (
            (new is None or is_entry(new))
            and isinstance(gone, list)
            and all(isinstance(name, str) and SHARD.fullmatch(name) for name in gone)
            # A name out of the folder would have any file moved into the store.
            and _MERGED.fullmatch(str(line.get("staged", MERGE + "0")))
            and _are_counts(line.get("counts"))
        ):
            raise DamagedManifest(f"journal {path / JOURNAL} is damaged: line {number} is none")
        counts = line["counts"]
        for name in gone:
            entries.pop(name, None)
        if new is not None:
            entries[new["name"]] = new
        if new is not None and "staged" in line:
            state.moved[new["name"]] = line["staged"]
            state.gone.update(gone)
    state.manifest["counts"] = counts
    state.manifest["shards"] = [entries[name] for name in in_order(entries)]
    state.journalled = bool(journal.lines)
    if journal.torn:
        warn(
            f"{path / JOURNAL}: its last line was cut short, by a crash or a full disk; the shard"
            " that it told of is whole, and is found in the folder"
        )


def listed_alone(path: Place, found: list[str], listed: dict[str, Any]) -> list[str]:
    """Of the shards at an address those that its manifest lists, with a warning of others."""
    kept = [name for name in found if name in listed]
    if count := len(found) - len(kept):
        more = f"{count} more shard{'s are' if count > 1 else ' is'}"
        warn(
            f"{path}: {more} there that the manifest does not list: a run is writing, or was killed"
            " and takes them up when it goes on"
        )
    return kept


def digest_of(text: str) -> str:
    """What a journal calls the manifest of this text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


def write_manifest(path: Path, manifest: dict[str, Any], score_columns: list[str]) -> str:
    """Put a manifest in the place of the store's and its journal, with `record.schema`'s columns.

    Returns
    -------
    str
        Its digest, for a journal that goes on from it.
    """
    text, data = manifest_bytes(manifest, score_columns)
    write_bytes(path / MANIFEST, data)
    (path / OLD_MANIFEST).unlink(missing_ok=True)
    remove_journal(path)
    return digest_of(text)


def manifest_bytes(manifest: dict[str, Any], score_columns: list[str]) -> tuple[str, bytes]:
    """A manifest's text, and the file that holds it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = json.dumps(manifest, indent=1)
    told = {KEY: text.encode("utf-8"), _SUM: digest_of(text).encode("ascii")}
    made = pa.BufferOutputStream()
    # Not even a group of no rows.
    pq.ParquetWriter(made, schema(score_columns).with_metadata(told)).close()
    return text, made.getvalue().to_pybytes()


def manifest_file(path: Place) -> Place | None:
    """The file that holds a store's manifest; None where the folder has none."""
    return next((p for n in (MANIFEST, OLD_MANIFEST) if is_file(p := path / n)), None)


def shard_files(path: Place) -> list[str]:
    """Names of the shards in a folder, in order."""
    return in_order(name for name in names(path) if SHARD.fullmatch(name))


def load_manifest(file: Place) -> dict[str, Any]:
    """A manifest without its journal, whose fields need not be sound; of another format it is a
    ValueError."""
    return _loaded(file, _text_of(file))


def _loaded(file: Place, text: str) -> dict[str, Any]:
    try:
        manifest = json.loads(text)
        if not isinstance(manifest, dict):
            raise ValueError(f"it must be a JSON object, got {type(manifest).__name__}")
    except (ValueError, RecursionError) as error:
        raise DamagedManifest(f"manifest {file} is damaged: {error}") from error
    found = manifest.get("format")
    if type(found) is int and found != FORMAT:
        raise ValueError(f"manifest {file} must be of format {FORMAT}, got {found!r}")
    return manifest


def origin_of(manifest: dict[str, Any]) -> bytes:
    """What of a manifest stands in its shards' footers: how the labels were made, and when."""
    told = {name: manifest[name] for name in ("format", *ORIGIN)}
    return json.dumps(told, indent=1).encode("utf-8")


def _text_of(file: Place) -> str:
    try:
        return _text(file)
    except Unreachable:
        raise
    except ValueError as error:
        raise DamagedManifest(f"manifest {file} is damaged: {error}") from error


def _text(file: Place) -> str:
    if file.name == OLD_MANIFEST:
        return (read_whole(file) or b"").decode("utf-8")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # At an address a writer may put another one in its place between two ranges.
        with whole_source(file, MOST_BYTES) as source:
            limit = _THRIFT_BYTES
            parquet = pq.ParquetFile(
                source, thrift_string_size_limit=limit, thrift_container_size_limit=limit
            )
            metadata = parquet.metadata.metadata or {}
    except (OSError, pa.ArrowException) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise ValueError(str(error)) from error
    if KEY not in metadata:
        raise ValueError("it has no text of dsnet's")
    text = metadata[KEY].decode("utf-8")
    if metadata.get(_SUM, digest_of(text).encode("ascii")) != digest_of(text).encode("ascii"):
        raise ValueError("its text is not what was written")
    return text


def faults(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, what it must be) of each field that is not."""
    if manifest.get("format") != FORMAT or type(manifest["format"]) is not int:
        yield "format", f"{FORMAT}, got {manifest.get('format')!r}"
    if manifest.get("alpha_bits") not in (8, 16) or type(manifest["alpha_bits"]) is not int:
        yield "alpha_bits", f"8 or 16, got {manifest.get('alpha_bits')!r}"
    if not isinstance(manifest.get("settings"), dict):
        yield "settings", f"a JSON object, got {manifest.get('settings')!r}"
    if not isinstance(manifest.get("created"), str):
        yield "created", f"a text, got {manifest.get('created')!r}"
    if not _are_counts(manifest.get("counts")):
        yield "counts", f"whole numbers of {', '.join(COUNTS)}, got {manifest.get('counts')!r}"
    shards = manifest.get("shards")
    if not isinstance(shards, list):
        yield "shards", f"a list, got {shards!r}"
        return
    for shard in shards:
        if not is_entry(shard):
            yield "shards", f"name, rows, bytes and sha256 of each, got {shard!r}"
            return
    names = [shard["name"] for shard in shards]
    if len(set(names)) < len(names):
        yield "shards", f"each there once, got {names!r}"


def _are_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(
        type(value.get(name)) is int and value[name] >= 0 for name in COUNTS
    )
