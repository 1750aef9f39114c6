"""Slices of which no more is decoded than crops need, and no more becomes HU than they hold."""

from __future__ import annotations

import math

import numpy as np

from dsnet import _C
from dsnet.data.crop_plan import CropPlan
from dsnet.data.ct_image import (
    HU_OFFSET,
    Box,
    apply_window,
    has_low_codes,
    hu_of_codes,
    require_hu,
    windowed,
)
from dsnet.data.picture_file import Picture

_NOTHING = np.zeros((0, 0), np.uint16)


class SlicePart:
    """A slice in a picture's file: decoded as far down and to the right as was asked for.

    Parameters
    ----------
    picture : Picture
    pictures : bool
        Whether it was windowed already; otherwise it is 16-bit and holds HU + 32768.

    Attributes
    ----------
    shape : (H, W)
        Of the whole slice.
    path : path or RemoteFile
    """

    def __init__(self, picture: Picture, pictures: bool = False) -> None:
        self.shape, self.path = picture.shape, picture.path
        self._picture, self._pictures = picture, pictures
        self._pixels = _NOTHING

    def decode(self, rows: int, cols: int) -> None:
        """Decode the upper left part of so many rows and columns, if it is not yet.

        Values that cannot be HU are looked for in what is decoded; where there is one, the whole
        slice decides, as `require_hu` tells.

        Raises
        ------
        ValueError
            When it cannot be decoded, is not 16-bit, or does not hold HU + 32768.
        """
        rows, cols = min(rows, self.shape[0]), min(cols, self.shape[1])
        have = self._pixels.shape
        if rows <= have[0] and cols <= have[1]:
            return
        wanted = max(rows, have[0]), max(cols, have[1])
        pixels, least = self._picture.pixels_and_least(*wanted)
        if not self._pictures:
            if pixels.dtype != np.uint16:
                raise ValueError(
                    f"{self.path}: must be a 16-bit PNG (HU + 32768), got {pixels.dtype}"
                )
            if has_low_codes(pixels, least):
                if pixels.shape != self.shape:
                    pixels = self._picture.pixels()
                require_hu(hu_of_codes(pixels))
        self._pixels = pixels

    def __getitem__(self, box: tuple[slice, slice]) -> np.ndarray:
        """The pixels of two ranges, [h, w] float32: HU, or 0..1 of a picture."""
        rows, cols = (
            slice(*one.indices(length)) for one, length in zip(box, self.shape, strict=True)
        )
        pixels = self._part(rows, cols)[rows, cols]
        return windowed(pixels) if self._pictures else hu_of_codes(pixels)

    def ring_below(self, rings: tuple[Box, Box], level: float) -> tuple[int, int]:
        """Of the first of two boxes without the second, which lies in it, how many pixels are
        below a level, and how many there are."""
        codes = self._part(*rings[0])
        if not self._pictures:
            return _C.ring_below(codes, rings, math.ceil(level + HU_OFFSET))
        outer, inner = (windowed(codes[box]) < level for box in rings)
        return int(outer.sum()) - int(inner.sum()), outer.size - inner.size

    def shown(self, plan: CropPlan, window: tuple[float, float]) -> np.ndarray:
        """A crop in a window of HU, float32 [size, size]: `apply_window` of `CropPlan.cut`."""
        if self._pictures:
            return apply_window(plan.cut(self), *window)
        return _C.shown_codes(
            self._part(*plan.box), self.shape, plan.size, plan.offset, plan.scale, HU_OFFSET, window
        )

    def _part(self, rows: slice, cols: slice) -> np.ndarray:
        """The codes that are decoded, all that there are of these at least."""
        bottom, right = self._pixels.shape
        if rows.stop > bottom or cols.stop > right:
            self.decode(rows.stop, cols.stop)
        return self._pixels
