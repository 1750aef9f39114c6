"""Which GPU, and the engine that runs cuts, trimaps and matting there.

`pipeline` and `masks` are what it serves.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsnet import _C
from dsnet.devices import device_index
from dsnet.labeling.edge_model import native_network
from dsnet.labeling.gpu.network import network_on_device
from dsnet.labeling.gpu.pipeline import MattingSettings, Pipeline

__all__ = ["CudaEngine", "device_count", "device_index", "pipeline", "stages"]

# Images that share workspace at a time where shared memory does not hold one.
_MOST_AT_A_TIME = 1024


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


class CudaEngine:
    """Cuts, trimaps and matting on a CUDA device; a `pipeline.Engine`."""

    def __init__(self, device: int) -> None:
        self.device = device

    def stream(self) -> Any:
        """Return a stream."""
        return _C.CudaStream(self.device)

    def host_memory(self, nbytes: int) -> np.ndarray:
        """Return page-locked memory, uint8 [nbytes]."""
        return _C.cuda_pinned_memory(nbytes, self.device)

    def device_memory(self, nbytes: int) -> Any:
        """Return memory of the device."""
        return _C.CudaMemory(nbytes, self.device)

    def workspace_bytes(self, count: int, rows: int, cols: int) -> int:
        """Return the bytes that `cut` and, after it, `solve` need for so many crops."""
        return max(
            _C.cuda_cut_workspace_bytes(count, rows, cols, self.device),
            _C.cuda_matting_workspace_bytes(count, rows, cols, self.device),
        )

    def to_device(self, target: Any, source: np.ndarray, stream: Any) -> None:
        """Start a copy."""
        _C.cuda_copy_to_device(target, source, stream.address)

    def to_host(self, target: np.ndarray, source: Any, stream: Any) -> None:
        """Start a copy."""
        _C.cuda_copy_to_host(target, source, stream.address)

    def cut(
        self, memory: dict[str, Any], shape: tuple[int, int, int], network: Any, stream: Any
    ) -> None:
        """Start cuts and trimaps of a batch [N, H, W]."""
        arrays = ("images", "plans", "seeds", "masks", "trimaps", "priors", "workspace")
        batch = _C.CutBatch(
            shape,
            network=network_on_device(network, self.device),
            results=memory["cuts"],
            **{name: memory[name] for name in arrays},
        )
        _C.cuda_cut(batch, self.device, stream.address)

    def solve(
        self,
        memory: dict[str, Any],
        shape: tuple[int, int, int],
        settings: MattingSettings,
        stream: Any,
    ) -> None:
        """Start matting of a batch [N, H, W] that has its trimaps and priors."""
        arrays = ("images", "trimaps", "priors", "alphas", "results", "workspace")
        batch = _C.MattingBatch(
            shape,
            prior_weight=settings.prior_weight,
            epsilon=settings.epsilon,
            rtol=settings.rtol,
            max_iterations=settings.max_iterations,
            **{name: memory[name] for name in arrays},
        )
        _C.cuda_matting(batch, self.device, stream.address)

    def mask_workspace_bytes(self, shape: ChunkShape) -> int:
        """Return the bytes that the trimaps and, after them, `solve` need for a chunk."""
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
        """Start strategy 1's trimaps and priors of masks [N, H, W], each with radii and spacing."""
        arrays = ("masks", "erosion", "dilation", "spacing", "statuses", "priors", "workspace")
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
        """Start strategy 2's trimaps and priors of a part of masks [N, R, H, W] of one spacing."""
        count, raters, size = part.stop - part.start, shape.raters or 1, shape.rows * shape.cols
        erosion, dilation = (None if math.isnan(radius) else radius for radius in band)
        batch = _C.RatersBatch(
            (count, raters, shape.rows, shape.cols),
            masks=_Span.of(memory["masks"], part.start, count, raters * size),
            erosion=erosion,
            dilation=dilation,
            spacing=spacing,
            out=_Span.of(memory["trimaps"], part.start, count, size),
            priors=_Span.of(memory["priors"], part.start, count, 4 * size),
            workspace=memory["workspace"],
        )
        _C.cuda_trimap_from_raters(batch, self.device, stream.address)

    def mark(self, stream: Any) -> Any:
        """Return an event after the stream's work so far."""
        event = _C.CudaEvent(self.device)
        event.record(stream.address)
        return event

    def wait(self, mark: Any) -> None:
        """Wait for an event; raises what failed before it."""
        mark.wait()

    def seconds_between(self, start: Any, end: Any) -> float:
        """Return the device's time between two events."""
        return start.seconds_until(end)


@dataclass(frozen=True)
class _Span:
    """A part of device memory, as batches are told of it."""

    address: int
    nbytes: int

    @staticmethod
    def of(memory: Any, first: int, count: int, nbytes: int) -> _Span:
        """So many items of so many bytes each."""
        return _Span(memory.address + first * nbytes, count * nbytes)


def device_count() -> int:
    """Return how many CUDA devices there are; RuntimeError says why there is none."""
    return _C.cuda_device_count()


_pipelines: dict[int, Pipeline] = {}
_lock = threading.Lock()


def pipeline(device: int, settings: MattingSettings) -> Pipeline:
    """Return the device's pipeline, whose memory is kept from batch to batch."""
    with _lock:
        found = _pipelines.get(device)
        if found is None or found.settings != settings:
            found = Pipeline(CudaEngine(device), native_network(), settings)
            _pipelines[device] = found
        return found


def stages(device: str) -> Iterator[tuple[str, float]]:
    """Yield the stages of labels on a device and the seconds of each in this process so far.

    Parameters
    ----------
    device : str
        "cuda" or "cuda:N".

    Yields
    ------
    stage, seconds : str, float
        As `Pipeline.stages` tells them; none before the first label there.
    """
    index = device_index(device)
    with _lock:
        found = None if index is None else _pipelines.get(index)
    if found is not None:
        yield from found.stages()
