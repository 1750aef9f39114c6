"""Random tables, pictures and DICOM files: each line and file is accounted for, nothing crashes.

`pytest tests/fuzz --long` tries 10,000 of each. A failure names the seed and the row that make the
same case again.
"""

import io
import os
import re

import numpy as np
import pytest
from fuzz.random_crops import random_mask
from fuzz.random_files import random_picture, random_table

from dsnet.data.ct_image import read_picture
from dsnet.data.datasets.boxes import read_boxes
from dsnet.data.datasets.deeplesion import read_annotations
from dsnet.data.datasets.lidc import find_rater_pictures
from dsnet.data.dicom.slices import read_dicom
from dsnet.data.mask_values import binary_mask
from dsnet.data.patients import patients_by
from dsnet.data.picture_headers import picture_size
from dsnet.data.tables import read_table
from shared_data import shared

ROWS = int(os.environ.get("DSNET_FUZZ_ROWS", 100_000)) // 10


def read_any_table(rng, folder):
    kind, data = random_table(rng)
    # In a place where `nodules.csv` is looked for, below which there is no picture.
    path = folder / "nodules.csv"
    path.write_bytes(data)
    read = {
        "marks": read_annotations,
        "boxes": read_boxes,
        "patients": lambda path: patients_by(str(path)),
        "nodules": lambda path: find_rater_pictures(path.parent),
    }[kind]
    try:
        rows = read(path)
        lines = len(read_table(path).rows)
    except ValueError as error:
        assert str(error).count(str(path)) == 1 or "must hold PATIENT" in str(error)
        assert len(str(error)) < 20_000
        return
    if kind not in ("marks", "boxes"):
        return
    text = re.sub("\r\n?", "\n", data.decode("utf-8-sig"))
    wanted = [n for n, line in enumerate(text.split("\n"), 1) if line.strip()][1:]
    assert [row.row for row in rows] == wanted and lines == len(wanted)
    assert all((row.mark is None) == bool(row.error) for row in rows)
    assert len({row.key for row in rows}) == len(rows)


def read_any_picture(rng, folder):
    pixels, data = random_picture(rng)
    path = folder / "a.png"
    path.write_bytes(data)
    try:
        image = read_picture(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")
        return
    assert image.dtype == np.float32 and image.shape == picture_size(data)[1:]
    assert 0 <= image.min() <= image.max() <= 1
    if data.startswith(b"\x89PNG"):  # Checksums: it is what was written, or it was refused.
        assert np.array_equal(image, pixels / np.float32(np.iinfo(pixels.dtype).max))


def read_any_mask(rng, folder):
    drawn = random_mask(rng, tuple(rng.integers(1, 40, 2)))
    top = int(rng.choice([1, 3, 100, 255, 65535]))
    pixels = drawn.astype(np.int64) * top
    if rng.random() < 0.7:
        share = rng.random() ** 3
        where = rng.random(drawn.shape) < share
        pixels[where] = rng.integers(0, top, endpoint=True, size=int(where.sum()))
    pixels = pixels.astype(np.uint8 if top <= 255 and rng.random() < 0.8 else np.uint16)
    try:
        mask, note = binary_mask(pixels)
    except ValueError as error:
        assert str(error).startswith("mask must be")
        return
    assert mask.dtype == bool and mask.shape == pixels.shape
    assert not mask[pixels == 0].any() and mask[pixels == pixels.max()].all() == (pixels.max() > 0)
    assert note or np.array_equal(mask, pixels != 0)


def read_any_dicom(rng, folder):
    pydicom = pytest.importorskip("pydicom")
    found = pydicom.dcmread(shared("dicom", "pydicom", "CT_small.dcm"))
    buffer = io.BytesIO()
    found.save_as(buffer)
    data = bytearray(buffer.getvalue())
    pixels = data.rfind(b"\xe0\x7f\x10\x00")
    for _ in range(rng.integers(0, 4)):
        if len(data) < 10:
            break
        # In the header: a flipped bit among the pixels is one that no reader can tell.
        header = min(pixels, len(data) - 2)
        at, change = rng.integers(header), rng.integers(4)
        if change == 0:
            data[at] ^= 1 << rng.integers(8)
        elif change == 1:
            data[at : at + 2] = bytes(rng.integers(0, 256, 2).tolist())
        elif change == 2:
            digits = [i for i in range(header) if 48 <= data[i] < 58] or [0]
            data[digits[rng.integers(len(digits))]] = ord(rng.choice(list(",.\\-e 0")))
        elif rng.random() < 0.2:
            del data[rng.integers(8, len(data) + 1) :]
    path = folder / "a.dcm"
    path.write_bytes(bytes(data))
    try:
        hu, spacing = read_dicom(path)[:2]
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")
        return
    assert hu.dtype == np.float32 and hu.ndim == 2 and np.isfinite(hu).all()
    assert spacing is None or min(spacing) > 0


KINDS = {
    "table": read_any_table, "picture": read_any_picture, "mask": read_any_mask,
    "dicom": read_any_dicom,
}  # fmt: skip


def fuzz(name, folder, seed, rows):
    for row in rows:
        try:
            KINDS[name](np.random.default_rng([seed, row]), folder)
        except Exception as error:
            raise AssertionError(f"{name}: seed {seed}, row {row}: {error!r}") from error


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_random_files(name, tmp_path):
    fuzz(name, tmp_path, 5, range(150))


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_many_random_files(name, tmp_path):
    fuzz(name, tmp_path, 6, range(ROWS))
