"""DSNet: teacher, fusion and backbone in one module, and every rung of the paper's ablation.

Public
------
``VARIANTS``: name -> ``Variant(network, fusion, soft_loss, gan_loss)``, in the order of table 3:
    unet, backbone, sr-input, edrfm, sdrfm, soft-loss, dsnet
``DSNetConfig(variant="dsnet", width=64, depth=4, reduction=16, image_channels=3, scale=4,
    teacher_channels=1, teacher_blocks=16, teacher_features=64, teacher_global_skip=False,
    neighbours=0, mark_input=False)``
    ``.rung -> Variant``, ``.uses_teacher -> bool``, ``.extra_channels -> int``
``build(config="dsnet", *, teacher=None, **settings) -> DSNet``
``DSNet.forward(image, teacher_outputs=None) -> soft mask, float32 in 0..1``
    [N, 1 or image_channels, H, W] to [N, 1, scale * H, scale * W]; of a network that sees more than
    the slice [N, 1 + extra_channels, H, W]: slice, neighbours (below, above, two below, ...), mark
``DSNet.logits(image, teacher_outputs=None)``: the same before the sigmoid
``DSNet.teach(image) -> SROutputs(image, features) or None``: what `teacher_outputs` takes
``DSNet.predict(image, threshold=0.5, flips=False) -> (soft, binary)`` on the input's grid
``DSNet.trainable_parameters() -> list``: all but the frozen teacher's

The mask lies on the grid of the super-resolved image, where the fusion and the first level of the
backbone work (256x256 for a 64x64 crop). All variants, the plain U-Net included, work on that
grid, so that their masks and figures compare. `grid.to_output_grid` brings a label there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import torch
from torch import nn

from dsnet.console import Range
from dsnet.models.fusion import EDRFM, SDRFM
from dsnet.models.grid import interpolate, to_input_grid
from dsnet.models.srgan import RANGES as TEACHER_RANGES
from dsnet.models.srgan import SCALE, SROutputs, SRResNet
from dsnet.models.unet import Backbone, UNet
from dsnet.models.views import mean_over_views

# Share of a crop that is lesion before anything is learnt: the head's bias starts at its logit
# (Lin et al. 2017). The paper does not state it; from a half, the first steps are spent on the
# background alone.
FOREGROUND_PRIOR = 0.1
# The upper bounds are far beyond what is of use, and far below what no machine could hold.
RANGES = {
    "width": Range(int, 1, 4096),
    "depth": Range(int, 1, 10),
    "reduction": Range(int, 1, 65536),
    "image_channels": Range(int, 1, 1024),
    "scale": Range(int, 1, 64),
    **{f"teacher_{name}": allowed for name, allowed in TEACHER_RANGES.items()},
    "neighbours": Range(int, 0, 8),
}


class Variant(NamedTuple):
    """One rung of the ablation (paper, table 3)."""

    network: str  # "unet" or "backbone"
    fusion: str | None  # None, "sr", "edrfm" or "sdrfm"
    soft_loss: bool
    gan_loss: bool


VARIANTS = {
    "unet": Variant("unet", None, False, False),
    "backbone": Variant("backbone", None, False, False),
    "sr-input": Variant("backbone", "sr", False, False),
    "edrfm": Variant("backbone", "edrfm", False, False),
    "sdrfm": Variant("backbone", "sdrfm", False, False),
    "soft-loss": Variant("backbone", "sdrfm", True, False),
    "dsnet": Variant("backbone", "sdrfm", True, True),
}


@dataclass(frozen=True)
class DSNetConfig:
    """What a DSNet is made of; `save_model` keeps it with the weights.

    Attributes
    ----------
    variant : str
        A name in `VARIANTS`.
    width, depth, reduction : int
        Of `Backbone`, or width and depth of `UNet`.
    image_channels : int
        Channels in which interpolated and SR image enter the network. A grey image is repeated
        to them. 3 is the paper's (6 and 70 in figure 4); 1 spans the same functions for less.
    scale : int
        Output grid per input grid; 4 wherever there is a teacher.
    teacher_channels, teacher_blocks, teacher_features, teacher_global_skip
        Of `SRResNet`.
    neighbours : int
        Slices on either side that the network sees beside its own.
    mark_input : bool
        Whether the network sees the mark, as `mark_plane` draws it.
    """

    variant: str = "dsnet"
    width: int = 64
    depth: int = 4
    reduction: int = 16
    image_channels: int = 3
    scale: int = SCALE
    teacher_channels: int = 1
    teacher_blocks: int = 16
    teacher_features: int = 64
    teacher_global_skip: bool = False
    neighbours: int = 0
    mark_input: bool = False

    def __post_init__(self):
        if not isinstance(self.variant, str) or self.variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {self.variant!r}")
        for name, allowed in RANGES.items():
            allowed.check(name, getattr(self, name))
        for name in ("teacher_global_skip", "mark_input"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be a bool, got {getattr(self, name)!r}")
        if self.uses_teacher and self.scale != SCALE:
            raise ValueError(
                f"scale must be {SCALE}, the teacher's, for variant {self.variant!r}, got "
                f"{self.scale}"
            )
        if 1 not in (self.image_channels, self.teacher_channels) and (
            self.image_channels != self.teacher_channels
        ):
            raise ValueError(
                "image_channels and teacher_channels must be equal, or one of them 1, got "
                f"{self.image_channels} and {self.teacher_channels}"
            )

    @property
    def rung(self) -> Variant:
        return VARIANTS[self.variant]

    @property
    def uses_teacher(self) -> bool:
        return self.rung.fusion is not None

    @property
    def extra_channels(self) -> int:
        """Planes of an input beside the slice itself."""
        return 2 * self.neighbours + self.mark_input

    @property
    def inputs(self) -> str:
        """The planes of an input, in words."""
        words = ["the slice"]
        if self.neighbours:
            words.append(f"its {2 * self.neighbours} neighbours")
        if self.mark_input:
            words.append("the mark's plane")
        return ", ".join(words)


class DSNet(nn.Module):
    """A rung of the ablation, up to the full network (paper, figure 3).

    Parameters
    ----------
    config : DSNetConfig
    teacher : SRResNet, optional
        Trained; taken as it is and frozen. Without it the config's is made, with fresh weights.

    Raises
    ------
    ValueError
        If the teacher is not the one that the config describes.
    """

    def __init__(self, config: DSNetConfig, teacher: SRResNet | None = None):
        super().__init__()
        self.config = config
        channels = config.image_channels
        self.teacher = None
        if config.uses_teacher:
            described = teacher_settings(config)
            self.teacher = SRResNet(**described) if teacher is None else teacher
            if self.teacher.config != described:
                raise ValueError(f"teacher must be of {described}, got {self.teacher.config}")
            self.teacher.requires_grad_(False).eval()
        self.fusion = None
        fused = channels
        if config.rung.fusion in ("edrfm", "sdrfm"):
            fused = config.width
            if config.rung.fusion == "edrfm":
                self.fusion = EDRFM(channels, config.teacher_features, fused)
            else:
                self.fusion = SDRFM(channels, config.teacher_features, fused, config.reduction)
        # What the network sees beside the slice enters its first convolution.
        fused += config.extra_channels
        if config.rung.network == "unet":
            self.network = UNet(fused, 1, config.width, config.depth)
        else:
            self.network = Backbone(fused, 1, config.width, config.depth, config.reduction)
        logit = math.log(FOREGROUND_PRIOR / (1 - FOREGROUND_PRIOR))
        nn.init.constant_(cast(nn.Parameter, self.network.head.bias), logit)

    def train(self, mode: bool = True) -> DSNet:
        """As in `torch.nn.Module.train`; the frozen teacher stays in evaluation mode."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def trainable_parameters(self) -> list[nn.Parameter]:
        """All parameters but the teacher's."""
        return [p for p in self.parameters() if p.requires_grad]

    def teach(self, image: torch.Tensor) -> SROutputs | None:
        """What the teacher says of an image, without gradient; None where there is no teacher.

        Under autocast the outputs have its lower precision.
        """
        if self.teacher is None:
            return None
        with torch.no_grad():
            return self.teacher(_with_channels(self.slice_of(image), self.config.teacher_channels))

    def slice_of(self, image: torch.Tensor) -> torch.Tensor:
        """The slice itself of an input [N, C, H, W], without what else the network sees."""
        return image[:, :1] if self.config.extra_channels else image

    def logits(self, image: torch.Tensor, teacher_outputs: SROutputs | None = None) -> torch.Tensor:
        """`forward` before the sigmoid, in the network's own precision."""
        config = self.config
        extra = config.extra_channels
        if extra and (image.ndim != 4 or image.shape[1] != 1 + extra):
            raise ValueError(
                f"image must be [N, {1 + extra}, H, W], {config.inputs}, got {list(image.shape)}"
            )
        if image.ndim != 4 or (not extra and image.shape[1] not in (1, config.image_channels)):
            raise ValueError(
                f"image must be [N, 1 or {config.image_channels}, H, W], got {list(image.shape)}"
            )
        beside, image = image[:, 1:] if extra else None, self.slice_of(image)
        sr = None
        if config.uses_teacher:
            sr = self.teach(image) if teacher_outputs is None else SROutputs(*teacher_outputs)
        if sr is None:
            return self._network(self._enlarged(image), beside)
        expected = tuple(config.scale * side for side in image.shape[2:])
        if sr.image.shape[2:] != expected:
            raise ValueError(
                f"teacher_outputs must have an image [..., {expected[0]}, {expected[1]}], got "
                f"{list(sr.image.shape)}"
            )
        sr_image = _with_channels(_like(sr.image, image), config.image_channels)
        if self.fusion is None:
            return self._network(sr_image, beside)
        fused = self.fusion(self._enlarged(image), sr_image, _like(sr.features, image))
        return self._network(fused, beside)

    def forward(
        self, image: torch.Tensor, teacher_outputs: SROutputs | None = None
    ) -> torch.Tensor:
        """Segment.

        Parameters
        ----------
        image : Tensor [N, 1 or image_channels, H, W], or [N, 1 + extra_channels, H, W]
            In 0..1 after the HU window: the slice, and what else the config says that the network
            sees. Then the slice comes first, its neighbours second (one below, one above, two
            below, ...), and last `mark_plane`.
        teacher_outputs : SROutputs, optional
            What `teach` said of this very image, to save its computation.

        Returns
        -------
        Tensor [N, 1, scale * H, scale * W]
            The soft mask, float32 (float64 for a float64 model) in 0..1 whatever the network's
            precision, since the soft mask loss weighs small differences by 100.

        Raises
        ------
        ValueError
            For shapes that do not fit.
        """
        logits = self.logits(image, teacher_outputs)
        return torch.sigmoid(logits.to(torch.promote_types(logits.dtype, torch.float32)))

    @torch.no_grad()
    def predict(
        self, image: torch.Tensor, threshold: float = 0.5, flips: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Soft and binary mask on the input's grid, in evaluation mode.

        With `flips` the mean over an image's mirror images, see `mean_over_views`.

        Returns
        -------
        tuple of Tensor [N, 1, H, W] float32 and Tensor [N, 1, H, W] bool
            The soft mask, averaged over each input pixel, and where it is at least `threshold`.
        """
        was_training = self.training
        self.eval()
        try:
            soft = mean_over_views(self._coarse, image) if flips else self._coarse(image)
        finally:
            self.train(was_training)
        return soft, soft >= threshold

    def _network(self, first: torch.Tensor, beside: torch.Tensor | None) -> torch.Tensor:
        """Logits of what the fusion gives and the planes beside the slice."""
        if beside is None:
            return self.network(first)
        beside = interpolate(beside, self.config.scale).to(first.dtype)
        return self.network(torch.cat([first, beside], 1))

    def _coarse(self, image: torch.Tensor) -> torch.Tensor:
        return to_input_grid(self(image), self.config.scale)

    def _enlarged(self, image: torch.Tensor) -> torch.Tensor:
        return _with_channels(interpolate(image, self.config.scale), self.config.image_channels)


def build(
    config: DSNetConfig | str = "dsnet", *, teacher: SRResNet | None = None, **settings
) -> DSNet:
    """Make a network with fresh weights.

    Parameters
    ----------
    config : DSNetConfig or str
        A configuration, or the name of a variant.
    teacher : SRResNet, optional
        A trained teacher; its own settings replace the config's. Ignored by variants without.
    **settings
        Fields of `DSNetConfig` that replace the config's, ``width=16`` for example.

    Raises
    ------
    ValueError
        For a variant or a value that is not allowed.
    TypeError
        For a setting that does not exist.
    """
    if isinstance(config, str):
        config = DSNetConfig(variant=config, **settings)
    elif isinstance(config, DSNetConfig):
        config = replace(config, **settings)
    else:
        raise TypeError(f"config must be a DSNetConfig or str, got {type(config).__name__}")
    if teacher is not None and config.uses_teacher:
        own = {f"teacher_{name}": value for name, value in teacher.config.items()}
        config = replace(config, **own)
    return DSNet(config, teacher)


def teacher_settings(config: DSNetConfig) -> dict:
    """The arguments of `SRResNet` that a configuration describes."""
    return {
        "channels": config.teacher_channels,
        "blocks": config.teacher_blocks,
        "features": config.teacher_features,
        "global_skip": config.teacher_global_skip,
    }


def _with_channels(image: torch.Tensor, channels: int) -> torch.Tensor:
    """Repeat a grey image, or average an image of equal channels to grey."""
    if image.shape[1] == channels:
        return image
    if channels == 1:
        return image.mean(1, keepdim=True)
    return image.expand(-1, channels, -1, -1)


def _like(tensor: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """In the image's dtype, for cached outputs of another; autocast sees to that by itself."""
    if tensor.dtype == image.dtype or torch.is_autocast_enabled(image.device.type):
        return tensor
    return tensor.to(image.dtype)
