"""Tables of comma-separated values, of which no line is lost without a word."""

from __future__ import annotations

import csv
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from dsnet.data.remote import RemoteFile, place_of

# A whole archive's marks are some ten MB.
_MOST_BYTES = 2**31
_PART_BYTES = 2**20
# No column that is read needs more; a name or a reason of 100 kB helps nobody.
LONGEST_FIELD = 4096
LONGEST_NAME = 256  # of a column


class Row(NamedTuple):
    """One line of a table.

    Attributes
    ----------
    line : int
        In the file, the header being line 1.
    fields : dict of str to str
        By column; empty where the line cannot be taken apart, the first ones where their number is
        wrong.
    error : str
        Why the line cannot be used; empty where it can.
    """

    line: int
    fields: dict[str, str]
    error: str = ""


class Rows:
    """The rows of a table, taken apart as they are asked for: of a million the text is enough.

    Parameters
    ----------
    text : str
        Of the file, lines ending with LF; empty ones are left out, and the header.
    columns : list of str
    """

    def __init__(self, text: str, columns: list[str]) -> None:
        self._text, self._columns = text, columns

    def __len__(self) -> int:
        return max(sum(1 for _ in _lines(self._text)) - 1, 0)

    def __iter__(self) -> Iterator[Row]:
        for number, line in islice(_lines(self._text), 1, None):
            yield _row(number, line, self._columns)


@dataclass(frozen=True)
class Table:
    """The columns and the rows of a table."""

    columns: list[str]
    rows: Rows


def read_table(path: str | Path, *, lower: bool = False, data: bytes | None = None) -> Table:
    """Read a CSV file line by line: a line is a row, or has the reason why it is none.

    A quote that is not closed on its line costs that line alone; it cannot swallow those after it.
    So a field must not hold a line break. Lines end with LF, CRLF or CR and nothing else: other
    separators of Unicode may stand in a name.

    Parameters
    ----------
    path : path
    lower : bool
        Whether columns are told apart by their names in lower case.
    data : bytes, optional
        What the file holds, where it was read already.

    Returns
    -------
    Table

    Raises
    ------
    ValueError
        When the file cannot be read, is no UTF-8, has a header that is none, or a column twice; the
        message names the file.
    """
    text = _decoded(path, _content(place_of(path)) if data is None else data)
    header = next(_lines(text), None)
    if header is None:
        return Table([], Rows("", []))
    try:
        columns = [name.strip() for name in _fields(header[1])]
        if (longest := max(map(len, columns))) > LONGEST_NAME:
            raise ValueError(f"names must be of at most {LONGEST_NAME} characters, got {longest}")
    except ValueError as error:
        raise ValueError(f"{path}: line {header[0]}, the header: {error}") from error
    if lower:
        columns = [name.lower() for name in columns]
    twice = [name for name, count in Counter(filter(None, columns)).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: column {', '.join(twice)} comes more than once")
    return Table(columns, Rows(text, columns))


def _content(path: Path | RemoteFile) -> bytes:
    if isinstance(path, RemoteFile):
        return path.read(_MOST_BYTES)
    try:
        with open(path, "rb") as file:
            state = os.fstat(file.fileno())
            # A shell's <(...) is a pipe.
            if not (stat.S_ISREG(state.st_mode) or stat.S_ISFIFO(state.st_mode)):
                raise ValueError(f"{path}: must be a regular file")
            # In parts: a read of so many bytes at most would ask for room for as many.
            parts, size = [], 0
            while size <= _MOST_BYTES and (part := file.read(_PART_BYTES)):
                parts.append(part)
                size += len(part)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error
    if size > _MOST_BYTES:
        raise ValueError(f"{path}: must be of at most {_MOST_BYTES} bytes")
    return b"".join(parts)


def _decoded(path: str | Path, data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8: {error}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, and their numbers."""
    begin = number = 0
    while begin < len(text):
        end = text.find("\n", begin)
        end = len(text) if end < 0 else end
        number += 1
        if (line := text[begin:end]).strip():
            yield number, line
        begin = end + 1


def _row(number: int, line: str, columns: list[str]) -> Row:
    try:
        texts = _fields(line)
    except ValueError as error:
        return Row(number, {}, str(error))
    while len(texts) > len(columns) and not texts[-1].strip():
        texts.pop()  # commas at the end, as spreadsheets write them
    if len(line) > LONGEST_FIELD and (longest := max(map(len, texts))) > LONGEST_FIELD:
        told = f"fields must be of at most {LONGEST_FIELD} characters, got {longest}"
        return Row(number, {}, told)
    fields = dict(zip(columns, texts, strict=False))
    if len(texts) == len(columns):
        return Row(number, fields)
    told = f"must have {len(columns)} fields as the header, got {len(texts)}"
    return Row(number, fields, told)


def _fields(line: str) -> list[str]:
    try:
        (fields,) = csv.reader([line], strict=True)
    except csv.Error as error:
        raise ValueError(f"cannot be taken apart: {error}") from error
    return fields
