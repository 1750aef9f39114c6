"""The GPU's label bench, with the CPU in its place: that it runs, and that parity decides."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1]))
    yield importlib.import_module("bench.label_gpu")
    for name in [name for name in sys.modules if name.partition(".")[0] == "bench"]:
        del sys.modules[name]


def test_it_measures_every_part(bench, monkeypatch):
    monkeypatch.setattr(bench, "CPU_PIXELS", 4 * 20 * 20)
    monkeypatch.setattr(bench, "per_crop", lambda function, count: 1.0)  # the peers compile long
    medians = bench.median_seconds
    monkeypatch.setattr(bench, "median_seconds", lambda *a: medians(*a, budget=0.0, least=1))
    cases = importlib.import_module("bench.cases").phantoms(20, 3)
    rows = list(bench.measure(cases, "cpu", (1, 4)))
    assert [(row["what"], row["batch"]) for row in rows] == [
        (what, batch) for what in ("trimap", "matting", "label") for batch in (1, 4)
    ]
    assert all(row["ratio"] > 0 and row["crops_per_second"] > 0 for row in rows)
    assert all(len(bench.cells(row)) == len(bench.COLUMNS) for row in rows)


def test_no_ratio_without_parity(bench):
    zeros, ones = np.zeros((2, 4, 4)), np.ones((2, 4, 4))
    assert bench.parity_of("matting", zeros, ones) == (False, "max 1.0e+00")
    assert bench.parity_of("trimap", zeros, ones) == (False, "2 crops differ")
    row = bench.row_of("matting", 4, 2, 1.0, 1.0, bench.parity_of("matting", zeros, ones))
    assert row["ratio"] is None and row["parity"] == "FAILS: max 1.0e+00"
