"""Structured reports as DICOMweb gives them, in JSON (PS3.18, annex F)."""

from __future__ import annotations

import json
import warnings
from typing import Any

from dsnet.data.marks.bounded import MOST_DEPTH, read_json, told
from dsnet.data.marks.record import FoundMark, Refused
from dsnet.data.marks.sr import marks_of_report
from dsnet.dependencies import needed


def is_dicom_json(content: bytes) -> bool:
    """Whether the content of a file may be DICOM objects with a content tree."""
    start = content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    return start in (b"{", b"[") and b'"0040A730"' in content and b'"vr"' in content


def read_dicom_json(source: str, data: bytes | None, refused: Refused | None) -> list[FoundMark]:
    """The marks of reports in JSON, one object or a list, also of those that leave a `vr` out.

    Raises
    ------
    ValueError
        When the file is no such JSON; the message names it.
    ImportError
        When pydicom is not installed.
    """
    content = read_json(source, data)
    objects = content if isinstance(content, list) else [content]
    marks: list[FoundMark] = []
    for each in objects:
        marks += _report_of_json(source, each, refused)
    return marks


def _report_of_json(source: str, content: Any, refused: Refused | None) -> list[FoundMark]:
    with needed("dicom", "reading marks from DICOM"):
        from pydicom import Dataset
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = Dataset.from_json(json.dumps(_with_vr(content)))
        except Exception as error:  # pydicom raises many kinds
            raise ValueError(f"{source}: no DICOM object can be read: {told(error)}") from error
        return marks_of_report(source, dataset, refused)


def _with_vr(content: Any, depth: int = 0) -> Any:
    """The same object with the `vr` that its tags have, where they are left out."""
    from pydicom.datadict import dictionary_VR

    if depth > MOST_DEPTH:
        raise ValueError(f"must be at most {MOST_DEPTH} sequences deep")
    if not isinstance(content, dict):
        return {}
    found = {}
    for tag, element in content.items():
        try:
            vr = element.get("vr") or dictionary_VR(int(tag, 16))
        except (AttributeError, KeyError, ValueError):
            continue
        value = element.get("Value")
        if vr == "SQ" and isinstance(value, list):
            value = [_with_vr(item, depth + 1) for item in value]
        found[tag] = {"vr": vr.split(" or ")[0]} | ({} if value is None else {"Value": value})
    return found
