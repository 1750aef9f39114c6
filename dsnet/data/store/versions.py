"""Mended labels: each a file of one row beside the decisions, laid out as the shards are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dsnet.data.store.decisions import MADE, REVIEW, Decision, is_version
from dsnet.data.store.entries import sha256
from dsnet.data.store.places import StorePath, local_copy, store_place
from dsnet.data.store.record import LabelRecord, decode, encode, schema, usual_score_columns
from dsnet.data.store.shards import opened, write_shard
from dsnet.data.store.verify import verify_row

# What a version keeps of its own; the rest is as the label was made.
_OWN = ("alpha", "binary", "trimap", "mark", "quality", "seconds", "notes")


def version_file(store: StorePath, version: str) -> Path:
    """Where a mended version lies.

    Raises
    ------
    ValueError
        When it names no mended version.
    """
    if not is_version(version) or version == MADE:
        raise ValueError(f"version must be 16 hexadecimal digits, got {version!r}")
    return local_copy(store_place(store), REVIEW) / REVIEW / f"version-{version}.parquet"


def write_version(store: StorePath, version: str, record: LabelRecord, alpha_bits: int) -> str:
    """Keep a mended label; the SHA-256 of its file, which the decision's row tells.

    Raises
    ------
    ValueError, OSError
        As `record.encode` and `files.write_atomically`.
    """
    import pyarrow as pa

    path = version_file(store, version)
    # What mending does not change is in the store.
    row = encode(replace(record, truth=None, readers=None, neighbours=None), alpha_bits)
    scores = [*usual_score_columns()]
    scores += [n for n in row if n.startswith(("quality_", "seconds_")) and n not in scores]
    write_shard(path, pa.Table.from_pylist([row], schema=schema(scores)))
    return sha256(path)


def read_version(
    store: StorePath, made: LabelRecord, row: Decision, alpha_bits: int
) -> LabelRecord:
    """A label as a reader mended it.

    What people had drawn, `truth`, is the mended mask then: it was drawn last.

    Parameters
    ----------
    store : path
    made : LabelRecord
        The label as it was made.
    row : Decision
        That tells of the version.
    alpha_bits : int
        The store's.

    Raises
    ------
    ValueError
        As `version_row`.
    """
    mended = decode(version_row(store, row, alpha_bits), alpha_bits)
    own = {name: getattr(mended, name) for name in _OWN}
    truth = None if made.truth is None else mended.binary
    return replace(made, status="ok", error="", truth=truth, **own)


def version_row(store: StorePath, row: Decision, alpha_bits: int) -> dict[str, Any]:
    """The column values of a mended label, as `record.encode` gave them.

    Raises
    ------
    ValueError
        When its file is missing, damaged, or of another label.
    """
    path = version_file(store, row.version)
    with opened(path) as file:
        rows = file.read().to_pylist()
    if sha256(path) != row.file_sum:
        raise ValueError(f"{path} is damaged: its checksum is not the decision's")
    if len(rows) != 1 or rows[0].get("key") != row.key:
        raise ValueError(f"{path} is damaged: it must have one row, of key {row.key!r}")
    verify_row(rows[0], alpha_bits)
    return rows[0]
