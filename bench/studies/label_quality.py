"""How good labels are on real nodules: `python -m bench.studies.label_quality`.

514 LIDC nodules with four readers each, on the slice with the largest 50 % consensus, which
is the truth. A label from a mark sees the image and the mark alone. The edge model was fitted
to `half 0`, so for dsnet `half 1` is the figure to quote; `all` and the sizes hold both.
Failures: labels that raised or came out empty; they count as Dice 0.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.common.lidc import Nodule, dice, jittered, read_nodules
from bench.common.stock import stock_cut, stock_label
from dsnet.labeling import RecistMark, closed_form_matting, label_raters, label_recist
from dsnet.labeling.cut import cut_recist
from dsnet.labeling.soft_mask import PRIOR_WEIGHT
from dsnet.labeling.trimap import trimap_from_cut

Method = Callable[[Nodule, RecistMark], np.ndarray]
FROM_MARK: dict[str, Method] = {
    "ellipse of the axes": lambda n, mark: mark.ellipse_mask(n.truth.shape),
    "OpenCV grabCut": lambda n, mark: stock_cut(n.image, mark),
    "stock: grabCut, trimap, PyMatting": lambda n, mark: stock_label(n.image, mark) >= 0.5,
    "dsnet cut": lambda n, mark: cut_recist(n.image, mark).mask,
    "dsnet matting, sides not kept": lambda n, mark: matting_alone(n.image, mark) >= 0.5,
    "dsnet soft mask": lambda n, mark: label_recist(n.image, mark).binary,
}
FROM_RATERS = "dsnet soft mask of the four readers"
ONE_READER = "one reader, mean of the four"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="take each N-th nodule only")
    parser.add_argument("--out", type=Path, default=Path("bench/results/label_quality.json"))
    options = parser.parse_args()
    nodules = read_nodules()[:: options.every]
    runs = {}
    for pixels in (0, 1, 2):
        rng = np.random.default_rng(pixels)
        marks = [jittered(n.mark, pixels, rng) for n in nodules]
        for name, method in FROM_MARK.items():
            runs[name, pixels] = [
                attempt(method, n, m) for n, m in zip(nodules, marks, strict=True)
            ]
    runs[FROM_RATERS, None] = [
        attempt(lambda n, _: label_raters(n.image, n.masks).binary, n, n.mark) for n in nodules
    ]
    runs[ONE_READER, None] = [np.mean([dice(mask, n.truth) for mask in n.masks]) for n in nodules]

    rows = [
        {"method": name, "jitter_px": pixels, "group": group, **figures(scores, chosen)}
        for (name, pixels), scores in runs.items()
        for group, chosen in groups(nodules).items()
    ]
    errors = soft_errors(nodules)
    show(rows, errors)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"dice": rows, "soft_error": errors}, indent=1) + "\n")


def matting_alone(image: np.ndarray, mark: RecistMark) -> np.ndarray:
    """What matting makes of the cut before each pixel is held to the cut's side of one half."""
    cut = cut_recist(image, mark)
    prior = 1 / (1 + np.exp(-cut.log_odds))
    trimap = trimap_from_cut(cut, mark)
    return closed_form_matting(image, trimap, prior=prior, prior_weight=PRIOR_WEIGHT)[0]


def attempt(method: Method, nodule: Nodule, mark: RecistMark) -> float:
    try:
        mask = method(nodule, mark)
    except Exception:  # a peer's assertion is a failure to count, not to stop at
        return np.nan
    return dice(mask, nodule.truth) if mask.any() else np.nan


def groups(nodules: list[Nodule]) -> dict[str, np.ndarray]:
    half = np.array([n.half for n in nodules])
    long = np.array([n.mark.long_diameter for n in nodules])
    return {
        "all": np.ones(len(nodules), dtype=bool),
        "half 0": half == 0,
        "half 1": half == 1,
        "< 10 px": long < 10,
        "10-20 px": (long >= 10) & (long < 20),
        ">= 20 px": long >= 20,
    }


def figures(scores: list[float], chosen: np.ndarray) -> dict:
    scores = np.asarray(scores)[chosen]
    counted = np.nan_to_num(scores)
    return {
        "mean": float(counted.mean()),
        "median": float(np.median(counted)),
        "percentile_5": float(np.percentile(counted, 5)),
        "lowest": float(counted.min()),
        "failures": int(np.isnan(scores).sum()),
        "n": len(scores),
    }


def soft_errors(nodules: list[Nodule]) -> dict[str, float]:
    """Absolute difference from the mean of the readers' masks, summed, over the truth's area."""

    def error(alpha_of: Callable[[Nodule], np.ndarray]) -> float:
        return float(
            np.mean(
                [np.abs(alpha_of(n) - n.masks.mean(axis=0)).sum() / n.truth.sum() for n in nodules]
            )
        )

    return {
        "dsnet cut": error(lambda n: cut_recist(n.image, n.mark).mask),
        "dsnet soft mask": error(lambda n: label_recist(n.image, n.mark).alpha),
        FROM_RATERS: error(lambda n: label_raters(n.image, n.masks).alpha),
        "50 % consensus": error(lambda n: n.truth),
    }


def show(rows: list[dict], errors: dict[str, float]) -> None:
    console = Console(width=120)
    table = Table(title="Dice against the four readers' 50 % consensus", title_justify="left")
    table.add_column("method")
    for column in ("jitter", "group", "mean", "median", "5th pct", "lowest", "failures", "n"):
        table.add_column(column, justify="right")
    for row in rows:
        if row["jitter_px"] and row["group"] not in ("all", "half 1"):
            continue
        jitter = "" if row["jitter_px"] is None else f"{row['jitter_px']} px"
        values = [f"{row[k]:.3f}" for k in ("mean", "median", "percentile_5", "lowest")]
        counts = [str(row["failures"]), str(row["n"])]
        table.add_row(row["method"], jitter, row["group"], *values, *counts)
        if row["group"] == ">= 20 px" or (row["jitter_px"] and row["group"] == "half 1"):
            table.add_section()
    console.print(table)
    for name, error in errors.items():
        console.print(f"soft error against the readers' mean, {name}: {error:.3f}")


if __name__ == "__main__":
    main()
