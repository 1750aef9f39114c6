"""A record's arrays as the bytes of their columns, checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from dsnet import _C
from dsnet.data.store.codes import quantise
from dsnet.labeling.constants import BACKGROUND, FOREGROUND, UNKNOWN

if TYPE_CHECKING:
    from dsnet.data.store.record import LabelRecord

LABEL_COLUMNS = ("image", "alpha", "binary", "trimap")
# What older shards have not.
LATER_COLUMNS = ("truth", "readers", "neighbours")
ARRAY_COLUMNS = (*LABEL_COLUMNS, *LATER_COLUMNS)
SOFT_COLUMNS = ("image", "alpha", "readers", "neighbours")


def encoded_planes(
    record: LabelRecord, alpha_bits: int
) -> tuple[dict[str, bytes | None], tuple[int | None, int | None]]:
    """The bytes of each of `ARRAY_COLUMNS`, and the arrays' height and width, None of none.

    Raises
    ------
    ValueError
        Naming the array that has the wrong shape or values.
    """
    planes: dict[str, bytes | None] = dict.fromkeys(ARRAY_COLUMNS)
    shape, left = None, ARRAY_COLUMNS
    found = _C.label_codes(record.image, record.alpha, record.binary, record.trimap, alpha_bits)
    if found is not None and record.image is not None:
        # The usual row; of any other each array is looked at, to say what is wrong.
        planes.update(zip(LABEL_COLUMNS, found, strict=True))
        shape, left = record.image.shape, LATER_COLUMNS
    if any(getattr(record, name) is not None for name in left):
        arrays = _checked_arrays(record, left, shape)
        for name in left:
            if (array := arrays[name]) is not None:
                bits = alpha_bits if name == "alpha" else 16
                soft = name in SOFT_COLUMNS
                planes[name] = (quantise(array, bits) if soft else array.astype(np.uint8)).tobytes()
                shape = array.shape[-2:]
    return planes, (None, None) if shape is None else (shape[0], shape[1])


def _checked_arrays(
    record: LabelRecord, names: Iterable[str], shape: tuple[int, ...] | None
) -> dict[str, np.ndarray | None]:
    """Those of a record's arrays, each [H, W] of that shape where it is given."""
    arrays: dict[str, np.ndarray | None] = dict.fromkeys(ARRAY_COLUMNS)
    for name in names:
        value = getattr(record, name)
        arrays[name] = value = None if value is None else np.asarray(value)
        if value is None:
            continue
        if name == "neighbours" and (value.ndim != 3 or 0 in value.shape or len(value) % 2):
            raise ValueError(f"{name} must be [2 * count, H, W], got shape {value.shape}")
        if name != "neighbours" and (value.ndim != 2 or 0 in value.shape):
            raise ValueError(f"{name} must be [H, W] and not empty, got shape {value.shape}")
        if name in SOFT_COLUMNS:
            arrays[name] = value = value.astype(np.float32, copy=False)
            if not (np.minimum.reduce(value, None) >= 0 and np.maximum.reduce(value, None) <= 1):
                raise ValueError(f"{name} must lie in 0..1, got {value.min()}..{value.max()}")
    shapes = {name: a.shape[-2:] for name, a in arrays.items() if a is not None}
    if shape is not None:
        shapes["image"] = shape
    if len(set(shapes.values())) > 1:
        raise ValueError(f"arrays of one row must have one shape, got {shapes}")
    trimap, alpha, binary = arrays["trimap"], arrays["alpha"], arrays["binary"]
    if trimap is not None and not _holds(trimap, (BACKGROUND, UNKNOWN, FOREGROUND)):
        raise ValueError(f"trimap must hold 0, 128 and 255, got {np.unique(trimap)[:8].tolist()}")
    for name in ("binary", "truth"):
        array = arrays[name]
        if array is not None and array.dtype != bool and not _holds(array, (0, 1)):
            raise ValueError(f"{name} must be bool, or hold 0 and 1")
    if alpha is not None:
        arrays["binary"] = cut = alpha >= 0.5
        if binary is not None and (binary.astype(bool, copy=False) != cut).any():
            raise ValueError(f"binary must be alpha >= 0.5 (key {record.key!r})")
    return arrays


def _holds(array: np.ndarray, values: tuple[int, ...]) -> bool:
    if array.dtype == np.uint8:
        return not array.tobytes().translate(None, bytes(values))
    return bool(np.isin(array, values).all())
