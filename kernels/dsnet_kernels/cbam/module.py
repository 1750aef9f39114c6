"""CBAM as a module, with the parameter names of the authors' PyTorch code.

A checkpoint of Jongchan/attention-module's `CBAM` loads into it as it is.
"""

from typing import Any

import torch
from torch import nn

from ..launch import OptionalTensor, at_least_1
from ..norms import norm_arguments
from .op import cbam

# One node of a graph that torch.fx traces.
torch.fx.wrap("cbam")


class CBAM(nn.Module):
    """Convolutional block attention module (Woo et al., ECCV 2018): `dsnet_kernels.cbam`.

    Initialised as in the authors' network: Linear weights as PyTorch's, convolution by Kaiming
    (normal, fan out), biases 0, and the spatial batch norm's weight 0, so that the spatial gate
    is 1/2 everywhere at first.

    Parameters
    ----------
    channels : int
    reduction : int
        The MLP's hidden layer has ``max(1, channels // reduction)`` units.
    kernel_size : int
        Odd size of the spatial gate's convolution.
    norm : bool
        Batch norm (momentum 0.01) behind that convolution.
    bias, conv_bias : bool
        Biases of the MLP's layers and of the convolution.
    hidden : int or None
        Units of the hidden layer, in place of `reduction`.

    Raises
    ------
    ValueError
        For a channel count, reduction or hidden size below 1, or an even kernel size.
    """

    # Nested as the authors nest theirs, for the parameters' names.
    ChannelGate: Any
    SpatialGate: Any

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        *,
        kernel_size: int = 7,
        norm: bool = True,
        bias: bool = True,
        conv_bias: bool = False,
        hidden: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        at_least_1(channels=channels, reduction=reduction)
        hidden = max(1, channels // reduction) if hidden is None else hidden
        at_least_1(hidden=hidden)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.ChannelGate = nn.ModuleDict(
            {
                "mlp": nn.Sequential(
                    nn.Flatten(),
                    nn.Linear(channels, hidden, bias=bias, **made),
                    nn.ReLU(),
                    nn.Linear(hidden, channels, bias=bias, **made),
                )
            }
        )
        padding = kernel_size // 2
        spatial: dict[str, nn.Module] = {
            "conv": nn.Conv2d(2, 1, kernel_size, padding=padding, bias=conv_bias, **made),
        }
        if norm:
            spatial["bn"] = nn.BatchNorm2d(1, momentum=0.01, **made)
        self.SpatialGate = nn.ModuleDict({"spatial": nn.ModuleDict(spatial)})
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise anew; see the class."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.BatchNorm2d):
                module.reset_parameters()
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        spatial = self.SpatialGate["spatial"]
        nn.init.kaiming_normal_(spatial["conv"].weight, mode="fan_out")
        if "bn" in spatial:
            nn.init.zeros_(spatial["bn"].weight)

    def forward(
        self,
        x: torch.Tensor,
        residual: OptionalTensor = None,
        *,
        scale: OptionalTensor = None,
        shift: OptionalTensor = None,
    ) -> torch.Tensor:
        """Gate x [N, C, H, W].

        Parameters
        ----------
        x : Tensor [N, C, H, W]
        residual : Tensor [N, C, H, W] or None
            ``relu(gated + residual)`` in the same pass.
        scale, shift : Tensor [C] or None
            ``x * scale + shift`` is taken for x, as of a batch norm before this module.

        Returns
        -------
        Tensor [N, C, H, W]
        """
        _, fc1, _, fc2 = self.ChannelGate["mlp"]
        spatial = self.SpatialGate["spatial"]
        norm = getattr(spatial, "bn", None)
        return gate(x, fc1, fc2, spatial["conv"], norm, residual=residual, scale=scale, shift=shift)

    def extra_repr(self) -> str:
        _, fc1, _, _ = self.ChannelGate["mlp"]
        return f"{fc1.in_features}, hidden={fc1.out_features}"


def gate(
    x: torch.Tensor,
    fc1: Any,
    fc2: Any,
    conv: Any,
    norm: Any = None,
    *,
    mean_first: bool = False,
    **rest,
) -> torch.Tensor:
    """`cbam` with the weights of these modules: Linear or 1x1 convolutions, a convolution, a norm.

    With `mean_first` the convolution's weight is for the mean, then the maximum.
    """
    conv_weight = conv.weight.flip(1) if mean_first else conv.weight
    return cbam(
        x,
        fc1.weight.flatten(1),
        fc1.bias,
        fc2.weight.flatten(1),
        fc2.bias,
        conv_weight,
        conv.bias,
        **({} if norm is None else norm_arguments(norm)),
        **rest,
    )
