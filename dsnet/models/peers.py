"""Networks of other packages, trained, stored and scored as DSNet's own rungs are.

Public
------
``PEERS``: name -> ``Peer``
``PeerNetwork(name, in_channels, width=64, depth=4)``: [N, in_channels, H, W] to logits
    [N, 1, H, W] for any H, W; ``.head`` is its last convolution

Each is the library's own network with its own settings but for the sizes, without weights from
elsewhere and without deep supervision:

========================  =================================================  ===================
name                      width                                              down-samplings
========================  =================================================  ===================
monai-basic-unet          first level; width, 2, 4, 8 times it below, as     4
                          MONAI's default of 32 has it
monai-basic-unet++        the same                                           4
monai-attention-unet      first level, doubled by every down-sampling; even  depth
monai-segresnet           first level, doubled alike; a multiple of 8 (its   3
                          groups)
monai-dynunet             first level, doubled alike up to 16 times, as      depth, at least 2
                          nnU-Net's (32 to 512)
monai-swin-unetr          features of the first stage; a multiple of 12      5
                          (its heads)
smp-unet, smp-unet++      the decoder's last level, doubled downwards; the   5
                          library's default is 16, its encoder a ResNet-34
smp-deeplabv3+            the decoder (the library's default is 256) on a    4
                          ResNet-34
smp-segformer             the decoder (default 256) on MiT-B0                5
========================  =================================================  ===================

CE-Net, UNet 3+, Inf-Net and MedT, which the paper's tables have or could have, have no package
that is maintained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from dsnet.dependencies import MissingDependency, needed
from dsnet.models.unet import fill_up, require_planes

MAKE = Callable[[str, int, int, int], nn.Module]


def _monai(name: str) -> Any:
    with needed("peers", f"variant {name}"):
        from monai.networks import nets
    return nets


def _basic_unet(name: str, channels: int, width: int, depth: int) -> nn.Module:
    features = (width, width, 2 * width, 4 * width, 8 * width, width)
    return _monai(name).BasicUNet(2, channels, 1, features)


def _basic_unet_plus_plus(name: str, channels: int, width: int, depth: int) -> nn.Module:
    features = (width, width, 2 * width, 4 * width, 8 * width, width)
    net = _monai(name).BasicUNetPlusPlus(2, channels, 1, features, deep_supervision=False)
    # Made all the same, never used: left to learn, they would have no gradient.
    for unused in (net.final_conv_0_1, net.final_conv_0_2, net.final_conv_0_3):
        unused.requires_grad_(False)
    return net


def _attention_unet(name: str, channels: int, width: int, depth: int) -> nn.Module:
    levels = [width * 2**level for level in range(depth + 1)]
    return _monai(name).AttentionUnet(2, channels, 1, levels, [2] * depth)


def _segresnet(name: str, channels: int, width: int, depth: int) -> nn.Module:
    return _monai(name).SegResNet(2, width, channels, 1)


def _dynunet(name: str, channels: int, width: int, depth: int) -> nn.Module:
    return _monai(name).DynUNet(
        2, channels, 1, kernel_size=[3] * (depth + 1), strides=[1] + [2] * depth,
        upsample_kernel_size=[2] * depth, deep_supervision=False,
        filters=[min(width * 2**level, 16 * width) for level in range(depth + 1)],
    )  # fmt: skip


def _swin_unetr(name: str, channels: int, width: int, depth: int) -> nn.Module:
    # MONAI takes it where it is, and fails in the forward pass where it is not.
    with needed("peers", f"variant {name}"):
        import einops  # noqa: F401 # pyright: ignore[reportMissingImports]
    nets = _monai(name)
    return nets.SwinUNETR(in_channels=channels, out_channels=1, feature_size=width, spatial_dims=2)


def _smp(name: str) -> Any:
    try:
        with needed("smp", f"variant {name}"):
            import segmentation_models_pytorch as smp  # pyright: ignore[reportMissingImports]
    except MissingDependency:
        raise
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        # Its torchvision is compiled against one torch, and fails in many ways beside another.
        told = str(error).strip().partition("\n")[0]
        raise ImportError(
            f"variant {name} needs a torchvision that fits torch {torch.__version__}: "
            f"segmentation_models_pytorch could not be imported ({told})"
        ) from error
    return smp


def _smp_unet(kind: str) -> MAKE:
    def make(name: str, channels: int, width: int, depth: int) -> nn.Module:
        return getattr(_smp(name), kind)(
            "resnet34", encoder_weights=None, in_channels=channels, classes=1,
            decoder_channels=[width * 2**level for level in (4, 3, 2, 1, 0)],
        )  # fmt: skip

    return make


def _smp_deeplab(name: str, channels: int, width: int, depth: int) -> nn.Module:
    return _smp(name).DeepLabV3Plus(
        "resnet34", encoder_weights=None, in_channels=channels, classes=1, decoder_channels=width
    )


def _smp_segformer(name: str, channels: int, width: int, depth: int) -> nn.Module:
    return _smp(name).Segformer(
        "mit_b0", encoder_weights=None, in_channels=channels, classes=1,
        decoder_segmentation_channels=width,
    )  # fmt: skip


class Peer(NamedTuple):
    """A network of another package, and what it asks for.

    Attributes
    ----------
    make : callable
        Of the name, the channels that come in, width and depth.
    head : str
        The submodule with the convolution that gives the logits.
    halvings : int or None
        Down-samplings; None where `depth` says.
    width_step : int
        What the width must be a multiple of.
    least_depth : int
    least_batch : int
        Crops of a training step: batch norm after a pooling over the whole image takes no single
        one.
    open_sizes : bool
        Whether `torch.export` can leave height and width open.
    one_graph : bool
        Whether `torch.compile` makes one graph of it, as `dsnet.train --compile` asks.
    """

    make: MAKE
    head: str
    halvings: int | None = None
    width_step: int = 1
    least_depth: int = 1
    least_batch: int = 1
    open_sizes: bool = True
    one_graph: bool = True

    def multiple(self, depth: int) -> int:
        """What sides must be a multiple of."""
        return 2 ** (depth if self.halvings is None else self.halvings)


PEERS = {
    "monai-basic-unet": Peer(_basic_unet, "final_conv", 4, one_graph=False),
    "monai-basic-unet++": Peer(_basic_unet_plus_plus, "final_conv_0_4", 4, one_graph=False),
    "monai-attention-unet": Peer(_attention_unet, "model.2", width_step=2),
    "monai-segresnet": Peer(_segresnet, "conv_final", 3, width_step=8),
    "monai-dynunet": Peer(_dynunet, "output_block", least_depth=2),
    "monai-swin-unetr": Peer(
        _swin_unetr, "out", 5, width_step=12, open_sizes=False, one_graph=False
    ),
    "smp-unet": Peer(_smp_unet("Unet"), "segmentation_head", 5),
    "smp-unet++": Peer(_smp_unet("UnetPlusPlus"), "segmentation_head", 5),
    "smp-deeplabv3+": Peer(_smp_deeplab, "segmentation_head", 4, least_batch=2),
    "smp-segformer": Peer(_smp_segformer, "segmentation_head", 5),
}


class PeerNetwork(nn.Module):
    """A peer for images of any size.

    Parameters
    ----------
    name : str
        A name in `PEERS`.
    in_channels, width, depth : int
        Positive; what the last two mean is told by the table in the module's docstring.

    Raises
    ------
    ImportError
        Without the package that it is of.
    """

    def __init__(self, name: str, in_channels: int, width: int = 64, depth: int = 4):
        super().__init__()
        peer = PEERS[name]
        with _NumbersOnTheCPU():
            self.net = peer.make(name, in_channels, width, depth)
        self.head_name = peer.head
        self.in_channels = in_channels
        self.multiple = peer.multiple(depth)

    @property
    def head(self) -> nn.Conv2d:
        """The convolution that gives the logits."""
        parts = self.net.get_submodule(self.head_name).modules()
        return [part for part in parts if isinstance(part, nn.Conv2d)][-1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map features to logits.

        Parameters
        ----------
        x : Tensor [N, in_channels, H, W]
            Filled up at the bottom and the right as in `unet.UNet`, and so far that the deepest
            level has two pixels, since instance norm takes no single one.

        Returns
        -------
        Tensor [N, 1, H, W]

        Raises
        ------
        ValueError
            For another number of dimensions or channels, or an image without pixels.
        """
        require_planes(x, self.in_channels)
        height, width = x.shape[2:]
        single = height <= self.multiple and width <= self.multiple
        x = fill_up(x, self.multiple)
        if single:
            x = torch.cat([x, x[:, :, :, -1:].expand(-1, -1, -1, self.multiple)], 3)
        logits = self.net(x)
        # UNet++ of MONAI gives a list, of one without deep supervision.
        if isinstance(logits, (list, tuple)):
            logits = logits[-1]
        return logits[:, :, :height, :width]


class _NumbersOnTheCPU(TorchFunctionMode):
    """Lets a network be made on the "meta" device that reads numbers from `torch.linspace`.

    Transformers do so for their rates of stochastic depth.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)
