"""``python -m dsnet.predict MODEL``: soft masks of whole slices, from RECIST marks or boxes.

Crops are cut as those that the model learnt from (``settings.json`` beside the model, and the
manifest of the label store that it names); options outrank that. In the folder ``--out``:
``soft/`` (16-bit PNG, 65535 is 1), ``binary/`` (0 and 255), ``overlay/``, each under the slice's
name, and ``lesions.csv`` with a row for every mark or box, also for those that failed.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from dsnet.data.datasets.deeplesion import (
    DeepLesionAnnotation,
    choose_window,
    find_image,
    group_by_file,
    read_annotations,
)
from dsnet.dependencies import needed

COLUMNS = (
    "key", "file", "status", "reason", "x0", "y0", "x1", "y1", "area_px", "area_mm2",
    "soft_area_px", "mean_alpha", "window_low", "window_high", "notes",
)  # fmt: skip
BOX_COLUMNS = ("x0", "y0", "x1", "y1")
FILE_COLUMNS = ("file_name", "file", "image")

DESCRIPTION = "Segment the marked lesions of whole slices with a trained network."
EXAMPLES = """\
examples:
  every mark of a DeepLesion table:
    python -m dsnet.predict runs/dsnet/best.pt --images Images_png \\
        --annotations DL_info.csv --out masks
  boxes (columns file, x0, y0, x1, y1, and if known key and spacing_mm):
    python -m dsnet.predict runs/dsnet/best.pt --images slices --boxes boxes.csv --out masks
  pictures that were windowed already, crops of 96 pixels:
    python -m dsnet.predict best.pt --images pictures --boxes boxes.csv --out masks \\
        --pictures --size 96

lesions.csv: x0 y0 x1 y1 are the first and last column and row of the binary mask, area_px and
area_mm2 its area, soft_area_px the sum of the soft mask, mean_alpha its mean over the binary mask.
exit codes: 0 done, 1 nothing could be segmented (or, with --strict, a row failed), 2 wrong use."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(argv)
    try:
        return _run(options)
    except (ValueError, OSError, ImportError) as error:
        print(f"dsnet.predict: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; lesions.csv has what was done", file=sys.stderr)
        return 130


def read_boxes(path: str | Path) -> list[DeepLesionAnnotation]:
    """The rows of a table of boxes, as annotations whose mark is the box's middle lines.

    Columns, in any case: `file` (or `File_name`, `image`), `x0`, `y0`, `x1`, `y1` in pixels, and
    if known `key` and `spacing_mm` (one number, or row and column). The file may name folders.

    Raises
    ------
    ValueError
        When the table cannot be read or lacks a column. A bad row tells in its `error`.
    """
    from dsnet.inference import as_mark

    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    reader = csv.DictReader(text.splitlines())
    names = {(name or "").strip().lower(): name for name in reader.fieldnames or []}
    file_column = next((names[name] for name in FILE_COLUMNS if name in names), None)
    missing = [name for name in BOX_COLUMNS if name not in names]
    if file_column is None or missing:
        raise ValueError(
            f"{path}: column {', '.join(missing) or 'file'} is missing; the table has "
            f"{', '.join(reader.fieldnames or []) or 'nothing'}"
        )
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num}: {error}") from error
    found, used = [], set()
    for line, row in rows:
        name = (row[file_column] or "").strip()
        mark, error, spacing = None, "", None
        try:
            if not name:
                raise ValueError("file is empty")
            spacing = _spacing(row.get(names.get("spacing_mm", "")) or "")
            mark = as_mark([row[names[column]] for column in BOX_COLUMNS])
        except (TypeError, ValueError) as problem:
            error = f"row {line}: {problem}"
        key = (row.get(names.get("key", "")) or "").strip() or name.rsplit(".", 1)[0]
        key = stem = key or f"row-{line}"
        count = 1
        while key in used:
            count += 1
            key = f"{stem}#{count}"
        used.add(key)
        found.append(DeepLesionAnnotation(key, name, line, mark, error, spacing=spacing))
    return found


def read_slice(path: Path, pictures: bool = False) -> tuple[np.ndarray, tuple[float, float] | None]:
    """HU, or 0..1 of a picture, and the spacing where the file tells; raises ValueError."""
    from dsnet.data.ct_image import read_ct_png, read_picture
    from dsnet.data.dicom.slices import read_dicom_slice

    if path.suffix.lower() in (".dcm", ".dicom"):
        return read_dicom_slice(path)
    if pictures:
        return read_picture(path), None
    try:
        return read_ct_png(path), None
    except ValueError as error:
        hint = "; --pictures takes windowed ones" if "16-bit PNG" in str(error) else ""
        raise ValueError(f"{error}{hint}") from error


def _run(options) -> int:
    with needed("train", "segmenting"):
        import torch

    from dsnet.inference import crop_settings
    from dsnet.models import DSNet, load_model

    images, out = Path(options.images), Path(options.out)
    if not images.is_dir():
        raise ValueError(f"--images must be a folder, there is none at {images}")
    if options.annotations:
        annotations = read_annotations(options.annotations)
    else:
        annotations = read_boxes(options.boxes)
    annotations = annotations[: options.limit]
    if not annotations:
        raise ValueError(f"{options.annotations or options.boxes} has no row")
    if out.is_dir() and any(out.iterdir()) and not options.overwrite:
        raise ValueError(f"{out} is not empty: add --overwrite, or give another --out")
    settings = crop_settings(options.model)
    given = {"size": options.size, "isotropic_mm": options.isotropic}
    given["window"] = "none" if options.pictures else options.window and tuple(options.window)
    settings = replace(settings, **{name: value for name, value in given.items() if value})
    if options.size:  # Whose size is given is the network's, too.
        settings = replace(settings, network_size=None)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("--device is cuda, and torch finds no CUDA device; take --device cpu")
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(options.model, device)
    if not isinstance(model, DSNet):
        raise ValueError(f"{options.model} holds a teacher; a network of dsnet.train is needed")
    print(
        f"{model.config.variant} on {device}; crops of {settings.size} pixels, window "
        f"{settings.window}, {settings.isotropic_mm or 'native'} mm a pixel ({settings.source})"
    )
    groups = group_by_file(annotations)
    counts = {"ok": 0, "failed": 0}
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "lesions.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for n, group in enumerate(groups, 1):
            for row in _segment(model, group, images, out, settings, options):
                table.writerow(row)
                counts[row["status"]] += 1
                if row["status"] == "failed":
                    print(f"{row['key']}: {row['reason']}", file=sys.stderr)
            file.flush()
            if n % 100 == 0 and n < len(groups):
                print(f"{n} of {len(groups)} slices", flush=True)
    print(f"{counts['ok']} lesions of {len(groups)} slices segmented, {counts['failed']} failed")
    print(f"look at {out / 'overlay'}; figures in {out / 'lesions.csv'}")
    return 1 if not counts["ok"] or (options.strict and counts["failed"]) else 0


def _segment(model, group, images, out, settings, options) -> list[dict]:
    """The table's rows of one slice; writes its pictures where a lesion was segmented."""
    from dsnet.data.ct_image import apply_window
    from dsnet.drawing.overlay import draw_overlay
    from dsnet.inference import segment_slice

    usable = [a for a in group if not a.error]
    errors = {a.key: a.error for a in group if a.error}
    lesions = {}
    if usable:
        try:
            name = _relative(usable[0])
            path = find_image(images, usable[0]) if options.annotations else images / name
            image, spacing = read_slice(path, options.pictures)
            spacing = next((a.spacing for a in usable if a.spacing), spacing) or options.spacing
            window = None if settings.window == "none" else settings.window
            if window == "auto":
                window = [choose_window(image, a.mark, a.window) for a in usable]
            found = segment_slice(
                model, image, [a.mark for a in usable], size=settings.size,
                network_size=settings.network_size, window=window, spacing=spacing,
                isotropic_mm=settings.isotropic_mm, threshold=options.threshold,
                batch=options.batch,
            )  # fmt: skip
            lesions = {a.key: x for a, x in zip(usable, found.lesions, strict=True)}
        except ValueError as error:
            lesions = {a.key: error for a in usable}
    errors.update({key: str(x) for key, x in lesions.items() if isinstance(x, ValueError)})
    rows = [_row(a, lesions.get(a.key), errors.get(a.key, "")) for a in group]
    done = [x for x in lesions.values() if not isinstance(x, ValueError)]
    if done:
        shown = image if done[0].window is None else apply_window(image, *done[0].window)
        pictures = {
            "soft": np.rint(found.soft * 65535).astype(np.uint16),
            "binary": found.binary.astype(np.uint8) * 255,
            "overlay": draw_overlay(shown, found, [a.key for a in usable]),
        }
        for kind, picture in pictures.items():
            _write_png(out / kind / name.with_suffix(".png"), picture)
    return rows


def _row(annotation, lesion, error: str) -> dict:
    row = {"key": annotation.key, "file": annotation.file_name, "status": "failed"}
    if error:
        return {**row, "reason": " ".join(error.split())}
    row.update(status="ok", area_px=lesion.area_pixels, notes="; ".join(lesion.notes))
    row.update(zip(BOX_COLUMNS, lesion.box or ("",) * 4, strict=True))
    row.update(soft_area_px=f"{lesion.soft.sum():.2f}")
    if lesion.area_pixels:
        row["mean_alpha"] = f"{lesion.mean_alpha:.4f}"
    if lesion.area_mm2 is not None:
        row["area_mm2"] = f"{lesion.area_mm2:.2f}"
    if lesion.window is not None:
        row.update(window_low=lesion.window[0], window_high=lesion.window[1])
    return row


def _relative(annotation) -> Path:
    """The annotation's file, below a folder and not above it."""
    name = Path(annotation.file_name)
    if name.is_absolute() or ".." in name.parts or "\0" in annotation.file_name or not name.name:
        raise ValueError(f"file must be a path below --images, got {annotation.file_name!r}")
    return name


def _spacing(text: str) -> tuple[float, float] | None:
    numbers = [float(part) for part in text.replace(",", " ").split()]
    if not numbers:
        return None
    if len(numbers) > 2 or not all(0 < number < np.inf for number in numbers):
        raise ValueError(f"spacing_mm must be one or two numbers > 0, got {text!r}")
    return numbers[0], numbers[-1]


def _write_png(path: Path, pixels: np.ndarray) -> None:
    import cv2

    from dsnet.training.checkpoint import write_atomically

    data = cv2.imencode(".png", pixels)[1].tobytes()
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def _number(kind, words: str):
    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be {words} above 0, got {text}")
        return value

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dsnet.predict",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="best.pt or last.pt of dsnet.train")
    whole, real = _number(int, "a whole number"), _number(float, "a number")
    data = parser.add_argument_group("what to segment")
    data.add_argument(
        "--images", required=True, metavar="DIR", help="16-bit PNG (HU + 32768) or DICOM slices"
    )
    prompts = data.add_mutually_exclusive_group(required=True)
    prompts.add_argument("--annotations", metavar="CSV", help="RECIST marks, as in DL_info.csv")
    prompts.add_argument("--boxes", metavar="CSV", help="boxes: file, x0, y0, x1, y1")
    data.add_argument("--limit", type=whole, metavar="N", help="only the first N rows")
    cut = parser.add_argument_group("how it was trained (by default as found beside MODEL)")
    cut.add_argument("--size", type=whole, metavar="N", help="pixels a side of the crops")
    shown = cut.add_mutually_exclusive_group()
    shown.add_argument(
        "--window", type=float, nargs=2, metavar=("LOW", "HIGH"), help="HU shown as 0..1"
    )
    shown.add_argument("--pictures", action="store_true", help="windowed 8- or 16-bit pictures")
    cut.add_argument("--isotropic", type=real, metavar="MM", help="resample to MM a pixel")
    cut.add_argument(
        "--spacing", type=real, nargs=2, metavar=("ROW", "COLUMN"),
        help="mm a pixel of slices whose table and file do not say",
    )  # fmt: skip
    run = parser.add_argument_group("run")
    run.add_argument("--out", required=True, metavar="DIR", help="new or empty folder")
    run.add_argument("--overwrite", action="store_true", help="write into a folder with files")
    run.add_argument("--threshold", type=real, default=0.5, help="of the binary mask (0.5)")
    run.add_argument("--batch", type=whole, default=16, metavar="N", help="crops at once (16)")
    run.add_argument("--device", default="auto", help="cpu, cuda or auto (auto)")
    run.add_argument("--threads", type=whole, metavar="N", help="CPU threads")
    run.add_argument("--strict", action="store_true", help="exit with 1 when a row failed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
