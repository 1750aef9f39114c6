"""One way to draw a tile: an image enlarged, lines and outlines between its pixels, text.

Public
------
``Tile(image, size, smooth=False, oversampling=1)``: ``.line``, ``.outline``, ``.frame``,
    ``.tint``, ``.picture()``
``fitted(shape, side) -> (width, height)``: of a picture whose longer side is `side`
``paper(height, width, shade=255)``, ``put(sheet, picture, x, y, width, height)``
``write(sheet, text, place, size, colour, room)``

Pictures are uint8 [H, W, 3], blue, green, red. Points are (x, y) in the image's pixels, pixel
centres at integers.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

Colour: TypeAlias = tuple[int, int, int]

# OpenCV takes points in integers with this many fractional bits.
SHIFT = 6


class Tile:
    """An image, enlarged, to draw on.

    Parameters
    ----------
    image : ndarray [H, W] or [H, W, 3]
        Grey values, or blue, green and red, in 0..1; NaN is black.
    size : (width, height)
        Of the picture.
    smooth : bool
        Cubic between the image's pixels; otherwise they stay squares.
    oversampling : int
        Drawn so much larger and averaged down, so that thin lines come out smooth.

    Attributes
    ----------
    canvas : ndarray uint8 [oversampling * height, oversampling * width, 3]
    scale : ndarray [2], float64
        Canvas pixels per image pixel, (x, y).
    """

    def __init__(
        self,
        image: np.ndarray,
        size: tuple[int, int],
        *,
        smooth: bool = False,
        oversampling: int = 1,
    ) -> None:
        self.oversampling = oversampling
        shape = size[1] * oversampling, size[0] * oversampling
        self.scale = np.divide(shape, image.shape[:2])[::-1]
        levels = (np.nan_to_num(image).clip(0, 1) * 255).round().astype(np.uint8)
        enlarged = (_cubic if smooth else _squares)(levels, shape)
        if enlarged.ndim == 2:
            enlarged = np.repeat(enlarged[..., None], 3, 2)
        self.canvas = enlarged

    def line(
        self, points: np.ndarray, colour: Colour, thickness: int, *, closed: bool = False
    ) -> None:
        """Through points [K, 2], `thickness` canvas pixels wide; nothing where one is no number."""
        import cv2

        if not np.isfinite(points).all():
            return
        # (x + 0.5) * scale - 0.5 keeps pixel edges on edges.
        place = np.clip((points + 0.5) * self.scale - 0.5, -1e5, 1e5)
        place = np.rint(place * 2**SHIFT).astype(np.int32)[:, None]
        cv2.polylines(self.canvas, [place], closed, colour, thickness, cv2.LINE_AA, SHIFT)

    def outline(
        self,
        level: np.ndarray,
        colour: Colour,
        thickness: int,
        *,
        at: float = 0.5,
        fineness: int | None = None,
    ) -> None:
        """The lines where `level` [H, W], linear between its pixels, crosses `at`.

        `fineness` steps a pixel; as many as the canvas has, by default.
        """
        import cv2

        shape = np.array(level.shape)
        size = self.canvas.shape[:2] if fineness is None else shape * fineness
        known = np.nan_to_num(level.astype(np.float32))
        fine = cv2.resize(known, tuple(map(int, size[::-1])), interpolation=cv2.INTER_LINEAR) >= at
        # A border of background, so that a line closes at the image's edge.
        inside = np.pad(fine.astype(np.uint8), 1)
        found, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        steps = np.divide(size, shape)[::-1]
        for each in found:
            points = (each[:, 0].astype(np.float64) - 1 + 0.5) / steps - 0.5
            self.line(points, colour, thickness, closed=True)

    def frame(self, box: tuple[int, int, int, int], colour: Colour, thickness: int) -> None:
        """Around a box (x0, y0, x1, y1), its first and last column and row.

        A line of one pixel lies inside of the edge, a thicker one across it.
        """
        import cv2

        thin = thickness == 1
        first = np.rint(np.multiply(box[:2], self.scale)).astype(int)
        last = np.rint(np.add(box[2:], 1) * self.scale).astype(int) - thin
        kind = cv2.LINE_8 if thin else cv2.LINE_AA
        cv2.rectangle(self.canvas, first.tolist(), last.tolist(), colour, thickness, kind)

    def tint(self, alpha: np.ndarray, colour: Colour, strength: float = 0.5) -> None:
        """Mix a colour in, `strength` of it where `alpha` [H, W] is 1."""
        import cv2

        size = self.canvas.shape[1::-1]
        share = strength * cv2.resize(alpha, size, interpolation=cv2.INTER_LINEAR)[..., None]
        self.canvas[:] = self.canvas * (1 - share) + share * np.array(colour)

    def picture(self) -> np.ndarray:
        """What was drawn, [height, width, 3] of `size`."""
        import cv2

        if self.oversampling == 1:
            return self.canvas
        size = tuple(side // self.oversampling for side in self.canvas.shape[1::-1])
        return cv2.resize(self.canvas, size, interpolation=cv2.INTER_AREA)


def fitted(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """(width, height) of a picture of an image [H, W] whose longer side is `side`."""
    grow = side / max(shape[:2])
    height, width = (max(1, round(n * grow)) for n in shape[:2])
    return width, height


def paper(height: int, width: int, shade: int = 255) -> np.ndarray:
    """An empty picture."""
    return np.full((height, width, 3), shade, np.uint8)


def put(sheet: np.ndarray, picture: np.ndarray, x: int, y: int, width: int, height: int) -> None:
    """Lay a picture into the middle of a cell whose corner is at (x, y)."""
    h, w = picture.shape[:2]
    top, left = y + (height - h) // 2, x + (width - w) // 2
    sheet[top : top + h, left : left + w] = picture


def write(
    sheet: np.ndarray,
    text: str,
    place: tuple[int, int],
    size: int,
    colour: Colour,
    room: int,
    *,
    bold: bool = False,
    keep_end: bool = False,
) -> None:
    """Write a line of text, with an ellipsis where it is longer than `room` pixels.

    Parameters
    ----------
    sheet : ndarray [H, W, 3], uint8
    text : str
    place : (x, y)
        Where the base line begins.
    size : int
        Pixels.
    colour : (blue, green, red)
    room : int
    bold : bool
    keep_end : bool
        Cut off the beginning of a long text, not its end.
    """
    import cv2

    # OpenCV 5 brings a TrueType font, older versions have stroked letters only.
    font = cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None
    weight = 700 if bold else 400
    scale = size / 30
    if font is None:
        text = text.encode("ascii", "replace").decode()

    def width(line: str) -> int:
        if font is not None:
            return cv2.getTextSize((0, 0), line, (0, 0), font, size, weight)[2]
        return cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]

    line, kept = text, text
    while kept and width(line) > room:
        kept = kept[1:] if keep_end else kept[:-1]
        line = f"...{kept}" if keep_end else f"{kept}..."
    if font is not None:
        cv2.putText(sheet, line, place, colour, font, size, weight)
    else:
        cv2.putText(sheet, line, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)


def _squares(levels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    rows, columns = (np.arange(n) * m // n for n, m in zip(shape, levels.shape, strict=False))
    return levels[rows][:, columns]


def _cubic(levels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    import cv2

    return cv2.resize(levels, shape[::-1], interpolation=cv2.INTER_CUBIC)
