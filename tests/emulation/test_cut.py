"""The GPU's cuts, run on the CPU a thread at a time: the same bits as the CPU's own."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from dsnet import _C
from dsnet.data.datasets.deeplesion import read_annotations, read_crops
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling.edge_model import compiled, edge_network, native_network
from dsnet.labeling.matting.closed_form import DEFAULT_RTOL
from dsnet.labeling.soft_mask import PRIOR_WEIGHT
from emulation_module import emulated_network, emulation
from shared_data import shared


def network_of(**layers):
    """A network of weights and biases all 0 but those given; a unit of its sums is 1/16 log-odd."""
    given = edge_network()
    weights = {name: np.zeros_like(weight) for name, weight in given.weights.items()}
    biases = {name: np.zeros_like(bias) for name, bias in given.biases.items()}
    for name, (weight, bias) in layers.items():
        count = len(weight)
        weights[name][range(count), range(count), weights[name].shape[2] // 2,
                      weights[name].shape[3] // 2] = weight  # fmt: skip
        biases[name][:count] = bias
    return dataclasses.replace(
        given,
        weights=weights,
        biases=biases,
        shifts=dict.fromkeys(given.shifts, 0),
        of_constants=np.zeros_like(given.of_constants),
        log_odds_per_unit=1 / 16,
    )


def by_grey_value():
    """A network that calls lesion what is more than half as bright as the lesion."""
    same = ([1] * 4, 0)  # the first input of the four cells of a square
    return network_of(enter=same, fine_down=same, fine_up=same, leave=([1] * 4, -128))


def assert_same(images, coordinates, network=None):
    images, coordinates = np.ascontiguousarray(images), np.ascontiguousarray(coordinates, float)
    plans, seeds = _C.plan_cuts(coordinates, *images.shape[1:])
    of_cpu = native_network() if network is None else compiled(network)
    of_gpu = emulated_network() if network is None else compiled(network, emulation)
    trimaps = _C.label_batch(images, coordinates, of_cpu, PRIOR_WEIGHT, DEFAULT_RTOL, 1)[2]
    found = emulation.cut_block(images, plans, seeds, of_gpu)
    for i, (mask, trimap, prior, told) in enumerate(zip(*found, strict=True)):
        cut, odds, fallback, value, dice = _C.cut_recist(images[i], coordinates[i], of_cpu)
        assert told.item()[:3] == (value, dice, fallback)
        assert 0 < dice < 1 or (fallback == 1 and dice == 0)
        assert np.array_equal(mask, cut) and np.array_equal(trimap, trimaps[i])
        expected = np.where(trimap == 128, 1 / (1 + np.exp(-odds.astype(np.float64))), 0)
        assert np.abs(prior - expected.astype(np.float32)).max() <= 2**-23
    backwards = emulation.cut_block(images, plans, seeds, of_gpu, True)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(found, backwards, strict=True))
    return found[3]["fallback"]


@pytest.mark.parametrize("size", [24, 64, 130])
def test_phantoms(size):
    phantoms = [make_phantom(KINDS[i % len(KINDS)], size, seed=i) for i in range(8)]
    images = np.stack([p.image for p in phantoms])
    assert not assert_same(images, np.stack([p.mark.coordinates for p in phantoms])).any()


@pytest.mark.parametrize("size", [64, 256])
def test_real_lesions(size):
    root = shared("deeplesion")
    rows = [row for row in read_annotations(root / "DL_info.csv", origin=0) if not row.error]
    crops = [crop for _, crop in read_crops(rows, root, size=size) if hasattr(crop, "image")]
    assert len(crops) > 5
    images = np.stack([crop.image for crop in crops])
    assert_same(images, np.stack([crop.mark.coordinates for crop in crops]))


def random_marks(rng, count, rows, cols):
    """Of any size and direction, some askew, inside the image or half out of it."""
    centre = rng.random((count, 2)) * [cols, rows]
    half = rng.choice([0.2, 1, 2, 5, 12, 30])
    angle = rng.random(count) * 2 * np.pi
    along = np.stack([np.cos(angle), np.sin(angle)], 1) * half
    across = np.stack([-along[:, 1], along[:, 0]], 1) * rng.random()
    if rng.random() < 0.2:
        across = rng.normal(size=across.shape) * half
    shift = rng.normal(size=(count, 2)) * 0.2 * half
    ends = [centre - along, centre + along, centre + shift - across, centre + shift + across]
    return np.concatenate(ends, 1)


def random_images(rng, shape):
    images = rng.random(shape)
    kind = rng.integers(4)
    if kind == 1:  # few grey values
        images = np.round(images * 3) / 3
    if kind == 2:  # blobs
        coarse = rng.random((shape[0], shape[1] // 5 + 1, shape[2] // 5 + 1)) > 0.5
        images = np.kron(coarse, np.ones((1, 5, 5)))[:, : shape[1], : shape[2]] * 0.5 + images / 9
    if kind == 3:  # all but one grey value
        images = 0.4 + images * 0.015
    return images.astype(np.float32)


@pytest.mark.parametrize("seed", range(6))
def test_random_marks_on_random_images(seed):
    rng = np.random.default_rng(seed)
    fallbacks = []
    for _ in range(25):
        rows, cols = rng.integers(3, 8, 2) if rng.random() < 0.2 else rng.integers(3, 140, 2)
        marks = random_marks(rng, 3, rows, cols)
        images = random_images(rng, (3, rows, cols))
        outside = [emulation.rasterise_recist(m, rows, cols, 1.0)["problems"] & 16 for m in marks]
        kept = np.flatnonzero(np.array(outside) == 0)
        if len(kept):
            fallbacks += assert_same(images[kept], marks[kept]).tolist()
    assert {0, 1} <= set(fallbacks)


def test_falling_back():
    """Without contrast, without a seed in the image, and with an area gone astray."""
    marks = np.array([[10.0, 15, 30, 15, 20, 8, 20, 22], [-40, 20, 2, 20, -19, 10, -19, 30]])
    flat = np.full((1, 33, 41), 0.5, np.float32)
    bright = np.random.default_rng(0).random((1, 33, 41), dtype=np.float32) / 9
    bright[:, 10:31, :4] = 0.9
    assert [assert_same(flat, marks[:1])[0], assert_same(bright, marks[1:])[0]] == [1, 2]
    slim = np.array([[10.0, 15, 30, 15, 20, 13, 20, 17]])
    bright[0, 13:18, 10:31] = 0.9
    everywhere = network_of(leave=([0] * 4, 1000))
    assert assert_same(bright, slim, everywhere)[0] == 3
    thin = marks[:1] * [1, 1, 1, 1, 1, 0, 1, 0] + [0, 0, 0, 0, 0, 15.3, 0, 15.3]
    assert assert_same(flat, thin)[0] == 1


def test_a_tiny_lesion_keeps_a_sure_pixel():
    image = np.full((1, 21, 40), 0.2, np.float32)
    image[0, 10:12, 20:22] = 0.9
    marks = np.array([[19.4, 10.5, 21.6, 10.5, 20.5, 9.4, 20.5, 11.6]])
    assert not assert_same(image, marks, by_grey_value()).any()
    masks, trimaps, *_ = emulation.cut_block(
        image, *_C.plan_cuts(marks, 21, 40), compiled(by_grey_value(), emulation)
    )
    assert masks.sum() == 4
    assert not ndimage.binary_erosion(masks, np.ones((1, 3, 3))).any()
    assert (trimaps[0, 10:12, 20:22] == 255).any()


def test_no_plan_no_cut():
    images = np.full((2, 5, 6), 0.5, np.float32)
    plans = np.zeros((2, _C.CUT_PLAN_BYTES), np.uint8)
    seeds = np.zeros((2, 5, 1), np.uint64)
    *found, results = emulation.cut_block(images, plans, seeds, emulated_network())
    assert results.tolist() == [(0, 0, -1, 0)] * 2 and not any(array.any() for array in found)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="mark 0 must be finite and touch the image"):
        _C.plan_cuts(np.full((1, 8), 99.0), 10, 10)
    images = np.zeros((1, 5, 6), np.float32)
    plans, seeds = np.zeros((1, 3), np.uint8), np.zeros((1, 5, 1), np.uint64)
    with pytest.raises(ValueError, match=r"plans must have shape \(1, "):
        emulation.cut_block(images, plans, seeds, emulated_network())
