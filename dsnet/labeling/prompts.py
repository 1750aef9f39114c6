"""What a user points at a lesion with: a mark, its coordinates or a box."""

from __future__ import annotations

import numpy as np

from dsnet.labeling.recist import RecistMark, shown


def as_mark(prompt) -> RecistMark:
    """A mark of a `RecistMark`, its 8 coordinates, or a box (x0, y0, x1, y1).

    A long axis alone is no box: it is `RecistMark.from_long_axis`, or 8 numbers, the last four NaN.

    A box becomes the mark of its middle lines. Its bounds are the box, so that it is cut where a
    mark of these bounds is; only how far a large lesion is shrunk also depends on the long axis.

    Raises
    ------
    ValueError
        For another count of numbers, numbers that are not finite, or a box without an area.
    TypeError
        When they are not numbers.
    """
    if isinstance(prompt, RecistMark):
        return prompt
    try:
        numbers = np.ravel(prompt)
    except Exception as error:  # Ragged, or whatever an object's own __array__ raises.
        raise TypeError(f"a prompt must be 8 or 4 numbers, got {shown(prompt)}") from error
    if numbers.size != 4:
        if numbers.size != 8:
            raise ValueError(f"a prompt must be 8 coordinates or a box of 4, got {numbers.size}")
        return RecistMark.from_coordinates(prompt)
    try:
        x0, y0, x1, y1 = (float(v) for v in numbers)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"a box must be 4 numbers, got {shown(prompt)}") from error
    if not (x0 < x1 and y0 < y1):
        raise ValueError(
            f"a box must be x0, y0, x1, y1 with x0 < x1 and y0 < y1, got {x0:g}, {y0:g}, "
            f"{x1:g}, {y1:g}"
        )
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return RecistMark.from_coordinates([x0, y, x1, y, x, y0, x, y1])
