"""How fast a review's page is, in a browser: `python -m bench.speed.review`.

A headless Chromium goes through labels of phantoms by keys, as a reader does:

- from key to picture: from the key of a verdict to the message after the frame that draws the next
  label; with the next ten at hand, as they are after the second that a reader looks, and as fast as
  keys are taken, where the server's answers are waited for;
- from drag to mask: from a move of a mark's end to the frame that draws its label, and of it the
  round trip to the server and the labelling itself;
- a store of many labels: from the page's first byte to its first picture, and the memory that the
  server holds.

Needs the extra `review`, Playwright for Python and Debian's chromium. No peer re-labels while a
mark is dragged, so no ratio is given.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.common.machine import machine, machine_line, spread
from dsnet.archive import label_archive
from dsnet.archive.jobs import phantom_jobs
from dsnet.data.store import LabelRecord, StoreWriter

TOKEN = "a-token-of-the-bench-123"
READER = "bench"
SIZE = 64
WINDOW = {"width": 1280, "height": 720}
LIMIT = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, default=200, help="gone through (default 200)")
    parser.add_argument("--moves", type=int, default=200, help="of an end (default 200)")
    parser.add_argument(
        "--many", type=int, default=100_000, help="labels of the large store (default 100000)"
    )
    parser.add_argument("--out", type=Path, default=Path("bench/results/review.json"))
    options = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        sys.exit("chromium must be installed")
    from playwright.sync_api import sync_playwright

    console = Console(width=110)
    here = machine("starlette", "uvicorn")
    console.print(machine_line(here), highlight=False)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        here["browser"] = f"Chromium {browser.version}, headless"
        store = Path(folder, "phantoms")
        # Twice over: at a reader's pace, and as fast as keys are taken.
        count = 2 * options.labels + 20
        label_archive(phantom_jobs(count, SIZE, 0), store, settings={"size": SIZE}, workers=1)
        with served(store) as (address, _):
            page = opened(browser, address)
            paced = go_through(page, options.labels, paced=True)
            fast = go_through(page, options.labels, paced=False)
            drags = drag(page, options.moves)
        many = measure_many(browser, Path(folder, "many"), options.many)
        browser.close()
    done = {
        "machine": here,
        "crop": SIZE,
        "key_to_picture": {"labels": options.labels, "at_hand": paced, "as_fast_as_can_be": fast},
        "drag_to_mask": drags,
        "many": many,
    }
    show(console, done)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(done, indent=1) + "\n")


def go_through(page, count: int, *, paced: bool) -> dict:
    """Times from the key to the next picture over `count` verdicts."""
    wait_for(page, "() => dsnetReview.shown !== null")
    begun = page.evaluate("() => dsnetReview.timings.change.length")
    for number in range(count):
        if paced:
            wait_for(page, AT_HAND)
        page.keyboard.press("au"[number % 2])
        wait_for(page, f"() => dsnetReview.timings.change.length > {begun + number}")
        wait_for(page, "() => dsnetReview.shown !== null")
    return milliseconds(page.evaluate(f"() => dsnetReview.timings.change.slice({begun})"))


AT_HAND = """() => dsnetReview.feed.ahead.length === 10
    && dsnetReview.feed.ahead.every((entry) => entry.label)"""


def drag(page, count: int) -> dict:
    """Times of an end that is dragged to and fro, a move each time that the last one is drawn."""
    x, y = page.evaluate("""() => {
        const { view } = dsnetReview;
        const box = view.canvas.getBoundingClientRect();
        const [left, top] = view.toScreen(view.mark.slice(0, 2));
        return [left + box.left, top + box.top];
    }""")
    page.mouse.move(x, y)
    page.mouse.down()
    for number in range(count):
        angle = 2 * np.pi * number / 40
        page.mouse.move(x + 12 * np.sin(angle), y + 12 * np.cos(angle))
        wait_for(page, f"() => dsnetReview.timings.drag.length > {number}")
    page.mouse.up()
    times = page.evaluate("() => dsnetReview.timings.drag")
    names = {"shown": "move_to_frame", "trip": "round_trip", "server": "labelling"}
    return {
        "moves": len(times),
        **{word: milliseconds([time[name] for time in times]) for name, word in names.items()},
    }


def measure_many(browser, store: Path, count: int) -> dict:
    """Opening a store of `count` labels, and the server's memory."""
    with StoreWriter(store, {"crop": 8}, shard_seconds=1e9) as writer:
        for record in tiny_records(count):
            writer.append(record)
    begun = time.perf_counter()
    with served(store) as (address, process):
        started = time.perf_counter() - begun
        openings = []
        for _ in range(5):
            page = opened(browser, address)
            openings.append(page.evaluate("() => dsnetReview.timings.opened"))
            page.close()
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    held = dict(line.split(":", 1) for line in status)
    return {
        "labels": count,
        "server_starts_s": started,
        "page_opens": milliseconds(openings),
        "memory_mb": int(held["VmRSS"].split()[0]) / 1024,
        "memory_peak_mb": int(held["VmHWM"].split()[0]) / 1024,
    }


def tiny_records(count: int):
    """Labels that differ by key and score alone: what the size of a store costs, not of a crop."""
    random = np.random.default_rng(0)
    image = random.random((8, 8), dtype=np.float32)
    alpha = np.zeros((8, 8), np.float32)
    alpha[2:6, 2:6] = 1
    trimap = np.where(alpha > 0, 255, 0).astype(np.uint8)
    for number, score in enumerate(random.random(count)):
        yield LabelRecord(
            key=f"label-{number:07d}",
            source=f"series-{number // 50}/{number % 50:03d}.png",
            image=image,
            alpha=alpha,
            binary=alpha >= 0.5,
            trimap=trimap,
            mark=np.array([2.0, 3, 5, 3, 4, 2, 4, 5]),
            quality={"expected_dice": float(score)},
            metadata={"lesion_type": ("lung", "liver", "bone")[number % 3]},
        )


@contextmanager
def served(store: Path):
    """The address of a store's review, and its process."""
    command = [sys.executable, "-m", "dsnet.review", str(store), "--no-browser", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--token", TOKEN, "--reader", READER], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.terminate()
        process.wait()


def opened(browser, address: str):
    """The page, its first label shown."""
    page = browser.new_page(viewport=WINDOW)
    page.goto(address)
    wait_for(page, "() => window.dsnetReview?.timings.opened > 0")
    return page


def wait_for(page, script: str) -> None:
    end = time.monotonic() + LIMIT
    while not page.evaluate(script):
        if time.monotonic() > end:
            raise TimeoutError(f"never true: {script}")
        time.sleep(0.005)


def milliseconds(times: list[float]) -> dict:
    return spread(np.array(times) / 1e3)


def show(console: Console, done: dict) -> None:
    table = Table("what", "times", "median ms", "p95", title=f"{SIZE}x{SIZE} crops")
    keys, drags, many = done["key_to_picture"], done["drag_to_mask"], done["many"]
    for name, count, row in (
        ("key to picture, next ten at hand", keys["labels"], keys["at_hand"]),
        ("key to picture, keys at once", keys["labels"], keys["as_fast_as_can_be"]),
        ("move of an end to its label's frame", drags["moves"], drags["move_to_frame"]),
        ("of it, round trip", drags["moves"], drags["round_trip"]),
        ("of it, labelling", drags["moves"], drags["labelling"]),
        (f"page of {many['labels']:,} labels opens", 5, many["page_opens"]),
    ):
        table.add_row(name, str(count), f"{row['median_ms']:.1f}", f"{row['p95_ms']:.1f}")
    console.print(table)
    console.print(
        f"{many['labels']:,} labels: the server starts in {many['server_starts_s']:.1f} s and holds"
        f" {many['memory_mb']:.0f} MB ({many['memory_peak_mb']:.0f} MB at most)",
        highlight=False,
    )


if __name__ == "__main__":
    main()
