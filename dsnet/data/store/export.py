"""Label stores as PNG folders, `.npz` files like LNSM, in nnU-Net's layout, as stores again.

Only rows of status "ok" are exported; one that is damaged is left out, which the store tells
(`LabelStore.damaged`). The output folder appears whole or not at all; one that is a mount point
is filled when all is written.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsnet.data.patients import patient_of
from dsnet.data.store.codes import quantise
from dsnet.data.store.npz import NpzRows
from dsnet.data.store.reader import LabelStore
from dsnet.data.store.record import LabelRecord
from dsnet.files import build_folder, encode_png, table_cell
from dsnet.labeling.quality import ranking

# The paper's random split of the 1,500 images of LNSM (section IV-A).
SPLIT = (1000, 400, 100)
SPLIT_NAMES = ("train", "test", "val")
LONGEST_NAME = 100
# Rows of the table that are turned into Python's values at a time.
HELD_ROWS = 256
NNUNET_FOLDS = 5
# Of nnU-Net's layout: the soft mask of label 1, as its value times `one`.
SOFT_LABELS = {"folder": "softTr", "file_ending": ".png", "label": 1, "one": 65535}


def export_png(
    store: LabelStore,
    out: str | os.PathLike,
    *,
    alpha_bits: int | None = None,
    min_quality: float | None = None,
) -> int:
    """Write `image/`, `alpha/`, `binary/`, `trimap/` with one PNG a label, and `labels.csv`.

    Labels of masks or raters come with `truth/`, what these drew.
    Images are 16-bit (grey value x 65535), alphas 8- or 16-bit, binary masks 0 and 255.
    `labels.csv` has the file name, the key and every column that is not an array; a text that a
    spreadsheet would take for a formula has an apostrophe before it.

    Parameters
    ----------
    alpha_bits : {8, 16}, optional
        By default as in the store.
    min_quality : float, optional
        Leaves out labels whose expected Dice (of masks: overall quality) is lower or absent.

    Returns
    -------
    int
        Labels written.

    Raises
    ------
    FileExistsError
        When `out` is not an empty folder.
    ValueError
        When no label passes, or an argument is out of range.
    """
    bits = store.alpha_bits if alpha_bits is None else alpha_bits
    if bits not in (8, 16):
        raise ValueError(f"alpha_bits must be 8 or 16, got {alpha_bits!r}")
    keys = [label.key for label in _chosen(store, min_quality)]
    names = file_names(keys)

    def write(folder: Path) -> None:
        for part in ("image", "alpha", "binary", "trimap"):
            (folder / part).mkdir()
        for record in _records(store, names):
            file, label = f"{names[record.key]}.png", record.labelled()
            _picture(folder / "image" / file, quantise(label.image, 16))
            _picture(folder / "alpha" / file, quantise(label.alpha, bits))
            _picture(folder / "binary" / file, label.binary.astype(np.uint8) * 255)
            _picture(folder / "trimap" / file, label.trimap)
            if record.truth is not None:
                (folder / "truth").mkdir(exist_ok=True)
                _picture(folder / "truth" / file, record.truth.astype(np.uint8) * 255)
        columns = store.table()
        with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, ["file", *columns.column_names])
            table.writeheader()
            for batch in columns.to_batches(max_chunksize=HELD_ROWS):
                for row in batch.to_pylist():
                    if row["key"] not in names:
                        continue
                    row["mark"] = row["mark"] and json.dumps(row["mark"])
                    cells = {"file": f"{names[row['key']]}.png", **row}
                    table.writerow({name: table_cell(value) for name, value in cells.items()})

    build_folder(out, write)
    return len(keys)


def export_npz(
    store: LabelStore,
    out: str | os.PathLike,
    split: tuple[int, int, int] = SPLIT,
    seed: int = 0,
    *,
    min_quality: float | None = None,
) -> dict[str, int]:
    """Write `train.npz`, `test.npz` and `val.npz`, a random split like that of LNSM.

    Whole patients are in one part (`dsnet.data.patients.patient_of`), so the parts come as near to
    their shares as patients can.

    Each holds `images` and `alphas` (float32 [N, H, W]), `binaries` (bool), `trimaps` (uint8)
    and `keys` (text [N]); an empty part has N = 0. Memory does not grow with N, but for the keys;
    while they are written, 10 bytes a pixel lie beside the files.

    Parameters
    ----------
    split : (train, test, val)
        Shares; where the store has another number of labels than their sum, they scale.
        LNSM's 1,500 images: 1,000, 400 and 100.
    seed : int
        Same labels, split and seed: same parts, whatever the order of the rows.

    Returns
    -------
    dict of str to int
        Labels of each part.

    Raises
    ------
    FileExistsError, ValueError
        As `export_png`; ValueError also when the labels are of several sizes.
    """
    chosen = _chosen(store, min_quality)
    keys = [label.key for label in chosen]
    parts = split_keys(keys, split, seed, [label.patient for label in chosen])
    sizes = sorted({label.shape for label in chosen})
    if len(sizes) > 1:
        raise ValueError(f"labels must be of one size, {store.path} has {sizes}")
    arrays = {
        "images": (sizes[0], np.float32),
        "alphas": (sizes[0], np.float32),
        "binaries": (sizes[0], np.bool_),
        "trimaps": (sizes[0], np.uint8),
    }
    places = {key: (name, i) for name, part in parts.items() for i, key in enumerate(part)}

    def write(folder: Path) -> None:
        with ExitStack() as open_parts:
            filled = {}
            for name, part in parts.items():
                spool = folder / f"{name}-rows"
                spool.mkdir()
                open_parts.callback(shutil.rmtree, spool)
                filled[name] = open_parts.enter_context(NpzRows(spool, len(part), arrays))
            for record in _records(store, places):
                name, index = places[record.key]
                filled[name].put(index, dict(zip(arrays, record.labelled(), strict=True)))
            for name, part in parts.items():
                filled[name].save(folder / f"{name}.npz", keys=np.array(part, dtype=str))

    build_folder(out, write)
    return {name: len(part) for name, part in parts.items()}


def export_nnunet(
    store: LabelStore, out: str | os.PathLike, *, min_quality: float | None = None
) -> int:
    """Write nnU-Net version 2's raw layout: pictures, labels, soft masks, folds.

    Cases are 2-D 16-bit PNGs `NAME_0000.png` with labels `NAME.png` of 0 and 1: what people
    drew, for marks the binarised soft mask. nnU-Net asks that the folder be called
    `DatasetXXX_Name`. The channel is called "CT", so its grey values are normalised by the
    data set's and not by each image's. nnU-Net would divide cases into folds at random:
    `splits_final.json`, to be copied into its folder of preprocessed data, keeps patients together.

    nnU-Net's labels are whole numbers. The soft masks lie beside them, as `softTr/NAME.png` of the
    same grid: 16-bit, the lesion's alpha x 65535, cut at one half by `labelsTr` where that is no
    person's. `dataset.json` names them under `soft_labels`, which nnU-Net itself passes over; how
    to train on them is in docs/how-to/nnunet.md.

    Returns
    -------
    int
        Cases written.

    Raises
    ------
    FileExistsError, ValueError
        As `export_png`.
    """
    chosen = _chosen(store, min_quality)
    keys = [label.key for label in chosen]
    names = file_names(keys)

    def write(folder: Path) -> None:
        for part in ("imagesTr", "labelsTr", SOFT_LABELS["folder"]):
            (folder / part).mkdir()
        for record in _records(store, names):
            name, label = names[record.key], record.labelled()
            _picture(folder / "imagesTr" / f"{name}_0000.png", quantise(label.image, 16))
            mask = label.binary if record.truth is None else record.truth
            _picture(folder / "labelsTr" / f"{name}.png", mask.astype(np.uint8))
            _picture(folder / SOFT_LABELS["folder"] / f"{name}.png", quantise(label.alpha, 16))
        description = {
            "channel_names": {"0": "CT"},
            "labels": {"background": 0, "lesion": 1},
            "numTraining": len(keys),
            "file_ending": ".png",
            "soft_labels": SOFT_LABELS,
        }
        (folder / "dataset.json").write_text(json.dumps(description, indent=1) + "\n")
        folds = _folds({names[label.key]: label.patient for label in chosen})
        if folds:
            (folder / "splits_final.json").write_text(json.dumps(folds, indent=1) + "\n")

    build_folder(out, write)
    return len(keys)


def export_store(
    store: LabelStore, out: str | os.PathLike, *, min_quality: float | None = None
) -> int:
    """Write a store of the labels alone, with this one's settings: what is trained on.

    Of a reviewed store (`reviewed.open_reviewed`) it has what the readers left, mended ones as
    they were mended, and neither verdicts nor versions.

    Returns
    -------
    int
        Labels written.

    Raises
    ------
    FileExistsError, ValueError
        As `export_png`.
    """
    from dsnet.data.store.writer import StoreWriter

    keys = {label.key for label in _chosen(store, min_quality)}

    def write(folder: Path) -> None:
        settings, bits = store.manifest["settings"], store.alpha_bits
        with StoreWriter(folder, settings, alpha_bits=bits) as writer:
            for record in _records(store, keys):
                writer.append(record)

    build_folder(out, write)
    return len(keys)


def _folds(patients: dict) -> list[dict]:
    """Up to five folds of cases by their patients; none where there is but one."""
    order = sorted(set(patients.values()))
    order = [order[i] for i in np.random.default_rng(0).permutation(len(order))]
    count = min(NNUNET_FOLDS, len(order))
    folds = []
    for fold in range(count if count > 1 else 0):
        held = set(order[fold::count])
        parts: dict[str, list[str]] = {"train": [], "val": []}
        for case in sorted(patients):
            parts["val" if patients[case] in held else "train"].append(case)
        folds.append(parts)
    return folds


def split_keys(
    keys: list[str], split: tuple[int, int, int], seed: int, patients: list[str] | None = None
) -> dict[str, list[str]]:
    """Random parts of the keys in the proportions of `split`, no patient in two of them.

    By largest remainder; of whole patients a boundary is off by at most half of one's labels.

    Parameters
    ----------
    keys : list of N str
    split : (train, test, val)
        Shares.
    seed : int
        The order of the keys does not matter.
    patients : list of N str, optional
        By default each key's own.
    """
    if len(split) != 3 or any(share < 0 for share in split) or sum(split) == 0:
        raise ValueError(f"split must be three shares >= 0 and not all 0, got {split!r}")
    exact = [len(keys) * share / sum(split) for share in split]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(3), key=lambda i: (counts[i] - exact[i], i))
    for index in by_remainder[: len(keys) - sum(counts)]:
        counts[index] += 1
    of_patient: dict[str, list[str]] = {}
    for key, patient in sorted(zip(keys, keys if patients is None else patients, strict=True)):
        of_patient.setdefault(patient, []).append(key)
    groups = [of_patient[patient] for patient in sorted(of_patient)]
    parts: list[list[str]] = [[], [], []]
    ends = np.cumsum(counts).tolist()
    part = placed = 0
    for index in np.random.default_rng(seed).permutation(len(groups)):
        group = groups[index]
        # The part in which most of this patient's labels would lie, were all labels in one row.
        while part < 2 and placed + len(group) / 2 > ends[part]:
            part += 1
        parts[part] += group
        placed += len(group)
    return dict(zip(SPLIT_NAMES, parts, strict=True))


def file_names(keys: list[str]) -> dict[str, str]:
    """File names without ending for keys: plain ASCII, never two alike on any file system.

    A key that is no safe name, or differs from an earlier one in case alone, gets eight
    digits of its checksum. Names do not depend on the order of the keys.
    """
    folded: dict[str, list[str]] = {}
    for key in keys:
        folded.setdefault(key.casefold(), []).append(key)
    names: dict[str, str] = {}
    taken: set[str] = set()
    for key in sorted(keys):
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", key).lstrip("._-").rstrip(".")
        name = name[:LONGEST_NAME] or "label"
        if name != key or len(folded[key.casefold()]) > 1:
            digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
            digits = 8
            while f"{name}-{digest[:digits]}".casefold() in taken | folded.keys():
                digits += 8
            name = f"{name}-{digest[:digits]}"
        taken.add(name.casefold())
        names[key] = name
    return names


class _Chosen(NamedTuple):
    """What is kept in memory of a label that is exported."""

    key: str
    patient: str
    shape: tuple[int, ...]


def _chosen(store: LabelStore, min_quality: float | None) -> list[_Chosen]:
    found = []
    # Each row is read whole: counts, names and parts are of those that are sound.
    for record in store.records("ok"):
        score = ranking(record.quality)
        if min_quality is None or (score is not None and score >= min_quality):
            patient = patient_of(record.key, record.metadata)
            found.append(_Chosen(record.key, patient, record.labelled().image.shape))
    if not found:
        limit = "" if min_quality is None else f" with a quality >= {min_quality}"
        if which := getattr(store, "which", ""):  # Of `reviewed.ReviewedStore`.
            limit += f" that --reviewed {which} lets through"
        raise ValueError(f"the store {store.path} has no label of status 'ok'{limit}")
    return found


def _records(store: LabelStore, wanted) -> Iterator[LabelRecord]:
    return (record for record in store.records("ok") if record.key in wanted)


def _picture(path: Path, pixels: np.ndarray) -> None:
    # No need to sync each one: the folder has no name yet.
    path.write_bytes(encode_png(pixels))
