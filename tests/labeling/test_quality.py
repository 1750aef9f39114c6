import numpy as np
import pytest

from dsnet.labeling import BACKGROUND, FOREGROUND, UNKNOWN, RecistMark, recist_from_mask
from dsnet.labeling.quality import QUALITY_SCORES, score


def square(size=40, low=12, high=28):
    alpha = np.zeros((size, size), np.float32)
    alpha[low:high, low:high] = 1
    trimap = np.full(alpha.shape, BACKGROUND, np.uint8)
    trimap[low - 1 : high + 1, low - 1 : high + 1] = UNKNOWN
    trimap[low + 1 : high - 1, low + 1 : high - 1] = FOREGROUND
    return alpha, trimap


def test_a_perfect_label_scores_one_but_for_its_unknown_band():
    alpha, trimap = square()
    mark = RecistMark.from_coordinates([11.5, 19.5, 27.5, 19.5, 19.5, 11.5, 19.5, 27.5])
    scores = score(alpha, alpha, trimap, mark=mark, reference=alpha > 0.5, cut_worked=True)
    assert scores["known_fraction"] == pytest.approx(14**2 / 18**2)
    assert 0.9 < scores["overall"] < 1
    for name in set(scores) - {"known_fraction", "overall"}:
        assert scores[name] == pytest.approx(1), name
    assert set(scores) <= set(QUALITY_SCORES)


def test_axes_agreement_is_the_ratio_of_extents():
    alpha, trimap = square()
    mark = RecistMark.from_coordinates([3.5, 19.5, 35.5, 19.5, 19.5, 15.5, 19.5, 23.5])
    found = score(alpha, alpha, trimap, mark=mark)["axes_agreement"]
    assert found == pytest.approx((16 / 32 + 8 / 16) / 2)


def test_every_score_falls_for_its_fault():
    alpha, trimap = square()
    mark = recist_from_mask(alpha)
    image = alpha.copy()
    good = score(image, alpha, trimap, mark=mark)

    pieces = alpha.copy()
    pieces[2:8, 2:8] = 1
    assert score(image, pieces, trimap)["in_one_piece"] == pytest.approx(256 / (256 + 36))
    assert score(np.full_like(image, 0.5), alpha, trimap)["edge_contrast"] == 0
    noisy = image + np.random.default_rng(0).normal(0, 0.5, image.shape)
    assert score(noisy, alpha, trimap)["edge_contrast"] < 0.8 * good["edge_contrast"]
    cut_off, _ = square(low=12, high=28)
    cut_off[:, 28:] = 1
    assert score(image, cut_off, trimap)["border_clearance"] < 0.9
    assert score(image, alpha, trimap, cut_worked=False)["overall"] == 0
    stopped = score(image, alpha, trimap, converged=False, residual=1e-3, rtol=1e-6)
    assert stopped["solver_convergence"] == pytest.approx(0.5)
    raters = np.stack([alpha > 0.5, np.zeros(alpha.shape, bool), alpha > 0.5])
    assert score(image, alpha, trimap, raters=raters)["rater_agreement"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 4)])
def test_empty_and_full_labels_have_finite_scores(shape, value):
    alpha = np.full(shape, value, np.float32)
    mark = RecistMark.from_coordinates([0, 0, 3, 0, 1, 1, 1, 0])
    for trimap_value in (BACKGROUND, UNKNOWN, FOREGROUND):
        trimap = np.full(shape, trimap_value, np.uint8)
        scores = score(alpha, alpha, trimap, mark=mark, reference=alpha > 0.5)
        assert all(0 <= s <= 1 for s in scores.values()), scores
