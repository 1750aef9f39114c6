"""A shard's entry in the manifest: what must be known of it without opening it.

    name, rows, bytes, sha256     the file
    failed                        rows of status "failed"; the others are "ok"
    keys                          digest of its keys' hashes, in the order of the rows
    tail                          digest of its Parquet footer, so that one row can be read, and
                                  trusted by its pages' checksums, without hashing the whole file
    sums                          what the closing tables say of its rows: `dsnet.data.store.sums`

Older stores have the first four alone: such a shard is looked through when its store is opened.
Those without sums are summed up when somebody asks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dsnet import _C
from dsnet.data.store.places import Place, opened_binary, size_of
from dsnet.data.store.record import STATUSES

SHARD = re.compile(r"shard-\d{5,}\.parquet")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_BRIEF = re.compile(r"[0-9a-f]{32}")
_BLOCK = 1 << 20


def shard_name(number: int) -> str:
    """The name of a store's shard of a number, by which the reader sorts them."""
    return f"shard-{number:05d}.parquet"


def shard_number(name: str) -> int:
    """The number in a shard's name."""
    return int(name[6:-8])


def in_order(names: Iterable[str]) -> list[str]:
    """Names of shards by their numbers: as text, 100000 would come before 99999."""
    return sorted(names, key=shard_number)


def hash_keys(keys: Sequence[str]) -> np.ndarray:
    """A 64-bit hash of each key, uint64 [N]; the same on every machine."""
    return _C.key_hashes(list(keys))


def hash_key(key: str) -> int:
    """The hash of one key; of one that no store can hold, of what `storable_key` says for it."""
    try:
        return _C.key_hash(key)
    except UnicodeEncodeError:
        return _C.key_hash(key.encode("utf-8", "backslashreplace").decode("utf-8"))


def keys_digest(hashes: np.ndarray) -> str:
    """The digest of a shard's keys, in hexadecimal."""
    return hashlib.sha256(hashes.tobytes()).hexdigest()[:32]


def sha256(path: Place) -> str:
    """Checksum of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with opened_binary(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def tail_digest(path: Place) -> str:
    """The digest of a Parquet file's footer, in hexadecimal; of what is none, of its last bytes."""
    with opened_binary(path) as file:
        size = file.seek(0, 2)
        file.seek(max(size - 8, 0))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(size - 8 - length, 0))
        return hashlib.sha256(file.read()).hexdigest()[:32]


class Written(NamedTuple):
    """A shard's file as it was written: what `describe` would read it again for.

    Attributes
    ----------
    bytes : int
    sha256, tail : str
        As an entry has them.
    """

    bytes: int
    sha256: str
    tail: str


def written(data: memoryview) -> Written:
    """What is told of a Parquet file of these bytes."""
    length = int.from_bytes(data[-8:-4], "little")
    tail = hashlib.sha256(data[-8 - length :]).hexdigest()[:32]
    return Written(len(data), hashlib.sha256(data).hexdigest(), tail)


def describe(
    path: Place,
    keys: Sequence[Any],
    statuses: Sequence[Any],
    name: str | None = None,
    file: Written | None = None,
) -> dict[str, Any]:
    """The entry of a shard whose keys and statuses are known.

    Parameters
    ----------
    path : Path or RemoteFile
        Where the file is now.
    keys, statuses : sequences of N str
        Rows that are not sound (no key, one key twice, no status) leave the last three fields out.
    name : str, optional
        What it is called in the store; by default as it is now.
    file : Written, optional
        Of who wrote it just now; else it is read.
    """
    sound = all(isinstance(key, str) and key for key in keys) and len(set(keys)) == len(keys)
    if sound and all(status in STATUSES for status in statuses):
        failed = sum(status == "failed" for status in statuses)
        told = file or Written(size_of(path) or 0, sha256(path), tail_digest(path))
        return entry_of(name or path.name, told, hash_keys(keys), failed)
    return {
        "name": name or path.name,
        "rows": len(keys),
        "bytes": file.bytes if file else size_of(path),
        "sha256": file.sha256 if file else sha256(path),
    }


def entry_of(name: str, file: Written, hashes: np.ndarray, failed: int) -> dict[str, Any]:
    """The entry of a shard of sound rows.

    Parameters
    ----------
    name : str
    file : Written
    hashes : uint64 [N]
        `hash_keys` of its keys.
    failed : int
        Rows of that status.
    """
    return {
        "name": name,
        "rows": len(hashes),
        "bytes": file.bytes,
        "sha256": file.sha256,
        "failed": failed,
        "keys": keys_digest(hashes),
        "tail": file.tail,
    }


def is_full(entry: dict[str, Any] | None) -> bool:
    """Whether an entry tells all that opening a store asks."""
    return entry is not None and "failed" in entry


def is_entry(value: Any) -> bool:
    """Whether a value from a manifest is an entry, every field of it sound."""

    def count(number: Any) -> bool:
        return type(number) is int and number >= 0

    def text(name: str, form: re.Pattern) -> bool:
        return isinstance(value.get(name), str) and bool(form.fullmatch(value[name]))

    if not (
        isinstance(value, dict)
        and text("name", SHARD)
        and count(value.get("rows"))
        and count(value.get("bytes"))
        and text("sha256", _DIGEST)
        and isinstance(value.get("sums", ""), str)
    ):
        return False
    more = ("failed", "keys", "tail")
    if not any(name in value for name in more):
        return True
    return (
        count(value.get("failed"))
        and value["failed"] <= value["rows"]
        and text("keys", _BRIEF)
        and text("tail", _BRIEF)
    )
