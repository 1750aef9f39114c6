"""Scores of trained networks: DICE, SEN, PPV, soft mask and surface errors, case by case.

Public
------
``evaluate(runs, ...) -> list of Row``
``predict(network, image, batch, precision, device, flips=False) -> Tensor [N, 1, H, W]``

A run is a folder that `dsnet.train` wrote; its own held-out part is scored, so that no case it
learnt from counts. The folds of a cross-validation, given together, become one row, and so do runs
that differ in their seed alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dsnet.dependencies import needed
from dsnet.devices import torch_device
from dsnet.evaluation.drawn import Drawn, what_people_drew
from dsnet.evaluation.groups import group_runs
from dsnet.evaluation.rows import Protocol, Row, Scored, row_of
from dsnet.evaluation.runs import PARTS, Run, cases_of, find_run
from dsnet.evaluation.statistics import require_name
from dsnet.metrics import calibration_error, dice, evaluate_cases, ppv, sensitivity
from dsnet.models import DSNet, load_model, mean_over_views, threshold_of, to_input_grid
from dsnet.models.checkpoint import THRESHOLDS
from dsnet.training.dataset import DeviceDataset
from dsnet.training.step import autocast

# Crops at once. On a CPU one is fastest: larger activations are mapped anew for every layer.
BATCH = {"cpu": 1, "cuda": 64}


def evaluate(
    runs,
    *,
    data: str | None = None,
    part: str = "test",
    split: str | None = None,
    reviewed: str | None = None,
    model: str = "best",
    complete: bool = False,
    device: str = "auto",
    precision: str = "fp32",
    batch: int = 0,
    threshold: float | None = None,
    against: str | None = None,
    surface: bool = True,
    tolerance: float = 1.0,
    flips: bool = False,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> list[Row]:
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
    reviewed : str, optional
        Which labels by readers' verdicts, as `data.store.reviewed.open_reviewed` takes it; by
        default as each run had it.
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
    threshold : float, optional
        From where on a pixel is lesion; by default what each model's file says.
    against : str, optional
        Name of the row that others are to be compared with; told at once where there is none.
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
    list of Row
        In the order of the runs; folds of one cross-validation are one, and so are seeds.

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
    if threshold is not None:
        THRESHOLDS.check("threshold", threshold)
    place = torch_device(device)
    batch = batch or BATCH.get(place.type, 1)
    known = [find_run(Path(each), model, split).judged_by(reviewed) for each in runs]
    groups = group_runs(known, part, complete)
    require_name([group.name for group in groups], against)
    # Everything that can be wrong is told before the first network works.
    loaded: dict[tuple, DeviceDataset] = {}
    plans = [
        [[(run, *cases_of(run, data, part, loaded)) for run in members] for members in group.seeds]
        for group in groups
    ]
    if surface:
        with needed("evaluate", "the surface distance"):
            import monai.metrics  # noqa: F401
    drawn: dict[tuple, Drawn] = {}
    rows = []
    for group, seeds in zip(groups, plans, strict=True):
        notes, scored = list(group.notes), []
        truths, chances, kinds = set(), set(), set()
        for members in seeds:
            found = []
            for run, cases, more in members:
                network = _network(run, place)
                soft = predict(
                    network, cases.inputs(), batch, precision, place, flips, run.name, on_progress
                )
                cut = threshold_of(network) if threshold is None else threshold
                kinds.add(_kind(network, threshold))
                people = _drawn(run, cases, data, drawn)
                truths.add(people.truth)
                found.append(_Part(cases, soft[:, 0], cut, people))
                notes += [note for note in more if note not in notes]
            one, told = _score(group.name, members[0][0], found, surface, tolerance)
            scored.append(one)
            chances.add("the truth" if _chance(found) is None else "the readers' mean")
            which = f"seed {one.seed}: " if len(seeds) > 1 else ""
            notes += [f"{which}{note}" for note in told]
        said = (", ".join(sorted(each)) for each in (truths, chances, kinds))
        protocol = Protocol(f"part {part}", *said)
        rows.append(row_of(group.name, scored, protocol, notes, tolerance))
    _tell_other_cases(rows, against)
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


class _Part(NamedTuple):
    """Cases of one network: soft masks [N, H, W], its threshold, and what people drew."""

    cases: DeviceDataset
    soft: torch.Tensor
    threshold: float
    people: Drawn


def _network(run: Run, place: torch.device) -> DSNet:
    network = load_model(run.model, place)
    if not isinstance(network, DSNet):
        raise ValueError(f"{run.model} must be a network of dsnet.train, got an SR teacher")
    # The layout that convolutions are faster in.
    # The stubs of `Module.to` know no memory format.
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def _kind(network: DSNet, given: float | None) -> str:
    if given is not None:
        return "as given"
    if network.threshold is None:
        return "one half, where a model's file has none"
    return "each model's own, chosen on its validation cases"


def _drawn(run: Run, cases: DeviceDataset, data: str | None, known: dict[tuple, Drawn]) -> Drawn:
    source, (height, width) = data or run.settings["data"], cases.image.shape[2:]
    which = run.settings["reviewed"]
    how = (source, which, height, width, *cases.keys)
    if how not in known:
        known[how] = what_people_drew(source, cases.keys, (height, width), which)
    return known[how]


def _chance(parts: list[_Part]) -> torch.Tensor | None:
    """The readers' share [N, H, W], where it is known of all the cases."""
    shares = [part.people.share for part in parts]
    known = [share for share in shares if share is not None]
    return torch.cat(known) if len(known) == len(shares) else None


def _tell_other_cases(rows: list[Row], against: str | None) -> None:
    first = rows[require_name([row.name for row in rows], against)]
    for row in rows:
        if set(row.keys) != set(first.keys):
            shared = len(set(row.keys) & set(first.keys))
            row.notes.append(
                f"scored on other cases than {first.name}, {shared} of {len(row.keys)} are in "
                "both: the two do not compare but on those"
            )
        # One key in two stores, or in crops of another size.
        if others := _other_truths(row, first):
            row.notes.append(
                f"{others} cases have another truth than {first.name}'s of the same names: the "
                "difference is the cases' doing, too"
            )


def _other_truths(row: Row, first: Row) -> int:
    """In how many cases of both what is to be found differs."""
    ours, theirs = (
        {key: t for s in each.seeds for key, t in zip(s.keys, s.truth, strict=True)}
        for each in (row, first)
    )
    return sum(not np.array_equal(ours[key], theirs[key]) for key in ours.keys() & theirs.keys())


def _score(
    name: str, run: Run, parts: list[_Part], surface: bool, tolerance: float
) -> tuple[Scored, list[str]]:
    """Figures of one seed, and what a reader of them must know."""
    shapes = {tuple(part.cases.image.shape[1:]) for part in parts}
    if len(shapes) > 1:
        raise ValueError(f"folds of {name} have crops of several sizes: {sorted(shapes)}")
    keys = [key for part in parts for key in part.cases.keys]
    if len(set(keys)) < len(keys):
        twice = min(key for key in set(keys) if keys.count(key) > 1)
        raise ValueError(f"case {twice} is held out by more than one fold of {name}")
    image, truth, true_soft = (
        torch.cat([getattr(part.cases, plane)[:, 0] for part in parts])
        for plane in ("image", "binary", "soft")
    )
    soft = torch.cat([part.soft for part in parts])
    cut = torch.cat([torch.full((len(part.cases),), part.threshold) for part in parts])
    found = soft >= cut[:, None, None]
    chance = _chance(parts)
    values = evaluate_cases(
        soft, true_soft, truth, found=found, chance=chance, surface=surface, tolerance=tolerance
    )
    overlaps = {"dice": dice, "sensitivity": sensitivity, "ppv": ppv}
    values = {
        **{metric: values[metric] for metric in overlaps},
        **{f"{metric}_half": of(soft, truth) for metric, of in overlaps.items()},
        **values,
    }
    pooled = float("nan")
    if soft.isfinite().all():
        held_to = truth if chance is None else chance
        pooled = float(calibration_error(soft.flatten(0, 1), held_to.flatten(0, 1)))
    scored = Scored(
        name,
        run.settings["seed"],
        keys,
        [patient for part in parts for patient in part.cases.patients],
        image.numpy(),
        truth.numpy(),
        soft.numpy(),
        cut.numpy(),
        {metric: value.numpy() for metric, value in values.items()},
        [part.threshold for part in parts],
        pooled,
    )
    return scored, _odd(soft, found, truth, surface)


def _odd(soft: torch.Tensor, found: torch.Tensor, truth: torch.Tensor, surface: bool) -> list[str]:
    """Cases in which a figure is none of the usual kind, in words."""
    there, drawn = (plane.flatten(1).any(1) for plane in (found, truth))
    total, diagonal = len(soft), np.hypot(soft.shape[1], soft.shape[2])
    far = f", HD95 the diagonal, {diagonal:.1f} px" if surface else ""
    broken = int((~soft.isfinite()).flatten(1).any(1).sum())
    notes = []
    for count, what in (
        (int((drawn & ~there).sum()), f"nothing was found: DICE is 0 there{far}"),
        (int((~drawn & there).sum()), f"no lesion is there and one was found: DICE is 0{far}"),
        (int((~drawn & ~there).sum()), "no lesion is there and none was found: DICE is 1"),
        (broken, "the network's output is not finite: soft MAE is without a value there"),
    ):
        if count:
            notes.append(f"in {count} of {total} cases {what}")
    return notes
