"""Stateless layers for Hugging Face `kernels`: `kernelize` puts their forward into a host's module.

The host's module keeps its parameters and their names. `CBAM` and `CBAMMeanFirst` find them in any
layout that `cbam.convert` knows; which of the two a host needs depends on the order in
which it concatenates the pooled maps. `SelectiveFusion` takes the layers of implus/PytorchInsight
by their names.
"""

import torch
from torch import nn

from .cbam.convert import find_gates
from .cbam.module import gate
from .selective_fusion.module import select


class CBAM(nn.Module):
    """For hosts that concatenate [maximum, mean], as the authors' code does."""

    can_torch_compile = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return gate(x, *find_gates(self))


class CBAMMeanFirst(nn.Module):
    """For hosts that concatenate [mean, maximum]."""

    can_torch_compile = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return gate(x, *find_gates(self), mean_first=True)


class SelectiveFusion(nn.Module):
    """For hosts with the layers ``conv_fc1``, ``bn_fc1``, ``conv_fc2`` and ``forward(u, v)``."""

    can_torch_compile = True

    def forward(self, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return select(u, v, self.conv_fc1, self.bn_fc1, self.conv_fc2)
