import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsnet.labeling.matting.laplacian import matting_laplacian


def laplacian_by_formula(image, epsilon, window_radius):
    """Equation 12, term by term, over full windows; dense."""
    image = image.reshape(*image.shape[:2], -1)
    rows, cols, channels = image.shape
    flat = image.reshape(-1, channels)
    laplacian = np.zeros((rows * cols, rows * cols))
    number = np.arange(rows * cols).reshape(rows, cols)
    for y in range(window_radius, rows - window_radius):
        for x in range(window_radius, cols - window_radius):
            r = window_radius
            window = number[y - r : y + r + 1, x - r : x + r + 1].ravel()
            size = len(window)
            mean = flat[window].mean(axis=0)
            covariance = (flat[window] - mean).T @ (flat[window] - mean) / size
            inverse = np.linalg.inv(covariance + epsilon / size * np.eye(channels))
            for i in window:
                for j in window:
                    affinity = 1 + (flat[i] - mean) @ inverse @ (flat[j] - mean)
                    laplacian[i, j] += (i == j) - affinity / size
    return laplacian


@pytest.mark.parametrize("window_radius", [1, 2])
@pytest.mark.parametrize("shape", [(7, 9), (5, 5), (6, 7, 3), (5, 8, 2)])
def test_is_the_published_formula(shape, window_radius):
    image = np.random.default_rng(0).random(shape)
    for epsilon in (1e-7, 1e-2):
        ours = matting_laplacian(image, epsilon=epsilon, window_radius=window_radius)
        theirs = laplacian_by_formula(image, epsilon, window_radius)
        np.testing.assert_allclose(ours.toarray(), theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(9, 11), (9, 11, 3)])
def test_symmetric_to_the_bit_and_positive_semidefinite(shape):
    laplacian = matting_laplacian(np.random.default_rng(1).random(shape))
    assert abs(laplacian - laplacian.T).max() == 0
    assert np.linalg.eigvalsh(laplacian.toarray()).min() > -1e-12


@pytest.mark.parametrize("shape", [(12, 13), (12, 13, 3)])
def test_annuls_constants_and_in_the_limit_the_image(shape):
    image = np.random.default_rng(2).random(shape)
    channels = image.reshape(12 * 13, -1)
    for epsilon, bound in ((1e-3, 1e-2), (1e-7, 1e-6), (1e-10, 1e-9)):
        laplacian = matting_laplacian(image, epsilon=epsilon)
        assert abs(laplacian @ np.ones(12 * 13)).max() < 1e-12
        assert abs(laplacian @ channels).max() < bound


def test_unknown_rows_are_those_of_the_full_laplacian():
    rng = np.random.default_rng(3)
    image = rng.random((15, 17, 3))
    unknown = np.zeros((15, 17), bool)
    unknown[2:6, 3:9] = True
    unknown[14, 16] = True
    full = matting_laplacian(image)
    part = matting_laplacian(image, unknown)
    rows = np.flatnonzero(unknown)
    assert abs(full[rows] - part[rows]).max() == 0
    assert part.nnz < full.nnz / 3
    # A sum over whole windows, it stays a Laplacian where it is only partial.
    assert abs(part - part.T).max() == 0
    assert abs(part @ np.ones(15 * 17)).max() < 1e-12


def test_storage():
    laplacian = matting_laplacian(np.random.default_rng(4).random((8, 9)).astype(np.float32))
    assert laplacian.format == "csr" and laplacian.shape == (72, 72)
    assert laplacian.dtype == np.float64
    assert laplacian.indices.dtype == laplacian.indptr.dtype == np.int32
    assert laplacian.has_sorted_indices
    nothing = matting_laplacian(np.ones((8, 9)), np.zeros((8, 9), bool))
    assert nothing.nnz == 0 and nothing.shape == (72, 72)


def test_grey_stacked_three_times_is_grey_with_a_third_of_epsilon():
    grey = np.random.default_rng(5).random((10, 12))
    stacked = matting_laplacian(np.dstack([grey] * 3), epsilon=3e-4)
    alone = matting_laplacian(grey, epsilon=1e-4)
    other = matting_laplacian(grey, epsilon=3e-4)
    assert abs(stacked - alone).max() < 1e-9
    assert abs(stacked - other).max() > 1e-4


def test_no_cancellation_on_a_large_offset():
    image = np.random.default_rng(6).random((9, 9)) * 1e-4
    near = matting_laplacian(image + 0.5)
    far = matting_laplacian(image + 2.0**20)  # the offset leaves 2^-32 of resolution
    assert abs(near - far).max() < 1e-3
    assert np.linalg.eigvalsh(far.toarray()).min() > -1e-12


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="no extended precision here")
@pytest.mark.parametrize("copies", [1, 3])
def test_accurate_at_the_default_epsilon(copies):
    # Equal channels leave a covariance of condition 1e7: inverted by its determinant it is
    # off by 1e-4.
    grey = np.random.default_rng(9).random((12, 12))
    ours = matting_laplacian(np.dstack([grey] * copies), epsilon=copies * 1e-7).toarray()
    exact = np.zeros((144, 144), np.longdouble)
    number = np.arange(144).reshape(12, 12)
    for y, x in np.ndindex(10, 10):
        window = number[y : y + 3, x : x + 3].ravel()
        centred = grey.ravel()[window].astype(np.longdouble)
        centred -= centred.mean()
        slope = 1 / ((centred**2).mean() + np.longdouble(1e-7) / 9)
        affinity = 1 + np.outer(centred, centred) * slope
        exact[np.ix_(window, window)] += np.eye(9) - affinity / 9
    assert abs(ours - exact).max() < 1e-14


def test_shift_and_scale():
    image = np.random.default_rng(7).random((9, 10, 3))
    laplacian = matting_laplacian(image, epsilon=1e-4)
    assert abs(matting_laplacian(image + 0.25, epsilon=1e-4) - laplacian).max() < 1e-9
    # epsilon is absolute: it has to be scaled along, by the square.
    assert abs(matting_laplacian(4 * image, epsilon=16e-4) - laplacian).max() < 1e-9
    assert abs(matting_laplacian(4 * image, epsilon=1e-4) - laplacian).max() > 1e-5


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3))
def test_images_smaller_than_the_window(rows, cols, channels, window_radius):
    image = np.random.default_rng(8).random((rows, cols, channels))
    laplacian = matting_laplacian(image, window_radius=window_radius).toarray()
    assert abs(laplacian.sum(axis=1)).max() < 1e-12
    assert np.linalg.eigvalsh(laplacian).min() > -1e-12
    if rows * cols > 1:  # adjacent pixels share a window, so only constants are free of cost
        assert (np.diag(laplacian) > 0).all() or np.ptp(image) > 0


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        ((np.full((4, 4), np.nan),), ValueError, "image must be finite, got 16"),
        ((np.full((4, 4), 1e200),), ValueError, "1e100"),
        ((np.zeros((4, 4), np.uint8),), TypeError, "image must be floating.*uint8"),
        ((np.zeros(4),), ValueError, r"image.*\(4,\)"),
        ((np.zeros((0, 4)),), ValueError, "image.*non-empty"),
        ((np.zeros((4, 4)), np.ones((4, 5), bool)), ValueError, "unknown.*shape"),
        ((np.zeros((4, 4)), np.ones((4, 4))), TypeError, "unknown must be a bool"),
    ],
)
def test_bad_arrays(arguments, error, text):
    with pytest.raises(error, match=text):
        matting_laplacian(*arguments)


@pytest.mark.parametrize("setting", [{"epsilon": 0}, {"epsilon": np.nan}, {"window_radius": 0}])
def test_bad_settings(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        matting_laplacian(np.zeros((4, 4)), **setting)
