"""Where a soft mask is best cut: by one histogram, what cutting it at each threshold gives."""

import math

import numpy as np
import pytest
import torch

from dsnet.metrics import THRESHOLD_GRID, Chosen, choose_threshold, dice, dice_by_threshold


def masks(seed, n=5, shape=(9, 13), dtype=torch.float32):
    """Soft masks with many values just on thresholds, and truths with an empty and a full one."""
    rng = np.random.default_rng(seed)
    values = np.where(
        rng.random((n, *shape)) < 0.5,
        rng.integers(0, 101, (n, *shape)) / 100,
        rng.random((n, *shape)),
    )
    soft = torch.from_numpy(values).to(dtype)
    truth = torch.from_numpy(rng.random((n, *shape)) < rng.random((n, 1, 1)))
    truth[0], truth[1] = False, True
    soft[2] = 0
    return soft, truth


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(9, 13), (1, 1), (32, 1)])
def test_the_histogram_is_the_cut_at_each_threshold(dtype, shape):
    soft, truth = masks(1, shape=shape, dtype=dtype)
    found = dice_by_threshold(soft, truth)
    assert found.shape == (5, 91) and found.dtype == torch.float64
    for k, at in enumerate(THRESHOLD_GRID):
        assert torch.equal(found[:, k], dice(soft >= at, truth)), at


def test_odd_masks():
    soft, truth = masks(2)
    soft[3, 0, 0] = math.nan
    levels = (0.25, 0.5, 1.0)
    found = dice_by_threshold(soft[:, None], truth[:, None], levels)
    for k, at in enumerate(levels):
        assert torch.equal(found[:, k], dice(soft >= at, truth))
    empty, full = torch.zeros(1, 3, 4), torch.ones(1, 3, 4)
    assert dice_by_threshold(empty, empty, levels).tolist() == [[1.0, 1.0, 1.0]]
    assert dice_by_threshold(full, empty, levels).tolist() == [[0.0, 0.0, 0.0]]
    assert dice_by_threshold(full, full, levels).tolist() == [[1.0, 1.0, 1.0]]
    assert dice_by_threshold(full == 1, full, levels).tolist() == [[1.0, 1.0, 1.0]]
    one = dice_by_threshold(np.array([[0.3, 0.7, 0.9]]), np.array([[0.0, 0.5, 0.2]]), (0.2, 0.8))
    assert one.tolist() == [[2 / 4, 0.0]]
    assert dice_by_threshold(soft[:0], truth[:0]).shape == (0, 91)


def test_the_greatest_mean_is_chosen():
    soft, truth = masks(3, n=7)
    chosen = choose_threshold(dice_by_threshold(soft, truth))
    means = {at: float(dice(soft >= at, truth).mean()) for at in THRESHOLD_GRID}
    assert chosen.dice == pytest.approx(max(means.values()), abs=1e-12)
    assert means[chosen.threshold] == pytest.approx(chosen.dice, abs=1e-12)
    # A mask that is too tight is cut lower.
    y, x = np.mgrid[:32, :32]
    distance = np.hypot(y - 15.5, x - 15.5)
    disc, tight = distance <= 10, 1 / (1 + np.exp(distance - 8.5))
    at = choose_threshold(dice_by_threshold(tight, disc)).threshold
    assert 0.1 < at < 0.4 and np.array_equal(tight >= at, disc)


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ([0.9, 0.9, 0.9, 0.9, 0.9], 0.5),
        ([0.9, 0.8, 0.7, 0.8, 0.9], 0.1),  # both as near: the lower one
        ([0.1, 0.9, 0.2, 0.9, 0.1], 0.45),
        ([0.9, 0.1, 0.1, 0.9, 0.1], 0.55),
        ([0.1, 0.1, 0.1, 0.1, 0.2], 0.9),
    ],
)
def test_of_equal_thresholds_the_nearest_to_one_half(means, expected):
    levels = (0.1, 0.45, 0.5, 0.55, 0.9)
    found = choose_threshold(torch.tensor([means, means], dtype=torch.float64), levels)
    assert found == Chosen(expected, max(means))


def test_what_is_wrong_is_named():
    mask = torch.zeros(1, 2, 2)
    for levels in ((), (0.0, 0.5), (0.5, 0.5), (0.6, 0.5), (1.5,), (math.nan,)):
        with pytest.raises(ValueError, match="thresholds must be growing numbers above 0"):
            dice_by_threshold(mask, mask, levels)
        with pytest.raises(ValueError, match="thresholds must be growing numbers above 0"):
            choose_threshold(mask[0].double(), levels)
    for bad in (torch.zeros(0, 91), torch.zeros(2, 90), torch.zeros(91)):
        with pytest.raises(ValueError, match=r"dice must be \[N, 91\] with N of at least 1"):
            choose_threshold(bad)
    with pytest.raises(ValueError, match="truth must have the shape of prediction"):
        dice_by_threshold(mask, mask[:, :1])
