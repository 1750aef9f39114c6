"""The native edge model beside its NumPy reference."""

import csv
import dataclasses
import threading

import cv2
import numpy as np
import pytest
from scipy import ndimage

from dsnet import _C
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import RecistMark
from dsnet.labeling.cut import CERTAIN, cut_recist
from dsnet.labeling.edge_model import compiled, edge_network, native_network
from dsnet.labeling.recist import FARTHEST
from dsnet.labeling.reference.cut import cut_recist_reference
from dsnet.labeling.reference.edge_model import (
    Frame,
    best_threshold,
    frame_cells,
    lesion_evidence,
    weigh_cells,
)
from shared_data import shared


def jittered(mark, pixels, rng):
    return RecistMark.from_coordinates(mark.coordinates + rng.normal(0, pixels, 8))


def check_log_odds(image, mark):
    """The reference's bits."""
    cut, reference = cut_recist(image, mark), cut_recist_reference(image, mark)
    assert cut.fallback == reference.fallback
    assert np.array_equal(cut.mask, reference.mask)
    if not cut.fallback:
        evidence = lesion_evidence(image, mark)
        expected = np.full(image.shape, -CERTAIN, np.float32)
        expected[evidence.window] = np.clip(evidence.log_odds, -CERTAIN, CERTAIN)
        assert np.array_equal(cut.log_odds, expected)


@pytest.mark.parametrize("size", [16, 17, 33, 64, 128])
def test_phantoms(size):
    rng = np.random.default_rng(size)
    for kind in KINDS:
        for seed in range(3):
            phantom = make_phantom(kind, size, seed)
            check_log_odds(phantom.image, phantom.mark)
            check_log_odds(phantom.image, jittered(phantom.mark, 1.0, rng))
            check_log_odds(np.round(phantom.image * 8) / 8, phantom.mark)  # ties
            long_axis = RecistMark.from_long_axis(phantom.mark.long_axis.ravel())
            check_log_odds(phantom.image, long_axis)


def check_noise(seed, count):
    rng = np.random.default_rng(seed)
    checked = 0
    for number in range(count):
        shape = tuple(rng.integers(1, 40, 2))
        image = rng.random(shape, dtype=np.float32)
        if number % 3 == 1:
            image = np.round(image * 3) / np.float32(3)
        if number % 3 == 2:
            image = (image < 0.1).astype(np.float32)
        mark = RecistMark.from_coordinates(rng.uniform(-10, max(shape) + 10, 8))
        if "mark lies outside the image" not in mark.problems(shape):
            check_log_odds(image, mark)
            checked += 1
    assert checked > count / 2


def test_noise_under_careless_marks():
    check_noise(seed=3, count=250)


@pytest.mark.long
def test_much_noise_under_careless_marks():
    check_noise(seed=4, count=10_000)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_large_phantoms(kind):
    rng = np.random.default_rng(1)
    for seed in range(6):
        phantom = make_phantom(kind, 256, seed)
        check_log_odds(phantom.image, phantom.mark)
        check_log_odds(phantom.image, jittered(phantom.mark, 4.0, rng))


def test_lidc_nodules():
    with open(shared("lidc", "nodules.csv")) as file:
        rows = list(csv.DictReader(file))[::6]
    rng = np.random.default_rng(2)
    assert len(rows) > 50
    for row in rows:
        folder = shared("lidc", "LIDC-IDRI-slices", row["patient"], row["nodule"], "images")
        picture = cv2.imread(str(folder / row["largest_slice"]), cv2.IMREAD_UNCHANGED)
        image = picture.astype(np.float32) / 255
        mark = RecistMark.from_coordinates(
            [float(row[f"{axis}{end}"]) for end in range(1, 5) for axis in "xy"]
        )
        check_log_odds(image, mark)
        check_log_odds(image, jittered(mark, 1.0, rng))


def test_the_crossing_of_the_axes_is_inside():
    image = np.full((64, 64), 0.1, np.float32)
    y, x = np.mgrid[:64, :64]
    image[(x - 30) ** 2 / 144 + (y - 31) ** 2 / 81 <= 1] = 0.8
    for shift in (0.0, 1e-7, -1e-7, 1e-5, 1e-4, 0.3):
        ends = [18 + shift, 31, 42 + shift, 31, 30, 22 + shift, 30, 40 + shift]
        mark = RecistMark.from_coordinates(ends)
        check_log_odds(image, mark)
        assert cut_recist(image, mark).log_odds[31, 30] > 2


def test_the_ends_may_come_in_any_order():
    phantom = make_phantom("spiculated", 64, 4)
    one, two, three, four = phantom.mark.coordinates.reshape(4, 2)
    cuts = []
    for ends in ((one, two, three, four), (two, one, three, four), (two, one, four, three)):
        mark = RecistMark.from_coordinates(np.concatenate(ends))
        cuts.append(cut_recist(phantom.image, mark))
    assert all(np.array_equal(cuts[0].log_odds, cut.log_odds) for cut in cuts)


def test_cells_are_the_image_where_they_lie():
    """A frame without a turn, of cells as large as a pixel: SciPy's bilinear samples."""
    image = np.random.default_rng(5).random((60, 70), dtype=np.float32)
    long = (16 - 3) / 0.8  # half a frame of 16 pixels
    mark = RecistMark.from_coordinates(
        [35 - long / 2, 30, 35 + long / 2, 30, 35, 30 - long / 3, 35, 30 + long / 3]
    )
    frame = Frame.of(mark)
    assert frame.step == pytest.approx(1.0)
    cells = frame_cells(image, frame)
    place = np.arange(32) - 15.5
    rows, columns = np.meshgrid(30 + place, 35 + place, indexing="ij")
    expected = ndimage.map_coordinates(image.astype(np.float64), [rows, columns], order=1)
    assert cells.grey == pytest.approx(expected, abs=1e-5)
    inside = ((columns - 35) / (long / 2)) ** 2 + ((rows - 30) / (long / 3)) ** 2 < 1
    assert np.array_equal(cells.outside < 0, inside)
    assert np.array_equal(cells.share < 1, inside)


def test_the_network_is_what_torch_makes_of_its_weights():
    torch = pytest.importorskip("torch")
    network, rng = edge_network(), np.random.default_rng(6)
    inputs = rng.integers(-256, 640, (3, 32, 32)).astype(np.int32)
    constants = np.array([2.0, 0.7, 0.5, 2.5, 1.0])
    found = weigh_cells(network, inputs, constants)

    def layer(name, value, stride=1):
        weight = torch.tensor(network.weights[name].astype(np.float64))
        pad = 1 if weight.shape[-1] == 3 else 0
        bias = network.biases[name].astype(np.float64)
        if name == "enter":
            bias = np.rint(bias + network.of_constants @ constants)
        total = torch.nn.functional.conv2d(value, weight, torch.tensor(bias), stride, pad)
        shift = network.shifts[name]
        return torch.floor((total + (1 << shift >> 1)) / 2**shift)

    def active(name, value, stride=1):
        return layer(name, value, stride).clamp(0, 2047)

    def added(name, value, kept):
        more = layer(name, value).clamp(-2047, 2047)
        more = torch.nn.functional.interpolate(more, scale_factor=2, mode="nearest")
        return (kept + more).clamp(0, 2047)

    cells = torch.tensor(inputs[None].astype(np.float64))
    fine = active("fine_down", active("enter", torch.nn.functional.pixel_unshuffle(cells, 2)))
    middle = active("middle_down", active("to_middle", fine, 2))
    coarse = active("coarse", active("to_coarse", middle, 2))
    middle = active("middle_up", added("from_coarse", coarse, middle))
    fine = active("fine_up", added("from_middle", middle, fine))
    sums = torch.nn.functional.pixel_shuffle(layer("leave", fine), 2)[0, 0].numpy()
    assert np.array_equal(found, sums.astype(np.float32) * np.float32(network.log_odds_per_unit))


def test_the_threshold_is_the_best_of_all():
    rng = np.random.default_rng(7)
    for _ in range(50):
        log_odds = rng.normal(rng.uniform(-3, 3), rng.uniform(0.1, 4), 400).astype(np.float32)
        threshold, expected = best_threshold(log_odds)
        p = 1 / (1 + np.exp(-np.clip(log_odds.astype(np.float64), -7.97, 7.97)))
        tried = [
            2 * p[log_odds >= t].sum() / (np.count_nonzero(log_odds >= t) + p.sum())
            for t in np.arange(-8, 8, 1 / 16)
        ]
        # Probabilities count by steps of 1/16.
        assert expected == pytest.approx(max(tried), abs=0.01)
        chosen = log_odds >= threshold
        at = 2 * p[chosen].sum() / (np.count_nonzero(chosen) + p.sum())
        assert at == pytest.approx(max(tried), abs=0.01)


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


def large_network(rng):
    """Weights as large as they may be, all of a sign or not, and shifts that keep sums in range."""
    given, weights, shifts = edge_network(), {}, {}
    for name, weight in given.weights.items():
        most = rng.integers(1, 1024, weight.shape)
        sums = np.abs(most).sum(axis=(1, 2, 3), keepdims=True)
        most = np.minimum(most, most * (2**18 - 1) // sums)
        sign = rng.choice([-1, 1], weight.shape, p=rng.choice([(0, 1), (0.3, 0.7), (0.5, 0.5)]))
        weights[name] = (most * sign).astype(np.int16)
        shifts[name] = int(rng.integers(6, 19))
    return dataclasses.replace(given, weights=weights, shifts=shifts)


def test_networks_of_large_weights_are_the_reference_on_every_vector_unit():
    rng, units, seen = np.random.default_rng(10), _C.vector_units(), set()
    try:
        for number in range(24):
            network = large_network(rng)
            phantom = make_phantom(KINDS[number % 6], 40, number)
            evidence = lesion_evidence(phantom.image, phantom.mark, network)
            expected = np.clip(evidence.log_odds, -CERTAIN, CERTAIN)
            for unit in units:
                _C.use_vector_unit(unit)
                cut = _C.cut_recist(phantom.image, phantom.mark.coordinates, compiled(network))
                if cut[2] == 0:  # no fall-back
                    assert np.array_equal(cut[1][evidence.window], expected)
                    seen.add((unit, len(np.unique(expected)) > 10))
    finally:
        _C.use_vector_unit(units[-1])
    assert {(unit, True) for unit in units} <= seen


def test_weights_that_could_leave_32_bits_are_refused():
    network = edge_network()
    weights = np.full((48, 48, 3, 3), 606, np.int16)
    assert compiled(dataclasses.replace(network, weights=network.weights | {"coarse": weights}))
    weights[7, 0, 0, :2] = 607, -1000
    with pytest.raises(
        ValueError, match=r"weights\[5\] of an output must add up to less than 262144, got 262187"
    ):
        compiled(dataclasses.replace(network, weights=network.weights | {"coarse": weights}))


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
