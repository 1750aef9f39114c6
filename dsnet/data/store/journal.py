"""What a writer did since the manifest was written, a line a shard, appended and synced.

A manifest of thousands of shards is not written anew at each one: `_journal.parquet` beside it
holds what is new, until it has grown to a share of the manifest, which then takes it in.

    PAR1 LINE FOOTER LINE FOOTER ...      ends with a footer, so that it is a Parquet file

A line is 16 hexadecimal digits of the SHA-256 of its JSON, a space, and the JSON. The first says
which manifest the journal goes on from, by the digest of its text, and the footers' length: one of
another manifest is left over from a crash between writing that and removing this, and all that it
says is in the manifest. A last line that a crash or a full disk cut short is none: its shard is
whole, and is found in the folder.

An address takes no appends: there the journal is put whole at each shard, and is kept short.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from dsnet.data.remote import Unreachable
from dsnet.data.store.carrier import MAGIC, footer
from dsnet.data.store.places import Place, read_whole
from dsnet.files import sync, telling, write_bytes

JOURNAL = "_journal.parquet"
_DIGITS = 16


class Journal(NamedTuple):
    """What a journal says.

    Attributes
    ----------
    base : str
        Digest of the manifest that it goes on from.
    lines : list of dict
    torn : bool
        Whether its last line was cut short.
    """

    base: str
    lines: list[dict[str, Any]]
    torn: bool


class DamagedJournal(ValueError):
    """A line that is not the last is not what was written."""


def read_journal(folder: Place) -> Journal | None:
    """A store's journal; None where there is none.

    Raises
    ------
    DamagedJournal
        When a line before the last is not sound.
    """
    try:
        data = read_whole(folder / JOURNAL)
    except Unreachable:
        raise
    except ValueError as error:
        raise DamagedJournal(str(error)) from None
    if data is None:
        return None
    first, at = _line(data, len(MAGIC))
    length = first.get("footer") if first else None
    if first is None or type(length) is not int or length < 0 or not _text(first.get("base")):
        raise DamagedJournal(f"journal {folder / JOURNAL} is damaged: it has no first line")
    lines: list[dict[str, Any]] = []
    while (at := at + length) < len(data):
        line, after = _line(data, at)
        if line is None:
            # Only the end may be missing: a line that is there and wrong was changed.
            if data.find(b"\n", at) >= 0:
                raise DamagedJournal(
                    f"journal {folder / JOURNAL} is damaged: line {len(lines) + 2} is not what was"
                    " written"
                )
            return Journal(first["base"], lines, torn=True)
        lines.append(line)
        at = after
    return Journal(first["base"], lines, torn=at > len(data))


class JournalWriter:
    """Appends to a store's journal, whose lock is held.

    Parameters
    ----------
    folder : Path
    base : str
        Digest of the manifest that it goes on from.
    """

    def __init__(self, folder: Path, base: str) -> None:
        self._path = folder / JOURNAL
        write_bytes(self._path, _begun(base))
        self._descriptor: int | None = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self.lines = 0

    def append(self, lines: list[dict[str, Any]]) -> None:
        """Add lines; they are on disk when it returns.

        Raises
        ------
        OSError
            When they cannot be written; the journal is then cut back to what it was.
        """
        if self._descriptor is None:
            raise ValueError(f"the journal {self._path} is closed")
        data = b"".join(_told(line) + footer() for line in lines)
        size = os.fstat(self._descriptor).st_size
        try:
            with telling(self._path):
                while data:
                    data = data[os.write(self._descriptor, data) :]
        except BaseException:
            os.ftruncate(self._descriptor, size)
            raise
        sync(self._path)
        self.lines += len(lines)

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class SentJournal:
    """A journal at an address, as `JournalWriter`; there once it has a line.

    Parameters
    ----------
    send : callable
        Puts the bytes that it is given in the journal's place.
    base : str
        Digest of the manifest that it goes on from.
    """

    def __init__(self, send: Callable[[bytes], object], base: str) -> None:
        self._send, self._data = send, _begun(base)
        self.lines = 0

    def append(self, lines: list[dict[str, Any]]) -> None:
        """Add lines; they are there when it returns. Raises what `send` does."""
        data = self._data + b"".join(_told(line) + footer() for line in lines)
        self._send(data)
        self._data = data
        self.lines += len(lines)

    def close(self) -> None:
        """Nothing is open."""


def remove_journal(folder: Path) -> None:
    """Remove a journal that its manifest has taken in."""
    Path(folder, JOURNAL).unlink(missing_ok=True)


def _begun(base: str) -> bytes:
    return MAGIC + _told({"base": base, "footer": len(footer())}) + footer()


def _told(line: dict[str, Any]) -> bytes:
    text = json.dumps(line, separators=(",", ":")).encode("utf-8")
    return hashlib.sha256(text).hexdigest()[:_DIGITS].encode("ascii") + b" " + text + b"\n"


def _line(data: bytes, at: int) -> tuple[dict[str, Any] | None, int]:
    """The line at a place, None where it is not sound, and where what follows begins."""
    end = data.find(b"\n", at)
    if end < 0:
        return None, len(data)
    digest, _, text = data[at:end].partition(b" ")
    if hashlib.sha256(text).hexdigest()[:_DIGITS].encode("ascii") != digest:
        return None, end + 1
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):  # Whoever made it up made up its sum, too.
        return None, end + 1
    return (line if isinstance(line, dict) else None), end + 1


def _text(value: Any) -> bool:
    return isinstance(value, str)
