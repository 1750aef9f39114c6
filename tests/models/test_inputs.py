"""Networks that see more than their slice: neighbours and the mark's plane."""

import pytest
import torch
from torch import nn

from dsnet.models import (
    VARIANTS,
    DSNetConfig,
    build,
    export_program,
    interpolate,
    load_model,
    mean_over_views,
    save_model,
)
from dsnet.models.checkpoint import model_inputs
from dsnet.models.tensor_file import save_tensors
from dsnet.models.views import view

TINY = {"width": 4, "depth": 1, "reduction": 2, "teacher_blocks": 1, "teacher_features": 4}
BOTH = {"neighbours": 1, "mark_input": True}


def tiny(variant="dsnet", **settings):
    torch.manual_seed(0)
    return build(variant, **{**TINY, **settings})


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_every_plane_counts_in_every_variant(variant, settle):
    model = settle(tiny(variant, **BOTH), torch.rand(2, 4, 8, 8)).eval()
    image = torch.rand(2, 4, 7, 9)
    mask = model(image)
    assert mask.shape == (2, 1, 28, 36)
    for plane in range(4):
        other = image.clone()
        other[:, plane] = 1 - other[:, plane]
        assert not torch.allclose(model(other), mask, atol=1e-4), plane
    assert torch.equal(model(image), mask)
    soft, _ = model.predict(image, flips=True)
    assert torch.equal(model.predict(view(image, 1), flips=True)[0], view(soft, 1))


@torch.no_grad()
def test_the_planes_enter_the_first_convolution_on_the_output_grid():
    """Without weights for them nothing but the slice counts, and the mask is that of the slice."""
    plain, more = tiny("unet").eval(), tiny("unet", **BOTH).eval()
    state = plain.state_dict()
    first = "network.encoder.0.0.weight"
    wide = more.state_dict()[first]
    own = state[first].shape[1]
    assert wide.shape[1] == own + 3
    more.load_state_dict({**state, first: torch.cat([state[first], 0 * wide[:, own:]], 1)})
    image = torch.rand(1, 4, 8, 8)
    torch.testing.assert_close(more(image), plain(image[:, :1]), atol=1e-6, rtol=0)
    seen = []
    more.network.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    more(image)
    assert torch.equal(seen[0][:, own:], interpolate(image[:, 1:], 4))


def test_the_teacher_sees_the_slice_alone():
    model, image = tiny(**BOTH), torch.rand(2, 4, 8, 8)
    for found, expected in zip(model.teach(image), model.teach(image[:, :1]), strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(model.slice_of(image), image[:, :1])
    assert tiny("unet").slice_of(image) is image


@pytest.mark.parametrize(
    "settings, count, words",
    [
        (BOTH, 4, "the slice, its 2 neighbours, the mark's plane"),
        ({"mark_input": True}, 2, "the slice, the mark's plane"),
        ({"neighbours": 2}, 5, "the slice, its 4 neighbours"),
    ],
)
def test_a_network_that_gets_less_is_told_in_a_line(settings, count, words):
    model = tiny("unet", **settings)
    assert model.config.extra_channels == count - 1
    for channels in {1, 3, 6} - {count}:
        with pytest.raises(ValueError) as error:
            model(torch.rand(1, channels, 8, 8))
        assert str(error.value) == (
            f"image must be [N, {count}, H, W], {words}, got [1, {channels}, 8, 8]"
        )


def test_odd_settings_are_named():
    with pytest.raises(ValueError, match=r"neighbours must be a whole number in 0\.\.8, got -1"):
        DSNetConfig(neighbours=-1)
    with pytest.raises(ValueError, match="mark_input must be a bool, got 1"):
        DSNetConfig(mark_input=1)


def test_the_file_says_what_the_network_sees(tmp_path):
    save_model(tmp_path / "more.pt", tiny("unet", **BOTH))
    save_model(tmp_path / "teacher.pt", tiny().teacher)
    assert model_inputs(tmp_path / "more.pt") == (1, True)
    assert model_inputs(tmp_path / "teacher.pt") == (0, False)
    assert load_model(tmp_path / "more.pt").config == tiny("unet", **BOTH).config


def test_a_file_of_before_gives_the_same_bits(tmp_path):
    model, image = tiny().eval(), torch.rand(1, 1, 8, 8)
    save_model(tmp_path / "new.pt", model)
    content = torch.load(tmp_path / "new.pt", weights_only=True)
    for name in BOTH:
        del content["config"][name]
    save_tensors(tmp_path / "old.pt", content)
    assert model_inputs(tmp_path / "old.pt") == (0, False)
    assert torch.equal(load_model(tmp_path / "old.pt")(image), model(image))


def test_an_export_takes_the_planes():
    model, image = tiny("unet", mark_input=True).eval(), torch.rand(3, 2, 8, 8)
    program = export_program(model, size=(8, 8))
    torch.testing.assert_close(program.module()(image), model(image), atol=1e-5, rtol=0)


class Uneven(nn.Module):
    """Weighs the planes and the places."""

    def forward(self, image):
        weight = torch.arange(1.0, 1 + image.shape[1])[:, None, None]
        return (image * weight).sum(1, keepdim=True) * torch.arange(image.shape[3])


def test_all_planes_are_mirrored_alike():
    image = torch.rand(1, 3, 4, 4)
    summed = (image * torch.arange(1.0, 4)[:, None, None]).sum(1, keepdim=True)
    # A place is weighed by its column, its mirror image's, its row and its mirror image's.
    torch.testing.assert_close(mean_over_views(Uneven(), image), summed * 1.5)
