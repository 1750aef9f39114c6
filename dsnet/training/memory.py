"""Whether a device can hold a training, before it is made."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from dsnet.devices import memory_of

# A weight, its gradient and Adam's two moments, float32.
BYTES_A_WEIGHT = 16


def require_memory(make: Callable[[], nn.Module], device: torch.device, names: str) -> None:
    """Raise where the weights alone of what `make` makes are too many to be trained on a device.

    Parameters
    ----------
    make : callable
        Is called with torch's "meta" device as the default one, where nothing is allocated.
    device : torch.device
    names : str
        The options that the size follows from, for the error.

    Raises
    ------
    ValueError
        With the gigabytes that are needed, and those that there are.
    """
    with torch.device("meta"):
        count = sum(p.numel() for p in make().parameters())
    needed, there = count * BYTES_A_WEIGHT, memory_of(device)
    if needed > there:
        raise ValueError(
            f"{names} must be less: {count:,} weights need {needed / 1e9:,.1f} GB in training, "
            f"{device} has {there / 1e9:,.1f} GB"
        )
