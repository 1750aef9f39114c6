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
