"""What the fused operations cost the CPU in eager mode: `python -m bench.speed.kernels --host`.

Two cases of each operation, forward and backward with all gradients. An empty batch: checks,
autograd and allocations, without any launch. And a batch of four whose kernels are stand-ins that
count their launches and do nothing: all that Python does for them, without Triton's launcher, the
driver and the GPU. Without CUDA both are measured on CPU tensors that are told to run kernels.

Beside the short way of eager mode (`dsnet_kernels.plans`) is the custom operator, which compilers
see, in the same run and in turns. A time is the least and the median of many calls.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import platform
import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table

from dsnet_kernels import CBAM, SelectiveFusion, cbam, plans, selective_fusion

SHAPE = (64, 64, 64)
BATCHES = (0, 4)
OPERATIONS = ("cbam", "selective_fusion")
WAYS = ("plan", "operator")
PHASES = ("forward", "backward", "both")


class Counter:
    """Stands in a kernel's place; what it returns as compiled counts its launches, too."""

    launches = 0

    def __init__(self, kernel):
        # Triton is not everywhere: without it a kernel is a function.
        function = getattr(kernel, "fn", kernel)
        code = function.__code__
        self.arg_names = code.co_varnames[: code.co_argcount]
        self.src = SimpleNamespace(signature=dict.fromkeys(self.arg_names))

    def __getitem__(self, grid):
        def launch(*args, **options):
            Counter.launches += 1
            return self

        return launch


def main(out: Path, repeats: int) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = torch.cuda.get_device_name() if device == "cuda" else "no GPU"
    machine = f"{platform.machine()} CPU, {where}, torch {torch.__version__}"
    with counting():
        cases = {
            (name, batch): case
            for batch in BATCHES
            for name, case in cases_of(batch, device).items()
        }
        rows = [
            row
            for (name, batch), case in cases.items()
            for row in measured(name, batch, case, repeats)
        ]
    Console(width=120).print(table_of(machine, rows))
    result = {"machine": machine, "what": " ".join(__doc__.split("\n\n", 2)[1].split())}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result | {"repeats": repeats, "rows": rows}, indent=1) + "\n")


@contextlib.contextmanager
def counting():
    """Every tensor runs kernels, and every kernel is a counter of its launches."""
    plans.PLANS.clear()
    with contextlib.ExitStack() as stack:
        for name in OPERATIONS:
            operator = importlib.import_module(f"dsnet_kernels.{name}.op")
            stack.enter_context(mock.patch.object(operator, "runs_kernels", lambda *_: True))
            for part in ("forward", "backward"):
                module = importlib.import_module(f"dsnet_kernels.{name}.{part}")
                for key, value in list(vars(module).items()):
                    if key.endswith("_kernel"):
                        stack.enter_context(mock.patch.object(module, key, Counter(value)))
        yield
    plans.PLANS.clear()


def cases_of(batch: int, device: str) -> dict[str, tuple]:
    """By name: a function, its tensors that need gradients, a gradient of its result."""
    c = SHAPE[0]

    def leaf(*sizes):
        return torch.randn(sizes, device=device).requires_grad_()

    def norm(units):
        running = {"running_mean": torch.zeros(units), "running_var": torch.ones(units)}
        made = {name: value.to(device) for name, value in running.items()}
        return made | {"norm_weight": leaf(units), "norm_bias": leaf(units), "training": True}

    r, d = c // 16, 32
    images = [leaf(batch, *SHAPE) for _ in range(2)]
    gate = [leaf(r, c), leaf(r), leaf(c, r), leaf(c), leaf(1, 2, 7, 7)]
    fusion = [leaf(d, c), None, leaf(c, d), None, leaf(c, d), None]
    folds = {name: leaf(c) for name in ("u_scale", "u_shift", "v_scale", "v_shift")}
    calls = {
        "cbam": (cbam, [images[0], *gate], norm(1)),
        "selective_fusion": (selective_fusion, [*images, *fusion], norm(d) | folds),
        "CBAM module": (CBAM(c).to(device), images[:1], {}),
        "SelectiveFusion module": (SelectiveFusion(c).to(device), images, {}),
    }
    cases = {}
    for name, (function, given, named) in calls.items():
        tensors = [*given, *named.values(), *getattr(function, "parameters", list)()]
        leaves = [t for t in tensors if isinstance(t, torch.Tensor) and t.requires_grad]
        gradient = torch.randn(batch, *SHAPE, device=device)
        cases[name] = (function, given, named, leaves, gradient)
    return cases


def measured(name: str, batch: int, case: tuple, repeats: int) -> list[dict]:
    """A row each way, measured in turns."""
    function, given, named, leaves, gradient = case
    times: dict[str, list] = {way: [] for way in WAYS}
    launches = {}
    for i in range(repeats + 3):
        for way in WAYS:
            with by(way):
                before = Counter.launches
                start = time.perf_counter()
                y = function(*given, **named)
                middle = time.perf_counter()
                torch.autograd.grad(y, leaves, gradient)
                end = time.perf_counter()
                launches[way] = Counter.launches - before
            if i >= 3:
                times[way].append((middle - start, end - middle, end - start))
    return [
        {
            "operation": name, "batch": batch, "way": way, "launches": launches[way],
            "least_us": spans(min, times[way]), "median_us": spans(statistics.median, times[way]),
        }
        for way in WAYS
    ]  # fmt: skip


def by(way: str):
    """A context in which the operations go this way."""
    if way == "plan":
        return contextlib.nullcontext()
    stack = contextlib.ExitStack()
    for name in OPERATIONS:
        operator = importlib.import_module(f"dsnet_kernels.{name}.op")
        stack.enter_context(mock.patch.object(operator, "alone", lambda: False))
    return stack


def spans(reduce, times) -> dict[str, float]:
    return {
        phase: round(1e6 * reduce(column), 1)
        for phase, column in zip(PHASES, zip(*times, strict=True), strict=True)
    }


def table_of(machine: str, rows: list[dict]) -> Table:
    table = Table(title=f"microseconds of CPU, least (median): {machine}", title_justify="left")
    for column in ("operation", "batch", "way", "launches", *PHASES):
        table.add_column(column, justify="left" if column in ("operation", "way") else "right")
    for row in rows:
        table.add_row(
            row["operation"], str(row["batch"]), row["way"], str(row["launches"]),
            *(f"{row['least_us'][phase]:.0f} ({row['median_us'][phase]:.0f})" for phase in PHASES),
        )  # fmt: skip
    return table
