"""The picture that `python -m dsnet.predict` leaves of a slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsnet.inference import SliceSegmentation

# Pixels a side, at least, of the overlay's whole slice, and of its tiles. Colours are BGR.
WHOLE, TILE, TITLE = 1024, 256, 20
MASK, OUTLINE, CROP, MARK = (40, 40, 230), (60, 220, 60), (150, 150, 150), (40, 220, 230)
FONT = 0  # cv2.FONT_HERSHEY_SIMPLEX


def draw_overlay(image: np.ndarray, found: SliceSegmentation, titles: Sequence[str]) -> np.ndarray:
    """The slice with all outlines, and beside it each lesion's crop without and with its mask.

    Parameters
    ----------
    image : ndarray [H, W], float
        Grey values in 0..1.
    found : SliceSegmentation
    titles : sequence of N str
        Of the lesions.

    Returns
    -------
    ndarray [h, w, 3], uint8
        Blue, green, red. Outline green, soft mask red, crop grey, mark yellow.
    """
    import cv2

    height, width = image.shape
    grow = max(1.0, WHOLE / max(image.shape))
    whole = _canvas(image, (round(width * grow), round(height * grow)))
    shown = [
        (lesion, title)
        for lesion, title in zip(found.lesions, titles, strict=True)
        if not isinstance(lesion, ValueError)
    ]
    for lesion, _ in shown:
        x0, y0, x1, y1 = lesion.crop_box
        corners = [(round(x0 * grow), round(y0 * grow))]
        corners += [(round((x1 + 1) * grow) - 1, round((y1 + 1) * grow) - 1)]
        cv2.rectangle(whole, *corners, CROP, 1)
        _outline(whole, lesion.binary, lesion.soft)
    rows = max(1, whole.shape[0] // (TILE + TITLE))
    columns = -(-len(shown) // rows)
    strip = np.full((max(whole.shape[0], TILE + TITLE), 2 * columns * TILE, 3), 255, np.uint8)
    for n, (lesion, title) in enumerate(shown):
        x, y = n // rows * 2 * TILE, n % rows * (TILE + TITLE)
        cv2.putText(strip, title[:64], (x + 4, y + 14), FONT, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
        for tile in _tiles(image, lesion):
            h, w = tile.shape[:2]
            strip[y + TITLE : y + TITLE + h, x : x + w] = tile
            x += TILE
    below = strip.shape[0] - whole.shape[0]
    whole = np.pad(whole, ((0, below), (0, 0), (0, 0)), constant_values=255)
    return np.concatenate([whole, strip], 1)


def _tiles(image, lesion) -> list[np.ndarray]:
    import cv2

    x0, y0, x1, y1 = lesion.crop_box
    part = (slice(y0, y1 + 1), slice(x0, x1 + 1))
    grow = TILE / max(x1 - x0 + 1, y1 - y0 + 1)
    size = (max(1, int((x1 - x0 + 1) * grow)), max(1, int((y1 - y0 + 1) * grow)))
    plain, masked = _canvas(image[part], size), _canvas(image[part], size)
    for ends in (lesion.mark.long_axis, lesion.mark.short_axis):
        ends = np.rint((ends - (x0, y0) + 0.5) * grow * 16).astype(int)  # Four bits of fraction.
        cv2.line(plain, *(tuple(map(int, end)) for end in ends), MARK, 1, cv2.LINE_AA, 4)
    alpha = cv2.resize(lesion.soft[part], size, interpolation=cv2.INTER_LINEAR)[..., None]
    masked[:] = masked * (1 - 0.5 * alpha) + 0.5 * alpha * np.array(MASK)
    _outline(masked, lesion.binary[part], lesion.soft[part])
    return [plain, masked]


def _canvas(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    grey = (np.nan_to_num(image).clip(0, 1) * 255).round().astype(np.uint8)
    enlarged = cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC)
    return np.repeat(enlarged[..., None], 3, 2)


def _outline(canvas: np.ndarray, binary: np.ndarray, soft: np.ndarray) -> None:
    """The line around `binary`, at the soft mask's level between its pixels."""
    import cv2

    if not binary.any():
        return
    level = soft[binary].min()
    fine = cv2.resize(soft, canvas.shape[1::-1], interpolation=cv2.INTER_LINEAR) >= level
    lines, _ = cv2.findContours(fine.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, lines, -1, OUTLINE, 1, cv2.LINE_AA)
