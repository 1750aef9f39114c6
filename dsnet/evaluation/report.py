"""What `python -m dsnet.evaluate` shows and writes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dsnet.console import print_table, printable
from dsnet.data.store.record import json_ready
from dsnet.drawing.comparison import draw_comparison
from dsnet.evaluation.rows import Row
from dsnet.evaluation.statistics import differences, reference_row
from dsnet.files import table_cell, write_json, write_png, write_text
from dsnet.metrics import Difference
from dsnet.metrics.bootstrap import DRAWS, LEVEL

# Heading, factor, digits; the paper's three in per cent.
COLUMNS = {
    "dice": ("DICE %", 100.0, 2),
    "sensitivity": ("SEN %", 100.0, 2),
    "ppv": ("PPV %", 100.0, 2),
    "dice_half": ("DICE % at 0.5", 100.0, 2),
    "sensitivity_half": ("SEN % at 0.5", 100.0, 2),
    "ppv_half": ("PPV % at 0.5", 100.0, 2),
    "soft_mask_mae": ("soft MAE", 1.0, 4),
    "brier": ("Brier score", 1.0, 4),
    "calibration_error": ("calibration error", 1.0, 4),
    "hausdorff95": ("HD95 px", 1.0, 2),
    "surface_dice": ("surface Dice %", 100.0, 2),
}

STATISTICS = ("mean", "std", "median", "count")
SPREAD = "mean ± standard deviation over cases, of each case's mean over seeds"
FILES = "table.md, table.csv, table.json, cases.csv and figure.png"


def write(rows: list[Row], out: Path, cases: int = 6, against: str | None = None) -> None:
    """table.md, .csv and .json, cases.csv and figure.png of rows in the folder `out`."""
    found = differences(rows, against)
    text = _markdown(*_table(rows)) + f"\n{SPREAD}.\n"
    text += "".join(f"\n{_plain(line)}.\n" for line in _protocol(rows))
    if found:
        text += f"\n{_plain(_compared(rows, against))}:\n\n" + _markdown(
            *_difference_table(rows, found)
        )
    text += "".join(f"\n{_plain(f'{row.name}: {note}')}.\n" for row in rows for note in row.notes)
    write_text(out / "table.md", text)
    _write_csv(out / "table.csv", _figures(rows, found))
    write_json(out / "table.json", json_ready(_record(rows, found, against)))
    names = list(rows[0].values)
    table: list[list] = [
        ["network", "seed", "key", "patient", "truth_px", "predicted_px", *names],
    ]
    for row in rows:
        for scored in row.seeds:
            for i, key in enumerate(scored.keys):
                pixels = int(scored.truth[i].sum()), int((scored.soft[i] >= scored.cut[i]).sum())
                values = [f"{scored.values[name][i]:.6g}" for name in names]
                which = [row.name, scored.seed, key, scored.patients[i]]
                table.append([*which, *pixels, *values])
    _write_csv(out / "cases.csv", table)
    write_png(out / "figure.png", draw_comparison([row.seeds[0] for row in rows], cases))


def show(rows: list[Row], against: str | None = None) -> None:
    """Print the tables, a network a column, and the notes."""
    _print(*_table(rows))
    print(SPREAD)
    for line in _protocol(rows):
        print(printable(line))
    if found := differences(rows, against):
        print(printable(f"{_compared(rows, against)}:"))
        _print(*_difference_table(rows, found))
    for row in rows:
        for note in row.notes:
            print(printable(f"{row.name}: {note}"))


def _table(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    names = list(rows[0].values)
    heads = ["network", "seeds", "cases", "patients", "threshold", *_heads(names, rows[0])]
    heads += ["calibration error, pooled", "median DICE %"]
    lines = []
    for row in rows:
        cells = []
        for name in names:
            _, factor, digits = COLUMNS[name]
            mean, std, *_ = _statistics(factor * row.values[name])
            cells.append(f"{mean:.{digits}f} ± {std:.{digits}f}")
        cells.append(f"{_pooled(row):.4f}")
        cells.append(f"{100 * np.median(row.values['dice']):.2f}")
        lines.append([row.name, *_counts(row), _span(_thresholds(row)), *cells])
    return heads, lines


def _difference_table(
    rows: list[Row], found: dict[str, dict[str, Difference]]
) -> tuple[list[str], list[list[str]]]:
    names = list(rows[0].values)
    lines = []
    for name, by_metric in found.items():
        first = by_metric["dice"]
        cells = [name, str(first.cases), str(first.clusters)]
        for metric in names:
            _, factor, digits = COLUMNS[metric]
            cells.append(_difference(by_metric[metric], factor, digits))
        lines.append(cells)
    return ["network", "cases in both", "patients", *_heads(names, rows[0])], lines


def _difference(found: Difference, factor: float, digits: int) -> str:
    """A mean with its interval, as far as there are cases and patients for them."""
    if not found.cases:
        return "no shared case"
    mean, low, high = (f"{factor * x:+.{digits}f}" for x in found[:3])
    return f"{mean} [{low}, {high}]" if np.isfinite(found.low) else f"{mean} [one patient]"


def _heads(names: Sequence[str], row: Row) -> list[str]:
    heads = [COLUMNS[name][0] for name in names]
    return [f"{h} ({row.tolerance:g} px)" if h.startswith("surface") else h for h in heads]


def _counts(row: Row) -> list[str]:
    """Seeds, cases and patients."""
    seeds = "one seed" if len(row.seeds) == 1 else str(len(row.seeds))
    return [seeds, str(len(row.keys)), str(len(set(row.patients)))]


def _thresholds(row: Row) -> list[float]:
    return [at for scored in row.seeds for at in scored.thresholds]


def _span(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _pooled(row: Row) -> float:
    return float(np.mean([scored.pooled_calibration_error for scored in row.seeds]))


def _protocol(rows: list[Row]) -> list[str]:
    """What the figures are of: once where it is the same for all, else for each row."""
    lines = [
        f"{p.part}; truth: {p.truth}; Brier score and calibration error against {p.chance}; "
        f"threshold: {p.threshold}"
        for p in (row.protocol for row in rows)
    ]
    if len(set(lines)) > 1:
        lines = [f"{row.name}: {line}" for row, line in zip(rows, lines, strict=True)]
    several = [
        f"{row.name}: DICE % by seed: "
        + ", ".join(f"{100 * s.values['dice'].mean():.2f} ({s.seed})" for s in row.seeds)
        for row in rows
        if len(row.seeds) > 1
    ]
    return [*dict.fromkeys(lines), *several]


def _compared(rows: list[Row], against: str | None) -> str:
    return (
        f"difference to {reference_row(rows, against).name}, mean over the cases of both "
        f"[{100 * LEVEL:g} % interval, {DRAWS} bootstrap draws of patients]"
    )


def _figures(rows: list[Row], found: dict[str, dict[str, Difference]]) -> list[list]:
    names = list(rows[0].values)
    heads = ["network", "seeds", "cases", "patients", "thresholds", "pooled_calibration_error"]
    heads += [f"{n}_{s}" for n in names for s in STATISTICS]
    parts = ("difference", "low", "high") if found else ()
    heads += [f"{n}_{part}" for n in names for part in parts]
    table: list[list] = [heads]
    for row in rows:
        line = [row.name, len(row.seeds), len(row.keys), len(set(row.patients))]
        line += [";".join(f"{at:g}" for at in _thresholds(row)), f"{_pooled(row):.6g}"]
        line += [f"{x:.6g}" for v in row.values.values() for x in _statistics(v)]
        for name in names if found else ():
            # The row that others are compared with has no difference.
            own = found[row.name][name][:3] if row.name in found else ()
            line += [f"{x:.6g}" if np.isfinite(x) else "" for x in own] or [""] * len(parts)
        table.append(line)
    return table


def _record(rows: list[Row], found: dict[str, dict[str, Difference]], against: str | None) -> dict:
    written = []
    for row in rows:
        metrics = {}
        for name, values in row.values.items():
            metrics[name] = dict(zip(STATISTICS, _statistics(values), strict=True))
            by_seed = [float(np.mean(scored.values[name])) for scored in row.seeds]
            metrics[name]["mean_by_seed"] = by_seed
            if row.name in found:
                metrics[name]["difference"] = found[row.name][name]._asdict()
        written.append(
            {
                "network": row.name,
                "seeds": [scored.seed for scored in row.seeds],
                "cases": len(row.keys),
                "patients": len(set(row.patients)),
                "thresholds": [scored.thresholds for scored in row.seeds],
                "protocol": row.protocol._asdict(),
                "pooled_calibration_error": _pooled(row),
                "metrics": metrics,
                "notes": row.notes,
            }
        )
    bootstrap = {"level": LEVEL, "draws": DRAWS, "clusters": "patients"}
    reference = reference_row(rows, against).name
    return {"against": reference, "interval": bootstrap, "rows": written}


def _statistics(values: np.ndarray) -> tuple[float, float, float, int]:
    """Over the cases that have a value."""
    values = values[np.isfinite(values)]
    if not values.size:
        return np.nan, np.nan, np.nan, 0
    return float(values.mean()), float(values.std()), float(np.median(values)), values.size


def _markdown(heads: list[str], lines: list[list[str]]) -> str:
    text = "| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|\n"
    return text + "".join("| " + " | ".join(map(_plain, line)) + " |\n" for line in lines)


def _plain(text: str) -> str:
    """A name or note that stays on its line and in its cell of a Markdown table."""
    return re.sub(r"([\\`*<|])", r"\\\1", printable(text))


def _print(heads: list[str], lines: list[list[str]]) -> None:
    # A network a column: a dozen columns of figures would not fit a terminal.
    figures = [[head, *(line[at] for line in lines)] for at, head in enumerate(heads)]
    print_table(figures[1:], ["", *figures[0][1:]])


def _write_csv(path: Path, table: list[list]) -> None:
    text = io.StringIO()
    rows = ([table_cell(cell) for cell in row] for row in table)
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())
