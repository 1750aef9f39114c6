"""XML from files that somebody else wrote: no entities, no end of nesting, bounded memory."""

from __future__ import annotations

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

# Ten times the largest file of LIDC-IDRI, or of AIM.
MOST_BYTES = 2**25
MOST_ELEMENTS = 2**20
MOST_NESTED = 64


def parse_xml(data: bytes) -> Element:
    """The root of a document; names are without their namespaces.

    A document type is refused whatever it says: entities are defined there, which can stand for
    gigabytes of text, or for other files.

    Parameters
    ----------
    data : bytes
        In any encoding that the document states and expat knows.

    Raises
    ------
    ValueError
        When the document is not well formed, has a document type, or has more than `MOST_BYTES`
        bytes, `MOST_ELEMENTS` elements or `MOST_NESTED` of them within each other.
    """
    if len(data) > MOST_BYTES:
        raise ValueError(f"XML must be of at most {MOST_BYTES} bytes, got {len(data)}")
    tree, open_ones, count = TreeBuilder(), 0, 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal open_ones, count
        open_ones, count = open_ones + 1, count + 1
        if open_ones > MOST_NESTED:
            raise ValueError(f"XML must have at most {MOST_NESTED} elements within each other")
        if count > MOST_ELEMENTS:
            raise ValueError(f"XML must have at most {MOST_ELEMENTS} elements")
        tree.start(_local(name), {_local(key): text for key, text in attributes.items()})

    def end(name: str) -> None:
        nonlocal open_ones
        open_ones -= 1
        tree.end(_local(name))

    def doctype(*_: object) -> None:
        raise ValueError("XML must have no document type")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = tree.data
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"XML is not well formed: {error}") from error
    except LookupError as error:  # An encoding that nobody knows.
        raise ValueError(f"XML is not well formed: {error}") from error
    return tree.close()


def _local(name: str) -> str:
    return name.rpartition(" ")[2]
