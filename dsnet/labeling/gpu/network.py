"""The edge model's network in a GPU's memory: copied there once, and kept."""

from __future__ import annotations

import threading
from typing import Any

from dsnet import _C

_held: dict[tuple[_C.EdgeNetwork, int], Any] = {}
_lock = threading.Lock()


def network_on_device(network: _C.EdgeNetwork, device: int) -> Any:
    """Return a network in a device's memory, for work on any of its streams.

    Parameters
    ----------
    network : _C.EdgeNetwork
    device : int

    Returns
    -------
    _C.CudaMemory
        `_C.EDGE_NETWORK_BYTES`, kept as long as the process.

    Raises
    ------
    OutOfDeviceMemory
        Where the device has no room for it.
    """
    with _lock:
        found = _held.get((network, device))
        if found is None:
            found = _C.CudaMemory(_C.EDGE_NETWORK_BYTES, device)
            stream, event = _C.CudaStream(device), _C.CudaEvent(device)
            _C.cuda_copy_to_device(found, network.bytes, stream.address)
            event.record(stream.address)
            event.wait()  # other streams read it
            _held[network, device] = found
        return found
