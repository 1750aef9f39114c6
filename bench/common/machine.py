"""What the benches share: the machine they ran on, and clocks."""

from __future__ import annotations

import importlib
import os
import platform
import time
from pathlib import Path

import numpy as np

import dsnet


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine(*packages: str) -> dict:
    """Processor, cores, vector unit in use, and the versions of what was measured."""
    versions = {name: importlib.import_module(name).__version__ for name in ("numpy", *packages)}
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "vector_unit": dsnet.build_info()["vector_unit"],
        "python": platform.python_version(),
        "dsnet": dsnet.__version__,
        **versions,
    }


def machine_line(here: dict) -> str:
    return f"{here['processor']}, " + ", ".join(
        f"{name} {value}" for name, value in here.items() if name != "processor"
    )


def best_seconds(function, budget: float = 0.3, least: int = 3, most: int = 2000) -> float:
    """The best single call of as many as fit into `budget` seconds, after one that warms up."""
    function()
    best, spent, calls = float("inf"), 0.0, 0
    while calls < least or (spent < budget and calls < most):
        start = time.perf_counter()
        function()
        seconds = time.perf_counter() - start
        best, spent, calls = min(best, seconds), spent + seconds, calls + 1
    return best


def timed(function, *inputs, runs: int = 3) -> tuple[list, list[float]]:
    """Results, and each case's best of `runs` in seconds, after one call that warms up.

    The cases take turns, as in an archive: no call finds the caches full of its own case. A case
    that raised has the error for a result, and infinite seconds.
    """
    cases = list(zip(*inputs, strict=True))
    results, seconds = [None] * len(cases), [float("inf")] * len(cases)
    for run in range(-1, runs):
        for i, case in enumerate(cases[:1] if run < 0 else cases):
            if isinstance(results[i], Exception):
                continue
            start = time.perf_counter()
            try:
                results[i] = function(*case)
            except Exception as error:  # a peer's assertion is a failure to count, not to stop at
                results[i], seconds[i] = error, float("inf")
                continue
            if run >= 0:
                seconds[i] = min(seconds[i], time.perf_counter() - start)
    return results, seconds


def spread(seconds: np.ndarray) -> dict:
    """Median and 95th percentile in ms."""
    milliseconds = 1e3 * seconds
    return {
        "median_ms": float(np.median(milliseconds)),
        "p95_ms": float(np.percentile(milliseconds, 95)),
    }
