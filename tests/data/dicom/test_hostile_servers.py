"""A server that answers nonsense, leads elsewhere or never ends costs a clear error, and little."""

import tracemalloc

import pytest

from dsnet.data.dicom import attempts, web
from dsnet.data.dicom.index import index_series, read_slice
from dsnet.data.dicom.web import web_address

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("httpx")
from answering_server import (  # noqa: E402
    DICOM,
    INSTANCE,
    JSON,
    SERIES,
    STUDY,
    archive,
    listed,
    multipart,
    serving,
)

from dicom_files import STORED, slice_of  # noqa: E402


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    waits = []
    monkeypatch.setattr(attempts, "wait", waits.append)
    return waits


def stored(tmp_path):
    return slice_of(tmp_path / "a.dcm", 1).read_bytes()


def test_the_server_of_these_tests_is_right_when_it_is_asked_nicely(tmp_path):
    with serving(archive(**{"1.2.3.1": multipart(stored(tmp_path))})) as (root, _):
        index = index_series(root)
        entry = index.slice("1.2.3.1")
        assert (len(index), index.problems, entry.position) == (1, [], (0, 0, 1))
        assert (read_slice(entry).hu == STORED - 1024).all()
    plain = (200, {"Content-Type": DICOM}, stored(tmp_path))
    with serving(archive(**{"1.2.3.1": plain})) as (root, _):
        assert (read_slice(index_series(root).slice("1.2.3.1")).hu == STORED - 1024).all()


REFUSED = (
    ((200, {"Content-Type": JSON}, b"<html>"), "answers with no JSON"),
    ((200, {"Content-Type": JSON}, b'{"a": 1}'), "must answer with a list of objects"),
    ((200, {"Content-Type": JSON}, b"[1, 2]"), "must answer with a list of objects"),
    ((200, {"Content-Type": JSON}, b"[" * 100_000), "answers with no JSON"),
    ((200, {"Content-Type": JSON}, b"\xff\xfe"), "answers with no JSON"),
    ((200, {"Content-Encoding": "gzip"}, b"\x1f\x8b"), "answers in gzip, which was not asked for"),
    ((401, {}, b"secret"), "answers 401 Unauthorized"),
    ((404, {}, b""), "answers 404 Not Found"),
    ((302, {"Location": "http://192.0.2.1/x"}, b""), "leads to another server: not followed"),
    ((302, {"Location": "file:///etc/passwd"}, b""), "leads to another server: not followed"),
    ((302, {"Location": "/pacs/studies"}, b""), "leads from one address to another without an end"),
    ((503, {}, b""), r"answers 503 Service Unavailable \(3 times\)"),
)


@pytest.mark.parametrize("answer, told", REFUSED, ids=[told for _, told in REFUSED])
def test_an_answer_that_is_none_is_told(answer, told):
    with (
        serving({"studies": answer}) as (root, _),
        pytest.raises(ValueError, match=rf"{root}/studies: {told}") as caught,
    ):
        index_series(root)
    assert "secret" not in str(caught.value)


def test_a_busy_server_is_asked_again(no_waiting):
    busy = [(503, {"Retry-After": "7"}, b""), (429, {"Retry-After": "99999"}, b""), listed(STUDY)]
    with serving(archive(studies=busy)) as (root, asked):
        assert len(index_series(root)) == 1
    assert no_waiting == [7, 30] and len([a for a in asked if "offset=0" in a]) == 5


def test_nobody_listens(no_waiting):
    with serving({}) as (root, _):
        pass
    with pytest.raises(ValueError, match=r"cannot be reached: .*\(3 times\)"):
        index_series(root)
    assert no_waiting == [0.5, 2]


def test_a_connection_that_is_lost_is_tried_again(tmp_path):
    data = stored(tmp_path)

    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", DICOM)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:-50])

    with serving(archive(**{"1.2.3.1": [cut, cut, multipart(data)]})) as (root, _):
        entry = index_series(root).slice("1.2.3.1")
        assert (read_slice(entry).hu == STORED - 1024).all()
    with serving(archive(**{"1.2.3.1": cut})) as (root, asked):
        entry = index_series(root).slice("1.2.3.1")
        with pytest.raises(ValueError, match=r"instances/1\.2\.3\.1: was interrupted: .*3 times"):
            read_slice(entry)
        assert len([path for path in asked if path.endswith("1.2.3.1")]) == 3


def endless(kind, first, then, chunk=2**16):
    def write(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.end_headers()
        handler.wfile.write(first)
        block = then * (chunk // len(then))
        while True:
            handler.wfile.write(block)

    return write


def test_bodies_without_an_end_are_not_read_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(web, "MAX_JSON_BYTES", 2**22)
    tracemalloc.start()
    try:
        with (
            serving({"studies": endless(JSON, b"[", b"{},")}) as (root, _),
            pytest.raises(ValueError, match="answers with more than 4194304 bytes"),
        ):
            index_series(root)
        # What follows the pixels is never asked for.
        with serving(archive(**{"1.2.3.1": endless(DICOM, stored(tmp_path), b"\0")})) as (root, _):
            entry = index_series(root).slice("1.2.3.1")
            assert (read_slice(entry).hu == STORED - 1024).all()
        head = stored(tmp_path)[:132]
        private = b"\x09\x00\x10\x00UN\0\0\xff\xff\xff\x7f"
        with serving(archive(**{"1.2.3.1": endless(DICOM, head + private, b"\0")})) as (root, _):
            entry = index_series(root).slice("1.2.3.1")
            with pytest.raises(ValueError, match=r"1\.2\.3\.1: "):
                read_slice(entry)
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()


PARTS = (
    ((200, {"Content-Type": "text/html"}, b"x"), "answers with text/html, not with DICOM"),
    ((200, {"Content-Type": "multipart/related"}, b"x"), "answers in parts without a boundary"),
    (
        (200, {"Content-Type": "multipart/related; boundary=m"}, b"x"),
        "answers in parts, and has none",
    ),
    ((200, {"Content-Type": "multipart/related; boundary=m"}, b"--m\r\n\r\nab"), "ends before its"),
    ((200, {"Content-Type": DICOM}, b"x" * 500), "it is no DICOM file"),
    ((200, {"Content-Type": DICOM}, b""), "it is no DICOM file"),
    (multipart(b"nothing"), "it is no DICOM file"),
    ((301, {"Location": "//192.0.2.1/x"}, b""), "leads to another server: not followed"),
)


@pytest.mark.parametrize("answer, told", PARTS, ids=[told for _, told in PARTS])
def test_an_instance_that_is_none_is_told(answer, told):
    with serving(archive(**{"1.2.3.1": answer})) as (root, _):
        entry = index_series(root).slice("1.2.3.1")
        with pytest.raises(ValueError, match=rf"{root}/studies/1\.2/.*1\.2\.3\.1: {told}"):
            read_slice(entry)


def test_one_bad_answer_costs_what_it_was_about():
    second = {"0020000D": {"vr": "UI", "Value": ["1.3"]}}
    fuller = {**INSTANCE, "00080018": {"vr": "UI", "Value": ["1.2.3.2"]}}
    wrong = {**INSTANCE, "00080018": {"vr": "UI", "Value": ["1.2.3.3"]}}
    wrong["00280010"] = {"vr": "US", "Value": ["many"]}
    nameless = {"00080018": {"vr": "UI", "Value": [{"a": "../../etc"}]}}
    instances = listed(INSTANCE, fuller, wrong, nameless, INSTANCE)
    counted = {**SERIES, "00201209": {"vr": "IS", "Value": [4]}}
    answers = archive(studies=listed(STUDY, second), instances=instances)
    answers["series"] = [listed(counted), listed(), (500, {}, b"")]
    with serving(answers) as (root, _):
        index = index_series(root)
    assert len(index.series("1.2.3")) == 2
    told = {source.removeprefix(root): reason for source, reason in index.problems}
    assert told.pop("/studies/1.3").endswith("(3 times)")
    assert "no UID" in told.pop("")
    ((source, reason),) = told.items()
    assert source.endswith("1.2.3.3") and reason


def test_names_that_lead_elsewhere_stay_names():
    away = {**INSTANCE, "00080018": {"vr": "UI", "Value": ["../../../admin?x=1"]}}
    with serving(archive(instances=listed(away))) as (root, asked):
        index = index_series(root)
        with pytest.raises(ValueError, match="answers 404"):
            read_slice(index.slice("../../../admin?x=1"))
    # Quoted: one name below the series.
    assert "/instances/..%2F..%2F..%2Fadmin%3Fx%3D1" in asked[-1]


def test_a_server_that_gives_the_same_page_again_is_left():
    def same(handler):
        body = listed(STUDY)[2]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with serving(archive(studies=same)) as (root, asked):
        assert len(index_series(root)) == 1
    assert len([path for path in asked if "/studies?" in path]) == 2


def test_addresses():
    assert web_address("https://a:8/x/studies/1.2/series/3.4/") == (
        "https://a:8/x",
        "1.2",
        "3.4",
        "",
    )
    assert web_address("http://a/?b=c") == ("http://a", "", "", "b=c")
    for place, told in (
        ("http://me:word@a/x", r"place must hold no password: write it to ~/\.netrc"),
        ("http:///x", "place must name a server"),
        ("http://a/studies/1/series/2/instances/3", "place must end in studies/UID or series/UID"),
    ):
        with pytest.raises(ValueError, match=told) as caught:
            web_address(place)
        assert "word@" not in str(caught.value)


def test_a_token_goes_to_the_server(monkeypatch):
    monkeypatch.setenv(web.TOKEN, "abc")
    seen = []

    def look(handler):
        seen.append(handler.headers["Authorization"])
        handler.send_response(204)
        handler.end_headers()

    with serving({"studies": look}) as (root, _):
        assert len(index_series(root)) == 0
    assert seen == ["Bearer abc"]
