"""The perceptual loss of SRGAN: distance of two images in VGG19's features.

Public
------
``PerceptualLoss(weights=None)``, ``.forward(prediction, target) -> scalar``

Ledig et al. 2017, equation 5, with VGG5,4: the features of the fourth convolution before the fifth
pooling, after its activation. The weights are those of an ImageNet VGG19 in torchvision's layout.
They are not part of this package: without them train with `dsnet.losses.sr_pixel_loss`, which is
a complete loss.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from dsnet.losses import sr_pixel_loss

# Convolutions between the poolings, up to conv5_4 and its ReLU.
STAGES = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)
# ImageNet's, which the weights were trained with.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# Ledig et al. 2017, section 3.2: brings the loss to the scale of the mean squared error.
FEATURE_SCALE = 1 / 12.75
ADVICE = (
    "give the file of torchvision's VGG19 weights (vgg19-dcbd9e9d.pth) as weights, or install"
    " torchvision; the pixel loss needs neither"
)


class PerceptualLoss(nn.Module):
    """Mean squared difference of VGG19 features.

    Parameters
    ----------
    weights : path, optional
        File with a state dict of torchvision's VGG19. Without, torchvision itself is asked, which
        downloads it once.

    Raises
    ------
    ImportError
        Without `weights`, if torchvision is not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file does not hold VGG19's convolutions.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, weights: str | os.PathLike | None = None):
        super().__init__()
        self.features = vgg19_features()
        if weights is None:
            state = _from_torchvision()
        elif not Path(weights).is_file():
            raise FileNotFoundError(f"weights must be a file, got {os.fspath(weights)}")
        else:
            try:
                state = torch.load(weights, map_location="cpu", weights_only=True)
            except Exception as error:  # torch has many for what is no file of its own
                raise ValueError(
                    f"weights must be VGG19's, got {weights}, which cannot be read "
                    f"({type(error).__name__}): {ADVICE}"
                ) from error
            if not isinstance(state, dict):
                raise ValueError(f"weights must be VGG19's, got a {type(state).__name__}: {ADVICE}")
        wanted = self.features.state_dict()
        found = {name: state.get(f"features.{name}") for name in wanted}
        wrong = [
            n
            for n, v in found.items()
            if not isinstance(v, torch.Tensor) or v.shape != wanted[n].shape
        ]
        if wrong:
            raise ValueError(f"weights must be VGG19's, got none for features.{wrong[0]}: {ADVICE}")
        self.features.load_state_dict(found)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> PerceptualLoss:
        """Stays in evaluation mode."""
        return super().train(False)

    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compare two images.

        Parameters
        ----------
        prediction, target : Tensor [N, 1 or 3, H, W]
            In 0..1; grey is repeated. H and W are at least 16, for four poolings.

        Returns
        -------
        Tensor []
        """
        x, y = self._embed(prediction), self._embed(target)
        return sr_pixel_loss(x * FEATURE_SCALE, y * FEATURE_SCALE)

    def _embed(self, image: torch.Tensor) -> torch.Tensor:
        return self.features((image.expand(-1, 3, -1, -1) - self.mean) / self.std)


def vgg19_features() -> nn.Sequential:
    """VGG19 (Simonyan and Zisserman 2015, configuration E) up to conv5_4 and its activation."""
    layers, channels = [], 3
    for stage in STAGES:
        if layers:
            layers.append(nn.MaxPool2d(2))
        for width in stage:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers)


def _from_torchvision() -> dict[str, torch.Tensor]:
    try:
        from torchvision.models import VGG19_Weights  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(f"the perceptual loss needs the weights of VGG19: {ADVICE}") from error
    return VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
