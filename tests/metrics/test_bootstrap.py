"""Interval of a paired difference: by hand, drawing patients one by one, by the normal law."""

import math
import random

import numpy as np
import pytest

from dsnet.metrics import Difference, paired_difference


def test_two_patients_by_hand():
    # Of two draws each mean is 0, 1/2 or 1, by 1/4, 1/2 and 1/4.
    found = paired_difference(np.array([0.25, 1.5]), np.array([0.25, 0.5]), ["a", "b"])
    assert found == Difference(0.5, 0.0, 1.0, 2, 2)
    narrow = paired_difference(np.array([0.0, 1]), np.zeros(2), ["a", "b"], level=0.4)
    assert (narrow.low, narrow.high) == (0.5, 0.5)


def cases(seed, patients=14):
    """Patients with one to nine cases, which are alike within a patient."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(patients), rng.integers(1, 10, patients))
    own = rng.normal(0.02, 0.05, patients)
    reference = rng.uniform(0.5, 0.9, len(who))
    order = rng.permutation(len(who))
    values = reference + own[who] + rng.normal(0, 0.01, len(who))
    return values[order], reference[order], [f"P{p}" for p in who[order]]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_drawing_patient_after_patient_gives_the_same(seed):
    values, reference, who = cases(seed)
    of: dict = {}
    for x, y, patient in zip(values, reference, who, strict=True):
        of.setdefault(patient, []).append(x - y)
    drawn, means = random.Random(seed), []
    for _ in range(20_000):
        sample = [d for p in drawn.choices(sorted(of), k=len(of)) for d in of[p]]
        means.append(sum(sample) / len(sample))
    means.sort()
    found = paired_difference(values, reference, who, draws=20_000, seed=seed)
    assert found.mean == pytest.approx(np.mean(values - reference))
    assert (found.cases, found.clusters) == (len(values), len(of))
    width = means[19_500] - means[500]
    assert found.low == pytest.approx(means[500], abs=0.03 * width)
    assert found.high == pytest.approx(means[19_499], abs=0.03 * width)
    # Cases as if each were a patient: far too sure.
    alone = paired_difference(values, reference, range(len(values)), draws=20_000)
    assert alone.high - alone.low < 0.7 * (found.high - found.low)


def test_of_many_independent_cases_it_is_the_normal_laws():
    rng = np.random.default_rng(5)
    difference = rng.normal(0.3, 1.0, 900)
    found = paired_difference(difference, np.zeros(900), range(900))
    half = 1.96 * difference.std() / math.sqrt(900)
    assert found.low == pytest.approx(difference.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(difference.mean() + half, abs=0.1 * half)


def test_copies_of_a_patients_case_make_nothing_surer():
    rng = np.random.default_rng(6)
    values, who = rng.random(20), [f"P{i}" for i in range(20)]
    one = paired_difference(values, np.zeros(20), who)
    eight = paired_difference(np.repeat(values, 8), np.zeros(160), np.repeat(who, 8).tolist())
    assert eight[:3] == pytest.approx(one[:3], abs=1e-12) and eight.clusters == 20


def test_equal_arguments_give_equal_numbers_whatever_the_draws_at_once():
    values, reference, who = cases(7)
    assert paired_difference(values, reference, who) == paired_difference(values, reference, who)
    assert paired_difference(values, reference, who, seed=1) != paired_difference(
        values, reference, who
    )
    for draws in (1, 199, 200, 201, 401):
        found = paired_difference(values, reference, who, draws=draws)
        assert found.low <= found.high and found.mean == pytest.approx((values - reference).mean())
    shift = paired_difference(values + 1, reference, who)
    plain = paired_difference(values, reference, who)
    assert shift[:3] == pytest.approx([x + 1 for x in plain[:3]])


def test_cases_without_a_value_are_left_out():
    values, reference, who = cases(8)
    more = [np.append(v, x) for v, x in ((values, np.nan), (reference, 0.5))]
    assert paired_difference(*more, [*who, "other"]) == paired_difference(values, reference, who)
    more = [np.append(v, x) for v, x in ((values, np.inf), (reference, np.inf))]
    assert paired_difference(*more, [*who, who[0]]) == paired_difference(values, reference, who)
    one = paired_difference(np.array([0.2, 0.4]), np.zeros(2), ["a", "a"])
    assert one.mean == pytest.approx(0.3) and math.isnan(one.low) and math.isnan(one.high)
    assert one[3:] == (2, 1)
    none = paired_difference(np.array([np.nan]), np.zeros(1), ["a"])
    assert math.isnan(none.mean) and none[3:] == (0, 0)
    assert paired_difference(np.zeros(0), np.zeros(0), []).cases == 0


def test_what_is_wrong_is_named():
    good = np.zeros(3)
    with pytest.raises(ValueError, match=r"of one length, got \[3\], \[2\] and 3"):
        paired_difference(good, good[:2], "abc")
    with pytest.raises(ValueError, match="of one length"):
        paired_difference(good, good, "ab")
    for level in (0, 1, math.nan):
        with pytest.raises(ValueError, match="level must be above 0 and below 1"):
            paired_difference(good, good, "abc", level=level)
    for draws in (0, 2.5):
        with pytest.raises(ValueError, match="draws must be a whole number of 1 or more"):
            paired_difference(good, good, "abc", draws=draws)
