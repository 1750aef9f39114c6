"""`dsnet.train_sr`: aligned patches, figures as MONAI's, and a teacher that dsnet.train takes."""

import pytest
import torch
from monai.metrics import SSIMMetric

from dsnet import train_sr as command
from dsnet.models import load_model


@pytest.mark.parametrize("adversarial", [[], ["--adversarial"]])
def test_a_small_run_saves_a_teacher(tmp_path, capsys, adversarial):
    out = tmp_path / "t.pt"
    arguments = "--limit 4 --blocks 1 --features 4 --steps 3 --batch 2 --patch 32 --log-every 1"
    assert command.main([*arguments.split(), "--out", str(out), *adversarial]) == 0
    text = capsys.readouterr().out
    assert "bicubic" in text and "teacher" in text and "PSNR" in text
    assert load_model(out).config["features"] == 4


@pytest.mark.long
def test_learning_the_difference_beats_bicubic(tmp_path):
    text = "--limit 6 --blocks 1 --features 8 --steps 300 --batch 4 --patch 64 --lr 2e-3"
    arguments = [*text.split(), "--global-skip", "--out", str(tmp_path / "t.pt")]
    options = command._parser().parse_args(arguments)
    scores = command.train_sr(options)
    assert scores["teacher_psnr"] > scores["bicubic_psnr"]


def test_patches_are_aligned():
    high = [torch.rand(1, 1, 64, 80)]
    low = [h[..., ::4, ::4] for h in high]
    x, y = command.patches(low, high, 5, 32, torch.Generator().manual_seed(0))
    assert torch.equal(x, y[..., ::4, ::4]) and y.shape == (5, 1, 32, 32)


def test_ssim_is_monais_and_psnr_the_definition():
    x = torch.rand(1, 1, 40, 40)
    y = (x + 0.1 * torch.rand_like(x)).clamp(0, 1)
    expected = SSIMMetric(spatial_dims=2, data_range=1.0)(x, y)
    torch.testing.assert_close(command.ssim(x, y), expected.squeeze(), atol=1e-4, rtol=0)
    assert command.psnr(x, x + 0.1) == pytest.approx(20.0, abs=1e-3)


def test_whole_folders_are_held_out():
    groups = ["a", "a", "b", "c", "c"]
    held = command.held_out(groups, 0.3, 0)
    assert len({h for g, h in zip(groups, held, strict=True) if g == "a"}) == 1
    assert 0 < sum(held) < 5
    with pytest.raises(ValueError, match="2 are needed"):
        command.held_out(["a"], 0.1, 0)
