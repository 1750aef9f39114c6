"""DICOM presentation states (GSPS and its kin): lines that a reader drew over a picture.

Two lines that cross near the middle of both, at a wide angle, are one mark; a line alone is a long
axis alone. The text nearest to a mark in its annotation is its label.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from dsnet.data.datasets.coordinates import CORNER, check_origin
from dsnet.data.dicom.person import person_of
from dsnet.data.marks.bounded import MOST_PARTS, read_object
from dsnet.data.marks.content_tree import (
    frame_number,
    numbers,
    read,
    sequence,
    word,
)
from dsnet.data.marks.geometry import paired
from dsnet.data.marks.record import FoundMark, Refused, joined, points, refuse, text

# Grayscale, Color, Pseudo-Color and Blending Softcopy Presentation State and so on (PS3.4, B.5-1).
_CLASSES = "1.2.840.10008.5.1.4.1.1.11."
# Pixels from a mark to a text of another annotation that is its label.
_BESIDE = 64.0
# Pixels: a ruler whose line is drawn, too, lies where that does.
_SAME = 0.01
_LINES = ("POLYLINE", "INTERPOLATED")


def is_gsps(sop_class_uid: str, modality: str = "") -> bool:
    """Whether an object of that class, or where it has none of that modality, is one."""
    return sop_class_uid.startswith(_CLASSES) if sop_class_uid else modality == "PR"


def read_gsps(
    source: str,
    data: bytes | None = None,
    refused: Refused | None = None,
    *,
    origin: float = CORNER,
) -> list[FoundMark]:
    """The marks of a presentation state.

    Parameters
    ----------
    source : str
        The file, or what `data` is called.
    data : bytes, optional
        What it holds.
    refused : list, optional
        Where a line that is no mark is told; without it that raises.
    origin : float
        What coordinates in PIXEL units count from, taken off to get pixel centres at integers. 0.5,
        the corner of the first pixel, is the standard's (PS3.3, C.10.5.1.2); viewers that draw at
        the centres of pixels write 0. DISPLAY units are fractions of the displayed area, whose
        corners the file tells in whole pixels, and have no such doubt.

    Returns
    -------
    list of FoundMark

    Raises
    ------
    ValueError
        When the file is no presentation state, or damaged; the message names it.
    """
    origin = check_origin(origin)
    with warnings.catch_warnings():  # pydicom warns of values longer than their kind allows
        warnings.simplefilter("ignore")
        return _marks(source, read_object(source, data), refused, origin)


@dataclass(eq=False)
class _Line:
    ends: np.ndarray
    image: tuple[str, int | None] | None
    annotation: int
    tracking_id: str = ""
    tracking_uid: str = ""
    notes: list[str] = field(default_factory=list)


class _Text(NamedTuple):
    """Words, where they stand, and which annotation's by its number."""

    words: str
    place: np.ndarray | None
    image: tuple[str, int | None] | None
    annotation: int


class _Pictures:
    """The pictures that an annotation is of, and what part of them is displayed."""

    def __init__(self, images: list[tuple[str, int | None]], areas: _Areas) -> None:
        self.listed = images
        different = set(images)
        self.image = images[0] if len(different) == 1 else None
        count = len(different)
        self.notes = [] if count == 1 else [f"drawn on {count or 'no'} images: none is named alone"]
        self.area = areas.of({image[0] for image in different})


class _Areas:
    """The displayed areas of a state, found by the pictures that they name."""

    def __init__(self, dataset: Any) -> None:
        self._areas = sequence(dataset, "DisplayedAreaSelectionSequence")
        self._first: dict[str, int] = {}
        for number, area in enumerate(self._areas):
            # One that names no picture is of all that none names.
            for uid in _names(area) or {""}:
                self._first.setdefault(uid, number)
        try:
            self.turned = int(read(dataset, "ImageRotation") or 0) % 180 == 90
        except (TypeError, ValueError, OverflowError):
            self.turned = False

    def of(self, uids: set[str]) -> Any:
        """The first area of one of these pictures, else of all; None where there is none."""
        named = [self._first[uid] for uid in uids - {""} if uid in self._first]
        number = min(named) if named else self._first.get("")
        return None if number is None else self._areas[number]


def _marks(source: str, dataset: Any, refused: Refused | None, origin: float) -> list[FoundMark]:
    if not is_gsps(word(dataset, "SOPClassUID"), word(dataset, "Modality")):
        raise ValueError(f"{source}: must be a presentation state")
    series, instances = _referenced(dataset)
    areas = _Areas(dataset)
    everywhere = _Pictures(instances, areas)
    lines: list[_Line] = []
    texts: list[_Text] = []
    for number, annotation in enumerate(sequence(dataset, "GraphicAnnotationSequence")):
        named = _images(annotation)
        pictures = _Pictures(named, areas) if named else everywhere
        drawn: set[tuple] = set()
        for read_one, name in ((_line, "GraphicObject"), (_ruler, "CompoundGraphic")):
            for graphic in sequence(annotation, f"{name}Sequence"):
                try:
                    ends = read_one(graphic, pictures, areas, origin, drawn)
                except ValueError as error:
                    refuse(refused, source, f"line {len(lines) + 1}: {error}")
                    continue
                if ends is not None:
                    told = _tracking(graphic)
                    lines.append(_Line(ends, pictures.image, number, *told, [*pictures.notes]))
        for item in sequence(annotation, "TextObjectSequence"):
            words = str(read(item, "UnformattedTextValue") or "")
            place = _anchor(item, pictures, areas, origin)
            texts.append(_Text(words, place, pictures.image, number))
    reader = text(word(dataset, "ContentCreatorName")) or None
    person = tuple(person_of(dataset).values())
    marks = _pairs(lines, source, refused)
    labels = _labels(marks, texts)
    found = []
    for (long, short), label in zip(marks, labels, strict=True):
        instance, frame = long.image or (None, None)
        found.append(
            FoundMark(
                long_axis=long.ends,
                short_axis=None if short is None else short.ends,
                series_uid=series.get(instance or ""),
                instance_uid=instance,
                frame=frame,
                label=label,
                tracking_id=long.tracking_id or None,
                tracking_uid=long.tracking_uid or None,
                reader=reader,
                person=person,
                source=source,
                format="gsps",
                index=len(found),
                notes=tuple(long.notes),
            )
        )
    return found


def _pairs(
    lines: list[_Line], source: str, refused: Refused | None
) -> list[tuple[_Line, _Line | None]]:
    """The lines of each picture, two that are one mark together, in the order of the state."""
    by_image: dict[Any, list[_Line]] = {}
    for line in lines:
        by_image.setdefault(line.image, []).append(line)
    found: list[tuple[_Line, _Line | None]] = []
    for members in by_image.values():
        try:
            pairs = paired([line.ends for line in members])
        except ValueError as error:
            refuse(refused, source, str(error))
            continue
        found += [(members[a], None if b is None else members[b]) for a, b in pairs]
    order = {id(line): number for number, line in enumerate(lines)}
    return sorted(found, key=lambda mark: min(order[id(line)] for line in mark if line is not None))


def _referenced(dataset: Any) -> tuple[dict[str, str], list[tuple[str, int | None]]]:
    """The series of each picture of the state, and the pictures in their order."""
    series: dict[str, str] = {}
    images = []
    for each in sequence(dataset, "ReferencedSeriesSequence"):
        for image in sequence(each, "ReferencedImageSequence"):
            instance = word(image, "ReferencedSOPInstanceUID")
            series.setdefault(instance, text(word(each, "SeriesInstanceUID")))
            images.append((instance, frame_number(image)))
    return {key: value for key, value in series.items() if value}, images


def _images(annotation: Any) -> list[tuple[str, int | None]]:
    """The pictures that an annotation names; none where it is of all of the state's."""
    found = []
    for item in sequence(annotation, "ReferencedImageSequence"):
        instance = word(item, "ReferencedSOPInstanceUID")
        frames = len(numbers(item, "ReferencedFrameNumber"))
        # Of several frames none is the mark's.
        found += [(instance, frame_number(item))] if frames < 2 else [(instance, None), ("", None)]
    return found


def _line(
    graphic: Any, pictures: _Pictures, areas: _Areas, origin: float, drawn: set[tuple]
) -> np.ndarray | None:
    """The ends of a graphic object of two points; None of any other."""
    if word(graphic, "GraphicType").upper() not in _LINES:
        return None
    data = numbers(graphic, "GraphicData")
    if len(data) != 4:
        return None
    ends = _pixels(data, word(graphic, "GraphicAnnotationUnits"), pictures, areas, origin)
    drawn.add(_cell(ends))
    return ends


def _ruler(
    compound: Any, pictures: _Pictures, areas: _Areas, origin: float, drawn: set[tuple]
) -> np.ndarray | None:
    """Likewise of a compound graphic, unless it is drawn as a plain line, too."""
    if word(compound, "CompoundGraphicType").upper() not in ("RULER", "RANGELINE", "MULTILINE"):
        return None
    data = numbers(compound, "GraphicData")
    if len(data) != 4:
        return None
    ends = _pixels(data, word(compound, "CompoundGraphicUnits"), pictures, areas, origin)
    cell = _cell(ends)
    beside = itertools.product(*((at - 1, at, at + 1) for at in cell))
    if any(each in drawn for each in beside):
        return None
    drawn.add(cell)
    return ends


def _cell(ends: np.ndarray) -> tuple:
    """Where a line lies, to a hundredth of a pixel."""
    return tuple(np.floor(ends / _SAME).astype(np.int64).ravel().tolist())


def _tracking(item: Any) -> tuple[str, str]:
    return text(word(item, "TrackingID")), text(word(item, "TrackingUID"))


def _pixels(
    data: list, units: str, pictures: _Pictures, areas: _Areas, origin: float
) -> np.ndarray:
    """Points of a graphic as pixel centres at integers."""
    if units.upper() == "PIXEL":
        return points(data, 2, origin)
    if units.upper() != "DISPLAY":
        raise ValueError(f"GraphicAnnotationUnits must be PIXEL or DISPLAY, got {units!r}")
    corner, extent = _displayed_area(pictures.area)
    fractions = points(data, 2)
    # A picture turned by 90 or 270 degrees is shown with its columns along the rows.
    along = fractions[:, ::-1] if areas.turned else fractions
    return corner + along * extent - CORNER


def _displayed_area(area: Any) -> tuple[np.ndarray, np.ndarray]:
    """Where the displayed area begins, from the corner of the first pixel, and what it spans."""
    if area is None:
        raise ValueError("in DISPLAY units, without a displayed area of its image")
    first = points(numbers(area, "DisplayedAreaTopLeftHandCorner"), 2)
    last = points(numbers(area, "DisplayedAreaBottomRightHandCorner"), 2)
    if len(first) != 1 or len(last) != 1:
        raise ValueError("DisplayedAreaTopLeftHandCorner and BottomRight must be one point each")
    # They are pixels, the first being 1; the area covers both wholly (PS3.3, C.10.4). After a
    # rotation or a flip its top left is another corner of the picture.
    backward = last[0] < first[0]
    corner = np.where(backward, first[0], first[0] - 1)
    end = np.where(backward, last[0] - 1, last[0])
    return corner, end - corner


def _names(area: Any) -> set[str]:
    found = {word(item, "ReferencedSOPInstanceUID")
             for item in sequence(area, "ReferencedImageSequence")}  # fmt: skip
    return found - {""}


def _labels(marks: list[tuple[_Line, _Line | None]], texts: list[_Text]) -> list[str]:
    """The texts, each given to the mark that it stands nearest to.

    That is one of the text's own annotation; where that has no line, one of its picture that is not
    farther than a label stands.
    """
    said: list[list[str]] = [[] for _ in marks]
    if len(texts) * len(marks) > MOST_PARTS:
        return [""] * len(marks)
    # A mark of one line has its ends twice.
    ends = np.array([[long.ends, (short or long).ends] for long, short in marks])
    ends = ends.reshape(len(marks), 4, 2)
    by_annotation: dict[int, list[int]] = {}
    by_image: dict[Any, list[int]] = {}
    for i, mark in enumerate(marks):
        for number in {line.annotation for line in mark if line is not None}:
            by_annotation.setdefault(number, []).append(i)
        by_image.setdefault(mark[0].image, []).append(i)
    for words, place, image, annotation in texts:
        near = by_annotation.get(annotation, [])
        if place is None:
            near = near if len(near) == 1 else []
        else:
            beside = near or by_image.get(image, [])
            far = np.hypot(*np.moveaxis(ends[beside] - place, 2, 0)).min(1)
            at = int(far.argmin()) if beside else -1
            near = [beside[at]] if beside and (near or far[at] <= _BESIDE) else []
        for i in near:
            said[i].append(words)
    return [joined(each) for each in said]


def _anchor(item: Any, pictures: _Pictures, areas: _Areas, origin: float) -> np.ndarray | None:
    """Where a text stands: its anchor, else the middle of its box; None where it tells neither."""
    for names, units in (
        (("AnchorPoint",), "AnchorPointAnnotationUnits"),
        (("BoundingBoxTopLeftHandCorner", "BoundingBoxBottomRightHandCorner"),
         "BoundingBoxAnnotationUnits"),
    ):  # fmt: skip
        data = [number for name in names for number in numbers(item, name)]
        try:
            return _pixels(data, word(item, units), pictures, areas, origin).mean(0)
        except ValueError:
            continue
    return None
