"""The picture that `python -m dsnet.evaluate` leaves, after the paper's figure 7."""

from __future__ import annotations

import numpy as np

# Pixels a side of a tile, at least; heights of the lines of text. Colours are BGR.
TILE, HEAD, LINE, GAP = 192, 26, 20, 4
TRUTH, FOUND = (60, 200, 60), (40, 40, 235)
INK, FAINT = (30, 30, 30), (110, 110, 110)
FONT = 0  # cv2.FONT_HERSHEY_SIMPLEX
LONGEST = 22  # Characters over a tile.


def draw_comparison(rows, count: int) -> bytes:
    """A PNG: for cases from the worst to the best, image, truth and every network's contour.

    Parameters
    ----------
    rows : list of `dsnet.evaluate.Scored`
    count : int
        Cases, at equal steps of the rank of their mean DICE over the networks, among the cases
        that all networks were scored on, or of the first network where there are none.

    Returns
    -------
    bytes
        Truth is green, prediction red, drawn where the soft mask crosses a half.
    """
    import cv2

    chosen = choose_cases(rows, count)
    first = rows[0]
    height, width = first.image.shape[1:]
    grow = max(1, round(TILE / max(height, width)))
    size = (width * grow, height * grow)
    columns = ["image", "truth", *(row.name for row in rows)]
    lines = [np.full((HEAD, len(columns) * (size[0] + GAP) - GAP, 3), 255, np.uint8)]
    for i, name in enumerate(columns):
        _text(lines[0], name[:LONGEST], i * (size[0] + GAP), HEAD - 8, 0.5, INK)
    for key in chosen:
        at = first.keys.index(key)
        plain, truth = first.image[at], first.truth[at]
        tiles = [_canvas(plain, size), _outlined(plain, size, (truth, TRUTH))]
        under = [key, f"{int(truth.sum())} px"]
        for row in rows:
            if key in row.keys:
                k = row.keys.index(key)
                tiles.append(_outlined(plain, size, (truth, TRUTH), (row.soft[k], FOUND)))
                under.append(f"DICE {100 * row.values['dice'][k]:.1f} %")
            else:
                tiles.append(np.full_like(tiles[0], 255))
                under.append("not scored")
        strip = np.full((size[1] + LINE, lines[0].shape[1], 3), 255, np.uint8)
        for i, (tile, words) in enumerate(zip(tiles, under, strict=True)):
            x = i * (size[0] + GAP)
            strip[: size[1], x : x + size[0]] = tile
            room = int(size[0] / 6.4)
            words = words if len(words) <= room else "..." + words[3 - room :]
            _text(strip, words, x, size[1] + LINE - 6, 0.38, FAINT)
        lines.append(strip)
    sheet = np.pad(np.concatenate(lines), ((8, 8), (8, 8), (0, 0)), constant_values=255)
    return cv2.imencode(".png", sheet)[1].tobytes()


def choose_cases(rows, count: int) -> list[str]:
    """Keys of `count` cases, from the lowest mean DICE to the highest."""
    shared = set(rows[0].keys).intersection(*(row.keys for row in rows[1:]))
    chosen = rows if shared else rows[:1]
    shared = shared or set(rows[0].keys)
    tables = [dict(zip(row.keys, row.values["dice"].tolist(), strict=True)) for row in chosen]
    ranked = sorted(shared, key=lambda key: (sum(table[key] for table in tables), key))
    places = np.linspace(0, len(ranked) - 1, min(max(count, 1), len(ranked)))
    return [ranked[round(place)] for place in places]


def _canvas(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    grey = (np.nan_to_num(image).clip(0, 1) * 255).round().astype(np.uint8)
    return np.repeat(cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC)[..., None], 3, 2)


def _outlined(image: np.ndarray, size: tuple[int, int], *masks) -> np.ndarray:
    import cv2

    canvas = _canvas(image, size)
    for mask, colour in masks:
        # A border of background, so that a line closes at the crop's edge.
        grow = size[0] // image.shape[1]
        level = np.pad(cv2.resize(mask.astype(np.float32), size), grow)
        lines, _ = cv2.findContours(
            (level >= 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
        )
        for line in lines:
            cv2.polylines(canvas, [line - grow], True, colour, 1, cv2.LINE_AA)
    return canvas


def _text(canvas, words: str, x: int, y: int, scale: float, colour) -> None:
    import cv2

    words = words.encode("ascii", "replace").decode()
    cv2.putText(canvas, words, (x + 2, y), FONT, scale, colour, 1, cv2.LINE_AA)
