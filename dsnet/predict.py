"""``python -m dsnet.predict MODEL``: soft masks of whole slices, from RECIST marks or boxes.

MODEL is a file of dsnet.train, or a name of `dsnet.models.pretrained`.

Crops are cut as those that the model learnt from, which its file says; options outrank that. What
is written is told in `dsnet.inference.slices`.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dsnet import devices
from dsnet.arguments import CROP_SIDES, MILLIMETRES_A_PIXEL, Range, above_zero, given
from dsnet.console import UserError, complain, printable, require_no_file
from dsnet.dependencies import needed
from dsnet.devices import use_threads
from dsnet.streams import command

if TYPE_CHECKING:
    import torch

    from dsnet.models import DSNet

DESCRIPTION = "Segment the marked lesions of whole slices with a trained network."
EXAMPLES = """\
MODEL is best.pt or last.pt of dsnet.train, or the name of weights that come with dsnet: dsnet-lidc
(lung nodules) or dsnet-lidc-mark (lung nodules; it sees the mark). A file or folder that is called
so comes first. dsnet-lidc-sr is a teacher, for dsnet.train --teacher.

examples:
  with released weights:
    python -m dsnet.predict dsnet-lidc --images Images_png --annotations DL_info.csv --out masks
  every mark of a DeepLesion table:
    python -m dsnet.predict runs/dsnet/best.pt --images Images_png \\
        --annotations DL_info.csv --out masks
  boxes (columns file, x0, y0, x1, y1, and if known key and spacing_mm):
    python -m dsnet.predict runs/dsnet/best.pt --images slices --boxes boxes.csv --out masks
  pictures that were windowed already, crops of 96 pixels:
    python -m dsnet.predict best.pt --images pictures --boxes boxes.csv --out masks \\
        --pictures --size 96
  the network for other runtimes:
    python -m dsnet.predict runs/dsnet/best.pt --export dsnet.onnx

lesions.csv: x0 y0 x1 y1 are the first and last column and row of the binary mask, area_px and
area_mm2 its area, soft_area_px the sum of the soft mask, mean_alpha its mean over the binary mask.
exit codes: 0 done, 1 nothing could be segmented (or, with --strict, a row failed), 2 wrong use."""


@command
def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    if not options.export:
        missing = [f"--{name}" for name in ("images", "out") if not getattr(options, name)]
        if missing:
            parser.error(f"the following arguments are required: {', '.join(missing)}")
    if (options.model is None) == (options.named is None):
        parser.error("the following arguments are required, once: MODEL or --model MODEL")
    options.model = options.model or options.named
    try:
        return _export(options) if options.export else _run(options)
    except (ValueError, OSError, ImportError, devices.NoDevice) as error:
        return complain("dsnet.predict", error)
    except (RuntimeError, MemoryError) as error:
        if full := devices.out_of_memory(error):
            return complain("dsnet.predict", UserError(full))
        raise
    except KeyboardInterrupt:
        print("stopped; lesions.csv has what was done", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    from dsnet.data.datasets.boxes import read_boxes
    from dsnet.data.datasets.coordinates import CORNER
    from dsnet.data.datasets.deeplesion import find_image, read_annotations
    from dsnet.data.store.lock import writing

    with needed("train", "segmenting"):
        from dsnet.inference.slices import in_folder

    images, out = Path(options.images), Path(options.out)
    if not images.is_dir():
        raise ValueError(f"--images must be a folder, there is none at {images}")
    if options.annotations:
        origin = CORNER if options.origin is None else options.origin
        annotations = read_annotations(options.annotations, origin=origin)
        find = partial(find_image, images)
    else:
        if options.origin is not None:
            raise ValueError("--origin is of --annotations: a box's numbers are pixels' centres")
        annotations, find = read_boxes(options.boxes), partial(in_folder, images)
    annotations = annotations[: options.limit]
    if not annotations:
        raise ValueError(f"{options.annotations or options.boxes} has no row")
    require_no_file(out, "--out")
    _require_free(out, options.overwrite)
    with writing(out, "the folder"):
        _require_free(out, options.overwrite)  # Another may have been done in between.
        return _segment(options, annotations, find, out)


def _require_free(out: Path, overwrite: bool) -> None:
    from dsnet.data.store.lock import is_free

    if not overwrite and not is_free(out):
        raise ValueError(f"{out} is not empty: add --overwrite, or give another --out")


def _segment(options: argparse.Namespace, annotations, find, out: Path) -> int:
    from dsnet.inference.inputs import BOX_NOTE
    from dsnet.inference.slices import segment_files

    use_threads(options.threads)
    device = devices.torch_device(options.device)
    model = _network(options.model, device)
    crop = _crop_settings(options)
    print(printable(f"{model.config.variant} on {device}; {crop} ({crop.source})"))
    print(printable(_threshold(options, model)))
    if model.config.mark_input and options.boxes:
        print(f"warning: {BOX_NOTE}", file=sys.stderr)
    slices = len({a.file_name for a in annotations})
    counts = {"ok": 0, "failed": 0}
    found = segment_files(
        model, annotations, find, out, crop, pictures=options.pictures,
        spacing=options.spacing and tuple(options.spacing), threshold=options.threshold,
        batch=options.batch, max_pixels=options.max_pixels, flips=options.flips,
    )  # fmt: skip
    for n, rows in enumerate(found, 1):
        for row in rows:
            counts[row["status"]] += 1
            if row["status"] == "failed":
                print(printable(f"{row['key']}: {row['reason']}"), file=sys.stderr)
        if n % 100 == 0 and n < slices:
            print(f"{n} of {slices} slices", flush=True)
    print(f"{counts['ok']} lesions of {slices} slices segmented, {counts['failed']} failed")
    print(printable(f"look at {out / 'overlay'}; figures in {out / 'lesions.csv'}"))
    return 1 if not counts["ok"] or (options.strict and counts["failed"]) else 0


def _export(options: argparse.Namespace) -> int:
    with needed("export", "exporting"):
        from dsnet.models import export_onnx, export_program
        from dsnet.models.export import multiple_of

    file = Path(options.export)
    write = {".onnx": export_onnx, ".pt2": export_program}.get(file.suffix)
    if write is None:
        raise ValueError(f"--export must be a file NAME.onnx or NAME.pt2, got {file}")
    model, crop = _network(options.model), _crop_settings(options)
    side = crop.network_size or crop.size
    write(model, file, (side, side), crop=crop.to_dict())
    step = multiple_of(model)
    other = ""
    if step is not None and side % step == 0:
        other = f" or other multiples of {step}, from {2 * step} on"
    told = f"wrote {file}; it takes images of {side} x {side} pixels{other}, any number of them; "
    print(printable(f"{told}it learnt from {crop}"))
    print(printable(_threshold(options, model)))
    return 0


def _crop_settings(options: argparse.Namespace):
    """As the model learnt, but for what the options say."""
    from dsnet.inference import crop_settings

    window = options.window and tuple(options.window)
    if options.pictures or options.auto_window:
        window = "none" if options.pictures else "auto"
    return crop_settings(
        options.model, size=options.size, window=window, isotropic_mm=options.isotropic
    )


def _threshold(options: argparse.Namespace, model: DSNet) -> str:
    """From where on a pixel is lesion, and who says so."""
    from dsnet.models import threshold_of

    if options.threshold is not None:
        return f"a pixel is lesion from {options.threshold:g} on, as given"
    chosen = f"a pixel is lesion from {threshold_of(model):g} on"
    if model.threshold is None:
        return f"{chosen}: {options.model} has no threshold of its own"
    return f"{chosen}, as {options.model} says"


def _network(path: str, device: torch.device | str = "cpu") -> DSNet:
    from dsnet.models import DSNet, load_model

    model = load_model(path, device)
    if not isinstance(model, DSNet):
        raise ValueError(f"{path} must be a network of dsnet.train, got an SR teacher")
    return model


def _parser() -> argparse.ArgumentParser:
    from dsnet.data.picture_file import MAX_PIXELS

    parser = argparse.ArgumentParser(
        prog="python -m dsnet.predict",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model", type=given, nargs="?", metavar="MODEL", help="a file, or a name: see below"
    )
    parser.add_argument(
        "--model", type=given, dest="named", metavar="MODEL", help="the same as an option"
    )
    whole = above_zero(int)
    data = parser.add_argument_group("what to segment")
    data.add_argument(
        "--images", type=given, metavar="DIR", help="16-bit PNG (HU + 32768) or DICOM slices"
    )
    prompts = data.add_mutually_exclusive_group(required=True)
    prompts.add_argument(
        "--annotations",
        type=given,
        metavar="TABLE",
        help="RECIST marks, as in DL_info.csv: CSV or Parquet",
    )
    prompts.add_argument("--boxes", type=given, metavar="TABLE", help="boxes: file, x0, y0, x1, y1")
    prompts.add_argument(
        "--export",
        type=given,
        metavar="FILE",
        help="nothing: write MODEL for other runtimes, .onnx or .pt2",
    )
    data.add_argument(
        "--origin", type=Range(float), metavar="PIXELS",
        help="taken off the coordinates of --annotations to get pixel centres at integers: 0.5 "
        "(default) as DeepLesion counts, from the first pixel's corner; 0 where centres are "
        "integers",
    )  # fmt: skip
    data.add_argument(
        "--max-pixels", type=whole, default=MAX_PIXELS, metavar="N",
        help=f"a slice of more fails, before it is decoded ({MAX_PIXELS})",
    )  # fmt: skip
    data.add_argument("--limit", type=whole, metavar="N", help="only the first N rows")
    cut = parser.add_argument_group("how it was trained (by default as MODEL says)")
    cut.add_argument("--size", type=CROP_SIDES, metavar="N", help="pixels a side of the crops")
    shown = cut.add_mutually_exclusive_group()
    shown.add_argument(
        "--window", type=Range(float), nargs=2, metavar=("LOW", "HIGH"), help="HU shown as 0..1"
    )
    shown.add_argument(
        "--auto-window", action="store_true", help="the row's own, or by what is around the mark"
    )
    shown.add_argument("--pictures", action="store_true", help="windowed 8- or 16-bit pictures")
    cut.add_argument(
        "--isotropic", type=lambda text: text if text == "native" else MILLIMETRES_A_PIXEL(text),
        metavar="MM", help="resample to MM a pixel, or not: native",
    )  # fmt: skip
    cut.add_argument(
        "--spacing", type=MILLIMETRES_A_PIXEL, nargs=2, metavar=("ROW", "COLUMN"),
        help="mm a pixel of slices whose table and file do not say",
    )  # fmt: skip
    run = parser.add_argument_group("run")
    run.add_argument("--out", type=given, metavar="DIR", help="new or empty folder")
    run.add_argument("--overwrite", action="store_true", help="write into a folder with files")
    run.add_argument(
        "--threshold", type=Range(float, above=0, most=1), metavar="X",
        help="of the binary mask (what was chosen on validation cases, as MODEL says)",
    )  # fmt: skip
    run.add_argument(
        "--batch", type=Range(int, 1, 65536), default=16, metavar="N", help="crops at once (16)"
    )
    run.add_argument(
        "--flips", action="store_true",
        help="mean over each crop's eight mirror images: eight times as long",
    )  # fmt: skip
    run.add_argument("--device", type=given, default="auto", help=f"{devices.HELP} (auto)")
    run.add_argument("--threads", type=whole, metavar="N", help="CPU threads")
    run.add_argument("--strict", action="store_true", help="exit with 1 when a row failed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
