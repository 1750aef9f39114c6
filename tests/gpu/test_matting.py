"""The matting kernels on a CUDA device beside the same code run on the CPU."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from dsnet import _C
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import closed_form_matting, trimap_from_mask
from emulation_module import emulation
from host_gpu import there

pytestmark = pytest.mark.gpu
OPTIONS = {"prior_weight": 0.0, "epsilon": 1e-7, "rtol": 3e-6, "max_iterations": 1000}
BAD_IMAGE, BAD_TRIMAP, BAD_PRIOR = 2, 3, 4


def start(images, trimaps, priors=None, workspace_bytes=None, **options):
    """Alpha and results, on the device; memory that is to be written holds NaN and ones."""
    given = [torch.from_numpy(np.ascontiguousarray(a)).cuda() for a in (images, trimaps)]
    given.append(None if priors is None else torch.from_numpy(priors).cuda())
    alphas = torch.full(images.shape, torch.nan, device="cuda")
    results = torch.full((len(images), _C.MATTING_RESULT.itemsize), 255, dtype=torch.uint8).cuda()
    if workspace_bytes is None:
        workspace_bytes = _C.cuda_matting_workspace_bytes(*images.shape, 0)
    workspace = torch.full((workspace_bytes,), 255, dtype=torch.uint8, device="cuda")
    options = {**OPTIONS, **options}
    batch = _C.MattingBatch(
        images.shape,
        images=there(given[0]),
        trimaps=there(given[1]),
        priors=None if priors is None else there(given[2]),
        alphas=there(alphas),
        results=there(results),
        workspace=there(workspace),
        **options,
    )
    _C.cuda_matting(batch, 0, torch.cuda.current_stream().cuda_stream)
    torch.cuda.synchronize()
    return alphas.cpu().numpy(), results.cpu().numpy().view(_C.MATTING_RESULT)[:, 0]


def random_batch(rows, cols, count=6, known=0.05, seed=0):
    rng = np.random.default_rng([rows, cols, seed])
    images = rng.random((count, rows, cols))
    images[1:] = ndimage.gaussian_filter(images[1:], (0, 1, 1))
    draw = rng.random(images.shape)
    trimaps = np.full(images.shape, 128, np.uint8)
    trimaps[draw < known], trimaps[draw > 1 - known] = 255, 0
    return images.astype(np.float32), trimaps


def assert_close(found, expected):
    """The device contracts products and sums, the CPU does not."""
    (alphas, results), (wanted, infos) = found, expected
    assert np.abs(alphas - wanted).max() <= 1e-4
    for result, info in zip(results, infos, strict=True):
        assert result["status"] == info["status"] and result["unknowns"] == info["unknowns"]
        assert bool(result["solved"]) == info["solved"]
        assert bool(result["converged"]) == info["converged"]
        assert abs(result["iterations"] - info["iterations"]) <= 2 + info["iterations"] // 10


@pytest.mark.parametrize(
    ("rows", "cols"),
    [
        *[(1, 1), (1, 40), (2, 2), (3, 3), (33, 17), (64, 64)],  # a block's shared memory
        *[(65, 64), (100, 70), (128, 128)],  # four blocks'
        *[(130, 130), (100, 256)],  # eight blocks'
        *[(250, 66), (9, 300)],  # device memory
    ],
)
def test_alpha_is_that_of_the_cpu(rows, cols):
    images, trimaps = random_batch(rows, cols)
    found = start(images, trimaps)
    assert_close(found, emulation.matting_block(images, trimaps))
    again = start(images, trimaps)
    assert found[0].tobytes() == again[0].tobytes() and found[1].tobytes() == again[1].tobytes()


@pytest.mark.parametrize("size", [64, 128, 256])
def test_phantoms_against_the_exact_solve(size):
    images, trimaps = [], []
    for seed, kind in enumerate(KINDS):
        phantom = make_phantom(kind, size=size, seed=seed)
        images.append(phantom.image)
        trimaps.append(trimap_from_mask(phantom.alpha >= 0.5, erosion=5, dilation=5))
    alphas, results = start(np.stack(images), np.stack(trimaps))
    assert results["converged"].all()
    for image, trimap, alpha in zip(images, trimaps, alphas, strict=True):
        exact, _ = closed_form_matting(image, trimap, solver="direct")
        assert np.abs(alpha - exact).max() <= 1e-3


def test_priors():
    images, trimaps = random_batch(70, 50)
    priors = np.random.default_rng(1).random(images.shape, dtype=np.float32)
    found = start(images, trimaps, priors, prior_weight=0.1)
    assert_close(found, emulation.matting_block(images, trimaps, priors, prior_weight=0.1))


@pytest.mark.parametrize("size", [20, 80])
def test_more_images_than_run_at_once_and_the_least_workspace(size):
    images, trimaps = random_batch(size, size, count=40, known=0.2)
    order = np.random.default_rng(2).integers(0, 40, 700)
    alphas, results = start(images[order], trimaps[order])
    least = _C.cuda_matting_workspace_bytes(1, size, size, 0)
    one_by_one = start(images, trimaps, workspace_bytes=least)
    assert alphas.tobytes() == one_by_one[0][order].tobytes()
    assert results.tobytes() == one_by_one[1][order].tobytes()


def test_regions_of_every_size_in_one_batch():
    images, trimaps = random_batch(256, 256, count=5, known=0.2)
    for i, width in enumerate((10, 60, 120, 200, 0)):
        outside = np.ones((256, 256), bool)
        outside[250 - width : 250, 3 : 3 + width] = False
        trimaps[i][outside] = np.where(images[i][outside] > 0.5, 255, 0)
    assert_close(start(images, trimaps), emulation.matting_block(images, trimaps))


@pytest.mark.parametrize("size", [32, 100, 180])
def test_bad_rows_are_nan_and_leave_the_others_alone(size):
    images, trimaps = random_batch(size, size, known=0.2)
    priors = np.full_like(images, 0.5)
    expected, _ = start(images, trimaps, priors, prior_weight=0.1)
    images[0, 3, 4], images[1, -1, -1], images[2, 5, 5] = np.nan, np.inf, 16.5
    trimaps[3, 7, 7] = 7
    priors[4, 2, 2] = -0.5
    alphas, results = start(images, trimaps, priors, prior_weight=0.1)
    assert list(results["status"]) == [BAD_IMAGE] * 3 + [BAD_TRIMAP, BAD_PRIOR, 0]
    assert np.isnan(alphas[:5]).all() and alphas[5].tobytes() == expected[5].tobytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epsilon": 0.0}, "epsilon must be positive and finite, got 0"),
        ({"rtol": float("nan")}, "rtol must be positive and finite, got"),
        ({"prior_weight": -1.0}, "prior_weight must be finite and not negative, got -1"),
        ({"max_iterations": -1}, "max_iterations must be finite and not negative, got -1"),
        ({"workspace_bytes": 256}, "workspace_bytes must be at least .*, got 256"),
    ],
)
def test_unusable_arguments_are_named(change, words):
    images, trimaps = random_batch(8, 8, count=2)
    with pytest.raises(ValueError, match=words):
        start(images, trimaps, **change)
    assert_close(start(images, trimaps), emulation.matting_block(images, trimaps))
