"""Trained networks for other runtimes; the fused operations are replaced by plain PyTorch.

Public
------
``export_program(model, path=None, size=(64, 64), crop=None) -> torch.export.ExportedProgram``
``export_onnx(model, path, size=(64, 64), opset=18, crop=None) -> Path``
``multiple_of(model) -> int or None``: of height and width
Both take an image [N, C, H, W], C as the network's config says (1, or 1 + extra_channels: slice,
neighbours, mark's plane, see `DSNet.forward`), and give the soft mask, of any N, and of any H and W
that are twice `multiple_of` the network or more. Where `size` is no multiple, H and W are fixed to
it, and so they are for the peers whose graph is one of a single size.
"""

from __future__ import annotations

import copy
import io
import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dsnet.dependencies import needed
from dsnet.files import write_atomically, write_bytes
from dsnet.models.checkpoint import unwrap
from dsnet.models.dsnet import DSNet


def export_program(
    model: nn.Module,
    path: str | os.PathLike | None = None,
    size: tuple[int, int] = (64, 64),
    crop: dict | None = None,
) -> torch.export.ExportedProgram:
    """`torch.export` of a network in evaluation mode, on the CPU and in float32.

    Parameters
    ----------
    model : DSNet or SRResNet
        Left as it is; a copy is exported.
    path : path, optional
        Written with `torch.export.save` when given.
    size : (int, int)
        Height and width of the image that is traced, and the only ones where they are no multiple.
    crop : dict, optional
        How the crops were made that it learnt from; written as the extra file ``crop.json``. So is
        the threshold that the model has, as ``threshold.json``.

    Returns
    -------
    torch.export.ExportedProgram
        ``.module()(image)`` gives what the model gives.
    """
    inner, image = _prepare(model, size)
    program = torch.export.export(inner, (image,), dynamic_shapes=(_free(inner, size),))
    if path is not None:
        told = {f"{name}.json": text for name, text in _told(inner, crop).items()}
        # In memory first: on a full disk torch's writer would end the process.
        content = io.BytesIO()
        torch.export.save(program, content, extra_files=told)
        write_bytes(path, content.getvalue())
    return program


def export_onnx(
    model: nn.Module,
    path: str | os.PathLike,
    size: tuple[int, int] = (64, 64),
    opset: int = 18,
    crop: dict | None = None,
) -> Path:
    """Write a network as ONNX, input ``image`` and output ``mask``.

    Parameters
    ----------
    model : DSNet or SRResNet
        Left as it is; a copy is exported. An SRResNet has the outputs ``image_4x`` and
        ``features``.
    path : path
    size : (int, int)
        As in `export_program`.
    opset : int
        Version of the operators, 18 or more.
    crop : dict, optional
        As in `export_program`; JSON in the model's metadata, under ``crop`` and ``threshold``.

    Raises
    ------
    ImportError
        If the extra `export` is not installed.
    """
    with needed("export", "export_onnx"):
        import onnx
        import onnxscript  # noqa: F401
    inner, image = _prepare(model, size)
    outputs = ["image_4x", "features"] if hasattr(inner, "upsample") else ["mask"]

    def write(temporary: Path) -> None:
        torch.onnx.export(
            inner,
            (image,),
            os.fspath(temporary),
            input_names=["image"],
            output_names=outputs,
            opset_version=opset,
            dynamo=True,
            dynamic_shapes=(_free(inner, size),),
            external_data=False,
            verbose=False,
        )
        if told := _told(inner, crop):
            written = onnx.load(temporary)
            for name, text in told.items():
                written.metadata_props.add(key=name, value=text)
            onnx.save(written, temporary)

    write_atomically(path, write)
    return Path(path)


def multiple_of(model: nn.Module) -> int | None:
    """What the height and width of an image must be multiples of, for no row to be filled up.

    None where a graph cannot leave them open.
    """
    config: Any = unwrap(model).config
    if isinstance(config, dict):
        return 1
    if config.peer is not None and not config.peer.open_sizes:
        return None
    return config.multiple // math.gcd(config.multiple, config.scale)


def _free(inner: nn.Module, size: tuple[int, int]) -> dict[int, Any]:
    """The axes of an image that a graph leaves open."""
    free: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=65535)}
    step = multiple_of(inner)
    if step is not None and all(side % step == 0 and side >= 2 * step for side in size):
        # Of one step alone a graph is another one: torch.export keeps 1 apart.
        for axis, name in ((2, "height"), (3, "width")):
            one = torch.export.Dim(name, min=2, max=65536 // step)
            free[axis] = one if step == 1 else step * one
    return free


def _told(inner: nn.Module, crop: dict | None) -> dict[str, str]:
    """As JSON what a user of the graph must know: how crops are made, where masks are cut."""
    known = {"crop": crop, "threshold": inner.threshold if isinstance(inner, DSNet) else None}
    return {name: json.dumps(value) for name, value in known.items() if value is not None}


def _prepare(model: nn.Module, size: tuple[int, int]) -> tuple[nn.Module, torch.Tensor]:
    inner = copy.deepcopy(unwrap(model)).to("cpu", torch.float32).eval()
    config: Any = inner.config
    channels = config["channels"] if isinstance(config, dict) else 1 + config.extra_channels
    # A batch of two: one would be taken for a constant.
    return inner, torch.zeros(2, channels, *size)
