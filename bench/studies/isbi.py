"""Table 5, left: neurons of ISBI 2012, ``python -m bench.studies.isbi prepare|score``.

Paper, "Accurate other medical images segmentation": strategy 1's soft masks; 30 pictures become
210, 60 and 30 samples for training, validation and test by augmentation, which it does not
describe; four folds. Ten samples a picture are 21, 6 and 3 pictures. Here a sample is a window at
a place that is drawn, turned by one of the eight symmetries: no pixel is interpolated, and the soft
mask is that of the whole picture, labelled once. What is segmented is the cells' inside (255 in the
labels), which membranes part.

No leak: a sample's patient is its picture, and `dsnet.train` splits by patients, so that no picture
has samples in two parts. Augmentation comes after that split in all but time: what a sample is
follows from its own picture and number alone.

    python -m bench.studies.isbi prepare isbi
    python -m dsnet.train --data isbi --shares 210 60 30 --out runs/isbi
    python -m bench.studies.isbi score isbi runs/isbi

or, as the paper's cross-validation, four runs with ``--folds 4 --fold 0`` to 3 in place of the
shares. ``score`` writes ``isbi.json`` and ``isbi.md``; the test part's samples are the cases, and
their pictures the patients.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from bench.common.study import (
    SYMMETRIES,
    markdown,
    parser,
    shared_data,
    table,
    window_record,
    write,
)
from dsnet.data.datasets.folders import find_image_mask_pictures
from dsnet.data.store import StoreWriter
from dsnet.evaluation.score import evaluate
from dsnet.labeling import label_mask

SIDE, FULL_SIDE = 64, 256
# Of each picture: the paper's 300 samples of 30 pictures.
SAMPLES = 10
# Table 5, left columns.
PAPER = {
    f"{name}, paper": {"DICE": dice, "SEN": sensitivity, "PPV": ppv}
    for name, dice, sensitivity, ppv in (
        ("U-Net", 93.5, 91.4, 91.3),
        ("UNet3+", 96.3, 89.9, 94.1),
        ("INFNet", 94.5, 92.1, 94.3),
        ("MedT", 93.7, 90.7, 94.4),
        ("DSNet", 95.8, 91.3, 94.7),
    )
}


def prepare(
    store: str | Path, data: Path | None = None, side: int = SIDE, seed: int = 0, samples=SAMPLES
) -> int:
    """Label the pictures and store their samples; returns how many."""
    root = data or shared_data("isbi2012")
    pictures = find_image_mask_pictures(root / "image", root / "label")
    settings = {"strategy": "masks", "size": side, "samples": samples, "seed": seed}
    count = 0
    with StoreWriter(store, settings) as writer:
        for number, picture in enumerate(pictures):
            crop = picture.read()
            if min(crop.image.shape) < side:
                raise ValueError(
                    f"{picture.image}: must be of {side} pixels, got {crop.image.shape}"
                )
            label = label_mask(crop.image, crop.masks[0])
            for sample in range(samples):
                rng = np.random.default_rng([seed, number, sample])
                top, left = (int(rng.integers(0, n - side + 1)) for n in crop.image.shape)
                record = window_record(
                    crop,
                    label,
                    (left, top),
                    side,
                    key=f"{picture.key}/sample-{sample}",
                    turn=sample % SYMMETRIES,
                    patient=picture.key,
                    turned=sample % SYMMETRIES,
                )
                writer.append(record)
                count += 1
    return count


def score(store: str, runs: list[str], out: Path) -> dict:
    """Score runs, or the folds of a cross-validation, on their test parts."""
    rows = evaluate(runs, data=store, part="test", surface=False)
    result = {"test samples": table(rows)}
    about = (
        "Windows of ISBI 2012's pictures, ten a picture, split by picture in the paper's "
        "proportions 210 : 60 : 30 or in its four folds; soft masks of strategy 1. Mean and "
        "standard deviation over samples, in %; samples of one picture are no independent cases. "
        "The paper's figures are of other pictures, sizes and augmentation."
    )
    write("isbi", result, markdown("ISBI 2012, held-out pictures", about, result, PAPER), out)
    return result


def main(argv: list[str] | None = None) -> int:
    """Run one job."""
    options = parser(
        (__doc__ or "").partition("\n")[0], "folder with image/ and label/"
    ).parse_args(argv)
    if options.job == "prepare":
        side = options.side or (FULL_SIDE if options.full else SIDE)
        print(
            f"{prepare(options.store, options.data, side, options.seed)} samples of {side} pixels"
        )
    else:
        score(options.store, options.runs, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
