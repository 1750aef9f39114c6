"""Worker processes: each its own pool, so that a death is the death of what it was at."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from dsnet.archive.blocks import Block, Progress, follow
from dsnet.archive.jobs import Job, run_job
from dsnet.archive.server import ONE_THREAD, inherited, start_server
from dsnet.labeling import RecistMark, label_recist
from dsnet.signals import end_with_parent, leave_to_parent

# Where processes or threads are counted (`ulimit -u`, a container's pids limit), or memory is.
NO_MORE = (
    "no process or thread can be started for worker {number}: the system's limit of them, or of"
    " memory, is reached (let there be fewer workers), or the process was killed that workers are"
    " forked from"
)
# Objects that are made, and not let go of, before those that hold themselves are looked for.
COLLECTED = 10_000


class Worker:
    """A process of its own pool, so that a death is the death of what it was at.

    Attributes
    ----------
    held : dict of task to Future
        In the order in which they are run.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self.held: dict[Any, Future] = {}
        self._pool: Pool | None = None
        self._halted = False

    @property
    def begun(self) -> bool:
        """Whether the process came as far as its first job."""
        return self._pool is not None and self._pool.begun

    @property
    def at(self) -> int:
        """Which job of its block it was at; below 0 where it was at none."""
        return -1 if self._pool is None else self._pool.progress.at.value

    def require_served(self) -> None:
        """Raise RuntimeError where what is done with its jobs would never be told."""
        # In this order: the thread of a process that died ends once its futures tell of that.
        deserted = self._pool is not None and self._pool.deserted
        if deserted and not all(future.done() for future in self.held.values()):
            raise RuntimeError(NO_MORE.format(number=self._number))

    def halt(self) -> None:
        """Let it begin no other job of its block, nor of those that it is given later."""
        self._halted = True
        if self._pool is not None:
            self._pool.progress.halted.value = 1

    def give(self, task) -> None:
        if self._pool is None:
            self._pool = Pool(self._number)
            if self._halted:
                self.halt()
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


class Pool:
    """One process."""

    def __init__(self, number: int) -> None:
        context = start_server()
        self._number = number
        self._begun = context.RawValue("b", 0)
        self.progress = Progress(context.RawValue("q", -1), context.RawValue("b", 0))
        # As it is now: the server knows that of its own start.
        environment = {**os.environ, **ONE_THREAD}
        self._pool = ProcessPoolExecutor(
            1,
            mp_context=context,
            initializer=_start_worker,
            initargs=(number, self._begun, self.progress, environment),
        )

    @property
    def begun(self) -> bool:
        """Whether the process is there and ready for jobs."""
        return bool(self._begun.value)

    @property
    def deserted(self) -> bool:
        """Whether the thread that hands jobs to the process, and takes what it makes, has ended or
        could not begin: futures would stay as they are."""
        thread = getattr(self._pool, "_executor_manager_thread", None)
        return thread is not None and not thread.is_alive()

    def submit(self, job: Job | Block) -> Future:
        try:
            with inherited():  # The process starts here.
                return self._pool.submit(_run, job)
        except BrokenProcessPool as error:
            future: Future = Future()
            future.set_exception(error)
            return future
        except (RuntimeError, EOFError, BlockingIOError) as error:
            raise RuntimeError(NO_MORE.format(number=self._number)) from error

    def close(self) -> None:
        deserted = self.deserted
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        # A process that is still starting when this one ends would find its locks gone.
        self._pool.shutdown(wait=not deserted, cancel_futures=True)
        if deserted:  # Nobody tells the process to end, and Python would wait for it.
            for process in processes:
                process.terminate()
                process.join()


def _run(job: Job | Block):
    # What a block cannot do is told by what it raises.
    return job.run() if isinstance(job, Block) else run_job(job)


_worker_number = 0


def worker_number() -> int:
    """Which of the executor's processes this is, from 0; 0 outside of one."""
    return _worker_number


def _start_worker(number: int, begun, progress: Progress, environment: dict[str, str]) -> None:
    global _worker_number
    _worker_number = number
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    follow(progress)
    leave_to_parent()  # A server that the program started for itself does not.
    end_with_parent()
    warm_up()
    _freeze()
    begun.value = 1


def warm_up() -> None:
    """Label something, so that what is loaded at its first use is there."""
    # Compiled code is loaded at its first use: the first label's stages should not pay for it.
    rows, columns = np.mgrid[:16, :16]
    image = 0.8 * (np.hypot(rows - 8, columns - 8) < 4)
    label_recist(image, RecistMark.from_coordinates([4.5, 8, 11.5, 8, 8, 5, 8, 11]))


@contextlib.contextmanager
def frozen() -> Iterator[None]:
    """Meanwhile no collection looks at what is there now: a table of millions of rows, modules."""
    usual = gc.get_threshold()
    _freeze()
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


def _freeze() -> None:
    gc.freeze()
    # A row makes a hundred objects, none of which holds itself: to look for such ones every seven
    # rows takes more than to make them.
    usual, *older = gc.get_threshold()
    gc.set_threshold(usual and max(usual, COLLECTED), *older)  # 0: not at all
