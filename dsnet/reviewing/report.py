"""The report of a review on a terminal, and its picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dsnet.console import print_table
from dsnet.data.store.decisions import REASONS, VERDICTS
from dsnet.drawing.calibration import write_calibration
from dsnet.reviewing.agreement import OUTCOMES


def print_report(told: dict[str, Any], title: str) -> None:
    """Print what `agreement.agreement` tells, as tables."""
    labels = told["labels"]
    print_table([(name, str(count)) for name, count in labels.items()], title=title)
    if not told["readers"]:
        print("nobody has decided on a label yet")
        return
    heads = ("reader", "verdicts", *VERDICTS, "mended", "median s a verdict")
    rows = [
        (r["name"], *(str(r[name]) for name in ("verdicts", *VERDICTS, "mended")),
         _number(r["median_seconds"], 1))
        for r in told["readers"]
    ]  # fmt: skip
    print_table(rows, heads)
    if told["pairs"]:
        heads = ("readers", "labels of both", "agreed", "kappa")
        pairs = [
            (" and ".join(p["readers"]), str(p["labels"]), _number(p["agreed"]),
             _number(p["kappa"]))
            for p in told["pairs"]
        ]  # fmt: skip
        print_table(pairs, heads)
    if told["reasons"]:
        reasons = sorted(told["reasons"].items(), key=lambda item: (-item[1], item[0]))
        print_table([(str(n), REASONS[code]) for code, n in reasons], ("labels", "rejected for"))
    mended = told["mended"]
    print_table(
        [
            ("accepted as mended", str(mended["labels"])),
            ("drawn where there was none", str(mended["drawn_anew"])),
            *([("mended versions damaged", str(mended["damaged"]))] if mended["damaged"] else []),
            ("Dice of mended with proposed, mean", _number(mended["dice_mean"])),
            ("Dice of mended with proposed, median", _number(mended["dice_median"])),
            ("Dice of mended with proposed, least", _number(mended["dice_least"])),
        ]
    )
    heads = ("expected Dice", "verdicts", *OUTCOMES, "accepted as made", "95 % interval")
    rows = [
        (f"{b['low']:.2f}-{b['high']:.2f}", str(b["verdicts"]), *(str(b[n]) for n in OUTCOMES),
         _number(b["share"], 2), f"{b['share_low']:.2f}-{b['share_high']:.2f}")
        for b in told["calibration"]
        if b["verdicts"]
    ]  # fmt: skip
    if rows:
        print_table(rows, heads)


def write_picture(told: dict[str, Any], path: Path) -> Path | None:
    """The calibration as a PNG; None where no verdict is on a label with an expected Dice."""
    bins = [b for b in told["calibration"] if b["verdicts"]]
    if not bins:
        return None
    write_calibration(
        path,
        [f"{b['low']:.2f}-{b['high']:.2f}" for b in bins],
        [[b[name] for name in OUTCOMES] for b in bins],
        OUTCOMES,
        [(b["share_low"], b["share_high"]) for b in bins],
    )
    return path


def _number(value: float | None, digits: int = 3) -> str:
    return "not known" if value is None else f"{value:.{digits}f}"
