"""Jobs on a Ray cluster: Ray Data hands them out and tries them again, dsnet keeps the account.

The driver, which holds the store, makes blocks of the jobs; each is labelled by one of a pool of
actors, in a process of its own, so that a file that kills costs its row and not the actor. What an
actor labelled it writes as a shard under a name that is none of the store's, on storage that all
nodes see; the driver takes it in, in the order of the jobs. A block that Ray tries again, after a
worker or a node died, is written again, and taken once: a store holds each row once whatever fails.
A driver that died is followed by another one with `resume`.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import signal
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from dsnet.archive.blocks import Block, BlockResult
from dsnet.archive.jobs import Job
from dsnet.data.store.stage import Recipe, StagedShard
from dsnet.dependencies import needed
from dsnet.devices import usable_cores

if TYPE_CHECKING:
    from ray.data import Dataset

# Rows of a block: a second's work for a worker that decodes PNG, and little to lose.
BLOCK_ROWS = 256
# Blocks that each worker should get at least, so that all end at about the same time.
BLOCKS_A_WORKER = 4


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
            import ray.data  # noqa: F401
        self.workers, self.address = workers, address
        self.gpus = 0 if device in (None, "cpu") else 1

    def stage(
        self, jobs: Iterable[Job], stop: object, recipe: Recipe
    ) -> Generator[list[StagedShard], None, None]:
        """Yield shards of the jobs' rows, in the order of the jobs and of their rows.

        Parameters
        ----------
        jobs : iterable of Job
            Taken whole before the first one is handed out.
        stop : object
            Asked for its truth after every block.
        recipe : Recipe
            Of the store, whose folder all nodes see.

        Raises
        ------
        RuntimeError
            When the cluster cannot be reached, or actors die as they start.
        OSError
            When a shard cannot be written.
        """
        blocks = list(_blocks(jobs, self.workers))
        if not blocks or stop:
            return
        with _cluster(self.address, self.workers, self.gpus):
            results = self._dataset(blocks, recipe).iter_batches(
                batch_size=None, prefetch_batches=0, batch_format="pyarrow"
            )
            with contextlib.closing(cast(Any, iter(results))) as batches:
                for batch in batches:
                    for made in batch.column("results").to_pylist():
                        for result in pickle.loads(made):
                            if result.error is not None:
                                raise result.error
                            yield result.shards
                            if stop:
                                return

    def _dataset(self, blocks: list[bytes], recipe: Recipe) -> Dataset:
        import pyarrow as pa
        import ray.data
        from ray.data import ActorPoolStrategy, DataContext

        context = DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.issue_detectors_config.detectors = []
        # A table each: Ray Data hands them out one by one. The recipe goes with each: an actor that
        # is made again may find lost what it was made with.
        how = pickle.dumps((recipe, "cuda" if self.gpus else None))
        tables = [pa.table({"how": [how], "jobs": pa.array([jobs], pa.large_binary())})
                  for jobs in blocks]  # fmt: skip
        return ray.data.from_arrow(tables).map_batches(
            Labeller,
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=1,
            num_gpus=self.gpus or None,
            compute=ActorPoolStrategy(min_size=1, max_size=self.workers),
        )


class Labeller:
    """An actor: labels blocks in a process of its own, which a file may kill."""

    def __init__(self) -> None:
        from dsnet.archive.processes import _Crew

        self._crew = _Crew(1)

    def __call__(self, batch: Any) -> Any:
        """Label a batch of blocks: a table of pickled jobs becomes one of pickled results."""
        import pyarrow as pa

        made = [
            pickle.dumps(self._label(pickle.loads(row["jobs"]), *pickle.loads(row["how"])))
            for row in batch.to_pylist()
        ]
        return pa.table({"results": pa.array(made, pa.binary())})

    def _label(
        self, jobs: tuple[Job, ...], recipe: Recipe, device: str | None
    ) -> list[BlockResult]:
        if device is not None:
            from dsnet.archive.gpu import DeviceJob

            jobs = (DeviceJob(jobs, device, usable_cores()),)
        task = self._crew.add(Block(jobs, recipe))
        while (results := task.results) is None:
            self._crew.work()
        return results


def _blocks(jobs: Iterable[Job], workers: int) -> Iterator[bytes]:
    """The jobs in pickled tuples of `BLOCK_ROWS` rows; of fewer where each worker lacked blocks."""
    every = list(jobs)
    rows = sum(len(job.rows) for job in every)
    most = max(1, min(BLOCK_ROWS, rows // (BLOCKS_A_WORKER * workers)))
    taken: list[Job] = []
    count = 0
    for job in every:
        taken.append(job)
        count += len(job.rows)
        if count >= most:
            yield pickle.dumps(tuple(taken))
            taken, count = [], 0
    if taken:
        yield pickle.dumps(tuple(taken))


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
        yield
        return
    # What Ray says of itself stands in its own logs.
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
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
        yield
    finally:
        ray.shutdown()
