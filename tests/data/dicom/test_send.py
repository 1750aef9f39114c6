"""Objects arrive on a DICOMweb server, and what does not is told."""

import http.server
import json
import threading
from contextlib import contextmanager

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from dicom_rows import Headers, aim_rows, drawn_slice, labelled_row, store_of  # noqa: E402
from dicom_servers import SERVERS, started  # noqa: E402
from dsnet.data.dicom import attempts, send, web  # noqa: E402
from dsnet.data.store.dicom_objects import export_dicom_seg, export_dicom_sr  # noqa: E402
from shared_data import shared  # noqa: E402

MARK = [18, 30, 30, 30, 24, 25, 24, 36]


@pytest.fixture
def objects(tmp_path):
    """A soft and a binary segmentation and a report of a drawn lesion."""
    slices = Headers([drawn_slice(1)])
    (header,) = slices.datasets.values()
    store = store_of(tmp_path / "store", [labelled_row(header, header.pixel_array - 1024.0, MARK)])
    export_dicom_seg(store, tmp_path / "seg", slices)
    export_dicom_sr(store, tmp_path / "sr", slices)
    return sorted([*(tmp_path / "seg").rglob("*.dcm"), *(tmp_path / "sr").rglob("*.dcm")])


@pytest.mark.parametrize("name", SERVERS)
def test_real_servers_have_what_was_sent_and_give_it_back(tmp_path, name):
    import httpx

    rows, slices = aim_rows(shared("measurements", "aim_v3_two_readers"))
    store = store_of(tmp_path / "store", rows)
    export_dicom_seg(store, tmp_path / "seg", slices)
    export_dicom_sr(store, tmp_path / "sr", slices)
    files = [*(tmp_path / "seg").rglob("*.dcm"), *(tmp_path / "sr").rglob("*.dcm")]
    assert len(files) == 3 * len(slices.datasets)
    (tmp_path / "server").mkdir()
    with started(name, tmp_path / "server") as root:
        assert send.send_objects(root, files) == (len(files), {})
        # Once more: the same objects, no more of them.
        assert send.send_objects(f"{root}/", files) == (len(files), {})
        accept = {"Accept": "application/dicom+json"}

        def ask(path, tag):
            found = httpx.get(f"{root}/{path}", headers=accept, timeout=60).json()
            return [item[tag]["Value"][0] for item in found]

        count = 0
        for study in ask("studies", "0020000D"):
            for series in ask(f"studies/{study}/series", "0020000E"):
                count += len(ask(f"studies/{study}/series/{series}/instances", "00080018"))
        assert count == len(files)
        for file in files:
            sent = pydicom.dcmread(file)
            url = (f"{root}/studies/{sent.StudyInstanceUID}/series/{sent.SeriesInstanceUID}"
                   f"/instances/{sent.SOPInstanceUID}")  # fmt: skip
            kind = 'multipart/related; type="application/dicom"; transfer-syntax=*'
            body = httpx.get(url, headers={"Accept": kind}, timeout=60).content
            begin = body.index(b"\r\n\r\n") + 4
            (tmp_path / "got.dcm").write_bytes(body[begin : body.rindex(b"\r\n--")])
            got = pydicom.dcmread(tmp_path / "got.dcm")
            assert got.SOPInstanceUID == sent.SOPInstanceUID
            if sent.Modality == "SEG":
                assert np.array_equal(got.pixel_array, sent.pixel_array)
            else:
                assert got.ContentSequence == sent.ContentSequence


@contextmanager
def answering(answers):
    """A server that answers as `answers(method, path, body)` says: status, content."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def do_GET(self):
            self._answer(b"")

        def _answer(self, body):
            status, content, *more = answers(self.command, self.path, body, self.headers)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for key, value in more:
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/dicom-web"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def listed(files):
    return [{"00080018": {"Value": [pydicom.dcmread(file).SOPInstanceUID]}} for file in files]


def test_what_is_refused_and_what_is_lost_is_told_by_file(objects):
    refused, lost, fine = objects

    def answers(method, path, body, headers):
        if method == "GET":
            return 200, listed([fine])
        if pydicom.dcmread(refused).SOPInstanceUID.encode() in body:
            return 409, {"00081198": {"Value": [{"00081197": {"Value": [0x0122]}}]}}
        return 200, {}

    told = []
    with answering(answers) as root:
        sent = send.send_objects(root, objects, refuse=lambda *pair: told.append(pair))
    assert sent.arrived == 1 and dict(told) == sent.refused
    assert sent.refused == {
        str(refused): "the server refuses it: its class is not taken (0122)",
        str(lost): "the server took it, and does not have it",
    }


def test_a_busy_server_is_asked_again_and_a_refusal_of_what_is_there_is_none(objects, monkeypatch):
    waits, times = [], []
    monkeypatch.setattr(attempts, "wait", waits.append)

    def answers(method, path, body, headers):
        times.append(method)
        if len(times) < 3:
            return 503, b"busy"
        return (409, b"conflict") if method == "POST" else (200, listed(objects[:1]))

    with answering(answers) as root:
        assert send.send_objects(root, objects[:1]) == (1, {})
    assert times == ["POST", "POST", "POST", "GET"] and waits == [0.5, 2.0]


@pytest.mark.parametrize(
    ("status", "content", "reason"),
    [
        (401, b"who are you", "answers 401"),
        (413, b"", "answers 413"),
        (301, b"", "answers 301"),
        (409, b"<html>", "gives no reason"),
        (202, {"00081198": {"Value": [{}]}}, "gives no reason"),
    ],
)
def test_answers_that_are_none_are_told(objects, status, content, reason):
    def answers(method, path, body, headers):
        if method == "GET":
            return 204, b""
        return status, content, ("Location", "http://127.0.0.1:9/elsewhere")

    with answering(answers) as root:
        sent = send.send_objects(root, objects[:1])
    assert sent.arrived == 0 and reason in sent.refused[str(objects[0])]


def test_a_file_that_is_no_object_costs_itself(objects, tmp_path):
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(b"\0" * 400)

    def answers(method, path, body, headers):
        return (200, listed(objects[:1])) if method == "GET" else (200, {})

    with answering(answers) as root:
        sent = send.send_objects(root, [bad, objects[0]])
    assert sent.arrived == 1 and list(sent.refused) == [str(bad)]


def test_credentials_come_from_the_environment_or_netrc_and_go_out_as_they_are(
    objects, tmp_path, monkeypatch
):
    seen = []

    def answers(method, path, body, headers):
        seen.append(headers.get("Authorization"))
        return (200, listed(objects[:1])) if method == "GET" else (200, {})

    monkeypatch.delenv(web.TOKEN, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with answering(answers) as root:
        send.send_objects(root, objects[:1])
        web.web_server.cache_clear()
        monkeypatch.setenv(web.TOKEN, "abc")
        send.send_objects(root, objects[:1])
        web.web_server.cache_clear()
        monkeypatch.delenv(web.TOKEN)
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password pass\n")
        (tmp_path / ".netrc").chmod(0o600)
        send.send_objects(root, objects[:1])
    assert seen == [None, None, "Bearer abc", "Bearer abc", *["Basic bWU6cGFzcw=="] * 2]


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        ("ftp://a/b", "must be an address"),
        ("pacs", "must be an address"),
        ("http://", "must name a server"),
        ("http://a/b/studies/1.2", "without a study or query"),
        ("http://me:pass@a/b", "must hold no password"),
        ("http://127.0.0.1:9/x", "cannot be reached"),
    ],
)
def test_an_address_that_is_none_is_told(objects, monkeypatch, root, reason):
    monkeypatch.setattr(attempts, "wait", lambda seconds: None)
    with pytest.raises(ValueError, match=reason) as error:
        send.send_objects(root, objects[:1])
    assert "pass@" not in str(error.value)
