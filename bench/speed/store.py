"""What a row costs the store, and what a large store costs: `python -m bench.speed.store`.

- Writing: CPU of a row from its record to the shard on disk, and of each step, for 64x64 labels.
- Reading one label by its number and by its key, random rows of a store of 64x64 labels.
- Growth: opening, resuming, asking for every key, one after the other and by thousands, summing up
  as the manifest says and by the rows, checking, at 10,000 rows and `--rows`; tiny labels, since
  pixels are no part of it. With the peak of memory of a process that does that alone.

CPU seconds of the process, the best of several; machines of others share their clocks, not that.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from bench.common.machine import machine, machine_line
from dsnet.archive.jobs import phantom_jobs
from dsnet.archive.report import failure_reasons, summary_rows, warnings_of
from dsnet.data.store import LabelRecord, StoreWriter, open_store, validate_store
from dsnet.data.store.stage import Recipe, ShardBuilder
from dsnet.data.store.sums import SUMS

LABELS, READS = 8192, 300
TINY, SHARD_ROWS, FAILED, ASKED = (3, 2), 1024, 100, 4096
STEPS = (
    "open", "resume", "resume_and_ask", "resume_and_ask_many", "sum_up", "sum_up_rows", "check",
)  # fmt: skip


def labels(count: int) -> list[LabelRecord]:
    """64x64 labels of phantoms."""
    return [record for job in phantom_jobs(count, 64)(set()) for record in job.run()]


def key_of(number: int) -> str:
    return f"series-{number // 50:06d}/slice-{number:09d}"


def tiny(number: int) -> LabelRecord:
    """A row with next to no pixels; one of a hundred is a failed one."""
    if number % FAILED == 7:
        return LabelRecord.from_error(key_of(number), "s.png", f"broken {number % 5}")
    alpha = np.full(TINY, number % 2, np.float32)
    return LabelRecord(
        key=key_of(number),
        source="s.png",
        image=alpha,
        alpha=alpha,
        binary=alpha >= 0.5,
        trimap=np.full(TINY, 128, np.uint8),
        quality={"expected_dice": 0.9},
        seconds={"cut": 0.001, "trimap": 0.001, "matting": 0.001},
    )


def cpu(function, runs: int = 3) -> float:
    """CPU seconds of the best of some calls."""
    best = float("inf")
    for _ in range(runs):
        begin = time.process_time()
        function()
        best = min(best, time.process_time() - begin)
    return best


def write(path: Path, records, count: int) -> None:
    with StoreWriter(path, {}, shard_rows=SHARD_ROWS, shard_seconds=1e9) as writer:
        for number in range(count):
            writer.append(records(number))


def writing(folder: Path) -> dict:
    kept = labels(256)

    def record(number: int) -> LabelRecord:
        found = kept[number % len(kept)]
        found.key = key_of(number)
        return found

    places = iter(range(100))
    whole = cpu(lambda: write(folder / f"labels-{next(places)}", record, LABELS))
    builder = ShardBuilder(Recipe(str(folder), 16, b"{}"))

    def taken() -> None:
        for number in range(LABELS):
            builder.append(record(number))
            if len(builder) == SHARD_ROWS:
                builder.clear()

    made = cpu(taken)
    return {"row_us": 1e6 * whole / LABELS, "encode_us": 1e6 * made / LABELS}


def reading(path: Path) -> dict:
    store = open_store(path)
    rows = np.random.default_rng(0).integers(0, LABELS, READS)

    def each(ask) -> float:
        seconds = []
        for number in rows:
            begin = time.process_time()
            ask(int(number))
            seconds.append(time.process_time() - begin)
        return 1e3 * float(np.median(seconds))

    each(store.read)
    return {
        "by_number_ms": each(store.read),
        "by_key_ms": each(lambda number: store.read(key_of(number))),
    }


def peak_mb() -> float:
    """Most memory that this process had, in MB; not that of the one which started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def _grown(path: str, count: int, what: str, sent) -> None:
    begin = time.process_time()
    if what == "open":
        open_store(path)
    elif what == "resume":
        StoreWriter(path, {}, resume=True).close()
    elif what == "resume_and_ask":
        with StoreWriter(path, {}, resume=True) as writer:
            assert all(key_of(number) in writer.done for number in range(count))
    elif what == "resume_and_ask_many":
        with StoreWriter(path, {}, resume=True) as writer:
            for first in range(0, count, ASKED):
                keys = [key_of(number) for number in range(first, min(first + ASKED, count))]
                assert len(writer.done.known(keys)) == len(keys)
    elif what == "check":
        assert validate_store(path) == []
    else:
        store = open_store(path)
        if what == "sum_up_rows":  # As of a store of the versions before.
            for entry in store.manifest["shards"]:
                del entry[SUMS]
        assert summary_rows(store)[0][1] == str(count)
        failure_reasons(store)
        warnings_of(store)
    seconds = time.process_time() - begin
    sent.put((seconds, peak_mb()))


def growth(folder: Path, count: int) -> dict:
    path = folder / f"tiny-{count}"
    begin = time.process_time()
    write(path, tiny, count)
    found: dict = {"rows": count, "write_us": 1e6 * (time.process_time() - begin) / count}
    context = multiprocessing.get_context("spawn")
    for what in STEPS:
        sent = context.SimpleQueue()
        process = context.Process(target=_grown, args=(str(path), count, what, sent))
        process.start()
        process.join()
        found[f"{what}_s"], found[f"{what}_mb"] = sent.get()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000, help="of the largest store")
    parser.add_argument("--out", default="bench/results/store.json", metavar="JSON")
    options = parser.parse_args()
    found: dict = {"machine": machine("pyarrow")}
    print(machine_line(found["machine"]))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        found["writing"] = writing(folder)
        print(f"a row, 64x64: {found['writing']['row_us']:.0f} us of CPU, of them encoding "
              f"{found['writing']['encode_us']:.0f}")  # fmt: skip
        found["reading"] = reading(folder / "labels-0")
        print(f"one label: {found['reading']['by_number_ms']:.2f} ms by its number, "
              f"{found['reading']['by_key_ms']:.2f} by its key")  # fmt: skip
        found["growth"] = []
        for count in sorted({min(10_000, options.rows), options.rows}):
            found["growth"].append(row := growth(folder, count))
            print(", ".join(f"{name} {value:.3g}" for name, value in row.items()))
    Path(options.out).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
