"""The losses of DSNet and of its SRGAN teacher.

Public
------
``dice_loss(prediction, target)``                      equation 2
``soft_mask_loss(prediction, target)``                 equation 3
``gan_generator_loss(fake_logits)``                    equations 4, 5, DSNet's half
``gan_discriminator_loss(real_logits, fake_logits)``   equations 4, 5, the discriminator's half
``DICE_WEIGHT, SOFT_WEIGHT, GAN_WEIGHT = 0.5, 100.0, 1.0``   equation 6
``segmentation_losses(prediction, soft, binary=None, fake_logits=None, *, use_soft=True,
    soft_weight=SOFT_WEIGHT, gan_weight=GAN_WEIGHT)``
    ``-> Losses(total, dice, soft, gan)``, all scalar tensors, gan 0 without `fake_logits`
``sr_pixel_loss``, ``sr_adversarial_loss``, ``SR_ADVERSARIAL_WEIGHT = 1e-3``

Everything is computed in float32 or wider, is a tensor on the inputs' device, never waits for
the device, and is finite with finite gradients on empty and on full masks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

# Paper, equation 6: lambda 1, 2, 3. Adam takes no notice of a common factor, so that the first one
# is the unit of the others.
DICE_WEIGHT = 0.5
SOFT_WEIGHT = 100.0
GAN_WEIGHT = 1.0
# Pixels added to numerator and denominator of the Dice loss, so that two empty masks agree.
DICE_SMOOTH = 1.0
# Ledig et al. 2017, equation 3.
SR_ADVERSARIAL_WEIGHT = 1e-3


class Losses(NamedTuple):
    """Scalars; `total` is what to differentiate, the others are unweighted."""

    total: torch.Tensor
    dice: torch.Tensor
    soft: torch.Tensor
    gan: torch.Tensor


def dice_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """One minus the Dice overlap, averaged over the batch (paper, equation 2).

    ``1 - (2 sum(x y) + 1) / (sum(x) + sum(y) + 1)`` for every sample. The paper counts pixels of
    a binary prediction, which has no gradient; as in V-Net (Milletari et al. 2016), which it
    cites, the soft prediction stands in. The paper does not state a smoothing term; one pixel
    makes the loss of two empty masks 0.

    Parameters
    ----------
    prediction : Tensor [N, ...]
        In 0..1.
    target : Tensor [N, ...]
        Binary mask, any dtype.

    Returns
    -------
    Tensor []

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    x, y = _pair(prediction, target)
    x, y = x.flatten(1), y.flatten(1)
    overlap = 2 * (x * y).sum(1) + DICE_SMOOTH
    return (1 - overlap / (x.sum(1) + y.sum(1) + DICE_SMOOTH)).mean()


def soft_mask_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of two soft masks (paper, equation 3).

    The paper does not say whether its L1 distance is a sum or a mean; a mean is what pix2pix
    weighs by the same 100.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    x, y = _pair(prediction, target)
    return (x - y).abs().mean()


def gan_generator_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    """``-log D(x, S(x))``, mean over all pixels (paper, equations 4 and 5, minimised by S).

    Instead of minimising ``log(1 - D)``, whose gradient vanishes when D is right, -log D is
    minimised, as Goodfellow et al. 2014 advise and pix2pix does.
    """
    return F.softplus(-_wide(fake_logits)).mean()


def gan_discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """``-(log D(x, y) + log(1 - D(x, S(x)))) / 2`` (paper, equations 4 and 5, minimised by D).

    Halved as in pix2pix, to slow D down against S. Detach the prediction before.
    """
    real, fake = _wide(real_logits), _wide(fake_logits)
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def segmentation_losses(
    prediction: torch.Tensor,
    soft: torch.Tensor,
    binary: torch.Tensor | None = None,
    fake_logits: torch.Tensor | None = None,
    *,
    use_soft: bool = True,
    soft_weight: float = SOFT_WEIGHT,
    gan_weight: float = GAN_WEIGHT,
) -> Losses:
    """Everything that the segmentation network minimises (paper, equation 6).

    Parameters
    ----------
    prediction : Tensor [N, 1, H, W]
        Soft mask in 0..1.
    soft : Tensor [N, 1, H, W]
        True soft mask.
    binary : Tensor [N, 1, H, W], optional
        True binary mask; where `soft` is at least 0.5 when not given.
    fake_logits : Tensor, optional
        The discriminator's verdict on `prediction`; without it there is no adversarial term.
    use_soft : bool
        Off for the rungs of the ablation before "soft-loss"; the value is still reported.
    soft_weight, gan_weight : float
        Of the soft mask loss and the adversarial one, beside `DICE_WEIGHT` of the Dice loss.

    Returns
    -------
    Losses
    """
    binary = soft >= 0.5 if binary is None else binary
    dice = dice_loss(prediction, binary)
    distance = soft_mask_loss(prediction, soft)
    total = DICE_WEIGHT * dice
    if use_soft:
        total = total + soft_weight * distance
    gan = torch.zeros_like(dice)
    if fake_logits is not None:
        gan = gan_generator_loss(fake_logits)
        total = total + gan_weight * gan
    return Losses(total, dice, distance, gan)


def sr_pixel_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean squared error of two images (Ledig et al. 2017, equation 4).

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    x, y = _pair(prediction, target)
    return (x - y).square().mean()


def sr_adversarial_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    """``-log D(G(x))``, mean over the batch (Ledig et al. 2017, equation 6).

    There it is a sum; the mean keeps the weight of 1e-3 right for any batch size. The
    discriminator's half is `gan_discriminator_loss`.
    """
    return F.softplus(-_wide(fake_logits)).mean()


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _pair(prediction: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if prediction.shape != target.shape:
        raise ValueError(
            f"target must have the shape of prediction {list(prediction.shape)}, got "
            f"{list(target.shape)}"
        )
    return _wide(prediction), _wide(target)
