"""Tables of comma-separated values or Parquet, of which no row is lost without a word."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsnet import _C
from dsnet.data.lines import Lines
from dsnet.data.parquet_table import open_table

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
    """The rows of a table, taken apart as they are asked for.

    Parameters
    ----------
    lines : Lines
        Of the file, the header first.
    columns : list of str
    """

    def __init__(self, lines: Lines, columns: list[str]) -> None:
        self.lines, self.columns = lines, columns

    def __len__(self) -> int:
        return max(len(self.lines) - 1, 0)

    def __iter__(self) -> Iterator[Row]:
        for first, texts in self.lines.blocks(1):
            numbers = self.lines.numbers(np.arange(first, first + len(texts)))
            for number, text in zip(numbers.tolist(), texts, strict=True):
                yield row_of(number, text, self.columns)


@dataclass(frozen=True)
class Table:
    """The columns and the rows of a table; of Parquet the rows have those that were wanted."""

    columns: list[str]
    rows: Rows


def read_table(
    path: str | Path,
    *,
    lower: bool = False,
    data: bytes | None = None,
    wanted: Collection[str] | None = None,
) -> Table:
    """Read a CSV file line by line: a line is a row, or has the reason why it is none.

    Parquet, see `open_table`, has the rows that a CSV file of the same would have.

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
    wanted : collection of str, optional
        The columns that are read of Parquet; by default all.

    Returns
    -------
    Table

    Raises
    ------
    ValueError
        When the file cannot be read, is no UTF-8, has a header that is none, or a column twice; the
        message names the file.
    """
    text, names = open_table(path, data, wanted, lower)
    lines = Lines(path, text)
    if not len(lines):
        return Table(names or [], Rows(lines, []))
    (header,) = lines.texts([0])
    try:
        columns = [name.strip() for name in _fields(header)]
        # As spreadsheets write it where the comma is the decimal's.
        if len(columns) == 1 and (other := {";", "\t"} & set(columns[0])):
            divided = "semicolons" if ";" in other else "tabs"
            raise ValueError(f"names must be divided by commas, got {divided}")
        if (longest := max(map(len, columns))) > LONGEST_NAME:
            raise ValueError(f"names must be of at most {LONGEST_NAME} characters, got {longest}")
    except ValueError as error:
        (number,) = lines.numbers(np.zeros(1, int)).tolist()
        raise ValueError(f"{path}: line {number}, the header: {error}") from error
    if lower:
        columns = [name.lower() for name in columns]
    twice = [name for name, count in Counter(filter(None, columns)).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: column {', '.join(twice)} comes more than once")
    return Table(names or columns, Rows(lines, columns))


def row_of(number: int, line: str, columns: Sequence[str]) -> Row:
    """A line of a table as a row.

    Parameters
    ----------
    number : int
        In the file.
    line : str
        Without its end.
    columns : sequence of str
    """
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
    plain: list[str] | None = _C.plain_cells(line)
    if plain is not None:
        return plain
    try:
        (fields,) = csv.reader([line], strict=True)
    except csv.Error as error:
        raise ValueError(f"cannot be taken apart: {error}") from error
    return fields
