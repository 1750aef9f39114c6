"""The mean over mirror images turns and flips with the image, to the bit."""

import pytest
import torch

from dsnet.models import build, mean_over_views
from dsnet.models.views import unview, view
from dsnet.training.augment import symmetry

TINY = {"width": 4, "depth": 2, "teacher_blocks": 1, "teacher_features": 8}


def settled(settle, variant="dsnet", side=8, **settings):
    torch.manual_seed(0)
    model = build(variant, **TINY, **settings)
    return settle(model, torch.rand(2, 1, side, side)).eval()


def test_views_are_the_augmentation_s_symmetries():
    x = torch.rand(2, 3, 5, 5)
    for k in range(8):
        assert torch.equal(view(x, k), symmetry(x, torch.full((2,), k)))
        assert torch.equal(unview(view(x, k), k), x)


@pytest.mark.parametrize("variant", ["unet", "dsnet"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_the_mean_moves_with_a_square_exactly(settle, variant, layout):
    model = settled(settle, variant).to(memory_format=layout)
    image = torch.rand(2, 1, 9, 9)
    mean = mean_over_views(model, image)
    assert mean.shape == (2, 1, 36, 36)
    moved = 0
    for k in range(1, 8):
        assert torch.equal(mean_over_views(model, view(image, k)), view(mean, k)), k
        moved += not torch.equal(model(view(image, k)), view(model(image), k))
    assert moved == 7  # the network alone does not


@torch.no_grad()
def test_the_mean_moves_with_an_oblong_exactly(settle):
    model, image = settled(settle), torch.rand(2, 1, 7, 12)
    mean = mean_over_views(model, image)
    for k in range(1, 4):
        assert torch.equal(mean_over_views(model, view(image, k)), view(mean, k)), k


@pytest.mark.parametrize("shape, count", [((9, 9), 8), ((6, 11), 4), ((1, 1), 8)])
@torch.no_grad()
def test_it_is_the_mean(settle, shape, count):
    model, image = settled(settle, "backbone"), torch.rand(2, 1, *shape)
    answers = [unview(model(view(image, k)), k).double() for k in range(count)]
    mean = sum(answers) / count
    torch.testing.assert_close(mean_over_views(model, image).double(), mean, atol=1e-6, rtol=0)


def test_predict_gives_the_mean(settle):
    model, image = settled(settle).train(), torch.rand(2, 1, 8, 8)
    soft, binary = model.predict(image, flips=True)
    assert model.training and torch.equal(binary, soft >= 0.5)
    turned, _ = model.predict(image.transpose(2, 3).contiguous(), flips=True)
    assert torch.equal(turned, soft.transpose(2, 3))
    assert not torch.equal(soft, model.predict(image)[0])
