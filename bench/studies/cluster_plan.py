"""How 10^8 marks would go on 10, 100 and 1,000 cores: ``python -m bench.studies.cluster_plan``.

Measured here, on one core: a row of `label recist` from the file to the shard, its bytes read and
written, and what the driver does: making and pickling a row's job, taking a shard in. Assumed: the
storage's bandwidth (``--storage``, GB/s, shared by all), and that a block's time varies by a fifth.
Simulated from these, block by block: workers take the next block when they are free, storage serves
one block after the other at its bandwidth, and the driver takes shards in, in the order of the
jobs, at most so many blocks behind the first that is missing. No cluster was at hand: this is a
plan, not a measurement of one.
"""

from __future__ import annotations

import argparse
import heapq
import pickle
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.common.study import shared_data, write
from dsnet.archive.actors import BLOCKS_AHEAD
from dsnet.archive.blocks import Block
from dsnet.archive.jobs import slice_jobs
from dsnet.archive.ray import BLOCK_ROWS, blocks_of
from dsnet.data.datasets.deeplesion import find_image, read_annotations
from dsnet.data.store import LabelRecord, StoreWriter
from dsnet.data.store.stage import ShardBuilder

MARKS = 10**8
CORES = (10, 100, 1000)
_PARTS = ("cores", "storage", "driver")
SPREAD = 0.2  # of a block's time


def measured(rounds: int) -> dict:
    """Seconds of CPU and bytes of a row, and of a block for the driver, on DeepLesion's PNGs."""
    data = shared_data("deeplesion")
    images = data / "Images_png"
    rows = read_annotations(data / "DL_info.csv", origin=0)
    jobs = tuple(slice_jobs(rows, images)(set()))
    count = sum(len(job.rows) for job in jobs)
    read = sum(find_image(images, job.annotations[0]).stat().st_size for job in jobs)
    row, made_jobs, written = [], [], 0
    for number in range(rounds + 1):
        with tempfile.TemporaryDirectory() as here, StoreWriter(Path(here, "store"), {}) as store:
            start = time.process_time()
            made = Block(jobs, store.recipe).run()
            spent = time.process_time() - start
            for shard in made.shards:
                store.commit(shard)
            start = time.process_time()
            for block in blocks_of(slice_jobs(rows, images)(set()), store.recipe, 1):
                pickle.dumps(block)
            if number:  # the first one loads what the others have
                row.append(spent / count)
                made_jobs.append((time.process_time() - start) / count)
            written = sum(f.stat().st_size for f in Path(here, "store").glob("*.parquet"))
    return {
        "row_s": min(row), "driver_s": taking(rounds) + min(made_jobs) * BLOCK_ROWS,
        "rows": count, "read_bytes": read / count, "written_bytes": written / count,
    }  # fmt: skip


def taking(rounds: int) -> float:
    """Seconds of CPU that the driver needs to take in a shard of `BLOCK_ROWS` rows."""
    found = []
    with tempfile.TemporaryDirectory() as here, StoreWriter(Path(here, "store"), {}) as store:
        for number in range(rounds + 1):
            builder = ShardBuilder(store.recipe)
            for row in range(BLOCK_ROWS):
                builder.take(LabelRecord.from_error(f"{number}-{row}", "slice", "none"))
            shard = builder.stage()
            assert shard is not None
            start = time.process_time()
            store.commit(shard)
            found.append(time.process_time() - start)
    return min(found[1:])


def simulated(cores: int, of: dict, storage: float, blocks: int, seed: int = 0) -> dict:
    """Rows a second of so many cores, and how busy each part is, over some thousand blocks."""
    rng = np.random.default_rng(seed)
    work = of["row_s"] * BLOCK_ROWS * rng.lognormal(-(SPREAD**2) / 2, SPREAD, blocks)
    moving = BLOCK_ROWS * (of["read_bytes"] + of["written_bytes"]) / (storage * 1e9)
    free = [0.0] * cores
    heapq.heapify(free)
    served = driver = 0.0
    ended: list[float] = []
    for number in range(blocks):
        begin = heapq.heappop(free)
        if number >= BLOCKS_AHEAD * cores:
            begin = max(begin, ended[number - BLOCKS_AHEAD * cores])
        served = max(served, begin) + moving
        done = max(begin + work[number], served)
        heapq.heappush(free, done)
        driver = max(driver, done) + of["driver_s"]
        ended.append(driver)
    # Without the filling at the beginning.
    half = blocks // 2
    span = ended[-1] - ended[half]
    rate = BLOCK_ROWS * (blocks - 1 - half) / span
    busy = {
        "cores": rate * of["row_s"] / cores,
        "storage": rate / BLOCK_ROWS * moving,
        "driver": rate / BLOCK_ROWS * of["driver_s"],
    }
    return {
        "rows_per_s": rate, "hours": MARKS / rate / 3600, "busy": busy,
        "limit": max(busy, key=lambda part: busy[part]),
    }  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--out", type=Path, default=Path("bench/results"))
    options.add_argument("--storage", type=float, default=1.25, help="GB/s (1.25: ten gigabit)")
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    of = measured(given.rounds)
    plans = {
        f"{cores} cores, {storage:g} GB/s": simulated(cores, of, storage, 400 * cores)
        for cores in CORES
        for storage in (given.storage, 8 * given.storage)
    }
    lines = [
        "# 10^8 marks on many machines", "",
        "A plan from stages that were measured on one core, by `python -m "
        "bench.studies.cluster_plan`; no cluster was at hand.", "",
        f"A row takes {1e3 * of['row_s']:.2f} ms of a core, {of['read_bytes'] / 1e3:.0f} kB read "
        f"and {of['written_bytes'] / 1e3:.1f} kB written; the driver makes the jobs of "
        f"{BLOCK_ROWS} rows and takes their shard in, which costs {1e3 * of['driver_s']:.1f} ms. "
        f"In all {MARKS * of['row_s'] / 3600:.0f} core hours, "
        f"{MARKS * of['read_bytes'] / 1e12:.1f} TB read, "
        f"{MARKS * of['written_bytes'] / 1e12:.2f} TB written.", "",
        "| | rows/s | hours | cores busy | storage busy | driver busy | what limits |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {p['rows_per_s']:,.0f} | {p['hours']:.1f} | "
            + " | ".join(f"{100 * p['busy'][part]:.0f} %" for part in _PARTS)
            + f" | {p['limit']} |"
            for name, p in plans.items()
        ),
    ]  # fmt: skip
    result = {"measured": of, "block_rows": BLOCK_ROWS, "plans": plans}
    write("cluster_plan", result, "\n".join(lines) + "\n", given.out)


if __name__ == "__main__":
    main()
