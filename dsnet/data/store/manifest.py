"""The store's manifest: what was asked for, what is there, and how it is told whole.

    STORE/_manifest.parquet     no rows, the shards' columns; its footer's `dsnet` is JSON
    STORE/manifest.json         the same JSON, as older versions wrote it

A Parquet file, so that whatever reads the folder as a data set finds nothing but Parquet there;
the underscore makes most tools pass over it, and to the others it has no rows. What the shards
cannot tell, `origin_of`, stands in every shard's footer, too: `dsnet.data.store.rebuild`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dsnet.data.store.record import schema
from dsnet.files import write_atomically

FORMAT = 1
MANIFEST = "_manifest.parquet"
OLD_MANIFEST = "manifest.json"
SHARD = re.compile(r"shard-\d{5,}\.parquet")
COUNTS = ("rows", "ok", "failed")
ORIGIN = ("alpha_bits", "settings", "created")
KEY = b"dsnet"  # in the footer of the manifest and of every shard


class DamagedManifest(ValueError):
    """A store whose manifest is lost or damaged; `check.repair_store` makes it anew."""


def read_manifest(path: Path) -> dict[str, Any]:
    """A store's manifest, every field of it checked.

    Raises
    ------
    FileNotFoundError
        When there is no store.
    ValueError
        When it is of another format, or the folder holds something else; `DamagedManifest` when
        it is lost or damaged.
    """
    path = Path(path)
    if path.is_file():
        raise ValueError(f"path must be a folder, {path} is a file")
    file = manifest_file(path)
    if file is None:
        if path.is_dir() and shard_files(path):
            raise DamagedManifest(f"manifest {path / MANIFEST} is missing")
        if path.is_dir() and os.listdir(path):
            raise ValueError(f"{path} is not a label store: it has no {MANIFEST}")
        raise FileNotFoundError(f"no label store at {path}")
    manifest = load_manifest(file)
    for name, wrong in faults(manifest):
        raise DamagedManifest(f"manifest {file} is damaged: {name} must be {wrong}")
    return manifest


def write_manifest(path: Path, manifest: dict[str, Any], score_columns: list[str]) -> None:
    """Put a manifest in the place of the store's; its columns are `record.schema`'s."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = json.dumps(manifest, indent=1).encode("utf-8")
    columns = schema(score_columns).with_metadata({KEY: text})

    def write(temporary: Path) -> None:
        with pa.OSFile(os.fsencode(temporary), "wb") as file:
            pq.write_table(columns.empty_table(), file)

    write_atomically(path / MANIFEST, write)
    (path / OLD_MANIFEST).unlink(missing_ok=True)


def manifest_file(path: Path) -> Path | None:
    """The file that holds a store's manifest; None where the folder has none."""
    return next((p for n in (MANIFEST, OLD_MANIFEST) if (p := Path(path, n)).is_file()), None)


def shard_files(path: Path) -> list[str]:
    """Names of the shards in a folder, in order."""
    return sorted(name for name in os.listdir(path) if SHARD.fullmatch(name))


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_manifest(file: Path) -> dict[str, Any]:
    """A manifest whose fields need not be sound; of another format it is a ValueError."""
    try:
        manifest = json.loads(_text(file))
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


def _text(file: Path) -> str:
    if file.name == OLD_MANIFEST:
        return file.read_bytes().decode("utf-8")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pa.OSFile(os.fsencode(file)) as source:
            metadata = pq.read_metadata(source).metadata or {}
    except OSError as error:
        if error.errno is not None:
            raise
        raise ValueError(str(error)) from error
    if KEY not in metadata:
        raise ValueError("it has no text of dsnet's")
    return metadata[KEY].decode("utf-8")


def faults(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, what it must be) of each field that is not."""

    def count(value: Any) -> bool:
        return type(value) is int and value >= 0

    if manifest.get("format") != FORMAT or type(manifest["format"]) is not int:
        yield "format", f"{FORMAT}, got {manifest.get('format')!r}"
    if manifest.get("alpha_bits") not in (8, 16) or type(manifest["alpha_bits"]) is not int:
        yield "alpha_bits", f"8 or 16, got {manifest.get('alpha_bits')!r}"
    if not isinstance(manifest.get("settings"), dict):
        yield "settings", f"a JSON object, got {manifest.get('settings')!r}"
    if not isinstance(manifest.get("created"), str):
        yield "created", f"a text, got {manifest.get('created')!r}"
    counts = manifest.get("counts")
    if not isinstance(counts, dict) or not all(count(counts.get(name)) for name in COUNTS):
        yield "counts", f"whole numbers of {', '.join(COUNTS)}, got {counts!r}"
    shards = manifest.get("shards")
    if not isinstance(shards, list):
        yield "shards", f"a list, got {shards!r}"
        return
    for shard in shards:
        if not (
            isinstance(shard, dict)
            and isinstance(shard.get("name"), str)
            and SHARD.fullmatch(shard["name"])
            and count(shard.get("rows"))
            and count(shard.get("bytes"))
            and isinstance(shard.get("sha256"), str)
            and re.fullmatch(r"[0-9a-f]{64}", shard["sha256"])
        ):
            yield "shards", f"name, rows, bytes and sha256 of each, got {shard!r}"
            return
    names = [shard["name"] for shard in shards]
    if len(set(names)) < len(names):
        yield "shards", f"each there once, got {names!r}"
