"""Trained networks for other runtimes; the fused operations are replaced by plain PyTorch.

Public
------
``export_program(model, path=None, size=(64, 64)) -> torch.export.ExportedProgram``
``export_onnx(model, path, size=(64, 64), opset=18) -> Path``
Both take an image [N, 1, *size], any N, and give the soft mask; the height and width are fixed.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dsnet.dependencies import needed
from dsnet.files import write_atomically
from dsnet.models.checkpoint import unwrap


def export_program(
    model: nn.Module, path: str | os.PathLike | None = None, size: tuple[int, int] = (64, 64)
) -> torch.export.ExportedProgram:
    """`torch.export` of a network in evaluation mode, on the CPU and in float32.

    Parameters
    ----------
    model : DSNet or SRResNet
        Left as it is; a copy is exported.
    path : path, optional
        Written with `torch.export.save` when given.
    size : (int, int)
        Height and width of the input.

    Returns
    -------
    torch.export.ExportedProgram
        ``.module()(image)`` gives what the model gives.
    """
    inner, image = _prepare(model, size)
    batch = torch.export.Dim("batch", min=1, max=65535)
    program = torch.export.export(inner, (image,), dynamic_shapes=({0: batch},))
    if path is not None:
        write_atomically(path, lambda temporary: _save_program(program, temporary))
    return program


def export_onnx(
    model: nn.Module,
    path: str | os.PathLike,
    size: tuple[int, int] = (64, 64),
    opset: int = 18,
) -> Path:
    """Write a network as ONNX, input ``image`` and output ``mask``.

    Parameters
    ----------
    model : DSNet or SRResNet
        Left as it is; a copy is exported. An SRResNet has the outputs ``image_4x`` and
        ``features``.
    path : path
    size : (int, int)
        Height and width of the input; the batch stays free.
    opset : int
        Version of the operators, 18 or more.

    Raises
    ------
    ImportError
        If the extra `export` is not installed.
    """
    with needed("export", "export_onnx"):
        import onnx  # noqa: F401
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
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=65535)},),
            external_data=False,
            verbose=False,
        )

    write_atomically(path, write)
    return Path(path)


def _save_program(program: torch.export.ExportedProgram, path: Path) -> None:
    # Given a path, torch would ask for the ending .pt2.
    with open(path, "wb") as file:
        torch.export.save(program, file)


def _prepare(model: nn.Module, size: tuple[int, int]) -> tuple[nn.Module, torch.Tensor]:
    inner = copy.deepcopy(unwrap(model)).to("cpu", torch.float32).eval()
    config: Any = inner.config
    channels = config["channels"] if isinstance(config, dict) else 1
    # A batch of two: one would be taken for a constant.
    return inner, torch.zeros(2, channels, *size)
