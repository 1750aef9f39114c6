"""A CBAM written elsewhere becomes ours, weights kept.

Public copies agree on the arithmetic and differ in names, in the MLP (Linear or 1x1 convolution,
with a bias or without), in the spatial gate's size, bias and batch norm, and in the order of the
pooled maps. The parts are told apart by their shapes; whether the arithmetic is CBAM's, and in
which order the maps come, is found by running the module once.
"""

import copy
from typing import NamedTuple

import torch
from torch import nn

from .module import CBAM, gate


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
            f"norms in {type(module).__name__}"
        )
    fc1, fc2 = dense
    (conv,) = convolutions
    if fc1.weight.shape[:2] != fc2.weight.shape[1::-1]:
        raise ValueError(
            "module must have [hidden, channels] and [channels, hidden] as its MLP's weights, got "
            f"{list(fc1.weight.shape)} and {list(fc2.weight.shape)} in {type(module).__name__}"
        )
    return Gates(fc1, fc2, conv, norms[0] if norms else None)


def from_module(module: nn.Module, order: str | None = None) -> CBAM:
    """A `CBAM` with the weights, device, dtype and mode of another implementation.

    A copy of the module with random weights is run once, on the CPU in float64, and compared with
    ours, so that nothing is converted that computes something else.

    Parameters
    ----------
    module : nn.Module
        Takes x [N, C, H, W] and returns the gated x, through both gates. MLP of Linear or 1x1
        Conv2d layers; one spatial convolution; with or without biases and a batch norm.
    order : {"max", "mean"} or None
        Which pooled map comes first in the concatenation; None finds it out.

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
    found = _found_order(module)
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


def replace(model: nn.Module, kind: type[nn.Module], order: str | None = None) -> int:
    """Replace every module of this class within the model by `from_module` of it; their number."""
    converted = {}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, kind):
                if child not in converted:
                    converted[child] = from_module(child, order)
                setattr(parent, name, converted[child])
    return len(converted)


def _copy(source, target, shaped) -> None:
    with torch.no_grad():
        target.weight.copy_(shaped(source.weight))
        target.weight.requires_grad_(source.weight.requires_grad)
        if source.bias is not None:
            target.bias.copy_(source.bias)
            target.bias.requires_grad_(source.bias.requires_grad)


def _found_order(module: nn.Module) -> str:
    """'max' or 'mean', by running a copy with random weights."""
    name = type(module).__name__
    probe = copy.deepcopy(module).to("cpu", torch.float64).eval()
    gates = find_gates(probe)
    known = {id(p) for part in gates if part is not None for p in part.parameters()}
    for key, parameter in probe.named_parameters():
        if id(parameter) not in known:
            raise ValueError(
                f"module must have no parameter but those of a CBAM's parts, got {key} in {name}"
            )
    if gates.norm is not None and gates.norm.weight is None:
        raise ValueError(f"module must have a batch norm with a weight, got affine=False in {name}")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (*probe.parameters(), *probe.buffers()):
            if tensor.is_floating_point():
                if tensor.dim() > 1:
                    fan_in = tensor[0].numel()
                    tensor.copy_(torch.randn(tensor.shape, generator=generator) / fan_in**0.5)
                else:  # a running variance may be among these
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
        size = max(gates.conv.kernel_size) + 2
        shape = 2, gates.fc1.weight.shape[1], size, size + 1
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        try:
            want = probe(x.clone())
        except Exception as error:
            raise ValueError(
                f"module must take one tensor {list(shape)}, got {error!r} from {name}"
            ) from error
        if not isinstance(want, torch.Tensor) or want.shape != x.shape:
            got = list(want.shape) if isinstance(want, torch.Tensor) else type(want).__name__
            raise ValueError(
                f"module must return the gated x {list(shape)}, got {got} from {name} "
                "(a module that returns the gate alone is one half of a CBAM)"
            )
        for order in ("max", "mean"):
            if torch.allclose(gate(x, *gates, mean_first=order == "mean"), want):
                return order
    raise ValueError(
        "module must compute x' * sigmoid(conv(pooled x')) with x' = x * sigmoid(MLP(mean x) + "
        f"MLP(max x)) and a ReLU in the MLP, got something else from {name}"
    )
