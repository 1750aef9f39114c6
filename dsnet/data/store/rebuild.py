"""A manifest made anew from what is left of it and from the shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dsnet import __version__
from dsnet.data.store.manifest import (
    FORMAT,
    KEY,
    ORIGIN,
    DamagedManifest,
    faults,
    load_manifest,
    manifest_file,
    shard_files,
)
from dsnet.data.store.shards import checked_metadata, opened

# The creation time of a store that nothing tells.
UNKNOWN = "not known"
LOST = {
    "alpha_bits": "no label tells the bits of alpha, which are taken as 16",
    "settings": "the settings are lost, which the shards of older versions do not tell: no run"
    " resumes the store, and whoever trains on it must know how its crops were made",
    "created": "when the store was begun is not known",
}


def rebuilt_manifest(path: Path, damage: DamagedManifest) -> tuple[dict[str, Any], list[str]]:
    """A manifest for a store whose own is lost or damaged, and in words what of it is new.

    Fields that are sound stay. How the labels were made stands in the shards' footers; of older
    shards, which do not tell, the bits of alpha follow from its size. Where the list of the shards
    is lost it is empty here: those that are there are taken as they are. `counts` is None: whoever
    looks at the rows counts them.

    Raises
    ------
    ValueError
        When the shards do not agree, or none is a store's.
    OSError
        When the system cannot read one.
    """
    file = manifest_file(path)
    kept: dict[str, Any] = {}
    if file is not None:
        try:
            found = load_manifest(file)
            wrong = {name for name, _ in faults(found)}
            kept = {name: found[name] for name in found if name not in wrong}
        except DamagedManifest:
            pass
    told = [f"{damage}: made anew from the shards"]
    origin = {} if all(name in kept for name in ORIGIN) else _origin(path)
    for name in ORIGIN:
        if name not in kept and name not in origin:
            told.append(f"manifest of {path}: {LOST[name]}")
    if "shards" not in kept:
        told += _without_list(path)
    manifest = {
        "alpha_bits": 16, "settings": {}, "created": UNKNOWN, **origin,
        "dsnet_version": __version__, "shards": [], **kept, "format": FORMAT, "counts": None,
    }  # fmt: skip
    return manifest, told


def _origin(path: Path) -> dict[str, Any]:
    """What the shards tell of how they were made."""
    found: dict[str, tuple[Any, str]] = {}
    sound = False
    for name in shard_files(path):
        try:
            checked_metadata(path / name, None)
            told = _told(path / name)
        except ValueError:  # Damaged: the survey of the shards says so.
            continue
        sound = True
        for field, value in told.items():
            other, first = found.setdefault(field, (value, name))
            if other != value:
                raise ValueError(
                    f"{field} of {path} cannot be told: {first} has {other!r}, {name} {value!r}"
                )
    if not sound:
        raise ValueError(f"{path} has neither a sound manifest nor a sound shard")
    return {name: value for name, (value, _) in found.items()}


def _told(file: Path) -> dict[str, Any]:
    with opened(file) as shard:
        try:
            told = json.loads((shard.metadata.metadata or {})[KEY])
            unsound = {name for name, _ in faults(told)}
            return {name: told[name] for name in ORIGIN if name in told and name not in unsound}
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
            pass
        for group in range(shard.num_row_groups):
            columns = ["height", "width", "alpha"]
            for row in shard.read_row_group(group, columns=columns).to_pylist():
                pixels = (row["height"] or 0) * (row["width"] or 0)
                for bits in (8, 16):
                    if row["alpha"] and len(row["alpha"]) == pixels * bits // 8:
                        return {"alpha_bits": bits}
    return {}


def _without_list(path: Path) -> list[str]:
    names = shard_files(path)
    numbers = {int(name[6:-8]) for name in names}
    gaps = sorted(set(range(max(numbers, default=-1) + 1)) - numbers)
    told = [
        f"manifest of {path}: the checksums of {len(names)} shards are made anew; whether the last"
        " ones are missing is not known"
    ]
    if gaps:
        listed = ", ".join(f"shard-{number:05d}.parquet" for number in gaps[:8])
        told.append(
            f"manifest of {path}: there is no {listed}{', ...' * (len(gaps) > 8)}: rows that were"
            " there are lost"
        )
    return told
