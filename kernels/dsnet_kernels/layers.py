"""Stateless layers for Hugging Face `kernels`: `kernelize` puts their forward into a host's module.

The host's module keeps its parameters and their names. `CBAM` and `CBAMMeanFirst` find them in any
layout that `cbam.convert` knows; which of the two a host needs depends on the order in
which it concatenates the pooled maps. `SelectiveFusion` takes the layers of implus/PytorchInsight
by their names.

Before the first forward of a host, and whenever one is traced, copies of it are run and compared
with ours (`probe`). A host that computes something else is refused; in training also one that sends
the gradient of equal maxima elsewhere than to the first of them, unless its attribute ``ties`` is
"first".
"""

import weakref
from typing import Any

import torch
from torch import nn

from .cbam.convert import TIES, find_gates, found_order
from .cbam.module import gate
from .probe import cases, difference, randomised
from .selective_fusion.module import select

# Hosts that were found to be ours, and whether their gradients are.
_checked: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


# Traced code calls it as it is, with the host itself.
@torch.compiler.assume_constant_result
def _is_cbam(module: nn.Module, order: str, gradients: bool) -> bool:
    if _checked.get(module, False) >= gradients and module in _checked:
        return True
    on_ties = TIES.format(name="{name}", accept="its attribute ties = 'first'")
    found = found_order(module, on_ties, getattr(module, "ties", None), gradients)
    if found != order:
        raise ValueError(
            f"module must concatenate the pooled maps {order} first for this layer, got {found} "
            f"first from {type(module).__name__}"
        )
    _checked[module] = gradients
    return True


@torch.compiler.assume_constant_result
def _is_fusion(module: Any, gradients: bool) -> bool:
    if _checked.get(module, False) >= gradients and module in _checked:
        return True
    name = type(module).__name__
    missing = [part for part in ("conv_fc1", "bn_fc1", "conv_fc2") if not hasattr(module, part)]
    if missing:
        raise ValueError(f"module must have the layer {missing[0]}, got none in {name}")
    probe = randomised(module)

    def ours(host: Any, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return select(u, v, host.conv_fc1, host.bn_fc1, host.conv_fc2)

    for case in cases(module.conv_fc1.weight.shape[1], 5):
        what = difference(probe, ours, case, inputs=2, gradients=gradients)
        if what is not None:
            raise ValueError(
                "module must compute a * u + (1 - a) * v, a the first of the softmax over "
                f"conv_fc2(relu(bn_fc1(conv_fc1(mean(u + v))))), got another value as {what} "
                f"{case} from {name}"
            )
    _checked[module] = gradients
    return True


def _learns(module: nn.Module, *inputs: torch.Tensor) -> bool:
    if not torch.is_grad_enabled():
        return False
    return any(x.requires_grad for x in inputs) or any(p.requires_grad for p in module.parameters())


class CBAM(nn.Module):
    """For hosts that concatenate [maximum, mean], as the authors' code does."""

    can_torch_compile = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _is_cbam(self, "max", _learns(self, x))
        return gate(x, *find_gates(self))


class CBAMMeanFirst(nn.Module):
    """For hosts that concatenate [mean, maximum]."""

    can_torch_compile = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _is_cbam(self, "mean", _learns(self, x))
        return gate(x, *find_gates(self), mean_first=True)


class SelectiveFusion(nn.Module):
    """For hosts with the layers ``conv_fc1``, ``bn_fc1``, ``conv_fc2`` and ``forward(u, v)``."""

    can_torch_compile = True

    def forward(self, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        _is_fusion(self, _learns(self, u, v))
        return select(u, v, self.conv_fc1, self.bn_fc1, self.conv_fc2)
