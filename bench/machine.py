"""What the benches share: the machine they ran on, and clocks."""

from __future__ import annotations

import importlib
import os
import platform
import time
from pathlib import Path

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
    """Results, and each case's best of `runs` in seconds, after one run that warms up.

    A case that raised has the error for a result, and infinite seconds.
    """
    results, seconds = [], []
    for number, case in enumerate(zip(*inputs, strict=True)):
        best, result = float("inf"), None
        for run in range(runs + (number == 0)):
            start = time.perf_counter()
            try:
                result = function(*case)
            except Exception as error:  # a peer's assertion is a failure to count, not to stop at
                result, best = error, float("inf")
                break
            if run or number:
                best = min(best, time.perf_counter() - start)
        results.append(result)
        seconds.append(best)
    return results, seconds
