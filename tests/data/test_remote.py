"""Files at addresses: read like paths, tried again where it may help, errors in words."""

import functools
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from dsnet.data import remote
from dsnet.data.ct_image import read_ct_png
from dsnet.data.datasets.deeplesion import read_annotations, read_crops
from dsnet.data.neighbours import neighbour_files
from dsnet.data.picture_file import read_pixels, read_regular_file
from dsnet.data.remote import RemoteFile, is_address, place_of

fsspec = pytest.importorskip("fsspec")
TABLE = (
    "File_name,Measurement_coordinates\n"
    '000001_01_01_009.png,"20, 30, 44, 30, 32, 22, 32, 38"\n'
    '000001_01_01_011.png,"20, 30, 44, 30, 32, 22, 32, 38"\n'
)


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    found = []
    monkeypatch.setattr(remote.time, "sleep", found.append)
    return found


@pytest.fixture
def folder(tmp_path):
    """A table, and slices 8 to 10 of a series."""
    rng = np.random.default_rng(0)
    (tmp_path / "000001_01_01").mkdir()
    for number in (8, 9, 10):
        codes = (rng.integers(-1000, 200, (64, 64)) + 32768).astype(np.uint16)
        assert cv2.imwrite(str(tmp_path / f"000001_01_01/{number:03}.png"), codes)
    (tmp_path / "DL_info.csv").write_text(TABLE)
    return tmp_path


@pytest.fixture
def in_memory(folder):
    memory = fsspec.filesystem("memory")
    for path in folder.rglob("*.*"):
        memory.pipe_file(f"/bucket/{path.relative_to(folder).as_posix()}", path.read_bytes())
    yield "memory://bucket"
    memory.rm("/bucket", recursive=True)


class Handler(SimpleHTTPRequestHandler):
    def send_head(self):
        server = self.server
        server.asked.append(self.path)
        if server.failing and "009" in self.path:
            server.failing -= 1
            self.send_error(server.status)
            return None
        return super().send_head()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(folder):
    pytest.importorskip("aiohttp")
    found = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    found.asked, found.failing, found.status = [], 0, 503
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    found.address = f"http://127.0.0.1:{found.server_port}"
    yield found
    found.shutdown()
    found.server_close()


def test_addresses_and_paths_are_told_apart():
    for place in ("s3://bucket/a", "https://x", "memory://a", "file:///a", "github://a:b@/c"):
        assert is_address(place) and isinstance(place_of(place), RemoteFile)
    for place in ("a.png", "/a//b", "C:\\x", "a:b", "://a", "1://a/b", ""):
        assert not is_address(place) and not isinstance(place_of(place), RemoteFile)


def test_names_are_those_of_paths():
    file = RemoteFile("s3://bucket/000001_01_01/009.PNG")
    assert (file.name, file.suffix) == ("009.PNG", ".PNG")
    assert str(file.with_name("010.png")) == "s3://bucket/000001_01_01/010.png"
    assert str(RemoteFile("s3://bucket/") / "a" / "b.png") == "s3://bucket/a/b.png"


def test_passwords_and_signatures_are_not_shown():
    file = RemoteFile("https://me:secret@host/a.png?signature=abc")
    assert str(file) == "https://host/a.png" and "secret" not in repr(file)
    chained = RemoteFile("zip://a.png::ftp://me:secret@host/b.zip")
    assert str(chained) == "zip://a.png::ftp://host/b.zip"


def crops_of(root):
    return list(read_crops(read_annotations(f"{root}/DL_info.csv"), str(root), neighbours=1))


def require_same_crops(found, wanted):
    assert len(found) == len(wanted) == 2
    (_, crop), (_, missing) = found
    (_, here), (_, nothing) = wanted
    assert np.array_equal(crop.image, here.image) and crop.mark == here.mark
    assert np.array_equal(crop.neighbours, here.neighbours) and crop.notes == here.notes
    assert "no image 000001_01_01/011.png" in str(missing) and "no image" in str(nothing)


def test_crops_are_those_of_the_files_here(folder, in_memory):
    found = crops_of(in_memory)
    require_same_crops(found, crops_of(folder))
    assert found[0][1].source == "memory://bucket/000001_01_01/009.png"
    require_same_crops(crops_of(f"file://{folder}"), crops_of(folder))


def test_crops_over_http_are_those_of_the_files_here(folder, server):
    require_same_crops(crops_of(server.address), crops_of(folder))


def test_neighbours_are_found(in_memory):
    found = neighbour_files(f"{in_memory}/000001_01_01/008.png", 2)
    names = [file and str(file).rpartition("/")[2] for file in found]
    assert names == [None, "009.png", None, "010.png"]


@pytest.mark.parametrize("status, tries", [(503, 3), (429, 2)])
def test_what_may_pass_is_tried_again(folder, server, waits, status, tries):
    server.failing, server.status = tries - 1, status
    file = RemoteFile(f"{server.address}/000001_01_01/009.png")
    assert file.read(10**6) == (folder / "000001_01_01/009.png").read_bytes()
    assert len(server.asked) == tries and waits == [1, 2, 4][: tries - 1]


def test_a_server_that_fails_does_not_say_that_a_file_is_absent(server, waits):
    file = RemoteFile(f"{server.address}/000001_01_01/009.png")
    server.failing = 3
    assert file.is_file() and waits
    server.failing = 99
    with pytest.raises(ValueError, match=r"009\.png: ClientResponseError: 503.*tried 4 times"):
        file.is_file()
    assert not RemoteFile(f"{server.address}/000001_01_01/012.png").is_file()


def test_what_does_not_pass_is_told_with_the_tries(server, waits):
    server.failing = 99
    address = f"{server.address}/000001_01_01/009.png"
    with pytest.raises(ValueError, match=r"009\.png: ClientResponseError: 503.*tried 4 times"):
        read_ct_png(place_of(address))
    assert len(server.asked) == 4 and waits == [1, 2, 4]


@pytest.mark.parametrize("status", [401, 403])
def test_what_will_not_change_is_tried_once(server, waits, status):
    server.failing, server.status = 99, status
    with pytest.raises(ValueError, match=rf"009\.png: .*{status}"):
        RemoteFile(f"{server.address}/000001_01_01/009.png").read(10**6)
    assert len(server.asked) == 1 and waits == []


def test_a_file_that_is_not_there_is_told_at_once(in_memory, waits):
    with pytest.raises(ValueError, match=r"^memory://bucket/none\.png: No such file$"):
        read_pixels(RemoteFile(f"{in_memory}/none.png"))
    assert waits == []


def test_a_server_that_is_not_there_is_told(waits):
    pytest.importorskip("aiohttp")
    with pytest.raises(ValueError, match=r"^http://127\.0\.0\.1:9/a\.png: Client.*tried 4 times"):
        RemoteFile("http://127.0.0.1:9/a.png").read(10)
    assert len(waits) == 3


def test_no_more_is_read_than_may_be(in_memory):
    file = RemoteFile(f"{in_memory}/000001_01_01/009.png")
    whole = file.read(10**6)
    assert read_regular_file(file, len(whole)) == whole
    assert read_regular_file(file, len(whole), 10) == whole[:10]
    with pytest.raises(ValueError, match=rf"must be of at most {len(whole) - 1} bytes"):
        file.read(len(whole) - 1)


def test_what_cannot_be_used_is_told_before_anything_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ValueError, match=r"s3://bucket/a: Install s3fs to access S3"):
        RemoteFile("s3://bucket/a").check()
    with pytest.raises(ValueError, match=r"nothing://a: .*not known"):
        RemoteFile("nothing://a").check()
    RemoteFile("memory://a").check()


def test_damage_is_told_with_the_address(in_memory):
    memory = fsspec.filesystem("memory")
    data = bytearray(memory.cat_file("/bucket/000001_01_01/009.png"))
    data[60] ^= 1
    memory.pipe_file("/bucket/000001_01_01/009.png", bytes(data))
    ((_, error), _) = crops_of(in_memory)
    assert str(error).startswith("memory://bucket/000001_01_01/009.png: the PNG is damaged at byte")
