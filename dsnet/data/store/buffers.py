"""The memory of Arrow arrays as NumPy's.

Arrow's own conversion asks for pandas, whose import takes half a second.
"""

from __future__ import annotations

import numpy as np


def is_there(array) -> np.ndarray:
    """bool [N], where an Arrow array has a value."""
    valid = array.buffers()[0]
    if valid is None:
        return np.full(len(array), not array.null_count)
    return _bits(valid, array)


def truths(array) -> np.ndarray:
    """bool [N] of Arrow's booleans; what is null is false."""
    if not len(array):
        return np.empty(0, bool)
    return _bits(array.buffers()[1], array) & is_there(array)


def floats(array) -> np.ndarray:
    """float64 [N] of Arrow's doubles, NaN where one is null."""
    return np.where(is_there(array), _values(array, np.float64), np.nan)


def integers(array) -> np.ndarray:
    """int64 [N] of Arrow's int32, 0 where one is null."""
    return np.where(is_there(array), _values(array, np.int32), 0).astype(np.int64)


def offsets(array) -> np.ndarray:
    """int32 [N + 1], where the values of each row of texts, bytes or lists begin and end."""
    made = array.buffers()[1]
    if made is None:
        return np.zeros(len(array) + 1, np.int32)
    return np.frombuffer(made, np.int32)[array.offset : array.offset + len(array) + 1]


def data_of(array) -> np.ndarray:
    """uint8 [bytes], of all values of texts or bytes one after the other."""
    where, data = offsets(array), array.buffers()[2]
    if data is None:
        return np.empty(0, np.uint8)
    return np.frombuffer(data, np.uint8)[where[0] : where[-1]]


def _values(array, dtype) -> np.ndarray:
    data = array.buffers()[1]
    if data is None:
        return np.zeros(len(array), dtype)
    return np.frombuffer(data, dtype)[array.offset : array.offset + len(array)]


def _bits(buffer, array) -> np.ndarray:
    first, last = array.offset, array.offset + len(array)
    octets = np.frombuffer(buffer, np.uint8)[first // 8 : -(-last // 8)]
    begin = first % 8
    return np.unpackbits(octets, bitorder="little")[begin : begin + len(array)].astype(bool)
