"""Checkpoints of a training that goes on bit for bit.

Public
------
``save_checkpoint(path, step, progress, settings)``
``load_checkpoint(path, step) -> (progress, settings)``
``random_states() -> dict``, ``set_random_states(states)``

A checkpoint holds the weights of network and discriminator, the average of the network's, both
optimizers, the gradient scaler, torch's random states, and where the training is. The order of the
data and its augmentation follow from seed and epoch (`dataset`, `augment`), the learning rate from
the step, and need none.
"""

from __future__ import annotations

import os

import torch

from dsnet.arguments import brief
from dsnet.models.checkpoint import state_of
from dsnet.models.tensor_file import load_tensors, save_tensors
from dsnet.training.step import AdversarialStep

FORMAT = "dsnet-training"
VERSION = 3  # 1 had no SHA-256, 2 no average
# What is in it, and of which type.
CONTENT: dict[str, type | tuple[type, ...]] = {
    "network": dict, "discriminator": (dict, type(None)), "optimizers": list, "scaler": dict,
    "random": dict, "progress": dict, "settings": dict, "average": (dict, type(None)),
}  # fmt: skip


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
        "average": step.average and step.average.state(),
        "random": random_states(),
        "progress": progress,
        "settings": settings,
    }
    save_tensors(path, content)


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
    if (content.get("average") is None) != (step.average is None):
        raise ValueError(f"{path} is of a training with another average of its weights")
    try:
        step.network.load_state_dict(content["network"])
        if step.discriminator is not None:
            step.discriminator.load_state_dict(content["discriminator"])
        if step.average is not None:
            step.average.load_state(content["average"])
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is of another network: {error}") from error
    try:
        for optimizer, state in zip(step.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        step.scaler.load_state_dict(content["scaler"])
        set_random_states(content["random"])
    except Exception as error:  # torch has many for a state of another form
        raise ValueError(f"{path} is of another training: {error!r}") from error
    return content["progress"], content["settings"]


def read_checkpoint(path: str | os.PathLike) -> dict:
    """The content of a checkpoint, on the CPU; raises as `load_checkpoint`."""
    content = load_tensors(path, "a checkpoint of dsnet.train", FORMAT, VERSION)
    for name, kind in CONTENT.items():
        if not isinstance(content.get(name), kind):
            raise ValueError(f"{path} must have {name}, got {brief(content.get(name))}")
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
