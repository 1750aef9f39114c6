"""Table 1 from replayed marks on LIDC: ``python -m bench.studies.lnsm prepare|score``.

Paper, "Comparison on our proposed LNSM": 1,500 lung nodules of DeepLesion, 64x64, labelled by
strategy 3 from the RECIST marks that people drew, split 1,000 : 100 : 400. DeepLesion's pictures
are not at hand. **Replayed marks on LIDC** take their place: over each slice's 50 % consensus a
mark is drawn as people draw them (`dsnet.labeling.draw_mark`), and strategy 3 sees the picture and
that mark alone. The network never learns from a reader's mask.

The training patients are half 0 of `bench.common.lidc` and the held-out ones half 1: the labels'
edge model was fitted on half 0, so labels there are as good as they get, and nothing of half 1 was
seen by anything. Truth of the held-out slices is the 50 % consensus. ``prepare FOLDER`` writes two
stores:

    python -m bench.studies.lnsm prepare lnsm
    python -m dsnet.train --data lnsm/train --shares 1000 100 0 --out runs/lnsm
    python -m bench.studies.lnsm score lnsm runs/lnsm

``score`` writes ``lnsm.json`` and ``lnsm.md``: over each nodule's slice with the largest consensus,
and over all slices, beside one reader of the four, and beside strategy 3's label of a mark that is
replayed there.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import numpy as np

from bench.common.lidc import nodule_rows, patient_halves
from bench.common.study import markdown, overlap, parser, shared_data, summary, table, write
from dsnet.data.crop import cut_crop
from dsnet.data.datasets.lidc import find_rater_pictures
from dsnet.data.store import LabelRecord, StoreWriter, open_store
from dsnet.evaluation.score import evaluate
from dsnet.labeling import consensus, draw_mark, label_recist

SIDE = 64
STORES = ("train", "held-out")  # by half
PAPER = {
    f"{name}, paper": {"DICE": dice, "SEN": sensitivity, "PPV": ppv}
    for name, dice, sensitivity, ppv in (
        ("U-Net", (87.88, 1.1), (86.62, 3.2), (89.04, 5.7)),
        ("DeepLabV3+", (87.64, 2.4), (85.21, 3.1), (88.60, 2.4)),
        ("Attention U-Net", (87.64, 2.4), (85.21, 1.7), (88.60, 2.2)),
        ("UNet++", (88.57, 2.7), (89.24, 0.5), (91.86, 3.7)),
        ("CE-Net", (89.24, 2.2), (89.82, 1.4), (91.33, 1.6)),
        ("UNet3+", (90.55, 1.5), (89.70, 2.7), (93.65, 1.2)),
        ("INFNet", (90.05, 1.8), (88.17, 2.3), (93.41, 3.7)),
        ("MedT", (90.13, 2.6), (89.56, 3.1), (92.41, 1.2)),
        ("DSNet", (91.90, 1.5), (89.97, 1.3), (94.29, 2.5)),
    )
}


def prepare(
    folder: str | Path, data: Path | None = None, side: int = SIDE, seed: int = 0, every: int = 1
) -> dict[str, int]:
    """Draw marks, label them, and write both stores; returns how many were labelled in each."""
    root = data or shared_data("lidc")
    rows = nodule_rows(root)
    halves = patient_halves(rows)
    largest = {f"{row['patient']}/{row['nodule']}": row["largest_slice"] for row in rows}
    settings = {"strategy": "recist", "size": side, "marks": "replayed", "seed": seed}
    counts = dict.fromkeys(STORES, 0)
    stores = [StoreWriter(Path(folder, name), settings) for name in STORES]
    with stores[0] as training, stores[1] as held_out:
        for picture in find_rater_pictures(root / "LIDC-IDRI-slices")[::every]:
            crop = picture.read()
            whole = consensus(crop.masks)
            if not whole.any():
                continue
            patient, nodule, _ = picture.key.split("/")
            half = halves[patient]
            held = bool(half)
            readers = [overlap(mask, whole) for mask in crop.masks if mask.any()]
            metadata = {
                "patient": patient,
                "largest": Path(picture.image).name == largest[f"{patient}/{nodule}"],
                "mark": "replayed",
                **({"readers": readers} if held else {}),
            }
            mark = draw_mark(whole, np.random.default_rng([seed, zlib.crc32(picture.key.encode())]))
            record = labelled(crop, mark, whole if held else None, side, metadata)
            (held_out if held else training).append(record)
            counts[STORES[half]] += record.status == "ok"
    return counts


def labelled(crop, mark, truth, side: int, metadata: dict) -> LabelRecord:
    """Strategy 3's label of a mark on a picture, with the truth of a held-out one."""
    shown = None
    try:
        shown = cut_crop(
            crop.image,
            mark,
            side,
            spacing=crop.spacing,
            masks=None if truth is None else truth[None],
            key=crop.key,
            source=crop.source,
            metadata=metadata,
        )
        return LabelRecord.from_label(shown, label_recist(shown.image, shown.mark))
    except ValueError as error:
        return LabelRecord.from_error(crop.key, crop.source, error, crop=shown, metadata=metadata)


def score(folder: str | Path, runs: list[str], out: Path) -> dict:
    """Score runs on the held-out patients."""
    store = Path(folder, STORES[1])
    records = {record.key: record for record in open_store(store).records("ok")}
    scored = evaluate(runs, data=str(store), part="all", surface=False)
    result = {}
    for name, keep in (
        ("one slice a nodule, the largest", lambda key: records[key].metadata["largest"]),
        ("all slices", lambda key: True),
    ):
        found = table(scored, keep)
        kept = [record for key, record in records.items() if keep(key)]
        readers = [each for record in kept for each in record.metadata["readers"]]
        found["rows"]["one reader"] = summary(readers)
        label = [overlap(record.binary, record.truth) for record in kept]
        found["rows"]["strategy 3 of a replayed mark"] = summary(label)
        result[name] = found
    about = (
        "Trained on strategy 3's labels of **replayed marks** over LIDC's training patients, never "
        "on a reader's mask; scored on other patients, truth: the 50 % consensus. Mean and "
        "standard deviation over cases, in %; MAE: of the soft mask against strategy 3's of a "
        "mark replayed there. The paper's figures are of 400 nodules of DeepLesion, with strategy "
        "3's own labels of them for truth."
    )
    text = markdown("Trained on replayed marks, LIDC's held-out patients", about, result, PAPER)
    write("lnsm", result, text, out)
    return result


def main(argv: list[str] | None = None) -> int:
    """Run one job."""
    options = parser((__doc__ or "").partition("\n")[0], "LIDC's folder").parse_args(argv)
    if options.job == "prepare":
        counts = prepare(options.store, options.data, options.side or SIDE, options.seed)
        print(
            ", ".join(f"{count} labels in {options.store}/{name}" for name, count in counts.items())
        )
    else:
        score(options.store, options.runs, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
