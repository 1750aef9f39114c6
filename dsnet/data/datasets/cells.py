"""Numbers in a table's cells: what most rows have in common is read once."""

from __future__ import annotations

import math
from functools import lru_cache

# Different texts of spacings, windows, types and the like, of a whole archive.
_KEPT = 4096


def numbers_in(text: str | None, count: int) -> tuple[float, ...] | None:
    """The numbers between a cell's commas; None where it is absent or empty, or has not `count`."""
    cells = (text or "").split(",")
    try:
        values = tuple(map(float, cells))
    except ValueError:
        try:
            values = tuple(float(cell) for cell in cells if cell.strip())
        except ValueError:
            return None
    return values if len(values) == count else None


@lru_cache(_KEPT)
def usual_numbers(text: str | None, count: int) -> tuple[float, ...] | None:
    """As `numbers_in`, of cells of which many rows have the same."""
    return numbers_in(text, count)


@lru_cache(_KEPT)
def whole_number(text: str | None) -> int | None:
    """The one number of a cell, cut to a whole one; None where there is none, or not a finite."""
    values = numbers_in(text, 1)
    return int(values[0]) if values is not None and math.isfinite(values[0]) else None
