"""The GPU's label bench, with the CPU in its place: that it runs, and that parity decides."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dsnet.labeling import label_batch
from host_engine import HostEngine, has_device


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1]))
    yield importlib.import_module("bench.speed.label_gpu")
    for name in [name for name in sys.modules if name.partition(".")[0] == "bench"]:
        del sys.modules[name]


def test_it_measures_every_part(bench, monkeypatch):
    monkeypatch.setattr(bench, "CPU_PIXELS", 4 * 20 * 20)
    monkeypatch.setattr(bench, "per_crop", lambda function, count: 1.0)  # the peers compile long
    medians = bench.median_seconds
    monkeypatch.setattr(bench, "median_seconds", lambda *a: medians(*a, budget=0.0, least=1))
    cases = importlib.import_module("bench.common.cases").phantoms(20, 3)
    rows = list(bench.measure(cases, "cpu", (1, 4)))
    assert [(row["what"], row["batch"]) for row in rows] == [
        (what, batch) for what in ("trimap", "matting", "label") for batch in (1, 4)
    ]
    assert all(row["ratio"] > 0 and row["crops_per_second"] > 0 for row in rows)
    assert all(len(bench.cells(row)) == len(bench.COLUMNS) for row in rows)


def test_cuts_are_measured_and_compared(bench):
    cases = importlib.import_module("bench.common.cases").phantoms(24, 3)
    labels = label_batch(np.stack([c.image for c in cases]), [c.mark for c in cases])
    rows = list(bench.measure_cuts(cases, labels, HostEngine(), (1, 4), tries=1))
    assert [(row["batch"], row["parity"]) for row in rows] == [(1, "bit-equal"), (4, "bit-equal")]
    assert all(row["ratio"] > 0 for row in rows)
    labels[1].trimap[3, 3] = 255
    (row,) = bench.measure_cuts(cases, labels, HostEngine(), (5,), tries=1)
    assert row["parity"] == "FAILS: 2 crops differ" and row["ratio"] is None


def test_no_ratio_without_parity(bench):
    zeros, ones = np.zeros((2, 4, 4)), np.ones((2, 4, 4))
    assert bench.parity_of("matting", zeros, ones) == (False, "max 1.0e+00")
    assert bench.parity_of("trimap", zeros, ones) == (False, "2 crops differ")
    row = bench.row_of("matting", 4, 2, 1.0, 1.0, bench.parity_of("matting", zeros, ones))
    assert row["ratio"] is None and row["parity"] == "FAILS: max 1.0e+00"


def test_what_matting_moves_is_counted(bench):
    work = importlib.import_module("bench.speed.matting_work")
    unknown = np.zeros((12, 9), bool)
    assert work.strips_of(unknown) == (0, 0)
    unknown[5, 4] = True  # strips from row 3 on: windows in rows 4 to 6
    assert work.strips_of(unknown) == (3, 1)
    unknown[7] = True  # rows 7 to 10; no window has its centre on the border
    assert work.strips_of(unknown) == (14, 10)
    image = np.random.default_rng(0).random((1, 12, 9), dtype=np.float32)
    trimap = np.zeros((1, 12, 9), np.uint8)
    (iterations,) = bench.iterations_of(image, trimap, "cpu")
    assert iterations == 0 and work.work_of(trimap, [iterations]) == (0, 0)
    trimap[0, 4:8, 3:6], trimap[0, 5, 4] = 128, 255
    (iterations,) = bench.iterations_of(image, trimap, "cpu")
    assert iterations > 1
    strips = work.strips_of(trimap[0] == 128)
    assert work.work_of(trimap, [iterations]) == (
        iterations * (strips[0] * 280 + strips[1] * 496),
        iterations * max(strips) * 174,
    )


def test_stages_are_told(bench):
    from dsnet.labeling.gpu.pipeline import STAGES

    cases = importlib.import_module("bench.common.cases").phantoms(20, 3)
    rates = bench.stage_rates(cases, HostEngine(), 5)
    assert tuple(rates) == STAGES and all(0 < rate < np.inf for rate in rates.values())


def test_ceilings_are_compiled_and_shared_out(bench, tmp_path):
    ceilings = importlib.import_module("bench.speed.ceilings")
    found = {"shared_bytes_per_second": 1e13, "multiply_adds_per_second": 1e12}
    shares = bench.shares_of(found, 1e6, (2e6, 5e5))
    assert shares == pytest.approx({"of_shared": 0.2, "of_float64": 0.5})
    assert bench.shares_of(None, 1e6, (2e6, 5e5)) == bench.shares_of(found, 1e6, None) == {}
    assert bench.told_ceilings(found).startswith("shared memory: 10.0 TB/s, float64: 1.0 T")
    assert "no nvcc" in bench.told_ceilings(None)
    if shutil.which("nvcc") is None:
        assert ceilings.device_ceilings(0) is None
        pytest.skip("the rest needs nvcc")
    program = ceilings.compiled(tmp_path, "sm_90")
    if not has_device():
        done = subprocess.run([program, "0"], capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.strip() and not done.stdout
        with pytest.raises(RuntimeError, match=r"cuda:0 could not be measured: \w"):
            ceilings.device_ceilings(0)
