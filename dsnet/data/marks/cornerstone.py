"""Measurements as OHIF, Cornerstone3D and the older cornerstoneTools export them in JSON.

Their files have no common frame, so they are gone through for what a bidirectional or a length
tool leaves: `handles` with `start`, `end`, `perpendicularStart` and `perpendicularEnd` in pixels
from the corner of the first (cornerstoneTools), or two or four `points` in the patient's mm
(Cornerstone3D, OHIF 3). An instance is named by `SOPInstanceUID`, or in the image's id, a WADO
address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from dsnet.data.datasets.coordinates import CORNER
from dsnet.data.marks.bounded import MOST_DEPTH, MOST_PARTS, read_bytes, read_json
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

_TOOL = re.compile(r"bidirectional|length|ruler|line\b", re.IGNORECASE)
_UID = r"([0-9][0-9.]*)"
# A WADO-RS path, a WADO-URI query.
_ADDRESSES = {
    "series_uid": (rf"/series/{_UID}", rf"seriesUID={_UID}"),
    "instance_uid": (rf"/instances/{_UID}", rf"objectUID={_UID}"),
    "frame": (r"/frames/([0-9]{1,9})", r"[?&]frame=([0-9]{1,9})"),
}
_KEYS = {
    "series_uid": ("SeriesInstanceUID", "referenceSeriesUID", "seriesInstanceUid"),
    "instance_uid": ("SOPInstanceUID", "sopInstanceUid"),
    "frame_of_reference_uid": ("FrameOfReferenceUID", "frameOfReferenceUID"),
    "image": ("referencedImageId", "imageId", "imagePath"),
    "tool": ("toolName", "toolType", "type"),
    "tracking_uid": ("annotationUID", "uid", "uuid"),
    "tracking_id": ("trackingIdentifier", "lesionNamingNumber", "measurementNumber"),
    "label": ("label", "labels", "location", "text", "description"),
    "reader": ("reader", "userName", "user"),
    "frame": ("frameNumber",),
    "name": ("PatientName", "patientName"),
    "number": ("PatientID", "PatientId", "patientId", "patientID"),
    "birth": ("PatientBirthDate", "patientBirthDate"),
}


def is_cornerstone(data: bytes) -> bool:
    """Whether the content of a file may be such an export."""
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start not in (b"{", b"["):
        return False
    names = (b'"handles"', b'"points"')
    return any(name in data for name in names) and re.search(
        rb"bidirectional|\"length\"|longestDiameter|toolName|toolType", data, re.IGNORECASE
    ) is not None  # fmt: skip


def read_cornerstone(
    source: str, data: bytes | None = None, refused: Refused | None = None
) -> list[FoundMark]:
    """The bidirectional and length measurements of a JSON export.

    Parameters
    ----------
    source : str
        The file, or what `data` is called.
    data : bytes, optional
        What it holds.
    refused : list, optional
        Where a measurement that is no mark is told; without it that raises.

    Returns
    -------
    list of FoundMark
        Those of Cornerstone3D have `world` alone.

    Raises
    ------
    ValueError
        When the file is no JSON or damaged; the message names it.
    """
    content = read_json(source, read_bytes(source, data))
    marks: list[FoundMark] = []
    try:
        places = list(_measurements(content))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    for place in places:
        try:
            mark = _mark(place, source, len(marks))
        except ValueError as error:
            refuse(refused, source, f"measurement {place.number + 1}: {error}")
            continue
        if mark is not None:
            marks.append(mark)
    return marks


class _Place(NamedTuple):
    """A measurement: its own object, and those around it, the nearest first."""

    number: int
    held: dict
    around: list[dict]
    keys: list[str]  # that lead to it: an image's id, a tool's name


def _measurements(content: Any) -> Iterator[_Place]:
    """Objects with handles or points, in the order of the file."""
    waiting: list[tuple[Any, list[dict], list[str]]] = [(content, [], [])]
    count = found = 0
    while waiting:
        value, around, keys = waiting.pop()
        count += 1
        if count > MOST_PARTS:
            raise ValueError(f"must have at most {MOST_PARTS} values")
        if len(keys) > MOST_DEPTH:
            raise ValueError(f"must be at most {MOST_DEPTH} values deep")
        if isinstance(value, dict):
            if isinstance(value.get("handles"), dict) or isinstance(value.get("points"), list):
                yield _Place(found, value, around, keys)
                found += 1
                continue
            inner = [(held, [value, *around], [*keys, str(key)]) for key, held in value.items()]
        elif isinstance(value, list):
            inner = [(held, around, [*keys, ""]) for held in value]
        else:
            continue
        waiting.extend(reversed([each for each in inner if isinstance(each[0], dict | list)]))


def _mark(place: _Place, source: str, index: int) -> FoundMark | None:
    said = {name: _said(place, keys) for name, keys in _KEYS.items()}
    tool = said["tool"] or next((key for key in reversed(place.keys) if _TOOL.search(key)), "")
    if not _TOOL.search(tool):
        return None
    ends, solid = _ends(place.held, tool)
    image = said["image"] or next((key for key in place.keys if ":" in key), "")
    for name, patterns in _ADDRESSES.items():
        match = next(filter(None, (re.search(pattern, image) for pattern in patterns)), None)
        if match and not said[name]:
            said[name] = match.group(1)
    short = ends[2:] if len(ends) == 4 else None
    lengths, unit = _lengths(place, short is not None)
    frame = said["frame"]
    return FoundMark(
        long_axis=None if solid else ends[:2],
        short_axis=None if solid else short,
        world=ends if solid else None,
        frame_of_reference_uid=said["frame_of_reference_uid"] or None,
        series_uid=said["series_uid"] or None,
        instance_uid=said["instance_uid"] or None,
        frame=int(frame) if frame.isdecimal() and int(frame[:9]) > 0 else None,
        label=joined([said["label"]]),
        tracking_id=said["tracking_id"] or None,
        tracking_uid=said["tracking_uid"] or None,
        reader=said["reader"] or None,
        long_mm=millimetres(lengths[0], unit),
        short_mm=millimetres(lengths[1], unit),
        units=unit if lengths[0] is not None else "",
        person=tuple(filter(None, (said["name"], said["number"], said["birth"]))),
        source=source,
        format="ohif",
        index=index,
    )


def _ends(held: dict, tool: str) -> tuple[np.ndarray, bool]:
    """Two or four ends, and whether they are the patient's."""
    handles = held.get("handles")
    handles = handles if isinstance(handles, dict) else {}
    if "start" in handles:
        names = ("start", "end", "perpendicularStart", "perpendicularEnd")
        given = [handles[name] for name in names if isinstance(handles.get(name), dict)]
        numbers = [each.get(axis) for each in given for axis in ("x", "y")]
        found, solid = points(numbers, 2, CORNER), False
        if len(found) == 4 and not _length(found[2:]):
            found = found[:2]  # the short axis was never drawn
    else:
        listed = handles.get("points", held.get("points"))
        listed = listed if isinstance(listed, list) else []
        numbers = [number for each in listed for number in _coordinates(each)]
        found, solid = points(numbers, 3), True
    wanted = (2, 4) if re.search("bidirectional", tool, re.IGNORECASE) else (2,)
    if len(found) not in wanted:
        called = shown(tool)
        raise ValueError(f"a tool called {called} must have {wanted[-1]} ends, got {len(found)}")
    return found, solid


def _coordinates(point: object) -> list:
    if isinstance(point, dict):
        # A Float32Array in JSON is an object with its indices for keys.
        named = ("x", "y", "z") if "x" in point else ("0", "1", "2")
        return [point.get(name) for name in named]
    if not isinstance(point, list) or len(point) != 3:
        raise ValueError(f"a point must be three numbers, got {str(point)[:80]}")
    return point


def _said(place: _Place, keys: tuple[str, ...]) -> str:
    """The nearest value of one of these keys, that is a text or a number."""
    for held in (place.held, *place.around):
        metadata = held.get("metadata")
        for where in (held, metadata if isinstance(metadata, dict) else {}):
            for key in keys:
                value = where.get(key)
                if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                    return text(value)
    return ""


def _lengths(place: _Place, both: bool) -> tuple[list[float | None], str]:
    """Long and short axis as written, and their unit."""
    held = place.held
    # By the image's id; OHIF's measurements have the same under another name.
    stats = (held.get(name) for name in ("cachedStats", "data"))
    per_image = [
        each
        for found in stats
        if isinstance(found, dict)
        for each in found.values()
        if isinstance(each, dict)
    ]
    for where in (held, *per_image, *place.around[:1]):
        long = _number(where, "longestDiameter", "length")
        if long is not None:
            short = _number(where, "shortestDiameter", "width") if both else None
            return [long, short], text(where.get("unit") or where.get("lengthUnits") or "mm")
    return [None, None], ""


def _number(held: dict, *keys: str) -> float | None:
    for key in keys:
        try:
            number = float(held[key])
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        if np.isfinite(number) and number > 0:
            return number
    return None


def _length(ends: np.ndarray) -> float:
    return float(np.hypot(*(ends[1] - ends[0])))
