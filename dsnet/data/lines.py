"""The lines of a text, read where they lie: of a million only where they begin is in memory."""

from __future__ import annotations

import os
import stat
import weakref
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from dsnet.data.remote import RemoteFile, place_of

# A file of more stays on the disk; a table of marks has some 200 bytes a row.
HELD_BYTES = 2**26
# What has to be held: a pipe's, an address's, what was read already.
_MOST_HELD_BYTES = 2**31
# 10^8 marks are 20 GB.
MOST_BYTES = 2**37
_MOST_LINES = 2**31
_PART_BYTES = 2**20
# Lines that are taken from the text together.
_BLOCK = 1024
_BOM = b"\xef\xbb\xbf"


class Text(Protocol):
    """Bytes that can be read in any order."""

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def read(self, begin: int, end: int) -> bytes:
        """Those from `begin` on, before `end`; fewer where there are no more."""
        ...


class HeldText:
    """A text in memory."""

    def __init__(self, data: bytes) -> None:
        self._data, self.size = data, len(data)

    def read(self, begin: int, end: int) -> bytes:
        """As `Text.read`."""
        return self._data[begin:end]


class TextOnDisk:
    """A regular file that stays open: one that is put in its place meanwhile is not seen.

    Raises
    ------
    ValueError
        By `read`, when the file was written to since it was opened.
    """

    def __init__(self, path: Path | RemoteFile, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor
        weakref.finalize(self, os.close, descriptor)
        self._state = self._now()
        self.size = self._state[0]
        self._window = 0, b""

    def __reduce__(self):
        """It is of this process."""
        raise TypeError(f"{self._path}: an open file cannot go to another process")

    def read(self, begin: int, end: int) -> bytes:
        """As `Text.read`."""
        at, data = self._window
        if begin < at or end > at + len(data):
            # Most ask for what follows next.
            at, data = begin, self._pread(begin, max(end, begin + _PART_BYTES))
            self._window = at, data
        return data[begin - at : end - at]

    def _pread(self, begin: int, end: int) -> bytes:
        parts = []
        try:
            while begin < end and (part := os.pread(self._descriptor, end - begin, begin)):
                parts.append(part)
                begin += len(part)
            if self._now() != self._state:
                raise ValueError(f"{self._path}: was written to while it was read")
        except OSError as error:
            raise ValueError(f"{self._path}: {error.strerror or error}") from error
        return b"".join(parts)

    def _now(self) -> tuple[int, int]:
        state = os.fstat(self._descriptor)
        return state.st_size, state.st_mtime_ns


def open_text(path: str | Path | RemoteFile) -> Text:
    """The text of a file, in memory where it is small, or no regular file.

    Raises
    ------
    ValueError
        When it cannot be read or is too large; the message names the file.
    """
    place = place_of(path)
    if isinstance(place, RemoteFile):
        return HeldText(place.read(_MOST_HELD_BYTES))
    try:
        with open(place, "rb") as file:
            state = os.fstat(file.fileno())
            regular = stat.S_ISREG(state.st_mode)
            # A shell's <(...) is a pipe.
            if not (regular or stat.S_ISFIFO(state.st_mode)):
                raise ValueError(f"{place}: must be a regular file")
            if regular and state.st_size > HELD_BYTES:
                if state.st_size > MOST_BYTES:
                    raise ValueError(f"{place}: must be of at most {MOST_BYTES} bytes")
                return TextOnDisk(place, os.dup(file.fileno()))
            # In parts: a read of so many bytes at most would ask for room for as many.
            parts, size = [], 0
            while size <= _MOST_HELD_BYTES and (part := file.read(_PART_BYTES)):
                parts.append(part)
                size += len(part)
    except OSError as error:
        raise ValueError(f"{place}: {error.strerror or error}") from error
    if size > _MOST_HELD_BYTES:
        raise ValueError(f"{place}: must be of at most {_MOST_HELD_BYTES} bytes")
    return HeldText(b"".join(parts))


class Lines:
    """The lines of a text that are not empty, nor only white space.

    Lines end with LF, CRLF or CR and nothing else: other separators of Unicode may stand in one.

    Parameters
    ----------
    path : path
        What messages call the text.
    text : Text
        UTF-8, with a byte order mark or without.

    Raises
    ------
    ValueError
        When it is no UTF-8, or has too many lines.
    """

    def __init__(self, path: str | Path | RemoteFile, text: Text) -> None:
        self._text = text
        first = len(_BOM) if text.read(0, len(_BOM)) == _BOM else 0
        kind = np.uint32 if text.size < 2**32 else np.int64
        starts, blanks, count = [], [], 0
        for at, part in _parts(text, first):
            if not part.isascii():
                _require_utf8(path, part, at - first)
            begins = _line_starts(part)
            blank = _blank(part, begins)
            if blank.any():
                # The line that each stands before.
                blanks.append(count + np.cumsum(~blank)[blank])
                begins = begins[~blank]
            count += len(begins)
            if count > _MOST_LINES:
                raise ValueError(f"{path}: must have at most {_MOST_LINES} lines")
            starts.append((at + begins).astype(kind))
        self._starts = np.concatenate([*starts, np.array([text.size], kind)])
        self._blanks = np.concatenate(blanks) if blanks else np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def numbers(self, which: np.ndarray) -> np.ndarray:
        """What an editor calls the lines of these places, int64 [N]; empty ones count there."""
        where = which.astype(np.int64)
        return where + 1 + np.searchsorted(self._blanks, where, side="right")

    def spans(self, which: Sequence[int]) -> list[bytes]:
        """The bytes of some lines, for `split_lines`; those that follow each other together.

        Parameters
        ----------
        which : sequence of int
            Their places, in ascending order.
        """
        found, begin, count = [], 0, len(which)
        while begin < count:
            first, end = which[begin], begin + 1
            while end < count and which[end] == first + end - begin:
                end += 1
            found.append(self._between(first, first + end - begin))
            begin = end
        return found

    def texts(self, which: Sequence[int]) -> list[str]:
        """Some lines without their ends, places in ascending order."""
        return [line for span in self.spans(which) for line in split_lines(span)]

    def grouped_spans(self, which: np.ndarray, begins: np.ndarray) -> list[list[bytes]]:
        """`spans` of each of some groups of lines.

        Parameters
        ----------
        which : ndarray [N]
            Their places, one group's after the other's, those of each in ascending order.
        begins : ndarray [G + 1]
            Where in `which` each group begins, and where the last ends.
        """
        first = np.ones(len(which) + 1, bool)
        first[1:-1] = which[1:] != which[:-1] + 1
        first[begins] = True
        runs = np.flatnonzero(first)
        starts = self._starts[which[runs[:-1]]].tolist()
        ends = self._starts[which[runs[1:] - 1] + 1].tolist()
        pieces = list(map(self._text.read, starts, ends))
        return [pieces[b:e] for b, e in pairwise(np.searchsorted(runs, begins).tolist())]

    def blocks(self, first: int = 0) -> Iterator[tuple[int, list[str]]]:
        """All lines from one on, some at a time, each time with the place of the first."""
        for count, data in self.pieces(first):
            yield first, split_lines(data)
            first += count

    def pieces(self, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """As `blocks`, each time how many they are, and their bytes."""
        for begin in range(first, len(self), _BLOCK):
            end = min(begin + _BLOCK, len(self))
            yield end - begin, self._between(begin, end)

    def _between(self, begin: int, end: int) -> bytes:
        return self._text.read(int(self._starts[begin]), int(self._starts[end]))


def split_lines(data: bytes) -> list[str]:
    """The lines of a piece of a text that are not empty, without their ends."""
    text = data.decode("utf-8")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return [line for line in text.split("\n") if line and not line.isspace()]


def _parts(text: Text, first: int) -> Iterator[tuple[int, bytes]]:
    """Pieces of whole lines, and where each begins."""
    at, rest = first, b""
    while more := text.read(at + len(rest), at + len(rest) + max(_PART_BYTES, len(rest))):
        data = rest + more
        # A CR at the end may have its LF behind it.
        end = data.rfind(b"\n") + 1 or data.rfind(b"\r", 0, len(data) - 1) + 1
        if end:
            yield at, data[:end]
        at, rest = at + end, data[end:]
    if rest:
        yield at, rest


def _line_starts(part: bytes) -> np.ndarray:
    codes = np.frombuffer(part, np.uint8)
    ends = codes == ord("\n")
    if b"\r" in part:
        alone = codes == ord("\r")
        alone[:-1] &= codes[1:] != ord("\n")
        ends |= alone
    after = np.flatnonzero(ends) + 1
    starts = np.concatenate([np.zeros(1, after.dtype), after])
    return starts[starts < len(part)]


def _blank(part: bytes, starts: np.ndarray) -> np.ndarray:
    """Which lines are of white space alone."""
    codes = np.frombuffer(part, np.uint8)[starts]
    found = np.zeros(len(starts), bool)
    for i in np.flatnonzero((codes <= ord(" ")) | (codes >= 0x7F)).tolist():
        end = int(starts[i + 1]) if i + 1 < len(starts) else len(part)
        found[i] = part[int(starts[i]) : end].decode("utf-8").isspace()
    return found


def _require_utf8(path: str | Path | RemoteFile, part: bytes, at: int) -> None:
    try:
        part.decode("utf-8")
    except UnicodeDecodeError as error:
        begin, end = at + error.start, at + error.end
        where = f"byte 0x{part[error.start]:02x} in position {begin}"
        if end - begin > 1:
            where = f"bytes in position {begin}-{end - 1}"
        raise ValueError(
            f"{path}: not a text file in UTF-8: 'utf-8' codec can't decode {where}: {error.reason}"
        ) from error
