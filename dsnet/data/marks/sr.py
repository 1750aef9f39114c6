"""DICOM structured reports: TID 1500 and older ones, also of private schemes.

An axis is known by the code of its measurement first (SNOMED's long and short axis), by the code's
meaning second. Its ends are an SCOORD or SCOORD3D of two points; one of four points is both axes,
where a code says so. A line that is called nothing, or a length, is a long axis alone. Outlines,
angles, circles and ellipses are no marks.
"""

from __future__ import annotations

import itertools
import re
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dsnet.data.datasets.coordinates import CORNER
from dsnet.data.dicom.person import person_of
from dsnet.data.marks import codes
from dsnet.data.marks.bounded import read_object
from dsnet.data.marks.codes import LENGTH, LONG, SHORT, measured
from dsnet.data.marks.content_tree import Item, content_tree, sequence, word
from dsnet.data.marks.geometry import crossing
from dsnet.data.marks.record import (
    LONGEST_TEXT,
    FoundMark,
    Refused,
    joined,
    millimetres,
    points,
    refuse,
    shown,
    text,
)

# Basic Text, Enhanced, Comprehensive, Comprehensive 3D, Extensible SR and key objects' kin: all
# begin so (PS3.4, table B.5-1).
_CLASSES = "1.2.840.10008.5.1.4.1.1.88."
# Tools whose lines are no diameters, as viewers name them in the tracking id.
_NO_DIAMETER = re.compile(r"arrow|angle|probe|text|freehand|roi\b", re.IGNORECASE)
# Lines that nothing but their places tells apart are compared with each other up to so many.
_FEW = 200
# Before a lesion's own name, as `dsnet.data.dicom.sr` writes it for OHIF.
_TOOL = re.compile(r"^Cornerstone3DTools@[^:]*:(Bidirectional|Length):(?=.)")
_BOTH_AXES = re.compile(r"bidirectional", re.IGNORECASE)


def is_sr(sop_class_uid: str, modality: str = "") -> bool:
    """Whether an object of that class, or where it has none of that modality, is a report."""
    return sop_class_uid.startswith(_CLASSES) if sop_class_uid else modality == "SR"


def read_sr(
    source: str, data: bytes | None = None, refused: Refused | None = None
) -> list[FoundMark]:
    """The marks of a structured report.

    Parameters
    ----------
    source : str
        The file, or what `data` is called.
    data : bytes, optional
        What it holds.
    refused : list, optional
        Where a part that is no mark is told; without it that raises.

    Returns
    -------
    list of FoundMark
        In the order of the report. SCOORD3D give `world` alone.

    Raises
    ------
    ValueError
        When the file is no structured report, or damaged; the message names it.
    """
    # pydicom warns of each value that is longer than its kind allows.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return marks_of_report(source, read_object(source, data), refused)


def marks_of_report(source: str, dataset: Any, refused: Refused | None = None) -> list[FoundMark]:
    """As `read_sr`, of a pydicom Dataset."""
    if not is_sr(word(dataset, "SOPClassUID"), word(dataset, "Modality")):
        raise ValueError(f"{source}: must be a structured report")
    try:
        root = content_tree(dataset)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    lines: list[_Line] = []
    referred = {id(item.refers) for item in root.walk()}
    for item in root.walk():
        if item.kind not in ("SCOORD", "SCOORD3D") or id(item) in referred:
            continue
        try:
            lines += _lines(item)
        except ValueError as error:
            refuse(refused, source, f"{item.kind} of {shown(_called(item))}: {error}")
    _far_lengths(lines)
    series = _series(dataset, root)
    marks = []
    person = tuple(person_of(dataset).values())
    for number, (line, short, notes) in enumerate(_marks(lines, source, refused)):
        mark = _found(line, short, notes, series, source, number)
        marks.append(replace(mark, person=person))
    return marks


@dataclass(eq=False)
class _Line:
    """Two ends, and what the report says of them."""

    item: Item
    ends: np.ndarray  # [2, 2] pixels or [2, 3] mm
    role: str
    number: Item | None
    group: Item
    image: tuple[str, int | None] | None
    notes: list[str] = field(default_factory=list)


def _lines(item: Item) -> list[_Line]:
    """None, one or, of four points, both axes of an SCOORD or SCOORD3D."""
    if item.concept.value == codes.REFERENCE_POINTS:
        return []
    if item.graphic not in ("POLYLINE", ""):
        return []
    dimensions = 3 if item.kind == "SCOORD3D" else 2
    if len(item.data) not in (2 * dimensions, 4 * dimensions):
        return []  # a point, an angle, an outline
    numbers = _numbers(item)
    tracked = text(_near(item, codes.TRACKING_ID) or "")
    called = [measured(each.concept) for each in numbers] + [measured(item.concept)]
    if any("angle" in each.concept.meaning.lower() for each in numbers):
        return []
    role = next((r for r in (LONG, SHORT, LENGTH) if r in called), "")
    # A code tells more: people call lesions by such words, too.
    if not role and _NO_DIAMETER.search(tracked):
        return []
    origin = CORNER if dimensions == 2 else 0.0
    ends = points(item.data, dimensions, origin)
    group = next((a for a in item.ancestors() if a.kind == "CONTAINER"), None) or _root(item)
    image = _image(item, group)
    by_role = {measured(each.concept): each for each in reversed(numbers)}
    if len(ends) == 4:
        both = LONG in called or SHORT in called or bool(_BOTH_AXES.search(tracked))
        if not both or np.array_equal(ends[0], ends[3]):
            return []  # an outline of four corners
        if crossing(ends[:2], ends[2:]) is None:
            raise ValueError("four points must be two axes that cross, got an outline")
        long = _Line(item, ends[:2], LONG, by_role.get(LONG), group, image)
        return [long, _Line(item, ends[2:], SHORT, by_role.get(SHORT), group, image)]
    if not role and numbers:
        return []  # it measures something else
    return [_Line(item, ends, role, by_role.get(role), group, image)]


def _numbers(item: Item) -> list[Item]:
    """The measurements of an SCOORD: it is below one, they are below it, or both are beside."""
    if item.parent is not None and item.parent.kind == "NUM":
        return [item.parent]
    below = [child for child in item.children if child.kind == "NUM"]
    if below or item.parent is None:
        return below
    return item.parent.once(_beside)


def _beside(place: Item) -> list[Item]:
    """The measurements of a place of one SCOORD."""
    drawn = [
        each
        for each in place.children
        if each.kind in ("SCOORD", "SCOORD3D") and each.concept.value != codes.REFERENCE_POINTS
    ]
    return [each for each in place.children if each.kind == "NUM"] if len(drawn) == 1 else []


def _far_lengths(lines: list[_Line]) -> None:
    """A length of a container beside the line's own: where both are the only ones of the next."""
    if len(lines) > _FEW:
        return
    for line in lines:
        if line.number is not None:
            continue
        for place in line.item.ancestors():
            found = [each for each in place.walk() if each.kind == "NUM"]
            if found:
                alone = sum(place in other.item.ancestors() for other in lines) == 1
                if len(found) == 1 and alone and millimetres(found[0].number, found[0].unit):
                    line.number = found[0]
                break


def _image(item: Item, group: Item) -> tuple[str, int | None] | None:
    """The picture that an SCOORD was selected from, or that its group names."""
    for place in (item, *item.ancestors()):
        named = place.once(_images)
        if len(named) == 1:
            return next(iter(named))
        if place is group:
            break
    return None


def _images(place: Item) -> set[tuple[str, int | None]]:
    return {child.image for child in place.children if child.kind == "IMAGE" and child.image}


def _marks(lines: list[_Line], source: str, refused: Refused | None):
    """Which lines are one mark: (long, short or None, notes), in the order of the report."""
    by_group: dict[tuple[int, int], list[_Line]] = {}
    for line in lines:
        by_group.setdefault((id(line.group), line.ends.shape[1]), []).append(line)
    found = []
    for group in by_group.values():
        found += _of_group(group, source, refused)
    order = {id(line): number for number, line in enumerate(lines)}
    return sorted(found, key=lambda mark: order[id(mark[0])])


def _of_group(group: list[_Line], source: str, refused: Refused | None):
    longs = [line for line in group if line.role == LONG]
    shorts = [line for line in group if line.role == SHORT]
    # The length of an axis is told of the same points again.
    drawn = {line.ends.tobytes() for line in longs + shorts}
    others = [line for line in group if line.role not in (LONG, SHORT)]
    others = [line for line in others if line.ends.tobytes() not in drawn]
    found = []
    if len(longs) == len(shorts):
        pairs = list(zip(longs, shorts, strict=True))
    else:
        pairs = [(long, None) for long in longs]
    for long, short in pairs:
        notes = []
        if short is not None and long.image and short.image and long.image != short.image:
            notes.append("its short axis lies on another image")
            short = None
        if short is None and shorts and len(longs) != len(shorts):
            notes.append(f"{len(longs)} long and {len(shorts)} short axes in one group: not paired")
        elif short is not None and crossing(long.ends, short.ends) is None:
            notes.append("its axes do not cross near their middles at a wide angle")
        found.append((long, short, notes))
    if len(longs) != len(shorts):
        for line in shorts:
            called = shown(_called(line.item))
            refuse(refused, source, f"short axis of {called}: no long axis goes with it")
    beside = others if len(others) <= _FEW else []
    for line in others:
        crosses = any(
            line.image == other.image and crossing(line.ends, other.ends) is not None
            for other in beside
        )
        odd = "another line of its group crosses it; no code says that they are axes"
        found.append((line, None, [odd] if crosses else []))
    return found


def _found(
    long: _Line, short: _Line | None, notes: list[str], series: dict, source: str, number: int
) -> FoundMark:
    flat = long.ends.shape[1] == 2
    ends = [long.ends] if short is None else [long.ends, short.ends]
    image = long.image or (short.image if short is not None else None)
    if image is None and flat and len(series) == 1:
        image = next(iter(series)), None
        notes = [*notes, "it names no image: the report refers to one alone"]
    lengths, units = [], ""
    written = short.number if short is not None else _without_ends(long)
    for name, item in (("long", long.number), ("short", written)):
        value = item.number if item is not None else None
        length = millimetres(value, item.unit) if item is not None else None
        if item is not None and value is not None:
            units = units or text(item.unit)
            if length is None:
                notes.append(
                    f"the {name} axis is written as {value:g} in {text(item.unit) or 'no unit'}"
                )
        lengths.append(length)
    instance, frame = image or (None, None)
    return FoundMark(
        long_axis=long.ends if flat else None,
        short_axis=short.ends if flat and short is not None else None,
        world=None if flat else np.concatenate(ends),
        frame_of_reference_uid=text(long.item.frame_of_reference) or None,
        series_uid=series.get(instance or "") or None,
        instance_uid=instance,
        frame=frame,
        label=_label(long),
        tracking_id=text(_TOOL.sub("", _near(long.item, codes.TRACKING_ID))) or None,
        tracking_uid=text(_near(long.item, codes.TRACKING_UID)) or None,
        reader=text(_near(long.item, codes.OBSERVER)) or None,
        long_mm=lengths[0],
        short_mm=lengths[1],
        units=units,
        source=source,
        format="sr",
        index=number,
        notes=tuple(notes),
    )


def _without_ends(long: _Line) -> Item | None:
    """The short axis' measurement where it is a number alone, the only one of the group."""
    return long.group.once(_short_alone) if long.role == LONG else None


def _short_alone(group: Item) -> Item | None:
    found = [each for each in group.children if measured(each.concept) == SHORT]
    drawn = {"SCOORD", "SCOORD3D"} & {below.kind for each in found for below in each.children}
    return found[0] if len(found) == 1 and not drawn else None


def _near(item: Item, code: str) -> str:
    """What the nearest item of that concept says: below the item, or beside what it stands in."""
    for place in (item, *item.ancestors()):
        if place.kind == "TEXT":
            continue  # what it says is of its shape alone
        if code in (said := place.once(_said)):
            return said[code]
    return ""


def _said(place: Item) -> dict[str, str]:
    """What the children of a place say first of each concept."""
    found: dict[str, str] = {}
    for child in place.children:
        below = child.children if child.kind == "CODE" else []
        for each in (child, *below):
            if words := each.text or each.code.meaning:
                found.setdefault(each.concept.value, words)
    return found


def _label(line: _Line) -> str:
    """Comment of the group, short label, finding and site of the nearest containers."""
    said: list[str] = []
    for place in (line.item, *line.item.ancestors()):
        short, found = place.once(_called_so)
        said = [*short, *said, *found]
    return joined([*line.group.once(_comments), *said])


def _comments(group: Item) -> list[str]:
    found = (each.text for each in group.children if each.concept.value == codes.COMMENT)
    return list(itertools.islice(found, LONGEST_TEXT))


def _called_so(place: Item) -> tuple[list[str], list[str]]:
    """Short labels, the last first, and findings with their sites; not more than are told."""
    short, found = [], []
    for child in place.children:
        concept = child.concept
        if concept.value == codes.SHORT_LABEL and "{" not in child.text:
            short.insert(0, child.text)
        elif concept.value == codes.FINDING or codes.is_site(concept):
            found.append(child.code.meaning or child.text)
    return short[:LONGEST_TEXT], found[:LONGEST_TEXT]


def _series(dataset: Any, root: Item) -> dict[str, str]:
    """The series of each instance that the report refers to; "" where it does not tell."""
    found: dict[str, str] = {}
    for name in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        for study in sequence(dataset, name):
            for series in sequence(study, "ReferencedSeriesSequence"):
                for instance in sequence(series, "ReferencedSOPSequence"):
                    uid = word(instance, "ReferencedSOPInstanceUID")
                    if uid:
                        found[uid] = found.get(uid) or text(word(series, "SeriesInstanceUID"))
    for item in root.walk():
        if item.kind == "IMAGE" and item.image:
            told = (c.text for c in item.children if c.concept.value == codes.SERIES_UID)
            uid = item.image[0]
            found[uid] = found.get(uid) or text(next(told, ""))
    return found


def _root(item: Item) -> Item:
    return [item, *item.ancestors()][-1]


def _called(item: Item) -> str:
    return text(_near(item, codes.TRACKING_ID) or item.concept.meaning) or "no name"
