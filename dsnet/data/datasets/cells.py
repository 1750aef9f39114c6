"""Numbers in a table's cells: what most rows have in common is read once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

from dsnet import _C

# Different texts of spacings, windows, types and the like, of a whole archive.
KEPT = 4096


@lru_cache(64)
def plain_numbers(text: str) -> tuple[tuple[float, ...], str] | None:
    """The numbers between a cell's commas, and what `said` gives of them.

    None where one is none, or nothing. A mark's are asked for by its row's key, and by who makes
    the mark.
    """
    found: tuple[tuple[float, ...], str] | None = _C.plain_numbers(text)
    if found is not None:
        return found
    try:
        numbers = tuple(map(float, text.split(",")))
    except ValueError:
        return None
    return numbers, said(numbers)


def said(parts: Iterable[object]) -> str:
    """What parts say, between commas."""
    return repr(list(parts))[1:-1]


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


@lru_cache(KEPT)
def whole_number(text: str | None) -> int | None:
    """The one number of a cell, cut to a whole one; None where there is none, or not a finite."""
    values = numbers_in(text, 1)
    return int(values[0]) if values is not None and math.isfinite(values[0]) else None
