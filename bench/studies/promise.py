"""Table 5, right: prostates of PROMISE12, ``python -m bench.studies.promise prepare|score``.

Paper, "Accurate other medical images segmentation": strategy 1's soft masks; 460, 65 and 130
samples for training, validation and test after augmentation, which it does not describe; four
folds. Here a case is a slice that shows prostate, a patient a volume, and `dsnet.train` splits by
patients and augments what it trains on. Each slice is resampled around its own centre, never around
the mask, to square pixels: 128 mm in 64 pixels by default, in 256 with ``--full``.

    python -m bench.studies.promise prepare promise --data PROMISE12
    python -m dsnet.train --data promise --shares 460 65 130 --out runs/promise
    python -m bench.studies.promise score promise runs/promise

or four runs with ``--folds 4 --fold 0`` to 3. ``score`` writes ``promise.json`` and ``promise.md``.
No copy of PROMISE12 was at hand: the protocol is tested on volumes made in its format.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from bench.common.study import markdown, parser, shared_data, table, write
from dsnet.archive.jobs import label_crop
from dsnet.data.crop import Crop, cut_crop
from dsnet.data.datasets.promise import find_promise_slices, read_slices
from dsnet.data.store import LabelRecord, StoreWriter
from dsnet.evaluation.score import evaluate
from dsnet.labeling import RecistMark

SIDE, FULL_SIDE = 64, 256
# What a slice shows of the patient, in mm: a prostate of 80 mm with its surroundings.
EXTENT_MM = 128.0
# Table 5, right columns.
PAPER = {
    f"{name}, paper": {"DICE": dice, "SEN": sensitivity, "PPV": ppv}
    for name, dice, sensitivity, ppv in (
        ("U-Net", 87.9, 88.7, 90.4),
        ("UNet3+", 91.5, 87.8, 93.3),
        ("INFNet", 90.0, 88.6, 92.3),
        ("MedT", 91.4, 89.0, 93.1),
        ("DSNet", 92.1, 88.7, 93.6),
    )
}


def prepare(store: str | Path, data: Path | None = None, side: int = SIDE) -> int:
    """Label the slices that show prostate and store them; returns how many were labelled."""
    slices = find_promise_slices(data or shared_data("promise12"))
    settings = {"strategy": "masks", "size": side, "isotropic_mm": EXTENT_MM / side}
    count = 0
    with StoreWriter(store, settings) as writer:
        for one, crop in read_slices(slices):
            if isinstance(crop, ValueError):
                failed = LabelRecord.from_error(one.key, one.source, crop, metadata=one.metadata)
                writer.append(failed)
            elif crop.masks is not None and crop.masks.any():
                record = centred(crop, side)
                count += record.status == "ok"
                writer.append(record)
    return count


def centred(crop: Crop, side: int) -> LabelRecord:
    """The label of the slice's middle, resampled; a failed record where that cannot be."""
    x, y = (0.5 * (length - 1) for length in crop.image.shape[::-1])
    middle = RecistMark.from_coordinates([x - 1, y, x + 1, y, x, y - 1, x, y + 1])
    try:
        shown = cut_crop(
            crop.image,
            middle,
            side,
            spacing=crop.spacing,
            isotropic_mm=EXTENT_MM / side,
            masks=crop.masks,
            key=crop.key,
            source=crop.source,
            metadata=crop.metadata,
        )
    except ValueError as error:
        return LabelRecord.from_error(crop.key, crop.source, error, metadata=crop.metadata)
    return label_crop(replace(shown, mark=None, notes=crop.notes))


def score(store: str, runs: list[str], out: Path) -> dict:
    """Score runs, or the folds of a cross-validation, on their test parts."""
    rows = evaluate(runs, data=store, part="test", surface=False)
    result = {"test slices": table(rows)}
    about = (
        "Slices of PROMISE12 that show prostate, split by volume in the paper's proportions "
        "460 : 65 : 130 or in its four folds; soft masks of strategy 1. Mean and standard "
        "deviation over slices, in %. The paper's figures are of other slices, sizes and "
        "augmentation."
    )
    write("promise", result, markdown("PROMISE12, held-out volumes", about, result, PAPER), out)
    return result


def main(argv: list[str] | None = None) -> int:
    """Run one job."""
    options = parser((__doc__ or "").partition("\n")[0], "folder with CaseNN.mhd").parse_args(argv)
    if options.job == "prepare":
        side = options.side or (FULL_SIDE if options.full else SIDE)
        print(f"{prepare(options.store, options.data, side)} slices of {side} pixels")
    else:
        score(options.store, options.runs, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
