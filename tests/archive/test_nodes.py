"""Nodes of a Ray cluster: what they lack is told, and whatever dies costs no row.

The cluster is one of this module, in this process; `test_ray.py` and `test_ray_nodes.py` have real
ones.
"""

import ctypes
import io
import os
import pickle
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from dsnet import __version__
from dsnet.archive import label_archive
from dsnet.archive.blocks import Block
from dsnet.archive.jobs import WORKER_DIED
from dsnet.console import Stop
from dsnet.data.store import open_store, validate_store
from dsnet.data.store.stage import Recipe
from worker_jobs import Job

ray = pytest.importorskip("ray")
from ray import cloudpickle, exceptions  # noqa: E402

from dsnet.archive import cluster, nodes  # noqa: E402
from dsnet.archive import ray as on_ray  # noqa: E402

FIT = {"node": "1", "name": "10.0.0.1 (one)", "lacks": ""}
OTHER = {"node": "2", "name": "10.0.0.2 (two)", "lacks": ""}


class Actor:
    """An actor of the cluster; what it is asked is answered when it is waited for."""

    def __init__(self, number):
        self.number = number
        self.ready = SimpleNamespace(remote=lambda: (self, None))
        self.label = SimpleNamespace(remote=self._label)

    def _label(self, block, device):
        cloudpickle.dumps(block)
        return self, block


class FakeRay:
    """What the executor calls of Ray.

    Attributes
    ----------
    there : dict of int to dict, exception or None
        What each actor says when it is asked whether it is there; None: it says nothing.
    dies : callable of (actor's number, block), which gives an exception or None
    dead : set of str
        Nodes.
    killed : list of int
    avoided : list of str
        The node that an actor may not be on, of those that are made anew.
    cores : dict of str to float
        Of the nodes.
    """

    def __init__(self, monkeypatch):
        self.there, self.dies, self.dead, self.killed = {}, lambda number, block: None, set(), []
        self.made, self.avoided, self.cores = 0, [], {"1": 1.0, "2": 1.0}
        for name in ("remote", "wait", "get", "kill", "nodes", "cluster_resources"):
            monkeypatch.setattr(ray, name, getattr(self, name))
        monkeypatch.setattr(ray, "is_initialized", lambda: True)
        monkeypatch.setattr(cluster, "_address", lambda: None)
        for name, value in (("PAUSE", 0.0), ("POLL_SECONDS", 0.0), ("BLOCK_ROWS", 4)):
            monkeypatch.setattr(on_ray, name, value)

    def remote(self, **options):
        assert options["max_restarts"] == -1
        return lambda kind: SimpleNamespace(remote=self._make, options=self._elsewhere)

    def _elsewhere(self, scheduling_strategy):
        (rule,) = scheduling_strategy.hard
        (never,) = rule.operator.values
        assert rule.key == "ray.io/node-id"
        self.avoided.append(never)
        return SimpleNamespace(remote=self._make)

    def _make(self, needs):
        self.made += 1
        return Actor(self.made)

    def wait(self, asked, num_returns, timeout):
        found = [each for each in asked if each[1] is not None or self.there[each[0].number]]
        return found[-1:], []

    def get(self, asked):
        actor, block = asked
        if block is None:
            found = self.there[actor.number]
        else:
            found = self.dies(actor.number, block) or [block.run()]
        if isinstance(found, Exception):
            raise found
        return found

    def kill(self, actor):
        self.killed.append(actor.number)

    def nodes(self):
        return [
            {"NodeID": node, "Alive": node not in self.dead, "Resources": {"CPU": cores}}
            for node, cores in self.cores.items()
        ]

    def cluster_resources(self):
        return {"CPU": 2.0}


@pytest.fixture
def fake(monkeypatch):
    found = FakeRay(monkeypatch)
    found.there = {1: FIT, 2: OTHER}
    return found


@pytest.fixture
def told(monkeypatch):
    lines = []
    monkeypatch.setattr(on_ray, "warn", lines.append)
    return lines


def label(store, workers=2, count=12):
    jobs = [Job(number) for number in range(count)]
    return label_archive(jobs, store, executor=on_ray.RayExecutor(workers))


def numbered(store):
    assert not validate_store(store)
    return [(record.key, record.error) for record in open_store(store).records()]


def rows(count=12, failed=()):
    return [
        (f"{n}-{p}", WORKER_DIED if n in failed else "fine") for n in range(count) for p in "ab"
    ]


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
    assert len(told) == 2 * on_ray.DEATHS


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
    monkeypatch.setattr(on_ray, "RESTED", 0.01)
    monkeypatch.setattr(on_ray, "BLOCKS_AHEAD", 1)
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
    monkeypatch.setattr(on_ray, "PATIENCE", -1.0)
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


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """An archive, a store, and the driver's folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("images", "store"):
        (tmp_path / name).mkdir()
    (tmp_path / "images" / "one.png").touch()
    return SimpleNamespace(
        images=tmp_path / "images", recipe=Recipe(str(tmp_path / "store"), 16, b"")
    )


def test_a_node_that_sees_everything_lacks_nothing(archive, monkeypatch):
    places = ["images", archive.images / "one.png", "s3://bucket/images", ""]
    with nodes.needs_of(archive.recipe, places) as needs:
        monkeypatch.chdir("/")
        assert nodes.lacking(needs) == ""
        # Where the driver is, paths mean the same.
        assert Path.cwd() == archive.images.parent
        assert os.listdir(archive.recipe.path) == [Path(needs["sign"]).name]
    assert not os.listdir(archive.recipe.path)


def test_what_a_node_lacks_is_told(archive, monkeypatch):
    with nodes.needs_of(archive.recipe, [archive.images]) as needs:
        code, labels = needs["digests"]
        assert "has other code than the driver's" in nodes.lacking(
            {**needs, "digests": ("", labels)}
        )
        assert "has other labels than" in nodes.lacking({**needs, "digests": (code, "")})
        (archive.images / "one.png").rename(archive.images / "two.png")
        assert (
            nodes.lacking(needs)
            == f"archive is not there, or another one: no {archive.images}/one.png"
        )
        (archive.images / "two.png").rename(archive.images / "one.png")
        assert nodes.lacking({**needs, "folder": "/nowhere"}) == ""
        assert Path.cwd() == Path("/")
        told = nodes.lacking({**needs, "folder": "/nowhere", "relative": True})
        assert told.startswith("driver's folder is not there (") and "absolute" in told
        # Nobody can write there, and a file is there.
        assert nodes.lacking({**needs, "sign": "/proc/version"}).startswith(
            "store's folder cannot be written: "
        )
        Path(needs["sign"]).unlink()
        assert nodes.lacking(needs).startswith(f"{archive.recipe.path} is not the driver's: ")


def test_a_store_at_an_address_needs_no_folder(archive):
    with nodes.needs_of(Recipe("s3://bucket/store", 16, b"")) as needs:
        assert needs["sign"] is None and nodes.lacking(needs) == ""


def test_relative_places_need_the_driver_s_folder(archive):
    with nodes.needs_of(archive.recipe, ["images"]) as needs:
        assert needs["relative"] and needs["places"] == [str(archive.images / "one.png")]


def test_an_actor_gives_its_gpu_no_more_than_fits():
    class Large(Job):
        weight = 100

    blocks = []
    actor = object.__new__(nodes.labeller())
    actor._crew = SimpleNamespace(add=lambda block: blocks.append(block) or made)
    made = SimpleNamespace(results=[])
    jobs = tuple(Large(number) for number in range(20))
    assert actor.label(Block(jobs, Recipe("nowhere", 16, b"")), "cuda") == []
    (block,) = blocks
    assert [len(group.jobs) for group in block.jobs] == [6, 6, 6, 2]
    assert {group.device for group in block.jobs} == {"cuda"}


class WithoutDsnet(pickle.Unpickler):
    """As on a node where dsnet is not installed."""

    def find_class(self, module, name):
        if module.partition(".")[0] == "dsnet":
            raise ModuleNotFoundError(f"No module named {module!r}")
        return super().find_class(module, name)


def test_a_node_without_dsnet_says_so(monkeypatch):
    kind = WithoutDsnet(io.BytesIO(cloudpickle.dumps(nodes.labeller()))).load()
    monkeypatch.setattr(ray, "get_runtime_context",
                        lambda: SimpleNamespace(get_node_id=lambda: "7"))  # fmt: skip
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.7")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "dsnet", None)
        told = kind({"version": "0.1.0"}).ready()
    assert told["node"] == "7" and told["name"].startswith("10.0.0.7 (")
    assert told["lacks"].startswith(f"Python has no dsnet 0.1.0 ({sys.executable} in ")
    assert kind({"version": "9.0"}).ready()["lacks"] == f"dsnet is {__version__}, the driver's 9.0"
