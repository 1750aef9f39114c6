"""Jobs on processes: in order, interruptible; a job that kills its process costs its own rows."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

from dsnet.archive.ahead import reading_ahead
from dsnet.archive.jobs import (
    WORKER_DIED,
    DeviceFailure,
    Job,
    describe,
    failed_rows,
    run_job,
)
from dsnet.data.phantom import make_phantom
from dsnet.data.store.record import LabelRecord
from dsnet.labeling import label_recist

# Jobs handed out ahead of the one that is written next, a worker: enough to keep all busy
# behind a slow one, few enough that results waiting for their turn stay small.
AHEAD = 4
# Jobs that a worker has at a time: the one that it is at, and the next.
HELD = 2
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
            When processes die as they start.
        """
        if self.workers == 1:
            _warm_up()
            with contextlib.closing(reading_ahead(jobs)) as ready:
                for job in ready:
                    if stop:
                        return
                    yield run_job(job)
            return
        crew = _Crew(self.workers)
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


@dataclass(eq=False)
class _Task:
    """A job on its way, or the parts that it was divided into."""

    job: Job
    made: list[LabelRecord] | None = None
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


class _Crew:
    """Workers, the tasks that wait for one, and the suspects: whose worker died."""

    def __init__(self, workers: int) -> None:
        self._workers = [_Worker(number) for number in range(workers)]
        self._waiting: deque[_Task] = deque()
        self._suspects: deque[_Task] = deque()
        self._stillborn = 0

    def add(self, job: Job) -> _Task:
        task = _Task(job)
        self._waiting.append(task)
        return task

    def work(self) -> None:
        """Hand out what can be, wait a moment, and take what is done."""
        if self._suspects:
            # Alone: what it may lack is memory, which others would take.
            if not any(worker.held for worker in self._workers):
                self._workers[0].give(self._suspects[0])
        else:
            for worker in self._idlest():
                if self._waiting:
                    worker.give(self._waiting.popleft())
        futures = [future for worker in self._workers for future in worker.held.values()]
        wait(futures, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        for worker in self._workers:
            self._collect(worker)

    def close(self) -> None:
        for worker in self._workers:
            worker.cancel()  # None begins another job while another one is waited for.
        for worker in self._workers:
            worker.close()

    def _idlest(self) -> Iterator[_Worker]:
        """Workers that can take one more, those without a job first."""
        for count in range(HELD):
            yield from (worker for worker in self._workers if len(worker.held) == count)

    def _collect(self, worker: _Worker) -> None:
        for task, future in list(worker.held.items()):
            if not future.done():
                return  # The later ones have not begun.
            try:
                task.made = future.result()
            except BrokenProcessPool:
                self._bury(worker)
                return
            except DeviceFailure:
                raise
            except Exception as error:  # Its records cannot go from process to process.
                task.made = failed_rows(task.job, describe(error))
            del worker.held[task]
            self._stillborn = 0
            if self._suspects and task is self._suspects[0]:
                self._suspects.popleft()

    def _bury(self, worker: _Worker) -> None:
        """Of a worker that died: its first task is suspected, the others wait again."""
        task, *others = worker.held
        self._waiting.extendleft(reversed(others))
        begun = worker.begun
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
        elif task not in self._suspects:
            self._suspects.append(task)
        else:
            self._judge(task)

    def _judge(self, task: _Task) -> None:
        task.deaths_alone += 1
        # A group of jobs is searched by halves for the one that kills.
        parts = getattr(task.job, "split", tuple)()
        if parts:
            task.parts = [_Task(part) for part in parts]
            self._suspects.popleft()
            self._suspects.extendleft(reversed(task.parts))
        elif task.deaths_alone >= DEATHS_ALONE:
            task.made = failed_rows(task.job, WORKER_DIED)
            self._suspects.popleft()


class _Worker:
    """A process of its own pool, so that a death is the death of what it was at.

    Attributes
    ----------
    held : dict of _Task to Future
        In the order in which they are run.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self.held: dict[_Task, Future] = {}
        self._pool: _Pool | None = None

    @property
    def begun(self) -> bool:
        """Whether the process came as far as its first job."""
        return self._pool is not None and self._pool.begun

    def give(self, task: _Task) -> None:
        if self._pool is None:
            self._pool = _Pool(self._number)
        self.held[task] = self._pool.submit(task.job)

    def replace(self) -> None:
        """Forget the process; the next task gets a new one."""
        self.held.clear()
        self.close()
        self._pool = None

    def cancel(self) -> None:
        """Take back what it has not begun."""
        for future in self.held.values():
            future.cancel()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()


class _Pool:
    """One process."""

    def __init__(self, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._begun = context.Value("b", 0)
        self._pool = ProcessPoolExecutor(
            1, mp_context=context, initializer=_start_worker, initargs=(number, self._begun)
        )

    @property
    def begun(self) -> bool:
        """Whether the process is there and ready for jobs."""
        return bool(self._begun.value)

    def submit(self, job: Job) -> Future:
        # The process starts here and inherits the mask: Ctrl-C at a terminal goes to all of its
        # processes, and only the parent shall answer.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGHUP])
        before = {name: os.environ.get(name) for name in _THREADS}
        os.environ.update({name: "1" for name in _THREADS})
        try:
            return self._pool.submit(run_job, job)
        except BrokenProcessPool as error:
            future: Future = Future()
            future.set_exception(error)
            return future
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def close(self) -> None:
        # A process that is still starting when this one ends would find its locks gone.
        self._pool.shutdown(wait=True, cancel_futures=True)


# One core a worker: the processes are the parallelism.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


_worker_number = 0


def worker_number() -> int:
    """Which of the executor's processes this is, from 0; 0 outside of one."""
    return _worker_number


def _start_worker(number: int, begun) -> None:
    global _worker_number
    _worker_number = number
    # A worker whose parent was killed would wait for work for ever.
    threading.Thread(target=_follow_parent, daemon=True).start()
    _warm_up()
    begun.value = 1


def _warm_up() -> None:
    # Compiled code is loaded at its first use: the first label's stages should not pay for it.
    phantom = make_phantom(size=16)
    label_recist(phantom.image, phantom.mark)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
