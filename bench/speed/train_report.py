"""The tables of `bench.speed.train`, and its goals."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

# The paper's 1000 crops and 60 epochs.
TRAINING_IMAGES = 60 * 1000
GOAL_SECONDS = 180
FAST_GOAL, SINGLE_GOAL, BACKBONE_GOAL = 10.0, 1.5, 0.5


def row_table(rows: list[dict]) -> Table:
    table = _table("row", "batch", "precision", "ms a step", "images/s", "x eager", "peak MB",
                   "TFLOP/s", "of peak", "parity: losses, gradients", "recompiles")  # fmt: skip
    for row in rows:
        table.add_row(
            row["row"], str(row["batch"]), row["precision"], f"{row['ms']:.2f}",
            f"{row['images_s']:.1f}", f"{row['ratio']:.2f}" if row["ratio"] else "",
            f"{row['peak_mb']:.0f}", f"{row['tflop_s']:.3g}", f"{row['of_peak']:.0%}",
            f"{'' if row['parity'] else 'FAILS '}{row['loss_error']:.1e}, "
            f"{row['gradient_error']:.1e}", str(row["recompiles"]),
        )  # fmt: skip
    return table


def part_table(parts: list[dict]) -> Table:
    """A line a part; for each row that was taken apart its time and its share of the peak."""
    names = list(dict.fromkeys(part["row"] for part in parts))
    found = {(part["row"], part["part"]): part for part in parts}
    batch = {part["row"]: part["batch"] for part in parts}
    table = _table("part", *(f"{name}, batch {batch[name]}: ms" for name in names),
                   *(f"of peak, {name}" for name in names))  # fmt: skip
    for part in dict.fromkeys(part["part"] for part in parts):
        cells = [found.get((name, part)) for name in names]
        shares = [f"{cell['of_peak']:.0%}" if cell and cell["gflop"] else "" for cell in cells]
        table.add_row(part, *(f"{cell['ms']:.3f}" if cell else "" for cell in cells), *shares)
    sums = [sum(p["ms"] for p in parts if p["row"] == name) for name in names]
    table.add_row("sum", *(f"{ms:.3f}" for ms in sums), *("" for _ in names), style="dim")
    return table


def count_table(costs: dict, options) -> Table:
    """What a step costs an image, by precision; nothing is measured."""
    batch = options.batch
    title = f"{options.shape}, {options.size} px, batch {batch}: an image, nothing measured"
    precisions = list(costs)
    table = _table("part", "GFLOP", *(f"{p} GB, eager" for p in precisions),
                   *(f"{p} operations a step" for p in precisions), title=title)  # fmt: skip
    for part, cost in costs[precisions[0]].items():
        table.add_row(
            part, f"{cost.flops / batch / 1e9:.1f}",
            *(f"{costs[p][part].bytes / batch / 1e9:.2f}" for p in precisions),
            *(str(costs[p][part].operations) for p in precisions),
        )  # fmt: skip
    return table


def goal_lines(result: dict) -> Iterator[str]:
    """What was aimed at, for full width on CUDA; elsewhere a word that it is not measured."""
    if result["device"] != "cuda" or result["shape"] != {"width": 64} or result["size"] != 64:
        yield "goals (full width on an H100): not measured"
        return
    rows = {row["row"]: row for row in result["rows"]}
    backbone = [p for p in result["parts"] if (p["row"], p["part"]) == ("fast", "backbone")]
    fast = rows.get("fast")
    single = [rows[n] for n in ("compiled-ours", "compiled-nhwc", "graphs") if n in rows]
    if fast and fast["ratio"]:
        yield _told("fast recipe over eager", fast["ratio"], FAST_GOAL, "x")
    if fast:
        seconds = TRAINING_IMAGES / fast["images_s"]
        word = "met" if seconds < GOAL_SECONDS else "missed"
        yield f"60 epochs of 1000 crops: {seconds:.0f} s, goal {GOAL_SECONDS}: {word}"
    ratios = [row["ratio"] for row in single if row["ratio"]]
    if ratios:
        yield _told("batch 1 over eager", max(ratios), SINGLE_GOAL, "x")
    if backbone:
        yield _told("backbone's share of the peak", backbone[0]["of_peak"], BACKBONE_GOAL, "")


def _told(what: str, value: float, goal: float, unit: str) -> str:
    return f"{what}: {value:.2f}{unit}, goal {goal}{unit}: {'met' if value >= goal else 'missed'}"


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left")
    for k, column in enumerate(columns):
        table.add_column(column, justify="right" if k else "left")
    return table
