"""Trainings on the crop's own grid, and of other packages' networks, from train to predict."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch

from dsnet import evaluate, predict, train
from dsnet.models import load_model
from dsnet.models.tensor_file import save_tensors
from dsnet.training.settings import parse

TINY = [
    "--phantoms", "8", "--size", "16", "--width", "4", "--depth", "2", "--reduction", "4",
    "--epochs", "1", "--batch", "2", "--device", "cpu", "--shares", "4", "2", "2", "--threads", "1",
]  # fmt: skip
WAYS = {
    "unet": ["--variant", "unet", "--scale", "1"],
    "backbone": ["--variant", "backbone", "--scale", "1"],
    "peer": ["--variant", "monai-basic-unet"],
    "peer-1": ["--variant", "monai-basic-unet", "--scale", "1"],
}


# The backbone has all that the U-Net has.
@pytest.fixture(params=[pytest.param("unet", marks=pytest.mark.long), *list(WAYS)[1:]])
def trained(request, tmp_path, capsys):
    """A folder of a training, the options that made it, and its scale."""
    if request.param.startswith("peer"):
        pytest.importorskip("monai", reason="monai is not installed")
    options = [*TINY, *WAYS[request.param], "--out", str(tmp_path / "run")]
    assert train.main(options) == 0, capsys.readouterr().err
    return tmp_path / "run", options, 4 if request.param == "peer" else 1


def test_it_is_trained_scored_exported_and_used(trained, tmp_path, capsys):
    run, _, scale = trained
    model = load_model(run / "best.pt")
    assert model.config.scale == scale
    assert model(torch.rand(1, 1, 16, 16)).shape[-1] == 16 * scale
    assert json.loads((run / "settings.json").read_text())["scale"] == scale

    assert evaluate.main([str(run), "--no-surface", "--device", "cpu", "--threads", "1"]) == 0
    with open(run / "evaluation" / "cases.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 and all(0 <= float(row["dice"]) <= 1 for row in rows)
    # The same soft mask by the model itself.
    with open(run / "validation.csv") as file:
        assert len(list(csv.DictReader(file))) == 1

    (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\nslice.png,10,12,19,20\n")
    slice_ = np.full((40, 50), 32768 - 600, np.uint16)
    slice_[12:21, 10:20] = 32768 + 30
    cv2.imwrite(str(tmp_path / "slice.png"), slice_)
    arguments = [run / "best.pt", "--images", tmp_path, "--boxes", tmp_path / "boxes.csv"]
    arguments += ["--out", tmp_path / "found", "--device", "cpu", "--window", -1000, 400]
    arguments += ["--isotropic", "native"]
    assert predict.main([str(each) for each in arguments]) == 0, capsys.readouterr().err
    with open(tmp_path / "found" / "lesions.csv") as file:
        (row,) = csv.DictReader(file)
    assert row["status"] == "ok"
    capsys.readouterr()
    assert predict.main([str(run / "best.pt"), "--export", str(tmp_path / "m.pt2")]) == 0
    assert "images of 16 x 16 pixels" in capsys.readouterr().out
    program = torch.export.load(tmp_path / "m.pt2").module()
    image = torch.rand(3, 1, 16, 16)
    assert torch.allclose(program(image), model(image), atol=1e-5)


def test_a_run_goes_on_and_with_its_own_scale_alone(trained, capsys):
    _, options, scale = trained
    assert train.main([*options, "--resume"]) == 0
    other = "1" if scale == 4 else "4"
    assert train.main([*options, "--scale", other, "--resume"]) == 2
    told = capsys.readouterr().err
    assert f"scale must be {scale}, as in the run to resume, got {other}" in told


def test_a_run_from_before_there_was_a_scale_goes_on(tmp_path, capsys):
    options = [*TINY, "--variant", "unet", "--out", str(tmp_path)]
    assert train.main(options) == 0
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del content["settings"]["scale"]
    save_tensors(tmp_path / "checkpoint.pt", content)
    assert train.main([*options, "--resume"]) == 0
    assert train.main([*options, "--scale", "1", "--resume"]) == 2
    assert "scale must be 4, as in the run to resume, got 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--scale", "2"], "argument --scale: invalid choice: 2"),
        (["--scale", "0"], "argument --scale: must be a whole number in 1..4, got 0"),
        (["--scale", "1"], "--scale must be 4, the teacher's, for --variant dsnet, got 1"),
        (
            ["--scale", "1", "--variant", "sr-input"],
            "--scale must be 4, the teacher's, for --variant sr-input, got 1",
        ),
        (
            ["--variant", "monai-basic-unet", "--compile"],
            "--compile must be left out for --variant monai-basic-unet, which is not one graph",
        ),
        (
            ["--variant", "smp-deeplabv3+", "--batch", "1"],
            "--batch must be at least 2 for --variant smp-deeplabv3+, got 1",
        ),
    ],
)
def test_what_does_not_go_together_is_told_by_the_options_names(given, words, capsys):
    with pytest.raises(SystemExit) as exit:
        parse(given)
    assert exit.value.code == 2 and words in capsys.readouterr().err.splitlines()[-1]


def test_a_settings_file_is_held_to_the_scales_too(tmp_path, capsys):
    (tmp_path / "settings.json").write_text(json.dumps({"scale": 3, "variant": "unet"}))
    with pytest.raises(SystemExit):
        parse(["--config", str(tmp_path / "settings.json")])
    assert "--scale must be one of 1, 4, got 3" in capsys.readouterr().err


def test_a_width_that_the_peer_cannot_have_is_one_line(tmp_path, capsys):
    options = [*TINY, "--variant", "monai-segresnet", "--out", str(tmp_path / "run")]
    assert train.main(options) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "width must be a multiple of 8" in told
    assert not (tmp_path / "run").exists()
