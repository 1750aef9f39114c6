"""Score trained networks: DICE, SEN, PPV, soft mask and surface errors, case by case.

python -m dsnet.evaluate runs/dsnet
python -m dsnet.evaluate runs/unet runs/dsnet --out comparison

A run is a folder that `dsnet.train` wrote; its own held-out part is scored, so that no case it
learnt from counts. The folds of a cross-validation, given together, become one row.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ._evaluate_report import show, write
from .metrics import evaluate_cases
from .models import load_model, to_input_grid
from .training.checkpoint import read_checkpoint
from .training.dataset import DeviceDataset
from .training.step import PRECISIONS, autocast

PARTS = ("train", "val", "test", "all")
# Settings in which the folds of one cross-validation may differ.
OF_A_FOLD = ("fold", "out", "resume", "device", "threads", "log_every", "save_every")


@dataclass
class Scored:
    """A network's cases, or all folds' of a cross-validation.

    Attributes
    ----------
    name : str
    keys, patients : list of N str
    image, truth, soft : ndarray [N, H, W]
        Image and predicted soft mask float32, truth bool.
    values : dict of str to ndarray [N] float64
        `metrics.evaluate_cases`.
    notes : list of str
        What a reader of the figures must know.
    """

    name: str
    keys: list[str]
    patients: list[str]
    image: np.ndarray
    truth: np.ndarray
    soft: np.ndarray
    values: dict[str, np.ndarray]
    notes: list[str] = field(default_factory=list)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        rows = evaluate(
            options.runs,
            data=options.data,
            part=options.part,
            model=options.model,
            device=options.device,
            precision=options.precision,
            batch=options.batch,
            surface=options.surface,
            tolerance=options.tolerance,
        )
        out = Path(options.out or Path(options.runs[0], "evaluation"))
        write(rows, out, options.cases)
    except (ValueError, OSError, ImportError) as error:
        print(f"dsnet.evaluate: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    show(rows)
    print(f"table.md, table.csv, cases.csv and figure.png are in {out}")
    return 0


def evaluate(
    runs,
    *,
    data: str | None = None,
    part: str = "test",
    model: str = "best",
    device: str = "auto",
    precision: str = "fp32",
    batch: int = 16,
    surface: bool = True,
    tolerance: float = 1.0,
) -> list[Scored]:
    """Score runs of `dsnet.train`, each on its own part of its own data.

    Parameters
    ----------
    runs : sequence of path
        Folders that `dsnet.train` wrote.
    data : path, optional
        A label store in place of the one that the run names: the same one elsewhere, or one that
        shares no case with it, which then is scored whole.
    part : str
        "train", "val", "test" or "all".
    model : str
        "best" or "last".
    device : str
        cpu, cuda or auto.
    precision : str
        One of `training.step.PRECISIONS`.
    batch : int
        Crops at once.
    surface : bool
        Whether to compute Hausdorff distance and surface Dice, which need MONAI.
    tolerance : float
        Of the surface Dice, in pixels.

    Returns
    -------
    list of Scored
        In the order of the runs; folds of one cross-validation are one.

    Raises
    ------
    ValueError
        When a run lacks a file, its data changed since, a part is empty, or a fold comes twice.
    """
    if part not in PARTS:
        raise ValueError(f"part is {part!r}; one of {', '.join(PARTS)} is needed")
    if batch < 1:
        raise ValueError(f"batch is {batch}; at least 1 is needed")
    place = _device(device)
    groups: dict[str, list[tuple[Path, dict]]] = {}
    for run in map(Path, runs):
        settings = _settings(run)
        course = {k: v for k, v in settings.items() if k not in OF_A_FOLD}
        name = json.dumps(course, sort_keys=True) if settings["folds"] else str(run.resolve())
        groups.setdefault(name, []).append((run, settings))
    loaded: dict[tuple, DeviceDataset] = {}
    rows = []
    for members in groups.values():
        parts = []
        for run, settings in members:
            cases = _cases(run, settings, data, part, loaded)
            network = load_model(run / f"{model}.pt", place)
            soft = predict(network, cases.image, batch, precision, place)
            parts.append((cases, soft))
        name, notes = _name(members, part)
        rows.append(_score(name, notes, parts, surface, tolerance))
    names = [row.name for row in rows]
    for row, members in zip(rows, groups.values(), strict=True):
        if names.count(row.name) > 1:
            row.name = str(members[0][0])
    return rows


@torch.no_grad()
def predict(network, image: torch.Tensor, batch: int, precision: str, device) -> torch.Tensor:
    """Soft masks [N, 1, H, W] float32 on the CPU, of images like them in 0..1."""
    network.eval()
    soft = []
    for chunk in image.split(batch):
        chunk = chunk.to(device)
        with autocast(chunk, precision):
            soft.append(to_input_grid(network(chunk), network.config.scale).float().cpu())
    return torch.cat(soft)


def _settings(run: Path) -> dict:
    if not run.is_dir():
        raise ValueError(f"run {run} is no folder; dsnet.train --out names one")
    for name in ("settings.json", "split.json"):
        if not (run / name).is_file():
            raise ValueError(f"run {run} has no {name}: it is no folder of dsnet.train")
    return json.loads((run / "settings.json").read_text())


def _cases(run: Path, settings: dict, data, part: str, loaded: dict) -> DeviceDataset:
    """The part of the data that the run is scored on."""
    source = data or settings["data"]
    how = (source, settings["size"], settings["min_quality"], settings["phantoms"])
    how += (settings["seed"],) if not source else ()
    if how not in loaded:
        loaded[how] = _load(source, settings)
    cases = loaded[how]
    split = json.loads((run / "split.json").read_text())
    known = set().union(*split.values())
    if data and not known & set(cases.keys):
        return cases
    if not data and (run / "checkpoint.pt").is_file():
        stored = read_checkpoint(run / "checkpoint.pt")["progress"].get("data")
        if stored and stored != cases.digest():
            raise ValueError(f"{source or 'the phantoms'} changed since {run} was trained")
    wanted = known if part == "all" else split[part]
    missing = set(wanted) - set(cases.keys)
    if missing:
        raise ValueError(
            f"{source or 'the phantoms'} lacks {len(missing)} of the {len(wanted)} cases in "
            f"{run / 'split.json'}, {sorted(missing)[0]} among them"
        )
    if not wanted:
        raise ValueError(f"part {part} of {run} has no case")
    place = {key: i for i, key in enumerate(cases.keys)}
    return cases.subset(sorted(place[key] for key in wanted))


def _load(source: str, settings: dict) -> DeviceDataset:
    size = settings["size"]
    if source:
        return DeviceDataset.from_store(
            source, "cpu", size or None, settings["min_quality"] or None
        )
    return DeviceDataset.phantoms(settings["phantoms"], size or 64, settings["seed"])


def _name(members, part: str) -> tuple[str, list[str]]:
    run, settings = members[0]
    notes = [] if part == "test" else [f"part {part}: the network has seen some of these cases"]
    if part == "val":
        notes = ["part val: the epoch was chosen on these cases"]
    folds = settings["folds"]
    if not folds:
        return run.resolve().name, notes
    found = sorted(each["fold"] for _, each in members)
    for fold in found:
        if found.count(fold) > 1:
            twice = ", ".join(str(run) for run, each in members if each["fold"] == fold)
            raise ValueError(f"fold {fold} of {folds} comes more than once: {twice}")
    if len(found) == folds:
        return f"{settings['variant']}, {folds} folds", notes
    lacking = ", ".join(str(fold) for fold in range(folds) if fold not in found)
    return (
        f"{settings['variant']}, {len(found)} of {folds} folds",
        [*notes, f"no run of fold {lacking}: its cases are not in these figures"],
    )


def _score(name, notes, parts, surface: bool, tolerance: float) -> Scored:
    shapes = {tuple(cases.image.shape[1:]) for cases, _ in parts}
    if len(shapes) > 1:
        raise ValueError(f"folds of {name} have crops of several sizes: {sorted(shapes)}")
    keys = [key for cases, _ in parts for key in cases.keys]
    image, truth, true_soft = (
        torch.cat([getattr(cases, plane)[:, 0] for cases, _ in parts])
        for plane in ("image", "binary", "soft")
    )
    soft = torch.cat([found[:, 0] for _, found in parts])
    values = evaluate_cases(soft, true_soft, truth, surface=surface, tolerance=tolerance)
    found, drawn = (plane.flatten(1).any(1) for plane in (soft >= 0.5, truth))
    diagonal = f", HD95 the diagonal, {np.hypot(*soft.shape[1:]):.1f} px" if surface else ""
    for what, count in (
        ("nothing was found", int((drawn & ~found).sum())),
        ("there is no lesion and one was found", int((~drawn & found).sum())),
    ):
        if count:
            notes = [*notes, f"in {count} of {len(keys)} cases {what}; DICE is 0 there{diagonal}"]
    return Scored(
        name,
        keys,
        [patient for cases, _ in parts for patient in cases.patients],
        image.numpy(),
        truth.numpy(),
        soft.numpy(),
        {metric: value.numpy() for metric, value in values.items()},
        notes,
    )


def _device(wanted: str) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if wanted != "auto" and wanted != "cpu" and not wanted.startswith("cuda"):
        raise ValueError(f"device is {wanted!r}; cpu, cuda or auto is needed")
    if wanted.startswith("cuda") and not has_cuda:
        raise ValueError("device is cuda, and torch finds no CUDA device; take --device cpu")
    return torch.device(wanted if wanted != "auto" else "cuda" if has_cuda else "cpu")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dsnet.evaluate",
        description="Score networks that dsnet.train trained, on the cases that they held out.",
        epilog="examples:\n"
        "  python -m dsnet.evaluate runs/dsnet\n"
        "  python -m dsnet.evaluate runs/unet runs/dsnet --out comparison\n"
        "  all folds of a cross-validation, pooled into one row:\n"
        "    python -m dsnet.evaluate runs/fold-0 runs/fold-1 runs/fold-2 runs/fold-3\n"
        "  on another hospital's store:\n"
        "    python -m dsnet.evaluate runs/dsnet --data other --out other-hospital\n\n"
        "table.md and table.csv hold the means, cases.csv every case, figure.png a comparison.\n"
        "exit codes: 0 done, 2 wrong use.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder that dsnet.train wrote")
    what = parser.add_argument_group("what to score")
    what.add_argument(
        "--data", metavar="STORE", help="label store in place of the run's: moved, or another's"
    )
    what.add_argument("--part", default="test", choices=PARTS, help="of the run's split (test)")
    what.add_argument("--model", default="best", choices=("best", "last"), help="epoch (best)")
    what.add_argument(
        "--no-surface", dest="surface", action="store_false",
        help="leave out HD95 and surface Dice, which need MONAI",
    )  # fmt: skip
    what.add_argument(
        "--tolerance", type=float, default=1.0, metavar="PX", help="of the surface Dice (1)"
    )
    run = parser.add_argument_group("run")
    run.add_argument("--out", metavar="DIR", help="folder of the results (RUN/evaluation)")
    run.add_argument("--cases", type=int, default=6, metavar="N", help="rows of the figure (6)")
    run.add_argument("--batch", type=int, default=16, metavar="N", help="crops at once (16)")
    run.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda or auto (auto)")
    run.add_argument(
        "--precision", default="fp32", choices=tuple(PRECISIONS), help="autocast (fp32)"
    )
    run.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads")
    return parser


if __name__ == "__main__":
    sys.exit(main())
