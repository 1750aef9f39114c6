"""The fused operations beside eager PyTorch and torch.compile: `python -m bench.speed.kernels`.

Peers get the operation as people write it, step by step in the input's dtype; max-autotune runs
without CUDA graphs, whose copies of the inputs would be charged to it. First parity: the output
and each gradient against the reference in float64, relative RMS at most 1e-5 in float32, 2e-3 in
float16, 1e-2 in bfloat16, or the eager peer's error where that is larger. (Where two values tie to
within rounding, a maximum's gradient may go to the other: the two largest differences in a million
are left out.) No ratio is printed where parity fails.

Times are CUDA events around forward and backward, the median of several runs over several sets of
inputs, of which all together are larger than the L2 cache. The launches are queued behind a pause,
so that the time is the device's and not Python's. GB/s counts the bytes of the passes that the
kernels make over the input (the docstrings of the operations state them), for every peer the
same; the share is that over the bandwidth of a large copy, above 100 % where L2 answers. Without
CUDA there are no times; `--small` checks parity on the CPU. `--host` measures what a call costs the
CPU (`kernels_host`).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from dsnet_kernels import (
    cbam,
    cbam_reference,
    selective_fusion,
    selective_fusion_reference,
)

RESULTS = Path("bench/results")
SHAPES = ((64, 256, 256), (128, 128, 128), (256, 64, 64), (512, 32, 32))
SMALL_SHAPES = ((32, 12, 10), (64, 5, 7))
BATCHES = (4, 16, 1)
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp16": torch.float16}
LAYOUTS = {"nhwc": torch.channels_last, "nchw": torch.contiguous_format}
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
PEERS = ("eager", "compile", "max-autotune")
PHASES = ("forward", "backward", "both")


class Operation(NamedTuple):
    """An operation, its peers, and the passes over x (reads and writes) of its kernels."""

    fused: Callable
    reference: Callable
    eager: Callable
    arguments: Callable
    forward_passes: int
    backward_passes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operations", nargs="+", default=list(OPERATIONS), choices=OPERATIONS)
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--dtypes", nargs="+", default=["bf16", "fp32"], choices=DTYPES)
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS), choices=LAYOUTS)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument(
        "--small", action="store_true", help="small shapes; on the CPU, parity only"
    )
    parser.add_argument(
        "--host", action="store_true", help="what they cost the CPU, launches aside; needs no GPU"
    )
    parser.add_argument("--repeats", type=int, default=400, help="calls that --host times")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--out", type=Path, help="default bench/results/kernels[_host].json")
    options = parser.parse_args()
    if options.host:
        from bench.speed import kernels_host

        kernels_host.main(options.out or RESULTS / "kernels_host.json", options.repeats)
        return
    cuda = torch.cuda.is_available()
    if not cuda and not options.small:
        print("bench.speed.kernels: not measured, no CUDA device; --small checks parity on the CPU")
        return
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    name = torch.cuda.get_device_name() if cuda else f"{platform.machine()} CPU, parity only"
    copy_gbs = copy_bandwidth() if cuda else None
    machine = f"{name}, torch {torch.__version__}"
    if cuda:
        machine += f", copy {copy_gbs:.0f} GB/s"
    deadline = time.monotonic() + options.seconds
    rows, skipped = [], 0
    for case in cases(options):
        if time.monotonic() > deadline:
            skipped += 1
            continue
        rows += measure(*case, options.peers if cuda else [], copy_gbs)
    Console(width=150).print(table_of(machine, rows))
    if skipped:
        print(f"{skipped} cases not measured: {options.seconds:.0f} s were over")
    if not options.small:
        result = {"machine": machine, "copy_gb_s": copy_gbs, "not_measured": skipped, "rows": rows}
        out = options.out or RESULTS / "kernels.json"
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n")
    if not all(row["parity"] for row in rows):
        raise SystemExit("parity FAILS")


def cases(options):
    """Operation, shape, dtype and layout, the most telling first."""
    for batch in options.batches[:1] if options.small else options.batches:
        for dtype in options.dtypes:
            for layout in options.layouts:
                for shape in SMALL_SHAPES if options.small else SHAPES:
                    for operation in options.operations:
                        yield operation, (batch, *shape), dtype, layout


def measure(name, shape, dtype_name, layout, peers, copy_gbs):
    """One row a phase; on the CPU one row, of the parity alone."""
    operation, dtype = OPERATIONS[name], DTYPES[dtype_name]
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def make(seed):
        return inputs_of(operation, shape, dtype, LAYOUTS[layout], device, seed)

    inputs, gradient = make(0)
    error, limit, worst = parity(operation, inputs, gradient, dtype)
    row = {
        "operation": name, "shape": list(shape), "dtype": dtype_name, "layout": layout,
        "parity": error <= limit, "error": error, "limit": limit, "worst": worst,
    }  # fmt: skip
    if device == "cpu":
        return [row | {"phase": "parity"}]
    torch._dynamo.reset()
    functions = {"ours": operation.fused} | {peer: peer_of(operation, peer) for peer in peers}
    size = gradient.numel() * gradient.element_size()
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    sets = [make(seed) for seed in range(max(2, min(64, 1 + 2 * cache // size)))]
    results = {key: timed(function, sets) for key, function in functions.items()}
    return [row | phase for phase in phases(operation, results, size, copy_gbs, row["parity"])]


def phases(operation, results, size, copy_gbs, parity_holds):
    """For each phase: milliseconds, bandwidth, and the peers' time over ours where parity holds."""
    passes = operation.forward_passes, operation.backward_passes
    for phase, count in zip(PHASES, (*passes, sum(passes)), strict=True):
        ms = {key: result[phase] for key, result in results.items()}
        gbs = count * size / ms["ours"] / 1e6
        peers = [key for key in ms if key != "ours"]
        yield {
            "phase": phase,
            "ms": ms,
            "gb_s": gbs,
            "share_of_copy": gbs / copy_gbs,
            "ratio": {key: ms[key] / ms["ours"] if parity_holds else None for key in peers},
            "peak_mb": {key: result["peak_mb"] for key, result in results.items()},
        }


def timed(function, sets) -> dict[str, float]:
    """Median milliseconds of each phase over the sets, and the peak of one run in MB."""

    def once(inputs, gradient, events):
        events[0].record()
        y = function(**inputs)
        events[1].record()
        torch.autograd.grad(y, leaves_of(inputs).values(), gradient)
        events[2].record()

    def events():
        return [torch.cuda.Event(enable_timing=True) for _ in range(3)]

    for _ in range(3):
        once(*sets[0], events())
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    once(*sets[0], events())
    peak = (torch.cuda.max_memory_allocated() - before) / 2**20
    runs = [(sets[i % len(sets)], events()) for i in range(max(25, len(sets)))]
    # Twelve runs a pause: the queue of launches has an end.
    for start in range(0, len(runs), 12):
        torch.cuda.synchronize()
        torch.cuda._sleep(40_000_000)
        for case, stamps in runs[start : start + 12]:
            once(*case, stamps)
    torch.cuda.synchronize()
    spans = {"forward": (0, 1), "backward": (1, 2), "both": (0, 2)}
    return {"peak_mb": peak} | {
        phase: statistics.median(e[a].elapsed_time(e[b]) for _, e in runs)
        for phase, (a, b) in spans.items()
    }


def parity(operation, inputs, gradient, dtype) -> tuple[float, float, str]:
    """The largest error that is above its limit, or else the largest, its limit, and where."""
    wide = {
        key: value.detach().double().requires_grad_(value.requires_grad)
        if isinstance(value, torch.Tensor)
        else value
        for key, value in inputs.items()
    }
    want = results_of(operation.reference, wide, gradient.double())
    ours = results_of(operation.fused, inputs, gradient)
    eager = results_of(operation.eager, inputs, gradient)
    found = []
    for key, value in want.items():
        limit = max(TOLERANCE[dtype], relative_rms(eager[key], value))
        found.append((relative_rms(ours[key], value), limit, key))
    return max(found, key=lambda item: (item[0] > item[1], item[0]))


def results_of(function, inputs, gradient) -> dict[str, torch.Tensor]:
    leaves = leaves_of(inputs)
    y = function(**inputs)
    gradients = torch.autograd.grad(y, leaves.values(), gradient)
    return {"y": y.detach()} | dict(zip(leaves, gradients, strict=True))


def leaves_of(inputs) -> dict[str, torch.Tensor]:
    return {k: v for k, v in inputs.items() if isinstance(v, torch.Tensor) and v.requires_grad}


def relative_rms(got, want) -> float:
    squares = (got.double() - want).square().flatten()
    left_out = 2 * squares.numel() // 1_000_000
    error = squares.sum() - squares.topk(left_out).values.sum()
    return float((error.clamp(min=0) / want.square().sum()).sqrt())


def copy_bandwidth(size: int = 2**28) -> float:
    """GB/s read plus written by a copy of 256 MiB."""
    source, target = torch.empty(2, size, dtype=torch.uint8, device="cuda").unbind()
    times = []
    for _ in range(20):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        target.copy_(source)
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return 2 * size / statistics.median(times) / 1e6


def peer_of(operation, peer):
    if peer == "eager":
        return operation.eager
    mode = {"compile": "default", "max-autotune": "max-autotune-no-cudagraphs"}[peer]
    return torch.compile(operation.eager, mode=mode, fullgraph=True, dynamic=False)


def inputs_of(operation, shape, dtype, layout, device, seed):
    """Leaves of the operation's arguments, and a gradient of its output."""
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*sizes):
        return torch.randn(sizes, generator=generator, device=device)

    def image():
        return normal(*shape).to(dtype).contiguous(memory_format=layout)

    given = operation.arguments(shape, image, lambda *sizes: normal(*sizes).to(dtype))
    for key, value in given.items():
        if isinstance(value, torch.Tensor) and not key.startswith("running"):
            value.requires_grad_()
    return given, image()


def cbam_arguments(shape, image, weight, residual=False):
    c = shape[1]
    r = max(1, c // 16)
    given = {
        "x": image(), "fc1_weight": weight(r, c) / c**0.5, "fc1_bias": weight(r),
        "fc2_weight": weight(c, r) / r**0.5, "fc2_bias": weight(c),
        "conv_weight": weight(1, 2, 7, 7) / 7, "norm_weight": weight(1).abs() + 0.5,
        "norm_bias": weight(1),
    }  # fmt: skip
    return given | ({"residual": image()} if residual else {})


def eager_cbam(
    x, fc1_weight, fc1_bias, fc2_weight, fc2_bias, conv_weight, norm_weight, norm_bias,
    residual=None,
):  # fmt: skip
    def mlp(pooled):
        return F.linear(F.relu(F.linear(pooled, fc1_weight, fc1_bias)), fc2_weight, fc2_bias)

    peak = F.adaptive_max_pool2d(x, 1).flatten(1)
    x = x * torch.sigmoid(mlp(x.mean((2, 3))) + mlp(peak))[:, :, None, None]
    maps = torch.cat([x.max(1, keepdim=True)[0], x.mean(1, keepdim=True)], 1)
    logit = F.conv2d(maps, conv_weight, padding=conv_weight.shape[-1] // 2)
    y = x * torch.sigmoid(F.batch_norm(logit, None, None, norm_weight, norm_bias, True))
    return y if residual is None else F.relu(y + residual)


def selective_fusion_arguments(shape, image, weight, prologue=False):
    c = shape[1]
    d = max(c // 16, 32)
    # Without the batch norm, whose own kernels are small: it needs more than one sample.
    given = {
        "u": image(), "v": image(), "fc_weight": weight(d, c) / c**0.5, "fc_bias": weight(d),
        "a_weight": weight(c, d) / d**0.5, "a_bias": weight(c),
        "b_weight": weight(c, d) / d**0.5, "b_bias": weight(c),
    }  # fmt: skip
    names = ("u_scale", "u_shift", "v_scale", "v_shift") if prologue else ()
    return given | {name: weight(c) for name in names}


def eager_selective_fusion(
    u, v, fc_weight, fc_bias, a_weight, a_bias, b_weight, b_bias, u_scale=None, u_shift=None,
    v_scale=None, v_shift=None,
):  # fmt: skip
    if u_scale is not None:
        u = F.leaky_relu(u * u_scale[:, None, None] + u_shift[:, None, None], 0.01)
        v = F.leaky_relu(v * v_scale[:, None, None] + v_shift[:, None, None], 0.01)
    z = F.relu(F.linear((u + v).mean((2, 3)), fc_weight, fc_bias))
    logits = torch.stack([F.linear(z, a_weight, a_bias), F.linear(z, b_weight, b_bias)])
    a, b = torch.softmax(logits, 0)[..., None, None].unbind()
    return a * u + b * v


OPERATIONS = {
    "cbam": Operation(cbam, cbam_reference, eager_cbam, cbam_arguments, 4, 5),
    "cbam_residual": Operation(
        cbam, cbam_reference, eager_cbam, lambda *a: cbam_arguments(*a, residual=True), 5, 7
    ),
    "selective_fusion": Operation(
        selective_fusion, selective_fusion_reference, eager_selective_fusion,
        selective_fusion_arguments, 5, 6,
    ),
    "fusion_prologue": Operation(
        selective_fusion, selective_fusion_reference, eager_selective_fusion,
        lambda *a: selective_fusion_arguments(*a, prologue=True), 5, 8,
    ),
}  # fmt: skip


def table_of(machine, rows) -> Table:
    table = Table(title=machine, title_justify="left")
    for column in ("operation", "shape", "dtype", "layout", "phase", "ms", "GB/s", "of copy",
                   *(f"x {peer}" for peer in PEERS), "peak MB", "parity"):  # fmt: skip
        table.add_column(column, justify="left" if column in ("operation", "phase") else "right")
    for row in rows:
        ms, ratio, peak = (row.get(key, {}) for key in ("ms", "ratio", "peak_mb"))
        shares = [f"{row['gb_s']:.0f}", f"{row['share_of_copy']:.0%}"] if ms else ["", ""]
        table.add_row(
            row["operation"], "x".join(map(str, row["shape"])), row["dtype"], row["layout"],
            row["phase"], f"{ms['ours']:.3f}" if ms else "", *shares,
            *(f"{ratio[peer]:.2f}" if ratio.get(peer) else "" for peer in PEERS),
            " / ".join(f"{value:.0f}" for value in peak.values()),
            f"{'' if row['parity'] else 'FAILS '}{row['error']:.1e} {row['worst']}",
        )  # fmt: skip
    return table


if __name__ == "__main__":
    main()
