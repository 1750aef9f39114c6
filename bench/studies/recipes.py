"""The fast recipe against the paper's, to the same result: ``python -m bench.studies.recipes``.

Trains each variant twice with `dsnet.train`, on the same phantoms or store, from the same seed:
``--recipe paper`` and ``--recipe fast``, which is compiled on CUDA. Told are the best validation
Dice of each, the seconds of the whole run, and the seconds until the fast run first reached the
paper recipe's best. On a CPU everything is small. Results go to ``bench/results/recipes.json``.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from pathlib import Path

import torch

from bench.common.machine import machine
from dsnet.training.run import train
from dsnet.training.settings import parse

SMALL = [
    "--phantoms", "1000", "--size", "32", "--width", "8", "--depth", "3", "--judge-width", "8",
    "--teacher-blocks", "2", "--teacher-features", "8", "--threads", "1", "--device", "cpu",
]  # fmt: skip


def compare(variant: str, runs: Path, more: list[str]) -> dict:
    """Both recipes' figures for one variant."""
    figures = {}
    for recipe in ("paper", "fast"):
        out = runs / f"{variant}-{recipe}"
        shutil.rmtree(out, ignore_errors=True)
        given = ["--recipe", recipe, "--variant", variant, "--out", str(out), *more]
        if recipe == "fast" and torch.cuda.is_available():
            given.append("--compile")
        summary = train(parse(given))
        with open(out / "validation.csv") as file:
            epochs = [(float(row["seconds"]), float(row["dice"])) for row in csv.DictReader(file)]
        figures[recipe] = {
            "best_dice": summary["best_dice"],
            "last_dice": epochs[-1][1],
            "seconds": summary["seconds"],
            "images_per_s": summary["images_per_s"],
            "epochs": epochs,
        }
    goal = figures["paper"]["best_dice"]
    reached = [at for at, dice in figures["fast"]["epochs"] if dice >= goal]
    figures["fast"]["seconds_to_the_papers_best"] = reached[0] if reached else None
    return figures


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        epilog="Further options are dsnet.train's and go to both runs: --data STORE, --width 64.",
    )
    parser.add_argument("--variant", nargs="+", default=["unet", "dsnet"])
    parser.add_argument("--runs", type=Path, default=Path("runs/recipes"), help="work folder")
    parser.add_argument("--out", type=Path, default=Path("bench/results/recipes.json"))
    options, more = parser.parse_known_args(argv)
    if not torch.cuda.is_available():
        more = [*SMALL, *more]
    result: dict = {"machine": machine(), "options": more, "variants": {}}
    for variant in options.variant:
        result["variants"][variant] = compare(variant, options.runs, more)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    for variant, figures in result["variants"].items():
        for recipe, row in figures.items():
            print(
                f"{variant:10} {recipe:6} best Dice {row['best_dice']:.4f}, "
                f"{row['seconds']:.0f} s, {row['images_per_s']:.0f} images/s"
            )
        at = figures["fast"]["seconds_to_the_papers_best"]
        told = "never" if at is None else f"after {at:.0f} s"
        print(f"{variant:10} fast reached the paper recipe's best {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
