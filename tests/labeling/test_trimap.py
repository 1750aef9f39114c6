import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from dsnet.labeling import (
    BACKGROUND,
    FOREGROUND,
    UNKNOWN,
    consensus,
    trimap_from_mask,
    trimap_from_raters,
)

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=24))
rater_masks = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=12))
radii = st.floats(0, 6).map(lambda value: round(value, 2))


def disc(size, radius, center=None):
    center = center or ((size - 1) / 2, (size - 1) / 2)
    y, x = np.mgrid[:size, :size]
    return (x - center[0]) ** 2 + (y - center[1]) ** 2 <= radius**2


def reference_trimap(mask, erosion, dilation, spacing=(1.0, 1.0)):
    """The docstring's words by scipy; a part that erodes to nothing keeps its innermost pixels."""
    inside, outside = mask, np.ones_like(mask)
    if not mask.all():
        distance = ndimage.distance_transform_edt(mask, sampling=spacing)
        inside = mask & (distance > erosion)
    if mask.any():
        outside = ndimage.distance_transform_edt(~mask, sampling=spacing) > dilation
    trimap = np.where(inside, FOREGROUND, np.where(outside, BACKGROUND, UNKNOWN))
    parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
    for part in range(1, count + 1):
        component = parts == part
        if not (trimap[component] == FOREGROUND).any():
            depth = ndimage.distance_transform_edt(np.pad(component, 1), sampling=spacing)
            depth = depth[1:-1, 1:-1]
            trimap[component & (depth >= depth.max() - 1e-12)] = FOREGROUND
    return trimap


@given(masks, radii, radii, st.sampled_from([None, (1.0, 1.0), (0.7, 0.7), (0.5, 1.25)]))
def test_fixed_margins_against_distance_transforms(mask, erosion, dilation, spacing):
    ours = trimap_from_mask(mask, erosion=erosion, dilation=dilation, spacing=spacing)
    assert ours.dtype == np.uint8
    assert np.array_equal(ours, reference_trimap(mask, erosion, dilation, spacing or (1, 1)))


def test_margins_in_millimetres_follow_the_spacing():
    mask = disc(101, 30)
    fine = trimap_from_mask(mask, erosion=3, dilation=3, spacing=(0.5, 0.5))
    assert np.array_equal(fine, trimap_from_mask(mask, erosion=6, dilation=6))


@given(masks)
def test_default_margins_keep_what_is_known(mask):
    trimap = trimap_from_mask(mask)
    assert np.isin(trimap, [BACKGROUND, UNKNOWN, FOREGROUND]).all()
    assert not (trimap[~mask] == FOREGROUND).any() and not (trimap[mask] == BACKGROUND).any()
    parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
    for part in range(1, count + 1):
        assert (trimap[parts == part] == FOREGROUND).any()


def test_default_margin_follows_the_short_axis():
    mask = disc(201, 60)
    trimap = trimap_from_mask(mask)
    radius = np.hypot(*(np.indices(mask.shape) - 100))
    assert radius[trimap == FOREGROUND].max() == pytest.approx(60 - 18, abs=1)
    assert radius[trimap == BACKGROUND].min() == pytest.approx(60 + 18, abs=1)


def test_a_thin_membrane_keeps_its_middle():
    mask = np.ones((60, 60), bool)
    mask[:, 28:33] = False
    trimap = trimap_from_mask(mask)
    assert (trimap[:, 30] == BACKGROUND).all()
    assert (trimap[:, 5] == FOREGROUND).all() and (trimap[:, 34] == UNKNOWN).all()


def test_the_given_core_stays_lesion():
    mask, core = np.zeros((12, 12), bool), np.zeros((12, 12), bool)
    mask[4:8, 4:8], core[5, 4:12] = True, True
    trimap = trimap_from_mask(mask, erosion=5, dilation=1, core=core)
    assert np.argwhere(trimap == FOREGROUND).tolist() == [[5, c] for c in range(4, 8)]


def test_empty_full_and_single():
    assert (trimap_from_mask(np.zeros((4, 5))) == BACKGROUND).all()
    assert (trimap_from_mask(np.ones((4, 5))) == FOREGROUND).all()
    assert trimap_from_mask(np.ones((1, 1))).item() == FOREGROUND


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"mask": np.zeros(3)}, ValueError, r"mask must be \[H, W\].*\(3,\)"),
        ({"mask": np.zeros((0, 3))}, ValueError, "mask must be"),
        ({"mask": np.array([["a"]])}, TypeError, "mask must be boolean or numeric"),
        ({"mask": np.full((2, 2), np.nan)}, ValueError, "NaN"),
        ({"mask": np.ones((2, 2)), "erosion": -1}, ValueError, "erosion must be"),
        ({"mask": np.ones((2, 2)), "dilation": np.inf}, ValueError, "dilation must be"),
        ({"mask": np.ones((2, 2)), "spacing": (0, 1)}, ValueError, "spacing must be"),
        ({"mask": np.ones((2, 2)), "core": np.ones((3, 2))}, ValueError, "core must have shape"),
    ],
)
def test_bad_input_is_named(arguments, error, words):
    with pytest.raises(error, match=words):
        trimap_from_mask(**arguments)


@given(rater_masks)
def test_raters_rule(raters):
    trimap = trimap_from_raters(raters)
    spoke = raters[raters.any(axis=(1, 2))]
    if len(spoke) == 0:
        assert (trimap == BACKGROUND).all()
        return
    assert (trimap == FOREGROUND).any()
    assert not (trimap[~spoke.any(axis=0)] == FOREGROUND).any()
    if len(spoke) == 1:
        assert np.array_equal(trimap, trimap_from_mask(spoke[0]))
    most = spoke.sum(axis=0) == spoke.sum(axis=0).max()
    assert not (trimap[~most] == FOREGROUND).any() and not (trimap[most] == BACKGROUND).any()
    assert not (trimap[spoke.any(axis=0)] == BACKGROUND).any()


def test_raters_without_a_band_are_the_papers_rule():
    a, b = disc(31, 10, (14, 15)), disc(31, 10, (17, 15))
    trimap = trimap_from_raters(np.stack([a, b]), erosion=0, dilation=0)
    expected = np.where(a & b, FOREGROUND, np.where(a | b, UNKNOWN, BACKGROUND))
    assert np.array_equal(trimap, expected)


def test_raters_who_agree_get_the_thin_band():
    mask = disc(41, 12)
    assert np.array_equal(trimap_from_raters(np.stack([mask] * 4)), trimap_from_mask(mask))


def test_raters_who_marked_nothing_are_left_out():
    mask, other, nothing = disc(41, 12), disc(41, 9), np.zeros((41, 41), bool)
    assert np.array_equal(
        trimap_from_raters(np.stack([mask, nothing, other])),
        trimap_from_raters(np.stack([mask, other])),
    )


@pytest.mark.parametrize("raters", range(1, 11))
def test_consensus_is_the_share_of_votes(raters):
    masks = np.zeros((raters, 1, raters + 1), bool)
    for votes in range(raters + 1):
        masks[:votes, 0, votes] = True
    for tenth in range(1, 11):
        expected = [10 * votes >= tenth * raters for votes in range(raters + 1)]
        assert consensus(masks, tenth / 10)[0].tolist() == expected


def test_consensus_refuses_a_level_of_zero():
    with pytest.raises(ValueError, match="level"):
        consensus(np.ones((1, 2, 2)), 0.0)
