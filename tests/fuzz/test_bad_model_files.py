"""A bad model file costs a command one line and exit code 2, wherever it is given.

`pytest tests/fuzz --long` tries `DSNET_FUZZ_ROWS` of the random ones. A failure names the seed.
"""

import csv
import json
import math
import os
import random

import cv2
import numpy as np
import pytest
import torch

from dsnet import evaluate, predict, train
from dsnet.data.crop_settings import CropSettings
from dsnet.models import SRResNet, build, save_model
from dsnet.models.tensor_file import save_tensors
from dsnet.training import settings as run_settings
from dsnet.training.dataset import DeviceDataset

ROWS = int(os.environ.get("DSNET_FUZZ_ROWS", 10_000))
SIDE, COUNT = 16, 4
ODD = [
    None, True, 0, -1, 1, 2, 7, 10**6, 10**30, 10**200, 0.0, 0.5, 1.5, math.inf, math.nan, "", "x",
    "unet", [], [1], {}, {"width": 1}, [[[]]],
]  # fmt: skip


def without(*path):
    """The content without the part at the end of a path of names."""

    def change(content):
        inner = content
        for name in path[:-1]:
            inner = inner[name]
        del inner[path[-1]]

    change.__name__ = f"without {' '.join(path)}"
    return change


def put(value, *path):
    def change(content):
        inner = content
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value(inner.get(path[-1])) if callable(value) else value

    change.__name__ = f"{' '.join(path)} {value if not callable(value) else 'changed'}"[:60]
    return change


OF_BOTH = [
    *(without(name) for name in ("format", "version", "kind", "config", "state")),
    *(put(value, "version") for value in (None, 0, -3, True, "3", 2.0, 99, 10**30, [3])),
    *(put(value, "format") for value in (None, "other", 1, ["dsnet-model"])),
    *(put(value, "kind") for value in (None, "UNet", 3, {}, ["DSNet"])),
    *(put(value, "config") for value in (None, 4, "width", [], [("width", 4)], {1: 2})),
    *(put(value, "state") for value in (None, 4, [], {}, torch.zeros(3))),
    put(1, "config", "colour"), put(torch.zeros(2), "state", "more.weight"),
]  # fmt: skip
WEIGHT = ("state", "network.head.weight")
OF_A_NETWORK = [
    *(put(value, "config", "width") for value in (8, 0, -4, None, "4", 4.0, True, [4], math.nan)),
    *(put(value, "config", "width") for value in (4096, 10**9, 10**30, 10**200)),
    *(put(value, "config", "depth") for value in (2, 0, 10, 11, 10**9, "1")),
    *(put(value, "config", "variant") for value in ("backbone", "dsnet", "", None, 3, ["unet"])),
    *(put(value, "config", "image_channels") for value in (1, 1024, 10**9)),
    *(put(value, "threshold") for value in (0, -0.5, 1.5, math.nan, math.inf, "0.5", True, [0.5])),
    without(*WEIGHT),
    *(put(value, *WEIGHT) for value in (None, 4, "x", lambda t: t[:0], lambda t: t[0, 0])),
    put(lambda t: t.to(torch.complex64), *WEIGHT), put(lambda t: t.bool(), *WEIGHT),
    put(lambda t: torch.zeros(()).expand_as(t), *WEIGHT),
]  # fmt: skip
FIRST = ("state", "first.0.weight")
OF_A_TEACHER = [
    *(put(value, "config", "features") for value in (8, 0, None, "4", 4096, 10**9, 10**200)),
    *(put(value, "config", "blocks") for value in (2, 0, 1024, 1025, 10**9, 1.0, [1])),
    *(put(value, "config", "channels") for value in (3, 0, 1024, 10**9, True)),
    *(put(value, "config", "global_skip") for value in (None, 1, "yes")),
    without(*FIRST), put(lambda t: t[:, :, 1:], *FIRST), put(lambda t: t.long(), *FIRST),
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A picture with a box, and a run with its split; model files are yet to come."""
    root = tmp_path_factory.mktemp("bad")
    (root / "images").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    cv2.imwrite(str(root / "images" / "s.png"), picture)
    with open(root / "boxes.csv", "w", newline="") as file:
        csv.writer(file).writerows([["file", "x0", "y0", "x1", "y1"], ["s.png", 9, 9, 20, 22]])
    run = root / "run"
    run.mkdir()
    how = run_settings.Settings(phantoms=COUNT, size=SIDE, variant="unet", width=4, depth=1)
    run_settings.write(run / "settings.json", how)
    keys = DeviceDataset.phantoms(COUNT, SIDE, 0).keys
    (run / "split.json").write_text(
        json.dumps({"train": keys[:2], "val": keys[2:3], "test": keys[3:]})
    )
    torch.manual_seed(0)
    save_model(
        root / "network.pt", build("unet", width=4, depth=1), CropSettings(SIDE, "none").to_dict()
    )
    save_model(root / "teacher.pt", SRResNet(blocks=1, features=4))
    return root


def predicted(root, out):
    images, boxes = str(root / "images"), str(root / "boxes.csv")
    given = [str(root / "alone" / "best.pt"), "--images", images, "--boxes", boxes, "--pictures"]
    return predict.main([*given, "--out", str(out), "--device", "cpu", "--threads", "1"])


def evaluated(root, out):
    given = [str(root / "run"), "--no-surface", "--device", "cpu", "--threads", "1", "--cases", "1"]
    return evaluate.main([*given, "--out", str(out)])


def trained(root, out):
    given = [
        "--phantoms", str(COUNT), "--size", str(SIDE), "--variant", "sr-input", "--width", "2",
        "--depth", "1", "--epochs", "1", "--batch", "2", "--shares", "2", "1", "1",
        "--threads", "1", "--device", "cpu", "--teacher", str(root / "run" / "best.pt"),
    ]  # fmt: skip
    return train.main([*given, "--out", str(out)])


def copied(value):
    return {k: copied(v) for k, v in value.items()} if isinstance(value, dict) else value


def spoil(place, source, change):
    content = copied(torch.load(place / source, weights_only=True))
    change(content)
    put_in_place(place, content)


def put_in_place(place, content):
    """Among a run's files, and alone, where nothing but itself says how its crops were cut."""
    for folder in ("run", "alone"):
        save_tensors(place / folder / "best.pt", content)


@pytest.mark.parametrize("command", [predicted, evaluated], ids=["predict", "evaluate"])
def test_a_bad_network_is_told_in_a_line(place, tmp_path, capsys, command):
    for number, change in enumerate([*OF_BOTH, *OF_A_NETWORK]):
        spoil(place, "network.pt", change)
        capsys.readouterr()
        assert command(place, tmp_path / str(number)) == 2, change.__name__
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and "best.pt" in told and len(told) < 2000, change.__name__
    # What was spoilt is sound.
    spoil(place, "network.pt", lambda content: None)
    assert command(place, tmp_path / "sound") in (0, 1) and "best.pt" not in capsys.readouterr().err


def test_a_bad_teacher_is_told_in_a_line(place, tmp_path, capsys):
    for number, change in enumerate([*OF_BOTH, *OF_A_TEACHER]):
        spoil(place, "teacher.pt", change)
        capsys.readouterr()
        assert trained(place, tmp_path / str(number)) == 2, change.__name__
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and "best.pt" in told and len(told) < 2000, change.__name__
    spoil(place, "teacher.pt", lambda content: None)
    assert trained(place, tmp_path / "sound") == 0
    spoil(place, "network.pt", lambda content: None)
    assert trained(place, tmp_path / "network") == 2
    assert "must be one of dsnet.train_sr, got a network" in capsys.readouterr().err


def test_crops_that_no_network_learnt_from_are_told_in_a_line(place, tmp_path, capsys):
    changes = [without("crop"), *(put(value, "crop") for value in (3, [], {}, {"size": 16}))]
    changes += [put(value, "crop", "size") for value in (0, -1, 10**9, "16", None, math.nan)]
    for number, change in enumerate(changes):
        spoil(place, "network.pt", change)
        capsys.readouterr()
        assert predicted(place, tmp_path / str(number)) == 2, change.__name__
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and "best.pt" in told, change.__name__


def odd_part(drawn, value):
    """Something else in the place of a part of nested dicts."""
    if isinstance(value, dict) and value and drawn.random() < 0.85:
        name = drawn.choice(sorted(value, key=str))
        if drawn.random() < 0.15:
            return {key: part for key, part in value.items() if key != name}
        return {**value, name: odd_part(drawn, value[name])}
    if isinstance(value, torch.Tensor) and drawn.random() < 0.7:
        return drawn.choice(
            [value.reshape(-1)[:0], value.bool(), value.unsqueeze(0), value.flatten()[:1]]
        )
    return drawn.choice(ODD)


@pytest.mark.parametrize(
    ("command", "source"),
    [(predicted, "network.pt"), (evaluated, "network.pt"), (trained, "teacher.pt")],
    ids=["predict", "evaluate", "train"],
)
def test_random_parts_of_model_files(pytestconfig, place, tmp_path, capsys, command, source):
    sound = torch.load(place / source, weights_only=True)
    refused = 0
    for seed in range(ROWS if pytestconfig.getoption("--long") else 40):
        drawn = random.Random(seed)
        put_in_place(place, odd_part(drawn, sound))
        capsys.readouterr()
        try:
            code = command(place, tmp_path / str(seed))
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
        told = capsys.readouterr().err
        assert code in (0, 1, 2, 3), f"seed {seed}: {code}"
        refused += code == 2
        assert code != 2 or told.count("\n") == 1, f"seed {seed}: {told}"
    assert refused
