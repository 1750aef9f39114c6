"""Selective fusion as a module, with the parameter names of its authors' PyTorch code.

A checkpoint of the selecting part of implus/PytorchInsight's SK bottleneck (`conv_fc1`, `bn_fc1`,
`conv_fc2`) loads into it as it is.
"""

from typing import Any

import torch
from torch import nn

from ..launch import OptionalTensor, at_least_1
from ..norms import norm_arguments
from .op import selective_fusion

# One node of a graph that torch.fx traces.
torch.fx.wrap("selective_fusion")


class SelectiveFusion(nn.Module):
    """Selection between two branches (SKNet; Li et al., CVPR 2019): `selective_fusion`.

    Layers as in implus/PytorchInsight: 1x1 convolutions without bias, a batch norm between
    them, and both branches' logits from one convolution, u's first. Initialised as there:
    convolutions by Kaiming (normal, fan out), the batch norm as PyTorch's.

    Parameters
    ----------
    channels : int
    reduction : int
        The hidden layer has ``max(channels // reduction, 32)`` units.
    norm : bool
        Batch norm behind the first layer; it needs more than one sample in training.
    bias : bool
        Biases of both layers; 0 at first.
    hidden : int or None
        Units of the hidden layer, in place of `reduction`.

    Raises
    ------
    ValueError
        For a channel count, reduction or hidden size below 1.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        *,
        norm: bool = True,
        bias: bool = False,
        hidden: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        at_least_1(channels=channels, reduction=reduction)
        hidden = max(channels // reduction, 32) if hidden is None else hidden
        at_least_1(hidden=hidden)
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.conv_fc1 = nn.Conv2d(channels, hidden, 1, bias=bias, **made)
        self.bn_fc1 = nn.BatchNorm2d(hidden, **made) if norm else None
        self.conv_fc2 = nn.Conv2d(hidden, 2 * channels, 1, bias=bias, **made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise anew; see the class."""
        for conv in (self.conv_fc1, self.conv_fc2):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out")
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
        if self.bn_fc1 is not None:
            self.bn_fc1.reset_parameters()

    def forward(
        self,
        u: torch.Tensor,
        v: torch.Tensor,
        *,
        u_scale: OptionalTensor = None,
        u_shift: OptionalTensor = None,
        v_scale: OptionalTensor = None,
        v_shift: OptionalTensor = None,
        negative_slope: float = 0.01,
    ) -> torch.Tensor:
        """Fuse u and v, each [N, C, H, W].

        Parameters
        ----------
        u, v : Tensor [N, C, H, W]
            The context and the detail branch.
        u_scale, u_shift, v_scale, v_shift, negative_slope
            The prologues; see `selective_fusion`.

        Returns
        -------
        Tensor [N, C, H, W]
        """
        return select(
            u, v, self.conv_fc1, self.bn_fc1, self.conv_fc2, u_scale=u_scale, u_shift=u_shift,
            v_scale=v_scale, v_shift=v_shift, negative_slope=negative_slope,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"{self.conv_fc1.in_channels}, hidden={self.conv_fc1.out_channels}"


def select(
    u: torch.Tensor,
    v: torch.Tensor,
    fc1: Any,
    norm: Any,
    fc2: Any,
    **prologue,
) -> torch.Tensor:
    """`selective_fusion` with the weights of these modules: 1x1 convolutions, a norm or None.

    fc2 gives both branches' logits, u's first.
    """
    half, weight, biases = fc1.in_channels, fc2.weight.flatten(1), (None, None)
    if fc2.bias is not None:
        biases = fc2.bias[:half], fc2.bias[half:]
    return selective_fusion(
        u,
        v,
        fc1.weight.flatten(1),
        fc1.bias,
        weight[:half],
        biases[0],
        weight[half:],
        biases[1],
        **({} if norm is None else norm_arguments(norm)),
        **prologue,
    )
