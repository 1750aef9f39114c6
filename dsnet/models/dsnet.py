"""DSNet: teacher, fusion and backbone in one module, and every rung of the paper's ablation.

Public
------
``VARIANTS``: name -> ``Variant(network, fusion, soft_loss, gan_loss)``, in the order of table 3:
    unet, backbone, sr-input, edrfm, sdrfm, soft-loss, dsnet; `dsnet.models.PEERS` has the networks
    of other packages that may stand in their place, trained as "unet" is
``DSNetConfig(variant="dsnet", width=64, depth=4, reduction=16, image_channels=3, scale=4,
    teacher_channels=1, teacher_blocks=16, teacher_features=64, teacher_global_skip=False,
    neighbours=0, mark_input=False)``
    ``.rung -> Variant``, ``.peer -> Peer or None``, ``.uses_teacher``, ``.multiple``,
    ``.extra_channels``
``build(config="dsnet", *, teacher=None, **settings) -> DSNet``
``DSNet.forward(image, teacher_outputs=None) -> soft mask, float32 in 0..1``
    [N, 1 or image_channels, H, W] to [N, 1, scale * H, scale * W]; of a network that sees more than
    the slice [N, 1 + extra_channels, H, W]: slice, neighbours (below, above, two below, ...), mark
``DSNet.logits(image, teacher_outputs=None)``: the same before the sigmoid
``DSNet.teach(image) -> SROutputs(image, features) or None``: what `teacher_outputs` takes
``DSNet.predict(image, threshold=None, flips=False) -> (soft, binary)`` on the input's grid
``DSNet.expect(share)``: begin with that share of a crop as lesion, where it is more than half
``DSNet.threshold``: where its binary masks begin, None where nobody chose; its file keeps it
``threshold_of(model) -> float``: the same, one half where nobody chose
``DSNet.trainable_parameters() -> list``: all but the frozen teacher's

The mask lies on the grid of the super-resolved image, where the fusion and the first level of the
backbone work (256x256 for a 64x64 crop). All variants, the plain U-Net included, work on that
grid, so that their masks and figures compare. `grid.to_output_grid` brings a label there.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import torch
from torch import nn

from dsnet.models.config import DSNetConfig, teacher_settings
from dsnet.models.fusion import EDRFM, SDRFM
from dsnet.models.grid import interpolate, to_input_grid
from dsnet.models.peers import PeerNetwork
from dsnet.models.srgan import SROutputs, SRResNet
from dsnet.models.unet import Backbone, UNet
from dsnet.models.views import mean_over_views

# Where a soft mask becomes a binary one, of a network for which nobody chose.
ONE_HALF = 0.5
# Share of a crop that is lesion before anything is learnt: the head's bias starts at its logit
# (Lin et al. 2017). The paper does not state it; from a half, the first steps are spent on the
# background alone.
FOREGROUND_PRIOR = 0.1
# Of crops that are mostly lesion, at most.
GREATEST_PRIOR = 0.9


class DSNet(nn.Module):
    """A rung of the ablation, up to the full network (paper, figure 3).

    Parameters
    ----------
    config : DSNetConfig
    teacher : SRResNet, optional
        Trained; taken as it is and frozen. Without it the config's is made, with fresh weights.

    Attributes
    ----------
    config : DSNetConfig
    threshold : float or None
        From where on a pixel of the soft mask is lesion, as chosen on validation cases.

    Raises
    ------
    ValueError
        If the teacher is not the one that the config describes.
    """

    def __init__(self, config: DSNetConfig, teacher: SRResNet | None = None):
        super().__init__()
        self.config = config
        self.threshold: float | None = None
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
        if config.peer is not None:
            self.network = PeerNetwork(config.variant, fused, config.width, config.depth)
        elif config.rung.network == "unet":
            self.network = UNet(fused, 1, config.width, config.depth)
        else:
            self.network = Backbone(fused, 1, config.width, config.depth, config.reduction)
        self._begin_at(FOREGROUND_PRIOR)

    def expect(self, share: float) -> None:
        """Begin with `share` of a crop as lesion, where that is more than half.

        From a tenth, the last features of every other column may die in all channels where most of
        a crop is to be found, as the inside of cells; no gradient reaches them, and their pixels
        stay near a tenth for good.

        Parameters
        ----------
        share : float
            Mean of the soft masks to learn from.
        """
        if share > ONE_HALF:
            self._begin_at(min(share, GREATEST_PRIOR))

    def _begin_at(self, share: float) -> None:
        logit = math.log(share / (1 - share))
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
        self, image: torch.Tensor, threshold: float | None = None, flips: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Soft and binary mask on the input's grid, in evaluation mode.

        With `flips` the mean over an image's mirror images, see `mean_over_views`.

        Returns
        -------
        tuple of Tensor [N, 1, H, W] float32 and Tensor [N, 1, H, W] bool
            The soft mask, averaged over each input pixel, and where it is at least `threshold`,
            by default the network's own (`threshold_of`).
        """
        was_training = self.training
        self.eval()
        try:
            soft = mean_over_views(self._coarse, image) if flips else self._coarse(image)
        finally:
            self.train(was_training)
        return soft, soft >= (threshold_of(self) if threshold is None else threshold)

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


def threshold_of(model: nn.Module) -> float:
    """From where on a pixel of a network's soft mask is lesion: its own threshold, or one half."""
    chosen = model.threshold if isinstance(model, DSNet) else None
    return ONE_HALF if chosen is None else chosen


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
