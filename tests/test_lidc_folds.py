"""The cross-validation on LIDC: what is trained, and its table."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from bench.studies import lidc_folds, lidc_networks
from dsnet.data.store import StoreWriter
from dsnet.evaluation.rows import Protocol, Scored, row_of


def test_every_fold_of_every_row_is_trained_once(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        lidc_networks, "train", lambda settings: asked.append(settings) or {"stopped": False}
    )
    given = ["train", "store", str(tmp_path), "--only", "unet", "backbone, mark"]
    for each in (
        "unet-0-fold-0",
        "backbone-mark-0-fold-0",
        "unet-0-fold-1",
        "backbone-mark-0-fold-1",
    ):
        (tmp_path / each).mkdir()
    (tmp_path / "unet-0-fold-1/done").touch()
    for _ in range(2):
        assert lidc_networks.main([*given, "--folds", "2", "--seeds", "1"]) == 0
    assert [
        (s.variant, s.mark_input, s.folds, s.fold, s.out.rpartition("/")[2]) for s in asked
    ] == [
        ("unet", False, 2, 0, "unet-0-fold-0"),
        ("backbone", True, 2, 0, "backbone-mark-0-fold-0"),
        ("backbone", True, 2, 1, "backbone-mark-0-fold-1"),
    ]
    # One split of the patients, and so their folds, whatever the seed.
    assert {s.data_seed for s in asked} == {1}
    for wrong in (["--folds", "1"], ["--folds", "-4"], ["--folds", "4", "--rows", "rungs"]):
        with pytest.raises(SystemExit):
            lidc_networks.main([*given, *wrong])
        assert "--folds must be" in capsys.readouterr().err
    with StoreWriter(tmp_path / "store", {}):
        pass
    with pytest.raises(ValueError, match="must hold a fold that is done"):
        lidc_folds.score([("unet", 0, 0, tmp_path / "none")], str(tmp_path / "store"), 2)


def test_folds_are_pooled_and_paired_by_case(tmp_path, monkeypatch, capsys):
    # Of each case: fold, DICE of the U-Net, DICE of the other, whether it is the largest.
    cases = {
        "A/n/0": (0, 0.5, 0.6, True), "A/n/1": (0, 0.7, 0.9, False),
        "B/n/0": (1, 0.9, 0.8, True), "C/n/0": (1, 0.3, 0.9, True), "D/n/0": (1, 0.1, 0.1, True),
    }  # fmt: skip
    figures_of = {"unet": 1, "backbone": 2}
    runs = []
    for fold in (0, 1):
        for name in figures_of:
            folder = tmp_path / f"{name}-{fold}"
            folder.mkdir()
            runs.append((name, 0, fold, folder))
            test = [key for key, case in cases.items() if case[0] == fold]
            (folder / "split.json").write_text(
                json.dumps({"train": ["x"] * (7 + fold), "test": test})
            )
            how = {"width": 8, "epochs": 10, "batch": 32, "precision": "fp32"}
            (folder / "settings.json").write_text(json.dumps(how))
            if (name, fold) != ("backbone", 0):
                (folder / "done").touch()

    def made_up(folders, **_):
        name = folders[0].rpartition("/")[2].partition("-")[0]
        folds = {int(folder[-1]) for folder in folders}
        keys = [key for key, case in cases.items() if case[0] in folds]
        truth = np.array([key != "D/n/0" for key in keys])[:, None, None]
        dice = np.array([cases[key][figures_of[name]] for key in keys])
        values = {"dice": dice, "sensitivity": dice / 2, "ppv": 1 - dice}
        scored = Scored(
            name, 0, keys, [key[0] for key in keys], truth, truth, truth, dice, values, [], 0
        )
        return [row_of(name, [scored], Protocol("test", "", "", ""), [])]

    class Records:
        def records(self, status):
            return [SimpleNamespace(key=k, metadata={"largest": v[3]}) for k, v in cases.items()]

    monkeypatch.setattr(lidc_folds, "evaluate", made_up)
    monkeypatch.setattr(lidc_folds, "open_store", lambda store: Records())
    result = lidc_folds.score(runs, "store", 2)
    assert result["lacking"] == ["backbone, seed 0, fold 0"]
    # D has no truth and is in no figure.
    unet, other = result["parts"]["all slices"].values()
    assert unet["cases"] == 4 and unet["patients"] == 3 and unet["cases_of_folds"] == [2, 2]
    assert unet["DICE"] == pytest.approx([60, 50**0.5 * 10**0.5])
    assert unet["SEN"][0] == pytest.approx(30) and unet["PPV"][0] == pytest.approx(40)
    assert unet["DICE of folds"] == pytest.approx([60, 60])
    assert unet["difference"] == [0, 0, 0] and unet["paired_cases"] == 4
    # Fold 0 lacks: B loses ten points and C wins sixty; two patients drawn of two.
    assert other["DICE of folds"] == [None, pytest.approx(85)] and other["paired_cases"] == 2
    assert other["difference"] == pytest.approx([25, -10, 60])
    largest = result["parts"]["one slice a nodule, the largest"]["unet"]
    assert largest["DICE of folds"] == pytest.approx([50, 60]) and largest["cases"] == 3
    text = lidc_folds.text_of(result)
    assert "| backbone | 2 | 2 | 85.00 ± 5.00 | 42.50 ± 2.50 | 15.00 ± 5.00 |" in text
    assert "| +25.00 [-10.00, +60.00] |  | 85.00 |" in text
    assert "**Not run: backbone, seed 0, fold 0.**" in text and "7 to 8 slices" in text
    assert "| DSNet, paper | | | 83.35 ± 7.85 | 89.37 ± 13.24 | 83.26 ± 14.14 |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {rows[0].count("|")}
    # Rows that share no case have no difference.
    (tmp_path / "unet-0/done").unlink()
    (tmp_path / "backbone-1/done").rename(tmp_path / "backbone-0/done")
    result = lidc_folds.score(runs, "store", 2)
    assert result["parts"]["all slices"]["backbone"]["difference"] is None
    assert "| backbone | 2 | 1 | 75.00 ± 15.00 | 37.50 ± 7.50 | 25.00 ± 15.00 |  | 75.00 |  |" in (
        lidc_folds.text_of(result)
    )
