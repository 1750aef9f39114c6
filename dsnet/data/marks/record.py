"""What every reader of marks gives: one record, whatever format it came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dsnet.labeling.recist import FARTHEST, RecistMark

FORMATS = ("sr", "gsps", "aim", "ohif", "slicer", "deeplesion", "table", "npz")
# What a bad part of a file costs: (source, reason).
Refused = list[tuple[str, str]]
# A name or a comment is told to here; real ones are shorter.
LONGEST_TEXT = 256


@dataclass(frozen=True, eq=False)
class FoundMark:
    """A mark that was found in a file, and the picture that it says it lies on.

    Attributes
    ----------
    long_axis, short_axis : ndarray [2, 2], float64, or None
        Ends `(x, y)` in pixels, pixel centres at integers. The short axis is None where it is
        unknown; the long one where only `world` is known. Which is which is what the file says.
    world : ndarray [N, 3], float64, or None
        The same ends in mm of the patient (left, posterior, superior), the long axis first;
        N is 2 or 4.
    frame_of_reference_uid, series_uid, instance_uid : str or None
        Of the picture.
    frame : int or None
        Of a picture of several, the first being 1.
    file : str or None
        The picture's file, where the format names one instead of an instance.
    label : str
        What the file calls it: place, finding, comment; "" where it does not.
    tracking_id, tracking_uid, reader : str or None
        The lesion's name and UID across reports, and who drew the mark.
    long_mm, short_mm : float or None
        Lengths as written, in mm; None where none is, or in a unit that is no length.
    written_spacing : (row, column) or None
        Millimetres per pixel as the mark's own file has it.
    units : str
        Of the written lengths, as written; "" where there is none.
    person : tuple of str
        What its own file calls the patient: names and numbers that no text may hold. They are not
        stored.
    source : str
        The file: a path, `ZIP!MEMBER` or an address.
    format : str
        One of `FORMATS`.
    index : int
        Number of the mark in its file, the first being 0; of a table its line.
    notes : tuple of str
        What is odd about it.
    """

    long_axis: np.ndarray | None
    short_axis: np.ndarray | None = None
    world: np.ndarray | None = None
    frame_of_reference_uid: str | None = None
    series_uid: str | None = None
    instance_uid: str | None = None
    frame: int | None = None
    file: str | None = None
    label: str = ""
    tracking_id: str | None = None
    tracking_uid: str | None = None
    reader: str | None = None
    long_mm: float | None = None
    short_mm: float | None = None
    written_spacing: tuple[float, float] | None = None
    units: str = ""
    person: tuple[str, ...] = field(default=(), repr=False)
    source: str = ""
    format: str = ""
    index: int = 0
    notes: tuple[str, ...] = ()

    def recist(self) -> RecistMark:
        """The mark as labelling takes it; the longer axis is its long one.

        Raises
        ------
        ValueError
            When only `world` is known: see `dsnet.data.marks.geometry.placed`.
        """
        if self.long_axis is None:
            raise ValueError("long_axis must be known, got a mark in patient coordinates alone")
        if self.short_axis is None:
            return RecistMark.from_long_axis(self.long_axis)
        return RecistMark.from_coordinates(np.concatenate([self.long_axis, self.short_axis]))


@dataclass
class FoundMarks:
    """The marks of a place, and what of it gave none.

    Attributes
    ----------
    marks : list of FoundMark
        Files in the order of their names, marks in the order of their files.
    refused : list of (source, reason)
        What is meant to be a mark, or a file of marks, and cannot be used.
    empty : list of (source, reason)
        Files of a known format without a mark: reports of doses, presentation states without
        lines, outlines.
    other : list of (source, reason)
        Files with the ending of marks that are of no known format, and so may be marks that nobody
        reads: a table with semicolons or in UTF-16, a viewer's own JSON.
    """

    marks: list[FoundMark] = field(default_factory=list)
    refused: Refused = field(default_factory=list)
    empty: Refused = field(default_factory=list)
    other: Refused = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """How many marks there are of each format, in the order of `FORMATS`."""
        found = Counter(mark.format for mark in self.marks)
        return {name: found[name] for name in FORMATS if found[name]}


def refuse(refused: Refused | None, source: str, reason: str) -> None:
    """Tell a bad part of a file: in the list, or where there is none by raising.

    Raises
    ------
    ValueError
        When `refused` is None.
    """
    if refused is None:
        raise ValueError(f"{source}: {reason}")
    refused.append((source, reason))


def points(numbers: Any, dimensions: int, origin: float = 0.0) -> np.ndarray:
    """float64 [N, dimensions]: coordinates that are some, less `origin`.

    Raises
    ------
    ValueError
        When one is no number, not finite or beyond +-1e9, or they are no whole points.
    """
    try:
        values = np.array([float(number) for number in numbers], np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"coordinates must be numbers, got {shown(numbers)}") from error
    if not values.size or values.size % dimensions:
        raise ValueError(
            f"coordinates must be points of {dimensions} numbers, got {values.size} numbers"
        )
    if not np.isfinite(values).all() or np.abs(values).max() > FARTHEST:
        raise ValueError(f"coordinates must be finite and within +-1e9, got {shown(numbers)}")
    return values.reshape(-1, dimensions) - origin


def shown(value: object) -> str:
    """A value in an error's words, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def text(value: object) -> str:
    """A string of a file on one line, without control characters, cut at `LONGEST_TEXT`."""
    kept = "".join(c if c.isprintable() else " " for c in str(value or "")[: 4 * LONGEST_TEXT])
    return " ".join(kept.split())[:LONGEST_TEXT]


def joined(parts: Iterable[object]) -> str:
    """Texts that say something, each once, with commas between."""
    return ", ".join(dict.fromkeys(filter(None, map(text, parts))))


# Of written units: how many mm one is.
_MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 1e-3, "[in_i]": 25.4}


def millimetres(value: float | None, unit: str) -> float | None:
    """A written length in mm; None where it is none, or its unit no length."""
    factor = _MILLIMETRES.get(unit.strip().lower())
    usable = value is not None and factor is not None and np.isfinite(value) and value >= 0
    return float(value * factor) if usable else None  # type: ignore[operator]
