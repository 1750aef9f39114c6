"""Labelled crops that live on the device, and how they are split.

Public
------
``DeviceDataset.from_store(path, device="cpu", size=None, min_quality=None)``
``DeviceDataset.phantoms(count, size=64, seed=0, device="cpu")``
    ``.image``, ``.soft`` float32 and ``.binary`` bool, all [N, 1, H, W] on the device;
    ``.keys``, ``.patients`` lists of N str; ``.subset(indices)``, ``.to(device)``, ``.digest()``,
    ``len()``
``split_by_patient(patients, shares=(387, 55, 544), seed=0) -> Split(train, val, test)``
``fold_split(patients, fold, folds=4, seed=0, val_share=0.125) -> Split``
``epoch_order(count, seed, epoch, multiple=1) -> LongTensor``

1,500 crops of 64x64 with two float32 planes and a bool one are 55 MB, so nothing is loaded from
disk or copied to the device after the start.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from dsnet.data.patients import known_patient, patient_of
from dsnet.data.phantom import make_phantoms
from dsnet.data.store.reader import open_store
from dsnet.labeling.quality import ranking
from dsnet.models.grid import resized

# Paper, "Comparison on LIDC": training, validation and test nodules of 986.
PAPER_SHARES = (387, 55, 544)


class Split(NamedTuple):
    """Positions of the cases, each sorted; disjoint, and so are their patients."""

    train: list[int]
    val: list[int]
    test: list[int]


@dataclass
class DeviceDataset:
    """Images with their soft and binary masks, resident on one device.

    Attributes
    ----------
    image, soft : Tensor [N, 1, H, W] float32
        In 0..1.
    binary : Tensor [N, 1, H, W] bool
        The mask that people drew, where the store has it, otherwise the soft mask's.
    keys, patients : list of N str
    unknown : int
        Cases of all the store whose patient nothing tells: each counts as one of its own.
    """

    image: torch.Tensor
    soft: torch.Tensor
    binary: torch.Tensor
    keys: list[str]
    patients: list[str]
    unknown: int = 0

    @classmethod
    def from_store(
        cls,
        path: str | os.PathLike,
        device: torch.device | str = "cpu",
        size: int | None = None,
        min_quality: float | None = None,
    ) -> DeviceDataset:
        """All rows of status "ok".

        Parameters
        ----------
        path : path
            A label store.
        device : device
        size : int, optional
            Pixels a side; other crops are brought to it, images and soft masks bilinear, and
            binary masks by the half. By default the first row's size, which then all must have.
        min_quality : float, optional
            Leaves out labels whose expected Dice (of masks: overall quality) is lower or absent.

        Raises
        ------
        FileNotFoundError
            Without a store.
        ValueError
            For a damaged store, for one without a label left, or for crops of several sizes
            when `size` is not given.
        """
        images, softs, binaries, keys, patients = [], [], [], [], []
        unknown = 0
        shape = None if size is None else (size, size)
        for record in open_store(path).records("ok"):
            label = record.labelled()
            score = ranking(record.quality)
            if min_quality is not None and (score is None or score < min_quality):
                continue
            shape = label.image.shape if shape is None else shape
            if label.image.shape != shape and size is None:
                raise ValueError(
                    f"{path} must have crops of one size, got {list(shape)} and "
                    f"{list(label.image.shape)} ({record.key}): give a size to bring them to"
                )
            images.append(resized(label.image, shape))
            softs.append(resized(label.alpha, shape))
            binary = label.binary if record.truth is None else record.truth
            binaries.append(resized(binary.astype(np.float32), shape) >= 0.5)
            keys.append(record.key)
            patients.append(patient_of(record.key, record.metadata))
            unknown += known_patient(record.key, record.metadata) is None
        if not keys:
            raise ValueError(f"{path} has no label to train on (status ok, quality reached)")
        image, soft, binary = (torch.stack(p)[:, None] for p in (images, softs, binaries))
        return cls(image, soft, binary, keys, patients, unknown).to(device)

    @classmethod
    def phantoms(
        cls, count: int = 64, size: int = 64, seed: int = 0, device: torch.device | str = "cpu"
    ) -> DeviceDataset:
        """Synthetic nodules, each a patient of its own; same arguments, same bits.

        Raises
        ------
        ValueError
            For a count below 1 or a size below 8.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        made = make_phantoms(count, size, seed)
        image = torch.from_numpy(np.stack([p.image for p in made]))[:, None]
        soft = torch.from_numpy(np.stack([p.alpha for p in made]))[:, None]
        keys = [f"phantom-{p.kind}-{p.seed}" for p in made]
        return cls(image, soft, soft >= 0.5, keys, list(keys)).to(device)

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: torch.device | str) -> DeviceDataset:
        """The same on another device."""
        image, soft, binary = (t.to(device) for t in (self.image, self.soft, self.binary))
        return DeviceDataset(image, soft, binary, self.keys, self.patients, self.unknown)

    def digest(self) -> str:
        """SHA-256 of keys, patients and pixels: equal for equal data, on any device."""
        digest = hashlib.sha256(repr((self.keys, self.patients, self.image.shape)).encode())
        for tensor in (self.image, self.soft, self.binary):
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def subset(self, indices: Sequence[int]) -> DeviceDataset:
        """A copy of the cases at `indices`."""
        index = torch.as_tensor(list(indices), dtype=torch.long, device=self.image.device)
        image, soft, binary = (t[index] for t in (self.image, self.soft, self.binary))
        keys, patients = ([names[i] for i in indices] for names in (self.keys, self.patients))
        return DeviceDataset(image, soft, binary, keys, patients, self.unknown)


def split_by_patient(
    patients: Sequence[str], shares: Sequence[float] = PAPER_SHARES, seed: int = 0
) -> Split:
    """Split cases at random so that no patient is in two parts.

    Parameters
    ----------
    patients : sequence of N str
    shares : three numbers
        In proportion to training, validation and test; the paper's for LIDC by default. The
        paper splits nodules; whole patients come as near to its shares as they can.
    seed : int

    Raises
    ------
    ValueError
        For shares that are negative or all 0, or when a part with a share would get no case.
    """
    shares = [float(share) for share in shares]
    if len(shares) != 3 or min(shares) < 0 or shares[0] <= 0:
        raise ValueError(f"shares must be three numbers >= 0, the first > 0, got {shares}")
    cases = _by_patient(patients)
    parts: list[list[int]] = [[], [], []]
    targets = [share / sum(shares) * len(patients) for share in shares]
    for position, patient in enumerate(_shuffled(list(cases), seed)):
        # The first patients fill each part once, so that a small data set has all three.
        wanted = [part for part in range(3) if shares[part] > 0]
        if position < len(wanted):
            part = wanted[position]
        else:
            part = max(wanted, key=lambda p: (targets[p] - len(parts[p])) / targets[p])
        parts[part] += cases[patient]
    if any(share > 0 and not part for share, part in zip(shares, parts, strict=True)):
        raise ValueError(
            f"patients must be enough to fill parts of {shares}, got {len(cases)} different ones"
        )
    return Split(*(sorted(part) for part in parts))


def fold_split(
    patients: Sequence[str], fold: int, folds: int = 4, seed: int = 0, val_share: float = 0.125
) -> Split:
    """Fold `fold` of a cross-validation by patients: it is the test part.

    Parameters
    ----------
    patients : sequence of N str
    fold : int
        0 to ``folds - 1``.
    folds : int
        4 in the paper.
    seed : int
        The same for all folds, whose test parts then hold every case once.
    val_share : float
        Of the remaining patients, at least one; 55 of 442 in the paper.

    Raises
    ------
    ValueError
        For a fold out of range, or fewer patients than folds + 1.
    """
    cases = _by_patient(patients)
    if not folds >= 2 or not 0 <= fold < folds:
        raise ValueError(f"fold must be 0 to folds - 1 of at least 2 folds, got {fold} of {folds}")
    if len(cases) < max(folds, 3):
        raise ValueError(
            f"patients must be at least {max(folds, 3)} different ones for {folds} folds, got "
            f"{len(cases)}"
        )
    order = _shuffled(list(cases), seed)
    test = order[fold::folds]
    rest = [patient for i, patient in enumerate(order) if i % folds != fold]
    count = min(max(round(val_share * len(rest)), 1), len(rest) - 1)
    parts = (rest[count:], rest[:count], test)
    return Split(*(sorted(i for p in part for i in cases[p]) for part in parts))


def epoch_order(count: int, seed: int, epoch: int, multiple: int = 1) -> torch.Tensor:
    """Order of the cases in an epoch; begins anew to fill the last batch.

    A function of its arguments alone, so that a resumed run needs no state to go on with the
    same order, and every process of a parallel run knows it.

    Returns
    -------
    LongTensor [M], M the least multiple of `multiple` that is at least `count`, on the CPU.
    """
    generator = torch.Generator().manual_seed(stream_seed(seed, epoch, 0))
    order = torch.randperm(count, generator=generator)
    total = -(-count // multiple) * multiple
    return order.repeat(-(-total // count))[:total]


def stream_seed(*numbers: int) -> int:
    """A seed for a random stream that is told apart by several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _by_patient(patients: Sequence[str]) -> dict[str, list[int]]:
    cases: dict[str, list[int]] = {}
    for index, patient in enumerate(patients):
        cases.setdefault(patient, []).append(index)
    return dict(sorted(cases.items()))


def _shuffled(items: list[str], seed: int) -> list[str]:
    order = np.random.default_rng(seed).permutation(len(items))
    return [items[i] for i in order]
