"""Files of the jobs to come, read by threads while one is labelled, where reading takes long."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from dsnet.archive.jobs import FetchableJob, Job

try:
    import resource
except ImportError:  # Windows
    _THREAD = None
else:
    _THREAD = getattr(resource, "RUSAGE_THREAD", None)

# A file in the page cache is there in 0.1 ms, half of which is work: a thread that hands it over
# would cost more. A disk that seeks takes 5 ms, a bucket 20 to 100.
WORTH_SECONDS = 1e-3
# Waits are averaged over about so many jobs, and none counts as longer than the second: one file
# that had to be waited for, however long, is none that shows a slow disk.
_MEMORY, _LONGEST = 8, 4 * WORTH_SECONDS
# Once one has taken longer than this, the next ones are looked at.
_SHORT = WORTH_SECONDS / 4
# Requests under way at a time, and jobs whose files wait in memory: 0.2 MB each is usual.
THREADS = 8
DEPTH = 16


def reading_ahead(jobs: Iterable[Job]) -> Generator[Job, None, None]:
    """The jobs, in their order, each with its files read where it has `fetch()`.

    Files are read one after the other, until they turn out to be waited for: from then on by
    threads, those of the next `DEPTH` jobs at a time. What a job gives is the same either way.

    Parameters
    ----------
    jobs : iterable of Job
        Taken as they are needed.
    """
    source, waited, watched = iter(jobs), 0.0, 0
    for job in source:
        # To look at these for each job takes as long as much of its work.
        before = (time.thread_time(), _stops()) if watched else None
        begin = time.perf_counter()
        job = _fetched(job)
        here = time.perf_counter() - begin
        if here > _SHORT:
            watched = _MEMORY
        if before is not None:
            watched -= 1
            worked, stops = before
            here -= time.thread_time() - worked
            # Where the processor was only taken away, by others on a busy machine, no thread helps.
            here = min(here, _LONGEST) if stops is None or _stops() != stops else 0.0
            waited += (here - waited) / _MEMORY
        yield job
        if waited > WORTH_SECONDS:
            break
    with contextlib.ExitStack() as stack:
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="dsnet-read")
        # What is read for nobody is not waited for.
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        under_way: deque[Future[Job]] = deque()
        while True:
            while len(under_way) < DEPTH and (following := next(source, None)) is not None:
                under_way.append(pool.submit(_fetched, following))
            if not under_way:
                return
            yield under_way.popleft().result()


def _stops() -> int | None:
    """How often this thread has stopped to wait for something; None where no system tells."""
    return None if _THREAD is None else resource.getrusage(_THREAD).ru_nvcsw


def _fetched(job: Job | FetchableJob) -> Job:
    fetch = getattr(job, "fetch", None)
    if fetch is None:
        return job
    try:
        return fetch()
    except Exception:  # The job meets it again, and tells.
        return job
