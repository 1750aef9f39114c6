"""Nodules and lesions that the label bench runs on: phantoms and real crops, at one size.

Two mixes: the usual one, of lesions as crops of one size hold them, and one whose lesions are all
half as long as the crop is wide, for what a label costs at most depends on the lesion's size.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.common.lidc import read_nodules
from dsnet.data.crop import cut_crop
from dsnet.data.datasets.deeplesion import read_annotations, read_crops
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import RecistMark


@dataclass(frozen=True, eq=False)
class Case:
    """An image to label. `alpha`: the phantom's, or the mean of four readers' masks."""

    source: str
    image: np.ndarray  # float32 [H, W], 0..1
    mark: RecistMark
    truth: np.ndarray | None = None  # bool [H, W]
    alpha: np.ndarray | None = None  # float32 [H, W]


def phantoms(size: int, count: int, shares: tuple[float, float] = (0.2, 0.5)) -> list[Case]:
    """Of every kind in turn, from a fifth to a half of the image's width."""
    cases = []
    for i, share in enumerate(np.linspace(*shares, count)):
        p = make_phantom(KINDS[i % len(KINDS)], size=size, seed=i, diameter_mm=0.7 * size * share)
        cases.append(Case("phantom", p.image, p.mark, p.alpha >= 0.5, p.alpha))
    return cases


def lidc(size: int, count: int, share: float | None = None) -> list[Case]:
    """LIDC nodules on their 128x128 pictures; cut out for 64 pixels, enlarged twice for 256.

    With a `share` they are resampled until the long axis is that share of the width.
    """
    if size > 256:
        return []  # enlarged four times they would tell of interpolation alone
    nodules = read_nodules()
    cases = []
    for n in nodules[:: max(len(nodules) // count, 1)][:count]:
        masks = np.array([n.truth, *n.masks])
        enlarged = 128 / size if size > 128 else None
        if share is not None:
            enlarged = n.mark.long_diameter / (share * size)
        crop = cut_crop(
            n.image, n.mark, size, spacing=(1.0, 1.0), masks=masks, isotropic_mm=enlarged
        )
        truth, readers = crop.masks[0], crop.masks[1:]
        cases.append(Case("LIDC", crop.image, crop.mark, truth, readers.mean(0, dtype=np.float32)))
    return cases


def deeplesion(size: int, count: int, folder: str = "deeplesion") -> list[Case]:
    """Lesions cut out of whole slices; they have no truth."""
    root = Path(os.environ.get("DSNET_SHARED", "../shared"), "data", folder)
    if not root.is_dir():
        raise FileNotFoundError(root)
    # These marks were derived from masks, in pixel centres.
    rows = [row for row in read_annotations(root / "DL_info.csv", origin=0) if not row.error]
    rows = rows[:: max(len(rows) // count, 1)][:count]
    found = read_crops(rows, root, size=size)
    return [Case("DeepLesion", c.image, c.mark) for _, c in found if not isinstance(c, ValueError)]


def filling_phantoms(size: int, count: int) -> list[Case]:
    return phantoms(size, count, shares=(0.5, 0.5))


def filling_lidc(size: int, count: int) -> list[Case]:
    return lidc(size, count, share=0.5)


MIXES = {"usual": (phantoms, lidc, deeplesion), "filling": (filling_phantoms, filling_lidc)}


def all_cases(size: int, count: int, tell=print, mix: str = "usual") -> list[Case]:
    """About `count` of each source of a mix; tells of the sources that are not at hand."""
    cases = []
    for source in MIXES[mix]:
        try:
            cases += source(size, count)
        except (FileNotFoundError, ValueError) as error:
            tell(f"{size}x{size}: no {source.__name__} cases: {error} (set DSNET_SHARED)")
    return cases
