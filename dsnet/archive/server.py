"""The process that worker processes are forked from: what they need is loaded once, and early.

A worker of its own interpreter would take a second to load NumPy, pyarrow and this package, and so
would each one that follows a worker that died. `start_server` can be called as soon as it is known
that there will be workers: what they need is then loaded beside whatever this process does first.
Importing this module loads none of it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

from dsnet.signals import left_to_parent

# What workers of every archive use; the table's readers and pyarrow load late elsewhere.
LOADED = [
    "dsnet.archive.workers",
    "dsnet.data.datasets.deeplesion",
    "pyarrow.parquet",
]
# One core a worker: the processes are the parallelism.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
ONE_THREAD: dict[str, str] = dict.fromkeys(_THREADS, "1")


def start_server() -> ForkServerContext:
    """Start the server, where it does not run; the context whose processes are forked from it.

    A program that has started Python's fork server for itself keeps it: workers then load what
    they need.
    """
    made = ForkServerContext()
    made.set_forkserver_preload(LOADED)
    with inherited():
        forkserver.ensure_running()
    return made


@contextlib.contextmanager
def inherited() -> Iterator[None]:
    """What processes that are started meanwhile inherit: one thread each, and few signals."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        with left_to_parent():
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
