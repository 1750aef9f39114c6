"""Write `dsnet/labeling/mark_model.json`: `python -m bench.fits.mark_model`.

How the marks of 94 lesions of DeepLesion lie against manual masks of these lesions. Then marks are
drawn over these masks and over LIDC's, and compared with what people drew: length over the mask's
longest chord, angle to it, and two readers of one lesion against each other.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.common.human_marks import read_marks_and_masks
from bench.common.lidc import read_nodules
from dsnet.labeling import RecistMark, mark_model, recist_from_mask
from dsnet.labeling.mark_model import RESIDUALS, MarkedMask, mark_residuals

OUT = Path(__file__).parents[2] / "dsnet/labeling/mark_model.json"
# What people drew: the 94 pairs, and pairs of readers of lesions under 15 and of 15 to 30 mm.
DRAWN = {
    "length over the longest chord, 5 25 50 75 95 %": "0.72 0.83 0.86 0.90 0.97",
    "angle to the longest chord, 50 95 %": "12 76",
    "two readers: difference in length over the mean, 50 %": "0.15 and 0.08",
    "two readers: angle, 50 90 %": "12 45 and 12 65",
    "two readers: ends apart over the length, 50 90 %": "0.18 0.46 and 0.16 0.57",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--draws", type=int, default=4, help="pairs of marks a mask, to compare")
    options = parser.parse_args()
    people = read_marks_and_masks()
    rows = [mark_residuals(person.mask, person.mark) for person in people]
    kept = [np.round(row, 4).tolist() for row in rows if row is not None]
    stored = {"residuals": RESIDUALS, "table": kept}
    text = json.dumps(stored, indent=1).replace(",\n   ", ", ").replace("[\n   ", "[")
    options.out.write_text(text.replace("\n  ]", "]") + "\n")
    mark_model.mark_table.cache_clear()
    print(f"{len(kept)} of {len(people)} lesions, {options.out}")

    rng = np.random.default_rng(0)
    masks = {
        "the 94 masks": [person.mask for person in people],
        "LIDC": [nodule.truth for nodule in read_nodules()],
    }
    table = Table(title="Marks that are drawn against marks that people drew", title_justify="left")
    for column in ("", "people", *masks):
        table.add_column(column)
    found = {name: compared(chosen, options.draws, rng) for name, chosen in masks.items()}
    for row, drawn in DRAWN.items():
        table.add_row(row, drawn, *(found[name][row] for name in masks))
    Console(width=140).print(table)


def compared(masks: list[np.ndarray], draws: int, rng: np.random.Generator) -> dict[str, str]:
    ratios, angles, differences, between, apart = [], [], [], [], []
    for mask in masks:
        drawn, exact = MarkedMask(mask), recist_from_mask(mask)
        for _ in range(draws):
            lesion = int(rng.integers(2**31))
            one, other = (drawn.draw(rng, lesion=lesion) for _ in range(2))
            mean = (one.long_diameter + other.long_diameter) / 2
            ratios.append(one.long_diameter / exact.long_diameter)
            angles.append(angle(one, exact))
            differences.append(abs(one.long_diameter - other.long_diameter) / mean)
            between.append(angle(one, other))
            ends = other.long_axis
            if np.sum((one.long_axis[1] - one.long_axis[0]) * (ends[1] - ends[0])) < 0:
                ends = ends[::-1]
            apart += (np.hypot(*(one.long_axis - ends).T) / mean).tolist()

    def told(values: list[float], percentiles: list[int], digits: int) -> str:
        return " ".join(f"{value:.{digits}f}" for value in np.percentile(values, percentiles))

    figures = (
        told(ratios, [5, 25, 50, 75, 95], 2), told(angles, [50, 95], 0), told(differences, [50], 2),
        told(between, [50, 90], 0), told(apart, [50, 90], 2),
    )  # fmt: skip
    return dict(zip(DRAWN, figures, strict=True))


def angle(one: RecistMark, other: RecistMark) -> float:
    a, b = one.directions[0], other.directions[0]
    return float(np.degrees(np.arccos(min(abs(float(a @ b)), 1.0))))


if __name__ == "__main__":
    main()
