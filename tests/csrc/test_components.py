"""Connected parts of masks against scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from emulation_module import emulation

MASKS = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=20))
SHAPES = [(1, 1), (1, 9), (9, 1), (3, 3), (5, 64), (64, 5), (40, 65), (33, 128), (50, 200)]


def seeded_part(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    votes = np.bincount(parts[seeds & mask], minlength=count + 1)
    if not votes[1:].any():
        votes = np.bincount(parts.ravel(), minlength=count + 1)
    votes[0] = 0
    return parts == np.argmax(votes)


def random_masks(count: int):
    rng = np.random.default_rng(5)
    for i in range(count):
        shape = SHAPES[i % len(SHAPES)]
        mask = rng.random(shape) < rng.random()
        yield rng, ndimage.median_filter(mask, 3) if i % 3 == 0 else mask


def test_holes_fill_as_scipys():
    for _, mask in random_masks(600):
        np.testing.assert_array_equal(emulation.fill_holes(mask), ndimage.binary_fill_holes(mask))


@given(MASKS)
def test_holes_of_small_masks(mask):
    np.testing.assert_array_equal(emulation.fill_holes(mask), ndimage.binary_fill_holes(mask))


def test_a_ring_within_a_ring_fills_whole():
    y, x = np.mgrid[:150, :210] - np.array([75, 105])[:, None, None]
    radius = np.hypot(x, y)
    rings = ((radius > 30) & (radius < 35)) | ((radius > 60) & (radius < 63))
    np.testing.assert_array_equal(emulation.fill_holes(rings), radius < 63)


def test_a_gap_across_a_corner_is_no_leak():
    mask = np.ones((6, 6), bool)
    mask[2:4, 2:4] = False
    mask[1, 1] = mask[0, 0] = False
    filled = emulation.fill_holes(mask)
    assert not filled[0, 0] and filled.sum() == 35


def test_the_part_with_most_seeds_is_kept():
    for rng, mask in random_masks(600):
        seeds = rng.random(mask.shape) < rng.choice([0.0, 0.02, 0.2])
        np.testing.assert_array_equal(
            emulation.keep_seeded_part(mask, seeds), seeded_part(mask, seeds)
        )


@given(MASKS, st.randoms(use_true_random=False))
def test_ties_go_to_the_first_part(mask, random):
    seeds = np.zeros(mask.shape, bool)
    for _ in range(3):
        seeds[random.randrange(mask.shape[0]), random.randrange(mask.shape[1])] = True
    np.testing.assert_array_equal(emulation.keep_seeded_part(mask, seeds), seeded_part(mask, seeds))


def test_spirals_and_combs_are_one_part():
    mask = np.ones((99, 131), bool)
    mask[1::2] = False
    mask[1::4, -1] = mask[3::4, 0] = True
    np.testing.assert_array_equal(emulation.keep_seeded_part(mask, mask), mask)
    np.testing.assert_array_equal(emulation.keep_seeded_part(mask.T, mask.T), mask.T)
    comb = np.ones((40, 131), bool)
    comb[:-1, 1::2] = False
    np.testing.assert_array_equal(emulation.keep_seeded_part(comb, comb), comb)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 1), (4, 70)])
def test_empty_and_full_masks(shape):
    for mask in (np.zeros(shape, bool), np.ones(shape, bool)):
        np.testing.assert_array_equal(emulation.fill_holes(mask), mask)
        np.testing.assert_array_equal(emulation.keep_seeded_part(mask, mask), mask)


def test_any_value_but_zero_is_inside():
    mask = np.random.default_rng(2).integers(0, 3, (30, 70)).astype(np.uint8) * 100
    np.testing.assert_array_equal(emulation.fill_holes(mask), emulation.fill_holes(mask != 0))
    np.testing.assert_array_equal(
        emulation.keep_seeded_part(mask, mask), emulation.keep_seeded_part(mask != 0, mask != 0)
    )


def test_every_vector_unit_gives_the_same_parts():
    units = emulation.vector_units()
    try:
        for rng, mask in random_masks(60):
            seeds = rng.random(mask.shape) < 0.1
            results = []
            for unit in units:
                emulation.use_vector_unit(unit)
                results.append(
                    (emulation.fill_holes(mask), emulation.keep_seeded_part(mask, seeds))
                )
            for result in results[1:]:
                np.testing.assert_array_equal(result, results[0])
    finally:
        emulation.use_vector_unit(units[-1])


def test_bad_arguments_are_named():
    mask = np.ones((2, 3), bool)
    with pytest.raises(TypeError, match=r"mask must .*bool or uint8"):
        emulation.fill_holes(mask.astype(int))
    with pytest.raises(TypeError, match=r"seeds must .*bool or uint8"):
        emulation.keep_seeded_part(mask, None)
    with pytest.raises(
        ValueError, match=r"seeds must have the mask's shape \(2, 3\), got \(3, 2\)"
    ):
        emulation.keep_seeded_part(mask, mask.T)
