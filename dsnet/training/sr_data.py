"""Slices that the SR teacher learns from: found, read, grouped by patient, shrunk, cut in patches.

Public
------
``load_slices(folders, limit=0, seed=0) -> Slices(images, groups, left_out)``
``patient_of_file(file) -> str or None``, ``groups_of(files, root) -> list of str``
``held_out(groups, share, seed) -> list of bool``
``shrink(image)``: a quarter of the sides; ``patches(low, high, count, side, generator)``
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from dsnet.data.ct_image import LUNG_WINDOW, apply_window, read_ct_png, read_picture
from dsnet.data.datasets.picture_files import find_picture_files
from dsnet.data.patients import DEEPLESION_KEY, LIDC_KEY
from dsnet.data.phantom import make_phantoms
from dsnet.models.srgan import SCALE


class Slices(NamedTuple):
    """What was read.

    Attributes
    ----------
    images : list of Tensor [1, 1, H, W] float32
        In 0..1, sides divisible by 4.
    groups : list of str
        Whose each one is: a patient or a volume.
    left_out : dict of str to int
        Why files were not taken, and how many.
    """

    images: list[torch.Tensor]
    groups: list[str]
    left_out: dict[str, int]

    def digest(self) -> str:
        """SHA-256 of groups and pixels."""
        digest = hashlib.sha256(repr(self.groups).encode())
        for image in self.images:
            digest.update(repr(tuple(image.shape)).encode())
            digest.update(image.numpy().data)
        return digest.hexdigest()


def load_slices(folders: Sequence[str | Path], limit: int = 0, seed: int = 0) -> Slices:
    """All CT slices below some folders; without folders, phantoms, each a patient of its own.

    16-bit PNGs are HU + 32768 and shown in the lung window, 8-bit ones are taken as windowed
    already. Left out and counted: files named mask*, or in a folder named so below the one given;
    pictures of fewer than three grey values, which are masks by another name; files that cannot
    be read.

    Parameters
    ----------
    folders : sequence of path
    limit : int
        Most files to read, drawn at random; 0: all.
    seed : int

    Raises
    ------
    ValueError
        Where a folder is none, or no slice is left.
    """
    if not folders:
        made = make_phantoms(min(limit or 16, 64), 128, seed)
        images = [torch.from_numpy(p.image)[None, None] for p in made]
        return Slices(images, [str(p.seed) for p in made], {})
    files, left_out = {}, Counter()
    for folder in folders:
        if not Path(folder).is_dir():
            raise ValueError(f"images must be folders, there is none at {folder}")
        found = []
        files_there, beside = find_picture_files(folder)
        left_out.update(beside)
        for file in files_there:
            parts = file.relative_to(folder).parts
            if any(part.lower().startswith("mask") for part in parts):
                left_out["named mask*"] += 1
            else:
                found.append(file)
        for file, group in zip(found, groups_of(found, folder), strict=True):
            files.setdefault(os.path.realpath(file), (file, group))
    chosen = list(files.values())
    if limit and len(chosen) > limit:
        order = np.random.default_rng(seed).permutation(len(chosen))[:limit]
        chosen = [chosen[i] for i in sorted(order)]
    images, groups = [], []
    for file, group in chosen:
        try:
            plane = _read(file)
        except ValueError:
            left_out["not readable as a grey PNG"] += 1
            continue
        # Strictly between the extremes: nothing in a mask, nor in an empty slice.
        if not ((plane > plane.min()) & (plane < plane.max())).any():
            left_out["with fewer than three grey values"] += 1
            continue
        height, width = (side // SCALE * SCALE for side in plane.shape)
        if min(height, width) == 0:
            left_out["below 4 pixels"] += 1
            continue
        images.append(torch.from_numpy(plane[:height, :width].copy())[None, None])
        groups.append(group)
    if not images:
        told = "".join(f", {count} {why}" for why, count in left_out.items())
        raise ValueError(
            f"images must hold PNG slices, got none in {', '.join(map(str, folders))}{told}"
        )
    return Slices(images, groups, dict(left_out))


def groups_of(files: Sequence[Path], root: str | Path) -> list[str]:
    """Whose slice each file below `root` is.

    The patient where the name has LIDC's or DeepLesion's form. Else the folder next below the one
    that the others share: of ROOT/A/P1/x/1.png and ROOT/A/P2/1.png, ROOT/A/P1 and ROOT/A/P2.
    """
    known = [patient_of_file(file) for file in files]
    unknown = [file for file, patient in zip(files, known, strict=True) if patient is None]
    shared = Path(os.path.commonpath([f.parent for f in unknown])) if unknown else Path(root)
    groups = []
    for file, patient in zip(files, known, strict=True):
        if patient is None:
            below = file.parent.relative_to(shared).parts[:1]
            patient = Path(shared, *below).as_posix()
        groups.append(patient)
    return groups


def patient_of_file(file: Path) -> str | None:
    """LIDC-IDRI-0001 or, of a DeepLesion series 000001_02_01, 000001; None for other names.

    The folder that is nearest to the file counts first.
    """
    for part in (file.stem, *(parent.name for parent in file.parents)):
        if found := LIDC_KEY.search(part):
            return found.group(0)
        if found := DEEPLESION_KEY.match(part):
            return found.group(1)
    return None


def held_out(groups: list[str], share: float, seed: int) -> list[bool]:
    """Which slices are held out: whole groups, at least one and not all.

    Raises
    ------
    ValueError
        For fewer than two groups.
    """
    names = sorted(set(groups))
    if len(names) < 2:
        raise ValueError(
            f"images must be slices of 2 patients or folders, to hold one out, got {len(names)}"
        )
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    chosen = {names[i] for i in np.random.default_rng(seed).permutation(len(names))[:count]}
    return [group in chosen for group in groups]


def shrink(image: torch.Tensor) -> torch.Tensor:
    """A quarter of the sides, bicubic with antialiasing, in 0..1."""
    size = [side // SCALE for side in image.shape[2:]]
    small = F.interpolate(image, size, mode="bicubic", antialias=True, align_corners=False)
    return small.clamp(0, 1)


def patches(
    low: list[torch.Tensor],
    high: list[torch.Tensor],
    count: int,
    side: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Aligned patches [count, 1, side / 4, side / 4] and [count, 1, side, side].

    Raises
    ------
    ValueError
        For a side that 4 does not divide, or that is longer than a slice's.
    """
    if side < SCALE or side % SCALE:
        raise ValueError(f"patch must be a multiple of {SCALE}, got {side}")
    small = side // SCALE
    xs, ys = [], []
    for _ in range(count):
        k, u, v = torch.randint(0, 2**31, (3,), generator=generator).tolist()
        x, y = low[k % len(low)], high[k % len(low)]
        if min(x.shape[2:]) < small:
            raise ValueError(f"patch must fit a slice of {list(y.shape[2:])}, got {side}")
        u, v = u % (x.shape[2] - small + 1), v % (x.shape[3] - small + 1)
        xs.append(x[..., u : u + small, v : v + small])
        ys.append(y[..., SCALE * u : SCALE * u + side, SCALE * v : SCALE * v + side])
    return torch.cat(xs), torch.cat(ys)


def _read(file: Path) -> np.ndarray:
    try:
        return apply_window(read_ct_png(file), *LUNG_WINDOW)
    except ValueError:
        return read_picture(file)
