"""Which rows of a table are of the same file, some bytes a row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from dsnet import _C
from dsnet.data.datasets.annotation import file_name_of, stem_of
from dsnet.data.datasets.keys import NAMELESS
from dsnet.data.lines import split_lines
from dsnet.data.tables import Rows, row_of


class FileIndex:
    """The files of a table's rows, as numbers.

    Names are told apart by two keyed hashes of 64 bits, of the name and of its stem: no two of any
    table have both.

    Parameters
    ----------
    rows : Rows
    plain : TableRows
        Of its layout.

    Attributes
    ----------
    files : ndarray [N], uint32
        Which file each row is of, counted as they first appear.
    stems : ndarray [N], uint32
        Likewise, but files whose keys begin alike (`A` and `A.png`) have one number, the first's.
    count : int
        How many files there are.
    """

    def __init__(self, rows: Rows, plain: _C.TableRows) -> None:
        names, stems = _hashes(rows, plain)
        order = np.lexsort((stems, names))
        names, stems = names[order], stems[order]
        new = np.ones(len(order), bool)
        new[1:] = (names[1:] != names[:-1]) | (stems[1:] != stems[:-1])
        begins = np.flatnonzero(new)
        self.count = len(begins)
        # The first row of each, since the sort is stable.
        number = np.empty(self.count, np.uint32)
        number[np.argsort(order[begins])] = np.arange(self.count, dtype=np.uint32)
        self.files = np.empty(len(order), np.uint32)
        self.files[order] = number[np.cumsum(new) - 1]
        self._names, self._numbers = names[begins], number
        self._stems = self._first_alike(stems[begins])
        self.stems = self.files if self._stems is None else self._stems[self.files]

    def _first_alike(self, stems: np.ndarray) -> np.ndarray | None:
        """Of each file the first one with its stem; None where all have stems of their own."""
        _, group = np.unique(stems, return_inverse=True)
        groups = int(group.max(initial=-1)) + 1
        if groups == self.count:
            return None
        first = np.full(groups, self.count, np.uint32)
        np.minimum.at(first, group, self._numbers)
        found = np.empty(self.count, np.uint32)
        found[self._numbers] = first[group]
        return found

    def rows_alike(self, stem: int) -> np.ndarray:
        """The rows of a number of `stems`, in ascending order."""
        order, begins = self._by_stem
        return order[begins[stem] : begins[stem + 1]]

    def counts_alike(self, stems: np.ndarray) -> np.ndarray:
        """How many `rows_alike` has of each of some numbers, [N]."""
        _, begins = self._by_stem
        return begins[stems + 1] - begins[stems]

    def rows_of(self, name: str) -> np.ndarray:
        """The rows that may be of a file, in ascending order."""
        first, last = np.searchsorted(self._names, hash(name), "left"), len(self._names)
        found = [np.empty(0, np.uint32)]
        while first < last and self._names[first] == hash(name):
            file = int(self._numbers[first])
            rows = self.rows_alike(file if self._stems is None else int(self._stems[file]))
            found.append(rows[self.files[rows] == file])
            first += 1
        return np.concatenate(found)

    @cached_property
    def _by_stem(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.stems, kind="stable").astype(np.uint32)
        sizes = np.bincount(self.stems, minlength=self.count)
        return order, np.concatenate([[0], np.cumsum(sizes)])


def _hashes(rows: Rows, plain: _C.TableRows) -> tuple[np.ndarray, np.ndarray]:
    """Of each row's file name, and of what its key begins with."""
    names, stems = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    begin = 0
    for count, data in rows.lines.pieces(1):
        part = slice(begin, begin + count)
        begin += count
        odd: Sequence[int] = range(count)
        found = plain.name_hashes(data)
        if found is not None and len(found[0]) == 8 * count:
            names[part], stems[part] = (np.frombuffer(hashes, np.int64) for hashes in found[:2])
            odd = found[2]
        if odd:
            texts = split_lines(data)
            for i in odd:
                name = file_name_of(row_of(0, texts[i], rows.columns))
                names[part.start + i] = hash(name)
                stems[part.start + i] = hash(f"\0{stem_of(name) or NAMELESS}")
    return names, stems
