"""Segmentation metrics: against the paper's formulas by hand, against MONAI, on empty masks."""

import math

import numpy as np
import pytest
import torch

from dsnet.metrics import (
    brier_score,
    calibration_error,
    dice,
    evaluate_cases,
    hausdorff95,
    overlap_counts,
    ppv,
    sensitivity,
    soft_dice,
    soft_mask_mae,
    summarize,
    surface_dice,
    threshold_dice,
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
    assert set(out) == {
        "dice", "sensitivity", "ppv", "soft_mask_mae", "brier", "calibration_error",
    }  # fmt: skip
    assert out["dice"].item() == 1
    assert out["soft_mask_mae"].item() == pytest.approx(0.3)
    assert out["brier"].item() == pytest.approx((0.1**2 + 0.2**2) / 2)
    assert out["calibration_error"].item() == pytest.approx((0.1 + 0.2) / 2)


def test_evaluate_cases_takes_its_own_mask_and_chances():
    soft, truth = torch.tensor([[[0.9, 0.2]]] * 2), torch.tensor([[[True, True]]] * 2)
    soft[1, 0, 0] = math.nan
    half = evaluate_cases(soft, truth.float(), truth, surface=False)
    assert half["dice"].tolist() == pytest.approx([2 / 3, 0])
    lower = evaluate_cases(soft, truth.float(), truth, found=soft >= 0.2, surface=False)
    assert lower["dice"].tolist() == pytest.approx([1, 2 / 3])
    assert lower["sensitivity"].tolist() == [1, 0.5] and lower["ppv"].tolist() == [1, 1]
    share = torch.tensor([[[0.75, 0.25]]] * 2)
    found = evaluate_cases(soft, truth.float(), truth, chance=share, surface=False)
    assert found["brier"][0].item() == pytest.approx((0.15**2 + 0.05**2) / 2)
    assert found["calibration_error"][0].item() == pytest.approx((0.15 + 0.05) / 2)
    for name in ("brier", "calibration_error", "soft_mask_mae"):
        assert math.isnan(found[name][1])
    # A soft truth alone is cut for both.
    alone = evaluate_cases(soft[:1], share[:1], surface=False)
    assert alone["brier"].item() == pytest.approx((0.1**2 + 0.2**2) / 2)


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


def soft_masks(n=6, shape=(17, 23), seed=0):
    """Soft masks with flat zeros and ones, and their votes of ten: values on every threshold."""
    rng = np.random.default_rng(seed)
    soft = np.clip(rng.normal(0.4, 0.5, (n, *shape)), 0, 1)
    votes = rng.binomial(10, soft) / 10
    return torch.from_numpy(soft), torch.from_numpy(votes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_threshold_dice_is_the_literal_mean(dtype):
    soft, votes = (mask.to(dtype) for mask in soft_masks())
    found = threshold_dice(soft, votes)
    for x, y, ours in zip(soft.tolist(), votes.tolist(), found.tolist(), strict=True):
        total = 0.0
        for k in range(1, 10):
            x_in = {(r, c) for r, row in enumerate(x) for c, v in enumerate(row) if v >= k / 10}
            # Votes are whole tenths, whatever their precision.
            y_in = {
                (r, c) for r, row in enumerate(y) for c, v in enumerate(row) if round(10 * v) >= k
            }
            total += 2 * len(x_in & y_in) / (len(x_in) + len(y_in))
        assert ours == pytest.approx(total / 9)


def test_threshold_dice_equals_monai():
    metrics = monai()
    soft, votes = (mask[:, None].float() for mask in soft_masks(seed=3))
    theirs = [
        metrics.compute_dice((soft >= t).float(), (votes >= t).float(), ignore_empty=False)[:, 0]
        for t in (0.25, 0.55, 0.85)
    ]
    found = threshold_dice(soft, votes, thresholds=(0.25, 0.55, 0.85))
    assert torch.allclose(found, torch.stack(theirs).double().mean(0))
    # Binary masks are themselves at every threshold.
    hard = (soft > 0.5, votes > 0.5)
    assert torch.allclose(threshold_dice(*hard), dice(*hard))


def test_soft_dice_by_the_formula():
    soft, votes = soft_masks(seed=1)
    for x, y, ours in zip(soft, votes, soft_dice(soft, votes).tolist(), strict=True):
        x, y = x.flatten().tolist(), y.flatten().tolist()
        apart = sum(abs(a - b) for a, b in zip(x, y, strict=True))
        assert ours == pytest.approx((sum(x) + sum(y) - apart) / (sum(x) + sum(y)))
    metrics = monai()
    x, y = random_masks(seed=1)[:, None].float(), random_masks(seed=2)[:, None].float()
    theirs = metrics.compute_dice(x, y, ignore_empty=False)[:, 0]
    assert torch.allclose(soft_dice(x, y), theirs.double())


def test_soft_dice_and_brier_are_at_their_best_at_the_truth():
    _, votes = soft_masks(n=1, seed=2)
    assert soft_dice(votes, votes).item() == 1 and brier_score(votes, votes).item() == 0
    rng = np.random.default_rng(0)
    for scale in (1e-3, 0.05, 0.5):
        other = (votes + torch.from_numpy(rng.normal(0, scale, votes.shape))).clamp(0, 1)
        assert soft_dice(other, votes) < 1 and brier_score(other, votes) > 0
    hard = (votes >= 0.5).double()
    assert soft_dice(hard, votes) < 1
    # The usual soft Dice takes the hard mask for better than the truth itself.
    usual = [2 * (x * votes).sum() / (x.sum() + votes.sum()) for x in (hard, votes)]
    assert usual[0] > usual[1]


def test_brier_score_equals_monai_and_the_formula():
    metrics = monai()
    soft, votes = soft_masks(seed=4)
    truth = votes >= 0.5
    theirs = metrics.MSEMetric()(soft[:, None], truth[:, None].double())[:, 0]
    assert torch.allclose(brier_score(soft, truth), theirs)
    by_hand = brier_score(np.array([[0.25, 1.0]]), np.array([[True, False]])).item()
    assert by_hand == pytest.approx((0.75**2 + 1) / 2)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_by_its_words(bins):
    soft, votes = soft_masks(seed=5)
    truth = votes >= 0.5
    for x, y, ours in zip(soft, truth, calibration_error(soft, truth, bins).tolist(), strict=True):
        pixels = list(zip(x.flatten().tolist(), y.flatten().tolist(), strict=True))
        total = 0.0
        for k in range(bins):
            held = [(p, t) for p, t in pixels if min(int(p * bins), bins - 1) == k]
            if held:
                gap = sum(p for p, _ in held) / len(held) - sum(t for _, t in held) / len(held)
                total += len(held) / len(pixels) * abs(gap)
        assert ours == pytest.approx(total)


def test_calibration_error_equals_monai():
    metrics = monai()
    rng = np.random.default_rng(6)
    soft = torch.from_numpy(rng.uniform(0.001, 0.999, (4, 1, 30, 31)))
    truth = torch.from_numpy(rng.random(soft.shape) < soft.numpy() ** 1.5).double()
    predicted, wanted, counts = metrics.calibration_binning(soft, truth, num_bins=10, right=True)
    share = counts / counts.sum(-1, keepdim=True)
    theirs = ((predicted - wanted).abs() * share).sum(-1)[:, 0]
    assert torch.allclose(calibration_error(soft, truth), theirs.double(), atol=1e-6)


def test_a_calibrated_mask_has_no_error():
    # In each row so many pixels are lesion as its value says.
    soft = (torch.arange(0, 11) / 10)[:, None].expand(11, 10)
    truth = torch.arange(10)[None] < torch.arange(0, 11)[:, None]
    assert calibration_error(soft, truth).item() == pytest.approx(0, abs=1e-7)
    assert calibration_error(1 - soft, truth).item() > 0.3


def test_soft_metrics_of_empty_and_full():
    empty, full = torch.zeros(1, 5, 5), torch.ones(1, 5, 5)
    for metric in (threshold_dice, soft_dice):
        assert metric(empty, empty).item() == 1 and metric(full, full).item() == 1
        assert metric(empty, full).item() == 0 and metric(full, empty).item() == 0
    for metric in (brier_score, calibration_error):
        assert metric(empty, empty).item() == 0 and metric(full, full).item() == 0
        assert metric(empty, full).item() == 1 and metric(full, empty).item() == 1
    one = np.ones((1, 1))
    assert soft_dice(one, one / 4).item() == pytest.approx(0.4)


@pytest.mark.parametrize("metric", [threshold_dice, soft_dice, brier_score, calibration_error])
def test_soft_metrics_name_what_is_wrong(metric):
    good, bad = torch.full((2, 3, 3), 0.5), torch.full((2, 3, 3), 0.5)
    bad[1, 2, 2] = math.nan
    with pytest.raises(ValueError, match=r"prediction must be in 0..1, got values outside or NaN"):
        metric(bad, good)
    with pytest.raises(ValueError, match=r"truth must be in 0..1, got values outside or NaN"):
        metric(good, good + 1)
    with pytest.raises(ValueError, match="truth must have the shape of prediction"):
        metric(good, good[:1])
    with pytest.raises(TypeError, match="prediction must be an array or a tensor, got list"):
        metric([1], good)


def test_thresholds_and_bins_are_checked():
    mask = torch.ones(1, 2, 2)
    for thresholds in ((), (0.5, 0.0), (1.5,), (math.nan,)):
        with pytest.raises(ValueError, match="thresholds must be one or more numbers above 0"):
            threshold_dice(mask, mask, thresholds)
    for bins in (0, 2.5):
        with pytest.raises(ValueError, match="bins must be a whole number of 1 or more, got"):
            calibration_error(mask, mask, bins)
