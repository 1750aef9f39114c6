"""Random tables and picture files, good and bad; the same generator gives the same ones."""

from __future__ import annotations

import struct
import zlib

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


def png_chunk(name: bytes, data: bytes) -> bytes:
    """A chunk with its checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_file(header: tuple, *chunks: bytes) -> bytes:
    """A PNG: width, height, bits, colour, compression, filter, interlace; then its chunks."""
    first = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *header))
    return b"\x89PNG\r\n\x1a\n" + first + b"".join(chunks) + png_chunk(b"IEND", b"")


# What may stand beside pixels: some change them, some are broken, and some are no chunk at all.
BESIDE = (
    (b"tEXt", b"Software\0dsnet"), (b"tEXt", b""), (b"tIME", b"\x07\xe4\x01\x01\0\0\0"),
    (b"tIME", b"?"), (b"pHYs", b"\0\0\0\1\0\0\0\2\1"), (b"pHYs", b""), (b"gAMA", b"\0\0\xb1\x8f"),
    (b"gAMA", b""), (b"sRGB", b"\0"), (b"sBIT", b"\x0a"), (b"tRNS", b"\0\1"), (b"bKGD", b"\0\0"),
    (b"PLTE", b"abc"), (b"zTXt", b"a\0\0zz"), (b"iTXt", b"a"), (b"eXIf", b"II*\0"),
    (b"abCd", b"private"), (b"ABCD", b"critical"), (b"1234", b""), (b"acTL", b"\0" * 8),
    (b"IHDR", b"\0" * 13), (b"IDAT", b""), (b"IDAT", b"x"),
)  # fmt: skip


def random_png(rng) -> bytes:
    """A PNG file, most often grey, that is whole, or damaged before or after its checksums."""
    bits = int(rng.choice([8, 16]))
    height, width = rng.integers(1, 40, 2).tolist()
    row = 1 + width * bits // 8
    data = rng.integers(0, rng.choice([2, 9, 256]), (height, row)).astype(np.uint8)
    data[:, 0] = rng.integers(
        0, rng.choice([1, 2, 5, 5, 5, 6], p=[0.1, 0.1, 0.3, 0.2, 0.2, 0.1]), height
    )
    raw = data.tobytes()
    if rng.random() < 0.1:  # too short, or too long
        raw = (
            raw[: rng.integers(len(raw))]
            if rng.random() < 0.5
            else raw + bytes(rng.integers(1, 900))
        )
    window = int(rng.choice([15, 15, 15, 9]))
    strategy = int(
        rng.choice([zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_RLE, zlib.Z_HUFFMAN_ONLY])
    )
    deflate = zlib.compressobj(int(rng.integers(0, 10)), zlib.DEFLATED, window, 8, strategy)
    stream = bytearray(deflate.compress(raw))
    if rng.random() < 0.2:
        stream += deflate.flush(zlib.Z_FULL_FLUSH)
    stream += deflate.flush()
    if rng.random() < 0.35:  # by whoever wrote it: the checksums are right
        change, at = rng.integers(5), rng.integers(len(stream))
        if change == 0:
            stream[at] ^= 1 << rng.integers(8)
        elif change == 1:
            del stream[at:]
        elif change == 2:
            stream += bytes(rng.integers(0, 256, rng.integers(1, 9)).tolist())
        elif change == 3:
            stream[at : at + 8] = bytes(8)
        else:
            stream[-1 - rng.integers(min(4, len(stream)))] ^= 255  # Adler-32
    cuts = sorted(rng.integers(0, len(stream) + 1, rng.choice([0, 0, 1, 5])).tolist())
    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    chunks = [png_chunk(b"IDAT", bytes(part)) for part in parts]
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        chunks.insert(rng.integers(len(chunks) + 1), png_chunk(*BESIDE[rng.integers(len(BESIDE))]))
    header = [width, height, bits, 0, 0, 0, 0]
    if rng.random() < 0.08:
        header[rng.integers(7)] = (
            int(rng.choice([0, 1, 2, 3, 4, 6, 16, 2**31 - 1, 2**31]) % 2**32) % 256
        )
    if rng.random() < 0.03:
        header[rng.integers(2)] = int(rng.choice([2**31 - 1, 2**31, 70_000, 0]))
    file = bytearray(png_file(tuple(header), *chunks))
    if rng.random() < 0.15:  # on its way
        at = rng.integers(len(file))
        if rng.random() < 0.5:
            file[at] ^= 1 << rng.integers(8)
        else:
            del file[at:]
    return bytes(file)
