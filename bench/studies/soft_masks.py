"""How honest soft masks are: `python -m bench.studies.soft_masks`.

One reader left out, on LIDC's nodules: the soft mask of the others (three, as a rule) is scored
against the one who was left out, over the pixels within 12 of any reader's. Readers who marked
nothing on a slice are left out of it. Brier score and log loss take the soft mask for the
probability that the reader marks the pixel; log loss with probabilities held within 0.01 and 0.99,
and within 0.001 and 0.999, for a mask that is sure and wrong would lose without limit. Dice is of
the mask cut at one half, and on average over thresholds 0.1, 0.2, ... 0.9, as in QUBIQ. Calibration
is the expected error over all pixels of a half, in ten bins.

Then the soft mask of all readers, binarised, against their 50 % consensus; soft masks of one reader
against each of the others; and masks of phantoms, whose alpha is known.

Parameters were chosen on half 0 of the patients; half 1 is the one to quote.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from bench.common.lidc import Nodule, read_nodules
from bench.common.soft_labels import kats, mean_of, smoothed_mean, softseg, without_prior
from dsnet import metrics
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import label_mask, label_raters

Method = Callable[[np.ndarray, np.ndarray], np.ndarray]
NOW = "dsnet"
METHODS: dict[str, Method] = {
    NOW: lambda image, masks: label_raters(image, masks).alpha,
    "dsnet without priors": without_prior,
    "mean of the readers": mean_of,
    "mean, smoothed": smoothed_mean,
    "Kats et al.": kats,
    "SoftSeg": softseg,
}
# Of one reader each label is a mask's, and of phantoms.
OF_A_MASK: dict[str, Method] = {
    **METHODS,
    NOW: lambda image, masks: label_mask(image, masks[0]).alpha,
}
AROUND = 12
CLIPS = (0.01, 0.001)
BINS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="take each N-th nodule only")
    parser.add_argument("--half", type=int, choices=(0, 1), help="one half of the patients only")
    parser.add_argument("--out", type=Path, default=Path("bench/results/soft_masks.json"))
    options = parser.parse_args()
    nodules = read_nodules()[:: options.every]
    halves = (0, 1) if options.half is None else (options.half,)
    results = {"one_reader_left_out": [], "consensus": [], "one_reader": [], "phantoms": []}
    for half in halves:
        of_half = [around(nodule) for nodule in nodules if nodule.half == half]
        for name, kind, methods in (
            ("one_reader_left_out", left_out, METHODS),
            ("one_reader", one_for_each, OF_A_MASK),
        ):
            cases = [case for nodule in of_half for case in kind(*nodule[:2])]
            results[name] += [{"half": half, **row} for row in scores(cases, methods)]
        results["consensus"] += [{"half": half, **row} for row in against_consensus(of_half)]
    results["phantoms"] = phantoms(60 // options.every)
    console = Console(width=130)
    for name, rows in results.items():
        console.print(table_of(name.replace("_", " "), rows))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")


def around(nodule: Nodule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The image, the masks of those who marked something, and the consensus, near the lesion."""
    y, x = np.nonzero(nodule.masks.any(axis=0))
    box = (
        slice(max(y.min() - AROUND, 0), y.max() + AROUND + 1),
        slice(max(x.min() - AROUND, 0), x.max() + AROUND + 1),
    )
    masks = nodule.masks[(slice(None), *box)]
    return np.ascontiguousarray(nodule.image[box]), masks[masks.any((1, 2))], nodule.truth[box]


def left_out(image: np.ndarray, masks: np.ndarray):
    """Image, the other readers' masks, and the mask of the one left out."""
    if len(masks) > 1:
        for reader in range(len(masks)):
            yield image, np.delete(masks, reader, axis=0), masks[reader]


def one_for_each(image: np.ndarray, masks: np.ndarray):
    """Image, one reader's mask, and another's."""
    for one in range(len(masks)):
        for other in range(len(masks)):
            if one != other:
                yield image, masks[one : one + 1], masks[other]


def scores(cases: list, methods: dict[str, Method]) -> list[dict]:
    """A row of mean scores for each method."""
    figures, pooled, wanted = [], [], []
    for image, masks, truth in cases:
        soft = np.stack([method(image, masks) for method in methods.values()])
        soft = torch.from_numpy(soft.astype(np.float64).clip(0, 1))
        target = torch.from_numpy(np.broadcast_to(truth, soft.shape).copy())
        losses = [log_loss(soft, target, clip) for clip in CLIPS]
        figures.append(
            torch.stack(
                [
                    metrics.brier_score(soft, target),
                    *losses,
                    metrics.dice(soft, target),
                    metrics.threshold_dice(soft, target),
                ]
            )
        )
        pooled.append(soft.flatten(1))
        wanted.append(target.flatten(1))
    joined = [torch.cat(parts, 1)[:, None] for parts in (pooled, wanted)]
    calibration = metrics.calibration_error(*joined, bins=BINS)
    names = ("brier", *(f"log_loss_{clip:g}" for clip in CLIPS), "dice", "threshold_dice")
    means = torch.stack(figures).mean(0)
    return [
        {
            "method": method,
            **{name: float(means[k, i]) for k, name in enumerate(names)},
            "calibration_error": float(calibration[i]),
            "n": len(cases),
        }
        for i, method in enumerate(methods)
    ]


def log_loss(soft: torch.Tensor, truth: torch.Tensor, clip: float) -> torch.Tensor:
    """Mean cross entropy of each mask, probabilities held within `clip` and 1 - `clip`."""
    held = soft.clamp(clip, 1 - clip)
    return -torch.where(truth, held, 1 - held).log().flatten(1).mean(1)


def against_consensus(nodules: list) -> list[dict]:
    """The soft mask of all readers, binarised, against their 50 % consensus."""
    rows = []
    for name in (NOW, "dsnet without priors", "mean, smoothed"):
        soft = [torch.from_numpy(METHODS[name](image, masks)) for image, masks, _ in nodules]
        truth = [torch.from_numpy(truth) for _, _, truth in nodules]
        found = {
            figure.__name__: [
                float(figure(mask, wanted)) for mask, wanted in zip(soft, truth, strict=True)
            ]
            for figure in (metrics.dice, metrics.sensitivity, metrics.ppv)
        }
        row = {figure: float(np.mean(values)) for figure, values in found.items()}
        low = float(np.percentile(found["dice"], 5))
        rows.append({"method": name, **row, "dice_5th_percentile": low, "n": len(nodules)})
    return rows


def phantoms(count: int) -> list[dict]:
    """Masks of phantoms: absolute error of alpha, summed, over the sum of alpha."""
    drawn = {
        "as it is": lambda mask: mask,
        "1 px larger": ndimage.binary_dilation,
        "1 px smaller": ndimage.binary_erosion,
        "1 px aside": lambda mask: np.roll(mask, 1, 0),
    }
    rows = []
    for name, draw in drawn.items():
        errors = {method: [] for method in OF_A_MASK}
        for seed in range(count):
            phantom = make_phantom(KINDS[seed % len(KINDS)], size=64, seed=7000 + seed)
            mask = np.asarray(draw(phantom.alpha >= 0.5))
            if not mask.any():
                continue
            for method, soft in OF_A_MASK.items():
                error = np.abs(soft(phantom.image, mask[None]) - phantom.alpha).sum()
                errors[method].append(error / phantom.alpha.sum())
        rows.append({"mask": name, **{method: float(np.mean(e)) for method, e in errors.items()}})
    return rows


def table_of(title: str, rows: list[dict]) -> Table:
    table = Table(title=title, title_justify="left")
    for column, value in rows[0].items():
        table.add_column(
            column.replace("_", " "), justify="left" if isinstance(value, str) else "right"
        )
    for row in rows:
        table.add_row(*[f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()])
    return table


if __name__ == "__main__":
    main()
