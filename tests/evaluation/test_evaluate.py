"""`python -m dsnet.evaluate`: a run that was trained, folds and model files that were not."""

import csv
import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from dsnet import evaluate as command
from dsnet import train
from dsnet.data.crop_settings import CropSettings
from dsnet.data.phantom import make_phantoms
from dsnet.data.store import StoreWriter
from dsnet.data.store.reader import open_store
from dsnet.data.store.record import LabelRecord
from dsnet.drawing.comparison import choose_cases
from dsnet.evaluation import report
from dsnet.evaluation.score import evaluate
from dsnet.models import SRResNet, build, load_model, save_model
from dsnet.models.tensor_file import save_tensors
from dsnet.training import settings as run_settings
from dsnet.training.dataset import DeviceDataset, fold_split

COUNT, SIDE = 8, 16
SMALL = {"width": 4, "depth": 1, "reduction": 2}
FAST = {"device": "cpu", "surface": False}


@pytest.fixture(scope="module")
def phantoms():
    return DeviceDataset.phantoms(COUNT, SIDE, 0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Trained for an epoch, split 4, 2, 2."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    options = (
        f"--phantoms {COUNT} --size {SIDE} --variant unet --width 4 --depth 1 --reduction 2 "
        f"--epochs 1 --batch 2 --device cpu --shares 4 2 2 --out {run}"
    )
    assert train.main(options.split()) == 0
    return run


@pytest.fixture(scope="module")
def folds(tmp_path_factory, phantoms):
    """Folders as dsnet.train leaves them, the networks fresh."""
    root = tmp_path_factory.mktemp("folds")
    for fold in (0, 1):
        run = root / f"fold-{fold}"
        torch.manual_seed(fold)
        save_model(run / "best.pt", build("unet", **SMALL))
        how = run_settings.Settings(
            phantoms=COUNT, size=SIDE, variant="unet", folds=2, fold=fold, out=str(run), **SMALL
        )
        run_settings.write(run / "settings.json", how)
        split = fold_split(phantoms.patients, fold, 2, 0)
        write_split(run / "split.json", {k: keys(phantoms, v) for k, v in split._asdict().items()})
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Four patients, a slice each."""
    path = str(tmp_path_factory.mktemp("data") / "store")
    with StoreWriter(path, {}) as writer:
        for i, phantom in enumerate(make_phantoms(4, SIDE, 5)):
            writer.append(
                LabelRecord(
                    key=f"LIDC-IDRI-000{i}/slice-0",
                    source="phantom",
                    image=phantom.image,
                    alpha=phantom.alpha,
                    binary=phantom.alpha >= 0.5,
                    trimap=np.zeros((SIDE, SIDE), np.uint8),
                )
            )
    return path


def keys(data, places):
    return [data.keys[i] for i in places]


def write_split(path, content):
    path.write_text(json.dumps(content))


def rows(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_run_is_scored_on_what_it_held_out(whole, phantoms, tmp_path, capsys):
    assert command.main([str(whole), "--out", str(tmp_path), "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    split = json.loads((whole / "split.json").read_text())
    cases = rows(tmp_path / "cases.csv")
    assert sorted(case["key"] for case in cases) == sorted(split["test"])
    # By the paper's formulas, from the model's own prediction.
    model = load_model(whole / "best.pt")
    for case in cases:
        k = phantoms.keys.index(case["key"])
        soft, binary = model.predict(phantoms.image[k : k + 1])
        found, truth = binary[0, 0].numpy(), phantoms.binary[k, 0].numpy()
        half = soft[0, 0].numpy() >= 0.5
        overlap = 2 * (half & truth).sum() / (half.sum() + truth.sum())
        assert float(case["dice_half"]) == pytest.approx(overlap, abs=1e-6)
        brier = ((soft[0, 0].numpy() - truth) ** 2).mean()
        assert float(case["brier"]) == pytest.approx(brier, abs=1e-5)
        both, sides = (found & truth).sum(), found.sum() + truth.sum()
        assert case["patient"] == phantoms.patients[k]
        assert float(case["dice"]) == pytest.approx(2 * both / sides, abs=1e-6)
        assert float(case["sensitivity"]) == pytest.approx(both / truth.sum(), abs=1e-6)
        assert float(case["ppv"]) == pytest.approx(both / max(found.sum(), 1), abs=1e-6)
        error = (soft[0, 0] - phantoms.soft[k, 0]).abs().mean()
        assert float(case["soft_mask_mae"]) == pytest.approx(float(error), abs=1e-5)
        assert int(case["truth_px"]) == truth.sum() and int(case["predicted_px"]) == found.sum()
    (table,) = rows(tmp_path / "table.csv")
    values = [float(case["dice"]) for case in cases]
    assert float(table["dice_mean"]) == pytest.approx(np.mean(values), abs=1e-5)
    assert float(table["dice_std"]) == pytest.approx(np.std(values), abs=1e-5)
    assert float(table["dice_median"]) == pytest.approx(np.median(values), abs=1e-5)
    assert table["hausdorff95_count"] == table["cases"] == str(len(cases))
    assert float(table["thresholds"]) == model.threshold and 0.05 <= model.threshold <= 0.95
    cell = f"{100 * np.mean(values):.2f} ± {100 * np.std(values):.2f}"
    assert cell in (tmp_path / "table.md").read_text(encoding="utf-8") and cell in shown
    figure = cv2.imread(str(tmp_path / "figure.png"))
    assert figure is not None and figure.shape[0] > 2 * 240 and figure.shape[1] > 3 * 240


def test_folds_become_one_row_over_every_case(folds, phantoms):
    both = [folds / "fold-0", folds / "fold-1"]
    (row,) = evaluate(both, complete=True, **FAST)
    assert row.name == "unet (2 folds)" and not any("fold" in note for note in row.notes)
    assert sorted(row.keys) == sorted(phantoms.keys)
    alone = [evaluate([run], **FAST)[0] for run in both]
    values = np.concatenate([one.values["dice"] for one in alone])
    assert np.array_equal(row.values["dice"], values)
    assert alone[0].name == "unet (1 of 2 folds)"
    assert any("no run of fold 1" in note for note in alone[0].notes)
    with pytest.raises(ValueError, match="no run of fold 1"):
        evaluate(both[:1], complete=True, **FAST)
    with pytest.raises(ValueError, match="fold 0 of 2 comes more than once"):
        evaluate([both[0], both[0]], **FAST)
    with pytest.raises(ValueError, match="pool the folds' test parts"):
        evaluate(both, part="all", **FAST)


def test_a_case_that_two_folds_held_out_is_told(folds, tmp_path):
    again = tmp_path / "fold-1"
    shutil.copytree(folds / "fold-1", again)
    split = json.loads((again / "split.json").read_text())
    other = json.loads((folds / "fold-0" / "split.json").read_text())["test"][0]
    parts = {name: [key for key in part if key != other] for name, part in split.items()}
    write_split(again / "split.json", {**parts, "test": [*parts["test"], other]})
    with pytest.raises(ValueError, match="held out by more than one fold"):
        evaluate([folds / "fold-0", again], **FAST)


def test_runs_side_by_side(whole, folds, tmp_path):
    both = evaluate([whole, folds / "fold-1"], batch=3, **FAST)
    assert [row.name for row in both] == ["whole", "unet (1 of 2 folds)"]
    assert any("do not compare" in note for note in both[1].notes)
    report.write(both, tmp_path / "out", cases=3)
    assert len(rows(tmp_path / "out" / "table.csv")) == 2
    two = evaluate([whole, whole / "last.pt"], **FAST)
    assert [row.name for row in two] == ["whole", "whole/last"]
    assert not any("do not compare" in note for row in two for note in row.notes)


def test_no_training_case_is_scored_unless_asked_for(whole, phantoms, tmp_path):
    split = json.loads((whole / "split.json").read_text())
    (row,) = evaluate([whole], **FAST)
    assert set(row.keys) == set(split["test"]) and not set(row.keys) & set(split["train"])
    (row,) = evaluate([whole], part="train", **FAST)
    assert set(row.keys) == set(split["train"]) and "learnt from" in row.notes[0]
    run = tmp_path / "leaky"
    shutil.copytree(whole, run)
    write_split(run / "split.json", {**split, "test": [*split["test"], split["train"][0]]})
    with pytest.raises(ValueError, match="both in train and in test"):
        evaluate([run], **FAST)


def test_a_model_file_alone_needs_a_split(whole, store, tmp_path):
    model, split = tmp_path / "model.pt", tmp_path / "split.json"
    shutil.copy(whole / "best.pt", model)
    with pytest.raises(ValueError, match="give --data"):
        evaluate([model], **FAST)
    with pytest.raises(ValueError, match="stands alone"):
        evaluate([model], data=store, **FAST)
    (row,) = evaluate([model], data=store, part="all", **FAST)
    assert len(row.keys) == 4 and "nothing says" in row.notes[0]
    write_split(split, {"train": row.keys[:1], "val": row.keys[1:2], "test": row.keys[2:3]})
    (part,) = evaluate([model], data=store, split=split, **FAST)
    assert part.keys == row.keys[2:3]
    assert any("1 cases" in note and "not in the run's split" in note for note in part.notes)


def test_another_store_is_scored_without_the_patients_of_the_training(whole, store, tmp_path):
    (row,) = evaluate([whole], data=store, **FAST)
    assert len(row.keys) == 4 and "shares no case" in row.notes[0]
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    split = {"train": ["elsewhere/LIDC-IDRI-0001/slice-9"], "val": ["b"], "test": ["c"]}
    write_split(run / "split.json", split)
    (row,) = evaluate([run], data=store, **FAST)
    assert sorted(row.patients) == [f"LIDC-IDRI-000{i}" for i in (0, 2, 3)]
    assert any("1 cases of patients it learnt from are left out" in note for note in row.notes)


def with_patients(path, patients, count=4):
    """A store of phantoms whose keys tell no patient, with these or without any."""
    with StoreWriter(path, {}) as writer:
        for i, phantom in enumerate(make_phantoms(count, SIDE, 5)):
            writer.append(
                LabelRecord(
                    key=f"{path.name}-{i}",
                    image=phantom.image,
                    alpha=phantom.alpha,
                    binary=phantom.alpha >= 0.5,
                    trimap=np.zeros((SIDE, SIDE), np.uint8),
                    metadata={"patient": patients[i]} if patients else {},
                )
            )
    return str(path)


def test_patients_that_only_the_store_names_are_left_out_too(whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    write_split(run / "split.json", {"train": ["a"], "val": ["b"], "test": ["c"]})
    write_split(run / "patients.json", {"a": "Ann", "b": "Ben", "c": "Cid"})
    other = with_patients(tmp_path / "other", ["Ann", "Ben", "Cid", "Dan"])
    (row,) = evaluate([run], data=other, **FAST)
    assert sorted(row.patients) == ["Cid", "Dan"]
    assert not any("nothing tells the patients" in note for note in row.notes)
    for text in ("[1]", '{"a": null}', "[" * 200_000, "\xff"):
        (run / "patients.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=r"patients\.json is damaged"):
            evaluate([run], data=other, **FAST)


def test_unknown_patients_are_told_by_training_and_scoring(tmp_path, capsys):
    store, run = with_patients(tmp_path / "store", None, 6), tmp_path / "run"
    options = (
        f"--data {store} --variant unet --width 2 --depth 1 --epochs 1 --batch 2 --device cpu "
        f"--shares 2 2 2 --out {run}"
    )
    assert train.main(options.split()) == 0
    told = "nothing tells the patients of 6 of 6 labels"
    assert f"warning: {told}" in capsys.readouterr().out
    (row,) = evaluate([run], **FAST)
    assert sum(note.startswith(told) for note in row.notes) == 1
    assert set(json.loads((run / "patients.json").read_text())) == {f"store-{i}" for i in range(6)}


@pytest.mark.parametrize("value, says", [(-100.0, "nothing was found"), (np.nan, "not finite")])
def test_what_a_broken_network_does_is_said(folds, tmp_path, value, says):
    run = tmp_path / "broken"
    shutil.copytree(folds / "fold-0", run)
    content = torch.load(run / "best.pt", weights_only=True)
    last = [name for name in content["state"] if name.endswith("bias")][-1]
    content["state"][last] += value
    save_tensors(run / "best.pt", content)
    (row,) = evaluate([run], **FAST)
    assert (row.values["dice"] == 0).all()
    assert any(says in note and f"in {len(row.keys)} of" in note for note in row.notes)
    report.write([row], tmp_path / "out")
    (table,) = rows(tmp_path / "out" / "table.csv")
    assert table["soft_mask_mae_count"] == ("0" if np.isnan(value) else str(len(row.keys)))


def test_figure_takes_cases_from_the_worst_to_the_best(folds):
    (row,) = evaluate([folds / "fold-0", folds / "fold-1"], **FAST)
    row = replace(row, values={"dice": np.array([3, 1, 4, 1.5, 9, 2, 6, 5]) / 10})
    chosen, total = choose_cases([row], 3)
    assert total == 8 and [rank for rank, _ in chosen] == [0, 4, 7]
    assert [key for _, key in chosen] == [row.keys[i] for i in (1, 2, 4)]


def test_bad_input_is_told_in_a_line(folds, whole, tmp_path, capsys):
    def says(words, *arguments):
        assert command.main([*map(str, arguments), "--device", "cpu"]) == 2
        told = capsys.readouterr().err
        assert words in told and told.count("\n") == 1

    says("is not there", tmp_path / "nowhere")
    says("no settings.json", tmp_path)
    says("is given twice", whole, whole)
    says("no cross-validation", whole, "--folds")
    says("--cases must be a whole number in 1..1000, got 0", whole, "--cases", "0")
    says("is a file", whole, "--out", whole / "best.pt")
    run = tmp_path / "moved"
    shutil.copytree(whole, run)
    settings = json.loads((run / "settings.json").read_text())
    (run / "settings.json").write_text(json.dumps({**settings, "seed": 1}))
    says("changed since", run)
    (run / "checkpoint.pt").unlink()
    says("lacks", run)
    (run / "settings.json").write_text(json.dumps({**settings, "data": str(tmp_path / "gone")}))
    says("gone", run)
    save_model(run / "best.pt", SRResNet(blocks=1, features=4))
    (run / "settings.json").write_text(json.dumps(settings))
    says("SR teacher", run)
    (run / "split.json").write_text("[]")
    says("split must have lists train, val, test", run)
    (run / "split.json").unlink()
    says("no split.json", run)
    shutil.copy(whole / "split.json", run)
    (run / "settings.json").write_text("{")
    says("settings.json is damaged", run)
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    for name in ("settings.json", "split.json"):
        shutil.copy(whole / name, unfinished)
    says("has no best.pt", unfinished)
    (run / "settings.json").write_text(json.dumps({**settings, "width": "4"}))
    says("settings.json is damaged: --width must be", run)
    (run / "settings.json").write_text(json.dumps(settings))
    (run / "split.json").write_text('{"train": [[]], "val": [], "test": []}')
    says("must hold keys of cases, got []", run)


def test_a_store_of_other_crops_is_told(store, tmp_path):
    with StoreWriter(tmp_path / "other", {"strategy": "recist", "size": SIDE}) as writer:
        for record in open_store(store).records("ok"):
            writer.append(record)
    for crop, told in (
        (CropSettings(SIDE, (-1350.0, 150.0)), True),
        (CropSettings(SIDE, "auto"), False),
    ):
        save_model(tmp_path / "model.pt", build("unet", **SMALL), crop.to_dict())
        (row,) = evaluate([tmp_path / "model.pt"], data=str(tmp_path / "other"), part="all", **FAST)
        assert told == any("; the network learnt from crops of" in note for note in row.notes)


def test_flips_score_the_mean_over_mirror_images(whole, phantoms, tmp_path):
    (plain,), (mean,) = (evaluate([whole], **FAST, flips=flips) for flips in (False, True))
    model = load_model(whole / "best.pt")
    for key, soft in zip(mean.keys, mean.seeds[0].soft, strict=True):
        k = phantoms.keys.index(key)
        expected, _ = model.predict(phantoms.image[k : k + 1], flips=True)
        np.testing.assert_allclose(soft, expected[0, 0], atol=1e-6)
    assert np.abs(mean.seeds[0].soft - plain.seeds[0].soft).max() > 1e-5
    options = ["--device", "cpu", "--no-surface", "--flips", "--out", str(tmp_path)]
    assert command.main([str(whole), *options]) == 0
    dice = {row["key"]: float(row["dice"]) for row in rows(tmp_path / "cases.csv")}
    for key, value in zip(mean.keys, mean.values["dice"], strict=True):
        assert dice[key] == pytest.approx(value, abs=1e-5)
