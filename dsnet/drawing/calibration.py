"""Verdicts against a score: a bar for each bin, what readers said as its shares."""

from __future__ import annotations

import os
from collections.abc import Sequence

from dsnet.drawing.tiles import Colour, paper, write
from dsnet.files import write_png

# Okabe and Ito's colours, which colour-blind readers tell apart; blue, green, red.
COLOURS: tuple[Colour, ...] = ((178, 114, 0), (233, 180, 86), (66, 228, 240), (0, 94, 213))
BAR, GAP, HIGH = 64, 28, 300
LEFT, TOP, BOTTOM = 64, 64, 64
INK: Colour = (40, 40, 40)


def write_calibration(
    path: str | os.PathLike,
    names: Sequence[str],
    counts: Sequence[Sequence[int]],
    parts: Sequence[str],
    intervals: Sequence[tuple[float, float]],
    title: str = "verdicts by expected Dice",
) -> None:
    """A PNG with a bar for each bin, from below the shares of its parts.

    Parameters
    ----------
    path : path
    names : sequence of N str
        Of the bins, below the bars; above them how many there are.
    counts : sequence of N sequences of P int
        Of each part in each bin; none of the bins is empty.
    parts : sequence of P str
        At most as many as `COLOURS`.
    intervals : sequence of N (low, high)
        Of the first part's share, drawn over the bar.
    title : str
    """
    import cv2

    width = max(LEFT + len(names) * (BAR + GAP) + GAP, LEFT + len(parts) * 120)
    sheet = paper(TOP + HIGH + BOTTOM, width)
    floor = TOP + HIGH
    write(sheet, title, (LEFT, 22), 16, INK, width - LEFT - 4, bold=True)
    for i, part in enumerate(parts):
        x = LEFT + i * 115
        cv2.rectangle(sheet, (x, 32), (x + 12, 44), COLOURS[i], -1)
        write(sheet, part, (x + 18, 43), 13, INK, 96)
    for percent in range(0, 101, 25):
        y = floor - round(HIGH * percent / 100)
        cv2.line(sheet, (LEFT - 6, y), (width - 8, y), (225, 225, 225), 1)
        write(sheet, f"{percent} %", (8, y + 5), 13, INK, LEFT - 14)
    for i, (name, of_bin, (low, high)) in enumerate(zip(names, counts, intervals, strict=True)):
        x, total, below = LEFT + GAP + i * (BAR + GAP), sum(of_bin), 0
        for colour, count in zip(COLOURS, of_bin, strict=False):
            first = floor - round(HIGH * below / total)
            below += count
            last = floor - round(HIGH * below / total)
            if last < first:
                cv2.rectangle(sheet, (x, last), (x + BAR, first - 1), colour, -1)
        middle = x + BAR // 2
        ends = [floor - round(HIGH * share) for share in (low, high)]
        cv2.line(sheet, (middle, ends[0]), (middle, ends[1]), INK, 2)
        for y in ends:
            cv2.line(sheet, (middle - 7, y), (middle + 7, y), INK, 2)
        write(sheet, f"n = {total}", (x + 4, TOP - 5), 12, INK, BAR + GAP)
        write(sheet, name, (x - 6, floor + 20), 13, INK, BAR + GAP)
    write(
        sheet, "bars: shares of the verdicts; line: 95 % interval of the lowest share",
        (LEFT, floor + 46), 12, INK, width - LEFT - 4,
    )  # fmt: skip
    write_png(path, sheet)
