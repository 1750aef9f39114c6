"""The rows that become a shard: records read into columns as they come.

Planes are encoded where Arrow takes them, and not copied again.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from dsnet import _C
from dsnet.data.datasets.pictures import LIKE_HU
from dsnet.data.patients import PATIENT_NAMES, known_patient
from dsnet.data.store.columns import binary_array, list_array, number_array, text_array
from dsnet.data.store.planes import ARRAY_COLUMNS, encoded_planes
from dsnet.data.store.record import PAIRS, LabelRecord, encode_plain, metadata_of, require_planes
from dsnet.data.store.spare import Spare
from dsnet.data.store.sums import NUMBERS, Told, sums_from
from dsnet.labeling.notes import EMPTY

TEXTS = ("key", "source", "status", "error")
_UNSURE = 2  # Of `_C.RowColumns.known`.
_spare = Spare()


class RowColumns:
    """The columns of some rows.

    Parameters
    ----------
    alpha_bits : {8, 16}
    """

    def __init__(self, alpha_bits: int) -> None:
        self._alpha_bits = alpha_bits
        self._made: _C.RowColumns | None = None

    def __len__(self) -> int:
        return 0 if self._made is None else len(self._made)

    @property
    def bytes(self) -> int:
        """Of all planes."""
        return 0 if self._made is None else self._made.bytes

    @property
    def _rows(self) -> _C.RowColumns:
        # Not before the first row comes: rows of before leave their memory when they are on disk.
        if self._made is None:
            self._made = _C.RowColumns(self._alpha_bits, _spare.take(), PATIENT_NAMES)
        return self._made

    def clear(self) -> None:
        """Forget all rows; their memory is used again, so that no array of it may be left."""
        if self._made is not None:
            _spare.give(self._made.room())
            self._made = None

    def append(self, record: LabelRecord) -> None:
        """Take in a row.

        Raises
        ------
        ValueError, TypeError
            As `record.encode`; nothing is taken then.
        """
        rows = self._rows if self._made is None else self._made
        # Most are plain; of any other each field is looked at, to say what is wrong.
        if rows.append(record):
            return
        if not (rows.begin(record) or rows.begin(*_checked(record))):
            names = [*record.quality, *record.seconds]
            raise ValueError(f"quality and seconds must have names of valid Unicode, got {names}")
        planes, shape = encoded_planes(record, self._alpha_bits)
        require_planes(record, planes)
        rows.end([planes[name] for name in ARRAY_COLUMNS], *shape)

    def scores(self) -> list[str]:
        """The `quality_` and `seconds_` columns that a row has, as they came."""
        return self._rows.scores()

    def arrays(self) -> tuple[dict[str, Any], Told]:
        """The columns as Arrow arrays, and what an entry tells of them.

        The planes' are to be let go of before rows are added or forgotten.

        Raises
        ------
        OverflowError
            When one has more than 2 GiB.
        """
        made = self._rows.arrays()
        told = self._told(made)
        arrays = {name: text_array(name, *made.pop(name)) for name in (*TEXTS, "metadata")}
        ends, notes = made.pop("notes")
        arrays["notes"] = list_array("notes", ends, text_array("notes", *notes))
        there, numbers = made.pop("mark")
        sizes = np.where(there, 8, 0)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        arrays["mark"] = list_array("mark", ends, number_array(*numbers), there)
        arrays.update((name, number_array(*numbers)) for name, numbers in made.items())
        for name, plane in zip(ARRAY_COLUMNS, self._rows.planes(), strict=True):
            arrays[name] = binary_array(name, *plane)
        return arrays, told

    def _told(self, made: dict[str, Any]) -> Told:
        rows = self._rows
        failed = rows.failed() != 0
        ok = ~failed
        numbers = {
            name: np.where(there, values, np.nan)
            for name in NUMBERS
            if name in made
            for values, there in [made[name]]
        }
        found = sums_from(ok, numbers, _texts(made["error"], np.flatnonzero(failed)))
        found.empty = _noted(made["notes"], ok, EMPTY.encode(), whole=True)
        found.like_hu = _noted(made["notes"], ok, LIKE_HU.encode(), whole=False)
        found.unknown = _unknown(made, rows.known(), ok)
        return Told(rows.hashes(), found)


def _texts(column: tuple[np.ndarray, bytes], rows: np.ndarray) -> list[str]:
    """Those of some rows of a column of texts."""
    ends, data = column
    return [data[ends[row] : ends[row + 1]].decode("utf-8") for row in rows.tolist()]


def _noted(notes, ok: np.ndarray, text: bytes, whole: bool) -> int:
    """How many labelled rows have a note that is a text, or begins with it."""
    ends, (begins, data) = notes
    if text not in data:
        return 0
    sizes = np.diff(begins)
    some = np.flatnonzero(sizes == len(text) if whole else sizes >= len(text))
    found = [note for note in some.tolist() if data.startswith(text, begins[note])]
    rows = np.unique(np.searchsorted(ends, found, side="right") - 1)
    return int(np.count_nonzero(ok[rows]))


def _unknown(made: dict[str, Any], known: np.ndarray, ok: np.ndarray) -> int:
    """How many labels' patients nothing tells, where some rows must be asked themselves."""
    asked = np.flatnonzero((known == _UNSURE) & ok)
    told = zip(_texts(made["key"], asked), _texts(made["metadata"], asked), strict=True)
    return int(np.count_nonzero(ok & (known == 0))) + sum(
        known_patient(key, metadata_of(text)) is None for key, text in told
    )


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
