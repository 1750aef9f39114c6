"""Train and write the released weights: ``python -m bench.fits.pretrained STORE``.

STORE is one of ``python -m bench.studies.train_lidc prepare STORE``. Two networks and an SR teacher
learn from its training patients, and become files in half precision in ``dsnet/models/weights``.
Each file is then scored on the held-out patients; the figures go to
``bench/results/pretrained.json`` and into the model card. A fit that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.common.machine import machine
from bench.common.study import cell, shared_data, table
from dsnet.data.crop_settings import of_store
from dsnet.data.store import open_store
from dsnet.devices import use_threads
from dsnet.evaluation.rows import Row
from dsnet.evaluation.score import evaluate
from dsnet.files import write_json, write_text
from dsnet.models import SRResNet, build, load_model
from dsnet.models.pretrained import names, save_pretrained
from dsnet.models.released import FOLDER
from dsnet.training.dataset import DeviceDataset, split_by_patient
from dsnet.training.run import train
from dsnet.training.settings import RECIPES, Settings
from dsnet.training.sr import SRSettings, evaluate_sr, train_sr
from dsnet.training.sr_data import load_slices

NETWORKS = {"dsnet-lidc": False, "dsnet-lidc-mark": True}  # whether it sees the mark
TEACHER = "dsnet-lidc-sr"
SHARES, DATA_SEED = (4.0, 1.0, 1.0), 1
# The pictures were scaled slice by slice, each to its own range, and HU are lost: from air to soft
# tissue is about that.
WINDOW = (-1000.0, 400.0)
MOST_BYTES = 10_000_000  # of all files together: they come with the package
# Of the block in the model card that is written here.
BEGIN = "<!-- figures: written by bench/fits/pretrained.py -->"
END = "<!-- end of figures -->"


def fit_network(name: str, options: argparse.Namespace) -> dict:
    """Train a network, write its file, and score that on the held-out patients."""
    run = options.runs / name
    settings = Settings(
        **{
            **RECIPES["fast"], "precision": "fp32", "data": options.store, "variant": "backbone",
            "scale": 1, "average": 0.99, "shares": SHARES, "data_seed": DATA_SEED,
            "width": options.width, "epochs": options.epochs, "threads": options.threads,
            "mark_input": NETWORKS[name], "out": str(run), "device": "cpu",
            "resume": (run / "checkpoint.pt").is_file(),
        }
    )  # fmt: skip
    if train(settings)["stopped"]:
        raise KeyboardInterrupt
    network = load_model(run / "best.pt")
    crop = of_store(options.store)
    assert crop is not None, "a store of train_lidc says how it was made"
    file = options.out / f"{name}.safetensors"
    save_pretrained(file, network, replace(crop, window=WINDOW).to_dict())
    split = str(run / "split.json")
    (row,) = evaluate([file], data=options.store, split=split, device="cpu", surface=False)
    return {
        "settings": {k: getattr(settings, k) for k in ("variant", "scale", "width", "epochs")},
        "parameters": sum(p.numel() for p in network.parameters()),
        "threshold": network.threshold,
        **_figures(row, options.store),
    }


def _figures(row: Row, store: str) -> dict:
    """Over each nodule's slice with the largest consensus, and over all slices."""
    largest = {r.key for r in open_store(store).records("ok") if r.metadata.get("largest")}
    found = {}
    for part, keep in (("largest", largest.__contains__), ("all slices", lambda key: True)):
        told = table([row], keep)
        (figures,) = told["rows"].values()
        kept = np.array([keep(key) for key in row.keys], bool)
        for metric in ("dice_half", "brier", "calibration_error"):
            figures[metric] = float(row.values[metric][kept].mean())
        figures.pop("notes", None)
        found[part] = {**figures, "cases": told["cases"], "patients": told["patients"]}
    return {"held_out": found, "notes": row.notes, "protocol": row.protocol._asdict()}


def fit_teacher(options: argparse.Namespace) -> dict:
    """Train the teacher on whole pictures of the training patients; score it on the held-out."""
    data = DeviceDataset.from_store(options.store, "cpu", None, None, 0)
    split = split_by_patient(data.patients, SHARES, DATA_SEED)
    folders = {
        part: sorted({str(options.pictures / data.patients[i]) for i in getattr(split, part)})
        for part in ("train", "test")
    }
    file = options.runs / f"{TEACHER}.pt"
    settings = SRSettings(
        images=folders["train"], blocks=8, features=16, global_skip=True, lr=1e-3,
        steps=options.sr_steps, patch=options.sr_patch, out=str(file), device="cpu",
        resume=file.with_suffix(".checkpoint.pt").is_file(),
    )  # fmt: skip
    use_threads(options.threads)
    train_sr(settings)
    out = options.out / f"{TEACHER}.safetensors"
    save_pretrained(out, load_model(file), None)
    teacher = load_model(out)
    assert isinstance(teacher, SRResNet)
    slices = load_slices(folders["test"])
    return {
        "settings": {**teacher.config, "steps": settings.steps, "patch": settings.patch},
        "parameters": sum(p.numel() for p in teacher.parameters()),
        "held_out": {
            **evaluate_sr(teacher, slices.images),
            "slices": len(slices.images), "patients": len(folders["test"]),
        },
    }  # fmt: skip


def card(text: str, found: dict[str, dict]) -> str:
    """The model card with the figures of `found` in its marked block."""
    head, mark, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"the model card must have the lines {BEGIN} and {END}")
    lines = [
        "| name | slices | cases, patients | DICE | SEN | PPV | Brier | calibration error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    about = []
    for name, each in found.items():
        how, held, size = each["settings"], each["held_out"], f"{each['parameters']:,} parameters"
        if name == TEACHER:
            about.append(
                f"- `{name}`: {size}, {how['steps']} steps; PSNR {held['teacher_psnr']:.2f} dB "
                f"(bicubic {held['bicubic_psnr']:.2f}), SSIM {held['teacher_ssim']:.4f} (bicubic "
                f"{held['bicubic_ssim']:.4f}), {held['slices']} slices of {held['patients']} "
                "patients."
            )
            continue
        marks = "; marks drawn over the truth as people draw" if NETWORKS[name] else ""
        about.append(
            f"- `{name}`: {size}, width {how['width']}, {how['epochs']} epochs, threshold "
            f"{each['threshold']:g}{marks}."
        )
        for part, row in held.items():
            cells = [cell(row[m]) for m in ("DICE", "SEN", "PPV")]
            cells += [f"{row[m]:.4f}" for m in ("brier", "calibration_error")]
            count = f"{row['cases']}, {row['patients']}"
            lines.append(f"| `{name}` | {part} | {count} | {' | '.join(cells)} |")
    lines += [
        "",
        "DICE, SEN and PPV in %, mean and standard deviation over cases, at the file's threshold;",
        "Brier score and calibration error over the crop, against the readers' mean.",
        "",
        *about,
    ]
    return "\n".join([head + BEGIN, *lines, END]) + tail


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    # Half a float each; what the teacher takes is little beside.
    size = sum(
        2 * sum(p.numel() for p in made.parameters())
        for made in (
            build("backbone", width=options.width, scale=1, mark_input=mark)
            for mark in NETWORKS.values()
        )
    )
    if size > MOST_BYTES:
        raise SystemExit(
            f"--width must make files of {MOST_BYTES / 1e6:g} MB at most, {options.width} makes "
            f"{size / 1e6:.1f} MB"
        )
    readme = options.out / "README.md"
    options.out.mkdir(parents=True, exist_ok=True)
    if not readme.is_file():
        shutil.copyfile(FOLDER / "README.md", readme)
    results = options.results / "pretrained.json"
    told = json.loads(results.read_text()) if results.is_file() else {}
    found = told.get("weights", {})
    for name in names() if options.only is None else (options.only,):
        row = fit_teacher(options) if name == TEACHER else fit_network(name, options)
        row["bytes"] = (options.out / f"{name}.safetensors").stat().st_size
        found[name] = {"machine": machine(), **row}
        found = {each: found[each] for each in names() if each in found}
        write_json(results, {"data": {"shares": SHARES, "data_seed": DATA_SEED}, "weights": found})
        write_text(readme, card(readme.read_text(encoding="utf-8"), found))
        print(f"wrote {name}, {row['bytes']:,} bytes, and its figures into {results} and {readme}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--only", choices=names(), help="one of them (all)")
    parser.add_argument("--epochs", type=int, default=20, help="of the networks (20)")
    parser.add_argument("--width", type=int, default=12, help="of the networks (12)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads")
    parser.add_argument("--sr-steps", type=int, default=4000, help="of the teacher (4000)")
    parser.add_argument("--sr-patch", type=int, default=96, help="of the teacher, pixels (96)")
    parser.add_argument(
        "--pictures", type=Path, default=shared_data("lidc") / "LIDC-IDRI-slices", metavar="DIR",
        help="whole pictures, a folder a patient, for the teacher",
    )  # fmt: skip
    parser.add_argument("--runs", type=Path, default=Path("runs/pretrained"), help="work folder")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the weights")
    parser.add_argument("--results", type=Path, default=Path("bench/results"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
