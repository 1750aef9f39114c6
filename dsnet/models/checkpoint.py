"""Models in one file: configuration and weights, loaded with one call.

Public
------
``save_model(path, model)``: a `DSNet` or an `SRResNet`, compiled or wrapped ones included
``load_model(path, device="cpu") -> DSNet or SRResNet`` in evaluation mode
``save_tensors(path, content)``: `torch.save`, whole or not at all
``unwrap(model)``: the module inside `torch.compile` and data parallel wrappers
``state_of(model) -> dict``: its state without the wrappers' prefixes
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dsnet.files import write_atomically
from dsnet.models.dsnet import DSNet, DSNetConfig
from dsnet.models.srgan import SRResNet

FORMAT = "dsnet-model"
VERSION = 1


def unwrap(model: nn.Module) -> nn.Module:
    """The module that `torch.compile`, DataParallel or DistributedDataParallel wraps."""
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    inner: Any = model
    while True:
        if isinstance(inner, parallel):
            inner = inner.module
        elif hasattr(inner, "_orig_mod"):
            inner = inner._orig_mod
        else:
            return inner


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """State of the unwrapped module; compiled submodules leave no `_orig_mod.` either."""
    state = unwrap(model).state_dict()
    return {name.replace("_orig_mod.", ""): value for name, value in state.items()}


def save_model(path: str | os.PathLike, model: nn.Module) -> None:
    """Write configuration and weights, all at once or not at all.

    Parameters
    ----------
    path : path
        The file; an older one is replaced.
    model : DSNet or SRResNet
        On any device, in any memory format, also compiled or wrapped for parallel training. A
        DSNet takes its teacher along.

    Raises
    ------
    TypeError
        For another module.
    """
    inner = unwrap(model)
    if isinstance(inner, DSNet):
        kind, config = "DSNet", asdict(inner.config)
    elif isinstance(inner, SRResNet):
        kind, config = "SRResNet", inner.config
    else:
        raise TypeError(f"model must be a DSNet or SRResNet, got {type(inner).__name__}")
    state = {k: v.detach().cpu().contiguous() for k, v in state_of(model).items()}
    content = {
        "format": FORMAT, "version": VERSION, "kind": kind, "config": config, "state": state,
    }  # fmt: skip
    save_tensors(path, content)


def save_tensors(path: str | os.PathLike, content: dict) -> None:
    """`torch.save` into a file that is there whole or not at all; equal content, equal bytes."""

    def write(temporary: Path) -> None:
        # Given a path, torch would keep the temporary name in the file.
        with open(temporary, "wb") as file:
            torch.save(content, file)

    write_atomically(path, write)


def load_model(path: str | os.PathLike, device: torch.device | str = "cpu") -> DSNet | SRResNet:
    """Read what `save_model` wrote.

    Parameters
    ----------
    path : path
    device : device
        Where the model goes.

    Returns
    -------
    DSNet or SRResNet
        In evaluation mode.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is something else, or of a later version.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"path must be a file, got {os.fspath(path)}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"path must be a model file of dsnet, got {path}: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"path must be a model file, which save_model writes, got {path}")
    if content["version"] > VERSION:
        raise ValueError(
            f"path must be of version {VERSION} at most, got {path} of {content['version']}"
        )
    if content["kind"] == "DSNet":
        model = DSNet(DSNetConfig(**content["config"]))
    elif content["kind"] == "SRResNet":
        model = SRResNet(**content["config"])
    else:
        raise ValueError(f"{path} must hold a DSNet or SRResNet, got {content['kind']}")
    model.load_state_dict(content["state"])
    return model.to(device).eval()
