"""dsnet._C's distance transform and trimap split against scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.ndimage import distance_transform_edt

from dsnet import _C

MASKS = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=20))


def brute_force(mask: np.ndarray, row_spacing: float, column_spacing: float) -> np.ndarray:
    rows, columns = np.nonzero(~mask)
    y, x = np.indices(mask.shape)
    down = (y[..., None] - rows) * row_spacing
    across = (x[..., None] - columns) * column_spacing
    return (down**2 + across**2).min(axis=-1, initial=np.inf)


def random_masks(count: int):
    rng = np.random.default_rng(7)
    for _ in range(count):
        shape = rng.integers(1, 40, size=2)
        yield rng.random(shape) < rng.random() ** 0.25


def test_distance_has_the_bits_of_scipy():
    checked = 0
    for mask in random_masks(500):
        if mask.all():  # scipy has no rule for it
            continue
        checked += 1
        np.testing.assert_array_equal(
            np.sqrt(_C.distance_squared(mask)), distance_transform_edt(mask)
        )
    assert checked > 300


def test_anisotropic_distance_equals_scipy():
    rng = np.random.default_rng(8)
    for mask in random_masks(500):
        if mask.all():
            continue
        spacing = rng.uniform(0.2, 5.0, size=2)
        np.testing.assert_allclose(
            np.sqrt(_C.distance_squared(mask, *spacing)),
            distance_transform_edt(mask, sampling=spacing),
            rtol=1e-14,
        )


@given(MASKS, st.floats(0.1, 10), st.floats(0.1, 10))
def test_distance_equals_brute_force(mask, row_spacing, column_spacing):
    np.testing.assert_allclose(
        _C.distance_squared(mask, row_spacing, column_spacing),
        brute_force(mask, row_spacing, column_spacing),
        rtol=1e-14,
    )


@given(MASKS)
def test_distance_is_a_whole_number_of_squared_pixels(mask):
    np.testing.assert_array_equal(_C.distance_squared(mask), brute_force(mask, 1.0, 1.0))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (5, 4), (0, 0), (0, 3), (3, 0)])
def test_full_and_empty_masks(shape):
    full, empty = np.ones(shape, bool), np.zeros(shape, bool)
    assert np.isinf(_C.distance_squared(full)).all()
    assert not _C.distance_squared(empty).any()
    assert (_C.split_trimap(full, 3.0, 3.0) == 255).all()
    assert not _C.split_trimap(empty, 3.0, 3.0).any()
    assert _C.split_trimap(full, 3.0, 3.0).shape == shape


def test_far_site_in_a_long_row():
    mask = np.ones((3, 100_000), bool)
    mask[1, 0] = False
    distance = _C.distance_squared(mask)
    assert distance[1, -1] == 99_999.0**2
    assert distance[2, -1] == 99_999.0**2 + 1


@given(
    MASKS,
    st.floats(0, 8),
    st.floats(0, 8),
    st.floats(0.3, 3),
    st.floats(0.3, 3),
)
def test_trimap_follows_the_distances(mask, erosion, dilation, row_spacing, column_spacing):
    trimap = _C.split_trimap(mask, erosion, dilation, row_spacing, column_spacing)
    inside = _C.distance_squared(mask, row_spacing, column_spacing) > erosion * erosion
    outside = _C.distance_squared(~mask, row_spacing, column_spacing) > dilation * dilation
    expected = np.full(mask.shape, 128, np.uint8)
    expected[inside] = 255
    expected[outside] = 0
    np.testing.assert_array_equal(trimap, expected)
    assert mask[trimap == 255].all()
    assert not mask[trimap == 0].any()


def test_trimap_of_a_square():
    mask = np.zeros((9, 9), np.uint8)
    mask[2:7, 2:7] = 1
    trimap = _C.split_trimap(mask, 1.0, 1.0)
    expected = np.full((9, 9), 128, np.uint8)
    expected[3:6, 3:6] = 255  # two steps from the outside
    expected[[0, 8]] = expected[:, [0, 8]] = 0  # two steps from the square
    expected[[1, 1, 7, 7], [1, 7, 1, 7]] = 0  # a diagonal step is longer than 1
    np.testing.assert_array_equal(trimap, expected)


def test_zero_margins_leave_nothing_unknown():
    mask = next(random_masks(1))
    np.testing.assert_array_equal(_C.split_trimap(mask, 0.0, 0.0), np.where(mask, 255, 0))


def test_strided_views_and_both_dtypes_agree():
    mask = np.random.default_rng(3).random((24, 30)) < 0.9
    expected = _C.distance_squared(np.ascontiguousarray(mask[::2, ::-3]))
    np.testing.assert_array_equal(_C.distance_squared(mask[::2, ::-3]), expected)
    np.testing.assert_array_equal(
        _C.distance_squared(mask.astype(np.uint8)[::2, ::-3] * 255), expected
    )
    np.testing.assert_array_equal(
        _C.distance_squared(np.asfortranarray(mask)), _C.distance_squared(mask)
    )


@pytest.mark.parametrize("mask", [[[True]], None, np.ones((2, 2)), np.ones((2, 2), np.int32)])
def test_wrong_type_of_mask(mask):
    with pytest.raises(TypeError, match=r"mask must .*bool or uint8, got"):
        _C.distance_squared(mask)
    with pytest.raises(TypeError, match=r"mask must .*bool or uint8, got"):
        _C.split_trimap(mask, 1.0, 1.0)


@pytest.mark.parametrize("shape", [(), (4,), (1, 4, 4)])
def test_wrong_dimensions(shape):
    with pytest.raises(ValueError, match="mask must have two dimensions"):
        _C.distance_squared(np.ones(shape, bool))


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["row_spacing", "column_spacing"])
def test_wrong_spacing(name, value):
    with pytest.raises(ValueError, match=f"{name} must be positive and finite, got"):
        _C.distance_squared(np.ones((2, 2), bool), **{name: value})
    with pytest.raises(ValueError, match=f"{name} must be positive and finite, got"):
        _C.split_trimap(np.ones((2, 2), bool), 1.0, 1.0, **{name: value})


@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["erosion", "dilation"])
def test_wrong_margin(name, value):
    margins = {"erosion": 1.0, "dilation": 1.0, name: value}
    with pytest.raises(ValueError, match=f"{name} must be finite and not negative, got"):
        _C.split_trimap(np.ones((2, 2), bool), **margins)
