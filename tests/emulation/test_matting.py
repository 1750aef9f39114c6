"""The GPU's matting, run on the CPU a thread at a time, beside the native and the direct solve."""

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
from dsnet.labeling.matting.closed_form import TIGHT_RTOL
from emulation_module import emulation
from shared_data import shared

VALUES = np.array([BACKGROUND, UNKNOWN, FOREGROUND], np.uint8)
PATHS = ["any", "bands", "memory"]
DONE, BAD_IMAGE, BAD_TRIMAP, BAD_PRIOR = 0, 2, 3, 4


def random_image(rng, shape):
    noise = rng.random(shape)
    kinds = (
        lambda: noise,
        lambda: ndimage.gaussian_filter(noise, 2),
        lambda: np.full(shape, 0.4),
        lambda: noise > 0.5,
        lambda: np.round(noise * 4) / 4,
        lambda: np.full(shape, 0.4) + 1e-6 * noise,
        lambda: 0.12 + 0.013 * rng.standard_normal(shape),  # lung at 20 HU of noise
    )
    return kinds[rng.integers(len(kinds))]().astype(np.float32)


def random_trimap(rng, shape):
    if rng.random() < 0.5:
        return rng.choice(VALUES, shape, p=rng.dirichlet([2, 4, 2]))
    trimap = np.full(shape, UNKNOWN, np.uint8)
    distance = np.hypot(*np.meshgrid(*(np.linspace(-2, 2, n) for n in shape), indexing="ij"))
    inner, outer = np.sort(rng.uniform(0.2, 2.4, 2))
    trimap[distance < inner], trimap[distance > outer] = FOREGROUND, BACKGROUND
    return trimap


def random_batches(seed, batches, smallest=1, largest=65, count=4):
    rng = np.random.default_rng(seed)
    for _ in range(batches):
        shape = tuple(rng.integers(smallest, largest, 2))
        images = np.stack([random_image(rng, shape) for _ in range(count)])
        yield images, np.stack([random_trimap(rng, shape) for _ in range(count)])


def solve_one(image, trimap, **options):
    alphas, infos = emulation.matting_block(image[None], trimap[None], **options)
    return alphas[0], infos[0]


def wide_problem(shape, known=0.05):
    """Unknown but for some pixels in all of it, so that all bands take part."""
    rng = np.random.default_rng(sum(shape))
    image = ndimage.gaussian_filter(rng.random(shape), 1).astype(np.float32)
    draw = rng.random(shape)
    trimap = np.full(shape, UNKNOWN, np.uint8)
    trimap[draw < known], trimap[draw > 1 - known] = FOREGROUND, BACKGROUND
    return image, trimap


def check(image, trimap, **options):
    exact, _ = closed_form_matting(image, trimap, solver="direct")
    alpha, info = solve_one(image, trimap, **options)
    unknown = trimap == UNKNOWN
    assert info["status"] == DONE and info["converged"] and info["unknowns"] == unknown.sum()
    assert np.array_equal(alpha[~unknown], (trimap == FOREGROUND)[~unknown].astype(np.float32))
    assert abs(alpha - exact).max() <= 1e-3, (image.shape, info)
    tight, _ = solve_one(image, trimap, rtol=TIGHT_RTOL, **options)
    assert abs(tight - exact).max() <= 5e-6
    if min(image.shape) >= 3:
        native, *_ = _C.matting(image, trimap, solver="jacobi", rtol=TIGHT_RTOL)
        assert abs(tight - native).max() <= 1e-6
        # The native solver looks for all but untied pixels in some more windows.
        native, _, iterations, *_ = _C.matting(image, trimap, solver="jacobi")
        assert info["iterations"] <= iterations + 1 + iterations // 10
        if info["iterations"] == iterations:
            assert abs(alpha - native).max() <= 1e-6
    return info


@pytest.mark.parametrize("path", PATHS)
def test_random_problems_against_the_direct_and_the_native_solve(path):
    for images, trimaps in random_batches(seed=0, batches=15, smallest=3):
        for image, trimap in zip(images, trimaps, strict=True):
            check(image, trimap, path=path)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (2, 1), (1, 37), (41, 1), (2, 2), (2, 29), (30, 2)]
)
def test_windows_are_cut_to_images_below_three_pixels(shape):
    rng = np.random.default_rng(1)
    for _ in range(10):
        image, trimap = rng.random(shape, dtype=np.float32), random_trimap(rng, shape)
        # What no known pixel reaches is open: only where the direct solve is unique it is asked.
        if closed_form_matting(image, trimap, solver="direct")[1].converged:
            check(image, trimap)


@pytest.mark.parametrize("kind", KINDS)
def test_phantoms_against_the_direct_solve(kind):
    for size, noise, margin in ((64, 20.0, 4), (64, 0.0, 6), (128, 20.0, 8)):
        phantom = make_phantom(kind, size=size, seed=3, noise_hu=noise)
        trimap = trimap_from_mask(phantom.alpha >= 0.5, erosion=margin, dilation=margin)
        check(phantom.image, trimap)


def test_lidc_raters_against_the_direct_solve():
    pictures = find_rater_pictures(shared("lidc", "LIDC-IDRI-slices"))
    for crop in (picture.read() for picture in pictures[::300]):
        trimap = trimap_from_raters(crop.masks)
        check(crop.image, trimap)
        check(crop.image, trimap, path="bands")


def test_flat_lung_with_a_noisy_border():
    """Windows of 1e-12 variance beside such of 0.1: sums of squares in float32 would cancel."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:64, :64]
    distance = np.hypot(y - 31, x - 30) - 14
    for flat in (0.0, 1e-6, 1e-4):
        image = (0.9 + flat * rng.standard_normal((64, 64)) - 0.6 * (distance < 0)).astype("f4")
        trimap = np.where(distance < -6, 255, np.where(distance > 6, 0, 128)).astype(np.uint8)
        info = check(image, trimap)
        assert info["solved"]


@pytest.mark.parametrize("path", PATHS)
def test_same_bits_in_every_order_and_batch(path):
    for images, trimaps in random_batches(seed=2, batches=6):
        first = emulation.matting_block(images, trimaps, path=path)
        again = emulation.matting_block(images, trimaps, path=path, backwards=True)
        assert first[0].tobytes() == again[0].tobytes() and first[1] == again[1]
        turned = emulation.matting_block(images[::-1].copy(), trimaps[::-1].copy(), path=path)
        assert first[0].tobytes() == turned[0][::-1].tobytes() and first[1] == turned[1][::-1]


def test_all_paths_agree():
    problems = list(random_batches(seed=3, batches=6))
    problems += [(image[None], trimap[None]) for image, trimap in [wide_problem((100, 70))]]
    for images, trimaps in problems:
        found = [
            emulation.matting_block(images, trimaps, rtol=TIGHT_RTOL, path=path) for path in PATHS
        ]
        for alphas, _ in found[1:]:
            assert abs(alphas - found[0][0]).max() <= 1e-7


@pytest.mark.parametrize(
    ("shape", "known", "solver"),
    [
        ((64, 64), 0.05, "small"),
        ((65, 64), 0.05, "narrow"),
        ((100, 70), 0.05, "narrow"),
        ((128, 128), 0.05, "narrow"),
        ((239, 31), 0.05, "narrow"),
        ((130, 130), 0.05, "wide"),
        ((30, 255), 0.05, "wide"),
        ((3, 256), 0.05, "wide"),
        ((160, 127), 0.002, "wide"),  # more unknown pixels than the threads of four bands hold
        ((250, 66), 0.05, "memory"),
        ((9, 300), 0.05, "memory"),
    ],
)
def test_larger_images_go_to_whoever_holds_them(shape, known, solver):
    image, trimap = wide_problem(shape, known)
    _, info = solve_one(image, trimap)
    assert info["path"] == solver
    check(image, trimap)
    alphas = [solve_one(image, trimap, backwards=backwards)[0] for backwards in (False, True)]
    assert alphas[0].tobytes() == alphas[1].tobytes()


def test_one_band_with_too_many_unknown_pixels():
    image, trimap = wide_problem((192, 200), known=0.001)
    trimap[24:] = np.where(image[24:] > 0.5, FOREGROUND, BACKGROUND)
    trimap[188:190, 5:9] = UNKNOWN
    info = check(image, trimap)
    assert info["path"] == "memory" and info["unknowns"] > 4608


def test_small_unknown_regions_of_any_image_and_large_ones():
    rng = np.random.default_rng(4)
    for shape, top, left, height, width in (
        ((300, 200), 290, 190, 10, 10),
        ((90, 400), 3, 7, 2, 380),
        ((65, 66), 0, 0, 65, 66),
        ((20, 900), 0, 0, 20, 900),
    ):
        image = ndimage.gaussian_filter(rng.random(shape), 1).astype(np.float32)
        trimap = rng.choice(VALUES[::2], shape)
        trimap[top : top + height, left : left + width] = UNKNOWN
        trimap[rng.random(shape) < 0.03] = FOREGROUND
        trimap[rng.random(shape) < 0.03] = BACKGROUND
        check(image, trimap)


def test_prior_against_the_native_solve():
    rng = np.random.default_rng(6)
    for images, trimaps in random_batches(seed=6, batches=6, smallest=3):
        priors = rng.random(images.shape, dtype=np.float32)
        for weight in (0.01, 3.0):
            alphas, infos = emulation.matting_block(images, trimaps, priors, weight)
            for i, alpha in enumerate(alphas):
                native, *_ = _C.matting(images[i], trimaps[i], priors[i], weight, "jacobi")
                assert infos[i]["converged"] and abs(alpha - native).max() <= 1e-6


def test_stopping_early_returns_the_iterate_and_says_so():
    phantom = make_phantom("solid", size=64, seed=1)
    trimap = trimap_from_mask(phantom.alpha >= 0.5, erosion=4, dilation=4)
    for most in (0, 1, 3, 6):
        alpha, info = solve_one(phantom.image, trimap, max_iterations=most)
        native, *_ = _C.matting(phantom.image, trimap, solver="jacobi", max_iterations=most)
        assert info["iterations"] == most and not info["converged"]
        assert abs(alpha - native).max() <= 1e-6


def test_what_is_known_decides_without_a_solve():
    image = np.random.default_rng(0).random((9, 7), dtype=np.float32)
    for value, expected in ((UNKNOWN, 0.5), (FOREGROUND, 1.0), (BACKGROUND, 0.0)):
        for row in (slice(None), 4):
            trimap = np.full((9, 7), UNKNOWN, np.uint8)
            trimap[row] = value
            alpha, info = solve_one(image, trimap)
            assert (alpha == expected).all() and info["converged"] and not info["solved"]
            assert info["unknowns"] == (trimap == UNKNOWN).sum()


def test_unusable_images_stand_out_and_leave_the_others_alone():
    images, trimaps = next(random_batches(seed=7, batches=1, smallest=20, count=6))
    priors = np.full_like(images, 0.5)
    expected, _ = emulation.matting_block(images, trimaps, priors, 0.1)
    images[0, 3, 4], images[1, 0, 0], images[2, 5, 5] = np.nan, np.inf, 16.5
    trimaps[3, 7, 7] = 7
    priors[4, 2, 2] = 1.5
    alphas, infos = emulation.matting_block(images, trimaps, priors, 0.1)
    statuses = [info["status"] for info in infos]
    assert statuses == [BAD_IMAGE] * 3 + [BAD_TRIMAP, BAD_PRIOR, DONE]
    assert np.isnan(alphas[:5]).all() and np.array_equal(alphas[5], expected[5])


def test_shapes_must_match():
    with pytest.raises(ValueError, match=r"trimaps must have shape \(2, 4, 5\), got \(2, 5, 4\)"):
        emulation.matting_block(np.zeros((2, 4, 5), "f4"), np.zeros((2, 5, 4), "u1"))
    assert emulation.matting_block(np.zeros((0, 4, 5), "f4"), np.zeros((0, 4, 5), "u1"))[1] == []
