"""Stateless layers for Hugging Face `kernels`: `kernelize` puts their forward into a host's module.

The host's module keeps its parameters and their names. `CBAM` and `CBAMMeanFirst` find them in any
layout that `dsnet_kernels.convert` knows; which of the two a host needs depends on the order in
which it concatenates the pooled maps.
"""

import torch
from torch import nn

from .convert import find_gates
from .modules import gate


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
