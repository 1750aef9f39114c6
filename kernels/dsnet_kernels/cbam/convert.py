"""A CBAM written elsewhere becomes ours, weights kept.

Public copies agree on the arithmetic and differ in names, in the MLP (Linear or 1x1 convolution,
with a bias or without), in the spatial gate's size, bias and batch norm, and in the order of the
pooled maps. The parts are told apart by their shapes; whether the arithmetic is CBAM's, and in
which order the maps come, is found by running the module.
"""

import copy
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn

from ..probe import HOOKS, cases, difference, randomised
from .module import CBAM, gate

TIES = (
    "module must send the gradient of equal maxima to the first of them, as max(dim) and max "
    "pooling do, got something else from {name} (amax shares it among them): {accept} accepts ours"
)


class Gates(NamedTuple):
    """The modules that hold a CBAM's weights."""

    fc1: nn.Linear | nn.Conv2d
    fc2: nn.Linear | nn.Conv2d
    conv: nn.Conv2d
    norm: nn.BatchNorm2d | None


def find_gates(module: nn.Module) -> Gates:
    """The parts of a CBAM, by their shapes.

    Raises
    ------
    ValueError
        Unless there are two dense layers (Linear or 1x1 Conv2d) of matching sizes, one
        convolution from 2 channels to 1, and at most one batch norm, of one channel.
    """
    dense, convolutions, norms = [], [], []
    for part in module.modules():
        if isinstance(part, nn.Linear):
            dense.append(part)
        elif isinstance(part, nn.Conv2d):
            pointwise = part.kernel_size == (1, 1)
            (dense if pointwise else convolutions).append(part)
        elif isinstance(part, nn.modules.batchnorm._BatchNorm):
            norms.append(part)
    if len(dense) != 2 or len(convolutions) != 1 or len(norms) > 1:
        raise ValueError(
            "module must have a CBAM's 2 dense layers, 1 convolution and at most 1 batch norm, got "
            f"{len(dense)} dense layers, {len(convolutions)} convolutions and {len(norms)} batch "
            f"norms in {type(module).__name__}{_what_else(dense, convolutions)}"
        )
    fc1, fc2 = dense
    (conv,) = convolutions
    if fc1.weight.shape[:2] != fc2.weight.shape[1::-1]:
        raise ValueError(
            "module must have [hidden, channels] and [channels, hidden] as its MLP's weights, got "
            f"{list(fc1.weight.shape)} and {list(fc2.weight.shape)} in {type(module).__name__}"
        )
    return Gates(fc1, fc2, conv, norms[0] if norms else None)


def _what_else(dense: list, convolutions: list) -> str:
    """The operation that these parts may be of, for an error."""
    if len(dense) == 1 and len(convolutions) == 1:
        return (
            ": a channel gate of one layer, over the mean alone (as ultralytics has it), is "
            "another operation, which none of ours replaces"
        )
    pairs = [(a.weight.shape, b.weight.shape) for a, b in pairwise(dense)]
    if any(a[0] == b[1] and b[0] == 2 * a[1] for a, b in pairs):
        return (
            ": its dense layers are a selective kernel unit's, whose two branches SelectiveFusion "
            "weighs; copy fc_reduce, bn and fc_select to its conv_fc1, bn_fc1 and conv_fc2"
        )
    return ""


def from_module(module: nn.Module, order: str | None = None, ties: str | None = None) -> CBAM:
    """A `CBAM` with the weights, device, dtype and mode of another implementation.

    Copies of the module with random weights are run and compared with ours (`probe`), forward and
    backward, in both modes, so that nothing is converted that computes something else.

    Parameters
    ----------
    module : nn.Module
        Takes x [N, C, H, W] and returns the gated x, through both gates. MLP of Linear or 1x1
        Conv2d layers; one spatial convolution; with or without biases and a batch norm.
    order : {"max", "mean"} or None
        Which pooled map comes first in the concatenation; None finds it out.
    ties : {"first"} or None
        "first" takes a module whose gradient of equal maxima goes elsewhere than to the first of
        them, as that of `amax` does; the gradients then differ there.

    Returns
    -------
    CBAM
        Parameters are copies: convert before the optimiser is built.

    Raises
    ------
    ValueError
        Where the module is no CBAM of these forms; the message says what differs.
    """
    if order not in (None, "max", "mean"):
        raise ValueError(f"order must be 'max', 'mean' or None, got {order!r}")
    if ties not in (None, "first"):
        raise ValueError(f"ties must be 'first' or None, got {ties!r}")
    if any(getattr(module, hooks, None) for hooks in HOOKS):
        raise ValueError(f"module must have no hooks, got some on {type(module).__name__}")
    found = found_order(module, TIES.format(name="{name}", accept='ties="first"'), ties)
    if order not in (None, found):
        raise ValueError(
            f"order must be {found!r} or None for a module that concatenates {found} first, got "
            f"{order!r}"
        )
    fc1, fc2, conv, norm = find_gates(module)
    hidden, channels = fc1.weight.shape[:2]
    ours = CBAM(
        channels,
        hidden=hidden,
        kernel_size=conv.kernel_size[0],
        norm=norm is not None,
        bias=fc1.bias is not None or fc2.bias is not None,
        conv_bias=conv.bias is not None,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    )
    _, our_fc1, _, our_fc2 = ours.ChannelGate["mlp"]
    spatial = ours.SpatialGate["spatial"]
    _copy(fc1, our_fc1, lambda weight: weight.flatten(1))
    _copy(fc2, our_fc2, lambda weight: weight.flatten(1))
    _copy(conv, spatial["conv"], lambda weight: weight.flip(1) if found == "mean" else weight)
    if norm is not None:
        spatial["bn"] = copy.deepcopy(norm)
    return ours.train(module.training)


def replace(
    model: nn.Module, kind: type[nn.Module], order: str | None = None, ties: str | None = None
) -> int:
    """Replace every module of this class within the model by `from_module` of it; their number."""
    converted = {}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, kind):
                if child not in converted:
                    converted[child] = from_module(child, order, ties)
                setattr(parent, name, converted[child])
    return len(converted)


def _copy(source, target, shaped) -> None:
    with torch.no_grad():
        target.weight.copy_(shaped(source.weight))
        target.weight.requires_grad_(source.weight.requires_grad)
        if source.bias is not None:
            target.bias.copy_(source.bias)
            target.bias.requires_grad_(source.bias.requires_grad)


def found_order(
    module: nn.Module, on_ties: str, ties: str | None = None, gradients: bool = True
) -> str:
    """'max' or 'mean', by running copies with random weights.

    Parameters
    ----------
    module : nn.Module
    on_ties : str
        The error where gradients differ only where values are equal; ``{name}`` is the module's.
    ties : {"first"} or None
        As in `from_module`.
    gradients : bool
        Whether these must be CBAM's.

    Raises
    ------
    ValueError
        Where the module computes something else.
    """
    name = type(module).__name__
    gates = find_gates(module)
    known = {id(p) for part in gates if part is not None for p in part.parameters()}
    for key, parameter in module.named_parameters():
        if id(parameter) not in known:
            raise ValueError(
                f"module must have no parameter but those of a CBAM's parts, got {key} in {name}"
            )
    if gates.norm is not None and gates.norm.weight is None:
        raise ValueError(f"module must have a batch norm with a weight, got affine=False in {name}")
    probe = randomised(module)
    plan = cases(gates.fc1.weight.shape[1], max(gates.conv.kernel_size) + 2)
    runs = {
        "max": lambda host, x: gate(x, *find_gates(host)),
        "mean": lambda host, x: gate(x, *find_gates(host), mean_first=True),
    }
    first = {order: difference(probe, run, plan[0], gradients=False) for order, run in runs.items()}
    order = next((order for order, what in first.items() if what is None), None)
    if order is None:
        raise ValueError(
            "module must compute x' * sigmoid(conv(pooled x')) with x' = x * sigmoid(MLP(mean x) + "
            f"MLP(max x)) and a ReLU in the MLP, got something else from {name}"
        )
    for case in plan:
        what = difference(probe, runs[order], case, gradients=gradients)
        if what == "a gradient" and case.ties:
            if ties is None:
                raise ValueError(on_ties.format(name=name))
        elif what is not None:
            raise ValueError(
                f"module must compute CBAM in both modes and at every size, got another value as "
                f"{what} {case} from {name}"
            )
    return order
