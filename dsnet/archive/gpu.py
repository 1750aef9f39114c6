"""Jobs on a GPU: read on threads in groups, a group labelled as one batch.

A process serves one GPU. Of several processes the i-th takes device i modulo
their number; groups of jobs are shared out as jobs are, so that a store's order is the same.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain

from dsnet.archive.jobs import DeviceFailure, Job, describe, failed_rows
from dsnet.archive.processes import ProcessExecutor
from dsnet.archive.workers import worker_number
from dsnet.data.crop import Crop
from dsnet.data.store.record import LabelRecord
from dsnet.data.store.stage import Recipe, StagedShard
from dsnet.devices import usable_cores
from dsnet.labeling import SoftLabel, label_batch, label_mask_batch, label_raters_batch
from dsnet.labeling.gpu import engine, masks

# Crops labelled together: enough for a GPU, few enough that a stop is answered at once.
GROUP_ROWS = 1024


class GpuExecutor:
    """Runs jobs that have `read()` with a GPU.

    Parameters
    ----------
    device : str
        "cuda", of which each process takes its share ("auto" is the same where there is one), or
        "cuda:N".
    workers : int
        Processes.
    rows : int, optional
        Labelled together, about; larger ones are fewer, by their jobs' `weight`.

    Raises
    ------
    ValueError
        For another device or number of workers.
    RuntimeError
        When there is no such device.
    """

    def __init__(self, device: str = "cuda", workers: int = 1, rows: int | None = None) -> None:
        self._processes = ProcessExecutor(workers)
        if engine.device_index(device) is None:
            raise ValueError(f"device must be 'cuda' or 'cuda:N' for a GPU, got {device!r}")
        self.device, self.workers = "cuda" if device == "auto" else device, workers
        self.rows = GROUP_ROWS if rows is None else rows

    def run(self, jobs: Iterable[Job], stop: object) -> Generator[list[LabelRecord], None, None]:
        """Yield the records of each group of jobs, in order; raise DeviceFailure for a GPU's.

        TypeError for a job that has no `read()`.
        """
        return self._processes.run(self._groups(jobs), stop)

    @property
    def stages(self) -> bool:
        """Whether `stage` spares this process work: there are others."""
        return self._processes.stages

    def stage(
        self, jobs: Iterable[Job], stop: object, recipe: Recipe
    ) -> Generator[list[StagedShard], None, None]:
        """Yield shards of each group's rows, as `ProcessExecutor.stage`; raise as `run`."""
        return self._processes.stage(self._groups(jobs), stop, recipe)

    def _groups(self, jobs: Iterable[Job]) -> Iterator[DeviceJob]:
        """The jobs in groups; one process reads a group ahead."""
        threads = max(usable_cores() // self.workers, 1)
        groups = device_jobs(jobs, self.device, threads, self.rows)
        if self.workers > 1:
            yield from groups
            return
        current = next(groups, None)
        while current is not None:
            following = next(groups, None)
            if following is not None:
                following.read_ahead()
            yield current
            current = following


@dataclass
class DeviceJob:
    """Jobs that are read together and labelled as one batch.

    Parameters
    ----------
    jobs : tuple of jobs with `read()`
    device : str
        "cuda", the process's share of the GPUs, or "cuda:N".
    threads : int
        Of the CPU, for reading and for the stages around the GPU's.
    """

    jobs: tuple
    device: str
    threads: int
    _reading: Future | None = field(default=None, repr=False)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """(key, source) of each row."""
        return list(chain.from_iterable(job.rows for job in self.jobs))

    def __getstate__(self) -> dict:
        """Leave behind what this process has read: it goes to another one."""
        return {**self.__dict__, "_reading": None}

    def split(self) -> tuple[DeviceJob, ...]:
        """Return two halves; none of a single job."""
        half = len(self.jobs) // 2
        parts = (self.jobs[:half], self.jobs[half:]) if half else ()
        return tuple(DeviceJob(part, self.device, self.threads) for part in parts)

    def read_ahead(self) -> None:
        """Begin to read, beside whatever else is done."""
        reader = ThreadPoolExecutor(1, thread_name_prefix="dsnet-read")
        self._reading = reader.submit(self._read)
        reader.shutdown(wait=False)

    def run(self) -> list[LabelRecord]:
        """Read and label; a row that fails costs itself alone, a GPU that fails the run."""
        found = self._reading.result() if self._reading is not None else self._read()
        self._reading = None
        crops = [crop for crop in found if not isinstance(crop, LabelRecord)]
        try:
            labels = _label_crops(crops, self.threads, worker_device(self.device))
        except (RuntimeError, MemoryError) as error:
            raise DeviceFailure(str(error)) from error
        labelled = iter(zip(crops, labels, strict=True))
        return [
            part if isinstance(part, LabelRecord) else _record(*next(labelled)) for part in found
        ]

    def _read(self) -> list:
        with ThreadPoolExecutor(self.threads, thread_name_prefix="dsnet-read") as pool:
            return list(chain.from_iterable(pool.map(_read_job, self.jobs)))


def stages(device: str) -> Iterator[tuple[str, float]]:
    """Yield the stages of what was labelled on a GPU and their seconds, of this process alone.

    Parameters
    ----------
    device : str
        "cuda" or "cuda:N".

    Yields
    ------
    stage, seconds : str, float
        As `Pipeline.stages` of `dsnet.labeling.gpu` tells them.
    """
    yield from engine.stages(device)
    index = engine.device_index(device)
    if index is not None:
        yield from masks.stages(index)


def worker_device(device: str) -> str:
    """Return the device of this process: "cuda" is its own share of those that are there."""
    if device != "cuda":
        return device
    return f"cuda:{worker_number() % engine.device_count()}"


def device_jobs(
    jobs: Iterable[Job], device: str, threads: int, rows: int = GROUP_ROWS
) -> Iterator[DeviceJob]:
    """The jobs in groups of so many rows, about, larger ones by their `weight`; TypeError for one
    that has no `read()`."""
    for group in _gathered(jobs, rows):
        yield DeviceJob(group, device, threads)


def _gathered(jobs: Iterable[Job], rows: int) -> Iterator[tuple]:
    group, count = [], 0
    for job in jobs:
        if not callable(getattr(job, "read", None)):
            raise TypeError(f"jobs must have read() for a GPU, got {type(job).__name__}")
        group.append(job)
        count += len(job.rows) * getattr(job, "weight", 1)
        if count >= rows:
            yield tuple(group)
            group, count = [], 0
    if group:
        yield tuple(group)


def _read_job(job) -> list:
    try:
        return job.read()
    except Exception as error:
        return failed_rows(job, describe(error))


def _label_crops(crops: Sequence[Crop], threads: int, device: str) -> list[SoftLabel | ValueError]:
    """As `jobs.label_crop` would, those of one strategy together."""
    one, many, marks = [], [], []
    for row, crop in enumerate(crops):
        (marks if crop.masks is None else one if len(crop.masks) == 1 else many).append(row)
    labels: dict[int, SoftLabel | ValueError] = {}
    options = {"threads": threads, "device": device}
    for rows, drawn, label in (
        (marks, lambda crop: crop.mark, label_batch),
        (one, lambda crop: crop.masks[0], label_mask_batch),
        (many, lambda crop: crop.masks, label_raters_batch),
    ):
        if not rows:
            continue
        taken = [crops[row] for row in rows]
        spacing = {} if rows is marks else {"spacing": [crop.spacing for crop in taken]}
        made = label([c.image for c in taken], [drawn(c) for c in taken], **spacing, **options)
        labels.update(zip(rows, made, strict=True))
    return [labels[row] for row in range(len(crops))]


def _record(crop, label) -> LabelRecord:
    if isinstance(label, ValueError):
        return LabelRecord.from_error(crop.key, crop.source, describe(label), crop=crop)
    return LabelRecord.from_label(crop, label)
