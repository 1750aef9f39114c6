"""Jobs done a stage at a time: the files of some are read, then their crops cut, then labelled.

What a stage works with, code and tables and buffers, stays in the processor's caches meanwhile: of
a slice's row that is a sixth of the time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable

from dsnet.archive.ahead import reading_ahead
from dsnet.archive.jobs import CropJob, Job, label_parts, run_job
from dsnet.data.crop import Crop
from dsnet.data.store.record import LabelRecord

# Rows that are read before the first of them is labelled, at most.
TOGETHER_ROWS = 32
# So many jobs are together as take about so long, and their crops so many bytes: what is slow or
# large gains nothing, and a stop is answered at once.
TOGETHER_SECONDS = 0.05
TOGETHER_BYTES = 16 * 2**20


def run_jobs(
    jobs: Iterable[Job],
    stop: Callable[[], object],
    begins: Callable[[int], object] | None = None,
) -> Generator[tuple[Job, list[LabelRecord]], None, None]:
    """Yield each job and its records, in order, until all are done or `stop()` is true.

    Parameters
    ----------
    jobs : iterable of Job
        Taken as they are needed, and a few more.
    stop : callable
        Asked once a job, before it is labelled or, where it was beside others, before its records
        are yielded: none is once it is true.
    begins : callable, optional
        Told which job it is, counted from 0, before anything of it is begun: reading one follows
        on reading another, labelling on labelling.

    Yields
    ------
    (Job, list of LabelRecord)
        What `run_job` gives.
    """
    ready = reading_ahead(jobs)
    fetched: deque[Job] = deque()
    done, room, ended = 0, 1, False
    try:
        while not (ended and not fetched):
            until = time.monotonic() + TOGETHER_SECONDS
            rows = sum(map(_rows_of, fetched))
            while not ended and (not fetched or (rows < room and time.monotonic() < until)):
                if begins is not None:
                    begins(done + len(fetched))
                if (job := next(ready, None)) is None:
                    ended = True
                else:
                    fetched.append(job)
                    rows += _rows_of(job)
            parts: deque[list[Crop | LabelRecord] | None] = deque()
            size = 0
            for number, job in enumerate(fetched, done):
                if parts and (size > TOGETHER_BYTES or time.monotonic() > until):
                    break
                if begins is not None:
                    begins(number)
                found = job.crops() if isinstance(job, CropJob) else None
                parts.append(found)
                for part in found or ():
                    if isinstance(part, Crop):
                        size += part.image.nbytes
            made: deque[tuple[Job, list[LabelRecord]]] = deque()
            while parts or made:
                if stop():
                    return
                # Of jobs that take long each is handed out before the next is labelled.
                while parts and (not made or time.monotonic() < until):
                    if begins is not None:
                        begins(done)
                    job, found = fetched.popleft(), parts.popleft()
                    made.append((job, run_job(job) if found is None else label_parts(found)))
                    done += 1
                yield made.popleft()
            room = min(2 * room, TOGETHER_ROWS) if time.monotonic() < until else max(room // 2, 1)
    finally:
        ready.close()


def _rows_of(job: Job) -> int:
    return job.count if isinstance(job, CropJob) else len(job.rows)
