"""What people drew of the cases of a label store: whether it is the truth, and how they agreed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from dsnet.data.store.reviewed import AS_MADE, open_reviewed
from dsnet.models.grid import resized


class Drawn(NamedTuple):
    """share : Tensor [N, H, W] float32 or None
        Of the readers who marked a pixel; None unless the store has it of all the cases.
    truth : str
        What the cases' binary masks are, in words.
    """

    share: torch.Tensor | None
    truth: str


def what_people_drew(
    source: str, keys: Sequence[str], shape: tuple[int, int], reviewed: str = AS_MADE
) -> Drawn:
    """Of these cases, brought to `shape`.

    Parameters
    ----------
    source : path
        The label store; "" of phantoms.
    keys : sequence of N str
    shape : (int, int)
        Height and width of the cases.
    reviewed : str
        As `data.store.reviewed.open_reviewed` takes it.
    """
    if not source:
        return Drawn(None, "the phantoms' soft masks cut at one half")
    wanted = set(keys)
    share: dict[str, torch.Tensor] = {}
    drawn = 0
    for record in open_reviewed(source, reviewed).records("ok"):
        if record.key in wanted:
            drawn += record.truth is not None
            if record.readers is not None:
                share[record.key] = resized(record.readers, shape)
    if not drawn:
        truth = "the labels cut at one half"
    elif drawn == len(wanted):
        truth = "what people drew"
    else:
        truth = f"what people drew in {drawn} of {len(wanted)} cases, else the label at one half"
    whole = share.keys() == wanted
    return Drawn(torch.stack([share[key] for key in keys]) if whole else None, truth)
