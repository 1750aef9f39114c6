"""The CPU in a GPU's place: what runs a pipeline's cuts, trimaps and matting in tests."""

import math
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dsnet import _C
from dsnet.labeling.edge_model import native_network
from dsnet.labeling.gpu import engine as gpu_engine
from dsnet.labeling.gpu import masks as gpu_masks
from emulation_module import emulated_network, emulation


def has_device():
    try:
        return _C.cuda_device_count() > 0
    except RuntimeError:
        return False


def stand_in(monkeypatch):
    """A HostEngine in the place of all CUDA devices; to be closed."""
    engine = HostEngine()
    monkeypatch.setattr(gpu_engine, "device_index", lambda device: 0)
    for module in (gpu_engine, gpu_masks):
        monkeypatch.setattr(module, "CudaEngine", lambda device: engine)
        monkeypatch.setattr(module, "_pipelines", {})
    monkeypatch.setattr(_C, "cuda_device_count", lambda: 2)
    return engine


def array(memory, dtype, shape):
    """The first bytes of some memory as an array."""
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    return memory[:nbytes].view(dtype).reshape(shape)


class Stream:
    """A thread that works its jobs off in order; after one failed, the rest fail like it."""

    def __init__(self):
        self.pool = ThreadPoolExecutor(1)
        self.failure = None

    def submit(self, function, *arguments):
        def work():
            if self.failure is None:
                try:
                    return function(*arguments)
                except BaseException as error:
                    self.failure = error
            if self.failure is not None:
                raise self.failure

        return self.pool.submit(work)


class HostEngine:
    """Cuts, trimaps and matting by the GPU's block code on the CPU.

    Parameters
    ----------
    room : int, optional
        Bytes of "device" memory.
    faults : dict
        An exception for the name of a method: raised when it is called for the `after`-th time.
    """

    def __init__(self, device=0, room=None, faults=None, after=1):
        emulated_network()  # built here, or else the test is skipped
        self.room, self.faults, self.after = room, faults or {}, after
        self.used = self.allocations = 0
        self.launched = []
        self.streams = []
        self._calls = {}

    def _enter(self, name):
        self._calls[name] = self._calls.get(name, 0) + 1
        if name in self.faults and self._calls[name] == self.after:
            raise self.faults[name]

    def stream(self):
        self._enter("stream")
        self.streams.append(Stream())
        return self.streams[-1]

    def host_memory(self, nbytes):
        self._enter("host_memory")
        self.allocations += 1
        return np.full(nbytes, 0xAB, np.uint8)

    def device_memory(self, nbytes):
        self._enter("device_memory")
        if self.room is not None and self.used + nbytes > self.room:
            raise _C.OutOfDeviceMemory(f"no room for {nbytes} bytes")
        self.allocations += 1
        self.used += nbytes
        memory = np.full(nbytes, 0xCD, np.uint8)
        weakref.finalize(memory, self._give_back, nbytes)
        return memory

    def _give_back(self, nbytes):
        self.used -= nbytes

    def workspace_bytes(self, count, rows, cols):
        return 16

    def to_device(self, target, source, stream):
        self._enter("to_device")
        stream.submit(self._copy, target[: source.nbytes], source)

    def to_host(self, target, source, stream):
        self._enter("to_host")
        stream.submit(self._copy, target.reshape(-1).view(np.uint8), source[: target.nbytes])

    @staticmethod
    def _copy(target, source):
        target[:] = source.reshape(-1).view(np.uint8)

    def cut(self, memory, shape, network, stream):
        self._enter("cut")
        stream.submit(self._cut, dict(memory), shape, network)

    def _cut(self, memory, shape, network):
        self._enter("cutting")
        count, rows, cols = shape
        assert network is native_network()
        found = emulation.cut_block(
            array(memory["images"], np.float32, shape),
            array(memory["plans"], np.uint8, (count, _C.CUT_PLAN_BYTES)),
            array(memory["seeds"], np.uint64, (count, rows, -(-cols // 64))),
            emulated_network(),
        )
        for name, values in zip(("masks", "trimaps", "priors", "cuts"), found, strict=True):
            array(memory[name], values.dtype, values.shape)[...] = values

    def solve(self, memory, shape, settings, stream):
        self._enter("solve")
        self.launched.append(shape)
        priors = array(memory["priors"], np.float32, shape)
        stream.submit(self._matting, dict(memory), shape, settings, priors)

    def _matting(self, memory, shape, settings, priors):
        self._enter("solving")
        alphas, infos = emulation.matting_block(
            array(memory["images"], np.float32, shape),
            array(memory["trimaps"], np.uint8, shape),
            priors,
            prior_weight=settings.prior_weight,
            epsilon=settings.epsilon,
            rtol=settings.rtol,
            max_iterations=settings.max_iterations,
        )
        array(memory["alphas"], np.float32, shape)[...] = alphas
        results = memory["results"].view(_C.MATTING_RESULT)
        for result, info in zip(results, infos, strict=False):
            for name in set(info) & set(result.dtype.names):
                result[name] = info[name]

    def mask_workspace_bytes(self, shape):
        return 16

    def trimap_from_mask(self, memory, shape, stream):
        self._enter("trimap_from_mask")
        stream.submit(self._trimap_from_mask, dict(memory), shape)

    def _trimap_from_mask(self, memory, shape):
        self._enter("trimaps")
        radii = [
            array(memory[name], np.float64, (shape.count,)) for name in ("erosion", "dilation")
        ]
        spacing = array(memory["spacing"], np.float64, (shape.count, 2))
        masks = array(memory["masks"], np.uint8, shape.masks)
        trimaps, statuses, priors = emulation.morphology_block("trimap", masks, *radii, spacing)
        assert not statuses.any()
        array(memory["trimaps"], np.uint8, shape.images)[...] = trimaps
        array(memory["priors"], np.float32, shape.images)[...] = priors

    def trimap_from_raters(self, memory, shape, part, band, spacing, stream):
        self._enter("trimap_from_raters")
        stream.submit(self._trimap_from_raters, dict(memory), shape, part, band, spacing)

    def _trimap_from_raters(self, memory, shape, part, band, spacing):
        self._enter("trimaps")
        masks = array(memory["masks"], np.uint8, shape.masks)[part]
        trimaps = array(memory["trimaps"], np.uint8, shape.images)
        priors = array(memory["priors"], np.float32, shape.images)
        trimaps[part], priors[part] = emulation.raters_block(masks, *band, spacing)

    def mark(self, stream):
        self._enter("mark")
        return stream.submit(time.perf_counter)

    def wait(self, mark):
        mark.result()
        self._enter("wait")

    def seconds_between(self, start, end):
        return end.result() - start.result()

    def close(self):
        for stream in self.streams:
            stream.pool.shutdown()
