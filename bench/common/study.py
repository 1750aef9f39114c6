"""What the studies of trained networks share: windows of a label, tables by the paper's metrics.

A study has two jobs. ``prepare`` writes a label store for `dsnet.train`; ``score`` takes the runs
that learnt from it, has `dsnet.evaluation` score each on its held-out patients, and writes the
table as JSON and Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.common.machine import machine
from dsnet.data.crop import Crop
from dsnet.data.store.record import LabelRecord
from dsnet.evaluation.score import Scored
from dsnet.labeling import SoftLabel

# As the paper's tables call them, with their names in `dsnet.metrics`; MAE is of the soft mask.
METRICS = {"DICE": "dice", "SEN": "sensitivity", "PPV": "ppv", "MAE": "soft_mask_mae"}
SYMMETRIES = 8


def shared_data(name: str) -> Path:
    return Path(os.environ.get("DSNET_SHARED", "../shared"), "data", name)


def window_record(
    crop: Crop,
    label: SoftLabel,
    corner: tuple[int, int],
    side: int,
    *,
    key: str | None = None,
    turn: int = 0,
    **metadata,
) -> LabelRecord:
    """A square window of a labelled picture: what its border does is done to all of it.

    Parameters
    ----------
    crop, label
        The whole picture, and its label.
    corner : (left, top)
        First pixel of the window.
    side : int
        Pixels.
    key : str, optional
        By default the crop's.
    turn : int
        0 to 7: as `turned` takes it. The record's offset is the window's corner all the same.
    **metadata
        Added to the crop's.
    """
    left, top = corner
    window = (slice(top, top + side), slice(left, left + side))

    def cut(plane: np.ndarray) -> np.ndarray:
        return turned(plane[(..., *window)], turn)

    masks = None if crop.masks is None else cut(crop.masks)
    beside = None if crop.neighbours is None else cut(crop.neighbours)
    return LabelRecord.from_label(
        replace(
            crop,
            key=key or crop.key,
            image=cut(crop.image),
            masks=masks,
            neighbours=beside,
            spacing=crop.spacing and (crop.spacing if turn % 2 == 0 else crop.spacing[::-1]),
            offset=(float(left), float(top)),
            metadata={**crop.metadata, **metadata},
        ),
        replace(label, alpha=cut(label.alpha), binary=cut(label.binary), trimap=cut(label.trimap)),
    )


def turned(plane: np.ndarray, turn: int) -> np.ndarray:
    """One of the eight symmetries of a square: quarter turns, the last four mirrored."""
    out = np.rot90(plane, turn % 4, axes=(-2, -1))
    return np.ascontiguousarray(out[..., ::-1] if turn >= 4 else out)


def overlap(mask: np.ndarray, truth: np.ndarray) -> list[float]:
    """DICE, SEN, PPV of one case (paper, "Metrics"), by numbers of pixels."""
    both = np.count_nonzero(mask & truth)
    sides = np.count_nonzero(mask) + np.count_nonzero(truth), np.count_nonzero(truth)
    sides += (np.count_nonzero(mask),)
    parts = (2 * both, both, both)
    return [part / side if side else 0.0 for part, side in zip(parts, sides, strict=True)]


def summary(scores: Sequence[Sequence[float]]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over cases, in percent, of columns in the order of `METRICS`."""
    columns = 100 * np.array(scores).T
    return {m: (float(c.mean()), float(c.std())) for m, c in zip(METRICS, columns, strict=False)}


def cell(pair: Sequence[float]) -> str:
    return f"{pair[0]:.2f} ± {pair[1]:.2f}"


def interval(difference: Sequence[float]) -> str:
    """A difference and its interval."""
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*difference)


def table(rows: Sequence[Scored], keep: Callable[[str], bool] = lambda key: True) -> dict:
    """Mean and standard deviation of each run over the cases whose keys are kept, in percent."""
    found: dict = {"cases": 0, "patients": 0, "rows": {}}
    for row in rows:
        kept = np.array([keep(key) for key in row.keys], bool)
        columns = np.stack([row.values[name][kept] for name in METRICS.values()])
        patients = {patient for patient, taken in zip(row.patients, kept, strict=True) if taken}
        found["cases"], found["patients"] = int(kept.sum()), len(patients)
        found["rows"][row.name] = {**summary(columns.T), "notes": list(row.notes)}
    return found


def markdown(title: str, about: str, tables: dict[str, dict], paper: dict[str, dict]) -> str:
    """The tables, our runs first and the paper's figures below them."""
    lines = [f"# {title}", "", about]
    for name, found in tables.items():
        lines += ["", f"## {name}: {found['cases']} cases of {found['patients']} patients", ""]
        lines += [f"| | {' | '.join(METRICS)} |", "|---" * (1 + len(METRICS)) + "|"]
        notes: list[str] = []
        for row, figures in {**found["rows"], **paper}.items():
            cells = [cell(figures[m]) if isinstance(figures.get(m), tuple) else
                     str(figures.get(m, "")) for m in METRICS]  # fmt: skip
            lines.append(f"| {row} | {' | '.join(cells)} |")
            notes += [f"{row}: {note}" for note in figures.get("notes", ())]
        lines += ["", *notes] if notes else []
    return "\n".join(lines) + "\n"


def write(name: str, result: dict, text: str, folder: Path) -> None:
    """``NAME.json`` and ``NAME.md``; the text is printed, too."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.json").write_text(
        json.dumps({"machine": machine(), **result}, indent=1) + "\n"
    )
    print(text)


def parser(description: str, root: str) -> argparse.ArgumentParser:
    """The command line of a study."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("job", choices=("prepare", "score"))
    made.add_argument("store", help="the label store that prepare writes")
    made.add_argument("runs", nargs="*", help="score: folders that dsnet.train wrote")
    made.add_argument("--data", type=Path, help=f"prepare: {root}")
    made.add_argument("--side", type=int, help="prepare: pixels a side, in place of the default")
    made.add_argument("--seed", type=int, default=0, help="prepare: of what is drawn (default 0)")
    made.add_argument("--full", action="store_true", help="prepare: the size for a GPU")
    made.add_argument("--out", type=Path, default=Path("bench/results"))
    return made
