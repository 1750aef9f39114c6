"""Fit a label's expected Dice in `edge_model.npz`: `python -m bench.fits.expected_dice`.

Runs after `bench.fits.edge_model`, on the patients that it left out: labels under marks as people
draw them, against the readers' 50 % consensus. All slices give the coefficients; the slices that a
reader would mark the margin that nine labels of ten stay within, by the long axis. For it each
patient's Dice is expected by coefficients of other patients (cross-conformal prediction: Vovk,
Annals of Mathematics and Artificial Intelligence 2015).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from bench.common.lidc import NoduleSlice, dice, read_slices
from bench.fits.edge_model import LEFT_OUT, OUT, save
from dsnet.labeling import label_recist
from dsnet.labeling.edge_model import EdgeNetwork, edge_network
from dsnet.labeling.mark_model import MarkedMask
from dsnet.labeling.reference.edge_model import lesion_evidence
from dsnet.labeling.reference.expected_dice import what_is_known

DRAWS = 8
LEAST_PIXELS = 4
RIDGE = 3.0
COVER = 0.9
FOLDS = 8
SIZES = (0.0, 10.0, 20.0, np.inf)  # long axis, pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", type=int, default=0, choices=(0, 1), help="patients to fit to")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    slices = [s for s in read_slices() if s.half == options.half]
    patients = np.unique([s.patient for s in slices])[::LEFT_OUT]
    labels = [
        (s.patient, s.largest, *label)
        for s in slices
        if s.patient in patients and np.count_nonzero(s.masks.sum(0) >= 2) >= LEAST_PIXELS
        for label in labelled(s, rng)
    ]
    patient, largest, known, found, long = (
        np.array(column) for column in zip(*labels, strict=True)
    )
    coefficients = fit(known, found)
    expected = np.empty(len(found))
    for fold in range(FOLDS):
        left_out = np.isin(patient, patients[fold::FOLDS])
        expected[left_out] = logistic(known[left_out] @ fit(known[~left_out], found[~left_out]))
    margins = margins_of((expected - found)[largest], long[largest])
    print(f"{len(found)} labels, {largest.sum()} of slices that a reader would mark")
    print(f"coefficients {coefficients.round(3)}, margins {margins.round(3)}")
    for name, chosen in (("all", largest | ~largest), ("marked", largest)):
        rank = spearmanr(expected[chosen], found[chosen])[0]
        error = np.abs(expected - found)[chosen].mean()
        print(f"{name} slices: rank correlation {rank:.3f}, mean error {error:.4f}")
    network: EdgeNetwork = edge_network()
    save(replace(network, expected_dice=coefficients, expected_dice_margin=margins), options.out)


def labelled(s: NoduleSlice, rng: np.random.Generator):
    """What is known of each of a few labels of a slice, the Dice that it has, the mark's length."""
    truth, image = s.masks.sum(0) >= 2, s.image.astype(np.float32) / 255
    drawn = MarkedMask(truth)
    for _ in range(DRAWS):
        mark = drawn.draw(rng, lesion=int(rng.integers(2**31)))
        label = label_recist(image, mark)
        if any("fell back" in note for note in label.notes):
            continue
        evidence = lesion_evidence(image, mark).expected_dice
        pixels = np.count_nonzero(label.binary)
        yield what_is_known(mark, evidence, pixels), dice(label.binary, truth), mark.long_diameter


def logistic(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


def fit(known: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Coefficients whose logistic sum is nearest to the Dice: least squares with a ridge, then
    Gauss-Newton steps on the Dice itself."""
    kept = np.clip(found, 0.05, 0.985)
    ridge = RIDGE * np.eye(known.shape[1])
    ridge[0, 0] = 0.0
    coefficients = np.linalg.solve(known.T @ known + ridge, known.T @ np.log(kept / (1 - kept)))
    for _ in range(20):
        expected = logistic(known @ coefficients)
        slope = known * (expected * (1 - expected))[:, None]
        normal = slope.T @ slope + ridge * 1e-3
        step = np.linalg.solve(normal, slope.T @ (found - expected) - ridge @ coefficients * 1e-3)
        coefficients = coefficients + step
    return coefficients


def margins_of(excess: np.ndarray, long: np.ndarray) -> np.ndarray:
    """By size, what nine of ten of the expected Dices are above the found ones by less than."""
    margins = []
    for low, high in pairwise(SIZES):
        some = np.sort(excess[(long >= low) & (long < high)])
        rank = int(np.ceil(COVER * (len(some) + 1))) - 1
        margins.append(float(some[min(rank, len(some) - 1)]))
    return np.array(margins)


if __name__ == "__main__":
    main()
