"""What a label costs, stage by stage, beside the stock pipeline: `python -m bench.speed.label`.

Stock: OpenCV's grabCut (5 iterations, axes sure lesion, hull probable lesion, margin of
max(3 px, 25 % of the long axis) probable background), OpenCV's erosion and dilation by
8 % of the long axis, PyMatting's `estimate_alpha_cf`. One thread. Cases: phantoms of every kind,
LIDC nodules and DeepLesion lesions; with `--mix filling` phantoms and LIDC nodules that are half as
long as the crop is wide. Every stage gets the same input in the same run; the cases
take turns, and each one's time is the best of the same number of turns. A ratio of medians is
printed only where parity holds:

- cut: our mean Dice against the truth is not below OpenCV's, over the cases that have one;
- trimap of a mask: bit-equal to SciPy's distance transforms, which is then the peer; beside
  OpenCV's ellipses at least 97 % of the pixels are equal;
- matting: alpha within 1e-3 of PyMatting's on the same trimap, both at epsilon 1e-5 (at 1e-7
  the determinants of PyMatting's three equal channels cancel) and PyMatting's conjugate
  gradients tightened to 1e-11 for the check; the time is that of its default 1e-7;
- whole: our soft masks' mean absolute error against the truth is not above the stock's.

The paper's figures for 256x256, 5 ms of trimap and 15 ms of matting on its own machine, stand
beside ours without a ratio. Whole labels are timed on each vector unit that the machine has, too;
all else is on the widest. The exit code is 1 where a 256x256 label's 95th percentile is over 20 ms.
With `--device cuda` it is `bench.speed.label_gpu` that runs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.common.cases import MIXES, Case, all_cases
from bench.common.lidc import dice, read_nodules
from bench.common.machine import machine, machine_line, spread, timed
from bench.common.stock import scipy_trimap, stock_cut, stock_label, stock_matting, stock_trimap
from bench.speed.batch import measure_batches, measure_overhead, show_batches
from bench.speed.units import measure_units, show_units
from dsnet.data.crop import cut_crop
from dsnet.data.store.record import STAGES
from dsnet.labeling import UNKNOWN, closed_form_matting, label_recist, trimap_from_mask
from dsnet.labeling.cut import cut_recist
from dsnet.labeling.quality import score
from dsnet.labeling.trimap import trimap_from_cut

EPSILON = 1e-5
SIZES = (64, 128, 256, 512)
# Cases of each source, and runs of each case of which the best counts.
COUNTS = {64: (24, 3), 128: (24, 3), 256: (16, 2), 512: (6, 2)}
PAPER_MS = {"trimap": 5.0, "matting": 15.0, "whole": 20.0}
COLUMNS = ("stage", "cases", "ours ms", "p95", "peer", "peer ms", "p95", "ratio", "parity")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, choices=SIZES, metavar="PX", help=str(SIZES)
    )
    parser.add_argument(
        "--mix", default="usual", choices=MIXES, help="filling: lesions half as long as the crop"
    )
    parser.add_argument("--cases", type=int, help="of each source and size (default by size)")
    parser.add_argument(
        "--device", default="cpu", help="cpu, or a CUDA device: see bench.speed.label_gpu"
    )
    parser.add_argument("--seconds", type=float, help="with a CUDA device: begin nothing later")
    parser.add_argument(
        "--out",
        type=Path,
        help="default bench/results/label.json, label_filling.json, label_gpu.json",
    )
    options = parser.parse_args()
    name = "label" if options.device == "cpu" else "label_gpu"
    name += ".json" if options.mix == "usual" else f"_{options.mix}.json"
    options.out = options.out or Path("bench/results", name)
    if options.device != "cpu":
        from bench.speed.label_gpu import main as on_gpu

        return on_gpu(options)
    cv2.setNumThreads(1)
    console = Console(width=132)
    here = machine("cv2", "pymatting", "scipy")
    console.print(machine_line(here), highlight=False)
    done = {
        "machine": here,
        "mix": options.mix,
        "lidc_dice": lidc_dice(console),
        "sizes": {},
        "batches": [],
    }
    for size in options.sizes:
        count, runs = COUNTS[size]
        cases = all_cases(size, options.cases or count, console.print, options.mix)
        rows = measure(cases, runs)
        show(console, size, rows)
        labels = label_times(cases, runs)
        show_labels(console, size, labels)
        units = measure_units(cases, runs + 3)
        show_units(console, size, options.mix, units)
        done["sizes"][size] = {"stages": rows, "labels": labels, "units": units}
        done["batches"] += measure_batches(cases)
    done["overhead"] = measure_overhead()
    show_batches(console, done["batches"], done["overhead"])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(done, indent=1) + "\n")
    slowest = done["sizes"].get(256, {}).get("labels", {}).get("whole", {}).get("p95_ms", 0.0)
    if slowest > PAPER_MS["whole"]:
        sys.exit(f"a 256x256 label takes {slowest:.1f} ms (95th percentile), over 20 ms")


def lidc_dice(console: Console) -> dict | None:
    """Mean Dice on all LIDC nodules of our label, our cut and OpenCV's."""
    try:
        nodules = read_nodules()
    except FileNotFoundError as error:
        console.print(f"no LIDC nodules: {error} (set DSNET_SHARED)")
        return None
    masks = {
        "dsnet label": lambda n: label_recist(n.image, n.mark).binary,
        "dsnet cut": lambda n: cut_recist(n.image, n.mark).mask,
        "OpenCV grabCut": lambda n: stock_cut(n.image, n.mark),
    }
    found = {
        name: float(np.mean([dice(mask(n), n.truth) for n in nodules]))
        for name, mask in masks.items()
    }
    told = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
    console.print(f"LIDC, {len(nodules)} nodules, mean Dice: {told}", highlight=False)
    return {**found, "nodules": len(nodules)}


def measure(cases: list[Case], runs: int) -> list[dict]:
    images, marks = [c.image for c in cases], [c.mark for c in cases]
    size = len(images[0])

    def run(function, *inputs):
        return timed(function, *inputs, runs=runs)

    slices = [np.pad(image, size, mode="reflect") for image in images]
    moved = [mark.translated(size, size) for mark in marks]
    rows = [row("crop", run(lambda s, m: cut_crop(s, m, size), slices, moved))]

    ours, stock = run(cut_recist, images, marks), run(stock_cut, images, marks)
    cuts = ours[0]
    told = [i for i, c in enumerate(cases) if c.truth is not None and worked(ours, stock)[i]]
    our_dice = mean_of(dice, [cuts[i].mask for i in told], [cases[i].truth for i in told])
    stock_dice = mean_of(dice, [stock[0][i] for i in told], [cases[i].truth for i in told])
    parity = f"Dice {our_dice:.3f} against {stock_dice:.3f}"
    rows.append(row("cut", ours, "cv2.grabCut", stock, our_dice >= stock_dice, parity))
    rows.append(row("trimap of the cut", run(trimap_from_cut, cuts, marks)))

    masks = [cut.mask if c.truth is None else c.truth for c, cut in zip(cases, cuts, strict=True)]
    radius = [max(1.0, 0.08 * mark.long_diameter) for mark in marks]
    ours = run(lambda m, r: trimap_from_mask(m, erosion=r, dilation=r), masks, radius)
    trimaps = ours[0]
    scipys = run(scipy_trimap, masks, radius)
    # Where a part erodes to nothing ours keeps its middle.
    same = [np.array_equal(a, b) for a, b in zip(trimaps, scipys[0], strict=True)]
    kept = [not same[i] and (trimaps[i] == 255).sum() > (scipys[0][i] == 255).sum() for i in
            range(len(same))]  # fmt: skip
    parity = "bit-equal" if all(same) else f"bit-equal but {sum(kept)} kept cores"
    holds = all(a or b for a, b in zip(same, kept, strict=True))
    rows.append(row("trimap of a mask", ours, "SciPy edt", scipys, holds, parity))
    discs = run(stock_trimap, masks, radius)
    near = mean_of(lambda a, b: np.mean(a == b), trimaps, discs[0])
    parity = f"{100 * near:.2f} % of pixels equal"
    rows.append(row("trimap of a mask", ours, "cv2 erode, dilate", discs, near > 0.97, parity))

    ours = run(lambda i, t: closed_form_matting(i, t, epsilon=EPSILON)[0], images, trimaps)
    stock = run(lambda i, t: stock_matting(i, t, 3 * EPSILON), images, trimaps)
    tight = timed(lambda i, t: stock_matting(i, t, 3 * EPSILON, 1e-11), images, trimaps, runs=1)
    both = worked(ours, stock, tight)
    error = max(np.abs(ours[0][i] - tight[0][i]).max() for i in np.flatnonzero(both))
    unknowns = int(np.median([(t == UNKNOWN).sum() for t in trimaps]))
    parity = f"max {error:.1e}, {unknowns} unknowns"
    rows.append(row("matting", ours, "PyMatting", stock, error < 1e-3, parity))

    labels = run(label_recist, images, marks)
    scored = [
        (i, la.alpha, la.trimap, m) for i, la, m in zip(images, labels[0], marks, strict=True)
    ]
    scores = run(lambda s: score(*s[:3], mark=s[3], cut_worked=True), scored)
    rows.append(row("quality", scores))
    stock = run(stock_label, images, marks)
    told = [i for i, c in enumerate(cases) if c.alpha is not None and worked(labels, stock)[i]]
    our_error, stock_error = (
        1e3 * np.mean([np.abs(alpha - cases[i].alpha).mean() for i, alpha in alphas])
        for alphas in (
            [(i, labels[0][i].alpha) for i in told],
            [(i, stock[0][i]) for i in told],
        )
    )
    parity = f"error {our_error:.2f}e-3 against {stock_error:.2f}e-3"
    rows.append(row("whole", labels, "stock pipeline", stock, our_error <= stock_error, parity))
    return rows


def label_times(cases: list[Case], runs: int) -> dict:
    """Median and 95th percentile of whole labels, of their parts and of each source."""
    labels, seconds = timed(label_recist, [c.image for c in cases], [c.mark for c in cases],
                            runs=runs + 3)  # fmt: skip
    seconds = np.array(seconds)
    parts = {stage: np.array([label.seconds[stage] for label in labels]) for stage in STAGES}
    found = {
        "whole": spread(seconds),
        "trimap": spread(parts["cut"] + parts["trimap"]),
        "matting": spread(parts["matting"]),
    }
    for source in dict.fromkeys(c.source for c in cases):
        chosen = np.array([c.source == source for c in cases])
        found[f"whole, {source}"] = {**spread(seconds[chosen]), "cases": int(chosen.sum())}
    return found


def row(stage, ours, peer="", peer_run=None, parity_holds=True, parity="") -> dict:
    both = worked(ours) if peer_run is None else worked(ours, peer_run)
    failed = len(both) - int(both.sum())
    found = {"stage": stage, "cases": int(both.sum()), **spread(np.array(ours[1])[both])}
    if peer_run is None:
        return {**found, "peer": "", "ratio": None, "parity": "not compared"}
    theirs = spread(np.array(peer_run[1])[both])
    if failed:
        parity += f"; {failed} raised"
    return {
        **found,
        "peer": peer,
        "peer_ms": theirs["median_ms"],
        "peer_p95_ms": theirs["p95_ms"],
        "ratio": theirs["median_ms"] / found["median_ms"] if parity_holds else None,
        "parity": parity if parity_holds else f"FAILS: {parity}",
    }


def worked(*results) -> np.ndarray:
    """Which cases raised nothing."""
    return np.all([[not isinstance(r, Exception) for r in run[0]] for run in results], axis=0)


def mean_of(function, ours, theirs) -> float:
    return float(np.mean([function(a, b) for a, b in zip(ours, theirs, strict=True)]))


def show(console: Console, size: int, rows: list[dict]) -> None:
    table = Table(title=f"{size}x{size}, one core", title_justify="left")
    for column in COLUMNS:
        left = column in ("stage", "peer", "parity")
        table.add_column(column, justify="left" if left else "right")
    for r in rows:
        table.add_row(
            r["stage"],
            str(r["cases"]),
            f"{r['median_ms']:.3f}",
            f"{r['p95_ms']:.3f}",
            r["peer"],
            f"{r['peer_ms']:.3f}" if r["peer"] else "",
            f"{r['peer_p95_ms']:.3f}" if r["peer"] else "",
            f"{r['ratio']:.1f}x" if r["ratio"] else "",
            r["parity"],
        )
    console.print(table)


def show_labels(console: Console, size: int, labels: dict) -> None:
    for name, found in labels.items():
        paper = f"; the paper: {PAPER_MS[name]:.0f} ms" if size == 256 and name in PAPER_MS else ""
        console.print(
            f"  label, {name}: median {found['median_ms']:.3f} ms, "
            f"95th percentile {found['p95_ms']:.3f} ms{paper}",
            highlight=False,
        )


if __name__ == "__main__":
    main()
