"""Seeds become one row, rows are compared case by case, masks are cut where their model says."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from dsnet import evaluate as command
from dsnet.data.phantom import make_phantoms
from dsnet.data.store import StoreWriter
from dsnet.data.store.lock import writing
from dsnet.data.store.record import LabelRecord
from dsnet.evaluation import report
from dsnet.evaluation.score import evaluate
from dsnet.evaluation.statistics import differences
from dsnet.metrics import brier_score, calibration_error, dice, paired_difference
from dsnet.models import build, load_model, save_model
from dsnet.models.tensor_file import save_tensors
from dsnet.training import settings as run_settings
from dsnet.training.dataset import DeviceDataset, fold_split, split_by_patient

COUNT, SIDE = 12, 16
SMALL = {"width": 2, "depth": 1, "reduction": 2}
FAST = {"device": "cpu", "surface": False}


def phantoms(seed=0):
    return DeviceDataset.phantoms(COUNT, SIDE, seed)


def make_run(folder, variant, seed, share=0.75, data_seed=0, **more):
    """A folder as dsnet.train leaves it; its network knows nothing, and is cut above a share."""
    torch.manual_seed(100 * seed + len(variant))
    network = build(variant, **SMALL)
    with torch.no_grad():
        network.network.head.weight *= 30  # so that answers differ
    soft, _ = network.predict(phantoms().image)
    save_model(folder / "best.pt", network, threshold=round(float(soft.quantile(share)), 3))
    settings = run_settings.Settings(
        phantoms=COUNT, size=SIDE, variant=variant, seed=seed, data_seed=data_seed,
        out=str(folder), shares=(4, 2, 6), **SMALL, **more,
    )  # fmt: skip
    run_settings.write(folder / "settings.json", settings)
    data = phantoms(settings.seed_of_data)
    if settings.folds:
        split = fold_split(data.patients, settings.fold, settings.folds, settings.seed_of_data)
    else:
        split = split_by_patient(data.patients, settings.shares, settings.seed_of_data)
    parts = {name: [data.keys[i] for i in part] for name, part in split._asdict().items()}
    (folder / "split.json").write_text(json.dumps(parts))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three seeds of two networks, cut at thresholds of their own."""
    root = tmp_path_factory.mktemp("runs")
    return [
        make_run(root / f"{variant}-{seed}", variant, seed)
        for variant in ("unet", "backbone")
        for seed in (0, 1, 2)
    ]


def by_hand(run):
    """Dice of a run's held-out cases by key, at its own threshold."""
    data, model = phantoms(), load_model(run / "best.pt")
    held = json.loads((run / "split.json").read_text())["test"]
    where = [data.keys.index(key) for key in held]
    _, found = model.predict(data.image[where])
    return dict(zip(held, dice(found, data.binary[where]).tolist(), strict=True))


def table(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_seeds_are_one_row_and_rows_are_compared_by_case(runs, tmp_path, capsys):
    order = [runs[0], runs[3], runs[1], runs[4], runs[5], runs[2]]
    out = tmp_path / "out"
    given = [*map(str, order), "--no-surface", "--device", "cpu", "--out", str(out)]
    assert command.main(given) == 0
    shown = capsys.readouterr().out
    means = []
    for three in (runs[:3], runs[3:]):
        each = [by_hand(run) for run in three]
        assert all(one.keys() == each[0].keys() for one in each)
        means.append({key: np.mean([one[key] for one in each]) for key in each[0]})
    keys = sorted(means[0])
    assert len(keys) == 6 and len({round(v, 9) for v in means[1].values()}) > 2
    # Each phantom is a patient of its own.
    expected = paired_difference(
        np.array([means[1][key] for key in keys]), np.array([means[0][key] for key in keys]), keys
    )
    first, second = table(out / "table.csv")
    assert [row["network"] for row in (first, second)] == ["unet (3 seeds)", "backbone (3 seeds)"]
    assert (second["seeds"], second["cases"], second["patients"]) == ("3", "6", "6")
    cuts = [load_model(run / "best.pt").threshold for run in runs[3:]]
    assert second["thresholds"] == ";".join(f"{cut:g}" for cut in cuts) and len(set(cuts)) > 1
    assert float(second["dice_mean"]) == pytest.approx(np.mean(list(means[1].values())), abs=1e-5)
    assert float(second["dice_difference"]) == pytest.approx(expected.mean, abs=1e-5)
    assert first["dice_difference"] == first["dice_low"] == ""
    written = json.loads((out / "table.json").read_text())
    assert written["against"] == "unet (3 seeds)"
    first, row = written["rows"]
    assert "difference" not in first["metrics"]["dice"]
    found = row["metrics"]["dice"]["difference"]
    assert (found["cases"], found["clusters"]) == (6, 6)
    rows = evaluate(order, **FAST)
    inner = differences(rows)["backbone (3 seeds)"]["dice"]
    assert found == pytest.approx(inner._asdict()) and inner.low < inner.mean < inner.high
    assert inner.mean == pytest.approx(expected.mean)
    assert row["seeds"] == [0, 1, 2]
    by_seed = [np.mean(list(by_hand(run).values())) for run in runs[3:]]
    assert row["metrics"]["dice"]["mean_by_seed"] == pytest.approx(by_seed)
    cell = f"{100 * inner.mean:+.2f} [{100 * inner.low:+.2f}, {100 * inner.high:+.2f}]"
    text = (out / "table.md").read_text(encoding="utf-8")
    for told in (cell, "difference to unet (3 seeds)", "bootstrap draws of patients", "part test"):
        assert told in text and told in shown.replace("\n", " ")
    cases = table(out / "cases.csv")
    assert len(cases) == 36 and {case["seed"] for case in cases} == {"0", "1", "2"}
    mine = [c for c in cases if c["network"].startswith("backbone") and c["seed"] == "1"]
    of_one = {case["key"]: float(case["dice"]) for case in mine}
    assert of_one == pytest.approx(by_hand(runs[4]), abs=1e-6)


def test_cases_of_one_name_and_another_truth_are_told(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs[3], other)
    settings = json.loads((other / "settings.json").read_text())
    (other / "settings.json").write_text(json.dumps({**settings, "size": SIDE + 8}))
    same, larger = (evaluate([runs[0], run], **FAST)[1].notes for run in (runs[3], other))
    told = "6 cases have another truth than unet-0's of the same names"
    assert any(note.startswith(told) for note in larger)
    assert not any("another truth" in note for note in same)


def test_a_name_stays_in_its_cell_and_on_its_line(runs, tmp_path, capsys):
    (row,) = evaluate(runs[:1], **FAST)
    row.name = "a|b\n\x1b[1m*`<i>"
    report.write([row], tmp_path / "out")
    lines = (tmp_path / "out" / "table.md").read_text(encoding="utf-8").splitlines()
    assert lines[2].startswith(r"| a\|b\\n\\x1b[1m\*\`\<i> | one seed | ")
    assert lines[2].replace(r"\|", "").count("|") == lines[0].count("|")
    report.show([row])
    assert "\x1b" not in capsys.readouterr().out


def test_another_row_may_be_the_one_to_compare_with(runs, tmp_path, capsys):
    alone = [runs[0], runs[3]]
    rows = evaluate(alone, against="backbone-0", **FAST)
    (name, found), *rest = differences(rows, "backbone-0").items()
    other = differences(rows)["backbone-0"]["dice"]
    assert name == "unet-0" and not rest
    assert found["dice"].mean == pytest.approx(-other.mean)
    assert (found["dice"].low, found["dice"].high) == pytest.approx((-other.high, -other.low))
    report.write(rows, tmp_path / "out", against="backbone-0")
    text = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "difference to backbone-0" in text and text.count("| one seed |") == 2
    # Told before any network is read.
    broken = tmp_path / "broken"
    make_run(broken, "unet", 7)
    (broken / "best.pt").write_bytes(b"no model")
    given = [str(runs[0]), str(broken), "--against", "unet", "--no-surface", "--device", "cpu"]
    assert command.main(given) == 2
    told = capsys.readouterr().err
    assert "--against must be a row's name, unet (2 seeds); got 'unet'" in told
    assert told.count("\n") == 1


def test_one_row_has_no_difference(runs, tmp_path):
    rows = evaluate(runs[:1], **FAST)
    report.write(rows, tmp_path / "out")
    (line,) = table(tmp_path / "out" / "table.csv")
    assert "dice_difference" not in line and line["seeds"] == "1"
    text = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "difference" not in text and "| one seed |" in text


def test_a_seed_that_comes_twice_keeps_rows_apart(runs, tmp_path):
    again = make_run(tmp_path / "again", "unet", 1, 0.5)
    rows = evaluate([runs[0], runs[1], again], **FAST)
    assert [row.name for row in rows] == ["unet-0", "unet-1", "again"]
    assert all(any("comes more than once" in note for note in row.notes) for row in rows)
    with pytest.raises(ValueError, match="is given twice"):
        evaluate([runs[0], runs[1], runs[0]], **FAST)
    # Other settings are another row.
    other = make_run(tmp_path / "other", "unet", 1, soft_weight=10.0)
    assert [row.name for row in evaluate([runs[0], other], **FAST)] == ["unet-0", "other"]


def test_seeds_that_held_out_other_cases_are_told(tmp_path):
    pair = [make_run(tmp_path / f"u{seed}", "unet", seed, data_seed=-1) for seed in (0, 1)]
    (row,) = evaluate(pair, **FAST)
    assert row.name == "u (2 seeds)" and len(row.keys) == 12
    assert any("scored on other cases, 0 of 12 on all of them" in note for note in row.notes)
    assert len(row.seeds[0].keys) == len(row.seeds[1].keys) == 6


def test_folds_of_several_seeds_are_one_row(tmp_path):
    folders = [
        make_run(tmp_path / f"{seed}-{fold}", "unet", seed, folds=2, fold=fold)
        for seed in (0, 1)
        for fold in (0, 1)
    ]
    (row,) = evaluate(folders, complete=True, **FAST)
    assert row.name == "unet (2 folds, 2 seeds)" and sorted(row.keys) == sorted(phantoms().keys)
    each = [by_hand(folders[k]) | by_hand(folders[k + 1]) for k in (0, 2)]
    wanted = [np.mean([one[key] for one in each]) for key in row.keys]
    assert row.values["dice"] == pytest.approx(np.array(wanted))
    with pytest.raises(ValueError, match="no run of fold 1"):
        evaluate(folders[:3], complete=True, **FAST)
    (row,) = evaluate(folders[:3], **FAST)
    assert any(note.startswith("seed 1: no run of fold 1") for note in row.notes)


def test_masks_are_cut_where_the_model_or_the_user_says(tmp_path, capsys):
    data = phantoms()
    run = make_run(tmp_path / "run", "unet", 0)
    held = json.loads((run / "split.json").read_text())["test"]
    where = [data.keys.index(key) for key in held]
    model = load_model(run / "best.pt")
    (soft, _), at = model.predict(data.image[where]), model.threshold

    def expected(at):
        return dice(soft >= at, data.binary[where]).tolist()

    (own,) = evaluate([run], **FAST)
    assert own.protocol.threshold == "each model's own, chosen on its validation cases"
    assert own.values["dice"].tolist() == pytest.approx(expected(at))
    assert own.values["dice_half"].tolist() == pytest.approx(expected(0.5))
    assert own.seeds[0].thresholds == [at]
    assert expected(at) != expected(0.5) and expected(at) != expected(at / 2)
    (given,) = evaluate([run], threshold=at / 2, **FAST)
    assert given.protocol.threshold == "as given"
    assert given.values["dice"].tolist() == pytest.approx(expected(at / 2))
    content = torch.load(run / "best.pt", weights_only=True)
    save_tensors(run / "best.pt", {**content, "threshold": None})
    (none,) = evaluate([run], **FAST)
    assert none.protocol.threshold == "one half, where a model's file has none"
    assert none.values["dice"].tolist() == none.values["dice_half"].tolist()
    with pytest.raises(ValueError, match="threshold must be a number above 0"):
        evaluate([run], threshold=0.0, **FAST)
    with pytest.raises(SystemExit) as exit:
        command.main([str(run), "--threshold", "1.5"])
    assert exit.value.code == 2 and "argument --threshold" in capsys.readouterr().err


@pytest.mark.parametrize("known", [True, False])
def test_soft_masks_are_held_to_the_readers_where_the_store_has_them(tmp_path, known):
    random = np.random.default_rng(0)
    share = {}
    with StoreWriter(tmp_path / "store", {}) as writer:
        for i, phantom in enumerate(make_phantoms(4, SIDE, 5)):
            key = f"LIDC-IDRI-000{i}/slice-0"
            votes = random.random((4, SIDE, SIDE)) < phantom.alpha
            share[key] = votes.mean(0).astype(np.float32)
            writer.append(
                LabelRecord(
                    key=key,
                    image=phantom.image,
                    alpha=phantom.alpha,
                    binary=phantom.alpha >= 0.5,
                    trimap=np.zeros((SIDE, SIDE), np.uint8),
                    truth=share[key] >= 0.5,
                    # One case without: the others' shares would be another measure.
                    readers=share[key] if known or i else None,
                )
            )
    run = make_run(tmp_path / "run", "unet", 0)
    (row,) = evaluate([run], data=str(tmp_path / "store"), **FAST)
    assert row.protocol.truth == "what people drew"
    assert row.protocol.chance == ("the readers' mean" if known else "the truth")
    soft = row.seeds[0].soft
    to = np.stack([share[key] if known else share[key] >= 0.5 for key in row.keys])
    assert row.values["brier"] == pytest.approx(brier_score(soft, to).numpy(), abs=1e-5)
    calibration = calibration_error(soft, to).numpy()
    assert row.values["calibration_error"] == pytest.approx(calibration, abs=1e-4)
    pooled = float(calibration_error(soft.reshape(-1, SIDE), to.reshape(-1, SIDE)))
    assert row.seeds[0].pooled_calibration_error == pytest.approx(pooled, abs=1e-4)
    report.write([row], tmp_path / "out")
    text = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert f"Brier score and calibration error against {row.protocol.chance}" in text


def test_rows_without_a_shared_case_say_so(tmp_path, capsys):
    folds = [
        make_run(tmp_path / str(fold), "unet", fold, folds=3, fold=fold, data_seed=9)
        for fold in range(2)
    ]
    rows = evaluate(folds, **FAST)
    assert len(rows) == 1  # Folds of one cross-validation are pooled.
    other = make_run(tmp_path / "other", "backbone", 5, folds=3, fold=2, data_seed=9)
    rows = evaluate([*folds, other], **FAST)
    report.write(rows, tmp_path / "out", 1)
    report.show(rows)
    shown = capsys.readouterr().out
    text = (tmp_path / "out" / "table.md").read_text()
    assert "no shared case" in shown and "no shared case" in text
    assert "nan" not in shown.lower() and "nan" not in text.lower()
    with open(tmp_path / "out" / "table.csv", newline="") as file:
        _, second = csv.DictReader(file)
    assert [second[f"dice_{part}"] for part in ("difference", "low", "high")] == ["", "", ""]


def test_a_lock_keeps_two_evaluations_apart(runs, tmp_path, capsys):
    given = [str(runs[0]), "--no-surface", "--device", "cpu", "--cases", "1", "--out"]
    with writing(tmp_path / "out", "it"):
        assert command.main([*given, str(tmp_path / "out")]) == 2
    assert "another process is writing to the folder" in capsys.readouterr().err
    assert command.main([*given, str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out" / ".lock").exists()
