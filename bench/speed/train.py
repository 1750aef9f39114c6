"""One adversarial step of training, several ways: `python -m bench.speed.train`.

Rows, each a whole step of `dsnet.train` (gather, augment, network, discriminator, optimizers):

- eager          the paper's recipe in eager PyTorch, without the fused operations: the peer, with
                 data on the device and fused Adam like the others
- eager-ours     the same with the fused operations
- compiled       the paper's recipe by `torch.compile`, without them
- compiled-ours  and with them
- compiled-nhwc  and in memory format NHWC
- graphs         and replayed as CUDA graphs; CUDA only
- fast           `--recipe fast --compile`
- fast-plain     the same without the fused operations

Parity comes first. Every row takes one step from the same weights on the same batch, and its
losses and gradients are compared with plain eager float32 (TF32 off) at its batch size. Losses may
differ by 1e-4 in float32 and 2e-2 in bfloat16, relatively, all gradients together by a relative RMS
of 1e-3 and 5e-2, or by twice the error that plain eager makes at that precision, where that is
more. A row without parity gets no ratio. On a CPU the fused operations are plain PyTorch too.

Times are medians of steps back to back after a warm-up, over several batches, between CUDA events
or by `perf_counter`; where Python is slower than the device, the time is Python's. The parts are
timed one by one, forward and backward where the step has it, and so do not add up to the step when
compiled. Peak memory is `max_memory_allocated` above what lay there before, on a CPU the peak
resident set of the process. FLOPs are those of matrix products and convolutions, counted; the
device's peak is a large matrix product in the same run, in bfloat16 or, as cuDNN computes float32,
in TF32. `--count` prints what full width costs and measures nothing.

On a CPU everything is small: width 8, two down-samplings, a teacher of 2 blocks of 16 features,
crops of 32x32, batch 4 in place of 32; what cannot begin in the first two minutes is left out.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console

from bench.common.machine import processor
from bench.speed.train_clock import matmul_tflops, median_ms, resident_peak_mb, restart_peak
from bench.speed.train_parts import SETS, Supply, count, make, parts_of, plain
from bench.speed.train_report import count_table, goal_lines, part_table, row_table
from dsnet.training.dataset import DeviceDataset
from dsnet.training.settings import RECIPES
from dsnet.training.step import AdversarialStep, StepLosses, compiled_graphs


class Row(NamedTuple):
    """How a step is run."""

    recipe: str
    ours: bool
    compile: bool
    cuda_graphs: bool = False
    channels_last: bool = False


ROWS = {
    "eager": Row("paper", ours=False, compile=False),
    "fast": Row("fast", ours=True, compile=True),
    "compiled-ours": Row("paper", ours=True, compile=True),
    "compiled": Row("paper", ours=False, compile=True),
    "compiled-nhwc": Row("paper", ours=True, compile=True, channels_last=True),
    "graphs": Row("paper", ours=True, compile=True, cuda_graphs=True, channels_last=True),
    "fast-plain": Row("fast", ours=False, compile=True),
    "eager-ours": Row("paper", ours=True, compile=False),
}
PARTS_OF = ("eager", "fast", "compiled-ours")
# The most telling first, for where time ends before the list does.
ORDER = (
    ("row", "eager"), ("parts", "eager"), ("row", "fast"), ("row", "compiled-ours"),
    ("row", "compiled"), ("row", "graphs"), ("parts", "fast"), ("row", "fast-plain"),
    ("row", "compiled-nhwc"), ("row", "eager-ours"), ("parts", "compiled-ours"),
)  # fmt: skip
COMPARED = ("total", "dice", "soft", "gan", "discriminator")
# Losses, gradients.
TOLERANCE = {"fp32": (1e-4, 1e-3), "bf16": (2e-2, 5e-2)}
SMALL = {"width": 8, "depth": 2, "teacher_blocks": 2, "teacher_features": 16}
SMALL_SECONDS = 130.0


def main(argv: list[str] | None = None) -> None:
    options = parse(argv)
    console = Console(width=150)
    if options.count:
        costs = {p: count(options.shape, options.batch, options.size, p) for p in TOLERANCE}
        console.print(count_table(costs, options))
        return
    bench = Bench(options)
    console.print(bench.machine, highlight=False)
    deadline = time.monotonic() + options.seconds
    longest = {False: 0.0, True: 0.0}
    for kind, name in ORDER:
        row = ROWS[name]
        if name not in options.rows or (row.cuda_graphs and bench.device.type == "cpu"):
            continue
        begun = time.monotonic()
        if begun + longest[row.compile] > deadline:
            bench.result["not_measured"].append(f"{kind} {name}: time was over")
            continue
        try:
            console.print((bench.row if kind == "row" else bench.parts)(name), highlight=False)
        except torch.OutOfMemoryError:
            bench.result["not_measured"].append(f"{kind} {name}: out of memory")
        torch._dynamo.reset()
        gc.collect()
        longest[row.compile] = max(longest[row.compile], time.monotonic() - begun)
        bench.write()
    rows, parts = bench.result["rows"], bench.result["parts"]
    console.print(row_table(rows))
    if parts:
        console.print(part_table(parts))
    for line in (*bench.result["not_measured"], *goal_lines(bench.result)):
        console.print(line, highlight=False)
    if not all(row["parity"] for row in rows):
        raise SystemExit("parity FAILS")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.speed.train", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--width", type=int, help="channels of the first level (64; CPU 8)")
    parser.add_argument("--size", type=int, help="pixels a side of a crop (64; CPU 32)")
    parser.add_argument("--batch", type=int, help="of the fast recipe (32; CPU 4)")
    parser.add_argument(
        "--rows", nargs="+", default=list(ROWS), choices=ROWS, metavar="ROW", help=" ".join(ROWS)
    )
    parser.add_argument("--seconds", type=float, help="begin nothing after this time (CPU 130)")
    parser.add_argument("--each", type=float, default=2.0, help="seconds a measurement (2)")
    parser.add_argument("--out", type=Path, default=Path("bench/results/train.json"))
    parser.add_argument("--count", action="store_true", help="print full width's costs, and stop")
    options = parser.parse_args(argv)
    for name in ("width", "size", "batch"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} is {value}; at least 1 is needed")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device is cuda, and torch finds no CUDA device")
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    small = options.device == "cpu" and not options.count
    if options.seconds is None:
        options.seconds = SMALL_SECONDS if small else float("inf")
    options.shape = dict(SMALL) if small else {"width": 64}
    if options.width is not None:
        options.shape["width"] = options.width
    options.size = options.size or (32 if small else 64)
    options.batch = options.batch or (4 if small else RECIPES["fast"]["batch"])
    return options


class Bench:
    """What all rows share: device, weights, data, references, and the result so far."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.device = options, torch.device(options.device)
        self.cuda = self.device.type == "cuda"
        self.template = make(options.shape)
        batches = {name: RECIPES[name]["batch"] for name in RECIPES} | {"fast": options.batch}
        self.batches = batches
        most = SETS * max(batches.values())
        self.data = DeviceDataset.phantoms(min(most, 128), options.size, 0, self.device)
        self.exact, self.costs, self.peaks = {}, {}, {}
        name = torch.cuda.get_device_name() if self.cuda else processor()
        tf32 = self.cuda and torch.backends.cudnn.allow_tf32
        threads = "" if self.cuda else f", {torch.get_num_threads()} of {os.cpu_count()} threads"
        shape = ", ".join(f"{key} {value}" for key, value in options.shape.items())
        self.machine = f"{name}{threads}, torch {torch.__version__}; {shape}, {options.size} px"
        self.machine += ", convolutions in TF32" if tf32 else ""
        self.result = {
            "machine": self.machine, "device": self.device.type, "shape": options.shape,
            "size": options.size, "peak_tflop_s": self.peaks, "rows": [], "parts": [],
            "not_measured": [],
        }  # fmt: skip

    def row(self, name: str) -> str:
        """Parity, then the time of a whole step; says both in a line."""
        row, recipe = ROWS[name], RECIPES[ROWS[name].recipe]
        precision, before = recipe["precision"], self._memory(reset=True)
        supply, step = self.supply(row), self.step(row)
        begun = time.perf_counter()
        parity = self._parity(row, step, supply)
        first = time.perf_counter() - begun
        self._memory(reset=True)
        ms = median_ms(lambda k: step.run([supply(k)], recipe["lr"]), self.cuda, self.options.each)
        peak_mb, graphs = self._memory() - (before if self.cuda else 0), compiled_graphs()
        for k in range(SETS):
            step.run([supply(k)], recipe["lr"])
        tflops = self._cost(row)["whole"].flops / ms / 1e9
        found = {
            "row": name, "batch": supply.batch, "precision": precision, **row._asdict(),
            "ms": ms, "images_s": supply.batch / ms * 1e3, "peak_mb": peak_mb,
            "tflop_s": tflops, "of_peak": tflops / self._peak(precision), **parity,
            "first_step_s": first, "recompiles": compiled_graphs() - graphs,
        }  # fmt: skip
        base = next((r for r in self.result["rows"] if r["row"] == "eager"), found)
        holds = parity["parity"] and base["parity"] and base["row"] == "eager"
        found["ratio"] = found["images_s"] / base["images_s"] if holds else None
        self.result["rows"].append(found)
        return f"{name}: {ms:.2f} ms, {found['images_s']:.1f} images/s, first step {first:.0f} s"

    def parts(self, name: str) -> str:
        """The time of each part of a step by itself."""
        row, recipe = ROWS[name], RECIPES[ROWS[name].recipe]
        supply, step = self.supply(row), self.step(row._replace(compile=False, cuda_graphs=False))
        batches = [supply(k) for k in range(SETS)]
        functions = {"data": supply}
        functions |= parts_of(step, batches, recipe["precision"], row.compile)
        costs = self._cost(row)
        for part, function in functions.items():
            ms = median_ms(function, self.cuda, self.options.each)
            flops = costs[part].flops if part in costs else 0
            share = flops / ms / 1e9 / self._peak(recipe["precision"])
            self.result["parts"].append(
                {"row": name, "batch": supply.batch, "part": part, "ms": ms, "gflop": flops / 1e9,
                 "of_peak": share}
            )  # fmt: skip
        return f"{name}: parts timed"

    def write(self) -> None:
        out = self.options.out
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(self.result, indent=1) + "\n")

    def step(self, row: Row, precision: str | None = None) -> AdversarialStep:
        network, judge = copy.deepcopy(self.template)
        if not row.ours:
            plain(network)
        return AdversarialStep(
            network.to(self.device, memory_format=self._memory_format(row)),
            judge.to(self.device, memory_format=self._memory_format(row)),
            precision=precision or RECIPES[row.recipe]["precision"],
            compile=row.compile, cuda_graphs=row.cuda_graphs,
        )  # fmt: skip

    def supply(self, row: Row) -> Supply:
        return Supply(self.data, self.batches[row.recipe], self._memory_format(row))

    def _memory_format(self, row: Row) -> torch.memory_format:
        last = row.channels_last or RECIPES[row.recipe].get("channels_last", False)
        return torch.channels_last if last else torch.contiguous_format

    def _parity(self, row: Row, step: AdversarialStep, supply: Supply) -> dict:
        """Errors of one step's losses and gradients, and their limits."""
        precision = RECIPES[row.recipe]["precision"]
        if row.recipe not in self.exact:
            peer = row._replace(ours=False, compile=False, cuda_graphs=False)
            allowed = torch.backends.cudnn.allow_tf32
            torch.backends.cudnn.allow_tf32 = False
            exact = outcome(self.step(peer, "fp32"), supply)
            torch.backends.cudnn.allow_tf32 = allowed
            own = errors(outcome(self.step(peer), supply), exact)
            limits = [max(t, 2 * e) for t, e in zip(TOLERANCE[precision], own, strict=True)]
            self.exact[row.recipe] = exact, limits
        exact, limits = self.exact[row.recipe]
        found = errors(outcome(step, supply), exact)
        holds = all(e <= limit for e, limit in zip(found, limits, strict=True))
        return {
            "parity": holds, "loss_error": found[0], "gradient_error": found[1],
            "loss_limit": limits[0], "gradient_limit": limits[1],
        }  # fmt: skip

    def _cost(self, row: Row):
        batch = self.batches[row.recipe]
        if batch not in self.costs:
            self.costs[batch] = count(self.options.shape, batch, self.options.size)
        return self.costs[batch]

    def _peak(self, precision: str) -> float:
        if precision not in self.peaks:
            self.peaks[precision] = matmul_tflops(precision, self.device)
        return self.peaks[precision]

    def _memory(self, reset: bool = False) -> float:
        """Peak in MB since the last reset; with `reset`, what is in use now."""
        gc.collect()
        if self.cuda:
            if reset:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            return torch.cuda.max_memory_allocated() / 2**20
        if reset:
            restart_peak()
        return resident_peak_mb()


def outcome(step: AdversarialStep, supply: Supply) -> tuple[list[float], list[torch.Tensor]]:
    """Losses of one step, and the gradients that it left."""
    losses = StepLosses(*(float(value) for value in step.run([supply(0)], 1e-4)))
    parameters = (*step.network.trainable_parameters(), *step.discriminator.parameters())
    return [getattr(losses, name) for name in COMPARED], [p.grad.cpu() for p in parameters]


def errors(got, want) -> tuple[float, float]:
    """The largest relative error of the losses, and the relative RMS of all gradients."""
    losses = max(abs(a - b) / max(abs(b), 1e-2) for a, b in zip(got[0], want[0], strict=True))
    pairs = list(zip(got[1], want[1], strict=True))
    off = sum(float((a.double() - b.double()).square().sum()) for a, b in pairs)
    return losses, (off / sum(float(b.double().square().sum()) for _, b in pairs)) ** 0.5


if __name__ == "__main__":
    main()
