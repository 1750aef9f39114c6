"""The picture that `python -m dsnet.evaluate` leaves, after the paper's figure 7."""

from __future__ import annotations

import numpy as np

# Pixels a side of a tile; heights of the lines of text. Colours are BGR.
TILE, HEAD, LINE, GAP, MARGIN = 240, 30, 24, 6, 12
TRUTH, FOUND, FRAME = (70, 215, 70), (60, 60, 245), (0, 205, 255)
INK, FAINT = (30, 30, 30), (110, 110, 110)
FONT = 0  # cv2.FONT_HERSHEY_SIMPLEX
# Lines are drawn so much larger and averaged down; thickness in pixels of the large tile.
OVERSAMPLING, THICK = 3, 5
# The enlarged part is so much larger than what is outlined, and this share of the crop at least.
ROOM, LEAST = 1.7, 0.4


def draw_comparison(rows, count: int) -> bytes:
    """A PNG: for cases from the worst to the best, image, truth and every network's contour.

    Parameters
    ----------
    rows : list of `dsnet.evaluate.Scored`
    count : int
        Cases, as `choose_cases` takes them.

    Returns
    -------
    bytes
        The first column is the whole crop, the others the part of it in the frame, enlarged.
        Truth is green, prediction red, drawn where the soft mask crosses a half.
    """
    import cv2

    chosen, total = choose_cases(rows, count)
    columns = ["image", "truth", *(row.name for row in rows)]
    width = len(columns) * (TILE + GAP) - GAP
    head = np.full((HEAD, width, 3), 255, np.uint8)
    for i, name in enumerate(columns):
        _text(head, name, i * (TILE + GAP), HEAD - 10, 0.55, INK)
    lines = [head]
    for rank, key in chosen:
        found = [(row, row.keys.index(key)) for row in rows if key in row.keys]
        (first, at), places = found[0], {id(row): k for row, k in found}
        plain, truth = first.image[at], first.truth[at]
        window = _window(truth, *(row.soft[k] >= 0.5 for row, k in found))
        part, true_part = plain[window], truth[window]
        tiles = [_framed(plain, window), _outlined(part, (true_part, TRUTH))]
        under = [key, f"{int(truth.sum())} px, rank {rank + 1} of {total}"]
        for row in rows:
            k = places.get(id(row))
            if k is None:
                tiles.append(np.full((TILE, TILE, 3), 245, np.uint8))
                under.append("not among its cases")
                continue
            masks = (true_part, TRUTH), (row.soft[k][window], FOUND)
            tiles.append(_outlined(part, *masks))
            nothing = "" if (row.soft[k] >= 0.5).any() else ", nothing found"
            under.append(f"DICE {100 * row.values['dice'][k]:.1f} %{nothing}")
        strip = np.full((TILE + LINE, width, 3), 255, np.uint8)
        for i, (tile, words) in enumerate(zip(tiles, under, strict=True)):
            x = i * (TILE + GAP)
            strip[:TILE, x : x + TILE] = tile
            _text(strip, words, x, TILE + LINE - 8, 0.42, FAINT)
        lines.append(strip)
    foot = np.full((LINE + 4, width, 3), 255, np.uint8)
    x = 0
    for words, colour in (("truth", TRUTH), ("prediction", FOUND), ("part enlarged", FRAME)):
        cv2.line(foot, (x + 2, 14), (x + 24, 14), colour, 3, cv2.LINE_AA)
        _text(foot, words, x + 30, 19, 0.42, INK)
        x += 140
    sheet = np.concatenate([*lines, foot])
    sheet = np.pad(sheet, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=255)
    return cv2.imencode(".png", sheet)[1].tobytes()


def choose_cases(rows, count: int) -> tuple[list[tuple[int, str]], int]:
    """Rank and key of `count` cases, and how many cases there are to choose from.

    They lie at equal steps of the rank of their mean DICE over the networks, from the lowest to
    the highest, among the cases that all networks were scored on, or of the first network where
    there are none.
    """
    shared = set(rows[0].keys).intersection(*(row.keys for row in rows[1:]))
    chosen = rows if shared else rows[:1]
    shared = shared or set(rows[0].keys)
    tables = [dict(zip(row.keys, row.values["dice"].tolist(), strict=True)) for row in chosen]
    ranked = sorted(shared, key=lambda key: (sum(table[key] for table in tables), key))
    places = np.linspace(0, len(ranked) - 1, min(max(count, 1), len(ranked)))
    return [(round(place), ranked[round(place)]) for place in places], len(ranked)


def _window(*masks: np.ndarray) -> tuple[slice, slice]:
    """A square around all that is outlined, inside the crop; the crop where that is too large."""
    height, width = masks[0].shape
    marked = np.argwhere(np.any(masks, axis=0))
    if not len(marked):
        return slice(0, height), slice(0, width)
    low, high = marked.min(0), marked.max(0) + 1
    side = int(np.ceil(max(ROOM * (high - low).max(), LEAST * min(height, width))))
    if side > min(height, width):
        return slice(0, height), slice(0, width)
    starts = np.clip((low + high - side) // 2, 0, (height - side, width - side))
    return tuple(slice(int(start), int(start) + side) for start in starts)


def _large(image: np.ndarray) -> np.ndarray:
    """BGR, its longer side OVERSAMPLING tiles."""
    import cv2

    grow = OVERSAMPLING * TILE / max(image.shape)
    size = tuple(max(1, round(side * grow)) for side in image.shape[::-1])
    grey = (np.nan_to_num(image).clip(0, 1) * 255).round().astype(np.uint8)
    return np.repeat(cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC)[..., None], 3, 2)


def _tile(large: np.ndarray) -> np.ndarray:
    """A tile, with grey beside what is no square."""
    import cv2

    size = tuple(max(1, side // OVERSAMPLING) for side in large.shape[1::-1])
    tile = np.full((TILE, TILE, 3), 245, np.uint8)
    top, left = (TILE - size[1]) // 2, (TILE - size[0]) // 2
    small = cv2.resize(large, size, interpolation=cv2.INTER_AREA)
    tile[top : top + size[1], left : left + size[0]] = small
    return tile


def _framed(image: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    import cv2

    canvas = _large(image)
    if (window[0].stop - window[0].start, window[1].stop - window[1].start) != image.shape:
        grow = OVERSAMPLING * TILE / max(image.shape)
        corners = [(round(w * grow), round(h * grow)) for h, w in _corners(window)]
        cv2.rectangle(canvas, *corners, FRAME, THICK - 2, cv2.LINE_AA)
    return _tile(canvas)


def _corners(window: tuple[slice, slice]) -> list[tuple[int, int]]:
    rows, columns = window
    return [(rows.start, columns.start), (rows.stop, columns.stop)]


def _outlined(image: np.ndarray, *masks) -> np.ndarray:
    import cv2

    canvas = _large(image)
    height, width = canvas.shape[:2]
    for mask, colour in masks:
        level = cv2.resize(np.nan_to_num(mask.astype(np.float32)), (width, height))
        # A border of background, so that a line closes at the crop's edge.
        inside = np.pad((level >= 0.5).astype(np.uint8), 1)
        found, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        for line in found:
            cv2.polylines(canvas, [line - 1], True, colour, THICK, cv2.LINE_AA)
    return _tile(canvas)


def _text(canvas, words: str, x: int, y: int, scale: float, colour, room: int = TILE) -> None:
    import cv2

    def width(line: str) -> int:
        return cv2.getTextSize(line, FONT, scale, 1)[0][0]

    line = words = words.encode("ascii", "replace").decode()
    # The end of a key tells cases apart.
    while width(line) > room - 4 and len(words) > 1:
        words = words[1:]
        line = "..." + words
    cv2.putText(canvas, line, (x + 2, y), FONT, scale, colour, 1, cv2.LINE_AA)
