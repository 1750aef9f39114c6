"""Commands take the name of released weights where they take a model's file."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch

from dsnet import evaluate, predict, train
from dsnet.data.phantom import make_phantoms
from dsnet.data.store import LabelRecord, StoreWriter
from dsnet.dependencies import EXTRAS
from dsnet.models import SRResNet, build, load_model, released
from dsnet.models.pretrained import load, names, path_of, save_pretrained
from fresh_interpreter import run_fresh

SIDE = 16
CROP = {"size": 32, "window": "none", "isotropic_mm": None, "network_size": None}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Tiny released weights, a picture, a box and a store; the working folder has none."""
    monkeypatch.setattr(released, "FOLDER", tmp_path / "weights")
    torch.manual_seed(0)
    tiny = {"width": 3, "depth": 1, "scale": 1}
    save_pretrained(path_of("dsnet-lidc"), build("backbone", **tiny), CROP, 0.05)
    marked = build("backbone", mark_input=True, **tiny)
    save_pretrained(path_of("dsnet-lidc-mark"), marked, CROP, 0.05)
    save_pretrained(path_of("dsnet-lidc-sr"), SRResNet(blocks=1, features=4))
    (tmp_path / "images").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    cv2.imwrite(str(tmp_path / "images" / "s.png"), picture)
    (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\ns.png,9,9,20,22\n")
    with StoreWriter(str(tmp_path / "store"), {}) as writer:
        for i, phantom in enumerate(make_phantoms(3, SIDE, 5)):
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
    monkeypatch.chdir(tmp_path)
    return tmp_path


def segment(*given, out="out"):
    more = ["--images", "images", "--boxes", "boxes.csv", "--out", out, "--pictures"]
    return predict.main([*given, *more, "--device", "cpu", "--threads", "1"])


def test_predict_takes_a_name_in_either_place(place, capsys):
    for number, given in enumerate(
        (["dsnet-lidc"], ["--model", "dsnet-lidc"], ["dsnet-lidc-mark"])
    ):
        assert segment(*given, out=f"out-{number}") == 0
        told = capsys.readouterr().out
        assert "backbone on cpu; crops of 32 pixels, window none" in told
        assert f"from 0.05 on, as {given[-1]} says" in told
        with open(f"out-{number}/lesions.csv") as file:
            (row,) = csv.DictReader(file)
        assert row["status"] == "ok" and int(row["area_px"]) > 0
    one, other = (cv2.imread(f"out-{k}/soft/s.png", -1) for k in (0, 1))
    assert np.array_equal(one, other)


def test_predict_wants_one_model(place, capsys):
    for given in ([], ["dsnet-lidc", "--model", "dsnet-lidc-mark"]):
        with pytest.raises(SystemExit) as exit:
            segment(*given)
        assert exit.value.code == 2
        assert "required, once: MODEL or --model MODEL" in capsys.readouterr().err


def test_a_name_that_is_none_is_told_with_those_that_are(place, capsys):
    known = "dsnet-lidc, dsnet-lidc-mark, dsnet-lidc-sr"
    small = ["--phantoms", "4", "--size", "16", "--variant", "sr-input", "--device", "cpu"]
    for call in (
        lambda: segment("dsnet-lidk"),
        lambda: evaluate.main(["dsnet-lidk", "--no-surface"]),
        lambda: train.main([*small, "--teacher", "dsnet-lidk", "--out", "run"]),
    ):
        assert call() == 2
        told = capsys.readouterr().err
        assert known in told and "dsnet-lidk" in told and told.count("\n") == 1
    path_of("dsnet-lidc").unlink()
    for call in (lambda: segment("dsnet-lidc"), lambda: evaluate.main(["dsnet-lidc"])):
        assert call() == 2
        told = capsys.readouterr().err
        assert "the weights dsnet-lidc do not come with this dsnet" in told
        assert told.count("\n") == 1


def test_a_teacher_segments_nothing(place, capsys):
    assert segment("dsnet-lidc-sr") == 2
    assert "must be a network of dsnet.train, got an SR teacher" in capsys.readouterr().err


def test_a_damaged_file_is_told_by_each_command(place, capsys):
    for name in names():
        data = bytearray(path_of(name).read_bytes())
        data[-1] ^= 1
        path_of(name).write_bytes(data)
    small = ["--phantoms", "4", "--size", "16", "--variant", "sr-input", "--device", "cpu"]
    given = ["--data", "store", "--part", "all", "--no-surface", "--device", "cpu"]
    for call in (
        lambda: segment("dsnet-lidc"),
        lambda: evaluate.main(["dsnet-lidc", *given]),
        lambda: train.main([*small, "--teacher", "dsnet-lidc-sr", "--out", "run"]),
    ):
        assert call() == 2
        told = capsys.readouterr().err
        assert "is damaged: its SHA-256" in told and told.count("\n") == 1


def test_evaluate_scores_a_name_on_a_store(place, capsys):
    given = [
        "--data",
        "store",
        "--no-surface",
        "--device",
        "cpu",
        "--cases",
        "1",
        "--out",
        "scored",
    ]
    assert evaluate.main(["dsnet-lidc", "dsnet-lidc-mark", *given, "--part", "all"]) == 0
    text = (place / "scored" / "table.md").read_text()
    assert "dsnet-lidc" in text and "dsnet-lidc-mark" in text
    assert "nothing says which of these cases the network learnt from" in text
    assert evaluate.main(["dsnet-lidc", *given]) == 2
    assert "stands alone" in capsys.readouterr().err
    keys = [f"LIDC-IDRI-000{i}/slice-0" for i in range(3)]
    split = {"train": keys[:1], "val": keys[1:2], "test": keys[2:]}
    (place / "split.json").write_text(json.dumps(split))
    assert evaluate.main(["dsnet-lidc", *given, "--split", "split.json"]) == 0
    with open(place / "scored" / "cases.csv") as file:
        assert {row["key"] for row in csv.DictReader(file)} == {keys[2]}


def test_train_takes_the_released_teacher(place):
    small = (
        "--phantoms 6 --size 16 --variant sr-input --width 2 --depth 1 --epochs 1 --batch 2 "
        "--shares 2 1 1 --threads 1 --device cpu --teacher dsnet-lidc-sr --out run"
    )
    assert train.main(small.split()) == 0
    kept = load_model("run/best.pt").teacher.state_dict()
    for name, value in load("dsnet-lidc-sr").state_dict().items():
        assert torch.equal(kept[name], value)


def test_what_lies_in_the_working_folder_comes_first(place, capsys):
    (place / "dsnet-lidc").mkdir()
    assert segment("dsnet-lidc") == 2
    assert "there is none at dsnet-lidc" in capsys.readouterr().err
    assert evaluate.main(["dsnet-lidc"]) == 2
    assert "dsnet-lidc has no settings.json" in capsys.readouterr().err


def test_the_help_names_them_without_torch():
    code = "import runpy; runpy.run_module('dsnet.predict', run_name='__main__', alter_sys=True)"
    without = sorted({package for packages in EXTRAS.values() for package in packages})
    done = run_fresh(code, without=without, arguments=["--help"])
    assert done.returncode == 0
    assert all(name in done.stdout for name in names())
