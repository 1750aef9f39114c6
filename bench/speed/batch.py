"""Labels in batches: throughput of one thread and of all, and what Python adds to each label."""

from __future__ import annotations

import os
import time

import numpy as np
from rich.console import Console

from bench.common.cases import Case
from bench.common.machine import best_seconds
from dsnet import _C
from dsnet.labeling import RecistMark, SoftLabel, label_batch
from dsnet.labeling.edge_model import native_network
from dsnet.labeling.matting.closed_form import DEFAULT_RTOL
from dsnet.labeling.soft_mask import PRIOR_WEIGHT

BATCH = {64: 2048, 128: 512, 256: 128, 512: 48}


def measure_batches(cases: list[Case]) -> list[dict]:
    """Labels a second on one thread and on all cores, where both gave the same bits."""
    size = len(cases[0].image)
    order = [cases[i % len(cases)] for i in range(BATCH[size])]
    images, marks = np.stack([c.image for c in order]), [c.mark for c in order]
    threads = os.cpu_count() or 1
    first, second = label_batch(images, marks, 1), label_batch(images, marks, threads)
    equal = all(a.alpha.tobytes() == b.alpha.tobytes() for a, b in zip(first, second, strict=True))
    one, every = (
        best_seconds(lambda n=n: label_batch(images, marks, n), budget=2.0) for n in (1, threads)
    )
    return [
        {
            "pixels": size,
            "labels": len(order),
            "threads": threads,
            "one_thread_per_second": len(order) / one,
            "all_threads_per_second": len(order) / every,
            "ratio": one / every if equal else None,
        }
    ]


def measure_overhead(count: int = 4000, size: int = 16) -> dict:
    """Microseconds a label, on one thread, that a batch of tiny crops spends where.

    Processor time of the calling thread, which does all the work: waiting for a core is no
    overhead. `python`: what `label_batch` adds to the compiled call on the same block;
    `all_but_stages`: everything but cut, trimap and matting, the scores among it.
    """
    rng = np.random.default_rng(0)
    images = rng.random((count, size, size), dtype=np.float32)
    ends = size * np.array([0.2, 0.5, 0.8, 0.5, 0.5, 0.3, 0.5, 0.7])
    coordinates = ends + rng.uniform(0, 0.5, (count, 8))
    marks = [RecistMark.from_coordinates(c) for c in coordinates]
    ordered = np.array([mark.coordinates for mark in marks])
    network = native_network()

    def compiled():
        return _C.label_batch(images, ordered, network, PRIOR_WEIGHT, DEFAULT_RTOL, 1)

    labels = label_batch(images, marks, 1)
    assert all(isinstance(label, SoftLabel) for label in labels)
    micro = {
        name: 1e6 * least_thread_seconds(call) / count
        for name, call in (
            ("marks", lambda: label_batch(images, marks, 1)),
            ("coordinates", lambda: label_batch(images, coordinates, 1)),
            ("compiled", compiled),
        )
    }
    # Of several runs each label's least: these clocks run while another process has the core.
    runs = [label_batch(images, marks, 1) for _ in range(7)]
    stages = np.min([[sum(label.seconds.values()) for label in run] for run in runs], axis=0).sum()
    return {
        "pixels": size,
        "labels": count,
        "whole_us": micro["marks"],
        "compiled_us": micro["compiled"],
        "python_us": micro["marks"] - micro["compiled"],
        "python_from_coordinates_us": micro["coordinates"] - micro["compiled"],
        "all_but_stages_us": micro["marks"] - 1e6 * stages / count,
    }


def least_thread_seconds(call, runs: int = 9) -> float:
    """Least processor time of this thread for one call."""
    call()
    times = []
    for _ in range(runs):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return min(times)


def show_batches(console: Console, batches: list[dict], overhead: dict) -> None:
    for b in batches:
        ratio = "FAILS: other bits" if b["ratio"] is None else f"{b['ratio']:.2f}x, same bits"
        console.print(
            f"batch of {b['labels']} labels of {b['pixels']}x{b['pixels']}: "
            f"{b['one_thread_per_second']:.0f} a second on one thread, "
            f"{b['all_threads_per_second']:.0f} on {b['threads']}: {ratio}",
            highlight=False,
        )
    console.print(
        f"batch of {overhead['labels']} labels of {overhead['pixels']}x{overhead['pixels']}: "
        f"{overhead['whole_us']:.1f} µs each, of which Python {overhead['python_us']:.1f} µs "
        f"({overhead['python_from_coordinates_us']:.1f} µs from bare coordinates); all but cut, "
        f"trimap and matting {overhead['all_but_stages_us']:.1f} µs",
        highlight=False,
    )
