"""Jobs on processes: in order, interruptible; a job that kills its process costs its own rows."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

from dsnet.archive.blocks import Block, BlockResult, Blocks
from dsnet.archive.jobs import (
    WORKER_DIED,
    DeviceFailure,
    Job,
    describe,
    failed_rows,
)
from dsnet.archive.phases import run_jobs
from dsnet.archive.workers import Worker, warm_up
from dsnet.data.store.record import LabelRecord
from dsnet.data.store.stage import Recipe, StagedShard

# Jobs handed out ahead of the one that is written next, a worker: enough to keep all busy
# behind a slow one, few enough that results waiting for their turn stay small.
AHEAD = 4
# Jobs that a worker has at a time: the one that it is at, and the next.
HELD = 2
# Blocks likewise: what is done out of turn waits on the disk.
BLOCKS_AHEAD = 4
POLL_SECONDS = 0.2
# A job is blamed when it has killed so many processes that ran nothing else, nothing beside them.
DEATHS_ALONE = 2
# Processes in a row that died before they took up any job.
STILLBORN = 3


class ProcessExecutor:
    """Runs jobs on the CPU.

    Parameters
    ----------
    workers : int
        1 runs them in this process. More: as many processes. Where one dies, the job that it was
        at is run again with nothing beside it; it is recorded as failed when it kills its process
        there, too, and once more.
    """

    def __init__(self, workers: int = 1) -> None:
        if not isinstance(workers, int) or workers < 1:
            raise ValueError(f"workers must be an integer >= 1, got {workers!r}")
        self.workers = workers

    @property
    def stages(self) -> bool:
        """Whether `stage` spares this process work: there are others."""
        return self.workers > 1

    def run(self, jobs: Iterable[Job], stop: object) -> Generator[list[LabelRecord], None, None]:
        """Yield each job's records, in the order of the jobs, until all are done or `stop` is true.

        Parameters
        ----------
        jobs : iterable of Job
        stop : object
            Asked for its truth again and again.

        Raises
        ------
        RuntimeError
            When processes die as they start, or none can be started.
        """
        if self.workers == 1:
            warm_up()
            with contextlib.closing(run_jobs(jobs, lambda: stop)) as made:
                for _, records in made:
                    yield records
            return
        crew = Crew(self.workers)
        ordered: deque[_Task] = deque()
        source = iter(jobs)
        try:
            while not stop:
                while (
                    len(ordered) < AHEAD * self.workers and (job := next(source, None)) is not None
                ):
                    ordered.append(crew.add(job))
                if not ordered:
                    return
                records = ordered[0].records
                if records is None:
                    crew.work()
                else:
                    ordered.popleft()
                    yield records
        finally:
            crew.close()

    def stage(
        self, jobs: Iterable[Job], stop: object, recipe: Recipe
    ) -> Generator[list[StagedShard], None, None]:
        """Yield shards of the jobs' rows, in their order, written by the workers.

        A worker is given a block of jobs that follow each other and makes a shard of it, so that
        no record goes from process to process. After a stop what was labelled of the first block
        is yielded; later ones are given up, so that a store has no gap.

        Parameters
        ----------
        jobs : iterable of Job
        stop : object
            Asked for its truth again and again.
        recipe : Recipe
            Of the store.

        Raises
        ------
        RuntimeError
            When processes die as they start, or none can be started.
        OSError
            When a shard cannot be written.
        """
        blocks = Blocks(iter(jobs), recipe, self.workers)
        crew = Crew(self.workers)
        ordered: deque[_Task] = deque()
        stopped = False
        try:
            while True:
                if stop and not stopped:
                    stopped = True
                    crew.halt()
                while (
                    not stopped
                    and len(ordered) < BLOCKS_AHEAD * self.workers
                    # At the end none waits for a worker that is behind.
                    and crew.room(1 if blocks.ending else HELD)
                    and (block := blocks.next()) is not None
                ):
                    ordered.append(crew.add(block))
                if not ordered:
                    return
                # Before anything is stored: no worker waits for that.
                crew.hand_out()
                results = ordered[0].results
                if results is None:
                    for made in crew.work():
                        blocks.learn(made)
                    continue
                ordered.popleft()
                for result in results:
                    if result.error is not None:
                        raise result.error
                    yield result.shards
                    if result.cut:
                        return
        finally:
            crew.halt()
            crew.close()


@dataclass(eq=False)
class _Task:
    """A job on its way, or the parts that it was divided into."""

    job: Job | Block
    made: list[LabelRecord] | None = None
    done: BlockResult | None = None
    parts: list[_Task] = field(default_factory=list)
    deaths_alone: int = 0

    @property
    def records(self) -> list[LabelRecord] | None:
        """None until all are there."""
        if not self.parts:
            return self.made
        found = [part.records for part in self.parts]
        if None in found:
            return None
        return [record for records in found for record in records or ()]

    @property
    def results(self) -> list[BlockResult] | None:
        """Of a block, or of its parts; None until those that come first are there, cut or whole."""
        if not self.parts:
            return None if self.done is None else [self.done]
        found: list[BlockResult] = []
        for part in self.parts:
            results = part.results
            if results is None:
                return None
            found += results
            if found[-1].cut:
                break
        return found

    def take(self, made) -> None:
        """Keep what a worker made of it."""
        if isinstance(self.job, Block):
            self.done = made
        else:
            self.made = made

    def fail(self, reason: str) -> None:
        """Keep that it cannot be done."""
        if isinstance(self.job, Block):
            self.done = self.job.failed(reason)
        else:
            self.made = failed_rows(self.job, reason)


class Crew:
    """Workers, the tasks that wait for one, and the suspects: whose worker died."""

    def __init__(self, workers: int) -> None:
        self._workers = [Worker(number) for number in range(workers)]
        self._waiting: deque[_Task] = deque()
        self._suspects: deque[_Task] = deque()
        self._made: list[BlockResult] = []
        self._stillborn = 0

    def add(self, job: Job | Block) -> _Task:
        task = _Task(job)
        self._waiting.append(task)
        return task

    def room(self, held: int) -> bool:
        """Whether another task could be handed out, to workers that have so many at a time."""
        free = sum(max(held - len(worker.held), 0) for worker in self._workers)
        return free > len(self._waiting)

    def hand_out(self) -> None:
        """Give each worker what it can take."""
        if self._suspects:
            # Alone: what it may lack is memory, which others would take.
            if not any(worker.held for worker in self._workers):
                self._workers[0].give(self._suspects[0])
        else:
            for worker in self._idlest():
                if self._waiting:
                    worker.give(self._waiting.popleft())

    def work(self) -> list[BlockResult]:
        """Hand out what can be, wait a moment, and take what is done; what was made of blocks."""
        self.hand_out()
        futures = [future for worker in self._workers for future in worker.held.values()]
        wait(futures, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        for worker in self._workers:
            self._collect(worker)
            worker.require_served()
        made, self._made = self._made, []
        return made

    def close(self) -> None:
        for worker in self._workers:
            worker.cancel()  # None begins another job while another one is waited for.
        for worker in self._workers:
            worker.close()

    def _idlest(self) -> Iterator[Worker]:
        """Workers that can take one more, those without a job first."""
        for count in range(HELD):
            yield from (worker for worker in self._workers if len(worker.held) == count)

    def _collect(self, worker: Worker) -> None:
        for task, future in list(worker.held.items()):
            if not future.done():
                return  # The later ones have not begun.
            try:
                task.take(future.result())
                if task.done is not None:
                    self._made.append(task.done)
            except BrokenProcessPool:
                self._bury(worker)
                return
            except DeviceFailure:
                raise
            except Exception as error:  # It, or its records, cannot go from process to process.
                if parts := getattr(task.job, "one_by_one", tuple)():
                    self._divide(task, parts)
                else:
                    task.fail(describe(error))
            del worker.held[task]
            self._stillborn = 0
            if self._suspects and task is self._suspects[0]:
                self._suspects.popleft()

    def _bury(self, worker: Worker) -> None:
        """Of a worker that died: its first task is suspected, the others wait again."""
        task, *others = worker.held
        self._waiting.extendleft(reversed(others))
        begun = worker.begun
        at = worker.at if isinstance(task.job, Block) else -1
        worker.replace()
        if not begun:
            self._stillborn += 1
            if self._stillborn >= STILLBORN:
                raise RuntimeError(
                    "worker processes die as they start: a script must guard its main module"
                    ' (`if __name__ == "__main__"`), or there is no memory for so many workers'
                )
            if task not in self._suspects:
                self._waiting.appendleft(task)
        elif isinstance(task.job, Block) and (parts := task.job.around(at)):
            # Only the job that it was at is suspected.
            if task in self._suspects:
                self._suspects.remove(task)
            self._divide(task, parts)
        elif task in self._suspects:
            self._judge(task)
        else:
            self._suspects.append(task)

    def _divide(self, task: _Task, parts: tuple[Block, ...]) -> None:
        task.parts = [_Task(part) for part in parts]
        for part, block in zip(reversed(task.parts), reversed(parts), strict=True):
            if block.suspect:
                self._suspects.append(part)
            else:
                self._waiting.appendleft(part)

    def halt(self) -> None:
        """Let no worker begin another job of its block."""
        for worker in self._workers:
            worker.halt()

    def _judge(self, task: _Task) -> None:
        task.deaths_alone += 1
        # A group of jobs is searched by halves for the one that kills.
        parts = getattr(task.job, "split", tuple)()
        if parts:
            task.parts = [_Task(part) for part in parts]
            self._suspects.popleft()
            self._suspects.extendleft(reversed(task.parts))
        elif task.deaths_alone >= DEATHS_ALONE:
            task.fail(WORKER_DIED)
            self._suspects.popleft()
