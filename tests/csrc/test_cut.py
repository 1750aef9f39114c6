"""The native cut beside its NumPy reference."""

import csv
from dataclasses import replace

import cv2
import numpy as np
import pytest

from dsnet import _C
from dsnet.data.ct_image import apply_window, read_ct_png
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import RecistMark
from dsnet.labeling.cut import CERTAIN, cut_recist
from dsnet.labeling.edge_model import compiled, edge_network, native_network
from dsnet.labeling.recist import PROBLEMS
from dsnet.labeling.reference.cut import cut_recist_reference
from emulation_module import emulation
from shared_data import shared


def random_marks(seed, count, shape):
    """Careful, careless, degenerate and far-out marks."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        centre = rng.uniform(-5, np.array(shape[::-1]) + 5)
        angle, half = rng.uniform(0, np.pi), rng.uniform(0, 12, 2)
        along = np.array([np.cos(angle), np.sin(angle)])
        axes = [along * half[0], np.array([-along[1], along[0]]) * half[1]]
        ends = np.array([centre + sign * axis for axis in axes for sign in (-1, 1)])
        kind = rng.integers(6)
        if kind == 0:
            ends += rng.normal(0, 4, ends.shape)
        if kind == 1:
            ends = np.rint(ends)
        if kind == 2:
            ends[2:] = ends[2]
        if kind == 3:
            ends[rng.integers(4)] *= 10.0 ** rng.integers(2, 8)
        yield RecistMark.from_coordinates(ends.ravel())


def test_rasterised_marks_are_those_of_numpy():
    for shape in ((40, 55), (1, 30), (30, 1), (7, 7)):
        for number, mark in enumerate(random_marks(sum(shape), 150, shape)):
            scale = (1.0, 0.75, 1.25)[number % 3]
            drawn = emulation.rasterise_recist(mark.coordinates, *shape, scale)
            assert np.array_equal(drawn["ellipse"], mark.ellipse_mask(shape, scale=scale))
            assert np.array_equal(drawn["quadrilateral"], mark.quadrilateral_mask(shape))
            assert np.array_equal(drawn["axes"], mark.axes_mask(shape))
            words = [word for bit, word in enumerate(PROBLEMS) if drawn["problems"] >> bit & 1]
            assert words == mark.problems(shape)


def check_against_reference(image, mark):
    """Returns whether the masks are the same."""
    native, reference = cut_recist(image, mark), cut_recist_reference(image, mark)
    assert native.fallback == reference.fallback
    assert native.log_odds.dtype == reference.log_odds.dtype == np.float32
    # float32 against float64; what lies on the very edge of the reach may fall to either side.
    near = (native.log_odds > -CERTAIN) & (reference.log_odds > -CERTAIN)
    assert np.abs(native.log_odds - reference.log_odds)[near].max(initial=0) < 5e-3
    differing = np.count_nonzero(native.mask != reference.mask)
    assert differing <= 2 + 0.01 * np.count_nonzero(reference.mask)
    return differing == 0


@pytest.mark.parametrize("kind", KINDS)
def test_phantoms_against_the_reference(kind):
    same = []
    for seed in range(8):
        phantom = make_phantom(kind, size=(48, 64, 96, 128)[seed % 4], seed=seed)
        same.append(check_against_reference(phantom.image, phantom.mark))
        same.append(check_against_reference(1 - phantom.image, phantom.mark))
    assert np.mean(same) > 0.9


def test_odd_marks_against_the_reference():
    same = []
    for shape in ((40, 33), (9, 70), (1, 20), (20, 1), (1, 1)):
        rng = np.random.default_rng(sum(shape))
        image = rng.random(shape, dtype=np.float32)
        for mark in random_marks(sum(shape), 40, shape):
            if "mark lies outside the image" not in mark.problems(shape):
                # On noise, log-odds a rounding away from the cut's threshold do turn up.
                same.append(np.array_equal(*(f(image, mark).mask for f in BOTH)))
    assert len(same) > 80 and np.mean(same) > 0.97


BOTH = (cut_recist, cut_recist_reference)


def test_deeplesion_against_the_reference():
    folder = shared("deeplesion")
    with open(folder / "DL_info.csv") as file:
        rows = list(csv.DictReader(file))
    same = []
    for row in rows:
        series, _, number = row["File_name"].rpartition("_")
        picture = folder / "Images_png" / series / number
        if not picture.exists():
            continue
        low, high = (float(v) for v in row["DICOM_windows"].split(","))
        image = apply_window(read_ct_png(picture), low, high)
        mark = RecistMark.from_coordinates(
            [float(v) for v in row["Measurement_coordinates"].split(",")]
        )
        same.append(check_against_reference(image, mark))
        if len(same) == 12:
            break
    assert np.mean(same) > 0.9


def test_same_bits_on_every_vector_unit():
    units = _C.vector_units()
    cases = [make_phantom(KINDS[k % 6], size=64 + 8 * k, seed=k) for k in range(8)]
    network = native_network()

    def cut_all(order):
        found = {}
        for k in order:
            mask, odds, *rest = _C.cut_recist(cases[k].image, cases[k].mark.coordinates, network)
            found[k] = (mask.tobytes(), odds.tobytes(), *rest)
        return [found[k] for k in range(len(cases))]

    try:
        first = cut_all(range(len(cases)))
        for unit in units:
            _C.use_vector_unit(unit)
            assert cut_all(reversed(range(len(cases)))) == first, unit
    finally:
        _C.use_vector_unit(units[-1])


def test_network_of_another_shape():
    network = edge_network()
    weights = network.weights | {"enter": np.zeros((16, 12, 3, 2), np.int16)}
    with pytest.raises(
        ValueError, match=r"weights\[0\] must have shape \(16, 12, 3, 3\), got \(16, 12, 3, 2\)"
    ):
        compiled(replace(network, weights=weights))
    with pytest.raises(ValueError, match="shifts must be within 0 and 20, got 21"):
        compiled(replace(network, shifts=network.shifts | {"coarse": 21}))


def test_bad_coordinates():
    image = np.zeros((8, 8), np.float32)
    for coordinates, match in (
        (np.zeros(7), "coordinates must be 8 numbers"),
        (np.full(8, np.nan), "coordinates must be finite"),
        (np.full(8, 100.0), r"coordinates must touch the image of shape \(8, 8\)"),
    ):
        with pytest.raises(ValueError, match=match):
            _C.cut_recist(image, coordinates, native_network())


def test_pictures_of_lidc_against_the_reference():
    pictures = sorted(shared("lidc", "LIDC-IDRI-slices").glob("*/*/images/*.png"))
    same = []
    for number, picture in enumerate(pictures[::60]):
        image = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
        centre = np.array(image.shape[::-1]) / 2
        half = 3.0 + number % 9
        ends = centre + half * np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
        mark = RecistMark.from_coordinates(ends.ravel())
        same.append(check_against_reference(image, mark))
    assert np.mean(same) > 0.97
