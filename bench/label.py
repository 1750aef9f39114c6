"""What a label costs, stage by stage, beside the stock pipeline: `python -m bench.label`.

Stock: OpenCV's grabCut (5 iterations, axes sure lesion, hull probable lesion, margin of
max(3 px, 25 % of the long axis) probable background), OpenCV's erosion and dilation by
8 % of the long axis, PyMatting's `estimate_alpha_cf`. One thread. Every stage gets the same
input in the same run; a ratio is printed only where parity holds:

- cut: our mean Dice against the phantoms' truth is not below OpenCV's;
- trimap: bit-equal to SciPy's distance transforms, which is then the peer;
- matting: alpha within 1e-3 of PyMatting's on the same trimap, both at epsilon 1e-5 (at 1e-7
  the determinants of PyMatting's three equal channels cancel) and PyMatting's conjugate
  gradients tightened to 1e-11 for the check; the time is that of its default 1e-7;
- whole: our soft masks' mean absolute error against the truth is not above the stock's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

import dsnet
from bench.lidc import dice
from bench.stock import scipy_trimap, stock_cut, stock_label, stock_matting, stock_trimap
from dsnet.data.crop import cut_crop
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import (
    UNKNOWN,
    closed_form_matting,
    label_recist,
    trimap_from_mask,
)
from dsnet.labeling.grabcut import cut_recist

EPSILON = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256], metavar="PX")
    parser.add_argument("--cases", type=int, default=24, help="phantoms a size (default 24)")
    parser.add_argument("--out", type=Path, default=Path("bench/results/label.json"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    machine = (
        f"{processor()}, one core, Python {platform.python_version()}, dsnet {dsnet.__version__}"
    )
    table = Table(title=machine, title_justify="left")
    for column in ("stage", "pixels", "ours ms", "p95", "peer", "peer ms", "ratio", "parity"):
        table.add_column(
            column, justify="left" if column in ("stage", "peer", "parity") else "right"
        )
    rows = []
    for size in options.sizes:
        for row in measure(size, options.cases):
            rows.append(row)
            table.add_row(
                row["stage"],
                f"{size}x{size}",
                f"{row['ours_ms']:.3f}",
                f"{row['ours_p95_ms']:.3f}",
                row["peer"],
                "" if row["peer_ms"] is None else f"{row['peer_ms']:.3f}",
                "" if row["ratio"] is None else f"{row['ratio']:.2f}x",
                row["parity"],
            )
    Console(width=120).print(table)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


def measure(size: int, cases: int):
    # A 256 pixel image holds a nodule of the same share of its width as a 64 pixel crop.
    phantoms = [
        make_phantom(KINDS[i % len(KINDS)], size=size, seed=i, diameter_mm=0.7 * size * share)
        for i, share in enumerate(np.linspace(0.2, 0.5, cases))
    ]
    truths = [p.alpha >= 0.5 for p in phantoms]

    slices = [np.pad(p.image, size, mode="reflect") for p in phantoms]
    ours = timed(lambda s, p: cut_crop(s, p.mark.translated(size, size), size), slices, phantoms)
    yield row("crop", size, ours, "not compared", None, True, "")

    ours = timed(lambda p: cut_recist(p.image, p.mark), phantoms)
    stock = timed(lambda p: stock_cut(p.image, p.mark), phantoms)
    ours_dice = mean_of(dice, [cut.mask for cut in ours[0]], truths)
    stock_dice = mean_of(dice, stock[0], truths)
    parity = f"Dice {ours_dice:.3f} against {stock_dice:.3f}"
    yield row("cut", size, ours, "cv2.grabCut", stock, ours_dice >= stock_dice, parity)

    radius = [max(1.0, 0.08 * p.mark.long_diameter) for p in phantoms]
    ours = timed(lambda m, r: trimap_from_mask(m, erosion=r, dilation=r), truths, radius)
    scipys = timed(scipy_trimap, truths, radius)
    equal = all(np.array_equal(a, b) for a, b in zip(ours[0], scipys[0], strict=True))
    yield row("trimap", size, ours, "scipy edt", scipys, equal, "bit-equal" if equal else "differ")
    discs = timed(stock_trimap, truths, radius)
    near = mean_of(lambda a, b: np.mean(a == b), ours[0], discs[0])
    parity = f"{100 * near:.2f} % of pixels equal"
    yield row("trimap", size, ours, "cv2 erode, dilate", discs, near > 0.99, parity)

    trimaps, images = ours[0], [p.image for p in phantoms]
    ours = timed(lambda i, t: closed_form_matting(i, t, epsilon=EPSILON)[0], images, trimaps)
    pymatting = timed(lambda i, t: stock_matting(i, t, 3 * EPSILON), images, trimaps)
    tight = [stock_matting(i, t, 3 * EPSILON, 1e-11) for i, t in zip(images, trimaps, strict=True)]
    error = max(np.abs(a - b).max() for a, b in zip(ours[0], tight, strict=True))
    unknowns = int(np.median([(t == UNKNOWN).sum() for t in trimaps]))
    parity = f"max {error:.1e}, {unknowns} unknowns"
    yield row("matting", size, ours, "PyMatting", pymatting, error < 1e-3, parity)

    ours = timed(lambda p: label_recist(p.image, p.mark).alpha, phantoms)
    stock = timed(lambda p: stock_label(p.image, p.mark), phantoms)
    alphas = [p.alpha for p in phantoms]
    ours_error, stock_error = (
        1e3 * mean_of(lambda a, b: np.abs(a - b).mean(), run[0], alphas) for run in (ours, stock)
    )
    parity = f"error {ours_error:.2f}e-3 against {stock_error:.2f}e-3"
    yield row("whole", size, ours, "stock pipeline", stock, ours_error <= stock_error, parity)


def row(stage, size, ours, peer, peer_run, parity_holds, parity):
    ours_ms, peer_ms = 1e3 * np.array(ours[1]), None
    if peer_run is not None:
        peer_ms = float(np.median(1e3 * np.array(peer_run[1])))
    median = float(np.median(ours_ms))
    return {
        "stage": stage,
        "pixels": size,
        "ours_ms": median,
        "ours_p95_ms": float(np.percentile(ours_ms, 95)),
        "peer": peer,
        "peer_ms": peer_ms,
        "ratio": peer_ms / median if peer_ms is not None and parity_holds else None,
        "parity": parity if parity_holds else f"FAILS: {parity}",
    }


def timed(function, *inputs):
    """Results, and each case's best of three runs in seconds, after one run that warms up."""
    results, seconds = [], []
    for case in zip(*inputs, strict=True):
        runs = []
        for _ in range(4):
            start = time.perf_counter()
            result = function(*case)
            runs.append(time.perf_counter() - start)
        results.append(result)
        seconds.append(min(runs[1:]))
    return results, seconds


def mean_of(function, ours, theirs) -> float:
    return float(np.mean([function(a, b) for a, b in zip(ours, theirs, strict=True)]))


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
