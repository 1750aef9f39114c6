"""Fusion modules: the shapes in figure 4, and what is fused."""

import pytest
import torch
import torch.nn.functional as F

from dsnet.models import EDRFM, SDRFM
from dsnet.models.fused import fold_batch_norm


@pytest.mark.parametrize("make", [EDRFM, SDRFM])
def test_shapes_of_figure_4(make):
    image, features = (torch.rand(1, c, 256, 256, device="meta") for c in (3, 64))
    fuse = make().to("meta")
    assert fuse(image, image, features).shape == (1, 64, 256, 256)


def test_convolutions_of_figure_4():
    assert EDRFM().fuse[0].weight.shape == (64, 70, 3, 3)
    fuse = SDRFM()
    assert fuse.context[0].weight.shape == (64, 6, 3, 3)
    assert fuse.detail[0].weight.shape == (64, 64, 3, 3)


def branch(layers, x):
    """Convolution, batch norm and leaky ReLU, from the weights alone."""
    convolution, norm, _ = layers
    x = F.conv2d(x, convolution.weight, padding=1)
    x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    return F.leaky_relu(x, 0.2)


def inputs(n=2, size=6):
    torch.manual_seed(1)
    return [torch.randn(n, c, size, size + 1) for c in (2, 2, 5)]


def test_efficient_fusion_is_its_parts():
    torch.manual_seed(0)
    fuse = EDRFM(2, 5, 8).eval()
    expected = branch(fuse.fuse, torch.cat(inputs(), 1))
    assert torch.allclose(fuse(*inputs()), expected, atol=1e-5)


def test_selective_fusion_lies_between_its_branches():
    torch.manual_seed(0)
    fuse = SDRFM(2, 5, 8).eval()
    interpolated, sr, features = inputs()
    u = branch(fuse.context, torch.cat([interpolated, sr], 1))
    v = branch(fuse.detail, features)
    out = fuse(interpolated, sr, features)
    # One weight a sample and channel, found at one pixel, explains every pixel.
    share = ((out - v) / (u - v))[:, :, 0, 0]
    assert ((share > 0) & (share < 1)).all()
    mixed = share[:, :, None, None] * u + (1 - share[:, :, None, None]) * v
    assert torch.allclose(out, mixed, atol=1e-4)
    assert share.std() > 0


def test_selection_is_a_softmax_of_pooled_sums():
    torch.manual_seed(0)
    select = SDRFM(2, 5, 8).double().select
    u, v = torch.randn(2, 3, 8, 4, 5, dtype=torch.float64)
    pooled = (u + v).mean((2, 3), keepdim=True)
    logits = select.conv_fc2(torch.relu(select.conv_fc1(pooled))).chunk(2, 1)
    a, b = torch.softmax(torch.stack(logits), 0)
    assert torch.allclose(select(u, v), a * u + b * v, rtol=1e-10)


def test_folded_norms_are_the_norms():
    torch.manual_seed(0)
    fuse = SDRFM(2, 5, 8).train()
    fuse(*inputs())  # running statistics that are not the first ones
    interpolated, sr, features = inputs()
    context = fuse.eval().context(torch.cat([interpolated, sr], 1))
    expected = fuse.select(context, fuse.detail(features))
    assert torch.allclose(fuse(interpolated, sr, features), expected, atol=1e-6)


@pytest.mark.parametrize("make", [EDRFM, SDRFM])
def test_a_batch_of_one_trains(make):
    """The paper's batch size."""
    fuse = make(2, 5, 8).train()
    fuse(*inputs(n=1)).square().mean().backward()
    for name, parameter in fuse.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_norm_of_several_processes_is_not_folded(monkeypatch):
    norm = torch.nn.SyncBatchNorm(4)
    x = torch.rand(2, 4, 3, 5)
    for got, want in zip(
        fold_batch_norm(norm, x), fold_batch_norm(torch.nn.BatchNorm2d(4), x), strict=True
    ):
        assert torch.equal(got, want)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda group=None: 2)
    with pytest.raises(ValueError, match="got a SyncBatchNorm of 2 processes"):
        fold_batch_norm(norm, x)
    fold_batch_norm(norm.eval(), x)
