"""A label of a RECIST mark, stage by stage."""

from __future__ import annotations

import time

import numpy as np

from dsnet.labeling.arguments import as_image, require_touching
from dsnet.labeling.cut import cut_recist
from dsnet.labeling.edge_model import edge_network
from dsnet.labeling.matting.closed_form import DEFAULT_RTOL, closed_form_matting
from dsnet.labeling.notes import doubts, with_assumed
from dsnet.labeling.quality import score
from dsnet.labeling.recist import RecistMark
from dsnet.labeling.reference.edge_model import lesion_evidence
from dsnet.labeling.reference.expected_dice import ELLIPSE_DICE, expected_dice
from dsnet.labeling.soft_mask import PRIOR_WEIGHT, SoftLabel
from dsnet.labeling.trimap import trimap_from_cut


def label_recist_by_stages(image: np.ndarray, mark: RecistMark) -> SoftLabel:
    """`label_recist` from its stages' own functions: equal but for rounding."""
    image = as_image(image)
    require_touching(mark, image.shape)
    notes = mark.problems(image.shape)

    start = time.perf_counter()
    cut = cut_recist(image, mark)
    seconds = {"cut": time.perf_counter() - start}
    if cut.fallback:
        notes.append(f"cut fell back on the axes' ellipse: {cut.fallback}")

    start = time.perf_counter()
    trimap = trimap_from_cut(cut, mark)
    seconds["trimap"] = time.perf_counter() - start

    # Matting sees grey values alone; what the cut knows besides is its prior.
    prior = 1 / (1 + np.exp(-cut.log_odds.astype(np.float64)))
    alpha, info = closed_form_matting(image, trimap, prior=prior, prior_weight=PRIOR_WEIGHT)
    seconds["matting"] = info.seconds
    constant = float(image.min()) == float(image.max())

    # Each pixel keeps the cut's side of one half.
    below_half = np.nextafter(np.float32(0.5), np.float32(0))
    alpha = np.where(cut.mask, np.maximum(alpha, 0.5), np.minimum(alpha, below_half))
    alpha = alpha.astype(np.float32)
    empty = not cut.mask.any()
    notes += doubts(constant, empty, info.converged, info.iterations, info.residual)
    pixels = int(np.count_nonzero(cut.mask))
    if pixels == 0:
        expected = low = 0.0
    elif cut.fallback:
        expected, low = ELLIPSE_DICE
    else:
        evidence = lesion_evidence(image.astype(np.float32), mark).expected_dice
        expected, low = expected_dice(edge_network(), mark, evidence, pixels)
    quality = {"expected_dice": expected, "expected_dice_low": low} | score(
        image,
        alpha,
        trimap,
        mark=mark,
        cut_worked=not cut.fallback,
        converged=info.converged,
        residual=info.residual,
        rtol=DEFAULT_RTOL,
    )
    label = SoftLabel(alpha, alpha >= 0.5, trimap, quality, seconds, tuple(notes))
    return with_assumed(label, mark.coordinates)
