"""Priors of strategies 1 and 2, and what they do to soft masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import t as students_t

from dsnet import _C
from dsnet.data.datasets.lidc import find_rater_pictures
from dsnet.data.phantom import make_phantom
from dsnet.labeling import (
    UNKNOWN,
    closed_form_matting,
    consensus,
    label_mask,
    label_raters,
    trimap_from_mask,
)
from dsnet.labeling.prior import (
    MASK_PRIOR_WEIGHT,
    VOTES_PRIOR_WEIGHT,
    mask_prior,
    votes_prior,
)
from dsnet.labeling.reference.prior import mask_prior_reference, votes_prior_reference
from shared_data import shared

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14))
rater_masks = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7))
spacings = st.sampled_from([None, (0.7, 0.7), (1.0, 0.5), (0.4, 1.7)])


@given(masks, spacings, st.sampled_from([None, 0.0, 1.0, 5.0]))
def test_a_masks_prior_is_the_references(mask, spacing, radius):
    trimap = trimap_from_mask(mask, erosion=radius, dilation=radius, spacing=spacing)
    found = mask_prior(mask, trimap, spacing)
    expected = mask_prior_reference(mask, trimap, spacing or (1.0, 1.0))
    assert found.dtype == np.float32 and np.abs(found - expected).max() < 1e-6
    # A non-zero pixel is lesion, whatever its value; strides are taken as they come.
    turned = mask_prior(7 * mask.T.astype(np.uint8), trimap.T, spacing and spacing[::-1])
    assert np.array_equal(turned, found.T)


def test_a_straight_edge_by_hand():
    mask = np.zeros((9, 12), bool)
    mask[:, 6:] = True
    prior = mask_prior(mask, np.full(mask.shape, UNKNOWN, np.uint8))
    # Centres are 0.5, 1.5 px from the edge, farther ones count as 1.5.
    t = (np.array([-1.5, -1.5, -0.5, 0.5, 1.5, 1.5]) + 0.2) / 0.5
    assert prior[:, 3:9] == pytest.approx(np.tile(students_t.cdf(t, df=2), (9, 1)), abs=1e-7)
    assert (prior[:, :4] == prior[0, 0]).all() and (prior[:, 7:] == prior[0, 11]).all()


def test_steps_are_counted_in_the_smaller_spacing():
    mask = np.zeros((9, 9), bool)
    mask[4:] = True
    trimap = np.full(mask.shape, UNKNOWN, np.uint8)
    fine = mask_prior(mask, trimap, (0.5, 1.0))
    assert np.array_equal(fine, mask_prior(mask, trimap))
    # Down the coarse rows the next centre is two steps away, as far as it goes.
    coarse = mask_prior(mask, trimap, (3.0, 1.0))
    assert len(np.unique(coarse)) == 2 and coarse[4, 0] == fine[5, 0]


@given(rater_masks)
def test_votes_are_the_references(raters):
    found = votes_prior(raters)
    assert found.dtype == np.float32
    assert found.tobytes() == votes_prior_reference(raters).tobytes()


def test_votes_by_hand():
    assert _C.votes_prior(1).tolist() == [0, 1]
    assert _C.votes_prior(3).tolist() == pytest.approx([0, 1.5 / 3.5, 2.5 / 3.5, 1])
    assert _C.votes_prior(4).tolist() == pytest.approx([0, 1.5 / 4.5, 4.4 / 6.4, 3.5 / 4.5, 1])
    with pytest.raises(ValueError, match="raters must be >= 1, got 0"):
        _C.votes_prior(0)


@pytest.mark.parametrize("raters", range(1, 33))
def test_more_votes_are_more_lesion(raters):
    prior = _C.votes_prior(raters)
    assert (np.diff(prior) > 0).all() and prior[0] == 0 and prior[-1] == 1
    votes = np.arange(raters + 1)
    assert np.array_equal(prior[2 * votes >= raters] > 0.5, [True] * (raters // 2 + 1))


def test_wrong_arguments_are_named():
    mask = np.ones((1, 4, 5), np.uint8)
    for wrong, error, words in (
        ({"masks": mask.astype(bool)}, TypeError, "masks must be a contiguous uint8 array"),
        ({"trimaps": mask[:, 1:].copy()}, ValueError, r"trimaps must have shape \(1, 4, 5\)"),
        ({"row_spacing": 0.0}, ValueError, "spacing"),
    ):
        with pytest.raises(error, match=words):
            _C.mask_prior(**{"masks": mask, "trimaps": mask, **wrong})
    with pytest.raises(ValueError, match="trimaps must have shape"):
        mask_prior(np.ones((3, 3)), np.zeros((3, 4), np.uint8))


@pytest.mark.parametrize("kind", ["solid", "part-solid", "ground-glass"])
def test_a_label_is_trimap_prior_and_matting(kind):
    phantom = make_phantom(kind, size=48, seed=8)
    mask, spacing = phantom.alpha >= 0.5, (0.6, 0.8)
    label = label_mask(phantom.image, mask, spacing=spacing)
    prior = mask_prior_reference(mask, label.trimap, spacing)
    expected, info = closed_form_matting(
        phantom.image, label.trimap, prior=prior, prior_weight=MASK_PRIOR_WEIGHT, solver="direct"
    )
    assert info.converged and np.abs(label.alpha - expected).max() < 1e-3
    raters = np.stack([mask, np.roll(mask, 2, 0), np.zeros_like(mask), np.roll(mask, 1, 1)])
    label = label_raters(phantom.image, raters)
    prior = votes_prior_reference(raters)
    expected, info = closed_form_matting(
        phantom.image, label.trimap, prior=prior, prior_weight=VOTES_PRIOR_WEIGHT, solver="direct"
    )
    assert info.converged and np.abs(label.alpha - expected).max() < 1e-3


def test_one_rater_is_a_mask():
    phantom = make_phantom("solid", size=40, seed=3)
    mask = phantom.alpha >= 0.5
    nothing = np.zeros_like(mask)
    for raters in (mask[None], np.stack([nothing, mask, nothing])):
        alpha = label_raters(phantom.image, raters).alpha
        assert alpha.tobytes() == label_mask(phantom.image, mask).alpha.tobytes()


def test_of_votes_alone_the_label_is_theirs():
    # An image of one grey value says nothing: the prior is what is left, but for the border's pull.
    masks = np.zeros((4, 40, 40), bool)
    masks[:, 8:20, 8:32] = True
    masks[:2, 20:32, 8:32] = True
    label = label_raters(np.full((40, 40), 0.5, np.float32), masks)
    assert label.binary[20:30, 10:30].all()
    masks[1, 20:] = False
    label = label_raters(np.full((40, 40), 0.5, np.float32), masks)
    assert not label.binary[23:].any()


def test_real_readers_binarised_are_their_consensus():
    pictures = find_rater_pictures(shared("lidc", "LIDC-IDRI-slices"))[::23]
    figures = []
    for picture in pictures:
        crop = picture.read()
        truth = consensus(crop.masks)
        if not truth.any():
            continue
        binary = label_raters(crop.image, crop.masks, spacing=crop.spacing).binary
        hit = np.count_nonzero(binary & truth)
        figures.append((2 * hit / (binary.sum() + truth.sum()), hit / truth.sum()))
    dice, sensitivity = np.mean(figures, axis=0)
    # Without the votes as a prior: 0.90 and 0.84.
    assert len(figures) > 60 and dice > 0.95 and sensitivity > 0.94
