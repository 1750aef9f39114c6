"""Slices of which no more is decoded than crops need, and no more becomes HU than they hold."""

from __future__ import annotations

import numpy as np

from dsnet.data.ct_image import has_low_codes, hu_of_codes, require_hu, windowed
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
    codes : ndarray [h, w], uint16, or None
        What is decoded, HU + 32768; None where nothing is, or of a picture that was windowed.
    """

    def __init__(self, picture: Picture, pictures: bool = False) -> None:
        self.shape, self.path = picture.shape, picture.path
        self._picture, self._pictures = picture, pictures
        self._pixels, self.codes = _NOTHING, None

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
            self.codes = pixels
        self._pixels = pixels

    def __getitem__(self, box: tuple[slice, slice]) -> np.ndarray:
        """The pixels of two ranges, [h, w] float32: HU, or 0..1 of a picture."""
        rows, cols = (
            slice(*one.indices(length)) for one, length in zip(box, self.shape, strict=True)
        )
        self.decode(rows.stop, cols.stop)
        pixels = self._pixels[rows, cols]
        return windowed(pixels) if self._pictures else hu_of_codes(pixels)
