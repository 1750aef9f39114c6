"""A Ray cluster is reached, watched and left: addresses, a head that is silent, signals."""

import ctypes
import os
import signal
import socket
import sys
import time

import pytest

from dsnet.archive import label_archive
from dsnet.console import Stop
from worker_jobs import Job

ray = pytest.importorskip("ray")

from fake_ray import FakeRay, label, numbered, rows  # noqa: E402

from dsnet.archive import cluster  # noqa: E402
from dsnet.archive import ray as on_ray  # noqa: E402


@pytest.fixture
def fake(monkeypatch):
    return FakeRay(monkeypatch)


def test_a_head_that_does_not_answer_is_gone(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(cluster, "PAUSE", 0.01)
    monkeypatch.setattr(cluster, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(cluster, "_address", lambda: server.getsockname())
        with cluster.Head() as head:
            for _ in range(3):
                server.accept()[0].close()
            assert not head.gone
            server.close()
            while not head.gone:
                assert head._end.wait(0.01) is False
            with pytest.raises(RuntimeError, match="head"):
                head.require()


def test_without_an_address_no_other_cluster_is_taken(monkeypatch):
    asked = []

    def init(**options):
        asked.append(options)
        trace = 'Traceback (most recent call last):\n  File "a.py", line 3\n  ^^^\nray.ValueError: '
        raise ConnectionError("no connection") from ValueError(f"{trace}the token\nis missing")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(cluster, "_require_answer", lambda address: None)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    told = r"no Ray cluster at 10\.0\.0\.1:6379: no connection: ValueError: the token is missing"
    for address in (None, "10.0.0.1:6379"):
        with pytest.raises(RuntimeError, match=told if address else "no connection"):
            cluster.reached(address, 3, 0).__enter__()
    assert [options["address"] for options in asked] == ["local", "10.0.0.1:6379"]
    assert asked[0]["num_cpus"] == 3 and "num_cpus" not in asked[1]


def test_an_address_where_nobody_is_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = f"127.0.0.1:{server.getsockname()[1]}"
        for address in (taken, "auto", "ray://127.0.0.1:1"):
            cluster._require_answer(address)
    for address in (taken, "127.0.0.1:99999", "no-such-host.invalid:6379"):
        with pytest.raises(RuntimeError, match=f"^no Ray cluster at {address}: "):
            cluster._require_answer(address)
        with pytest.raises(RuntimeError), cluster.reached(address, 1, 0):
            pass


def test_a_run_that_is_told_to_stop_while_ray_begins_stops(tmp_path, fake, monkeypatch):
    def init(**options):
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with Stop() as stop:
        made = label_archive([Job(0)], tmp_path, executor=on_ray.RayExecutor(2), stop=stop)
    assert (made.stopped, made.signal, made.rows) == (True, signal.SIGTERM, 0)


def test_a_run_that_is_told_to_stop_while_ray_ends_lives(tmp_path, fake, monkeypatch):
    def shutdown():
        c = ctypes.CDLL(None)
        c.signal.restype = ctypes.c_void_p
        # As its compiled part does, whatever Python has there.
        c.signal(signal.SIGTERM, None)
        limit = time.monotonic() + 60
        while (now := c.signal(signal.SIGTERM, None)) is None:
            assert time.monotonic() < limit
            time.sleep(0.05)
        c.signal(signal.SIGTERM, ctypes.c_void_p(now))
        os.kill(os.getpid(), signal.SIGTERM)

    there = []
    monkeypatch.setattr(ray, "is_initialized", lambda: bool(there))
    monkeypatch.setattr(ray, "init", lambda **options: there.append(1))
    monkeypatch.setattr(ray, "shutdown", shutdown)
    with Stop() as stop:
        label(tmp_path)
    assert stop.signal == signal.SIGTERM and numbered(tmp_path) == rows()
