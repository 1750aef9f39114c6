"""An archive like DeepLesion's, as large as is wanted, with everything broken that archives have.

A few slices under many names (hard links), each with many marks of its own, so that a million rows
need little room. A share of the rows is broken, each kind in turn; what becomes of a row of each
kind is written down here, by hand, and not asked of the product.

    FOLDER/DL_info.csv
    FOLDER/kinds.npy              a number a line of the table: which of `KINDS`, 0 is `SOUND`
    FOLDER/Images_png/SERIES/KEY.png
    FOLDER/slices/                what those are links to
"""

from __future__ import annotations

import csv
import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from dsnet.data.png import PNG_BEGINNING

COLUMNS = (
    "File_name", "Patient_index", "Measurement_coordinates", "Bounding_boxes", "Possibly_noisy",
    "Spacing_mm_px_", "Image_size", "DICOM_windows", "Train_Val_Test",
)  # fmt: skip
SIDES = (512, 512), (512, 512), (512, 512), (512, 512), (64, 96), (57, 61)  # height, width
SLICES = 240
# Names that share a slice's file: file systems allow some ten thousand.
MOST_LINKS = 30_000
MOST_BROKEN_A_FILE = 3

SOUND = "sound"
# What is wrong with a file: the reason of each of its rows.
BROKEN_FILES = {
    "no file": "no image .* in ",
    "a folder in its place": "no image .* in ",
    "a pipe in its place": "no image .* in ",
    "a device in its place": "no image .* in ",
    "a link to nothing": "no image .* in ",
    "a link to itself": "no image .* in ",
    "a name that is too long": "no image .* in ",
    "empty": "not a PNG file, nor a TIFF, BMP or PGM one$",
    "a page in HTML": "not a PNG file, nor a TIFF, BMP or PGM one$",
    "cut short": r"the PNG is cut short after \d+ bytes$",
    "a byte changed": r"the PNG is damaged at byte \d+$",
    "no zlib under right checksums": "the PNG could not be decoded$",
    "a header of 60,000 x 60,000": "the header states 60000x60000 pixels, more than the ",
    "8 bits": "must be a 16-bit PNG",
    "colour": "must be a grey image, got 3 channels$",
    "two frames": "the PNG holds several frames, one is wanted$",
    "windowed already": r"picture must hold HU \+ 32768, ",
    "of another size than the table's": "picture must be of the table's Image_size 512x500, ",
}
# What is wrong with a row of a sound file.
BROKEN_ROWS = {
    "a mark beside the image": "mark at x, y .* lies outside the image of ",
    "a mark of miles": "mark spans .* pixels, more than the image of ",
    "no mark": r"row \d+: Measurement_coordinates must be 8 numbers, or 4 .*, got 0$",
    "seven numbers": r"row \d+: Measurement_coordinates must be 8 numbers, or 4 .*, got 7$",
    "words": r"row \d+: Measurement_coordinates must be 8 numbers, got 'see report",
    "NaN": r"row \d+: coordinates must ",
    "infinite": r"row \d+: coordinates must ",
    "1e12": r"row \d+: coordinates must ",
    "no name": r"row \d+: File_name is empty$",
    "a name that leads out": "File_name must be a file's name, got '../",
    "a field too many": r"row \d+: must have 9 fields as the header, got 10$",
    "half a line": r"row \d+: must have 9 fields as the header, got 2$",
    "a quote that is not closed": r"row \d+: cannot be taken apart: ",
    "a field of 5,000 characters": r"row \d+: fields must be of at most 4096 characters, got 5000$",
}
# Odd, and labelled all the same: no reason.
ODD = {
    "a row again": "",
    "a long axis alone": "",
    "an axis of length zero": "",
    "a mark half outside": "",
    "axes that do not cross": "",
    "spacing and window that are none": "",
    "a name in other letters": "",
}
REASONS = {SOUND: "", **BROKEN_FILES, **BROKEN_ROWS, **ODD}
KINDS = tuple(REASONS)


class Archive(NamedTuple):
    """Where it lies, and which kind each line of the table is of.

    Attributes
    ----------
    table, images : Path
    kinds : ndarray [N], uint8
        Of line 2 + i of the table: an index into `KINDS`.
    """

    table: Path
    images: Path
    kinds: np.ndarray


def archive_at(folder: Path) -> Archive:
    """What `write_archive` wrote there."""
    return Archive(folder / "DL_info.csv", folder / "Images_png", np.load(folder / "kinds.npy"))


def write_archive(
    folder: Path, rows: int, broken: float, seed: int, marks: int, slices: int = SLICES
) -> Archive:
    """Make an archive of so many rows.

    Parameters
    ----------
    folder : Path
        New or empty.
    rows : int
    broken : float
        Share of the rows that is of a kind other than `SOUND`, each kind in turn.
    seed : int
    marks : int
        Of a sound file, on average.
    slices : int
        Files that have pixels; the names are links to them.
    """
    rng = np.random.default_rng(seed)
    images = folder / "Images_png"
    images.mkdir(parents=True)
    (images / os.fsdecode(b"\xff\xfe no name.png")).touch()  # lies there; no table can name it
    pictures = _Pictures(folder / "slices", rng, max(min(slices, rows // marks), 1))
    odd = [KINDS[1 + i % (len(KINDS) - 1)] for i in range(round(rows * broken))]
    of_files = [kind for kind in odd if kind in BROKEN_FILES]
    of_rows = [kind for kind in odd if kind not in BROKEN_FILES]
    files = _files(rows - len(of_rows), of_files, marks, rng)
    # After which sound file each broken row comes; there it has its name and its marks.
    sound = [i for i, (kind, _) in enumerate(files) if kind == SOUND]
    beside: dict[int, list[str]] = {}
    for kind, file in zip(of_rows, rng.choice(sound, len(of_rows)), strict=True):
        beside.setdefault(int(file), []).append(kind)
    kinds: list[str] = []
    with open(folder / "DL_info.csv", "w", encoding="utf-8", newline="") as table:
        table.write(",".join(COLUMNS) + "\r\n")
        for number, (kind, count) in enumerate(files):
            name, shape = pictures.put(images, number, kind)
            stated = (512, 500) if kind == "of another size than the table's" else shape[::-1]
            lines = [_line(name, number, one, stated) for one in _marks(shape, count, rng)]
            kinds += [kind] * count
            for other in beside.get(number, ()):
                given = pictures.again(images, number, other, name)
                (mark,) = _marks(shape, 1, rng)
                lines.append(_broken_line(other, given, number, mark, stated, lines[0]))
                kinds.append(other)
            table.writelines(lines)
    np.save(folder / "kinds.npy", np.array([KINDS.index(kind) for kind in kinds], np.uint8))
    return archive_at(folder)


def _files(rows: int, broken: list[str], marks: int, rng) -> list[tuple[str, int]]:
    """(kind, rows) of each file, in the order of the table."""
    found, count = [], len(broken)
    for kind in dict.fromkeys(broken):
        left = broken.count(kind)
        while left:
            found.append((kind, min(int(rng.integers(1, MOST_BROKEN_A_FILE + 1)), left)))
            left -= found[-1][1]
    while count < rows:
        found.append((SOUND, min(int(rng.integers(1, 2 * marks)), rows - count)))
        count += found[-1][1]
    return [found[i] for i in rng.permutation(len(found))]


class _Pictures:
    """The files that have pixels, and the names that are given to them."""

    def __init__(self, folder: Path, rng: np.random.Generator, count: int) -> None:
        folder.mkdir()
        self._folder, self._rng = folder, rng
        self._slices: list[tuple[Path, tuple[int, int]]] = []
        self._broken: dict[str, Path] = {}
        for number in range(count):
            shape = SIDES[number % len(SIDES)]
            path = folder / f"{number:04d}.png"
            path.write_bytes(_png(ct_slice(shape, rng)))
            self._slices.append((path, shape))
        self._data = self._slices[0][0].read_bytes()
        for kind, make in _DAMAGES.items():
            self._broken[kind] = folder / f"{kind.replace(' ', '-').replace(',', '')}.png"
            self._broken[kind].write_bytes(make(self._data))
        self._links = 0

    def put(self, images: Path, number: int, kind: str) -> tuple[str, tuple[int, int]]:
        """Give a file its name; that, and the shape that its rows state."""
        name = f"{number // 100:06d}_01_01_{number % 1000:03d}.png"
        if kind == "a name that is too long":
            name = f"{number:06d}_01_01_{'9' * 300}.png"
        path, shape = images / name[:-8] / name[-7:], SIDES[0]
        source = self._broken.get(kind)
        if kind in (SOUND, "of another size than the table's"):
            source, shape = self._slices[number % len(self._slices)]
        if source is not None or kind in _PLACES:
            path.parent.mkdir(exist_ok=True)
        if source is not None:
            _link(source, path)
        elif kind in _PLACES:
            _PLACES[kind](path)
        return name, shape

    def again(self, images: Path, number: int, kind: str, name: str) -> str:
        """The name of a broken row's file; another one of the same slice where the name is odd."""
        if kind != "a name in other letters":
            return name
        self._links += 1
        other = f"Läsion {self._links} 肝_{number % 1000:03d}.png"
        source, _ = self._slices[number % len(self._slices)]
        (images / other).parent.mkdir(exist_ok=True)
        _link(source, images / other)
        return other


def _link(source: Path, path: Path) -> None:
    if source.stat().st_nlink > MOST_LINKS:
        whole = source.read_bytes()
        source.unlink()
        source.write_bytes(whole)
    os.link(source, path)


_PLACES: dict[str, Callable[[Path], object]] = {
    "a folder in its place": Path.mkdir,
    "a pipe in its place": os.mkfifo,
    "a device in its place": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("nothing.png"),
    "a link to itself": lambda path: path.symlink_to(path.name),
}


def ct_slice(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """HU + 32768, uint16: a body with lungs and blobs in air, with noise."""
    height, width = shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    hu = np.full(shape, -1000.0)
    hu[x**2 + (1.3 * y) ** 2 < 0.9] = rng.uniform(20, 60)
    for side in (-0.4, 0.4):
        hu[((x - side) / 0.3) ** 2 + (y / 0.45) ** 2 < 1] = rng.uniform(-900, -750)
    for _ in range(30):
        middle, radius = rng.uniform(-0.8, 0.8, 2), rng.uniform(0.02, 0.1)
        blob = np.exp(-(((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / radius**2))
        hu += rng.uniform(-100, 400) * blob
    hu += rng.normal(0, 12, shape)
    return (np.rint(hu).clip(-1024, 3071) + 32768).astype(np.uint16)


def _marks(shape: tuple[int, int], count: int, rng: np.random.Generator) -> np.ndarray:
    """Marks [count, 8] within an image, pixel centres at halves, as DeepLesion counts."""
    least = min(shape)
    half = rng.uniform(0.02, 0.08, count) * least + 1.5
    across = half * rng.uniform(0.4, 0.95, count)
    angle = rng.uniform(0, np.pi, count)
    middle = rng.uniform(0.15, 0.85, (count, 2)) * (shape[1], shape[0])
    along = np.stack([np.cos(angle), np.sin(angle)], -1)
    aside = np.stack([-along[:, 1], along[:, 0]], -1)
    ends = [middle - along * half[:, None], middle + along * half[:, None],
            middle - aside * across[:, None], middle + aside * across[:, None]]  # fmt: skip
    return np.concatenate(ends, -1)


def _line(name: str, number: int, mark, size, **other: str) -> str:
    mark = np.asarray(mark)
    box = [mark[0::2].min() - 5, mark[1::2].min() - 5, mark[0::2].max() + 5, mark[1::2].max() + 5]
    cells = {
        "File_name": name, "Patient_index": str(number // 100), "Possibly_noisy": "0",
        "Measurement_coordinates": ", ".join(f"{v:.4f}" for v in mark),
        "Bounding_boxes": ", ".join(f"{v:.3f}" for v in box),
        "Spacing_mm_px_": "0.8, 0.8, 5", "Image_size": f"{size[0]}, {size[1]}",
        "DICOM_windows": "-175, 275" if number % 2 else "-1024, 3071",
        "Train_Val_Test": str(1 + number % 3), **other,
    }  # fmt: skip
    text = io.StringIO()
    csv.writer(text).writerow([cells[column] for column in COLUMNS])
    return text.getvalue()


def _broken_line(kind: str, name: str, number: int, mark, size, sound: str) -> str:
    """A line of a kind of `BROKEN_ROWS` or `ODD`."""
    if kind == "a row again":
        return sound
    there = mark.copy()
    said = {
        "no mark": "", "seven numbers": "10, 10, 20, 20, 10, 20, 20",
        "words": "see report, 12, 13, 14, 15, 16, 17, 18",
    }.get(kind)  # fmt: skip
    if said is not None:
        return _line(name, number, mark, size, Measurement_coordinates=said)
    if kind == "a long axis alone":
        return _line(name, number, np.append(mark[:4], [np.nan] * 4), size, Bounding_boxes="")
    if kind == "spacing and window that are none":
        odd = {"Spacing_mm_px_": "0, nan, -5", "DICOM_windows": "275, -175"}
        return _line(name, number, mark, size, **odd)
    if kind in ("no name", "a name that leads out"):
        name = "" if kind == "no name" else f"../{name}"
    elif kind == "a mark beside the image":
        there[0::2] += 2 * size[0]
    elif kind == "a mark of miles":
        there = (mark - np.tile(mark[:2], 4)) * 1e4 + np.tile(mark[:2], 4)
    elif kind in ("NaN", "infinite", "1e12"):
        there[number % 4] = {"NaN": np.nan, "infinite": np.inf, "1e12": 1e12}[kind]
    elif kind == "an axis of length zero":
        there[6:] = there[4:6]
    elif kind == "a mark half outside":
        there[0::2] -= there[0::2].mean() - 0.5
    elif kind == "axes that do not cross":
        there[4:] += 3 * np.tile(there[2:4] - there[:2], 2)
    line = _line(name, number, there, size)
    if kind == "a field too many":
        return line.replace("\r\n", ",more\r\n")
    if kind == "half a line":
        return ",".join(line.split(",")[:2]) + "\r\n"
    if kind == "a quote that is not closed":
        return line[: line.rindex('"')] + line[line.rindex('"') + 1 :]
    if kind == "a field of 5,000 characters":
        return _line(name, number, mark, size, DICOM_windows="7" * 5000)
    return line


def _png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(PNG_BEGINNING)
    while position < len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        yield data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        position += 12 + length


def _joined(chunks) -> bytes:
    return PNG_BEGINNING + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def _no_zlib(data: bytes) -> bytes:
    first, *others = _chunks(data)
    kept = [other for other in others if other[0] == b"IDAT"][1:]
    return _joined([first, (b"IDAT", bytes(64)), *kept, (b"IEND", b"")])


def _huge(data: bytes) -> bytes:
    (name, head), *others = _chunks(data)
    return _joined([(name, struct.pack(">II", 60_000, 60_000) + head[8:]), *others])


def _two_frames(data: bytes) -> bytes:
    first, *others = _chunks(data)
    return _joined([first, (b"acTL", struct.pack(">II", 2, 0)), *others])


def _changed(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def _colour(data: bytes) -> bytes:
    planes = [np.full((512, 512), 32768 + plane, np.uint16) for plane in range(3)]
    return _png(np.stack(planes, -1))


_DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "a page in HTML": lambda data: b"<!doctype html><title>404</title>",
    "cut short": lambda data: data[: 2 * len(data) // 3],
    "a byte changed": _changed,
    "no zlib under right checksums": _no_zlib,
    "a header of 60,000 x 60,000": _huge,
    "8 bits": lambda data: _png(np.full((512, 512), 128, np.uint8)),
    "colour": _colour,
    "two frames": _two_frames,
    "windowed already": lambda data: _png(np.full((512, 512), 9, np.uint16)),
}
