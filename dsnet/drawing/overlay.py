"""The picture that `python -m dsnet.predict` leaves of a slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from dsnet.drawing.tiles import Tile, fitted, paper, write

# Pixels a side, at least, of the overlay's whole slice, and of its tiles. Colours are BGR.
WHOLE, TILE, TITLE = 1024, 256, 20
MASK, OUTLINE, CROP, MARK = (40, 40, 230), (60, 220, 60), (150, 150, 150), (40, 220, 230)
INK = (0, 0, 0)


class Lesion(Protocol):
    """What is drawn of a lesion; `dsnet.inference.LesionMask` has it.

    Attributes
    ----------
    mark : has long_axis and short_axis, each [2, 2] of (x, y); the short one may be None
    soft : ndarray [H, W], float32
    binary : ndarray [H, W], bool
    crop_box : (x0, y0, x1, y1) of int
        First and last column and row that the network saw.
    """

    mark: Any
    soft: np.ndarray
    binary: np.ndarray
    crop_box: tuple[int, int, int, int]


def draw_overlay(image: np.ndarray, lesions: Sequence[Lesion], titles: Sequence[str]) -> np.ndarray:
    """The slice with all outlines, and beside it each lesion's crop without and with its mask.

    Parameters
    ----------
    image : ndarray [H, W], float
        Grey values in 0..1.
    lesions : sequence of N Lesion
    titles : sequence of N str

    Returns
    -------
    ndarray [h, w, 3], uint8
        Blue, green, red. Outline green, soft mask red, crop grey, mark yellow.
    """
    slice_tile = Tile(image, fitted(image.shape, max(WHOLE, *image.shape)), smooth=True)
    for lesion in lesions:
        slice_tile.frame(lesion.crop_box, CROP, 1)
        _outline(slice_tile, lesion.binary, lesion.soft)
    whole = slice_tile.picture()
    rows = max(1, whole.shape[0] // (TILE + TITLE))
    columns = -(-len(lesions) // rows)
    strip = paper(max(whole.shape[0], TILE + TITLE), 2 * columns * TILE)
    for n, (lesion, title) in enumerate(zip(lesions, titles, strict=True)):
        x, y = n // rows * 2 * TILE, n % rows * (TILE + TITLE)
        write(strip, title, (x + 4, y + 14), 11, INK, 2 * TILE - 8)
        for tile in _tiles(image, lesion):
            h, w = tile.shape[:2]
            strip[y + TITLE : y + TITLE + h, x : x + w] = tile
            x += TILE
    below = strip.shape[0] - whole.shape[0]
    whole = np.pad(whole, ((0, below), (0, 0), (0, 0)), constant_values=255)
    return np.concatenate([whole, strip], 1)


def _tiles(image: np.ndarray, lesion: Lesion) -> list[np.ndarray]:
    x0, y0, x1, y1 = lesion.crop_box
    part = (slice(y0, y1 + 1), slice(x0, x1 + 1))
    size = fitted(image[part].shape, TILE)
    plain, masked = (Tile(image[part], size, smooth=True) for _ in range(2))
    for ends in (lesion.mark.long_axis, lesion.mark.short_axis):
        if ends is not None:
            plain.line(ends - (x0, y0), MARK, 1)
    masked.tint(lesion.soft[part], MASK)
    _outline(masked, lesion.binary[part], lesion.soft[part])
    return [plain.picture(), masked.picture()]


def _outline(tile: Tile, binary: np.ndarray, soft: np.ndarray) -> None:
    """The line around `binary`, at the soft mask's level between its pixels."""
    if binary.any():
        tile.outline(soft, OUTLINE, 1, at=soft[binary].min())
