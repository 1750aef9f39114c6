"""DICOM presentation states (GSPS and its kin): lines that a reader drew over a picture.

Two lines that cross near the middle of both, at a wide angle, are one mark; a line alone is a long
axis alone. The text nearest to a mark in its annotation is its label.
"""

from __future__ import annotations

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
    tracking_id: str = ""
    tracking_uid: str = ""
    notes: list[str] = field(default_factory=list)


class _Text(NamedTuple):
    """Words, where they stand, and which annotation's."""

    words: str
    place: np.ndarray | None
    image: tuple[str, int | None] | None
    own: list[_Line]


def _marks(source: str, dataset: Any, refused: Refused | None, origin: float) -> list[FoundMark]:
    if not is_gsps(word(dataset, "SOPClassUID"), word(dataset, "Modality")):
        raise ValueError(f"{source}: must be a presentation state")
    series, instances = _referenced(dataset)
    lines: list[_Line] = []
    texts: list[_Text] = []
    for annotation in sequence(dataset, "GraphicAnnotationSequence"):
        images = _images(annotation, instances)
        own: list[_Line] = []
        for graphic in sequence(annotation, "GraphicObjectSequence"):
            try:
                own += _line(graphic, dataset, images, origin)
            except ValueError as error:
                refuse(refused, source, f"line {len(lines) + len(own) + 1}: {error}")
        for compound in sequence(annotation, "CompoundGraphicSequence"):
            try:
                own += _ruler(compound, dataset, images, origin, own)
            except ValueError as error:
                refuse(refused, source, f"line {len(lines) + len(own) + 1}: {error}")
        for item in sequence(annotation, "TextObjectSequence"):
            words = str(read(item, "UnformattedTextValue") or "")
            place = _anchor(item, dataset, images, origin)
            texts.append(_Text(words, place, *_placed(images), own))
        lines += own
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


def _images(annotation: Any, instances: list) -> list[tuple[str, int | None]]:
    """The pictures that an annotation is of: those that it names, else all of the state's."""
    found = []
    for item in sequence(annotation, "ReferencedImageSequence"):
        instance = word(item, "ReferencedSOPInstanceUID")
        frames = len(numbers(item, "ReferencedFrameNumber"))
        # Of several frames none is the mark's.
        found += [(instance, frame_number(item))] if frames < 2 else [(instance, None), ("", None)]
    return found or instances


def _line(graphic: Any, dataset: Any, images: list, origin: float) -> list[_Line]:
    """A graphic object of two points; none of any other."""
    if word(graphic, "GraphicType").upper() not in _LINES:
        return []
    data = numbers(graphic, "GraphicData")
    if len(data) != 4:
        return []
    ends = _pixels(data, word(graphic, "GraphicAnnotationUnits"), dataset, images, origin)
    return [_Line(ends, *_placed(images), *_tracking(graphic), notes=_several(images))]


def _ruler(compound: Any, dataset: Any, images: list, origin: float, drawn: list) -> list[_Line]:
    """A compound graphic of two points that is a line, unless it is drawn as a plain one, too."""
    if word(compound, "CompoundGraphicType").upper() not in ("RULER", "RANGELINE", "MULTILINE"):
        return []
    data = numbers(compound, "GraphicData")
    if len(data) != 4:
        return []
    ends = _pixels(data, word(compound, "CompoundGraphicUnits"), dataset, images, origin)
    if any(np.abs(ends - line.ends).max() < 0.01 for line in drawn):
        return []
    return [_Line(ends, *_placed(images), *_tracking(compound), notes=_several(images))]


def _placed(images: list) -> tuple[tuple[str, int | None] | None]:
    return (images[0] if len(set(images)) == 1 else None,)


def _several(images: list) -> list[str]:
    count = len(set(images))
    return [] if count == 1 else [f"drawn on {count or 'no'} images: none is named alone"]


def _tracking(item: Any) -> tuple[str, str]:
    return text(word(item, "TrackingID")), text(word(item, "TrackingUID"))


def _pixels(data: list, units: str, dataset: Any, images: list, origin: float) -> np.ndarray:
    """Points of a graphic as pixel centres at integers."""
    if units.upper() == "PIXEL":
        return points(data, 2, origin)
    if units.upper() != "DISPLAY":
        raise ValueError(f"GraphicAnnotationUnits must be PIXEL or DISPLAY, got {units!r}")
    corner, extent, turned = _displayed_area(dataset, images)
    fractions = points(data, 2)
    # A picture turned by 90 or 270 degrees is shown with its columns along the rows.
    along = fractions[:, ::-1] if turned else fractions
    return corner + along * extent - CORNER


def _displayed_area(dataset: Any, images: list) -> tuple[np.ndarray, np.ndarray, bool]:
    """Where the displayed area begins, from the corner of the first pixel, and what it spans."""
    areas = sequence(dataset, "DisplayedAreaSelectionSequence")
    shown = {image[0] for image in images}
    named = [area for area in areas if shown & _names(area)]
    area = next(iter(named or [area for area in areas if not _names(area)]), None)
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
    try:
        turned = int(read(dataset, "ImageRotation") or 0) % 180 == 90
    except (TypeError, ValueError, OverflowError):
        turned = False
    return corner, end - corner, turned


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
    ends = [np.concatenate([line.ends for line in mark if line is not None]) for mark in marks]
    for words, place, image, own in texts:
        near = [i for i, mark in enumerate(marks) if any(line in own for line in mark)]
        if place is None:
            near = near if len(near) == 1 else []
        else:
            far = np.array([np.hypot(*(each - place).T).min() for each in ends])
            beside = [i for i, mark in enumerate(marks) if mark[0].image == image]
            near = near or [i for i in beside if far[i] <= _BESIDE]
            near = [min(near, key=far.__getitem__)] if near else []
        for i in near:
            said[i].append(words)
    return [joined(each) for each in said]


def _anchor(item: Any, dataset: Any, images: list, origin: float) -> np.ndarray | None:
    """Where a text stands: its anchor, else the middle of its box; None where it tells neither."""
    for names, units in (
        (("AnchorPoint",), "AnchorPointAnnotationUnits"),
        (("BoundingBoxTopLeftHandCorner", "BoundingBoxBottomRightHandCorner"),
         "BoundingBoxAnnotationUnits"),
    ):  # fmt: skip
        data = [number for name in names for number in numbers(item, name)]
        try:
            return _pixels(data, word(item, units), dataset, images, origin).mean(0)
        except ValueError:
            continue
    return None
