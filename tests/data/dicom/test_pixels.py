"""HU of stored values of every layout: the right value is written beside each."""

import numpy as np
import pytest

from dsnet.data.dicom.pixels import codestream_size, rle_length
from dsnet.data.dicom.slices import read_dicom

pydicom = pytest.importorskip("pydicom")
from pydicom.uid import RLELossless  # noqa: E402

from dicom_files import SIDE, dicom  # noqa: E402


def written(folder, values, dtype="<u2", **tags):
    """A CT file of these stored values in its first row, of 40 HU elsewhere, and some lung."""
    padding = {n: tags.pop(n) for n in list(tags) if n.startswith("PixelPadding")}
    path = dicom(folder / "a.dcm", **tags)
    found = pydicom.dcmread(path)
    slope, intercept = (float(found.get(f"Rescale{n}", 0)) for n in ("Slope", "Intercept"))
    low = found.HighBit + 1 - found.BitsStored
    cells = np.full((SIDE, SIDE), int((40 - intercept) / (slope or 1)) << low)
    cells[-1] = int((-900 - intercept) / (slope or 1)) << low
    cells[0, : len(values)] = np.array(values)
    found.PixelData = cells.astype(np.int64).astype(dtype).tobytes()
    for name, value in padding.items():
        # Of either sign, whatever the pixels have.
        found.add_new(name, "SS" if value < 0 else "US", value)
    found.save_as(path)
    return path


def first(path, count):
    found = read_dicom(path)
    assert found.hu.dtype == np.float32
    return found.hu[0, :count].tolist(), list(found.notes)


PADDED = "{} pixels of padding became air (-1000 HU)"
OUTSIDE = "{} pixels have bits set beside the {} that are stored: left out"
LAYOUTS = (
    # Unsigned, signed, and with other numbers of bits.
    ([0, 1024, 65535], {}, [-1024, 0, 64511], []),
    ([-100, -1, 32767], {"signed": 1, "RescaleIntercept": 0}, [-100, -1, 32767], []),
    ([0x0FFF, 0x0800], {"BitsStored": 12, "HighBit": 11}, [3071, 1024], []),
    (
        # Twelve bits with a sign, which goes on above them or not.
        [0xFFFF, 0x0FFF, 0x0C00, 0x07FF],
        {"signed": 1, "BitsStored": 12, "HighBit": 11, "RescaleIntercept": 0},
        [-1, -1, -1024, 2047], [],
    ),
    # The stored bits need not be the lowest.
    ([0x4280, 0x428F], {"BitsStored": 12, "HighBit": 15}, [40, 40], [OUTSIDE.format(1, 12)]),
    # Slopes.
    ([0, 500], {"RescaleSlope": 2, "RescaleIntercept": -1000}, [-1000, 0], []),
    ([0, 500], {"RescaleSlope": 0.5, "RescaleIntercept": -1000}, [-1000, -750], []),
    ([2000, 0], {"RescaleSlope": -1, "RescaleIntercept": 1000}, [-1000, 1000], []),
    # Padding, as the header has it, with the other sign, as a range, and beyond the stored bits.
    ([-2000, 1000], {"signed": 1, "PixelPaddingValue": -2000}, [-1000, -24], [PADDED.format(1)]),
    ([-2000, 1000], {"signed": 1, "PixelPaddingValue": 63536}, [-1000, -24], [PADDED.format(1)]),
    ([63536, 1000], {"PixelPaddingValue": -2000}, [-1000, -24], [PADDED.format(1)]),
    ([0, 1000], {"PixelPaddingValue": 0}, [-1000, -24], [PADDED.format(1)]),
    (
        [-2000, -1990, -1980, -10],
        {"signed": 1, "PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990},
        [-1000, -1000, -1000, -1034], [PADDED.format(3)],
    ),
    (
        [60000, 65535, 59999],
        {"PixelPaddingValue": 65535, "PixelPaddingRangeLimit": 60000},
        [-1000, -1000, 58975], [PADDED.format(2)],
    ),
    (
        [0xF830, 0x0830, 1000],
        {"BitsStored": 12, "HighBit": 11, "PixelPaddingValue": 0xF830},
        [-1000, 1072, -24], [PADDED.format(1)],
    ),
    # What is far below air and not called padding stays, and is told.
    ([-2000, 1000], {"signed": 1}, [-3024, -24],
     ["1 pixels below -1500 HU are not called padding: left as they are"]),
    # Bits that nobody declares.
    ([0x1400, 0x0400], {"BitsStored": 12, "HighBit": 11}, [0, 0], [OUTSIDE.format(1, 12)]),
    # How it is shown is nothing to HU.
    ([0, 1064], {"PhotometricInterpretation": "MONOCHROME1"}, [-1024, 40],
     ["MONOCHROME1 is how it is shown: HU are as they were stored"]),
)  # fmt: skip


@pytest.mark.parametrize("values, tags, hu, notes", LAYOUTS)
def test_layouts(tmp_path, values, tags, hu, notes):
    dtype = "<i2" if tags.get("signed") else "<u2"
    assert first(written(tmp_path, values, dtype, **tags), len(values)) == (hu, notes)


@pytest.mark.parametrize("bits, stored", [(16, 16), (16, 12), (8, 8)])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("slope, intercept", [(1, -1024), (2, -3), (-1, 1000), (0.37, -1000.5)])
def test_plain_cells_are_hu_by_pydicom_and_a_slope(
    tmp_path, bits, stored, signed, slope, intercept
):
    rng = np.random.default_rng(bits + stored + signed)
    half = 2 ** (stored - 1)
    low, high = (-half, half - 1) if signed else (0, 2 * half - 1)
    # Nothing that comes below what no scanner gives.
    kept = sorted(((-8000 - intercept) / slope, np.copysign(40000, slope)))
    low, high = int(max(low, kept[0])), int(min(high, kept[1]))
    values = rng.integers(low, high, (7, 5), endpoint=True).astype(f"{'ui'[signed]}{bits // 8}")
    layout = {"BitsAllocated": bits, "BitsStored": stored, "HighBit": stored - 1}
    path = dicom(
        tmp_path / "a.dcm", signed=signed, Rows=7, Columns=5, RescaleSlope=slope,
        RescaleIntercept=intercept, **layout,
    )  # fmt: skip
    found = pydicom.dcmread(path)
    found.PixelData = values.tobytes() + bytes(values.nbytes % 2)
    found["PixelData"].VR = "OW"
    found.save_as(path)
    stored_values = pydicom.dcmread(path).pixel_array
    assert np.array_equal(stored_values, values)
    right = (stored_values.astype(np.float64) * slope + intercept).astype(np.float32)
    assert np.array_equal(read_dicom(path).hu, right)


def test_eight_bits(tmp_path):
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    path = written(tmp_path, [0, 255], "u1", **eight, RescaleSlope=8)
    assert first(path, 2) == ([-1024, 1016], [])
    path = written(tmp_path, [-1, 127], "i1", **eight, signed=1, RescaleIntercept=0)
    assert first(path, 2)[0] == [-1, 127]
    # 0..255 of a picture are no HU, in whatever way it is said.
    for rescale in ({"RescaleIntercept": 0}, {"RescaleIntercept": None, "RescaleSlope": None}):
        with pytest.raises(ValueError, match="cannot be HU"):
            read_dicom(written(tmp_path, [0, 255], "u1", **eight, **rescale))


def test_thirty_two_bits(tmp_path):
    wide = {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}
    path = written(tmp_path, [-40, 3000], "<i4", **wide, signed=1, RescaleIntercept=0)
    assert first(path, 2) == ([-40, 3000], [])
    path = written(tmp_path, [2**31], "<u4", **wide)
    with pytest.raises(ValueError, match="its values must be below 2147483648"):
        read_dicom(path)


def test_overlays_in_the_unused_bits_are_left_out(tmp_path):
    path = written(tmp_path, [0x9400, 0x1400, 0x8400, 0x0400], BitsStored=12, HighBit=11)
    found = pydicom.dcmread(path)
    for number, bit in ((0x6000, 12), (0x6002, 15)):
        found.add_new((number, 0x0100), "US", 16)
        found.add_new((number, 0x0102), "US", bit)
    found.save_as(path)
    assert first(path, 4) == ([0] * 4, ["overlays in the unused bits were left out"])
    # An overlay with data of its own declares no bit.
    for number in (0x6000, 0x6002):
        found[number, 0x0100].value, found[number, 0x0102].value = 1, 0
        found.add_new((number, 0x3000), "OW", bytes(18))
    found.save_as(path)
    assert first(path, 4) == ([0] * 4, [OUTSIDE.format(3, 12)])


def test_without_preamble_and_without_its_group(tmp_path):
    path = written(tmp_path, [0, 1064])
    data = path.read_bytes()
    assert data[128:132] == b"DICM"
    path.write_bytes(data[132:])
    assert first(path, 2)[0] == [-1024, 40]
    begin = data.index(b"\x08\x00\x16\x00UI")
    path.write_bytes(data[begin:])
    assert first(path, 2)[0] == [-1024, 40]
    # Implicit, and big endian.
    for implicit, little, dtype in ((True, True, "<u2"), (False, False, ">u2")):
        found = pydicom.dcmread(written(tmp_path, [0, 1064]))
        cells = found.pixel_array.astype(dtype)
        found.PixelData = cells.tobytes()
        found["PixelData"].VR = "OW"
        raw = pydicom.filebase.DicomBytesIO()
        raw.is_implicit_VR, raw.is_little_endian = implicit, little
        pydicom.filewriter.write_dataset(raw, pydicom.Dataset(found))
        path.write_bytes(raw.getvalue())
        assert first(path, 2)[0] == [-1024, 40], (implicit, little)


def test_spacing_is_never_the_detectors(tmp_path):
    for name in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        path = dicom(tmp_path / "a.dcm", PixelSpacing=None, **{name: [0.2, 0.2]})
        found = read_dicom(path)
        assert found.spacing is None
        told = f"it has no PixelSpacing, and {name} is not the patient's: not taken"
        assert found.notes[0] == told
        assert read_dicom(dicom(tmp_path / "b.dcm", **{name: [0.2, 0.2]})).spacing == (0.8, 0.6)


def test_a_slice_knows_its_place(tmp_path):
    place = {"ImagePositionPatient": [1, 2, -3.5], "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
    found = read_dicom(dicom(tmp_path / "a.dcm", **place))
    assert (found.position, found.orientation) == ((1, 2, -3.5), (0, 1, 0, 0, 0, -1))
    assert read_dicom(dicom(tmp_path / "b.dcm")).position is None


def compressed(folder, frames):
    """A run-length file of several frames; pydicom encodes it."""
    path = dicom(folder / "a.dcm", frames=len(frames))
    found = pydicom.dcmread(path)
    found.compress(RLELossless, np.squeeze(np.stack(frames)), generate_instance_uid=False)
    found.save_as(path)
    return path, found


def test_each_frame_of_a_compressed_file(tmp_path):
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 3000, (SIDE, SIDE)).astype(np.uint16) for _ in range(3)]
    path, _ = compressed(tmp_path, frames)
    for number, frame in enumerate(frames, 1):
        assert np.array_equal(read_dicom(path, frame=number).hu, frame.astype(np.float32) - 1024)
    for number in (0, 4, -1):
        with pytest.raises(ValueError, match=f"frame must be 1 to 3, got {number}"):
            read_dicom(path, frame=number)


def test_codes_of_another_size_are_refused_before_they_are_decoded(tmp_path):
    path, found = compressed(tmp_path, [np.zeros((SIDE, SIDE), np.uint16)])
    from pydicom.encaps import encapsulate, generate_frames

    (code,) = generate_frames(found.PixelData, number_of_frames=1)
    assert rle_length(code) == SIDE * SIDE * 2
    bomb = code[:64] + b"\x81\x00" * 50_000
    assert rle_length(bomb) >= 128 * 49_000
    cases = (
        (bomb, "its run lengths give more pixels than the header states"),
        (b"\x01" + code[1:], "its pixels must be 2 run-length segments, got 1"),
        (
            b"\xff" * 2_000_000,
            "a fragment must be of at most 1049152 bytes, got 2000000",
        ),
        (b"", "its pixels are empty"),
    )
    for data, told in cases:
        found.PixelData = encapsulate([data]) if data else encapsulate([b"\0\0"])[:8] + bytes(8)
        found.save_as(path)
        with pytest.raises(ValueError, match=r"a\.dcm: ") as caught:
            read_dicom(path)
        assert told in str(caught.value) or not data, str(caught.value)
    jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc3\x00\x11\x10\xea\x60\xea\x60\x01\x01\x11\x00"
    assert codestream_size(jpeg) == (60000, 60000)
    siz = b"\xff\x4f\xff\x51" + bytes([0, 41, 0, 0]) + b"\0\0\xea\x60" * 2 + b"\0\0\0\x05" * 2
    assert codestream_size(siz) == (59995, 59995) == codestream_size(b"\0" * 80 + siz)
    assert codestream_size(b"") is None and codestream_size(b"\xff\xd8\xff") is None
    found.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.90"
    found.PixelData = encapsulate([siz + bytes(99)])
    found.save_as(path)
    with pytest.raises(ValueError, match=r"the header states 12x12 pixels, its code 59995x59995"):
        read_dicom(path)
