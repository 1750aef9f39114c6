"""A long run of `label recist` over broken files: `python -m bench.studies.archive_endurance DIR`.

An archive is made in DIR with as many rows as are wanted, 1 % of them broken in every way that
archives are (`bench.common.broken_archive`). Then two runs of the command over it:

- undisturbed: rows a second, memory of the parent and of its processes over time;
- afterwards: opening, resuming and checking the store that was made;
- disturbed: workers and drivers are killed at seeded moments, and the command is given again with
  --resume where it ended; of `--executor nodes`, a Ray cluster of several, nodes are, too.

Of either store each row is looked at: every line of the table once, its status and its reason as
the archive's maker knows them, and the disturbed one's rows equal to the bit (all but times).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import nullcontext
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.common.broken_archive import KINDS, REASONS, Archive, archive_at, write_archive
from bench.common.machine import machine
from bench.common.processes import Family
from bench.common.ray_nodes import nodes
from bench.common.store_account import Account, account_of
from dsnet.data.store import StoreWriter, open_store

QUARTERS = 4
# So often memory is looked at, and not so often that looking takes a share that counts.
LOOK_SECONDS, LOOK_SHARE, LONGEST_PAUSE = 0.5, 0.05, 3.0
POLL_SECONDS = 0.05
# Share of the rows by which the last blow falls. Workers hold some thousand rows, which come at
# once: of a short run the end comes with the second half.
LATEST, LATEST_OF_SHORT, LONG_ROWS = 0.9, 0.4, 50_000


class Blow(NamedTuple):
    """Whom a signal hits, and how.

    Attributes
    ----------
    whom : str
        "driver", "all", "node", or a role of `Family.find`.
    how : int
        Signal.
    starting : bool
        Before the run has its first new row.
    """

    whom: str
    how: int
    starting: bool = False


# Seconds, rows in the store, memory of the command and of its largest child in MB.
Look = tuple[float, int, float, float]

BLOWS = {
    "processes": (
        Blow("worker", signal.SIGKILL), Blow("driver", signal.SIGKILL),
        Blow("worker", signal.SIGTERM), Blow("driver", signal.SIGTERM),
        Blow("server", signal.SIGKILL), Blow("worker", signal.SIGKILL),
        Blow("all", signal.SIGKILL), Blow("driver", signal.SIGKILL, starting=True),
        Blow("worker", signal.SIGTERM), Blow("worker", signal.SIGKILL),
    ),
    "ray": (
        Blow("actor", signal.SIGKILL), Blow("driver", signal.SIGKILL),
        Blow("worker", signal.SIGKILL), Blow("driver", signal.SIGTERM),
        Blow("actor", signal.SIGKILL), Blow("all", signal.SIGKILL),
    ),
    "nodes": (
        Blow("node", signal.SIGKILL), Blow("driver", signal.SIGKILL),
        Blow("node", signal.SIGKILL), Blow("driver", signal.SIGTERM),
    ),
}  # fmt: skip


class Run:
    """The command over an archive, into a store in the same folder."""

    def __init__(self, folder: Path, archive: Archive, name: str, options) -> None:
        self.store = folder / name
        self.log = folder / f"{name}.log"
        self._arguments = [
            sys.executable, "-m", "dsnet.label", "recist", "--annotations", str(archive.table),
            "--images", str(archive.images), "--out", str(self.store),
            "--crop", str(options.crop), "--workers", str(options.workers),
            *(["--ray"] if options.executor == "ray" else []),
            *(["--ray", options.nodes.address] if options.executor == "nodes" else []),
        ]  # fmt: skip
        self._readable, self._cost = False, 0.0
        self.unreadable = 0

    def clear(self) -> None:
        """Forget what an earlier run left."""
        shutil.rmtree(self.store, ignore_errors=True)
        self.log.unlink(missing_ok=True)

    def start(self) -> Family:
        """Begin, or go on with what is there."""
        more = ["--resume"] if self.store.exists() else []
        # Ray's workers are as nice as they can be, by default: processes are not.
        given = {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
        return Family(self._arguments + more, self.log, {**os.environ, **given})

    def rows(self) -> int:
        """How many the store has now; it must be readable whenever it is looked at."""
        begin = time.monotonic()
        try:
            found = len(open_store(self.store))
            self._readable = True
        except (ValueError, OSError):
            self.unreadable += self._readable
            found = 0
        self._cost = time.monotonic() - begin
        return found

    def pause(self, least: float) -> None:
        """Between two looks, so that these are a small share, and not for long."""
        time.sleep(max(least, min(self._cost / LOOK_SHARE, LONGEST_PAUSE)))


def undisturbed(folder: Path, archive: Archive, options) -> tuple[dict, Account]:
    """One run from beginning to end."""
    run = Run(folder, archive, f"undisturbed-{options.executor}", options)
    run.clear()
    begin, family, looks = time.monotonic(), run.start(), []
    while not family.ended:
        looks.append((time.monotonic() - begin, run.rows(), *family.memory_mb()))
        run.pause(LOOK_SECONDS)
    seconds = time.monotonic() - begin
    _require(family.wait() == 0, f"the run must end with 0, see {run.log}")
    found: dict = {"seconds": seconds, "rows_per_s": len(archive.kinds) / seconds}
    found |= memory(looks)
    found["unreadable_while_written"] = run.unreadable
    return found, account_of(run.store, archive)


def afterwards(folder: Path, archive: Archive, options) -> tuple[dict, Account]:
    """What the store of the undisturbed run costs whoever opens it or goes on with it."""
    run = Run(folder, archive, f"undisturbed-{options.executor}", options)
    # It may be an earlier version's, which did not say that it is finished.
    _ended(run.start())
    found: dict = {}
    for what, call in (
        ("open", lambda: open_store(run.store)),
        ("resume_finished", lambda: _ended(run.start())),
        # After another writer nobody knows that it is finished: the table is read.
        ("resume_store", lambda: _resume(run.store)),
        ("resume_with_the_table", lambda: _ended(run.start())),
        ("check", lambda: _ended(_check(run))),
    ):
        found[what] = timed(call)
    sound = f"{len(archive.kinds)} rows, all checksums right"
    _require(sound in run.log.read_text(), f"the store must be sound, see {run.log}")
    return found, account_of(run.store, archive)


def disturbed(folder: Path, archive: Archive, options) -> tuple[dict, Account]:
    """One run with so many blows, begun again after each that ended it."""
    rng = np.random.default_rng(options.seed)
    run = Run(folder, archive, f"disturbed-{options.executor}", options)
    run.clear()
    blows = list(islice(cycle(BLOWS[options.executor]), options.kills))
    latest = LATEST if len(archive.kinds) >= LONG_ROWS else LATEST_OF_SHORT
    moments = np.sort(rng.uniform(0.02, latest, len(blows)) * len(archive.kinds))
    struck: Counter[str] = Counter()
    stopping: list[float] = []
    family, since, starts, starting = None, 0.0, 0, 0.0
    begin = time.monotonic()
    lives: list[list[Look]] = []
    for blow, moment in zip(blows, moments, strict=True):
        if family is None:
            family, since = run.start(), time.monotonic()
            starts += 1
            lives.append([])
        before, until = run.rows(), since + rng.uniform(0, starting)
        while (rows := run.rows()) < (before + 1 if blow.starting else moment):
            _require(not family.ended, f"the run ended before {blow}, see {run.log}")
            lives[-1].append((time.monotonic() - since, rows, *family.memory_mb()))
            if not rows:
                starting = time.monotonic() - since
            if blow.starting and time.monotonic() > until:
                break
            run.pause(POLL_SECONDS)
        hit = strike(family, blow, rng, options)
        _require(hit, f"{blow} must hit somebody, see {run.log}")
        struck[f"{blow.whom}, {signal.Signals(blow.how).name}"] += 1
        if blow.whom in ("driver", "all"):
            told = time.monotonic()
            code = family.wait()
            if blow.how == signal.SIGTERM:
                stopping.append(time.monotonic() - told)
            # Of a signal to stop the run ends by itself, and says so.
            wanted = 128 + blow.how if blow.how == signal.SIGTERM else -blow.how
            _require(code == wanted, f"{blow} must end the run with {wanted}, got {code}")
            family = None
    if family is None:
        family, starts = run.start(), starts + 1
    _require(family.wait() == 0, f"the run must end with 0, see {run.log}")
    # What is blamed on a file that two workers died on by chance is tried again.
    blamed = run.log.read_text().count("worker process died")
    _ended(run.start())
    _ended(_check(run))
    found = {"seconds": time.monotonic() - begin, "starts": starts, "struck": dict(struck),
             "seconds_to_stop": stopping, "summaries_that_blame_a_file": blamed,
             "unreadable_while_written": run.unreadable}  # fmt: skip
    longest = max(lives, key=lambda looks: looks[-1][1] - looks[0][1] if looks else 0)
    found["longest_life"] = memory(longest)
    return found, account_of(run.store, archive)


def strike(family: Family, blow: Blow, rng: np.random.Generator, options) -> bool:
    """Send the signal, waiting for somebody whom it hits; whether there was one."""
    if blow.whom == "node":
        options.nodes.kill(rng)
        return True
    if blow.whom == "driver":
        return family.kill(family.head.pid, blow.how)
    if blow.whom == "all":
        there = [family.head.pid, *family.look()]
        return any([family.kill(pid, blow.how) for pid in there])
    while not family.ended:
        there = family.find(blow.whom)
        if there and family.kill(int(rng.choice(there)), blow.how):
            return True
        time.sleep(POLL_SECONDS)
    return False


def memory(looks: list[Look]) -> dict:
    """Memory by quarters of the time in which rows came, of the command and its largest child."""
    table = np.array(looks).reshape(-1, 4)
    table = table[(table[:, 1] > table[:1, 1]) & (table[:, 1] < table[-1:, 1])]
    found: dict = {"looks": len(table)}
    if len(table) < 2 * QUARTERS:
        return found
    for name, column in (("parent_mb", 2), ("worker_mb", 3)):
        parts = [float(part.mean()) for part in np.array_split(table[:, column], QUARTERS)]
        if not all(parts):
            continue  # Nodes' workers are no children of the command.
        found[name] = {"by_quarter": parts, "last_to_second": parts[3] / parts[1],
                       "most": float(table[:, column].max())}  # fmt: skip
    return found


def timed(call) -> dict[str, float]:
    """Seconds by the clock, and of the processor, children's included."""
    cpu, begin = time.process_time() + _spent(), time.monotonic()
    call()
    seconds = time.monotonic() - begin
    return {"seconds": seconds, "cpu_s": time.process_time() + _spent() - cpu}


def _spent() -> float:
    """Seconds of the processor that children took which have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _resume(store: Path) -> None:
    settings = open_store(store).manifest["settings"]
    StoreWriter(store, settings, resume=True).close()


def _check(run: Run) -> Family:
    return Family([sys.executable, "-m", "dsnet.label", "check", str(run.store)], run.log,
                  dict(os.environ))  # fmt: skip


def _ended(family: Family) -> None:
    code = family.wait()
    _require(code == 0, f"a command must end with 0, got {code}")


def _require(holds: bool, told: str) -> None:
    if not holds:
        raise SystemExit(told)


STEPS = {"undisturbed": undisturbed, "afterwards": afterwards, "disturbed": disturbed}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="for the archive and the stores; kept")
    parser.add_argument("--steps", nargs="+", choices=tuple(STEPS), default=list(STEPS))
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--broken", type=float, default=0.01, help="share of the rows")
    parser.add_argument("--executor", choices=tuple(BLOWS), default="processes")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--crop", type=int, default=32)
    parser.add_argument("--marks", type=int, default=50, help="of a file, on average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--note", default="", help="of the machine, as that others used it")
    parser.add_argument("--out", type=Path, default=Path("bench/results/archive_endurance.json"))
    options = parser.parse_args(arguments)
    made = options.folder / "DL_info.csv"
    archive = archive_at(options.folder) if made.exists() else write_archive(
        options.folder, options.rows, options.broken, options.seed, options.marks
    )  # fmt: skip
    _require(len(archive.kinds) == options.rows, f"{options.folder} has {len(archive.kinds)} rows")
    kept = options.folder / "undisturbed.npy"
    found: dict = {"rows": options.rows, "note": options.note}
    found.update({name: getattr(options, name) for name in ("workers", "crop", "marks", "seed")})
    found["broken_rows"] = sum(int(np.sum(archive.kinds == KINDS.index(kind)))
                               for kind, reason in REASONS.items() if reason)  # fmt: skip
    with nodes(options.workers) if options.executor == "nodes" else nullcontext() as options.nodes:
        _take(options, archive, kept, found)


def _take(options, archive: Archive, kept: Path, found: dict) -> None:
    """Take the steps, and write down what is found."""
    for step in options.steps:
        result, account = STEPS[step](options.folder, archive, options)
        result |= account.told()
        if step != "disturbed" and options.executor == "processes":
            np.save(kept, account.digests)
        elif kept.exists():
            same = (np.load(kept) == account.digests).all(1)
            result["rows_of_other_bits"] = int((~same).sum())
        found[step] = result
        print(json.dumps({step: result}, indent=1))
        options.out.parent.mkdir(parents=True, exist_ok=True)
        old = json.loads(options.out.read_text()) if options.out.exists() else {}
        name = f"{options.executor}, {options.rows} rows"
        old[name] = {**old.get(name, {}), **found, "machine": machine("pyarrow")}
        options.out.write_text(json.dumps(old, indent=1) + "\n")
        _require(not account.problems, f"the store is not what it must be: {account.problems[:3]}")


if __name__ == "__main__":
    main()
