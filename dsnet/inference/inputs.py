"""What a network sees of a crop: the slice and, where it learnt from them, neighbours and mark."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from dsnet.data.crop import Crop
from dsnet.models import DSNet, mark_plane
from dsnet.models.grid import resized

BOX_NOTE = "a box tells no mark: the network saw its middle lines as one"


def sees(network: nn.Module) -> tuple[int, bool]:
    """Slices on either side, and whether the mark, that a network sees beside the slice."""
    if not isinstance(network, DSNet):
        return 0, False
    return network.config.neighbours, network.config.mark_input


def network_inputs(crops: Sequence[Crop], side: int, marks: bool) -> torch.Tensor:
    """Inputs of crops that were brought into their windows.

    Parameters
    ----------
    crops : sequence of N Crop
        With as many neighbours each.
    side : int
        Pixels a side that the network sees.
    marks : bool
        Whether it sees the mark, too.

    Returns
    -------
    Tensor [N, C, side, side], float32
        As `DSNet.forward` takes them.
    """
    planes = [_slices(crop, side) for crop in crops]
    inputs = torch.stack(planes)
    if not marks:
        return inputs
    drawn = []
    for crop in crops:
        assert crop.mark is not None
        height, width = crop.image.shape
        mark = (
            crop.mark
            if (height, width) == (side, side)
            else crop.mark.scaled(side / width, side / height)
        )
        drawn.append(mark.assumed().coordinates)
    where = torch.from_numpy(np.stack(drawn)).float()
    return torch.cat([inputs, mark_plane(where, (side, side))], 1)


def _slices(crop: Crop, side: int) -> torch.Tensor:
    beside = () if crop.neighbours is None else crop.neighbours
    return torch.stack([resized(plane, (side, side)) for plane in (crop.image, *beside)])
