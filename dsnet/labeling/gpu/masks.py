"""Trimaps of many masks or raters, and their matting, on a device.

    fill  ->  copy, trimaps, matting, copy back (a stream)  ->  finish (threads of the CPU)

Chunks of rows of one size go through a few slots, each with page-locked host memory and device
memory of its own.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsnet import _C
from dsnet.labeling.gpu.engine import CudaEngine
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

# Images that share workspace at a time where shared memory does not hold one.
_MOST_AT_A_TIME = 1024

_UP = ("images", "masks", "erosion", "dilation", "spacing")
_DOWN = ("trimaps", "alphas", "results")


@dataclass(frozen=True)
class ChunkShape:
    """Sizes of a chunk: masks are [count, rows, cols], or [count, raters, rows, cols]."""

    count: int
    rows: int
    cols: int
    raters: int | None = None

    @property
    def masks(self) -> tuple[int, ...]:
        """Shape of the masks."""
        raters = () if self.raters is None else (self.raters,)
        return (self.count, *raters, self.rows, self.cols)

    @property
    def images(self) -> tuple[int, int, int]:
        """Shape of the images."""
        return (self.count, self.rows, self.cols)


class MaskEngine(CudaEngine):
    """Trimaps of masks and raters and matting on a CUDA device."""

    def mask_workspace_bytes(self, shape: ChunkShape) -> int:
        """Return the bytes that the trimaps and, after them, `matting` need for a chunk."""
        count, rows, cols = shape.images
        matting = _C.cuda_matting_workspace_bytes(count, rows, cols, self.device)
        if shape.raters is not None:
            trimaps = _C.cuda_raters_workspace_bytes(
                count, rows, cols, _MOST_AT_A_TIME, self.device
            )
        else:
            each = _C.cuda_morphology_workspace_bytes("trimap_from_mask", rows, cols, self.device)
            trimaps = each * min(count, _MOST_AT_A_TIME)
        return max(matting, trimaps, 1)

    def trimap_from_mask(self, memory: dict[str, Any], shape: ChunkShape, stream: Any) -> None:
        """Start strategy 1's trimaps of masks [N, H, W], each with its radii and spacing."""
        arrays = ("masks", "erosion", "dilation", "spacing", "statuses", "workspace")
        batch = _C.MorphologyBatch(
            shape.images, out=memory["trimaps"], **{name: memory[name] for name in arrays}
        )
        _C.cuda_morphology("trimap_from_mask", batch, self.device, stream.address)

    def trimap_from_raters(
        self,
        memory: dict[str, Any],
        shape: ChunkShape,
        part: slice,
        band: tuple[float, float],
        spacing: tuple[float, float],
        stream: Any,
    ) -> None:
        """Start strategy 2's trimaps of a part of the masks [N, R, H, W] that has one spacing."""
        count, raters, size = part.stop - part.start, shape.raters or 1, shape.rows * shape.cols
        erosion, dilation = (None if math.isnan(radius) else radius for radius in band)
        batch = _C.RatersBatch(
            (count, raters, shape.rows, shape.cols),
            masks=_Span.of(memory["masks"], part.start, count, raters * size),
            erosion=erosion,
            dilation=dilation,
            spacing=spacing,
            out=_Span.of(memory["trimaps"], part.start, count, size),
            workspace=memory["workspace"],
        )
        _C.cuda_trimap_from_raters(batch, self.device, stream.address)

    def matting(
        self, memory: dict[str, Any], shape: ChunkShape, settings: MattingSettings, stream: Any
    ) -> None:
        """Start matting without a prior of a chunk that has its trimaps."""
        arrays = ("images", "trimaps", "alphas", "results", "workspace")
        batch = _C.MattingBatch(
            shape.images,
            epsilon=settings.epsilon,
            rtol=settings.rtol,
            max_iterations=settings.max_iterations,
            **{name: memory[name] for name in arrays},
        )
        _C.cuda_matting(batch, self.device, stream.address)


@dataclass(frozen=True)
class _Span:
    """A part of device memory, as batches are told of it."""

    address: int
    nbytes: int

    @staticmethod
    def of(memory: Any, first: int, count: int, nbytes: int) -> _Span:
        """So many items of so many bytes each."""
        return _Span(memory.address + first * nbytes, count * nbytes)


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
    engine : MaskEngine
    settings : MattingSettings
        The prior's weight is not looked at: there is none.
    """

    def __init__(self, engine: MaskEngine, settings: MattingSettings) -> None:
        self.engine, self.settings = engine, settings
        self._lock = threading.Lock()
        self._slots: list[Slot] = []

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
            slot.hold(_layout(first), "statuses", self.engine.mask_workspace_bytes(first))
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
        for k, row in enumerate(rows):
            host["images"][k] = batch.images[row]
            host["masks"][k] = batch.masks[row]
        host["erosion"][:], host["dilation"][:] = batch.erosion, batch.dilation
        host["spacing"][:] = spacings
        try:
            start = engine.mark(stream)
            for name in _UP:
                engine.to_device(slot.memory[name], host[name], stream)
            if shape.raters is None:
                engine.trimap_from_mask(slot.memory, shape, stream)
            else:
                band = (batch.erosion, batch.dilation)
                for part in _runs(spacings):
                    engine.trimap_from_raters(
                        slot.memory, shape, part, band, spacings[part.start], stream
                    )
            between = engine.mark(stream)
            engine.matting(slot.memory, shape, self.settings, stream)
            for name in _DOWN:
                engine.to_host(host[name], slot.memory[name], stream)
            return _Flight(slot, rows, (start, between, engine.mark(stream)))
        except BaseException:
            self._wait_quietly(stream)
            raise

    def _land(self, flight: _Flight) -> tuple[list[int], list[tuple]]:
        start, between, end = flight.marks
        self.engine.wait(end)
        count, told = len(flight.rows), []
        trimap_seconds = self.engine.seconds_between(start, between) / count
        seconds = self.engine.seconds_between(between, end) / count
        # The slot is filled anew before all labels of the batch are made use of.
        trimaps, alphas, results = (flight.slot.host[name][:count].copy() for name in _DOWN)
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

    def _wait_quietly(self, stream: Any) -> None:
        # Another failure is being told.
        with contextlib.suppress(Exception):
            self.engine.wait(self.engine.mark(stream))


@dataclass
class _Flight:
    """A chunk under way."""

    slot: Slot
    rows: list[int]
    marks: tuple  # before the trimaps, after them, at the end


def _layout(shape: ChunkShape) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Dtype and shape of a chunk's arrays; the device alone needs the statuses."""
    return {
        "images": (np.dtype(np.float32), shape.images),
        "masks": (np.dtype(np.uint8), shape.masks),
        "erosion": (np.dtype(np.float64), (shape.count,)),
        "dilation": (np.dtype(np.float64), (shape.count,)),
        "spacing": (np.dtype(np.float64), (shape.count, 2)),
        "statuses": (np.dtype(np.int32), (shape.count,)),
        "trimaps": (np.dtype(np.uint8), shape.images),
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
            found = _pipelines[device] = MaskPipeline(MaskEngine(device), settings)
        return found
