"""LIDC by the paper's protocol: ``python -m bench.studies.train_lidc prepare|score``.

Paper, "Comparison on LIDC": soft masks of strategy 2, the 50 % consensus as truth, 64x64 crops,
387 / 55 / 544 of 986 nodules. Here 514 nodules that all four readers marked (2,270 slices), split
in the same proportions with whole patients.

``prepare STORE`` labels every slice that has a consensus (2,174) and keeps 64x64 pixels
(``--side``) around the centre of its nodule's RECIST mark. ``score STORE RUN ...`` writes DICE, SEN
and PPV of each run of `dsnet.train` on its held-out patients, and the mean difference of its soft
masks from strategy 2's (MAE), beside the readers' figures on the same slices, into
``bench/results/lidc.json`` and ``lidc.md``: once over each nodule's slice with the largest
consensus, and once over all slices.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from bench.common.lidc import nodule_rows
from bench.common.machine import machine
from bench.common.study import METRICS, cell, overlap, shared_data, summary, window_record
from dsnet.data.datasets.lidc import find_rater_pictures
from dsnet.data.store import StoreWriter, open_store
from dsnet.labeling import consensus, label_raters
from dsnet.models import load_model

SIDE = 64
PAPER = {"U-Net, paper": (77.84, 21.74), "DSNet, paper": (83.35, 7.85)}


def prepare(store: str, side: int = SIDE, neighbours: int = 0) -> None:
    """Label all slices with strategy 2; store their middles, side x side pixels, and neighbours'.

    Of smaller middles than 64x64, slices are left out on which a reader marked more than that.
    """
    root = shared_data("lidc")
    nodules = {f"{row['patient']}/{row['nodule']}": row for row in nodule_rows(root)}
    settings = {"strategy": "raters", "side": side}
    if neighbours:
        settings["neighbours"] = neighbours
    with StoreWriter(store, settings) as writer:
        for picture in find_rater_pictures(root / "LIDC-IDRI-slices", neighbours=neighbours):
            crop = picture.read()
            label = label_raters(crop.image, crop.masks, spacing=crop.spacing)
            row = nodules[picture.key.rsplit("/", 1)[0]]
            corner, window = _window(row, crop.image.shape, side)
            whole = consensus(crop.masks)
            if not whole.any():
                continue
            inside = np.count_nonzero(crop.masks[(slice(None), *window)])
            if side < SIDE and np.count_nonzero(crop.masks) > inside:
                continue
            truth = whole[window]
            readers = [overlap(mask[window], truth) for mask in crop.masks if mask.any()]
            record = window_record(
                crop,
                label,
                corner,
                side,
                largest=Path(picture.image).name == row["largest_slice"],
                readers=readers,
                cut_off=int(whole.sum() - truth.sum()),
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
                [*overlap(found[run][k] >= 0.5, held[k].truth), _mae(found[run][k], held[k].alpha)]
                for k in cases
            ]
            rows[Path(run).name] = {
                **summary(each),
                "variant": settings["variant"],
                "width": settings["width"],
                "parameters": sum(p.numel() for p in models[run].trainable_parameters()),
            }
        readers = [each for k in cases for each in held[k].metadata["readers"]]
        rows["one reader"] = summary(readers)
        label = [overlap(held[k].binary, held[k].truth) for k in cases]
        rows["soft mask of strategy 2"] = summary(label)
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
            cells = [cell(row[m]) if m in row else "" for m in METRICS]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        for name, pair in PAPER.items():
            lines.append(f"| {name} | {cell(pair)} | | | |")
    text = "\n".join(lines) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lidc.md").write_text(text)
    (folder / "lidc.json").write_text(json.dumps(result, indent=1) + "\n")
    print(text)


def _window(row: dict, shape: tuple[int, int], side: int):
    """The corner (x, y) and slices of `side` pixels around the mark's centre, in the picture."""
    starts = []
    for axis, length in zip("yx", shape, strict=True):
        centre = np.mean([float(row[f"{axis}{end}"]) for end in range(1, 5)])
        starts.append(int(np.clip(round(centre - (side - 1) / 2), 0, length - side)))
    top, left = starts
    window = (slice(top, top + side), slice(left, left + side))
    return (left, top), window


def _mae(soft: np.ndarray, alpha: np.ndarray) -> float:
    return float(np.abs(soft - alpha).mean())


def _predict(model, records) -> list[np.ndarray]:
    images = torch.from_numpy(np.stack([r.image for r in records]))[:, None]
    return [one for part in images.split(16) for one in model.predict(part)[0][:, 0].numpy()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("job", choices=("prepare", "score"))
    parser.add_argument("store")
    parser.add_argument("runs", nargs="*", help="folders that dsnet.train wrote")
    parser.add_argument("--side", type=int, default=SIDE, help="pixels a side, at most 128 (64)")
    parser.add_argument("--neighbours", type=int, default=0, help="prepare: slices on either side")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    options = parser.parse_args()
    if options.job == "prepare":
        prepare(options.store, options.side, options.neighbours)
    else:
        write(score(options.store, options.runs), options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
