"""Which device is meant by "cpu", "cuda", "cuda:N" or "auto".

Public
------
``device_index(device) -> int or None``: the GPU that labels, None for the CPU; needs no torch
``labelling_device(device) -> str``: the same without "auto", for processes to share the GPUs
``torch_device(device) -> torch.device``: where a network works
``memory_of(device) -> int``: its bytes
``usable_cores() -> int``: CPU cores that this process may run on
``use_threads(count)``: threads of torch's operations
``out_of_memory(error) -> str``: what to tell of an error that is a device's full memory, else ""
``NoDevice``

"cuda" is the first GPU, "auto" the first GPU where there is one, otherwise the CPU.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

HELP = "cpu, cuda, cuda:N or auto"


class NoDevice(RuntimeError):
    """The GPU that was asked for is not there."""


def device_index(device: str) -> int | None:
    """Return the number of the CUDA device that labels; None is the CPU.

    Parameters
    ----------
    device : str
        "cpu", "cuda", "cuda:N" or "auto".

    Raises
    ------
    ValueError
        For another name.
    RuntimeError
        Without such a device, a driver, or CUDA in this build of dsnet; one sentence says what to
        do.
    """
    from dsnet import _C

    wanted = _parsed(device)
    if wanted is None:
        return None
    try:
        count = _C.cuda_device_count()
    except RuntimeError:
        if device == "auto":
            return None
        raise
    return _among(wanted, count, device)


def labelling_device(device: str) -> str:
    """Return "cuda" or "cpu" for "auto", whichever there is; another device as it is."""
    if device != "auto":
        return device
    return "cpu" if device_index(device) is None else "cuda"


def torch_device(device: str) -> torch.device:
    """Return torch's device; raises as `device_index`, of this build of torch."""
    import torch

    wanted = _parsed(device)
    if wanted is None or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.backends.cuda.is_built():
        raise NoDevice(
            "this torch was built without CUDA: install one with CUDA, or use device='cpu'"
        )
    if not torch.cuda.is_available():
        raise NoDevice(
            "no CUDA device was found: see nvidia-smi and CUDA_VISIBLE_DEVICES, or use device='cpu'"
        )
    return torch.device("cuda", _among(wanted, torch.cuda.device_count(), device))


def memory_of(device: torch.device) -> int:
    """Bytes of memory that a device has, in use or not."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def usable_cores() -> int:
    """CPU cores that this process may run on: of a container or a batch job, often fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_threads(count: int | None) -> None:
    """Let torch work with so many CPU threads, but with no more than there are cores.

    0 and None leave it as it is.
    """
    if count:
        import torch

        torch.set_num_threads(min(count, usable_cores()))


def out_of_memory(error: BaseException) -> str:
    """What to tell of a device whose memory is full; empty for another error."""
    text = str(error)
    # torch has an error of its own for a GPU alone.
    full = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if full or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in text):
        return "the device's memory is full: take a smaller --batch, crops or network"
    return ""


def _parsed(device: str) -> int | None:
    """The number of the GPU that is meant, or None for the CPU."""
    found = re.fullmatch(r"cpu|auto|cuda(?::(\d{1,4}))?", device) if isinstance(device, str) else 0
    if not found:
        raise ValueError(f"device must be 'cpu', 'cuda', 'cuda:N' or 'auto', got {device!r}")
    return None if device == "cpu" else int(found[1] or 0)


def _among(index: int, count: int, device: str) -> int:
    if index >= count:
        raise NoDevice(
            f"there is no {device}: this machine has {count} CUDA device{'s' * (count > 1)}, "
            "cuda:0 the first"
        )
    return index
