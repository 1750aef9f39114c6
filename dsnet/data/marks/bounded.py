"""Files from anywhere, within bounds: so many bytes, so deep, so many parts, and nothing more."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from dsnet.data.picture_file import read_regular_file
from dsnet.dependencies import needed

# A report or an annotation of this size holds tens of thousands of marks.
MOST_BYTES = 2**24
# Items of DICOM sequences, elements of XML: each costs about a kilobyte once it is taken apart.
MOST_PARTS = 200_000
# Content trees of reports are some ten deep, AIM files twenty.
MOST_DEPTH = 64

_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # little and big endian
_DEFLATED = b"1.2.840.10008.1.2.1.99"


def read_bytes(source: str, data: bytes | None = None, most: int = MOST_BYTES) -> bytes:
    """`data`, or where it is None the file `source`.

    Raises
    ------
    ValueError
        When the file cannot be read, is no regular one, or there are more than `most` bytes.
    """
    if data is None:
        return read_regular_file(source, most)
    if len(data) > most:
        raise ValueError(f"{source}: must be of at most {most} bytes, got {len(data)}")
    return data


def read_object(source: str, data: bytes | None = None) -> Any:
    """A DICOM object without pixels, taken apart by pydicom.

    Returns
    -------
    pydicom.Dataset

    Raises
    ------
    ValueError
        When there is none, it is cut short, too deep, or larger than `MOST_BYTES` or, taken apart,
        `MOST_PARTS`; the message names the source.
    ImportError
        When pydicom is not installed.
    """
    with needed("dicom", "reading marks from DICOM"):
        import pydicom
        from pydicom.filereader import read_dataset
    content = read_bytes(source, data)
    try:
        inflated = _inflated(content)
        _count_items(content if inflated is None else inflated)
        if inflated is not None:
            return read_dataset(io.BytesIO(inflated), False, True)
        return pydicom.dcmread(io.BytesIO(content), force=True, stop_before_pixels=True)
    except Exception as error:  # pydicom raises many kinds; to the caller the file is unusable
        raise ValueError(f"{source}: no DICOM object can be read: {told(error)}") from error


def _inflated(content: bytes) -> bytes | None:
    """What follows the header of a deflated object; None for any other."""
    if _DEFLATED not in content:
        return None
    # (0002,0000) comes first and tells the header's length (PS3.10, 7.1).
    if content[128:140] != b"DICM\x02\x00\x00\x00UL\x04\x00":
        raise ValueError("deflated, without the header that would tell so")
    end = 144 + int.from_bytes(content[140:144], "little")
    if content.find(_DEFLATED) >= end:
        raise ValueError("its header must tell that it is deflated, got that beyond of it")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    found = inflater.decompress(content[end:], MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise ValueError(f"must be of at most {MOST_BYTES} bytes once inflated")
    if not inflater.eof:
        raise ValueError("its deflated data is cut short")
    return found


def _count_items(content: bytes) -> None:
    items = sum(map(content.count, _ITEMS))
    if items > MOST_PARTS:
        raise ValueError(f"must have at most {MOST_PARTS} items of sequences, got {items}")


def read_json(source: str, data: bytes | None = None) -> Any:
    """What a JSON file says.

    Raises
    ------
    ValueError
        When it is none, is no UTF-8, too deep for Python's parser, or too large.
    """
    content = read_bytes(source, data)
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source}: no JSON can be read: {told(error)}") from error


@dataclass
class Node:
    """An element of XML, or an object of JSON: its attributes are its plain values.

    Namespaces' names are taken off: `iso:displayName` is `displayName`.
    """

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """This node and all below it, in their order."""
        waiting: list[Node] = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))

    def named(self, *names: str) -> Iterator[Node]:
        """Nodes of these names here and below."""
        return (node for node in self.walk() if node.name in names)

    def child(self, name: str) -> Node | None:
        """The first child of that name."""
        return next((node for node in self.children if node.name == name), None)

    def get(self, name: str, *keys: str) -> str:
        """An attribute, or the `value`, `root` or other of `keys` of a child; "" for none."""
        if name in self.attributes:
            return self.attributes[name]
        child = self.child(name)
        values = child.attributes if child is not None else {}
        return next((values[key] for key in (*keys, "value", "root") if values.get(key)), "")


def read_xml(source: str, data: bytes | None = None) -> Node:
    """The tree of an XML file. Nothing that it refers to is opened, no entity of its own expanded.

    Raises
    ------
    ValueError
        When it is none, declares a document type (with which entities come), is too deep or has too
        many elements.
    """
    content = read_bytes(source, data)
    builder = _Builder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.StartDoctypeDeclHandler = builder.doctype
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise ValueError(f"{source}: no XML can be read: {told(error)}") from error
    return builder.root


class _Builder:
    def __init__(self) -> None:
        self.root = Node("")
        self._open: list[Node] = []
        self._count = 0

    def doctype(self, *_: object) -> None:
        raise ValueError("must declare no document type")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MOST_PARTS:
            raise ValueError(f"must have at most {MOST_PARTS} elements")
        if len(self._open) >= MOST_DEPTH:
            raise ValueError(f"must be at most {MOST_DEPTH} elements deep")
        node = Node(_local(name), {_local(key): value for key, value in attributes.items()})
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)

    def end(self, _: str) -> None:
        self._open.pop()


def node_of_json(name: str, value: object) -> Node:
    """The tree of an object of JSON, as if it had been XML: lists are children of one name.

    Raises
    ------
    ValueError
        When it is too deep or has too many parts.
    """
    root = Node(_local(name))
    waiting: list[tuple[Node, object, int]] = [(root, value, 0)]
    count = 0
    while waiting:
        node, content, depth = waiting.pop()
        if depth > MOST_DEPTH:
            raise ValueError(f"must be at most {MOST_DEPTH} objects deep")
        if not isinstance(content, dict):
            continue
        for key, held in content.items():
            for one in held if isinstance(held, list) else [held]:
                count += 1
                if count > MOST_PARTS:
                    raise ValueError(f"must have at most {MOST_PARTS} objects")
                if isinstance(one, dict):
                    child = Node(_local(key))
                    node.children.append(child)
                    waiting.append((child, one, depth + 1))
                elif one is not None and not isinstance(one, list):
                    node.attributes[_local(key)] = str(one)
    return root


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def told(error: BaseException) -> str:
    """An error of another package in one line."""
    words = " ".join(str(error).split())
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return (
        words[:300]
        if isinstance(error, ValueError) and words
        else (f"{type(error).__name__}: {words[:300]}")
    )
