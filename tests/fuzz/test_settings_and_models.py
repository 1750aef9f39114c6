"""Random settings of every command and random model files: right, or one line that says why not.

`pytest tests/fuzz --long` tries `DSNET_FUZZ_ROWS` of each (10,000). A failure names the seed.
"""

import argparse
import json
import math
import os
import random

import pytest
import torch

from dsnet import evaluate, label, predict, train_sr
from dsnet.archive.options import new_folder, store_place
from dsnet.arguments import Range, given
from dsnet.data.crop_settings import CropSettings
from dsnet.inference import crop_settings
from dsnet.models import SRResNet, build, load_model, save_model
from dsnet.models.tensor_file import save_tensors
from dsnet.training.checkpoint import read_checkpoint
from dsnet.training.settings import Settings, check, parse
from dsnet.training.sr import SRSettings
from dsnet.training.sr import train_sr as run_sr

ROWS = int(os.environ.get("DSNET_FUZZ_ROWS", 10_000))
ODD = [
    None, True, False, 0, 1, -1, -5, 2, 64, 10**6, 10**30, -(10**30), 10**400, 0.0, -0.0, 0.5, 1.5,
    1e-320, 1e308, math.inf, -math.inf, math.nan, "", "x", "1", "auto", "none", "unet", "\0", "é",
    [], [1], [1, 2], [2, 1], [1, 2, 3], [math.nan, 1], ["a", "b"], {}, {"size": 1}, [[[]]],
]  # fmt: skip
TEXTS = [
    "0", "1", "-1", "-5", "1e3", "1e400", "-1e400", "nan", "inf", "0.5", "0x10", "1_000", "٣", "",
    " 7 ", "9" * 40, "9" * 5000, "x", "None", "[red]", "--", "\x1b[31m", "native", "1,5", "½",
]  # fmt: skip


def rows(pytestconfig):
    return ROWS if pytestconfig.getoption("--long") else 150


def attempt(seed, call, refused=(ValueError, OSError)):
    """What the call returns, or None where it was refused in words."""
    try:
        return call()
    except refused as error:
        assert str(error).strip() and len(str(error)) < 2000, f"seed {seed}: {error!r}"
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error!r}") from error
    return None


def parsed(seed, parse_arguments, arguments, capsys):
    """What a parser gives, or None where it leaves with exit code 2 and a line."""
    try:
        return parse_arguments(arguments)
    except SystemExit as exit:
        told = capsys.readouterr().err.strip().splitlines()
        assert exit.code == 2 and "error: " in told[-1], f"seed {seed}: {told}"
    except Exception as error:
        raise AssertionError(f"seed {seed}: {arguments}: {error!r}") from error
    return None


def test_random_settings_files(pytestconfig, tmp_path, capsys):
    names, accepted = list(vars(Settings())), 0
    file = tmp_path / "settings.json"
    for seed in range(rows(pytestconfig)):
        drawn = random.Random(seed)
        content = {name: drawn.choice(ODD) for name in drawn.sample(names, drawn.randint(1, 4))}
        text = json.dumps(content)
        if drawn.random() < 0.1:
            text = text[: drawn.randrange(len(text))]
        file.write_text(text)
        settings = parsed(seed, parse, ["--config", str(file)], capsys)
        if settings is not None:
            accepted += 1
            check(settings)
            numbers = [value for value in vars(settings).values() if isinstance(value, float)]
            assert all(map(math.isfinite, numbers)) and settings.warmup >= 0 < settings.lr
    assert accepted


def numeric_options(parser):
    """Options of a parser and of its sub-commands that take numbers: (sub-command, option)."""
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                found += [([name], option) for _, option in numeric_options(sub)]
        elif action.option_strings and action.type not in (None, given, new_folder, store_place):
            found.append(([], action))
    return found


def test_every_numeric_option_of_label_and_predict_has_a_range():
    for module in (label, predict):
        options = numeric_options(module._parser())
        assert len(options) > 5
        for _, option in options:
            # Alone or, as that of --isotropic, around one; or with its choices.
            held = option.choices or isinstance(option.type, Range) or option.dest == "isotropic"
            assert held, f"{module.__name__} {option.option_strings}"


@pytest.mark.parametrize("module", [label, predict, evaluate, train_sr], ids=lambda m: m.__name__)
def test_random_numbers_of_every_option(pytestconfig, module, capsys):
    parser = module._parser()
    options = numeric_options(parser)
    for seed in range(rows(pytestconfig)):
        drawn = random.Random(seed)
        sub, option = drawn.choice(options)
        count = option.nargs if isinstance(option.nargs, int) else 1
        texts = [drawn.choice(TEXTS) for _ in range(count)]
        arguments = [*sub, option.option_strings[0], *texts]
        known = parsed(seed, lambda given: parser.parse_known_args(given)[0], arguments, capsys)
        if known is None:
            continue
        values = getattr(known, option.dest)
        for value in values if isinstance(values, list) else [values]:
            assert not isinstance(option.type, Range) or value in option.type, f"seed {seed}"


def test_random_settings_of_the_teacher(pytestconfig, tmp_path):
    names = [name for name, value in vars(SRSettings()).items() if type(value) in (int, float)]
    for seed in range(rows(pytestconfig)):
        drawn = random.Random(seed)
        chosen = {name: drawn.choice(ODD) for name in drawn.sample(names, 3)}
        # Without the ending nothing is trained: what is left is refused for that.
        settings = SRSettings(**chosen, out=str(tmp_path / "teacher"))
        with pytest.raises(ValueError, match=r"^--[a-z-]+ must be"):
            run_sr(settings)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "model.pt"
    small = build("sr-input", width=2, depth=1, teacher_blocks=1, teacher_features=2)
    save_model(path, small, CropSettings(48, (-1.0, 2.0), 0.7).to_dict())
    return path


def spoilt(drawn, value):
    """Something else in the place of a part of nested dicts."""
    if isinstance(value, dict) and value and drawn.random() < 0.8:
        name = drawn.choice(sorted(value, key=str))
        change = drawn.random()
        if change < 0.1:
            return {key: part for key, part in value.items() if key != name}
        if change < 0.2:
            return {**value, drawn.choice(["colour", 1, "", "size"]): drawn.choice(ODD)}
        return {**value, name: spoilt(drawn, value[name])}
    if isinstance(value, torch.Tensor):
        return drawn.choice(
            [
                value.reshape(-1)[:0], value.to(torch.complex64), value.double(), value.bool(),
                torch.zeros(()).expand(value.shape), value.unsqueeze(0), torch.full((3,), math.nan),
                *ODD,
            ]
        )  # fmt: skip
    # An int of hundreds of digits is no number of a file.
    return drawn.choice([odd for odd in ODD if odd != 10**400])


def test_random_model_files(pytestconfig, model_file, tmp_path):
    content = torch.load(model_file, weights_only=True)
    want = load_model(model_file).state_dict()
    path, loaded = tmp_path / "model.pt", 0
    for seed in range(rows(pytestconfig)):
        drawn = random.Random(seed)
        save_tensors(path, spoilt(drawn, content))
        model = attempt(seed, lambda: load_model(path))
        attempt(seed, lambda: crop_settings(path))
        attempt(seed, lambda: read_checkpoint(path))
        if model is not None:
            loaded += 1
            assert isinstance(model, SRResNet) or set(model.state_dict()) == set(want)
    assert loaded


def test_random_bytes_of_model_files(pytestconfig, model_file, tmp_path):
    whole, path = model_file.read_bytes(), tmp_path / "model.pt"
    for seed in range(rows(pytestconfig)):
        drawn = random.Random(seed)
        data = bytearray(whole)
        change = drawn.randrange(4)
        at, count = drawn.randrange(len(data)), drawn.randint(1, 200)
        if change == 0:
            data[at] ^= 1 << drawn.randrange(8)
        elif change == 1:
            del data[at : at + count]
        elif change == 2:
            data[at:at] = drawn.randbytes(count)
        else:
            data = data[:at]
        path.write_bytes(data)
        assert attempt(seed, lambda: load_model(path)) is None, f"seed {seed}"
        assert attempt(seed, lambda: crop_settings(path)) is None, f"seed {seed}"
