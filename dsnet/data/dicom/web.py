"""A DICOMweb server (PS3.18): requests that are bounded, tried again, and never led elsewhere.

Needs the extra `dsnet[dicomweb]`. A bearer token is taken from the environment variable
DSNET_DICOMWEB_TOKEN, a password from ~/.netrc.
"""

from __future__ import annotations

import contextlib
import functools
import json
import netrc
import os
import time
from collections.abc import Iterator
from email.message import Message
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import urljoin, urlsplit, urlunsplit

from dsnet.data.dicom.attempts import Attempts
from dsnet.data.dicom.streams import Interrupted, Pulled
from dsnet.dependencies import needed

# Of an answer in JSON: the metadata of a series of thousands.
MAX_JSON_BYTES = 2**28
TOKEN = "DSNET_DICOMWEB_TOKEN"
_REDIRECTS = 3
_AGAIN = (429, 500, 502, 503, 504)
# To connect and between two bytes; and for an answer in all, which could drip for ever.
_QUIET_SECONDS, _ALL_SECONDS = 30.0, 1800.0
_CHUNK = 2**16
_MOST_PART_HEADER = 2**14


class WebAddress(NamedTuple):
    """What an address asks for.

    Attributes
    ----------
    root : str
        Of the server, without a slash at its end.
    study, series : str
        UIDs, or "".
    query : str
        Which studies; "" for all.
    """

    root: str
    study: str
    series: str
    query: str


def is_web(place: str | os.PathLike) -> bool:
    """Whether a place is the address of a server."""
    return os.fspath(place).lower().startswith(("http://", "https://"))


def web_address(place: str) -> WebAddress:
    """Take an address apart: ROOT, ROOT/studies/UID, .../series/UID, or ROOT/studies?QUERY.

    Raises
    ------
    ValueError
        When it holds a password, or names no server.
    """
    parts = urlsplit(place)
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            f"place must hold no password: write it to ~/.netrc, or a token to {TOKEN}"
        )
    if not parts.hostname:
        raise ValueError(f"place must name a server, got {place}")
    names = parts.path.rstrip("/").split("/")
    study = series = ""
    if "studies" in names:
        at = len(names) - 1 - names[::-1].index("studies")
        _, study, word, series, *more = [*names[at:], "", "", ""]
        if word not in ("", "series") or any(more):
            raise ValueError(f"place must end in studies/UID or series/UID, got {place}")
        names = names[:at]
    root = urlunsplit((parts.scheme.lower(), parts.netloc, "/".join(names), "", ""))
    return WebAddress(root.rstrip("/"), study, series, parts.query)


def root_of(url: str) -> str:
    """The server's root of an instance's address."""
    return url[: max(url.rfind("/studies/"), 0)] or url


class WebServer:
    """One server, one connection pool.

    Parameters
    ----------
    root : str
        Its address, to which studies/... is put.

    Attributes
    ----------
    root : str
    attempts : Attempts
        Of its requests.

    Raises
    ------
    ImportError
        When httpx is not installed.
    """

    def __init__(self, root: str) -> None:
        with needed("dicomweb", "reading from a DICOMweb server"):
            import httpx
        self._httpx = httpx
        self.root, self.attempts = root, Attempts()
        headers = {"Accept-Encoding": "identity"}
        auth = None
        if token := os.environ.get(TOKEN):
            headers["Authorization"] = f"Bearer {token}"
        else:
            try:
                auth = httpx.NetRCAuth()
            except FileNotFoundError:
                pass
            except (OSError, netrc.NetrcParseError) as error:
                raise ValueError(f"~/.netrc: {_said(error)}") from error
        timeout = httpx.Timeout(_QUIET_SECONDS)
        self._client = httpx.Client(headers=headers, auth=auth, timeout=timeout)

    def json(
        self,
        path: str,
        params: list[tuple[str, str]] | None = None,
        *,
        absent: tuple[int, ...] = (204,),
    ) -> list[dict]:
        """The objects of an answer in DICOM JSON (PS3.18, annex F).

        Parameters
        ----------
        path : str
            Below the root.
        params : list of (name, value), optional
        absent : tuple of int
            Answers that say that there is none.

        Raises
        ------
        ValueError
            When the server cannot be reached, refuses, or answers anything else.
        """
        url = f"{self.root}/{path}"

        def read() -> list[dict]:
            taken = (200, *absent)
            with self._answer(url, params, "application/dicom+json", taken) as response:
                if response.status_code in absent:
                    return []
                data = self._whole(response, url)
            return _objects(data, url)

        return self.attempts.tried(read, url)

    def post(self, path: str, data: bytes, kind: str) -> tuple[int, Any]:
        """Status and JSON of an answer to a POST; None where it is no JSON.

        Parameters
        ----------
        path : str
            Below the root.
        data : bytes
        kind : str
            Their Content-Type.

        Raises
        ------
        ValueError
            When the server cannot be reached, or stays busy.
        """
        url = f"{self.root}/{path}"
        headers = {"Accept": "application/dicom+json", "Content-Type": kind}

        def ask() -> tuple[int, Any]:
            request = self._client.build_request("POST", url, content=data, headers=headers)
            with contextlib.closing(self._sent(request, url)) as response:
                return response.status_code, _json(self._whole(response, url))

        return self.attempts.tried(ask, url)

    @contextlib.contextmanager
    def instance(self, url: str, most: int) -> Iterator[BinaryIO]:
        """The file of an instance, fetched as far as it is read.

        Parameters
        ----------
        url : str
            ROOT/studies/UID/series/UID/instances/UID.
        most : int
            Bytes that it may have.

        Raises
        ------
        ValueError
            As `json`.
        Interrupted
            While it is read, when the connection is lost.
        """
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        with self._answer(url, None, accept) as response:
            kind = _content_type(response.headers.get("content-type", ""))
            chunks = self._chunks(response, url)
            if kind.get_content_type() == "multipart/related":
                chunks = _first_part(chunks, str(kind.get_param("boundary") or ""), url)
            elif kind.get_content_type() not in ("application/dicom", "application/octet-stream"):
                raise ValueError(f"{url}: answers with {kind.get_content_type()}, not with DICOM")
            with contextlib.closing(Pulled(lambda size: next(chunks, b""), most)) as file:
                yield cast(BinaryIO, file)

    @contextlib.contextmanager
    def _answer(
        self, url: str, params: Any, accept: str, taken: tuple[int, ...] = (200, 204)
    ) -> Iterator[Any]:
        """The response to a GET, its body still to come."""
        origin = urlsplit(self.root)[:2]
        for _ in range(_REDIRECTS + 1):
            request = self._client.build_request(
                "GET", url, params=params, headers={"Accept": accept}
            )
            with contextlib.closing(self._sent(request, url)) as response:
                if response.is_redirect:
                    target = urljoin(str(response.url), response.headers.get("location", ""))
                    if urlsplit(target)[:2] != origin:
                        raise ValueError(f"{url}: leads to another server: not followed")
                    url, params = target, None
                    continue
                if response.status_code not in taken:
                    raise ValueError(f"{url}: answers {_status(response)}")
                yield response
                return
        raise ValueError(f"{url}: leads from one address to another without an end")

    def _sent(self, request: Any, url: str) -> Any:
        """The response to a request of a server that is not busy, its body still to come."""
        httpx = self._httpx
        try:
            response = self._client.send(request, stream=True)
        except httpx.TransportError as error:
            raise Interrupted(f"{url}: cannot be reached: {_said(error)}") from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ValueError(f"{url}: cannot be asked: {_said(error)}") from error
        if response.status_code in _AGAIN:
            with contextlib.closing(response):
                busy = Interrupted(f"{url}: answers {_status(response)}")
                busy.wait = _seconds(response.headers.get("retry-after"))
                busy.away = response.status_code != 500
                raise busy
        return response

    def _whole(self, response: Any, url: str) -> bytes:
        data = bytearray()
        for chunk in self._chunks(response, url):
            data += chunk
            if len(data) > MAX_JSON_BYTES:
                raise ValueError(f"{url}: answers with more than {MAX_JSON_BYTES} bytes")
        return bytes(data)

    def _chunks(self, response: Any, url: str) -> Iterator[bytes]:
        encoding = response.headers.get("content-encoding", "identity")
        if encoding.lower() not in ("", "identity"):
            raise ValueError(f"{url}: answers in {encoding}, which was not asked for")
        end = time.monotonic() + _ALL_SECONDS
        try:
            for chunk in response.iter_raw(_CHUNK):
                if time.monotonic() > end:
                    raise ValueError(f"{url}: took more than {_ALL_SECONDS:g} s")
                yield chunk
        except self._httpx.TransportError as error:
            raise Interrupted(f"{url}: was interrupted: {_said(error)}") from error


@functools.lru_cache(maxsize=8)
def web_server(root: str) -> WebServer:
    """The server at an address, with its connections."""
    return WebServer(root)


def _first_part(chunks: Iterator[bytes], boundary: str, url: str) -> Iterator[bytes]:
    """The body of the first part of a multipart answer (RFC 2046, 5.1)."""
    if not boundary:
        raise ValueError(f"{url}: answers in parts without a boundary")
    mark = b"\r\n--" + boundary.encode("latin-1", "replace")
    # The first boundary may begin the answer.
    kept, begin = b"\r\n", -1
    while begin < 0:
        more = next(chunks, b"")
        kept += more
        at = kept.find(mark)
        end = kept.find(b"\r\n\r\n", at + len(mark)) if at >= 0 else -1
        begin = end + 4 if end >= 0 else -1
        if begin < 0 and (not more or len(kept) > _MOST_PART_HEADER + _CHUNK):
            raise ValueError(f"{url}: answers in parts, and has none")
    kept = kept[begin:]
    while True:
        at = kept.find(mark)
        if at >= 0:
            yield kept[:at]
            return
        safe = len(kept) - len(mark) + 1
        if safe > 0:
            yield kept[:safe]
            kept = kept[safe:]
        more = next(chunks, b"")
        if not more:
            raise Interrupted(f"{url}: ends before its part does")
        kept += more


def _objects(data: bytes, url: str) -> list[dict]:
    found = _json(data)
    if found is None:
        raise ValueError(f"{url}: answers with no JSON")
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ValueError(f"{url}: must answer with a list of objects")
    return found


def _json(data: bytes) -> Any:
    """What it says; None where it is no JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _status(response: Any) -> str:
    return f"{response.status_code} {response.reason_phrase}".strip()


def _content_type(value: str) -> Message:
    message = Message()
    message["content-type"] = value
    return message


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value or ""))
    except ValueError:
        return None


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
