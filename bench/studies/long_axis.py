"""Labels of a long axis alone: `python -m bench.studies.long_axis`.

LIDC nodules with two marks each, as `draw_mark` draws them over the 50 % consensus, which is the
truth. A label sees both axes, the long one alone (what labelling then assumes), or the long one and
a short one of a fixed ratio, across its middle. Patients of `half 0` choose the ratio, those of
`half 1` confirm it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.common.lidc import dice, read_nodules
from dsnet.labeling import RecistMark, label_recist
from dsnet.labeling.mark_model import MarkedMask
from dsnet.labeling.recist import ASSUMED_RATIO

RATIOS = (0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.99)
POOR = 0.8  # Dice of a label that a person should look at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="take each N-th nodule only")
    parser.add_argument("--out", type=Path, default=Path("bench/results/long_axis.json"))
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    cases = []
    for nodule in read_nodules()[:: options.every]:
        mask = MarkedMask(nodule.truth)
        cases += [(nodule, mask.draw(rng, lesion=int(rng.integers(2**31)))) for _ in "ab"]
    seen: dict[str, Callable[[RecistMark], RecistMark]] = {
        "both axes": lambda mark: mark,
        f"long axis alone ({ASSUMED_RATIO} assumed)": lambda mark: RecistMark.from_long_axis(
            mark.long_axis
        ),
        **{f"a short axis of {ratio:.2f}": crossed(ratio) for ratio in RATIOS},
    }
    table = Table("half", "the label sees", "Dice", "5th percentile", "below 0.8", "n")
    results = []
    for half in (0, 1):
        chosen = [(nodule, mark) for nodule, mark in cases if nodule.half == half]
        for name, of in seen.items():
            labels = [(label_recist(n.image, of(mark)).binary, n.truth) for n, mark in chosen]
            scores = np.array([dice(binary, truth) for binary, truth in labels])
            row = {
                "half": half,
                "sees": name,
                "mean": float(scores.mean()),
                "percentile_5": float(np.percentile(scores, 5)),
                "poor": float((scores < POOR).mean()),
                "n": len(scores),
            }
            results.append(row)
            figures = (f"{row[key]:.3f}" for key in ("mean", "percentile_5", "poor"))
            table.add_row(str(half), name, *figures, str(len(scores)))
    Console(width=120).print(table)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")


def crossed(ratio: float) -> Callable[[RecistMark], RecistMark]:
    """The long axis with a short one of that ratio, across its middle."""

    def of(mark: RecistMark) -> RecistMark:
        dx, dy = mark.long_axis[1] - mark.long_axis[0]
        half = 0.5 * ratio * np.array([-dy, dx])
        middle = mark.long_axis.mean(0)
        return RecistMark(mark.long_axis, np.stack([middle - half, middle + half]))

    return of


if __name__ == "__main__":
    main()
