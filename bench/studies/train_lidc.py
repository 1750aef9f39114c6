"""LIDC by the paper's protocol: ``python -m bench.studies.train_lidc prepare|score``.

Paper, "Comparison on LIDC": soft masks of strategy 2, the 50 % consensus as truth, 64x64 crops,
387 / 55 / 544 of 986 nodules. Here 514 nodules that all four readers marked (2,270 slices), split
in the same proportions with whole patients.

``prepare STORE`` labels every slice that has a consensus (2,174) and keeps 64x64 pixels around the
centre of its nodule's RECIST mark. ``score STORE RUN ...`` writes DICE, SEN and PPV of each run of
`dsnet.train` on its held-out patients, and the mean difference of its soft masks from strategy 2's
(MAE), beside the readers' figures on the same slices, into ``bench/results/lidc.json`` and
``lidc.md``: once over each nodule's slice with the largest consensus, and once over all slices.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench.common.machine import machine
from dsnet.data.datasets.lidc import find_rater_pictures
from dsnet.data.store import StoreWriter, open_store
from dsnet.data.store.record import LabelRecord
from dsnet.labeling import consensus, label_raters
from dsnet.models import load_model

SIDE = 64
METRICS = ("DICE", "SEN", "PPV", "MAE")
PAPER = {"U-Net, paper": (77.84, 21.74), "DSNet, paper": (83.35, 7.85)}


def prepare(store: str, neighbours: int = 0) -> None:
    """Label all slices with strategy 2 and store their 64x64 middles, and their neighbours'."""
    root = Path(os.environ.get("DSNET_SHARED", "../shared"), "data", "lidc")
    with open(root / "nodules.csv") as file:
        nodules = {f"{row['patient']}/{row['nodule']}": row for row in csv.DictReader(file)}
    settings = {"strategy": "raters", "side": SIDE}
    if neighbours:
        settings["neighbours"] = neighbours
    with StoreWriter(store, settings) as writer:
        for picture in find_rater_pictures(root / "LIDC-IDRI-slices", neighbours=neighbours):
            crop = picture.read()
            label = label_raters(crop.image, crop.masks, spacing=crop.spacing)
            row = nodules[picture.key.rsplit("/", 1)[0]]
            window, offset = _window(row, crop.image.shape)
            whole = consensus(crop.masks)
            if not whole.any():
                continue
            truth = whole[window]
            beside = crop.neighbours
            readers = [_scores(mask[window], truth) for mask in crop.masks if mask.any()]
            metadata = {
                **crop.metadata,
                "largest": Path(picture.image).name == row["largest_slice"],
                "readers": readers,
                "cut_off": int(whole.sum() - truth.sum()),
            }
            record = LabelRecord.from_label(
                replace(
                    crop,
                    image=crop.image[window],
                    masks=crop.masks[(slice(None), *window)],
                    neighbours=None if beside is None else beside[(slice(None), *window)],
                    offset=offset,
                    metadata=metadata,
                ),
                replace(
                    label,
                    alpha=label.alpha[window],
                    binary=label.binary[window],
                    trimap=label.trimap[window],
                ),
            )
            writer.append(record)


def score(store: str, runs: list[str]) -> dict:
    """Score runs on their held-out patients; returns and prints the tables."""
    records = {record.key: record for record in open_store(store).records("ok")}
    splits = [json.loads(Path(run, "split.json").read_text()) for run in runs]
    if any(split["test"] != splits[0]["test"] for split in splits):
        raise ValueError("runs were split differently: their figures cannot stand side by side")
    held = [records[key] for key in splits[0]["test"]]
    models = {run: load_model(Path(run, "best.pt")) for run in runs}
    found = {run: _predict(model, held) for run, model in models.items()}
    parts = {"largest": [r.metadata["largest"] for r in held], "all slices": [True] * len(held)}
    result: dict = {"machine": machine(), "split": {k: len(v) for k, v in splits[0].items()}}
    for part, chosen in parts.items():
        cases = np.flatnonzero(chosen)
        rows = {}
        for run in runs:
            settings = json.loads(Path(run, "settings.json").read_text())
            each = [
                [*_scores(found[run][k] >= 0.5, held[k].truth), _mae(found[run][k], held[k].alpha)]
                for k in cases
            ]
            rows[Path(run).name] = {
                **_summary(each),
                "variant": settings["variant"],
                "width": settings["width"],
                "parameters": sum(p.numel() for p in models[run].trainable_parameters()),
            }
        readers = [each for k in cases for each in held[k].metadata["readers"]]
        rows["one reader"] = _summary(readers)
        label = [_scores(held[k].binary, held[k].truth) for k in cases]
        rows["soft mask of strategy 2"] = _summary(label)
        result[part] = {"cases": len(cases), "rows": rows}
    return result


def write(result: dict, folder: Path) -> None:
    """The tables, as JSON and as Markdown."""
    lines = ["# LIDC, held-out patients", ""]
    counts = result["split"]
    lines += [
        f"{counts['train']} slices to train on, {counts['val']} to choose the epoch, "
        f"{counts['test']} held out, of other patients; truth: the 50 % consensus. Mean and "
        "standard deviation over cases, in %; MAE: of the soft mask against strategy 2's, over the "
        "crop. The paper's figures are of 544 other nodules.",
    ]
    for part in ("largest", "all slices"):
        title = "one slice a nodule, the largest" if part == "largest" else part
        lines += ["", f"## {title}: {result[part]['cases']} cases", ""]
        lines += [f"| | {' | '.join(METRICS)} |", "|---" * (1 + len(METRICS)) + "|"]
        for name, row in result[part]["rows"].items():
            cells = [_cell(row[m]) if m in row else "" for m in METRICS]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        for name, pair in PAPER.items():
            lines.append(f"| {name} | {_cell(pair)} | | | |")
    text = "\n".join(lines) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lidc.md").write_text(text)
    (folder / "lidc.json").write_text(json.dumps(result, indent=1) + "\n")
    print(text)


def _window(row: dict, shape: tuple[int, int]):
    """Slices of SIDE pixels around the mark's centre, inside the picture, and its (x, y)."""
    starts = []
    for axis, side in zip("yx", shape, strict=True):
        centre = np.mean([float(row[f"{axis}{end}"]) for end in range(1, 5)])
        starts.append(int(np.clip(round(centre - (SIDE - 1) / 2), 0, side - SIDE)))
    top, left = starts
    window = (slice(top, top + SIDE), slice(left, left + SIDE))
    return window, (float(left), float(top))


def _scores(mask: np.ndarray, truth: np.ndarray) -> list[float]:
    """DICE, SEN, PPV of one case (paper, "Metrics"), by numbers of pixels."""
    both = np.count_nonzero(mask & truth)
    sides = np.count_nonzero(mask) + np.count_nonzero(truth), np.count_nonzero(truth)
    sides += (np.count_nonzero(mask),)
    parts = (2 * both, both, both)
    return [part / side if side else 0.0 for part, side in zip(parts, sides, strict=True)]


def _mae(soft: np.ndarray, alpha: np.ndarray) -> float:
    return float(np.abs(soft - alpha).mean())


def _summary(scores: list[list[float]]) -> dict[str, tuple[float, float]]:
    columns = 100 * np.array(scores).T
    return {m: (float(c.mean()), float(c.std())) for m, c in zip(METRICS, columns, strict=False)}


def _cell(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.2f} ± {pair[1]:.2f}"


def _predict(model, records) -> list[np.ndarray]:
    images = torch.from_numpy(np.stack([r.image for r in records]))[:, None]
    return [one for part in images.split(16) for one in model.predict(part)[0][:, 0].numpy()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("job", choices=("prepare", "score"))
    parser.add_argument("store")
    parser.add_argument("runs", nargs="*", help="folders that dsnet.train wrote")
    parser.add_argument("--neighbours", type=int, default=0, help="prepare: slices on either side")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    options = parser.parse_args()
    if options.job == "prepare":
        prepare(options.store, options.neighbours)
    else:
        write(score(options.store, options.runs), options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
