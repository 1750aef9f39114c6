"""Labelled crops that live on the device, and how they are split.

Public
------
``DeviceDataset.from_store(path, device="cpu", size=None, ...)``
``DeviceDataset.phantoms(count, size=64, seed=0, device="cpu")``
    ``.image``, ``.soft`` float32 and ``.binary`` bool, all [N, 1, H, W] on the device;
    ``.keys``, ``.patients`` lists of N str; ``.subset(indices)``, ``.to(device)``, ``.digest()``,
    ``len()``; ``.with_marks(draws)``, ``.inputs(index, draw) -> [B, C, H, W]``: what a network sees
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
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch

from dsnet.data.neighbours import missing_in
from dsnet.data.patients import known_patient, patient_of
from dsnet.data.phantom import make_phantoms
from dsnet.data.store.record import LabelRecord
from dsnet.data.store.reviewed import AS_MADE, open_reviewed
from dsnet.labeling.quality import ranking
from dsnet.labeling.recist import RecistMark
from dsnet.models import mark_plane
from dsnet.models.grid import resized
from dsnet.training.marks import marks_of

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
    drawn : list of N RecistMark or None
        The mark that a person drew, in pixels; empty: none was for any.
    neighbours : Tensor [N, 2 * neighbours, H, W] float32, optional
        The slices below and above, the nearest first.
    stood_in : list of N int
        How many of the neighbours are the slice itself, where there was none; empty without.
    marks : Tensor [N, draws, 8] float32, optional
        Of `with_marks`; their number of draws that were not people's own is `replayed`.
    """

    image: torch.Tensor
    soft: torch.Tensor
    binary: torch.Tensor
    keys: list[str]
    patients: list[str]
    unknown: int = 0
    drawn: list[RecistMark | None] = field(default_factory=list)
    neighbours: torch.Tensor | None = None
    marks: torch.Tensor | None = None
    replayed: list[bool] = field(default_factory=list)
    stood_in: list[int] = field(default_factory=list)

    @classmethod
    def from_store(
        cls,
        path: str | os.PathLike,
        device: torch.device | str = "cpu",
        size: int | None = None,
        min_quality: float | None = None,
        neighbours: int = 0,
        reviewed: str = AS_MADE,
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
        neighbours : int
            Slices on either side that are read with each.
        reviewed : str
            Which labels by readers' verdicts: see `data.store.reviewed.open_reviewed`.

        Raises
        ------
        FileNotFoundError
            Without a store.
        ValueError
            For a damaged store, for one without a label left or without the neighbours, or for
            crops of several sizes when `size` is not given.
        """
        images, softs, binaries, keys, patients, drawn, beside = [], [], [], [], [], [], []
        stood_in = []
        unknown = 0
        shape = None if size is None else (size, size)
        for record in open_reviewed(path, reviewed).records("ok"):
            label = record.labelled()
            score = ranking(record.quality)
            if min_quality is not None and (score is None or score < min_quality):
                continue
            shape = label.image.shape if shape is None else shape
            if label.image.shape != shape and size is None:
                raise ValueError(
                    f"{path} must have crops of one size, got {list(shape)} and "
                    f"{list(label.image.shape)} ({record.key}): give a size to bring them to, "
                    "--size of dsnet.train"
                )
            images.append(resized(label.image, shape))
            softs.append(resized(label.alpha, shape))
            binary = label.binary if record.truth is None else record.truth
            binaries.append(resized(binary.astype(np.float32), shape) >= 0.5)
            if neighbours:
                beside.append(_neighbours(record, neighbours, shape, path))
                stood_in.append(missing_in(record.notes, neighbours))
            drawn.append(_mark(record, shape))
            keys.append(record.key)
            patients.append(patient_of(record.key, record.metadata))
            unknown += known_patient(record.key, record.metadata) is None
        if not keys:
            raise ValueError(f"{path} has no label to train on (status ok, quality reached)")
        image, soft, binary = (torch.stack(p)[:, None] for p in (images, softs, binaries))
        planes = torch.stack(beside) if neighbours else None
        how = {"neighbours": planes, "stood_in": stood_in}
        return cls(image, soft, binary, keys, patients, unknown, drawn, **how).to(device)

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
        return replace(self, **{name: t.to(device) for name, t in self._tensors().items()})

    def with_marks(self, draws: int) -> DeviceDataset:
        """The same with `draws` marks a case, see `dsnet.training.marks`."""
        truth, soft = self.binary[:, 0].cpu().numpy(), self.soft[:, 0].cpu().numpy()
        people = self.drawn or [None] * len(self)
        found = [
            marks_of(people[i], truth[i], soft[i], self.keys[i], draws) for i in range(len(self))
        ]
        marks = torch.from_numpy(np.stack([each for each, _ in found])).float()
        return replace(
            self, marks=marks.to(self.image.device), replayed=[replayed for _, replayed in found]
        )

    def inputs(
        self, index: torch.Tensor | slice = slice(None), draw: torch.Tensor | int = 0
    ) -> torch.Tensor:
        """What a network sees of some cases; never waits for the device.

        Parameters
        ----------
        index : LongTensor [B] or slice
            Of the cases.
        draw : LongTensor [B] or int
            Number of the mark that is shown of each, counted on beyond the last.

        Returns
        -------
        Tensor [B, 1 + 2 * neighbours + marks, H, W], float32
            Slice, neighbours and the mark's plane, as `DSNet.forward` takes them.
        """
        planes = [self.image[index]]
        if self.neighbours is not None:
            planes.append(self.neighbours[index])
        if self.marks is not None:
            marks = self.marks[index]
            each = torch.arange(len(marks), device=marks.device)
            height, width = self.image.shape[2:]
            planes.append(mark_plane(marks[each, draw % marks.shape[1]], (height, width)))
        return planes[0] if len(planes) == 1 else torch.cat(planes, 1)

    def digest(self) -> str:
        """SHA-256 of keys, patients and pixels: equal for equal data, on any device."""
        digest = hashlib.sha256(repr((self.keys, self.patients, self.image.shape)).encode())
        for tensor in (self.image, self.soft, self.binary):
            digest.update(tensor.cpu().contiguous().numpy().data)
        # Of the marks the first: the others follow as it does, and scoring needs no more.
        for beside in (self.neighbours, None if self.marks is None else self.marks[:, :1]):
            if beside is not None:
                digest.update(beside.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def subset(self, indices: Sequence[int]) -> DeviceDataset:
        """A copy of the cases at `indices`."""
        index = torch.as_tensor(list(indices), dtype=torch.long, device=self.image.device)
        lists = ("keys", "patients", "drawn", "replayed", "stood_in")
        chosen = {
            name: [getattr(self, name)[i] for i in indices] for name in lists if getattr(self, name)
        }
        return replace(self, **{name: t[index] for name, t in self._tensors().items()}, **chosen)

    def _tensors(self) -> dict[str, torch.Tensor]:
        names = ("image", "soft", "binary", "neighbours", "marks")
        return {name: t for name in names if (t := getattr(self, name)) is not None}


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


def _mark(record: LabelRecord, shape: tuple[int, int]) -> RecistMark | None:
    """A record's mark on the grid that the network sees."""
    if record.mark is None:
        return None
    height, width = record.labelled().image.shape
    mark = RecistMark.from_coordinates(record.mark)
    return mark if (height, width) == shape else mark.scaled(shape[1] / width, shape[0] / height)


def _neighbours(record: LabelRecord, count: int, shape: tuple[int, int], path) -> torch.Tensor:
    """The nearest slices [2 * count, H, W] of a record."""
    beside = record.neighbours
    there = 0 if beside is None else len(beside) // 2
    if beside is None or there < count:
        raise ValueError(
            f"{path} must hold {count} neighbouring slices on either side, {record.key} has "
            f"{there}: dsnet.label --neighbours writes them"
        )
    return torch.stack([resized(plane, shape) for plane in beside[: 2 * count]])


def _by_patient(patients: Sequence[str]) -> dict[str, list[int]]:
    cases: dict[str, list[int]] = {}
    for index, patient in enumerate(patients):
        cases.setdefault(patient, []).append(index)
    return dict(sorted(cases.items()))


def _shuffled(items: list[str], seed: int) -> list[str]:
    order = np.random.default_rng(seed).permutation(len(items))
    return [items[i] for i in order]
