"""Arrays in a GPU's memory: read by `__cuda_array_interface__` or DLPack, made by their library.

No library is imported here: the caller's own is loaded already.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from dsnet import _C
from dsnet.labeling.arguments import require_pixels

# The stream that waits for all others and that all others wait for, as CUDA numbers it.
LEGACY_STREAM = 1
_DLPACK_CUDA = (2, 13)  # a device's memory, managed memory
_DLPACK_KINDS = {"i": 0, "u": 1, "f": 2, "b": 6}
_SAID = "a CUDA array of torch, CuPy, numba or another library with DLPack"


@dataclass(frozen=True)
class DeviceArray:
    """A contiguous array on a GPU.

    Attributes
    ----------
    name : str
        Of the argument.
    address : int
    shape : tuple of int
    dtype : numpy.dtype
    device : int
    stream : int
        On which the caller's work runs.
    owner : object
        Keeps the memory.
    """

    name: str
    address: int
    shape: tuple[int, ...]
    dtype: np.dtype
    device: int
    stream: int
    owner: Any

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return math.prod(self.shape) * self.dtype.itemsize


def is_on_device(value: Any) -> bool:
    """Whether an array says that it is in a CUDA device's memory."""
    if isinstance(value, np.ndarray):
        return False
    if _library(value) == "torch":
        return value.device.type == "cuda"
    if _interface(value) is not None:
        return True
    told = getattr(value, "__dlpack_device__", None)
    return told is not None and int(told()[0]) in _DLPACK_CUDA


def read(
    value: Any, name: str, dtypes: tuple[str, ...], axes: tuple[str, ...] = ("H", "W")
) -> DeviceArray:
    """Return what an array [H, W] or [N, H, W] tells of itself.

    Parameters
    ----------
    value : array on a CUDA device
    name : str
        Of the argument, for errors.
    dtypes : tuple of str
        Those allowed.
    axes : tuple of str
        Names of the axes, which must not be empty; a batch has one more before them.

    Raises
    ------
    TypeError
        When it is elsewhere, or of another dtype.
    ValueError
        When it has other axes or too many pixels, or is not C-contiguous.
    """
    if not is_on_device(value):
        raise TypeError(
            f"{name} must be on the same CUDA device as the other arrays, got {_kind(value)} in "
            "host memory"
        )
    if _library(value) == "torch":
        value = value.detach()
    interface = _interface(value)
    found = _by_dlpack(value, name) if interface is None else _by_interface(value, interface, name)
    address, shape, strides, dtype, device, stream, owner = found
    if dtype.name not in dtypes or not dtype.isnative:
        raise TypeError(f"{name} must have dtype {' or '.join(dtypes)}, got {dtype}")
    if len(shape) - len(axes) not in (0, 1) or 0 in shape[-len(axes) :]:
        named = ", ".join(axes)
        raise ValueError(
            f"{name} must be [{named}] or [N, {named}] with {named} >= 1, got shape {shape}"
        )
    require_pixels(shape[-2:], name, _C.MOST_DEVICE_PIXELS)
    if strides is not None and not _is_contiguous(shape, strides, dtype.itemsize):
        raise ValueError(
            f"{name} must be C-contiguous, got strides {strides} (bytes) for shape {shape}"
        )
    return DeviceArray(name, address, shape, dtype, device, stream, owner)


def require_same(array: DeviceArray, first: DeviceArray) -> None:
    """Raise ValueError unless both have one shape and one device."""
    if array.shape != first.shape:
        raise ValueError(
            f"{array.name} must have the shape of {first.name} {first.shape}, got {array.shape}"
        )
    if array.device != first.device:
        raise ValueError(
            f"{array.name} must be on the device of {first.name}, cuda:{first.device}, got "
            f"cuda:{array.device}"
        )


class Maker:
    """New arrays of the library that an array is of, on its device and its stream."""

    def __init__(self, like: Any, array: DeviceArray) -> None:
        self.device, self.stream = array.device, array.stream
        self.library = _library(like)
        if self.library not in ("torch", "cupy", "numba") and self._from_dlpack() is None:
            raise TypeError(f"{array.name} must be {_SAID}, got {_kind(like)}")

    def empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        """Return an array of any content."""
        return self._described(self._made(shape, np.dtype(dtype)), shape, dtype)

    def full(self, shape: tuple[int, ...], values: tuple[float, ...], dtype: Any) -> DeviceArray:
        """Return an array whose last axis holds these values, or one value all over."""
        if self.library not in ("torch", "cupy"):
            made = self._copied(np.broadcast_to(np.array(values, dtype), shape))
        else:
            made = self._made(shape, np.dtype(dtype))
            if len(values) == 1:
                made[...] = values[0]
            else:
                for k, value in enumerate(values):
                    made[..., k] = value
        return self._described(made, shape, dtype)

    def uploaded(self, values: np.ndarray) -> DeviceArray:
        """Return a copy of an array in host memory, of any dtype, made on the stream.

        To its library it is bytes.
        """
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        module = cast(Any, sys.modules.get(self.library))
        if self.library == "torch":
            made = module.from_numpy(data).to(f"cuda:{self.device}")
        elif self.library == "cupy":
            with module.cuda.Device(self.device):
                made = module.asarray(data)
        else:
            made = self._copied(data)
        return self._described(made, values.shape, values.dtype)

    def give(self, array: DeviceArray) -> Any:
        """Return an array made here as the caller's library knows it."""
        made = array.owner
        return self._from_dlpack()(made) if isinstance(made, _Made) else made

    def _described(self, made: Any, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        if isinstance(made, _Made):
            address = made.memory.address
        else:
            address = made.__cuda_array_interface__["data"][0]
        return DeviceArray("", address, shape, np.dtype(dtype), self.device, self.stream, made)

    def _made(self, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        module = cast(Any, sys.modules.get(self.library))
        if self.library == "torch":
            torch_dtype = getattr(module, dtype.name)
            return module.empty(shape, dtype=torch_dtype, device=f"cuda:{self.device}")
        if self.library == "cupy":
            with module.cuda.Device(self.device):
                return module.empty(shape, dtype=dtype)
        if self.library == "numba":
            with module.cuda.gpus[self.device]:
                return module.cuda.device_array(shape, dtype=dtype)
        return _Made(shape, dtype, self.device, self.stream)

    def _copied(self, values: np.ndarray) -> Any:
        values = np.ascontiguousarray(values)
        if self.library == "numba":
            module = sys.modules["numba"]
            with module.cuda.gpus[self.device]:
                return module.cuda.to_device(values)
        made = _Made(values.shape, values.dtype, self.device, self.stream)
        _C.cuda_copy_to_device(made.memory, values, self.stream)
        return made

    def _from_dlpack(self) -> Any:
        module = sys.modules.get({"jaxlib": "jax.numpy"}.get(self.library, self.library))
        return getattr(module, "from_dlpack", None)


def _interface(value: Any) -> dict | None:
    # Some libraries' arrays have the attribute, but raise where they are in host memory.
    try:
        return getattr(value, "__cuda_array_interface__", None)
    except Exception:
        return None


class _Made:
    """An array of ours, for libraries that take DLPack alone."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, device: int, stream: int) -> None:
        self.shape, self.dtype, self.device, self.stream = shape, dtype, device, stream
        self.memory = _C.CudaMemory(max(int(np.prod(shape)) * dtype.itemsize, 1), device)

    def __dlpack_device__(self) -> tuple[int, int]:
        return _DLPACK_CUDA[0], self.device

    def __dlpack__(self, stream: Any = None, **_: Any) -> Any:
        if stream != -1:
            event = _C.CudaEvent(self.device)
            event.record(self.stream)
            event.wait()
        return _C.dlpack_capsule(
            self.memory,
            self.memory.address,
            list(self.shape),
            _DLPACK_KINDS[self.dtype.kind],
            8 * self.dtype.itemsize,
            _DLPACK_CUDA[0],
            self.device,
        )


def _by_interface(value: Any, interface: dict, name: str) -> tuple:
    if interface.get("mask") is not None:
        raise TypeError(f"{name} must not be a masked array")
    address, _ = interface["data"]  # whether it is read-only: arguments are not written to
    stream = interface.get("stream")
    if _library(value) == "torch":
        device = value.device.index
        stream = sys.modules["torch"].cuda.current_stream(device).cuda_stream or LEGACY_STREAM
    else:
        if stream == 0:
            raise ValueError(f"{name} tells stream 0, which __cuda_array_interface__ disallows")
        device = _C.cuda_device_of(address) if address else 0
        if device < 0:
            raise ValueError(f"{name} tells an address that is not in a CUDA device's memory")
    dtype = np.dtype(interface["typestr"])
    shape = tuple(int(size) for size in interface["shape"])
    strides = interface.get("strides")
    return address, shape, strides, dtype, device, stream or LEGACY_STREAM, value


def _by_dlpack(value: Any, name: str) -> tuple:
    # What runs later on the legacy stream comes after the producer's work.
    capsule = value.__dlpack__(stream=LEGACY_STREAM)
    told = _C.read_dlpack(capsule)
    kinds = {code: kind for kind, code in _DLPACK_KINDS.items()}
    if told["code"] not in kinds or told["bits"] % 8:
        raise TypeError(f"{name} must be of integers, floats or booleans, got a DLPack array of "
                        f"type {told['code']} and {told['bits']} bits")  # fmt: skip
    dtype = np.dtype(f"{kinds[told['code']]}{told['bits'] // 8}")
    strides = told["strides"]
    if strides is not None:
        strides = tuple(step * dtype.itemsize for step in strides)
    return (
        told["address"], told["shape"], strides, dtype, told["device"][1], LEGACY_STREAM,
        (value, capsule),
    )  # fmt: skip


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    expected = itemsize
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and stride != expected:
            return 0 in shape
        expected *= size
    return True


def _library(value: Any) -> str:
    name = type(value).__module__.partition(".")[0]
    return {"numba_cuda": "numba"}.get(name, name)


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{_library(value)}.{kind.__name__}"
