"""The run that labels an archive: jobs go through an executor, their records into a store."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Generator, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from dsnet.archive.jobs import Job
    from dsnet.data.remote import RemoteFile
    from dsnet.data.store import StoreWriter
    from dsnet.data.store.record import LabelRecord
    from dsnet.data.store.stage import Recipe, StagedShard, StoredRow

EXECUTORS = ("processes", "gpu", "ray")
LEFT_OUT = "left out, its key came before"


class Executor(Protocol):
    """What runs jobs: here, on processes, on a GPU, or elsewhere."""

    def run(self, jobs: Iterable[Job], stop: object) -> Generator[list[LabelRecord], None, None]:
        """Yield the jobs' records, in the order of the jobs and of their rows.

        A list may hold the records of several jobs. A job that raises gives failed records
        (`jobs.run_job`); what befalls the executor itself is raised. Once `stop` is true no more
        jobs are taken than are worked on together, and no more records yielded; none is under way
        when the generator is closed.

        Parameters
        ----------
        jobs : iterable of Job
            Taken as they are needed: there may be millions.
        stop : object
            To be asked for its truth.
        """
        ...


class StagingExecutor(Protocol):
    """An executor whose workers write shards: no record comes to the process that stores them."""

    @property
    def stages(self) -> bool:
        """Whether it is to be asked for shards, not for records."""
        ...

    def stage(
        self, jobs: Iterable[Job], stop: object, recipe: Recipe
    ) -> Generator[list[StagedShard], None, None]:
        """Yield shards of the jobs' rows, in the order of the jobs and of their rows.

        As `Executor.run`; the shards are made by a `ShardBuilder` of the store's recipe.
        """
        ...


class Observer(Protocol):
    """Who is told how far a run is.

    One that has `brief = True` is content with a `StoredRow` (key, status, error) of each row;
    for others the rows that workers wrote are read back.
    """

    def begin(self, stored: int) -> None:
        """Begin: so many rows are in the store already."""

    def add(self, record: LabelRecord | StoredRow) -> None:
        """A row went into the store."""

    def say(self, text: str) -> None:
        """Tell what is odd."""


@dataclass(frozen=True)
class ArchiveSummary:
    """What became of a run.

    Attributes
    ----------
    path : Path or RemoteFile
        The store.
    rows, labelled, failed : int
        In the store, those of earlier runs included.
    added : int
        Rows of this run.
    seconds : float
        Its wall time.
    stopped : bool
        Whether it was told to stop: `resume` completes the store.
    signal : int
        By which signal, where `console.Stop` took one, else 0.
    """

    path: Path | RemoteFile
    rows: int
    labelled: int
    failed: int
    added: int
    seconds: float
    stopped: bool
    signal: int


def label_archive(
    jobs: Iterable[Job] | Callable[[Any], Iterable[Job]],
    out: str | os.PathLike | RemoteFile,
    *,
    executor: str | Executor | StagingExecutor = "processes",
    settings: dict[str, Any] | None = None,
    workers: int = 1,
    device: str | None = None,
    alpha_bits: int = 16,
    resume: bool = False,
    retry_failed: bool = False,
    progress: Observer | Callable[[LabelRecord], object] | None = None,
    stop: object = None,
) -> ArchiveSummary:
    """Label jobs into a store, whose rows are in the order of the jobs however they were run.

    A row that cannot be labelled is stored with its reason. Whatever ends the run, what was
    labelled is stored, and `resume` completes it. Works in any thread; nothing is printed, and
    Ctrl-C is left to the caller.

    Parameters
    ----------
    jobs : iterable of Job, or callable
        The callable is given the keys that the store holds already, a set-like that is read from
        the store as it is asked, and returns the jobs that are left; `jobs.picture_jobs` and its
        like make one. Of an iterable those jobs are left out whose rows are all there.
    out : path
        Folder of the store (`dsnet.data.store`), or an address that fsspec writes to (s3://, ...):
        new or empty, unless `resume`.
    executor : {"processes", "gpu", "ray"}, Executor or StagingExecutor
        "gpu" takes jobs that have `read()`. "ray" is a cluster on this machine, of so many
        workers; `dsnet.archive.ray.RayExecutor` reaches another.
    settings : dict, optional
        What the labels depend on, in JSON values; a resumed store must have the same.
    workers : int
        Processes, for the named executors. With more than one, a script must guard its main
        module (`if __name__ == "__main__"`).
    device : str, optional
        Of the executor "gpu": "cuda" (the default; each process takes its share of the GPUs) or
        "cuda:N".
    alpha_bits : {8, 16}
        Of the stored alpha.
    resume : bool
        Go on with the store at `out`; rows whose worker died are tried again. What has changed
        since in the table or the folders that the jobs come from is told to `progress`.
    retry_failed : bool
        Go on with it, and try its failed rows again.
    progress : Observer or callable, optional
        A callable is given each record that was stored; with several workers it is read from the
        store for that.
    stop : object, optional
        Ends the run before the next job once it is true, or, of a callable or a
        `threading.Event`, once it returns true or is set. `console.Stop` is true after Ctrl-C.

    Returns
    -------
    ArchiveSummary

    Raises
    ------
    ValueError
        When `out` is not empty and not to be resumed, or an argument is not one of those above,
        or a resumed store has other settings, is damaged, or has keys of an older version.
    TypeError
        When `jobs`, `progress` or `executor` cannot be used as such.
    RuntimeError
        When another process writes to the store, there is no such GPU, or it fails.
    OSError
        When the store cannot be written; at an address, after some minutes.
    """
    if not callable(jobs) and not isinstance(jobs, Iterable):
        raise TypeError(
            f"jobs must be an iterable or a callable of the done keys, got {type(jobs).__name__}"
        )
    from dsnet.data.store.places import store_place

    path, resume = store_place(out), resume or retry_failed
    if isinstance(path, Path) and path.exists() and not path.is_dir():
        raise ValueError(f"out must be a folder, got the file {path}")
    runner = _executor(executor, workers, device)
    stages = getattr(runner, "stages", False)
    if stages and str(path).startswith("memory:"):
        raise ValueError(f"out must be where other processes write, too, got {path}")
    if not resume and is_in_use(path):
        raise ValueError(f"out must be a new or empty folder unless resume is set, got {path}")
    observer = _observer(progress)
    stop = _flag(stop)

    from dsnet.archive.again import is_compared
    from dsnet.archive.jobs import WORKER_DIED
    from dsnet.data.store import StoreWriter, open_store
    from dsnet.data.store.manifest import manifest_file, read_manifest
    from dsnet.data.store.record import storable_key

    start, added, died = time.monotonic(), 0, False
    review = getattr(jobs, "review", None)
    # Before the writer drops failed rows: some may not come again.
    changes: Any = []
    asked = getattr(jobs, "asked", "")
    if callable(review) and manifest_file(path) and not is_compared(path, asked):
        changes = review(open_store(path))
    with StoreWriter(
        path,
        {} if settings is None else settings,
        alpha_bits=alpha_bits,
        resume=resume,
        retry_failed=retry_failed or WORKER_DIED,
        # What has changed is told again.
        asked="" if changes else asked,
    ) as writer:
        before = writer.stored()
        observer.begin(len(before))
        for change in changes:
            observer.say(change)
        left = cast(Any, jobs)(before) if callable(jobs) else _left(jobs, before)
        tells = callable(jobs)
        if stages:
            with contextlib.closing(cast(Any, runner).stage(left, stop, writer.recipe)) as shards:
                for shard in chain.from_iterable(shards):
                    died |= any(row.error.startswith(WORKER_DIED) for row in shard.rows)
                    added += _taken(writer, shard, observer, None if tells else before)
        else:
            with contextlib.closing(runner.run(left, stop)) as found:
                for record in chain.from_iterable(found):
                    died |= record.error.startswith(WORKER_DIED)
                    record.key = storable_key(record.key)
                    if (stored := _stored(writer, record)) is not None:
                        observer.add(stored)
                        added += 1
                    elif tells or record.key not in before:
                        observer.say(f"{LEFT_OUT}: {record.key}")
        # A row whose worker died is tried again.
        if not (stop or died or changes):
            writer.finished = asked
    counts = read_manifest(path)["counts"]
    return ArchiveSummary(
        path=path,
        rows=counts["rows"],
        labelled=counts.get("ok", 0),
        failed=counts.get("failed", 0),
        added=added,
        seconds=time.monotonic() - start,
        stopped=bool(stop),
        signal=int(getattr(stop, "signal", 0)),
    )


def _taken(writer: StoreWriter, shard: StagedShard, observer: Observer, before) -> int:
    """Take in a shard that a worker wrote; the number of its rows that are new.

    `before` are keys of which nothing is said when they come again.
    """
    name, left_out = writer.commit(shard)
    known = set(left_out)
    if getattr(observer, "brief", False):
        rows = [row for row in shard.rows if row.key not in known]
        for row in rows:
            observer.add(row)
        added = len(rows)
    else:
        added = 0
        for record in writer.records(name):
            observer.add(record)
            added += 1
    for key in left_out:
        if before is None or key not in before:
            observer.say(f"{LEFT_OUT}: {key}")
    return added


def _stored(writer: StoreWriter, record: LabelRecord) -> LabelRecord | None:
    """Add a record; one that cannot be stored costs its row, which is then a failed one.

    None where its key came before.
    """
    try:
        return record if writer.add(record) else None
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        if record.key in writer.done:  # The row was taken: what failed is writing its shard.
            raise
        from dsnet.archive.jobs import describe

        reason = f"cannot be stored: {describe(error)}"
    failed = type(record).from_error(record.key, record.source, reason)
    writer.append(failed)
    return failed


def is_in_use(path: str | Path | RemoteFile) -> bool:
    """Whether something is in a folder, or at an address: no new store can be there."""
    from dsnet.data.store.places import names, store_place

    place = store_place(path)
    if isinstance(place, Path):
        return place.is_dir() and any(place.iterdir())
    return bool(names(place))


def _left(jobs: Iterable[Job], done: Collection[str]) -> Iterable[Job]:
    return (job for job in jobs if not all(key in done for key, _ in job.rows))


def _executor(executor, workers: int, device: str | None) -> Any:
    if executor == "gpu":
        from dsnet.archive.gpu import GpuExecutor

        return GpuExecutor("cuda" if device is None else device, workers)
    if executor == "processes":
        if device not in (None, "cpu"):
            raise ValueError(f"device must be None or 'cpu' for processes, got {device!r}")
        from dsnet.archive.processes import ProcessExecutor

        return ProcessExecutor(workers)
    if executor == "ray":
        from dsnet.archive.ray import RayExecutor

        return RayExecutor(workers, device=device)
    if isinstance(executor, str):
        raise ValueError(f"executor must be one of {', '.join(EXECUTORS)}, got {executor!r}")
    if not any(callable(getattr(executor, name, None)) for name in ("run", "stage")):
        raise TypeError(
            f"executor must be one of {', '.join(EXECUTORS)}, or have run(jobs, stop), got "
            f"{type(executor).__name__}"
        )
    return executor


class _Calls:
    """An observer that calls a function with each record."""

    def __init__(self, call: Callable[[Any], object] | None) -> None:
        self._call = call

    def begin(self, stored: int) -> None:
        pass

    def add(self, record) -> None:
        if self._call is not None:
            self._call(record)

    def say(self, text: str) -> None:
        pass


def _observer(progress) -> Observer:
    if all(callable(getattr(progress, name, None)) for name in ("begin", "add", "say")):
        return cast(Observer, progress)
    if progress is not None and not callable(progress):
        raise TypeError(
            "progress must be a callable of a record, or have begin, add and say, got "
            f"{type(progress).__name__}"
        )
    return _Calls(progress)


class _Asks:
    """True once a function returns true."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask = ask

    def __bool__(self) -> bool:
        return bool(self._ask())


def _flag(stop: object) -> object:
    ask = getattr(stop, "is_set", stop)
    return _Asks(ask) if callable(ask) else stop
