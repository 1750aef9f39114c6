"""The picture that a training leaves of its validation."""

from __future__ import annotations

import os

import numpy as np

from dsnet.drawing.tiles import Tile, paper, write
from dsnet.files import write_png

TILE, HEAD = 128, 20
COLUMNS = ("image", "truth", "prediction", "difference")


def write_panel(
    path: str | os.PathLike, image: np.ndarray, truth: np.ndarray, prediction: np.ndarray
) -> None:
    """A PNG with a row for every case: image, true and predicted soft mask, their difference.

    Parameters
    ----------
    path : path
    image, truth, prediction : ndarray [N, H, W]
        In 0..1. In the difference red is too much, blue too little, white none.
    """
    head = paper(HEAD, TILE * len(COLUMNS))
    for i, name in enumerate(COLUMNS):
        write(head, name, (i * TILE + 4, 14), 12, (0, 0, 0), TILE - 4)
    lines = [head]
    for planes in zip(image, truth, prediction, strict=True):
        x, y, p = (np.asarray(plane, np.float32) for plane in planes)
        more, less = np.clip(p - y, 0, 1), np.clip(y - p, 0, 1)
        difference = np.stack([1 - more, 1 - more - less, 1 - less], 2)  # blue, green, red
        tiles = (Tile(each, (TILE, TILE)).picture() for each in (x, y, p, difference))
        lines.append(np.concatenate(list(tiles), 1))
    write_png(path, np.concatenate(lines))
