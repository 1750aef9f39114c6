"""Erosion and dilation of masks by true discs, on the CPU and on CUDA arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dsnet import _C
from dsnet.labeling.arguments import as_masks, as_radii, as_spacing
from dsnet.labeling.gpu.arrays import is_on_device


def erode(
    mask: Any,
    radius: float | Sequence[float] | np.ndarray,
    spacing: tuple[float, float] | None = None,
) -> Any:
    """Pixels of a mask whose centres are farther than `radius` from every pixel outside it.

    The structuring element is a true disc: it holds the pixels whose centres lie within `radius`
    of its own. What lies beyond the image's border erodes nothing.

    Parameters
    ----------
    mask : array, shape [H, W] or [N, H, W]
        Boolean or numeric; non-zero is set. NaN is refused.
    radius : float, or N floats
        One for all images or one for each: millimetres where `spacing` is given, else pixels.
        Zero changes nothing.
    spacing : (row, column), optional
        Millimetres per pixel.

    Returns
    -------
    ndarray of the mask's shape, bool

    Raises
    ------
    ValueError
        When the mask has another shape or holds NaN, or a radius is negative, not finite or not
        one for each image, or the spacing is not positive. The message names the argument.
    TypeError
        When the mask or a radius is not boolean or numeric.

    Notes
    -----
    A mask in a CUDA device's memory (of torch, CuPy, numba, or with DLPack), bool or uint8, is
    worked on there, on its library's current stream and without a copy to the host; the result is
    an array of the same library. Radii are numbers in host memory.
    """
    return _work("erode", mask, {"radius": radius}, spacing)


def dilate(
    mask: Any,
    radius: float | Sequence[float] | np.ndarray,
    spacing: tuple[float, float] | None = None,
) -> Any:
    """Pixels whose centres lie within `radius` of a pixel of the mask.

    Parameters, results, errors and CUDA arrays are as in `erode`.
    """
    return _work("dilate", mask, {"radius": radius}, spacing)


def split_trimap(
    mask: Any,
    erosion: float | Sequence[float] | np.ndarray,
    dilation: float | Sequence[float] | np.ndarray,
    spacing: tuple[float, float] | None = None,
) -> Any:
    """Erosion and dilation of a mask as one trimap.

    `trimap_from_mask` is this for each connected part, with default margins and without parts
    that erode to nothing.

    Parameters
    ----------
    mask, spacing
        As in `erode`.
    erosion, dilation : float, or N floats
        Radii inside and outside the mask, as `erode`'s.

    Returns
    -------
    ndarray of the mask's shape, uint8
        `FOREGROUND` (255) where `erode` keeps the pixel, `BACKGROUND` (0) where `dilate` does not
        reach it, else `UNKNOWN` (128).
    """
    return _work("split_trimap", mask, {"erosion": erosion, "dilation": dilation}, spacing)


def _work(name: str, mask: Any, radii: dict[str, Any], spacing: Any) -> Any:
    """Run a function of the compiled module, or its CUDA counterpart, on one image or on each."""
    steps = as_spacing(spacing)
    if is_on_device(mask):
        from dsnet.labeling.gpu.batches import morphology_on_device

        return morphology_on_device(name, mask, radii, steps)
    masks, compiled = as_masks(mask, "mask"), getattr(_C, name)
    if masks.ndim == 2:
        return compiled(masks, *(float(as_radii(v, k)[0]) for k, v in radii.items()), *steps)
    each = [as_radii(value, key, len(masks)) for key, value in radii.items()]
    out = np.empty(masks.shape, np.uint8 if name == "split_trimap" else bool)
    for i, image in enumerate(masks):
        out[i] = compiled(image, *(float(values[i]) for values in each), *steps)
    return out
