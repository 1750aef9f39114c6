"""The study of training time: whom it trains on what, when a clock stops, and what it writes."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dsnet import label
from dsnet.models import load_model
from dsnet.training.dataset import DeviceDataset
from dsnet.training.run import train
from dsnet.training.settings import parse

pytest.importorskip("monai", reason="monai is not installed")

SMALL = ["--width", "2", "--depth", "1", "--reduction", "2", "--epochs", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def bench():
    root = str(Path(__file__).resolve().parents[1])
    sys.path.insert(0, root)
    yield importlib.import_module
    sys.path.remove(root)
    for name in [name for name in sys.modules if name.partition(".")[0] == "bench"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def study(bench):
    return bench("bench.studies.time_to_dice")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    assert label.main(["demo", "--out", str(out), "--count", "10", "--size", "32"]) == 0
    return str(out / "store")


def test_it_runs_on_tiny_phantoms(study, store, tmp_path, capsys):
    out = tmp_path / "new" / "t.json"
    arguments = [store, "--side", "32", "--dice", "0.02", "--seeds", "3", "5", "--epochs", "2"]
    arguments += ["--every", "4", "--monai-width", "2", "--monai-batch", "2", "--threads", "1"]
    arguments += ["--out", str(out), "--width", "2", "--depth", "1", "--batch", "2"]
    assert study.main(arguments) == 0
    result = json.loads(out.read_text())
    assert [(r["seed"], r["contender"]) for r in result["runs"]] == [
        (seed, name) for seed in (3, 5) for name in ("paper", "fast", "monai")
    ]
    assert {"processor", "torch", "monai"} <= set(result["machine"])
    assert result["machine"]["threads"] == torch.get_num_threads()
    for run in result["runs"]:
        assert run["curve"][-1][1] == run["steps"] and run["crops"] == run["steps"] * run["batch"]
        assert run["best_dice"] == max(score for *_, score in run["curve"])
        if run["seconds"] is not None:
            assert 0 < run["seconds"] == run["trained_seconds"]
            assert run["curve"][-1][2] >= 0.02
    told = capsys.readouterr().out
    assert "paper / fast:" in told and "monai / fast:" in told


def test_training_and_held_out_patients_are_different_and_crops_are_middles(study, store):
    whole = DeviceDataset.from_store(store)
    training, held = study.load(store, 20, False)
    assert training.image.shape[2:] == held.soft.shape[2:] == (20, 20)
    assert not set(training.patients) & set(held.patients)
    at = whole.keys.index(held.keys[0])
    assert torch.equal(held.image[0], whole.image[at, :, 6:26, 6:26])
    with pytest.raises(ValueError, match=r"--side must be 1 to 32 for .*, got 33"):
        study.load(store, 33, False)


class Climbing:
    """Masks that agree with the truth in ever more cases: a tenth of them a step."""

    batch, parameters, steps = 4, 7, 12

    def __init__(self, truth):
        self.truth, self.done = truth, 0

    def step(self):
        self.done += 1

    def soft(self, image):
        soft = torch.zeros_like(image)
        soft[: self.done] = self.truth[: self.done].float()
        return soft


def test_the_clock_stops_at_the_first_score_that_reaches_the_goal(study):
    truth = torch.ones(10, 1, 4, 4, dtype=torch.bool)
    held = SimpleNamespace(image=torch.zeros(10, 1, 4, 4), binary=truth)
    run = study.race(Climbing(truth), held, goal=0.5, every=8, limit=1e9)
    # Scores after 2, 4, 6 steps: 0.2, 0.4, 0.6.
    assert [(step, score) for _, step, score in run["curve"]] == [(2, 0.2), (4, 0.4), (6, 0.6)]
    assert run["seconds"] == run["trained_seconds"] and run["crops"] == 24
    run = study.race(Climbing(truth), held, goal=1.5, every=20, limit=1e9)
    assert run["seconds"] is None and [step for _, step, _ in run["curve"]] == [5, 10, 12]
    run = study.race(Climbing(truth), held, goal=1.5, every=20, limit=-1.0)
    assert run["steps"] == 1 and run["seconds"] is None


def test_the_summary_is_of_goals_that_all_seeds_reached(study):
    runs = [
        {"contender": name, "seconds": seconds, "trained_seconds": seconds or 20.0}
        for name, each in {
            "fast": (2.0, 1.0, 4.0),
            "paper": (10.0, 8.0, 9.0),
            "monai": (3.0, None),
        }.items()
        for seconds in each
    ]
    found = study.summary(runs)
    assert found["fast"]["median_seconds"] == 2.0 and found["fast"]["range_seconds"] == [1.0, 4.0]
    assert found["monai"] == {
        "reached": 1, "seeds": 2, "median_seconds": None, "range_seconds": None,
        "least_seconds": 11.5,
    }  # fmt: skip
    told = study.tell(found)
    assert "paper / fast: 4.50\n" in told
    # Between 3 and more than 20 s: the median is 11.5 s at least, and so is the ratio.
    assert "monai / fast: at least 5.75, not reached by all seeds" in told
    assert "paper / fast: not measured" in study.tell({**found, "fast": found["monai"]})


@pytest.mark.parametrize("recipe", ["paper", "fast"])
def test_our_loop_trains_as_the_command_does(bench, tmp_path, recipe):
    loops = bench("bench.common.training_loops")
    given = ["--recipe", recipe, "--variant", "unet", "--scale", "1", "--phantoms", "8", *SMALL]
    given += ["--size", "16", "--shares", "6", "1", "1", "--batch", "2", "--out", str(tmp_path)]
    settings = parse([*given, "--seed", "4"])
    train(settings)
    split = json.loads((tmp_path / "split.json").read_text())
    data = DeviceDataset.phantoms(8, 16, 4)
    loop = loops.OurLoop(settings, data.subset([data.keys.index(key) for key in split["train"]]))
    assert loop.steps == 6
    for _ in range(loop.steps):
        loop.step()
    trained = load_model(tmp_path / "last.pt").state_dict()
    for name, value in loop.network.state_dict().items():
        assert torch.equal(value, trained[name]), name
    assert loop.parameters == sum(p.numel() for p in loop.network.parameters())
    data.soft = 1 - data.soft
    begun = loops.OurLoop(settings, data).network.network.head.bias
    assert torch.sigmoid(begun).item() == pytest.approx(min(data.soft.mean().item(), 0.9))


def test_monais_loop_learns_and_a_seed_is_repeated(bench):
    loops = bench("bench.common.training_loops")
    data = DeviceDataset.phantoms(8, 32, 0)
    truth, found = data.binary.float(), []
    for _ in range(2):
        loop = loops.MonaiLoop(data, 4, 10, seed=1, width=4)
        assert loop.steps == 20
        before = (loop.soft(data.image) - truth).abs().mean()
        for _ in range(loop.steps):
            loop.step()
        found.append(loop.soft(data.image))
        assert (found[-1] - truth).abs().mean() < 0.95 * before
    assert torch.equal(*found)
