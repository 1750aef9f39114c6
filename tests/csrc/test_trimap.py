"""The native trimap of a mask against its NumPy reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from dsnet import _C
from dsnet.labeling import FOREGROUND, trimap_from_mask
from dsnet.labeling.reference.trimap import trimap_from_mask_reference

MASKS = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=24))
RADII = st.none() | st.floats(0, 6).map(lambda value: round(value, 2))
SHAPES = [(1, 1), (1, 90), (70, 1), (17, 63), (64, 64), (30, 65), (129, 40), (100, 200)]


@pytest.fixture(params=_C.vector_units())
def unit(request):
    _C.use_vector_unit(request.param)
    yield request.param
    _C.use_vector_unit(_C.vector_units()[-1])


def masks(count: int):
    """From noise to a few large parts, at times all or nothing."""
    rng = np.random.default_rng(31)
    for i in range(count):
        shape = SHAPES[i % len(SHAPES)]
        field = ndimage.gaussian_filter(rng.standard_normal(shape), rng.choice([0.0, 2.0, 6.0]))
        yield rng, field > np.quantile(field, rng.uniform(0, 1))


def test_default_margins(unit):
    for _, mask in masks(240):
        np.testing.assert_array_equal(trimap_from_mask(mask), trimap_from_mask_reference(mask))


def test_given_margins_spacings_and_cores(unit):
    for rng, mask in masks(320):
        arguments = {
            "erosion": rng.choice([None, 0.0, 1.0, 2.5, 9.0]),
            "dilation": rng.choice([None, 0.0, 1.0, 2.5, 9.0]),
            "spacing": (None, (0.5, 0.5), (0.75, 1.25), (2.0, 0.5))[rng.integers(4)],
            "core": rng.random(mask.shape) < 0.02 if rng.random() < 0.5 else None,
        }
        expected = trimap_from_mask_reference(mask, **arguments)
        np.testing.assert_array_equal(trimap_from_mask(mask, **arguments), expected)


@given(MASKS, RADII, RADII)
def test_small_masks(mask, erosion, dilation):
    expected = trimap_from_mask_reference(mask, erosion=erosion, dilation=dilation)
    found = trimap_from_mask(mask, erosion=erosion, dilation=dilation)
    np.testing.assert_array_equal(found, expected)


def test_thin_gaps_in_millimetres():
    # All of the background lies at the same distance, whose mean must not be off by rounding.
    for spacing in ((0.7, 0.7), (0.7, 1.3), (1.1, 0.3)):
        mask = np.ones((40, 70), bool)
        mask[::2] = False
        expected = trimap_from_mask_reference(mask, spacing=spacing)
        np.testing.assert_array_equal(trimap_from_mask(mask, spacing=spacing), expected)


def test_a_part_within_a_part_is_split_by_itself():
    y, x = np.mgrid[:101, :131] - np.array([50, 65])[:, None, None]
    radius = np.hypot(x, y)
    mask = (radius < 6) | ((radius > 30) & (radius < 48))
    trimap = trimap_from_mask(mask)
    np.testing.assert_array_equal(trimap, trimap_from_mask_reference(mask))
    assert (trimap[radius < 3] == FOREGROUND).all()


def test_bad_arguments_are_named():
    mask = np.ones((2, 3), bool)
    with pytest.raises(ValueError, match="erosion must be finite and not negative"):
        _C.trimap_from_mask(mask, -1.0)
    with pytest.raises(ValueError, match="core must have the mask's shape"):
        _C.trimap_from_mask(mask, core=mask.T)
    with pytest.raises(TypeError, match="core must have dtype bool or uint8"):
        _C.trimap_from_mask(mask, core=np.ones((2, 3)))
