"""The pixel-wise discriminator: every pixel on its own, conditional on the image."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dsnet.models import PixelDiscriminator
from dsnet.models.discriminator import _NormedSum


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
    with pytest.raises(
        ValueError, match=r"must have one batch.* \[1, 1, 8, 8\] and \[1, 1, 32, 32\]"
    ):
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


def test_the_gradient_by_hand_is_that_of_the_layers():
    torch.manual_seed(0)
    made = (torch.randn(*shape, dtype=torch.float64) for shape in ((2, 5, 4, 3), (5,), (5,), (5,)))
    inputs = [t.requires_grad_() for t in made]

    def layers(x, gain, offset, weight):
        y = F.leaky_relu(F.batch_norm(x, None, None, gain, offset, True, eps=1e-5), 0.2)
        return F.conv2d(y, weight[None, :, None, None])

    ours, mean, var = _NormedSum.apply(*inputs, 1e-5, 0.2)
    theirs = layers(*inputs)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(mean, inputs[0].mean((0, 2, 3)))
    torch.testing.assert_close(var, inputs[0].var((0, 2, 3), correction=0))
    gradient = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad(ours, inputs, gradient),
        torch.autograd.grad(theirs, inputs, gradient),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("frozen", [False, True])
def test_compiled_it_is_the_same(frozen):
    torch.manual_seed(0)
    # In float64: the first bias's gradient is nearly all cancelled by the norm.
    eager = PixelDiscriminator(width=8).double()
    compiled = copy.deepcopy(eager)
    image, mask = torch.rand(2, 2, 1, 6, 5, dtype=torch.float64)
    found = []
    for net, run in ((eager, eager), (compiled, torch.compile(compiled, backend="eager"))):
        mine = mask.clone().requires_grad_()
        run(image, mine, frozen=frozen).square().sum().backward()
        found.append([mine.grad, *(p.grad for p in net.parameters()), *net.buffers()])
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)
