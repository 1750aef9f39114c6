"""Checks of arguments that several stages share: errors name the argument, what came, what may."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsnet import _C
from dsnet.labeling.recist import RecistMark


def as_image(image: np.ndarray) -> np.ndarray:
    """`image` as float32 [H, W] in 0..1; ValueError or TypeError that says what is wrong."""
    array = as_float32(image)
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("image must be finite, got NaN or infinite values")
    if low < -1e-3 or high > 1 + 1e-3:
        raise ValueError(
            f"image must be in 0..1 after the HU window, got values in {low:g}..{high:g}"
        )
    return array


def as_float32(image: np.ndarray) -> np.ndarray:
    """`image` as contiguous float32 [H, W]; its values are not looked at."""
    array = np.asarray(image)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"image must be [H, W] with H, W >= 1, got shape {array.shape}")
    require_pixels(array.shape, "image")
    if array.dtype.kind != "f":
        raise TypeError(
            f"image must be floating point in 0..1 after the HU window, got dtype {array.dtype}"
        )
    return np.ascontiguousarray(array, dtype=np.float32)


def as_mask(mask: np.ndarray, name: str) -> np.ndarray:
    """`mask` as contiguous bool [H, W]; ValueError or TypeError that names the argument."""
    array = np.asarray(mask)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must be [H, W] with H, W >= 1, got shape {array.shape}")
    return as_bool(array, name)


def as_mask_like(mask: np.ndarray, other: np.ndarray, name: str) -> np.ndarray:
    """As `as_mask`; ValueError where its shape is not the other's."""
    mask = as_mask(mask, name)
    if mask.shape != other.shape:
        raise ValueError(f"{name} must have shape {other.shape}, got {mask.shape}")
    return mask


def as_rater_masks(masks: np.ndarray) -> np.ndarray:
    """`masks` as bool [R, H, W]; ValueError or TypeError that names the argument."""
    array = np.asarray(masks)
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"masks must be [R, H, W] with R, H, W >= 1, got shape {array.shape}")
    return as_bool(array, "masks")


def as_masks(mask: np.ndarray, name: str) -> np.ndarray:
    """`mask` as bool [H, W] or [N, H, W]; ValueError or TypeError that names the argument."""
    array = np.asarray(mask)
    if array.ndim not in (2, 3) or 0 in array.shape[-2:]:
        raise ValueError(
            f"{name} must be [H, W] or [N, H, W] with H, W >= 1, got shape {array.shape}"
        )
    return as_bool(array, name)


def as_bool(array: np.ndarray, name: str) -> np.ndarray:
    """Non-zero is True; ValueError or TypeError that names the argument."""
    require_pixels(array.shape[-2:], name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be boolean or numeric, got dtype {array.dtype}")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"{name} must not hold NaN")
    return np.ascontiguousarray(array if array.dtype == bool else array != 0)


def require_pixels(shape: tuple[int, ...], name: str, most: int = _C.MOST_PIXELS) -> None:
    """Raise ValueError where an image of `shape` [H, W] has more pixels than can be numbered."""
    if shape[0] * shape[1] > most:
        raise ValueError(f"{name} must have at most {most} pixels, got {shape[0]}x{shape[1]}")


def as_spacing(spacing: tuple[float, float] | None) -> tuple[float, float]:
    """`spacing` as (row, column) in mm per pixel, (1, 1) where it is None."""
    if spacing is None:
        return (1.0, 1.0)
    try:
        values = np.asarray(spacing, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (2,) or not np.isfinite(values).all() or (values <= 0).any():
        raise ValueError(f"spacing must be (row, column) in mm per pixel, > 0, got {spacing!r}")
    return (float(values[0]), float(values[1]))


def as_radius(value: float, name: str) -> float:
    """`value` as a float; ValueError that names the argument where it is not finite and >= 0."""
    value = float(value)
    if not 0.0 <= value < np.inf:
        raise ValueError(f"{name} must be finite and >= 0, got {value}")
    return value


def as_radii(value: Any, name: str, count: int | None = None) -> np.ndarray:
    """One radius, or one for each of `count` images, as float64 [count or 1].

    ValueError or TypeError names the argument.
    """
    try:
        radii = np.asarray(value)
    except (TypeError, ValueError):  # a ragged list, an array in a GPU's memory
        radii = np.empty(0, dtype=object)
    if radii.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be a number or one for each image, got {value!r}")
    if radii.ndim and radii.shape != (count,):
        wanted = "a number" if count is None else f"a number or [{count}], one for each image"
        raise ValueError(f"{name} must be {wanted}, got shape {radii.shape}")
    radii = np.full(1 if count is None else count, radii, dtype=np.float64)
    bad = ~((radii >= 0) & (radii < np.inf))
    if bad.any():
        raise ValueError(f"{name} must be finite and >= 0, got {radii[bad][0]}")
    return radii


def require_touching(mark: RecistMark, shape: tuple[int, int]) -> None:
    """Raise ValueError where a mark lies wholly outside an image of `shape` [H, W]."""
    if "mark lies outside the image" in mark.problems(shape):
        raise ValueError(
            f"mark must touch the image of {shape[0]}x{shape[1]} pixels, "
            f"got end points within {tuple(round(v, 2) for v in mark.bounds())} (x, y, x, y)"
        )


def as_value_error(error: Exception) -> ValueError:
    """What a batch has in the place of a row's label: of whatever an array did, its words."""
    if isinstance(error, ValueError):
        return error
    if isinstance(error, TypeError):
        return ValueError(str(error))
    return ValueError(f"{type(error).__name__}: {error}")
