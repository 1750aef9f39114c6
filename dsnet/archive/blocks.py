"""Jobs that follow each other, labelled by one worker into one shard."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from dsnet.archive.jobs import Job, failed_rows
from dsnet.archive.phases import run_jobs
from dsnet.data.store.record import LabelRecord
from dsnet.data.store.stage import ShardBuilder, StagedShard

if TYPE_CHECKING:
    from dsnet.data.store.stage import Recipe

# A block takes a worker about so long: the first ones an eighth of it, so that a run that is killed
# again and again gets on, then twice as long each.
BLOCK_SECONDS = 2.0
FIRST_SHARE = 1 / 8
# Of the first blocks, while nobody knows how long a row takes, and of the largest ones.
FIRST_ROWS, BLOCK_ROWS = 8, 1024
# The last blocks are no smaller than this share of a whole one: each is a shard.
LEAST_SHARE = 1 / 32
# So many rows tell that the end is near, however many workers there are: their jobs are in memory.
ROWS_AHEAD = 2**16


class Progress(NamedTuple):
    """What a worker and its parent tell each other while a block is under way.

    Attributes
    ----------
    at : shared integer
        Which of the block's jobs is being run; -1 between blocks.
    halted : shared integer
        1 where no job shall be begun any more.
    """

    at: Any
    halted: Any


_progress: Progress | None = None


def follow(progress: Progress) -> None:
    """Tell this worker's progress there."""
    global _progress
    _progress = progress


def _begins(number: int) -> None:
    """Tell that this job of the block is begun; -1 between blocks."""
    if _progress is not None:
        _progress.at.value = number


def _halted() -> bool:
    return _progress is not None and bool(_progress.halted.value)


@dataclass(frozen=True)
class BlockResult:
    """What became of a block.

    Attributes
    ----------
    shards : list of StagedShard
    rows : int
    seconds : float
        That a worker took for it.
    cut : bool
        Whether it was stopped before its last job.
    error : Exception or None
        Why a shard could not be written: no row's fault.
    """

    shards: list[StagedShard]
    rows: int
    seconds: float
    cut: bool
    error: Exception | None = None


@dataclass(frozen=True)
class Block:
    """Jobs whose rows become a shard; itself a job for the crew.

    Attributes
    ----------
    jobs : tuple of Job
    recipe : Recipe
        Of the store.
    suspect : bool
        Whether its one job killed a process.
    """

    jobs: tuple[Job, ...]
    recipe: Recipe
    suspect: bool = False

    @property
    def rows(self) -> Sequence[tuple[str, str]]:
        """(key, source) of each row."""
        return list(chain.from_iterable(job.rows for job in self.jobs))

    def run(self) -> BlockResult:
        """Label the jobs one after the other, and write their rows."""
        begin = time.monotonic()
        shards: list[StagedShard] = []
        builder, rows, error = ShardBuilder(self.recipe), 0, None
        done = 0
        with contextlib.closing(run_jobs(self.jobs, _halted, _begins)) as made:
            for job, records in made:
                rows += _add(builder, job, records)
                done += 1
                if builder.fills() and (error := _stage(builder, shards)):
                    break
        error = error or _stage(builder, shards)
        _begins(-1)
        cut = error is None and done < len(self.jobs)
        return BlockResult(shards, rows, time.monotonic() - begin, cut, error)

    def around(self, at: int) -> tuple[Block, ...]:
        """The jobs before one of several, it alone, and those after it; none of a single job."""
        if len(self.jobs) < 2 or not 0 <= at < len(self.jobs):
            return ()
        parts = (
            replace(self, jobs=self.jobs[:at]),
            replace(self, jobs=self.jobs[at : at + 1], suspect=True),
            replace(self, jobs=self.jobs[at + 1 :]),
        )
        return tuple(part for part in parts if part.jobs)

    def one_by_one(self) -> tuple[Block, ...]:
        """A block for each job; none of a single one."""
        if len(self.jobs) < 2:
            return ()
        return tuple(replace(self, jobs=(job,)) for job in self.jobs)

    def split(self) -> tuple[Block, ...]:
        """Smaller blocks, to find what kills a process: the halves of its jobs, or of its job."""
        if len(self.jobs) == 1:
            parts = getattr(self.jobs[0], "split", tuple)()
            return tuple(replace(self, jobs=(part,)) for part in parts)
        half = len(self.jobs) // 2
        return replace(self, jobs=self.jobs[:half]), replace(self, jobs=self.jobs[half:])

    def failed(self, reason: str) -> BlockResult:
        """Its rows as failed ones."""
        builder = ShardBuilder(self.recipe)
        shards: list[StagedShard] = []
        rows = sum(_add(builder, job, failed_rows(job, reason)) for job in self.jobs)
        error = _stage(builder, shards)
        return BlockResult(shards, rows, 0.0, cut=False, error=error)


class Blocks:
    """Jobs divided into blocks, as large as workers turn out to be quick.

    The last ones are smaller and smaller, so that all workers end together.

    Parameters
    ----------
    jobs : iterator of Job
        Taken as they are needed, and as many more as tell that the end is near.
    recipe : Recipe
        Of the store.
    workers : int

    Attributes
    ----------
    rows : int
        Of the next block, about; fewer at the end.
    ending : bool
        Whether all jobs were taken from the iterator.
    """

    def __init__(self, jobs: Iterator[Job], recipe: Recipe, workers: int) -> None:
        self._jobs, self._recipe, self._workers = jobs, recipe, workers
        self.rows, self._share = FIRST_ROWS, FIRST_SHARE
        self._taken: deque[Job] = deque()
        self._taken_rows, self.ending = 0, False

    def next(self) -> Block | None:
        """The next block; None where no job is left."""
        self._take(min(self._workers * self.rows, ROWS_AHEAD))
        most = self.rows
        if self.ending:
            even = -(-self._taken_rows // self._workers)
            most = min(most, max(even, round(self.rows * LEAST_SHARE)))
        jobs: list[Job] = []
        rows = 0
        while self._taken and rows < most:
            jobs.append(job := self._taken.popleft())
            rows += len(job.rows)
        self._taken_rows -= rows
        return Block(tuple(jobs), self._recipe) if jobs else None

    def _take(self, rows: int) -> None:
        """Have more rows than so many at hand, where there are."""
        while not self.ending and self._taken_rows <= rows:
            job = next(self._jobs, None)
            if job is None:
                self.ending = True
            else:
                self._taken.append(job)
                self._taken_rows += len(job.rows)

    def learn(self, result: BlockResult) -> None:
        """Let the blocks to come last as long as they should."""
        if result.rows and result.seconds > 0:
            wanted = BLOCK_SECONDS * self._share * result.rows / result.seconds
            self.rows = round(min(max(wanted, 1), BLOCK_ROWS))
            self._share = min(2 * self._share, 1.0)


def _stage(builder: ShardBuilder, shards: list[StagedShard]) -> Exception | None:
    """Write the rows that there are as another shard; what hinders it."""
    try:
        shard = builder.stage()
    except Exception as error:
        return error
    if shard is not None:
        shards.append(shard)
    return None


def _add(builder: ShardBuilder, job: Job, records: list[LabelRecord]) -> int:
    """Take a job's records; the number of them."""
    if not all(isinstance(record, LabelRecord) for record in records):
        kinds = sorted({type(record).__name__ for record in records})
        records = failed_rows(job, f"a job must return LabelRecords, got {', '.join(kinds)}")
    for record in records:
        builder.take(record)
    return len(records)
