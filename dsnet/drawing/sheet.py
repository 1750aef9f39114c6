"""Contact sheets: many labels on one picture, after the paper's figure 2."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dsnet.drawing.tiles import Tile, paper, put, write
from dsnet.files import write_png

PANELS = ("mark", "trimap", "soft mask", "contour")
HEADINGS = {"mark": "image, mark", "contour": "binary contour"}
# Colours are BGR.
INK, FAINT = (40, 40, 40), (120, 120, 120)
LONG_AXIS, SHORT_AXIS, CONTOUR = (48, 48, 235), (255, 130, 40), (60, 220, 60)
GAP, GROUP_GAP, MARGIN, TITLE_HEIGHT, HEADER_HEIGHT = 4, 28, 24, 24, 26
# Panels are drawn so much larger and averaged down; thickness in pixels of the large panel.
OVERSAMPLING, THICK = 3, 4
LARGEST_PIXELS = 2**27


def render(
    rows: Sequence[tuple],
    path: str | os.PathLike,
    *,
    columns: int = 3,
    panels: Sequence[str] = PANELS,
    tile: int = 192,
    heading: str = "",
) -> Path:
    """Draw labels and write them as one PNG.

    Pixels are enlarged without smoothing. Axes (long red, short blue) and the contour of
    `alpha >= 0.5` (green) are drawn at sub-pixel positions.

    Parameters
    ----------
    rows : sequence of (title, image, mark, trimap, alpha, binary)
        title: str; image [H, W] float in 0..1; mark: `RecistMark`, or its 8 coordinates;
        trimap [H, W] uint8; alpha [H, W] float in 0..1; binary [H, W] bool. Any but title
        and image may be None; sizes may differ. Without alpha the contour is the binary's.
    path : str or Path
        The PNG; replaced whole or not at all.
    columns : int
        Labels side by side.
    panels : sequence of str
        Which pictures of each label, among `PANELS`.
    tile : int
        Wanted edge of a picture in sheet pixels; crops grow by the nearest whole factor.
    heading : str
        A line at the top of the sheet.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        When there are no rows, a panel is unknown, a number is out of range, arrays of a row
        differ in shape, or the sheet would be too large.
    """
    rows = list(rows)
    if not rows:
        raise ValueError("rows must not be empty")
    if unknown := [name for name in panels if name not in PANELS]:
        raise ValueError(f"panels must be among {PANELS}, got {unknown[0]!r}")
    if not panels:
        raise ValueError("panels must not be empty")
    if columns < 1 or tile < 16:
        raise ValueError(f"columns must be >= 1 and tile >= 16, got {columns} and {tile}")
    rows = [_checked(row) for row in rows]
    columns = min(columns, len(rows))
    shapes = [row[1].shape for row in rows]
    factors = [max(1, round(tile / max(shape))) for shape in shapes]
    cell_height = max(s[0] * f for s, f in zip(shapes, factors, strict=True))
    cell_width = max(s[1] * f for s, f in zip(shapes, factors, strict=True))
    group_width = len(panels) * (cell_width + GAP) - GAP
    group_height = TITLE_HEIGHT + cell_height + GAP * 2
    top = MARGIN + (34 if heading else 0) + HEADER_HEIGHT
    lines = math.ceil(len(rows) / columns)
    width = 2 * MARGIN + columns * (group_width + GROUP_GAP) - GROUP_GAP
    height = top + lines * group_height + MARGIN
    if width * height > LARGEST_PIXELS:
        raise ValueError(f"rows must make a smaller sheet than {width} x {height} pixels")
    sheet = paper(height, width)
    if heading:
        write(sheet, heading, (MARGIN, MARGIN + 16), 20, INK, width - 2 * MARGIN, bold=True)
    for column in range(columns):
        for index, panel in enumerate(panels):
            x = MARGIN + column * (group_width + GROUP_GAP) + index * (cell_width + GAP)
            text = HEADINGS.get(panel, panel)
            write(sheet, text, (x, top - 10), 14, FAINT, cell_width)
    for number, (row, factor) in enumerate(zip(rows, factors, strict=True)):
        line, column = divmod(number, columns)
        x = MARGIN + column * (group_width + GROUP_GAP)
        y = top + line * group_height
        write(sheet, row[0], (x, y + TITLE_HEIGHT - 8), 14, INK, group_width)
        for panel in panels:
            picture = _panel(panel, row, factor)
            if picture is not None:
                put(sheet, picture, x, y + TITLE_HEIGHT, cell_width, cell_height)
            x += cell_width + GAP
    write_png(path, sheet)
    return Path(path)


def _checked(row: tuple) -> tuple:
    if len(row) != 6:
        raise ValueError(
            f"a row must be (title, image, mark, trimap, alpha, binary), got {len(row)} items"
        )
    title, image, mark, *layers = row
    image = np.asarray(image, dtype=np.float32)
    if image.ndim != 2 or 0 in image.shape:
        raise ValueError(f"image must be [H, W] and not empty, got shape {image.shape}")
    layers = [None if layer is None else np.asarray(layer) for layer in layers]
    for name, layer in zip(("trimap", "alpha", "binary"), layers, strict=True):
        if layer is not None and layer.shape != image.shape:
            raise ValueError(f"{name} must be like the image {image.shape}, got {layer.shape}")
    if mark is not None:
        coordinates = np.asarray(getattr(mark, "coordinates", mark), dtype=np.float64).ravel()
        if coordinates.size != 8:
            raise ValueError(f"mark must have 8 coordinates, got {coordinates.size}")
        mark = coordinates.reshape(2, 2, 2)
    return str(title), image, mark, *layers


def _panel(panel: str, row: tuple, factor: int) -> np.ndarray | None:
    _, image, mark, trimap, alpha, binary = row
    size = (image.shape[1] * factor, image.shape[0] * factor)
    if panel == "trimap":
        return None if trimap is None else Tile(trimap / 255, size).picture()
    if panel == "soft mask":
        return None if alpha is None else Tile(alpha, size).picture()
    tile = Tile(image, size, oversampling=OVERSAMPLING)
    if panel == "mark" and mark is not None:
        for axis, colour in zip(mark, (LONG_AXIS, SHORT_AXIS), strict=True):
            if np.isfinite(axis).all():  # NaN is unknown
                tile.line(axis, colour, THICK)
    level = alpha if alpha is not None else binary
    if panel == "contour" and level is not None:
        tile.outline(level, CONTOUR, THICK, fineness=8)
    return tile.picture()
