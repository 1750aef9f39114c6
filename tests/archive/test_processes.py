"""Worker processes that die, of their job or of something else."""

import gc
import os
import subprocess
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import pytest

from dsnet.archive import ProcessExecutor, label_archive, workers
from dsnet.archive.jobs import WORKER_DIED, failed_rows
from dsnet.data.store import open_store
from label_command import outcomes
from worker_jobs import Job


def test_a_killed_worker_costs_its_rows_only():
    jobs = [Job(i, "die" if i in (1, 2, 9) else "") for i in range(14)]
    found = outcomes(jobs, ProcessExecutor(2))
    assert [key for key, _ in found] == [f"{i}-{part}" for i in range(14) for part in "ab"]
    died = {key for key, error in found if error == WORKER_DIED}
    assert died == {f"{i}-{part}" for i in (1, 2, 9) for part in "ab"}
    assert all(error == "fine" for key, error in found if key not in died)


@pytest.mark.parametrize("deaths", [pytest.param(1, marks=pytest.mark.long), 2, 3])
def test_a_job_is_blamed_when_it_kills_twice_alone(deaths, tmp_path):
    jobs = [Job(i, f"die {deaths}" if i == 1 else "", tmp_path / "died") for i in range(5)]
    found = dict(outcomes(jobs, ProcessExecutor(2)))
    # Once among others, then alone.
    blamed = {"1-a", "1-b"} if deaths == 3 else set()
    assert {key for key, error in found.items() if error == WORKER_DIED} == blamed
    assert len(found) == 10 and len(list(tmp_path.iterdir())) == deaths


def test_records_that_cannot_be_sent_cost_their_rows():
    jobs = [Job(i, "unsendable" if i == 1 else "") for i in range(4)]
    found = dict(outcomes(jobs, ProcessExecutor(2)))
    assert [key for key, error in found.items() if "pickle" in error] == ["1-a", "1-b"]
    assert len(found) == 8


def test_workers_have_the_environment_of_their_run_and_one_thread_each(monkeypatch):
    jobs = [Job(0, "tell DSNET_TOLD"), Job(1, "tell OMP_NUM_THREADS")]
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    for told in ("one run", "another"):
        monkeypatch.setenv("DSNET_TOLD", told)
        assert dict(outcomes(jobs, ProcessExecutor(2)))["0-a"] == told
    monkeypatch.delenv("DSNET_TOLD")
    found = dict(outcomes(jobs, ProcessExecutor(2)))
    assert found["0-a"] == "none" and found["1-a"] == "1" and os.environ["OMP_NUM_THREADS"] == "7"


def test_no_collection_looks_at_what_was_there_before_a_run():
    with workers.frozen():
        assert gc.get_freeze_count() > 1000
    assert gc.get_freeze_count() == 0


class Pool:
    """A process that ends as `deaths` says, jobs run alone or beside others."""

    running, deserted = 0, False

    def __init__(self, number):
        self.begun, self.dead = True, False

    def submit(self, job):
        future = Future()
        if self.dead or job.deed == "die":
            self.dead = True
            future.set_exception(BrokenProcessPool())
        else:
            future.set_result(job.run())
        Pool.runs.append(job.number)
        return future

    def close(self):
        pass


def test_only_the_suspect_is_run_again(monkeypatch):
    Pool.runs = []
    monkeypatch.setattr(workers, "Pool", Pool)
    found = outcomes([Job(i, "die" if i == 3 else "") for i in range(40)], ProcessExecutor(4))
    assert sum(error == "fine" for _, error in found) == 78
    again = [number for number in set(Pool.runs) if Pool.runs.count(number) > 1]
    # Besides it what its worker was given next.
    assert Pool.runs.count(3) == 3 and len(again) <= 2 and len(Pool.runs) <= 43


def test_workers_that_never_come_up_end_the_run(monkeypatch):
    class Stillborn(Pool):
        def __init__(self, number):
            self.begun, self.dead = False, True

    Pool.runs = []
    monkeypatch.setattr(workers, "Pool", Stillborn)
    with pytest.raises(RuntimeError, match="worker processes die as they start"):
        outcomes([Job(i) for i in range(4)], ProcessExecutor(2))


@pytest.mark.parametrize("refused", ["QueueFeederThread", "_ExecutorManagerThread", "process"])
def test_a_system_that_starts_no_more_ends_the_run(tmp_path, refused):
    script = f"""
import threading
from multiprocessing import forkserver
from dsnet.archive import label_archive, phantom_jobs
usual = threading.Thread.start
def start(thread):
    if {refused!r} in (thread.name, type(thread).__name__):
        raise RuntimeError("can't start new thread")
    usual(thread)
def connect(*arguments):  # As where its server could not fork.
    raise EOFError("unexpected EOF")
threading.Thread.start = start
if {refused!r} == "process":
    forkserver.connect_to_new_process = connect
try:
    label_archive(phantom_jobs(30, 24), {str(tmp_path / "s")!r}, workers=2)
except RuntimeError as error:
    print(error)
"""
    # Python waits for processes that are left over.
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60)
    assert "no process or thread can be started for worker" in found.stdout
    assert found.returncode == 0 and len(open_store(tmp_path / "s")) == 0


class Dying:
    """An executor whose every worker dies on odd jobs."""

    def run(self, jobs, stop):
        for job in jobs:
            yield failed_rows(job, WORKER_DIED) if job.number % 2 else job.run()


def test_resume_tries_again_what_a_dead_worker_left(tmp_path):
    jobs = [Job(i) for i in range(4)]
    label_archive(jobs, tmp_path / "s", executor=Dying())
    before = {r.key: r.error for r in open_store(tmp_path / "s")}
    assert [k for k, error in before.items() if error == WORKER_DIED] == [
        "1-a",
        "1-b",
        "3-a",
        "3-b",
    ]
    summary = label_archive(jobs, tmp_path / "s", resume=True)
    assert summary.added == 4 and summary.rows == 8
    assert {r.error for r in open_store(tmp_path / "s")} == {"fine"}
    # Other failed rows are left alone.
    assert label_archive(jobs, tmp_path / "s", resume=True).added == 0
