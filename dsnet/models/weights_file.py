"""Models as safetensors in half precision, each with its SHA-256 in `checksums.json` beside it.

Public
------
``save_weights(path, content)``, ``load_weights(path, what, form, version) -> dict``
``half(name, tensor) -> Tensor``

In the header, under the key ``dsnet``, stands as JSON all but the tensors. One key, since the
format leaves the order of several open, and equal models shall be equal files.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch

from dsnet.arguments import brief
from dsnet.dependencies import needed
from dsnet.files import write_bytes, write_json
from dsnet.models.tensor_file import require_format

SUFFIX = ".safetensors"
CHECKSUMS = "checksums.json"
KEY = "dsnet"


def half(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A parameter or buffer as its file has it: float16, where that tells the same.

    float32 stays where a number is too large for half precision, and a batch norm's running
    variance also where it is too small for all digits: the layer divides by its root.
    """
    if not tensor.dtype.is_floating_point:
        return tensor.contiguous()
    limits, size = torch.finfo(torch.float16), tensor.abs()
    fits = bool((size <= limits.max).all())
    if name.endswith("running_var"):
        fits = fits and not bool(((size > 0) & (size < limits.tiny)).any())
    return tensor.to(torch.float16 if fits else torch.float32).contiguous()


def save_weights(path: str | os.PathLike, content: dict) -> None:
    """Write ``content["state"]`` as tensors, the rest as JSON, and the file's SHA-256 beside it.

    Raises
    ------
    ValueError
        For a path without the ending, or where `checksums.json` is none.
    OSError
        When it cannot be written; an older file is kept.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"path must be a file NAME{SUFFIX}, got {path}")
    with needed("train", "writing safetensors"):
        from safetensors.torch import save
    told = {name: value for name, value in content.items() if name != "state"}
    known = _checksums(path.parent)
    state = {name: half(name, tensor) for name, tensor in content["state"].items()}
    data = save(state, {KEY: json.dumps(told, allow_nan=False)})
    write_bytes(path, data)
    known[path.name] = hashlib.sha256(data).hexdigest()
    write_json(path.parent / CHECKSUMS, dict(sorted(known.items())))


def load_weights(path: str | os.PathLike, what: str, form: str, version: int) -> dict:
    """What `save_weights` wrote, on the CPU; the SHA-256 is compared before anything is parsed.

    Parameters
    ----------
    path, what, form, version
        As `dsnet.models.tensor_file.load_tensors` takes them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If its SHA-256 is another or not there, or if it is something else or of a later version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path must be {what}, there is none at {path}")
    with needed("train", "reading safetensors"):
        from safetensors.torch import load
    wanted = _checksums(path.parent).get(path.name)
    if wanted is None:
        raise ValueError(f"{path} must have its SHA-256 in {CHECKSUMS} beside it, got none")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != wanted:
        raise ValueError(f"{path} is damaged: its SHA-256 is not the one in {CHECKSUMS}")
    try:
        state = load(data)
        # Eight bytes tell how long the header is; `load` has looked at it.
        length = int.from_bytes(data[:8], "little")
        told = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][KEY])
    except Exception as error:  # safetensors and JSON have many for what is none
        raise ValueError(
            f"path must be {what}, got {path}, which cannot be read ({type(error).__name__})"
        ) from error
    if not isinstance(told, dict):
        raise ValueError(f"path must be {what}, got {path}")
    content = {**told, "state": state}
    require_format(path, content, what, form, version)
    return content


def _checksums(folder: Path) -> dict[str, str]:
    file = folder / CHECKSUMS
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: {brief(str(error))}") from error
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise ValueError(f"{file} must tell a SHA-256 for each file, got {brief(found)}")
    return found
