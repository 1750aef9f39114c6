"""`dsnet.train_sr`: aligned patches, figures as MONAI's, and a teacher that dsnet.train takes."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from monai.metrics import SSIMMetric

from dsnet import train_sr as command
from dsnet.data.store.lock import writing
from dsnet.models import load_model
from dsnet.training import sr
from dsnet.training.sr_data import groups_of, load_slices

TINY = [
    "--limit", "4", "--blocks", "1", "--features", "4", "--batch", "2", "--patch", "32",
    "--log-every", "2",
]  # fmt: skip


@pytest.mark.parametrize("adversarial", [[], ["--adversarial"]])
def test_a_small_run_saves_a_teacher(tmp_path, capsys, adversarial):
    out = tmp_path / "t.pt"
    assert command.main([*TINY, "--steps", "3", "--out", str(out), *adversarial]) == 0
    text = capsys.readouterr().out
    assert "bicubic" in text and "teacher" in text and "PSNR" in text
    assert load_model(out).config["features"] == 4
    told = json.loads((tmp_path / "t.json").read_text())
    assert told["patch"] == 32 and len(told["held_out_groups"]) == 1
    assert told["scores"]["teacher_psnr"] > 0
    with open(tmp_path / "t.csv") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "3"]


@pytest.mark.long
def test_learning_the_difference_beats_bicubic(tmp_path):
    settings = sr.SRSettings(
        limit=6, blocks=1, features=8, steps=300, batch=4, patch=64, lr=2e-3, global_skip=True,
        out=str(tmp_path / "t.pt"),
    )  # fmt: skip
    scores = sr.train_sr(settings)
    assert scores["teacher_psnr"] > scores["bicubic_psnr"]


def test_patches_are_aligned():
    high = [torch.rand(1, 1, 64, 80)]
    low = [h[..., ::4, ::4] for h in high]
    x, y = sr.patches(low, high, 5, 32, torch.Generator().manual_seed(0))
    assert torch.equal(x, y[..., ::4, ::4]) and y.shape == (5, 1, 32, 32)


def test_ssim_is_monais_and_psnr_the_definition():
    x = torch.rand(1, 1, 40, 40)
    y = (x + 0.1 * torch.rand_like(x)).clamp(0, 1)
    expected = SSIMMetric(spatial_dims=2, data_range=1.0)(x, y)
    torch.testing.assert_close(sr.ssim(x, y), expected.squeeze(), atol=1e-4, rtol=0)
    assert sr.psnr(x, x + 0.1) == pytest.approx(20.0, abs=1e-3)


@pytest.mark.parametrize("adversarial", [[], ["--adversarial"]])
def test_a_resumed_training_has_the_same_bits(tmp_path, capsys, monkeypatch, adversarial):
    arguments = [*TINY, "--steps", "6", *adversarial, "--out"]
    assert command.main([*arguments, str(tmp_path / "whole.pt")]) == 0
    out, real, seen = str(tmp_path / "cut.pt"), sr.patches, []

    def patches(*given):
        seen.append(1)
        if len(seen) == 4:
            raise OSError("the power went")
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(sr, "patches", patches)
        assert command.main([*arguments, out]) == 2
    assert command.main([*arguments, out]) == 2
    assert "--resume goes on" in capsys.readouterr().err
    assert command.main([*arguments, out, "--resume", "--lr", "1"]) == 2
    assert "lr must be 0.0001, as in the training to resume, got 1.0" in capsys.readouterr().err
    assert command.main([*arguments, out, "--resume"]) == 0
    whole, cut = (load_model(tmp_path / f"{name}.pt").state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(cut[name], value) for name, value in whole.items())
    rows = [(tmp_path / f"{name}.csv").read_text().splitlines() for name in ("whole", "cut")]
    assert len(rows[0]) == 4
    assert [row.split(",")[:2] for row in rows[0]] == [row.split(",")[:2] for row in rows[1]]


def test_masks_are_no_slices_and_patients_are_groups(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for patient in ("LIDC-IDRI-0001", "LIDC-IDRI-0002"):
        for part in ("images", "mask-0"):
            folder = tmp_path / patient / "nodule-1" / part
            folder.mkdir(parents=True)
            plane = rng.integers(0, 255, (41, 48), dtype=np.uint8)
            if part == "mask-0":
                plane = (plane > 99).astype(np.uint8) * 255
            cv2.imwrite(str(folder / "slice-0.png"), plane)
    slices = load_slices([tmp_path])
    assert slices.groups == ["LIDC-IDRI-0001", "LIDC-IDRI-0002"]
    assert slices.left_out == {"named mask*": 2}
    assert [list(image.shape) for image in slices.images] == [[1, 1, 40, 48]] * 2
    arguments = [*TINY, "--steps", "1", "--images", str(tmp_path), "--out", str(tmp_path / "t.pt")]
    assert command.main(arguments) == 0
    assert "left out: 2 files named mask*" in capsys.readouterr().out
    files = [Path("r/000001_01_01/1.png"), Path("r/000001_02_01/9.png"), Path("r/v/a/2.png")]
    assert groups_of(files, Path("r"))[:2] == ["000001", "000001"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--patch", "34"], "multiple of 4"),
        (["--steps", "0"], "--steps must be a whole number in 1..1000000000, got 0"),
        (["--held-out", "1"], "--held-out must be a number above 0 and of at most 0.99, got 1.0"),
        (["--images", "nowhere"], "images must be folders, there is none at nowhere"),
        (["--resume"], "not there"),
    ],
)
def test_wrong_options_are_told_in_a_line(tmp_path, capsys, arguments, words):
    assert command.main([*TINY, "--out", str(tmp_path / "t.pt"), *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_whole_folders_are_held_out():
    groups = ["a", "a", "b", "c", "c"]
    held = sr.held_out(groups, 0.3, 0)
    assert len({h for g, h in zip(groups, held, strict=True) if g == "a"}) == 1
    assert 0 < sum(held) < 5
    with pytest.raises(ValueError, match=r"must be slices of 2 patients or folders, .* got 1"):
        sr.held_out(["a"], 0.1, 0)


def test_two_runs_do_not_train_one_teacher(tmp_path, capsys):
    out = tmp_path / "t.pt"
    with writing(out, "it", is_file=True):
        assert command.main([*TINY, "--steps", "1", "--out", str(out)]) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and f"another process is writing to {out} in" in told
        assert {path.name for path in tmp_path.iterdir()} == {".t.lock"}
        # Another teacher in that folder is another matter.
        other = tmp_path / "u.pt"
        assert command.main([*TINY, "--steps", "1", "--out", str(other)]) == 0
    assert command.main([*TINY, "--steps", "1", "--out", str(out)]) == 0
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".lock")]
