"""The actors of a run on Ray, and the blocks of jobs that they have.

Each has the block that it is at and the next. What an actor that died had goes to others, and alone
from then on; a block at which several died is searched for the row that kills.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dsnet.archive.blocks import Block, BlockResult
from dsnet.archive.cluster import Head, line_of
from dsnet.archive.jobs import WORKER_DIED, describe
from dsnet.archive.nodes import labeller
from dsnet.console import warn

# Blocks handed out ahead of the one that is taken next, an actor: what is done out of turn waits on
# the disk.
BLOCKS_AHEAD = 8
POLL_SECONDS = 0.2
# Blocks that an actor has at a time: the one that it is at, and the next.
HELD = 2
# Seconds between two questions whether an actor is there again.
PAUSE = 1.0
# Seconds without work after which an actor is asked before it is given some: it may be dead.
RESTED = 1.0
# Seconds without any actor after which it is told that the run waits for the cluster.
PATIENCE = 30.0
# Actors that may die at a block, and then at each of its jobs, while their nodes live: Ray kills an
# actor for the memory that its process takes.
DEATHS = 3


@dataclass(eq=False)
class _Task:
    """A block on its way, whether one was lost with its actor, and how many actors died at it."""

    block: Block
    results: list[BlockResult] | None = None
    suspect: bool = False
    deaths: int = 0


@dataclass(eq=False)
class _Actor:
    """An actor, the node it is on, its blocks, and those that it had when it died.

    `avoids` are the nodes that Ray may not put it on.
    """

    handle: Any
    avoids: tuple[str, ...] = ()
    node: str = ""
    name: str = "a node"
    held: list[_Task] = field(default_factory=list)
    had: list[_Task] = field(default_factory=list)


class _Lost(Exception):
    """An actor, or what it made, is gone; for good where Ray does not make it again."""

    def __init__(self, error: Exception) -> None:
        from ray.exceptions import ActorDiedError

        super().__init__(line_of(error))
        self.for_good = isinstance(error, ActorDiedError)


class Actors:
    """The actors of a run, and the blocks that they have, in order."""

    def __init__(self, workers: int, gpus: int, needs: dict[str, Any], head: Head) -> None:
        import ray

        self._most, self._head = BLOCKS_AHEAD * workers, head
        self._device = "cuda" if gpus else None
        # Where its process or node dies Ray makes it again, and no sooner than there is a place:
        # what it was at others do meanwhile.
        how: Any = {"num_cpus": 1, "num_gpus": gpus, "max_restarts": -1, "max_concurrency": HELD}
        self._kind: Any = ray.remote(**how)(labeller())
        self._needs, self._gpus = needs, gpus
        self._actors = [_Actor(self._kind.remote(needs)) for _ in range(workers)]
        self._shunned: dict[str, None] = {}
        # What is asked of each: to be there, or a block.
        self._asked: dict[Any, tuple[_Actor, _Task | None]] = {}
        for actor in self._actors:
            self._call(actor)
        # Those that have nothing to do, by when they last had, and those that can take another
        # block; in order.
        self._idle: dict[_Actor, float] = {}
        self._roomy: dict[_Actor, None] = {}
        self._absent: list[tuple[float, _Actor]] = []
        self._waiting: deque[_Task] = deque()
        self._ordered: deque[_Task] = deque()
        self._since, self._told_waiting = time.monotonic(), False

    @property
    def want_more(self) -> bool:
        """Whether another block should be added."""
        wanted = max(1, len(self._idle) + len(self._roomy))
        return len(self._waiting) < wanted and len(self._ordered) < self._most

    @property
    def done(self) -> bool:
        """Whether the results of all blocks were taken."""
        return not self._ordered

    def add(self, block: Block) -> None:
        """Add a block after all others."""
        self._waiting.append(_Task(block))
        self._ordered.append(self._waiting[-1])

    def work(self) -> Iterator[BlockResult]:
        """Hand out what can be, wait a moment, and yield what is done in order."""
        import ray

        self._hand_out()
        while self._absent and self._absent[0][0] <= time.monotonic():
            self._call(self._absent.pop(0)[1])
        self._head.require()
        with _in_words():
            done = self._wait()
        for asked in done:
            actor, task = self._asked.pop(asked)
            try:
                with _in_words():
                    found: Any = ray.get(asked)
            except _Lost as lost:
                self._bury(actor, task, lost)
                continue
            if task is None:
                self._greet(actor, found)
            elif found is None:
                self._bury(actor, task)
            else:
                task.results = found
                actor.held.remove(task)
                self._offer(actor)
            self._hand_out()
        self._tell_waiting()
        while self._ordered and (results := self._ordered[0].results) is not None:
            self._ordered.popleft()
            yield from results

    def _wait(self) -> list[Any]:
        """What was answered, after a moment at most."""
        import ray

        if not self._asked:
            time.sleep(POLL_SECONDS)
            return []
        return ray.wait(list(self._asked), num_returns=1, timeout=POLL_SECONDS)[0]

    def _call(self, actor: _Actor) -> None:
        """Ask it whether it is there."""
        self._asked[actor.handle.ready.remote()] = actor, None

    def _hand_out(self) -> None:
        """Give the actors what they can take, those that have nothing first."""
        while self._waiting:
            # What was lost once goes alone, so that none beside it is blamed for the next death.
            if not self._idle and (self._waiting[0].suspect or not self._roomy):
                return
            actor = next(iter(self._idle or self._roomy))
            if time.monotonic() - self._idle.get(actor, math.inf) > RESTED:
                # What a dead one is given comes back as if that had killed it.
                del self._idle[actor]
                self._call(actor)
            else:
                self._give(actor, self._waiting.popleft())

    def _give(self, actor: _Actor, task: _Task) -> None:
        """Let an actor label a block; one that cannot go there is looked through for the row."""
        try:
            with _in_words():
                asked = actor.handle.label.remote(task.block, self._device)
        except Exception:
            if (reason := _unsendable(task.block)) is None:
                raise
            self._divide(task, reason)
            return
        self._asked[asked] = actor, task
        actor.held.append(task)
        self._offer(actor)

    def _offer(self, actor: _Actor) -> None:
        """Note whether an actor can take more; one of which something was lost is asked first."""
        self._idle.pop(actor, None)
        self._roomy.pop(actor, None)
        if actor.had:
            if not actor.held:
                self._absent.append((time.monotonic() + PAUSE, actor))
        elif not actor.held:
            self._idle[actor] = time.monotonic()
        elif len(actor.held) < HELD and not actor.held[0].suspect:
            self._roomy[actor] = None

    def _greet(self, actor: _Actor, told: dict[str, str]) -> None:
        """Take note of where an actor is, the second time of why it was lost."""
        if actor.had and _lives(actor.node):
            for task in actor.had:
                self._blame(task)
        actor.had, actor.node, actor.name = [], told["node"], told["name"]
        if told["lacks"]:
            self._shun(actor, f"node {actor.name} is not used: its {told['lacks']}")
        else:
            self._offer(actor)

    def _shun(self, actor: _Actor, reason: str) -> None:
        """Have an actor on another node in the place of one on a node that cannot label."""
        import ray
        from ray.util.scheduling_strategies import NodeLabelSchedulingStrategy, NotIn

        new = actor.node not in self._shunned
        self._shunned[actor.node] = None
        if actor.node in actor.avoids or not self._has_others():
            self._drop(actor, reason)
            return
        if new:
            warn(reason)
        ray.kill(actor.handle)
        actor.avoids = tuple(self._shunned)
        elsewhere = NodeLabelSchedulingStrategy(hard={"ray.io/node-id": NotIn(*actor.avoids)})
        actor.handle = self._kind.options(scheduling_strategy=elsewhere).remote(self._needs)
        self._call(actor)

    def _has_others(self) -> bool:
        """Whether there is a node that could have an actor and is not shunned."""
        import ray

        asked = {"CPU": 1, "GPU": self._gpus}
        return any(
            node["Alive"]
            and node["NodeID"] not in self._shunned
            and all(node["Resources"].get(what, 0) >= least for what, least in asked.items())
            for node in ray.nodes()
        )

    def _bury(self, actor: _Actor, task: _Task | None, lost: _Lost | None = None) -> None:
        """Of an actor that died, or is another one now: others get its block."""
        if task is not None:
            if not actor.had:
                warn(f"an actor on {actor.name} is lost: others do what it was at")
            task.suspect = True
            actor.held.remove(task)
            actor.had.append(task)
            if task in self._ordered:  # Not divided meanwhile.
                self._waiting.appendleft(task)
            self._offer(actor)
        elif lost is not None and lost.for_good:
            self._drop(actor, f"an actor on {actor.name} cannot be used: {lost}")
        else:
            self._absent.append((time.monotonic() + PAUSE, actor))

    def _blame(self, task: _Task) -> None:
        """An actor died at a block, its node did not: several deaths are the block's own."""
        task.deaths += 1
        if task.deaths >= DEATHS and task.results is None and task in self._ordered:
            self._divide(task, WORKER_DIED)

    def _divide(self, task: _Task, reason: str) -> None:
        """Put a block for each of its jobs in a block's place; one of a single job has failed."""
        at = self._ordered.index(task)
        parts = [_Task(block) for block in task.block.one_by_one()]
        if not parts:
            task.results = [task.block.failed(reason)]
        for part in reversed(parts):
            self._ordered.insert(at + 1, part)
        if parts:
            del self._ordered[at]
        # Where an actor has it once more nobody waits for what that makes.
        if task in self._waiting:
            self._waiting.remove(task)
        self._waiting.extendleft(reversed(parts))

    def _drop(self, actor: _Actor, reason: str) -> None:
        """Do without an actor."""
        import ray

        self._actors.remove(actor)
        if not self._actors:
            raise RuntimeError(f"no node of the Ray cluster can label: {reason}")
        warn(f"{reason}; {len(self._actors)} actors are left")
        ray.kill(actor.handle)

    def _tell_waiting(self) -> None:
        """Tell once that no actor is there, which Ray says nowhere."""
        import ray

        working = any(task is not None for _, task in self._asked.values())
        if working or self._idle:
            self._since, self._told_waiting = time.monotonic(), False
        elif not self._told_waiting and time.monotonic() - self._since > PATIENCE:
            self._told_waiting = True
            there = ray.cluster_resources().get("CPU", 0)
            warn(f"waiting for the Ray cluster: none of its {there:g} cores is free")

    def close(self) -> None:
        """End the actors; what they are at is given up."""
        import ray

        for actor in self._actors:
            if self._head.gone:
                return
            with contextlib.suppress(Exception):  # It is gone already.
                ray.kill(actor.handle)


def _lives(node: str) -> bool:
    """Whether a node is one of the cluster's now."""
    import ray

    return any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())


def _unsendable(block: Block) -> str | None:
    """Why a block cannot go from process to process, in words; None where it can."""
    try:
        pickle.dumps(block)
    except Exception as error:
        return describe(error)
    return None


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """What an actor raised as it raised it; what befell Ray as an error of one line.

    Raises
    ------
    _Lost
        When the actor died, or the node that held what it made.
    RuntimeError
        When Ray cannot go on.
    """
    from ray import exceptions

    lost = (
        exceptions.RayActorError,
        exceptions.ObjectLostError,
        exceptions.OutOfMemoryError,
        exceptions.NodeDiedError,
        exceptions.WorkerCrashedError,
    )
    try:
        yield
    except exceptions.RayTaskError as error:
        if isinstance(error.cause, lost):
            raise _Lost(error.cause) from error
        if isinstance(error.cause, exceptions.RayError):
            raise RuntimeError(f"Ray gave up: {line_of(error.cause)}") from error
        if isinstance(error.cause, Exception):
            raise error.cause from None
        raise RuntimeError(f"an actor failed: {line_of(error)}") from error
    except lost as error:
        raise _Lost(error) from error
    except ConnectionError as error:
        told = f"the Ray cluster is lost, go on with --resume: {line_of(error)}"
        raise RuntimeError(told) from error
    except exceptions.RayError as error:
        raise RuntimeError(f"Ray gave up: {line_of(error)}") from error
