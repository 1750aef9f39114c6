"""CT slices from files, and the HU window that makes 0..1 of them."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias, TypeGuard

import numpy as np

from dsnet import _C
from dsnet.data.mask_values import binary_mask
from dsnet.data.picture_file import MAX_PIXELS, Picture, read_pixels
from dsnet.labeling.recist import RecistMark

Box: TypeAlias = tuple[slice, slice]

HU_OFFSET = 32768
LUNG_WINDOW = (-1350.0, 150.0)
SOFT_TISSUE_WINDOW = (-175.0, 275.0)
# A wider window is the scanner's whole range, not a choice for looking at tissue.
_WIDEST_WINDOW = 2200.0
# A pixel below this many HU is lung; a lesion with this share of lung around it is seen
# against lung, be it on the chest wall.
_LUNG_BELOW = -500.0
_LUNG_SHARE = 0.2
# The same of codes, as the compiled code takes it.
RING_RULE = (int(HU_OFFSET + _LUNG_BELOW), _LUNG_SHARE, LUNG_WINDOW, SOFT_TISSUE_WINDOW)
RING = 10.0  # pixels

DICOM_ENDINGS = (".dcm", ".dicom")

# HU + 32768 of any CT, padding and metal included. A windowed 16-bit picture that keeps within
# would use a tenth of its range.
_LOWEST_HU = -8192.0
_LOWEST_CODE = HU_OFFSET + int(_LOWEST_HU)
_HU_CODES = (HU_OFFSET - 3072, HU_OFFSET + 3584)


def read_ct_png(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """HU of a DeepLesion PNG, or of a TIFF or PGM like it: uint16, HU = value - 32768.

    Parameters
    ----------
    path : path
    max_pixels : int
        See `read_pixels`.

    Returns
    -------
    ndarray [H, W], float32

    Raises
    ------
    ValueError
        When the file is not 16-bit, or as `read_pixels`; the message names it.
    """
    pixels = read_pixels(path, max_pixels)
    if pixels.dtype != np.uint16:
        raise ValueError(f"{path}: must be a 16-bit PNG (HU + 32768), got {pixels.dtype}")
    return hu_of_codes(pixels)


def hu_of_codes(codes: np.ndarray) -> np.ndarray:
    """HU, float32, of uint16 values that are HU + 32768."""
    return codes.astype(np.float32) - np.float32(HU_OFFSET)


def codes_of(picture: Picture, rows: int, cols: int) -> np.ndarray:
    """The upper left part of a slice in a picture's file, as it is stored.

    Values that cannot be HU are looked for in what is decoded; where there is one, the whole slice
    decides, as `require_hu` tells.

    Returns
    -------
    ndarray [h, w], uint16
        HU + 32768, so many rows and columns at least.

    Raises
    ------
    ValueError
        When it cannot be decoded, is not 16-bit, or does not hold HU + 32768.
    """
    pixels, least = picture.pixels_and_least(rows, cols)
    if least and least >= _LOWEST_CODE:  # As most are: 0 of 8 bits, None where it is not known.
        return pixels
    if pixels.dtype != np.uint16:
        raise ValueError(f"{picture.path}: must be a 16-bit PNG (HU + 32768), got {pixels.dtype}")
    if least is None:
        least = int(_C.lowest_code(pixels)) if pixels.size else 0
    if 0 < least < _LOWEST_CODE:
        if pixels.shape != picture.shape:
            pixels = picture.pixels()
        require_hu(hu_of_codes(pixels))
    return pixels


def require_hu(hu: np.ndarray) -> None:
    """Check that a picture's values less 32768 can be HU.

    Raises
    ------
    ValueError
        When a share of them lies below what any scanner gives: it was windowed already.
    """
    image = hu[hu > -HU_OFFSET]  # 0 is what was outside of the scanner's circle
    low = np.count_nonzero(image < _LOWEST_HU)
    if low > 0.01 * image.size:
        raise ValueError(
            f"picture must hold HU + 32768, got {low / image.size:.0%} of its pixels below "
            f"{_LOWEST_HU:g} HU: was it windowed already?"
        )


def read_picture(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """An 8- or 16-bit grey picture that was windowed already, as float32 [H, W] in 0..1.

    Raises
    ------
    ValueError
        As `read_ct_png`; 8 and 16 bits are both fine.
    """
    return windowed(read_pixels(path, max_pixels))


def windowed(pixels: np.ndarray) -> np.ndarray:
    """Stored grey values as float32 in 0..1."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def looks_like_hu(pixels: np.ndarray) -> bool:
    """Whether stored values are HU + 32768 rather than grey values that were windowed."""
    if pixels.dtype != np.uint16 or pixels.min() == pixels.max():
        return False
    low, high = _HU_CODES
    image = pixels[pixels > 0]  # 0 is what was outside of the scanner's circle
    return bool(np.count_nonzero((image >= low) & (image <= high)) >= 0.99 * image.size)


def read_mask(path: str | Path, max_pixels: int = MAX_PIXELS) -> tuple[np.ndarray, str]:
    """The lesion of a grey picture, bool [H, W], and a note; see `binary_mask`.

    Raises
    ------
    ValueError
        As `read_picture`, and when its values do not tell the lesion.
    """
    pixels = read_pixels(path, max_pixels)
    try:
        return binary_mask(pixels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_slice(
    path: str | Path, pictures: bool = False, max_pixels: int = MAX_PIXELS
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """A CT slice from a 16-bit PNG or a DICOM file, or a picture that was windowed already.

    Parameters
    ----------
    path : path
    pictures : bool
        Whether a PNG is windowed; otherwise it holds HU + 32768.
    max_pixels : int
        More are refused by the header.

    Returns
    -------
    image : ndarray [H, W], float32
        HU, or 0..1 of a picture.
    spacing : (row, column) or None
        Millimetres per pixel, where the file tells.

    Raises
    ------
    ValueError
        When the file cannot be used; the message names it.
    """
    from dsnet.data.dicom.slices import read_dicom_slice

    path = Path(path)
    if path.suffix.lower() in DICOM_ENDINGS:
        if pictures:
            raise ValueError(f"{path}: must be a picture that was windowed, got a DICOM file")
        return read_dicom_slice(path, max_pixels)
    if pictures:
        return read_picture(path, max_pixels), None
    try:
        hu = read_ct_png(path, max_pixels)
        require_hu(hu)
        return hu, None
    except ValueError as error:
        about_hu = "16-bit PNG" in str(error) or "must hold HU" in str(error)
        hint = "; --pictures takes windowed ones" if about_hu else ""
        raise ValueError(f"{error}{hint}") from error


def choose_window(
    hu: np.ndarray,
    mark: RecistMark,
    window: tuple[float, float] | None,
    rings: tuple[Box, Box] | None = None,
) -> tuple[float, float]:
    """The HU window to label in.

    The row's own `window` where it is a window for looking at tissue (at most 2200 HU wide).
    Else by what surrounds the lesion: the lung window -1350..150 where a fifth of the ring of
    10 pixels around the mark's box is below -500 HU, the soft tissue window -175..275
    elsewhere. `rings` are the mark's `ring_boxes`, where they are known already.
    """
    if for_tissue(window):
        return window
    outer, inner = (hu[box] for box in rings or ring_boxes(mark))
    below = np.count_nonzero(outer < _LUNG_BELOW) - np.count_nonzero(inner < _LUNG_BELOW)
    pixels = outer.size - inner.size
    return LUNG_WINDOW if below > _LUNG_SHARE * pixels else SOFT_TISSUE_WINDOW


def for_tissue(window: tuple[float, float] | None) -> TypeGuard[tuple[float, float]]:
    """Whether a row's window is one for looking at tissue, which `choose_window` takes."""
    return window is not None and 0 < window[1] - window[0] <= _WIDEST_WINDOW


def ring_boxes(mark: RecistMark) -> tuple[Box, Box]:
    """Rows and columns of the mark's box and 10 pixels around it, and of the box alone."""
    bounds = mark.bounds()
    return _box(bounds, RING), _box(bounds, 0)


def _box(bounds: tuple[float, float, float, float], margin: float) -> Box:
    x_min, y_min, x_max, y_max = bounds
    return (
        slice(max(int(y_min - margin), 0), max(int(y_max + margin) + 1, 0)),
        slice(max(int(x_min - margin), 0), max(int(x_max + margin) + 1, 0)),
    )


def check_window(window: tuple[float, float] | None) -> None:
    """Raise ValueError where a window is not None and not two finite HU, the lower one first."""
    if window is not None and not (len(window) == 2 and -np.inf < window[0] < window[1] < np.inf):
        raise ValueError(f"window must have low < high in HU, got {tuple(window)}")


def apply_window(hu: np.ndarray, low: float, high: float) -> np.ndarray:
    """HU clipped to `low`..`high` and scaled to 0..1, float32. NaN stays NaN.

    Raises
    ------
    ValueError
        When `low` is not below `high`.
    """
    check_window((low, high))
    scaled = np.asarray(hu, dtype=np.float64) - low
    scaled /= high - low
    np.maximum(scaled, 0.0, out=scaled)
    return np.minimum(scaled, 1.0, out=scaled).astype(np.float32)
