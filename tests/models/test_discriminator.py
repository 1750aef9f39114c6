"""The pixel-wise discriminator: every pixel on its own, conditional on the image."""

import pytest
import torch
from torch import nn

from dsnet.models import PixelDiscriminator


def test_layers_are_pix2pix_s():
    net = PixelDiscriminator(image_channels=3)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in convolutions] == [(4, 64), (64, 128), (128, 1)]
    assert all(m.kernel_size == (1, 1) for m in convolutions)
    assert [m.negative_slope for m in net.modules() if isinstance(m, nn.LeakyReLU)] == [0.2, 0.2]


def test_a_pixel_is_judged_by_itself_and_its_image():
    torch.manual_seed(0)
    net = PixelDiscriminator(width=8).eval()
    image, mask = torch.rand(2, 1, 6, 5), torch.rand(2, 1, 6, 5)
    verdict = net(image, mask)
    assert verdict.shape == (2, 1, 6, 5)
    for changed in (image, mask):
        changed[1, 0, 2, 3] += 1
        difference = (net(image, mask) - verdict) != 0
        assert difference.nonzero().tolist() == [[1, 0, 2, 3]]
        changed[1, 0, 2, 3] -= 1


def test_grids_must_agree():
    with pytest.raises(ValueError, match=r"image has shape \[1, 1, 8, 8\], mask \[1, 1, 32, 32\]"):
        PixelDiscriminator(width=2)(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 32, 32))


@pytest.mark.parametrize("training", [True, False])
def test_frozen_it_says_the_same_and_learns_nothing(training):
    torch.manual_seed(0)
    net = PixelDiscriminator(width=8).train(training)
    image, mask = torch.rand(2, 1, 6, 5), torch.rand(2, 1, 6, 5, requires_grad=True)
    verdict = net(image, mask, frozen=True)
    (expected,) = torch.autograd.grad(net(image, mask).square().sum(), mask)
    count = net.layers[3].num_batches_tracked.clone()
    verdict.square().sum().backward()
    assert torch.equal(mask.grad, expected)
    assert all(p.grad is None for p in net.parameters())
    net(image, mask, frozen=True)
    assert net.layers[3].num_batches_tracked == count
