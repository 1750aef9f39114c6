"""What `python -m dsnet.evaluate` shows and writes."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from dsnet.console import print_table, printable
from dsnet.drawing.comparison import draw_comparison
from dsnet.evaluation.score import Scored
from dsnet.files import table_cell, write_png, write_text

# Heading, factor, digits; the paper's three in per cent.
COLUMNS = {
    "dice": ("DICE %", 100.0, 2),
    "sensitivity": ("SEN %", 100.0, 2),
    "ppv": ("PPV %", 100.0, 2),
    "soft_mask_mae": ("soft MAE", 1.0, 4),
    "hausdorff95": ("HD95 px", 1.0, 2),
    "surface_dice": ("surface Dice %", 100.0, 2),
}

STATISTICS = ("mean", "std", "median", "count")


def write(rows: list[Scored], out: Path, cases: int = 6) -> None:
    """table.md, table.csv, cases.csv and figure.png of `Scored` rows in the folder `out`."""
    heads, lines = _table(rows)
    text = "| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|\n"
    text += "".join("| " + " | ".join(line) + " |\n" for line in lines)
    text += "".join(f"\n{row.name}: {note}.\n" for row in rows for note in row.notes)
    write_text(out / "table.md", text)
    names = list(rows[0].values)
    figures: list[list] = [["network", "cases", *(f"{n}_{s}" for n in names for s in STATISTICS)]]
    for row in rows:
        each = [x for v in row.values.values() for x in _statistics(v)]
        figures.append([row.name, len(row.keys), *(f"{x:.6g}" for x in each)])
    _write_csv(out / "table.csv", figures)
    table: list[list] = [["network", "key", "patient", "truth_px", "predicted_px", *names]]
    for row in rows:
        for i, key in enumerate(row.keys):
            pixels = int(row.truth[i].sum()), int((row.soft[i] >= 0.5).sum())
            values = [f"{v[i]:.6g}" for v in row.values.values()]
            table.append([row.name, key, row.patients[i], *pixels, *values])
    _write_csv(out / "cases.csv", table)
    write_png(out / "figure.png", draw_comparison(rows, cases))


def _table(rows: list[Scored]) -> tuple[list[str], list[list[str]]]:
    names = list(rows[0].values)
    heads = ["network", "cases", *(COLUMNS[name][0] for name in names), "median DICE %"]
    heads = [f"{h} ({rows[0].tolerance:g} px)" if h.startswith("surface") else h for h in heads]
    lines = []
    for row in rows:
        cells = []
        for name in names:
            _, factor, digits = COLUMNS[name]
            mean, std, *_ = _statistics(factor * row.values[name])
            cells.append(f"{mean:.{digits}f} ± {std:.{digits}f}")
        median = f"{100 * np.median(row.values['dice']):.2f}"
        lines.append([row.name, str(len(row.keys)), *cells, median])
    return heads, lines


def _statistics(values: np.ndarray) -> tuple[float, float, float, int]:
    """Over the cases that have a value."""
    values = values[np.isfinite(values)]
    if not values.size:
        return np.nan, np.nan, np.nan, 0
    return values.mean(), values.std(), np.median(values), values.size


def show(rows: list[Scored]) -> None:
    """Print the table, a network a column, and the notes."""
    heads, lines = _table(rows)
    # A network a column: eight columns of figures would not fit a terminal.
    figures = [[head, *(line[at] for line in lines)] for at, head in enumerate(heads)]
    print_table(figures[1:], ["", *figures[0][1:]])
    print("mean ± standard deviation over cases")
    for row in rows:
        for note in row.notes:
            print(printable(f"{row.name}: {note}"))


def _write_csv(path: Path, table: list[list]) -> None:
    text = io.StringIO()
    rows = ([table_cell(cell) for cell in row] for row in table)
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())
