"""Options that several sub-commands of `python -m dsnet.label` take."""

from __future__ import annotations

import argparse

from dsnet import devices
from dsnet.console import Range, above_zero

positive = above_zero(int)


def label_options(parser: argparse.ArgumentParser, out: str) -> None:
    """Where labels go, and how; `out`: what the folder is for."""
    parser.add_argument("--out", required=True, metavar="DIR", help=out)
    parser.add_argument(
        "--workers", type=Range(int, 1, 4096), default=1, help="processes (default 1)"
    )
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
    from dsnet.data.picture_file import MAX_PIXELS

    parser.add_argument(
        "--patients",
        metavar="REGEX|CSV",
        help="whose a picture is: group 1 of REGEX in its path, or a table of file and patient",
    )
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


def reading_options(parser: argparse.ArgumentParser) -> None:
    """How outlined pictures are read."""
    parser.add_argument("--limit", type=positive, help="only the first LIMIT images")
    parser.add_argument(
        "--window",
        type=Range(float),
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="the images are HU + 32768: HU shown as 0..1 (default: windowed already)",
    )
    archive_options(parser)


def device_option(parser: argparse.ArgumentParser, text: str) -> None:
    """On which device; `text`: how its labels differ from the CPU's."""
    parser.add_argument(
        "--device",
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
