"""The rows of a table that are of one slice, as they stand in it: whoever needs them reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, overload

from dsnet.data.datasets.annotation import (
    FILE_NAME,
    MARK,
    DeepLesionAnnotation,
    Named,
    RowCells,
    file_name_of,
    stem_of,
)
from dsnet.data.datasets.keys import RowKeys
from dsnet.data.lines import split_lines
from dsnet.data.tables import Row, cells_of, row_of


class Layout(NamedTuple):
    """What all rows of a table have in common."""

    columns: tuple[str, ...]
    origin: float


class SliceRows(Sequence[DeepLesionAnnotation]):
    """Annotations that are made when they are first asked for, in whichever process does.

    Parameters
    ----------
    layout : Layout
    spans : sequence of bytes
        Of the text, see `Lines.spans`: all rows that the keys of these depend on, in the order of
        the table.
    lines : sequence of int
        Which they are in the file.
    chosen : sequence of int, optional
        Those that are meant, counted from 0; by default all.
    patients : mapping of str to Named, optional
        By files, see `RowCells`.
    """

    def __init__(
        self,
        layout: Layout,
        spans: Sequence[bytes],
        lines: Sequence[int],
        chosen: Sequence[int] | None = None,
        patients: Mapping[str, Named] | None = None,
    ) -> None:
        self._layout, self._spans, self._lines = layout, spans, lines
        self._chosen, self._patients = chosen, patients
        self._made: list[DeepLesionAnnotation] | None = None

    def __reduce__(self):
        """What was made of it stays behind."""
        parts = (self._layout, self._spans, self._lines, self._chosen, self._patients)
        return SliceRows, parts

    def __len__(self) -> int:
        return len(self._lines if self._chosen is None else self._chosen)

    @overload
    def __getitem__(self, which: int) -> DeepLesionAnnotation: ...
    @overload
    def __getitem__(self, which: slice) -> list[DeepLesionAnnotation]: ...
    def __getitem__(self, which):
        return self._annotations()[which]

    def __iter__(self) -> Iterator[DeepLesionAnnotation]:
        return iter(self._annotations())

    def keys(self) -> list[str]:
        """Their keys; nothing else of them is read."""
        texts = [text for span in self._spans for text in split_lines(span)]
        name, mark = (self._columns.index(column) for column in (FILE_NAME, MARK))
        numbering, keys = RowKeys(), []
        for text, cells in zip(texts, cells_of(texts), strict=True):
            if cells is not None and len(cells) > max(name, mark):
                keys.append(numbering.key(stem_of(cells[name].strip()), cells[mark]))
            else:
                keys.append(key_of(row_of(0, text, self._columns), numbering))
        return keys if self._chosen is None else [keys[i] for i in self._chosen]

    def first(self) -> tuple[str, int | str | None]:
        """The file and the patient of the first one; nothing else is read."""
        at = 0 if self._chosen is None else self._chosen[0]
        texts = (text for span in self._spans for text in split_lines(span))
        row = row_of(self._lines[at], next(islice(texts, at, None)), self._columns)
        return file_name_of(row), self._cells(row).patient

    def take(self, which: Sequence[int]) -> SliceRows:
        """Some of them, by their places."""
        chosen = which if self._chosen is None else [self._chosen[i] for i in which]
        return SliceRows(self._layout, self._spans, self._lines, chosen, self._patients)

    def named(self, patients: Mapping[str, Named]) -> SliceRows:
        """The same with their patients, by files."""
        return SliceRows(self._layout, self._spans, self._lines, self._chosen, patients)

    @property
    def _columns(self) -> tuple[str, ...]:
        return self._layout.columns

    def _keyed(self) -> Iterator[tuple[Row, str]]:
        """All rows that are there, and their keys."""
        numbering, numbers = RowKeys(), iter(self._lines)
        for span in self._spans:
            for text in split_lines(span):
                row = row_of(next(numbers), text, self._columns)
                yield row, key_of(row, numbering)

    def _cells(self, row: Row) -> RowCells:
        named = None if self._patients is None else self._patients.get(file_name_of(row))
        return RowCells(row, self._layout.origin, named)

    def _annotations(self) -> list[DeepLesionAnnotation]:
        if self._made is None:
            rows = list(self._keyed())
            if self._chosen is not None:
                rows = [rows[i] for i in self._chosen]
            self._made = [self._cells(row).annotation(key) for row, key in rows]
        return self._made


def key_of(row: Row, numbering: RowKeys) -> str:
    """The key of a row, by what has numbered those of its file that come before it."""
    return numbering.key(stem_of(file_name_of(row)), row.fields.get(MARK))
