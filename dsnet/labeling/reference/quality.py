"""Scores of a label, by SciPy."""

from __future__ import annotations

import numpy as np

from dsnet import _C
from dsnet.labeling.constants import FOREGROUND, UNKNOWN
from dsnet.labeling.points import dot
from dsnet.labeling.quality import dice, rater_agreement
from dsnet.labeling.recist import RecistMark
from dsnet.labeling.reference.parts import connected_parts

_RING = 3.0


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
    """`score` in NumPy and SciPy: equal within rounding."""
    binary = alpha >= 0.5
    scores: dict[str, float] = {}
    if mark is not None:
        scores["axes_agreement"] = _axes_agreement(binary, mark)
        core = _marked(mark, binary.shape)
        scores["mark_inside"] = float(binary[core].mean()) if core.any() else 0.0
        scores["mark_soundness"] = 0.5 ** len(mark.problems(binary.shape))
    if reference is not None:
        scores["mask_agreement"] = dice(binary, reference)
    agreement = rater_agreement(raters)
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


def _marked(mark: RecistMark, shape: tuple[int, int]) -> np.ndarray:
    """The mark's quadrilateral; of a long axis alone its line, up to half a pixel from its ends."""
    if mark.short_axis is not None:
        return mark.quadrilateral_mask(shape)
    along, _ = mark.directions
    step = min(0.5, mark.long_diameter / 2) * along
    line = mark.long_axis + np.array([step, -step])
    return RecistMark(line, line).axes_mask(shape)


def _axes_agreement(binary: np.ndarray, mark: RecistMark) -> float:
    row, column = np.nonzero(binary)
    if row.size == 0:
        return 0.0
    along, across = mark.directions
    ratios = []
    for direction, axis in ((along, mark.long_axis), (across, mark.short_axis)):
        if axis is None:
            continue
        # Pixel squares reach beyond their centres, by this much in that direction.
        reach = 0.5 * np.abs(direction).max()
        extent = column * direction[0] + row * direction[1]
        found = float(extent.max() - extent.min()) + 2 * reach
        drawn = max(float(abs(dot(axis[1] - axis[0], direction))), 1.0)
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
    parts, count = connected_parts(binary, np.ones((3, 3)))
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
