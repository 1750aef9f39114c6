"""Networks as after a training, so that no gate and no norm is neutral and masks vary."""

import pytest
import torch
from torch import nn


def settle(model: nn.Module, image: torch.Tensor, seed: int = 0) -> nn.Module:
    """Random norm weights, statistics of this image, a head that uses the whole of 0..1."""
    generator = torch.Generator().manual_seed(seed)
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
        nn.init.uniform_(norm.bias, -0.2, 0.2, generator=generator)
    with torch.no_grad():
        model.train()(image)
        if hasattr(model, "network"):
            spread = model.logits(image).std()
            model.network.head.weight.mul_(2 / spread)
            model.network.head.bias.sub_(model.logits(image).mean())
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model


@pytest.fixture(name="settle")
def settle_fixture():
    return settle
