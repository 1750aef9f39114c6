"""One XML file of LIDC-IDRI: what each radiologist outlined in one CT series.

    LidcReadMessage
      ResponseHeader            SeriesInstanceUid, StudyInstanceUID
      readingSession            four of them, one a radiologist, who is not named
        unblindedReadNodule     noduleID, characteristics (of nodules of 3 mm and more)
          roi                   imageZposition, imageSOP_UID, inclusion, edgeMap (xCoord, yCoord)
        nonNodule               nonNoduleID, imageZposition, imageSOP_UID, locus (xCoord, yCoord)

A nodule of 3 mm or more has an outline on each slice that shows it; one under 3 mm a single `roi`
of a single point, its middle; so has what a reader holds for no nodule, as a `locus` (Armato et
al., "The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative (IDRI)",
Medical Physics 38, 2011, section II.C).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from dsnet.data.picture_file import read_regular_file
from dsnet.data.xml_file import MOST_BYTES, parse_xml

SMALL_NODULE = "nodule under 3 mm"
NON_NODULE = "non-nodule"
# LIDC's CT slices have 512 pixels a side; a number out of proportion would ask for a vast mask.
MOST_COORDINATE = 1023
_ROOT = "LidcReadMessage"


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed line that a reader drew on a slice.

    Attributes
    ----------
    instance_uid : str
        SOP instance UID of the slice.
    z : float
        Millimetres, along the patient.
    points : ndarray [N, 2], int32
        (x, y) in pixels of the slice, pixel centres at integers; it is closed without its first
        point at the end.
    included : bool
        False of a line around what does not belong to the nodule: a hole.
    """

    instance_uid: str
    z: float
    points: np.ndarray
    included: bool = True


@dataclass(frozen=True, eq=False)
class ReadNodule:
    """A nodule of 3 mm or more, as one reader outlined it.

    Attributes
    ----------
    reader : int
        From 0, in the order of the file.
    name : str
        The reader's own for it; unique in no way.
    outlines : tuple of Outline
    scores : dict of str to int
        Subtlety, malignancy and the like, 1 to 5 or 6.
    """

    reader: int
    name: str
    outlines: tuple[Outline, ...]
    scores: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ReadPoint:
    """What a reader marked by a point: a nodule under 3 mm, or what is no nodule.

    Attributes
    ----------
    reader : int
    name : str
    kind : str
        `SMALL_NODULE` or `NON_NODULE`.
    instance_uid : str
    z : float
        Millimetres.
    x, y : int
        Pixels.
    """

    reader: int
    name: str
    kind: str
    instance_uid: str
    z: float
    x: int
    y: int


@dataclass(frozen=True, eq=False)
class Reading:
    """All of one file.

    Attributes
    ----------
    source : str
    series_uid, study_uid : str
    readers : int
        Reading sessions, those in which nothing was marked included.
    nodules : tuple of ReadNodule
    points : tuple of ReadPoint
    """

    source: str
    series_uid: str
    study_uid: str
    readers: int
    nodules: tuple[ReadNodule, ...]
    points: tuple[ReadPoint, ...]


def read_reading(path: str | Path) -> Reading | None:
    """What is in an XML file; None of one that is no reading of a CT series.

    Beside these there are IdriReadMessages, of the chest radiographs that some patients have.

    Raises
    ------
    ValueError
        When the file cannot be read, is no well-formed XML, or lacks what the format has; the
        message names it.
    """
    data = read_regular_file(path, MOST_BYTES)
    try:
        return parse_reading(data, str(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_reading(data: bytes, source: str = "") -> Reading | None:
    """As `read_reading`, of the bytes of a file; the message names the place in it."""
    root = parse_xml(data)
    if root.tag != _ROOT:
        return None
    header = root.find("ResponseHeader")
    if header is None:
        raise ValueError("it has no ResponseHeader")
    sessions = root.findall("readingSession")
    if not sessions:
        raise ValueError("it has no readingSession")
    nodules: list[ReadNodule] = []
    points: list[ReadPoint] = []
    for reader, session in enumerate(sessions):
        for number, found in enumerate(session.findall("unblindedReadNodule"), 1):
            with _within(f"session {reader + 1}, nodule {number}"):
                nodule = _nodule(found, reader)
                if _is_point(nodule):
                    (line,) = nodule.outlines
                    x, y = (int(value) for value in line.points[0])
                    points.append(
                        ReadPoint(
                            reader, nodule.name, SMALL_NODULE, line.instance_uid, line.z, x, y
                        )
                    )
                else:
                    nodules.append(nodule)
        for number, found in enumerate(session.findall("nonNodule"), 1):
            with _within(f"session {reader + 1}, non-nodule {number}"):
                points += _loci(found, reader)
    return Reading(
        source=source,
        series_uid=_text(header, "SeriesInstanceUid"),
        study_uid=(header.findtext("StudyInstanceUID") or "").strip(),
        readers=len(sessions),
        nodules=tuple(nodules),
        points=tuple(points),
    )


class _within:
    """A ValueError inside is told with its place in the file."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, ValueError):
            raise ValueError(f"{self._place}: {error}") from error


def _nodule(found: Element, reader: int) -> ReadNodule:
    scores = {}
    for element in found.iterfind("characteristics/*"):
        if (element.text or "").strip():
            scores[element.tag] = _whole(element.text, element.tag)
    outlines = tuple(_outline(roi) for roi in found.findall("roi"))
    if not outlines:
        raise ValueError("it has no roi")
    return ReadNodule(reader, (found.findtext("noduleID") or "").strip(), outlines, scores)


def _outline(roi: Element) -> Outline:
    inclusion = _text(roi, "inclusion").upper()
    if inclusion not in ("TRUE", "FALSE"):
        raise ValueError(f"inclusion must be TRUE or FALSE, got {inclusion!r}")
    points = np.array(list(_coordinates(roi, "edgeMap")), dtype=np.int32).reshape(-1, 2)
    if not len(points):
        raise ValueError("a roi has no edgeMap")
    if len(points) > 1 and np.array_equal(points[0], points[-1]):
        points = points[:-1]
    return Outline(_text(roi, "imageSOP_UID"), _z(roi), points, inclusion == "TRUE")


def _is_point(nodule: ReadNodule) -> bool:
    return len(nodule.outlines) == 1 and len(nodule.outlines[0].points) == 1


def _loci(found: Element, reader: int) -> list[ReadPoint]:
    name = (found.findtext("nonNoduleID") or "").strip()
    uid, z = _text(found, "imageSOP_UID"), _z(found)
    return [
        ReadPoint(reader, name, NON_NODULE, uid, z, x, y) for x, y in _coordinates(found, "locus")
    ]


def _coordinates(place: Element, name: str) -> Iterator[tuple[int, int]]:
    for element in place.iterfind(name):
        x, y = (_whole(element.findtext(axis), axis) for axis in ("xCoord", "yCoord"))
        if not (0 <= x <= MOST_COORDINATE and 0 <= y <= MOST_COORDINATE):
            raise ValueError(f"{name} must be within 0..{MOST_COORDINATE}, got {x}, {y}")
        yield x, y


def _z(place: Element) -> float:
    text = _text(place, "imageZposition")
    try:
        z = float(text)
    except ValueError:
        z = float("nan")
    if not np.isfinite(z):
        raise ValueError(f"imageZposition must be a finite number, got {text!r}")
    return z


def _whole(text: str | None, name: str) -> int:
    digits = (text or "").strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise ValueError(f"{name} must be a whole number >= 0, got {digits[:40]!r}")
    return int(digits)


def _text(place: Element, name: str) -> str:
    text = (place.findtext(name) or "").strip()
    if not text:
        raise ValueError(f"{name} must be there, {place.tag} has none")
    return text
