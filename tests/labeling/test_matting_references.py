"""Closed-form matting against PyMatting and against recorded mattes of others."""

import cv2
import numpy as np
import pytest

from dsnet.labeling import closed_form_matting
from shared_data import shared


def picture(*parts):
    return cv2.imread(str(shared("matting", *parts)), cv2.IMREAD_COLOR) / 255.0


def grey(*parts):
    return cv2.imread(str(shared("matting", *parts)), cv2.IMREAD_COLOR)[:, :, 0]


def pymatting_alpha(image, trimap, epsilon):
    pymatting = pytest.importorskip("pymatting")
    return pymatting.estimate_alpha_cf(
        image,
        trimap / 255.0,
        laplacian_kwargs={"epsilon": epsilon},
        cg_kwargs={"rtol": 1e-11, "maxiter": 10_000},
    )


def band_problem(channels):
    y, x = np.mgrid[:48, :53]
    distance = np.hypot(y - 25, x - 24) - 12
    trimap = np.where(distance < -4, 255, np.where(distance > 4, 0, 128)).astype(np.uint8)
    trimap[20:22, 40:44] = 128
    clean = np.clip(0.5 - distance, 0, 1)[:, :, None] * np.linspace(0.3, 0.7, channels)
    return 0.1 + clean + 0.02 * np.random.default_rng(0).standard_normal(clean.shape), trimap


@pytest.mark.long  # the first import of PyMatting compiles for half a minute
def test_pymatting_on_colour():
    image, trimap = band_problem(3)
    theirs = pymatting_alpha(image, trimap, epsilon=1e-7)
    for solver in ("auto", "amg"):
        alpha, _ = closed_form_matting(image, trimap, solver=solver)
        assert abs(alpha - theirs).max() < 1e-6


@pytest.mark.long  # the first import of PyMatting compiles for half a minute
def test_pymatting_on_grey_stacked_three_times():
    image, trimap = band_problem(1)
    image = image[:, :, 0]
    theirs = pymatting_alpha(np.dstack([image] * 3), trimap, epsilon=1e-4)
    alpha, _ = closed_form_matting(image, trimap, epsilon=1e-4 / 3)
    assert abs(alpha - theirs).max() < 1e-6
    unadjusted, _ = closed_form_matting(image, trimap, epsilon=1e-4)
    assert abs(unadjusted - theirs).max() > 1e-4


@pytest.mark.parametrize(
    # Half a grey level, the rounding of the recorded matte, is 0.00196.
    "constraint_weight, largest",
    [(100.0, 0.0020), (None, 0.0022)],
)
def test_matlab_matte_of_the_authors(constraint_weight, largest):
    image = picture("marcoforte_closed_form", "source.png")
    trimap = grey("marcoforte_closed_form", "trimap.png")
    recorded = grey("marcoforte_closed_form", "matlab_alpha.png") / 255
    alpha, info = closed_form_matting(
        image, trimap, solver="amg", constraint_weight=constraint_weight
    )
    assert info.converged and info.iterations < 150
    assert abs(alpha - recorded).max() < largest
    assert abs(alpha - recorded).mean() < 0.00085


def test_scribbles_of_the_authors():
    image = picture("marcoforte_closed_form", "source.png")
    difference = (picture("marcoforte_closed_form", "scribbles.png") - image).sum(axis=2)
    trimap = np.where(difference > 1e-3, 255, np.where(difference < -1e-3, 0, 128))
    recorded = grey("marcoforte_closed_form", "matlab_alpha.png") / 255
    alpha, _ = closed_form_matting(image, trimap.astype(np.uint8), constraint_weight=100.0)
    assert np.count_nonzero(trimap != 128) == 1177
    assert abs(alpha - recorded).max() < 0.0020


def test_lemur_of_pymatting():
    trimap = grey("pymatting_lemur", "lemur_trimap.png")
    trimap = np.where(np.isin(trimap, (0, 255)), trimap, 128).astype(np.uint8)
    recorded = grey("pymatting_lemur", "lemur_alpha.png") / 255
    alpha, _ = closed_form_matting(picture("pymatting_lemur", "lemur.png"), trimap)
    assert abs(alpha - recorded).mean() < 0.00075
    assert abs(alpha - recorded).max() < 0.0063


def test_error_on_the_alpha_matting_benchmark():
    trimap = grey("alphamatting", "Trimap1", "GT01.png")
    truth = grey("alphamatting", "GroundTruth", "GT01.png") / 255
    alpha, _ = closed_form_matting(picture("alphamatting", "Images", "GT01.png"), trimap)
    error = ((alpha - truth)[trimap == 128] ** 2).mean()
    assert 0.00555 < error < 0.00557  # PyMatting: 0.00556
