"""The sub-commands of `python -m dsnet.label`, and what each of them takes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

from dsnet.archive.examples import EXAMPLES
from dsnet.archive.options import (
    archive_options,
    compact_options,
    device_option,
    dicom_options,
    export_options,
    label_options,
    lidc_options,
    neighbours_option,
    positive,
    push_options,
    reading_options,
    recist_options,
)
from dsnet.arguments import CROP_SIDES, SEEDS, given


def label_parser(about: str, runs: Mapping[str, Callable]) -> argparse.ArgumentParser:
    """The parser of the command.

    Parameters
    ----------
    about : str
        Its first line is the command's description.
    runs : mapping of str to callable
        What each sub-command does: becomes `options.run`.
    """
    parser = _described(argparse.ArgumentParser, None, about.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def sub(name: str, text: str) -> argparse.ArgumentParser:
        made = _described(commands.add_parser, name, text)
        made.set_defaults(run=runs[name])
        return made

    demo = sub("demo", "Label synthetic nodules of every kind; write a picture.")
    label_options(demo, out="folder for sheet.png and store/")
    demo.add_argument("--count", type=positive, default=18, help="nodules (default 18)")
    demo.add_argument("--size", type=CROP_SIDES, default=64, help="pixels a side (default 64)")
    demo.add_argument("--seed", type=SEEDS, default=0, help="of the first nodules (default 0)")

    recist = sub("recist", "Label the RECIST marks of a DeepLesion-like table.")
    recist_options(recist)
    label_options(recist)
    device_option(recist, "labels are within 0.001 of the CPU's, with the same binary masks")
    archive_options(recist)
    neighbours_option(recist)

    dicom = sub("dicom", "Label the marks of reports and viewers on DICOM slices.")
    dicom_options(dicom)
    label_options(dicom, required=False)
    device_option(dicom, "labels are within 0.001 of the CPU's, with the same binary masks")
    neighbours_option(dicom)

    masks = sub("masks", "Label a folder of images with a folder of binary masks.")
    masks.add_argument(
        "--images", required=True, type=given, metavar="DIR", help="8- or 16-bit grey pictures"
    )
    masks.add_argument(
        "--masks", required=True, type=given, metavar="DIR", help="masks of the same names"
    )
    label_options(masks)
    device_option(masks, "labels are within 0.001 of the CPU's, from the same trimaps")
    reading_options(masks)

    raters = sub("raters", "Label images that several raters have outlined.")
    raters.add_argument(
        "--data", required=True, type=given, metavar="ROOT", help="LIDC-style folders"
    )
    label_options(raters)
    device_option(raters, "labels are within 0.001 of the CPU's, from the same trimaps")
    reading_options(raters)
    neighbours_option(raters)

    lidc_options(sub("lidc", "Label LIDC-IDRI's nodules from DICOM and its readers' XML."))

    volumes = sub("volumes", "Label the slices of MR volumes with segmentations.")
    volumes.add_argument(
        "--data", required=True, type=given, metavar="ROOT", help="PROMISE12's folders"
    )
    label_options(volumes)
    device_option(volumes, "labels are within 0.001 of the CPU's, from the same trimaps")
    volumes.add_argument("--limit", type=positive, help="only the first LIMIT slices")
    archive_options(volumes)

    show = sub("show", "Summary of a store; its best, median and worst labels.")
    show.add_argument("store", type=given, metavar="STORE")
    show.add_argument(
        "--out", type=given, metavar="DIR", help="for the sheets (default STORE-sheets)"
    )
    show.add_argument("--count", type=positive, default=12, help="labels a sheet (default 12)")

    check = sub("check", "Say what is wrong with a store.")
    check.add_argument("store", type=given, metavar="STORE")
    check.add_argument("--repair", action="store_true", help="take out what is damaged")

    compact = sub("compact", "Merge a store's small shards.")
    compact_options(compact)

    push_options(sub("push", "Copy a store to an address, or bring it up to date there."))

    export = sub("export", "Write a store's labels for other tools.")
    export_options(export)
    return parser


def _described(make, name: str | None, text: str) -> argparse.ArgumentParser:
    options = {
        "description": text,
        "epilog": EXAMPLES[name],
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
    if name is None:
        return make(prog="python -m dsnet.label", **options)
    return make(name, help=text, **options)
