"""The edge model's network in PyTorch, and how it becomes whole numbers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.fits.edge_frames import CENTRES
from dsnet.labeling.edge_model import LAYERS, MOST_ACTIVE, MOST_WEIGHT, EdgeNetwork

CELL_INPUTS, CONSTANTS = 3, len(CENTRES)
FINE, MIDDLE, COARSE = 16, 32, 48
# A whole number's worth of a cell's inputs.
_INPUT_UNITS = 256.0
_MOST_SHIFT = 20


class Network(nn.Module):
    """Down from half the frame's cells in two steps, and up again; see `csrc/edge/network.h`.

    Of cells [N, 3, 32, 32] and what is the same for all, [N, 5], makes log-odds [N, 32, 32].
    """

    def __init__(self) -> None:
        super().__init__()

        def same(channels: int) -> nn.Conv2d:
            return nn.Conv2d(channels, channels, 3, padding=1)

        self.enter = nn.Conv2d(4 * CELL_INPUTS, FINE, 3, padding=1)
        self.of_constants = nn.Linear(CONSTANTS, FINE, bias=False)
        self.fine_down = same(FINE)
        self.to_middle = nn.Conv2d(FINE, MIDDLE, 2, stride=2)
        self.middle_down = same(MIDDLE)
        self.to_coarse = nn.Conv2d(MIDDLE, COARSE, 2, stride=2)
        self.coarse = same(COARSE)
        self.from_coarse = nn.Conv2d(COARSE, MIDDLE, 1)
        self.middle_up = same(MIDDLE)
        self.from_middle = nn.Conv2d(MIDDLE, FINE, 1)
        self.fine_up = same(FINE)
        self.leave = nn.Conv2d(FINE, 4, 1)

    def activations(self, cells: Tensor, constants: Tensor) -> dict[str, Tensor]:
        """Of every layer, by its name; the last one's are log-odds [N, 4, 16, 16]."""

        def doubled(value: Tensor) -> Tensor:
            return functional.interpolate(value, scale_factor=2, mode="nearest")

        a: dict[str, Tensor] = {}
        told = self.of_constants(constants)[:, :, None, None]
        a["enter"] = (self.enter(functional.pixel_unshuffle(cells, 2)) + told).relu()
        a["fine_down"] = self.fine_down(a["enter"]).relu()
        a["to_middle"] = self.to_middle(a["fine_down"]).relu()
        a["middle_down"] = self.middle_down(a["to_middle"]).relu()
        a["to_coarse"] = self.to_coarse(a["middle_down"]).relu()
        a["coarse"] = self.coarse(a["to_coarse"]).relu()
        a["from_coarse"] = (a["middle_down"] + doubled(self.from_coarse(a["coarse"]))).relu()
        a["middle_up"] = self.middle_up(a["from_coarse"]).relu()
        a["from_middle"] = (a["fine_down"] + doubled(self.from_middle(a["middle_up"]))).relu()
        a["fine_up"] = self.fine_up(a["from_middle"]).relu()
        a["leave"] = self.leave(a["fine_up"])
        return a

    def forward(self, cells: Tensor, constants: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.activations(cells, constants)["leave"], 2)[:, 0]


def in_whole_numbers(
    network: Network, cells: Tensor, constants: Tensor, gain: float, bias: float
) -> EdgeNetwork:
    """The network with activations up to `MOST_ACTIVE` and weights within `MOST_WEIGHT`.

    Each layer's activations are scaled so that what occurs on the given inputs just fits. The
    log-odds become `gain` * log-odds + `bias`.
    """
    with torch.no_grad():
        found = network.activations(cells, constants)
    largest = {name: float(np.percentile(a.numpy(), 99.999)) for name, a in found.items()}
    # Those that are added up share a scale.
    for one, other in (("middle_down", "from_coarse"), ("fine_down", "from_middle")):
        largest[one] = largest[other] = max(largest[one], largest[other])
    unit = {name: MOST_ACTIVE / value for name, value in largest.items()}
    weights, biases, shifts = {}, {}, {}
    before = _INPUT_UNITS
    of_constants, per_unit = np.zeros((FINE, CONSTANTS)), 1.0
    for name in LAYERS:
        layer = getattr(network, name)
        weight = layer.weight.detach().numpy().astype(np.float64)
        offset = layer.bias.detach().numpy().astype(np.float64)
        if name == "leave":
            shifts[name], scale = 0, MOST_WEIGHT / np.abs(weight).max()
            total = scale * before
            per_unit, offset = gain / total, offset + bias / gain
        else:
            exact = unit[name] / before
            shift = int(np.floor(np.log2(MOST_WEIGHT / np.abs(weight * exact).max())))
            shifts[name] = int(np.clip(shift, 0, _MOST_SHIFT))
            scale, total = exact * 2.0 ** shifts[name], unit[name] * 2.0 ** shifts[name]
        if name == "enter":
            matrix = network.of_constants.weight.detach().numpy().astype(np.float64)
            of_constants, offset = matrix * total, offset - matrix @ np.array(CENTRES)
        weights[name] = np.rint(weight * scale).astype(np.int16)
        biases[name] = np.rint(offset * total).astype(np.int32)
        before = unit[name]
    unknown = np.zeros(5), np.ones(3)  # the expected Dice is fitted later
    return EdgeNetwork(weights, biases, shifts, of_constants, float(np.float32(per_unit)), *unknown)
