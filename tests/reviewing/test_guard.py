"""Who gets an answer: host, origin and token; what every answer carries."""

import pytest

from review_desk import TOKEN

pytest.importorskip("starlette")
pytest.importorskip("httpx")

from starlette.testclient import TestClient

from dsnet.reviewing.app import make_app
from dsnet.reviewing.guard import HEADERS

URL = "http://127.0.0.1:8477"


@pytest.fixture
def client(open_review):
    review, _ = open_review()
    return lambda **options: TestClient(make_app(review, TOKEN, **options), base_url=URL)


def status(client, path="/api/session", headers=()):
    return client.get(path, headers={"X-DSNet-Token": TOKEN, **dict(headers)}).status_code


@pytest.mark.parametrize("path", ["/api/session", "/api/queue", "/api/none", "/api/label/1/planes"])
@pytest.mark.parametrize("given", [{}, {"X-DSNet-Token": ""}, {"X-DSNet-Token": TOKEN[:-1]}])
def test_nothing_below_api_is_told_without_the_token(client, path, given):
    found = client().get(path, headers=given)
    assert found.status_code == 401 and set(found.json()) == {"error"}
    # In the address it is no token: addresses are kept and handed on.
    assert client().get(f"{path}?token={TOKEN}").status_code == 401


def test_posts_need_it_too(client):
    assert client().post("/api/undo", json={}).status_code == 401
    assert client().post("/api/label/1/verdict", json={"verdict": "accept"}).status_code == 401


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("127.0.0.1:8477", True), ("localhost:9000", True), ("LOCALHOST", True), ("[::1]:80", True),
        ("evil.example", False), ("evil.example:8477", False), ("127.0.0.1.evil.example", False),
        ("127.0.0.1@evil.example", False), ("10.0.0.5:8477", False), ("", False),
        ("127.0.0.1:80:80", False), ("[::1]x", False), ("127.0.0.1:x", False),
    ],
)  # fmt: skip
def test_a_name_that_was_made_to_lead_here_is_refused(client, host, good):
    assert status(client(), headers={"Host": host}) == (200 if good else 421)


def test_two_hosts_are_none():
    import asyncio

    from dsnet.reviewing.guard import Guard

    sent = []

    async def app(scope, receive, send):
        raise AssertionError("handed on")

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "path": "/",
        "headers": [(b"host", b"localhost"), (b"host", b"localhost")],
    }
    asyncio.run(Guard(app, TOKEN)(scope, None, send))
    assert sent[0]["status"] == 421
    asyncio.run(Guard(app, TOKEN)({**scope, "headers": []}, None, send))
    assert sent[2]["status"] == 421


def test_another_host_is_known_by_its_address_or_its_own_name(client):
    wide = client(hosts=["lab-3"], any_address=True)
    for host in ("10.0.0.5:8477", "lab-3:8477", "[fe80::1]:8477"):
        assert status(wide, headers={"Host": host}) == 200
    assert status(wide, headers={"Host": "evil.example"}) == 421


@pytest.mark.parametrize(
    ("origin", "good"),
    [(URL, True), ("http://evil.example", False), ("null", False), ("http://127.0.0.1:1", False)],
)
def test_another_pages_requests_are_refused(client, origin, good):
    for path in ("/api/session", "/"):
        assert status(client(), path, {"Origin": origin}) == (200 if good else 403)


@pytest.mark.parametrize(
    ("site", "code"), [("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)]
)
def test_a_browser_tells_who_asks(client, site, code):
    assert status(client(), headers={"Sec-Fetch-Site": site}) == code


@pytest.mark.parametrize("path", ["/", "/page/none.js", "/api/session", "/none", "/favicon.ico"])
def test_every_answer_has_the_headers(client, path):
    found = client().get(path)
    assert {name: found.headers[name] for name in HEADERS} == HEADERS
    policy = found.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy


@pytest.mark.parametrize(
    "name",
    [
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "index.htm",
        "x.py",
        "a/b.js",
        ".js",
        "A.js",
        "%00.js",
    ],
)
def test_no_file_beside_the_page_is_served(client, name):
    found = client().get(f"/page/{name}")
    assert found.status_code == 404 and "import" not in found.text


def test_the_page_asks_this_server_alone(client):
    """No address, no inline script or style: nothing that the policy would stop, either."""
    import re

    from dsnet.reviewing.app import PAGE

    files = sorted(PAGE.iterdir())
    assert any(file.suffix == ".js" for file in files)
    for file in files:
        if file.suffix not in (".html", ".js", ".css", ".svg"):
            continue
        text = file.read_text(encoding="utf-8")
        found = client().get("/" if file.name == "index.html" else f"/page/{file.name}")
        assert found.status_code == 200 and found.text == text
        others = set(re.findall(r"https?://[^\s\"'`)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not {o for o in others if not o.startswith("http://127.0.0.1")}, file.name
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text
        )
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", page)


def test_bodies_are_json_and_short(client):
    head = {"X-DSNet-Token": TOKEN, "X-DSNet-Reader": "Ann"}
    post = lambda data, kind: client().post(  # noqa: E731
        "/api/undo", content=data, headers={**head, "Content-Type": kind}
    )
    assert post(b"{}", "text/plain").status_code == 415
    assert post(b"decision=1", "application/x-www-form-urlencoded").status_code == 415
    for body in (b"{", b"[1]", b'{"a": NaN}', b"\xff", b"[" * 100_000, b"9" * 5000):
        found = post(body, "application/json")
        assert found.status_code == 400 and "body must be" in found.json()["error"]
    assert post(b" " * (2**20 + 1), "application/json").status_code == 413


def test_methods_and_paths_that_are_none(client):
    head = {"X-DSNet-Token": TOKEN}
    assert client().delete("/api/session", headers=head).status_code == 405
    assert client().get("/api/undo", headers=head).status_code == 405
    assert client().get("/api/label/-1", headers=head).status_code == 404
    assert client().get("/api/label/99999999999999999999", headers=head).status_code == 404
    for query in ("count=0", "count=51", "count=x", "after=1e3", "count=٣", "after=99"):
        code = client().get(f"/api/queue?{query}", headers={**head, "X-DSNet-Reader": "A"})
        assert code.status_code in (400, 404) and "must be" in code.json()["error"]
