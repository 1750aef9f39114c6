"""The picture that `python -m dsnet.evaluate` leaves, after the paper's figure 7."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from dsnet.drawing.tiles import Colour, Tile, fitted, paper, put, write

# Pixels a side of a tile; heights of the lines of text. Colours are BGR.
TILE, HEAD, LINE, GAP, MARGIN = 240, 30, 24, 6, 12
TRUTH, FOUND, FRAME = (70, 215, 70), (60, 60, 245), (0, 205, 255)
INK, FAINT = (30, 30, 30), (110, 110, 110)
# Grey beside what is no square.
BESIDE = 245
# Tiles are drawn so much larger and averaged down; thickness in pixels of the large tile.
OVERSAMPLING, THICK = 3, 5
# The enlarged part is so much larger than what is outlined, and this share of the crop at least.
ROOM, LEAST = 1.7, 0.4


class Scored(Protocol):
    """What is drawn of a network's cases; `dsnet.evaluation.rows.Scored` has it.

    Attributes
    ----------
    name : str
    keys : list of N str
    image, truth, soft : ndarray [N, H, W]
        Image and predicted soft mask float32 in 0..1, truth bool.
    cut : ndarray [N], float32
        From where on a case's soft mask is lesion.
    values : dict of str to ndarray [N]
        ``dice`` is among them.
    """

    name: str
    keys: list[str]
    image: np.ndarray
    truth: np.ndarray
    soft: np.ndarray
    cut: np.ndarray
    values: dict[str, np.ndarray]


def draw_comparison(rows: Sequence[Scored], count: int) -> np.ndarray:
    """For cases from the worst to the best: image, truth and every network's contour.

    Parameters
    ----------
    rows : sequence of Scored
    count : int
        Cases, as `choose_cases` takes them.

    Returns
    -------
    ndarray [h, w, 3], uint8
        Blue, green, red. The first column is the whole crop, the others the part of it in the
        frame, enlarged. Truth is green, prediction red, drawn where the soft mask crosses its cut.
    """
    import cv2

    chosen, total = choose_cases(rows, count)
    columns = ["image", "truth", *(row.name for row in rows)]
    width = len(columns) * (TILE + GAP) - GAP
    head = paper(HEAD, width)
    for i, name in enumerate(columns):
        _text(head, name, i * (TILE + GAP), HEAD - 10, 15, INK)
    lines = [head]
    for rank, key in chosen:
        found = [(row, row.keys.index(key)) for row in rows if key in row.keys]
        (first, at), places = found[0], {id(row): k for row, k in found}
        plain, truth = first.image[at], first.truth[at]
        window = _window(truth, *(row.soft[k] >= row.cut[k] for row, k in found))
        part, true_part = plain[window], truth[window]
        tiles = [_framed(plain, window), _outlined(part, (true_part, TRUTH, 0.5))]
        under = [key, f"{int(truth.sum())} px, rank {rank + 1} of {total}"]
        for row in rows:
            k = places.get(id(row))
            if k is None:
                tiles.append(paper(TILE, TILE, BESIDE))
                under.append("not among its cases")
                continue
            masks = (true_part, TRUTH, 0.5), (row.soft[k][window], FOUND, float(row.cut[k]))
            tiles.append(_outlined(part, *masks))
            nothing = "" if (row.soft[k] >= row.cut[k]).any() else ", nothing found"
            under.append(f"DICE {100 * row.values['dice'][k]:.1f} %{nothing}")
        strip = paper(TILE + LINE, width)
        for i, (tile, words) in enumerate(zip(tiles, under, strict=True)):
            x = i * (TILE + GAP)
            strip[:TILE, x : x + TILE] = BESIDE
            put(strip, tile, x, 0, TILE, TILE)
            _text(strip, words, x, TILE + LINE - 8, 11, FAINT)
        lines.append(strip)
    foot = paper(LINE + 4, width)
    x = 0
    for words, colour in (("truth", TRUTH), ("prediction", FOUND), ("part enlarged", FRAME)):
        cv2.line(foot, (x + 2, 14), (x + 24, 14), colour, 3, cv2.LINE_AA)
        _text(foot, words, x + 30, 19, 11, INK)
        x += 140
    sheet = np.concatenate([*lines, foot])
    return np.pad(sheet, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=255)


def choose_cases(rows: Sequence[Scored], count: int) -> tuple[list[tuple[int, str]], int]:
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
    top, left = (int(start) for start in starts)
    return slice(top, top + side), slice(left, left + side)


def _framed(image: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    tile = _large(image)
    rows, columns = window
    if (rows.stop - rows.start, columns.stop - columns.start) != image.shape:
        box = (columns.start, rows.start, columns.stop - 1, rows.stop - 1)
        tile.frame(box, FRAME, THICK - 2)
    return tile.picture()


def _outlined(image: np.ndarray, *masks: tuple[np.ndarray, Colour, float]) -> np.ndarray:
    tile = _large(image)
    for mask, colour, cut in masks:
        tile.outline(mask, colour, THICK, at=cut)
    return tile.picture()


def _large(image: np.ndarray) -> Tile:
    return Tile(image, fitted(image.shape, TILE), smooth=True, oversampling=OVERSAMPLING)


def _text(sheet: np.ndarray, words: str, x: int, y: int, size: int, colour: Colour) -> None:
    # The end of a key tells cases apart.
    write(sheet, words, (x + 2, y), size, colour, TILE - 4, keep_end=True)
