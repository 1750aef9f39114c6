"""The planes of rows that become a shard: encoded where Arrow takes them, and not copied again."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsnet import _C
from dsnet.data.store.columns import MISSING, binary_array
from dsnet.data.store.planes import ARRAY_COLUMNS, encoded_planes
from dsnet.data.store.record import LabelRecord, require_planes
from dsnet.data.store.spare import Spare

# Room that is made at first; what of it is not used takes no memory.
FIRST_ROWS, FIRST_BYTES = 1024, 16 * 2**20
_spare = Spare()


class PlaneColumns:
    """Each of `planes.ARRAY_COLUMNS`, its rows one after the other.

    Parameters
    ----------
    alpha_bits : {8, 16}

    Attributes
    ----------
    bytes : int
        Of all columns.
    """

    def __init__(self, alpha_bits: int) -> None:
        self._alpha_bits = alpha_bits
        self._usual_pixels, self._usual_sizes = 0, (MISSING,) * len(ARRAY_COLUMNS)
        self._data: list[np.ndarray] = []
        self.clear()

    def clear(self) -> None:
        """Forget all rows; their memory is used again, so that no array of it may be left."""
        if self._data:
            _spare.give(self._data)
        self._data = []
        self.bytes = 0
        self._sizes: list[tuple[int, ...]] = []  # a row's, by column; MISSING of a null
        self._at = [0] * len(ARRAY_COLUMNS)

    def append(self, record: LabelRecord) -> tuple[int | None, int | None]:
        """Add a record's planes; their height and width, None of none.

        Raises
        ------
        ValueError
            As `record.encode`; nothing is added then.
        """
        if not self._data:
            self._data = _room()
        if (shape := self._append_usual(record)) is not None:
            return shape
        planes, shape = encoded_planes(record, self._alpha_bits)
        require_planes(record, planes)
        parts = [planes[name] for name in ARRAY_COLUMNS]
        sizes = tuple(MISSING if part is None else len(part) for part in parts)
        for part, place in zip(parts, self._places(sizes), strict=True):
            if part is not None:
                place[:] = np.frombuffer(part, np.uint8)
        self._end(sizes)
        return shape

    def _append_usual(self, record: LabelRecord) -> tuple[int, int] | None:
        """Encode a row of the usual arrays into its place; None of any other."""
        image = record.image
        if not (
            isinstance(image, np.ndarray)
            and image.ndim == 2
            and record.truth is record.readers is record.neighbours is None
        ):
            return None
        pixels = image.size
        if pixels != self._usual_pixels:
            self._usual_pixels = pixels
            alpha = pixels * (self._alpha_bits // 8)
            self._usual_sizes = (2 * pixels, alpha, pixels, pixels, MISSING, MISSING, MISSING)
        sizes = self._usual_sizes
        into = self._places(sizes[:4])
        arrays = record.image, record.alpha, record.binary, record.trimap
        if _C.label_codes(*arrays, self._alpha_bits, into) is None:
            return None
        self._end(sizes)
        return image.shape

    def _places(self, sizes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """The bytes after the last ones of as many columns."""
        places = []
        for number, size in enumerate(sizes):
            begin = self._at[number]
            end = begin + size if size > 0 else begin
            if end > len(self._data[number]):
                self._grow(number, end)
            places.append(self._data[number][begin:end])
        return tuple(places)

    def _grow(self, number: int, end: int) -> None:
        data, begin = self._data[number], self._at[number]
        first = min(FIRST_ROWS * (end - begin), FIRST_BYTES)
        larger = np.empty(max(end, 2 * len(data), first), np.uint8)
        larger[:begin] = data[:begin]
        self._data[number] = larger

    def _end(self, sizes: tuple[int, ...]) -> None:
        """Make what was written the next row."""
        self._sizes.append(sizes)
        for number, size in enumerate(sizes):
            if size > 0:
                self._at[number] += size
                self.bytes += size

    def arrays(self) -> dict[str, Any]:
        """The columns as Arrow arrays; to be let go of before rows are added or forgotten.

        Raises
        ------
        OverflowError
            When one has more than 2 GiB.
        """
        sizes = np.array(self._sizes, np.int64).reshape(-1, len(ARRAY_COLUMNS)).T
        return {
            name: binary_array(name, data, each)
            for name, data, each in zip(ARRAY_COLUMNS, self._data or _room(), sizes, strict=True)
        }


def _room() -> list[np.ndarray]:
    """Memory for the columns, that of other rows where it is left."""
    return _spare.take() or [np.empty(0, np.uint8) for _ in ARRAY_COLUMNS]
