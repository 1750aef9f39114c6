"""Erosion, dilation and the trimap's split: `python -m bench.speed.morphology`.

One lesion an image, its diameter 0.4 of the image's width, on images of 64 to 1024 pixels. Peers
get the same mask in the same run, one thread, and a ratio is printed only where the results are
equal to the bit:

- OpenCV's erosion and dilation by its ellipse, against ours by the same ellipse;
- SciPy's distance transforms compared with the radius, against our split by the same disc.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import ndimage

import dsnet
from bench.common.emulation import emulation
from bench.common.machine import processor
from bench.common.stock import scipy_trimap
from dsnet import _C

RADII = {64: (1, 3, 5), 128: (2, 5, 8), 256: (3, 8, 15), 512: (6, 15, 30), 1024: (12, 30, 60)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(RADII), choices=list(RADII))
    parser.add_argument("--out", type=Path, default=Path("bench/results/morphology.json"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    machine = (
        f"{processor()}, one core, OpenCV {cv2.__version__}, Python {platform.python_version()}, "
        f"dsnet {dsnet.__version__}, {_C.build_info()['vector_unit']}"
    )
    table = Table(title=machine, title_justify="left")
    for column in ("what", "pixels", "radius", "ours µs", "peer", "peer µs", "ratio", "parity"):
        left = column in ("what", "peer", "parity")
        table.add_column(column, justify="left" if left else "right")
    rows = []
    for size in options.sizes:
        for row in measure(size):
            rows.append(row)
            table.add_row(
                row["what"],
                f"{size}x{size}",
                str(row["radius"]),
                f"{row['ours_us']:.1f}",
                row["peer"],
                f"{row['peer_us']:.1f}",
                "" if row["ratio"] is None else f"{row['ratio']:.1f}x",
                row["parity"],
            )
    Console(width=120).print(table)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


def measure(size: int):
    mask = lesion(size)
    pixels = mask.astype(np.uint8)
    for radius in RADII[size]:
        element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
        yield compare(
            "erode, dilate: ellipse",
            size,
            radius,
            lambda r=radius: (
                _C.erode(pixels, r, shape="opencv-ellipse"),
                _C.dilate(pixels, r, shape="opencv-ellipse"),
            ),
            "cv2.erode, cv2.dilate",
            lambda e=element: (cv2.erode(pixels, e), cv2.dilate(pixels, e)),
        )
        yield compare(
            "split: disc",
            size,
            radius,
            lambda r=radius: _C.split_trimap(mask, r, r),
            "scipy edt",
            lambda r=radius: scipy_trimap(mask, r),
        )
    yield compare(
        "largest inscribed disc",
        size,
        0,
        lambda: _C.inscribed_diameter(mask),
        "scipy edt",
        lambda: max(2 * ndimage.distance_transform_edt(np.pad(mask, 1)).max() - 1, 0.0),
    )
    core = emulation()
    yield compare(
        "fill holes",
        size,
        0,
        lambda: core.fill_holes(mask),
        "scipy",
        lambda: ndimage.binary_fill_holes(mask),
    )


def lesion(size: int) -> np.ndarray:
    """A lobed disc with a hole and a speck beside it."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    mask = radius < 0.2 + 0.02 * np.sin(5 * angle)
    mask |= np.hypot(x - 0.3, y + 0.3) < 0.03
    return mask & (np.hypot(x + 0.05, y) > 0.03)


def compare(what, size, radius, ours, peer, theirs):
    equal = bool(np.all(np.asarray(ours()) == np.asarray(theirs())))
    ours_us, peer_us = best(ours), best(theirs)
    return {
        "what": what,
        "pixels": size,
        "radius": radius,
        "ours_us": ours_us,
        "peer": peer,
        "peer_us": peer_us,
        "ratio": peer_us / ours_us if equal else None,
        "parity": "bit-equal" if equal else "FAILS: differ",
    }


def best(function, budget: float = 0.2) -> float:
    """Best single call in microseconds, of as many as fit into `budget` seconds (at least 5)."""
    function()
    least, spent, calls = np.inf, 0.0, 0
    while calls < 5 or (spent < budget and calls < 5000):
        start = time.perf_counter()
        function()
        seconds = time.perf_counter() - start
        least, spent, calls = min(least, seconds), spent + seconds, calls + 1
    return 1e6 * least


if __name__ == "__main__":
    main()
