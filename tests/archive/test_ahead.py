"""Files read ahead of the job that is labelled: in order, by threads only where it pays."""

import threading
import time
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest

from dsnet.archive import ahead
from dsnet.archive.ahead import reading_ahead
from dsnet.archive.jobs import run_job, slice_jobs
from dsnet.data.datasets import deeplesion
from dsnet.data.datasets.deeplesion import DeepLesionAnnotation
from dsnet.labeling import RecistMark

PATIENCE = 60


@dataclass
class Fetched:
    number: int
    seen: list = field(repr=False)
    wait: float = 0.0
    fetched: bool = False

    def fetch(self):
        self.seen.append((self.number, threading.current_thread().name))
        time.sleep(self.wait)
        return Fetched(self.number, self.seen, self.wait, True)


def threads_of(seen):
    return {name for _, name in seen if name.startswith("dsnet-read")}


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.wall = self.work = 0.0

    def perf_counter(self):
        return self.wall

    def thread_time(self):
        return self.work


@pytest.mark.parametrize(
    "wall, work, stops", [(1e-4, 5e-5, 1), (5e-2, 5e-2, 1), (9e-4, 0.0, 1), (5.0, 0.0, 0)]
)
def test_files_that_are_not_waited_for_are_read_without_a_thread(monkeypatch, wall, work, stops):
    clock, seen = Clock(), []
    monkeypatch.setattr(ahead, "time", clock)
    # A processor that was taken away for seconds is no file that is waited for.
    monkeypatch.setattr(ahead, "_stops", lambda: stops * len(seen))

    class Timed(Fetched):
        def fetch(self):
            clock.wall += wall
            clock.work += work
            return super().fetch()

    source = (Timed(number, seen) for number in range(40))
    for expected, job in enumerate(reading_ahead(source)):
        assert job.fetched and job.number == expected and len(seen) == expected + 1
    assert len(seen) == 40 and not threads_of(seen)


def test_one_file_that_was_long_waited_for_is_no_reason_for_threads(monkeypatch):
    clock, seen = Clock(), []
    monkeypatch.setattr(ahead, "time", clock)
    monkeypatch.setattr(ahead, "_stops", lambda: len(seen))

    class Timed(Fetched):
        def fetch(self):
            clock.wall += 9.0 if self.number % 20 == 5 else 1e-4
            clock.work += 1e-4
            return super().fetch()

    found = list(reading_ahead(Timed(number, seen) for number in range(60)))
    assert [job.number for job in found] == list(range(60)) and not threads_of(seen)


def test_slow_files_are_read_by_threads_in_the_jobs_order():
    seen = []
    found = list(reading_ahead(Fetched(number, seen, 0.01) for number in range(60)))
    assert [job.number for job in found] == list(range(60)) and all(job.fetched for job in found)
    assert sorted(number for number, _ in seen) == list(range(60)) and threads_of(seen)


def test_the_files_of_the_next_jobs_are_under_way_together(monkeypatch):
    monkeypatch.setattr(ahead, "WORTH_SECONDS", -1.0)
    together = threading.Barrier(ahead.THREADS)

    @dataclass
    class Meeting:
        number: int

        def fetch(self):
            if self.number:  # The first is read in this thread.
                together.wait(PATIENCE)
            return self

    found = list(reading_ahead(Meeting(number) for number in range(2 * ahead.THREADS + 1)))
    assert [job.number for job in found] == list(range(2 * ahead.THREADS + 1))


def test_no_more_is_taken_than_what_may_wait(monkeypatch):
    monkeypatch.setattr(ahead, "WORTH_SECONDS", -1.0)
    taken = []

    def source():
        for number in range(1000):
            taken.append(number)
            yield Fetched(number, [])

    jobs = reading_ahead(source())
    for _ in range(5):
        next(jobs)
    assert len(taken) <= 5 + ahead.DEPTH
    jobs.close()
    assert len(taken) <= 5 + ahead.DEPTH


def test_jobs_without_files_and_those_whose_reading_fails_come_as_they_are(monkeypatch):
    class Plain:
        pass

    class Broken:
        def fetch(self):
            raise OSError("no disk")

    for worth in (ahead.WORTH_SECONDS, -1.0):
        monkeypatch.setattr(ahead, "WORTH_SECONDS", worth)
        jobs = [Plain(), Broken(), Plain(), Broken()]
        assert list(reading_ahead(jobs)) == jobs
        assert list(reading_ahead([])) == []


@pytest.mark.parametrize("worth", [ahead.WORTH_SECONDS, -1.0])
def test_labels_are_the_same_read_ahead_or_not(tmp_path, monkeypatch, worth):
    monkeypatch.setattr(ahead, "WORTH_SECONDS", worth)
    rng = np.random.default_rng(0)
    mark = RecistMark.from_coordinates([20, 30, 44, 30, 32, 22, 32, 38])
    annotations = []
    for series in range(12):
        folder = tmp_path / f"{series:06}_01_01"
        folder.mkdir()
        for number in (8, 9):
            codes = (rng.integers(-1000, 200, (70, 64)) + 32768).astype(np.uint16)
            cv2.imwrite(str(folder / f"{number:03}.png"), codes)
        name = f"{series:06}_01_01_009.png"
        annotations.append(DeepLesionAnnotation(f"k{series}", name, series, mark))
    # One that is missing, one that is damaged, one without a mark.
    annotations.append(DeepLesionAnnotation("none", "000099_01_01_009.png", 20, mark))
    (tmp_path / "000003_01_01/009.png").write_bytes(b"no picture")
    annotations.append(DeepLesionAnnotation("bad", "000000_01_01_008.png", 21, None, "row 21: bad"))
    jobs = list(slice_jobs(annotations, tmp_path, neighbours=1)(set()))
    wanted = [run_job(job) for job in jobs]
    fetched = list(reading_ahead(jobs))
    assert fetched == jobs and all(job.fetched is not None for job in fetched)
    # What was fetched is not read again.
    monkeypatch.setattr(deeplesion, "open_picture", None)
    for job, records in zip(fetched, wanted, strict=True):
        for record, one in zip(run_job(job), records, strict=True):
            assert (record.key, record.error, record.notes) == (one.key, one.error, one.notes)
            assert record.metadata == one.metadata and record.source == one.source
            assert (record.alpha is None) == (one.alpha is None)
            if one.alpha is not None:
                assert np.array_equal(record.alpha, one.alpha)
                assert np.array_equal(record.neighbours, one.neighbours)
    assert sum(bool(record.error) for records in wanted for record in records) == 3
