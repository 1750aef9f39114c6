"""Trimaps of many masks or raters, and their matting, on a device.

    fill  ->  copy, trimaps, matting, copy back (a stream)  ->  finish (threads of the CPU)

Chunks of rows of one size go through a few slots, each with page-locked host memory and device
memory of its own.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from dsnet import _C
from dsnet.labeling.gpu.engine import ChunkShape, CudaEngine
from dsnet.labeling.gpu.pipeline import (
    CHUNK_PIXELS,
    LEAST_CHUNK,
    SLOTS,
    STREAMS,
    MattingSettings,
    OutOfDeviceMemory,
    Slot,
)
from dsnet.labeling.matting.closed_form import MattingInfo
from dsnet.labeling.prior import MASK_PRIOR_WEIGHT, VOTES_PRIOR_WEIGHT

# A chunk's arrays that go to the device, and those that come back.
TO_DEVICE = ("images", "masks", "erosion", "dilation", "spacing")
FROM_DEVICE = ("trimaps", "alphas", "results")
# What a chunk goes through, in this order.
STAGES = (
    "gathering, CPU",
    "copy to the GPU",
    "trimap, GPU",
    "matting, GPU",
    "copy from the GPU",
    "scores, CPU",
)


@dataclass(frozen=True)
class DrawnBatch:
    """Images and what was drawn on them.

    Attributes
    ----------
    images : sequence of float32 [H, W]
        In 0..1, at least 3x3 pixels.
    masks : sequence of bool, each [H, W] or [R, H, W]
        For strategy 1 or 2.
    spacings : sequence of (row, column)
    erosion, dilation : float
        In the unit of the spacings; NaN for the default margins.
    """

    images: Sequence[np.ndarray]
    masks: Sequence[np.ndarray]
    spacings: Sequence[tuple[float, float]]
    erosion: float
    dilation: float

    def alike(self) -> Iterator[list[int]]:
        """Yield the rows of each size and number of raters, those of one spacing side by side."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, mask in enumerate(self.masks):
            groups.setdefault(mask.shape, []).append(row)
        for shape, rows in groups.items():
            # Strategy 2 takes one spacing at a time.
            yield rows if len(shape) == 2 else sorted(rows, key=lambda row: self.spacings[row])

    def shape(self, rows: list[int]) -> ChunkShape:
        """Sizes of a chunk of rows that are alike."""
        *raters, height, width = self.masks[rows[0]].shape
        return ChunkShape(len(rows), height, width, *raters)


class MaskPipeline:
    """Runs chunks of masks through an engine; serves one caller at a time.

    Parameters
    ----------
    engine : CudaEngine
    settings : MattingSettings
        The prior's weight is not looked at: each strategy has its own.
    """

    def __init__(self, engine: CudaEngine, settings: MattingSettings) -> None:
        self.engine, self.settings = engine, settings
        self._lock = threading.Lock()
        self._slots: list[Slot] = []
        self._seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)

    def stages(self) -> Iterator[tuple[str, float]]:
        """Yield each stage's name and its seconds so far, as `pipeline.Pipeline.stages` does."""
        yield from tuple(self._seconds.items())

    def run(
        self,
        batch: DrawnBatch,
        threads: int,
        finish: Callable[[int, np.ndarray, np.ndarray, MattingInfo, float], Any],
        chunk: int | None = None,
    ) -> list[Any]:
        """Label a batch.

        Parameters
        ----------
        batch : DrawnBatch
        threads : int
            That `finish` is called on.
        finish : callable
            Makes a row's label from its row, trimap, alpha, what matting did, and its share of the
            trimaps' seconds.
        chunk : int, optional
            Rows in a chunk, at most.

        Returns
        -------
        list of N
            What `finish` made.

        Raises
        ------
        OutOfDeviceMemory
            Where the device has no room for a single row.
        """
        labels: dict[int, Any] = {}
        with self._lock, ThreadPoolExecutor(threads, "dsnet-finish-labels") as pool:
            for rows in batch.alike():
                size = chunk or _chunk_rows(batch.shape(rows))
                while rows:
                    try:
                        with contextlib.closing(self._fly(batch, rows, size)) as landed:
                            for found, told in landed:
                                with self._timed(STAGES[-1]):
                                    made = pool.map(lambda args: finish(*args), told)
                                    labels.update(zip(found, made, strict=True))
                    except OutOfDeviceMemory:
                        self._slots.clear()
                        if size == 1:
                            raise
                        size = max(size // 2, 1)
                    except BaseException:
                        # What is still under way may write to the slots' memory.
                        self._slots.clear()
                        raise
                    rows = [row for row in rows if row not in labels]
        return [labels[row] for row in range(len(batch.masks))]

    def _fly(
        self, batch: DrawnBatch, rows: list[int], size: int
    ) -> Generator[tuple[list[int], list[tuple]], None, None]:
        """Yield each chunk's rows and what `finish` is told of them, in order."""
        chunks = [rows[i : i + size] for i in range(0, len(rows), size)]
        while len(self._slots) < min(SLOTS, len(chunks)):
            shared = len(self._slots) >= STREAMS
            stream = self._slots[len(self._slots) % STREAMS].stream if shared else None
            self._slots.append(Slot(self.engine, stream or self.engine.stream()))
        slots = self._slots[: len(chunks)]
        first = batch.shape(chunks[0])
        for slot in slots:
            workspace_bytes = self.engine.mask_workspace_bytes(first)
            slot.hold(_layout(first), ("statuses", "priors"), workspace_bytes)
        flying: deque[_Flight] = deque()
        try:
            for number, chunk in enumerate(chunks):
                if len(flying) == len(slots):
                    yield self._land(flying.popleft())
                flying.append(self._start(slots[number % len(slots)], batch, chunk))
            while flying:
                yield self._land(flying.popleft())
        finally:
            for flight in flying:
                self._wait_quietly(flight.slot.stream)

    def _start(self, slot: Slot, batch: DrawnBatch, rows: list[int]) -> _Flight:
        engine, stream, shape = self.engine, slot.stream, batch.shape(rows)
        host = {name: array[: len(rows)] for name, array in slot.host.items()}
        spacings = [batch.spacings[row] for row in rows]
        with self._timed(STAGES[0]):
            for k, row in enumerate(rows):
                host["images"][k] = batch.images[row]
                host["masks"][k] = batch.masks[row]
            host["erosion"][:], host["dilation"][:] = batch.erosion, batch.dilation
            host["spacing"][:] = spacings
        try:
            marks = [engine.mark(stream)]
            for name in TO_DEVICE:
                engine.to_device(slot.memory[name], host[name], stream)
            marks.append(engine.mark(stream))
            if shape.raters is None:
                engine.trimap_from_mask(slot.memory, shape, stream)
            else:
                band = (batch.erosion, batch.dilation)
                for part in _runs(spacings):
                    engine.trimap_from_raters(
                        slot.memory, shape, part, band, spacings[part.start], stream
                    )
            marks.append(engine.mark(stream))
            alone = shape.raters is None
            weight = MASK_PRIOR_WEIGHT if alone else VOTES_PRIOR_WEIGHT
            settings = replace(self.settings, prior_weight=weight)
            engine.solve(slot.memory, shape.images, settings, stream)
            marks.append(engine.mark(stream))
            for name in FROM_DEVICE:
                engine.to_host(host[name], slot.memory[name], stream)
            return _Flight(slot, rows, (*marks, engine.mark(stream)))
        except BaseException:
            self._wait_quietly(stream)
            raise

    def _land(self, flight: _Flight) -> tuple[list[int], list[tuple]]:
        self.engine.wait(flight.marks[-1])
        count, told = len(flight.rows), []
        between = [self.engine.seconds_between(*pair) for pair in pairwise(flight.marks)]
        for stage, spent in zip(STAGES[1:-1], between, strict=True):
            self._seconds[stage] += spent
        # A label's share: of the way there and the trimaps, of matting and the way back.
        trimap_seconds, seconds = sum(between[:2]) / count, sum(between[2:]) / count
        # The slot is filled anew before all labels of the batch are made use of.
        trimaps, alphas, results = (flight.slot.host[name][:count].copy() for name in FROM_DEVICE)
        for k, row in enumerate(flight.rows):
            result = results[k]
            info = MattingInfo(
                solver="jacobi" if result["solved"] else "none",
                iterations=int(result["iterations"]),
                residual=float(result["residual"]),
                converged=bool(result["converged"]) and result["status"] == 0,
                seconds=seconds,
                unknowns=int(result["unknowns"]),
            )
            told.append((row, trimaps[k], alphas[k], info, trimap_seconds))
        return flight.rows, told

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._seconds[stage] += time.perf_counter() - start

    def _wait_quietly(self, stream: Any) -> None:
        # Another failure is being told.
        with contextlib.suppress(Exception):
            self.engine.wait(self.engine.mark(stream))


@dataclass
class _Flight:
    """A chunk under way."""

    slot: Slot
    rows: list[int]
    marks: tuple  # around each of the device's stages


def _layout(shape: ChunkShape) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Dtype and shape of a chunk's arrays; the device alone needs statuses and priors."""
    return {
        "images": (np.dtype(np.float32), shape.images),
        "masks": (np.dtype(np.uint8), shape.masks),
        "erosion": (np.dtype(np.float64), (shape.count,)),
        "dilation": (np.dtype(np.float64), (shape.count,)),
        "spacing": (np.dtype(np.float64), (shape.count, 2)),
        "statuses": (np.dtype(np.int32), (shape.count,)),
        "trimaps": (np.dtype(np.uint8), shape.images),
        "priors": (np.dtype(np.float32), shape.images),
        "alphas": (np.dtype(np.float32), shape.images),
        "results": (_C.MATTING_RESULT, (shape.count,)),
    }


def _runs(spacings: Sequence[tuple[float, float]]) -> Iterator[slice]:
    first = 0
    for k in range(1, len(spacings) + 1):
        if k == len(spacings) or spacings[k] != spacings[first]:
            yield slice(first, k)
            first = k


def _chunk_rows(shape: ChunkShape) -> int:
    pixels = shape.rows * shape.cols
    most = max(CHUNK_PIXELS // pixels, 1)
    return min(most, max(-(-shape.count // (SLOTS + 1)), LEAST_CHUNK))


_pipelines: dict[int, MaskPipeline] = {}
_pipelines_lock = threading.Lock()


def mask_pipeline(device: int, settings: MattingSettings) -> MaskPipeline:
    """Return the device's pipeline, whose memory is kept from batch to batch."""
    with _pipelines_lock:
        found = _pipelines.get(device)
        if found is None or found.settings != settings:
            found = _pipelines[device] = MaskPipeline(CudaEngine(device), settings)
        return found


def stages(device: int) -> Iterator[tuple[str, float]]:
    """Yield the stages of labels of masks and raters on a device, as `engine.stages` does."""
    with _pipelines_lock:
        found = _pipelines.get(device)
    if found is not None:
        yield from found.stages()
