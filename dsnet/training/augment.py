"""Augmentation of a batch on its device: one resampling for inputs, soft and binary mask alike.

Public
------
``Augmentation(mode="full", rotation=180.0, scale=0.15, shift=0.05, contrast=0.15,
    brightness=0.1, noise=0.02)``, modes "none", "symmetry" and "full"
    ``.cacheable``: whether the teacher's outputs can be computed once for all epochs
    ``.views``: how many versions of an image there are then, 1 or 8
``draw(augmentation, count, seed, epoch) -> Draws`` on the CPU; ``.to(device)``, ``draws[i:j]``
``apply(augmentation, draws, image, soft, binary, grey=None) -> (image, soft, binary)``
``symmetry(tensor, view)``: one of the eight symmetries of the square, exactly

All random numbers of an epoch are drawn on the CPU from (seed, epoch) and sent to the device at
once: the same on any device, and nothing to store for a resumed run. The paper names no
augmentation for its lung data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from dsnet.training.dataset import stream_seed

MODES = ("none", "symmetry", "full")


@dataclass(frozen=True)
class Augmentation:
    """How strongly crops are varied.

    Attributes
    ----------
    mode : str
        "none"; "symmetry", flips and quarter turns, which move pixels and change none; "full",
        flips, any rotation, scaling, shifts, and intensity.
    rotation : float
        Largest angle in degrees, either way.
    scale, shift : float
        Largest change of size, and shift as a share of the crop's side.
    contrast, brightness : float
        Largest change of the factor about 0.5, and of the offset.
    noise : float
        Largest standard deviation of the noise, in grey values 0..1.
    """

    mode: str = "full"
    rotation: float = 180.0
    scale: float = 0.15
    shift: float = 0.05
    contrast: float = 0.15
    brightness: float = 0.1
    noise: float = 0.02

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {self.mode!r}")
        for name in ("rotation", "scale", "shift", "contrast", "brightness", "noise"):
            value = getattr(self, name)
            if not 0 <= value < (1 if name in ("scale", "contrast") else math.inf):
                raise ValueError(f"{name} must be 0 or more, scale and contrast < 1, got {value}")

    @property
    def cacheable(self) -> bool:
        return self.mode != "full"

    @property
    def views(self) -> int:
        return 8 if self.mode == "symmetry" else 1


class Draws(NamedTuple):
    """Random numbers of `count` samples."""

    view: torch.Tensor  # [N] int64, 0..7
    matrix: torch.Tensor  # [N, 2, 3] float32, from output to input coordinates
    gain: torch.Tensor  # [N] float32
    offset: torch.Tensor  # [N] float32
    noise: torch.Tensor  # [N] float32, standard deviation
    seed: torch.Tensor  # [N] int64, of the noise
    mark: torch.Tensor  # [N] int64, which of a case's marks is shown

    def to(self, device: torch.device | str) -> Draws:
        return Draws(*(t.to(device, non_blocking=True) for t in self))

    def part(self, index) -> Draws:
        """Those of some samples."""
        return Draws(*(t[index] for t in self))


def draw(augmentation: Augmentation, count: int, seed: int, epoch: int) -> Draws:
    """The random numbers of an epoch's `count` samples, on the CPU."""
    generator = torch.Generator().manual_seed(stream_seed(seed, epoch, 1))
    unit = torch.rand(count, 9, generator=generator, dtype=torch.float64)
    sign = 2 * unit - 1
    view = (unit[:, 0] * 8).long()
    noise_seed = (unit[:, 8] * 2**31).long()
    a = augmentation
    angle = sign[:, 1] * math.radians(a.rotation)
    zoom = torch.exp(sign[:, 2] * math.log1p(a.scale))
    flip = torch.where(unit[:, 0] < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    # grid_sample's coordinates span 2 over the side.
    rows = [
        torch.stack([flip * cos, -sin, 2 * a.shift * sign[:, 3]], 1),
        torch.stack([flip * sin, cos, 2 * a.shift * sign[:, 4]], 1),
    ]
    return Draws(
        view,
        torch.stack(rows, 1).float(),
        (1 + a.contrast * sign[:, 5]).float(),
        (a.brightness * sign[:, 6]).float(),
        (a.noise * unit[:, 7]).float(),
        noise_seed,
        torch.randint(2**31, (count,), generator=generator),
    )


def apply(
    augmentation: Augmentation,
    draws: Draws,
    image: torch.Tensor,
    soft: torch.Tensor,
    binary: torch.Tensor,
    grey: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vary a batch; never waits for the device.

    Parameters
    ----------
    augmentation : Augmentation
    draws : Draws
        Of these samples, on their device.
    image : Tensor [N, C, H, W] float32
        What a network sees.
    soft : Tensor [N, 1, H, W] float32 in 0..1
    binary : Tensor [N, 1, H, W], bool or float
    grey : int, optional
        How many of the image's channels, the first ones, are grey values in 0..1, by default all:
        their intensity is varied. The others only move.

    Returns
    -------
    tuple of Tensor [N, C, H, W] float32, [N, 1, H, W] float32 and [N, 1, H, W] bool

    Raises
    ------
    ValueError
        If shapes or numbers of samples differ.
    """
    whole = (image.shape[0], 1, *image.shape[2:])
    if not (whole == soft.shape == binary.shape) or image.shape[0] != draws.view.shape[0]:
        raise ValueError(
            "image, soft and binary must have one shape but for the image's channels, with as many "
            "samples as draws, got "
            f"{list(image.shape)}, {list(soft.shape)}, {list(binary.shape)} and "
            f"{draws.view.shape[0]} draws"
        )
    if augmentation.mode == "none":
        return image, soft, binary.bool()
    planes = torch.cat([image, soft, binary.to(image.dtype)], 1)
    if augmentation.mode == "symmetry":
        planes = symmetry(planes, draws.view)
        return planes[:, :-2], planes[:, -2:-1], planes[:, -1:] >= 0.5
    grid = F.affine_grid(_in_pixels(draws.matrix, planes), list(planes.shape), align_corners=False)
    # reflection: no black corners for the network to learn.
    planes = F.grid_sample(
        planes, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    image, soft, binary = planes[:, :-2], planes[:, -2:-1], planes[:, -1:] >= 0.5
    gain, offset, noise = (t[:, None, None, None] for t in (draws.gain, draws.offset, draws.noise))
    shown, others = image[:, :grey], image[:, image.shape[1] if grey is None else grey :]
    # Of each slice its own noise.
    normal = [_normal(draws.seed + slice_number, image) for slice_number in range(shown.shape[1])]
    shown = (shown - 0.5) * gain + 0.5 + offset + noise * torch.cat(normal, 1)
    image = shown.clamp(0, 1)
    if others.shape[1]:
        image = torch.cat([image, others], 1)
    return image, soft.clamp(0, 1), binary


def symmetry(tensor: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
    """Turn and flip each sample of a square batch.

    Parameters
    ----------
    tensor : Tensor [N, C, S, S]
    view : Tensor [N] int64
        ``0..7``: bit 0 flips columns, bit 1 rows, bit 2 exchanges rows and columns, in that order.

    Returns
    -------
    Tensor [N, C, S, S]
        The same values, moved.

    Raises
    ------
    ValueError
        If height and width differ.
    """
    if tensor.shape[2] != tensor.shape[3]:
        raise ValueError(f"tensor must have equal sides, got {list(tensor.shape)}")
    bit = view[:, None, None, None]
    tensor = torch.where(bit & 1 == 1, tensor.flip(3), tensor)
    tensor = torch.where(bit & 2 == 2, tensor.flip(2), tensor)
    return torch.where(bit & 4 == 4, tensor.transpose(2, 3), tensor)


def _in_pixels(matrix: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
    """The same turn for crops that are not square, whose two axes span different lengths."""
    height, width = planes.shape[2:]
    if height == width:
        return matrix
    ratio = matrix.new_ones(2, 3)
    ratio[0, 1], ratio[1, 0] = height / width, width / height
    return matrix * ratio


def _normal(seed: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Standard normal noise [N, 1, H, W] from a counter, with no generator's state.

    A hash of (seed, pixel) gives two uniform numbers, Box and Muller's transform a normal one.
    The hash is lowbias32 (Wellons 2018) in int64 arithmetic, which every device has.
    """
    height, width = like.shape[2:]
    pixel = torch.arange(height * width, device=like.device)
    first = _hash(seed[:, None] ^ _hash(pixel)[None])
    second = _hash(first ^ 0x5BD1E995)
    u = (first.float() + 1) / 2**32
    v = second.float() / 2**32
    normal = torch.sqrt(-2 * torch.log(u.clamp(max=1))) * torch.cos(2 * math.pi * v)
    return normal.reshape(-1, 1, height, width)


def _hash(x: torch.Tensor) -> torch.Tensor:
    mask = 0xFFFFFFFF
    x = x & mask
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & mask
    x = ((x ^ (x >> 15)) * 0x735A2D97) & mask
    return x ^ (x >> 15)
