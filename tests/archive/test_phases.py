"""Jobs of which several are read before the first is labelled: same records, blame and stops."""

import os
import random
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from dsnet.archive import ahead, label_archive, phases
from dsnet.archive.jobs import WORKER_DIED, CropJob, PhantomJob, run_job
from dsnet.archive.phases import run_jobs
from dsnet.data.crop import Crop
from dsnet.data.store import open_store
from dsnet.data.store.record import LabelRecord
from dsnet.labeling import RecistMark

MARK = RecistMark.from_coordinates([4.0, 8, 12, 8, 8, 5, 8, 11])


class DeadlyCrop(Crop):
    """Kills the process that labels it."""

    @property
    def masks(self):
        os._exit(9)

    @masks.setter
    def masks(self, masks):
        pass


@dataclass(frozen=True)
class Cut(CropJob):
    """Crops, of which some fail; `deed` says what else befalls it."""

    number: int
    count: int = 1
    deed: str = ""
    log: list | None = None

    @property
    def rows(self):
        return [(f"{self.number}-{part}", "nowhere") for part in range(self.count)]

    def fetch(self):
        self._tell("fetch")
        if self.deed == "fetch dies":
            os._exit(9)
        return replace(self, deed=self.deed)

    def read(self):
        self._tell("read")
        if self.deed == "read dies":
            os._exit(9)
        if self.deed == "read raises":
            raise OverflowError("too much")
        made = []
        for key, source in self.rows:
            image = np.random.default_rng(self.number).random((16, 16), np.float32)
            kind = DeadlyCrop if self.deed == "label dies" else Crop
            mark = None if self.deed == "no mark" else MARK
            made.append(kind(image, mark, key=key, source=source))
        if self.deed == "row fails":
            made[0] = LabelRecord.from_error(made[0].key, "nowhere", "why")
        return made

    def _tell(self, what):
        if self.log is not None:
            self.log.append((what, self.number))


def shown(records):
    return [
        (r.key, r.source, r.status, r.error, None if r.alpha is None else r.alpha.tobytes())
        for r in records
    ]


def test_records_are_those_of_each_job_alone():
    draw = random.Random(3)
    deeds = ["", "", "", "read raises", "no mark", "row fails"]
    jobs = []
    for number in range(120):
        crops = Cut(number, draw.choice([1, 1, 1, 2, 40]), draw.choice(deeds))
        jobs.append(crops if draw.random() < 0.8 else PhantomJob("solid", 16, number))
    found = list(run_jobs(iter(jobs), lambda: False))
    assert [job.rows for job, _ in found] == [job.rows for job in jobs]
    for (_, records), job in zip(found, jobs, strict=True):
        assert shown(records) == shown(run_job(job))
    assert list(run_jobs([], lambda: False)) == []


@pytest.fixture
def clock(monkeypatch):
    """Time stands still unless a test lets it pass; files are read one after the other."""
    monkeypatch.setattr(ahead, "WORTH_SECONDS", float("inf"))
    found = SimpleNamespace(now=0.0)
    monkeypatch.setattr(phases.time, "monotonic", lambda: found.now)
    return found


def labelling(monkeypatch, log, then=lambda: None):
    made = phases.label_parts

    def label_parts(parts):
        log.append(("label", int(parts[0].key.partition("-")[0])))
        then()
        return made(parts)

    monkeypatch.setattr(phases, "label_parts", label_parts)


def test_a_stage_follows_on_itself_and_each_is_told_whose_it_is(monkeypatch, clock):
    log, told = [], []
    labelling(monkeypatch, log)
    jobs = [Cut(number, log=log) for number in range(40)]

    def begins(number):
        told.append(number)
        log.append(("begins", number))

    assert len(list(run_jobs(jobs, lambda: False, begins))) == 40
    # 1, 2, 4, 8, 16 and what is left.
    want = []
    for first, end in ((0, 1), (1, 3), (3, 7), (7, 15), (15, 31), (31, 40)):
        for what in ("fetch", "read", "label"):
            for number in range(first, end):
                want += [("begins", number), (what, number)]
            if what == "fetch" and end == 40:
                want.append(("begins", 40))  # It is asked for, and there is none.
    assert log == want


def test_no_more_are_together_than_rows_and_bytes_allow(monkeypatch, clock):
    log = []
    labelling(monkeypatch, log)
    monkeypatch.setattr(phases, "TOGETHER_ROWS", 4)
    list(run_jobs([Cut(n, 1, log=log) for n in range(11)], lambda: False))
    assert [n for what, n in log if what == "label"] == list(range(11))
    assert log.index(("fetch", 7)) > log.index(("label", 6)) > log.index(("fetch", 6))
    log.clear()
    # Of a crop of 1024 bytes one may be more than allowed; the next waits.
    monkeypatch.setattr(phases, "TOGETHER_BYTES", 1000)
    list(run_jobs([Cut(n, 1, log=log) for n in range(11)], lambda: False))
    found = [entry for entry in log if entry[0] != "fetch"]
    assert found == [(what, n) for n in range(11) for what in ("read", "label")]


def test_what_takes_long_is_handed_out_at_once(monkeypatch, clock):
    log = []

    def passes():
        clock.now += slow

    labelling(monkeypatch, log, passes)
    slow, handed = 0.0, run_jobs([Cut(n, log=log) for n in range(100)], lambda: False)
    for _ in range(15):  # 1, 2, 4 and 8
        next(handed)
    slow = 10.0
    next(handed)
    # Of the 16 that were read the first is labelled, and handed out.
    assert ("read", 30) in log and log[-1] == ("label", 15)
    next(handed)
    assert log[-1] == ("label", 16)
    for _ in range(60):
        next(handed)
    assert log[-3:] == [("fetch", 76), ("read", 76), ("label", 76)]


@pytest.mark.parametrize("after", range(9))
def test_none_is_handed_out_once_stop_is_true(after):
    asked = iter([False] * after + [True])
    found = [job.number for job, _ in run_jobs([Cut(n) for n in range(20)], lambda: next(asked))]
    assert found == list(range(after))
    stop = []
    found = []
    for job, _ in run_jobs([Cut(n) for n in range(20)], lambda: stop):
        found.append(job.number)
        if len(found) == after + 1:
            stop.append(True)
    assert found == list(range(after + 1))


def test_a_job_that_kills_its_process_at_any_stage_costs_its_rows(tmp_path):
    deeds = {5: "read dies", 19: "label dies", 30: "fetch dies"}
    jobs = [Cut(number, deed=deeds.get(number, "")) for number in range(40)]
    label_archive(jobs, tmp_path / "s", workers=2)
    found = {record.key: record.error for record in open_store(tmp_path / "s")}
    assert list(found) == [f"{number}-0" for number in range(40)]
    assert {k: e for k, e in found.items() if e} == {f"{n}-0": WORKER_DIED for n in deeds}
