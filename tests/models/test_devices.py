"""The same figures on every device, without waiting for it, and the same bits twice."""

import copy

import pytest
import torch

from dsnet.losses import gan_discriminator_loss, segmentation_losses
from dsnet.metrics import dice, ppv, sensitivity, soft_mask_mae
from dsnet.models import PixelDiscriminator, build, export_program, interpolate

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """No TF32, no choice of algorithm by timing."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


def tiny(settle, variant: str = "dsnet"):
    torch.manual_seed(0)
    model = build(variant, width=8, depth=2, teacher_blocks=1, teacher_features=8)
    return settle(model, torch.rand(2, 1, 9, 8))


def step(model, judge, image, soft):
    """One adversarial step's losses and gradients, without any value read by the host."""
    mask, condition = model(image), interpolate(image)
    verdict = judge(condition, mask)
    losses = segmentation_losses(mask, soft, fake_logits=verdict)
    losses.total.backward()
    judged = gan_discriminator_loss(judge(condition, soft), judge(condition, mask.detach()))
    figures = [metric(mask, soft) for metric in (dice, sensitivity, ppv, soft_mask_mae)]
    return losses, judged, figures


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("variant", ["unet", "dsnet"])
def test_gradients_are_those_of_float64(device, variant, settle):
    model = tiny(settle, variant)
    judge, exact = PixelDiscriminator(width=4), copy.deepcopy(model).double()
    image, soft = torch.rand(2, 1, 9, 8), torch.rand(2, 1, 36, 32)
    expected, *_ = step(exact, copy.deepcopy(judge).double(), image.double(), soft.double())
    model, judge = model.to(device), judge.to(device)
    losses, *_ = step(model, judge, image.to(device), soft.to(device))
    assert losses.total.item() == pytest.approx(expected.total.item(), rel=1e-4)
    ours = torch.cat([p.grad.flatten().cpu().double() for p in model.trainable_parameters()])
    theirs = torch.cat([p.grad.flatten() for p in exact.trainable_parameters()])
    assert (ours - theirs).norm() / theirs.norm() < 1e-3


@pytest.mark.parametrize("device", DEVICES)
def test_same_bits_twice(device, settle):
    first, judge = tiny(settle).to(device), PixelDiscriminator(width=4).to(device)
    second, other = copy.deepcopy(first), copy.deepcopy(judge)
    image, soft = (torch.rand(2, 1, *s, device=device) for s in ((9, 8), (36, 32)))
    for net, discriminator in ((first, judge), (second, other)):
        step(net, discriminator, image, soft)
    for (name, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        if a.requires_grad:
            assert torch.equal(a.grad, b.grad), name


@pytest.mark.gpu
def test_a_step_does_not_wait_for_the_device(settle):
    model, judge = tiny(settle).cuda(), PixelDiscriminator(width=4).cuda()
    image, soft = (torch.rand(2, 1, *s, device="cuda") for s in ((9, 8), (36, 32)))
    step(model, judge, image, soft)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(model, judge, image, soft)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_on_the_device(dtype, settle):
    model = tiny(settle).eval()
    image = torch.rand(2, 1, 9, 8)
    expected = model(image)
    model = model.cuda().to(memory_format=torch.channels_last)
    with torch.autocast("cuda", dtype):
        mask = model(image.cuda())
    assert mask.dtype == torch.float32
    assert (mask.cpu() - expected).abs().mean() < 0.02


@pytest.mark.gpu
def test_a_model_on_the_device_is_exported_for_any(settle):
    model = tiny(settle).eval()
    image = torch.rand(2, 1, 9, 8)
    expected = model(image)
    program = export_program(model.cuda(), size=(9, 8))
    assert next(model.parameters()).is_cuda
    assert torch.allclose(program.module()(image), expected, atol=1e-5)
