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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dsnet.dependencies import needed

with needed("evaluate", "scoring", command="dsnet.evaluate"):
    import torch

from dsnet.evaluation.report import progress, show, write
from dsnet.evaluation.runs import OF_A_FOLD, PARTS, Run, cases_of, find_run, name_of_folds
from dsnet.metrics import evaluate_cases
from dsnet.models import DSNet, load_model, to_input_grid
from dsnet.training.dataset import DeviceDataset
from dsnet.training.step import PRECISIONS, autocast

# Crops at once. On a CPU one is fastest: larger activations are mapped anew for every layer.
BATCH = {"cpu": 1, "cuda": 64}


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
    tolerance : float
        Of the surface Dice, in pixels.
    """

    name: str
    keys: list[str]
    patients: list[str]
    image: np.ndarray
    truth: np.ndarray
    soft: np.ndarray
    values: dict[str, np.ndarray]
    notes: list[str] = field(default_factory=list)
    tolerance: float = 1.0


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(argv)
    out = Path(options.out) if options.out else _folder(Path(options.runs[0])) / "evaluation"
    try:
        for name, least in (("cases", 1), ("threads", 0)):
            if getattr(options, name) < least:
                raise ValueError(f"--{name} is {getattr(options, name)}; at least {least}")
        if out.exists() and not out.is_dir():
            raise ValueError(f"--out {out} is a file; a folder is needed")
        if options.threads:
            torch.set_num_threads(options.threads)
        with progress() as on_progress:
            rows = evaluate(
                options.runs,
                data=options.data,
                part=options.part,
                split=options.split,
                model=options.model,
                complete=options.folds,
                device=options.device,
                precision=options.precision,
                batch=options.batch,
                surface=options.surface,
                tolerance=options.tolerance,
                on_progress=on_progress,
            )
        write(rows, out, options.cases)
    except torch.OutOfMemoryError:
        print(
            "dsnet.evaluate: the device's memory is full; take a smaller --batch", file=sys.stderr
        )
        return 2
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
    split: str | None = None,
    model: str = "best",
    complete: bool = False,
    device: str = "auto",
    precision: str = "fp32",
    batch: int = 0,
    surface: bool = True,
    tolerance: float = 1.0,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> list[Scored]:
    """Score runs of `dsnet.train`, each on its own part of its own data.

    Parameters
    ----------
    runs : sequence of path
        Folders that `dsnet.train` wrote, or model files.
    data : path, optional
        A label store in place of the one that the run names: the same one elsewhere, or one that
        shares no case with it, which then is scored whole but for patients the run learnt from.
    part : str
        "train", "val", "test" or "all".
    split : path, optional
        A split.json for model files that have none beside them.
    model : str
        "best" or "last": which file of a folder.
    complete : bool
        Whether the runs must be all folds of cross-validations.
    device : str
        cpu, cuda or auto.
    precision : str
        One of `training.step.PRECISIONS`.
    batch : int
        Crops at once; 0: `BATCH` of the device.
    surface : bool
        Whether to compute Hausdorff distance and surface Dice, which need MONAI.
    tolerance : float
        Of the surface Dice, in pixels.
    on_progress : callable, optional
        Takes a run's name, the number of its cases that are done, and of all its cases.

    Returns
    -------
    list of Scored
        In the order of the runs; folds of one cross-validation are one.

    Raises
    ------
    ValueError
        When a run lacks a file, its data changed since, a part is empty or holds patients of the
        training, a fold comes twice, or one lacks that must not.
    """
    if part not in PARTS:
        raise ValueError(f"part is {part!r}; one of {', '.join(PARTS)} is needed")
    if batch < 0:
        raise ValueError(f"batch is {batch}; 1 or more is needed, or 0 for the device's")
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}; 0 or more is needed")
    place = _device(device)
    batch = batch or BATCH.get(place.type, 1)
    groups: dict[str, list[Run]] = {}
    for run in (find_run(Path(each), model, split) for each in runs):
        folds = run.settings["folds"]
        if complete and not folds:
            raise ValueError(f"{run.model} is of no cross-validation; --folds asks for its folds")
        course = {k: v for k, v in run.settings.items() if k not in OF_A_FOLD}
        name = json.dumps(course, sort_keys=True) if folds else str(run.model.resolve())
        members = groups.setdefault(name, [])
        if not folds and members:
            raise ValueError(f"{run.model} is given twice")
        members.append(run)
    # Everything that can be wrong is told before the first network works.
    plans = [_plan(members, data, part, complete) for members in groups.values()]
    loaded: dict[tuple, DeviceDataset] = {}
    chosen = [[cases_of(run, data, part, loaded) for run in members] for members, *_ in plans]
    if surface:
        with needed("evaluate", "the surface distance"):
            import monai.metrics  # noqa: F401
    rows = []
    for (members, name, notes), each in zip(plans, chosen, strict=True):
        found = []
        for run, (cases, more) in zip(members, each, strict=True):
            network = load_model(run.model, place)
            if not isinstance(network, DSNet):
                raise ValueError(
                    f"{run.model} is an SR teacher; a network of dsnet.train is needed"
                )
            # The layout that convolutions are faster in.
            network = network.to(memory_format=torch.channels_last)
            soft = predict(network, cases.image, batch, precision, place, run.name, on_progress)
            found.append((cases, soft))
            notes = [*notes, *(note for note in more if note not in notes)]
        rows.append(_score(name, notes, found, surface, tolerance))
    _tell_apart(rows, plans)
    return rows


@torch.no_grad()
def predict(
    network, image: torch.Tensor, batch: int, precision: str, device, name="", on_progress=None
) -> torch.Tensor:
    """Soft masks [N, 1, H, W] float32 on the CPU, of images like them in 0..1."""
    network.eval()
    soft, done = [], 0
    for chunk in image.split(batch):
        chunk = chunk.to(device, memory_format=torch.channels_last)
        with autocast(chunk, precision):
            soft.append(to_input_grid(network(chunk), network.config.scale).float().cpu())
        done += len(chunk)
        if on_progress:
            on_progress(name, done, len(image))
    return torch.cat(soft)


def _folder(run: Path) -> Path:
    return run if run.is_dir() else run.parent


def _plan(members: list[Run], data, part: str, complete: bool):
    run = members[0]
    if run.folder is None or not run.settings["folds"]:
        return members, run.name, []
    if part == "all" and len(members) > 1:
        raise ValueError("part all would pool every case once a fold; pool the folds' test parts")
    return members, *name_of_folds(members, complete)


def _tell_apart(rows: list[Scored], plans) -> None:
    names = [row.name for row in rows]
    for row, (members, *_) in zip(rows, plans, strict=True):
        if names.count(row.name) > 1:
            row.name = str(members[0].folder or members[0].model)
    first = rows[0]
    for row in rows[1:]:
        if set(row.keys) != set(first.keys):
            shared = len(set(row.keys) & set(first.keys))
            row.notes.append(
                f"scored on other cases than {first.name}, {shared} of {len(row.keys)} are in "
                "both: the two do not compare"
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
    if len(set(keys)) < len(keys):
        twice = min(key for key in set(keys) if keys.count(key) > 1)
        raise ValueError(f"case {twice} is held out by more than one fold of {name}")
    found, drawn = (plane.flatten(1).any(1) for plane in (soft >= 0.5, truth))
    total, diagonal = len(keys), np.hypot(*soft.shape[1:])
    far = f", HD95 the diagonal, {diagonal:.1f} px" if surface else ""
    broken = int((~soft.isfinite()).flatten(1).any(1).sum())
    notes = list(notes)
    for count, what in (
        (int((drawn & ~found).sum()), f"nothing was found: DICE is 0 there{far}"),
        (int((~drawn & found).sum()), f"no lesion is there and one was found: DICE is 0{far}"),
        (int((~drawn & ~found).sum()), "no lesion is there and none was found: DICE is 1"),
        (broken, "the network's output is not finite: soft MAE is without a value there"),
    ):
        if count:
            notes.append(f"in {count} of {total} cases {what}")
    return Scored(
        name,
        keys,
        [patient for cases, _ in parts for patient in cases.patients],
        image.numpy(),
        truth.numpy(),
        soft.numpy(),
        {metric: value.numpy() for metric, value in values.items()},
        notes,
        tolerance,
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
        "    python -m dsnet.evaluate --folds runs/fold-0 runs/fold-1 runs/fold-2 runs/fold-3\n"
        "  on another hospital's store:\n"
        "    python -m dsnet.evaluate runs/dsnet --data other --out other-hospital\n"
        "  a model file alone, on the cases that its training held out:\n"
        "    python -m dsnet.evaluate dsnet.pt --data store --split split.json\n\n"
        "table.md and table.csv hold the means, cases.csv every case, figure.png a comparison.\n"
        "exit codes: 0 done, 2 wrong use.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="folder that dsnet.train wrote, or a model file"
    )
    what = parser.add_argument_group("what to score")
    what.add_argument(
        "--data", metavar="STORE", help="label store in place of the run's: moved, or another's"
    )
    what.add_argument("--part", default="test", choices=PARTS, help="of the run's split (test)")
    what.add_argument("--split", metavar="FILE", help="split.json for a model file without one")
    what.add_argument(
        "--folds", action="store_true", help="the runs must be all folds of a cross-validation"
    )
    what.add_argument(
        "--model", default="best", choices=("best", "last"), help="which file of a folder (best)"
    )
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
    run.add_argument(
        "--batch", type=int, default=0, metavar="N",
        help=f"crops at once ({BATCH['cpu']} on a CPU, {BATCH['cuda']} on a GPU)",
    )  # fmt: skip
    run.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda or auto (auto)")
    run.add_argument(
        "--precision", default="fp32", choices=tuple(PRECISIONS), help="autocast (fp32)"
    )
    run.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads")
    return parser


if __name__ == "__main__":
    sys.exit(main())
