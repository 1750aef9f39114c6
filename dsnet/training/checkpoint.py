"""Checkpoints of a training that goes on bit for bit.

Public
------
``write_atomically(path, write)``: `write(temporary)`, synced and renamed
``save_checkpoint(path, step, progress, settings)``
``load_checkpoint(path, step) -> (progress, settings)``
``random_states() -> dict``, ``set_random_states(states)``

A checkpoint holds the weights of network and discriminator, both optimizers, the gradient scaler,
torch's random states, and where the training is. The order of the data and its augmentation
follow from seed and epoch (`dataset`, `augment`), the learning rate from the step, and need none.
"""

import os
from collections.abc import Callable
from pathlib import Path

import torch

from dsnet.models import state_of
from dsnet.training.step import AdversarialStep

FORMAT = "dsnet-training"
VERSION = 1


def write_atomically(path: str | os.PathLike, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file, then put it in the place of `path`.

    Killed at any moment, `path` is the old file or the new one, whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_checkpoint(
    path: str | os.PathLike, step: AdversarialStep, progress: dict, settings: dict
) -> None:
    """Write everything that `load_checkpoint` needs to go on.

    Parameters
    ----------
    path : path
    step : AdversarialStep
    progress, settings : dict
        Numbers, strings, lists and tensors.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "network": state_of(step.network),
        "discriminator": step.discriminator and state_of(step.discriminator),
        "optimizers": [optimizer.state_dict() for optimizer in step.optimizers],
        "scaler": step.scaler.state_dict(),
        "random": random_states(),
        "progress": progress,
        "settings": settings,
    }
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def load_checkpoint(path: str | os.PathLike, step: AdversarialStep) -> tuple[dict, dict]:
    """Put a checkpoint's state into `step` and torch's random generators.

    Returns
    -------
    tuple of dict, dict
        `progress` and `settings` as they were saved.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no checkpoint of this package, or of another network.
    """
    content = read_checkpoint(path)
    if (content["discriminator"] is None) != (step.discriminator is None):
        raise ValueError(f"{path} is of a training with another discriminator")
    try:
        step.network.load_state_dict(content["network"])
        if step.discriminator is not None:
            step.discriminator.load_state_dict(content["discriminator"])
    except RuntimeError as error:
        raise ValueError(f"{path} is of another network: {error}") from error
    for optimizer, state in zip(step.optimizers, content["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    step.scaler.load_state_dict(content["scaler"])
    set_random_states(content["random"])
    return content["progress"], content["settings"]


def read_checkpoint(path: str | os.PathLike) -> dict:
    """The content of a checkpoint, on the CPU; raises as `load_checkpoint`."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"path is {os.fspath(path)}; there is no such checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is no checkpoint of dsnet.train: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no checkpoint of dsnet.train")
    if content["version"] > VERSION:
        raise ValueError(f"{path} has version {content['version']}; this dsnet reads {VERSION}")
    return content


def random_states() -> dict:
    """States of torch's generators, of every CUDA device too."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_random_states(states: dict) -> None:
    """The inverse of `random_states`; CUDA's only where there are as many devices."""
    torch.set_rng_state(states["cpu"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
