"""How far a label's Dice can be foretold: `python -m bench.studies.expected_dice`.

LIDC nodules of `half 0` on the slice that a reader would mark, eight marks each as `draw_mark`
draws them. What is known of a label is added source by source, from its size to what nobody knows:
how well the readers agree, where the mark is off, and the Dice that the nodule has under the other
marks. All by one logistic model, whose coefficients are of other patients.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from bench.common.dice_model import crossed, folds_of
from bench.common.lidc import Nodule, dice, read_nodules
from bench.common.ranking import auroc
from dsnet import _C
from dsnet.labeling import RecistMark, label_recist, recist_from_mask
from dsnet.labeling.cut import RecistCut, cut_recist
from dsnet.labeling.edge_model import native_network
from dsnet.labeling.mark_model import MarkedMask
from dsnet.labeling.reference.expected_dice import what_is_known

DRAWS = 8
POOR = 0.8  # Dice of a label that a person should look at
SCORES = ("overall", "edge_contrast", "known_fraction", "axes_agreement", "mark_inside")
# Each is added to those above it.
SOURCES = {
    "the sizes of mark and label": ("long", "ratio", "pixels"),
    "the evidence's own expected Dice (what is used)": ("evidence",),
    "the other scores": SCORES,
    "probabilities inside and outside of the label, alpha": ("joined", "unsure", "differs"),
    "labels mirrored, of the long axis alone, of jittered marks, of the label's own mark": (
        "mirrored", "mirrored_p", "alone", "alone_p", "jittered", "again", "again_p",
    ),
    "known to nobody: how well the readers agree": ("readers", "two_of_four"),
    "where the mark is off": ("end_0", "end_1", "end_2", "end_3", "off"),
    "the mean Dice under the nodule's other marks": ("others",),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="take each N-th nodule only")
    parser.add_argument("--out", type=Path, default=Path("bench/results/expected_dice.json"))
    options = parser.parse_args()
    nodules = [n for n in read_nodules() if n.half == 0][:: options.every]
    rng = np.random.default_rng(0)
    labels = [
        {"nodule": number, "patient": nodule.name.partition("/")[0], **known}
        for number, nodule in enumerate(nodules)
        for known in labelled(nodule, rng)
    ]
    columns = {name: np.array([label[name] for label in labels]) for name in labels[0]}
    columns["others"] = logit(of_other_marks(columns["nodule"], columns["dice"]))
    between, within = spreads(columns["nodule"], columns["dice"])
    rows = list(foretold(columns))
    told = {
        "labels": len(labels),
        "poor": int((columns["dice"] < POOR).sum()),
        "variance_between_nodules": between,
        "variance_within": within,
        "sources": rows,
    }
    show(rows, told)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(told, indent=1) + "\n")


def labelled(nodule: Nodule, rng: np.random.Generator) -> Iterator[dict[str, float]]:
    """What is known of each of a nodule's labels, and what nobody knows."""
    drawn = MarkedMask(nodule.truth)
    for _ in range(DRAWS):
        mark = drawn.draw(rng, lesion=int(rng.integers(2**31)))
        cut = cut_recist(nodule.image, mark)
        if cut.fallback:
            continue
        label = label_recist(nodule.image, mark)
        yield {
            "dice": dice(label.binary, nodule.truth),
            **of_the_label(nodule.image, mark, cut, label.alpha),
            **{name: label.quality[name] for name in SCORES},
            **of_more_labels(nodule.image, mark, cut, rng),
            **known_to_nobody(nodule, mark),
        }


def of_the_label(
    image: np.ndarray, mark: RecistMark, cut: RecistCut, alpha: np.ndarray
) -> dict[str, float]:
    *_, evidence = _C.cut_recist(image, mark.coordinates, native_network())
    pixels = np.count_nonzero(cut.mask)
    _, own, long, ratio, size = what_is_known(mark, evidence, pixels)
    share = probability(cut)
    inside = share[cut.mask].sum()
    return {
        "evidence": own,
        "long": long,
        "ratio": ratio,
        "pixels": size,
        "joined": logit(2 * inside / (pixels + share.sum())),
        "unsure": (share * (1 - share)).sum() / pixels,
        "differs": np.abs(alpha - share).sum() / pixels,
    }


def of_more_labels(
    image: np.ndarray, mark: RecistMark, cut: RecistCut, rng: np.random.Generator
) -> dict[str, float]:
    """How unlike the label others of the same image are: their Dice with it, and by how much the
    probabilities differ."""
    pixels, share = np.count_nonzero(cut.mask), probability(cut)

    def beside(name: str, other: RecistCut) -> dict[str, float]:
        return {
            name: logit(dice(other.mask, cut.mask)),
            f"{name}_p": np.abs(probability(other) - share).sum() / pixels,
        }

    turned = mark.coordinates.copy()
    turned[::2] = image.shape[1] - 1 - turned[::2]
    mirrored = cut_recist(image[:, ::-1], RecistMark.from_coordinates(turned))
    mirrored = RecistCut(mirrored.mask[:, ::-1], mirrored.log_odds[:, ::-1], mirrored.fallback)
    jittered = [
        cut_recist(image, RecistMark.from_coordinates(mark.coordinates + rng.normal(0, 1, 8)))
        for _ in "ab"
    ]
    return {
        **beside("mirrored", mirrored),
        **beside("alone", cut_recist(image, RecistMark.from_long_axis(mark.long_axis))),
        **beside("again", cut_recist(image, recist_from_mask(cut.mask))),
        "jittered": logit(np.mean([dice(other.mask, cut.mask) for other in jittered])),
    }


def known_to_nobody(nodule: Nodule, mark: RecistMark) -> dict[str, float]:
    size = np.sqrt(np.count_nonzero(nodule.truth))
    y, x = np.nonzero(nodule.truth)
    told = {
        "readers": float(np.mean([dice(mask, nodule.truth) for mask in nodule.masks])),
        "two_of_four": np.count_nonzero(nodule.masks.sum(0) == 2) / size**2,
        "off": np.hypot(x.mean() - mark.center[0], y.mean() - mark.center[1]) / size,
    }
    # Pixels by which the truth goes beyond each end, along its axis.
    for axis, ends in enumerate((mark.long_axis, mark.short_axis)):
        along = (ends[1] - ends[0]) / max(float(np.hypot(*(ends[1] - ends[0]))), 1e-9)
        reach = x * along[0] + y * along[1]
        told[f"end_{2 * axis}"] = (float(ends[0] @ along) - reach.min()) / size
        told[f"end_{2 * axis + 1}"] = (reach.max() - float(ends[1] @ along)) / size
    return told


def of_other_marks(nodule: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The mean Dice of the same nodule's other labels."""
    count = np.bincount(nodule)[nodule]
    total = np.bincount(nodule, found)[nodule]
    return np.where(count > 1, (total - found) / np.maximum(count - 1, 1), found.mean())


def spreads(nodule: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Variance of the Dice between nodules and within them (Fisher)."""
    of = [found[nodule == one] for one in np.unique(nodule)]
    within = float(np.mean([each.var(ddof=1) for each in of if len(each) > 1]))
    means = float(np.var([each.mean() for each in of], ddof=1))
    return means - within / float(np.mean([len(each) for each in of])), within


def foretold(columns: dict[str, np.ndarray]) -> Iterator[dict]:
    """How well all sources up to each one foretell the Dice of other patients' labels."""
    found, folds = columns["dice"], folds_of(columns["patient"])
    names: list[str] = []
    for source, more in SOURCES.items():
        names += more
        known = np.stack([columns[name] for name in names], 1)
        known = (known - known.mean(0)) / (known.std(0) + 1e-9)
        expected = crossed(np.insert(known, 0, 1.0, axis=1), found, folds)
        yield {
            "source": source,
            "rank_correlation": float(stats.spearmanr(expected, found)[0]),
            "mean_error": float(np.abs(expected - found).mean()),
            "explained": float(1 - np.mean((expected - found) ** 2) / found.var()),
            "auroc": auroc(-expected, found < POOR),
        }


def probability(cut: RecistCut) -> np.ndarray:
    return 1 / (1 + np.exp(-cut.log_odds.astype(np.float64)))


def logit(share: np.ndarray | float) -> np.ndarray | float:
    kept = np.clip(share, 0.01, 0.999)
    return np.log(kept / (1 - kept))


def show(rows: list[dict], told: dict) -> None:
    table = Table(title="A label's Dice, foretold for other patients", title_justify="left")
    table.add_column("known, with all above")
    for column in ("rank correlation", "mean error", "explained", f"AUROC of Dice < {POOR}"):
        table.add_column(column, justify="right")
    for row in rows:
        values = (row["rank_correlation"], row["mean_error"], row["explained"], row["auroc"])
        table.add_row(row["source"], *(f"{value:.3f}" for value in values))
    console = Console(width=140)
    console.print(table)
    between, within = told["variance_between_nodules"], told["variance_within"]
    console.print(
        f"{told['labels']} labels, {told['poor']} of them poor; standard deviation of the Dice "
        f"between nodules {between**0.5:.3f}, between marks of one {within**0.5:.3f}"
    )


if __name__ == "__main__":
    main()
