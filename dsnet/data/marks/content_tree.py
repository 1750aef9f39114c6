"""The content tree of a structured report, as it is and not as it should be.

Real reports lack template ids, graphic types and series, carry codes of their own and names that
are too long. So nothing is required here: what cannot be read is left empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dsnet.data.marks.bounded import MOST_DEPTH, MOST_PARTS


class Code(NamedTuple):
    """A coded concept: PS3.3, table 8.8-1."""

    value: str
    scheme: str
    meaning: str


NO_CODE = Code("", "", "")


@dataclass(eq=False)
class Item:
    """A content item.

    Attributes
    ----------
    relation, kind : str
        RelationshipType and ValueType; "" where they lack.
    concept, code : Code
        What the item is of, and the value of a CODE.
    text : str
        The value of a TEXT, PNAME or UIDREF.
    number : float or None
        The value of a NUM, in `unit`.
    graphic : str
        GraphicType of an SCOORD or SCOORD3D, whose numbers are `data`.
    image : (instance UID, frame) or None
        Of an IMAGE.
    target, refers
        The place that an item by reference names, and the item there.
    known : dict
        What a reader has worked out of its children, of which there may be many thousands.
    """

    relation: str = ""
    kind: str = ""
    concept: Code = NO_CODE
    code: Code = NO_CODE
    text: str = ""
    number: float | None = None
    unit: str = ""
    graphic: str = ""
    data: list = field(default_factory=list)
    frame_of_reference: str = ""
    image: tuple[str, int | None] | None = None
    target: list = field(default_factory=list)
    refers: Item | None = None
    parent: Item | None = None
    children: list[Item] = field(default_factory=list)
    known: dict[str, Any] = field(default_factory=dict, repr=False)

    def once(self, make: Callable[[Item], Any]) -> Any:
        """What a function gives of this item; called once, when the tree is whole."""
        name = make.__name__
        if name not in self.known:
            self.known[name] = make(self)
        return self.known[name]

    def walk(self) -> Iterator[Item]:
        """This item and all below it, in their order."""
        waiting: list[Item] = [self]
        while waiting:
            item = waiting.pop()
            yield item
            waiting.extend(reversed(item.children))

    def ancestors(self) -> Iterator[Item]:
        """The parent, its parent, and so on to the root."""
        item = self.parent
        while item is not None:
            yield item
            item = item.parent


def content_tree(dataset: Any) -> Item:
    """The tree of a report; references by position are children of both places.

    Raises
    ------
    ValueError
        When it is too deep or has too many items.
    """
    root = _item(dataset)
    waiting = [(root, dataset, 0)]
    count = 0
    while waiting:
        item, found, depth = waiting.pop()
        for held in sequence(found, "ContentSequence"):
            count += 1
            if count > MOST_PARTS:
                raise ValueError(f"must have at most {MOST_PARTS} content items")
            if depth >= MOST_DEPTH:
                raise ValueError(f"must be at most {MOST_DEPTH} content items deep")
            child = _item(held)
            child.parent = item
            item.children.append(child)
            waiting.append((child, held, depth + 1))
    _resolve(root)
    return root


def _resolve(root: Item) -> None:
    """Put what an item refers to (PS3.3, C.17.3.2.5) in its place, without what lies below."""
    for item in list(root.walk()):
        if item.kind or not item.target:
            continue
        found: Item | None = root
        for number in item.target[1:]:
            inside = found.children if found is not None else []
            found = inside[number - 1] if 0 < number <= len(inside) else None
        if found is None or found is item:
            continue
        for name in ("kind", "concept", "code", "text", "number", "unit", "graphic", "data"):
            setattr(item, name, getattr(found, name))
        item.refers = found
        item.frame_of_reference, item.image = found.frame_of_reference, found.image
        # Of an SCOORD the image below it; copies, so that the walk stays one of a tree.
        for below in found.children:
            if below.kind == "IMAGE":
                item.children.append(Item(kind="IMAGE", image=below.image, parent=item))


def sequence(dataset: Any, name: str) -> list:
    """The items of a sequence; none where it is absent or no sequence."""
    value = read(dataset, name)
    if value is None or isinstance(value, str | bytes):
        return []
    try:
        return [item for item in value if hasattr(item, "get")]
    except TypeError:
        return []


def read(dataset: Any, name: str) -> Any:
    """The value of a tag; None where it is absent or cannot be read."""
    try:
        return dataset.get(name)
    except Exception:  # pydicom reads a value when it is asked for it, and raises many kinds
        return None


def numbers(dataset: Any, name: str) -> list:
    """The values of a tag, of which there may be one, several or none."""
    value = read(dataset, name)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        # A person's name is one value, though it can be gone through.
        return [value] if hasattr(value, "family_name") else list(value)
    return [] if value is None or value == "" else [value]


def word(dataset: Any, name: str) -> str:
    """The first value of a tag as text; "" where there is none."""
    values = numbers(dataset, name)
    return str(values[0]).strip("\0 ") if values else ""


def coded(dataset: Any, name: str) -> Code:
    """The first code of a sequence."""
    for item in sequence(dataset, name):
        # Long ones and URNs have tags of their own.
        value = word(item, "CodeValue") or word(item, "LongCodeValue") or word(item, "URNCodeValue")
        return Code(value, word(item, "CodingSchemeDesignator"), word(item, "CodeMeaning"))
    return NO_CODE


def referenced_image(dataset: Any) -> tuple[str, int | None] | None:
    """Instance and frame of a ReferencedSOPSequence or ReferencedImageSequence."""
    for name in ("ReferencedSOPSequence", "ReferencedImageSequence"):
        for item in sequence(dataset, name):
            instance = word(item, "ReferencedSOPInstanceUID")
            if instance:
                return instance, frame_number(item)
    return None


def frame_number(item: Any) -> int | None:
    """The frame that is referred to, the first being 1; None for none, or what is no number."""
    for value in numbers(item, "ReferencedFrameNumber")[:1]:
        try:
            frame = int(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return frame if frame > 0 else None  # some write 0 for a plain image
    return None


def _item(dataset: Any) -> Item:
    measured = sequence(dataset, "MeasuredValueSequence")
    number = numbers(measured[0], "NumericValue")[:1] if measured else []
    try:
        value = float(number[0]) if number else None
    except (TypeError, ValueError, OverflowError):
        value = None
    unit = coded(measured[0], "MeasurementUnitsCodeSequence") if measured else NO_CODE
    texts = (word(dataset, name) for name in ("TextValue", "PersonName", "UID"))
    return Item(
        relation=word(dataset, "RelationshipType").upper(),
        kind=word(dataset, "ValueType").upper(),
        concept=coded(dataset, "ConceptNameCodeSequence"),
        code=coded(dataset, "ConceptCodeSequence"),
        text=next(filter(None, texts), ""),
        number=value,
        unit=unit.value or unit.meaning,
        graphic=word(dataset, "GraphicType").upper(),
        data=numbers(dataset, "GraphicData"),
        frame_of_reference=word(dataset, "ReferencedFrameOfReferenceUID"),
        image=referenced_image(dataset),
        target=[n for n in numbers(dataset, "ReferencedContentItemIdentifier") if type(n) is int],
    )
