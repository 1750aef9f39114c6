"""Scores that let a person sort a million labels: the worst ones are looked at first.

Every score lies in 0..1 and 1 is good. A label holds the scores that apply to it: one made
from a mask has no mark to agree with, and a short axis that was assumed blames none. A label from a
mark is ranked by `expected_dice`; one from masks, which a reader drew, by `overall`, the scores'
geometric mean, so that one score of zero puts it at the bottom of the pile.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from dsnet import _C
from dsnet.labeling.recist import RecistMark

QUALITY_SCORES = {
    "expected_dice": "the Dice that the label may have with what careful readers agree on "
    "(strategy 3), calibrated on four readers' 50 % consensus and marks as people draw them",
    "expected_dice_low": "what that Dice exceeds in nine labels of ten",
    "axes_agreement": "the result's extent along the mark's two axes, against the mark's own "
    "(mean over both axes of shorter / longer; of the long axis, where the short one is unknown)",
    "mark_inside": "share of the mark's quadrilateral (of a long axis alone: of its line) that "
    "the binary mask covers",
    "mask_agreement": "Dice of the binary mask with the mask it was made from (strategy 1), "
    "or with the raters' 50 % consensus (strategy 2)",
    "rater_agreement": "mean Dice over pairs of raters; empty masks count (strategy 2)",
    "known_fraction": "share of the trimap's lesion and unknown pixels that is sure lesion",
    "edge_contrast": "grey difference between the lesion's inside and a ring of 3 pixels "
    "around it, over itself plus the spread of both",
    "in_one_piece": "share of the binary mask in its largest connected part",
    "border_clearance": "1 less the share of the binary mask's outline on the crop's border",
    "cut": "1 where the cut worked, 0 where it fell back on the axes' ellipse",
    "mark_soundness": "halved for each oddity of the mark: a zero-length axis, axes that do "
    "not cross or are far from perpendicular, end points outside the crop",
    "solver_convergence": "1 where the matting solver converged, else the share of the asked "
    "decades of residual that it reached",
    "overall": "geometric mean of the others but the expected Dice",
}


def ranking(quality: Mapping[str, float | None]) -> float | None:
    """What labels are sorted and left out by: the expected Dice, or else the overall score.

    None where neither is known.
    """
    for name in ("expected_dice", "overall"):
        score = quality.get(name)
        if score is not None and math.isfinite(score):
            return score
    return None


def recist_scores(
    expected_dice: float, expected_dice_low: float,
    axes_agreement: float, mark_inside: float, mark_soundness: float, known_fraction: float,
    edge_contrast: float, in_one_piece: float, border_clearance: float, cut: float,
    solver_convergence: float, overall: float,
) -> dict[str, float]:  # fmt: skip
    """Scores of a label from a RECIST mark, in the order in which the compiled code gives them."""
    # A display with constant keys: a third of dict(zip())'s time, which every label pays.
    return {
        "expected_dice": expected_dice,
        "expected_dice_low": expected_dice_low,
        "axes_agreement": axes_agreement,
        "mark_inside": mark_inside,
        "mark_soundness": mark_soundness,
        "known_fraction": known_fraction,
        "edge_contrast": edge_contrast,
        "in_one_piece": in_one_piece,
        "border_clearance": border_clearance,
        "cut": cut,
        "solver_convergence": solver_convergence,
        "overall": overall,
    }


def score(
    image: np.ndarray,
    alpha: np.ndarray,
    trimap: np.ndarray,
    *,
    mark: RecistMark | None = None,
    reference: np.ndarray | None = None,
    raters: np.ndarray | None = None,
    cut_worked: bool | None = None,
    converged: bool = True,
    residual: float = 0.0,
    rtol: float = 1e-6,
) -> dict[str, float]:
    """The scores of one label, by the names of `QUALITY_SCORES`.

    Parameters
    ----------
    image, alpha : ndarray [H, W], float
        Taken as float32.
    trimap : ndarray [H, W], uint8
    mark : RecistMark, optional
        What the label was made from (strategy 3).
    reference : ndarray [H, W], bool, optional
        The mask or consensus that it was made from (strategies 1 and 2).
    raters : ndarray [R, H, W], bool, optional
    cut_worked : bool, optional
    converged, residual, rtol
        Of the matting solver.

    Raises
    ------
    TypeError, ValueError
        When an array has another dtype or shape.
    """
    return _C.quality(
        np.ascontiguousarray(image, dtype=np.float32),
        np.ascontiguousarray(alpha, dtype=np.float32),
        trimap,
        mark=None if mark is None else mark.coordinates,
        reference=reference,
        rater_agreement=rater_agreement(raters),
        cut_worked=cut_worked,
        converged=converged,
        residual=residual,
        rtol=rtol,
    )


def rater_agreement(raters: np.ndarray | None) -> float | None:
    """Mean Dice over pairs of masks [R, H, W]; None where there is no pair."""
    if raters is None or len(raters) < 2:
        return None
    pairs = [(i, j) for i in range(len(raters)) for j in range(i)]
    return float(np.mean([dice(raters[i], raters[j]) for i, j in pairs]))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of two bool arrays; 1 where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else 1.0
