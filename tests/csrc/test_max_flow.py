"""dsnet._C's grid cut against brute force and PyMaxflow."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsnet import _C

NAMES = ("source", "sink", "right", "down", "down_right", "down_left")
INT32_MAX = np.iinfo(np.int32).max


def edges(capacities):
    """Index arrays and capacity of every edge: (a, b, capacity) with flat pixel numbers."""
    _, _, right, down, down_right, down_left = capacities
    number = np.arange(right.size).reshape(right.shape)
    return (
        (number[:, :-1], number[:, 1:], right[:, :-1]),
        (number[:-1], number[1:], down[:-1]),
        (number[:-1, :-1], number[1:, 1:], down_right[:-1, :-1]),
        (number[:-1, 1:], number[1:, :-1], down_left[:-1, 1:]),
    )


def cut_capacity(capacities, mask) -> int:
    source, sink = (array.astype(np.int64) for array in capacities[:2])
    total = source[~mask].sum() + sink[mask].sum()
    flat = mask.ravel()
    for a, b, capacity in edges(capacities):
        total += capacity[flat[a] != flat[b]].astype(np.int64).sum()
    return int(total)


def random_capacities(rng, shape, top, terminals=1.0):
    capacities = [rng.integers(0, top, shape, endpoint=True, dtype=np.int32) for _ in NAMES]
    for terminal in capacities[:2]:
        terminal[rng.random(shape) > terminals] = 0
    return capacities


def pymaxflow(capacities) -> int:
    maxflow = pytest.importorskip("maxflow")
    source, sink = capacities[:2]
    graph = maxflow.GraphInt()
    nodes = graph.add_nodes(source.size)
    for a, b, capacity in edges(capacities):
        for i, j, value in zip(
            a.ravel().tolist(), b.ravel().tolist(), capacity.ravel().tolist(), strict=True
        ):
            graph.add_edge(i, j, value, value)
    for node, to, out in zip(nodes, source.ravel().tolist(), sink.ravel().tolist(), strict=True):
        graph.add_tedge(node, to, out)
    return graph.maxflow()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (2, 3), (3, 3), (2, 5)])
def test_mask_is_the_smallest_of_all_minimum_cuts(shape):
    rng = np.random.default_rng(5)
    masks = [
        np.reshape(bits, shape) for bits in itertools.product([False, True], repeat=np.prod(shape))
    ]
    ties = 0
    for _ in range(12):
        capacities = random_capacities(rng, shape, top=int(rng.choice([1, 2, 9])), terminals=0.6)
        costs = np.array([cut_capacity(capacities, mask) for mask in masks])
        minima = np.flatnonzero(costs == costs.min())
        ties += len(minima) > 1
        mask, flow = _C.grid_cut(*capacities)
        assert flow == costs.min()
        # Minimum cuts are closed under intersection, so this is one of them.
        np.testing.assert_array_equal(mask, np.logical_and.reduce([masks[i] for i in minima]))
    assert ties > 0


@pytest.mark.parametrize("top", [1, 10, 100_000])
@pytest.mark.parametrize("terminals", [0.05, 0.3, 1.0])
def test_flow_equals_pymaxflow(top, terminals):
    rng = np.random.default_rng([top, int(100 * terminals)])
    for _ in range(250):
        capacities = random_capacities(rng, rng.integers(1, 12, size=2), top, terminals)
        mask, flow = _C.grid_cut(*capacities)
        assert flow == pymaxflow(capacities) == cut_capacity(capacities, mask)


def picture(size: int, seed: int, smoothness: int = 40):
    """Capacities as a segmentation has them: a noisy disc, edges weaker across contrast."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size - 0.5
    image = np.exp(-(x**2 + y**2) / 0.05) + 0.2 * rng.standard_normal((size, size))
    source = np.clip(200 * image, 0, None).astype(np.int32)
    sink = np.clip(120 * (1 - image), 0, None).astype(np.int32)
    straight = (smoothness * np.exp(-np.abs(image))).astype(np.int32)
    diagonal = (straight * 0.7).astype(np.int32)
    return [source, sink, straight, straight, diagonal, diagonal]


@pytest.mark.parametrize("size", [33, 96])
@pytest.mark.parametrize("smoothness", [0, 40, 4000])
def test_pictures_equal_pymaxflow(size, smoothness):
    for seed in range(3):
        capacities = picture(size, seed, smoothness)
        mask, flow = _C.grid_cut(*capacities)
        assert flow == pymaxflow(capacities) == cut_capacity(capacities, mask)


def test_entries_that_leave_the_grid_are_ignored():
    capacities = random_capacities(np.random.default_rng(1), (6, 7), 20)
    expected, expected_flow = _C.grid_cut(*capacities)
    _, _, right, down, down_right, down_left = capacities
    right[:, -1] = down[-1] = down_right[-1] = down_left[-1] = INT32_MAX
    down_right[:, -1] = down_left[:, 0] = INT32_MAX
    mask, flow = _C.grid_cut(*capacities)
    assert flow == expected_flow
    np.testing.assert_array_equal(mask, expected)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([3, 1000, INT32_MAX]),
    st.floats(0, 1),
)
def test_cut_capacity_equals_flow_in_any_orientation(seed, rows, columns, top, terminals):
    rng = np.random.default_rng(seed)
    capacities = random_capacities(rng, (rows, columns), top, terminals)
    source, sink, right, down, down_right, down_left = capacities
    mask, flow = _C.grid_cut(*capacities)
    assert flow == cut_capacity(capacities, mask)

    # Columns reversed: an edge to the right is held by its other end, the diagonals change names.
    def back(array):
        return np.roll(array, 1, axis=1)[:, ::-1]

    mirrored, mirrored_flow = _C.grid_cut(
        source[:, ::-1],
        sink[:, ::-1],
        back(right),
        down[:, ::-1],
        down_left[:, ::-1],
        down_right[:, ::-1],
    )
    assert mirrored_flow == flow
    np.testing.assert_array_equal(mirrored[:, ::-1], mask)

    transposed, transposed_flow = _C.grid_cut(
        source.T, sink.T, down.T, right.T, down_right.T, np.roll(down_left, (1, -1), (0, 1)).T
    )
    assert transposed_flow == flow
    np.testing.assert_array_equal(transposed.T, mask)


def test_largest_capacities_do_not_overflow():
    source, sink = np.zeros((2, 64, 64), np.int32)
    source[:, 0] = sink[:, -1] = INT32_MAX
    edge = np.full((64, 64), INT32_MAX, np.int32)
    mask, flow = _C.grid_cut(source, sink, edge, edge, edge, edge)
    assert flow == 64 * INT32_MAX
    assert not mask.any()  # the cut at the source is the smallest

    # One way through, twice: what comes back over an edge adds to what it had.
    line = np.full((1, 5), INT32_MAX, np.int32)
    none = np.zeros_like(line)
    ends = np.array([[INT32_MAX, 0, 0, 0, 0]], np.int32)
    mask, flow = _C.grid_cut(ends, ends[:, ::-1], line, none, none, none)
    assert (flow, mask.any()) == (INT32_MAX, False)


def test_terminals_alone():
    source = np.array([[3, 5, 5, 0]], np.int32)
    sink = np.array([[5, 3, 5, 0]], np.int32)
    none = np.zeros_like(source)
    mask, flow = _C.grid_cut(source, sink, none, none, none, none)
    assert flow == 3 + 3 + 5
    assert mask.tolist() == [[False, True, False, False]]  # ties and untouched pixels: sink's side
    assert mask.dtype == bool


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (4, 0)])
def test_empty_grid(shape):
    mask, flow = _C.grid_cut(*[np.zeros(shape, np.int32)] * 6)
    assert (mask.shape, flow) == (shape, 0)


def test_same_bits_from_any_thread():
    capacities = picture(64, seed=9)
    expected, _ = _C.grid_cut(*capacities)
    with ThreadPoolExecutor(4) as pool:
        masks = list(pool.map(lambda _: _C.grid_cut(*capacities)[0], range(16)))
    for mask in masks:
        np.testing.assert_array_equal(mask, expected)


def test_strided_capacities():
    capacities = picture(40, seed=2)
    wide = [np.repeat(array, 2, axis=1)[:, ::2] for array in capacities]
    assert not wide[0].flags.c_contiguous
    np.testing.assert_array_equal(_C.grid_cut(*wide)[0], _C.grid_cut(*capacities)[0])


@pytest.mark.parametrize("name", NAMES)
def test_errors_name_the_argument(name):
    good = {other: np.ones((3, 4), np.int32) for other in NAMES}
    for dtype in (np.int64, np.float32, np.uint32, np.dtype(np.int32).newbyteorder()):
        with pytest.raises(TypeError, match=f"^{name} must have dtype int32, got"):
            _C.grid_cut(**{**good, name: good[name].astype(dtype)})
    with pytest.raises(TypeError, match=f"^{name} must be a NumPy array of int32, got list"):
        _C.grid_cut(**{**good, name: [[1]]})
    with pytest.raises(ValueError, match=f"^{name} must have two dimensions"):
        _C.grid_cut(**{**good, name: np.ones(4, np.int32)})
    negative = good[name].copy()
    negative[2, 1] = -7
    with pytest.raises(ValueError, match=f"^{name} must not be negative, got -7"):
        _C.grid_cut(**{**good, name: negative})
    if name != "source":
        with pytest.raises(ValueError, match=rf"^{name} must have the shape of source, \(3, 4\)"):
            _C.grid_cut(**{**good, name: np.ones((4, 3), np.int32)})
