"""Rows of a DICOM file that are read alone: those of the whole file."""

import numpy as np
import pytest

from shared_data import shared

pydicom = pytest.importorskip("pydicom")
from dicom_files import dicom  # noqa: E402
from dsnet.data.dicom import rows as rows_module  # noqa: E402
from dsnet.data.dicom.header import read_header  # noqa: E402
from dsnet.data.dicom.rows import read_rows  # noqa: E402

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")


def rows_of(path, begin, end):
    with open(path, "rb") as file:
        return read_rows(path, read_header(file), begin, end)


def write(path, values, syntax=NATIVE[1], stored=None, **tags):
    """A frame of these values in any plain syntax."""
    bits = 8 * values.itemsize
    stored = stored or bits
    how = {"Rows": values.shape[0], "Columns": values.shape[1], "BitsAllocated": bits,
           "BitsStored": stored, "HighBit": stored - 1}  # fmt: skip
    dicom(path, signed=int(values.dtype.kind == "i"), **{**how, **tags})
    read = pydicom.dcmread(path)
    made = pydicom.Dataset(dict(read.items()))  # without the byte order that it was read in
    made.file_meta = read.file_meta
    big = syntax == NATIVE[2]
    made.PixelData = values.astype(values.dtype.newbyteorder(">" if big else "<")).tobytes()
    made["PixelData"].VR = "OW"
    made.file_meta.TransferSyntaxUID = syntax
    made.save_as(
        path, implicit_vr=syntax == NATIVE[0], little_endian=not big, enforce_file_format=True
    )
    return path


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int8, np.uint8])
def test_rows_are_those_of_the_whole_file(tmp_path, syntax, dtype):
    rng = np.random.default_rng(0)
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max, (14, 10), endpoint=True).astype(dtype)
    path = write(tmp_path / "a.dcm", values, syntax)
    if values.itemsize == 1 and syntax == NATIVE[2]:
        assert rows_of(path, 0, 3) is None
        return
    assert np.array_equal(pydicom.dcmread(path).pixel_array, values)
    for begin, end in ((0, 14), (3, 9), (13, 14), (5, 5)):
        found = rows_of(path, begin, end)
        assert found.dtype == np.int32 and np.array_equal(found, values[begin:end])


def test_real_files_that_are_plain_are_read_so():
    counts = {True: 0, False: 0}
    for path in sorted(shared("dicom_ct_zoo").rglob("*.dcm")):
        with open(path, "rb") as file:
            header = read_header(file)
        found = pydicom.dcmread(path)
        frames = int(found.get("NumberOfFrames") or 1)
        plain = header.syntax in NATIVE and frames == 1
        height = int(found.get("Rows") or 0)
        rows = read_rows(path, header, height // 3, height // 2)
        counts[rows is not None] += 1
        if rows is None:
            assert not plain or found.BitsAllocated not in (8, 16) or found.SamplesPerPixel != 1
        else:
            assert plain and np.array_equal(rows, found.pixel_array[height // 3 : height // 2])
    assert counts[True] > 5 and counts[False] > 5


def test_only_those_rows_are_read(tmp_path, monkeypatch):
    values = np.arange(140, dtype=np.int16).reshape(14, 10)
    path = write(tmp_path / "a.dcm", values)
    taken = []

    class Watched:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def seek(self, place):
            self.file.seek(place)

        def read(self, size):
            taken.append(size)
            return self.file.read(size)

    opened = rows_module.open_regular_file
    monkeypatch.setattr(rows_module, "open_regular_file", lambda path: Watched(opened(path)))
    assert np.array_equal(rows_of(path, 4, 6), values[4:6]) and taken == [40]


def test_what_is_not_plain_is_left_to_the_whole(tmp_path):
    values = np.arange(140, dtype=np.uint16).reshape(14, 10)
    for number, (tags, stored) in enumerate((
        ({"HighBit": 15}, 12), ({"PhotometricInterpretation": "RGB"}, None),
        ({"NumberOfFrames": 2}, None), ({"SamplesPerPixel": 3}, None), ({"Rows": 15}, None),
        ({"PixelRepresentation": 7}, None), ({"BitsStored": 0}, None),
    )):  # fmt: skip
        assert (
            rows_of(write(tmp_path / f"{number}.dcm", values, stored=stored, **tags), 0, 2) is None
        )
    # 4096 does not fit 12 bits: an overlay's bit, perhaps.
    values[1, 3] = 4096
    path = write(tmp_path / "overlay.dcm", values, stored=12)
    assert rows_of(path, 0, 2) is None and np.array_equal(rows_of(path, 2, 9), values[2:9])
    signed = np.array([[-2048, 2047], [-2049, 0]], np.int16)
    path = write(tmp_path / "signed.dcm", signed, stored=12)
    assert np.array_equal(rows_of(path, 0, 1), signed[:1]) and rows_of(path, 0, 2) is None


def test_rows_that_are_not_there_are_told(tmp_path):
    values = np.arange(140, dtype=np.int16).reshape(14, 10)
    path = write(tmp_path / "a.dcm", values)
    for begin, end in ((-1, 2), (3, 2), (0, 15)):
        with pytest.raises(ValueError, match=rf"a\.dcm: rows must be within 0 and 14, got {begin}"):
            rows_of(path, begin, end)
    with open(path, "rb") as file:
        header = read_header(file)
    path.write_bytes(path.read_bytes()[:-41])
    assert np.array_equal(read_rows(path, header, 0, 11), values[:11])
    with pytest.raises(ValueError, match=r"a\.dcm: it is cut short: 41 bytes of its pixels lack"):
        read_rows(path, header, 0, 14)
    path.unlink()
    with pytest.raises(ValueError, match=r"a\.dcm: No such file"):
        read_rows(path, header, 0, 1)
