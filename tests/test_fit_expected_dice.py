"""The expected Dice: its fit on labels that are made up, and its bound on real ones."""

import numpy as np
import pytest

from bench.common.dice_model import crossed, fit, folds_of, logistic
from bench.common.lidc import dice, read_nodules
from bench.common.ranking import auroc, intervals
from bench.fits.expected_dice import SIZES, margins_of, without_their_own
from bench.studies.expected_dice import SOURCES, foretold, of_other_marks, spreads
from dsnet.labeling import label_recist
from dsnet.labeling.mark_model import MarkedMask
from shared_data import shared


def made_up(patients, rng, labels=20):
    """Labels whose Dice follows from two numbers, but for a part that each patient has."""
    patient = np.repeat(np.arange(patients), labels)
    known = np.insert(rng.normal(size=(len(patient), 2)), 0, 1.0, axis=1)
    theirs = rng.normal(0, 0.03, patients)[patient]
    found = logistic(known @ [2.5, 0.5, -0.3]) + theirs + rng.normal(0, 0.01, len(patient))
    return patient, known, found.clip(0, 1)


def test_fit_finds_the_coefficients_that_made_the_dice():
    known = np.insert(np.random.default_rng(0).normal(size=(4000, 2)), 0, 1.0, axis=1)
    found = logistic(known @ [2.5, 0.5, -0.3])
    assert fit(known, found) == pytest.approx([2.5, 0.5, -0.3], abs=1e-3)


def test_folds_hold_each_label_once_and_no_patient_twice():
    patient = np.random.default_rng(0).integers(0, 40, 500) * 7
    folds = folds_of(patient)
    assert (np.sum(folds, axis=0) == 1).all()
    assert all(not set(patient[fold]) & set(patient[~fold]) for fold in folds)


def test_no_patient_is_expected_by_coefficients_of_its_own():
    patient, known, found = made_up(24, np.random.default_rng(1))
    folds = folds_of(patient)
    before = crossed(known, found, folds)
    changed = np.where(folds[3], 0.2, found)
    after = crossed(known, changed, folds)
    assert (before[folds[3]] == after[folds[3]]).all()
    assert (before[~folds[3]] != after[~folds[3]]).all()


def test_margins_are_the_least_that_nine_of_ten_stay_within():
    # Of 19 numbers the 18th, of 9 the last: ceil(0.9 (n + 1)).
    excess = np.concatenate([np.arange(19) / 100, np.arange(9) / 50, [0.3]])
    long = np.repeat([5.0, 10.0, 40.0], [19, 9, 1])
    order = np.random.default_rng(0).permutation(len(long))
    assert margins_of(excess[order], long[order]) == pytest.approx([0.17, 0.16, 0.3])


def test_the_bound_covers_nine_of_ten_labels_of_patients_that_took_no_part():
    rng = np.random.default_rng(2)
    patient, known, found = made_up(400, rng)
    long = rng.uniform(4, 30, len(patient))
    expected, lowest = without_their_own(known, found, long, folds_of(patient))
    assert (lowest < expected).all()
    assert (found >= lowest).mean() == pytest.approx(0.9, abs=0.015)


def test_auroc_counts_pairs_and_ties_by_half():
    scores, poor = np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True])
    assert auroc(scores, poor) == 3.5 / 4
    assert np.isnan(auroc(scores, poor & ~poor))


def test_intervals_are_of_patients_not_of_labels():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(100), 30)
    value = np.repeat(rng.normal(size=100), 30)
    low, high = intervals(lambda rows: {"mean": float(value[rows].mean())}, patient)["mean"]
    assert high - low == pytest.approx(2 * 1.96 * value.std() / 10, rel=0.1)


def test_what_other_marks_had_and_how_far_they_spread():
    nodule, found = np.array([0, 0, 0, 1, 1, 1]), np.array([0.7, 0.8, 0.9, 0.5, 0.5, 0.5])
    assert of_other_marks(nodule, found) == pytest.approx([0.85, 0.8, 0.75, 0.5, 0.5, 0.5])
    # Within: 0.01 and 0; the means 0.8 and 0.5 vary by 0.045, of which 0.005 / 3 is the marks'.
    assert spreads(nodule, found) == pytest.approx((0.045 - 0.005 / 3, 0.005))


def test_a_source_counts_from_its_own_row_on():
    rng = np.random.default_rng(3)
    names = [name for source in SOURCES.values() for name in source]
    columns = {name: rng.normal(size=800) for name in names}
    columns["patient"] = np.repeat(np.arange(80), 10)
    columns["dice"] = logistic(2 + columns["evidence"])
    first, *rest = foretold(columns)
    assert abs(first["rank_correlation"]) < 0.2 and first["explained"] < 0.05
    for row in rest:
        assert row["rank_correlation"] > 0.99 and row["explained"] > 0.98 and row["auroc"] > 0.99


@pytest.mark.long
def test_the_bound_covers_nine_of_ten_labels_of_real_nodules():
    shared("lidc")
    nodules = [n for n in read_nodules() if n.half == 0]
    rng = np.random.default_rng(5)
    held, size = [], []
    for nodule in nodules:
        for _ in "ab":
            mark = MarkedMask(nodule.truth).draw(rng, lesion=int(rng.integers(2**31)))
            label = label_recist(nodule.image, mark)
            held.append(dice(label.binary, nodule.truth) >= label.quality["expected_dice_low"])
            size.append(np.digitize(mark.long_diameter, SIZES[1:-1]))
    held, size = np.array(held), np.array(size)
    assert held.mean() == pytest.approx(0.9, abs=0.03)
    for one in range(3):
        assert held[size == one].mean() == pytest.approx(0.9, abs=0.06)
