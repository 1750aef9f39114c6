"""Requests that are odd, slow or given up."""

import asyncio

import pytest

from dsnet.reviewing import app
from review_desk import TOKEN


def answered(review, receive):
    """What is sent to a POST whose body comes from `receive`."""
    sent = []

    async def send(message):
        sent.append(message)

    head = {"host": "127.0.0.1", "x-dsnet-token": TOKEN, "content-type": "application/json"}
    scope = {
        "type": "http", "method": "POST", "path": "/api/undo", "raw_path": b"/api/undo",
        "query_string": b"", "root_path": "", "scheme": "http", "http_version": "1.1",
        "headers": [(n.encode(), v.encode()) for n, v in head.items()],
    }  # fmt: skip
    asyncio.run(app.make_app(review, TOKEN)(scope, receive, send))
    return sent


def test_a_body_that_does_not_come_is_given_up(open_review, monkeypatch):
    monkeypatch.setattr(app, "SLOWEST_BODY", 0.01)

    async def receive():
        await asyncio.Event().wait()

    assert answered(open_review()[0], receive)[0]["status"] == 408


def test_a_page_that_is_gone_is_no_error(open_review):
    async def receive():
        return {"type": "http.disconnect"}

    # Nothing is raised, which a server would print.
    assert answered(open_review()[0], receive)[0]["status"] == 400


@pytest.mark.parametrize("index", ["9" * 5000, "-1", "1e1", "11", "\u0663", "0x1"])
def test_an_index_that_is_none_is_not_found(open_review, index):
    ann = open_review()[1]()
    for end in ("", "/planes", "/surroundings"):
        assert "index must be" in ann.ask(f"label/{index}{end}", 404)["error"]
    assert "index must be" in ann.tell(f"label/{index}/verdict", 404, verdict="accept")["error"]
