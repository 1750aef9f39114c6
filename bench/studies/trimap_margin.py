"""How wide strategy 1's unknown band should be: `python -m bench.studies.trimap_margin`.

Every single reader's mask of an LIDC nodule becomes a trimap; the four readers' 50 %
consensus is the truth. Wrong lesion: share of the sure lesion pixels that the consensus
leaves out. Wrong background: share of the consensus' pixels that are sure background.
Patients at even places choose (`chosen`), those at odd places confirm.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from dsnet.labeling import (
    BACKGROUND,
    FOREGROUND,
    UNKNOWN,
    closed_form_matting,
    consensus,
    trimap_from_mask,
)
from dsnet.labeling.trimap import inscribed_diameter

SHARES = (0.05, 0.10, 0.15, 0.20, 0.25)
LEAST = (1.0, 1.5, 2.0)


def main() -> None:
    root = Path(os.environ.get("DSNET_SHARED", "../shared"), "data", "lidc")
    with open(root / "nodules.csv") as file:
        rows = list(csv.DictReader(file))
    patients = sorted({row["patient"] for row in rows})
    table = Table("half", "share", "least px", "wrong lesion %", "wrong background %")
    for column in ("unknown / lesion", "empty core %", "Dice of soft mask", "Dice of reader"):
        table.add_column(column, justify="right")
    results = []
    for half, name in enumerate(("chosen", "confirmed")):
        cases = [
            case
            for row in rows
            if patients.index(row["patient"]) % 2 == half
            for case in read_cases(root, row)
        ]
        for share in SHARES:
            for least in LEAST:
                result = {
                    "half": name,
                    "share": share,
                    "least_px": least,
                    **measure(cases, share, least),
                }
                results.append(result)
                table.add_row(
                    *[f"{v:.3f}" if isinstance(v, float) else str(v) for v in result.values()]
                )
    Console().print(table)
    Path("bench/results/trimap_margin.json").write_text(json.dumps(results, indent=1) + "\n")


def read_cases(root: Path, row: dict):
    folder = root / "LIDC-IDRI-slices" / row["patient"] / row["nodule"]

    def read(kind):
        return cv2.imread(str(folder / kind / row["largest_slice"]), cv2.IMREAD_UNCHANGED)

    image = read("images").astype(np.float32) / 255
    masks = np.stack([read(f"mask-{k}") > 0 for k in range(4)])
    truth = consensus(masks)
    y, x = np.nonzero(masks.any(axis=0))
    box = (slice(max(y.min() - 12, 0), y.max() + 13), slice(max(x.min() - 12, 0), x.max() + 13))
    # One reader a nodule, a different one for each, keeps it short and the readers even.
    speakers = [k for k in range(4) if masks[k].any()]
    reader = speakers[sum(map(ord, row["patient"] + row["nodule"])) % len(speakers)]
    yield image[box], masks[reader][box], truth[box]


def measure(cases, share: float, least: float) -> dict:
    figures = []
    for image, mask, truth in cases:
        margin = max(share * inscribed_diameter(mask), least)
        trimap = trimap_from_mask(mask, erosion=margin, dilation=margin)
        sure = trimap == FOREGROUND
        alpha, _ = closed_form_matting(image, trimap)
        figures.append(
            (
                100 * (sure & ~truth).sum() / sure.sum(),
                100 * (truth & (trimap == BACKGROUND)).sum() / truth.sum(),
                (trimap == UNKNOWN).sum() / mask.sum(),
                100.0 * (inscribed_diameter(mask) <= 2 * margin),
                dice(alpha >= 0.5, truth),
                dice(mask, truth),
            )
        )
    names = (
        "wrong_lesion",
        "wrong_background",
        "unknown_share",
        "empty_core",
        "dice",
        "reader_dice",
    )
    return dict(zip(names, np.mean(figures, axis=0).tolist(), strict=True))


def dice(a, b) -> float:
    return 2.0 * (a & b).sum() / (a.sum() + b.sum())


if __name__ == "__main__":
    main()
