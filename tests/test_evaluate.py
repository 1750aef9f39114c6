"""`python -m dsnet.evaluate` on runs of two folds, trained for an epoch each."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
import torch

from dsnet import evaluate as command
from dsnet import train
from dsnet.models import load_model
from dsnet.training.dataset import DeviceDataset

TINY = [
    "--phantoms", "8", "--size", "16", "--width", "4", "--depth", "1", "--reduction", "2",
    "--variant", "unet", "--epochs", "1", "--batch", "2", "--device", "cpu", "--threads", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    root = tmp_path_factory.mktemp("folds")
    for fold in (0, 1):
        more = ["--folds", "2", "--fold", str(fold), "--out", str(root / f"fold-{fold}")]
        assert train.main([*TINY, *more]) == 0
    return root


def rows(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def test_one_run_is_scored_on_what_it_held_out(folds, tmp_path, capsys):
    assert command.main([str(folds / "fold-0"), "--out", str(tmp_path)]) == 0
    assert "unet, 1 of 2 folds" in capsys.readouterr().out
    split = json.loads((folds / "fold-0" / "split.json").read_text())
    cases = rows(tmp_path / "cases.csv")
    assert sorted(case["key"] for case in cases) == sorted(split["test"])
    # By the paper's formulas, from the model's own prediction.
    data = DeviceDataset.phantoms(8, 16, 0)
    model = load_model(folds / "fold-0" / "best.pt")
    for case in cases:
        k = data.keys.index(case["key"])
        soft, _ = model.predict(data.image[k : k + 1])
        found, truth = soft[0, 0].numpy() >= 0.5, data.binary[k, 0].numpy()
        both, sides = (found & truth).sum(), found.sum() + truth.sum()
        assert float(case["dice"]) == pytest.approx(2 * both / sides, abs=1e-6)
        assert float(case["sensitivity"]) == pytest.approx(both / truth.sum(), abs=1e-6)
        assert float(case["ppv"]) == pytest.approx(both / found.sum() if both else 0, abs=1e-6)
        error = (soft[0, 0] - data.soft[k, 0]).abs().mean()
        assert float(case["soft_mask_mae"]) == pytest.approx(float(error), abs=1e-5)
        assert int(case["truth_px"]) == truth.sum() and int(case["predicted_px"]) == found.sum()
    (table,) = rows(tmp_path / "table.csv")
    values = [float(case["dice"]) for case in cases]
    assert float(table["dice_mean"]) == pytest.approx(np.mean(values), abs=1e-5)
    assert float(table["dice_std"]) == pytest.approx(np.std(values), abs=1e-5)
    assert f"{100 * np.mean(values):.2f} ± {100 * np.std(values):.2f}" in (
        tmp_path / "table.md"
    ).read_text(encoding="utf-8")
    figure = cv2.imread(str(tmp_path / "figure.png"))
    assert figure is not None and figure.shape[0] > 4 * 192


def test_folds_become_one_row_over_every_case(folds):
    both = [folds / "fold-0", folds / "fold-1"]
    (row,) = command.evaluate(both, device="cpu", surface=False)
    assert row.name == "unet, 2 folds"
    assert sorted(row.keys) == sorted(DeviceDataset.phantoms(8, 16, 0).keys)
    alone = [command.evaluate([run], device="cpu", surface=False)[0] for run in both]
    values = np.concatenate([one.values["dice"] for one in alone])
    assert np.array_equal(row.values["dice"], values)
    assert not any("fold" in note for note in row.notes)
    assert any("fold 1" in note for note in alone[0].notes)
    with pytest.raises(ValueError, match="fold 0 of 2 comes more than once"):
        command.evaluate([both[0], both[0]], device="cpu")


def test_runs_side_by_side(folds, tmp_path):
    run = tmp_path / "whole"
    assert train.main([*TINY, "--shares", "4", "2", "2", "--out", str(run)]) == 0
    both = command.evaluate([run, folds / "fold-1"], device="cpu", surface=False, batch=3)
    assert [row.name for row in both] == ["whole", "unet, 1 of 2 folds"]
    command.write(both, tmp_path / "out", cases=3)
    assert len(rows(tmp_path / "out" / "table.csv")) == 2
    trained = command.evaluate([run], part="train", device="cpu", surface=False)[0]
    assert "has seen" in trained.notes[0] and len(trained.keys) == 4


def test_nothing_found_counts_and_is_said(folds, tmp_path):
    run = tmp_path / "blind"
    shutil.copytree(folds / "fold-0", run)
    content = torch.load(run / "best.pt", weights_only=True)
    last = [name for name in content["state"] if name.endswith("bias")][-1]
    content["state"][last] -= 100
    torch.save(content, run / "best.pt")
    (row,) = command.evaluate([run], device="cpu")
    assert (row.values["dice"] == 0).all()
    assert row.values["hausdorff95"] == pytest.approx(np.hypot(16, 16))
    assert any("nothing was found" in note and "4 of 4" in note for note in row.notes)


def test_bad_input_is_told_in_a_line(folds, tmp_path, capsys):
    def says(words, *arguments):
        assert command.main([*map(str, arguments), "--device", "cpu"]) == 2
        told = capsys.readouterr().err
        assert words in told and told.count("\n") == 1

    says("is no folder", tmp_path / "nowhere")
    says("no settings.json", tmp_path)
    run = tmp_path / "moved"
    shutil.copytree(folds / "fold-0", run)
    settings = json.loads((run / "settings.json").read_text())
    (run / "settings.json").write_text(json.dumps({**settings, "seed": 1}))
    says("changed since", run)
    (run / "checkpoint.pt").unlink()
    says("lacks", run)
    (run / "settings.json").write_text(json.dumps({**settings, "data": str(tmp_path / "gone")}))
    says("gone", run)
