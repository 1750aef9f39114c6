"""The LIDC nodules that the benches measure on, split into two halves by patient."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dsnet.data.store.record import LabelRecord
from dsnet.evaluation.rows import Scored
from dsnet.labeling import RecistMark, consensus


@dataclass(frozen=True, eq=False)
class Nodule:
    """One nodule on its slice with the largest consensus."""

    name: str
    half: int  # 0: patients whose parameters may be chosen on; 1: held out
    image: np.ndarray  # float32 [128, 128], 0..1
    masks: np.ndarray  # bool [4, 128, 128]
    truth: np.ndarray  # bool [128, 128], the 50 % consensus
    mark: RecistMark


def nodule_rows(root: Path) -> list[dict[str, str]]:
    """The lines of nodules.csv."""
    with open(root / "nodules.csv") as file:
        return list(csv.DictReader(file))


def patient_halves(rows: list[dict[str, str]]) -> dict[str, int]:
    """The half of each patient, as `Nodule` has it."""
    patients = sorted({row["patient"] for row in rows})
    return {patient: number % 2 for number, patient in enumerate(patients)}


def read_nodules() -> list[Nodule]:
    root = Path(os.environ.get("DSNET_SHARED", "../shared"), "data", "lidc")
    rows = nodule_rows(root)
    half = patient_halves(rows)
    nodules = []
    for row in rows:
        folder = root / "LIDC-IDRI-slices" / row["patient"] / row["nodule"]
        masks = np.stack([_read(folder / f"mask-{k}" / row["largest_slice"]) > 0 for k in range(4)])
        nodules.append(
            Nodule(
                name=f"{row['patient']}/{row['nodule']}",
                half=half[row["patient"]],
                image=_read(folder / "images" / row["largest_slice"]).astype(np.float32) / 255,
                masks=masks,
                truth=consensus(masks),
                mark=RecistMark.from_coordinates(
                    [float(row[f"{axis}{end}"]) for end in range(1, 5) for axis in "xy"]
                ),
            )
        )
    return nodules


@dataclass(frozen=True, eq=False)
class NoduleSlice:
    """One slice of a nodule."""

    patient: int  # number of the patient
    half: int
    largest: bool  # the nodule's slice with the largest consensus
    image: np.ndarray  # uint8 [128, 128]
    masks: np.ndarray  # bool [4, 128, 128]


def read_slices() -> list[NoduleSlice]:
    """All slices of the nodules."""
    root = Path(os.environ.get("DSNET_SHARED", "../shared"), "data", "lidc")
    rows = nodule_rows(root)
    numbers = {name: n for n, name in enumerate(sorted({row["patient"] for row in rows}))}
    slices = []
    for row in rows:
        folder = root / "LIDC-IDRI-slices" / row["patient"] / row["nodule"]
        for path in sorted((folder / "images").glob("*.png")):
            masks = np.stack([_read(folder / f"mask-{k}" / path.name) > 0 for k in range(4)])
            slices.append(
                NoduleSlice(
                    patient=numbers[row["patient"]],
                    half=numbers[row["patient"]] % 2,
                    largest=path.name == row["largest_slice"],
                    image=_read(path),
                    masks=masks,
                )
            )
    return slices


def reader_masks(picture: Any, record: LabelRecord) -> np.ndarray:
    """What each reader drew in a record's window of a picture, bool [readers, H, W]."""
    assert record.offset is not None and record.image is not None
    left, top = (int(corner) for corner in record.offset)
    height, width = record.image.shape
    return picture.read().masks[:, top : top + height, left : left + width]


def jittered(mark: RecistMark, pixels: float, rng: np.random.Generator) -> RecistMark:
    """The mark with normal noise of that standard deviation on each coordinate."""
    return RecistMark.from_coordinates(mark.coordinates + rng.normal(0, pixels, 8))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of two masks; 1 where both are empty."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2.0 * np.count_nonzero(a & b) / total if total else 1.0


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise FileNotFoundError(path)
    return image


def with_truth(seeds: Sequence[Scored]) -> set[str]:
    """Cases that have a truth: brought to fewer pixels, a consensus of a few may be none."""
    return {key for s in seeds for key, t in zip(s.keys, s.truth, strict=True) if t.any()}


def parts_of(records: dict, there: set[str]) -> dict[str, Callable[[str], bool]]:
    """Which cases, by key, are in which part of a study's table."""
    return {
        "one slice a nodule, the largest": lambda key: (
            key in there and records[key].metadata["largest"]
        ),
        "all slices": there.__contains__,
    }
