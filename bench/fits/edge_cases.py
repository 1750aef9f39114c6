"""What the edge model learns from: images, masks, and marks over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.common.lidc import NoduleSlice, read_slices
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.data.soft_tissue import SOFT_TISSUE_KINDS, make_soft_tissue_phantom
from dsnet.labeling import RecistMark, recist_from_mask
from dsnet.labeling.mark_model import MarkedMask

SIZE = 128
# Marks as drawn over each mask; of the consensus, of one reader, of a phantom.
DRAWN = {"consensus": 12, "reader": 4, "lung": 4, "soft": 4}
PHANTOMS = {"lung": 900, "soft": 1500}
# A mask's share in what is learnt.
WEIGHT = {"consensus": 1.0, "reader": 0.5, "lung": 0.5, "soft": 0.7}
# Marks derived from the mask make up so much of it: exact marks must be told from drawn ones.
DERIVED = 0.5
# One of so many drawn marks is not steady, for what people do that the table does not know.
UNSTEADY = 4
LEAST_PIXELS = 4


@dataclass(frozen=True, eq=False)
class Cases:
    """Marks over masks of images.

    Attributes
    ----------
    images, masks : uint8 [K, 128, 128], [M, 128, 128]
    image, mask : int64 [N]
        Which a mark belongs to.
    coordinates : float32 [N, 8]
    weight : float64 [N]
    kind : list of N str
        What the mask is: "consensus", "reader", "lung" or "soft".
    drawn : bool [N]
        As a person would; else derived from the mask.
    patient : int64 [N]
        Number of LIDC's patient, -1 for phantoms.
    largest : bool [N]
        Of the nodule's slice with the largest consensus.
    """

    images: Tensor
    masks: Tensor
    image: Tensor
    mask: Tensor
    coordinates: Tensor
    weight: Tensor
    kind: list[str]
    drawn: np.ndarray
    patient: np.ndarray
    largest: np.ndarray


def make_cases(half: int, rng: np.random.Generator, tell=print) -> Cases:
    """All slices of LIDC's patients of one half, and phantoms of lung and soft tissue."""
    images, masks, rows = [], [], []

    def add(image: np.ndarray, mask: np.ndarray, kind: str, exact: RecistMark | None = None, **of):
        if np.count_nonzero(mask) < LEAST_PIXELS:
            return
        masks.append(mask)
        drawn = MarkedMask(mask)
        marks = [(exact or recist_from_mask(mask), False)]
        for number in range(DRAWN[kind]):
            lesion, steady = int(rng.integers(2**31)), number % UNSTEADY != 0
            marks.append((drawn.draw(rng, lesion=lesion, steady=steady), True))
        for mark, by_hand in marks:
            place = {"image": len(images) - 1, "mask": len(masks) - 1, "mark": mark.coordinates}
            rows.append({"kind": kind, "drawn": by_hand, **place, **of})

    slices: list[NoduleSlice] = [s for s in read_slices() if s.half == half]
    for s in slices:
        images.append(s.image)
        of = {"patient": s.patient, "largest": s.largest}
        add(s.image, s.masks.sum(0) >= 2, "consensus", **of)
        for mask in s.masks:
            add(s.image, mask, "reader", **of)
    tell(f"{len(images)} slices of LIDC, {len(rows)} marks")
    of = {"patient": -1, "largest": False}
    for kind, count in PHANTOMS.items():
        for seed in range(count):
            if kind == "lung":
                phantom = make_phantom(
                    KINDS[seed % len(KINDS)], SIZE, seed,
                    diameter_mm=float(np.exp(rng.uniform(np.log(4), np.log(40)))),
                    noise_hu=rng.uniform(10, 50), blur_mm=rng.uniform(0.3, 0.9),
                )  # fmt: skip
            else:
                name = SOFT_TISSUE_KINDS[seed % len(SOFT_TISSUE_KINDS)]
                phantom = make_soft_tissue_phantom(name, SIZE, seed)
            images.append(np.rint(phantom.image * 255).astype(np.uint8))
            add(images[-1], phantom.alpha >= 0.5, kind, phantom.mark, **of)
    tell(f"{len(images)} images, {len(masks)} masks, {len(rows)} marks")

    drawn = np.array([row["drawn"] for row in rows])
    weight = np.array([WEIGHT[row["kind"]] for row in rows])
    weight[drawn] /= np.array([DRAWN[row["kind"]] for row in rows])[drawn]
    for chosen, share in ((drawn, 1 - DERIVED), (~drawn, DERIVED)):
        weight[chosen] *= share / weight[chosen].sum()
    return Cases(
        images=torch.tensor(np.stack(images)),
        masks=torch.tensor(np.stack(masks).astype(np.uint8)),
        image=torch.tensor([row["image"] for row in rows]),
        mask=torch.tensor([row["mask"] for row in rows]),
        coordinates=torch.tensor(np.stack([row["mark"] for row in rows]), dtype=torch.float32),
        weight=torch.tensor(weight),
        kind=[row["kind"] for row in rows],
        drawn=drawn,
        patient=np.array([row["patient"] for row in rows]),
        largest=np.array([row["largest"] for row in rows]),
    )
