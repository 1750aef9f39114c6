"""Scores of trained networks: DICE, SEN, PPV, soft mask and surface errors, case by case.

Public
------
``evaluate(runs, ...) -> list of Scored``
``predict(network, image, batch, precision, device, flips=False) -> Tensor [N, 1, H, W]``
``Scored``: a network's cases with their scores

A run is a folder that `dsnet.train` wrote; its own held-out part is scored, so that no case it
learnt from counts. The folds of a cross-validation, given together, become one row.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from dsnet.dependencies import needed
from dsnet.devices import torch_device
from dsnet.evaluation.runs import OF_A_FOLD, PARTS, Run, cases_of, find_run, name_of_folds
from dsnet.metrics import evaluate_cases
from dsnet.models import DSNet, load_model, mean_over_views, to_input_grid
from dsnet.training.dataset import DeviceDataset
from dsnet.training.step import autocast

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
    flips: bool = False,
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
        As `dsnet.devices.torch_device` takes it.
    precision : str
        One of `training.step.PRECISIONS`.
    batch : int
        Crops at once; 0: `BATCH` of the device.
    surface : bool
        Whether to compute Hausdorff distance and surface Dice, which need MONAI.
    tolerance : float
        Of the surface Dice, in pixels.
    flips : bool
        Whether the mean over each crop's mirror images is scored.
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
    RuntimeError
        When the device is not there.
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    if batch < 0:
        raise ValueError(f"batch must be 1 or more, or 0 for the device's, got {batch}")
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 or more, got {tolerance}")
    place = torch_device(device)
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
                raise ValueError(f"{run.model} must be a network of dsnet.train, got an SR teacher")
            # The layout that convolutions are faster in.
            # The stubs of `Module.to` know no memory format.
            network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            soft = predict(
                network, cases.inputs(), batch, precision, place, flips, run.name, on_progress
            )
            found.append((cases, soft))
            notes = [*notes, *(note for note in more if note not in notes)]
        rows.append(_score(name, notes, found, surface, tolerance))
    _tell_apart(rows, plans)
    return rows


@torch.no_grad()
def predict(
    network,
    image: torch.Tensor,
    batch: int,
    precision: str,
    device,
    flips=False,
    name="",
    on_progress=None,
) -> torch.Tensor:
    """Soft masks [N, 1, H, W] float32 on the CPU, of images [N, C, H, W] as the network sees."""
    network.eval()
    soft, done = [], 0

    def answer(x: torch.Tensor) -> torch.Tensor:
        return to_input_grid(network(x), network.config.scale)

    for chunk in image.split(batch):
        chunk = chunk.to(device, memory_format=torch.channels_last)
        with autocast(chunk, precision):
            found = mean_over_views(answer, chunk) if flips else answer(chunk)
        soft.append(found.float().cpu())
        done += len(chunk)
        if on_progress:
            on_progress(name, done, len(image))
    return torch.cat(soft)


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
    total, diagonal = len(keys), np.hypot(soft.shape[1], soft.shape[2])
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
