"""Crops cut around a mark, and soft masks pasted back where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dsnet.data.crop_plan import (
    CropPlan,
    continued,
    plan_crop,
    resampled,
    source_of,
    weights,
)
from dsnet.data.ct_image import apply_window
from dsnet.labeling.recist import RecistMark


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
    plan: CropPlan | None = None,
    window: tuple[float, float] | None = None,
) -> Crop:
    """A square crop centred on a mark; the image's border is continued by its edge pixels.

    Pixels are copied as they are where the mark and a margin (8 pixels or a quarter of the
    long axis, whichever is more) fit into `size`. A larger lesion is shrunk until they do, each
    crop pixel the mean of the area that it covers; `scale` tells by how much.

    Parameters
    ----------
    image : ndarray [H, W], float
        Grey values in 0..1, or HU.
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
    plan : CropPlan, optional
        What `plan_crop` gave for these arguments, where it was asked already.
    window : (low, high), optional
        HU that become 0..1.

    Raises
    ------
    ValueError
        When the image is not [H, W] or not finite near the mark, the mark is outside it or longer
        than its diagonal and `size`, or an option is out of range.
    """
    image = np.asarray(image)
    if len(image.shape) != 2 or 0 in image.shape:
        raise ValueError(f"image must be [H, W] with H, W >= 1, got shape {image.shape}")
    if masks is not None:
        masks = np.asarray(masks, dtype=bool)
        if masks.ndim != 3 or masks.shape[1:] != image.shape:
            raise ValueError(f"masks must be [R, *{image.shape}], got shape {masks.shape}")
    if plan is None:
        plan = plan_crop(image.shape, mark, size, spacing=spacing, isotropic_mm=isotropic_mm)
    return planned_crop(
        cut_planned(image, plan, window),
        plan,
        spacing=spacing,
        masks=None if masks is None else plan.cut_masks(masks),
        key=key,
        source=source,
        metadata=dict(metadata or {}),
    )


def planned_crop(
    cut: np.ndarray, plan: CropPlan, *, spacing: tuple[float, float] | None, **kept
) -> Crop:
    """The crop of a plan, of its pixels.

    Parameters
    ----------
    cut : ndarray [size, size], float32
    plan : CropPlan
    spacing : (row, column) or None
        The image's.
    **kept
        What else a `Crop` has, as it is.
    """
    spacing = scaled_spacing(spacing, plan.scale)
    return Crop(cut, plan.mark, spacing, offset=plan.offset, scale=plan.scale, **kept)


def scaled_spacing(
    spacing: tuple[float, float] | None, scale: tuple[float, float]
) -> tuple[float, float] | None:
    """Millimetres per crop pixel (row, column), of the image's and the crop's scale (x, y)."""
    if spacing is None or scale == (1.0, 1.0):
        return spacing
    return spacing[0] / scale[1], spacing[1] / scale[0]


def cut_planned(
    image: np.ndarray, plan: CropPlan, window: tuple[float, float] | None = None
) -> np.ndarray:
    """The pixels of a planned crop, float32 [size, size]; with a window HU become 0..1.

    Raises
    ------
    ValueError
        As `CropPlan.cut` and `apply_window`.
    """
    cut = plan.cut(image)
    return cut if window is None else apply_window(cut, *window)


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
    (x, y), (height, width) = offset, image.shape
    box = source_of(weights(size, y, 1.0, height), weights(size, x, 1.0, width))
    return continued(image[box], box, offset, size)


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
    columns = weights(shape[1], -x * scale_x, 1 / scale_x, alpha.shape[1], beyond=0.0)
    rows = weights(shape[0], -y * scale_y, 1 / scale_y, alpha.shape[0], beyond=0.0)
    return np.clip(resampled(alpha, rows, columns), 0.0, 1.0).astype(np.float32)


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
    columns = weights(size[0], offset[0], scale[0], image.shape[1])
    rows = weights(size[1], offset[1], scale[1], image.shape[0])
    return resampled(image, rows, columns).astype(np.float32)
