"""DSNet's networks beside other packages', on LIDC: ``python -m bench.studies.lidc_networks``.

    python -m bench.studies.train_lidc prepare lidc32 --side 32 --neighbours 1
    python -m bench.studies.lidc_networks train lidc32 runs/networks
    python -m bench.studies.lidc_networks score lidc32 runs/networks

``train`` trains every row with every seed, on the same training patients, by `dsnet.train`'s fast
recipe; what is there already is left. ``score`` scores the held-out patients (paper, table 2), the
50 % consensus as truth: each network at the threshold that its validation chose, with one half
beside it, means over seeds and cases, and differences to the plain U-Net paired by case, with
95 % intervals by a bootstrap over patients. Then the network as one more reader beside the four
(paper, table 4).

``--folds 4`` is the paper's cross-validation in place of the one split: every patient is held out
once, and the table (``lidc_folds``) has each fold's own figures.

``--rows rungs`` is the ablation (paper, table 3) on the finer grid; each rung stands beside the one
before it, too. It wants an SR teacher that saw training patients alone (``teacher``, a quarter of
an hour):

    python -m bench.studies.lidc_networks teacher lidc32 runs/rungs
    python -m bench.studies.lidc_networks train lidc32 runs/rungs --rows rungs
    python -m bench.studies.lidc_networks score lidc32 runs/rungs --rows rungs

``--full`` takes the sizes for a GPU: 64 channels, 60 epochs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.common.lidc import parts_of, reader_masks, with_truth
from bench.common.study import interval, overlap, shared_data, write
from bench.studies import lidc_folds
from dsnet.data.datasets.lidc import find_rater_pictures
from dsnet.data.store import open_store
from dsnet.devices import use_threads
from dsnet.evaluation.rows import Row
from dsnet.evaluation.score import evaluate
from dsnet.labeling import consensus
from dsnet.metrics import paired_difference
from dsnet.models import VARIANTS
from dsnet.training.dataset import DeviceDataset, split_by_patient
from dsnet.training.run import train
from dsnet.training.settings import RECIPES, Settings
from dsnet.training.sr import SRSettings, train_sr

OURS = {
    "unet": {"variant": "unet"},
    "unet, averaged": {"variant": "unet", "average": 0.99},
    "backbone": {"variant": "backbone"},
    "backbone, soft loss": {"variant": "backbone", "soft_loss": "on"},
    "backbone, soft loss 100": {"variant": "backbone", "soft_loss": "on", "soft_weight": 100.0},
    "backbone, averaged": {"variant": "backbone", "average": 0.99},
    "backbone, neighbours": {"variant": "backbone", "average": 0.99, "neighbours": 1},
    "backbone, mark": {"variant": "backbone", "average": 0.99, "mark_input": True},
}
TEACHER = "teacher.pt"
PEERS = {
    name: {"variant": name}
    for name in (
        "monai-basic-unet", "monai-basic-unet++", "monai-attention-unet", "monai-segresnet",
        "monai-dynunet", "monai-swin-unetr",
    )
}  # fmt: skip
# Widths that a peer can have.
WIDTHS = {"monai-swin-unetr": 12}
# What a run takes where no option says otherwise. A rung on the finer grid costs sixteen times the
# work of a network on the crop's own, so that seven rungs of three seeds see crops of half the
# sides, learn for less long, and in small batches, which go further on as many crops.
SIZES = {
    "networks": {"epochs": 30, "batch": 32, "size": 0},
    "rungs": {"epochs": 6, "batch": 8, "size": 16},
}
# Table 3, right column.
PAPER_RUNGS = dict(zip(VARIANTS, (77.84, 79.32, 80.69, 81.99, 82.83, 83.11, 83.35), strict=True))
GROUPS = {"networks": {**OURS, **PEERS}, "rungs": {name: {"variant": name} for name in VARIANTS}}
# By `dsnet.metrics`' names, as tables head them, and how many of a unit are shown.
COLUMNS = {
    "dice": ("DICE", 100), "sensitivity": ("SEN", 100), "ppv": ("PPV", 100),
    "dice_half": ("DICE at 0.5", 100), "brier": ("Brier x 1000", 1000),
    "calibration_error": ("calibration error x 1000", 1000),
}  # fmt: skip


def settings_of(name: str, group: str, options: argparse.Namespace, seed: int) -> Settings:
    """One training of a row."""
    how = GROUPS[group][name]
    rungs = group == "rungs"
    width = 64 if options.full else WIDTHS.get(name, options.width)
    recipe: dict = dict(RECIPES["fast"])
    epochs = options.epochs or (60 if options.full else SIZES[group]["epochs"])
    batch = options.batch or (recipe["batch"] if options.full else SIZES[group]["batch"])
    size = 0 if options.full else SIZES[group]["size"]
    if batch != recipe["batch"]:
        # As the recipe's own rate follows from its batch.
        recipe |= {"batch": batch, "lr": RECIPES["paper"]["lr"] * batch**0.5}
    made = Settings(
        **{
            **recipe, "data": options.store, "data_seed": options.data_seed, "seed": seed,
            "precision": "bf16" if options.full else "fp32",
            "epochs": epochs, "width": width,
            "size": size if options.size is None else options.size,
            "scale": 4 if rungs else 1, "threads": options.threads,
            "out": str(folder_of(options.runs, name, seed)), **how,
        }
    )  # fmt: skip
    if rungs:
        # Without a file: a teacher that learnt nothing, as small as that of ``teacher``.
        found = Path(options.runs, TEACHER)
        teacher = options.teacher or (str(found) if found.exists() else "")
        made = replace(made, teacher=teacher)
        if not options.full:
            made = replace(made, judge_width=16, teacher_blocks=8, teacher_features=16)
    return made


def train_teacher(options: argparse.Namespace) -> None:
    """An SR teacher of the whole pictures of the patients that the rungs train on."""
    data = DeviceDataset.from_store(options.store)
    split = split_by_patient(data.patients, Settings().shares, options.data_seed)
    root = shared_data("lidc") / "LIDC-IDRI-slices"
    file = Path(options.runs, TEACHER)
    sizes: dict = {} if options.full else {"blocks": 8, "features": 16, "patch": 64}
    use_threads(options.threads)
    train_sr(
        SRSettings(
            images=sorted({str(root / data.patients[i]) for i in split.train}), global_skip=True,
            lr=1e-3, steps=20000 if options.full else options.sr_steps, out=str(file),
            resume=file.with_suffix(".checkpoint.pt").is_file(), **sizes,
        )
    )  # fmt: skip


def folder_of(runs: str, name: str, seed: int, fold: int | None = None) -> Path:
    of_fold = "" if fold is None else f"-fold-{fold}"
    return Path(runs, f"{name.replace(', ', '-').replace(' ', '-')}-{seed}{of_fold}")


def all_runs(options: argparse.Namespace) -> Iterator[tuple[str, int, int | None, Path]]:
    """Row, seed, fold where there are any, and folder, in the order of training."""
    for seed in range(options.seeds):
        for fold in range(options.folds) if options.folds else (None,):
            for name in GROUPS[options.rows]:
                if not options.only or name in options.only:
                    yield name, seed, fold, folder_of(options.runs, name, seed, fold)


def train_all(options: argparse.Namespace) -> None:
    for name, seed, fold, folder in all_runs(options):
        settings = settings_of(name, options.rows, options, seed)
        if fold is not None:
            settings = replace(settings, folds=options.folds, fold=fold, out=str(folder))
        done = folder / "done"
        if not done.exists():
            print(f"{name}, seed {seed}" + ("" if fold is None else f", fold {fold}"))
            resume = (folder / "checkpoint.pt").exists()
            if train(replace(settings, resume=resume))["stopped"]:
                return
            done.touch()


def score_all(options: argparse.Namespace) -> dict:
    """Both tables; rows without a finished run are left out."""
    records = {record.key: record for record in open_store(options.store).records("ok")}
    rows: dict[str, Row] = {}
    for name in GROUPS[options.rows]:
        if options.only and name not in options.only:
            continue
        folders = [folder_of(options.runs, name, seed) for seed in range(options.seeds)]
        found = [str(folder) for folder in folders if (folder / "done").exists()]
        if found:
            (rows[name],) = evaluate(found, data=options.store, surface=False)
            print(f"{name}: {len(found)} seeds")
    reference = next(iter(rows))
    first = rows[reference].seeds[0]
    there = with_truth([first])
    result: dict = {"reference": reference, "vanished": len(first.keys) - len(there), "parts": {}}
    for part, keep in parts_of(records, there).items():
        found, before = {}, rows[reference]
        for name, row in rows.items():
            found[name] = figures(row, rows[reference], keep)
            if options.rows == "rungs":
                found[name]["paper"] = PAPER_RUNGS[name]
                found[name]["dice_step"] = figures(row, before, keep)["dice_difference"]
                before = row
        result["parts"][part] = found
        if options.rows == "rungs":
            continue
        kept = [records[key] for key in rows[reference].keys if keep(key)]
        readers = np.array([each for r in kept for each in r.metadata["readers"]])
        result["parts"][part]["one reader"] = {
            metric: float(100 * column.mean())
            for metric, column in zip(("dice", "sensitivity", "ppv"), readers.T, strict=True)
        }
    if options.rows == "rungs":
        result["how"] = how_trained(options)
    else:
        result["readers"] = readers_table(options.store, records, rows)
    return result


def figures(row: Row, reference: Row, keep) -> dict:
    """Means of a row over the cases that are kept, and its differences to another row's."""
    kept = np.array([bool(keep(key)) for key in row.keys])
    there = {key: i for i, key in enumerate(reference.keys)}
    same = [there[key] for key, taken in zip(row.keys, kept, strict=True) if taken]
    patients = [p for p, taken in zip(row.patients, kept, strict=True) if taken]
    found: dict = {
        "seeds": len(row.seeds), "cases": int(kept.sum()), "patients": len(set(patients)),
        "thresholds": [t for scored in row.seeds for t in scored.thresholds], "notes": row.notes,
        "chance": row.protocol.chance,
    }  # fmt: skip
    for metric, (_, unit) in COLUMNS.items():
        values = row.values[metric][kept]
        each = [float(unit * scored.values[metric][_places(scored, keep)].mean())
                for scored in row.seeds]  # fmt: skip
        mean, low, high, *_ = paired_difference(values, reference.values[metric][same], patients)
        found[metric] = float(unit * values.mean())
        found[f"{metric}_seeds"] = each
        found[f"{metric}_difference"] = [unit * mean, unit * low, unit * high]
    return found


def _places(scored, keep) -> np.ndarray:
    return np.array([bool(keep(key)) for key in scored.keys])


def readers_table(store: str, records: dict, rows: dict[str, Row]) -> dict:
    """Mean Dice of any two of the four readers, the consensus and the networks, on the largest
    slices on which every reader marked something."""
    root = shared_data("lidc")
    pictures = {p.key: p for p in find_rater_pictures(root / "LIDC-IDRI-slices")}
    names = [name for name in ("unet", "backbone, averaged", "backbone, mark") if name in rows]
    columns = [*(f"reader {k}" for k in range(1, 5)), "consensus", *names]
    sums, cases = np.zeros((len(columns), len(columns))), 0
    found = {name: {k: i for i, k in enumerate(rows[name].seeds[0].keys)} for name in names}
    for key in rows[next(iter(rows))].keys:
        record = records[key]
        if not record.metadata["largest"]:
            continue
        cut = reader_masks(pictures[key], record)
        if len(cut) != 4 or not all(mask.any() for mask in cut):
            continue
        shown = [*cut, consensus(cut)]
        for name in names:
            soft = [s.soft[found[name][key]] >= s.cut[found[name][key]] for s in rows[name].seeds]
            shown.append(np.mean(soft, 0) >= 0.5)
        cases += 1
        for i, one in enumerate(shown):
            for j, other in enumerate(shown):
                sums[i, j] += overlap(one, other)[0]
    return {"columns": columns, "cases": cases, "dice": (100 * sums / max(cases, 1)).tolist()}


def how_trained(options: argparse.Namespace) -> dict:
    """What the rungs' table tells of its runs."""
    run = json.loads((folder_of(options.runs, "unet", 0) / "settings.json").read_text())
    split = json.loads((folder_of(options.runs, "unet", 0) / "split.json").read_text())
    names = ("width", "epochs", "batch", "lr", "size", "soft_weight", "judge_width")
    return {name: run[name] for name in names} | {"training_slices": len(split["train"])}


def about_rungs(result: dict) -> list[str]:
    """What was scaled down, in words."""
    how = result["how"]
    crops = "as the store has them, on the fourfold grid"
    if side := how["size"]:
        crops = f"brought to {side}x{side} pixels on a grid of {4 * side}x{4 * side}"
    return [
        "", "The paper's seven rungs, each with all that the one above it has. **Scaled down** to "
        f"what two CPU cores manage: {how['width']} channels at the first level (paper: 64), "
        f"{how['epochs']} epochs of {how['training_slices']} slices in batches of {how['batch']} "
        f"(60 epochs), crops {crops} (64x64 on a grid of 256x256), a teacher of 8 "
        "blocks of 16 features without adversarial loss that learnt for a quarter of an hour from "
        f"the training patients' pictures (16 of 64), soft mask loss of weight "
        f"{how['soft_weight']:g} (100). *Step*: difference to the rung above, paired alike. "
        f"Left out: {result['vanished']} slices whose consensus vanishes at that size.",
    ]  # fmt: skip


def text_of(result: dict, options: argparse.Namespace) -> str:
    rungs = options.rows == "rungs"
    lines = [
        "# The ablation on LIDC, held-out patients" if rungs
        else "# Networks on LIDC, held-out patients", "",
        "Trained and scored by `python -m bench.studies.lidc_networks`: strategy 2's soft masks, "
        "the 50 % consensus as truth, whole patients held out. Means over cases and seeds, in %; "
        "differences to the first row in points, paired by case, with 95 % intervals by a "
        "bootstrap over patients. Thresholds are those that validation chose."
        + ("" if rungs else " Marks are replayed over the truth as people draw them (`draw_mark`), "
           "one a case, the same for all."),
        *(about_rungs(result) if rungs else ()),
    ]  # fmt: skip
    more = " step | DICE, paper |" if rungs else ""
    for part, rows in result["parts"].items():
        first = rows[result["reference"]]
        lines += [
            "", f"## {part}: {first['cases']} cases of {first['patients']} patients", "",
            f"| | seeds | {' | '.join(head for head, _ in COLUMNS.values())} | DICE, difference |"
            + more,
            "|---" * (3 + len(COLUMNS) + 2 * rungs) + "|",
        ]  # fmt: skip
        for name, row in rows.items():
            cells = [f"{row[m]:.2f}" if m in row else "" for m in COLUMNS]
            seeds = ", ".join(f"{value:.1f}" for value in row.get("dice_seeds", []))
            told = ["dice_difference", *(["dice_step"] if rungs else [])]
            cells += [interval(row[d]) if d in row and row is not first else "" for d in told]
            cells += [str(row.get("paper", ""))] if rungs else []
            lines.append(f"| {name} | {seeds} | {' | '.join(cells)} |")
    if "readers" in result:
        table = result["readers"]
        lines += [
            "", f"## Readers, consensus and networks: {table['cases']} largest slices", "",
            "Mean Dice of any two, in %. A network's mask is the majority of its seeds'.", "",
            f"| | {' | '.join(table['columns'])} |", "|---" * (1 + len(table["columns"])) + "|",
        ]  # fmt: skip
        for name, row in zip(table["columns"], table["dice"], strict=True):
            lines.append(f"| {name} | {' | '.join(f'{value:.1f}' for value in row)} |")
    return "\n".join(lines) + "\n"


def _sizes(option: str) -> str:
    return ", ".join(f"{group}: {sizes[option]}" for group, sizes in SIZES.items())


def main(argv: list[str] | None = None) -> int:
    """Run one job."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("job", choices=("teacher", "train", "score"))
    parser.add_argument("store", help="label store that bench.studies.train_lidc prepared")
    parser.add_argument("runs", help="folder of the runs")
    parser.add_argument("--rows", choices=tuple(GROUPS), default="networks")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="only these rows")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=0, help="paper: 4; 0: one split (0)")
    parser.add_argument("--epochs", type=int, help=f"({_sizes('epochs')})")
    parser.add_argument("--batch", type=int, help=f"({_sizes('batch')})")
    parser.add_argument(
        "--size", type=int, help=f"pixels a side of the crops, 0: as they are ({_sizes('size')})"
    )
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--data-seed", type=int, default=1, help="of the split by patients")
    parser.add_argument("--teacher", default="", help=f"rungs: its file (RUNS/{TEACHER})")
    parser.add_argument("--sr-steps", type=int, default=1200, help="teacher: steps (1200)")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--full", action="store_true", help="the paper's width and epochs")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    options = parser.parse_args(argv)
    if options.folds < 0 or options.folds == 1:
        parser.error(f"--folds must be 2 or more, or 0 for one split, got {options.folds}")
    if options.folds and (options.rows != "networks" or options.job == "teacher"):
        parser.error(
            "--folds must be 0 for a teacher and for rungs: it saw what they would test on"
        )
    if options.job != "score":
        (train_all if options.job == "train" else train_teacher)(options)
        return 0
    if options.folds:
        result = lidc_folds.score(all_runs(options), options.store, options.folds)
        write("lidc_folds", result, lidc_folds.text_of(result), options.out)
        return 0
    result = score_all(options)
    name = "lidc_networks" if options.rows == "networks" else "lidc_rungs"
    write(name, result, text_of(result, options), options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
