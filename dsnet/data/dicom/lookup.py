"""Rows of a table found by the values of a column, with a few bytes a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from dsnet.data.dicom.table import pc


class Groups:
    """The rows of a table by the values of a column: two numbers a row."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        array = column.combine_chunks()
        codes = pc.fill_null(array.indices, -1).to_numpy(zero_copy_only=False)
        self._order = np.argsort(codes, kind="stable").astype(np.int32)
        self._begins = np.searchsorted(codes[self._order], np.arange(len(array.dictionary) + 1))
        values = array.dictionary.to_pylist()
        self._codes = {
            value: code
            for code, value in enumerate(values)
            if value and self._begins[code] < self._begins[code + 1]
        }

    @property
    def nbytes(self) -> int:
        return self._order.nbytes + self._begins.nbytes

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._codes))

    def rows(self, value: str) -> list[int]:
        code = self._codes.get(value)
        if code is None:
            return []
        return self._order[self._begins[code] : self._begins[code + 1]].tolist()


class Sorted:
    """The rows of a table in the order of a column of texts, which may repeat.

    Parameters
    ----------
    column : Array or ChunkedArray of string
    then : Array of int, optional
        Orders rows of one text.
    """

    def __init__(self, column: Any, then: Any = None) -> None:
        self._column = column
        keys = {"text": column} if then is None else {"text": column, "then": then}
        order = pc.sort_indices(pa.table(keys), sort_keys=[(name, "ascending") for name in keys])
        self.order = order.to_numpy().astype(np.int32)

    @property
    def nbytes(self) -> int:
        return self.order.nbytes

    def rows(self, text: str) -> Iterator[int]:
        """The rows that hold a text, in their order."""
        low, high = 0, len(self.order)
        while low < high:
            middle = (low + high) // 2
            if self._at(middle) < text:
                low = middle + 1
            else:
                high = middle
        while low < len(self.order) and self._at(low) == text:
            yield int(self.order[low])
            low += 1

    def _at(self, place: int) -> str:
        return self._column[int(self.order[place])].as_py()
