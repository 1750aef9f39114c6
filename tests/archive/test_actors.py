"""Actors of a Ray cluster that come, die and lack something: whatever does costs no row.

The cluster is one of `fake_ray.py`; `test_ray.py` and `test_ray_nodes.py` have real ones.
"""

import threading
import time

import pytest

from dsnet.archive import label_archive
from worker_jobs import Job

ray = pytest.importorskip("ray")
from fake_ray import FIT, OTHER, FakeRay, label, numbered, rows  # noqa: E402
from ray import exceptions  # noqa: E402

from dsnet.archive import actors, cluster  # noqa: E402
from dsnet.archive import ray as on_ray  # noqa: E402


@pytest.fixture
def fake(monkeypatch):
    return FakeRay(monkeypatch)


@pytest.fixture
def told(monkeypatch):
    lines = []
    monkeypatch.setattr(actors, "warn", lines.append)
    return lines


def gone():
    return exceptions.ActorUnavailableError("the node is gone", None)


@pytest.mark.parametrize("lost", [gone(), exceptions.ActorDiedError(),
                                  exceptions.ObjectLostError("00", None, "")])  # fmt: skip
def test_what_a_lost_node_was_at_others_do(tmp_path, fake, told, lost):
    def dies(number, block):
        if number == 2:
            fake.there[2] = None  # There is no other place for it.
            fake.dead.add("2")
            return lost
        return None

    fake.dies = dies
    assert label(tmp_path).added == 24
    assert numbered(tmp_path) == rows()
    assert told == ["an actor on 10.0.0.2 (two) is lost: others do what it was at"]
    assert sorted(fake.killed) == [1, 2]


def test_a_block_whose_actors_die_is_searched_for_the_row(tmp_path, fake, told):
    # Ray kills the actor, not what it started, where memory is short.
    fake.dies = lambda number, block: gone() if 5 in {job.number for job in block.jobs} else None
    label(tmp_path)
    assert numbered(tmp_path) == rows(failed={5})
    assert len(told) == 2 * actors.DEATHS


def test_a_block_that_was_divided_goes_to_nobody_again(tmp_path, fake, told, monkeypatch):
    def dies(number, block):
        there = [job.number for job in block.jobs]
        if 5 in there:
            handed.append(there)
            return gone()
        return None

    handed, fake.dies = [], dies

    def wait(asked, num_returns, timeout):
        # An actor is there again while the next one has its block.
        found = [each for each in asked if each[1] is None or 5 not in _numbers(each[1])]
        return (found or list(asked))[:1], []

    monkeypatch.setattr(ray, "wait", wait)
    fake.there = dict.fromkeys(range(1, 9), FIT)
    label(tmp_path, workers=8, count=64)
    assert numbered(tmp_path) == rows(64, failed={5})
    first = handed.index([5])
    assert all(there == [5] for there in handed[first:])


def _numbers(block):
    return [job.number for job in block.jobs]


def test_an_actor_that_died_at_rest_is_given_nothing(tmp_path, fake, told, monkeypatch):
    monkeypatch.setattr(actors, "RESTED", 0.01)
    monkeypatch.setattr(actors, "BLOCKS_AHEAD", 1)
    waits, busy, dead = [], set(), set()

    def wait(asked, num_returns, timeout):
        waits.append(1)
        if len(waits) < 20:  # The first block takes long: the other actor has nothing to do.
            first = [each for each in asked if each[1] is not None and 0 in _numbers(each[1])]
            busy.update(each[0].number for each in first)
            asked = [each for each in asked if each not in first]
            time.sleep(0.005)
        elif len(waits) == 20:
            dead.update({1, 2} - busy)
        return FakeRay.wait(fake, asked, num_returns, timeout)

    def get(asked):
        actor, block = asked
        if actor.number not in dead:
            return FakeRay.get(fake, asked)
        if block is None:  # It is made again.
            dead.clear()
        raise gone()

    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "get", get)
    label(tmp_path)
    assert numbered(tmp_path) == rows() and not told


def test_a_job_that_cannot_be_sent_costs_its_own_rows(tmp_path, fake):
    jobs = [Job(number, place=threading.Lock() if number == 5 else None) for number in range(12)]
    label_archive(jobs, tmp_path, executor=on_ray.RayExecutor(2))
    found = dict(numbered(tmp_path))
    assert {found.pop("5-a"), found.pop("5-b")} == {
        "TypeError: cannot pickle '_thread.lock' object"
    }
    assert found == dict(rows()[:10] + rows()[12:])


def test_what_befalls_ray_is_told_in_one_line(tmp_path, fake):
    cause = exceptions.RaySystemError("no module\nof that name")
    fake.dies = lambda number, block: exceptions.RayTaskError("label", "many\nlines", cause)
    with pytest.raises(RuntimeError, match=r"^Ray gave up: System error: no module of that name$"):
        label(tmp_path)


@pytest.mark.parametrize("away", [2, 20])
def test_no_row_is_blamed_for_the_death_of_nodes(tmp_path, fake, told, away):
    deaths = []

    def dies(number, block):
        if 5 not in {job.number for job in block.jobs} or len(deaths) >= away:
            return None
        # Ray makes the actor again on a node that came since.
        deaths.append(fake.there[number]["node"])
        fake.dead.add(deaths[-1])
        fake.there[number] = {**FIT, "node": f"new {len(deaths)}"}
        return gone()

    fake.dies = dies
    label(tmp_path)
    assert numbered(tmp_path) == rows() and len(deaths) == away


LACKING = {**OTHER, "lacks": "store's folder cannot be written"}


def test_a_node_that_lacks_something_is_not_used(tmp_path, fake, told):
    fake.there |= {2: LACKING, 3: FIT}
    label(tmp_path)
    assert numbered(tmp_path) == rows() and fake.killed[0] == 2
    assert fake.avoided == ["2"]
    assert told == ["node 10.0.0.2 (two) is not used: its store's folder cannot be written"]


def test_all_actors_may_come_to_a_node_that_is_not_used(tmp_path, fake, told):
    fake.there = {1: LACKING, 2: LACKING, 3: None, 4: FIT}
    label(tmp_path)
    assert numbered(tmp_path) == rows() and fake.avoided == ["2", "2"]
    assert told == ["node 10.0.0.2 (two) is not used: its store's folder cannot be written"]


@pytest.mark.parametrize("why", ["no other has a core", "Ray does not know the names of nodes"])
def test_a_node_that_is_not_used_may_be_the_only_one(tmp_path, fake, told, why):
    fake.there = dict.fromkeys((1, 2, 3, 4), LACKING)
    if why == "no other has a core":
        fake.cores["1"] = 0.0
    with pytest.raises(RuntimeError, match=r"no node of the Ray cluster can label: node 10\."):
        label(tmp_path)
    assert len(fake.avoided) == (0 if why == "no other has a core" else 2)


def test_no_node_that_can_label_ends_the_run(tmp_path, fake, told):
    died = exceptions.ActorDiedError()
    fake.there = {1: died, 2: {**OTHER, "lacks": "dsnet is 0.0.9, the driver's 0.1.0"}, 3: died}
    with pytest.raises(RuntimeError, match="no node of the Ray cluster can label: ") as error:
        label(tmp_path)
    assert "on a node cannot be used: The actor died" in "".join([*told, str(error.value)])
    assert "10.0.0.2 (two) is not used: its dsnet is 0.0.9" in "".join([*told, str(error.value)])
    assert not numbered(tmp_path)


def test_a_run_that_waits_for_the_cluster_says_so_once(tmp_path, fake, told, monkeypatch):
    monkeypatch.setattr(actors, "PATIENCE", -1.0)
    fake.there, asked = {1: None, 2: None}, []

    def later(*arguments):
        asked.append(1)
        if len(asked) == 5:
            fake.there[1] = FIT
        return FakeRay.wait(fake, *arguments)

    monkeypatch.setattr(ray, "wait", lambda asked, num_returns, timeout: later(asked, 1, timeout))
    label(tmp_path)
    assert numbered(tmp_path) == rows()
    assert told == ["waiting for the Ray cluster: none of its 2 cores is free"]


def test_a_lost_head_ends_the_run(tmp_path, fake, monkeypatch):
    heads = []

    def dies(number, block):
        (head,) = heads
        head._silent = True

    fake.dies = dies
    enter = cluster.Head.__enter__
    monkeypatch.setattr(cluster.Head, "__enter__", lambda self: heads.append(self) or enter(self))
    with pytest.raises(RuntimeError, match=r"the head of the Ray cluster is gone: .*--resume"):
        label(tmp_path)
    # Nobody is asked any more who would not answer.
    assert not fake.killed


def test_a_client_that_lost_the_cluster_ends_the_run(tmp_path, fake, monkeypatch):
    def dies(number, block):
        # Any call would now make Ray look for another cluster, or start one.
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        return ConnectionError("Failed to reconnect\nwithin 30 seconds")

    fake.dies = dies
    told = "the Ray cluster is lost, go on with --resume: Failed to reconnect within 30 seconds"
    with pytest.raises(RuntimeError, match=f"^{told}$"):
        label(tmp_path)
    assert not fake.killed
