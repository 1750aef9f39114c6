"""Every number of the training commands has its range, and is told by its option's name."""

import json
from dataclasses import fields, replace

import pytest
import torch

from dsnet import label, train, train_sr
from dsnet.arguments import Range
from dsnet.training.memory import require_memory
from dsnet.training.run import train as run_training
from dsnet.training.settings import Settings, check, parse
from dsnet.training.sr import NUMBERS, SRSettings
from dsnet.training.sr import train_sr as run_sr

HUGE = 10**40


def test_the_defaults_are_allowed_and_every_number_has_a_range():
    check(Settings())
    for each in fields(Settings):
        if type(each.default) in (int, float):
            assert isinstance(each.metadata["allowed"], Range), each.name
    for each in fields(SRSettings):
        if each.type in ("int", "float"):
            assert getattr(SRSettings(), each.name) in NUMBERS[each.name], each.name


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--warmup", "-5"], "argument --warmup: must be a whole number in 0..1000000000, got -5"),
        (["--lr", "nan"], "argument --lr: must be a number above 0 and of at most 100, got nan"),
        (["--lr", "inf"], "argument --lr: must be"),
        (["--lr", "0"], "argument --lr: must be"),
        (["--batch", "0"], "argument --batch: must be a whole number in 1..4096, got 0"),
        (["--width", str(HUGE)], "argument --width: must be a whole number in 1..4096"),
        (["--width", "1" * 5000], "argument --width: must be a whole number"),
        (["--save-every", "-1"], "argument --save-every: must be a whole number in 0.."),
        (["--seed", "-1"], "argument --seed: must be a whole number in 0.."),
        (["--data-seed", "-2"], "argument --data-seed: must be a whole number in -1.."),
        (["--soft-weight", "-1"], "argument --soft-weight: must be a number in 0.."),
        (["--soft-weight", "nan"], "argument --soft-weight: must be a number in 0.."),
        (["--gan-weight", "inf"], "argument --gan-weight: must be a number in 0.."),
        (["--folds", "-2"], "argument --folds: must be a whole number in 0.."),
        (["--fold", "2", "--folds", "2"], "--fold must be below --folds, got 2 and 2"),
        (["--min-quality", "2"], "argument --min-quality: must be a number in 0..1, got 2"),
        (["--teacher-cache-gb", "-1"], "argument --teacher-cache-gb: must be a number in 0.."),
        (["--shares", "nan", "1", "1"], "--shares must be three numbers of at least 0"),
        (["--shares", "0", "1", "1"], "--shares must be three numbers of at least 0"),
        (["--threads", "-1"], "argument --threads: must be a whole number in 0.."),
    ],
)
def test_numbers_out_of_range_are_told_by_name(capsys, given, words):
    with pytest.raises(SystemExit) as exit:
        parse(given)
    last = capsys.readouterr().err.splitlines()[-1]
    assert exit.value.code == 2 and words in last


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"warmup": -5}, "--warmup must be a whole number in 0..1000000000, got -5"),
        ({"batch": "8"}, "--batch must be a whole number in 1..4096, got '8'"),
        ({"batch": True}, "--batch must be a whole number in 1..4096, got True"),
        ({"batch": 1.5}, "--batch must be a whole number in 1..4096, got 1.5"),
        ({"lr": HUGE}, "--lr must be a number above 0 and of at most 100, got 1000"),
        ({"lr": None}, "--lr must be a number above 0 and of at most 100, got None"),
        ({"shares": 5}, "--shares must be three numbers"),
        ({"shares": [1, 2]}, "--shares must be three numbers"),
        ({"variant": "dnet"}, "--variant must be one of unet"),
        ({"variant": ["unet"]}, "--variant must be text, got ['unet']"),
        ({"compile": 1}, "--compile must be true or false, got 1"),
        ({"device": 3}, "--device must be text, got 3"),
        ({"device": ""}, "--device must not be empty"),
        ({"out": ""}, "--out must not be empty"),
    ],
)
def test_a_settings_file_is_held_to_the_same(tmp_path, capsys, stored, words):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(stored))
    with pytest.raises(SystemExit) as exit:
        parse(["--config", str(file)])
    last = capsys.readouterr().err.splitlines()[-1]
    assert exit.value.code == 2 and words in last
    changed = replace(Settings(), **stored)
    with pytest.raises(ValueError, match="--"):
        run_training(changed)


def test_a_settings_file_that_is_none_is_told(tmp_path, capsys):
    file = tmp_path / "settings.json"
    for odd in (b"\xff\xfe", b"[]", b"{", b"[" * 100_000, b'{"lr": NaN}', b'{"batch": null}'):
        file.write_bytes(odd)
        with pytest.raises(SystemExit):
            parse(["--config", str(file)])
        assert "Traceback" not in capsys.readouterr().err


def test_the_teachers_numbers_are_told_in_a_line(tmp_path, capsys):
    for option in NUMBERS:
        name = f"--{option.replace('_', '-')}"
        assert train_sr.main(["--out", str(tmp_path / "t.pt"), name, "-1"]) == 2
        error = capsys.readouterr().err
        assert f"{name} must be" in error and "got -1" in error and error.count("\n") == 1
    with pytest.raises(ValueError, match="--batch must be a whole number"):
        run_sr(SRSettings(batch=HUGE))


def test_a_file_in_the_place_of_the_runs_folder_is_told(tmp_path, capsys):
    file = tmp_path / "store"
    file.write_text("kept")
    assert train.main(["--variant", "unet", "--device", "cpu", "--out", str(file)]) == 2
    error = capsys.readouterr().err.splitlines()
    assert error[-1] == f"dsnet.train: --out must be a folder, {file} is a file"
    assert file.read_text() == "kept"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (["demo", "--seed", "-1", "--out", "x"], "--seed"),
        (["demo", "--size", "7", "--out", "x"], "--size"),
        (["demo", "--workers", str(HUGE), "--out", "x"], "--workers"),
        (["recist", "--window", "nan", "nan"], "--window"),
        (["recist", "--isotropic", "-1"], "--isotropic"),
        (["recist", "--min-mm", "nan"], "--min-mm"),
        (["recist", "--crop", "0"], "--crop"),
        (["export", "s", "--min-quality", "nan"], "--min-quality"),
        (["export", "s", "--split", "-1", "1", "1"], "--split"),
        (["export", "s", "--seed", "-1"], "--seed"),
    ],
)
def test_labellings_numbers_are_told_by_name(capsys, given, name):
    with pytest.raises(SystemExit) as exit:
        label.main(given)
    error = capsys.readouterr().err.splitlines()[-1]
    assert exit.value.code == 2 and f"argument {name}: must be" in error


def test_a_network_that_no_machine_holds_is_refused_before_it_is_made(tmp_path, capsys):
    before = torch.get_rng_state()
    options = ["--phantoms", "8", "--size", "16", "--device", "cpu", "--out", str(tmp_path / "r")]
    assert (
        train.main([*options, "--shares", "4", "2", "2", "--width", "4096", "--depth", "10"]) == 2
    )
    error = capsys.readouterr().err
    assert "--width, --depth must be less" in error and error.count("\n") == 1
    torch.set_rng_state(before)
    made = lambda: torch.nn.Linear(10, 10)  # noqa: E731
    require_memory(made, torch.device("cpu"), "--width")
    # What is only counted draws no random number: the training after it is the same.
    assert torch.equal(torch.get_rng_state(), before)
