"""The perceptual loss, with weights made here; the real ones are not at hand."""

import sys

import pytest
import torch
import torch.nn.functional as F

from dsnet.models import PerceptualLoss
from dsnet.models.perceptual import vgg19_features


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file in torchvision's layout, with the classifier's weights that nobody needs."""
    torch.manual_seed(0)
    state = {f"features.{name}": value for name, value in vgg19_features().state_dict().items()}
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save({**state, "classifier.0.weight": torch.zeros(1)}, path)
    return path


def test_layout_is_torchvision_s():
    # The known indices of VGG19's convolutions in torchvision.
    known = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
    features = vgg19_features()
    assert [int(n.split(".")[0]) for n in features.state_dict() if n.endswith("weight")] == known
    assert len(features) == 36
    assert sum(p.numel() for p in features.parameters()) == 20_024_384


def test_loss_is_the_distance_of_features(weights):
    loss = PerceptualLoss(weights).train()
    x, y = torch.rand(2, 1, 32, 32, requires_grad=True), torch.rand(2, 1, 32, 32)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    def embed(image):
        image = torch.cat([(image - m) / s for m, s in zip(mean, std, strict=True)], 1)
        for layer in loss.features:
            image = layer(image)
        return image / 12.75

    value = loss(x, y)
    assert torch.allclose(value, F.mse_loss(embed(x), embed(y)))
    assert value > 0
    assert loss(y, y) == 0
    value.backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in loss.parameters())


def test_absent_weights_are_said(weights, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        PerceptualLoss(tmp_path / "absent.pth")
    state = torch.load(weights, weights_only=True)
    del state["features.34.weight"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(ValueError, match=r"weights must be VGG19.s, got none for features\.34\.w"):
        PerceptualLoss(tmp_path / "short.pth")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(ImportError, match=r"vgg19-dcbd9e9d\.pth"):
        PerceptualLoss()


def test_a_file_that_holds_no_weights_is_told_in_a_line(tmp_path):
    path = tmp_path / "vgg.pth"
    for content in (b"no weights", b"", b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"weights must be VGG19's, got .*vgg\.pth, which cannot"
        ):
            PerceptualLoss(path)
    for odd in ([1], {"features.0.weight": "x"}):
        torch.save(odd, path)
        with pytest.raises(ValueError, match="weights must be VGG19's, got"):
            PerceptualLoss(path)
