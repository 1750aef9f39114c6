"""Scores that let a person sort a million labels: the worst ones are looked at first.

Every score lies in 0..1 and 1 is good. A label holds the scores that apply to it: one made
from a mask has no mark to agree with. `overall` is their geometric mean, so that one
score of zero puts the label at the bottom of the pile.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from dsnet import _C
from dsnet.labeling.constants import FOREGROUND, UNKNOWN
from dsnet.labeling.recist import RecistMark

QUALITY_SCORES = {
    "axes_agreement": "the result's extent along the mark's two axes, against the mark's own "
    "(mean over both axes of shorter / longer)",
    "mark_inside": "share of the mark's quadrilateral that the binary mask covers",
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
    "overall": "geometric mean of the others",
}


def recist_scores(
    axes_agreement: float, mark_inside: float, mark_soundness: float, known_fraction: float,
    edge_contrast: float, in_one_piece: float, border_clearance: float, cut: float,
    solver_convergence: float, overall: float,
) -> dict[str, float]:  # fmt: skip
    """Scores of a label from a RECIST mark, in the order in which the compiled code gives them."""
    # A display with constant keys: a third of dict(zip())'s time, which every label pays.
    return {
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


_RING = 3.0


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
        rater_agreement=_rater_agreement(raters),
        cut_worked=cut_worked,
        converged=converged,
        residual=residual,
        rtol=rtol,
    )


def score_reference(
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
    """`score` in NumPy and SciPy, for its tests: equal within rounding."""
    binary = alpha >= 0.5
    scores: dict[str, float] = {}
    if mark is not None:
        scores["axes_agreement"] = _axes_agreement(binary, mark)
        core = mark.quadrilateral_mask(binary.shape)
        scores["mark_inside"] = float(binary[core].mean()) if core.any() else 0.0
        scores["mark_soundness"] = 0.5 ** len(mark.problems(binary.shape))
    if reference is not None:
        scores["mask_agreement"] = _dice(binary, reference)
    agreement = _rater_agreement(raters)
    if agreement is not None:
        scores["rater_agreement"] = agreement
    sure, unknown = int((trimap == FOREGROUND).sum()), int((trimap == UNKNOWN).sum())
    scores["known_fraction"] = sure / (sure + unknown) if sure else 0.0
    scores["edge_contrast"] = _edge_contrast(image, binary)
    scores["in_one_piece"] = _in_one_piece(binary)
    scores["border_clearance"] = _border_clearance(binary)
    if cut_worked is not None:
        scores["cut"] = float(cut_worked)
    scores["solver_convergence"] = 1.0 if converged else _decades(residual, rtol)
    values = np.array(list(scores.values()))
    scores["overall"] = float(np.exp(np.log(values).mean())) if (values > 0).all() else 0.0
    return scores


def _rater_agreement(raters: np.ndarray | None) -> float | None:
    if raters is None or len(raters) < 2:
        return None
    pairs = [(i, j) for i in range(len(raters)) for j in range(i)]
    return float(np.mean([_dice(raters[i], raters[j]) for i, j in pairs]))


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else 1.0


def _axes_agreement(binary: np.ndarray, mark: RecistMark) -> float:
    row, column = np.nonzero(binary)
    if row.size == 0:
        return 0.0
    along, across = mark.directions
    ratios = []
    for direction, axis in ((along, mark.long_axis), (across, mark.short_axis)):
        # Pixel squares reach beyond their centres, by this much in that direction.
        reach = 0.5 * np.abs(direction).max()
        extent = column * direction[0] + row * direction[1]
        found = float(extent.max() - extent.min()) + 2 * reach
        drawn = max(float(abs((axis[1] - axis[0]) @ direction)), 1.0)
        ratios.append(min(found, drawn) / max(found, drawn))
    return float(np.mean(ratios))


def _edge_contrast(image: np.ndarray, binary: np.ndarray) -> float:
    if not binary.any() or binary.all():
        return 0.0
    distance = _C.distance_squared(~binary)
    ring = (distance > 1.0) & (distance <= (_RING + 1.0) ** 2)
    if not ring.any():
        ring = ~binary
    inside, outside = image[binary].astype(np.float64), image[ring].astype(np.float64)
    difference = abs(inside.mean() - outside.mean())
    spread = np.sqrt((inside.var() + outside.var()) / 2)
    return float(difference / (difference + spread)) if difference > 0 else 0.0


def _in_one_piece(binary: np.ndarray) -> float:
    parts, count = ndimage.label(binary, structure=np.ones((3, 3)))
    if count == 0:
        return 0.0
    return float(np.bincount(parts.ravel())[1:].max() / binary.sum())


def _border_clearance(binary: np.ndarray) -> float:
    if not binary.any():
        return 1.0
    padded = np.pad(binary, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    outline = binary & ~inner
    border = np.zeros_like(binary)
    border[[0, -1]] = True
    border[:, [0, -1]] = True
    return 1.0 - float((outline & border).sum() / outline.sum())


def _decades(residual: float, rtol: float) -> float:
    if not 0.0 < residual < 1.0 or not 0.0 < rtol < 1.0:
        return 0.0
    return float(np.clip(np.log(residual) / np.log(rtol), 0.0, 1.0))
