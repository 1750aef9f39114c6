"""Objects to a DICOMweb server (STOW-RS), and a question whether they are there (QIDO-RS).

A bearer token is taken from the environment variable DSNET_DICOMWEB_TOKEN, a password from
~/.netrc. Source: DICOM PS3.18, 10.5 and 10.6.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import netrc
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from dsnet.dependencies import needed

TOKEN = "DSNET_DICOMWEB_TOKEN"
TRIES = 3
_AGAIN = (429, 500, 502, 503, 504)
_QUIET_SECONDS = 120.0
_MOST_ANSWER = 2**24
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
        When pydicom is not installed.
    """
    server = _Server(root)
    refused: dict[str, str] = {}
    instances: dict[tuple[str, str], dict[str, str]] = {}
    for path in files:
        file = str(path)
        try:
            study, series, instance = _uids(file)
        except ValueError as error:
            refused[file] = str(error)
            continue
        if reason := server.store(Path(file).read_bytes()):
            refused[file] = reason
        instances.setdefault((study, series), {})[instance] = file
    arrived = 0
    for (study, series), mine in instances.items():
        there = server.instances(study, series)
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
    """An address of a server without a slash at its end.

    Raises
    ------
    ValueError
        When it is none, or holds a password.
    """
    parts = urlsplit(root)
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"a server's address must hold no password: ~/.netrc or {TOKEN} may")
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname or parts.query:
        raise ValueError(f"a server must be an address http(s)://HOST/PATH, got {root}")
    return root.rstrip("/")


class _Server:
    def __init__(self, root: str) -> None:
        self.root = require_address(root)
        self._headers = {"Accept": "application/dicom+json", **_credentials(self.root)}
        self._opener = urllib.request.build_opener(_NoRedirect)

    def store(self, data: bytes) -> str:
        """Why the server does not take a file; "" where it does."""
        boundary = hashlib.sha256(data).hexdigest()
        body = b"".join(
            (
                f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode(),
                data,
                f"\r\n--{boundary}--\r\n".encode(),
            )
        )
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        status, answer = self._ask("studies", body, kind)
        if status not in (200, 202, 409):
            return f"the server answers {status}"
        for item in (answer if isinstance(answer, dict) else {}).get(_REFUSED, {}).get("Value", []):
            code = (item.get(_REASON, {}).get("Value") or [None])[0]
            why = _REASONS.get(code, "") if isinstance(code, int) else ""
            told = f" ({code:04X})" if isinstance(code, int) else ""
            return f"the server refuses it: {why or 'it gives no reason'}{told}"
        return "" if status != 409 else "the server refuses it: it gives no reason"

    def instances(self, study: str, series: str) -> set[str]:
        """UIDs of what the server has of a series."""
        path = f"studies/{quote(study)}/series/{quote(series)}/instances"
        status, answer = self._ask(path)
        if status in (204, 404):
            return set()
        if status != 200 or not isinstance(answer, list):
            raise ValueError(f"{self.root}/{path}: the server answers {status}, no list")
        found = set()
        for item in answer:
            value = item.get(_INSTANCE, {}) if isinstance(item, dict) else {}
            found.update(map(str, value.get("Value") or ()))
        return found

    def _ask(self, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, Any]:
        """Status and JSON of an answer, asked again where the server is busy."""
        url = f"{self.root}/{path}"
        headers = {**self._headers, **({"Content-Type": kind} if body is not None else {})}
        request = urllib.request.Request(url, body, headers)
        for attempt in range(1, TRIES + 1):
            last = attempt == TRIES
            try:
                with self._opener.open(request, timeout=_QUIET_SECONDS) as response:
                    return response.status, _json(response.read(_MOST_ANSWER))
            except urllib.error.HTTPError as error:
                with error:
                    if error.code not in _AGAIN or last:
                        return error.code, _json(error.read(_MOST_ANSWER))
            except (OSError, http.client.HTTPException) as error:
                if last:
                    reason = getattr(error, "reason", None) or error
                    raise ValueError(f"{self.root}: cannot be reached: {reason}") from error
            wait(0.5 * 4 ** (attempt - 1))
        raise AssertionError("the last try returns or raises")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A password goes nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def wait(seconds: float) -> None:
    """Between two tries."""
    time.sleep(seconds)


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


def _credentials(root: str) -> dict[str, str]:
    if token := os.environ.get(TOKEN):
        return {"Authorization": f"Bearer {token}"}
    try:
        known = netrc.netrc().authenticators(urlsplit(root).hostname or "")
    except (FileNotFoundError, netrc.NetrcParseError):
        known = None
    if known is None:
        return {}
    pair = base64.b64encode(f"{known[0]}:{known[2]}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
