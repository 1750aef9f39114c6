"""The command: a server of its own, killed between decisions; options that are wrong."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from dsnet import label, review
from dsnet.data.store import LabelRecord, StoreWriter
from dsnet.data.store.decisions import read_decisions
from fresh_interpreter import PLACES, run_fresh
from review_desk import labelled
from review_servers import LIMIT, until

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from dsnet.reviewing import serving


@contextlib.contextmanager
def served(store, *options, head=20.0):
    """A server's process and the address that it printed; a head may take `head` seconds."""
    code = f"""
import signal, sys
sys.path[:0] = {PLACES!r}
signal.signal(signal.SIGINT, signal.default_int_handler)
from dsnet import review
from dsnet.reviewing import serving, timely
timely.SLOWEST_HEAD, serving.LOOK_SECONDS = {head}, 0.1
sys.exit(review.main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", code, str(store), "--no-browser", *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        line = process.stdout.readline().strip()
        assert line, process.stderr.read()
        yield process, line
    finally:
        process.kill()
        process.communicate()


def ask(address, path, body=None, reader="Ann"):
    base, token = re.fullmatch(r"(http://[^/]+)/\?token=([^&]+).*", address).groups()
    headers = {
        "X-DSNet-Token": token, "X-DSNet-Reader": reader, "Content-Type": "application/json",
    }  # fmt: skip
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{base}/api/{path}", data, headers)
    with urllib.request.urlopen(request, timeout=LIMIT) as answer:
        return json.loads(answer.read())


def test_a_second_server_of_a_store_is_refused_and_told_where_the_first_is(store, capsys):
    with served(store, "--port", "0") as (process, address):
        place = address.partition("/?")[0]
        assert review.main([str(store), "--no-browser", "--port", "0"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"is being reviewed at {place} (process {process.pid} on " in line
        assert "several readers work through that server" in line
        # What only reads goes on, what takes damaged decisions out does not.
        assert review.main([str(store), "--report"]) == 0
        assert label.main(["check", str(store)]) == 0
        capsys.readouterr()
        assert label.main(["check", str(store), "--repair"]) == 2
        assert "stop that server, then repair" in capsys.readouterr().err
        ask(address, "label/9/verdict", {"verdict": "reject", "reason": "leaks"})
        os.kill(process.pid, signal.SIGKILL)
        process.wait(LIMIT)
    # A dead one holds nothing.
    assert label.main(["check", str(store), "--repair"]) == 0
    with served(store, "--port", "0") as (process, address):
        assert ask(address, "session")["mine"] == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 143
    assert not (store / ".review.lock").exists()


def test_labels_that_a_run_appends_come_to_the_page(store):
    with served(store, "--port", "0") as (_, address):
        assert ask(address, "session")["count"] == 11
        with StoreWriter(store, {"crop": 48}, resume=True) as writer:
            writer.append(labelled("new", 30, quality={"expected_dice": 0.1}))
        until(lambda: ask(address, "session")["count"] == 12)
        assert ask(address, "queue?count=2")["items"][1]["key"] == "new"


def test_a_head_that_comes_slowly_holds_nothing(store):
    with served(store, "--port", "0", head=0.5) as (_, address):
        place = ("127.0.0.1", int(re.search(r":(\d+)/", address).group(1)))
        ends = []
        for begun in (b"", b"G", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "):
            slow = socket.create_connection(place, LIMIT)
            slow.sendall(begun)
            ends.append(slow)
        # A request after another one has its time, too.
        again = socket.create_connection(place, LIMIT)
        again.sendall(b"GET /favicon.ico HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert again.recv(4096).startswith(b"HTTP/1.1 204")
        again.sendall(b"GET ")
        for slow in (*ends, again):
            with slow, contextlib.suppress(ConnectionResetError, BrokenPipeError):
                while slow.recv(4096):
                    pass
        assert ask(address, "session")["count"] == 11


def test_two_readers_at_once_and_both_stay(store):
    from concurrent.futures import ThreadPoolExecutor

    with served(store, "--port", "0", "--readings", "2") as (_, address):

        def read(name):
            seen = []
            while len(seen) < 11:
                for item in ask(address, "queue?count=2", reader=name)["items"]:
                    body = {"verdict": "unsure", "seconds": 0.5}
                    ask(address, f"label/{item['index']}/verdict", body, name)
                    seen.append(item["index"])
            return seen

        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(read, ("Ann", "Bob")))
        assert [sorted(seen) for seen in both] == [list(range(11))] * 2
        assert ask(address, "session")["reviewed"] == 11
    rows = read_decisions(store).rows
    assert len({(row.reader, row.key) for row in rows}) == len(rows) == 22


def test_it_listens_to_this_machine_alone_and_tells_its_token(store):
    with served(store, "--port", "0", "--reader", "Dr. \u00d6 & co") as (process, address):
        assert re.fullmatch(
            r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}&reader=Dr\.%20%C3%96%20%26%20co", address
        )
        page = urllib.request.urlopen(address, timeout=LIMIT)
        assert page.status == 200 and "text/html" in page.headers["Content-Type"]
        port = int(re.search(r":(\d+)/", address).group(1))
        # 0100007F is 127.0.0.1: no other address of that port is listened at.
        with open("/proc/net/tcp") as table:
            places = [line.split()[1] for line in table if line.split()[3] == "0A"]
        assert [p for p in places if p.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/session", timeout=LIMIT)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=LIMIT)
        assert process.returncode == 130 and out == "" and error == "stopped\n"


def test_a_port_that_is_taken_is_told_and_by_default_the_next_one_serves(store, monkeypatch):
    with served(store, "--port", "0") as (_, address):
        port = int(re.search(r":(\d+)/", address).group(1))
        with pytest.raises(OSError, match=f"cannot listen at 127.0.0.1, port {port}"):
            serving.bound("127.0.0.1", port)
        if port < 65535 - 20:
            with serving.bound("127.0.0.1", port, tries=20) as other:
                assert port < other.getsockname()[1] < port + 20


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 needs --token"),
        (["--token", "short"], "--token must be at least 16"),
        (["--token", "not plain: <script>!"], "--token must be at least 16"),
        (["--host", "no.such.host.invalid", "--token", "a" * 16], "cannot listen at"),
        (["--blind", "--order", "expected-dice"], "order must not be"),
        (["--out", "picture.png"], "--out needs --report"),
        (["--report", "--out", "."], "--out must be a file, . is a folder"),
    ],
)
def test_options_that_are_wrong_are_told_in_a_line(store, capsys, options, told):
    assert review.main([str(store), "--no-browser", "--port", "0", *options]) == 2
    error = capsys.readouterr().err
    assert told in error and len(error.splitlines()) == 1


def test_an_address_that_is_not_this_machines_is_told_with_the_first_port():
    # Of a range for documents: no other port is of any use.
    with pytest.raises(OSError, match=r"cannot listen at 192\.0\.2\.1, port 8477: "):
        serving.bound("192.0.2.1", 8477, tries=20)


def test_ports_that_are_all_taken_are_told_as_a_range():
    with contextlib.ExitStack() as taken:
        first = taken.enter_context(serving.bound("127.0.0.1", 0)).getsockname()[1]
        with contextlib.suppress(OSError):  # Somebody else's: it is taken, too.
            taken.enter_context(serving.bound("127.0.0.1", first + 1))
        with pytest.raises(OSError, match=f"ports {first} to {first + 1}: Address already in use"):
            serving.bound("127.0.0.1", first, tries=2)


def test_a_store_where_nothing_can_be_reviewed_is_told(write_store, monkeypatch, caplog):
    monkeypatch.setattr(serving, "serve", lambda review, **options: None)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    path = write_store([LabelRecord.from_error("k", "s.png", "no file")])
    assert review.main([str(path), "--no-browser"]) == 0
    nothing, locked = caplog.messages
    assert nothing.endswith("has no label with a picture: there is nothing to review")
    assert "cannot be written to" in locked


def test_a_store_that_can_be_reviewed_begins_without_a_word(store, monkeypatch, caplog):
    monkeypatch.setattr(serving, "serve", lambda review, **options: None)
    assert review.main([str(store), "--no-browser"]) == 0
    assert caplog.messages == []


def test_a_store_that_is_none_is_told(tmp_path, capsys):
    assert review.main([str(tmp_path / "none")]) == 2
    assert review.main([str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("dsnet.review:") for line in lines)


@pytest.mark.parametrize("option", [["--port", "-1"], ["--sample", "0"], ["--order", "worst"]])
def test_numbers_and_names_out_of_range_are_no_options(store, capsys, option):
    with pytest.raises(SystemExit) as end:
        review.main([str(store), *option])
    assert end.value.code == 2 and option[0] in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(store):
    code = "import sys; from dsnet import review; sys.exit(review.main(sys.argv[1:]))"
    done = run_fresh(code, without=["starlette"], arguments=[store])
    assert done.returncode == 2 and "pip install 'dsnet[review]'" in done.stderr
    assert run_fresh(code, without=["starlette"], arguments=[store, "--report"]).returncode == 0


def test_nothing_is_asked_of_another_machine(store):
    """Neither to serve nor to report is an address looked up that is not this machine's."""
    with served(store, "--port", "0") as (process, address):
        ask(address, "session")
        with open(f"/proc/{process.pid}/net/tcp") as table:
            rows = [line.split() for line in table][1:]
        inodes = set()
        for name in os.listdir(f"/proc/{process.pid}/fd"):
            try:
                target = os.readlink(f"/proc/{process.pid}/fd/{name}")
            except OSError:
                continue
            if target.startswith("socket:"):
                inodes.add(target[8:-1])
        own = [row for row in rows if row[9] in inodes]
        assert own and all(row[1].startswith("0100007F:") for row in own)


def test_the_address_names_what_a_browser_can_reach():
    from dsnet.reviewing.serving import address_of

    assert address_of("::1", 80, "t") == "http://[::1]:80/?token=t"
    for every in ("0.0.0.0", "::"):
        assert address_of(every, 80, "t") == f"http://{socket.gethostname()}:80/?token=t"
