"""The backbone and the plain U-Net: shapes, any size, the block against its parts."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dsnet.models import Backbone, CBAMBlock, UNet
from dsnet.models.unet import fill_up


@pytest.mark.parametrize("make", [Backbone, UNet])
@pytest.mark.parametrize("size", [(16, 16), (17, 16), (1, 5), (31, 8)])
def test_any_size(make, size):
    net = make(3, 2, width=4, depth=2).eval()
    assert net(torch.rand(2, 3, *size)).shape == (2, 2, *size)


@pytest.mark.parametrize("make", [Backbone, UNet])
def test_other_sizes_are_filled_up_and_cropped(make, settle):
    torch.manual_seed(0)
    net = settle(make(1, width=4, depth=3), torch.rand(2, 1, 16, 16)).eval()
    image = torch.rand(1, 1, 13, 9)
    filled = F.pad(image, (0, 7, 0, 3), mode="replicate")
    assert torch.equal(net(image), net(filled)[:, :, :13, :9])


def test_filling_up_is_replication_with_its_gradient():
    x = torch.rand(2, 3, 5, 6, requires_grad=True)
    ours, theirs = fill_up(x, 4), F.pad(x, (0, 2, 0, 3), mode="replicate")
    assert torch.equal(ours, theirs)
    weight = torch.rand_like(ours)
    ours, theirs = (torch.autograd.grad((y * weight).sum(), x)[0] for y in (ours, theirs))
    assert torch.allclose(ours, theirs)
    assert fill_up(x, 1) is x


def test_paper_s_steps():
    net = Backbone(64, width=64)
    for down, up in zip(net.down, net.up, strict=True):
        for (convolution, relu), kind in ((down, nn.Conv2d), (up, nn.ConvTranspose2d)):
            assert isinstance(convolution, kind)
            assert isinstance(relu, nn.ReLU)
            assert (convolution.kernel_size, convolution.stride, convolution.padding) == (
                (4, 4), (2, 2), (1, 1),
            )  # fmt: skip
    assert [down[0].out_channels for down in net.down] == [128, 256, 512, 1024]
    assert [up[0].out_channels for up in net.up] == [512, 256, 128, 64]


def cbam_by_hand(block: CBAMBlock, x: torch.Tensor) -> torch.Tensor:
    _, fc1, relu, fc2 = block.cbam.ChannelGate["mlp"]
    spatial = block.cbam.SpatialGate["spatial"]

    def mlp(pooled):
        return fc2(relu(fc1(pooled)))

    x = x * torch.sigmoid(mlp(x.mean((2, 3))) + mlp(x.amax((2, 3))))[:, :, None, None]
    maps = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
    return x * torch.sigmoid(spatial["bn"](spatial["conv"](maps)))


@pytest.mark.parametrize("channels", [8, 5])
@pytest.mark.parametrize("training", [True, False])
def test_block_is_its_parts(channels, training, settle):
    torch.manual_seed(0)
    block = CBAMBlock(channels, 8, reduction=2)
    settle(block, torch.randn(3, channels, 7, 6)).train(training)
    state = {name: value.clone() for name, value in block.state_dict().items()}
    x = torch.randn(3, channels, 7, 6)
    out = block(x)
    after = {name: value.clone() for name, value in block.state_dict().items()}
    block.load_state_dict(state)
    y = block.norm2(block.conv2(F.relu(block.norm1(block.conv1(x)))))
    expected = F.relu(cbam_by_hand(block, y) + block.shortcut(x))
    assert torch.allclose(out, expected, atol=1e-5)
    assert (expected > 0).float().mean() > 0.2
    for name, value in block.state_dict().items():
        assert torch.allclose(after[name].float(), value.float(), atol=1e-6), name


def test_folded_batch_norm_is_batch_norm(settle):
    from dsnet.models.fused import fold_batch_norm

    torch.manual_seed(0)
    x = 3 + 2 * torch.randn(4, 5, 6, 7, dtype=torch.float64)
    x.requires_grad_()
    norm, other = (settle(nn.BatchNorm2d(5).double(), x.detach() / 2) for _ in range(2))
    weight = torch.randn_like(x)
    for training in (True, False):
        norm.train(training)
        other.train(training)
        scale, shift = fold_batch_norm(norm, x)
        ours, theirs = x * scale[:, None, None] + shift[:, None, None], other(x)
        assert torch.allclose(ours, theirs)
        wanted = [x, *norm.parameters()], [x, *other.parameters()]
        for a, b in zip(
            torch.autograd.grad((ours * weight).sum(), wanted[0]),
            torch.autograd.grad((theirs * weight).sum(), wanted[1]),
            strict=True,
        ):
            assert torch.allclose(a, b)
        for name, value in norm.state_dict().items():
            assert torch.allclose(value, other.state_dict()[name]), name


@pytest.mark.parametrize("make", [Backbone, UNet])
def test_channels_last_gives_the_same(make, settle):
    torch.manual_seed(0)
    net = settle(make(1, width=8, depth=1), torch.rand(2, 1, 12, 12)).eval()
    image = torch.rand(2, 1, 12, 12)
    expected = net(image)
    net = net.to(memory_format=torch.channels_last)
    out = net(image.to(memory_format=torch.channels_last))
    assert torch.allclose(out, expected, atol=1e-5)


def test_bad_input_is_named():
    net = Backbone(2, width=4, depth=1)
    with pytest.raises(ValueError, match=r"x must be \[N, 2, H, W\] with .* got \[1, 3, 8, 8\]"):
        net(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match="width must be an integer of at least 1, got 0"):
        Backbone(1, width=0)
    with pytest.raises(ValueError, match="depth must be an integer of at least 0, got -1"):
        UNet(1, depth=-1)
