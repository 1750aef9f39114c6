"""The library under the label command: archives labelled from Python."""

import signal
import subprocess
import sys
import threading

import pytest

from dsnet.archive import PhantomJob, ProcessExecutor, label_archive, phantom_jobs
from dsnet.archive.jobs import run_job
from dsnet.console import Stop
from dsnet.data.phantom import KINDS
from dsnet.data.store import open_store, validate_store
from label_command import LIMIT, content
from worker_jobs import Job

SETTINGS = {"strategy": "recist", "size": 24}


def phantoms(count):
    return [PhantomJob(kind, 24, seed) for seed in range(count) for kind in KINDS][:count]


def keys(jobs):
    return [key for job in jobs for key, _ in job.rows]


class Observer:
    def __init__(self):
        self.told = []

    def begin(self, stored):
        self.told.append(stored)

    def add(self, record):
        self.told.append(record.key)

    def say(self, text):
        self.told.append(text)


def test_an_iterable_becomes_a_store_without_a_word(tmp_path, capfd):
    jobs = phantoms(8)
    summary = label_archive(iter(jobs), tmp_path / "s", settings=SETTINGS, workers=2)
    assert open_store(tmp_path / "s").keys == keys(jobs)
    assert open_store(tmp_path / "s").manifest["settings"] == SETTINGS
    assert summary.path == tmp_path / "s" and summary.seconds > 0
    assert (summary.rows, summary.labelled, summary.failed, summary.added) == (8, 8, 0, 8)
    assert not summary.stopped and summary.signal == 0
    label_archive(phantom_jobs(8, 24), str(tmp_path / "made"), settings=SETTINGS)
    label_archive(phantom_jobs(8, 24), tmp_path / "made", settings=SETTINGS, resume=True)
    assert content(tmp_path / "made") != []
    assert capfd.readouterr() == ("", "")


def test_resume_leaves_out_what_is_there(tmp_path):
    jobs, observer = phantoms(9), Observer()
    label_archive(jobs[2:5], tmp_path / "s", settings=SETTINGS)
    again = label_archive(
        [*jobs, jobs[3], jobs[8]], tmp_path / "s", settings=SETTINGS, resume=True,
        progress=observer,
    )  # fmt: skip
    left = keys(jobs[:2] + jobs[5:])
    assert open_store(tmp_path / "s").keys == keys(jobs[2:5]) + left
    assert observer.told == [3, *left, f"left out, its key came before: {keys(jobs)[8]}"]
    assert (again.rows, again.added) == (9, 6)
    # Of a job that is there in part the rest is stored.
    label_archive([Job(1)], tmp_path / "j", settings={})
    store = open_store(tmp_path / "j")
    assert store.keys == ["1-a", "1-b"] and store.manifest["counts"]["failed"] == 2
    again = label_archive([Job(1), Job(2)], tmp_path / "j", retry_failed=True)
    assert again.failed == 4 and open_store(tmp_path / "j").keys == ["1-a", "1-b", "2-a", "2-b"]


@pytest.mark.parametrize("workers", [1, 2])
def test_another_thread_stops_a_run(tmp_path, workers):
    begun, stop, found = threading.Event(), threading.Event(), []

    def run():
        found.append(
            label_archive(
                phantom_jobs(100000, 24), tmp_path / "s", settings=SETTINGS, workers=workers,
                progress=lambda record: begun.set(), stop=stop,
            )
        )  # fmt: skip

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(LIMIT)
    stop.set()
    thread.join(LIMIT)
    (summary,) = found
    assert summary.stopped and summary.signal == 0 and 0 < summary.rows < 100000
    assert validate_store(tmp_path / "s") == []
    whole = phantom_jobs(summary.rows + 2, 24)
    again = label_archive(whole, tmp_path / "s", settings=SETTINGS, resume=True)
    assert again.added == 2 and not again.stopped


@pytest.fixture
def python_s_own_sigint():
    """A shell's background job starts with Ctrl-C ignored, and Python then leaves it so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_is_taken_where_it_was_asked_for(tmp_path, python_s_own_sigint):
    def interrupt(record):
        signal.raise_signal(signal.SIGINT)

    with Stop() as stop:
        summary = label_archive(phantoms(5), tmp_path / "s", progress=interrupt, stop=stop)
    assert summary.stopped and summary.signal == signal.SIGINT and summary.added == 1
    with pytest.raises(KeyboardInterrupt):
        label_archive(phantoms(5), tmp_path / "s", progress=interrupt, resume=True)
    assert len(open_store(tmp_path / "s")) == 2 and validate_store(tmp_path / "s") == []
    asked = iter([False, False, True])
    summary = label_archive(phantoms(5), tmp_path / "f", stop=lambda: next(asked, True))
    assert summary.stopped and summary.added == 2


class InPairs:
    """An executor that yields two jobs' records at a time."""

    def __init__(self):
        self.closed = False

    def run(self, jobs, stop):
        jobs = iter(jobs)
        try:
            for job in jobs:
                if stop:
                    return
                yield [*run_job(job), *(r for other in [next(jobs, None)] if other is not None
                                        for r in run_job(other))]  # fmt: skip
        finally:
            self.closed = True


def test_an_executor_of_ones_own(tmp_path):
    executor = InPairs()
    summary = label_archive(phantoms(5), tmp_path / "own", executor=executor)
    label_archive(phantoms(5), tmp_path / "s", executor=ProcessExecutor(2))
    assert content(tmp_path / "own") == content(tmp_path / "s") and summary.added == 5
    assert executor.closed

    def fail(record):
        raise OverflowError("the page is gone")

    executor.closed = False
    with pytest.raises(OverflowError, match="the page is gone"):
        label_archive(phantoms(5), tmp_path / "f", executor=executor, progress=fail)
    assert executor.closed and len(open_store(tmp_path / "f")) == 1


def test_wrong_arguments_are_named(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/holiday.txt").write_text("x")
    wrong = [
        ({"out": tmp_path / "full"}, ValueError, "out must be a new or empty folder"),
        ({"out": tmp_path / "full/holiday.txt"}, ValueError, "out must be a folder, got the file"),
        ({"jobs": 7}, TypeError, "jobs must be an iterable or a callable"),
        (
            {"executor": "slurm"},
            ValueError,
            "executor must be one of processes, gpu, ray, got 'slurm'",
        ),
        ({"executor": 7}, TypeError, r"executor must be .* or have run\(jobs, stop\), got int"),
        ({"device": "cuda"}, ValueError, "device must be None or 'cpu' for processes, got 'cuda'"),
        ({"executor": "gpu", "device": "tpu"}, ValueError, "device must be .*, got 'tpu'"),
        (
            {"executor": "gpu", "device": "cpu"},
            ValueError,
            "device must be .* for a GPU, got 'cpu'",
        ),
        ({"workers": 0}, ValueError, "workers must be an integer >= 1, got 0"),
        ({"alpha_bits": 12}, ValueError, "alpha_bits must be 8 or 16, got 12"),
        ({"settings": ["size"]}, TypeError, "settings must be a dict, got list"),
        ({"progress": 7}, TypeError, "progress must be a callable of a record, or have begin"),
    ]
    for arguments, error, text in wrong:
        with pytest.raises(error, match=text):
            label_archive(**{"jobs": phantoms(1), "out": tmp_path / "s", **arguments})
        assert not (tmp_path / "s").exists()
    label_archive(phantoms(1), tmp_path / "s", settings=SETTINGS)
    with pytest.raises(ValueError, match="setting 'size' differs from the store's: got 32"):
        other = {**SETTINGS, "size": 32}
        label_archive(phantoms(1), tmp_path / "s", settings=other, resume=True)


LOADED = """
import sys
import dsnet.archive
assert not {"numpy", "scipy", "numba", "pyarrow", "cv2"} & set(sys.modules), "loads much"
from dsnet.archive import *
from dsnet.archive import report
assert callable(label_archive) and callable(picture_jobs) and callable(GpuExecutor)
print(*{"torch", "triton"} & set(sys.modules))
"""


def test_importing_it_is_cheap_and_never_loads_torch(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0 and done.stdout == "\n", done.stderr
