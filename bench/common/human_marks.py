"""Marks that people drew over lesions of DeepLesion, with what is known of the lesion."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dsnet.labeling import RecistMark

# The marks' coordinates have their origin at the first pixel's corner.
ORIGIN = 0.5


@dataclass(frozen=True, eq=False)
class MarkAndMask:
    """A person's mark, and another one's mask of the lesion."""

    name: str
    mark: RecistMark
    mask: np.ndarray  # bool [512, 512]


def human_marks_folder() -> Path:
    return Path(os.environ.get("DSNET_SHARED", "../shared"), "data", "human_marks")


def read_marks_and_masks() -> list[MarkAndMask]:
    """The 94 lesions with both; there is no image."""
    folder = human_marks_folder() / "manual_masks"
    found = []
    with open(folder / "pairs.csv") as file:
        for row in csv.DictReader(file):
            ends = np.array([float(end) for end in row["measurement_coordinates"].split(",")])
            mask = cv2.imread(str(folder / row["File_name"]), cv2.IMREAD_UNCHANGED)
            if mask is None:
                raise FileNotFoundError(folder / row["File_name"])
            mark = RecistMark.from_coordinates(ends - ORIGIN)
            found.append(MarkAndMask(row["File_name"], mark, mask > 0))
    return found


@dataclass(frozen=True, eq=False)
class RealLesion:
    """A person's mark on a slice, and a mask of the lesion that a model made and people revised."""

    name: str
    image: np.ndarray  # float32 [512, 512], 0..1
    mark: RecistMark
    truth: np.ndarray  # bool [512, 512]


def read_real_lesions() -> list[RealLesion]:
    """The marks of the four CT sub-volumes that have a three-dimensional mask."""
    folder = human_marks_folder()
    marks: dict[str, list[np.ndarray]] = {}
    with open(folder / "DL_info_human_marks.csv") as file:
        for row in csv.DictReader(file):
            ends = [float(end) for end in row["Measurement_coordinates"].split(",")]
            marks.setdefault(row["File_name"], []).append(np.array(ends))
    found = []
    for path in sorted((folder / "volumes_medsam2").glob("*.npz")):
        series, slices = path.stem.removeprefix("CT_Lesion_").rsplit("_", 1)
        first, last = (int(number) for number in slices.split("-"))
        with np.load(path) as volume:
            images, truths = (volume[name].transpose(0, 2, 1) for name in ("imgs", "gts"))
        for number in range(first, last + 1):
            truth = truths[number - first] > 0
            for ends in marks.get(f"{series}_{number:03d}.png", []):
                mark = RecistMark.from_coordinates(ends - ORIGIN)
                # The mask is of one lesion; the slice may have marks of others.
                if not (mark.ellipse_mask(truth.shape) & truth).any():
                    continue
                image = images[number - first].astype(np.float32) / 255
                found.append(RealLesion(f"{series}_{number:03d}", image, mark, truth))
    return found
