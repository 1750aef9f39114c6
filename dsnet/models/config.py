"""What a network is made of: the rungs of the paper's ablation, and all that a model's file says.

Public
------
``VARIANTS``: name -> ``Variant(network, fusion, soft_loss, gan_loss)``, in the order of table 3
``DSNetConfig``, ``RANGES``: its numbers' ranges
``teacher_settings(config) -> dict``: the arguments of `SRResNet` that a configuration describes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from dsnet.arguments import Range
from dsnet.models.peers import PEERS, Peer
from dsnet.models.srgan import RANGES as TEACHER_RANGES
from dsnet.models.srgan import SCALE

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

    network: str  # "unet", "backbone" or "peer"
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
PEERS_RUNG = Variant("peer", None, False, False)


@dataclass(frozen=True)
class DSNetConfig:
    """What a DSNet is made of; `save_model` keeps it with the weights.

    Attributes
    ----------
    variant : str
        A name in `VARIANTS` or in `PEERS`.
    width, depth, reduction : int
        Of `Backbone`, or width and depth of `UNet` or of `PeerNetwork`.
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
        names = (*VARIANTS, *PEERS)
        if not isinstance(self.variant, str) or self.variant not in names:
            raise ValueError(f"variant must be one of {', '.join(names)}, got {self.variant!r}")
        for name, allowed in RANGES.items():
            allowed.check(name, getattr(self, name))
        for name in ("teacher_global_skip", "mark_input"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be a bool, got {getattr(self, name)!r}")
        if self.peer and self.width % self.peer.width_step:
            raise ValueError(
                f"width must be a multiple of {self.peer.width_step} for variant "
                f"{self.variant!r}, got {self.width}"
            )
        if self.peer and self.depth < self.peer.least_depth:
            raise ValueError(
                f"depth must be at least {self.peer.least_depth} for variant {self.variant!r}, "
                f"got {self.depth}"
            )
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
        return VARIANTS.get(self.variant, PEERS_RUNG)

    @property
    def peer(self) -> Peer | None:
        return PEERS.get(self.variant)

    @property
    def uses_teacher(self) -> bool:
        return self.rung.fusion is not None

    @property
    def multiple(self) -> int:
        """What sides on the output grid are filled up to a multiple of."""
        return 2**self.depth if self.peer is None else self.peer.multiple(self.depth)

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


def teacher_settings(config: DSNetConfig) -> dict:
    """The arguments of `SRResNet` that a configuration describes."""
    return {
        "channels": config.teacher_channels,
        "blocks": config.teacher_blocks,
        "features": config.teacher_features,
        "global_skip": config.teacher_global_skip,
    }
