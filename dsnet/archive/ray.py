"""Jobs on a Ray cluster: Ray places, restarts and tries again, dsnet keeps the account.

The driver, which holds the store, hands blocks of the jobs to actors, as they come and a few ahead;
each is labelled in a process of its actor's own, so that a file that kills costs its row and not
the actor. What an actor labelled it writes as a shard under a name that is none of the store's, on
storage that all nodes see; the driver takes it in, in the order of the jobs. A block whose actor
or node died goes to another actor, is written again, and taken once: a store holds each row once
whatever fails. A driver that died, or lost the cluster, is followed by another one with `resume`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator, Sequence

from dsnet.archive.actors import Actors
from dsnet.archive.blocks import Block, Blocks
from dsnet.archive.cluster import ToldToStop, reached
from dsnet.archive.jobs import Job
from dsnet.archive.nodes import needs_of
from dsnet.data.store.stage import Recipe, StagedShard
from dsnet.dependencies import needed

# Rows of a block: two seconds' work for a worker that decodes PNG. The first blocks are smaller, so
# that all actors have work at once and a run that is killed again and again gets on.
BLOCK_ROWS = 1024
FIRST_ROWS = 64


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
    places : sequence of path
        Files and folders that the jobs read: a node that does not see them is not used.

    Raises
    ------
    ValueError
        For another device or number of workers.
    MissingDependency
        When Ray is not installed.
    """

    stages = True

    def __init__(
        self,
        workers: int = 1,
        address: str | None = None,
        device: str | None = None,
        places: Sequence[str | os.PathLike] = (),
    ) -> None:
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise ValueError(f"workers must be an integer >= 1, got {workers!r}")
        if device not in (None, "cpu", "cuda", "auto"):
            raise ValueError(f"device must be 'cpu' or 'cuda' on Ray, got {device!r}")
        with needed("ray", "labelling on many machines"):
            import ray  # noqa: F401
        self.workers, self.address, self.places = workers, address, places
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
            When the cluster cannot be reached, or is lost, has no GPU for `device`, or no node
            that can label.
        OSError
            When a shard cannot be written.
        """
        blocks = blocks_of(jobs, recipe, self.workers)
        first = None if stop else next(blocks, None)
        if first is None:
            return
        try:
            yield from self._stage(first, blocks, stop, recipe)
        except ToldToStop:
            if not stop:
                raise

    def _stage(
        self, first: Block, blocks: Iterator[Block], stop: object, recipe: Recipe
    ) -> Generator[list[StagedShard], None, None]:
        with (
            reached(self.address, self.workers, self.gpus) as head,
            needs_of(recipe, self.places) as needs,
            contextlib.closing(Actors(self.workers, self.gpus, needs, head)) as actors,
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


def blocks_of(jobs: Iterable[Job], recipe: Recipe, workers: int) -> Iterator[Block]:
    """The jobs in blocks of `BLOCK_ROWS` rows, the last ones smaller (`Blocks`).

    So are the first ones: of `FIRST_ROWS` for each worker, then of twice as many each round.
    """
    blocks, most = Blocks(iter(jobs), recipe, workers), FIRST_ROWS
    while True:
        blocks.rows = min(most, BLOCK_ROWS)
        for _ in range(workers):
            block = blocks.next()
            if block is None:
                return
            yield block
        most = min(2 * most, BLOCK_ROWS)
