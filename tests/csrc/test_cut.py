"""The native cut beside its NumPy reference, its minimum cut beside PyMaxflow's."""

import csv
import itertools
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsnet import _C
from dsnet.data.ct_image import apply_window, read_ct_png
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import RecistMark
from dsnet.labeling.cut import BORDER_COST, CERTAIN, cut_recist
from dsnet.labeling.edge_model import native_network
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


def in_units(log_odds, seeds):
    """Log-odds as the cut counts them; seeds above all that they could be asked to give up."""
    return np.where(seeds, 2**22, np.rint(log_odds.astype(np.float64) * 4096)).astype(np.int64)


def costs_of(border_cost):
    """Of two neighbours side by side and of two across."""
    return round(border_cost * 4096), round(border_cost * 4096 / np.sqrt(2))


def energy(values, border_cost, mask):
    """What a cut costs, but for a constant."""
    side, across = costs_of(border_cost)
    borders = side * (mask[:, 1:] != mask[:, :-1]).sum() + side * (mask[1:] != mask[:-1]).sum()
    borders += across * (mask[1:, 1:] != mask[:-1, :-1]).sum()
    borders += across * (mask[1:, :-1] != mask[:-1, 1:]).sum()
    return int(borders) - int(values[mask].sum())


def pymaxflow_cut(log_odds, seeds, border_cost):
    """The minimum cut with the least lesion, by PyMaxflow on the whole grid."""
    maxflow = pytest.importorskip("maxflow")
    values = in_units(log_odds, seeds)
    side, across = costs_of(border_cost)
    graph = maxflow.GraphInt()
    nodes = graph.add_grid_nodes(values.shape)
    graph.add_grid_edges(nodes, side, np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]]), symmetric=True)
    graph.add_grid_edges(nodes, across, np.array([[0, 0, 0], [0, 0, 0], [1, 0, 1]]), symmetric=True)
    # Pixels that neither terminal reaches count as the source's: so lesion is the sink's side.
    graph.add_grid_tedges(nodes, np.maximum(-values, 0), np.maximum(values, 0))
    graph.maxflow()
    return graph.get_grid_segments(nodes)


def random_evidence(rng, shape):
    spread = rng.choice([0.05, 0.5, 2.0, 6.0])
    log_odds = np.clip(rng.normal(0, spread, shape), -CERTAIN, CERTAIN)
    if rng.random() < 0.3:  # ties
        log_odds = np.round(log_odds / BORDER_COST) * BORDER_COST
    return log_odds.astype(np.float32), rng.random(shape) < 0.02


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (2, 3), (3, 3), (2, 5)])
def test_border_cut_is_the_smallest_of_all_minimum_cuts(shape):
    rng = np.random.default_rng(5)
    masks = [
        np.reshape(bits, shape) for bits in itertools.product([False, True], repeat=np.prod(shape))
    ]
    ties = 0
    for cost in (0.0, 0.25, 0.5, 1.5) * 5:
        log_odds = rng.integers(-3, 4, shape).astype(np.float32) * np.float32(0.25)
        seeds = rng.random(shape) < 0.1
        values = in_units(log_odds, seeds)
        energies = np.array([energy(values, cost, mask) for mask in masks])
        minima = np.flatnonzero(energies == energies.min())
        ties += len(minima) > 1
        mask, _ = emulation.border_cut(log_odds, seeds, cost)
        assert mask.dtype == bool and energy(values, cost, mask) == energies.min()
        # Minimum cuts are closed under intersection, so this is one of them.
        np.testing.assert_array_equal(mask, np.logical_and.reduce([masks[i] for i in minima]))
    assert ties > 0


def check_border_cuts(seed, count):
    rng = np.random.default_rng(seed)
    searched = pixels = 0
    for _ in range(count):
        log_odds, seeds = random_evidence(rng, tuple(rng.integers(1, 30, 2)))
        cost = float(rng.choice([BORDER_COST, BORDER_COST, 0.0, 0.05, 2.0, 6.9]))
        mask, count_searched = emulation.border_cut(log_odds, seeds, cost)
        np.testing.assert_array_equal(mask, pymaxflow_cut(log_odds, seeds, cost))
        searched, pixels = searched + count_searched, pixels + mask.size
    assert 0 < searched < pixels


def test_border_cut_is_pymaxflows():
    check_border_cuts(seed=0, count=600)


@pytest.mark.long
def test_many_border_cuts():
    check_border_cuts(seed=1, count=20_000)


@pytest.mark.parametrize("size", [33, 96])
@pytest.mark.parametrize("cost", [0.0, 0.3, 6.9])
def test_border_cuts_of_pictures_are_pymaxflows(size, cost):
    """Noisy discs, as a segmentation has them."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:size, :size] / size - 0.5
        bright = np.exp(-(x**2 + y**2) / 0.05) + 0.2 * rng.standard_normal((size, size))
        log_odds, seeds = (6 * bright - 3).astype(np.float32), np.hypot(x, y) < 0.03
        mask, _ = emulation.border_cut(log_odds, seeds, cost)
        assert 0 < mask.sum() < mask.size
        np.testing.assert_array_equal(mask, pymaxflow_cut(log_odds, seeds, cost))


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([0.0, 0.3, 1.0, 7.0]),
)
def test_border_cut_in_any_orientation(seed, rows, cols, cost):
    log_odds, seeds = random_evidence(np.random.default_rng(seed), (rows, cols))
    mask, _ = emulation.border_cut(log_odds, seeds, cost)
    for turn in (np.transpose, np.flipud, np.fliplr):
        turned, _ = emulation.border_cut(turn(log_odds), turn(seeds), cost)
        np.testing.assert_array_equal(turned, turn(mask))


def test_the_largest_log_odds_do_not_overflow():
    log_odds = np.full((64, 64), -1000, np.float32)
    log_odds[:, ::2] = 1000
    none = np.zeros(log_odds.shape, bool)
    mask, _ = emulation.border_cut(log_odds, none, 1.0)
    np.testing.assert_array_equal(mask, log_odds > 0)
    mask, _ = emulation.border_cut(log_odds, none, 1000.0)
    np.testing.assert_array_equal(mask, pymaxflow_cut(log_odds, none, 1000.0))
    mask, _ = emulation.border_cut(log_odds[:, 1:], log_odds[:, 1:] < 0, 0.3)
    assert mask.all()  # seeds outweigh everything


def test_border_cut_without_borders_or_pixels():
    log_odds = np.array([[0.5, -0.5, 0.0, 0.0]], np.float32)
    mask, _ = emulation.border_cut(log_odds, np.array([[0, 0, 0, 9]], np.uint8), 0.0)
    assert mask.tolist() == [[True, False, False, True]]  # ties are background
    for shape in ((0, 0), (0, 4), (4, 0)):
        mask, searched = emulation.border_cut(
            np.zeros(shape, np.float32), np.zeros(shape, bool), 0.3
        )
        assert (mask.shape, searched) == (shape, 0)


def test_border_cut_gives_the_same_bits_from_any_thread_and_strides():
    cases = [random_evidence(np.random.default_rng(k), (40 + k, 50)) for k in range(16)]
    expected = [emulation.border_cut(*case, BORDER_COST)[0] for case in cases]
    wide = [[np.repeat(array, 2, axis=1)[:, ::2] for array in case] for case in cases]
    assert not wide[0][0].flags.c_contiguous
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda case: emulation.border_cut(*case, BORDER_COST)[0], wide))
    np.testing.assert_array_equal(np.hstack([m.ravel() for m in found]),
                                  np.hstack([m.ravel() for m in expected]))  # fmt: skip


def test_arguments_of_border_cut_are_named():
    log_odds, seeds = np.zeros((3, 4), np.float32), np.zeros((3, 4), bool)
    for bad, error, words in (
        ((log_odds.astype(np.float64), seeds), TypeError, "log_odds must have dtype float32, got"),
        ((log_odds.astype(">f4"), seeds), TypeError, "log_odds must have dtype float32, got"),
        (([[1.0]], seeds), TypeError, "log_odds must be a NumPy array of float32, got list"),
        ((log_odds[0], seeds), ValueError, "log_odds must have two dimensions"),
        ((log_odds, seeds.astype(int)), TypeError, "seeds must have dtype bool or uint8, got"),
        ((log_odds, None), TypeError, "seeds must be a NumPy array of bool or uint8, got NoneType"),
        ((log_odds, seeds.T), ValueError, r"seeds must have the log_odds's shape \(3, 4\), got"),
    ):
        with pytest.raises(error, match=f"^{words}"):
            emulation.border_cut(*bad, 0.3)


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
    arrays = [np.zeros(shape, np.float32) for shape in ((20, 18), 20, (20, 20), 20, (1, 20), 1)]
    _C.EdgeNetwork(*arrays)
    arrays[2] = np.zeros((20, 19), np.float32)
    with pytest.raises(ValueError, match=r"weight2 must have shape \(20, 20\), got \(20, 19\)"):
        _C.EdgeNetwork(*arrays)


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
