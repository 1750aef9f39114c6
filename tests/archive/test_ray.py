"""On a Ray cluster of this machine: the same store as by processes, whatever dies meanwhile."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dsnet.archive import label_archive
from dsnet.archive.jobs import WORKER_DIED, phantom_jobs
from dsnet.data.store import open_store, validate_store
from label_command import content, telling_command, wait_for_line
from worker_jobs import GpuJob, Job, parent

ray = pytest.importorskip("ray")
from dsnet.archive import actors as on_actors  # noqa: E402
from dsnet.archive import cluster as ray_cluster  # noqa: E402
from dsnet.archive import ray as on_ray  # noqa: E402

LONG = 300  # seconds that something may take on a slow machine


def handlers() -> list[bytes]:
    """Where the process goes at signals that tell it to stop, whoever has set that."""
    found = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        action = ctypes.create_string_buffer(256)
        assert ctypes.CDLL(None).sigaction(number, None, action) == 0
        found.append(action.raw[: ctypes.sizeof(ctypes.c_void_p)])
    return found


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One for all tests: it takes seconds to start."""
    before = handlers()
    # Its workers find what tests share.
    paths = [str(Path(__file__).parent), *sys.path]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    # GPUs are what Ray is told: whether a process can use them is its own affair.
    with ray_cluster.own_signals():
        ray.init("local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
    yield before
    ray.shutdown()


def test_signals_stay_the_run_s_own(cluster):
    assert handlers() == cluster


def numbered(path) -> list[tuple[str, str, str]]:
    return [(r.key, r.status, r.error) for r in open_store(path).records()]


def actors() -> list[int]:
    """Processes of the actors that label, on this module's cluster alone."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            if b"ray::Labeller" in (place / "cmdline").read_bytes():
                found.append(int(place.name))
        except OSError:
            pass
    return [pid for pid in found if os.getpid() in ancestors(pid)]


def ancestors(pid: int) -> list[int]:
    found = [pid]
    with contextlib.suppress(OSError):
        while found[-1] > 1:
            found.append(parent(found[-1]))
    return found


@pytest.mark.parametrize(
    ("workers", "place"),
    [pytest.param(1, "{}/ray", marks=pytest.mark.long), (2, "{}/ray"), (2, "file://{}/ray")],
)
def test_the_same_store_as_by_processes(tmp_path, workers, place, monkeypatch):
    monkeypatch.setattr(on_ray, "BLOCK_ROWS", 5)
    out = place.format(tmp_path)
    label_archive(phantom_jobs(24, 32), tmp_path / "here", workers=1)
    made = label_archive(phantom_jobs(24, 32), out, executor="ray", workers=workers)
    assert (made.rows, made.labelled, made.added) == (24, 24, 24)
    assert content(out) == content(tmp_path / "here")
    assert not validate_store(out)
    # Nothing is left to do.
    again = label_archive(phantom_jobs(24, 32), out, executor="ray", resume=True)
    assert (again.rows, again.added) == (24, 0)
    assert {*os.listdir(tmp_path / "ray")} == {"_manifest.parquet", *open_store(out).shards}


@pytest.mark.long
def test_a_job_that_kills_costs_its_own_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "BLOCK_ROWS", 12)
    deeds = {3: "die", 8: "raise", 11: "die"}
    jobs = [Job(number, deeds.get(number, "")) for number in range(14)]
    label_archive(jobs, tmp_path, executor="ray", workers=2)
    expected = {3: WORKER_DIED, 8: "OverflowError: too much", 11: WORKER_DIED}
    assert numbered(tmp_path) == [
        (f"{number}-{part}", "failed", expected.get(number, "fine"))
        for number in range(14)
        for part in "ab"
    ]


@pytest.mark.long
def test_a_job_that_kills_its_actors_costs_its_own_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "BLOCK_ROWS", 8)
    deeds = {2: "kill actor", 3: "kill actor", 9: "kill actor"}
    jobs = [Job(number, deeds.get(number, "")) for number in range(14)]
    label_archive(jobs, tmp_path, executor="ray", workers=2)
    assert numbered(tmp_path) == [
        (f"{number}-{part}", "failed", WORKER_DIED if number in deeds else "fine")
        for number in range(14)
        for part in "ab"
    ]


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.long)])
def test_killed_actors_lose_and_double_nothing(tmp_path, monkeypatch, kills):
    monkeypatch.setattr(on_ray, "BLOCK_ROWS", 2)
    monkeypatch.setattr(on_actors, "BLOCKS_AHEAD", 2)
    gate, store, taken = tmp_path / "gate", tmp_path / "store", []

    def jobs(done):
        for number in range(16):
            taken.append(number)
            yield Job(number, "wait" if number in (2, 9) else "", gate)

    done = threading.Thread(target=label_archive, args=(jobs, store),
                            kwargs={"executor": "ray", "workers": 2})  # fmt: skip
    done.start()
    killed: set[int] = set()
    limit = time.monotonic() + LONG
    while len(killed) < kills:
        assert time.monotonic() < limit and done.is_alive()
        for pid in set(actors()) - killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        time.sleep(0.05)
    # Two are done, and no more were made than four blocks ahead.
    assert len(taken) <= 2 + 2 * 2
    gate.touch()
    done.join(LONG)
    assert not done.is_alive()
    assert numbered(store) == [(f"{n}-{p}", "failed", "fine") for n in range(16) for p in "ab"]
    assert not validate_store(store)


def rows_of(store) -> int:
    """How many rows a store has while it is written; 0 before there is one."""
    try:
        return len(open_store(store))
    except (ValueError, OSError):
        return 0


DRIVER = """
import sys
from dsnet.archive import label_archive, ray as on_ray
from worker_jobs import Job
from pathlib import Path
on_ray.BLOCK_ROWS = 2
if __name__ == "__main__":
    jobs = [Job(n, "wait" if n == 9 else "", Path(sys.argv[2])) for n in range(16)]
    label_archive(jobs, sys.argv[1], executor="ray", workers=2)
"""


@pytest.mark.long
def test_a_killed_driver_is_followed_by_another(tmp_path):
    gate, store = tmp_path / "gate", tmp_path / "store"
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(store), str(gate)],
                              stderr=subprocess.DEVNULL)  # fmt: skip
    limit = time.monotonic() + LONG
    while not rows_of(store):
        assert time.monotonic() < limit and driver.poll() is None
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    before = len(numbered(store))
    assert 0 < before < 32
    gate.touch()
    jobs = [Job(number) for number in range(16)]
    made = label_archive(jobs, store, executor="ray", workers=2, resume=True)
    assert (made.rows, made.added) == (32, 32 - before)
    assert numbered(store) == [(f"{n}-{p}", "failed", "fine") for n in range(16) for p in "ab"]
    assert not validate_store(store) and not list(store.glob(".staged-*"))


@pytest.mark.long
def test_a_driver_that_is_told_to_stop_says_how_to_go_on(tmp_path):
    demo = ["demo", "--count", "20000", "--size", "16", "--out", str(tmp_path / "d")]
    run = telling_command(*demo, "--ray", "--workers", "2")
    wait_for_line(run, " of 20000 rows")
    run.send_signal(signal.SIGTERM)
    told, complaint = run.communicate(timeout=LONG)
    assert run.returncode == 128 + signal.SIGTERM and "To go on: " in told + complaint
    assert 0 < len(open_store(tmp_path / "d" / "store")) < 20_000


@pytest.mark.long
def test_a_stop_leaves_a_store_without_a_gap(tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "BLOCK_ROWS", 2)
    jobs, seen = [Job(n) for n in range(15)], []
    # The last one would wait for ever.
    jobs.append(Job(15, "wait", tmp_path / "nobody makes it"))
    made = label_archive(
        jobs, tmp_path / "store", executor="ray", workers=2, progress=seen.append,
        stop=lambda: len(seen) >= 7,
    )  # fmt: skip
    assert made.stopped and 7 <= made.rows < 32 and made.rows == len(seen)
    every = [(f"{n}-{p}", "failed", "fine") for n in range(16) for p in "ab"]
    assert numbered(tmp_path / "store") == every[: made.rows]


@pytest.mark.long
def test_the_command_labels_on_ray(tmp_path, capsys):
    from dsnet import label

    demo = ["demo", "--count", "6", "--size", "32", "--out"]
    assert label.main([*demo, str(tmp_path / "here")]) == 0
    assert label.main([*demo, str(tmp_path / "ray"), "--ray", "--workers", "2"]) == 0
    assert "6 of 6 rows" in capsys.readouterr().out
    assert content(tmp_path / "ray" / "store") == content(tmp_path / "here" / "store")


@pytest.mark.long
def test_each_actor_has_a_gpu_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "BLOCK_ROWS", 1)
    (tmp_path / "gpus").mkdir()
    jobs = [GpuJob(number, tmp_path / "gpus", 2) for number in range(4)]
    store = tmp_path / "store"
    # Of four actors two have to wait for a GPU until the run ends.
    made = label_archive(jobs, store, executor=on_ray.RayExecutor(4, device="cuda"))
    assert made.rows == 4 and {r.error for r in open_store(store).records()} == {"0", "1"}
    with monkeypatch.context() as patch:
        patch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
        with pytest.raises(RuntimeError, match="the Ray cluster has no GPU"):
            label_archive(jobs, tmp_path / "none", executor=on_ray.RayExecutor(device="cuda"))


def test_bad_arguments_are_told():
    with pytest.raises(ValueError, match=r"workers must be an integer >= 1, got 0"):
        on_ray.RayExecutor(0)
    with pytest.raises(ValueError, match=r"device must be 'cpu' or 'cuda' on Ray, got 'cuda:1'"):
        on_ray.RayExecutor(1, device="cuda:1")
