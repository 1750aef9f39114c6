"""Released weights: networks of ours that were trained on LIDC-IDRI, and come with the package.

Public
------
``load(name, device="cpu") -> DSNet or SRResNet``
``names() -> tuple of str``, ``path_of(name) -> Path``, ``is_name(text) -> bool``
``save_pretrained(path, model, crop=USUAL_CROP, threshold=None)``

``dsnet-lidc`` segments a crop, ``dsnet-lidc-mark`` a crop with its RECIST mark, ``dsnet-lidc-sr``
is an SR teacher. Data, licence, figures and limits stand in `weights/README.md`, the model card.
Whoever takes a model file takes a name, too: `dsnet.models.load_model`, the commands.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from dsnet.models.checkpoint import USUAL_CROP, content_of, load_model
from dsnet.models.dsnet import DSNet
from dsnet.models.released import installed, is_name, names, path_of
from dsnet.models.srgan import SRResNet
from dsnet.models.weights_file import save_weights

__all__ = ["is_name", "load", "names", "path_of", "save_pretrained"]


def load(name: str, device: torch.device | str = "cpu") -> DSNet | SRResNet:
    """Released weights as a network in evaluation mode, in float32.

    How crops are made for it tells `dsnet.inference.crop_settings(name)`.

    Parameters
    ----------
    name : str
        One of `names()`; a file that is called so in the working folder does not matter here.
    device : device

    Raises
    ------
    ValueError
        For another name, or a file that is damaged.
    FileNotFoundError
        Where the file is not installed.
    """
    return load_model(installed(name), device)


def save_pretrained(
    path: str | os.PathLike,
    model: nn.Module,
    crop: Mapping[str, Any] | None = USUAL_CROP,
    threshold: float | None = None,
) -> None:
    """Write a model in half precision as ``NAME.safetensors``, and its SHA-256 beside it.

    `load_model` reads it while `checksums.json` lies beside it. Weights are rounded: a trained
    network's soft mask moves by some thousandths.

    Parameters
    ----------
    path : path
        Ending in ``.safetensors``; an older file is replaced.
    model, crop, threshold
        As `dsnet.models.save_model` takes them.

    Raises
    ------
    TypeError
        For another module.
    ValueError
        For another ending, or a threshold outside of 0..1, or 0.
    OSError
        When it cannot be written; an older file is kept.
    """
    save_weights(path, content_of(model, crop, threshold))
