"""Settings of a training: recipes, the command line, and one file that says it all.

Public
------
``Settings``: a dataclass, one field an option
``RECIPES``: name -> fields it sets
``parse(argv) -> Settings``: recipe, then ``--config`` file, then options, the later the stronger
``check(settings)``: raises for a value that is not allowed, by the option's name
``write(path, settings)``, ``read(path) -> dict``
"""

from __future__ import annotations

import argparse
import json
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dsnet import devices
from dsnet.arguments import LEARNING_RATES, SEEDS, Range, brief, given
from dsnet.data.store.reviewed import AS_MADE, CHOICES
from dsnet.files import write_json
from dsnet.losses import GAN_WEIGHT, SOFT_WEIGHT
from dsnet.models import PEERS, VARIANTS
from dsnet.models.config import RANGES as NETWORK
from dsnet.models.srgan import SCALE
from dsnet.training.augment import MODES
from dsnet.training.average import DECAY
from dsnet.training.step import PRECISIONS

# "paper" is the paper's "Implementation" and equation 6. "fast": the rate grows with the square
# root of the batch, as Adam's does (Malladi et al. 2022), 2e-4 * sqrt(32). A tenth of the paper's
# weight of the soft mask loss validated better on LIDC: at the full one its gradient on a lesion's
# pixels is some nine times the Dice loss's, and masks come out too small.
RECIPES = {
    "paper": {
        "batch": 1, "epochs": 60, "lr": 2e-4, "warmup": 0, "precision": "fp32",
        "soft_weight": SOFT_WEIGHT,
    },
    "fast": {
        "batch": 32, "epochs": 60, "lr": 1.1e-3, "warmup": 50, "precision": "bf16",
        "channels_last": True, "soft_weight": SOFT_WEIGHT / 10,
    },
}  # fmt: skip
GROUPS = {
    "data": "what to learn from; synthetic nodules where no --data is given",
    "recipe": "how to learn",
    "network": "what learns",
    "speed": "how fast",
    "run": "where results go, and how a run goes on",
}


# Whether it counts; None: as the rung says.
SOFT_LOSS = {"variant": None, "on": True, "off": False}
WEIGHTS = Range(float, 0, 10**6)


def _option(default, group, help, allowed: Range | None = None, **keywords) -> Any:
    return field(
        default=default, metadata={"group": group, "help": help, "allowed": allowed, **keywords}
    )


@dataclass
class Settings:
    """Every setting of `dsnet.train`; the metadata are the command line's help."""

    data: str = _option("", "data", "label store, as dsnet.label writes it")
    size: int = _option(
        0, "data", "pixels a side of the crops; 0: as they are, phantoms 64", Range(int, 0, 4096)
    )
    phantoms: int = _option(96, "data", "number of phantoms without --data", Range(int, 1, 10**6))
    min_quality: float = _option(
        0.0,
        "data",
        "leave out labels of lower expected Dice (of masks: quality); 0: none",
        Range(float, 0, 1),
    )
    reviewed: str = _option(
        AS_MADE,
        "data",
        "which labels by the verdicts of dsnet.review, mended ones as they were mended; as-made: "
        "all, verdicts passed over",
        choices=tuple(CHOICES),
    )
    shares: tuple = _option(
        (387.0, 55.0, 544.0), "data", "shares of train, val and test, by patients", nargs=3
    )
    folds: int = _option(0, "data", "cross-validation by patients; 0: none", Range(int, 0, 10**4))
    fold: int = _option(0, "data", "which of the --folds is the test part", Range(int, 0, 10**4))
    data_seed: int = _option(
        -1,
        "data",
        "of the split by patients, and of the phantoms; -1: --seed. Set it where runs differ in "
        "--seed, so that all hold out the same cases",
        Range(int, -1, 2**63 - 1),
    )
    augment: str = _option("full", "data", "variation of the crops", choices=MODES)
    batch: int = _option(1, "recipe", "crops a step and process", Range(int, 1, 4096))
    accumulate: int = _option(1, "recipe", "batches a step", Range(int, 1, 4096))
    epochs: int = _option(60, "recipe", "passes over the training part", Range(int, 1, 10**7))
    lr: float = _option(2e-4, "recipe", "learning rate at the start", LEARNING_RATES)
    warmup: int = _option(0, "recipe", "steps in which the rate grows", Range(int, 0, 10**9))
    average: float = _option(
        0.0,
        "recipe",
        "validate and save an exponential average of the weights that keeps this share a step, "
        "0.99 for example; 0: the weights themselves",
        DECAY,
    )
    precision: str = _option("fp32", "recipe", "autocast", choices=tuple(PRECISIONS))
    seed: int = _option(0, "recipe", "of everything random", SEEDS)
    soft_loss: str = _option(
        "variant",
        "recipe",
        "whether the soft mask loss counts: on, off, or as the variant has it",
        choices=tuple(SOFT_LOSS),
    )
    soft_weight: float = _option(
        SOFT_WEIGHT, "recipe", "of the soft mask loss, beside 0.5 of the Dice loss", WEIGHTS
    )
    gan_weight: float = _option(GAN_WEIGHT, "recipe", "of the adversarial loss", WEIGHTS)
    variant: str = _option(
        "dsnet",
        "network",
        "rung of the ablation, or a network of another package",
        choices=(*VARIANTS, *PEERS),
    )
    scale: int = _option(
        SCALE,
        "network",
        "pixels of the mask's grid per pixel of the crop, 1 or 4; 1 without a teacher only",
        Range(int, 1, SCALE),
        choices=(1, SCALE),
    )
    width: int = _option(64, "network", "channels of the first level", NETWORK["width"])
    depth: int = _option(4, "network", "down-samplings", NETWORK["depth"])
    reduction: int = _option(16, "network", "of the channel attention", NETWORK["reduction"])
    neighbours: int = _option(
        0,
        "network",
        "slices on either side that it sees, too; the store must hold them",
        NETWORK["neighbours"],
    )
    mark_input: bool = _option(False, "network", "it sees the RECIST mark, too: it refines a mark")
    judge_width: int = _option(64, "network", "channels of the discriminator", NETWORK["width"])
    teacher: str = _option("", "network", "SR teacher that dsnet.train_sr saved, or dsnet-lidc-sr")
    teacher_blocks: int = _option(
        16, "network", "blocks of a teacher that was not trained", NETWORK["teacher_blocks"]
    )
    teacher_features: int = _option(
        64, "network", "features of a teacher that was not trained", NETWORK["teacher_features"]
    )
    device: str = _option("auto", "speed", devices.HELP)
    compile: bool = _option(False, "speed", "the step as one compiled graph")
    cuda_graphs: bool = _option(False, "speed", "replay CUDA graphs; with --compile, on CUDA")
    channels_last: bool = _option(False, "speed", "memory format NHWC")
    teacher_cache_gb: float = _option(
        4.0,
        "speed",
        "keep the teacher's outputs where --augment is none or symmetry",
        Range(float, 0, 10**6),
    )
    threads: int = _option(0, "speed", "CPU threads; 0: torch's default", Range(int, 0, 65536))
    out: str = _option("runs/dsnet", "run", "folder of the results")
    resume: bool = _option(False, "run", "go on with the checkpoint in --out")
    save_every: int = _option(
        0, "run", "steps between checkpoints; 0: an epoch", Range(int, 0, 10**9)
    )
    log_every: int = _option(
        20, "run", "steps between readings of the losses", Range(int, 1, 10**9)
    )

    @property
    def seed_of_data(self) -> int:
        """What the split and the phantoms are drawn from."""
        return self.seed if self.data_seed < 0 else self.data_seed


def parse(argv: list[str] | None = None) -> Settings:
    """Settings from the command line; exits with a message for what is not allowed."""
    parser = _parser()
    asked = vars(parser.parse_args(argv))
    recipe, config = asked.pop("recipe", None), asked.pop("config", None)
    stored = {}
    if config:
        try:
            stored = read(config)
        except (OSError, ValueError) as error:
            parser.error(f"--config: {error}")
    # A recipe asked for on the command line outranks the file that a former run wrote.
    chosen = {**RECIPES["paper"], **stored, **(RECIPES[recipe] if recipe else {}), **asked}
    settings = Settings(**chosen)
    try:
        check(settings)
    except ValueError as error:
        parser.error(str(error))
    settings.shares = tuple(settings.shares)
    return settings


def check(settings: Settings) -> None:
    """Raise ValueError for a value that is not allowed, by the option's name."""
    for each in fields(settings):
        value, option = getattr(settings, each.name), f"--{each.name.replace('_', '-')}"
        if each.metadata["allowed"] is not None:
            each.metadata["allowed"].check(option, value)
        elif each.name == "shares":
            _check_shares(option, value)
        elif not isinstance(value, type(each.default)):
            kind = {bool: "true or false", str: "text"}[type(each.default)]
            raise ValueError(f"{option} must be {kind}, got {brief(value)}")
        choices = each.metadata.get("choices")
        if choices and value not in choices:
            allowed = ", ".join(map(str, choices))
            raise ValueError(f"{option} must be one of {allowed}, got {brief(value)}")
        if value == "" and each.default:
            raise ValueError(f"{option} must not be empty")
    rung, peer = VARIANTS.get(settings.variant), PEERS.get(settings.variant)
    if rung and rung.fusion and settings.scale != SCALE:
        raise ValueError(
            f"--scale must be {SCALE}, the teacher's, for --variant {settings.variant}, got "
            f"{settings.scale}"
        )
    if peer and settings.batch < peer.least_batch:
        raise ValueError(
            f"--batch must be at least {peer.least_batch} for --variant {settings.variant}, got "
            f"{settings.batch}"
        )
    if peer and settings.compile and not peer.one_graph:
        raise ValueError(
            f"--compile must be left out for --variant {settings.variant}, which is not one graph"
        )
    if settings.neighbours and not settings.data:
        raise ValueError("--neighbours must come with --data: phantoms have no neighbouring slices")
    if settings.fold and settings.fold >= settings.folds:
        raise ValueError(f"--fold must be below --folds, got {settings.fold} and {settings.folds}")


def _check_shares(option: str, value: Any) -> None:
    allowed = Range(float, 0)
    fits = isinstance(value, (tuple, list)) and len(value) == 3
    if not fits or not all(share in allowed for share in value) or value[0] == 0:
        raise ValueError(
            f"{option} must be three numbers of at least 0, the first above 0, got {brief(value)}"
        )


def write(path: str | Path, settings: Settings) -> None:
    """One JSON file that ``--config`` reads back."""
    write_json(path, asdict(settings))


def read(path: str | Path) -> dict:
    """Fields of a settings file.

    Raises
    ------
    ValueError
        For a file that is no JSON object, or holds an unknown setting.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply") from error
    known = {f.name for f in fields(Settings)}
    if not isinstance(content, dict) or set(content) - known:
        unknown = sorted(set(content) - known) if isinstance(content, dict) else content
        raise ValueError(f"{path} must hold known settings, got {brief(unknown)}")
    # What was done once is no wish of the next run.
    content.pop("resume", None)
    return content


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dsnet.train",
        description="Train DSNet, or a rung of its ablation, on soft masks.",
        epilog="examples:\n  python -m dsnet.train --data store --recipe fast --compile\n"
        "  torchrun --nproc-per-node 8 -m dsnet.train --data store --recipe fast\n"
        "  python -m dsnet.train --config runs/dsnet/settings.json --resume",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    groups = {name: parser.add_argument_group(name, text) for name, text in GROUPS.items()}
    groups["recipe"].add_argument(
        "--recipe", choices=tuple(RECIPES), help="set what follows at once (paper)"
    )
    groups["run"].add_argument(
        "--config", type=given, metavar="FILE", help="settings.json of a former run"
    )
    for each in fields(Settings):
        keywords = dict(each.metadata)
        group, text = groups[keywords.pop("group")], keywords.pop("help")
        allowed = keywords.pop("allowed")
        assert each.default is not MISSING
        if isinstance(each.default, bool):
            keywords["action"] = argparse.BooleanOptionalAction
            shown = ""
        else:
            kind = float if isinstance(each.default, tuple) else type(each.default)
            named = kind is str and "choices" not in keywords
            keywords["type"] = allowed or (given if named else kind)
            values = each.default if isinstance(each.default, tuple) else (each.default,)
            shown = f" ({' '.join(f'{v:g}' if kind is float else str(v) for v in values)})"
            shown = "" if shown == " ()" else shown
            if "choices" not in keywords:
                keywords["metavar"] = {int: "N", float: "X", str: "NAME"}[kind]
        group.add_argument(f"--{each.name.replace('_', '-')}", help=text + shown, **keywords)
    return parser
