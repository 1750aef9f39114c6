"""Segmentation metrics: against the paper's formulas by hand, against MONAI, on empty masks."""

import math

import numpy as np
import pytest
import torch

from dsnet.metrics import (
    dice,
    evaluate_cases,
    hausdorff95,
    overlap_counts,
    ppv,
    sensitivity,
    soft_mask_mae,
    summarize,
    surface_dice,
)
from fresh_interpreter import printed


def random_masks(n=8, shape=(24, 20), seed=0):
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.05, 0.9, (n, 1, 1))
    return torch.from_numpy(rng.random((n, *shape)) < share)


def blobs(n=6, seed=0):
    """Discs of random place and size, as a segmentation has them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :40]
    masks = [(y - a) ** 2 + (x - b) ** 2 <= r**2 for a, b, r in rng.uniform(3, 28, (n, 3))]
    return torch.from_numpy(np.stack(masks))


def monai():
    return pytest.importorskip("monai.metrics", reason="MONAI is not installed")


def test_overlap_by_hand():
    truth = np.array([[1, 1, 1, 0], [0, 0, 0, 0]], np.uint8)
    prediction = np.array([[1, 1, 0, 0], [1, 1, 1, 0]], np.uint8)
    assert [int(t) for t in overlap_counts(prediction, truth)] == [2, 3, 1]
    assert dice(prediction, truth).item() == pytest.approx(4 / 8)
    assert sensitivity(prediction, truth).item() == pytest.approx(2 / 3)
    assert ppv(prediction, truth).item() == pytest.approx(2 / 5)


def test_soft_masks_are_cut_at_one_half():
    soft = torch.tensor([[0.5, 0.4999, 0.51, 0.0]])
    assert [int(t) for t in overlap_counts(soft, torch.tensor([[True, True, False, False]]))] == [
        1, 1, 1,
    ]  # fmt: skip


def test_overlap_equals_monai():
    metrics = monai()
    x, y = random_masks(seed=1)[:, None].float(), random_masks(seed=2)[:, None].float()
    assert torch.allclose(dice(x, y), metrics.compute_dice(x, y, ignore_empty=False)[:, 0].double())
    matrix = metrics.get_confusion_matrix(x, y, include_background=True)
    for ours, name in ((sensitivity, "sensitivity"), (ppv, "precision")):
        theirs = metrics.compute_confusion_matrix_metric(name, matrix)[:, 0].double()
        assert theirs.max() > 0
        assert torch.allclose(ours(x, y), theirs)


@pytest.mark.parametrize("make", [random_masks, blobs])
@pytest.mark.parametrize("spacing", [None, (0.7, 1.3)])
def test_surface_distances_equal_monai(make, spacing):
    metrics = monai()
    x, y = make(seed=3)[:, None], make(seed=4)[:, None]
    size = None if spacing is None else list(spacing)
    theirs = metrics.compute_hausdorff_distance(
        x, y, include_background=True, percentile=95, spacing=size
    )
    assert torch.allclose(hausdorff95(x, y, spacing), theirs[:, 0].double())
    theirs = metrics.compute_surface_dice(x, y, [1.5], include_background=True, spacing=size)
    assert torch.allclose(surface_dice(x, y, 1.5, spacing), theirs[:, 0].double())


def test_surface_distance_of_a_shifted_square():
    monai()
    truth, prediction = np.zeros((2, 20, 20), bool)
    truth[5:10, 5:10] = True
    prediction[5:10, 8:13] = True
    assert hausdorff95(prediction, truth).item() == pytest.approx(3)
    assert hausdorff95(prediction, truth, (1, 0.5)).item() == pytest.approx(1.5)
    assert surface_dice(prediction, truth, 3).item() == 1
    assert surface_dice(prediction, truth, 0).item() < 1


@pytest.mark.parametrize(
    ("prediction", "truth", "share", "distance"),
    [(0, 0, 1, 0), (0, 1, 0, 5), (1, 0, 0, 5)],
)
def test_empty_masks(prediction, truth, share, distance):
    x, y = torch.full((1, 3, 4), float(prediction)), torch.full((1, 3, 4), float(truth))
    for metric in (dice, sensitivity, ppv):
        assert metric(x, y).item() == share
    monai()
    assert surface_dice(x, y).item() == share
    assert hausdorff95(x, y).item() == distance  # The diagonal of 3 x 4.
    assert hausdorff95(x, y, (2, 2)).item() == 2 * distance


def test_empty_and_other_cases_in_one_batch():
    monai()
    x, y = blobs(4, seed=5), blobs(4, seed=6)
    x[1] = y[1] = False
    x[2] = False
    out = evaluate_cases(x.float(), y.float())
    for name, values in out.items():
        assert values.shape == (4,)
        assert values.isfinite().all()
        one = evaluate_cases(x[3:].float(), y[3:].float())[name]
        assert one.item() == values[3].item()
    assert out["hausdorff95"][2].item() == pytest.approx(math.hypot(32, 40))


def test_evaluate_cases_takes_its_own_binary_truth():
    soft = torch.tensor([[[0.9, 0.2]]])
    out = evaluate_cases(soft, torch.tensor([[[0.7, 0.6]]]), torch.tensor([[[True, False]]]),
                         surface=False)  # fmt: skip
    assert set(out) == {"dice", "sensitivity", "ppv", "soft_mask_mae"}
    assert out["dice"].item() == 1
    assert out["soft_mask_mae"].item() == pytest.approx(0.3)


def test_layouts_agree():
    x, y = random_masks(seed=7), random_masks(seed=8)
    expected = dice(x, y)
    assert torch.equal(dice(x[:, None], y[:, None]), expected)
    assert torch.equal(dice(x.numpy(), y.numpy()), expected)
    assert torch.equal(dice(x[0], y[0]), expected[:1])
    assert soft_mask_mae(x.float(), x.float()).abs().max() == 0


def test_summary_is_the_population_s():
    found = summarize([0.5, 1.0])
    assert found == (0.75, 0.25, 2)
    assert str(found) == "0.7500 ± 0.2500 (n=2)"
    assert summarize(torch.tensor([0.5, 1.0])) == found
    with pytest.raises(ValueError, match="values must hold at least one case, got none"):
        summarize([])


def test_bad_input_is_named():
    mask = np.zeros((4, 4), bool)
    with pytest.raises(ValueError, match=r"truth must have the shape .*, got \[5, 4\]"):
        dice(mask, np.zeros((5, 4), bool))
    with pytest.raises(ValueError, match=r"prediction must be .*, got \[2, 3, 4, 4\]"):
        dice(np.zeros((2, 3, 4, 4)), np.zeros((2, 3, 4, 4)))
    with pytest.raises(TypeError, match="prediction must be an array or a tensor, got list"):
        dice([[1]], mask)
    monai()
    with pytest.raises(ValueError, match="spacing must be two positive numbers"):
        hausdorff95(mask, mask, (0, 1))
    with pytest.raises(ValueError, match="tolerance must be 0 or more, got -1"):
        surface_dice(mask, mask, -1)


def test_importing_does_not_load_monai():
    code = "import sys, dsnet.metrics; print('monai' in sys.modules)"
    assert printed(code) == "False"
