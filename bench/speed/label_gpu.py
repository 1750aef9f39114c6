"""Labels on a GPU beside the CPU's: `python -m bench.speed.label --device cuda`.

Crops a second of trimaps (strategy 1, default margins), matting, cuts and whole labels from RECIST
marks, at several sizes and batches, against the compiled CPU path on all cores of the same machine
and on one, and against SciPy's distance transforms and PyMatting on one core. Crops are those of
`bench.speed.label`, repeated to fill a batch.

Parity first, on every distinct crop: trimaps equal to the bit, alpha within 1e-3 of the CPU's, the
same binary masks. Without it there is no ratio. Trimaps, matting and cuts (with their trimaps; the
CPU's by the stages' own clocks, shared out over its cores) are timed on the device alone, between
events, their arrays being there; whole labels by the clock, from images in host memory to labels.
`limits` tells how many crops a second each stage of the whole could do by itself: the least is what
limits it. `of_copy` is the share of a device-to-device copy's bandwidth, measured in the same run,
that reading every input once and writing every output once would need; `of_shared` and
`of_float64` are matting's shares of what shared memory and the float64 units did at best in two
loops of the same run (`bench.speed.ceilings`, where there is nvcc), by counting
(`bench.speed.matting_work`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.common.cases import Case, all_cases
from bench.common.machine import machine, machine_line
from bench.common.stock import scipy_trimap, stock_matting
from bench.speed.ceilings import device_ceilings
from bench.speed.matting_work import work_of

SIZES = (64, 128, 256)
BATCHES = (1, 8, 64, 512, 4096, 65536)
MOST_PIXELS = 1 << 28  # of a batch: 65536 crops of 64x64
MOST_CUT_PIXELS = 1 << 26  # of a batch of cuts, which page-locked memory holds besides
CPU_PIXELS = 1 << 22  # of the batch that the CPU's rate is taken from
PEER_CROPS = 6
CEILINGS = ("of_copy", "of_shared", "of_float64")
COLUMNS = (
    *("what", "pixels", "batch", "crops/s", "all cores", "ratio"),
    *(of.replace("_", " ") for of in CEILINGS),
    "parity",
)
# Bytes a pixel that must go through device memory.
BYTES = {"trimap": 2, "matting": 4 + 1 + 4}


def main(options: argparse.Namespace) -> None:
    """Measure on a CUDA device, tell and write JSON; exits with a line where there is none."""
    from dsnet.labeling.gpu.engine import device_index

    try:
        index = device_index(options.device)
    except (RuntimeError, ValueError) as error:
        sys.exit(f"bench.speed.label: {error}")
    console = Console(width=132)
    begin, done = time.monotonic(), {"machine": {**machine(), **about(index)}, "rows": []}
    console.print(machine_line(done["machine"]), highlight=False)
    bandwidth = copy_bandwidth(options.device)
    done["copy_gb_per_second"] = bandwidth / 1e9
    console.print(f"device-to-device copy: {bandwidth / 1e9:.0f} GB/s", highlight=False)
    done["ceilings"] = ceilings = device_ceilings(index)
    console.print(told_ceilings(ceilings), highlight=False)
    table = Table(title="crops a second", title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("what", "parity") else "right")
    for size in [s for s in options.sizes if s in SIZES]:
        cases = all_cases(size, options.cases or 24, console.print, options.mix)
        for row in measure(cases, options.device, BATCHES):
            if "share_of" in row:
                floor = row["crops_per_second"] * size * size * BYTES[row.pop("share_of")]
                row["of_copy"] = floor / bandwidth
            row.update(shares_of(ceilings, row["crops_per_second"], row.pop("work", None)))
            done["rows"].append(row)
            table.add_row(*cells(row))
            if options.seconds is not None and time.monotonic() - begin > options.seconds:
                break
        else:
            continue
        console.print(f"after {options.seconds} s the rest was left out", highlight=False)
        break
    console.print(table)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(done, indent=1) + "\n")


def about(index: int) -> dict:
    import torch

    found = torch.cuda.get_device_properties(index)
    return {"gpu": found.name, "multiprocessors": found.multi_processor_count}


def told_ceilings(ceilings: dict[str, float] | None) -> str:
    if ceilings is None:
        return "shared memory, float64: not measured, there is no nvcc"
    shared, float64 = (ceilings[f"{name}_per_second"] for name in ("shared_bytes", "multiply_adds"))
    return (
        f"shared memory: {shared / 1e12:.1f} TB/s, float64: {float64 / 1e12:.1f} T multiply-adds/s"
    )


def shares_of(
    ceilings: dict[str, float] | None, rate: float, work: tuple[float, float] | None
) -> dict[str, float]:
    """Shares of the ceilings at so many crops a second; none without ceilings or counted work."""
    if ceilings is None or work is None:
        return {}
    moved, computed = work
    return {
        "of_shared": rate * moved / ceilings["shared_bytes_per_second"],
        "of_float64": rate * computed / ceilings["multiply_adds_per_second"],
    }


def measure(cases: list[Case], device: str, batches: tuple[int, ...]) -> Iterator[dict]:
    """Yield a row for each part and batch; `device` may be "cpu" to see that it runs."""
    import torch

    from dsnet import _C
    from dsnet.labeling import closed_form_matting, label_batch
    from dsnet.labeling.gpu.engine import CudaEngine, device_index
    from dsnet.labeling.matting.closed_form import DEFAULT_RTOL
    from dsnet.torch_ops import trimap_from_mask

    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    size = len(cases[0].image)
    batches = tuple(b for b in batches if b * size * size <= MOST_PIXELS)
    images, marks = np.stack([c.image for c in cases]), [c.mark for c in cases]
    labels = label_batch(images, marks)
    masks = np.stack([label.binary for label in labels])
    trimaps = _C.trimap_batch(masks.view(np.uint8), None, None, 1.0, 1.0, threads)
    alphas, _ = _C.matting_batch(images, trimaps, DEFAULT_RTOL, threads)

    def matting(image, trimap):
        if image.device.type == "cpu":
            arrays = (image.numpy(), trimap.numpy())
            return torch.from_numpy(_C.matting_batch(*arrays, DEFAULT_RTOL, threads)[0])
        return closed_form_matting(image, trimap)[0]

    scipy_seconds = per_crop(lambda i: scipy_trimap(masks[i], 2.0), len(cases))
    pymatting_seconds = per_crop(lambda i: stock_matting(images[i], trimaps[i]), len(cases))
    work = {"matting": {"work": work_of(trimaps, iterations_of(images, trimaps, device))}}
    parts = {
        "trimap": (trimap_from_mask, (masks,), trimaps, "SciPy", scipy_seconds),
        "matting": (matting, (images, trimaps), alphas, "PyMatting", pymatting_seconds),
    }
    cpu_count = max(min(CPU_PIXELS // (size * size), max(batches)), 1)
    for name, (function, inputs, expected, peer, peer_seconds) in parts.items():
        on_device = [torch.from_numpy(array).to(device) for array in inputs]
        found = function(*on_device).cpu().numpy()
        parity = parity_of(name, found, expected)
        on_cpu = [torch.from_numpy(filled(array, cpu_count)) for array in inputs]
        cpu_seconds = median_seconds(lambda f=function, a=on_cpu: f(*a), "cpu")
        for batch in batches:
            held = [filled_tensor(array, batch) for array in on_device]
            seconds = median_seconds(lambda f=function, a=held: f(*a), device)
            yield row_of(
                name, size, batch, seconds, cpu_count / cpu_seconds, parity,
                share_of=name, peer=peer, peer_per_second=1 / peer_seconds,
                **work.get(name, {}),
            )  # fmt: skip
            del held
    if device != "cpu":
        engine = CudaEngine(device_index(device))
        most = tuple(b for b in batches if b * size * size <= MOST_CUT_PIXELS)
        yield from measure_cuts(cases, labels, engine, most)
    found = label_batch(images, marks, device=device)
    parity = labels_parity(found, labels)
    cpu = [filled(images, cpu_count), filled_list(marks, cpu_count)]
    every = median_seconds(lambda: label_batch(*cpu), "cpu")
    few = max(cpu_count // threads, 1)
    one = median_seconds(lambda: label_batch(cpu[0][:few], cpu[1][:few], 1), "cpu")
    limits = stage_rates(cases, engine, cpu_count) if device != "cpu" else {}
    for batch in batches:
        block, block_marks = filled(images, batch), filled_list(marks, batch)
        seconds = median_seconds(
            lambda a=block, b=block_marks: label_batch(a, b, device=device), "cpu"
        )
        yield row_of(
            "label", size, batch, seconds, cpu_count / every, parity,
            one_core_per_second=few / one, limits=limits,
        )  # fmt: skip


def iterations_of(images: np.ndarray, trimaps: np.ndarray, device: str) -> np.ndarray:
    """Iterations of each crop's matting, preconditioned by the diagonal as a GPU's is."""
    import torch

    from dsnet.labeling import closed_form_matting

    if device != "cpu":
        arrays = (torch.from_numpy(array).to(device) for array in (images, trimaps))
        return closed_form_matting(*arrays)[1].iterations
    pairs = zip(images, trimaps, strict=True)
    return np.array([closed_form_matting(*pair, solver="jacobi")[1].iterations for pair in pairs])


def measure_cuts(
    cases: list[Case], labels: list, engine, batches: tuple[int, ...], tries: int = 9
) -> Iterator[dict]:
    """Yield a row for each batch of cuts with their trimaps, all that they need being there."""
    from dsnet import _C
    from dsnet.labeling.edge_model import native_network
    from dsnet.labeling.gpu.pipeline import TO_DEVICE, Slot, hold_crops

    threads = os.cpu_count() or 1
    images = np.stack([c.image for c in cases])
    coordinates = np.stack([c.mark.coordinates for c in cases])
    on_cpu = statistics.mean(label.seconds["cut"] + label.seconds["trimap"] for label in labels)
    expected = {
        "masks": np.stack([label.binary for label in labels]),
        "trimaps": np.stack([label.trimap for label in labels]),
    }
    network, slot = native_network(), Slot(engine, engine.stream())
    for batch in batches:
        shape = (batch, *images.shape[1:])
        hold_crops(slot, *shape)
        host = slot.host
        given = (filled(images, batch), filled(coordinates, batch))
        _C.begin_labels(*given, *(host[name] for name in TO_DEVICE), threads)
        for name in TO_DEVICE:
            engine.to_device(slot.memory[name], host[name], slot.stream)
        times = []
        for _ in range(tries + 1):  # the first warms up
            start = engine.mark(slot.stream)
            engine.cut(slot.memory, shape, network, slot.stream)
            end = engine.mark(slot.stream)
            engine.wait(end)
            times.append(engine.seconds_between(start, end))
        unequal = np.zeros(batch, bool)
        for name, wanted in expected.items():
            engine.to_host(host[name], slot.memory[name], slot.stream)
            engine.wait(engine.mark(slot.stream))
            unequal |= (host[name] != filled(wanted, batch)).any(axis=(1, 2))
        parity = (
            not unequal.any(),
            f"{unequal.sum()} crops differ" if unequal.any() else "bit-equal",
        )
        seconds = statistics.median(times[1:])
        yield row_of("cut", shape[1], batch, seconds, threads / on_cpu, parity)


def stage_rates(cases: list[Case], engine, count: int) -> dict[str, float]:
    """Crops a second of each stage of a whole label by itself."""
    from dsnet.labeling.edge_model import native_network
    from dsnet.labeling.gpu.pipeline import MattingSettings, Pipeline
    from dsnet.labeling.matting.closed_form import DEFAULT_RTOL
    from dsnet.labeling.soft_mask import PRIOR_WEIGHT

    images = filled(np.stack([c.image for c in cases]), count)
    coordinates = filled(np.stack([c.mark.coordinates for c in cases]), count)
    pipeline = Pipeline(engine, native_network(), MattingSettings(PRIOR_WEIGHT, DEFAULT_RTOL))
    spent = []
    for _ in range(2):  # the first warms up
        pipeline.run(images, coordinates, os.cpu_count() or 1, chunk=count)
        spent.append(dict(pipeline.stages()))
    return {stage: count / (spent[1][stage] - spent[0][stage]) for stage in spent[1]}


def row_of(what, size, batch, seconds, cpu_rate, parity, **more) -> dict:
    rate = batch / seconds
    return {
        "what": what,
        "pixels": size,
        "batch": batch,
        "crops_per_second": rate,
        "all_cores_per_second": cpu_rate,
        "ratio": rate / cpu_rate if parity[0] else None,
        "parity": parity[1] if parity[0] else f"FAILS: {parity[1]}",
        **more,
    }


def median_seconds(call: Callable, device: str, budget: float = 0.6, least: int = 3) -> float:
    """The median of as many calls as fit into the budget, after one that warms up."""
    call()
    times, begin = [], time.perf_counter()
    while len(times) < least or (time.perf_counter() - begin < budget and len(times) < 200):
        times.append(seconds_of(call, device))
        if time.perf_counter() - begin > 4 * budget:
            break
    return statistics.median(times)


def seconds_of(call: Callable, device: str) -> float:
    if device == "cpu":
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with torch.cuda.device(device):
        start.record()
        call()
        end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def copy_bandwidth(device: str, nbytes: int = 1 << 30) -> float:
    """Bytes read and written a second by a device-to-device copy."""
    import torch

    source = torch.randint(0, 256, (nbytes,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * nbytes / median_seconds(lambda: target.copy_(source), device)


def per_crop(function: Callable[[int], object], count: int) -> float:
    """Seconds a crop of a peer, on one core."""
    chosen = range(0, count, max(count // PEER_CROPS, 1))
    function(0)
    times = []
    for i in chosen:
        start = time.perf_counter()
        try:
            function(i)
        except Exception:  # PyMatting gives up on some: they do not count
            continue
        times.append(time.perf_counter() - start)
    return statistics.median(times) if times else float("inf")


def parity_of(name: str, found: np.ndarray, expected: np.ndarray) -> tuple[bool, str]:
    if name == "trimap":
        unequal = int((found != expected).any(axis=(1, 2)).sum())
        return unequal == 0, "bit-equal" if unequal == 0 else f"{unequal} crops differ"
    error = float(np.abs(found - expected).max())
    return error < 1e-3, f"max {error:.1e}"


def labels_parity(found: list, expected: list) -> tuple[bool, str]:
    error = max(
        float(np.abs(a.alpha - b.alpha).max()) for a, b in zip(found, expected, strict=True)
    )
    same = all(np.array_equal(a.binary, b.binary) for a, b in zip(found, expected, strict=True))
    return error < 1e-3 and same, f"max {error:.1e}, {'same' if same else 'other'} binary masks"


def filled(array: np.ndarray, count: int) -> np.ndarray:
    return array[np.arange(count) % len(array)]


def filled_list(values: list, count: int) -> list:
    return [values[i % len(values)] for i in range(count)]


def filled_tensor(tensor, count: int):
    import torch

    return tensor[torch.arange(count, device=tensor.device) % len(tensor)]


def cells(row: dict) -> list[str]:
    return [
        row["what"],
        f"{row['pixels']}x{row['pixels']}",
        str(row["batch"]),
        f"{row['crops_per_second']:,.0f}",
        f"{row['all_cores_per_second']:,.0f}",
        "" if row["ratio"] is None else f"{row['ratio']:.1f}x",
        *(f"{100 * row[of]:.1f} %" if of in row else "" for of in CEILINGS),
        row["parity"],
    ]
