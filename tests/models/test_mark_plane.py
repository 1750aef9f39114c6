"""The mark as a plane: against the edge model's frame, on known shapes, and what moves with it."""

import numpy as np
import pytest
import torch

from dsnet.labeling import RecistMark
from dsnet.labeling.recist import SHORTEST_AXIS
from dsnet.labeling.reference.edge_model import Frame
from dsnet.models import mark_plane
from dsnet.models.mark_plane import FARTHEST, INMOST
from dsnet.models.mark_plane import SHORTEST_AXIS as OURS


def plane(mark, shape, dtype=torch.float64):
    coordinates = torch.tensor(mark.assumed().coordinates, dtype=dtype)[None]
    return mark_plane(coordinates, shape)[0, 0].numpy()


def expected(mark, shape):
    """By the reference's frame, pixel by pixel."""
    frame = Frame.of(mark)
    across = np.array([-frame.along[1], frame.along[0]])
    found = np.empty(shape)
    for row in range(shape[0]):
        for column in range(shape[1]):
            off = np.array([column, row]) - frame.center
            u, v = off @ frame.along - frame.cross[0], off @ across - frame.cross[1]
            share = np.hypot(u / frame.half_u[int(u >= 0)], v / frame.half_v[int(v >= 0)])
            outside = np.hypot(u, v) * (1 - 1 / share) if share > 1e-3 else -np.inf
            found[row, column] = np.clip(outside / (frame.short / 2), INMOST, FARTHEST)
    return found


@pytest.mark.parametrize("seed", range(12))
def test_it_is_the_edge_model_s_distance(seed):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 30)), int(rng.integers(1, 30)))
    coordinates = rng.uniform(-5, 30, 8)
    if seed % 3 == 0:
        coordinates[4:] = np.nan  # the short axis is unknown
    if seed == 1:
        coordinates[2:4] = coordinates[:2]
        coordinates[6:] = coordinates[4:6]  # a point
    mark = RecistMark.from_coordinates(coordinates)
    np.testing.assert_allclose(plane(mark, shape), expected(mark, shape), atol=1e-9)
    single = plane(mark, shape, torch.float32)
    np.testing.assert_allclose(single, expected(mark, shape), atol=2e-3)
    swapped = RecistMark.from_coordinates(coordinates[[2, 3, 0, 1, 6, 7, 4, 5]])
    np.testing.assert_allclose(plane(swapped, shape), plane(mark, shape), atol=1e-9)


def test_a_circle_s_distance_is_in_radii():
    mark = RecistMark.from_coordinates([10, 20, 30, 20, 20, 10, 20, 30])
    found = plane(mark, (41, 41))
    y, x = np.mgrid[:41, :41]
    radius = np.hypot(x - 20, y - 20)
    np.testing.assert_allclose(found, np.clip((radius - 10) / 10, -1, 1.5), atol=1e-9)
    assert found[20, 20] == -1 and found[20, 10] == pytest.approx(0) and found[0, 0] == 1.5


def test_a_row_of_nan_marks_nothing():
    marks = torch.full((2, 8), torch.nan)
    marks[1] = torch.tensor([2.0, 3, 6, 3, 4, 1, 4, 5])
    found = mark_plane(marks, (7, 9))
    assert found.shape == (2, 1, 7, 9) and found.dtype == torch.float32
    assert (found[0] == FARTHEST).all() and found[1].min() == INMOST
    assert mark_plane(marks[:0], (7, 9)).shape == (0, 1, 7, 9)


def test_a_plane_that_is_enlarged_is_that_of_the_enlarged_mark():
    mark = RecistMark.from_coordinates([12, 20, 30, 24, 22, 15, 19, 30])
    coarse = torch.from_numpy(plane(mark, (40, 40)))[None, None]
    fine = plane(mark.scaled(2, 2), (80, 80))
    shown = torch.nn.functional.interpolate(coarse, scale_factor=2, mode="bilinear")[0, 0].numpy()
    assert np.abs(shown - fine).mean() < 0.01


def test_it_moves_with_the_image():
    mark = RecistMark.from_coordinates([4, 6, 14, 9, 8, 3, 9, 12])
    flipped = mark.coordinates.copy()
    flipped[0::2] = 18 - flipped[0::2]
    np.testing.assert_allclose(
        plane(RecistMark.from_coordinates(flipped), (17, 19)), plane(mark, (17, 19))[:, ::-1]
    )


def test_the_shortest_axis_is_the_labels_own():
    assert OURS == SHORTEST_AXIS
