"""How a network stands after an epoch: its Dice on the validation cases, and where it is best cut.

Public
------
``validate(network, data, settings, rank, world, panel) -> Validated(dice, threshold, dice_half)``
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist

from dsnet.drawing.panel import write_panel
from dsnet.metrics import THRESHOLD_GRID, choose_threshold, dice_by_threshold
from dsnet.models import DSNet, to_input_grid
from dsnet.training.dataset import DeviceDataset
from dsnet.training.settings import Settings
from dsnet.training.step import autocast

PANEL_ROWS = 6
ONE_HALF = THRESHOLD_GRID.index(0.5)


class Validated(NamedTuple):
    """Mean Dice over cases at the threshold that gives the greatest, and at one half."""

    dice: float
    threshold: float
    dice_half: float


@torch.no_grad()
def validate(
    network: DSNet, data: DeviceDataset, settings: Settings, rank: int, world: int, panel: Path
) -> Validated:
    """Score a network on the input's grid; every process of a run its share of the cases.

    Parameters
    ----------
    network : DSNet
        Put into evaluation mode.
    data : DeviceDataset
        All the cases, at least one.
    settings : Settings
    rank, world : int
        Which of how many processes this is. All get the same answer, bit for bit, as the cases'
        figures are exact and are brought together before any mean is taken.
    panel : Path
        Picture of the first process's first cases.
    """
    network.eval()
    if world > 1:
        # Running statistics are each process's own; what is saved, and counts, is the first one's.
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)
    part = data.subset(range(rank, len(data), world))
    size = max(settings.batch, 8)
    dice = torch.zeros(
        len(data), len(THRESHOLD_GRID), dtype=torch.float64, device=data.image.device
    )
    drawn, found = [], []
    for image, binary in zip(part.inputs().split(size), part.binary.split(size), strict=True):
        if not len(image):
            continue
        with autocast(image, settings.precision):
            soft = to_input_grid(network(image), network.config.scale)
        found.append(dice_by_threshold(soft, binary))
        if rank == 0 and sum(map(len, drawn)) < PANEL_ROWS:
            drawn.append(soft)
    if found:
        dice[rank::world] = torch.cat(found)
    if rank == 0:
        planes = (part.image, part.soft, torch.cat(drawn))
        write_panel(panel, *(t[:PANEL_ROWS, 0].float().cpu().numpy() for t in planes))
    if world > 1:
        dist.all_reduce(dice)
    dice = dice.cpu()
    chosen = choose_threshold(dice)
    return Validated(chosen.dice, chosen.threshold, float(dice[:, ONE_HALF].mean()))
