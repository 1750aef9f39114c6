"""Recorded alphas of others, and real pictures, for `python -m bench.speed.matting`."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from bench.common.stock import stock_matting
from dsnet.labeling import UNKNOWN, closed_form_matting

# Picture, trimap, and the alpha to compare with: the authors' Matlab output, PyMatting's
# recorded one, and the ground truth of the alpha matting benchmark.
REFERENCES = {
    "Levin's Matlab output": (
        "marcoforte_closed_form/source.png",
        "marcoforte_closed_form/trimap.png",
        "marcoforte_closed_form/matlab_alpha.png",
    ),
    "PyMatting's lemur": (
        "pymatting_lemur/lemur.png",
        "pymatting_lemur/lemur_trimap.png",
        "pymatting_lemur/lemur_alpha.png",
    ),
    "alphamatting GT01, ground truth": (
        "alphamatting/Images/GT01.png",
        "alphamatting/Trimap1/GT01.png",
        "alphamatting/GroundTruth/GT01.png",
    ),
}
GREY_EPSILON = 1e-5


def compare_references(console: Console) -> list[dict] | None:
    """In colour against the recorded alpha; in grey, natively, against the general solver."""
    root = Path(os.environ.get("DSNET_SHARED", "../shared"), "data", "matting")
    if not root.is_dir():
        console.print(f"no reference alphas: {root} (set DSNET_SHARED)")
        return None
    from pymatting import estimate_alpha_cf  # compiles itself for a minute when first imported

    rows = []
    for name, (picture, trimap, recorded) in REFERENCES.items():
        image = cv2.imread(str(root / picture), cv2.IMREAD_COLOR) / 255.0
        trimap = cv2.imread(str(root / trimap), cv2.IMREAD_COLOR)[:, :, 0]
        trimap = np.where(np.isin(trimap, (0, 255)), trimap, UNKNOWN).astype(np.uint8)
        recorded = cv2.imread(str(root / recorded), cv2.IMREAD_COLOR)[:, :, 0] / 255.0
        row = {"name": name, "shape": trimap.shape, "unknowns": int((trimap == UNKNOWN).sum())}
        runs = {
            "colour, ours": lambda i=image, t=trimap: closed_form_matting(i, t)[0],
            "colour, PyMatting": lambda i=image, t=trimap: estimate_alpha_cf(i, t / 255.0),
        }
        for what, run in runs.items():
            alpha, seconds = clocked(run)
            unknown = trimap == UNKNOWN
            error = np.abs(alpha - recorded)
            row[what] = {
                "seconds": seconds,
                "largest": float(error.max()),
                "mean": float(error.mean()),
                "mean_square_of_unknowns": float(np.square(error[unknown]).mean()),
            }
        grey = image.mean(axis=2).astype(np.float32)
        exact = closed_form_matting(grey, trimap, solver="amg", epsilon=GREY_EPSILON)[0]
        runs = {
            "grey, ours": lambda i=grey, t=trimap: closed_form_matting(
                i, t, solver="native", epsilon=GREY_EPSILON
            )[0],
            "grey, PyMatting": lambda i=grey, t=trimap: stock_matting(i, t, 3 * GREY_EPSILON),
        }
        for what, run in runs.items():
            alpha, seconds = clocked(run)
            error = np.abs(alpha - exact)
            row[what] = {
                "seconds": seconds,
                "largest": float(error.max()),
                "mean": float(error.mean()),
            }
        rows.append(row)
        show(console, row)
    return rows


def clocked(run) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    alpha = run()
    return alpha, time.perf_counter() - start


def show(console: Console, row: dict) -> None:
    height, width = row["shape"]
    console.print(f"{row['name']}: {width}x{height}, {row['unknowns']} unknowns", highlight=False)
    for what in ("colour, ours", "colour, PyMatting", "grey, ours", "grey, PyMatting"):
        found = row[what]
        against = "the recorded alpha" if what.startswith("colour") else "the solve to 1e-13"
        text = (
            f"  {what}: {found['seconds']:.3f} s, from {against} at most "
            f"{found['largest']:.1e}, {found['mean']:.1e} on average"
        )
        if "mean_square_of_unknowns" in found:
            text += f", mean square over unknowns {found['mean_square_of_unknowns']:.5f}"
        console.print(text, highlight=False)
