"""The native edge model beside its NumPy reference."""

import csv
import threading

import cv2
import numpy as np
import pytest

from dsnet import _C
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import RecistMark
from dsnet.labeling.cut import CERTAIN, cut_recist
from dsnet.labeling.edge_model import native_network
from dsnet.labeling.recist import FARTHEST
from dsnet.labeling.reference.cut import cut_recist_reference
from dsnet.labeling.reference.edge_model import edge_features, lesion_evidence
from shared_data import shared


def jittered(mark, pixels, rng):
    return RecistMark.from_coordinates(mark.coordinates + rng.normal(0, pixels, 8))


def check_log_odds(image, mark):
    """Bounds what float32 costs; returns whether the masks are the same."""
    cut = cut_recist(image, mark)
    if not cut.fallback:
        evidence = lesion_evidence(image, mark)
        expected = np.clip(evidence.log_odds, -CERTAIN, CERTAIN)
        found = cut.log_odds[evidence.window]
        # A rounding away from the rim of the reach, a pixel may fall to either side of it.
        differs = np.abs(found - expected) > 1e-3
        assert np.count_nonzero(differs & ((found == -CERTAIN) | (expected == -CERTAIN))) <= 2
        assert not (differs & (found > -CERTAIN) & (expected > -CERTAIN)).any()
    reference = cut_recist_reference(image, mark)
    assert cut.fallback == reference.fallback
    return np.array_equal(cut.mask, reference.mask)


@pytest.mark.parametrize("size", [16, 17, 33, 64, 128])
def test_phantoms(size):
    rng = np.random.default_rng(size)
    same = []
    for kind in KINDS:
        for seed in range(3):
            phantom = make_phantom(kind, size, seed)
            same.append(check_log_odds(phantom.image, phantom.mark))
            same.append(check_log_odds(phantom.image, jittered(phantom.mark, 1.0, rng)))
            same.append(check_log_odds(np.round(phantom.image * 8) / 8, phantom.mark))  # ties
    # All of them where this was written.
    assert np.mean(same) > 0.97


def check_noise(seed, count):
    rng = np.random.default_rng(seed)
    same = []
    for number in range(count):
        shape = tuple(rng.integers(1, 40, 2))
        image = rng.random(shape, dtype=np.float32)
        if number % 3 == 1:
            image = np.round(image * 3) / np.float32(3)
        if number % 3 == 2:
            image = (image < 0.1).astype(np.float32)
        mark = RecistMark.from_coordinates(rng.uniform(-10, max(shape) + 10, 8))
        if "mark lies outside the image" not in mark.problems(shape):
            same.append(check_log_odds(image, mark))
    assert len(same) > count / 2 and np.mean(same) > 0.99


def test_noise_under_careless_marks():
    check_noise(seed=3, count=250)


@pytest.mark.long
def test_much_noise_under_careless_marks():
    check_noise(seed=4, count=10_000)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_large_phantoms(kind):
    rng = np.random.default_rng(1)
    same = []
    for seed in range(6):
        phantom = make_phantom(kind, 256, seed)
        same.append(check_log_odds(phantom.image, phantom.mark))
        same.append(check_log_odds(phantom.image, jittered(phantom.mark, 4.0, rng)))
    assert np.mean(same) > 0.9


def test_lidc_nodules():
    with open(shared("lidc", "nodules.csv")) as file:
        rows = list(csv.DictReader(file))[::6]
    rng = np.random.default_rng(2)
    same = []
    for row in rows:
        folder = shared("lidc", "LIDC-IDRI-slices", row["patient"], row["nodule"], "images")
        picture = cv2.imread(str(folder / row["largest_slice"]), cv2.IMREAD_UNCHANGED)
        image = picture.astype(np.float32) / 255
        mark = RecistMark.from_coordinates(
            [float(row[f"{axis}{end}"]) for end in range(1, 5) for axis in "xy"]
        )
        same += [check_log_odds(image, mark), check_log_odds(image, jittered(mark, 1.0, rng))]
    assert len(same) > 100 and np.mean(same) > 0.99


def test_the_crossing_of_the_axes_is_inside():
    image = np.full((64, 64), 0.1, np.float32)
    y, x = np.mgrid[:64, :64]
    image[(x - 30) ** 2 / 144 + (y - 31) ** 2 / 81 <= 1] = 0.8
    for shift in (0.0, 1e-7, -1e-7, 1e-5, 1e-4, 0.3):
        ends = [18 + shift, 31, 42 + shift, 31, 30, 22 + shift, 30, 40 + shift]
        mark = RecistMark.from_coordinates(ends)
        assert check_log_odds(image, mark)
        features, _, (rows, columns), _ = edge_features(image, mark)
        assert features[31 - rows.start, 30 - columns.start, 0] < -4.9
        assert cut_recist(image, mark).log_odds[31, 30] > 2


def odd_images():
    rng = np.random.default_rng(9)
    for number in range(120):
        shape = tuple(rng.integers(1, 50, 2))
        image = rng.random(shape, dtype=np.float32)
        image *= np.float32(10.0 ** rng.integers(-44, 38)) if number % 2 else np.float32(1)
        ends = rng.uniform(-5, max(shape) + 5, 8)
        if number % 3 == 0:
            ends[rng.integers(8)] *= 10.0 ** rng.integers(0, 30)
            ends = np.clip(ends, -FARTHEST, FARTHEST)
        mark = RecistMark.from_coordinates(ends)
        if "mark lies outside the image" not in mark.problems(shape):
            yield image, mark.coordinates


def as_bytes(cut):
    return tuple(part.tobytes() if isinstance(part, np.ndarray) else repr(part) for part in cut)


def test_odd_images_give_numbers_and_the_same_bits_on_every_vector_unit():
    network, units, cases = native_network(), _C.vector_units(), list(odd_images())
    assert len(cases) > 60
    try:
        for image, coordinates in cases:
            cuts = []
            for unit in units:
                _C.use_vector_unit(unit)
                cut = _C.cut_recist(image, coordinates, network)
                assert np.isfinite(cut[1]).all() and np.abs(cut[1]).max() <= CERTAIN
                cuts.append(as_bytes(cut))
            assert len(set(cuts)) == 1
    finally:
        _C.use_vector_unit(units[-1])


def test_nothing_is_left_over_from_the_mark_before():
    """Each thread has its own memory: a fresh one against one that has seen larger windows."""
    network = native_network()
    cases = [make_phantom(KINDS[k % 6], size, k) for k, size in enumerate((128, 40, 96, 16, 64))]

    def cut(case):
        return as_bytes(_C.cut_recist(case.image, case.mark.coordinates, network))

    for case in cases:
        fresh = []
        thread = threading.Thread(target=lambda case=case, fresh=fresh: fresh.append(cut(case)))
        thread.start()
        thread.join()
        assert [cut(case)] == fresh
