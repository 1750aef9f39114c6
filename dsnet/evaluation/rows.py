"""A row of the table: a network's cases and scores, of one seed or of several."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Protocol(NamedTuple):
    """What the figures of a row are of, in words.

    part : which cases were scored
    truth : what the binary masks were held to
    chance : what the soft masks were held to as probabilities
    threshold : where the soft masks were cut
    """

    part: str
    truth: str
    chance: str
    threshold: str


@dataclass
class Scored:
    """A network's cases, or all folds' of a cross-validation, of one seed.

    Attributes
    ----------
    name : str
    seed : int
    keys, patients : list of N str
    image, truth, soft : ndarray [N, H, W]
        Image and predicted soft mask float32, truth bool.
    cut : ndarray [N], float32
        From where on a case's soft mask is lesion.
    values : dict of str to ndarray [N] float64
        `metrics.evaluate_cases`, and the overlap at one half.
    thresholds : list of float
        Of the network, or of each fold's.
    pooled_calibration_error : float
        Over the pixels of all the cases as if they were one.
    """

    name: str
    seed: int
    keys: list[str]
    patients: list[str]
    image: np.ndarray
    truth: np.ndarray
    soft: np.ndarray
    cut: np.ndarray
    values: dict[str, np.ndarray]
    thresholds: list[float]
    pooled_calibration_error: float


@dataclass
class Row:
    """All seeds of a network.

    Attributes
    ----------
    name : str
    seeds : list of Scored
        One or more.
    keys, patients : list of N str
        Every case that any seed was scored on.
    values : dict of str to ndarray [N] float64
        Means over the seeds that were scored on the case.
    protocol : Protocol
    notes : list of str
        What a reader of the figures must know.
    tolerance : float
        Of the surface Dice, in pixels.
    """

    name: str
    seeds: list[Scored]
    keys: list[str]
    patients: list[str]
    values: dict[str, np.ndarray]
    protocol: Protocol
    notes: list[str] = field(default_factory=list)
    tolerance: float = 1.0


def row_of(
    name: str, seeds: list[Scored], protocol: Protocol, notes: list[str], tolerance: float = 1.0
) -> Row:
    """Case by case the mean over seeds."""
    patients: dict[str, str] = {}
    for scored in seeds:
        patients.update(zip(scored.keys, scored.patients, strict=True))
    keys = list(patients)
    place = {key: i for i, key in enumerate(keys)}
    times = np.zeros(len(keys))
    sums = {metric: np.zeros(len(keys)) for metric in seeds[0].values}
    for scored in seeds:
        at = [place[key] for key in scored.keys]
        times[at] += 1
        for metric, total in sums.items():
            total[at] += scored.values[metric]
    values = {metric: total / times for metric, total in sums.items()}
    notes = list(notes)
    if len(seeds) > 1 and (shared := int((times == len(seeds)).sum())) < len(keys):
        notes.append(
            f"its seeds were scored on other cases, {shared} of {len(keys)} on all of them: how "
            "they differ is the cases' doing, too (--data-seed of dsnet.train keeps them)"
        )
    return Row(name, seeds, keys, list(patients.values()), values, protocol, notes, tolerance)
