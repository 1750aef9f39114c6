"""The table of a cross-validation on LIDC (paper, table 2), for `bench.studies.lidc_networks`.

Public
------
``score(runs, store, folds) -> dict``
``compare(rows, parts, fold_of, folds) -> dict``
``text_of(result) -> str``
``PAPER``: the paper's own rows
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.common.lidc import parts_of, with_truth
from bench.common.study import METRICS, interval
from dsnet.data.store import open_store
from dsnet.evaluation.rows import Row
from dsnet.evaluation.score import evaluate
from dsnet.metrics import paired_difference

SHOWN = {head: METRICS[head] for head in ("DICE", "SEN", "PPV")}
PAPER = {
    "U-Net": ("77.84 ± 21.74", "77.98 ± 24.52", "82.52 ± 21.53"),
    "CF-CNN": ("78.55 ± 12.49", "86.01 ± 15.22", "75.79 ± 14.73"),
    "MC-CNN": ("75.51 ± 11.4", "88.83 ± 12.34", "71.42 ± 14.78"),
    "MV-DCNN": ("77.85 ± 12.94", "86.96 ± 15.73", "77.33 ± 13.26"),
    "MCROI-CNN": ("77.01 ± 12.91", "85.43 ± 15.97", "73.52 ± 14.62"),
    "Cascaded-CNN": ("79.83 ± 10.91", "86.86 ± 13.35", "76.14 ± 13.46"),
    "DB-ResNet": ("82.74 ± 10.19", "89.35 ± 11.79", "79.64 ± 13.54"),
    "DSNet": ("83.35 ± 7.85", "89.37 ± 13.24", "83.26 ± 14.14"),
}


def score(runs: Iterable[tuple[str, int, int | None, Path]], store: str, folds: int) -> dict:
    """Table 2: the held-out cases of all folds that are done, pooled; what is not done is told.

    `runs` are rows, seeds, folds and folders of `dsnet.train`, which hold a file ``done``.
    """
    records = {record.key: record for record in open_store(store).records("ok")}
    found: dict[str, list[str]] = {}
    fold_of: dict[str, Any] = {}
    lacking, learnt, seeds = [], [], set()
    for name, seed, fold, folder in runs:
        # In the order of the runs, whatever is done: the first row is what others stand beside.
        done = found.setdefault(name, [])
        if not (folder / "done").exists():
            lacking.append((name, f"{name}, seed {seed}, fold {fold}"))
            continue
        done.append(str(folder))
        split = json.loads((folder / "split.json").read_text())
        fold_of.update(dict.fromkeys(split["test"], fold))
        learnt.append(len(split["train"]))
        seeds.add(seed)
    found = {name: folders for name, folders in found.items() if folders}
    if not found:
        raise ValueError("runs must hold a fold that is done, got none")
    rows = {}
    for name, folders in found.items():
        (rows[name],) = evaluate(folders, data=store, surface=False)
        print(f"{name}: {len(folders)} runs")
    there = with_truth([scored for row in rows.values() for scored in row.seeds])
    result = compare(rows, parts_of(records, there), fold_of, folds)
    # A row of which nothing was run is none of the table's.
    result["lacking"] = [told for name, told in lacking if name in rows]
    run = json.loads(Path(next(iter(found.values()))[0], "settings.json").read_text())
    result["how"] = {
        **{name: run[name] for name in ("width", "epochs", "batch", "precision")},
        "training_slices": f"{min(learnt)} to {max(learnt)}",
        "seeds": f"seed {min(seeds)}" if len(seeds) == 1 else f"{len(seeds)} seeds",
    }
    return result


def compare(
    rows: Mapping[str, Row],
    parts: Mapping[str, Callable[[str], bool]],
    fold_of: Mapping[str, int],
    folds: int,
) -> dict:
    """Means over all cases and over each fold's, and differences to the first row, paired by case.

    Parameters
    ----------
    rows : dict of Row
        The folds' held-out cases pooled; the first is what the others are compared with. Where a
        fold lacks, its cases do.
    parts : dict of name -> function
        Which cases count, by their keys.
    fold_of : dict of key -> fold
        The one that holds the case out.
    folds : int
    """
    first = next(iter(rows.values()))
    place = {key: i for i, key in enumerate(first.keys)}
    result: dict = {"reference": next(iter(rows)), "folds": folds, "parts": {}}
    for part, keep in parts.items():
        found = result["parts"][part] = {}
        for name, row in rows.items():
            kept = np.array([i for i, key in enumerate(row.keys) if keep(key)], int)
            of_fold = np.array([fold_of[row.keys[i]] for i in kept], int)
            made = found[name] = {
                "seeds": len(row.seeds), "cases": len(kept),
                "patients": len({row.patients[i] for i in kept}),
                "cases_of_folds": np.bincount(of_fold, minlength=folds).tolist(),
            }  # fmt: skip
            for head, metric in SHOWN.items():
                values = 100 * row.values[metric][kept]
                made[head] = [float(values.mean()), float(values.std())] if len(kept) else None
                made[f"{head} of folds"] = [
                    float(values[of_fold == k].mean()) if (of_fold == k).any() else None
                    for k in range(folds)
                ]
            both = [i for i in kept if row.keys[i] in place]
            ours, reference = (
                100 * each.values["dice"][at]
                for each, at in ((row, both), (first, [place[row.keys[i]] for i in both]))
            )
            mean, low, high, *_ = paired_difference(
                ours, reference, [row.patients[i] for i in both]
            )
            made["difference"] = [mean, low, high] if both else None
            made["paired_cases"] = len(both)
    return result


def text_of(result: dict) -> str:
    """The table in Markdown, the paper's rows below ours."""
    folds, how = result["folds"], result["how"]
    lines = [
        "# Cross-validation on LIDC", "",
        f"Trained and scored by `python -m bench.studies.lidc_networks --folds {folds}` (paper, "
        f"table 2): {folds} folds of whole patients, each held out once, {how['seeds']}; "
        f"{how['width']} channels, {how['epochs']} epochs of {how['training_slices']} slices in "
        f"batches of {how['batch']}, {how['precision']}. Strategy 2's soft masks, the 50 % "
        "consensus as truth; each network at the threshold that its own validation patients, an "
        "eighth of the rest, chose. Mean and standard deviation over cases, in %; difference to "
        "the first row in points of DICE, paired by case, with a 95 % interval by a bootstrap over "
        "patients. Marks are replayed over the truth as people draw them (`draw_mark`). The "
        "paper's rows are of other nodules, sizes and crops.",
    ]  # fmt: skip
    if result["lacking"]:
        lines += [
            "", f"**Not run: {'; '.join(result['lacking'])}.** Those cases are in no figure of the "
            "row, so that rows that lack one compare by their paired difference alone.",
        ]  # fmt: skip
    of_folds = " | ".join(f"DICE, fold {k}" for k in range(folds))
    for part, rows in result["parts"].items():
        lines += [
            "", f"## {part}", "",
            f"| | cases | patients | {' | '.join(SHOWN)} | DICE, difference | {of_folds} |",
            "|---" * (5 + len(SHOWN) - 1 + folds) + "|",
        ]  # fmt: skip
        for name, row in rows.items():
            cells = [str(row["cases"]), str(row["patients"])]
            cells += ["{:.2f} ± {:.2f}".format(*row[m]) if row[m] else "" for m in SHOWN]
            same = name == result["reference"] or not row["difference"]
            cells.append("" if same else interval(row["difference"]))
            cells += ["" if v is None else f"{v:.2f}" for v in row["DICE of folds"]]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines += [
            f"| {name}, paper | | | {' | '.join(cells)} |" + " |" * (1 + folds)
            for name, cells in PAPER.items()
        ]
    return "\n".join(lines) + "\n"
