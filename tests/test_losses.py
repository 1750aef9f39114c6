"""Losses: the paper's equations by hand, its weights, finite on empty masks."""

import math

import pytest
import torch

from dsnet import losses
from dsnet.losses import (
    dice_loss,
    gan_discriminator_loss,
    gan_generator_loss,
    segmentation_losses,
    soft_mask_loss,
    sr_pixel_loss,
)


def test_weights_of_the_paper():
    assert (losses.DICE_WEIGHT, losses.SOFT_WEIGHT, losses.GAN_WEIGHT) == (0.5, 100, 1)
    assert losses.SR_ADVERSARIAL_WEIGHT == 1e-3


def test_dice_is_equation_2():
    x = torch.zeros(2, 1, 40, 40)
    y = torch.zeros(2, 1, 40, 40)
    x[0, :, :30], y[0, :, :20] = 1, 1  # 1200 and 800 pixels, 800 of them in common
    x[1, :, :20], y[1, :, 20:] = 1, 1  # nothing in common
    paper = (1 - 2 * 800 / 2000 + 1) / 2
    # The smoothing pixel moves it by less than a thousandth at this size.
    assert dice_loss(x, y).item() == pytest.approx(paper, abs=1e-3)
    exact = (1 - 1601 / 2001 + 1 - 1 / 1601) / 2
    assert dice_loss(x, y).item() == pytest.approx(exact, rel=1e-5)
    assert dice_loss(y, y).item() == pytest.approx(0, abs=1e-6)


def test_soft_mask_loss_is_the_mean_difference():
    x = torch.tensor([[0.25, 1.0], [0.5, 0.0]])[None, None]
    assert soft_mask_loss(x, torch.zeros_like(x)).item() == pytest.approx(1.75 / 4)


def test_gan_losses_are_cross_entropies():
    real, fake = torch.randn(2, 1, 5, 5), torch.randn(2, 1, 5, 5)
    d_real, d_fake = torch.sigmoid(real), torch.sigmoid(fake)
    expected = -(d_real.log().mean() + (1 - d_fake).log().mean()) / 2
    assert torch.allclose(gan_discriminator_loss(real, fake), expected)
    assert torch.allclose(gan_generator_loss(fake), -d_fake.log().mean())
    undecided = torch.zeros(1, 1, 2, 2)
    assert gan_discriminator_loss(undecided, undecided).item() == pytest.approx(math.log(2))
    certain = torch.full((1, 1, 2, 2), 1e4)
    assert gan_generator_loss(-certain).item() == pytest.approx(1e4)
    assert gan_discriminator_loss(certain, -certain).item() == 0


def test_total_is_equation_6():
    prediction, soft = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    fake = torch.randn(2, 1, 8, 8)
    out = segmentation_losses(prediction, soft, fake_logits=fake)
    assert torch.equal(out.dice, dice_loss(prediction, soft >= 0.5))
    assert torch.allclose(out.total, 0.5 * out.dice + 100 * out.soft + 1 * out.gan)
    no_gan = segmentation_losses(prediction, soft)
    assert no_gan.gan.item() == 0
    assert torch.allclose(no_gan.total, 0.5 * out.dice + 100 * out.soft)
    dice_only = segmentation_losses(prediction, soft, use_soft=False)
    assert torch.allclose(dice_only.total, 0.5 * out.dice)
    assert torch.equal(dice_only.soft, out.soft)
    own = segmentation_losses(prediction, soft, soft >= 0.9)
    assert torch.equal(own.dice, dice_loss(prediction, soft >= 0.9))


def test_weights_are_arguments():
    prediction, soft, fake = (torch.rand(2, 1, 8, 8) for _ in range(3))
    out = segmentation_losses(prediction, soft, fake_logits=fake, soft_weight=10.0, gan_weight=0.25)
    assert torch.allclose(out.total, 0.5 * out.dice + 10 * out.soft + 0.25 * out.gan)
    none = segmentation_losses(prediction, soft, soft_weight=0.0)
    assert torch.equal(none.total, 0.5 * out.dice) and torch.equal(none.soft, out.soft)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("predicted", [0.0, 1.0, None])
@pytest.mark.parametrize("true", [0.0, 1.0])
def test_finite_on_empty_and_full_masks(dtype, predicted, true):
    torch.manual_seed(0)
    values = torch.rand(2, 1, 256, 256) if predicted is None else None
    values = torch.full((2, 1, 256, 256), predicted) if values is None else values
    prediction = values.to(dtype).requires_grad_()
    soft = torch.full((2, 1, 256, 256), true)
    out = segmentation_losses(prediction, soft, fake_logits=20 * prediction - 10)
    out.total.backward()
    for value in out:
        assert value.dtype == torch.float32
        assert value.isfinite()
    assert prediction.grad.isfinite().all()
    if predicted == true:
        assert out.dice.item() == pytest.approx(0, abs=1e-6)


def test_float64_stays_and_gradients_are_right():
    torch.manual_seed(0)
    x = torch.rand(2, 1, 3, 3, dtype=torch.float64).requires_grad_()
    y = torch.rand(2, 1, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: segmentation_losses(t, y, fake_logits=t).total, x)


def test_no_sync_with_the_device():
    """Meta tensors hold no values: whatever would read one raises."""
    x = torch.rand(2, 1, 8, 8, device="meta", requires_grad=True)
    out = segmentation_losses(x, x.detach(), fake_logits=x)
    out.total.backward()
    assert gan_discriminator_loss(x, x).shape == ()
    assert sr_pixel_loss(x, x).shape == ()


@pytest.mark.parametrize("loss", [dice_loss, soft_mask_loss, sr_pixel_loss])
def test_shapes_must_agree(loss):
    with pytest.raises(ValueError, match=r"target must have the shape .*, got \[2, 1, 4, 1\]"):
        loss(torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 1))
