"""CBAM as other projects write it: the two common public layouts, with their usual variations."""

import torch
from torch import nn


class LinearChannelGate(nn.Module):
    """MLP of Linear layers behind a flattening, as in the authors' code."""

    def __init__(self, channels, hidden, bias=True):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels, hidden, bias=bias),
            nn.ReLU(),
            nn.Linear(hidden, channels, bias=bias),
        )

    def forward(self, x):
        logit = self.mlp(nn.functional.adaptive_avg_pool2d(x, 1))
        logit = logit + self.mlp(nn.functional.adaptive_max_pool2d(x, 1))
        return x * torch.sigmoid(logit)[:, :, None, None]


class BasicConv(nn.Module):
    def __init__(self, size, norm=True, bias=False):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, size, padding=size // 2, bias=bias)
        self.bn = nn.BatchNorm2d(1, momentum=0.01) if norm else None

    def forward(self, x):
        x = self.conv(x)
        return x if self.bn is None else self.bn(x)


class MaxFirstSpatialGate(nn.Module):
    def __init__(self, size=7, norm=True, bias=False):
        super().__init__()
        self.spatial = BasicConv(size, norm, bias)

    def forward(self, x):
        maps = torch.cat([x.max(1)[0].unsqueeze(1), x.mean(1).unsqueeze(1)], 1)
        return x * torch.sigmoid(self.spatial(maps))


class LinearCBAM(nn.Module):
    def __init__(self, channels, hidden, bias=True, size=7, norm=True):
        super().__init__()
        self.ChannelGate = LinearChannelGate(channels, hidden, bias)
        self.SpatialGate = MaxFirstSpatialGate(size, norm)

    def forward(self, x):
        return self.SpatialGate(self.ChannelGate(x))


class ConvChannelAttention(nn.Module):
    """MLP of 1x1 convolutions; returns the gate, which the caller multiplies."""

    def __init__(self, channels, hidden, bias=False):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=bias)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=bias)

    def forward(self, x):
        pooled = x.mean((2, 3), keepdim=True), nn.functional.adaptive_max_pool2d(x, 1)
        return torch.sigmoid(sum(self.fc2(torch.relu(self.fc1(p))) for p in pooled))


class MeanFirstSpatialAttention(nn.Module):
    def __init__(self, size=7, bias=False):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 1, size, padding=size // 2, bias=bias)

    def forward(self, x):
        maps = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        return torch.sigmoid(self.conv1(maps))


class ConvCBAM(nn.Module):
    def __init__(self, channels, hidden, bias=False, size=7, conv_bias=False):
        super().__init__()
        self.ca = ConvChannelAttention(channels, hidden, bias)
        self.sa = MeanFirstSpatialAttention(size, conv_bias)

    def forward(self, x):
        x = self.ca(x) * x
        return self.sa(x) * x


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with every weight and statistic random, none of them at its initial value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.4 + 0.1)
                if tensor.dim() > 1:
                    tensor.mul_(torch.randn(tensor.shape, generator=generator).sign())
    return module
