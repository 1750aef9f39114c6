"""AIM (Annotation and Image Markup): version 3 in XML, version 4 in XML and in JSON, as ePAD and
aimconvert write it.

A line is a MultiPoint or Polyline of two points. Two lines of one annotation are one mark where
their calculations are those of a long and a short axis, or where they cross near the middle.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dsnet.data.datasets.coordinates import CORNER
from dsnet.data.marks.bounded import Node, node_of_json, read_bytes, read_json, read_xml
from dsnet.data.marks.codes import LENGTH, LONG, SHORT, measured, measured_by_name
from dsnet.data.marks.content_tree import Code
from dsnet.data.marks.geometry import crossing, paired
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

_LINES = ("multipoint", "polyline")


def is_aim(data: bytes) -> bool:
    """Whether the content of a file may be AIM."""
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    return start in (b"<", b"{", b"[") and b"ImageAnnotation" in data


def read_aim(
    source: str, data: bytes | None = None, refused: Refused | None = None
) -> list[FoundMark]:
    """The marks of an AIM file.

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
        When the file is no AIM, declares a document type, or is damaged; the message names it.
    """
    content = read_bytes(source, data)
    if content[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        root = read_xml(source, content)
    else:
        root = node_of_aim_json(source, content)
    annotations = list(root.named("ImageAnnotation"))
    if not annotations:
        raise ValueError(f"{source}: must have an ImageAnnotation")
    # Version 4 has the reader on the collection, version 3 on the annotation.
    person = tuple(_person(root))
    readers = [text(user.get("name")) for user in root.named("user", "User")]
    reader = next(filter(None, readers), None)
    marks: list[FoundMark] = []
    for annotation in annotations:
        try:
            found = _marks(annotation, reader, source, len(marks))
            marks += [dataclasses.replace(mark, person=person) for mark in found]
        except ValueError as error:
            called = shown(_name(annotation)) if _name(annotation) else "without a name"
            refuse(refused, source, f"annotation {called}: {error}")
    return marks


def node_of_aim_json(source: str, content: bytes) -> Node:
    """The tree of a JSON file."""
    try:
        return node_of_json("", {"file": read_json(source, content)})
    except ValueError as error:
        told = str(error)
        raise ValueError(told if told.startswith(source) else f"{source}: {told}") from error


@dataclass(eq=False)
class _Shape:
    """A line, or four points, on a picture."""

    uid: str
    ends: np.ndarray
    image: str
    frame: int | None
    frame_of_reference: str


# The calculations of a shape by its uid, or of the annotation by None, and by what they are of; of
# several no more than two, since none of them is meant.
_Roles = dict[tuple[str | None, str], list["_Calculation"]]


@dataclass(eq=False)
class _Calculation:
    """A length that was written, and what of."""

    uid: str
    role: str
    value: float | None
    unit: str


def _marks(annotation: Node, reader: str | None, source: str, first: int) -> list[FoundMark]:
    shapes = list(_shapes(annotation))
    calculations = [c for c in map(_calculation, _calculations(annotation)) if c.role]
    roles = _linked(annotation, calculations)
    series = _series(annotation)
    label, name = joined([_name(annotation), *_places(annotation)]), _name(annotation)
    tracking_uid = _uid(annotation, "trackingUniqueIdentifier")
    tracking_uid = tracking_uid or _uid(annotation, "uniqueIdentifier")
    found = []
    for long, short, notes in _paired(shapes, calculations, roles):
        shape = shapes[long]
        ends = shape.ends[:2]
        across = shapes[short].ends if short is not None else shape.ends[2:]
        alone = len(shapes) == 1
        lengths = [
            _length(roles, shape.uid, LONG, alone, notes),
            _length(roles, None if short is None else shapes[short].uid, SHORT, False, notes),
        ]
        flat = ends.shape[1] == 2
        found.append(
            FoundMark(
                long_axis=ends if flat else None,
                short_axis=across if flat and len(across) else None,
                world=None if flat else np.concatenate([ends, across]),
                frame_of_reference_uid=shape.frame_of_reference or None,
                series_uid=series.get(shape.image) or None,
                instance_uid=shape.image or None,
                frame=shape.frame,
                label=label,
                tracking_id=name or None,
                tracking_uid=tracking_uid or None,
                reader=reader,
                long_mm=lengths[0],
                short_mm=lengths[1],
                units=next((text(c.unit) for c in calculations), ""),
                source=source,
                format="aim",
                index=first + len(found),
                notes=tuple(notes),
            )
        )
    return found


def _shapes(annotation: Node) -> Iterator[_Shape]:
    for node in annotation.named("GeometricShape", "MarkupEntity"):
        kind = node.attributes.get("type", "").lower()
        if not kind.endswith(_LINES):
            continue
        drawn = list(node.named("SpatialCoordinate", "TwoDimensionSpatialCoordinate"))
        solid = list(node.named("ThreeDimensionSpatialCoordinate"))
        if len(drawn or solid) not in (2, 4):
            continue
        names = ("x", "y") if drawn else ("x", "y", "z")
        ordered = sorted(drawn or solid, key=_order)
        numbers = [each.get(name) for each in ordered for name in names]
        ends = points(numbers, len(names), CORNER if drawn else 0.0)
        images = {each.get("imageReferenceUID") or node.get("imageReferenceUid") for each in drawn}
        if len(images) > 1:
            raise ValueError(f"a line must lie on one image, got {len(images)}")
        number = node.get("referencedFrameNumber") or (
            drawn[0].get("referencedFrameNumber") if drawn else ""
        )
        yield _Shape(
            uid=_uid(node, "uniqueIdentifier") or node.get("shapeIdentifier"),
            ends=ends,
            image=text(next(iter(images), "")),
            frame=int(number) if number.isdecimal() and int(number[:9]) > 0 else None,
            frame_of_reference=text(node.get("frameOfReferenceUid")),
        )


def _order(coordinate: Node) -> int:
    number = coordinate.get("coordinateIndex")
    return int(number[:9]) if number[:9].isdecimal() else 0


def _paired(
    shapes: list[_Shape], calculations: list[_Calculation], roles: _Roles
) -> Iterator[tuple[int, int | None, list[str]]]:
    """Which shapes are one mark, in their order: (long, short or None, notes)."""
    known = {c.role for c in calculations}
    lines = [i for i, shape in enumerate(shapes) if len(shape.ends) == 2]
    found: list[tuple[int, int | None, list[str]]] = []
    for i, shape in enumerate(shapes):
        both = len(shape.ends) == 4 and {LONG, SHORT} <= known
        if both and crossing(shape.ends[:2], shape.ends[2:]) is not None:
            found.append((i, None, []))
    called = {r: [i for i in lines if roles.get((shapes[i].uid, r))] for r in (LONG, SHORT)}
    if len(called[LONG]) == len(called[SHORT]) == 1 and called[LONG] != called[SHORT]:
        long, short = called[LONG][0], called[SHORT][0]
        if shapes[long].image == shapes[short].image:
            crosses = crossing(shapes[long].ends, shapes[short].ends) is not None
            odd = [] if crosses else ["its axes do not cross near their middles at a wide angle"]
            found.append((long, short, odd))
            lines = [i for i in lines if i not in (long, short)]
    by_image: dict[tuple, list[int]] = {}
    for i in lines:
        key = (shapes[i].image, shapes[i].frame, shapes[i].ends.shape[1])
        by_image.setdefault(key, []).append(i)
    for members in by_image.values():
        for a, b in paired([shapes[i].ends for i in members]):
            notes = [] if b is None or {LONG, SHORT} <= known else [
                "two lines that cross, taken for the two axes"
            ]  # fmt: skip
            found.append((members[a], None if b is None else members[b], notes))
    return iter(sorted(found, key=lambda mark: min(i for i in mark[:2] if i is not None)))


def _length(
    roles: _Roles, uid: str | None, role: str, alone: bool, notes: list[str]
) -> float | None:
    """What is written of an axis: linked to it, called so, or the only length of an only line."""
    places = [(uid, role), (uid, LENGTH)] if uid is not None else []
    places += [(None, role), *([(None, LENGTH)] if alone else [])]
    candidates = [roles.get(place, []) for place in places]
    found = next((held for held in candidates if len(held) == 1), [])
    if not found:
        return None
    length = millimetres(found[0].value, found[0].unit)
    if length is None and found[0].value is not None:
        unit = text(found[0].unit) or "no unit"
        notes.append(f"the {role} axis is written as {found[0].value:g} in {unit}")
    return length


def _calculations(annotation: Node) -> Iterator[Node]:
    return annotation.named("Calculation", "CalculationEntity")


def _calculation(node: Node) -> _Calculation:
    codes = [Code(*(node.attributes.get(k, "") for k in _V3_CODE))]
    for child in node.children:
        if child.name == "typeCode":
            shown = child.get("displayName")
            held = child.attributes
            codes.append(Code(held.get("code", ""), held.get("codeSystemName", ""), shown))
    roles = [*map(measured, codes), measured_by_name(node.get("description"))]
    results = list(node.named("CalculationResult"))
    # A compact result has its one value itself.
    held = [
        each for result in results for each in list(result.named("CalculationData")) or [result]
    ]
    values = [n for each in held if (n := _number(each.get("value"))) is not None]
    return _Calculation(
        uid=_uid(node, "uniqueIdentifier") or node.attributes.get("uid", ""),
        role=next(filter(None, roles), ""),
        value=values[0] if len(values) == 1 else None,
        unit=results[0].get("unitOfMeasure") if results else "",
    )


_V3_CODE = ("codeValue", "codingSchemeDesignator", "codeMeaning")


def _linked(annotation: Node, calculations: list[_Calculation]) -> _Roles:
    """The calculations of each shape, by the annotation's statements, and of the annotation.

    ePAD gives all calculations the same uid, 0: such a statement says nothing.
    """
    found: _Roles = {}
    by_uid: dict[str, list[_Calculation]] = {}
    for each in calculations:
        _keep(found, (None, each.role), each)
        by_uid.setdefault(each.uid, []).append(each)
    for node in annotation.named("ImageAnnotationStatement"):
        subject, target = (
            _uid(node, name) for name in ("subjectUniqueIdentifier", "objectUniqueIdentifier")
        )
        held = by_uid.get(subject, [])
        if len(held) == 1:
            _keep(found, (target, held[0].role), held[0])
    return found


def _keep(found: _Roles, place: tuple[str | None, str], each: _Calculation) -> None:
    held = found.setdefault(place, [])
    if len(held) < 2 and each not in held:
        held.append(each)


def _series(annotation: Node) -> dict[str, str]:
    """The series of each picture that the annotation refers to."""
    found: dict[str, str] = {}
    for node in annotation.named("imageSeries", "ImageSeries"):
        uid = _uid(node, "instanceUID") or _uid(node, "instanceUid")
        for image in node.named("Image") if uid else ():
            instance = _uid(image, "sopInstanceUID") or _uid(image, "sopInstanceUid")
            found.setdefault(instance, uid)
    return found


def _places(annotation: Node) -> Iterator[str]:
    for node in annotation.named("AnatomicEntity", "ImagingPhysicalEntity"):
        code = node.child("typeCode")
        if node.get("label").lower() == "status":
            continue  # ePAD's "tracked", which is no place
        yield node.attributes.get("codeMeaning") or (code.get("displayName") if code else "")


def _name(annotation: Node) -> str:
    """ePAD writes what it needs to draw behind a tilde."""
    return text(annotation.get("name").partition("~")[0])


def _uid(node: Node, name: str) -> str:
    return text(node.get(name))


def _person(root: Node) -> Iterator[str]:
    """What the file calls the patient: a name, a number, a birth date as DICOM writes it."""
    for node in root.named("Person", "person"):
        yield from filter(None, (node.get("name"), node.get("id")))
        if birth := node.get("birthDate") or node.get("birthdate"):
            yield re.sub(r"\D", "", birth[:10])


def _number(written: str) -> float | None:
    try:
        number = float(written)
    except ValueError:
        return None
    return number if np.isfinite(number) else None
