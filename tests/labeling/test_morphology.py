"""Erosion, dilation and their trimap against the definition, OpenCV and SciPy."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import distance_transform_edt

from dsnet.labeling import (
    BACKGROUND,
    FOREGROUND,
    UNKNOWN,
    dilate,
    erode,
    split_trimap,
    trimap_from_mask,
)

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=24))
# Hundredths: no distance between two centres lies within a rounding of them by accident.
radii = st.integers(0, 900).map(lambda value: value / 100)
spacings = st.sampled_from([None, (1.0, 1.0), (0.7, 0.7), (0.5, 1.25), (2.0, 0.3)])
BOTH = (erode, dilate)


def distance_to(mask, spacing=None):
    """From each pixel's centre to the nearest one of the mask; infinite where there is none."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return distance_transform_edt(~mask, sampling=spacing or (1.0, 1.0))


def exact_disc(radius):
    reach = int(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)


@given(masks, radii, spacings)
def test_erosion_and_dilation_are_distances_within_the_radius(mask, radius, spacing):
    eroded, dilated = erode(mask, radius, spacing), dilate(mask, radius, spacing)
    assert eroded.dtype == dilated.dtype == bool
    # SciPy's distances of unequal spacings are a rounding off.
    slack = 1e-9 if spacing not in (None, (1.0, 1.0)) else 0.0
    for found, distance in (
        (~eroded, distance_to(~mask, spacing)),
        (dilated, distance_to(mask, spacing)),
    ):
        clear = np.abs(distance - radius) > slack if slack else np.ones(mask.shape, bool)
        assert np.array_equal(found[clear], (distance <= radius)[clear])


@pytest.mark.parametrize("radius", [0.0, 0.5, 1.0, np.sqrt(2), 1.5, 2.0, np.sqrt(5), 3.7, 10.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 31), (40, 1), (2, 3), (37, 53), (64, 64), (65, 130)])
def test_equal_to_opencv_with_the_same_disc(shape, radius):
    rng = np.random.default_rng(int(100 * radius) + sum(shape))
    for share in (0.02, 0.5, 0.98):
        mask = rng.random(shape) < share
        for ours, theirs in ((erode, cv2.erode), (dilate, cv2.dilate)):
            wanted = theirs(mask.astype(np.uint8), exact_disc(radius))
            assert np.array_equal(ours(mask, radius), wanted.astype(bool))


@given(masks, radii, radii, spacings)
def test_the_trimap_is_both(mask, erosion, dilation, spacing):
    trimap = split_trimap(mask, erosion, dilation, spacing)
    assert trimap.dtype == np.uint8
    assert np.array_equal(trimap == FOREGROUND, erode(mask, erosion, spacing))
    assert np.array_equal(trimap != BACKGROUND, dilate(mask, dilation, spacing))
    assert np.isin(trimap, [BACKGROUND, UNKNOWN, FOREGROUND]).all()


def test_a_trimap_of_one_large_part_is_that_of_strategy_1():
    y, x = np.mgrid[:60, :71]
    mask = np.hypot(y - 30, x - 33) < 17.3
    split = split_trimap(mask, 2.0, 3.0, (0.8, 0.6))
    assert np.array_equal(split, trimap_from_mask(mask, erosion=2, dilation=3, spacing=(0.8, 0.6)))


@given(masks, radii, spacings)
def test_erosion_is_dilation_of_the_rest(mask, radius, spacing):
    assert np.array_equal(erode(mask, radius, spacing), ~dilate(~mask, radius, spacing))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (16, 65)])
@pytest.mark.parametrize("radius", [0, 1, 2.5, 1e3, 1e9, 1e300])
def test_empty_full_and_huge(shape, radius):
    empty, full = np.zeros(shape, bool), np.ones(shape, bool)
    # Nothing is assumed beyond the image's border.
    assert not erode(empty, radius).any() and not dilate(empty, radius).any()
    assert erode(full, radius).all() and dilate(full, radius).all()
    assert (split_trimap(full, radius, radius) == FOREGROUND).all()
    assert (split_trimap(empty, radius, radius) == BACKGROUND).all()
    one = empty.copy()
    one[0, 0] = True
    if radius > max(shape):
        assert dilate(one, radius).all() and not erode(~one, radius).any()
    if radius == 0:
        assert np.array_equal(erode(one, 0), one) and np.array_equal(dilate(one, 0), one)


def test_a_batch_is_its_images_one_by_one():
    rng = np.random.default_rng(4)
    block = rng.random((7, 23, 66)) < 0.7
    own, other = rng.uniform(0, 4, 7), rng.integers(0, 5, 7)
    for spacing in (None, (0.6, 1.1)):
        for function in BOTH:
            each = np.stack([function(mask, 1.7, spacing) for mask in block])
            assert np.array_equal(function(block, 1.7, spacing), each)
            each = np.stack([function(m, r, spacing) for m, r in zip(block, own, strict=True)])
            assert np.array_equal(function(block, own, spacing), each)
            assert np.array_equal(function(block, own.tolist(), spacing), each)
        each = [split_trimap(m, a, b, spacing) for m, a, b in zip(block, own, other, strict=True)]
        assert np.array_equal(split_trimap(block, own, other, spacing), each)
        mixed = [split_trimap(m, 1.0, b, spacing) for m, b in zip(block, other, strict=True)]
        assert np.array_equal(split_trimap(block, 1.0, other, spacing), mixed)


def test_an_empty_batch():
    none = np.zeros((0, 5, 6), bool)
    for found in (erode(none, 1.0), dilate(none, []), split_trimap(none, 1.0, [])):
        assert found.shape == (0, 5, 6)
    assert erode(none, 1.0).dtype == bool and split_trimap(none, 1, 1).dtype == np.uint8


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "u8", "f2", "f4", "f8"])
def test_non_zero_is_set_in_any_dtype_and_layout(dtype):
    rng = np.random.default_rng(1)
    values = rng.integers(0, 3, (2, 30, 41)) * (1 if dtype == "?" else 0.25 if "f" in dtype else 5)
    given_masks = values.astype(dtype)
    if np.dtype(dtype).kind in "if":
        given_masks = -given_masks
    wide = np.zeros((2, 30, 82), dtype)
    wide[..., ::2] = given_masks
    for function in BOTH:
        wanted = function(values != 0, 1.5)
        assert np.array_equal(function(given_masks, 1.5), wanted)
        assert np.array_equal(function(wide[..., ::2], 1.5), wanted)
        assert np.array_equal(function(np.asfortranarray(given_masks[0]), 1.5), wanted[0])
    assert np.array_equal(erode(given_masks[0].tolist(), 1.5), erode(values[0] != 0, 1.5))


def test_the_mask_is_left_alone():
    mask = np.random.default_rng(2).random((20, 20)) < 0.5
    mask.flags.writeable = False
    before = mask.copy()
    assert not np.shares_memory(erode(mask, 0), mask)
    dilate(mask, 2.0), split_trimap(mask, 1.0, 2.0)
    assert np.array_equal(mask, before)


@pytest.mark.parametrize(
    ("mask", "error", "words"),
    [
        (
            np.zeros(5, bool),
            ValueError,
            r"mask must be \[H, W\] or \[N, H, W\] .* got shape \(5,\)",
        ),
        (np.zeros((2, 2, 2, 2), bool), ValueError, r"mask must be \[H, W\] or \[N, H, W\]"),
        (np.zeros((0, 5), bool), ValueError, r"with H, W >= 1, got shape \(0, 5\)"),
        (np.zeros((3, 5, 0), bool), ValueError, r"with H, W >= 1, got shape \(3, 5, 0\)"),
        (True, ValueError, r"mask must be \[H, W\] or \[N, H, W\]"),
        (np.full((3, 3), np.nan), ValueError, "mask must not hold NaN"),
        (np.zeros((3, 3), complex), TypeError, "mask must be boolean or numeric, got dtype compl"),
        (np.full((3, 3), "x"), TypeError, "mask must be boolean or numeric, got dtype <U1"),
        (np.full((3, 3), None), TypeError, "mask must be boolean or numeric, got dtype object"),
    ],
)
def test_an_unusable_mask_is_named(mask, error, words):
    for call in (
        lambda: erode(mask, 1.0),
        lambda: dilate(mask, 1.0),
        lambda: split_trimap(mask, 1.0, 1.0),
    ):
        with pytest.raises(error, match=words):
            call()


@pytest.mark.parametrize(
    ("radius", "error", "words"),
    [
        (-1.0, ValueError, "must be finite and >= 0, got -1.0"),
        (-1e-300, ValueError, "must be finite and >= 0, got -1e-300"),
        (np.nan, ValueError, "must be finite and >= 0, got nan"),
        (np.inf, ValueError, "must be finite and >= 0, got inf"),
        (
            [1.0, 2.0],
            ValueError,
            r"must be a number or \[3\], one for each image, got shape \(2,\)",
        ),
        (np.ones((3, 1)), ValueError, r"must be a number or \[3\], one for each image"),
        ([1.0, np.nan, 2.0], ValueError, "must be finite and >= 0, got nan"),
        ([1.0, 2.0, -3.0], ValueError, r"must be finite and >= 0, got -3.0"),
        ("2", TypeError, "must be a number or one for each image, got '2'"),
        (None, TypeError, "must be a number or one for each image, got None"),
        (1j, TypeError, "must be a number or one for each image, got 1j"),
        ([1.0, [2.0], 3.0], TypeError, "must be a number or one for each image"),
    ],
)
def test_an_unusable_radius_is_named(radius, error, words):
    block = np.ones((3, 4, 5), bool)
    for name, call in (
        ("radius", lambda: erode(block, radius)),
        ("radius", lambda: dilate(block, radius)),
        ("erosion", lambda: split_trimap(block, radius, 1.0)),
        ("dilation", lambda: split_trimap(block, 1.0, radius)),
    ):
        with pytest.raises(error, match=f"^{name} {words}"):
            call()


def test_one_image_takes_one_radius():
    for radius in ([1.0], [1.0, 2.0]):
        with pytest.raises(ValueError, match=r"^radius must be a number, got shape"):
            erode(np.ones((4, 5), bool), radius)
    zero_axes = np.array(1.0)
    assert np.array_equal(erode(np.eye(4), zero_axes), erode(np.eye(4), 1.0))


@pytest.mark.parametrize("spacing", [(0, 1), (1, -1), (1,), (1, 1, 1), (np.nan, 1), 2.0, "ab", ()])
def test_an_unusable_spacing_is_named(spacing):
    for call in (
        lambda: erode(np.eye(4), 1.0, spacing),
        lambda: dilate(np.eye(4), 1.0, spacing),
        lambda: split_trimap(np.eye(4), 1.0, 1.0, spacing),
    ):
        with pytest.raises(ValueError, match=r"^spacing must be \(row, column\) in mm per pixel"):
            call()
