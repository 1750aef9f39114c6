"""Options that several sub-commands of `python -m dsnet.label` take."""

from __future__ import annotations

import argparse

from dsnet import devices
from dsnet.archive.exporting import OBJECT_FORMATS, SERIES_FORMATS
from dsnet.arguments import CROP_SIDES, MILLIMETRES_A_PIXEL, SEEDS, Range, above_zero, given
from dsnet.data.remote import RemoteFile, is_address

positive = above_zero(int)
_millimetres = Range(float, above=0, most=10**4)


def recist_options(parser: argparse.ArgumentParser) -> None:
    """Which rows of a table, and how they are shown."""
    parser.add_argument(
        "--annotations",
        required=True,
        type=given,
        metavar="TABLE",
        help="DL_info.csv, or its columns as Parquet (a file or a folder of them): a path or an "
        "address",
    )
    parser.add_argument(
        "--images", required=True, type=given, metavar="DIR",
        help="Images_png, with SERIES/KEY.png: a path, or an address (s3://, https://, ...)",
    )  # fmt: skip
    parser.add_argument(
        "--origin", type=Range(float), metavar="PIXELS",
        help="taken off the table's coordinates to get pixel centres at integers: 0.5 (default) "
        "as DeepLesion counts, from the first pixel's corner; 0 where centres are integers",
    )  # fmt: skip
    parser.add_argument(
        "--type", type=given, nargs="+", metavar="TYPE", help="only these: lung, liver, bone, ..."
    )
    parser.add_argument(
        "--split", type=given, nargs="+", metavar="PART", help="only these: train, val, test"
    )
    parser.add_argument("--no-noisy", action="store_true", help="leave out Possibly_noisy rows")
    parser.add_argument("--min-mm", type=_millimetres, metavar="MM", help="shortest long axis")
    parser.add_argument("--max-mm", type=_millimetres, metavar="MM", help="longest long axis")
    parser.add_argument("--limit", type=positive, help="only the first LIMIT rows")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--pictures", action="store_true",
        help="the images are windowed already: 8- or 16-bit pictures, not HU",
    )  # fmt: skip
    shown.add_argument(
        "--window", type=Range(float), nargs=2, metavar=("LOW", "HIGH"),
        help="HU shown as 0..1 (default: the row's own window, or by what is around the mark)",
    )  # fmt: skip
    crop_options(parser)


def dicom_options(parser: argparse.ArgumentParser) -> None:
    """Where marks and slices lie, and what of the patient is kept."""
    parser.add_argument(
        "--images", required=True, type=given, metavar="PLACE",
        help="folder, zip or DICOMDIR with the slices, or the address of a DICOMweb server",
    )  # fmt: skip
    parser.add_argument(
        "--marks", required=True, type=given, metavar="PLACE",
        help="folder, zip, file or DICOMweb server with the marks: SR, GSPS, AIM, viewers' exports",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true",
        help="label nothing: tell what was found, and what does not match and why",
    )  # fmt: skip
    parser.add_argument(
        "--seg",
        type=given,
        metavar="DIR",
        help="write DICOM segmentations there, too (new or empty folder)",
    )
    parser.add_argument(
        "--index", type=given, metavar="FILE",
        help="keep the index of --images in this Parquet file: only what changed is read again; "
        "paths and series descriptions stand in it as they are",
    )  # fmt: skip
    parser.add_argument(
        "--gsps-origin", type=Range(float, 0, 1), default=0.5, metavar="PIXELS",
        help="taken off the pixel coordinates of presentation states to get pixel centres at "
        "integers: 0.5 (default), or 1 where a viewer counts the first pixel's centre as 1",
    )  # fmt: skip
    parser.add_argument(
        "--table-origin", type=Range(float, 0, 1), metavar="PIXELS",
        help="the same of tables without a column origin, which are refused without it",
    )  # fmt: skip
    parser.add_argument(
        "--hash-key", type=given, metavar="FILE",
        help="file with a secret: UIDs are stored as keyed hashes (HMAC-SHA-256)",
    )  # fmt: skip
    parser.add_argument(
        "--keep-identifiers", action="store_true",
        help="store paths and the patient's name, birth date and number (default: none of them)",
    )  # fmt: skip
    parser.add_argument(
        "--window", type=Range(float), nargs=2, metavar=("LOW", "HIGH"),
        help="HU shown as 0..1 (default: by what is around the mark)",
    )  # fmt: skip
    crop_options(parser)
    max_pixels_option(parser)


def crop_options(parser: argparse.ArgumentParser) -> None:
    """What is cut around a mark."""
    parser.add_argument("--crop", type=CROP_SIDES, default=64, help="pixels a side (default 64)")
    parser.add_argument(
        "--isotropic", type=MILLIMETRES_A_PIXEL, metavar="MM",
        help="resample to MM a pixel (default: native)",
    )  # fmt: skip


def export_options(parser: argparse.ArgumentParser) -> None:
    """Which labels, and into which format."""
    parser.add_argument("store", type=given, metavar="STORE")
    parser.add_argument(
        "--format", required=True, choices=("png", "npz", "nnunet", "store", *SERIES_FORMATS)
    )
    parser.add_argument(
        "--out", required=True, type=new_folder, metavar="DIR", help="new or empty folder"
    )
    reviewed_option(parser)
    parser.add_argument(
        "--min-quality",
        type=Range(float, 0, 1),
        help="leave out labels of lower expected Dice (of masks: quality)",
    )
    parser.add_argument(
        "--split",
        type=Range(int, 0, 10**9),
        nargs=3,
        metavar=("TRAIN", "TEST", "VAL"),
        help="npz: shares (default 1000 400 100)",
    )
    parser.add_argument("--seed", type=SEEDS, help="npz: of the split (default 0)")
    parser.add_argument(
        "--images", type=given, metavar="PLACE",
        help=f"{', '.join(SERIES_FORMATS)}: the DICOM that was labelled, a folder, zip or address",
    )  # fmt: skip
    parser.add_argument(
        "--index", type=given, metavar="FILE",
        help="keep the index of --images in this Parquet file: only what changed is read again",
    )  # fmt: skip
    parser.add_argument(
        "--hash-key", type=given, metavar="FILE",
        help=f"{', '.join(SERIES_FORMATS)}: the secret that the store was made with",
    )  # fmt: skip
    parser.add_argument(
        "--keep-identifiers", action="store_true",
        help="DICOM: the patient's name, number and birth date as the images have them (default: "
        "no name, and a hash for the number)",
    )  # fmt: skip
    parser.add_argument(
        "--to", type=given, metavar="URL",
        help=f"{', '.join(OBJECT_FORMATS)}: send the objects to this DICOMweb server, too",
    )  # fmt: skip


def new_folder(text: str) -> str:
    """A folder that a run writes: a path, which no address is."""
    if is_address(text):
        raise argparse.ArgumentTypeError(
            f"must be a folder, got the address {text}: `python -m dsnet.label push STORE ADDRESS` "
            "copies a store to one"
        )
    return given(text)


def store_place(text: str) -> str:
    """Where a run writes its store: a folder, or an address that can be used."""
    if is_address(text):
        try:
            RemoteFile(text).check()
        except (ImportError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return given(text)


def label_options(parser: argparse.ArgumentParser, required: bool = True, out: str = "") -> None:
    """Where labels go, and how; `out`: what the folder is for, where it is not the store's."""
    parser.add_argument(
        "--out",
        required=required,
        type=new_folder if out else store_place,
        metavar="DIR" if out else "PLACE",
        help=out or "the store: a folder, or an address (s3://BUCKET/STORE, gs://, ...)",
    )
    parser.add_argument(
        "--workers", type=Range(int, 1, 4096), default=1, help="processes (default 1)"
    )
    parser.add_argument(
        "--ray", type=given, nargs="?", const="here", metavar="ADDRESS",
        help="label on a Ray cluster, on --workers actors at most: the one at ADDRESS (auto, "
        "HOST:6379, ray://HOST:10001), whose nodes see --out and the archive; without ADDRESS on "
        "this machine",
    )  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on with the store at --out")
    parser.add_argument(
        "--retry-failed", action="store_true", help="go on, and try failed rows again"
    )
    parser.add_argument(
        "--alpha-bits", type=int, choices=(8, 16), default=16, help="of stored alpha (default 16)"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a row failed")


def archive_options(parser: argparse.ArgumentParser) -> None:
    """Whose a picture is, and how large it may be."""
    parser.add_argument(
        "--patients",
        type=given,
        metavar="REGEX|CSV",
        help="whose a picture is: group 1 of REGEX in its path, or a table of file and patient",
    )
    max_pixels_option(parser)


def max_pixels_option(parser: argparse.ArgumentParser) -> None:
    """How large a picture may be."""
    from dsnet.data.picture_file import MAX_PIXELS

    parser.add_argument(
        "--max-pixels",
        type=positive,
        default=MAX_PIXELS,
        metavar="N",
        help=f"a picture of more fails, before it is decoded (default {MAX_PIXELS})",
    )


def neighbours_option(parser: argparse.ArgumentParser) -> None:
    """Slices beside a slice."""
    parser.add_argument(
        "--neighbours",
        type=Range(int, 0, 8),
        default=0,
        metavar="N",
        help="store N slices on either side, too: the files numbered before and after (default 0)",
    )


def lidc_options(parser: argparse.ArgumentParser) -> None:
    """Where LIDC-IDRI lies, which of its nodules and slices are labelled, and all else."""
    label_options(parser)
    device_option(parser, "labels are within 0.001 of the CPU's, from the same trimaps")
    parser.add_argument(
        "--images", required=True, type=given, metavar="PLACE",
        help="CT in DICOM: a folder, a zip, or the address of a DICOMweb server",
    )  # fmt: skip
    parser.add_argument(
        "--xml",
        type=given,
        metavar="DIR",
        help="the readers' XML files (default: among the images)",
    )
    parser.add_argument(
        "--readers", type=Range(int, 1, 100), default=1, metavar="N",
        help="only nodules that N readers outlined (default 1; the paper 4)",
    )  # fmt: skip
    parser.add_argument("--min-mm", type=_millimetres, metavar="MM", help="smallest mean diameter")
    parser.add_argument("--max-mm", type=_millimetres, metavar="MM", help="largest mean diameter")
    parser.add_argument(
        "--largest", type=positive, metavar="N",
        help="only N slices of each nodule, those with most consensus (default all)",
    )  # fmt: skip
    parser.add_argument(
        "--crop", type=CROP_SIDES, default=128,
        help="pixels a side, more where a nodule needs it (default 128)",
    )  # fmt: skip
    reading_options(parser, "HU shown as 0..1 (default -1350 150, lung)")
    neighbours_option(parser)


def reading_options(
    parser: argparse.ArgumentParser,
    window: str = "the images are HU + 32768: HU shown as 0..1 (default: windowed already)",
) -> None:
    """How outlined pictures are read; `window`: what --window says of them."""
    parser.add_argument("--limit", type=positive, help="only the first LIMIT images")
    parser.add_argument(
        "--window",
        type=Range(float),
        nargs=2,
        metavar=("LOW", "HIGH"),
        help=window,
    )
    archive_options(parser)


def device_option(parser: argparse.ArgumentParser, text: str) -> None:
    """On which device; `text`: how its labels differ from the CPU's."""
    parser.add_argument(
        "--device",
        type=given,
        default="cpu",
        metavar="DEVICE",
        help=f"{devices.HELP} (cpu); of cuda worker i takes GPU i modulo their number; {text}",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="with a GPU: tell the seconds of each stage, too"
    )


def reviewed_option(parser: argparse.ArgumentParser) -> None:
    """Which labels, by what readers decided."""
    from dsnet.data.store.reviewed import CHOICES, NOT_REJECTED

    parser.add_argument(
        "--reviewed",
        choices=tuple(CHOICES),
        default=NOT_REJECTED,
        help="which labels by the verdicts of dsnet.review, mended ones as they were mended "
        f"(default {NOT_REJECTED}); as-made passes over both",
    )


def push_options(parser: argparse.ArgumentParser) -> None:
    """Which store, and where it is copied to."""
    parser.add_argument("store", type=given, metavar="STORE", help="a folder")
    parser.add_argument(
        "address", type=given, metavar="ADDRESS", help="s3://BUCKET/PLACE, gs://, ..."
    )


def compact_options(parser: argparse.ArgumentParser) -> None:
    """Which store, and how long its shards become."""
    parser.add_argument("store", type=given, metavar="STORE")
    parser.add_argument(
        "--shard-rows", type=positive, default=2048, metavar="N", help="of a shard (default 2048)"
    )
