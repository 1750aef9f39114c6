"""dsnet._C's distances and morphology against scipy and OpenCV."""

import cv2
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


@pytest.fixture(params=_C.vector_units())
def unit(request):
    _C.use_vector_unit(request.param)
    yield request.param
    _C.use_vector_unit(_C.vector_units()[-1])


def lesion(rng, rows: int, columns: int) -> np.ndarray:
    """A blob somewhere in the image, at times across its border or as large as the image."""
    y, x = np.mgrid[:rows, :columns]
    center = rng.uniform(-0.1, 1.1, 2) * (rows, columns)
    radii = rng.uniform(0.02, 0.8, 2) * (rows, columns) + 0.5
    bumpy = 1 + 0.3 * rng.standard_normal((rows, columns))
    return ((y - center[0]) / radii[0]) ** 2 + ((x - center[1]) / radii[1]) ** 2 < bumpy


def by_distances(mask, erosion, dilation, row_spacing=1.0, column_spacing=1.0):
    inside = _C.distance_squared(mask, row_spacing, column_spacing)
    outside = _C.distance_squared(~mask, row_spacing, column_spacing)
    return inside > erosion * erosion, outside <= dilation * dilation


SHAPES = [(1, 1), (1, 70), (70, 1), (17, 63), (64, 64), (30, 65), (129, 40), (100, 200)]
RADII = [0.0, 0.5, 1.0, 1.4142135, 2.0, 3.7, 5.0, 9.0, 31.0, 32.5, 64.0, 150.0, 1e4, 1e300]


@pytest.mark.parametrize("radius", RADII)
def test_discs_against_distances_on_every_vector_unit(unit, radius):
    rng = np.random.default_rng(int(radius % 1000))
    for shape in SHAPES:
        for mask in (lesion(rng, *shape), rng.random(shape) < rng.random() ** 0.2):
            # Squared, the largest radius is infinite, and then so is the distance to nothing.
            eroded, dilated = by_distances(mask, min(radius, 1e9), min(radius, 1e9))
            np.testing.assert_array_equal(_C.erode(mask, radius), eroded)
            np.testing.assert_array_equal(_C.dilate(mask, radius), dilated)
            trimap = np.where(eroded, 255, np.where(dilated, 128, 0))
            np.testing.assert_array_equal(_C.split_trimap(mask, radius, radius), trimap)


def test_discs_have_the_bits_of_scipys_distances(unit):
    rng = np.random.default_rng(11)
    for shape in SHAPES * 3:
        mask = lesion(rng, *shape)
        erosion, dilation = rng.uniform(0, 20, 2)
        if mask.all() or not mask.any():  # scipy has no rule for it
            continue
        inside = distance_transform_edt(mask) > erosion
        outside = distance_transform_edt(~mask) > dilation
        expected = np.where(inside, 255, np.where(outside, 0, 128))
        np.testing.assert_array_equal(_C.split_trimap(mask, erosion, dilation), expected)
        np.testing.assert_array_equal(_C.erode(mask, erosion), inside)
        np.testing.assert_array_equal(_C.dilate(mask, dilation), ~outside)


def test_anisotropic_discs(unit):
    rng = np.random.default_rng(12)
    for shape in SHAPES * 4:
        mask = lesion(rng, *shape)
        spacing = rng.uniform(0.1, 3.0, 2)
        erosion, dilation = rng.uniform(0, 12, 2)
        eroded, dilated = by_distances(mask, erosion, dilation, *spacing)
        np.testing.assert_array_equal(_C.erode(mask, erosion, *spacing), eroded)
        np.testing.assert_array_equal(_C.dilate(mask, dilation, *spacing), dilated)
        trimap = _C.split_trimap(mask, erosion, dilation, *spacing)
        np.testing.assert_array_equal(trimap, np.where(eroded, 255, np.where(dilated, 128, 0)))


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 4, 5, 7, 10, 16, 25, 40, 64, 100])
def test_opencvs_ellipse(unit, radius):
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    rng = np.random.default_rng(radius)
    for shape in SHAPES:
        for mask in (lesion(rng, *shape), rng.random(shape) < rng.random() ** 0.2):
            pixels = mask.astype(np.uint8)
            ours = _C.erode(mask, radius + 0.5, shape="opencv-ellipse")
            np.testing.assert_array_equal(ours, cv2.erode(pixels, element))
            ours = _C.dilate(mask, radius + 0.5, shape="opencv-ellipse")
            np.testing.assert_array_equal(ours, cv2.dilate(pixels, element))


@pytest.mark.parametrize("size", [(1, 5), (5, 1), (1, 9), (7, 3), (3, 15), (21, 9), (9, 41)])
def test_opencvs_ellipse_of_two_axes(size):
    rows, columns = size
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (columns, rows))
    # Spacings that leave these many pixels of a radius of 100.
    spacing = (100 / (rows // 2 + 0.5), 100 / (columns // 2 + 0.5))
    rng = np.random.default_rng(rows)
    for shape in SHAPES:
        mask = lesion(rng, *shape)
        pixels = mask.astype(np.uint8)
        ours = _C.erode(mask, 100, *spacing, shape="opencv-ellipse")
        np.testing.assert_array_equal(ours, cv2.erode(pixels, element))
        ours = _C.dilate(mask, 100, *spacing, shape="opencv-ellipse")
        np.testing.assert_array_equal(ours, cv2.dilate(pixels, element))


def inscribed_reference(mask, spacing):
    padded = np.pad(mask, 1)
    farthest = np.sqrt(_C.distance_squared(padded, *spacing).max())
    return max(2.0 * farthest - np.mean(spacing), 0.0)


def test_inscribed_discs(unit):
    rng = np.random.default_rng(13)
    y, x = np.mgrid[:120, :150]
    strips = [abs(y * a + x * b - 60) < 14 for a, b in [(1, 0), (0, 1), (0.7, 0.7), (0.9, -0.3)]]
    masks = [lesion(rng, *shape) for shape in SHAPES * 6] + strips
    masks += [rng.random(shape) < rng.random() ** 0.1 for shape in SHAPES * 3]
    for mask in masks:
        assert _C.inscribed_diameter(mask) == inscribed_reference(mask, (1.0, 1.0))
        spacing = tuple(rng.uniform(0.2, 4.0, 2))
        found = _C.inscribed_diameter(mask, *spacing)
        assert found == pytest.approx(inscribed_reference(mask, spacing), rel=1e-13)


@given(MASKS)
def test_inscribed_discs_of_small_masks(mask):
    assert _C.inscribed_diameter(mask) == inscribed_reference(mask, (1.0, 1.0))


def test_a_mask_of_any_size_is_its_own_erosion_by_nothing():
    for shape in [(0, 0), (0, 3), (3, 0), (2, 2)]:
        full, empty = np.ones(shape, bool), np.zeros(shape, bool)
        for function in (_C.erode, _C.dilate):
            for element in ("disc", "opencv-ellipse"):
                for radius in (0.0, 3.0):
                    np.testing.assert_array_equal(function(full, radius, shape=element), full)
                    np.testing.assert_array_equal(function(empty, radius, shape=element), empty)
        assert _C.inscribed_diameter(empty) == 0.0


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


def test_wrong_element():
    mask = np.ones((2, 2), bool)
    with pytest.raises(ValueError, match="shape must be disc or opencv-ellipse, got 'square'"):
        _C.erode(mask, 1.0, shape="square")
    with pytest.raises(ValueError, match=r"radius must be finite and not negative, got -1\.0"):
        _C.dilate(mask, -1.0)
    with pytest.raises(TypeError, match=r"mask must .*bool or uint8, got"):
        _C.dilate(mask.astype(float), 1.0)
