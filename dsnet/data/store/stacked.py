"""Labels of one size as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from dsnet.data.store.reader import LabelStore


class StoreArrays(NamedTuple):
    """Stacked labels: `keys` list of N str, `images` and `alphas` float32 [N, H, W],
    `binaries` bool [N, H, W], `trimaps` uint8 [N, H, W]."""

    keys: list[str]
    images: np.ndarray
    alphas: np.ndarray
    binaries: np.ndarray
    trimaps: np.ndarray


def stacked(store: LabelStore, count: int) -> StoreArrays:
    """The sound labels of a store; `count` of its rows say that they are labelled."""
    # The sizes of rows that nobody has read yet need not be sound, their number is.
    keys: list[str] = []
    stacked: list[np.ndarray] = []
    for record in store.records("ok"):
        label = record.labelled()
        stacked = stacked or [np.empty((count, *a.shape), a.dtype) for a in label]
        if label.image.shape != stacked[0].shape[1:]:
            sizes = [label.image.shape, stacked[0].shape[1:]]
            raise ValueError(f"labels must be of one size, {store.path} has {sorted(sizes)}")
        for stack, array in zip(stacked, label, strict=True):
            stack[len(keys)] = array
        keys.append(record.key)
    if not keys:
        raise ValueError(f"labels must be of one size, {store.path} has no label")
    return StoreArrays(keys, *(stack[: len(keys)] for stack in stacked))
