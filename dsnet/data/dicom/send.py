"""Objects to a DICOMweb server (STOW-RS), and a question whether they are there (QIDO-RS).

Source: DICOM PS3.18, 10.5 and 10.6. Who asks is told as in `dsnet.data.dicom.web`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from dsnet.data.dicom.web import WebServer, is_web, web_address, web_server
from dsnet.dependencies import needed

# Attributes of an answer to a store (PS3.18, I.2): what was refused, and why; what a study holds.
_REFUSED, _REASON, _INSTANCE = "00081198", "00081197", "00080018"
_REASONS = {
    0xA700: "it has no room", 0xA900: "it is no instance of its class",
    0xC000: "it cannot be understood", 0x0122: "its class is not taken",
    0x0110: "it cannot be processed", 0xC122: "its transfer syntax is not taken",
}  # fmt: skip


class Sent(NamedTuple):
    """How many objects a server has by its own word, and why it has not the others, by path."""

    arrived: int
    refused: dict[str, str]


def send_objects(
    root: str,
    files: Sequence[str | os.PathLike],
    *,
    refuse: Callable[[str, str], object] | None = None,
) -> Sent:
    """Store DICOM files on a server, then ask it which of them it has.

    Each file is a request of its own, so that one that is refused costs itself alone. Storing one
    that is there already changes nothing: by `dsnet.data.dicom.objects` it is the same object.

    Parameters
    ----------
    root : str
        Address of the server, "https://pacs/dicom-web" for one.
    files : sequence of path
    refuse : callable, optional
        Told each file that is not there, and why.

    Raises
    ------
    ValueError
        When the address is none, holds a password, or the server cannot be reached.
    ImportError
        When pydicom or httpx is not installed.
    """
    server = web_server(require_address(root))
    server.attempts.begin()
    refused: dict[str, str] = {}
    instances: dict[tuple[str, str], dict[str, str]] = {}
    for path in files:
        file = str(path)
        try:
            study, series, instance = _uids(file)
        except ValueError as error:
            refused[file] = str(error)
            continue
        if reason := _refusal(server, Path(file).read_bytes()):
            refused[file] = reason
        instances.setdefault((study, series), {})[instance] = file
    arrived = 0
    for (study, series), mine in instances.items():
        there = _instances(server, study, series)
        for instance, file in mine.items():
            if instance in there:
                arrived += 1
                # Some refuse what they have already.
                refused.pop(file, None)
            else:
                refused.setdefault(file, "the server took it, and does not have it")
    if refuse is not None:
        for file, reason in refused.items():
            refuse(file, reason)
    return Sent(arrived, refused)


def require_address(root: str) -> str:
    """The root of a server that objects are sent to.

    Raises
    ------
    ValueError
        When it is no address, or one that holds a password, a study or a query.
    """
    if not is_web(root):
        raise ValueError(f"a server must be an address http(s)://HOST/PATH, got {root}")
    found = web_address(root)
    if found.study or found.query:
        raise ValueError(f"a server must be an address without a study or query, got {root}")
    return found.root


def _refusal(server: WebServer, data: bytes) -> str:
    """Why the server does not take a file; "" where it does."""
    boundary = hashlib.sha256(data).hexdigest()
    begin = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    body = begin + data + f"\r\n--{boundary}--\r\n".encode()
    status, answer = server.post("studies", body, kind)
    if status not in (200, 202, 409):
        return f"the server answers {status}"
    refused = answer.get(_REFUSED) if isinstance(answer, dict) else None
    items = refused.get("Value") if isinstance(refused, dict) else None
    if not items and status != 409:
        return ""
    code = items[0].get(_REASON, {}).get("Value", [None])[0] if items else None
    why = _REASONS.get(code, "another") if isinstance(code, int) else "it gives no reason"
    told = f" ({code:04X})" if isinstance(code, int) else ""
    return f"the server refuses it: {why}{told}"


def _instances(server: WebServer, study: str, series: str) -> set[str]:
    """UIDs of what the server has of a series."""
    path = f"studies/{quote(study)}/series/{quote(series)}/instances"
    found: set[str] = set()
    for item in server.json(path, absent=(204, 404)):
        found.update(map(str, item.get(_INSTANCE, {}).get("Value") or ()))
    return found


def _uids(file: str) -> tuple[str, str, str]:
    """Of study, series and instance."""
    with needed("dicom", "sending DICOM"):
        import pydicom
    names = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    try:
        found = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=names)
    except Exception as error:  # pydicom raises many kinds
        raise ValueError(f"it is no DICOM file: {' '.join(str(error).split())}") from error
    study, series, instance = (str(found.get(name) or "") for name in names)
    if not (study and series and instance):
        raise ValueError("it lacks the UID of its study, series or instance")
    return study, series, instance
