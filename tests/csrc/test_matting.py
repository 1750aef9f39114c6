"""The native matting solver beside the direct solve of the published system."""

import threading

import numpy as np
import pytest
from scipy import ndimage

from dsnet import _C
from dsnet.data.datasets.lidc import find_rater_pictures
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import (
    BACKGROUND,
    FOREGROUND,
    UNKNOWN,
    closed_form_matting,
    trimap_from_mask,
    trimap_from_raters,
)
from dsnet.labeling.matting.closed_form import DEFAULT_RTOL, TIGHT_RTOL
from shared_data import shared

VALUES = np.array([BACKGROUND, UNKNOWN, FOREGROUND], np.uint8)


def random_image(rng, shape):
    noise = rng.random(shape)
    distance = np.hypot(*np.meshgrid(*(np.linspace(-2, 2, n) for n in shape), indexing="ij"))
    kinds = (
        lambda: noise,
        lambda: ndimage.gaussian_filter(noise, 2),
        lambda: np.full(shape, 0.4),
        lambda: noise > 0.5,
        lambda: np.round(noise * 4) / 4,
        lambda: np.clip(0.3 + 0.1 * noise + 0.4 * (distance < 1), 0, 1),
        lambda: np.full(shape, 0.4) + 1e-6 * noise,
    )
    return kinds[rng.integers(len(kinds))]().astype(np.float32)


def random_trimap(rng, shape):
    kind = rng.integers(4)
    if kind == 0:
        return rng.choice(VALUES, shape, p=[0.2, 0.6, 0.2])
    trimap = np.full(shape, UNKNOWN, np.uint8)
    if kind == 1:  # all but untied: two known pixels
        trimap[rng.integers(shape[0]), rng.integers(shape[1])] = FOREGROUND
        trimap[rng.integers(shape[0]), rng.integers(shape[1])] = BACKGROUND
    elif kind == 2:
        distance = np.hypot(*np.meshgrid(*(np.linspace(-2, 2, n) for n in shape), indexing="ij"))
        trimap[distance < 0.7], trimap[distance > 1.3] = FOREGROUND, BACKGROUND
    else:
        blocks = rng.choice(VALUES, (shape[0] // 8 + 1, shape[1] // 8 + 1))
        trimap = np.kron(blocks, np.ones((8, 8), np.uint8))[: shape[0], : shape[1]]
    return np.ascontiguousarray(trimap)


def random_problems(seed, count, largest=70):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        shape = tuple(rng.integers(3, largest, 2))
        yield random_image(rng, shape), random_trimap(rng, shape)


def check_against_direct(image, trimap):
    exact, _ = closed_form_matting(image, trimap, solver="direct")
    unknown = trimap == UNKNOWN
    for solver in ("auto", "jacobi", "multigrid"):
        found = _C.matting(image, trimap, solver=solver, rtol=TIGHT_RTOL)
        assert abs(found[0] - exact).max() <= 5e-6 and found[4], (solver, found[1:])
    alpha, info = closed_form_matting(image, trimap, solver="native")
    assert info.converged and info.unknowns == unknown.sum()
    assert np.array_equal(alpha[~unknown], (trimap == FOREGROUND)[~unknown].astype(np.float32))
    error = abs(alpha - exact)
    assert error.max() <= 1e-3 and (not unknown.any() or error[unknown].mean() <= 1e-4), info


def test_random_problems_against_the_direct_solve():
    for image, trimap in random_problems(seed=0, count=60):
        check_against_direct(image, trimap)


@pytest.mark.long
def test_many_random_problems_against_the_direct_solve():
    for image, trimap in random_problems(seed=1, count=2000):
        check_against_direct(image, trimap)


@pytest.mark.parametrize("cols", [3, 63, 64, 65, 130])
def test_unknown_and_foreign_pixels_are_found_in_every_column(cols):
    rng = np.random.default_rng(cols)
    image = rng.random((5, cols), dtype=np.float32)
    known = np.full((5, cols), FOREGROUND, np.uint8)
    known[:2] = BACKGROUND
    for column in {0, 1, *range(61, 67), cols - 2, cols - 1} & set(range(cols)):
        trimap = known.copy()
        trimap[rng.integers(5), column] = UNKNOWN
        check_against_direct(image, trimap)
    for column in range(cols):
        trimap = known.copy()
        trimap[rng.integers(5), column] = 7
        assert _C.matting(image, trimap) is None


@pytest.mark.parametrize("kind", KINDS)
def test_phantoms_against_the_direct_solve(kind):
    for size, noise in ((64, 20.0), (128, 0.0)):
        phantom = make_phantom(kind, size=size, seed=3, noise_hu=noise)
        truth = phantom.alpha >= 0.5
        check_against_direct(phantom.image, trimap_from_mask(truth, erosion=4, dilation=4))


def test_lidc_raters_against_the_direct_solve():
    pictures = find_rater_pictures(shared("lidc", "LIDC-IDRI-slices"))
    for crop in (picture.read() for picture in pictures[::150]):
        check_against_direct(crop.image, trimap_from_raters(crop.masks))


@pytest.mark.parametrize("solver", ["jacobi", "multigrid"])
def test_same_bits_on_every_vector_unit_and_in_every_order(solver):
    problems = [p for p in random_problems(seed=2, count=25)]
    units = _C.vector_units()

    def solve_all(order):
        found = {i: _C.matting(*problems[i], solver=solver) for i in order}
        return [(found[i][0].tobytes(), *found[i][1:]) for i in range(len(problems))]

    try:
        first = solve_all(range(len(problems)))
        for unit in units:
            _C.use_vector_unit(unit)
            # Another order leaves other values behind in the workspace.
            assert solve_all(reversed(range(len(problems)))) == first, unit
    finally:
        _C.use_vector_unit(units[-1])


def test_threads_have_workspaces_of_their_own():
    problems = list(random_problems(seed=3, count=12))
    expected = [_C.matting(*problem)[0].tobytes() for problem in problems]
    failures = []

    def work(order):
        for i in order:
            if _C.matting(*problems[i])[0].tobytes() != expected[i]:
                failures.append(i)

    threads = [
        threading.Thread(target=work, args=(np.random.default_rng(t).integers(0, 12, 60),))
        for t in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_iterations_hardly_grow_with_the_unknown_region():
    iterations = []
    for size in (64, 128, 256, 512):
        phantom = make_phantom("part-solid", size=size, seed=5, diameter_mm=0.28 * size)
        margin = 14 * size / 256
        trimap = trimap_from_mask(phantom.alpha >= 0.5, erosion=margin, dilation=margin)
        counts = [
            _C.matting(phantom.image, trimap, solver=solver)[2]
            for solver in ("multigrid", "jacobi")
        ]
        iterations.append(counts)
    multigrid, jacobi = zip(*iterations, strict=True)
    assert max(multigrid) <= 14 and multigrid[-1] <= 2 * multigrid[0]
    assert jacobi[-1] >= 3 * jacobi[0]


def test_prior_against_the_general_solver():
    rng = np.random.default_rng(4)
    for image, trimap in random_problems(seed=4, count=20):
        prior = rng.random(image.shape)
        for weight in (0.01, 3.0):
            options = {"prior": prior, "prior_weight": weight}
            exact, _ = closed_form_matting(image, trimap, solver="direct", **options)
            alpha, info = closed_form_matting(image, trimap, solver="native", **options)
            assert abs(alpha - exact).max() < 1e-3 and info.converged
            tight, _ = closed_form_matting(
                image, trimap, solver="native", rtol=TIGHT_RTOL, **options
            )
            assert abs(tight - exact).max() < 1e-6


@pytest.mark.parametrize("solver", ["jacobi", "multigrid"])
def test_stopping_early_returns_the_iterate_and_says_so(solver):
    phantom = make_phantom("solid", size=128, seed=1)
    trimap = trimap_from_mask(phantom.alpha >= 0.5, erosion=6, dilation=6)
    exact, *_ = _C.matting(phantom.image, trimap, rtol=TIGHT_RTOL)
    errors = []
    for most in (0, 1, 3, 6):
        alpha, _, iterations, residual, converged, _ = _C.matting(
            phantom.image, trimap, solver=solver, max_iterations=most
        )
        assert iterations == most and not converged and residual > DEFAULT_RTOL
        errors.append(abs(alpha - exact).mean())
    assert errors == sorted(errors, reverse=True)


def test_what_is_known_decides_without_a_solve():
    image = np.random.default_rng(0).random((9, 7), dtype=np.float32)
    for value, expected in ((UNKNOWN, 0.5), (FOREGROUND, 1.0), (BACKGROUND, 0.0)):
        alpha, info = closed_form_matting(image, np.full((9, 7), value, np.uint8), solver="native")
        assert (alpha == expected).all() and info.solver == "none" and info.converged
    for value, expected in ((FOREGROUND, 1.0), (BACKGROUND, 0.0)):
        trimap = np.full((9, 7), UNKNOWN, np.uint8)
        trimap[4] = value
        alpha, info = closed_form_matting(image, trimap, solver="native")
        assert (alpha == expected).all() and info.solver == "none" and info.unknowns == 56


def test_what_the_native_solver_cannot_take():
    image = np.random.default_rng(0).random((9, 7))
    trimap = np.full((9, 7), UNKNOWN, np.uint8)
    trimap[0], trimap[-1] = FOREGROUND, BACKGROUND
    narrow = image[:2], trimap[:2]
    for arguments, options in (
        ((image, trimap), {"window_radius": 2}),
        ((image, trimap), {"constraint_weight": 100.0}),
        ((image, trimap), {"epsilon": 1e-12}),
        ((np.dstack([image] * 3), trimap), {}),
        ((100 * image, trimap), {}),
        (narrow, {}),
    ):
        with pytest.raises(ValueError, match="solver 'native' needs one channel"):
            closed_form_matting(*arguments, solver="native", **options)
        _, info = closed_form_matting(*arguments, **options)
        assert info.solver in ("banded", "none")
    with pytest.raises(ValueError, match="image must be finite, got 1 NaN"):
        closed_form_matting(np.where(image == image.max(), np.nan, image), trimap, solver="native")
    with pytest.raises(ValueError, match=r"trimap must hold 0, 128 and 255 alone, got \[7\]"):
        closed_form_matting(image, np.where(trimap == 0, 7, trimap).astype(np.uint8))
    with pytest.raises(ValueError, match="solver must be auto, jacobi or multigrid, got 'amg'"):
        _C.matting(image.astype(np.float32), trimap, solver="amg")
