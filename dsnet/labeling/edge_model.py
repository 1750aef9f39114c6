"""How likely each pixel near a RECIST mark is lesion, from the image and the mark.

A mark is drawn by a person: its ends lie where a hand put them, mostly short of the lesion's edge,
and its axes are askew. So it is taken as evidence beside the image's, not as the outline. The image
is seen in the mark's own frame: a square of 32 x 32 cells around the axes' centre, turned to the
long axis, 0.8 of it and 3 pixels to either side. A small convolutional network looks at each
cell's grey value beside the lesion's and the surroundings' own, and at where it lies against the
curve through the four end points. What it says of the cells is interpolated at the pixels, and a
pixel that is nearer to the lesion's grey value than the cells around it gains by that: detail finer
than a cell, such as spicules. Whatever the lesion's size, that takes the same time.

The network works in whole numbers, which are the same from every vector unit and every GPU. What
runs is compiled (`csrc/edge/`) and takes its coefficients from here; in NumPy it is
`dsnet.labeling.reference.edge_model`, bit for bit.

Its coefficients (`edge_model.npz`) were fitted by `python -m bench.fits.edge_model` to LIDC's
patients of one half, under marks that `draw_mark` drew, and to phantoms; the expected Dice's by
`python -m bench.fits.expected_dice` to their largest slices;
`python -m bench.studies.label_quality` reports the other half.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np

from dsnet import _C

# Contrast below this, in the image's 0..1, is taken as this: grey values say nothing then.
LEAST_CONTRAST = 0.02
# Cells a side of the frame; it reaches so far from its centre: a share of the longer axis, pixels.
GRID = 32
FRAME_SHARE, FRAME_PIXELS = 0.8, 3.0
# What a pixel's grey value says beyond its cell's: log-odds for a whole contrast, less where the
# surroundings' own spread is no smaller.
DETAIL, DETAIL_SPREAD = 6.0, 2.0
# Activations are whole numbers up to this one, weights within +- that.
MOST_ACTIVE, MOST_WEIGHT = 2047, 1023
LAYERS = (
    "enter", "fine_down", "to_middle", "middle_down", "to_coarse", "coarse",
    "from_coarse", "middle_up", "from_middle", "fine_up", "leave",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class EdgeNetwork:
    """The network in whole numbers.

    Attributes
    ----------
    weights : dict of int16 [outputs, inputs, kernel, kernel]
        By the names of `LAYERS`.
    biases : dict of int32 [outputs]
    shifts : dict of int
        A layer's sums are divided by 2 to this.
    of_constants : ndarray [outputs, 5], float64
        What the first layer's bias gains from what is the same for all cells.
    log_odds_per_unit : float
        Of the last layer's sums.
    expected_dice : ndarray [5], float64
        Its logit is the sum of these times 1, the logit of the evidence's own expected Dice, the
        logarithm of the long axis, short over long axis, and the logarithm of the lesion's pixels.
    expected_dice_margin : ndarray [3], float64
        It is higher than so much less in nine of ten labels: long axes below 10 pixels, below 20,
        and from there on.
    """

    weights: dict[str, np.ndarray]
    biases: dict[str, np.ndarray]
    shifts: dict[str, int]
    of_constants: np.ndarray
    log_odds_per_unit: float
    expected_dice: np.ndarray
    expected_dice_margin: np.ndarray


@lru_cache(maxsize=1)
def edge_network() -> EdgeNetwork:
    """The network that the labels are made with."""
    path = resources.files("dsnet.labeling").joinpath("edge_model.npz")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return EdgeNetwork(
            weights={name: stored[f"{name}_weight"] for name in LAYERS},
            biases={name: stored[f"{name}_bias"] for name in LAYERS},
            shifts={name: int(shift) for name, shift in zip(LAYERS, stored["shifts"], strict=True)},
            of_constants=stored["of_constants"],
            log_odds_per_unit=float(stored["log_odds_per_unit"]),
            expected_dice=stored["expected_dice"],
            expected_dice_margin=stored["expected_dice_margin"],
        )


def compiled(network: EdgeNetwork, module=_C):
    """A network as the compiled code takes it."""
    weights = [network.weights[name] for name in LAYERS]
    biases = [network.biases[name] for name in LAYERS]
    # The last layer's outputs fill the lanes.
    more = 16 - len(weights[-1])
    weights[-1] = np.pad(weights[-1], ((0, more), (0, 0), (0, 0), (0, 0)))
    biases[-1] = np.pad(biases[-1], (0, more))
    shifts = np.array([network.shifts[name] for name in LAYERS], np.int32)
    return module.EdgeNetwork(
        weights, biases, shifts, network.of_constants, network.log_odds_per_unit,
        network.expected_dice, network.expected_dice_margin,
    )  # fmt: skip


@lru_cache(maxsize=1)
def native_network() -> _C.EdgeNetwork:
    """The coefficients for the compiled model."""
    return compiled(edge_network())
