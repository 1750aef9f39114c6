"""Clocks and memory of `bench.speed.train`, on CUDA and on a CPU."""

from __future__ import annotations

import resource
import statistics
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import torch


def median_ms(run, cuda: bool, budget: float = 2.0, warm_up: int = 4) -> float:
    """Median milliseconds of `run(k)`, k counting up, for about `budget` seconds."""
    for k in range(warm_up):
        run(k)
    if cuda:
        torch.cuda.synchronize()
    begun = time.perf_counter()
    run(0)
    if cuda:
        torch.cuda.synchronize()
    runs = max(8, min(60, int(budget / (time.perf_counter() - begun))))
    if not cuda:
        stamps = [time.perf_counter()]
        for k in range(runs):
            run(k)
            stamps.append(time.perf_counter())
        return statistics.median(1e3 * (b - a) for a, b in pairwise(stamps))
    events = [torch.cuda.Event(enable_timing=True) for _ in range(runs + 1)]
    events[0].record()
    for k in range(runs):
        run(k)
        events[k + 1].record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in pairwise(events))


def matmul_tflops(precision: str, device: torch.device) -> float:
    """TFLOP/s of a large matrix product, in TF32 where convolutions of float32 compute so."""
    side = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    ms = median_ms(lambda k: a @ b, device.type == "cuda", budget=0.5)
    torch.backends.cuda.matmul.allow_tf32 = allowed
    return 2 * side**3 / ms / 1e9


def resident_peak_mb() -> float:
    """The most memory that the process had at a time."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def restart_peak() -> None:
    """Let `resident_peak_mb` begin anew, where Linux allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
