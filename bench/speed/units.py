"""Whole labels on every vector unit that the machine has."""

from __future__ import annotations

import time

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.common.cases import Case
from bench.common.machine import spread
from dsnet import _C
from dsnet.data.store.record import STAGES
from dsnet.labeling import label_recist

# What most machines have comes first.
ORDER = ("avx2", "avx512", "baseline")
# The call, its stages, and what lies between and after them.
PARTS = ("whole", *STAGES, "rest")


def measure_units(cases: list[Case], runs: int) -> dict[str, dict]:
    """Medians and 95th percentiles over the cases of each one's best run, in ms, by vector unit.

    By `PARTS` of a label. The units take turns within a run, so that what else the machine does
    strikes them alike; a case that raises is left out of all. The unit in use is used again
    afterwards.
    """
    units = [unit for unit in ORDER if unit in _C.vector_units()]
    used = _C.build_info()["vector_unit"]
    best = {unit: np.full((len(cases), len(PARTS)), np.inf) for unit in units}
    try:
        for run in range(-1, runs):
            for unit in units:
                _C.use_vector_unit(unit)
                for i, case in enumerate(cases[:1] if run < 0 else cases):
                    found = _seconds(case)
                    if run >= 0 and found is not None:
                        best[unit][i] = np.minimum(best[unit][i], found)
    finally:
        _C.use_vector_unit(used)
    told = np.isfinite(best[units[0]]).all(1)
    return {
        unit: {
            "cases": int(told.sum()),
            **{part: spread(column) for part, column in zip(PARTS, found[told].T, strict=True)},
        }
        for unit, found in best.items()
    }


def _seconds(case: Case) -> list[float] | None:
    start = time.perf_counter()
    try:
        label = label_recist(case.image, case.mark)
    except ValueError:
        return None
    whole = time.perf_counter() - start
    stages = [label.seconds[stage] for stage in STAGES]
    return [whole, *stages, whole - sum(stages)]


def show_units(console: Console, size: int, mix: str, units: dict[str, dict]) -> None:
    table = Table(
        title=f"{size}x{size}, whole labels, {mix} mix, median ms (95th percentile)",
        title_justify="left",
    )
    table.add_column("vector unit")
    table.add_column("cases", justify="right")
    for part in PARTS:
        table.add_column(part, justify="right")
    for unit, found in units.items():
        cells = [f"{found[p]['median_ms']:.3f} ({found[p]['p95_ms']:.3f})" for p in PARTS]
        table.add_row(unit, str(found["cases"]), *cells)
    console.print(table)
