"""DICOMweb servers that tests start: Debian's Orthanc with its plug-in, and tiny-pacs."""

import contextlib
import http.client
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

ORTHANC_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
# Generous: a loaded machine starts a server slowly.
STARTS_WITHIN_SECONDS = 120
SERVERS = ("orthanc", "tiny-pacs")


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextlib.contextmanager
def started(name, folder):
    """The root address of an empty server; skips where it is not installed."""
    command, root, port = (_orthanc if name == "orthanc" else _tiny_pacs)(folder)
    with open(folder / "log.txt", "wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + STARTS_WITHIN_SECONDS
        while not _answers(port, root):
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"{name} does not start: {(folder / 'log.txt').read_text()[-800:]}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}{root}"
    finally:
        process.terminate()
        process.wait(60)


def _answers(port, root):
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.closing(connection):
            connection.request(
                "GET", f"{root}/studies", headers={"Accept": "application/dicom+json"}
            )
            return connection.getresponse().status in (200, 204)
    return False


def _orthanc(folder):
    program = shutil.which("Orthanc")
    if program is None or not ORTHANC_PLUGIN.exists():
        pytest.skip("Orthanc with its DICOMweb plug-in is not installed (apt: orthanc-dicomweb)")
    port = free_port()
    settings = {
        "StorageDirectory": str(folder / "store"), "IndexDirectory": str(folder / "store"),
        "HttpPort": port, "DicomServerEnabled": False, "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False, "Plugins": [str(ORTHANC_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    return [program, str(folder / "orthanc.json")], "/dicom-web", port


def _tiny_pacs(folder):
    for package in ("tiny_pacs_dicomweb", "waitress"):
        if importlib.util.find_spec(package) is None:
            pytest.skip("tiny-pacs is not installed (pip: tiny-pacs[http] tiny-pacs-dicomweb)")
    port = free_port()
    settings = {
        "ae": {"ae_title": ["TINY_PACS"], "port": free_port()},
        "components": {
            "Database": {"on": True, "driver": "sqlite", "mode": "memory"},
            "Devices": {"on": True}, "PACS": {"on": True}, "InMemoryStorage": {"on": True},
            "HttpServer": {"on": True, "host": "127.0.0.1", "port": port},
            "DICOMWeb": {"on": True, "prefix": "/dicomweb", "auth": "none"},
        },
    }  # fmt: skip
    (folder / "pacs.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "tiny_pacs", "run", "-c", str(folder / "pacs.json")]
    return command, "/dicomweb", port


def store(root, files):
    """STOW-RS, by hand: each file in a request of its own."""
    host, _, path = root.removeprefix("http://").partition("/")
    for file in files:
        mark = uuid.uuid4().hex
        body = b"--%s\r\nContent-Type: application/dicom\r\n\r\n" % mark.encode()
        body += Path(file).read_bytes() + b"\r\n--%s--\r\n" % mark.encode()
        kind = f'multipart/related; type="application/dicom"; boundary={mark}'
        connection = http.client.HTTPConnection(host, timeout=120)
        with contextlib.closing(connection):
            headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
            connection.request("POST", f"/{path}/studies", body, headers)
            answer = connection.getresponse()
            assert answer.status == 200, (file, answer.status, answer.read()[:500])
