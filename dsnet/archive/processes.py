"""Jobs on processes: in order, interruptible; a job that kills its process costs its own rows."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool

from dsnet.archive.jobs import Job, failed_rows, run_job
from dsnet.data.phantom import make_phantom
from dsnet.data.store.record import LabelRecord
from dsnet.labeling import label_recist

# Jobs handed out ahead of the one that is written next, a worker: enough to keep all busy
# behind a slow one, few enough that results waiting for their turn stay small.
AHEAD = 4
POLL_SECONDS = 0.2


class ProcessExecutor:
    """Runs jobs on the CPU.

    Parameters
    ----------
    workers : int
        1 runs them in this process. More: as many processes; where one dies, its jobs are
        run again one by one, and only those that kill a worker again are recorded as failed.
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
        """
        if self.workers == 1:
            _warm_up()
            for job in jobs:
                if stop:
                    return
                yield run_job(job)
            return
        pending: deque[tuple[Job, Future]] = deque()
        source = iter(jobs)
        pool = _Pool(self.workers)
        try:
            while not stop:
                while (
                    len(pending) < AHEAD * self.workers and (job := next(source, None)) is not None
                ):
                    pending.append((job, pool.submit(job)))
                if not pending:
                    return
                job, future = pending[0]
                try:
                    records = future.result(timeout=POLL_SECONDS)
                except FutureTimeout:
                    continue
                except BrokenProcessPool:
                    # Any of the jobs in flight may be the culprit: each gets a pool of its own.
                    pool.close()
                    for job, future in pending:
                        if stop:
                            return
                        yield _finished(future) or _run_alone(job, stop)
                    pending.clear()
                    pool = _Pool(self.workers)
                    continue
                pending.popleft()
                yield records
        finally:
            pool.close()


def _finished(future: Future) -> list[LabelRecord] | None:
    done = future.done() and not future.cancelled() and future.exception() is None
    return future.result() if done else None


def _run_alone(job: Job, stop: object) -> list[LabelRecord]:
    pool = _Pool(1)
    future = pool.submit(job)
    try:
        while not stop:
            with contextlib.suppress(FutureTimeout):
                return future.result(timeout=POLL_SECONDS)
    except BrokenProcessPool:
        # A group of jobs is searched by halves for the one that kills.
        split = getattr(job, "split", tuple)
        if parts := split():
            return [record for part in parts for record in _run_alone(part, stop)]
        return failed_rows(job, "the worker process died on this file (killed, or out of memory)")
    finally:
        pool.close()
    return []


class _Pool:
    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=context,
            initializer=_start_worker,
            initargs=(context.Value("i", 0),),
        )

    def submit(self, job: Job) -> Future:
        # Workers start here and inherit the mask: Ctrl-C at a terminal goes to all of its
        # processes, and only the parent shall answer.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
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
        self._pool.shutdown(wait=True, cancel_futures=True)


# One core a worker: the processes are the parallelism.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


_worker_number = 0


def worker_number() -> int:
    """How many processes of the pool were started before this one; 0 outside of a pool."""
    return _worker_number


def _start_worker(started) -> None:
    global _worker_number
    with started.get_lock():
        _worker_number = started.value
        started.value += 1
    # A worker whose parent was killed would wait for work for ever.
    threading.Thread(target=_follow_parent, daemon=True).start()
    _warm_up()


def _warm_up() -> None:
    # Compiled code is loaded at its first use: the first label's stages should not pay for it.
    phantom = make_phantom(size=16)
    label_recist(phantom.image, phantom.mark)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
