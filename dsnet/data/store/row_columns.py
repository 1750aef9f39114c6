"""What the rows that become a shard say besides their planes: read into columns as they come."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from dsnet import _C
from dsnet.data.store.columns import list_array, number_array, text_array
from dsnet.data.store.record import PAIRS, LabelRecord, encode_plain

TEXTS = ("key", "source", "status", "error")


class RowColumns:
    """The columns of some rows but for their planes."""

    def __init__(self) -> None:
        self._rows = _C.RowColumns()

    def __len__(self) -> int:
        return len(self._rows)

    def begin(self, record: LabelRecord) -> None:
        """Read the next row, which is one of the rows once `end` is called.

        Raises
        ------
        ValueError, TypeError
            As `record.encode_plain`.
        """
        # Most are plain; of any other each field is looked at, to say what is wrong.
        if not (self._rows.begin(record) or self._rows.begin(*_checked(record))):
            names = [*record.quality, *record.seconds]
            raise ValueError(f"quality and seconds must have names of valid Unicode, got {names}")

    def end(self, height: int | None, width: int | None) -> None:
        """Take in the row that began, by the height and width of its planes, if it has any."""
        self._rows.end(height, width)

    def scores(self) -> list[str]:
        """The `quality_` and `seconds_` columns that a row has, as they came."""
        return self._rows.scores()

    def arrays(self) -> dict[str, Any]:
        """The columns as Arrow arrays.

        Raises
        ------
        OverflowError
            When one has more than 2 GiB.
        """
        made = self._rows.arrays()
        arrays = {name: text_array(name, *made.pop(name)) for name in (*TEXTS, "metadata")}
        ends, notes = made.pop("notes")
        arrays["notes"] = list_array("notes", ends, text_array("notes", *notes))
        there, numbers = made.pop("mark")
        sizes = np.where(there, 8, 0)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        arrays["mark"] = list_array("mark", ends, number_array(*numbers), there)
        return {**arrays, **{name: number_array(*numbers) for name, numbers in made.items()}}


def _checked(record: LabelRecord) -> tuple[SimpleNamespace, str]:
    """A record's plain fields, and the JSON of its metadata."""
    row = encode_plain(record)
    fields: dict[str, Any] = {name: str.__str__(row[name]) for name in TEXTS}
    fields["notes"] = row["notes"]
    mark = row["mark"]
    fields["mark"] = mark and tuple(math.nan if n is None else n for n in mark)
    for name, parts in PAIRS:
        pair = tuple(row[f"{name}_{part}"] for part in parts)
        fields[name] = None if None in pair else pair
    for name in ("quality", "seconds"):
        begin = f"{name}_"
        fields[name] = {n.removeprefix(begin): v for n, v in row.items() if n.startswith(begin)}
    return SimpleNamespace(**fields), row["metadata"]
