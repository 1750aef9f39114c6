"""Where a crop lies in its image, and which of the image's pixels it is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dsnet.labeling.recist import RecistMark

if TYPE_CHECKING:
    from dsnet.data.slice_part import SlicePart

# Surroundings that a label needs: the cut looks for background this far beyond the mark.
LEAST_MARGIN = 8.0
MARGIN_SHARE = 0.25
# Of a crop, and of the weights that resample it: 134 MB of float64. A spacing of 1e-5 mm beside
# pixels of 0.7 mm would ask for gigabytes.
_MOST_PIXELS = 2**24


@dataclass(frozen=True)
class CropPlan:
    """Where a crop lies in its image.

    Attributes
    ----------
    shape : (H, W)
        Of the image.
    size : int
        Of the crop.
    offset, scale : (x, y)
        As a `Crop` has them.
    """

    shape: tuple[int, int]
    size: int
    offset: tuple[float, float]
    scale: tuple[float, float]

    @property
    def is_copy(self) -> bool:
        """Whether pixels are copied as they are."""
        return self.scale == (1.0, 1.0)

    @cached_property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the crop is made of."""
        if not self.is_copy:
            rows, columns = (slice(w.first, w.first + w.matrix.shape[1]) for w in self._weights)
            return rows, columns
        (x, y), (height, width) = self.offset, self.shape
        return _span(int(y), self.size, height), _span(int(x), self.size, width)

    def cut(self, image: np.ndarray | SlicePart) -> np.ndarray:
        """The crop of an image [H, W], float32 [size, size].

        Raises
        ------
        ValueError
            When it is not finite there.
        """
        cut = self.pixels(image)
        if not np.isfinite(cut).all():
            raise ValueError("image must be finite around the mark, got NaN or infinite values")
        # Of an array a view may have been cut.
        return cut.astype(np.float32, copy=cut.base is not None)

    def pixels(self, image: np.ndarray | SlicePart) -> np.ndarray:
        """What the crop's pixels come to: as they are, or float64 where they are resampled."""
        piece = image[self.box]
        if not self.is_copy:
            return self.resampled(piece.astype(np.float64))
        if piece.shape == (self.size, self.size):
            return piece
        rows, columns = self._copied
        return piece[np.ix_(rows - rows[0], columns - columns[0])]

    def resampled(self, piece: np.ndarray) -> np.ndarray:
        """The crop, float64, of the image's pixels in its `box`, float64, where it is no copy."""
        rows, columns = self._weights
        return rows.matrix @ piece @ columns.matrix.T

    def cut_masks(self, masks: np.ndarray) -> np.ndarray:
        """The crop of masks [R, H, W], bool [R, size, size]: at least half must be covered."""
        (x, y), (scale_x, scale_y) = self.offset, self.scale
        rows = weights(self.size, y, scale_y, self.shape[0], beyond=0.0)
        columns = weights(self.size, x, scale_x, self.shape[1], beyond=0.0)
        # Sums of weights may miss one half by rounding.
        covered = [resampled(mask, rows, columns) >= 0.5 - 1e-9 for mask in masks]
        return np.array(covered, dtype=bool).reshape(len(masks), self.size, self.size)

    @cached_property
    def _copied(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the image, the edge's again beyond it."""
        (x, y), (height, width) = self.offset, self.shape
        number = np.arange(self.size)
        return np.clip(number + int(y), 0, height - 1), np.clip(number + int(x), 0, width - 1)

    @cached_property
    def _weights(self) -> tuple[Weights, Weights]:
        (x, y), (scale_x, scale_y), (height, width) = self.offset, self.scale, self.shape
        return weights(self.size, y, scale_y, height), weights(self.size, x, scale_x, width)


def plan_crop(
    shape: tuple[int, int],
    mark: RecistMark,
    size: int = 64,
    *,
    spacing: tuple[float, float] | None = None,
    isotropic_mm: float | None = None,
) -> CropPlan:
    """Where `cut_crop` cuts a crop of an image of this shape; arguments and errors are its own."""
    if size < 8:
        raise ValueError(f"size must be at least 8 pixels, got {size}")
    if size**2 > _MOST_PIXELS:
        raise ValueError(f"size must be at most {math.isqrt(_MOST_PIXELS)} pixels, got {size}")
    if isotropic_mm is not None and not (spacing is not None and 0 < isotropic_mm < np.inf):
        raise ValueError(f"isotropic_mm must be > 0 and needs spacing, got {isotropic_mm}")
    x_min, y_min, x_max, y_max = mark.bounds()
    if mark.is_outside(shape):
        bounds = tuple(round(v, 1) for v in mark.bounds())
        raise ValueError(f"mark at x, y {bounds} lies outside the image of {shape[1]}x{shape[0]}")
    if not max(x_max - x_min, y_max - y_min) <= size + abs(complex(*shape)):
        raise ValueError(
            f"mark spans {x_max - x_min:g}x{y_max - y_min:g} pixels, more than the image of "
            f"{shape[1]}x{shape[0]}"
        )
    scale = (1.0, 1.0)
    if isotropic_mm is not None and spacing is not None:
        scale = (spacing[1] / isotropic_mm, spacing[0] / isotropic_mm)
    width, height, long_diameter = mark.extent(*scale)
    margin = max(LEAST_MARGIN, MARGIN_SHARE * long_diameter)
    shrink = min(1.0, size / (max(width, height) + 2 * margin))
    scale = (scale[0] * shrink, scale[1] * shrink)
    for length, along in zip(scale, "xy", strict=True):
        # Neither a crop within one pixel nor one of a million: the spacing is not the image's.
        if not 0 < length <= size or size * (size / length) > _MOST_PIXELS:
            raise ValueError(
                f"crop of {size} pixels would cover {size / length:g} pixels of the image along "
                f"{along}: got spacing {spacing} and isotropic_mm {isotropic_mm}"
            )

    x, y = 0.5 * (x_min + x_max + 1), 0.5 * (y_min + y_max + 1)
    offset = _first_pixel(x, size, scale[0]), _first_pixel(y, size, scale[1])
    return CropPlan((shape[0], shape[1]), size, offset, scale)


def _first_pixel(middle: float, size: int, scale: float) -> float:
    # Unscaled pixels are copied whole; of digits `round` keeps the sign of a zero.
    return round(middle - size / 2, 0) if scale == 1.0 else middle - size / 2 / scale


def _span(first: int, size: int, length: int) -> slice:
    """What there is of so many pixels from the first one on, the nearest one at least."""
    return slice(min(max(first, 0), length - 1), min(max(first + size - 1, 0), length - 1) + 1)


@dataclass(frozen=True)
class Weights:
    """Of a row of source pixels in each pixel of a row of results.

    Attributes
    ----------
    first : int
        Source pixel of the first column.
    matrix : ndarray [size, pixels], float64
    """

    first: int
    matrix: np.ndarray


def weights(size: int, offset: float, scale: float, length: int, *, beyond: float = 1.0) -> Weights:
    """Share of each source pixel in each of `size` pixels of 1 / `scale` from `offset` on.

    Shrinking takes the mean over the area covered, enlarging interpolates linearly. Pixels
    past the source's border are its edge pixels, times `beyond`.
    """
    if size * (size / scale) > 8 * _MOST_PIXELS:
        raise ValueError(f"scale must not take {size / scale:g} pixels to {size}, got {scale:g}")
    edges = offset + np.arange(size + 1) / scale
    if scale <= 1.0:
        first, last = math.floor(edges[0]), math.ceil(edges[-1])
        pixel = np.arange(first, last, dtype=np.float64)
        matrix = np.minimum(edges[1:, None], pixel + 1)
        matrix -= np.maximum(edges[:-1, None], pixel)
        np.maximum(matrix, 0.0, out=matrix)
        matrix *= scale
    else:
        centre = 0.5 * (edges[1:] + edges[:-1]) - 0.5
        first, last = math.floor(centre[0]), math.floor(centre[-1]) + 2
        pixel = np.arange(first, last, dtype=np.float64)
        matrix = np.maximum(1.0 - np.abs(centre[:, None] - pixel), 0.0)
    if first >= 0 and last <= length:
        return Weights(first, matrix)
    outside = (pixel < 0) | (pixel >= length)
    matrix = matrix * np.where(outside, beyond, 1.0)
    # Pixels past a border fold onto its edge pixel.
    inside = np.clip(pixel, 0, length - 1).astype(np.int64)
    kept = np.zeros((size, inside[-1] - inside[0] + 1))
    np.add.at(kept.T, inside - inside[0], matrix.T)
    return Weights(int(inside[0]), kept)


def resampled(image: np.ndarray, rows: Weights, columns: Weights) -> np.ndarray:
    """An image [H, W] by its weights along either axis, float64."""
    height, width = rows.matrix.shape[1], columns.matrix.shape[1]
    window = image[rows.first : rows.first + height, columns.first : columns.first + width]
    return rows.matrix @ window.astype(np.float64) @ columns.matrix.T
