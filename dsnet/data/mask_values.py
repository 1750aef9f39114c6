"""What a mask's grey values mean."""

from __future__ import annotations

import numpy as np

# A mask that was compressed or resized: from black to white within an edge of this many pixels.
_EDGE = 5
# Their share; of noise between black and white half of the pixels are grey.
_EDGE_SHARE = 0.4
# More labels than this in one picture are no labels.
MOST_LABELS = 15


def binary_mask(pixels: np.ndarray) -> tuple[np.ndarray, str]:
    """The lesion in a mask's pixels, and what was decided where that is not plain.

    Two values, one of them 0: what is not 0 is lesion. Labels 0, 1, 2, ... up to 15: likewise,
    with a note. Black and white that went through JPEG or resizing: grey in narrow edges alone; the
    lesion is what reaches one half of white, with a note.

    Parameters
    ----------
    pixels : ndarray [H, W], uint8 or uint16

    Returns
    -------
    mask : ndarray [H, W], bool
    note : str
        Empty where nothing had to be decided.

    Raises
    ------
    ValueError
        When it cannot be told which values are the lesion.
    """
    values = np.unique(pixels)
    if len(values) == 1 or (len(values) == 2 and values[0] == 0):
        return pixels != 0, ""
    low, high = int(values[0]), int(values[-1])
    told = f"{len(values)} values in {low}..{high}"
    if len(values) == 2:
        raise ValueError(f"mask must be 0 outside of the lesion, got values {low} and {high}")
    if low == 0 and high <= MOST_LABELS:
        return pixels != 0, f"mask has {told}: all but 0 are the lesion"
    white = 255 if high <= 255 else 65535
    if not _is_softened(pixels, white):
        raise ValueError(f"mask must be of two values, one of them 0, got {told}")
    half = (white + 1) // 2
    return pixels >= half, f"mask has {told}: the lesion is what is at least {half}"


def _is_softened(pixels: np.ndarray, white: int) -> bool:
    """Whether there is black and white, and what lies well between is near both."""
    from scipy.ndimage import maximum_filter, minimum_filter

    dark, bright = white // 4, white - white // 4
    if not (pixels.min() < dark and pixels.max() >= bright):
        return False
    between = (pixels >= dark) & (pixels < bright)
    if between.mean() > _EDGE_SHARE:
        return False
    above = maximum_filter(pixels, _EDGE, mode="nearest") >= white - white // 3
    below = minimum_filter(pixels, _EDGE, mode="nearest") < white // 3
    return bool((above & below)[between].all())
