"""Where a crop lies in its image, and which of the image's pixels it is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dsnet import _C
from dsnet.data.ct_image import RING, Box, ring_boxes
from dsnet.labeling.recist import RecistMark

# Surroundings that a label needs: the cut looks for background this far beyond the mark.
LEAST_MARGIN = 8.0
MARGIN_SHARE = 0.25
LEAST_SIZE = 8
# Of a crop, and an eighth of the pixels by weights: a spacing of 1e-5 mm beside pixels of 0.7 mm
# would ask for gigabytes.
_MOST_PIXELS = 2**24
_MOST_SIZE = math.isqrt(_MOST_PIXELS)


class CropPlan(NamedTuple):
    """Where a crop lies in its image.

    Attributes
    ----------
    shape : (H, W)
        Of the image.
    size : int
        Of the crop.
    offset, scale : (x, y)
        As a `Crop` has them.
    box : (slice, slice)
        Rows and columns of the image that the crop is made of.
    rings : pair of such boxes
        `ring_boxes` of the mark.
    mark : RecistMark
        In the crop's pixels.
    """

    shape: tuple[int, int]
    size: int
    offset: tuple[float, float]
    scale: tuple[float, float]
    box: Box
    rings: tuple[Box, Box]
    mark: RecistMark

    @classmethod
    def of(cls, planned: _C.PlannedCrop, shape: tuple[int, int], size: int) -> CropPlan:
        """What the compiled code planned."""
        offset, scale, box, rings, mark = planned.parts
        return cls(shape, size, offset, scale, box, rings, RecistMark.of_numbers(mark))

    @property
    def is_copy(self) -> bool:
        """Whether pixels are copied as they are."""
        return self.scale == (1.0, 1.0)

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The crop of an image [H, W], float32 [size, size].

        Raises
        ------
        ValueError
            When it is not finite there.
        """
        return self.cut_box(image[self.box])

    def cut_box(self, piece: np.ndarray) -> np.ndarray:
        """As `cut`, of the image's pixels in the box alone."""
        if self.is_copy:
            cut = continued(piece, self.box, self.offset, self.size)
        else:
            cut = resampled_piece(piece, *self._axes())
        if not np.isfinite(cut).all():
            raise ValueError("image must be finite around the mark, got NaN or infinite values")
        # Of an array a view may have been cut.
        return cut.astype(np.float32, copy=cut.base is not None)

    def cut_masks(self, masks: np.ndarray) -> np.ndarray:
        """The crop of masks [R, H, W], bool [R, size, size]: at least half must be covered."""
        axes = self._axes(beyond=0.0)
        # Sums of weights may miss one half by rounding.
        covered = [resampled(mask, *axes) >= 0.5 - 1e-9 for mask in masks]
        return np.array(covered, dtype=bool).reshape(len(masks), self.size, self.size)

    def _axes(self, beyond: float = 1.0) -> tuple[Weights, Weights]:
        (x, y), (scale_x, scale_y), (height, width) = self.offset, self.scale, self.shape
        return (
            weights(self.size, y, scale_y, height, beyond=beyond),
            weights(self.size, x, scale_x, width, beyond=beyond),
        )


def plan_crop(
    shape: tuple[int, int],
    mark: RecistMark,
    size: int = 64,
    *,
    spacing: tuple[float, float] | None = None,
    isotropic_mm: float | None = None,
) -> CropPlan:
    """Where `cut_crop` cuts a crop of an image of this shape; arguments and errors are its own."""
    (plan,), *_ = plan_crops(shape, [mark], size, [False], [spacing], isotropic_mm)
    if isinstance(plan, ValueError):
        raise plan
    assert plan is not None
    return plan if isinstance(plan, CropPlan) else CropPlan.of(plan, shape, size)


def plan_crops(
    shape: tuple[int, int],
    marks: list[RecistMark | None],
    size: int,
    looks: list[bool],
    spacings: Sequence[tuple[float, float] | None],
    isotropic_mm: float | None,
) -> tuple[list[_C.PlannedCrop | CropPlan | ValueError | None], int, int]:
    """As `plan_crop`, around several marks.

    Parameters
    ----------
    shape, marks, size, spacings, isotropic_mm
        Those of `plan_crop`, of each mark; None where there is none.
    looks : list of bool
        Of each, whether what is around the mark is looked at, too.

    Returns
    -------
    plans : list of PlannedCrop, CropPlan, ValueError or None
        Compiled ones, but for what is odd. Why none can be cut; None where there is no mark.
    rows, columns : int
        From the upper left corner, of what all of them are made of and look at.
    """
    scales = None
    if isotropic_mm is not None:
        usable = 0 < isotropic_mm < math.inf
        scales = [
            (one[1] / isotropic_mm, one[0] / isotropic_mm) if one is not None and usable else None
            for one in spacings
        ]
    usual = LEAST_SIZE <= size <= _MOST_SIZE
    plans, bottom, right = _C.planned_crops(marks, shape, size if usual else 0, scales, looks, RING)
    if None not in plans:
        return plans, bottom, right
    for i, mark in enumerate(marks):
        if plans[i] is not None or mark is None:
            continue
        try:
            plan = plan_plainly(shape, mark, size, spacing=spacings[i], isotropic_mm=isotropic_mm)
        except ValueError as error:
            plans[i] = error
            continue
        plans[i] = plan
        for rows, cols in (plan.box, plan.rings[0])[: 1 + looks[i]]:
            bottom = max(bottom, min(rows.stop, shape[0]))
            right = max(right, min(cols.stop, shape[1]))
    return plans, bottom, right


def plan_plainly(
    shape: tuple[int, int],
    mark: RecistMark,
    size: int = 64,
    *,
    spacing: tuple[float, float] | None = None,
    isotropic_mm: float | None = None,
) -> CropPlan:
    """As `plan_crop`, which the compiled code does: the reference for it, and who tells errors."""
    if size < LEAST_SIZE:
        raise ValueError(f"size must be at least {LEAST_SIZE} pixels, got {size}")
    if size > _MOST_SIZE:
        raise ValueError(f"size must be at most {_MOST_SIZE} pixels, got {size}")
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
            covered = size / length if length else math.inf
            raise ValueError(
                f"crop of {size} pixels would cover {covered:g} pixels of the image along "
                f"{along}: got spacing {spacing} and isotropic_mm {isotropic_mm}"
            )

    x = _first_pixel(0.5 * (x_min + x_max + 1), size, scale[0])
    y = _first_pixel(0.5 * (y_min + y_max + 1), size, scale[1])
    box = source_of(weights(size, y, scale[1], shape[0]), weights(size, x, scale[0], shape[1]))
    placed = mark.translated(-x, -y)
    if scale != (1.0, 1.0):
        placed = placed.scaled(*scale)
    return CropPlan((shape[0], shape[1]), size, (x, y), scale, box, ring_boxes(mark), placed)


def _first_pixel(middle: float, size: int, scale: float) -> float:
    # Unscaled pixels are copied whole; of digits `round` keeps the sign of a zero.
    return round(middle - size / 2, 0) if scale == 1.0 else middle - size / 2 / scale


def continued(piece: np.ndarray, box: Box, offset: tuple[float, float], size: int) -> np.ndarray:
    """A square of an image's pixels as they are, of those in its `box`; the border's go on."""
    if piece.shape == (size, size):
        return piece
    rows, columns = (
        np.clip(np.arange(size) + int(first), part.start, part.stop - 1) - part.start
        for first, part in zip(offset[::-1], box, strict=True)
    )
    return piece[np.ix_(rows, columns)]


class Weights(NamedTuple):
    """Of which of an image's pixels, along one axis, those of a crop are made.

    Attributes
    ----------
    size : int
        Pixels of the crop.
    offset, scale : float
        As a `Crop` has them along this axis.
    length : int
        Pixels of the image.
    beyond : float
        What its edge pixels count that go on beyond the border.
    """

    size: int
    offset: float
    scale: float
    length: int
    beyond: float


def weights(size: int, offset: float, scale: float, length: int, *, beyond: float = 1.0) -> Weights:
    """Share of each source pixel in each of `size` pixels of 1 / `scale` from `offset` on.

    Shrinking takes the mean over the area covered, enlarging interpolates linearly. Pixels
    past the source's border are its edge pixels, times `beyond`.
    """
    if size * (size / scale) > 8 * _MOST_PIXELS:
        raise ValueError(f"scale must not take {size / scale:g} pixels to {size}, got {scale:g}")
    return Weights(size, offset, scale, length, beyond)


def resampled(image: np.ndarray, rows: Weights, columns: Weights) -> np.ndarray:
    """An image [H, W] by its weights along either axis, float64.

    Sums are in one order, down the rows, then along the columns: the same bits on every machine.
    """
    return resampled_piece(image[source_of(rows, columns)], rows, columns)


def source_of(rows: Weights, columns: Weights) -> Box:
    """Rows and columns of the image that weights are of."""
    return _C.crop_source(rows), _C.crop_source(columns)


def resampled_piece(piece: np.ndarray, rows: Weights, columns: Weights) -> np.ndarray:
    """As `resampled`, of the pixels alone that the weights are of."""
    return _C.resampled(np.ascontiguousarray(piece, dtype=np.float64), rows, columns)
