"""Contact sheets: many labels on one picture, after the paper's figure 2."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

PANELS = ("mark", "trimap", "soft mask", "contour")
HEADINGS = {"mark": "image, mark", "contour": "binary contour"}
# Colours are BGR.
PAPER, INK, FAINT = (255, 255, 255), (40, 40, 40), (120, 120, 120)
LONG_AXIS, SHORT_AXIS, CONTOUR = (48, 48, 235), (255, 130, 40), (60, 220, 60)
GAP, GROUP_GAP, MARGIN, TITLE_HEIGHT, HEADER_HEIGHT = 4, 28, 24, 24, 26
# Panels are drawn this much larger and averaged down, so that thin lines come out smooth.
OVERSAMPLING = 3
# OpenCV takes points in integers with this many fractional bits.
SHIFT = 6
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
    sheet = np.full((height, width, 3), PAPER, dtype=np.uint8)
    if heading:
        _text(sheet, heading, (MARGIN, MARGIN + 16), 20, INK, width - 2 * MARGIN, bold=True)
    for column in range(columns):
        for index, panel in enumerate(panels):
            x = MARGIN + column * (group_width + GROUP_GAP) + index * (cell_width + GAP)
            text = HEADINGS.get(panel, panel)
            _text(sheet, text, (x, top - 10), 14, FAINT, cell_width)
    for number, (row, factor) in enumerate(zip(rows, factors, strict=True)):
        line, column = divmod(number, columns)
        x = MARGIN + column * (group_width + GROUP_GAP)
        y = top + line * group_height
        _text(sheet, row[0], (x, y + TITLE_HEIGHT - 8), 14, INK, group_width)
        for panel in panels:
            picture = _panel(panel, row, factor)
            if picture is not None:
                h, w = picture.shape[:2]
                # A smaller crop stands in the middle of its cell.
                y0 = y + TITLE_HEIGHT + (cell_height - h) // 2
                x0 = x + (cell_width - w) // 2
                sheet[y0 : y0 + h, x0 : x0 + w] = picture
            x += cell_width + GAP
    return _write(sheet, Path(path))


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
    if panel == "trimap":
        return None if trimap is None else _enlarge(trimap / 255, factor)
    if panel == "soft mask":
        return None if alpha is None else _enlarge(alpha, factor)
    large = factor * OVERSAMPLING
    canvas = _enlarge(image, large)
    thickness = max(2, round(1.4 * OVERSAMPLING))
    if panel == "mark" and mark is not None:
        for axis, colour in ((mark[0], LONG_AXIS), (mark[1], SHORT_AXIS)):
            _draw(canvas, axis, colour, thickness, large)
    level = alpha if alpha is not None else binary
    if panel == "contour" and level is not None:
        for line in _contours(level.astype(np.float32), 8):
            _draw(canvas, line, CONTOUR, thickness, large, closed=True)
    return _shrink(canvas)


def _enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    grey = np.rint(np.clip(np.nan_to_num(image), 0, 1) * 255).astype(np.uint8)
    grey = grey.repeat(factor, axis=0).repeat(factor, axis=1)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _shrink(canvas: np.ndarray) -> np.ndarray:
    import cv2

    size = (canvas.shape[1] // OVERSAMPLING, canvas.shape[0] // OVERSAMPLING)
    return cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)


def _contours(level: np.ndarray, factor: int) -> list[np.ndarray]:
    """Closed lines around `level >= 0.5`, float64 [K, 2] `(x, y)` in pixels of `level`."""
    import cv2

    size = (level.shape[1] * factor, level.shape[0] * factor)
    fine = cv2.resize(level, size, interpolation=cv2.INTER_LINEAR) >= 0.5
    # A background border, else a lesion on the crop's border would have no line there.
    fine = np.pad(fine.astype(np.uint8), 1)
    found, _ = cv2.findContours(fine, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return [(line[:, 0].astype(np.float64) - 1 + 0.5) / factor - 0.5 for line in found]


def _draw(canvas, points, colour, thickness, factor, closed=False) -> None:
    import cv2

    if not np.isfinite(points).all():
        return
    # Pixel centres are at integers: (x + 0.5) * factor - 0.5 keeps pixel edges on edges.
    place = np.clip((points + 0.5) * factor - 0.5, -1e5, 1e5)
    place = np.rint(place * 2**SHIFT).astype(np.int32)[:, None]
    cv2.polylines(canvas, [place], closed, colour, thickness, cv2.LINE_AA, SHIFT)


def _text(sheet, text, origin, size, colour, room, bold=False) -> None:
    """Write text that ends with an ellipsis where it is longer than `room` pixels."""
    import cv2

    # OpenCV 5 brings a TrueType font, older versions have stroked letters only.
    font = cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None
    weight = 700 if bold else 400
    scale = size / 30

    def width(line: str) -> int:
        if font is not None:
            return cv2.getTextSize((0, 0), line, (0, 0), font, size, weight)[2]
        return cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]

    line = text
    while line and width(line if line == text else line + "...") > room:
        line = line[:-1]
    line = line if line == text else line + "..."
    if font is not None:
        cv2.putText(sheet, line, origin, colour, font, size, weight)
    else:
        cv2.putText(sheet, line, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)


def _write(sheet: np.ndarray, path: Path) -> Path:
    import cv2

    encoded, data = cv2.imencode(".png", sheet)
    if not encoded:
        raise OSError(f"could not encode {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        temporary.write_bytes(data.tobytes())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
