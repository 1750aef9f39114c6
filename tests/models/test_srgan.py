"""The SR teacher and its discriminator: shapes, layers and counts of the works cited."""

import pytest
import torch
from torch import nn

from dsnet.models import SRDiscriminator, SRResNet, interpolate


def count(module: nn.Module, kind: type) -> int:
    return sum(isinstance(part, kind) for part in module.modules())


def test_features_are_256x256x64_for_64x64():
    with torch.device("meta"):
        out = SRResNet()(torch.rand(1, 1, 64, 64))
    assert out.image.shape == (1, 1, 256, 256)
    assert out.features.shape == (1, 64, 256, 256)


def test_generator_of_the_work_cited():
    net = SRResNet(channels=3)
    assert len(net.blocks) == 16
    assert net.first[0].weight.shape == (64, 3, 9, 9)
    assert net.last.weight.shape == (3, 64, 9, 9)
    assert count(net, nn.PixelShuffle) == 2
    assert count(net, nn.BatchNorm2d) == 2 * 16 + 1
    assert count(net, nn.PReLU) == 1 + 16 + 2


def test_features_are_what_the_last_convolution_reads():
    torch.manual_seed(0)
    net = SRResNet(blocks=1, features=8).eval()
    out = net(torch.rand(2, 1, 5, 7))
    assert torch.allclose(net.last(out.features), out.image)


def test_global_skip_adds_the_bicubic_image():
    torch.manual_seed(0)
    net = SRResNet(blocks=1, features=8, global_skip=True).eval()
    image = torch.rand(1, 1, 6, 6)
    out = net(image)
    assert torch.allclose(out.image, net.last(out.features) + interpolate(image), atol=1e-6)
    nn.init.zeros_(net.last.weight)
    nn.init.zeros_(net.last.bias)
    assert torch.equal(net(image).image, interpolate(image))


def test_discriminator_of_the_work_cited():
    net = SRDiscriminator()
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [m.stride[0] for m in convolutions] == [1, 2, 1, 2, 1, 2, 1, 2]
    assert count(net, nn.BatchNorm2d) == 7
    assert net.dense[0].in_features == 512 * 6 * 6
    assert net.dense[0].out_features == 1024


@pytest.mark.parametrize("size", [96, 64, 33])
def test_discriminator_takes_any_size(size):
    assert SRDiscriminator(features=2).eval()(torch.rand(2, 1, size, size)).shape == (2, 1)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"image must be \[N, 1, H, W\], got \[1, 3, 8, 8\]"):
        SRResNet(blocks=1, features=4)(torch.rand(1, 3, 8, 8))
