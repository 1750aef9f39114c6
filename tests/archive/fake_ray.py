"""A Ray cluster of this module, in this process, for the code that hands blocks to its actors."""

from types import SimpleNamespace

import pytest

from dsnet.archive import label_archive
from dsnet.archive.jobs import WORKER_DIED
from dsnet.data.store import open_store, validate_store
from worker_jobs import Job

ray = pytest.importorskip("ray")
from ray import cloudpickle  # noqa: E402

from dsnet.archive import actors, cluster  # noqa: E402
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
        self.there, self.dead, self.killed = {1: FIT, 2: OTHER}, set(), []
        self.dies = lambda number, block: None
        self.made, self.avoided, self.cores = 0, [], {"1": 1.0, "2": 1.0}
        for name in ("remote", "wait", "get", "kill", "nodes", "cluster_resources"):
            monkeypatch.setattr(ray, name, getattr(self, name))
        monkeypatch.setattr(ray, "is_initialized", lambda: True)
        monkeypatch.setattr(cluster, "_address", lambda: None)
        for name in ("PAUSE", "POLL_SECONDS"):
            monkeypatch.setattr(actors, name, 0.0)
        monkeypatch.setattr(on_ray, "BLOCK_ROWS", 4)

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
