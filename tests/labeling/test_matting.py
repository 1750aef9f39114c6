import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnet import _C
from dsnet.labeling import (
    BACKGROUND,
    FOREGROUND,
    UNKNOWN,
    closed_form_matting,
)
from dsnet.labeling.matting.closed_form import DEFAULT_RTOL, GENERAL_RTOL, TIGHT_RTOL
from dsnet.labeling.matting.laplacian import matting_laplacian

# Those that take any image.
ALL_SOLVERS = ("auto", "amg", "banded", "direct")


def disc(size=64, noise=0.03, band=4, seed=0):
    """A noisy disc and its trimap."""
    y, x = np.mgrid[:size, :size]
    distance = np.hypot(y - size / 2 + 0.3, x - size / 2) - 0.22 * size
    alpha = np.clip(0.5 - distance, 0, 1)
    image = 0.15 + 0.6 * alpha + noise * np.random.default_rng(seed).standard_normal(alpha.shape)
    trimap = np.full(alpha.shape, UNKNOWN, np.uint8)
    trimap[distance < -band] = FOREGROUND
    trimap[distance > band] = BACKGROUND
    return image, trimap


def difficult_images(size=64):
    """Images whose Laplacian is badly conditioned, or whose near-nullspace is deficient."""
    y, x = np.mgrid[:size, :size]
    rng = np.random.default_rng(0)
    blobs = (x % 16 < 6) & (y % 16 < 6)
    return {
        "constant": np.full((size, size), 0.5),
        "nearly constant": 0.5 + 1e-7 * rng.standard_normal((size, size)),
        "stripe": np.where(abs(y - size // 2) < 3, 0.8, 0.2),
        "ramp": x / size,
        "checkerboard": ((x + y) % 2).astype(float),
        "islands": 0.1 + 0.7 * blobs,
        "salt": (rng.random((size, size)) < 0.1).astype(float),
        "colour islands": np.dstack([0.7 * blobs, x % 9 < 3, y % 11 < 5]).astype(float),
        "grey in colour": np.dstack([np.exp(-x / size)] * 3),
        "noise": rng.random((size, size, 3)),
    }


@pytest.mark.parametrize("name", difficult_images())
def test_solvers_agree_on_difficult_images(name):
    image = difficult_images()[name]
    _, trimap = disc(band=12)
    exact, info = closed_form_matting(image, trimap, solver="direct")
    assert info.residual < 1e-13
    for solver in ("amg", "banded", "auto"):
        alpha, info = closed_form_matting(image, trimap, solver=solver, max_iterations=9000)
        limit = 3e-6 if info.solver == "multigrid" else 1e-13
        assert info.converged and info.residual <= limit, (solver, info)
        assert abs(alpha - exact).max() <= 1e-4, solver


@pytest.mark.parametrize("solver", ALL_SOLVERS)
def test_known_pixels_all_but_untied(solver):
    # A sharp edge along the trimap's border leaves couplings of the order of epsilon.
    y, x = np.mgrid[:64, :64]
    distance = np.hypot(y - 31.7, x - 32)
    trimap = np.where(distance < 12, FOREGROUND, np.where(distance > 26, BACKGROUND, UNKNOWN))
    image = np.where(trimap == UNKNOWN, 0.2, 0.8)
    exact, _ = closed_form_matting(image, trimap.astype(np.uint8), solver="direct")
    assert 0.2 < exact[trimap == UNKNOWN].min() < exact[trimap == UNKNOWN].max() < 0.4
    alpha, info = closed_form_matting(image, trimap.astype(np.uint8), solver=solver)
    assert info.converged and info.residual > 1e-13, info  # of a tiny right side
    # float32 moves 0.2 and 0.8 by more than epsilon's share of these couplings.
    assert abs(alpha - exact).max() < (1e-3 if info.solver == "multigrid" else 1e-6)


def test_solves_the_published_system():
    image, trimap = disc(24, band=3)
    unknown = (trimap == UNKNOWN).ravel()
    known = (trimap == FOREGROUND).ravel().astype(float)
    laplacian = matting_laplacian(image).toarray()
    x = np.linalg.solve(
        laplacian[np.ix_(unknown, unknown)], -laplacian[np.ix_(unknown, ~unknown)] @ known[~unknown]
    )
    alpha, _ = closed_form_matting(image, trimap, rtol=TIGHT_RTOL)
    np.testing.assert_allclose(alpha.ravel()[unknown], np.clip(x, 0, 1), atol=1e-6)

    weight = np.diag(100.0 * ~unknown)
    x = np.linalg.solve(laplacian + weight, weight @ known)
    for solver in ALL_SOLVERS:
        alpha, _ = closed_form_matting(image, trimap, constraint_weight=100.0, solver=solver)
        # Windows of known pixels alone are left out; their pixels keep their values.
        assert abs(alpha.ravel() - np.clip(x, 0, 1)).max() < 2e-3
        assert abs(alpha.ravel() - np.clip(x, 0, 1))[unknown].max() < 1e-3


def test_info():
    image, trimap = disc()
    counts = []
    for solver, rtol in (("amg", GENERAL_RTOL), ("jacobi", DEFAULT_RTOL)):
        alpha, info = closed_form_matting(image, trimap, solver=solver)
        assert info.solver == solver and info.converged and 0 < info.residual <= rtol
        assert 1 < info.iterations < 100 and info.seconds > 0
        assert info.unknowns == np.count_nonzero(trimap == UNKNOWN)
        assert alpha.dtype == np.float32 and alpha.shape == image.shape
        info = closed_form_matting(image, trimap, solver=solver, rtol=TIGHT_RTOL)[1]
        counts.append(info.iterations)
    assert counts[0] < counts[1] / 3
    assert closed_form_matting(image, trimap, solver="direct")[1].iterations == 0


def test_stopping_early_returns_the_iterate():
    image, trimap = disc()
    exact, _ = closed_form_matting(image, trimap, solver="direct")
    errors = []
    for max_iterations in (0, 5, 20):
        alpha, info = closed_form_matting(
            image, trimap, solver="jacobi", max_iterations=max_iterations
        )
        assert not info.converged and info.iterations == max_iterations
        errors.append(abs(alpha - exact).mean())
    assert errors[2] < errors[1] / 4 < errors[0]


@pytest.mark.parametrize("name", [n for n, i in difficult_images().items() if i.ndim == 2])
def test_jacobi_is_the_native_solver_with_the_diagonal(name):
    image, (_, trimap) = difficult_images()[name], disc(band=4)
    options = {"rtol": TIGHT_RTOL, "max_iterations": 9000}
    alpha, info = closed_form_matting(image, trimap, solver="jacobi", **options)
    native, *told = _C.matting(image.astype(np.float32), trimap, solver="jacobi", **options)
    assert alpha.tobytes() == native.tobytes()
    assert [info.solver, info.iterations, info.residual, info.converged, info.unknowns] == told
    exact, _ = closed_form_matting(image.astype(np.float32), trimap, solver="direct")
    assert abs(alpha - exact).max() <= 1e-4


@pytest.mark.parametrize("solver", ["native", "jacobi"])
@pytest.mark.parametrize(
    "image, options",
    [
        (np.zeros((9, 9, 3)), {}),
        (np.zeros((2, 9)), {}),
        (np.full((9, 9), 17.0), {}),
        (np.zeros((9, 9)), {"window_radius": 2}),
        (np.zeros((9, 9)), {"epsilon": 1e-12}),
        (np.zeros((9, 9)), {"constraint_weight": 100.0}),
    ],
)
def test_what_the_native_solver_does_not_take_is_told(solver, image, options):
    trimap = np.full(image.shape[:2], UNKNOWN, np.uint8)
    words = f"solver '{solver}' needs one channel of at least 3x3 pixels within"
    with pytest.raises(ValueError, match=words):
        closed_form_matting(image, trimap, solver=solver, **options)


@pytest.mark.parametrize("solver", ALL_SOLVERS)
@pytest.mark.parametrize("constraint_weight", [None, 100.0])
def test_trimaps_that_lack_a_class(solver, constraint_weight):
    image, trimap = disc(20, band=2)

    def alpha_of(trimap):
        options = {"solver": solver, "constraint_weight": constraint_weight}
        return closed_form_matting(image, trimap, **options)[0]

    known = np.where(trimap == UNKNOWN, BACKGROUND, trimap)
    np.testing.assert_array_equal(alpha_of(known), known / 255)
    np.testing.assert_array_equal(alpha_of(np.minimum(trimap, UNKNOWN)), 0)
    np.testing.assert_array_equal(alpha_of(np.maximum(trimap, UNKNOWN)), 1)
    np.testing.assert_array_equal(alpha_of(np.full_like(trimap, UNKNOWN)), 0.5)


def test_shift_exact_scale_with_epsilon():
    image, trimap = disc()
    alpha, _ = closed_form_matting(image, trimap)
    shifted, _ = closed_form_matting(image + 0.125, trimap)
    assert abs(shifted - alpha).max() < 1e-6
    scaled, _ = closed_form_matting(4 * image, trimap, epsilon=16e-7)
    assert abs(scaled - alpha).max() < 1e-6
    # With epsilon left alone, the scale matters as far as epsilon does.
    rescaled, _ = closed_form_matting(4 * image, trimap)
    assert 1e-6 < abs(rescaled - alpha).max() < 0.05


@pytest.mark.parametrize("solver", ALL_SOLVERS)
def test_repeats_are_bit_equal_and_leave_the_random_state(solver):
    image, trimap = disc(96, band=12)
    first, _ = closed_form_matting(image, trimap, solver=solver)
    np.random.random(7)
    second, _ = closed_form_matting(image, trimap, solver=solver)
    np.testing.assert_array_equal(first, second)
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    closed_form_matting(image, trimap, solver=solver)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_bits_do_not_follow_the_thread_count(tmp_path):
    # Large enough that BLAS would share out a dot product or a band among threads.
    program = """
import hashlib, numpy as np
from dsnet.labeling import closed_form_matting
y, x = np.mgrid[:256, :256]
distance = np.hypot(y - 128.3, x - 128) - 56
image = np.clip(0.5 - distance, 0, 1) + 0.05 * np.random.default_rng(0).standard_normal((256, 256))
trimap = np.where(distance < -20, 255, np.where(distance > 20, 0, 128)).astype(np.uint8)
for solver in "native", "amg", "banded", "direct":
    alpha, info = closed_form_matting(image, trimap, solver=solver)
    print(solver, hashlib.md5(alpha.tobytes()).hexdigest(), info.residual)
"""
    outputs = set()
    for threads in "12":
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads)
        run = [sys.executable, "-c", program]
        done = subprocess.run(run, env=environment, cwd=tmp_path, capture_output=True, check=True)
        outputs.add(done.stdout)
    assert len(outputs) == 1 and b"amg" in done.stdout


@pytest.mark.parametrize("solver", ALL_SOLVERS)
def test_calls_from_many_threads_are_bit_equal(solver):
    problems = [disc(48, band=3 + k % 5, seed=k) for k in range(12)]

    def alpha_of(problem):
        return closed_form_matting(*problem, solver=solver)[0]

    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(alpha_of, problems))
    for problem, alpha in zip(problems, threaded, strict=True):
        np.testing.assert_array_equal(alpha, alpha_of(problem))


def test_memory_order_does_not_matter():
    image, trimap = disc(40)
    alpha, _ = closed_form_matting(image, trimap)
    fortran, _ = closed_form_matting(np.asfortranarray(image), np.asfortranarray(trimap))
    np.testing.assert_array_equal(fortran, alpha)
    wide = np.zeros((40, 80))
    wide[:, ::2] = image
    strided, _ = closed_form_matting(wide[:, ::2], trimap)
    np.testing.assert_array_equal(strided, alpha)
    image.flags.writeable = trimap.flags.writeable = False
    before = image.copy(), trimap.copy()
    closed_form_matting(image, trimap, constraint_weight=1.0)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(trimap, before[1])


@st.composite
def matting_problems(draw):
    rows, cols = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    channels = draw(st.sampled_from([None, 1, 2, 3]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (rows, cols) if channels is None else (rows, cols, channels)
    levels = draw(st.sampled_from([1, 2, 5, 10**6]))
    image = rng.integers(0, levels, shape) / levels
    shares = draw(st.sampled_from([(0.3, 0.4, 0.3), (0.05, 0.9, 0.05), (0.5, 0.5, 0), (0, 1, 0)]))
    trimap = rng.choice(np.array([0, 128, 255], np.uint8), (rows, cols), p=shares)
    return image, trimap, draw(st.integers(1, 3))


@settings(max_examples=150)
@given(matting_problems(), st.sampled_from(ALL_SOLVERS))
def test_random_problems(problem, solver):
    image, trimap, window_radius = problem
    options = {"solver": solver, "window_radius": window_radius}
    alpha, _ = closed_form_matting(image, trimap, **options)
    assert alpha.shape == trimap.shape and alpha.dtype == np.float32
    assert np.isfinite(alpha).all() and alpha.min() >= 0 and alpha.max() <= 1
    known = trimap != UNKNOWN
    np.testing.assert_array_equal(alpha[known], trimap[known] / 255)
    exact, _ = closed_form_matting(image, trimap, solver="direct", window_radius=window_radius)
    assert abs(alpha - exact).max() <= 1e-4
    weighted, _ = closed_form_matting(image, trimap, constraint_weight=100.0, **options)
    assert np.isfinite(weighted).all() and weighted.min() >= 0 and weighted.max() <= 1


@settings(max_examples=50)
@given(matting_problems())
def test_flips_and_transposes(problem):
    image, trimap, window_radius = problem
    alpha, _ = closed_form_matting(image, trimap, window_radius=window_radius)
    for move in (np.flipud, np.fliplr, lambda a: np.swapaxes(a, 0, 1)):
        moved, _ = closed_form_matting(move(image), move(trimap), window_radius=window_radius)
        np.testing.assert_allclose(moved, move(alpha), rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-30, 1e4, 1e12, 1e60])
def test_intensities_far_from_one_do_not_crash(scale):
    image, trimap = disc(32, band=4)
    for solver in ALL_SOLVERS:
        alpha, _ = closed_form_matting(scale * np.round(image, 1), trimap, solver=solver)
        assert np.isfinite(alpha).all() and alpha.min() >= 0 and alpha.max() <= 1


@pytest.mark.parametrize(
    "image, trimap, error, text",
    [
        (np.zeros((4, 4)), np.zeros((4, 5), np.uint8), ValueError, "trimap must have the image's"),
        (np.zeros((4, 4)), np.zeros((4, 4)), TypeError, "trimap must be uint8.*float64"),
        (np.zeros((4, 4)), np.full((4, 4), 102, np.uint8), ValueError, r"trimap.*got \[102\]"),
        (np.full((4, 4), np.inf), np.zeros((4, 4), np.uint8), ValueError, "image must be finite"),
    ],
)
def test_bad_arrays(image, trimap, error, text):
    with pytest.raises(error, match=text):
        closed_form_matting(image, trimap)


@pytest.mark.parametrize(
    "setting",
    [
        {"solver": "cg"},
        {"solver": "multigrid"},
        {"epsilon": -1.0},
        {"window_radius": 1.5},
        {"rtol": 0.0},
        {"max_iterations": -1},
        {"constraint_weight": 0.0},
    ],
)
def test_bad_settings(setting):
    image, trimap = disc(16)
    with pytest.raises(ValueError, match=next(iter(setting))):
        closed_form_matting(image, trimap, **setting)


@pytest.mark.parametrize("solver", [*ALL_SOLVERS, "jacobi"])
def test_a_prior_is_a_data_term_on_the_unknown_pixels(solver):
    rng = np.random.default_rng(3)
    image, prior = rng.random((14, 17)), rng.random((14, 17))
    trimap = np.full(image.shape, 128, np.uint8)
    trimap[:, :3], trimap[:, -4:] = 255, 0
    unknown = (trimap == 128).ravel()
    known = (trimap == 255).ravel().astype(float)
    laplacian = matting_laplacian(image).toarray()
    for weight in (0.01, 1.0, 50.0):
        matrix = laplacian[np.ix_(unknown, unknown)] + weight * np.eye(unknown.sum())
        b = weight * prior.ravel()[unknown] - laplacian[unknown] @ known
        alpha, info = closed_form_matting(
            image, trimap, solver=solver, prior=prior, prior_weight=weight, rtol=TIGHT_RTOL
        )
        expected = np.clip(np.linalg.solve(matrix, b), 0, 1)
        assert np.abs(alpha.ravel()[unknown] - expected).max() < 1e-6 and info.converged
        assert np.array_equal(alpha.ravel()[~unknown], known[~unknown])
    strong, _ = closed_form_matting(image, trimap, prior=prior, prior_weight=1e9)
    assert np.allclose(strong.ravel()[unknown], prior.ravel()[unknown], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prior": np.zeros((3, 3))}, "prior must have the image's shape"),
        ({"prior": np.full((4, 5), np.nan)}, "prior must be in 0..1"),
        ({"prior": np.full((4, 5), 1.5)}, "prior must be in 0..1"),
        ({"prior": np.zeros((4, 5)), "prior_weight": 0.0}, "prior_weight must be"),
    ],
)
def test_a_bad_prior_is_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        closed_form_matting(np.zeros((4, 5)), np.full((4, 5), 128, np.uint8), **arguments)
