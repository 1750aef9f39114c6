"""A table of marks of which only the text is there: rows are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import overload

import numpy as np

from dsnet.data.datasets.annotation import DeepLesionAnnotation, Named
from dsnet.data.datasets.file_index import FileIndex
from dsnet.data.datasets.keys import RowKeys
from dsnet.data.datasets.layout import Layout, number_keys
from dsnet.data.datasets.slice_rows import SliceRows
from dsnet.data.tables import Rows

# Rows, or slices, that are taken from the text together.
_BLOCK = 1024


class TableText:
    """The text of a table, and which rows are of the same file.

    Parameters
    ----------
    rows : Rows
        With the columns `File_name` and `Measurement_coordinates`.
    origin : float
        See `read_annotations`.
    """

    def __init__(self, rows: Rows, origin: float) -> None:
        self.lines, self.layout, self._rows = rows.lines, Layout(tuple(rows.columns), origin), rows

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def index(self) -> FileIndex:
        """Made when it is first asked for."""
        return FileIndex(self._rows, self.layout.plain)

    def read(
        self, places: np.ndarray, named: Callable[[str], Named] | None
    ) -> list[DeepLesionAnnotation]:
        """Some rows, by their places, from 0; keys are not numbered, see `Layout.annotations`."""
        order = np.argsort(places, kind="stable")
        lines = places[order] + 1
        spans, numbers = self.lines.spans(lines.tolist()), self.lines.numbers(lines).tolist()
        rows = self.layout.annotations(spans, numbers, named)
        return [rows[at] for at in np.argsort(order).tolist()]


class AnnotationTable(Sequence[DeepLesionAnnotation]):
    """The rows of a table in DeepLesion's layout, or some of them.

    Parameters
    ----------
    text : TableText
    places : ndarray [N], optional
        Of the rows, from 0; by default all.
    named : callable, optional
        The patient of a file, where a rule names it.
    """

    def __init__(
        self,
        text: TableText,
        places: np.ndarray | None = None,
        named: Callable[[str], Named] | None = None,
    ) -> None:
        self._text, self._places, self._named = text, places, named

    def __len__(self) -> int:
        return len(self._text if self._places is None else self._places)

    @overload
    def __getitem__(self, which: int) -> DeepLesionAnnotation: ...
    @overload
    def __getitem__(self, which: slice) -> AnnotationTable: ...
    def __getitem__(self, which):
        if isinstance(which, slice):
            if which.indices(len(self)) == (0, len(self), 1):
                return self
            return self._part(self.places[which])
        at = range(len(self))[which]
        place = at if self._places is None else int(self._places[at])
        return self.together(np.array([place]), [1])[0][0]

    def __iter__(self) -> Iterator[DeepLesionAnnotation]:
        return self._keyed() if self._in_order() else (self[i] for i in range(len(self)))

    def contents(self) -> Iterator[tuple[str, str]]:
        """The key and the `row_content` of each row."""
        return ((row.key, row.content) for row in self)

    def _in_order(self) -> bool:
        return not np.any(self.places[1:] < self.places[:-1])

    def _keyed(self) -> Iterator[DeepLesionAnnotation]:
        """The rows, which are in the order of the table."""
        places, index = self.places, self._text.index
        wanted = np.zeros(len(self._text), bool)
        wanted[places] = True
        if self._places is not None and len(places):
            # Keys count the rows of a file, also those that are not asked for.
            touched = np.zeros(index.count, bool)
            touched[index.stems[places]] = True
            places = np.flatnonzero(touched[index.stems[: int(places[-1]) + 1]])
        last = np.zeros(index.count, np.int64)
        last[index.stems[places]] = places
        keys: dict[int, RowKeys] = {}
        for block in _blocks(places):
            rows, stems = self._read(block), index.stems[block].tolist()
            for place, stem, row in zip(block.tolist(), stems, rows, strict=True):
                if stem not in keys:
                    keys[stem] = RowKeys()
                number_keys([row], keys[stem])
                if last[stem] == place:
                    del keys[stem]
                if wanted[place]:
                    yield row

    @property
    def places(self) -> np.ndarray:
        """Where the rows stand among all of the table, from 0, [N]."""
        if self._places is None:
            return np.arange(len(self._text), dtype=np.uint32)
        return self._places

    def where(self, fits: Callable[[DeepLesionAnnotation], bool]) -> AnnotationTable:
        """The rows of which a function is true."""
        found = [np.empty(0, np.uint32)]
        for block in _blocks(self.places):
            kept = [fits(row) for row in self._read(block)]
            found.append(block[np.array(kept, bool)])
        return self._part(np.concatenate(found))

    def named_by(self, patient: Callable[[str], str]) -> AnnotationTable:
        """The rows with the patients of their files; one without fails, and tells why.

        Parameters
        ----------
        patient : callable
            As `patients_by` gives it.
        """
        if self._named is not None:
            raise ValueError("patients must be named once")

        @lru_cache(_BLOCK)
        def named(file_name: str) -> Named:
            try:
                return Named(patient(file_name))
            except ValueError as error:
                return Named(None, str(error))

        return AnnotationTable(self._text, self._places, named)

    def patient_of(self, file_name: str) -> str | None:
        """Whose a file is, as its last row says that tells; None where none does."""
        places = self._text.index.rows_of(file_name)
        if self._places is not None:
            places = self._places[np.isin(self._places, places)]
        for at in range(len(places) - 1, -1, -1):
            (row,) = self._read(places[at : at + 1])
            if row.file_name == file_name and row.patient is not None:
                return str(row.patient)
        return None

    def by_file(self) -> Slices:
        """The rows of each file together, files in the order in which they first appear."""
        files = self._text.index.files
        return Slices(self, files if self._places is None else files[self._places])

    def together(
        self, places: np.ndarray, sizes: Sequence[int], complete: bool = False
    ) -> list[SliceRows]:
        """Groups of rows.

        Parameters
        ----------
        places : ndarray [N]
            Of the rows, one group's after the other's.
        sizes : sequence of int
            Of the groups; those of one are of one file.
        complete : bool
            Whether they are all rows of their files and no other file's keys begin as theirs.
        """
        layout, lines = self._text.layout, self._text.lines
        begins = np.concatenate([[0], np.cumsum(sizes)])
        parts, numbers = list(pairwise(begins.tolist())), lines.numbers(places + 1).tolist()
        found = [
            SliceRows(layout, spans, numbers[begin:end])
            for spans, (begin, end) in zip(
                lines.grouped_spans(places + 1, begins), parts, strict=True
            )
        ]
        if not complete:
            for i in np.flatnonzero(~self._have_all(places, begins)).tolist():
                begin, end = parts[i]
                found[i] = self._with_others(places[begin:end])
        if self._named is not None:
            for i, rows in enumerate(found):
                name, _ = rows.first()
                found[i] = rows.named({name: self._named(name)})
        return found

    def _have_all(self, places: np.ndarray, begins: np.ndarray) -> np.ndarray:
        """Of groups whether each has all rows that keys of its file's depend on, in their order."""
        index, firsts = self._text.index, begins[:-1]
        rises = np.ones(len(places), bool)
        rises[1:] = places[1:] > places[:-1]
        rises[firsts] = True
        rising = np.logical_and.reduceat(rises, firsts)
        return rising & (index.counts_alike(index.stems[places[firsts]]) == np.diff(begins))

    def _with_others(self, places: np.ndarray) -> SliceRows:
        """Rows of a file, with all that their keys depend on."""
        index, lines = self._text.index, self._text.lines
        alike = index.rows_alike(int(index.stems[places[0]]))
        rows = alike[: np.searchsorted(alike, places.max(), "right")]
        chosen = None
        if len(rows) != len(places) or np.any(rows != places):
            chosen = np.searchsorted(rows, places).tolist()
        spans, numbers = lines.spans((rows + 1).tolist()), lines.numbers(rows + 1).tolist()
        return SliceRows(self._text.layout, spans, numbers, chosen)

    def _read(self, places: np.ndarray) -> list[DeepLesionAnnotation]:
        return self._text.read(places, self._named)

    def _part(self, places: np.ndarray) -> AnnotationTable:
        return AnnotationTable(self._text, places, self._named)

    @property
    def whole(self) -> bool:
        """Whether it has all rows, in their order."""
        return self._places is None

    @property
    def distinct(self) -> bool:
        """Whether no two files of the whole table have keys that begin alike."""
        return self._text.index.stems is self._text.index.files


class Slices(Sequence[SliceRows]):
    """The rows of a table by their files, each file's read when they are asked for.

    Parameters
    ----------
    table : AnnotationTable
    files : ndarray [N]
        A number of each row's; of all rows counted as they first appear.
    """

    def __init__(self, table: AnnotationTable, files: np.ndarray) -> None:
        if not table.whole:
            _, firsts, group = np.unique(files, return_index=True, return_inverse=True)
            number = np.empty(len(firsts), np.uint32)
            number[np.argsort(firsts)] = np.arange(len(firsts), dtype=np.uint32)
            files = number[group]
        self._table, self._complete = table, table.whole and table.distinct
        self._places = table.places[np.argsort(files, kind="stable")]
        self._begins = np.concatenate([[0], np.cumsum(np.bincount(files))])

    def __len__(self) -> int:
        return len(self._begins) - 1

    @overload
    def __getitem__(self, which: int) -> SliceRows: ...
    @overload
    def __getitem__(self, which: slice) -> list[SliceRows]: ...
    def __getitem__(self, which):
        if isinstance(which, slice):
            return [self[i] for i in range(len(self))[which]]
        at = range(len(self))[which]
        return self._some(at, at + 1)[0]

    def __iter__(self) -> Iterator[SliceRows]:
        for first in range(0, len(self), _BLOCK):
            yield from self._some(first, min(first + _BLOCK, len(self)))

    def _some(self, first: int, last: int) -> list[SliceRows]:
        begins = self._begins[first : last + 1]
        places = self._places[begins[0] : begins[-1]]
        return self._table.together(places, np.diff(begins).tolist(), self._complete)


def _blocks(places: np.ndarray) -> Iterator[np.ndarray]:
    return (places[begin : begin + _BLOCK] for begin in range(0, len(places), _BLOCK))
