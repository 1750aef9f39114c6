"""Jobs on a Ray cluster: Ray places, restarts and tries again, dsnet keeps the account.

The driver, which holds the store, hands blocks of the jobs to actors, as they come and a few ahead;
each is labelled in a process of its actor's own, so that a file that kills costs its row and not
the actor. What an actor labelled it writes as a shard under a name that is none of the store's, on
storage that all nodes see; the driver takes it in, in the order of the jobs. A block that Ray tries
again, after a worker or a node died, is written again, and taken once: a store holds each row once
whatever fails. A driver that died is followed by another one with `resume`.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dsnet.archive.blocks import Block, BlockResult
from dsnet.archive.jobs import Job
from dsnet.data.store.stage import Recipe, StagedShard
from dsnet.dependencies import needed
from dsnet.devices import usable_cores

# Rows of a block: two seconds' work for a worker that decodes PNG. The first blocks are smaller, so
# that all actors have work at once and a run that is killed again and again gets on.
BLOCK_ROWS = 1024
FIRST_ROWS = 64
# Blocks handed out ahead of the one that is taken next, an actor: what is done out of turn waits on
# the disk.
BLOCKS_AHEAD = 8
POLL_SECONDS = 0.2


class RayExecutor:
    """Labels jobs on the actors of a Ray cluster.

    Parameters
    ----------
    workers : int
        Actors at most, a CPU each; there are fewer where the cluster has no more.
    address : str, optional
        Of a running cluster ("auto", "HOST:6379", "ray://HOST:10001"), whose nodes have dsnet and
        see the archive and the store at the same paths. By default a cluster on this machine, for
        as long as the run takes.
    device : str, optional
        "cuda": each actor has a GPU.

    Raises
    ------
    ValueError
        For another device or number of workers.
    MissingDependency
        When Ray is not installed.
    """

    stages = True

    def __init__(self, workers: int = 1, address: str | None = None, device: str | None = None):
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise ValueError(f"workers must be an integer >= 1, got {workers!r}")
        if device not in (None, "cpu", "cuda", "auto"):
            raise ValueError(f"device must be 'cpu' or 'cuda' on Ray, got {device!r}")
        with needed("ray", "labelling on many machines"):
            import ray  # noqa: F401
        self.workers, self.address = workers, address
        self.gpus = 0 if device in (None, "cpu") else 1

    def stage(
        self, jobs: Iterable[Job], stop: object, recipe: Recipe
    ) -> Generator[list[StagedShard], None, None]:
        """Yield shards of the jobs' rows, in the order of the jobs and of their rows.

        Parameters
        ----------
        jobs : iterable of Job
            Taken as they are needed.
        stop : object
            Asked for its truth again and again; what is under way then is given up.
        recipe : Recipe
            Of the store, whose folder all nodes see.

        Raises
        ------
        RuntimeError
            When the cluster cannot be reached, has no GPU for `device`, or actors die as they
            start.
        OSError
            When a shard cannot be written.
        """
        blocks = blocks_of(jobs, recipe, self.workers)
        first = None if stop else next(blocks, None)
        if first is None:
            return
        with (
            _cluster(self.address, self.workers, self.gpus),
            contextlib.closing(_Actors(self.workers, self.gpus)) as actors,
        ):
            actors.add(first)
            more = True
            while not stop:
                while more and actors.want_more:
                    block = next(blocks, None)
                    if block is None:
                        more = False
                    else:
                        actors.add(block)
                if actors.done:
                    return
                for result in actors.work():
                    if result.error is not None:
                        raise result.error
                    yield result.shards
                    if stop:
                        return


class Labeller:
    """An actor: labels blocks in a process of its own, which a file may kill."""

    def __init__(self) -> None:
        from dsnet.archive.processes import _Crew

        self._crew = _Crew(1)

    def ready(self) -> None:
        """Return once the actor is there."""

    def label(self, block: Block, device: str | None) -> list[BlockResult]:
        """Label a block, on the GPU that the actor has where `device` is "cuda"."""
        if device is not None:
            from dsnet.archive.gpu import DeviceJob

            block = Block((DeviceJob(block.jobs, device, usable_cores()),), block.recipe)
        task = self._crew.add(block)
        while (results := task.results) is None:
            self._crew.work()
        return results


@dataclass(eq=False)
class _Task:
    """A block on its way."""

    block: Block
    results: list[BlockResult] | None = None


class _Actors:
    """The actors of a run, and the blocks that they have, in order."""

    def __init__(self, workers: int, gpus: int) -> None:
        import ray

        self._most = BLOCKS_AHEAD * workers
        self._device = "cuda" if gpus else None
        # Where an actor's process or node dies Ray makes it again, and gives it its block again.
        made = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=-1, max_task_retries=-1)(Labeller)
        self._actors: list[Any] = [made.remote() for _ in range(workers)]
        # What is asked of each: to be there, or a block.
        self._asked: dict[Any, tuple[Any, _Task | None]] = {
            actor.ready.remote(): (actor, None) for actor in self._actors
        }
        self._idle: list[Any] = []
        self._waiting: deque[_Task] = deque()
        self._ordered: deque[_Task] = deque()

    @property
    def want_more(self) -> bool:
        """Whether another block should be added."""
        return len(self._waiting) < max(1, len(self._idle)) and len(self._ordered) < self._most

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

        while self._waiting and self._idle:
            self._give(self._idle.pop(), self._waiting.popleft())
        with _in_words():
            done, _ = ray.wait(list(self._asked), num_returns=1, timeout=POLL_SECONDS)
        for asked in done:
            actor, task = self._asked.pop(asked)
            found = _found(asked)
            if self._waiting:
                self._give(actor, self._waiting.popleft())
            else:
                self._idle.append(actor)
            if task is not None:
                task.results = found
        while self._ordered and (results := self._ordered[0].results) is not None:
            self._ordered.popleft()
            yield from results

    def _give(self, actor: Any, task: _Task) -> None:
        self._asked[actor.label.remote(task.block, self._device)] = actor, task

    def close(self) -> None:
        """End the actors; what they are at is given up."""
        import ray

        for actor in self._actors:
            with contextlib.suppress(Exception):  # It, or the cluster, is gone already.
                ray.kill(actor)


def _found(asked: Any) -> Any:
    """What an actor gave, or what it raised."""
    import ray

    with _in_words():
        return ray.get(asked)


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """What an actor raised as it raised it; what befell Ray as a RuntimeError of one line."""
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from None
        raise RuntimeError(f"an actor failed: {' '.join(str(error).split())}") from error
    except RayError as error:
        raise RuntimeError(f"Ray gave up: {' '.join(str(error).split())}") from error


def blocks_of(jobs: Iterable[Job], recipe: Recipe, workers: int) -> Iterator[Block]:
    """The jobs in blocks of `BLOCK_ROWS` rows.

    The first ones are smaller: of `FIRST_ROWS` for each worker, then of twice as many each round.
    """
    most, number = min(FIRST_ROWS, BLOCK_ROWS), 0
    taken: list[Job] = []
    rows = 0
    for job in jobs:
        taken.append(job)
        rows += len(job.rows)
        if rows >= most:
            yield Block(tuple(taken), recipe)
            taken, rows, number = [], 0, number + 1
            if number % workers == 0:
                most = min(2 * most, BLOCK_ROWS)
    if taken:
        yield Block(tuple(taken), recipe)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray's beginning takes SIGTERM: the run would die of what tells it to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


@contextlib.contextmanager
def _cluster(address: str | None, workers: int, gpus: int) -> Iterator[None]:
    """A cluster that is reached, or one on this machine that ends with the run."""
    import ray

    if ray.is_initialized():
        _require_gpus(gpus)
        yield
        return
    # What Ray says of itself stands in its own logs.
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {"num_cpus": workers, "include_dashboard": False}
    else:
        options["address"] = address
    try:
        with _own_signals():
            ray.init(**options)
    except (ConnectionError, TimeoutError, ValueError) as error:
        raise RuntimeError(f"no Ray cluster at {address}: {error}") from error
    try:
        _require_gpus(gpus)
        yield
    finally:
        ray.shutdown()


def _require_gpus(gpus: int) -> None:
    """Tell where nobody can have the GPU that each actor asks for."""
    import ray

    if gpus and not ray.cluster_resources().get("GPU"):
        raise RuntimeError("device must be 'cpu': the Ray cluster has no GPU now")
