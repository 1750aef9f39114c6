"""Finds the marks of a folder, a file, a zip or a server, whatever formats they have."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from dsnet.data.datasets.coordinates import CORNER
from dsnet.data.dicom.query import web_files
from dsnet.data.dicom.web import is_web
from dsnet.data.marks.aim import is_aim, read_aim
from dsnet.data.marks.bounded import MOST_BYTES, told
from dsnet.data.marks.cornerstone import is_cornerstone, read_cornerstone
from dsnet.data.marks.dicom_json import is_dicom_json, read_dicom_json
from dsnet.data.marks.gsps import is_gsps, read_gsps
from dsnet.data.marks.npz import MOST_NPZ_BYTES, is_npz, read_npz
from dsnet.data.marks.ohif_csv import is_ohif_csv, read_ohif_csv
from dsnet.data.marks.places import Load, files
from dsnet.data.marks.record import FoundMark, FoundMarks, Refused
from dsnet.data.marks.slicer import is_slicer, joined_lines, read_slicer
from dsnet.data.marks.sr import is_sr, read_sr
from dsnet.data.marks.tables import MOST_TABLE_BYTES, is_table, read_marks_table

# The class of a DICOM object stands in its first hundreds of bytes, so that an archive's pictures
# cost a glance; without a header it may stand farther on, as the end of a table's first line does.
_GLANCE = 2**10
_HEAD = 2**16
# What an object without a preamble begins with.
_FIRST_TAGS = (
    b"\x02\x00\x00\x00", b"\x08\x00\x00\x00", b"\x08\x00\x01\x00", b"\x08\x00\x05\x00",
    b"\x08\x00\x08\x00", b"\x08\x00\x12\x00", b"\x08\x00\x16\x00", b"\x00\x08\x00\x05",
    b"\x00\x08\x00\x08", b"\x00\x08\x00\x16",
)  # fmt: skip
_MODALITY = re.compile(rb"\x08\x00\x60\x00(?:CS\x02\x00|\x02\x00\x00\x00)(SR|PR)")
# Of a server: reports and presentation states.
_MODALITIES = ("SR", "PR")
_TEXTS = (".json", ".xml", ".aim", ".mrk.json")
_TABLES = (".csv", ".parquet", ".pq")
# Whoever has these among marks should know where none of them was read.
_ENDINGS = (*_TEXTS, *_TABLES, ".tsv", ".npz")
Reader = Callable[[str, bytes | None, Refused | None], list[FoundMark]]


def find_marks(
    place: str | os.PathLike[str],
    *,
    gsps_origin: float = CORNER,
    table_origin: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> FoundMarks:
    """All marks of a place.

    A file is known by what it holds: DICOM by its class, the others by their ending and their
    first bytes. Files of other kinds, pictures among them, are passed over; where their endings are
    those of marks, `other` tells them. Nothing is written, and a zip is not unpacked to disk.

    Parameters
    ----------
    place : path
        A file, a folder with all below it (links to folders are not followed), a zip, or the
        address of a DICOMweb server, of which reports and presentation states are fetched.
    gsps_origin : float
        See `gsps.read_gsps`.
    table_origin : float, optional
        See `tables.read_marks_table`.
    progress : callable, optional
        Told the number of files looked at after each.

    Returns
    -------
    FoundMarks
        Whatever is bad in the place is a row of its `refused`.

    Raises
    ------
    ValueError
        When there is no such place.
    ImportError
        When the place holds DICOM and pydicom is not installed.
    """
    found = FoundMarks()
    if is_web(place):
        everything = _of_server(os.fspath(place), found.refused)
    else:
        everything = files(Path(place), found.refused)
    for count, (source, name, load) in enumerate(everything, 1):
        _read(source, name, load, found, gsps_origin, table_origin)
        if progress is not None:
            progress(count)
    found.marks = joined_lines(found.marks)
    return found


def read_marks(
    source: str,
    data: bytes,
    *,
    gsps_origin: float = CORNER,
    table_origin: float | None = None,
) -> FoundMarks:
    """As `find_marks`, of one file's bytes: those of a DICOMweb server, say.

    Parameters
    ----------
    source : str
        What it is called; tables and JSON are known by its ending.
    data : bytes
    """
    found = FoundMarks()

    def load(most: int, first: int | None = None) -> bytes:
        if len(data) > most:
            raise ValueError(f"{source}: must be of at most {most} bytes, got {len(data)}")
        return data[:first]

    _read(source, source, load, found, gsps_origin, table_origin)
    found.marks = joined_lines(found.marks)
    return found


def _of_server(place: str, refused: Refused) -> Iterator[tuple[str, str, Load]]:
    for url, data in web_files(place, _MODALITIES, MOST_BYTES, refused):
        yield url, "", partial(_first, data)


def _first(data: bytes, most: int, first: int | None = None) -> bytes:
    return data[:first]


def _read(
    source: str,
    name: str,
    load: Load,
    found: FoundMarks,
    gsps_origin: float,
    table_origin: float | None,
) -> None:
    """The marks of one file, what is bad in it, or that it has none, into `found`."""
    refused: Refused = []
    try:
        reader = _reader(name.lower(), load, gsps_origin, table_origin)
        if reader is None:
            if name.lower().endswith(_ENDINGS):
                found.other.append((source, "of no format of marks that is known"))
            return
        marks = reader(source, load(_most(name.lower())), refused)
    except ValueError as error:
        found.refused.append((source, _without(source, str(error))))
        return
    except (RecursionError, MemoryError) as error:
        found.refused.append((source, told(error)))
        return
    found.marks += marks
    found.refused += refused
    if not marks and not refused:
        found.empty.append((source, "no line of two ends, nor two axes"))


def _most(name: str) -> int:
    if name.endswith(_TABLES):
        return MOST_TABLE_BYTES
    return MOST_NPZ_BYTES if name.endswith(".npz") else MOST_BYTES


def _reader(name: str, load: Load, gsps_origin: float, table_origin: float | None) -> Reader | None:
    """What reads a file; None where it is of no format of marks."""

    def gsps(source: str, data: bytes | None, refused: Refused | None) -> list[FoundMark]:
        return read_gsps(source, data, refused, origin=gsps_origin)

    def table(source: str, data: bytes | None, refused: Refused | None) -> list[FoundMark]:
        return read_marks_table(source, data, refused, origin=table_origin)

    if name.endswith(_TABLES):
        content = load(MOST_TABLE_BYTES, _HEAD if name.endswith(".csv") else None)
        if name.endswith(".csv") and is_ohif_csv(content):
            return read_ohif_csv
        return table if is_table(content) else None
    if name.endswith(".npz"):
        return read_npz if is_npz(load(MOST_NPZ_BYTES, 4)) else None
    if name.endswith(_TEXTS):
        content = load(MOST_BYTES)
        if is_aim(content):
            return read_aim
        if is_slicer(content):
            return read_slicer
        if is_dicom_json(content):
            return read_dicom_json
        return read_cornerstone if is_cornerstone(content) else None
    kind = _dicom_kind(load)
    return read_sr if is_sr(*kind) else gsps if is_gsps(*kind) else None


def _dicom_kind(load: Load) -> tuple[str, str]:
    """Class, or else modality, of a DICOM object; "" for what it does not tell, or for another."""
    head = load(MOST_NPZ_BYTES, _GLANCE)
    if head[128:132] == b"DICM":
        # The header's second or third element, of a fixed form (PS3.10, 7.1).
        at = head.find(b"\x02\x00\x02\x00UI")
        if 0 < at < _GLANCE - 72:
            return _uid(head[at + 8 : at + 72]), ""
    elif head[:4] not in _FIRST_TAGS:
        return "", ""
    head = load(MOST_NPZ_BYTES, _HEAD)
    for at in (head.find(b"\x08\x00\x16\x00"), head.find(b"\x00\x08\x00\x16")):
        if at >= 0:
            return _uid(head[at + 8 : at + 72]), ""
    modality = _MODALITY.search(head)
    return "", modality.group(1).decode() if modality else ""


def _uid(value: bytes) -> str:
    """The UID that a value begins with; behind it stand the next elements."""
    match = re.match(rb"\0*([0-9.]+)", value)
    return match.group(1).decode() if match else ""


def _without(source: str, reason: str) -> str:
    """The reason without the file's name, which stands beside it."""
    return reason.removeprefix(f"{source}: ")
