"""What the rows of a table have in common, and their text read a block at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from typing import Any

from dsnet import _C
from dsnet.data.datasets.annotation import (
    FILE_NAME,
    MARK,
    DeepLesionAnnotation,
    Named,
    RowCells,
    file_name_of,
    stem_of,
)
from dsnet.data.datasets.cells import KEPT, whole_number
from dsnet.data.datasets.common_cells import COMMON_COLUMNS, common_cells
from dsnet.data.datasets.keys import NAMELESS, RowKeys, base_key
from dsnet.data.lines import split_lines
from dsnet.data.tables import Row, row_of
from dsnet.labeling.recist import RecistMark

# What a plain line is read for, besides what many lines have in common.
_READ = {
    "file_name": FILE_NAME, "mark": MARK, "patient": "Patient_index", "study": "Study_index",
    "series": "Series_ID", "key_slice": "Key_slice_index",
}  # fmt: skip


class Layout:
    """What all rows of a table have in common.

    Parameters
    ----------
    columns : tuple of str
    origin : float
        What is taken off coordinates.
    """

    def __init__(self, columns: tuple[str, ...], origin: float) -> None:
        self.columns, self.origin = columns, origin

    def __reduce__(self):
        return Layout, (self.columns, self.origin)

    def annotations(
        self,
        spans: Sequence[bytes],
        lines: list[int],
        named: Callable[[str], Named | None] | None = None,
    ) -> list[DeepLesionAnnotation]:
        """The rows of some lines, whose keys are not numbered yet: see `number_keys`.

        Parameters
        ----------
        spans : sequence of bytes
            See `Lines.spans`.
        lines : list of int
            Which they are in the file.
        named : callable, optional
            The patient of a file; None where the table's own is meant.
        """
        found: list[Any] | None = self.plain.rows(spans, lines, named)
        if found is None:
            found = [None] * len(lines)
        if not all(found):
            for i, (line, text) in enumerate(zip(lines, texts_of(spans), strict=True)):
                if found[i] is None:
                    row = row_of(line, text, self.columns)
                    patient = None if named is None else named(file_name_of(row))
                    found[i] = RowCells(row, self.origin, patient).annotation(_key_of(row))
        return found

    def keys(self, spans: Sequence[bytes], count: int) -> list[str]:
        """Of `annotations` the keys alone, of so many lines."""
        found: list[Any] | None = self.plain.keys(spans)
        if found is None or len(found) != count:
            found = [None] * count
        if not all(found):
            for i, text in enumerate(texts_of(spans)):
                if found[i] is None:
                    found[i] = _key_of(row_of(0, text, self.columns))
        return found

    @cached_property
    def plain(self) -> _C.TableRows:
        """What reads lines that are plain: most are."""
        place = {name: i for i, name in enumerate(self.columns)}
        read = {name: place.get(column, -1) for name, column in _READ.items()}
        common = tuple(place.get(column, -1) for column in COMMON_COLUMNS)
        tools = {
            "annotation": DeepLesionAnnotation,
            "mark": RecistMark,
            "common": _common_fields,
            "whole_number": whole_number,
            "sha256": hashlib.sha256,
            "nameless": NAMELESS,
        }
        return _C.TableRows(self.columns, read, common, self.origin, tools)


def texts_of(spans: Iterable[bytes]) -> list[str]:
    """Lines of `Lines.spans`, without their ends."""
    return [text for span in spans for text in split_lines(span)]


def number_keys(rows: Iterable[DeepLesionAnnotation], numbering: RowKeys) -> None:
    """Let each row's key be there once, by what has numbered those of its file before it."""
    for row in rows:
        row.__dict__["key"] = numbering.unique(row.key)


def _key_of(row: Row) -> str:
    return base_key(stem_of(file_name_of(row)), row.fields.get(MARK))


@lru_cache(KEPT)
def _common_fields(key: str) -> tuple[dict[str, object], str, str]:
    """What `_C.TableRows` fills in for a row, of the text by which it asks."""
    there, *texts = key.split("\0")
    cells = iter(texts)
    common = common_cells(*(next(cells) if one == "1" else None for one in there))
    # In the order in which a row's fields stand; None is put in for each row.
    fields = {
        "key": None, "file_name": None, "row": None, "mark": None, "error": "", "patient": None,
        "study": None, "series": None, "key_slice": None, **common.fields, "_content": None,
        "_source": None,
    }  # fmt: skip
    return fields, common.begin, common.end
