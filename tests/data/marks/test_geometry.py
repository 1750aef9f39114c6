"""From the patient to pixels and back, which lines are one mark, and lengths that disagree."""

import numpy as np
import pytest

from dsnet.data.marks.geometry import MOST_LINES, checked, crossing, paired, placed, to_pixels
from dsnet.data.marks.record import FoundMark, points

random = np.random.default_rng(1)


def rotation():
    """A random proper rotation: the columns of a QR decomposition."""
    q, r = np.linalg.qr(random.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


@pytest.mark.parametrize("repeat", range(5))
def test_points_of_a_tilted_slice_come_back(repeat):
    along, down, normal = rotation().T
    position, spacing = random.normal(size=3) * 100, (0.7, 0.4)
    x, y, off = random.uniform(-10, 600, 4), random.uniform(-10, 600, 4), random.normal(size=4)
    world = position + np.outer(x * 0.4, along) + np.outer(y * 0.7, down) + np.outer(off, normal)
    found, distance = to_pixels(world, position, [*along, *down], spacing)
    assert np.allclose(found, np.stack([x, y], 1), atol=1e-8)
    assert np.allclose(distance, off, atol=1e-8)
    mark, far = placed(FoundMark(None, world=world), position, [*along, *down], spacing)
    assert np.allclose(mark.long_axis, found[:2]) and np.allclose(mark.short_axis, found[2:])
    assert far == pytest.approx(np.abs(off).max())
    mark, _ = placed(FoundMark(None, world=world[:2]), position, [*along, *down], spacing)
    assert mark.short_axis is None


@pytest.mark.parametrize(
    ("position", "orientation", "spacing", "reason"),
    [
        ([0, 0], [1, 0, 0, 0, 1, 0], [1, 1], "position must be 3 finite numbers"),
        ([0, 0, np.nan], [1, 0, 0, 0, 1, 0], [1, 1], "position must be 3 finite numbers"),
        ([0, 0, 0], [1, 0, 0, 1, 0, 0], [1, 1], "perpendicular unit vectors"),
        ([0, 0, 0], [2, 0, 0, 0, 1, 0], [1, 1], "perpendicular unit vectors"),
        ([0, 0, 0], [1, 0, 0, 0, 1, 0], [1, 0], "spacing must be > 0"),
        ([0, 0, 0], "axial", [1, 1], "orientation must be 6 numbers"),
    ],
)
def test_a_slice_without_geometry(position, orientation, spacing, reason):
    with pytest.raises(ValueError, match=reason):
        to_pixels(np.zeros((2, 3)), position, orientation, spacing)


def test_placing_a_mark_that_is_on_its_slice():
    with pytest.raises(ValueError, match="must be in patient coordinates"):
        placed(FoundMark(np.zeros((2, 2))), [0, 0, 0], [1, 0, 0, 0, 1, 0], [1, 1])


def line(*ends):
    return np.array(ends, float)


def test_which_lines_cross_near_their_middles():
    across = line([0, 0], [10, 0])
    assert crossing(across, line([5, -4], [5, 4])) == 0
    assert crossing(across, line([3, -1], [3, 4])) == pytest.approx(0.3)
    assert crossing(across, line([0.5, -4], [0.5, 4])) is None  # near an end
    assert crossing(across, line([5, 1], [5, 4])) is None  # beside
    assert crossing(across, line([1, -4], [9, 4])) is None  # at 45 degrees
    assert crossing(across, line([0, 1], [10, 1])) is None  # parallel
    assert crossing(across, line([5, 0], [5, 0])) is None  # a point
    solid = line([0, 0, 0], [10, 0, 0])
    assert crossing(solid, line([5, -4, 0.5], [5, 4, 0.5])) == pytest.approx(0)
    assert crossing(solid, line([5, -4, 3], [5, 4, 3])) is None  # in another slice


def test_each_line_belongs_to_one_mark():
    long, short = line([0, 0], [10, 0]), line([5, -4], [5, 4])
    second = line([4, -4], [4, 4])  # crosses less near the middle
    far = line([50, 0], [60, 0])
    assert paired([short, second, far, long]) == [(3, 0), (1, None), (2, None)]
    assert paired([]) == [] and paired([long]) == [(0, None)]
    with pytest.raises(ValueError, match="at most 2000 lines"):
        paired([long] * (MOST_LINES + 1))


@pytest.mark.parametrize("repeat", range(3))
def test_pairs_of_many_marks(repeat):
    lines = []
    for i in range(40):
        middle = np.array([i % 8, i // 8]) * 50.0
        turn = random.uniform(0, np.pi)
        u = np.array([np.cos(turn), np.sin(turn)])
        v = np.array([-u[1], u[0]])
        lines.append(np.stack([middle - 12 * u, middle + 12 * u]))
        lines.append(np.stack([middle - 8 * v, middle + 8 * v]))
    order = random.permutation(80)
    found = paired([lines[i] for i in order])
    assert {(int(order[a]), int(order[b])) for a, b in found} == {
        (2 * i, 2 * i + 1) for i in range(40)
    }


def test_lengths_and_spacing_are_checked_not_believed():
    mark = FoundMark(
        line([0, 0], [30, 40]), line([10, 20], [20, 15]), long_mm=40.0, short_mm=9.0,
        written_spacing=(0.8, 0.8),
    )  # fmt: skip
    assert checked(mark, (0.8, 0.8)) == ()
    assert checked(mark, None) == ()
    assert checked(mark, (0.5, 0.8)) == (
        "the long axis is written as 40.00 mm, its ends are 31.24 mm apart",
        "the short axis is written as 9.00 mm, its ends are 8.38 mm apart",
        "the mark's file says 0.8 x 0.8 mm a pixel, its slice 0.5 x 0.8",
    )
    swapped = FoundMark(mark.short_axis, mark.long_axis)
    told = ("the axis that is called short is the longer one",)
    assert checked(swapped, None) == told and checked(swapped, (1, 1)) == told
    solid = FoundMark(None, world=np.array([[0, 0, 0], [0, 3, 4.0]]), long_mm=9.0)
    assert checked(solid, None) == (
        "the long axis is written as 9.00 mm, its ends are 5.00 mm apart",
    )


def test_rounded_lengths_agree():
    mark = FoundMark(line([0, 0], [0, 10.49]), long_mm=10.0)
    assert checked(mark, (1, 1)) == ()
    assert checked(FoundMark(line([0, 0], [0, 100]), long_mm=102.5), (1, 1)) != ()


@pytest.mark.parametrize(
    "numbers", [[], [1, 2, 3], ["a", 1], [None, 1], [np.inf, 1], [1e10, 1], [[1], 2], [10**400, 1]]
)
def test_coordinates_that_are_none(numbers):
    with pytest.raises(ValueError, match="coordinates must be"):
        points(numbers, 2)
