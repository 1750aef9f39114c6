"""How good labels are under marks that people draw: `python -m bench.studies.label_quality`.

514 LIDC nodules with four readers each, on the slice with the largest 50 % consensus, which is the
truth; what dsnet learnt from are patients of `half 0`, so `half 1` is the figure to quote. A label
sees the image and one mark. Marks: two a nodule as `draw_mark` draws them (after 93 lesions with a
person's mark and a manual mask), derived from the truth, and these with noise of 1 and 2 px on each
coordinate. Then real marks: 94 with a manual mask and no image, and those on slices with a revised
mask, one by one. Failures: labels that raised or came out empty; they count as Dice 0.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from bench.common.human_marks import read_marks_and_masks, read_real_lesions
from bench.common.lidc import Nodule, dice, jittered, read_nodules
from bench.common.ranking import auroc, intervals
from bench.common.stock import stock_cut, stock_label
from dsnet.data.crop import cut_crop
from dsnet.labeling import RecistMark, closed_form_matting, label_recist
from dsnet.labeling.cut import cut_recist
from dsnet.labeling.mark_model import MarkedMask
from dsnet.labeling.soft_mask import PRIOR_WEIGHT
from dsnet.labeling.trimap import trimap_from_cut

# People draw short: the mark's ellipse fits their masks best when it is this much longer.
ENLARGED = 1.12
Method = Callable[[np.ndarray, RecistMark], np.ndarray]
METHODS: dict[str, Method] = {
    "ellipse of the axes": lambda image, mark: mark.ellipse_mask(image.shape),
    f"the same, axes {ENLARGED} longer": lambda image, mark: mark.ellipse_mask(
        image.shape, scale=ENLARGED
    ),
    "OpenCV grabCut": stock_cut,
    "grabCut, trimap, PyMatting": lambda image, mark: stock_label(image, mark) >= 0.5,
    "dsnet cut": lambda image, mark: cut_recist(image, mark).mask,
    "dsnet matting, sides not kept": lambda image, mark: matting_alone(image, mark) >= 0.5,
    "dsnet": lambda image, mark: label_recist(image, mark).binary,
}
ONE_READER = "one reader, mean of the four"
POOR = 0.8  # Dice of a label that a person should look at
SIDE = 128  # of the crops of whole slices


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="take each N-th nodule only")
    parser.add_argument("--half", type=int, choices=(0, 1), help="patients of one half only")
    parser.add_argument("--out", type=Path, default=Path("bench/results/label_quality.json"))
    options = parser.parse_args()
    nodules = [n for n in read_nodules() if options.half in (None, n.half)][:: options.every]
    rows = []
    for drawn, marks in marks_of(nodules).items():
        for name, method in METHODS.items():
            scores = [
                attempt(method, n.image, mark, n.truth)
                for n, several in zip(nodules, marks, strict=True)
                for mark in several
            ]
            owners = [n for n, several in zip(nodules, marks, strict=True) for _ in several]
            rows += rows_of(name, drawn, owners, scores)
    readers = [float(np.mean([dice(mask, n.truth) for mask in n.masks])) for n in nodules]
    rows += rows_of(ONE_READER, "", nodules, readers)
    expected = expected_dice(nodules)
    people, lesions = of_people(), of_real_lesions()
    show(rows, expected, people, lesions)
    told = {
        "dice": rows,
        "expected_dice": expected,
        "marks_with_masks": people,
        "real_lesions": lesions,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(told, indent=1) + "\n")


def marks_of(nodules: list[Nodule]) -> dict[str, list[list[RecistMark]]]:
    """The marks over each nodule, by how they come about."""
    rng = np.random.default_rng(0)
    drawn = [MarkedMask(n.truth) for n in nodules]
    marks = {
        "drawn": [[mask.draw(rng, lesion=int(rng.integers(2**31))) for _ in "ab"] for mask in drawn]
    }
    for pixels in (0, 1, 2):
        rng = np.random.default_rng(pixels)
        name = f"derived, {pixels} px" if pixels else "derived"
        marks[name] = [[jittered(n.mark, pixels, rng)] for n in nodules]
    return marks


def matting_alone(image: np.ndarray, mark: RecistMark) -> np.ndarray:
    """What matting makes of the cut before each pixel is held to the cut's side of one half."""
    cut = cut_recist(image, mark)
    prior = 1 / (1 + np.exp(-cut.log_odds))
    trimap = trimap_from_cut(cut, mark)
    return closed_form_matting(image, trimap, prior=prior, prior_weight=PRIOR_WEIGHT)[0]


def attempt(method: Method, image: np.ndarray, mark: RecistMark, truth: np.ndarray) -> float:
    try:
        mask = method(image, mark)
    except Exception:  # a peer's assertion is a failure to count, not to stop at
        return np.nan
    return dice(mask, truth) if mask.any() else np.nan


def rows_of(method: str, marks: str, nodules: list[Nodule], scores: list[float]) -> list[dict]:
    half = np.array([n.half for n in nodules])
    long = np.array([n.mark.long_diameter for n in nodules])
    held_out = half == 1 if (half == 1).any() else half == half
    groups = {
        "all": half == half,
        "half 0": half == 0,
        "half 1": half == 1,
        "half 1, < 10 px": held_out & (long < 10),
        "half 1, 10-20 px": held_out & (long >= 10) & (long < 20),
        "half 1, >= 20 px": held_out & (long >= 20),
    }
    return [
        {"method": method, "marks": marks, "group": group, **figures(np.array(scores)[chosen])}
        for group, chosen in groups.items()
        if chosen.any()
    ]


def figures(scores: np.ndarray) -> dict:
    counted = np.nan_to_num(scores)
    return {
        "mean": float(counted.mean()),
        "median": float(np.median(counted)),
        "percentile_5": float(np.percentile(counted, 5)),
        "lowest": float(counted.min()),
        "failures": int(np.isnan(scores).sum()),
        "n": len(scores),
    }


def expected_dice(nodules: list[Nodule]) -> list[dict]:
    """How well `quality["expected_dice"]` and the overall score tell held-out labels' Dice."""
    held_out = [n for n in nodules if n.half == 1] or nodules
    told = []
    for drawn, marks in marks_of(held_out).items():
        labels = [
            (label_recist(n.image, mark), n)
            for n, several in zip(held_out, marks, strict=True)
            for mark in several
        ]
        found = np.array([dice(label.binary, n.truth) for label, n in labels])
        patient = np.array([n.name.partition("/")[0] for _, n in labels])
        scores = {
            name: np.array([label.quality[name] for label, _ in labels])
            for name in ("expected_dice", "expected_dice_low", "overall")
        }
        # With each reader who marked anything, in place of their consensus.
        single = [
            (dice(label.binary, mask), label.quality["expected_dice_low"])
            for label, n in labels
            for mask in n.masks
            if mask.any()
        ]
        judged = partial(foretold, scores, found)
        told.append(
            {
                "marks": drawn,
                "n": len(found),
                "poor": int((found < POOR).sum()),
                **judged(np.arange(len(found))),
                "intervals": intervals(judged, patient),
                "mean_dice_with_one_reader": float(np.mean([had for had, _ in single])),
                "cover_of_one_reader": float(np.mean([had >= low for had, low in single])),
            }
        )
    return told


def foretold(
    scores: dict[str, np.ndarray], found: np.ndarray, rows: np.ndarray
) -> dict[str, float]:
    """How well some labels' scores tell their Dice."""
    of, found = {name: values[rows] for name, values in scores.items()}, found[rows]
    told = {
        "mean_error": float(np.abs(of["expected_dice"] - found).mean()),
        "cover": float((found >= of["expected_dice_low"]).mean()),
    }
    for name in ("expected_dice", "overall"):
        told[f"{name}_rank_correlation"] = float(stats.spearmanr(of[name], found)[0])
    for name in ("expected_dice", "overall"):
        told[f"{name}_auroc"] = auroc(-of[name], found < POOR)
    return told


def of_people() -> dict[str, dict]:
    """Ellipses of the 94 marks that have a manual mask, which has no image."""
    pairs = read_marks_and_masks()
    return {
        name: figures(
            np.array([dice(p.mark.ellipse_mask(p.mask.shape, scale=scale), p.mask) for p in pairs])
        )
        for name, scale in (("ellipse of the axes", 1.0), (f"axes {ENLARGED} longer", ENLARGED))
    }


def of_real_lesions() -> list[dict]:
    """Each real lesion, cut out as `label recist` cuts it."""
    found = []
    for lesion in read_real_lesions():
        side = max(SIDE, int(np.ceil(2.5 * lesion.mark.long_diameter)))
        crop = cut_crop(
            lesion.image, lesion.mark, side, spacing=(1.0, 1.0), masks=lesion.truth[None]
        )
        scores = {
            name: attempt(method, crop.image, crop.mark, crop.masks[0] > 0)
            for name, method in METHODS.items()
        }
        found.append({"lesion": lesion.name, "long_px": lesion.mark.long_diameter, **scores})
    return found


def show(
    rows: list[dict], expected: list[dict], people: dict[str, dict], lesions: list[dict]
) -> None:
    console = Console(width=120)
    table = Table(title="Dice against the four readers' 50 % consensus", title_justify="left")
    for column in ("marks", "method", "group"):
        table.add_column(column)
    for column in ("mean", "median", "5th pct", "lowest", "failures", "n"):
        table.add_column(column, justify="right")
    for row in rows:
        if row["group"] in ("all", "half 0") or ("," in row["group"] and "," in row["marks"]):
            continue
        values = [f"{row[k]:.3f}" for k in ("mean", "median", "percentile_5", "lowest")]
        counts = [str(row["failures"]), str(row["n"])]
        table.add_row(row["marks"], row["method"], row["group"], *values, *counts)
    console.print(table)
    for told in expected:
        told = told | {
            name: f"{told[name]:.3f} ({low:.3f} to {high:.3f})"
            for name, (low, high) in told["intervals"].items()
        }
        console.print(
            f"expected Dice, {told['marks']} marks, with what nineteen of twenty samples of the "
            f"patients have: rank correlation {told['expected_dice_rank_correlation']}, overall "
            f"score {told['overall_rank_correlation']}; mean error {told['mean_error']}; AUROC of "
            f"Dice < {POOR} {told['expected_dice_auroc']}, overall score {told['overall_auroc']} "
            f"({told['poor']} of {told['n']}); the bound covers {told['cover']}, "
            f"of the Dice with one reader {told['cover_of_one_reader']:.2f}"
        )
    for name, told in people.items():
        console.print(f"94 real marks, {name}: {told['mean']:.3f}, 5 % {told['percentile_5']:.3f}")
    for lesion in lesions:
        scores = ", ".join(f"{name} {lesion[name]:.3f}" for name in METHODS)
        console.print(f"{lesion['lesion']}, {lesion['long_px']:.0f} px: {scores}")


if __name__ == "__main__":
    main()
