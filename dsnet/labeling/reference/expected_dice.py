"""What Dice a label from a mark may have with what careful readers agree on."""

from __future__ import annotations

import numpy as np

from dsnet.labeling.edge_model import EdgeNetwork
from dsnet.labeling.recist import RecistMark

# What the axes' ellipse reaches under marks that people draw, in one of twenty and of a hundred.
ELLIPSE_DICE = 0.64, 0.45


def what_is_known(mark: RecistMark, evidence: float, pixels: int) -> np.ndarray:
    """Five numbers, float64, that the expected Dice follows from.

    `evidence`: the evidence's own expected Dice; `pixels`: of the lesion.
    """
    share = np.clip(evidence, 0.01, 0.999)
    long, short = max(mark.long_diameter, 1.0), max(mark.assumed().short_diameter, 1.0)
    return np.array(
        [
            1.0,
            np.log(share / (1 - share)),
            np.log(np.clip(long, 2, 80)),
            short / long,
            np.log(max(pixels, 1)),
        ]
    )


def expected_dice(
    network: EdgeNetwork, mark: RecistMark, evidence: float, pixels: int
) -> tuple[float, float]:
    """The expected Dice, and what it exceeds in nine labels of ten."""
    logit = float(what_is_known(mark, evidence, pixels) @ network.expected_dice)
    expected = 1 / (1 + np.exp(-logit))
    long = max(mark.long_diameter, 1.0)
    margin = network.expected_dice_margin[0 if long < 10 else 1 if long < 20 else 2]
    return expected, max(expected - float(margin), 0.0)
