"""Closed-form matting beside PyMatting on the same image: `python -m bench.matting`.

The image is grey, which PyMatting takes as three equal channels; the same problem then has
three times the epsilon. A ratio is printed only where both alphas agree to 1e-4. For that
epsilon is 1e-6 here: at 1e-7 PyMatting's determinant of three equal channels cancels, which
puts its Laplacian off by 1.5e-4 (ours by 2e-15, both against long double). PyMatting solves
to its default relative residual of 1e-7, ours to its own of 1e-13.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np

from dsnet.labeling import closed_form_matting

EPSILON = 1e-6
PARITY = 1e-4
RESULTS = Path(__file__).parent / "results" / "matting.json"


def nodule(size, band, seed=0):
    """A noisy disc of 0.22 times the size, unknown within `band` pixels of its edge."""
    y, x = np.mgrid[:size, :size]
    distance = np.hypot(y - size / 2 + 0.3, x - size / 2) - 0.22 * size
    noise = np.random.default_rng(seed).standard_normal((size, size))
    image = np.clip(0.2 + 0.5 * np.clip(0.5 - distance / 2, 0, 1) + 0.03 * noise, 0, 1)
    return image, np.where(distance < -band, 255, np.where(distance > band, 0, 128)).astype("u1")


def median_milliseconds(call, least=7, budget=1.5):
    """Median time of a call, which runs at least `least` times and for `budget` seconds."""
    call()
    times = []
    start = time.perf_counter()
    while len(times) < least or time.perf_counter() - start < budget:
        before = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - before))
    return statistics.median(times)


def machine():
    import numba
    import pymatting
    import scipy

    model = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    versions = {m.__name__: m.__version__ for m in (np, scipy, numba, pymatting)}
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), **versions}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file to write")
    arguments = parser.parse_args()
    from pymatting import estimate_alpha_cf

    here = machine()
    print(", ".join(f"{key} {value}" for key, value in here.items()))
    print(f"{'size':>4} {'unknown':>7}  {'solver':<18} {'ms':>8} {'PyMatting ms':>12}", end=" ")
    print(f"{'ratio':>7} {'max difference':>14} {'iterations':>10}")
    rows = []
    for size, band in ((64, 2), (64, 4), (256, 8), (256, 20)):
        image, trimap = nodule(size, band)
        stacked = np.dstack([image] * 3)

        def peer(stacked=stacked, shares=trimap / 255.0):
            return estimate_alpha_cf(stacked, shares, laplacian_kwargs={"epsilon": 3 * EPSILON})

        peer_alpha, peer_time = peer(), median_milliseconds(peer)
        for solver in ("auto", "amg", "jacobi", "banded", "direct"):

            def ours(image=image, trimap=trimap, solver=solver):
                return closed_form_matting(image, trimap, solver=solver, epsilon=EPSILON)

            alpha, info = ours()
            difference = float(np.abs(alpha - peer_alpha).max())
            row = {
                "size": size,
                "unknowns": info.unknowns,
                "solver": solver,
                "ran": info.solver,
                "iterations": info.iterations,
                "max_difference": difference,
                "parity": difference <= PARITY,
                "ms": median_milliseconds(ours),
                "pymatting_ms": peer_time,
            }
            row["ratio"] = peer_time / row["ms"] if row["parity"] else None
            rows.append(row)
            name = solver if solver == info.solver else f"{solver} ({info.solver})"
            ratio = f"{row['ratio']:.1f}x" if row["parity"] else "differs"
            print(f"{size:>4} {info.unknowns:>7}  {name:<18} {row['ms']:>8.2f}", end=" ")
            print(f"{peer_time:>12.2f} {ratio:>7}", end=" ")
            print(f"{difference:>14.1e} {info.iterations:>10}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"machine": here, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
