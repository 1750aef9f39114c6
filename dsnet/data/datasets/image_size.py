"""The size that a table states of a picture, against the picture's."""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(1024)
def stated_size(text: str | None) -> tuple[float, ...] | None:
    """Two numbers, however they are set apart: "512, 512", "512x512"; None for anything else."""
    values = tuple(float(number) for number in re.findall(r"\d+(?:\.\d+)?", text or ""))
    return values if len(values) == 2 else None


def require_size(stated: tuple[float, ...] | None, shape: tuple[int, ...]) -> None:
    """Check that a picture is of the size that its row states, in either order.

    The mark's pixels are the table's: in a picture that was resized or cropped since, they lie on
    something else.

    Raises
    ------
    ValueError
        When it is not.
    """
    if stated is not None and tuple(shape) not in (stated, stated[::-1]):
        raise ValueError(
            f"picture must be of the table's Image_size {stated[0]:g}x{stated[1]:g}, got "
            f"{shape[1]}x{shape[0]} pixels: its marks would lie elsewhere"
        )
