"""The GPU's edge model, run on the CPU a thread at a time: the bits of its NumPy reference."""

import dataclasses

import numpy as np
import pytest

from dsnet import _C
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import RecistMark
from dsnet.labeling.cut import CERTAIN
from dsnet.labeling.edge_model import (
    LAYERS,
    LEAST_CONTRAST,
    MOST_WEIGHT,
    compiled,
    edge_network,
    native_network,
)
from dsnet.labeling.recist import FARTHEST
from dsnet.labeling.reference.edge_model import lesion_evidence
from emulation_module import emulated_network, emulation


def random_network(rng):
    """Of the shapes that there are; its activations reach both ends of their range."""
    there = edge_network()
    most = {name: rng.choice([20, 150, MOST_WEIGHT]) for name in LAYERS}
    # At the very ends of what is allowed, too.
    weights = {
        name: np.clip(
            rng.integers(-most[name] - 9, most[name] + 10, weight.shape), -MOST_WEIGHT, MOST_WEIGHT
        ).astype(np.int16)
        for name, weight in there.weights.items()
    }
    return dataclasses.replace(
        there,
        weights=weights,
        biases={
            name: rng.integers(-(2**17), 2**17, bias.shape).astype(np.int32)
            for name, bias in there.biases.items()
        },
        shifts={name: int(rng.integers(4, 13)) for name in LAYERS},
        of_constants=rng.normal(size=there.of_constants.shape) * 2e4,
        log_odds_per_unit=float(np.float32(10.0 ** -rng.uniform(3, 7))),
    )


def check(image, coordinates, network, of_cpu, of_gpu):
    """Returns the reference's log-odds in the frame, none where the contrast is too small."""
    mark = RecistMark.from_coordinates(coordinates)
    evidence = lesion_evidence(image, mark, network)
    plans, _ = _C.plan_cuts(mark.coordinates[None], *image.shape)
    found, contrast, *settled = emulation.evidence_block(image, plans[0], of_gpu)
    backwards = emulation.evidence_block(image, plans[0], of_gpu, True)
    assert found.tobytes() == backwards[0].tobytes() and [contrast, *settled] == [*backwards[1:]]
    assert contrast == evidence.contrast and found.shape == evidence.log_odds.shape
    _, of_image, fallback, _, dice = _C.cut_recist(image, mark.coordinates, of_cpu)
    assert dice == settled[1]
    if abs(contrast) < LEAST_CONTRAST:
        assert np.isnan(found).all() and settled == [0, 0] and fallback == 1
        return np.zeros(0)
    assert settled == [evidence.threshold, evidence.expected_dice]
    expected = np.clip(evidence.log_odds, -CERTAIN, CERTAIN).astype(np.float32)
    assert found.tobytes() == expected.tobytes()
    assert fallback or of_image[evidence.window].tobytes() == found.tobytes()
    return expected[evidence.reachable]


@pytest.mark.parametrize("seed", range(4))
def test_random_networks(seed):
    rng = np.random.default_rng(seed)
    odds = []
    for _ in range(8):
        network = random_network(rng)
        of_cpu, of_gpu = compiled(network), compiled(network, emulation)
        for _ in range(4):
            phantom = make_phantom(
                KINDS[rng.integers(len(KINDS))], int(rng.integers(20, 100)), seed
            )
            coordinates = phantom.mark.coordinates + rng.normal(0, 2, 8)
            odds.append(check(phantom.image, coordinates, network, of_cpu, of_gpu))
    odds = np.concatenate(odds)
    # Some are cut off, some are not.
    assert (odds == CERTAIN).any() and (odds == -CERTAIN).any()
    assert len(np.unique(odds)) > 1000


def odd_cases():
    """Of the least size, odd sizes, marks of any kind that touch the image."""
    rng = np.random.default_rng(5)
    while True:
        shape = (3, 3) if rng.random() < 0.2 else tuple(rng.integers(3, 90, 2))
        image = rng.random(shape, dtype=np.float32)
        if rng.random() < 0.3:
            image = np.round(image * 3) / np.float32(3)  # ties
        ends = rng.uniform(-20, max(shape) + 20, 8)
        if rng.random() < 0.3:
            ends = rng.uniform(0, 3, 2)[[0, 1] * 4] + rng.normal(0, 0.3, 8)  # a point, nearly
        if rng.random() < 0.3:
            ends[rng.integers(8)] *= 10.0 ** rng.integers(0, 30)
        ends = np.clip(ends, -FARTHEST, FARTHEST)
        mark = RecistMark.from_coordinates(ends)
        if "mark lies outside the image" not in mark.problems(shape):
            yield image, mark.coordinates


def test_odd_images_and_marks():
    seen = []
    for (image, coordinates), _ in zip(odd_cases(), range(150), strict=False):
        seen.append(check(image, coordinates, edge_network(), native_network(), emulated_network()))
    assert sum(len(odds) > 0 for odds in seen) > 100


@pytest.mark.parametrize(
    "coordinates",
    [
        [1, 1, 1, 1, 1, 1, 1, 1],  # a point
        [0, 1, 2, 1, 1, 0, 1, 2],
        [-1e4, 1, 1e4, 1.5, 0, -9e3, 1, 9e3],  # cells of hundreds of pixels
        [-30, 1, 1, 1, -15, -4, -15, 6],  # its end alone lies in the image
    ],
)
@pytest.mark.parametrize("shape", [(3, 3), (3, 50), (41, 3), (40, 33)])
def test_marks_of_any_size(coordinates, shape):
    image = np.random.default_rng(1).random(shape, dtype=np.float32)
    check(image, np.array(coordinates, float), edge_network(), native_network(), emulated_network())
    flat = np.full(shape, 0.5, np.float32)
    assert not len(
        check(flat, np.array(coordinates, float), edge_network(), native_network(),
              emulated_network())
    )  # fmt: skip
