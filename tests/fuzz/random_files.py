"""Random tables and picture files, good and bad; the same generator gives the same ones."""

from __future__ import annotations

import struct

import cv2
import numpy as np

MARK = "20, 30, 44, 30, 32, 22, 32, 38"
TABLES = {
    "marks": (
        "File_name,Patient_index,Measurement_coordinates,Image_size,Spacing_mm_px_,DICOM_windows",
        '{name},{number},"' + MARK + '","64, 64","0.8, 0.7, 5","-1500, 500"',
    ),
    "boxes": ("file,x0,y0,x1,y1,spacing_mm", "{name},10,12,{number}5,31.5,0.7"),
    "patients": ("file,patient", "{name},P{number}"),
    "nodules": ("patient,nodule,spacing_mm", "{name},nodule-{number},0.7"),
}
# What finds its way into tables: by spreadsheets, other systems, people and attackers.
SPLINTERS = (
    '"', '""', ",", ",,,,", "\n", "\r", "\r\n", "\0", "\x0b", "\x0c", "\x1c", "\x85", "\u2028",
    "\u2029", "\ufeff", "\t", ";", "'", "\\", "=1+1", "[red]", "\x1b[31m", "nan", "inf", "1e999",
    "-1e308", "9" * 400, "0x10", "½", "٣", "..", "/", "a" * 5000, "x" * 140_000, "\ud800", "é",
    "../../etc/passwd", "null", "None", " ", "\u202e",
)  # fmt: skip


def random_table(rng) -> tuple[str, bytes]:
    """Which kind of table, and its bytes."""
    kind = rng.choice(list(TABLES))
    header, row = TABLES[kind]
    lines = [header]
    for number in range(rng.integers(0, 12)):
        name = rng.choice(["a.png", "000001_01_01_109.png", f"s{number}.png", "d/e.tif", ""])
        lines.append(row.format(name=name, number=number))
    text = str(rng.choice(["\n", "\n", "\r\n", "\r"])).join(lines) + "\n" * rng.integers(0, 3)
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        change, at = rng.integers(6), rng.integers(len(text) + 1)
        if change <= 2:
            text = text[:at] + SPLINTERS[rng.integers(len(SPLINTERS))] + text[at:]
        elif change == 3:
            text = text[:at] + text[at + rng.integers(1, 40) :]
        elif change == 4:
            text = text[:at]
        else:
            end = at + rng.integers(0, 60)
            text = text[:end] + text[at:end] + text[end:]
    data = text.encode("utf-8", "surrogatepass")
    odd = rng.random()
    if odd < 0.04:
        data = text.encode("utf-16", "surrogatepass")
    elif odd < 0.08 and data:
        place = rng.integers(len(data))
        data = data[:place] + bytes([rng.integers(128, 256)]) + data[place:]
    elif odd < 0.12:
        data = b"\xef\xbb\xbf" + data
    return str(kind), data


def random_picture(rng) -> tuple[np.ndarray, bytes]:
    """Grey pixels, and a file of them that is whole or damaged."""
    dtype = rng.choice([np.uint8, np.uint16])
    shape = tuple(rng.integers(1, 40, 2))
    pixels = rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
    endings = [".png", ".tif", ".pgm"] + ([".bmp"] if dtype == np.uint8 else [])
    options = []
    ending = str(rng.choice(endings))
    if ending == ".tif":
        options = [cv2.IMWRITE_TIFF_COMPRESSION, int(rng.choice([1, 5, 8, 32946, 32773]))]
    data = bytearray(cv2.imencode(ending, pixels, options)[1].tobytes())
    for _ in range(rng.choice([0, 1, 1, 3])):
        if not data:
            break
        change, at = rng.integers(5), rng.integers(len(data))
        if change == 0:
            data[at] ^= 1 << rng.integers(8)
        elif change == 1:
            del data[at:]
        elif change == 2:  # a number somewhere in the header
            value = int(rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 65536, 20_000]))
            at = rng.integers(min(len(data), 60))
            packed = struct.pack(str(rng.choice(["<I", ">I"])), value)
            data[at : at + 4] = packed
        elif change == 3:
            data[at:at] = bytes(rng.integers(0, 256, rng.integers(1, 9)).tolist())
        else:
            data[at : at + 8] = bytes(8)
    return pixels, bytes(data)
