"""Seconds to a Dice on held-out patients: ``python -m bench.studies.time_to_dice STORE``.

Three contenders on the store's crops, cut to their middles of ``--side`` pixels: dsnet by
``--recipe paper``, dsnet by ``--recipe fast``, and MONAI's BasicUNet as MONAI's tutorials train.
All learn from the same patients, on the CPU, with one number of threads, and are asked for masks of
the same held-out cases (a store of `bench.studies.train_lidc prepare`: each nodule's largest slice)
whenever they have seen ``--every`` further crops. A contender is done when the mean Dice of its
masks at one half first reaches ``--dice``. The clock runs while it trains, loads and augments, and
stands while it is scored. The seeds take turns with the contenders, so that a machine that slows
down slows all.

What is held out says when to stop, so the Dice itself is no figure of quality. Results go to
``bench/results/time_to_dice.json``: each run's seconds (null: not reached), steps, and its curve.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bench.common.machine import machine, machine_line
from bench.common.training_loops import MonaiLoop, OurLoop
from dsnet.data.store import open_store
from dsnet.devices import use_threads
from dsnet.metrics import dice
from dsnet.training.dataset import DeviceDataset, split_by_patient
from dsnet.training.settings import parse

CONTENDERS = ("paper", "fast", "monai")
# What a CPU manages; options outrank it.
SMALL = ["--variant", "backbone", "--scale", "1", "--width", "8", "--depth", "3"]


def load(store: str, side: int, every_slice: bool) -> tuple[DeviceDataset, DeviceDataset]:
    """Middles of the crops: what to learn from, and what is held out, of other patients."""
    whole = DeviceDataset.from_store(store)
    height, width = whole.image.shape[2:]
    if not 1 <= side <= min(height, width):
        raise ValueError(f"--side must be 1 to {min(height, width)} for {store}, got {side}")
    top, left = (height - side) // 2, (width - side) // 2
    for name in ("image", "soft", "binary"):
        plane = getattr(whole, name)[:, :, top : top + side, left : left + side]
        setattr(whole, name, plane.contiguous())
    split = split_by_patient(whole.patients)
    shown = {r.key for r in open_store(store).records("ok") if r.metadata.get("largest", True)}
    held = [i for i in split.test if every_slice or whole.keys[i] in shown]
    if not held:
        raise ValueError(f"{store} must hold out a largest slice, got none: give --every-slice")
    return whole.subset(split.train), whole.subset(held)


def contender(
    name: str, seed: int, data: DeviceDataset, options: argparse.Namespace, more: Sequence[str]
) -> OurLoop | MonaiLoop:
    if name == "monai":
        return MonaiLoop(data, options.monai_batch, options.epochs, seed, options.monai_width)
    given = ["--recipe", name, *SMALL, "--epochs", str(options.epochs), *more]
    return OurLoop(parse([*given, "--seed", str(seed)]), data)


def race(
    loop: OurLoop | MonaiLoop, held: DeviceDataset, goal: float, every: int, limit: float
) -> dict:
    """Train until the held-out Dice reaches `goal`, all steps are done or `limit` seconds over."""
    pause = max(1, every // loop.batch)
    seconds, curve, reached = 0.0, [], None
    for done in range(1, loop.steps + 1):
        begin = time.perf_counter()
        loop.step()
        seconds += time.perf_counter() - begin
        over = seconds > limit or done == loop.steps
        if done % pause and not over:
            continue
        score = float(dice(loop.soft(held.image), held.binary).mean())
        curve.append((round(seconds, 3), done, round(score, 5)))
        if score >= goal:
            reached = seconds
        if reached is not None or over:
            break
    return {
        "seconds": reached,
        "trained_seconds": seconds,
        "steps": curve[-1][1],
        "crops": curve[-1][1] * loop.batch,
        "best_dice": max(score for *_, score in curve),
        "parameters": loop.parameters,
        "batch": loop.batch,
        "curve": curve,
    }


def summary(runs: list[dict]) -> dict:
    """Of each contender the median over its seeds, where all reached the goal.

    ``least_seconds`` is what the median is not below, where a seed had not reached it after all the
    seconds that it trained.
    """
    found = {}
    for name in dict.fromkeys(run["contender"] for run in runs):
        own = [run for run in runs if run["contender"] == name]
        seconds = [run["seconds"] for run in own]
        least = [run["trained_seconds"] for run in own]
        reached = [each for each in seconds if each is not None]
        all_did = len(reached) == len(seconds)
        found[name] = {
            "reached": len(reached),
            "seeds": len(seconds),
            "median_seconds": float(np.median(reached)) if all_did else None,
            "range_seconds": [min(reached), max(reached)] if all_did else None,
            "least_seconds": float(np.median(least)),
        }
    return found


def tell(found: dict) -> str:
    """A line a contender, and the fast recipe's ratios."""
    lines = []
    for name, row in found.items():
        told = f"reached by {row['reached']} of {row['seeds']} seeds"
        if row["median_seconds"] is not None:
            low, high = row["range_seconds"]
            told += f", median {row['median_seconds']:.1f} s ({low:.1f} to {high:.1f})"
        lines.append(f"{name:6} {told}")
    fast = found.get("fast", {}).get("median_seconds")
    for name in ("paper", "monai"):
        if name not in found or "fast" not in found:
            continue
        ratio = f"{found[name]['least_seconds'] / fast:.2f}" if fast else "not measured"
        if fast and found[name]["median_seconds"] is None:
            ratio = f"at least {ratio}, not reached by all seeds"
        lines.append(f"{name} / fast: {ratio}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.studies.time_to_dice",
        allow_abbrev=False,
        description=__doc__.partition("\n")[0],
        epilog=f"Further options are dsnet.train's and go to both recipes; without: "
        f"{' '.join(SMALL)}.",
    )
    parser.add_argument("store", help="label store of bench.studies.train_lidc prepare")
    parser.add_argument("--side", type=int, default=32, help="pixels a side of the crops (32)")
    parser.add_argument("--dice", type=float, default=0.88, help="to be reached (0.88)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--every", type=int, default=640, help="crops between two scores (640)")
    parser.add_argument("--epochs", type=int, default=60, help="at most, of all (60)")
    parser.add_argument("--limit", type=float, default=1800, help="seconds of a run, at most")
    parser.add_argument("--every-slice", action="store_true", help="held out: not the largest only")
    parser.add_argument("--monai-width", type=int, default=32, help="of BasicUNet (32, MONAI's)")
    parser.add_argument("--monai-batch", type=int, default=32, help="(32)")
    parser.add_argument("--threads", type=int, default=0, help="of all; 0: torch's default")
    parser.add_argument("--out", type=Path, default=Path("bench/results/time_to_dice.json"))
    options, more = parser.parse_known_args(argv)
    use_threads(options.threads)
    training, held = load(options.store, options.side, options.every_slice)
    asked = {k: v for k, v in vars(options).items() if k not in ("store", "out")}
    result: dict = {
        "machine": {**machine("torch", "monai"), "threads": torch.get_num_threads()},
        "options": {**asked, "recipes": [*SMALL, *more]},
        "cases": {"training": len(training), "held_out": len(held)},
        "patients": {"training": len({*training.patients}), "held_out": len({*held.patients})},
        "runs": [],
    }
    print(machine_line(result["machine"]))
    for seed in options.seeds:
        for name in options.contenders:
            loop = contender(name, seed, training, options, more)
            run = race(loop, held, options.dice, options.every, options.limit)
            result["runs"].append({"contender": name, "seed": seed, **run})
            result["summary"] = summary(result["runs"])
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(result, indent=1) + "\n")
            at = "not reached" if run["seconds"] is None else f"after {run['seconds']:.1f} s"
            print(
                f"seed {seed} {name:6} Dice {options.dice:g} {at}, {run['steps']} steps, "
                f"best {run['best_dice']:.4f}, {run['parameters']:,} parameters",
                flush=True,
            )
    print(tell(result["summary"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
