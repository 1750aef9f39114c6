"""A mark as a table writes it: its coordinates in one cell, and where these count from."""

from __future__ import annotations

import math

from dsnet.data.datasets.cells import plain_numbers
from dsnet.labeling.recist import RecistMark

# DeepLesion's coordinates count from the corner of the first pixel, so that pixel centres lie at
# halves: of 94 lesions whose masks people drew, the ellipse of the mark fits best with 0.5 taken
# off (mean Dice 0.836, 0.843 and 0.823 with 0, 0.5 and 1).
CORNER = 0.5


def check_origin(origin: float) -> float:
    """`origin` as a float; ValueError where no table counts from there."""
    if not 0 <= origin <= 1:
        raise ValueError(
            f"origin must be within 0 and 1 pixels (0: pixel centres at integers, 0.5: from the "
            f"corner of the first pixel, 1: centres counted from one), got {origin}"
        )
    return float(origin)


def read_mark(text: str | None, origin: float) -> RecistMark:
    """The mark of a cell `x1, y1, x2, y2, x3, y3, x4, y4`, with pixel centres at integers.

    Parameters
    ----------
    text : str or None
        Eight numbers, or the four of a long axis alone; then the last four may also be there,
        empty or nan.
    origin : float
        What is taken off each to get pixel centres at integers.

    Raises
    ------
    ValueError
        For another count of numbers, or one that is none, not finite or beyond +-1e9.
    """
    plain = plain_numbers(text or "")
    numbers = _numbers(text or "") if plain is None else list(plain[0])
    if len(numbers) not in (4, 8):
        raise ValueError(
            "Measurement_coordinates must be 8 numbers, or 4 of a long axis alone, got "
            f"{len(numbers)}"
        )
    make = RecistMark.from_long_axis if len(numbers) == 4 else RecistMark.from_coordinates
    mark = make(numbers)
    return mark.translated(-origin, -origin) if origin else mark


def _numbers(text: str) -> list[float]:
    """Those of a cell in which some are missing; an empty one is nan."""
    cells = text.split(",")
    if len(cells) % 4 == 1 and not cells[-1].strip():
        cells.pop()  # a comma at the end, or nothing at all
    try:
        return [float(cell) if cell.strip() else math.nan for cell in cells]
    except ValueError as error:
        raise ValueError(f"Measurement_coordinates must be 8 numbers, got {text!r}") from error
