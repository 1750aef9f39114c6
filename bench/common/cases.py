"""Nodules and lesions that the label bench runs on: phantoms and real crops, at one size."""

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


def phantoms(size: int, count: int) -> list[Case]:
    """Of every kind in turn, from a fifth to a half of the image's width."""
    cases = []
    for i, share in enumerate(np.linspace(0.2, 0.5, count)):
        p = make_phantom(KINDS[i % len(KINDS)], size=size, seed=i, diameter_mm=0.7 * size * share)
        cases.append(Case("phantom", p.image, p.mark, p.alpha >= 0.5, p.alpha))
    return cases


def lidc(size: int, count: int) -> list[Case]:
    """LIDC nodules on their 128x128 pictures; cut out for 64 pixels, enlarged twice for 256."""
    if size > 256:
        return []  # enlarged four times they would tell of interpolation alone
    nodules = read_nodules()
    cases = []
    for n in nodules[:: max(len(nodules) // count, 1)][:count]:
        masks = np.array([n.truth, *n.masks])
        enlarged = 128 / size if size > 128 else None
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


def all_cases(size: int, count: int, tell=print) -> list[Case]:
    """About `count` of each source; tells of the sources that are not at hand."""
    cases = phantoms(size, count)
    for source in (lidc, deeplesion):
        try:
            cases += source(size, count)
        except (FileNotFoundError, ValueError) as error:
            tell(f"{size}x{size}: no {source.__name__} cases: {error} (set DSNET_SHARED)")
    return cases
