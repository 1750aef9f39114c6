"""Exponential average of a network's weights, beside the training that it is made of.

Public
------
``Average(network, decay)``
    ``.network``: a copy whose weights and buffers are the average; the frozen teacher is shared
    ``.update()``, ``.state() -> dict``, ``.load_state(state)``

The average of weights along the way of an optimizer lies flatter than where it ends (Polyak and
Juditsky 1992; Izmailov et al. 2018). Early weights are forgotten sooner: after k updates the decay
is ``min(decay, (1 + k) / (10 + k))``, as in TensorFlow's, so that a short training has an average
of its late weights as well.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from dsnet.arguments import Range, brief
from dsnet.models import DSNet, state_of

DECAY = Range(float, 0, 0.9999)


class Average:
    """The average of the weights that a network had after every step.

    Parameters
    ----------
    network : DSNet
        On its device; what it learns later is averaged, not what it has now.
    decay : float
        Share that the average keeps at an update, 0 to 0.9999.

    Raises
    ------
    ValueError
        For a decay out of range.
    """

    def __init__(self, network: DSNet, decay: float):
        DECAY.check("average", decay)
        self.decay, self.updates = decay, 0
        shared = {} if network.teacher is None else {id(network.teacher): network.teacher}
        self.network = copy.deepcopy(network, shared).eval()
        pairs = [
            (mean, now)
            for (name, mean), (_, now) in zip(
                self.network.state_dict().items(), network.state_dict().items(), strict=True
            )
            if not name.startswith("teacher.")
        ]
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights of now; never waits for the device."""
        kept = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mean, now = (list(side) for side in zip(*self._floats, strict=True))
        torch._foreach_lerp_(mean, now, 1 - kept)  # pyright: ignore[reportPrivateImportUsage]
        # Numbers of batches have no mean.
        for count, counted in self._counts:
            count.copy_(counted)
        self.updates += 1

    def state(self) -> dict:
        """What `load_state` takes, on its device."""
        return {"updates": self.updates, "network": state_of(self.network)}

    def load_state(self, state: Any) -> None:
        """Go on from what `state` gave; raises ValueError or RuntimeError for another network's."""
        if not isinstance(state, dict) or not isinstance(state.get("network"), dict):
            raise ValueError(f"average must have updates and network, got {brief(state)}")
        Range(int, 0, 2**63 - 1).check("updates of the average", state.get("updates"))
        for name, part in state["network"].items():
            # No loss tells of these: what is trained is not the average.
            if isinstance(part, torch.Tensor) and not torch.isfinite(part).all():
                raise ValueError(f"average must be finite, {brief(name)} is not")
        self.network.load_state_dict(state["network"])
        self.updates = state["updates"]
