"""The kernel bench: parity on the CPU, no ratio without it, and its clock."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
# Not through sys.path: the root would put its source folder `dsnet` before the installed one.
spec = importlib.util.spec_from_file_location(
    "bench_kernels", ROOT / "bench" / "speed" / "kernels.py"
)
bench = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = bench
spec.loader.exec_module(bench)

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without CUDA")


def run(*options):
    return subprocess.run(
        [sys.executable, "-m", "bench.speed.kernels", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@NO_GPU
def test_without_cuda_it_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.speed.kernels"])
    bench.main()
    assert capsys.readouterr().out == (
        "bench.speed.kernels: not measured, no CUDA device; --small checks parity on the CPU\n"
    )


@NO_GPU
def test_small_checks_every_operation():
    # The kernels run interpreted: one sample, and the layout with fewer programs.
    done = run("--small", "--batches", "1", "--dtypes", "fp32", "--layouts", "nhwc")
    assert done.returncode == 0, done.stdout + done.stderr
    for operation in bench.OPERATIONS:
        assert done.stdout.count(f"{operation} ") >= len(bench.SMALL_SHAPES)


def test_host_counts_launches_and_times_both_ways(tmp_path):
    out = tmp_path / "host.json"
    done = run("--host", "--repeats", "2", "--out", str(out))
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    launches = {(row["operation"], row["batch"], row["way"]): row["launches"] for row in rows}
    for way in ("plan", "operator"):
        names = "cbam", "CBAM module", "selective_fusion", "SelectiveFusion module"
        assert [launches[name, 0, way] for name in names] == [0] * 4
        # One more joins the sums of the prologues.
        assert [launches[name, 4, way] for name in names] == [15, 15, 12, 11]
    for row in rows:
        least, median = row["least_us"], row["median_us"]
        assert 0 < max(least["forward"], least["backward"]) < least["both"] <= median["both"]
        assert all(least[phase] <= median[phase] for phase in least)


@pytest.mark.parametrize("name", bench.OPERATIONS)
def test_a_wrong_operation_fails_parity(name):
    operation = bench.OPERATIONS[name]
    wrong = operation._replace(fused=lambda **given: 1.001 * operation.fused(**given))
    layout = torch.contiguous_format
    inputs, gradient = bench.inputs_of(operation, (2, 32, 6, 7), torch.float32, layout, "cpu", 0)
    error, limit, _ = bench.parity(operation, inputs, gradient, torch.float32)
    assert error <= limit
    error, limit, _ = bench.parity(wrong, inputs, gradient, torch.float32)
    assert limit < 1e-4 < error


def test_a_tie_that_goes_the_other_way_is_left_out():
    want = torch.ones(1_000_000, dtype=torch.float64)
    got = want.clone()
    got[7] = 5
    assert bench.relative_rms(got, want) == 0
    got[:3] = 5
    assert bench.relative_rms(got, want) > 1e-3


@pytest.mark.parametrize("holds", [True, False])
def test_ratios_need_parity(holds):
    operation = bench.OPERATIONS["cbam"]
    results = {
        "ours": {"forward": 1.0, "backward": 2.0, "both": 3.0, "peak_mb": 10.0},
        "eager": {"forward": 4.0, "backward": 6.0, "both": 10.0, "peak_mb": 30.0},
    }
    forward, backward, _ = bench.phases(operation, results, 2**20, 1000.0, holds)
    assert forward["ratio"] == {"eager": 4.0 if holds else None}
    assert backward["ratio"] == {"eager": 3.0 if holds else None}
    assert forward["gb_s"] == pytest.approx(4 * 2**20 / 1e6)
    assert forward["share_of_copy"] == pytest.approx(forward["gb_s"] / 1000)


class Clock:
    """Stands in for torch.cuda: a forward takes 3 ms and a backward 5, on a clock of its own."""

    now = 0.0

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = Clock.now

        def elapsed_time(self, end):
            return end.at - self.at

    class Spend(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            Clock.now += 3
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            Clock.now += 5
            return gradient


def test_timed_reads_forward_and_backward_apart(monkeypatch):
    for name, value in {
        "Event": Clock.Event,
        "synchronize": lambda: None,
        "_sleep": lambda cycles: setattr(Clock, "now", Clock.now + 100),
        "reset_peak_memory_stats": lambda: None,
        "memory_allocated": lambda: 2**20,
        "max_memory_allocated": lambda: 3 * 2**20,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    x = torch.ones(4, requires_grad=True)
    sets = [({"x": x}, torch.ones(4))] * 2
    result = bench.timed(lambda x: Clock.Spend.apply(x), sets)
    assert result == {"peak_mb": 2.0, "forward": 3.0, "backward": 5.0, "both": 8.0}


def test_the_gpu_script_parses_and_needs_a_gpu():
    script = ROOT / "bench" / "gpu.sh"
    subprocess.run(["bash", "-n", script], check=True)
    if not torch.cuda.is_available():
        done = subprocess.run(
            [script], env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin", "OUT": "/dev/null/x"},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 1
        assert "no CUDA device" in done.stdout
