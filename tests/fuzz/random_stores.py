"""Stores with every kind of file that a store may have, and damage to them."""

import contextlib
import hashlib
import json
import os
import re
from copy import deepcopy
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from dsnet.data.store import (
    LabelRecord,
    StoreWriter,
    account,
    compact,
    compact_store,
    keys,
    open_store,
)
from dsnet.data.store import writer as writer_module
from dsnet.data.store.decisions import MADE, VERDICTS, Decision, DecisionLog, new_id
from dsnet.data.store.journal import JOURNAL
from dsnet.data.store.key_runs import run_files
from dsnet.data.store.manifest import read_state
from dsnet.data.store.versions import write_version

ROWS = 4
# A sum and JSON, as in a journal or a file of keys; or a sum within, as of a decision.
LINES = re.compile(rb"([0-9a-f]{16,32}) (\{[^\n]*\})" rb'|\{"sum": "([0-9a-f]{16})", ([^\n]*)')
SETTINGS = {"crop": 64, "hu_window": [-1024.0, 1050.0]}
ODD = [
    None, True, False, 0, -1, 1, 7, 10**30, -0.0, 0.5, float("nan"), float("inf"), 1e308, "", "x",
    "ok", "failed", "16", "\ud800", "a\x00b", "[/]", "=1", "../../outside", [], {}, [None], [[]],
    {"": None}, "0" * 64, [1, 2], {"rows": -1},
]  # fmt: skip


def record(number, rng):
    """A label with each of what a row may have; one in five failed."""
    if rng.random() < 0.2:
        return LabelRecord.from_error(f"k{number}", "s.png", "truncated PNG")
    shape = tuple(rng.integers(1, 6, 2))
    alpha = rng.random(shape, dtype=np.float32)
    return LabelRecord(
        key=f"k{number}",
        image=rng.random(shape, dtype=np.float32),
        alpha=alpha,
        binary=alpha >= 0.5,
        truth=alpha > 0.4 if rng.random() < 0.5 else None,
        readers=np.rint(4 * alpha) / np.float32(4) if rng.random() < 0.5 else None,
        trimap=rng.choice(np.array([0, 128, 255], np.uint8), shape),
        mark=rng.random(8),
        spacing=(0.7, 0.8),
        quality={"overall": float(rng.random())},
        notes=("odd",),
        metadata={"patient": 1},
    )


def pick(rng, values):
    """One of several values."""
    return values[rng.integers(len(values))]


def damage(rng, file):
    """Damage a file in its place."""
    file.write_bytes(damaged(rng, file.read_bytes()))


def damaged(rng, data):
    """A file's bytes written over, cut, torn, or put together from two halves."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at = int(rng.integers(len(data) or 1))
        count = int(pick(rng, [1, 2, 8, 100, 512]))
        change = rng.integers(7)
        if change == 0 and data:
            data[at] ^= 1 << rng.integers(8)
        elif change == 1:
            data[at : at + count] = rng.bytes(count)
        elif change == 2:
            del data[at : at + count]
        elif change == 3:
            data[at:at] = rng.bytes(count)
        elif change == 4:
            del data[at:]
        elif change == 5:  # A block that never reached the disk.
            data[at : at + count] = bytes(len(data[at : at + count]))
        else:
            other = int(rng.integers(len(data) or 1))
            data[at : at + count] = data[other : other + count]
    return bytes(data)


def damage_in_words(rng, file):
    """Put something else in the place of a part of a line of JSON, and make its sum right."""
    data = file.read_bytes()
    lines = list(LINES.finditer(data))
    line = pick(rng, lines)
    inside = line.group(3) is not None
    told = json.loads(b"{" + line.group(4) if inside else line.group(2))
    for _ in range(rng.integers(1, 3)):
        holder = told
        while rng.random() < 0.6 and isinstance(holder, dict | list) and holder:
            names = sorted(holder) if isinstance(holder, dict) else list(range(len(holder)))
            name = pick(rng, names)
            if not isinstance(holder[name], dict | list) or not holder[name]:
                break
            holder = holder[name]
        names = sorted(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if isinstance(holder, dict) and rng.random() < 0.2:
            del holder[pick(rng, names)]
        else:
            holder[pick(rng, names)] = deepcopy(pick(rng, ODD))
        if not told:
            break
    text = json.dumps(told).encode("ascii")
    if rng.random() < 0.1:
        text = pick(rng, [b"", b"{", b"[" * 5000, b"9" * 5000, b"null", b"\xff", b"[]"])
    digits = len(line.group(3) or line.group(1))
    if inside:
        new = b'{"sum": "%s", %s' % (hashlib.sha256(text).hexdigest()[:digits].encode(), text[1:])
    else:
        new = hashlib.sha256(text).hexdigest()[:digits].encode() + b" " + text
    file.write_bytes(data[: line.start()] + new + data[line.end() :])


def journalled(path):
    """A store whose writer was killed: journal, files of keys, a staged shard, a temporary file."""
    rng = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(account, "FEW_SHARDS", 2)
        patch.setattr(keys, "LEAST_RUN", 3)
        writer = StoreWriter(path, SETTINGS, shard_rows=1, shard_seconds=1e9)
        for number in range(ROWS):
            writer.append(record(number, rng))
    writer._home.release()  # As the system does of a killed process.
    assert (path / JOURNAL).exists() and run_files(path)
    (path / ".staged-0123").write_bytes(b"PAR1")


def merging(path, *, named):
    """A store whose compaction was killed, before or after the merged shard got its name."""
    journalled(path)
    StoreWriter(path, SETTINGS, resume=True).close()

    def killed(*_, **__):
        raise KeyboardInterrupt

    unlink = Path.unlink

    def killed_at_shards(file, **options):
        killed() if file.name.startswith("shard-") else unlink(file, **options)

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        if named:
            patch.setattr(Path, "unlink", killed_at_shards)
        else:
            patch.setattr(compact, "os", SimpleNamespace(replace=killed, listdir=os.listdir))
        compact_store(path, 3)
    assert read_state(path).moved
    if named:
        (path / "shard-00001.parquet").unlink()


def reviewed(path):
    """A store with the verdicts of two readers, and mended labels."""
    rng = np.random.default_rng(0)
    with (
        pytest.MonkeyPatch.context() as patch,
        StoreWriter(path, SETTINGS, shard_rows=3, shard_seconds=1e9) as writer,
    ):
        patch.setattr(writer_module, "FEW", 1)
        for number in range(ROWS):
            writer.append(record(number, rng))
    store = open_store(path)
    labels = [found for found in store.records("ok")]
    for reader in ("Ann", "Bo"):
        log = DecisionLog(path)
        for found in labels[:2]:
            version = MADE
            if rng.random() < 0.5:
                version = new_id()
                found.alpha = np.zeros_like(found.alpha)
                found.binary = found.alpha >= 0.5
                told = write_version(path, version, found, 16)
                log.append(
                    Decision(
                        new_id(), "mend", found.key, reader, log.time(), version=version,
                        mended_by="brush", base=MADE, file_sum=told,
                    )
                )  # fmt: skip
            log.append(
                Decision(
                    new_id(), "verdict", found.key, reader, log.time(), version=version,
                    verdict=pick(rng, VERDICTS), seconds=1.5,
                )
            )  # fmt: skip


@pytest.fixture
def one_thread(monkeypatch):
    """Files of some kilobytes are read without waiting for pyarrow's threads."""
    for name in ("read", "read_row_group"):
        read = partialmethod(getattr(pq.ParquetFile, name), use_threads=False)
        monkeypatch.setattr(pq.ParquetFile, name, read)


STATES = {
    "journal": journalled,
    "merging": lambda path: merging(path, named=False),
    "merged": lambda path: merging(path, named=True),
    "reviewed": reviewed,
}


def files_of(path: Path) -> list[Path]:
    """Every file of a store."""
    return sorted(file for file in path.rglob("*") if file.is_file())
