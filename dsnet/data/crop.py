"""Crops cut around a mark, and soft masks pasted back where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isqrt

import numpy as np

from dsnet.labeling.recist import RecistMark

# Surroundings that a label needs: the cut looks for background this far beyond the mark.
LEAST_MARGIN = 8.0
MARGIN_SHARE = 0.25
# Of a crop, and of the weights that resample it: 134 MB of float64. A spacing of 1e-5 mm beside
# pixels of 0.7 mm would ask for gigabytes.
_MOST_PIXELS = 2**24


@dataclass(eq=False)
class Crop:
    """A piece of an image, with what is known about it.

    Attributes
    ----------
    image : ndarray [h, w], float32
        Grey values in 0..1.
    mark : RecistMark or None
        In crop pixels.
    spacing : (row, column) or None
        Millimetres per crop pixel.
    masks : ndarray [R, h, w], bool, or None
        Raters' masks; one for a plain mask.
    key : str
        Unique in its data set.
    source : str
        File that it was cut from.
    offset : (x, y)
        Where crop pixel edges begin: source edge = offset + crop edge / scale, so that for
        scale 1 crop pixel (0, 0) is source pixel `offset`.
    scale : (x, y)
        Crop pixels per source pixel.
    metadata : dict
        What else the data set tells.
    notes : tuple of str
        What its reader had to decide.
    neighbours : ndarray [2 * count, h, w], float32, or None
        The same of the slices one below, one above, two below, ...
    """

    image: np.ndarray
    mark: RecistMark | None = None
    spacing: tuple[float, float] | None = None
    masks: np.ndarray | None = None
    key: str = ""
    source: str = ""
    offset: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    metadata: dict = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    neighbours: np.ndarray | None = None


def cut_crop(
    image: np.ndarray,
    mark: RecistMark,
    size: int = 64,
    *,
    spacing: tuple[float, float] | None = None,
    isotropic_mm: float | None = None,
    masks: np.ndarray | None = None,
    key: str = "",
    source: str = "",
    metadata: dict | None = None,
) -> Crop:
    """A square crop centred on a mark; the image's border is continued by its edge pixels.

    Pixels are copied as they are where the mark and a margin (8 pixels or a quarter of the
    long axis, whichever is more) fit into `size`. A larger lesion is shrunk until they do, each
    crop pixel the mean of the area that it covers; `scale` tells by how much.

    Parameters
    ----------
    image : ndarray [H, W], float
        Grey values in 0..1.
    mark : RecistMark
        In the image's pixels, at least partly inside it. An unknown short axis counts as assumed.
    size : int
        Pixels a side, at least 8.
    spacing : (row, column), optional
        Millimetres per pixel of the image.
    isotropic_mm : float, optional
        Resample to square pixels of this many millimetres; needs `spacing`.
    masks : ndarray [R, H, W], bool, optional
        Cut likewise; of a resampled pixel, at least half must be covered. Past the image's
        border nothing is.
    key, source, metadata
        Handed on.

    Raises
    ------
    ValueError
        When the image is not [H, W] or not finite near the mark, the mark is outside it or longer
        than its diagonal and `size`, or an option is out of range.
    """
    image = np.asarray(image)
    if image.ndim != 2 or 0 in image.shape:
        raise ValueError(f"image must be [H, W] with H, W >= 1, got shape {image.shape}")
    if masks is not None:
        masks = np.asarray(masks, dtype=bool)
        if masks.ndim != 3 or masks.shape[1:] != image.shape:
            raise ValueError(f"masks must be [R, *{image.shape}], got shape {masks.shape}")
    if size < 8:
        raise ValueError(f"size must be at least 8 pixels, got {size}")
    if size**2 > _MOST_PIXELS:
        raise ValueError(f"size must be at most {isqrt(_MOST_PIXELS)} pixels, got {size}")
    if isotropic_mm is not None and not (spacing is not None and 0 < isotropic_mm < np.inf):
        raise ValueError(f"isotropic_mm must be > 0 and needs spacing, got {isotropic_mm}")
    if "mark lies outside the image" in mark.problems(image.shape):
        bounds = tuple(round(v, 1) for v in mark.bounds())
        raise ValueError(
            f"mark at x, y {bounds} lies outside the image of {image.shape[1]}x{image.shape[0]}"
        )
    x_min, y_min, x_max, y_max = mark.bounds()
    if not max(x_max - x_min, y_max - y_min) <= size + np.hypot(*image.shape):
        raise ValueError(
            f"mark spans {x_max - x_min:g}x{y_max - y_min:g} pixels, more than the image of "
            f"{image.shape[1]}x{image.shape[0]}"
        )
    scale = (1.0, 1.0)
    if isotropic_mm is not None and spacing is not None:
        scale = (spacing[1] / isotropic_mm, spacing[0] / isotropic_mm)
    scaled = mark.scaled(*scale)
    x_min, y_min, x_max, y_max = scaled.bounds()
    margin = max(LEAST_MARGIN, MARGIN_SHARE * scaled.long_diameter)
    shrink = min(1.0, size / (max(x_max - x_min, y_max - y_min) + 2 * margin))
    scale = (scale[0] * shrink, scale[1] * shrink)
    for length, along in zip(scale, "xy", strict=True):
        # Neither a crop within one pixel nor one of a million: the spacing is not the image's.
        if not 0 < length <= size or size * (size / length) > _MOST_PIXELS:
            raise ValueError(
                f"crop of {size} pixels would cover {size / length:g} pixels of the image along "
                f"{along}: got spacing {spacing} and isotropic_mm {isotropic_mm}"
            )

    low_x, low_y, high_x, high_y = mark.bounds()
    middle = (0.5 * (low_x + high_x + 1), 0.5 * (low_y + high_y + 1))
    offset = tuple(
        # Unscaled pixels are copied whole.
        float(np.rint(m - size / 2)) if s == 1.0 else float(m - size / 2 / s)
        for m, s in zip(middle, scale, strict=True)
    )
    if scale == (1.0, 1.0):
        cut = cut_square(image, (int(offset[0]), int(offset[1])), size)
    else:
        columns = _weights(size, offset[0], scale[0], image.shape[1])
        rows = _weights(size, offset[1], scale[1], image.shape[0])
        cut = _resampled(image, rows, columns)
    if not np.isfinite(cut).all():
        raise ValueError("image must be finite around the mark, got NaN or infinite values")
    if masks is not None:
        within = (
            _weights(size, offset[1], scale[1], image.shape[0], beyond=0.0),
            _weights(size, offset[0], scale[0], image.shape[1], beyond=0.0),
        )
        # Sums of weights may miss one half by rounding.
        covered = [_resampled(mask, *within) >= 0.5 - 1e-9 for mask in masks]
        masks = np.array(covered, dtype=bool).reshape(len(masks), size, size)
    x, y = offset
    moved = mark.translated(-x, -y)
    return Crop(
        image=cut.astype(np.float32),
        mark=moved if scale == (1.0, 1.0) else moved.scaled(*scale),
        spacing=None if spacing is None else (spacing[0] / scale[1], spacing[1] / scale[0]),
        masks=masks,
        key=key,
        source=source,
        offset=(x, y),
        scale=scale,
        metadata=dict(metadata or {}),
    )


def cut_square(image: np.ndarray, offset: tuple[int, int], size: int) -> np.ndarray:
    """Pixels as they are, from (x, y) `offset` on; the border is continued by its edge pixels.

    Parameters
    ----------
    image : ndarray [H, W]
    offset : (x, y)
        Of the first pixel; may lie outside.
    size : int
        Pixels a side.
    """
    column, row = (
        np.clip(np.arange(size) + first, 0, length - 1)
        for first, length in zip(offset, image.shape[::-1], strict=True)
    )
    return image[np.ix_(row, column)]


def paste_back(alpha: np.ndarray, crop: Crop, shape: tuple[int, int]) -> np.ndarray:
    """A crop's soft mask on the image that the crop was cut from; 0 outside the crop.

    Parameters
    ----------
    alpha : ndarray [h, w], float
        In the crop's pixels.
    crop : Crop
    shape : (H, W)
        Of the source image.

    Returns
    -------
    ndarray [H, W], float32
        Exact copies where the crop was not resampled, else linear interpolation.
    """
    if alpha.shape != crop.image.shape:
        raise ValueError(f"alpha must have the crop's shape {crop.image.shape}, got {alpha.shape}")
    (x, y), (scale_x, scale_y) = crop.offset, crop.scale
    columns = _weights(shape[1], -x * scale_x, 1 / scale_x, alpha.shape[1], beyond=0.0)
    rows = _weights(shape[0], -y * scale_y, 1 / scale_y, alpha.shape[0], beyond=0.0)
    return np.clip(_resampled(alpha, rows, columns), 0.0, 1.0).astype(np.float32)


def cut_window(
    image: np.ndarray,
    offset: tuple[float, float],
    size: tuple[int, int],
    scale: tuple[float, float] = (1.0, 1.0),
) -> np.ndarray:
    """A window of an image, resampled as `cut_crop` resamples: what a crop of that place shows.

    Parameters
    ----------
    image : ndarray [H, W], float
    offset, scale : (x, y)
        As `Crop` has them; the window's.
    size : (width, height)
        Of the window, in its own pixels.

    Returns
    -------
    ndarray [height, width], float32
        Past the image's border its edge pixels go on.
    """
    columns = _weights(size[0], offset[0], scale[0], image.shape[1])
    rows = _weights(size[1], offset[1], scale[1], image.shape[0])
    return _resampled(image, rows, columns).astype(np.float32)


@dataclass(frozen=True)
class _Weights:
    first: int  # source pixel of the first column
    matrix: np.ndarray  # [size, pixels]


def _weights(
    size: int, offset: float, scale: float, length: int, *, beyond: float = 1.0
) -> _Weights:
    """Share of each source pixel in each of `size` pixels of 1 / `scale` from `offset` on.

    Shrinking takes the mean over the area covered, enlarging interpolates linearly. Pixels
    past the source's border are its edge pixels, times `beyond`.
    """
    if size * (size / scale) > 8 * _MOST_PIXELS:
        raise ValueError(f"scale must not take {size / scale:g} pixels to {size}, got {scale:g}")
    edges = offset + np.arange(size + 1) / scale
    if scale <= 1.0:
        first, last = int(np.floor(edges[0])), int(np.ceil(edges[-1]))
        pixel = np.arange(first, last)
        overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
        matrix = np.maximum(overlap, 0.0) * scale
    else:
        centre = 0.5 * (edges[1:] + edges[:-1]) - 0.5
        first, last = int(np.floor(centre[0])), int(np.floor(centre[-1])) + 2
        pixel = np.arange(first, last)
        matrix = np.maximum(1.0 - np.abs(centre[:, None] - pixel), 0.0)
    outside = (pixel < 0) | (pixel >= length)
    matrix = matrix * np.where(outside, beyond, 1.0)
    # Pixels past a border fold onto its edge pixel.
    inside = np.clip(pixel, 0, length - 1)
    kept = np.zeros((size, inside[-1] - inside[0] + 1))
    np.add.at(kept.T, inside - inside[0], matrix.T)
    return _Weights(int(inside[0]), kept)


def _resampled(image: np.ndarray, rows: _Weights, columns: _Weights) -> np.ndarray:
    height, width = rows.matrix.shape[1], columns.matrix.shape[1]
    window = image[rows.first : rows.first + height, columns.first : columns.first + width]
    return rows.matrix @ window.astype(np.float64) @ columns.matrix.T
