"""The rows of a table that are of one slice, as they stand in it: whoever needs them reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import overload

from dsnet.data.datasets.annotation import DeepLesionAnnotation, Named, RowCells, file_name_of
from dsnet.data.datasets.keys import RowKeys
from dsnet.data.datasets.layout import Layout, number_keys
from dsnet.data.lines import split_lines
from dsnet.data.tables import row_of


class SliceRows(Sequence[DeepLesionAnnotation]):
    """Annotations that are made when they are first asked for, in whichever process does.

    Parameters
    ----------
    layout : Layout
    spans : sequence of bytes
        Of the text, see `Lines.spans`: all rows that the keys of these depend on, in the order of
        the table.
    lines : list of int
        Which they are in the file.
    chosen : sequence of int, optional
        Those that are meant, counted from 0; by default all.
    patients : mapping of str to Named, optional
        By files, see `RowCells`.
    """

    # An archive has as many as slices.
    __slots__ = "_chosen", "_layout", "_lines", "_made", "_patients", "_spans"

    def __init__(
        self,
        layout: Layout,
        spans: Sequence[bytes],
        lines: list[int],
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
        return (self._made or self._annotations())[which]

    def __iter__(self) -> Iterator[DeepLesionAnnotation]:
        return iter(self._made or self._annotations())

    def keys(self) -> list[str]:
        """Their keys; nothing else of them is read."""
        keys = self._layout.keys(self._spans, len(self._lines))
        if len(keys) > 1:
            keys = list(map(RowKeys().unique, keys))
        return keys if self._chosen is None else [keys[i] for i in self._chosen]

    def first(self) -> tuple[str, int | str | None]:
        """The file and the patient of the first one; nothing else is read."""
        at = 0 if self._chosen is None else self._chosen[0]
        texts = (text for span in self._spans for text in split_lines(span))
        row = row_of(self._lines[at], next(islice(texts, at, None)), self._layout.columns)
        name = file_name_of(row)
        named = None if self._patients is None else self._patients.get(name)
        return name, RowCells(row, self._layout.origin, named).patient

    def take(self, which: Sequence[int]) -> SliceRows:
        """Some of them, by their places."""
        chosen = which if self._chosen is None else [self._chosen[i] for i in which]
        return SliceRows(self._layout, self._spans, self._lines, chosen, self._patients)

    def named(self, patients: Mapping[str, Named]) -> SliceRows:
        """The same with their patients, by files."""
        return SliceRows(self._layout, self._spans, self._lines, self._chosen, patients)

    def _annotations(self) -> list[DeepLesionAnnotation]:
        if self._made is None:
            named = None if self._patients is None else self._patients.get
            rows = self._layout.annotations(self._spans, self._lines, named)
            if len(rows) > 1:
                number_keys(rows, RowKeys())
            self._made = rows if self._chosen is None else [rows[i] for i in self._chosen]
        return self._made
