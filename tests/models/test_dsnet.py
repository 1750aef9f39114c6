"""DSNet and its variants: composition, frozen teacher, cached teacher outputs, counts."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dsnet.losses import segmentation_losses
from dsnet.models import (
    VARIANTS,
    DSNetConfig,
    PixelDiscriminator,
    SROutputs,
    SRResNet,
    build,
    interpolate,
    to_input_grid,
    to_output_grid,
)

TINY = {"width": 4, "depth": 2, "teacher_blocks": 1, "teacher_features": 8}
# Counted by PyTorch, and for the U-Net the known figure of its re-implementations. In all, and
# without the teacher.
PARAMETERS = {
    "unet": (31_037_633, 31_037_633),
    "backbone": (57_724_093, 57_724_093),
    "sr-input": (59_250_705, 57_724_093),
    "edrfm": (59_325_969, 57_799_357),
    "sdrfm": (59_332_401, 57_805_789),
    "soft-loss": (59_332_401, 57_805_789),
    "dsnet": (59_332_401, 57_805_789),
}


def tiny(variant: str = "dsnet", **settings):
    torch.manual_seed(0)
    return build(variant, **{**TINY, **settings})


def test_variants_are_the_rungs_of_table_3():
    assert list(VARIANTS) == list(PARAMETERS)
    assert VARIANTS["unet"] == ("unet", None, False, False)
    assert VARIANTS["backbone"] == ("backbone", None, False, False)
    assert VARIANTS["sr-input"].fusion == "sr"
    assert VARIANTS["edrfm"].fusion == "edrfm"
    assert VARIANTS["sdrfm"] == ("backbone", "sdrfm", False, False)
    assert VARIANTS["soft-loss"] == ("backbone", "sdrfm", True, False)
    assert VARIANTS["dsnet"] == ("backbone", "sdrfm", True, True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_counts(variant):
    with torch.device("meta"):
        model = build(variant)
    own = sum(p.numel() for p in model.trainable_parameters())
    assert (sum(p.numel() for p in model.parameters()), own) == PARAMETERS[variant]


def test_parameter_counts_of_the_others():
    with torch.device("meta"):
        teacher, judge = SRResNet(), PixelDiscriminator()
    assert sum(p.numel() for p in teacher.parameters()) == 1_526_612
    assert sum(p.numel() for p in judge.parameters()) == 192 + 8192 + 256 + 129


@pytest.mark.parametrize("variant", ["unet", "dsnet"])
def test_default_size_is_the_paper_s(variant):
    with FakeTensorMode():
        assert build(variant)(torch.rand(1, 1, 64, 64)).shape == (1, 1, 256, 256)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains_one_step(variant):
    model = tiny(variant)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    soft = torch.rand(2, 1, 36, 28)
    mask = model(torch.rand(2, 1, 9, 7))
    assert mask.shape == (2, 1, 36, 28)
    assert mask.dtype == torch.float32
    assert 0 <= mask.min() < mask.max() <= 1
    segmentation_losses(mask, soft).total.backward()
    optimizer = torch.optim.Adam(model.trainable_parameters(), 1e-2)
    optimizer.step()
    for name, value in model.state_dict().items():
        if name.startswith("teacher."):
            assert torch.equal(value, before[name]), name
    for name, parameter in model.named_parameters():
        moved = not torch.equal(parameter, before[name])
        # Zero gradients are right where the spatial gate still has the weight 0.
        gated = "SpatialGate.spatial.conv" in name
        assert moved != name.startswith("teacher.") or gated, name


def test_teacher_stays_frozen_and_in_evaluation_mode():
    model = tiny().train()
    assert model.training
    assert not model.teacher.training
    assert not any(p.requires_grad for p in model.teacher.parameters())
    assert not model.teach(torch.rand(1, 1, 8, 8)).features.requires_grad


@pytest.mark.parametrize("variant", ["sr-input", "edrfm", "sdrfm"])
def test_cached_teacher_outputs_give_the_same(variant, settle):
    model = settle(tiny(variant), torch.rand(2, 1, 8, 8)).eval()
    image = torch.rand(2, 1, 8, 8)
    cached = model.teach(image)
    assert torch.equal(model(image, teacher_outputs=cached), model(image))
    assert torch.equal(model(image, teacher_outputs=tuple(cached)), model(image))
    other = SROutputs(cached.image + 1, cached.features + 1)
    assert not torch.equal(model(image, teacher_outputs=other), model(image))
    half = SROutputs(*(t.bfloat16() for t in cached))
    assert torch.allclose(model(image, teacher_outputs=half), model(image), atol=0.05)


def test_a_given_teacher_is_taken_with_its_settings():
    teacher = SRResNet(blocks=2, features=6, global_skip=True)
    model = tiny(teacher=teacher)
    assert model.teacher is teacher
    assert model.config.teacher_blocks == 2
    assert model.config.teacher_global_skip
    assert tiny("unet", teacher=teacher).teacher is None


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_images_fill_the_channels(channels, settle):
    model = settle(tiny(image_channels=channels), torch.rand(2, 1, 8, 8)).eval()
    image = torch.rand(1, 1, 8, 8)
    out = model(image)
    assert torch.allclose(model(image.expand(-1, channels, -1, -1)), out, atol=1e-5)


@pytest.mark.parametrize("variant", ["unet", "dsnet"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.02), (torch.float16, 0.005)])
def test_autocast_and_half_precision(variant, dtype, bound, settle):
    model = settle(tiny(variant), torch.rand(2, 1, 8, 8)).eval()
    image = torch.rand(2, 1, 8, 8)
    expected = model(image)
    assert expected.std() > 0.2
    with torch.autocast("cpu", dtype):
        out = model(image)
        cached = model(image, teacher_outputs=model.teach(image))
    assert out.dtype == torch.float32
    assert (out - expected).abs().mean() < bound
    assert torch.equal(cached, out)
    out = model.to(dtype)(image.to(dtype))
    assert out.dtype == torch.float32
    assert (out - expected).abs().mean() < bound


def test_training_under_autocast_has_finite_gradients():
    model = tiny()
    with torch.autocast("cpu", torch.bfloat16):
        mask = model(torch.rand(2, 1, 8, 8))
        segmentation_losses(mask, torch.rand(2, 1, 32, 32)).total.backward()
    assert all(p.grad.isfinite().all() for p in model.trainable_parameters())


def test_channels_last_gives_the_same(settle):
    model = settle(tiny(), torch.rand(2, 1, 8, 8)).eval()
    image = torch.rand(2, 1, 8, 8)
    expected = model(image)
    model = model.to(memory_format=torch.channels_last)
    out = model(image.to(memory_format=torch.channels_last))
    assert torch.allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("variant", ["unet", "dsnet"])
def test_fresh_masks_are_mostly_background(variant):
    """Averaged over many outputs, the lesion's share is near the prior of a tenth."""
    mean = tiny(variant)(torch.rand(4, 1, 16, 16)).mean().item()
    assert 0.03 < mean < 0.3


@pytest.mark.parametrize(
    ("share", "wanted"), [(0.02, 0.1), (0.5, 0.1), (0.78, 0.78), (0.95, 0.9), (1.0, 0.9)]
)
def test_the_head_begins_at_what_is_most_of_a_crop(share, wanted):
    model = tiny("backbone")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.expect(share)
    changed = [n for n, value in model.state_dict().items() if not torch.equal(value, before[n])]
    assert changed == ([] if wanted == 0.1 else ["network.head.bias"])
    assert torch.sigmoid(model.network.head.bias).item() == pytest.approx(wanted)


def test_same_seed_same_bits():
    image = torch.rand(2, 1, 8, 8)
    assert torch.equal(tiny()(image), tiny()(image))


def test_a_sample_does_not_depend_on_its_batch(settle):
    model = settle(tiny(), torch.rand(2, 1, 8, 8)).eval()
    image = torch.rand(3, 1, 8, 8)
    assert torch.allclose(model(image)[1:2], model(image[1:2]), atol=1e-5)


def test_predict_comes_back_to_the_input_s_grid(settle):
    model = settle(tiny(), torch.rand(2, 1, 8, 8))
    image = torch.rand(2, 1, 9, 7)
    soft, binary = model.predict(image)
    assert model.training
    assert soft.shape == binary.shape == (2, 1, 9, 7)
    assert torch.equal(binary, soft >= 0.5)
    assert 0 < binary.float().mean() < 1
    assert torch.equal(soft, to_input_grid(model.eval()(image), 4))


def test_grids_are_each_other_s_inverse_on_ramps():
    """A linear ramp keeps its value where the border is far: nothing is shifted by half a pixel."""
    ramp = torch.arange(16.0).repeat(16, 1)[None, None] / 16
    for fine in (interpolate(ramp, 4), to_output_grid(ramp, 4)):
        assert fine.shape == (1, 1, 64, 64)
        assert torch.allclose(to_input_grid(fine, 4)[..., 3:-3], ramp[..., 3:-3], atol=1e-5)
    assert interpolate(ramp, 1) is ramp


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"variant must be one of unet, .* got 'dnet'"):
        build("dnet")
    with pytest.raises(ValueError, match=r"width must be a whole number in 1\.\.4096, got 0"):
        DSNetConfig(width=0)
    with pytest.raises(ValueError, match=r"scale must be 4, .* got 2"):
        DSNetConfig(scale=2)
    with pytest.raises(
        ValueError,
        match="teacher_channels must be equal, or one of them 1, got 2 and 3",
    ):
        DSNetConfig(image_channels=2, teacher_channels=3)
    with pytest.raises(TypeError, match="config must be a DSNetConfig or str, got int"):
        build(3)
    assert build("unet", scale=1, width=2, depth=1)(torch.rand(1, 1, 8, 8)).shape[-1] == 8


def test_bad_input_is_named():
    model = tiny()
    with pytest.raises(ValueError, match=r"image must be \[N, 1 or 3, H, W\], got \[1, 2, 8, 8\]"):
        model(torch.rand(1, 2, 8, 8))
    with pytest.raises(ValueError, match=r"teacher_outputs must have an image \[\.\.\., 32, 32\]"):
        model(torch.rand(1, 1, 8, 8), model.teach(torch.rand(1, 1, 9, 8)))
