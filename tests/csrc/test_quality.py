"""Native quality scores and strategy 3's native trimap against their NumPy references."""

import numpy as np
import pytest
from scipy import ndimage

from dsnet import _C
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import BACKGROUND, FOREGROUND, UNKNOWN, RecistMark
from dsnet.labeling.cut import RecistCut, cut_recist
from dsnet.labeling.quality import score
from dsnet.labeling.reference.quality import score_reference
from dsnet.labeling.reference.trimap import trimap_from_cut_reference
from dsnet.labeling.trimap import trimap_from_cut

SHAPES = [
    (1, 1),
    (1, 7),
    (7, 1),
    (3, 2),
    (5, 64),
    (65, 4),
    (30, 31),
    (64, 64),
    (40, 129),
    (300, 70),
]


@pytest.fixture(params=_C.vector_units())
def unit(request):
    _C.use_vector_unit(request.param)
    yield request.param
    _C.use_vector_unit(_C.vector_units()[-1])


def random_mark(rng, shape) -> RecistMark:
    """End points in and around the image; at times a zero-length axis, or far away."""
    scale = np.tile([shape[1], shape[0]], 4)
    coordinates = rng.uniform(-0.2, 1.2, 8) * scale
    if rng.random() < 0.2:
        coordinates[4:6] = coordinates[6:]
    if rng.random() < 0.1:
        coordinates[:4] = np.round(coordinates[2])
    if rng.random() < 0.05:
        coordinates *= 1e6
    return RecistMark.from_coordinates(coordinates)


def random_field(rng, shape) -> np.ndarray:
    """Noise, smooth by chance, of any level: its positive side is any kind of mask."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), rng.choice([0.0, 1.0, 4.0]))
    return 3 * field / max(np.abs(field).max(), 1e-9) + rng.uniform(-2.5, 1.5)


def cases(count: int):
    rng = np.random.default_rng(21)
    for i in range(count):
        shape = SHAPES[i % len(SHAPES)]
        yield rng, shape, random_mark(rng, shape)


def test_trimaps_of_cuts_equal_the_reference(unit):
    for rng, shape, mark in cases(450):
        log_odds = random_field(rng, shape).astype(np.float32)
        mask = log_odds > 0
        if rng.random() < 0.3:
            mask = ndimage.binary_opening(mask)
        cut = RecistCut(mask, log_odds, "")
        expected = trimap_from_cut_reference(cut, mark)
        np.testing.assert_array_equal(trimap_from_cut(cut, mark), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_trimaps_of_phantoms_equal_the_reference(unit, kind):
    for seed, size in enumerate((33, 64, 100)):
        phantom = make_phantom(kind, size=size, seed=seed, diameter_mm=0.3 * size)
        cut = cut_recist(phantom.image, phantom.mark)
        expected = trimap_from_cut_reference(cut, phantom.mark)
        np.testing.assert_array_equal(trimap_from_cut(cut, phantom.mark), expected)


def test_tiny_cuts_keep_the_mark_or_their_surest_pixel():
    mark = RecistMark.from_coordinates([4, 5, 6, 5, 5, 4, 5, 6])
    mask, log_odds = np.zeros((12, 12), bool), np.ones((12, 12), np.float32)
    mask[5, 5:7] = True
    trimap = trimap_from_cut(RecistCut(mask, log_odds, ""), mark)
    assert np.argwhere(trimap == FOREGROUND).tolist() == [[5, 5], [5, 6]]
    mask, log_odds[9, 2] = np.zeros((12, 12), bool), 7.0
    mask[9, 1:3] = True
    trimap = trimap_from_cut(RecistCut(mask, log_odds, ""), mark)
    assert np.argwhere(trimap == FOREGROUND).tolist() == [[9, 2]]
    empty = np.zeros((12, 12), bool)
    assert (trimap_from_cut(RecistCut(empty, log_odds, ""), mark) == BACKGROUND).all()


def test_scores_equal_the_reference(unit):
    for rng, shape, mark in cases(450):
        field = random_field(rng, shape)
        alpha = (1 / (1 + np.exp(-4 * field))).astype(np.float32)
        alpha[np.abs(field) < 0.05] = 0.5
        image = (alpha * rng.choice([0.0, 1.0]) + 0.1 * rng.random(shape)).astype(np.float32)
        trimap = rng.choice(np.array([BACKGROUND, UNKNOWN, FOREGROUND], np.uint8), shape)
        known = {
            "mark": mark if rng.random() < 0.8 else None,
            "reference": rng.random(shape) < 0.5 if rng.random() < 0.5 else None,
            "raters": rng.random((rng.integers(1, 4), *shape)) < 0.5,
            "cut_worked": rng.choice([None, True, True, False]),
            "converged": bool(rng.random() < 0.5),
            "residual": 10 ** rng.uniform(-8, 1),
        }
        found = score(image, alpha, trimap, **known)
        expected = score_reference(image, alpha, trimap, **known)
        assert list(found) == list(expected)
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_scores_have_the_same_bits_on_every_vector_unit():
    rng = np.random.default_rng(3)
    alpha = ndimage.gaussian_filter(rng.random((90, 140)), 5).astype(np.float32)
    alpha += 0.5 - np.float32(np.median(alpha))
    image, trimap = rng.random(alpha.shape).astype(np.float32), np.zeros(alpha.shape, np.uint8)
    results = []
    for name in _C.vector_units():
        _C.use_vector_unit(name)
        results.append(_C.quality(image, alpha, trimap))
    assert all(result == results[0] for result in results)
    assert 0 < results[0]["edge_contrast"] < 1


def test_bad_arguments_are_named():
    image, mask = np.zeros((3, 4), np.float32), np.zeros((3, 4), bool)
    trimap = np.zeros((3, 4), np.uint8)
    with pytest.raises(ValueError, match="alpha must have the image's shape"):
        _C.quality(image, image.T, trimap)
    with pytest.raises(TypeError, match="trimap must have dtype uint8"):
        _C.quality(image, image, image)
    with pytest.raises(ValueError, match="mark must be 8 numbers"):
        _C.quality(image, image, trimap, mark=[1, 2])
    with pytest.raises(ValueError, match="log_odds must have the mask's shape"):
        _C.trimap_from_cut(mask, image.T, np.arange(8))
    for odds in (mask, image.astype(np.float64)):
        with pytest.raises(TypeError, match=f"log_odds must have dtype float32, got {odds.dtype}"):
            _C.trimap_from_cut(mask, odds, np.arange(8))
    with pytest.raises(ValueError, match="mark must be finite"):
        _C.trimap_from_cut(mask, image, [np.nan] * 8)
