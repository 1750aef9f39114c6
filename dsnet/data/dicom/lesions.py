"""A soft mask on the slice that it was made of: what is written into DICOM objects and volumes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsnet.labeling.recist import RecistMark


@dataclass(frozen=True, eq=False)
class PlacedLesion:
    """One labelled lesion in the pixels of its source slice.

    Attributes
    ----------
    key : str
        Of its row in the store.
    study_uid, series_uid, instance_uid : str
    frame : int or None
        Of an object with several, from 1 on.
    shape : (rows, columns)
        Of the slice.
    corner : (row, column)
        Where `alpha` begins on the slice.
    alpha : ndarray [h, w], float32
        The soft mask, 0..1; beyond it the slice is 0.
    mark : RecistMark or None
        That it was made of, in the slice's pixels, centres at integers.
    label : str
        What the mark is called; "" where nobody said.
    place : str
        Where it lies, as DeepLesion names it ("lung", "liver", ...), or "".
    tracking_uid, tracking_id : str
        By which mark, mask and measurements of one lesion find each other; the text is the UID
        again where the mark has none.
    window : (low, high) or None
        HU that were shown as 0..1 when it was labelled.
    """

    key: str
    study_uid: str
    series_uid: str
    instance_uid: str
    frame: int | None
    shape: tuple[int, int]
    corner: tuple[int, int]
    alpha: np.ndarray
    mark: RecistMark | None
    label: str
    place: str
    tracking_uid: str
    tracking_id: str
    window: tuple[float, float] | None = None

    @property
    def binary(self) -> np.ndarray:
        """bool [h, w]: where the soft mask is at least one half."""
        return self.alpha >= 0.5

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the slice that `alpha` covers."""
        (row, column), (height, width) = self.corner, self.alpha.shape
        return slice(row, row + height), slice(column, column + width)

    def on_slice(self, values: np.ndarray) -> np.ndarray:
        """`values` [h, w] of its window on the whole slice, 0 beside them."""
        whole = np.zeros(self.shape, values.dtype)
        whole[self.slices] = values
        return whole
