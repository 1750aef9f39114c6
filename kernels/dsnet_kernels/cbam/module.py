"""The operations as modules, with the parameter names of their authors' PyTorch code.

A checkpoint of Jongchan/attention-module's `CBAM` loads into `CBAM` as it is; the selecting part
of implus/PytorchInsight's SK bottleneck (`conv_fc1`, `bn_fc1`, `conv_fc2`) into `SelectiveFusion`.
"""

import torch
from torch import nn

from ..selective_fusion.op import selective_fusion
from .op import cbam


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
        device=None,
        dtype=None,
    ):
        super().__init__()
        _at_least_1(channels=channels, reduction=reduction)
        hidden = max(1, channels // reduction) if hidden is None else hidden
        _at_least_1(hidden=hidden)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}; an odd number is needed")
        made = {"device": device, "dtype": dtype}
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
        spatial = {
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
        residual: torch.Tensor | None = None,
        *,
        scale: torch.Tensor | None = None,
        shift: torch.Tensor | None = None,
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
        device=None,
        dtype=None,
    ):
        super().__init__()
        _at_least_1(channels=channels, reduction=reduction)
        hidden = max(channels // reduction, 32) if hidden is None else hidden
        _at_least_1(hidden=hidden)
        made = {"device": device, "dtype": dtype}
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

    def forward(self, u: torch.Tensor, v: torch.Tensor, **prologue) -> torch.Tensor:
        """Fuse u and v, each [N, C, H, W].

        Parameters
        ----------
        u, v : Tensor [N, C, H, W]
            The context and the detail branch.
        **prologue
            u_scale, u_shift, v_scale, v_shift, negative_slope; see `selective_fusion`.

        Returns
        -------
        Tensor [N, C, H, W]
        """
        return select(u, v, self.conv_fc1, self.bn_fc1, self.conv_fc2, **prologue)

    def extra_repr(self) -> str:
        return f"{self.conv_fc1.in_channels}, hidden={self.conv_fc1.out_channels}"


def gate(x, fc1, fc2, conv, norm=None, *, mean_first: bool = False, **rest) -> torch.Tensor:
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


def select(u, v, fc1, norm, fc2, **prologue) -> torch.Tensor:
    """`selective_fusion` with the weights of these modules: 1x1 convolutions, a norm or None.

    fc2 gives both branches' logits, u's first.
    """
    (a_weight, b_weight), biases = fc2.weight.flatten(1).chunk(2), (None, None)
    if fc2.bias is not None:
        biases = fc2.bias.chunk(2)
    return selective_fusion(
        u,
        v,
        fc1.weight.flatten(1),
        fc1.bias,
        a_weight,
        biases[0],
        b_weight,
        biases[1],
        **({} if norm is None else norm_arguments(norm)),
        **prologue,
    )


def norm_arguments(norm: nn.Module) -> dict:
    """What an operation needs of a batch norm module; counts the batch as that module would."""
    if norm.momentum is None:
        raise ValueError("norm.momentum is None (a cumulative average); a number is needed")
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return {
        "norm_weight": norm.weight,
        "norm_bias": norm.bias,
        "running_mean": norm.running_mean,
        "running_var": norm.running_var,
        "training": norm.training,
        "momentum": norm.momentum,
        "eps": norm.eps,
    }


def _at_least_1(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; at least 1 is needed")
