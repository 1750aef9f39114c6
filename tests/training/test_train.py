"""`dsnet.train` as a command: a whole small run, resumed bit for bit, stopped, and gone wrong."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from dsnet import label
from dsnet import train as command
from dsnet.console import Stop
from dsnet.data.store.lock import StoreLock
from dsnet.metrics import dice
from dsnet.models import DSNet, load_model
from dsnet.models.tensor_file import save_tensors
from dsnet.training.dataset import DeviceDataset
from dsnet.training.settings import parse

TINY = [
    "--phantoms", "8", "--size", "16", "--width", "8", "--depth", "2", "--reduction", "4",
    "--teacher-blocks", "1", "--teacher-features", "8", "--epochs", "2", "--batch", "2",
    "--device", "cpu", "--shares", "4", "2", "2", "--log-every", "1", "--threads", "1",
]  # fmt: skip


def run(out, *more):
    return command.main([*TINY, "--out", str(out), *more])


def final(out):
    content = torch.load(out / "checkpoint.pt", weights_only=True)
    return content["network"], content["discriminator"], content["progress"]["step"]


def test_a_run_leaves_models_log_panel_and_settings(tmp_path, capsys):
    assert run(tmp_path) == 0
    text = capsys.readouterr().out
    assert "images/s" in text and "peak memory" in text and "\\n" not in text
    assert any(line.startswith("the SR teacher has random weights") for line in text.splitlines())
    for name in ("best.pt", "last.pt"):
        assert load_model(tmp_path / name).config.variant == "dsnet"
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert (
        lines[0].startswith("step,total,dice,soft,gan,discriminator,overlap,lr") and len(lines) > 4
    )
    assert (tmp_path / "panel.png").read_bytes().startswith(b"\x89PNG")
    assert parse(["--config", str(tmp_path / "settings.json")]).phantoms == 8
    split = json.loads((tmp_path / "split.json").read_text())
    assert sum(len(part) for part in split.values()) == 8
    assert run(tmp_path) == 2 and "--resume" in capsys.readouterr().err


def test_saved_models_have_the_threshold_that_validated_best(tmp_path):
    assert run(tmp_path, "--variant", "unet", "--epochs", "3") == 0
    table = list(csv.DictReader((tmp_path / "validation.csv").read_text().splitlines()))
    best = max(table, key=lambda row: float(row["dice"]))
    data = DeviceDataset.phantoms(8, 16, 0)
    held = json.loads((tmp_path / "split.json").read_text())["val"]
    where = [data.keys.index(key) for key in held]
    for name, row in (("best", best), ("last", table[-1])):
        model = load_model(tmp_path / f"{name}.pt")
        assert model.threshold == float(row["threshold"])
        soft, binary = model.predict(data.image[where])
        truth = data.binary[where]
        assert float(dice(binary, truth).mean()) == pytest.approx(float(row["dice"]), abs=1e-5)
        half = float(dice(soft, truth).mean())
        assert half == pytest.approx(float(row["dice_half"]), abs=1e-5)
        for at in (0.1, 0.3, 0.5, 0.7, 0.9):
            assert dice(soft >= at, truth).mean() <= dice(binary, truth).mean() + 1e-9


def test_a_network_is_told_what_share_is_to_be_found(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(DSNet, "expect", lambda network, share: told.append(share))
    assert run(tmp_path, *UNET) == 0
    data = DeviceDataset.phantoms(8, 16, 0)
    keys = json.loads((tmp_path / "split.json").read_text())["train"]
    soft = data.soft[[data.keys.index(key) for key in keys]]
    assert told == [pytest.approx(soft.mean().item())] and 0.02 < told[0] < 0.5


def test_the_weight_of_the_soft_loss_counts_where_the_loss_does(tmp_path):
    def weights(name, *more):
        assert run(tmp_path / name, "--epochs", "1", *more) == 0
        return final(tmp_path / name)[0]

    def same(a, b):
        return all(torch.equal(a[name], b[name]) for name in a)

    for variant, counts in (("unet", False), ("soft-loss", True)):
        plain = weights(f"{variant}-a", "--variant", variant)
        assert same(plain, weights(f"{variant}-b", "--variant", variant, "--soft-weight", "100"))
        less = weights(f"{variant}-c", "--variant", variant, "--soft-weight", "1")
        assert same(plain, less) != counts
    # Asked for, in any network; or left out.
    on = weights("on", "--variant", "unet", "--soft-loss", "on")
    assert not same(on, weights("unet", "--variant", "unet"))
    off = weights("off", "--variant", "soft-loss", "--soft-loss", "off")
    assert same(off, weights("sdrfm", "--variant", "sdrfm"))


def test_seeds_may_hold_out_the_same_cases(tmp_path):
    splits = []
    for seed, more in ((0, []), (1, ["--data-seed", "0"]), (1, [])):
        out = tmp_path / str(len(splits))
        assert run(out, *UNET, "--seed", str(seed), *more) == 0
        splits.append((out / "split.json").read_text())
    assert splits[0] == splits[1] != splits[2]
    a, b = (final(tmp_path / name)[0] for name in "01")
    assert not all(torch.equal(a[name], b[name]) for name in a)


def test_two_runs_do_not_write_to_one_folder(tmp_path, capsys):
    held = StoreLock(tmp_path)
    try:
        assert run(tmp_path) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "another process is writing to the run's folder" in error
        assert {path.name for path in tmp_path.iterdir()} == {".lock"}
    finally:
        held.release()
    assert run(tmp_path) == 0 and not (tmp_path / ".lock").exists()


def test_a_run_from_before_an_option_goes_on_at_its_default(tmp_path, capsys):
    out = tmp_path / "run"
    assert run(out, *UNET) == 0
    content = torch.load(out / "checkpoint.pt", weights_only=True)
    for name in ("soft_weight", "gan_weight", "data_seed"):
        del content["settings"][name]
    save_tensors(out / "checkpoint.pt", content)
    assert run(out, *UNET, "--resume", "--soft-weight", "10") == 2
    assert "soft_weight must be 100.0, as in the run to resume, got 10.0" in capsys.readouterr().err
    assert run(out, *UNET, "--resume") == 0


@pytest.mark.parametrize("augment", ["full", "symmetry"])
def test_a_stopped_run_resumes_bit_for_bit(tmp_path, monkeypatch, augment):
    assert run(tmp_path / "a", "--augment", augment) == 0
    # Asked to stop after step 1, in the middle of the first epoch.
    monkeypatch.setattr(Stop, "__bool__", lambda self: True)
    assert run(tmp_path / "b", "--augment", augment) == 0
    monkeypatch.undo()
    assert final(tmp_path / "b")[2] == 1
    assert run(tmp_path / "b", "--augment", augment, "--resume") == 0
    a, b = final(tmp_path / "a"), final(tmp_path / "b")
    assert a[2] == b[2]
    for x, y in zip(a[:2], b[:2], strict=True):
        assert all(torch.equal(x[name], y[name]) for name in x)


def test_other_settings_are_not_resumed(tmp_path, capsys):
    assert run(tmp_path, "--epochs", "1") == 0
    assert run(tmp_path, "--epochs", "1", "--lr", "0.5", "--resume") == 2
    assert "lr must be 0.0002, as in the run to resume, got 0.5" in capsys.readouterr().err


def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path, capsys):
    assert run(tmp_path, "--epochs", "1") == 0
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    content["settings"]["epochs"] = 2
    next(iter(content["network"].values())).fill_(float("nan"))
    save_tensors(tmp_path / "checkpoint.pt", content)
    good = (tmp_path / "checkpoint.pt").read_bytes()
    assert run(tmp_path, "--resume") == 3
    assert "not finite" in capsys.readouterr().err
    assert (tmp_path / "checkpoint.pt").read_bytes() == good


UNET = ("--variant", "unet", "--epochs", "1")


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    assert run(out, *UNET) == 0
    return out


@pytest.fixture
def trained(trained_once, tmp_path, capsys):
    """A folder of a finished training, to spoil."""
    shutil.copytree(trained_once, tmp_path / "run")
    capsys.readouterr()
    return tmp_path / "run"


def test_a_flipped_bit_in_a_checkpoint_is_told(trained, capsys):
    path = trained / "checkpoint.pt"
    whole, weights = path.read_bytes(), final(trained)[0]
    needle = max((t.numpy().tobytes() for t in weights.values() if t.numel()), key=len)
    for at in (whole.index(needle), whole.index(needle) + len(needle) // 2, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        assert run(trained, *UNET, "--resume") == 2
        error = capsys.readouterr().err
        assert "checkpoint.pt is damaged" in error and error.count("\n") == 1
    path.write_bytes(whole)
    assert run(trained, *UNET, "--resume") == 0


def test_a_checkpoint_of_the_first_version_goes_on(trained):
    path = trained / "checkpoint.pt"
    content = torch.load(path, weights_only=True)
    with open(path, "wb") as file:
        torch.save({**content, "version": 1}, file)
    assert run(trained, *UNET, "--resume") == 0


@pytest.mark.parametrize(
    "change",
    [
        {"optimizers": []},
        {"optimizers": [{}]},
        {"random": {}},
        {"random": None},
        {"network": {}},
        {"scaler": None},
        {"settings": {}},
        {"progress": {}},
        {"progress": {"step": -1, "best": 0.5, "data": ""}},
        {"progress": {"step": 10**30, "best": 0.5, "data": ""}},
        {"progress": {"step": 0, "best": float("nan"), "data": ""}},
        {"version": None},
    ],
)
def test_a_checkpoint_of_other_content_is_told_in_a_line(trained, capsys, change):
    content = torch.load(trained / "checkpoint.pt", weights_only=True)
    save_tensors(trained / "checkpoint.pt", {**content, **change})
    capsys.readouterr()
    assert run(trained, *UNET, "--resume") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_recipe_config_and_options_in_that_order(tmp_path):
    assert (parse([]).batch, parse([]).epochs, parse([]).lr) == (1, 60, 2e-4)
    fast = parse(["--recipe", "fast", "--batch", "8"])
    assert fast.batch == 8 and fast.precision == "bf16" and fast.channels_last
    # Equation 6, and a tenth of it.
    assert (parse([]).soft_weight, fast.soft_weight) == (100, 10)
    assert parse(["--recipe", "fast", "--soft-weight", "3"]).soft_weight == 3
    assert (parse(["--seed", "4"]).seed_of_data, parse(["--data-seed", "0"]).seed_of_data) == (4, 0)
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"batch": 4, "width": 16}))
    read = parse(["--config", str(file), "--width", "32"])
    assert read.batch == 4 and read.width == 32
    file.write_text(json.dumps({"wdth": 4}))
    with pytest.raises(SystemExit):
        parse(["--config", str(file)])


def test_changed_data_is_not_resumed(tmp_path, capsys, monkeypatch):
    assert run(tmp_path, "--epochs", "1") == 0
    made = DeviceDataset.phantoms

    def other(*arguments):
        data = made(*arguments)
        data.soft[3] *= 0.5
        return data

    monkeypatch.setattr(DeviceDataset, "phantoms", other)
    assert run(tmp_path, "--epochs", "1", "--resume") == 2
    assert "phantoms changed" in capsys.readouterr().err


def test_signal_handlers_come_back_also_after_an_error(tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert run(tmp_path, "--epochs", "1") == 0
    assert run(tmp_path, "--epochs", "1") == 2
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_sigterm_saves_and_the_run_goes_on_from_there(tmp_path, monkeypatch, capsys):
    # The whole network, too, goes on bit for bit: `test_a_stopped_run_resumes_bit_for_bit`.
    small = ("--variant", "unet", "--epochs", "4")
    assert run(tmp_path / "a", *small) == 0
    say = print

    def ended_after_two(text="", **options):
        say(text, **options)
        if text.startswith("epoch 2 "):
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr("builtins.print", ended_after_two)
        assert run(tmp_path / "b", *small) == 0
    # Of two steps an epoch the one after the signal is the last, in the middle of the third epoch.
    assert final(tmp_path / "b")[2] == 5
    assert "stopped by a signal after step 5" in capsys.readouterr().out
    assert run(tmp_path / "b", *small, "--resume") == 0
    a, b = final(tmp_path / "a"), final(tmp_path / "b")
    assert all(torch.equal(a[0][name], b[0][name]) for name in a[0])


def train_by_two_processes(*arguments):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "dsnet.train", *TINY, *arguments,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_two_processes_train_one_network(tmp_path):
    train_by_two_processes("--out", str(tmp_path), "--epochs", "1")
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    # Four crops, two of them in each process's batch: one step.
    assert content["progress"]["step"] == 1
    assert load_model(tmp_path / "best.pt").config.variant == "dsnet"
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 2


@pytest.mark.long  # test_two_processes_train_one_network is the short one
def test_processes_validate_the_model_that_is_saved(tmp_path):
    """Each has running statistics of its own crops; those of the first are in the file."""
    train_by_two_processes(
        "--variant", "unet", "--epochs", "12", "--lr", "0.03", "--batch", "1", "--phantoms", "16",
        "--size", "32", "--shares", "2", "12", "2", "--out", str(tmp_path),
    )  # fmt: skip
    data = DeviceDataset.phantoms(16, 32)
    split = json.loads((tmp_path / "split.json").read_text())
    held = data.subset([data.keys.index(key) for key in split["val"]])
    _, found = load_model(tmp_path / "last.pt").predict(held.image)
    expected = float(dice(found, held.binary).mean())
    with open(tmp_path / "validation.csv") as file:
        told = float(list(csv.DictReader(file))[-1]["dice"])
    assert told == pytest.approx(expected, abs=1e-6) and expected > 0.05


def test_folds_hold_out_every_case_once(tmp_path):
    held = []
    for fold in range(4):
        more = ["--folds", "4", "--fold", str(fold), "--epochs", "1", "--variant", "unet"]
        assert run(tmp_path / str(fold), *more) == 0
        held += json.loads((tmp_path / str(fold) / "split.json").read_text())["test"]
    assert len(held) == len(set(held)) == 8


def test_a_label_store_is_trained_on(tmp_path, capsys):
    store = ["demo", "--out", str(tmp_path / "demo"), "--count", "6", "--size", "32"]
    assert label.main(store) == 0
    assert (
        run(tmp_path / "run", "--data", str(tmp_path / "demo/store"), "--min-quality", "0.1") == 0
    )
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert sum(len(part) for part in split.values()) <= 6
    assert run(tmp_path / "none", "--data", str(tmp_path / "nowhere")) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.long
def test_compiled_and_eager_runs_agree(tmp_path, capsys):
    assert run(tmp_path / "a") == 0
    assert run(tmp_path / "b", "--compile") == 0
    assert "no recompile after warm-up" in capsys.readouterr().out
    a, b = final(tmp_path / "a"), final(tmp_path / "b")
    for name, value in a[0].items():
        torch.testing.assert_close(b[0][name], value, atol=5e-3, rtol=5e-2, msg=name)
