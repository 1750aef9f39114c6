"""Fit a label's expected Dice in `edge_model.npz`: `python -m bench.fits.expected_dice`.

Runs after `bench.fits.edge_model`, on labels under marks as people draw them, of the slices that a
reader would mark, against the readers' 50 % consensus. All labels give the coefficients, and the
margin that nine of ten stay within, by the long axis. For it each patient's Dice is expected by
coefficients of other patients (cross-conformal prediction: Vovk, Annals of Mathematics and
Artificial Intelligence 2015).

All patients of the half take part, also those that the edge model was fitted to, whose labels are
no better than others'. Those that it left out are too few: of 33 patients the bound covers from 83
to 95 % of other patients' labels, whichever 33 they are. What it covers of patients that took no
part is told by doing all of it again without an eighth of them at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from bench.common.dice_model import crossed, fit, folds_of, logistic
from bench.common.lidc import NoduleSlice, dice, read_slices
from bench.fits.edge_model import LEFT_OUT, OUT, save
from dsnet import _C
from dsnet.labeling.edge_model import EdgeNetwork, edge_network, native_network
from dsnet.labeling.mark_model import MarkedMask
from dsnet.labeling.reference.expected_dice import what_is_known

DRAWS = 8
LEAST_PIXELS = 4
COVER = 0.9
SIZES = (0.0, 10.0, 20.0, np.inf)  # long axis, pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", type=int, default=0, choices=(0, 1), help="patients to fit to")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    slices = [s for s in read_slices() if s.half == options.half]
    fitted_to = ~np.isin(
        [s.patient for s in slices], np.unique([s.patient for s in slices])[::LEFT_OUT]
    )
    labels = [
        (s.patient, fitted, *label)
        for s, fitted in zip(slices, fitted_to, strict=True)
        if s.largest and np.count_nonzero(s.masks.sum(0) >= 2) >= LEAST_PIXELS
        for label in labelled(s, rng)
    ]
    patient, fitted, known, found, long = (np.array(column) for column in zip(*labels, strict=True))
    for name, chosen in (("fitted to", fitted), ("left out", ~fitted)):
        print(f"patients {name}: {chosen.sum()} labels, mean Dice {found[chosen].mean():.3f}")
    folds = folds_of(patient)
    coefficients = fit(known, found)
    margins = margins_of(crossed(known, found, folds) - found, long)
    print(f"coefficients {coefficients.round(3)}, margins {margins.round(3)}")
    expected, lowest = without_their_own(known, found, long, folds)
    print(
        f"rank correlation {spearmanr(expected, found)[0]:.3f}, "
        f"mean error {np.abs(expected - found).mean():.4f}, "
        f"the bound covers {(found >= lowest).mean():.3f}"
    )
    for low, high in pairwise(SIZES):
        some = (long >= low) & (long < high)
        print(
            f"long axis {low} to {high}: {some.sum()} labels, {(found >= lowest)[some].mean():.3f}"
        )
    network: EdgeNetwork = edge_network()
    save(replace(network, expected_dice=coefficients, expected_dice_margin=margins), options.out)


def labelled(s: NoduleSlice, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, float, float]]:
    """What is known of each of a few labels of a slice, the Dice that it has, the mark's length."""
    truth, image = s.masks.sum(0) >= 2, s.image.astype(np.float32) / 255
    drawn = MarkedMask(truth)
    for _ in range(DRAWS):
        mark = drawn.draw(rng, lesion=int(rng.integers(2**31)))
        # A label's pixels are its cut's.
        mask, _, fallback, _, evidence = _C.cut_recist(image, mark.coordinates, native_network())
        if fallback == 0:
            known = what_is_known(mark, evidence, np.count_nonzero(mask))
            yield known, dice(mask, truth), mark.long_diameter


def without_their_own(
    known: np.ndarray, found: np.ndarray, long: np.ndarray, folds: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Each fold's expected Dice and its bound, by coefficients and margins of the other folds."""
    expected, lowest = np.empty(len(found)), np.empty(len(found))
    size = np.digitize(long, SIZES[1:-1])
    for fold in folds:
        rest = ~fold
        others = [other[rest] for other in folds if other is not fold]
        excess = crossed(known[rest], found[rest], others) - found[rest]
        expected[fold] = logistic(known[fold] @ fit(known[rest], found[rest]))
        lowest[fold] = expected[fold] - margins_of(excess, long[rest])[size[fold]]
    return expected, lowest


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
