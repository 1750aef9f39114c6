"""Inputs and stores on an S3 server, whose answers fail now and then; needs s3fs and moto."""

import http.client
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from store_rows import row, rows_of, write

from dsnet.data import remote
from dsnet.data.picture_file import read_pixels
from dsnet.data.remote import RemoteFile
from dsnet.data.store import StoreWriter, account, open_store, validate_store
from dsnet.data.store.manifest import MANIFEST
from dsnet.data.store.push import push_store
from dsnet.data.store.stage import ShardBuilder
from dsnet.files import encode_png

s3fs = pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


class Between(BaseHTTPRequestHandler):
    """Hands requests on; a share of the answers is 503, or breaks off."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with server.lock:
            fate = server.draw.random() / max(server.share, 1e-9)
        there = http.client.HTTPConnection("127.0.0.1", server.beyond)
        there.request(self.command, self.path, body, dict(self.headers))
        answer = there.getresponse()
        data = answer.read()
        if fate < 0.5:
            server.failed += 1
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(data)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        if fate < 1 and len(data) > 1:
            server.failed += 1
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(data)

    do_PUT = do_HEAD = do_DELETE = do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A bucket that is reached through a server whose share of failures can be set."""
    beyond = moto.ThreadedMotoServer(port=0, verbose=False)
    beyond.start()
    found = ThreadingHTTPServer(("127.0.0.1", 0), Between)
    found.beyond, found.share, found.failed = beyond.get_host_and_port()[1], 0.0, 0
    found.draw, found.lock = random.Random(0), threading.Lock()
    threading.Thread(target=found.serve_forever, daemon=True).start()
    for key in KEYS:
        monkeypatch.setenv(key, "a")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{found.server_port}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(remote.time, "sleep", lambda seconds: None)
    s3fs.S3FileSystem.clear_instance_cache()
    # What it holds outlasts it.
    reset = http.client.HTTPConnection("127.0.0.1", found.beyond)
    reset.request("POST", "/moto-api/reset")
    assert reset.getresponse().status == 200
    s3fs.S3FileSystem().mkdir("bucket")
    yield found
    s3fs.S3FileSystem.clear_instance_cache()
    found.shutdown()
    found.server_close()
    beyond.stop()


@pytest.mark.long
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_store_and_pictures_through_a_server_that_fails(tmp_path, server, share):
    # What consoles call a folder.
    s3fs.S3FileSystem().call_s3("put_object", Bucket="bucket", Key="a/s/", Body=b"")
    server.share = share
    write(tmp_path / "s", range(40), shard_rows=5)
    push_store(tmp_path / "s", "s3://bucket/a/s")
    assert rows_of("s3://bucket/a/s") == rows_of(tmp_path / "s")
    assert validate_store("s3://bucket/a/s") == []
    assert open_store("s3://bucket/a/s").read("k000011").key == "k000011"
    assert push_store(tmp_path / "s", "s3://bucket/a/s").sent == 0
    codes = np.random.default_rng(0).integers(0, 2**16, (64, 64)).astype(np.uint16)
    for number in range(5):
        picture = RemoteFile(f"s3://bucket/{number}.png")
        picture.write(encode_png(codes))
        assert picture.is_file() and np.array_equal(read_pixels(picture), codes)
    assert (server.failed > 20) == bool(share)


def test_what_is_wrong_is_told_in_one_line(tmp_path, server, monkeypatch):
    write(tmp_path / "s", range(3))
    with pytest.raises(ValueError, match=r"^s3://bucket/a\.png: No such file$"):
        read_pixels(RemoteFile("s3://bucket/a.png"))
    with pytest.raises(ValueError, match=r"^s3://none/a/\.lock: .*bucket does not ex"):
        push_store(tmp_path / "s", "s3://none/a")
    with pytest.raises(FileNotFoundError, match="no label store at s3://bucket/a"):
        open_store("s3://bucket/a")
    server.share = 1.0
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ValueError, match=r"^s3://bucket/a\.png: .* \(tried 4 times\)$"):
        RemoteFile("s3://bucket/a.png").is_file()
    for key in KEYS:
        monkeypatch.delenv(key)
    monkeypatch.setenv("HOME", str(tmp_path))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ValueError, match=r"NoCredentialsError: Unable to locate credentials$"):
        open_store("s3://bucket/a")


@pytest.mark.parametrize("share", [0.0, pytest.param(0.3, marks=pytest.mark.long)])
def test_a_store_is_written_through_a_server_that_fails(tmp_path, server, share, monkeypatch):
    monkeypatch.setattr(account, "FEW_SHARDS", 3)
    server.share = share
    for numbers in (range(20), range(20, 40)):
        with StoreWriter("s3://bucket/a/s", {}, resume=True, shard_rows=4) as writer:
            builder = ShardBuilder(writer.recipe)
            for number in numbers[:10]:
                writer.append(row(number))
            writer.flush()
            for number in numbers[10:]:
                builder.take(row(number))
            writer.commit(builder.stage())
            with pytest.raises(RuntimeError, match="another process is writing to the store s3:"):
                StoreWriter("s3://bucket/a/s", {}, resume=True)
    write(tmp_path / "s", range(40))
    assert rows_of("s3://bucket/a/s") == rows_of(tmp_path / "s")
    assert validate_store("s3://bucket/a/s") == []
    assert set(RemoteFile("s3://bucket/a/s").sizes()) == {
        MANIFEST, *open_store("s3://bucket/a/s").shards
    }  # fmt: skip
    assert (server.failed > 20) == bool(share)
    # Of two that begin at a time one has it.
    lock = RemoteFile("s3://bucket/b/.lock")
    assert lock.create(b"one") and not lock.create(b"two") and lock.create(b"one")
