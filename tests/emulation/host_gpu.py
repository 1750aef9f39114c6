"""Host memory in a GPU's place: arrays that say so, and `_C`'s GPU functions on them."""

import ctypes
import types

import numpy as np

from dsnet import _C
from dsnet.labeling.edge_model import native_network
from dsnet.labeling.gpu import network as gpu_network
from emulation_module import emulated_network, emulation


class Array:
    """What a library's array on a GPU tells of itself; `memory` stands for the GPU's."""

    def __init__(self, memory, **told):
        self.memory, self.told = memory, told

    @property
    def __cuda_array_interface__(self):
        strides = None if self.memory.flags.c_contiguous else self.memory.strides
        return {
            "shape": self.memory.shape,
            "typestr": self.memory.dtype.str,
            "data": (self.memory.ctypes.data, True),
            "strides": strides,
            "stream": 7,
            "version": 3,
            **self.told,
        }

    def __setitem__(self, index, value):
        self.memory[index] = value


class ByDlpack:
    """An array of a library without `__cuda_array_interface__`."""

    def __init__(self, memory):
        self.memory, self.asked = memory, []

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, stream=None):
        self.asked.append(stream)
        memory, code = self.memory, {"f": 2, "u": 1, "b": 6}[self.memory.dtype.kind]
        return _C.dlpack_capsule(
            memory, memory.ctypes.data, list(memory.shape), code, 8 * memory.itemsize, 2, 0
        )


def at(address, shape, dtype):
    """The array that an address means."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * nbytes).from_address(address), dtype).reshape(shape)


class Gpu:
    """`_C`'s GPU functions over host memory, and what they were called with."""

    def __init__(self, monkeypatch):
        self.device_of, self.streams, self.workspaces = {}, [], []
        put = {
            "cuda_device_of": lambda address: self.device_of.get(address, 0),
            "cuda_cut_workspace_bytes": lambda count, rows, cols, device: 48,
            "cuda_cut": self.cut,
            "cuda_matting_workspace_bytes": lambda count, rows, cols, device: 32,
            "cuda_matting": self.matting,
            "cuda_morphology_workspace_bytes": lambda work, rows, cols, device: 8,
            "cuda_morphology": self.morphology,
            "cuda_raters_workspace_bytes": lambda count, rows, cols, most, device: 24,
            "cuda_trimap_from_raters": self.trimap_from_raters,
            "cuda_read": self.read,
            "cuda_copy_to_device": self.copy,
            "cuda_copy_to_host": lambda target, source, stream: self.read(
                target, source.address, 0, stream
            ),
            "cuda_pinned_memory": lambda nbytes, device: np.full(nbytes, 0xAB, np.uint8),
            "CudaMemory": Memory,
            "CudaStream": lambda device: types.SimpleNamespace(address=70 + device),
            "CudaEvent": lambda device: types.SimpleNamespace(
                record=lambda s: None, wait=lambda: None, seconds_until=lambda end: 0.25
            ),
        }
        for name, function in put.items():
            monkeypatch.setattr(_C, name, function, raising=False)
        monkeypatch.setattr(gpu_network, "_held", {})

    def worked(self, batch, stream):
        at(batch.workspace, (batch.workspace_bytes,), "u1")[:] = 1
        self.streams.append(stream)

    def cut(self, batch, device, stream):
        shape = (batch.count, batch.rows, batch.cols)
        network = at(batch.network, (_C.EDGE_NETWORK_BYTES,), "u1")
        assert np.array_equal(network, native_network().bytes)
        found = emulation.cut_block(
            at(batch.images, shape, "f4"),
            at(batch.plans, (batch.count, _C.CUT_PLAN_BYTES), "u1"),
            at(batch.seeds, (batch.count, batch.rows, -(-batch.cols // 64)), "u8"),
            emulated_network(),
        )
        places = (batch.masks, batch.trimaps, batch.priors, batch.results)
        for address, values in zip(places, found, strict=True):
            at(address, values.shape, values.dtype)[:] = values
        self.worked(batch, stream)

    def matting(self, batch, device, stream):
        shape = (batch.count, batch.rows, batch.cols)
        found, infos = emulation.matting_block(
            at(batch.images, shape, "f4"),
            at(batch.trimaps, shape, "u1"),
            at(batch.priors, shape, "f4") if batch.priors else None,
            batch.prior_weight,
            batch.epsilon,
            batch.rtol,
            batch.max_iterations,
        )
        at(batch.alphas, shape, "f4")[:] = found
        results = at(batch.results, (batch.count,), _C.MATTING_RESULT)
        for result, info in zip(results, infos, strict=True):
            for name in set(info) & set(result.dtype.names):
                result[name] = info[name]
        self.worked(batch, stream)

    def morphology(self, work, batch, device, stream):
        count, shape = batch.count, (batch.count, batch.rows, batch.cols)
        assert not batch.packed and (work == "trimap_from_mask" or not batch.cores)
        assert bool(batch.erosion) == (work != "dilate")
        assert bool(batch.dilation) == (work != "erode")
        places = [place for place in (batch.erosion, batch.dilation) if place]
        radii = [at(place, (count,), "f8") for place in places]
        for i, mask in enumerate(at(batch.masks, shape, "u1")):
            given = [None if np.isnan(r[i]) else r[i] for r in radii]
            given += list(at(batch.spacing, (count, 2), "f8")[i]) if batch.spacing else [1.0, 1.0]
            if batch.cores:
                given.append(at(batch.cores, shape, "u1")[i])
            at(batch.out, shape, "u1")[i] = getattr(_C, work)(mask, *given)
        at(batch.statuses, (count,), "i4")[:] = 0
        if batch.priors:
            masks = at(batch.masks, shape, "u1")
            trimaps = at(batch.out, shape, "u1")
            steps = at(batch.spacing, (count, 2), "f8")[0] if batch.spacing else (1.0, 1.0)
            at(batch.priors, shape, "f4")[:] = _C.mask_prior(masks, trimaps, *steps)
        self.worked(batch, stream)

    def trimap_from_raters(self, batch, device, stream):
        shape = (batch.count, batch.raters, batch.rows, batch.cols)
        steps = (batch.row_spacing, batch.col_spacing)
        found, priors = emulation.raters_block(
            at(batch.masks, shape, "u1"), batch.erosion, batch.dilation, steps
        )
        at(batch.out, found.shape, "u1")[:] = found
        if batch.priors:
            at(batch.priors, found.shape, "f4")[:] = priors
        self.worked(batch, stream)

    def read(self, target, address, device, stream):
        target[...] = at(address, target.shape, target.dtype)

    def copy(self, target, source, stream):
        at(target.address, source.shape, source.dtype)[...] = source


class Memory:
    def __init__(self, nbytes, device):
        self.memory = np.full(nbytes, 0xCD, np.uint8)
        self.address, self.nbytes = self.memory.ctypes.data, nbytes


def there(tensor):
    """What a batch wants to know of a torch tensor's memory."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    return types.SimpleNamespace(address=tensor.data_ptr(), nbytes=tensor.nbytes, dtype=dtype)


class OnCpu:
    """A made array, for NumPy: its memory is the host's."""

    def __init__(self, made):
        self.made = made
        assert made.__dlpack_device__() == (2, 0)

    def __dlpack_device__(self):
        return 1, 0

    def __dlpack__(self, **_):
        told = _C.read_dlpack(self.made.__dlpack__(stream=1))
        code, bits = told["code"], told["bits"]
        return _C.dlpack_capsule(
            self.made.memory, told["address"], list(told["shape"]), code, bits, 1, 0
        )
