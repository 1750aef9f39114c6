"""Labels of many crops whose heavy stages run on a device: the CPU runs ahead of it and behind it.

    begin (threads of the CPU)  ->  copy, cut, matting, copy back (a stream)  ->  finish (threads)

Chunks of crops of one size go through a few slots, each with page-locked host memory and device
memory of its own, so that no more is ever under way than the slots hold.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from dsnet import _C

# Crops of 64x64 in a full chunk: a wave or more on the largest GPU, few enough to fill the slots
# of a small batch.
CHUNK_PIXELS = 1 << 23
LEAST_CHUNK = 256
SLOTS = 3  # one begun, one on the device, one being finished
STREAMS = 2


OutOfDeviceMemory = _C.OutOfDeviceMemory


@dataclass(frozen=True)
class MattingSettings:
    """What matting is asked for, the same for all crops."""

    prior_weight: float
    rtol: float
    epsilon: float = 1e-7
    max_iterations: int = 1000


class Engine(Protocol):
    """What runs cuts and matting: a GPU, or the CPU in its place for tests.

    Memory is given back when it is no longer referred to.
    """

    def stream(self) -> Any:
        """Return a queue of work of its own."""

    def host_memory(self, nbytes: int) -> np.ndarray:
        """Return uint8 [nbytes] that copies run from and to while the CPU goes on."""
        ...

    def device_memory(self, nbytes: int) -> Any:
        """Return device memory; raises OutOfDeviceMemory."""

    def workspace_bytes(self, count: int, rows: int, cols: int) -> int:
        """Return what `cut` and `solve` need for so many crops."""
        ...

    def to_device(self, target: Any, source: np.ndarray, stream: Any) -> None:
        """Start a copy."""

    def to_host(self, target: np.ndarray, source: Any, stream: Any) -> None:
        """Start a copy."""

    def cut(
        self, memory: dict[str, Any], shape: tuple[int, int, int], network: Any, stream: Any
    ) -> None:
        """Start cuts and trimaps of a batch; raises OutOfDeviceMemory."""

    def solve(
        self, memory: dict[str, Any], shape: tuple[int, int, int], settings: MattingSettings,
        stream: Any,
    ) -> None:  # fmt: skip
        """Start matting of a batch that was cut; raises OutOfDeviceMemory."""

    def mark(self, stream: Any) -> Any:
        """Return a point in the stream's work, to wait for."""

    def wait(self, mark: Any) -> None:
        """Return when all work before the mark is done; raises what went wrong in it."""

    def seconds_between(self, start: Any, end: Any) -> float:
        """Return the device's time between two marks that were waited for."""
        ...


# A chunk's arrays that go to the device, and those that come back.
TO_DEVICE = ("images", "plans", "seeds")
FROM_DEVICE = ("masks", "trimaps", "alphas", "cuts", "results")
# What a chunk goes through, in this order.
STAGES = (
    "checks, CPU",
    "copy to the GPU",
    "cut and trimap, GPU",
    "matting, GPU",
    "copy from the GPU",
    "scores, CPU",
)


def _layout(count: int, rows: int, cols: int) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Dtype and shape of a chunk's arrays; the device alone needs the priors."""
    block = (count, rows, cols)
    return {
        "images": (np.dtype(np.float32), block),
        "plans": (np.dtype(np.uint8), (count, _C.CUT_PLAN_BYTES)),
        "seeds": (np.dtype(np.uint64), (count, rows, -(-cols // 64))),
        "priors": (np.dtype(np.float32), block),
        "masks": (np.dtype(np.uint8), block),
        "trimaps": (np.dtype(np.uint8), block),
        "alphas": (np.dtype(np.float32), block),
        "cuts": (_C.CUT_RESULT, (count,)),
        "results": (_C.MATTING_RESULT, (count,)),
    }


class Slot:
    """Memory of one chunk; it grows, and is reused from chunk to chunk.

    Attributes
    ----------
    stream : stream of the engine
        On which the chunk's work runs.
    host : dict of str to ndarray
        In memory that copies run from and to.
    memory : dict of str to device memory
        Of these arrays and of the workspace.
    """

    def __init__(self, engine: Any, stream: Any) -> None:
        self.engine, self.stream = engine, stream
        self._host: dict[str, np.ndarray] = {}
        self._device: dict[str, tuple[int, Any]] = {}
        self.host: dict[str, np.ndarray] = {}
        self.memory: dict[str, Any] = {}

    def hold(
        self,
        arrays: dict[str, tuple[np.dtype, tuple[int, ...]]],
        device_only: Sequence[str],
        workspace_bytes: int,
    ) -> None:
        """Make `host` and `memory` fit arrays of these dtypes and shapes."""
        self.host, self.memory = {}, {}
        for name, (dtype, shape) in arrays.items():
            nbytes = math.prod(shape) * dtype.itemsize
            self._grow(name, nbytes)
            if name in device_only:
                continue
            if name not in self._host or self._host[name].nbytes < nbytes:
                self._host.pop(name, None)
                self._host[name] = self.engine.host_memory(nbytes)
            self.host[name] = self._host[name][:nbytes].view(dtype).reshape(shape)
        self._grow("workspace", workspace_bytes)

    def _grow(self, name: str, nbytes: int) -> None:
        if name not in self._device or self._device[name][0] < nbytes:
            self._device.pop(name, None)
            self._device[name] = (nbytes, self.engine.device_memory(nbytes))
        self.memory[name] = self._device[name][1]


def hold_crops(slot: Slot, count: int, rows: int, cols: int) -> None:
    """Make a slot fit a chunk of crops: the arrays of `TO_DEVICE` and `FROM_DEVICE`, and priors."""
    workspace_bytes = slot.engine.workspace_bytes(count, rows, cols)
    slot.hold(_layout(count, rows, cols), ("priors",), workspace_bytes)


@dataclass
class _Flight:
    """A chunk under way."""

    slot: Slot
    rows: np.ndarray
    begun: _C.BegunLabels | None = None
    marks: tuple = ()  # around each of the device's stages


class Pipeline:
    """Runs chunks of crops through an engine; serves one caller at a time.

    Parameters
    ----------
    engine : Engine
    network : _C.EdgeNetwork
        Of the cut.
    settings : MattingSettings
    """

    def __init__(self, engine: Engine, network: Any, settings: MattingSettings) -> None:
        self.engine, self.network, self.settings = engine, network, settings
        self._lock = threading.Lock()
        self._slots: list[Slot] = []
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self.again = 0  # crops of the last run that the CPU labelled after all

    def stages(self) -> Iterator[tuple[str, float]]:
        """Yield each stage's name and its seconds so far, those of all chunks together.

        The GPU's are times between points of a stream: while several chunks are under way they
        hold what one waits for another. Run as one chunk, crops tell each stage by itself.
        """
        yield from tuple(self._seconds.items())

    def run(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        coordinates: np.ndarray,
        threads: int,
        chunk: int | None = None,
        make: Callable[[Iterable[tuple]], list] = list,
    ) -> list:
        """Label crops.

        Parameters
        ----------
        images : float32 [N, H, W], or sequence of N contiguous float32 [H, W]
        coordinates : float64 [N, 8]
        threads : int
        chunk : int, optional
            Crops in a chunk, at most.
        make : callable
            Makes a chunk's labels, while other chunks are under way, from tuples: alpha, binary,
            trimap and the lists states, values, scores of each crop, as `_C.label_batch` tells
            them.

        Returns
        -------
        list of N
            What `make` made; the tuples without it.

        Raises
        ------
        OutOfDeviceMemory
            Where the device has no room for a single crop.
        """
        done: list[Any] = [None] * len(images)
        missing = np.ones(len(images), dtype=bool)
        self.again = 0
        with self._lock:
            for rows in _by_size(images):
                size = chunk or _chunk_size(len(rows), images[rows[0]].shape)
                while len(rows):
                    try:
                        flights = self._fly(images, coordinates, rows, size, threads)
                        with contextlib.closing(flights):
                            for found, told in flights:
                                for row, label in zip(found.tolist(), make(told), strict=True):
                                    done[row] = label
                                missing[found] = False
                    except OutOfDeviceMemory:
                        self._slots.clear()
                        if size == 1:
                            raise
                        size = max(size // 2, 1)
                    except BaseException:
                        # What is still under way may write to the slots' memory.
                        self._slots.clear()
                        raise
                    rows = rows[missing[rows]]
        return done

    def _fly(self, images, coordinates, rows, size, threads) -> Generator[tuple, None, None]:
        """Yield each chunk's rows and what is told of them, in order."""
        engine = self.engine
        chunks = [rows[i : i + size] for i in range(0, len(rows), size)]
        while len(self._slots) < min(SLOTS, len(chunks)):
            if len(self._slots) < STREAMS:
                stream = engine.stream()
            else:
                stream = self._slots[len(self._slots) % STREAMS].stream
            self._slots.append(Slot(engine, stream))
        height, width = images[rows[0]].shape
        free: queue.SimpleQueue = queue.SimpleQueue()
        flying: queue.SimpleQueue = queue.SimpleQueue()
        stopping = threading.Event()
        for slot in self._slots[: len(chunks)]:
            hold_crops(slot, min(size, len(rows)), height, width)
            free.put(slot)

        def ahead() -> None:
            try:
                for chunk in chunks:
                    slot = free.get()
                    if stopping.is_set():
                        return
                    flying.put(self._start(slot, images, coordinates, chunk, threads))
            except BaseException as error:
                flying.put(error)

        producer = threading.Thread(target=ahead, name="dsnet-begin-labels", daemon=True)
        producer.start()
        try:
            for _ in chunks:
                flight = flying.get()
                if isinstance(flight, BaseException):
                    raise flight
                told = self._finish(flight, threads)
                free.put(flight.slot)
                yield flight.rows, told
        finally:
            stopping.set()
            free.put(None)
            producer.join()
            self._settle(flying)

    def _start(self, slot, images, coordinates, rows, threads) -> _Flight:
        engine, count = self.engine, len(rows)
        host = {name: array[:count] for name, array in slot.host.items()}
        flight = _Flight(slot, rows)
        clock = time.perf_counter()
        flight.begun = _C.begin_labels(
            _taken(images, rows), coordinates[rows], *(host[name] for name in TO_DEVICE), threads
        )
        self._seconds[STAGES[0]] += time.perf_counter() - clock
        stream, shape = slot.stream, host["images"].shape
        try:
            marks = [engine.mark(stream)]
            for name in TO_DEVICE:
                engine.to_device(slot.memory[name], host[name], stream)
            marks.append(engine.mark(stream))
            engine.cut(slot.memory, shape, self.network, stream)
            marks.append(engine.mark(stream))
            engine.solve(slot.memory, shape, self.settings, stream)
            marks.append(engine.mark(stream))
            for name in FROM_DEVICE:
                engine.to_host(host[name], slot.memory[name], stream)
            flight.marks = (*marks, engine.mark(stream))
        except BaseException:
            self._wait_quietly(stream)
            raise
        return flight

    def _finish(self, flight: _Flight, threads: int) -> Iterable[tuple]:
        start, _, cut, _, end = flight.marks
        self.engine.wait(end)
        for stage, (first, last) in zip(STAGES[1:-1], pairwise(flight.marks), strict=True):
            self._seconds[stage] += self.engine.seconds_between(first, last)
        count = len(flight.rows)
        seconds = (
            self.engine.seconds_between(start, cut) / count,
            self.engine.seconds_between(cut, end) / count,
        )
        host = {name: array[:count] for name, array in flight.slot.host.items()}
        clock = time.perf_counter()
        alphas, binaries, trimaps, states, values, scores, again = _C.finish_labels(
            flight.begun, host["images"], *(host[name] for name in FROM_DEVICE), self.network,
            self.settings.prior_weight, self.settings.rtol, seconds, threads,
        )  # fmt: skip
        self._seconds[STAGES[-1]] += time.perf_counter() - clock
        self.again += again
        told = (states.tolist(), values.tolist(), scores.tolist())
        return zip(alphas, binaries, trimaps, *told, strict=True)

    def _settle(self, flying: queue.SimpleQueue) -> None:
        """Wait for what was started and will not be finished: it uses the slots' memory."""
        while True:
            try:
                flight = flying.get_nowait()
            except queue.Empty:
                return
            if isinstance(flight, _Flight):
                self._wait_quietly(flight.slot.stream)

    def _wait_quietly(self, stream: Any) -> None:
        # Another failure is being told.
        with contextlib.suppress(Exception):
            self.engine.wait(self.engine.mark(stream))


def _by_size(images) -> list[np.ndarray]:
    """Rows of each size, the sizes in the order in which they first come."""
    if isinstance(images, np.ndarray):
        return [np.arange(len(images))]
    groups: dict[tuple, list[int]] = {}
    for row, image in enumerate(images):
        groups.setdefault(image.shape, []).append(row)
    return [np.array(rows) for rows in groups.values()]


def _chunk_size(count: int, shape: tuple[int, int]) -> int:
    most = max(CHUNK_PIXELS // (shape[0] * shape[1]), 1)
    return min(most, max(-(-count // (SLOTS + 1)), LEAST_CHUNK))


def _taken(images, rows: np.ndarray):
    if not isinstance(images, np.ndarray):
        return [images[row] for row in rows]
    first, last = int(rows[0]), int(rows[-1])
    return images[first : last + 1] if last - first + 1 == len(rows) else images[rows]
