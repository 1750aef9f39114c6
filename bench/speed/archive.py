"""A row of `label recist`, stage by stage: `python -m bench.speed.archive`.

Decoding alone, against OpenCV and a plain decoder of zlib, after parity to the bit; then reading,
cropping, labelling and writing a row, the whole of it by `label_archive`, and a stock loop of
OpenCV, grabCut and PyMatting over some of the same rows. Last a long run, the same slices under
many names, from reading the table to the closed store: which share of it is neither decoding nor
labelling (`COUNTED` says what is either). What is told is the processor's time of this process
(user and system), which others on the machine do not lengthen much, and the clock's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.common.machine import machine, machine_line
from bench.common.stock import stock_label
from bench.common.study import shared_data
from dsnet import _C
from dsnet.archive import jobs
from dsnet.archive.jobs import label_crop, slice_jobs
from dsnet.archive.run import label_archive
from dsnet.archive.workers import frozen
from dsnet.data import picture_file
from dsnet.data.datasets.deeplesion import (
    fetch_slice,
    find_image,
    group_by_file,
    read_annotations,
    read_crops,
)
from dsnet.data.datasets.slice_crops import cut_slice, plan_slice
from dsnet.data.picture_file import Picture
from dsnet.data.png import PNG_BEGINNING, PngFile
from dsnet.data.store import StoreWriter

DATA = shared_data("deeplesion")
SIZE = 64
COUNTED = {
    "decode_ms": "read_png and PngFile.pixels: chunks and their checksums, inflating as far down "
    "as crops need, filters; not opening and reading the file, nor windows and crops",
    "label_ms": "label_recist, from its arguments to its SoftLabel",
    "rest": "the table, jobs, files found and read, crops planned, cut, resampled and windowed, "
    "records, codes, Parquet, the manifest",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--annotations", type=Path, default=DATA / "DL_info.csv")
    parser.add_argument("--images", type=Path, default=DATA / "Images_png")
    parser.add_argument("--origin", type=float, default=0, help="as `dsnet.label recist` has it")
    parser.add_argument("--rounds", type=int, default=5, help="the best of so many counts")
    parser.add_argument("--stock", type=int, default=10, help="rows of the stock loop")
    parser.add_argument("--names", type=int, default=50, help="of each slice in the long run")
    parser.add_argument("--runs", type=int, default=3, help="long runs; the middle one counts")
    parser.add_argument("--out", type=Path, default=Path("bench/results/archive.json"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    annotations = [
        a for a in read_annotations(options.annotations, origin=options.origin) if a.mark
    ]
    rows = [
        *decoding(annotations, options.images, options.rounds),
        *stages(annotations, options.images, options.rounds),
        stock_loop(annotations[: options.stock], options.images),
    ]
    long_run = shares(
        options.annotations, options.images, options.origin, options.names, options.runs
    )
    here = machine("cv2", "pymatting")
    table = Table(title=machine_line(here), title_justify="left")
    for column in ("what", "by", "of", "CPU ms", "wall ms"):
        table.add_column(column, justify="right" if "ms" in column else "left")
    for row in rows:
        table.add_row(
            row["what"], row["by"], row["of"], f"{row['cpu_ms']:.3f}", f"{row['wall_ms']:.3f}"
        )
    Console(width=110).print(table)
    print(
        f"a row of {long_run['rows']}: {long_run['cpu_ms']:.3f} ms of CPU, of them decoding "
        f"{long_run['decode_ms']:.3f}, labelling {long_run['label_ms']:.3f}: "
        f"{long_run['rest_share']:.1%} is neither"
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    found = {
        "machine": here, "annotations": len(annotations), "rows": rows, "long_run": long_run,
    }  # fmt: skip
    options.out.write_text(json.dumps(found, indent=1) + "\n")


def decoding(annotations, images: Path, rounds: int) -> list[dict]:
    """Each slice's file, whole, and as far as its crops need it; the bytes are in memory."""
    groups = group_by_file(annotations)
    data = [find_image(images, group[0]).read_bytes() for group in groups]
    extents = [
        plan_slice(group, Picture("", one).shape, size=SIZE, window="auto", isotropic_mm=None)[1]
        for group, one in zip(groups, data, strict=True)
    ]
    ways = {
        "dsnet": lambda one: Picture("", one).pixels(),
        "cv2.imdecode": by_opencv,
        "zlib.decompress": by_zlib,
    }
    for one in data:
        wanted = by_opencv(one)
        if not all(np.array_equal(way(one), wanted) for way in ways.values()):
            raise SystemExit("the decoders differ: nothing is compared")
    rows = [
        measured(
            "decode a slice", name, "slice", lambda w=way: [w(one) for one in data], data, rounds
        )
        for name, way in ways.items()
    ]

    def in_part():
        for one, extent in zip(data, extents, strict=True):
            Picture("", one).pixels(*extent)

    return [*rows, measured("decode what crops need", "dsnet", "slice", in_part, data, rounds)]


def by_opencv(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def by_zlib(data: bytes) -> np.ndarray:
    """The chunks, their checksums, zlib, the filters: what a decoder does that is not tuned."""
    position, stream, name = len(PNG_BEGINNING), [], b""
    while name != b"IEND":
        length = int.from_bytes(data[position : position + 4], "big")
        name, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        position += 12 + length
        if zlib.crc32(name + body) != int.from_bytes(data[position - 4 : position], "big"):
            raise ValueError("the PNG is damaged")
        stream += [body] if name == b"IDAT" else []
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    return _C.png_pixels(
        zlib.decompress(b"".join(stream)), width=width, bits=data[24], rows=height, cols=width
    )[0]


def stages(annotations, images: Path, rounds: int) -> list[dict]:
    """What a row takes, by stage and in all."""
    groups = group_by_file(annotations)
    how = {"size": SIZE, "window": "auto", "isotropic_mm": None}

    def fetched():
        return [fetch_slice(group, images) for group in groups]

    def cropped(all_files):
        found = []
        for group, files in zip(groups, all_files, strict=True):
            found += [crop for _, crop in cut_slice(group, files, **how)]
        return found

    files = fetched()
    crops = cropped(files)
    records = [label_crop(crop) for crop in crops]
    failed = [record.error for record in records if record.error]
    if failed:
        raise SystemExit(f"{len(failed)} rows failed, the first: {failed[0]}")
    with tempfile.TemporaryDirectory() as folder:
        number = iter(range(10**6))

        def written():
            with StoreWriter(Path(folder, f"w{next(number)}"), {}) as writer:
                for record in records:
                    writer.append(record)

        def whole():
            left = slice_jobs(annotations, images, **how)
            label_archive(left, Path(folder, f"a{next(number)}"))

        return [
            measured(what, "dsnet", "row", function, annotations, rounds)
            for what, function in (
                ("read and check files", fetched),
                ("decode and cut crops", lambda: cropped(files)),
                ("label", lambda: [label_crop(crop) for crop in crops]),
                ("write, a store of these rows", written),
                ("all: label_archive, one worker", whole),
            )
        ]


def shares(table: Path, images: Path, origin: float, names: int, runs: int) -> dict:
    """A run from the table to the store, and what of it decoding and labelling take.

    Of several the one whose share of all else is the middle one; `shares` has those of all, in the
    order of the runs.
    """
    how = {"size": SIZE, "window": "auto", "isotropic_mm": None}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        more, links = folder / "table.csv", folder / "images"
        under_many_names(table, images, origin, names, more, links)

        def run(number: int, rows: int | None = None) -> dict:
            with (
                timed((picture_file, "read_png"), (PngFile, "pixels")) as decoding_s,
                timed((jobs, "label_recist")) as labelling_s,
            ):
                begin = time.process_time()
                annotations = read_annotations(more, origin=origin)[:rows]
                with frozen():  # As the command has it.
                    count = label_archive(
                        slice_jobs(annotations, links, **how), folder / f"s{number}"
                    ).rows
                whole = time.process_time() - begin
            each = 1e3 / count
            return {
                "rows": count,
                "cpu_ms": each * whole,
                "decode_ms": each * sum(decoding_s),
                "label_ms": each * sum(labelling_s),
                "rest_share": 1 - (sum(decoding_s) + sum(labelling_s)) / whole,
            }

        run(0, rows=8)  # what is loaded late
        found = []
        for number in range(1, runs + 1):
            found.append(run(number))
            shutil.rmtree(folder / f"s{number}")
        middle = sorted(found, key=lambda one: one["rest_share"])[len(found) // 2]
        return {**middle, "shares": [one["rest_share"] for one in found], "counted": COUNTED}


def under_many_names(
    table: Path, images: Path, origin: float, names: int, more: Path, links: Path
) -> None:
    """A table of each usable row `names` times, and its slice under each name.

    The slices lie as in DeepLesion's own archive, SERIES/KEY.png, each a regular file: links to one
    copy of its bytes.
    """
    usable = [a for a in read_annotations(table, origin=origin) if a.mark]
    header, *lines = table.read_text(encoding="utf-8-sig").splitlines()
    text, copies = [header], links.with_name("copies")
    copies.mkdir()
    for number in range(names):
        for annotation in usable:
            name = f"{number:04d}x{annotation.file_name}"
            text.append(lines[annotation.row - 2].replace(annotation.file_name, name, 1))
            series, _, key = name.rpartition("_")
            if (link := links / series / key).exists():
                continue
            if not (copy := copies / annotation.file_name).exists():
                shutil.copyfile(find_image(images, annotation), copy)
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(copy, link)
    more.write_text("\n".join(text) + "\n")


@contextlib.contextmanager
def timed(*places: tuple[object, str]) -> Iterator[list[float]]:
    """CPU seconds of each call of functions, which are found at (module or class, name)."""
    seconds: list[float] = []

    def watched(function: Callable) -> Callable:
        def call(*arguments, **named):
            begin = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                seconds.append(time.thread_time() - begin)

        return call

    before = [(owner, name, getattr(owner, name)) for owner, name in places]
    for owner, name, function in before:
        setattr(owner, name, watched(function))
    try:
        yield seconds
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def stock_loop(annotations, images: Path) -> dict:
    """OpenCV reads the slice whole, grabCut and PyMatting label the same crop, NumPy writes it."""
    crops = {a.key: crop for a, crop in read_crops(annotations, images, size=SIZE)}
    paths = {a.key: find_image(images, a) for a in annotations}
    with tempfile.TemporaryDirectory() as folder:

        def loop():
            for key, crop in crops.items():
                hu = cv2.imread(str(paths[key]), cv2.IMREAD_UNCHANGED).astype(np.float32) - 32768
                low, high = crop.metadata["window_low"], crop.metadata["window_high"]
                np.clip((hu - low) / (high - low), 0, 1)
                alpha = stock_label(crop.image, crop.mark)
                np.savez_compressed(Path(folder, "row.npz"), alpha=alpha, image=crop.image)

        return measured("all: stock loop", "cv2, PyMatting", "row", loop, annotations, 1)


def measured(what: str, by: str, of: str, function: Callable, items, rounds: int) -> dict:
    """Milliseconds an item, of the best of some rounds after one that warms up."""
    function()
    work, wall = [], []
    for _ in range(rounds):
        begin, clock = time.process_time(), time.perf_counter()
        function()
        work.append(time.process_time() - begin)
        wall.append(time.perf_counter() - clock)
    each = 1e3 / len(items)
    return {
        "what": what, "by": by, "of": of, "cpu_ms": each * min(work), "wall_ms": each * min(wall),
    }  # fmt: skip


if __name__ == "__main__":
    main()
