"""3D Slicer's markups (`.mrk.json`): lines of two control points in the patient's coordinates.

Slicer has no RECIST tool: people draw two lines. Those of one file or, since Slicer saves a file a
line, of one folder that cross near the middle of both are one mark.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from dsnet.data.marks.bounded import read_bytes, read_json
from dsnet.data.marks.geometry import MOST_LINES, paired
from dsnet.data.marks.record import (
    FoundMark,
    Refused,
    joined,
    millimetres,
    points,
    refuse,
    shown,
    text,
)
from dsnet.labeling.recist import FARTHEST

# Slicer is RAS inside, its files say which; the numbers are those of its older tables.
_TO_LPS = {
    "LPS": (1.0, 1.0, 1.0), "1": (1.0, 1.0, 1.0),
    "RAS": (-1.0, -1.0, 1.0), "0": (-1.0, -1.0, 1.0),
}  # fmt: skip
_UNITS = ("", "mm", "[mm]")


def is_slicer(data: bytes) -> bool:
    """Whether the content of a file may be Slicer's markups."""
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    return start == b"{" and b'"markups"' in data and b'"controlPoints"' in data


def read_slicer(
    source: str, data: bytes | None = None, refused: Refused | None = None
) -> list[FoundMark]:
    """The marks of a `.mrk.json`, as `world` alone.

    Parameters
    ----------
    source : str
        The file, or what `data` is called.
    data : bytes, optional
        What it holds.
    refused : list, optional
        Where a line that is no mark is told; without it that raises.

    Returns
    -------
    list of FoundMark

    Raises
    ------
    ValueError
        When the file is none of Slicer's markups, or damaged; the message names it.
    """
    found = read_json(source, read_bytes(source, data))
    markups = found.get("markups") if isinstance(found, dict) else None
    if not isinstance(markups, list):
        raise ValueError(f"{source}: must have a list of markups")
    lines = []
    for number, markup in enumerate(markups):
        try:
            line = _line(markup, source, number)
        except ValueError as error:
            refuse(refused, source, f"markup {number + 1}: {error}")
            continue
        if line is not None:
            lines.append(line)
    return joined_lines(lines)


def joined_lines(marks: list[FoundMark]) -> list[FoundMark]:
    """The marks, Slicer's lines of one folder joined where two are the axes of one mark.

    Marks of other formats stay as they are, and so does a folder of more lines than
    `geometry.paired` looks through.
    """
    folders: dict[str, list[int]] = {}
    for number, mark in enumerate(marks):
        if mark.format == "slicer" and mark.world is not None and len(mark.world) == 2:
            folders.setdefault(mark.source.rpartition("/")[0], []).append(number)
    kept: dict[int, FoundMark] = dict(enumerate(marks))
    for numbers in folders.values():
        if len(numbers) > MOST_LINES:
            continue
        lines = [np.asarray(marks[number].world) for number in numbers]
        for a, b in paired(lines):
            if b is not None:
                first, second = sorted((numbers[a], numbers[b]))
                kept[first] = _both(marks[numbers[a]], marks[numbers[b]], marks[first])
                del kept[second]
    return list(kept.values())


def _both(long: FoundMark, short: FoundMark, first: FoundMark) -> FoundMark:
    """One mark of two lines, in the place of the first."""
    note = "two lines that cross, taken for the two axes"
    if long.source != short.source:
        # Their names may be the patient's.
        note = f"{note}, of two files"
    return dataclasses.replace(
        first,
        world=np.concatenate([np.asarray(long.world), np.asarray(short.world)]),
        long_mm=long.long_mm,
        short_mm=short.long_mm,
        units=long.units or short.units,
        label=joined([long.label, short.label]),
        notes=(*long.notes, *short.notes, note),
    )


def _line(markup: Any, source: str, number: int) -> FoundMark | None:
    if not isinstance(markup, dict):
        raise ValueError(f"must be an object, got {shown(markup)}")
    if str(markup.get("type", "")).lower() != "line":
        return None
    controls = markup.get("controlPoints")
    controls = controls if isinstance(controls, list) else []
    defined = [
        each
        for each in controls
        if isinstance(each, dict) and each.get("positionStatus", "defined") == "defined"
    ]
    if len(defined) != 2:
        raise ValueError(f"a line must have two defined control points, got {len(defined)}")
    units = str(markup.get("coordinateUnits") or "")
    if units not in _UNITS:
        raise ValueError(f"coordinateUnits must be mm, got {shown(units)}")
    system = str(markup.get("coordinateSystem"))
    if system not in _TO_LPS:
        raise ValueError(f"coordinateSystem must be LPS or RAS, got {shown(system)}")
    ends = [points(each.get("position") or (), 3) for each in defined]
    world = np.concatenate(ends) * np.array(_TO_LPS[system])
    if len(world) != 2:
        raise ValueError("position must be three numbers")
    value, unit = _measured(markup)
    labels = [text(markup.get("name"))] + [text(each.get("label")) for each in defined]
    return FoundMark(
        long_axis=None,
        world=world,
        label=joined([labels[0], markup.get("description")] if labels[0] else labels[1:2]),
        long_mm=millimetres(value, unit),
        units=text(unit) if value is not None else "",
        source=source,
        format="slicer",
        index=number,
    )


def _measured(markup: dict) -> tuple[float | None, str]:
    """The length that Slicer wrote, and its unit."""
    held = markup.get("measurements")
    for each in held if isinstance(held, list) else ():
        if isinstance(each, dict) and each.get("name") == "length":
            value = each.get("value")
            if isinstance(value, float) or (type(value) is int and abs(value) < FARTHEST):
                return float(value), str(each.get("units") or "mm")
    return None, ""
