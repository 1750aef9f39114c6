"""The page, and the JSON that it asks for.

    GET  /                                  the page; /page/NAME what belongs to it
    GET  /api/session                       `answers.session`
    GET  /api/queue?after=INDEX&count=10    {"items": [`answers.item`]}, lent to the reader
    GET  /api/list?start=N&count=100        {"count", "items": [`answers.listed`]} by their places
                                            both: &order=NAME&type=NAME&source=NAME, all optional
    POST /api/lease, /api/release           {"indices": [...]} or {"keys": [...]}: renew, give back
    GET  /api/label/INDEX                   `answers.label`
    GET  /api/label/INDEX/planes?version=V  `planes.packed`: image, alpha, trimap, binary, truth
    GET  /api/label/INDEX/surroundings?margin=M, /neighbour?step=S&margin=M
                                            the image alone; X-DSNet-Offset: x,y in crop pixels
                                            &hu=1: of `surroundings.HU_RANGE`, from the source
    POST /api/label/INDEX/verdict           {verdict, reason, comment, seconds, version or mend}
    POST /api/undo                          {decision}: the reader's last one where it is null
    POST /api/label/INDEX/preview           `mending.read_mending`; planes, X-DSNet-Milliseconds
    POST /api/label/INDEX/mend              the same, kept as a version
                                            verdict, undo and mend: {id, age, key} besides; what
                                            comes again with one id counts once
    GET  /api/report                        `agreement.agreement`; of a blind review without the
                                            calibration

All of `/api/` needs the token (`guard`); what lends, decides or undoes needs `X-DSNet-Reader`, a
percent-encoded name. What is wrong is told as {"error": one line}.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from dsnet.arguments import brief
from dsnet.console import printable
from dsnet.data.store.decisions import MADE
from dsnet.dependencies import needed
from dsnet.reviewing import answers
from dsnet.reviewing.agreement import agreement
from dsnet.reviewing.guard import LOOPBACK, Guard
from dsnet.reviewing.mending import read_mending
from dsnet.reviewing.planes import packed
from dsnet.reviewing.review import Conflict, Review
from dsnet.reviewing.surroundings import NotAtHand, Surroundings
from dsnet.reviewing.views import View

with needed("review", "the review of labels"):
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response
    from starlette.routing import Route

PAGE = Path(__file__).with_name("page")
MOST_BODY = 2**20
SLOWEST_BODY = 30  # seconds
MOST_AHEAD, MOST_LISTED = 50, 500
LONGEST_NAME = 80
MOST_AGE = 366 * 24 * 3600  # seconds that a verdict may wait in a browser
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\.(?:js|css|svg|png)")
_TYPES = {
    "html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml",
    "png": "image/png",
}  # fmt: skip


class Refused(Exception):
    """An answer other than 200, and why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def make_app(
    review: Review, token: str, hosts: Iterable[str] = LOOPBACK, *, any_address: bool = False
) -> Guard:
    """The ASGI application of a review.

    Parameters
    ----------
    review : Review
    token, hosts, any_address
        See `Guard`.
    """
    desk = _Desk(review)
    routes = [Route("/", _index), Route("/page/{name}", _static), Route("/favicon.ico", _no_icon)]
    for path, method, answer in (
        ("session", "GET", desk.session),
        ("queue", "GET", desk.queue),
        ("list", "GET", desk.list),
        ("lease", "POST", desk.lease),
        ("release", "POST", desk.release),
        ("label/{index}", "GET", desk.label),
        ("label/{index}/planes", "GET", desk.planes),
        ("label/{index}/surroundings", "GET", desk.surroundings),
        ("label/{index}/neighbour", "GET", desk.neighbour),
        ("label/{index}/verdict", "POST", desk.verdict),
        ("label/{index}/preview", "POST", desk.preview),
        ("label/{index}/mend", "POST", desk.mend),
        ("undo", "POST", desk.undo),
        ("report", "GET", desk.report),
    ):
        routes.append(Route(f"/api/{path}", _endpoint(answer), methods=[method]))
    app = Starlette(routes=routes, exception_handlers={404: _no_page, 405: _no_page, 500: _failed})
    return Guard(app, token, hosts, any_address=any_address)


class _Desk:
    """What the routes answer: each takes a request and the JSON that came with it."""

    def __init__(self, review: Review) -> None:
        self._review = review
        self._around = Surroundings()

    def session(self, request: Request, told: dict) -> dict:
        return answers.session(self._review, _named(request) or None)

    def queue(self, request: Request, told: dict) -> dict:
        count = _whole(request, "count", 10, 1, MOST_AHEAD)
        after = _whole(request, "after", -1, -1, 2**31)
        view = self._view(request)
        found = self._review.next(_reader(request), view, None if after < 0 else after, count)
        return {"items": [answers.item(self._review, view, index) for index in found]}

    def list(self, request: Request, told: dict) -> dict:
        start = _whole(request, "start", 0, 0, 2**31)
        count = _whole(request, "count", 100, 1, MOST_LISTED)
        view, reader = self._view(request), _named(request)
        rows = view.order[start : start + count].tolist()
        found = [answers.listed(self._review, view, index, reader) for index in rows]
        return {"count": len(view.order), "items": found}

    def lease(self, request: Request, told: dict) -> dict:
        reader, indices = _reader(request), self._indices(told)
        return {"held": self._review.leases.renew(indices, reader)}

    def release(self, request: Request, told: dict) -> dict:
        self._review.leases.give_back(self._indices(told), _reader(request))
        return {}

    def label(self, request: Request, told: dict) -> dict:
        return answers.label(self._review, self._around, self._index(request), _named(request))

    def planes(self, request: Request, told: dict) -> Response:
        index = self._index(request)
        version = request.query_params.get("version")
        version = version or self._review.version(index, _named(request))
        record = self._review.labels.read(index, version)
        if record.image is None:
            raise Refused(404, "label has no image")
        names = ("image", "alpha", "trimap", "binary", "truth")
        return _planes(packed(**{name: getattr(record, name) for name in names}))

    def surroundings(self, request: Request, told: dict) -> Response:
        return self._around_it(request, 0, _whole(request, "margin", 64, 0, 512))

    def neighbour(self, request: Request, told: dict) -> Response:
        step = _whole(request, "step", 0, -8, 8)
        if not step:
            raise Refused(400, "step must be a whole number in -8..8 and not 0")
        return self._around_it(request, step, _whole(request, "margin", 0, 0, 512))

    def verdict(self, request: Request, told: dict) -> dict:
        index, reader = self._index(request, told), _reader(request)
        change = told.get("mend")
        row = self._review.decide(
            index,
            reader,
            _text(told, "verdict"),
            change=None if change is None else read_mending(change),
            version=_text(told, "version") or MADE,
            id=_text(told, "id"),
            age=_age(told),
            reason=_text(told, "reason"),
            comment=_text(told, "comment"),
            seconds=told.get("seconds"),
        )
        told = {"decision": row.id, "index": index, "version": row.version}
        return {**told, **self._review.progress(reader)}

    def undo(self, request: Request, told: dict) -> dict:
        reader = _reader(request)
        row = self._review.undo(reader, _text(told, "decision"), id=_text(told, "id"))
        if row is None:
            raise Refused(404, "nothing is left to undo")
        return {
            "index": self._review.index_of(row.key),
            "key": row.key,
            "undone": row.id,
            "kind": row.kind,
            "decision": answers.decision(row, undone=True),
            **self._review.progress(reader),
        }

    def preview(self, request: Request, told: dict) -> Response:
        index, change = self._index(request), read_mending(told)
        base = self._review.labels.read(index, change.base)
        start = time.perf_counter()
        mended = change.apply(base)
        milliseconds = 1000 * (time.perf_counter() - start)
        shown = packed(alpha=mended.alpha, trimap=mended.trimap, binary=mended.binary)
        return _planes(shown, {"X-DSNet-Milliseconds": f"{milliseconds:.2f}"})

    def mend(self, request: Request, told: dict) -> dict:
        index, reader = self._index(request, told), _reader(request)
        row = self._review.mend(
            index,
            reader,
            read_mending(told),
            comment=_text(told, "comment"),
            id=_text(told, "id"),
            age=_age(told),
        )
        found = answers.versions(self._review, index, reader)
        return {"version": row.version, "decision": row.id, "versions": found}

    def report(self, request: Request, told: dict) -> dict:
        review = self._review
        review.look()  # Whole columns are read: of the files that are there now.
        read = lambda key: review.labels.read(review.index_of(key) or 0)  # noqa: E731
        told = agreement(review.store, review.verdicts, read)
        return {**told, "calibration": []} if review.plan.blind else told

    def _view(self, request: Request) -> View:
        names = ("order", "type", "source")
        return self._review.view(*(request.query_params.get(name, "") for name in names))

    def _around_it(self, request: Request, step: int, margin: int) -> Response:
        record = self._review.labels.read(self._index(request))
        view = self._around.view(record, margin, step, hu=bool(_whole(request, "hu", 0, 0, 1)))
        x, y = view.offset
        name = quote(view.name, errors="replace")
        headers = {"X-DSNet-Offset": f"{x},{y}", "X-DSNet-Slice": name}
        return _planes(packed(image=view.image), headers)

    def _index(self, request: Request, told: dict | None = None) -> int:
        text, count = request.path_params["index"], len(self._review.stock)
        if not re.fullmatch(r"\d{1,10}", text, re.ASCII) or int(text) >= count:
            raise Refused(404, f"index must be a whole number below {count}, got {brief(text)}")
        index = int(text)
        key = _text(told or {}, "key")
        if key and key != self._review.stock.keys[index]:
            raise Refused(409, "key must be the label's: it is another one's")
        return index

    def _indices(self, told: dict) -> list[int]:
        indices = told.get("indices", [])
        keys = told.get("keys", [])
        count = len(self._review.stock)
        if not isinstance(indices, list) or not isinstance(keys, list):
            raise Refused(400, "indices and keys must be lists")
        known = [i for i in indices if type(i) is int and 0 <= i < count]
        found = [self._review.index_of(key) for key in keys if isinstance(key, str)]
        return known + [index for index in found if index is not None]


def _endpoint(answer: Callable[[Request, dict], Any]):
    async def endpoint(request: Request) -> Response:
        try:
            told = {}
            if request.method == "POST":
                told = await asyncio.wait_for(_body(request), SLOWEST_BODY)
            found = await run_in_threadpool(answer, request, told)
            return found if isinstance(found, Response) else _json(found)
        except Refused as error:
            return _json({"error": _line(error)}, error.status)
        except asyncio.TimeoutError:
            return _json({"error": f"body must come within {SLOWEST_BODY} s"}, 408)
        except Conflict as error:
            return _json({"error": _line(error)}, 409)
        except (NotAtHand, IndexError, KeyError) as error:
            return _json({"error": _line(error)}, 404)
        except (ValueError, TypeError) as error:
            return _json({"error": _line(error)}, 400)
        except ClientDisconnect:
            return Response(status_code=400)  # Nobody reads it.
        except OSError as error:
            kept = "cannot be read" if request.method == "GET" else "not kept"
            return _json({"error": f"{kept}: {_line(error)}"}, 507)

    return endpoint


async def _body(request: Request) -> dict:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "content type must be application/json")
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MOST_BODY:
            raise Refused(413, f"body must be of at most {MOST_BODY} bytes")
    try:
        told = json.loads(data or b"{}", parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused(400, "body must be JSON") from None
    if not isinstance(told, dict):
        raise Refused(400, "body must be a JSON object")
    return told


def _no_constant(name: str):
    raise ValueError(name)


def _reader(request: Request) -> str:
    """The reader's name."""
    if not (name := _named(request)):
        raise Refused(400, "X-DSNet-Reader must name the reader")
    return name


def _named(request: Request) -> str:
    """The reader's name; empty where none is given."""
    name = unicodedata.normalize("NFC", unquote(request.headers.get("x-dsnet-reader", ""))).strip()
    # Who decided must not look like another one in a list or on a terminal.
    if len(name) > LONGEST_NAME or printable(name) != name or "\ufffd" in name:
        raise Refused(
            400, f"X-DSNet-Reader must be at most {LONGEST_NAME} characters that can be shown"
        )
    return name


def _whole(request: Request, name: str, otherwise: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None or text == "":
        return otherwise
    if not re.fullmatch(r"-?\d{1,10}", text, re.ASCII) or not least <= int(text) <= most:
        raise Refused(400, f"{name} must be a whole number in {least}..{most}")
    return int(text)


def _age(told: dict) -> float:
    age = told.get("age") or 0.0
    if isinstance(age, bool) or not isinstance(age, (int, float)) or not 0 <= age <= MOST_AGE:
        raise Refused(400, f"age must be seconds in 0..{MOST_AGE}, got {age!r}")
    return float(age)


def _text(told: dict, name: str) -> str:
    value = told.get(name)
    if value is not None and not isinstance(value, str):
        raise Refused(400, f"{name} must be a text, got {type(value).__name__}")
    return value or ""


def _line(error: BaseException) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return printable(" ".join(text.split()))[:500] or type(error).__name__


def _json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content, allow_nan=False), status, media_type="application/json")


def _planes(data: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(data, headers=headers, media_type="application/octet-stream")


def _index(request: Request) -> Response:
    return _file("index.html")


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    return _file(name) if _NAME.fullmatch(name) else _no_page(request)


def _failed(request: Request, error: Exception) -> Response:
    return _json({"error": f"the server failed: {type(error).__name__}"}, 500)


def _no_icon(request: Request) -> Response:
    return Response(status_code=204)


def _file(name: str) -> Response:
    try:
        data = (PAGE / name).read_bytes()
    except OSError:
        return _json({"error": "there is no such page"}, 404)
    return Response(data, media_type=_TYPES[name.rpartition(".")[2]])


def _no_page(request: Request, error: Exception | None = None) -> Response:
    return _json({"error": "there is no such page"}, getattr(error, "status_code", 404))
