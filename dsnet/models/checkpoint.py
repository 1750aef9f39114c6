"""Models in one file: configuration, weights, threshold and how the crops were cut.

Public
------
``save_model(path, model, crop=USUAL_CROP, threshold=None)``: a `DSNet` or an `SRResNet`, compiled
    or wrapped ones, too
``content_of(model, crop=USUAL_CROP, threshold=None) -> dict``: what it writes
``USUAL_CROP``: how crops are made that nobody asked to be made otherwise
``load_model(path, device="cpu") -> DSNet or SRResNet`` in evaluation mode
``model_crop(path) -> dict or None``: what `save_model` was given
``model_inputs(path) -> (int, bool)``: neighbours and mark_input of its config
``unwrap(model)``: the module inside `torch.compile` and data parallel wrappers
``state_of(model) -> dict``: its state without the wrappers' prefixes

Whatever takes the path of a file takes one of `dsnet.models.pretrained.save_pretrained`, too, and
the name of released weights; what lies at a path outranks a name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from dsnet.arguments import Range, brief
from dsnet.models.config import DSNetConfig
from dsnet.models.dsnet import DSNet
from dsnet.models.released import located
from dsnet.models.srgan import SRResNet
from dsnet.models.tensor_file import load_tensors, save_tensors
from dsnet.models.weights_file import SUFFIX, load_weights

FORMAT = "dsnet-model"
VERSION = 3  # 1 had no `crop`, 2 no `threshold`
THRESHOLDS = Range(float, above=0, most=1)
WHAT = "a model file of dsnet"
# What `dsnet.data.crop_settings.CropSettings` would be by the defaults of `dsnet.label recist` and
# of `dsnet.inference.segment_slice`: 64 pixels a side, each lesion's own window, native pixels.
USUAL_CROP: Mapping[str, Any] = MappingProxyType(
    {"size": 64, "window": "auto", "isotropic_mm": None, "network_size": None}
)


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


def save_model(
    path: str | os.PathLike,
    model: nn.Module,
    crop: Mapping[str, Any] | None = USUAL_CROP,
    threshold: float | None = None,
) -> None:
    """Write configuration and weights, all at once or not at all.

    Parameters
    ----------
    path : path
        The file; an older one is replaced.
    model : DSNet or SRResNet
        On any device, in any memory format, also compiled or wrapped for parallel training. A
        DSNet takes its teacher along.
    crop : dict or None
        How the crops that a DSNet learnt from were made, as `CropSettings.to_dict` of
        `dsnet.data.crop_settings` has it; by default as crops are made that nobody asked to be
        made otherwise. None: not known; whoever predicts with the file must then say.
    threshold : float, optional
        From where on a pixel of a DSNet's soft mask is lesion; by default what the model has.

    Raises
    ------
    TypeError
        For another module.
    ValueError
        For a threshold outside of 0..1, or 0.
    OSError
        When it cannot be written; an older file is kept.
    """
    save_tensors(path, content_of(model, crop, threshold))


def content_of(
    model: nn.Module,
    crop: Mapping[str, Any] | None = USUAL_CROP,
    threshold: float | None = None,
) -> dict[str, Any]:
    """What a model's file holds; takes and raises what `save_model` does, but for OSError."""
    inner = unwrap(model)
    if isinstance(inner, DSNet):
        kind, config = "DSNet", asdict(inner.config)
        threshold = inner.threshold if threshold is None else threshold
    elif isinstance(inner, SRResNet):
        kind, config = "SRResNet", inner.config
        crop = None if crop is USUAL_CROP else crop  # A teacher is given no crops of lesions.
    else:
        raise TypeError(f"model must be a DSNet or SRResNet, got {type(inner).__name__}")
    if threshold is not None:
        THRESHOLDS.check("threshold", threshold)
    state = {k: v.detach().cpu().contiguous() for k, v in state_of(model).items()}
    return {
        "format": FORMAT, "version": VERSION, "kind": kind, "config": config,
        "crop": dict(crop) if isinstance(crop, Mapping) else crop, "threshold": threshold,
        "state": state,
    }  # fmt: skip


def load_model(path: str | os.PathLike, device: torch.device | str = "cpu") -> DSNet | SRResNet:
    """Read what `save_model` wrote.

    Parameters
    ----------
    path : path or str
        Of the file, or the name of released weights.
    device : device
        Where the model goes.

    Returns
    -------
    DSNet or SRResNet
        In evaluation mode. A DSNet has the threshold that the file has; None where that has none,
        as one of an older version.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is something else, of a later version, or damaged.
    """
    content = _read(path)
    kind, config = content.get("kind"), content.get("config")
    state: Any = content.get("state")
    if kind not in ("DSNet", "SRResNet"):
        raise ValueError(f"{path} must hold a DSNet or SRResNet, got {brief(kind)}")
    make, threshold = _maker(path, kind, config), content.get("threshold")
    if threshold is not None:
        THRESHOLDS.check(f"{path}: threshold", threshold)
    # Without memory: what the file says is compared before anything of its size is made.
    with torch.device("meta"):
        wanted = make().state_dict()
    _compare(path, wanted, state)
    model = make()
    model.load_state_dict(state)
    if isinstance(model, DSNet):
        model.threshold = threshold
    return model.to(device).eval()


def model_crop(path: str | os.PathLike) -> dict | None:
    """How the crops were made that the model learnt from; None where the file does not say.

    Files of version 1, of a teacher, and of a training on a store that does not say are silent.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_model`.
    """
    crop = _read(path).get("crop")
    if crop is not None and not isinstance(crop, dict):
        raise ValueError(f"{path} must have a dict as its crop, got {brief(crop)}")
    return crop


def model_inputs(path: str | os.PathLike) -> tuple[int, bool]:
    """Slices on either side, and whether the mark, that the network sees beside its own slice.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_model`.
    """
    content = _read(path)
    config: Any = content.get("config")
    if content.get("kind") != "DSNet":
        return 0, False
    _maker(path, "DSNet", config)
    known = DSNetConfig(**config)
    return known.neighbours, known.mark_input


def _read(path: str | os.PathLike) -> dict:
    file = located(path)
    read = load_weights if file.suffix == SUFFIX else load_tensors
    return read(file, WHAT, FORMAT, VERSION)


def _maker(path, kind: str, config: object) -> Callable[[], DSNet | SRResNet]:
    if not isinstance(config, dict) or not all(isinstance(name, str) for name in config):
        raise ValueError(f"{path} must have a dict as its config, got {brief(config)}")
    try:
        if kind == "DSNet":
            known = DSNetConfig(**config)
            return lambda: DSNet(known)
        with torch.device("meta"):
            SRResNet(**config)
    except TypeError as error:
        raise ValueError(f"{path} must have a {kind}'s config: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return lambda: SRResNet(**config)


def _compare(path, wanted: dict[str, torch.Tensor], state: Any) -> None:
    """Raise unless the state has these tensors, dense, and no other."""
    if not isinstance(state, dict) or wanted.keys() != state.keys():
        got = state.keys() if isinstance(state, dict) else ()
        odd = sorted(map(str, wanted.keys() ^ got))
        raise ValueError(f"{path} must have the state that its config describes, not so {odd[0]}")
    for name, tensor in wanted.items():
        found = state[name]
        if not isinstance(found, torch.Tensor):
            raise ValueError(f"{path} must have a tensor as {name}, got {brief(found)}")
        # Half precision is widened; a complex number would lose its half.
        same = found.dtype == tensor.dtype or (
            found.dtype.is_floating_point and tensor.dtype.is_floating_point
        )
        if found.shape != tensor.shape or not same:
            raise ValueError(
                f"{path} must have {name} as {list(tensor.shape)} of {tensor.dtype}, got "
                f"{list(found.shape)} of {found.dtype}"
            )
        # A stride of 0 would make any size out of one number.
        if found.layout != torch.strided or found.is_quantized or not found.is_contiguous():
            raise ValueError(f"{path} must have {name} written out in full")
