"""A Ray cluster of several nodes on this machine, which come and die while they label."""

import contextlib
import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from dsnet.archive import label_archive
from dsnet.data.store import open_store, validate_store
from label_command import telling_command, wait_for_line
from worker_jobs import MeetingJob

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402

from dsnet.archive import ray as on_ray  # noqa: E402

pytestmark = pytest.mark.long
LONG = 300  # seconds that something may take on a slow machine


@pytest.fixture
def cluster(monkeypatch):
    """Of a head that labels, too, and tells soon that a node died."""
    # Its workers find what tests share.
    paths = [str(Path(__file__).parent), *sys.path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
    health = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500,
              "health_check_timeout_ms": 5000, "health_check_failure_threshold": 3}  # fmt: skip
    made = Cluster(initialize_head=True, head_node_args={
        "num_cpus": 1, "include_dashboard": False, "ray_client_server_port": port,
        "_system_config": health,
    })  # fmt: skip
    made.client = f"ray://{made.head_node.node_ip_address}:{port}"
    yield made
    ray.shutdown()
    with contextlib.suppress(Exception):  # The head, of a test that killed it.
        made.shutdown()


def wait_for(there, run):
    limit = time.monotonic() + LONG
    while not there():
        assert time.monotonic() < limit and run.is_alive()
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["address", "client"])
def test_a_node_comes_and_is_killed(cluster, tmp_path, monkeypatch, how):
    monkeypatch.setattr(on_ray, "BLOCK_ROWS", 1)
    meeting, store = tmp_path / "meeting", tmp_path / "store"
    meeting.mkdir()
    jobs = [MeetingJob(number, meeting) for number in range(12)]
    executor = on_ray.RayExecutor(2, getattr(cluster, how), places=[tmp_path])
    run = threading.Thread(
        target=label_archive, args=(jobs, store), kwargs={"executor": executor}, daemon=True
    )
    run.start()
    begun = lambda: {path.name for path in meeting.iterdir()}  # noqa: E731
    wait_for(begun, run)
    assert begun() == {"0"}  # There is no core for the other actor.
    second = cluster.add_node(num_cpus=1)
    wait_for(lambda: len(begun()) == 2, run)
    cluster.remove_node(second, allow_graceful=False)
    (meeting / "go").touch()
    run.join(LONG)
    assert not run.is_alive()
    rows = [(r.key, r.error) for r in open_store(store).records()]
    assert rows == [(str(number), "fine") for number in range(12)]
    assert not validate_store(store) and not list(store.glob(".staged-*"))


def test_a_lost_head_ends_the_run(cluster, tmp_path):
    demo = ["demo", "--count", "20000", "--size", "16", "--out", str(tmp_path / "d")]
    run = telling_command(*demo, "--ray", cluster.address, "--workers", "2")
    wait_for_line(run, " of 20000 rows")
    cluster.head_node.kill_gcs_server()
    _, complaint = run.communicate(timeout=LONG)
    assert run.returncode == 2
    assert complaint.splitlines()[-1] == (
        "dsnet.label: the head of the Ray cluster is gone: go on with --resume"
    )
    there = open_store(tmp_path / "d" / "store")
    assert 0 < len(there) < 20_000 and not validate_store(there.path)
