"""Synthetic CT of lesions outside of the lung, with exactly known alpha and RECIST mark.

As `dsnet.data.phantom`, but for what lung nodules are not: faint in an organ's textured parenchyma
(brighter or darker, with a rim or a dead core, at times without a sharp border), or a node in fat
beside muscle and vessels; with bowel, bone, fat and other organs next to it, which may touch it.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from dsnet.data.ct_image import apply_window
from dsnet.data.phantom import (
    Phantom,
    _coverage,
    _fine_steps,
    _mark_of,
    _noise,
    _outline,
    _pixel_mean,
)

SOFT_TISSUE_KINDS = ("organ", "node")
# Windows in use, in HU: soft tissue's, and the lung's in which such lesions are met, too.
WINDOWS = ((-160, 240), (-175, 275), (-100, 200), (-125, 225), (-1350, 400), (-1000, 400))

_FAT = (-115.0, -70.0)
_NEIGHBOURS = ("vessel", "bowel", "bone", "fat", "organ")
_OFTEN = (0.35, 0.2, 0.1, 0.2, 0.15)


def make_soft_tissue_phantom(
    kind: str = "organ", size: int = 64, seed: int = 0, *, diameter_px: float | None = None
) -> Phantom:
    """One synthetic lesion near the middle of a square image; same arguments, same bits.

    Parameters
    ----------
    kind : str
        One of `SOFT_TISSUE_KINDS`.
    size : int
        Pixels a side, at least 16.
    seed : int
        Everything random follows from it, `kind` and `size`; the window, too.
    diameter_px : float, optional
        About the long axis; by default random, from 6 pixels to half of the image.

    Returns
    -------
    Phantom
        Of 0.8 mm a pixel.

    Raises
    ------
    ValueError
        When the kind is unknown or a number is out of range.
    """
    if kind not in SOFT_TISSUE_KINDS:
        raise ValueError(f"kind must be one of {', '.join(SOFT_TISSUE_KINDS)}, got {kind!r}")
    if size < 16:
        raise ValueError(f"size must be at least 16 pixels, got {size}")
    rng = np.random.default_rng([seed, 100 + SOFT_TISSUE_KINDS.index(kind), size])
    drawn = float(np.exp(rng.uniform(np.log(6), np.log(0.5 * size))))
    diameter = drawn if diameter_px is None else float(diameter_px)
    if not 0 < diameter <= 0.9 * size:
        raise ValueError(f"diameter_px must be in (0, {0.9 * size:g}], got {diameter_px}")
    radius = diameter / 2
    center = (size - 1) / 2 + rng.uniform(-0.025, 0.025, 2) * size
    outline = _outline("solid", radius, rng)
    fine = _fine_steps(size)
    dx, dy = fine[None, :] - center[0], fine[:, None] - center[1]
    split = len(fine) // size

    def texture(scale: float, deviation: float) -> np.ndarray:
        grain = ndimage.gaussian_filter(rng.normal(0, 1, (size, size)), scale, mode="wrap")
        grain *= deviation / max(grain.std(), 1e-9)
        return grain.repeat(split, axis=0).repeat(split, axis=1)

    around = rng.uniform(50, 120) if kind == "organ" else rng.uniform(*_FAT)
    hu = np.full((len(fine), len(fine)), around)
    hu += texture(rng.uniform(1, 2.5), rng.uniform(4, 12))
    hu += texture(rng.uniform(4, 9), rng.uniform(3, 10))
    for neighbour in rng.choice(_NEIGHBOURS, rng.integers(1, 6), p=_OFTEN):
        _put(neighbour, hu, dx, dy, radius, around if kind == "organ" else None, rng)

    distance, border, covered = _coverage(dx, dy, outline, fine[1] - fine[0])
    inside = _interior(kind, around, distance, border, rng)
    inside = inside + texture(rng.uniform(1, 3), rng.uniform(2, 12))
    # Some seep into what is around them.
    seen = covered
    if rng.random() < 0.4:
        seen = ndimage.gaussian_filter(covered, split * rng.uniform(0.3, 1.5))
    hu += seen * (inside - hu)

    blurred = ndimage.gaussian_filter(_pixel_mean(hu, size), rng.uniform(0.4, 1.2), mode="nearest")
    noisy = blurred + rng.uniform(4, 20) * _noise(size, rng)
    low, high = WINDOWS[rng.integers(len(WINDOWS))]
    return Phantom(
        image=apply_window(noisy, low, high),
        hu=noisy.astype(np.float32),
        alpha=_pixel_mean(covered, size).astype(np.float32),
        mark=_mark_of(outline, center),
        spacing=(0.8, 0.8),
        kind=kind,
        seed=seed,
    )


def _put(neighbour, hu, dx, dy, radius, organ, rng) -> None:
    """Paint something beside the lesion, which is painted over it later."""
    turn = rng.uniform(0, 2 * np.pi)
    along = dx * np.cos(turn) + dy * np.sin(turn)
    across = dy * np.cos(turn) - dx * np.sin(turn)
    if neighbour == "vessel":
        offset = rng.uniform(0.6, 2.2) * radius * rng.choice([-1, 1])
        bend = rng.uniform(-0.01, 0.01)
        thick = rng.uniform(0.6, max(1.0, 0.2 * radius))
        value = rng.uniform(40, 220) if organ is None else organ + rng.uniform(20, 120)
        hu[np.abs(across - offset - bend * along**2) <= thick] = value
    elif neighbour in ("bowel", "bone"):
        size = rng.uniform(0.4, 1.6) * radius + 2
        away = radius * rng.uniform(0.95, 1.6) + size
        place = np.hypot(
            dx - away * np.cos(turn), (dy - away * np.sin(turn)) * rng.uniform(0.7, 1.4)
        )
        if neighbour == "bone":
            hu[place < size] = rng.uniform(250, 900)
            hu[place < 0.7 * size] = rng.uniform(100, 400)
        else:
            hu[place < size] = rng.uniform(30, 90)
            content = rng.choice([rng.uniform(-20, 30), rng.uniform(100, 300), -900.0])
            hu[place < 0.8 * size] = content
    else:
        depth = radius * rng.uniform(0.75, 2.0)
        bend = rng.uniform(-0.1, 0.1) / max(radius, 1.0)
        value = rng.uniform(*_FAT) if neighbour == "fat" else rng.uniform(20, 140)
        hu[along > depth - bend * across**2] = value


def _interior(kind, around, distance, border, rng) -> np.ndarray:
    shape = distance.shape
    core = distance <= rng.uniform(0.4, 0.8) * border
    if kind == "node":
        value = rng.uniform(20, 110)
        inside = np.full(shape, value)
        return (
            np.where(core, value - rng.uniform(15, 60), inside) if rng.random() < 0.25 else inside
        )
    contrast = rng.choice([-1, -1, -1, 1]) * rng.uniform(12, 70)
    inside = np.full(shape, around + contrast)
    if rng.random() < 0.25:
        inside = np.where(core, around + contrast * rng.uniform(1.2, 2), inside)
    if rng.random() < 0.15:
        rim = distance >= rng.uniform(0.8, 0.9) * border
        inside = np.where(rim, around + rng.uniform(15, 50), inside)
    return inside
