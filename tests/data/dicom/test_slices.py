"""CT slices from DICOM files: HU and spacing are right, or the file is refused by name."""

import os

import numpy as np
import pytest

from dsnet.data.datasets.folders import find_image_mask_pictures
from dsnet.data.dicom.slices import hashed_patient, read_dicom, read_dicom_slice
from shared_data import shared

pydicom = pytest.importorskip("pydicom")
from dicom_files import ENHANCED, SIDE, STORED, dicom, item  # noqa: E402


def groups(intercept=-1024, spacing=(0.8, 0.6), kind="HU", **others):
    transformation = item(RescaleSlope=1, RescaleIntercept=intercept, RescaleType=kind)
    return item(
        PixelMeasuresSequence=[item(PixelSpacing=list(spacing))],
        PixelValueTransformationSequence=[transformation],
        **others,
    )


def test_rescale_and_spacing_of_the_functional_groups(tmp_path):
    shared_groups = {"SharedFunctionalGroupsSequence": [groups()]}
    path = dicom(tmp_path / "a.dcm", ENHANCED, 1, **shared_groups)
    hu, spacing = read_dicom_slice(path)
    assert (hu == STORED - 1024).all() and hu.dtype == np.float32 and spacing == (0.8, 0.6)
    # A frame's own group outranks the shared one, and both the root.
    path = dicom(
        tmp_path / "b.dcm", ENHANCED, 1, **shared_groups, RescaleSlope=1, RescaleIntercept=-7,
        PerFrameFunctionalGroupsSequence=[groups(-2000, (0.5, 0.4))],
    )  # fmt: skip
    hu, spacing = read_dicom_slice(path)
    assert (hu == STORED - 2000).all() and spacing == (0.5, 0.4)
    with pytest.raises(ValueError, match=r"c\.dcm: must be one grey frame, got 2 of 12x12"):
        read_dicom(dicom(tmp_path / "c.dcm", ENHANCED, 2, **shared_groups))


def test_a_real_enhanced_ct_has_hu(tmp_path):
    path = shared("dicom_ct_zoo", "pydicom", "eCT_Supplemental.dcm")
    found = pydicom.dcmread(path)
    pixels = found.pixel_array
    found.NumberOfFrames, found.PixelData = 1, pixels[:1].tobytes()
    found.PerFrameFunctionalGroupsSequence = found.PerFrameFunctionalGroupsSequence[:1]
    found.save_as(tmp_path / "one.dcm")
    hu, spacing = read_dicom_slice(tmp_path / "one.dcm")
    assert np.array_equal(hu, pixels[0].astype(np.float32) - 1024)
    assert spacing == pytest.approx((0.388672, 0.388672), abs=1e-3)


MEASURED = (
    ("must be a CT image, got modality MR", {"Modality": "MR"}),
    ("must be a CT image, got modality CT", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}),
    ("localizer", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
    ("must be grey, got PALETTE COLOR", {"PhotometricInterpretation": "PALETTE COLOR"}),
    ("must be grey, got RGB", {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}),
    ("RescaleType must be HU, got 'OD'", {"RescaleType": "OD"}),
    ("modality table", {"ModalityLUTSequence": [item(LUTExplanation="curve")]}),
    ("RescaleIntercept must be one number, got none", {"RescaleIntercept": None}),
    ("RescaleSlope must be one number, got none", {"RescaleSlope": None}),
    ("RescaleSlope must be one number", {"RescaleSlope": [1, 2]}),
    ("RescaleSlope must not be 0", {"RescaleSlope": 0}),
    ("cannot be HU", {"RescaleSlope": None, "RescaleIntercept": None}),
    ("cannot be HU", {"RescaleIntercept": 0}),
    ("these are not HU", {"RescaleIntercept": -33_000}),
    ("PixelSpacing must be two numbers > 0", {"PixelSpacing": 0.7}),
    ("PixelSpacing must be two numbers > 0", {"PixelSpacing": [0.7, 0]}),
    ("PixelSpacing must be two numbers > 0", {"PixelSpacing": [0.7, -0.7]}),
    ("PixelSpacing must be two numbers > 0", {"PixelSpacing": [0.7, 0, 0.7]}),
    ("more than the 16777216 allowed", {"Rows": 20_000, "Columns": 20_000}),
    ("no picture", {"Rows": None}),
    ("a.dcm: ", {"PixelData": None}),
)


@pytest.mark.parametrize("told, tags", MEASURED)
def test_what_gives_no_hu_is_refused_by_name(tmp_path, told, tags):
    path = dicom(tmp_path / "a.dcm", **tags)
    with pytest.raises(ValueError, match=r"a\.dcm: ") as caught:
        read_dicom(path)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "tag, text",
    [
        ("PixelSpacing", "0.70,0.70"),
        ("PixelSpacing", "0,70\\0,70"),
        ("PixelSpacing", "nan\\nan"),
        ("RescaleSlope", "1,0"),
        ("RescaleSlope", "x"),
        ("RescaleIntercept", "-1024\\-1024"),
        ("RescaleIntercept", "inf"),
    ],
)
def test_decimal_strings_that_are_none(tmp_path, tag, text):
    path = dicom(tmp_path / "a.dcm", **{tag: None})
    found = pydicom.dcmread(path)
    data = path.read_bytes()
    # As bytes, before the pixels: pydicom itself would not write these.
    value = text.encode() + b" " * (len(text) % 2)
    number = pydicom.tag.Tag(tag)
    element = number.group.to_bytes(2, "little") + number.element.to_bytes(2, "little")
    element += b"DS" + len(value).to_bytes(2, "little") + value
    later = next(e.tag for e in found if e.tag > number)
    mark = later.group.to_bytes(2, "little") + later.element.to_bytes(2, "little")
    at = data.index(mark + found[later].VR.encode())
    path.write_bytes(data[:at] + element + data[at:])
    with pytest.raises(ValueError, match=rf"a\.dcm: {tag} must be"):
        read_dicom(path)


def test_signed_values_without_a_rescale_are_hu(tmp_path):
    path = dicom(tmp_path / "a.dcm", signed=1, RescaleSlope=None, RescaleIntercept=None)
    assert (read_dicom_slice(path)[0] == STORED).all()


def test_padding_is_no_reason_to_doubt(tmp_path):
    pixels = np.full((SIDE, SIDE), 1064, np.int16)
    pixels[0] = -32768
    path = dicom(tmp_path / "a.dcm", signed=1, PixelPaddingValue=-32768)
    found = pydicom.dcmread(path)
    found.PixelData = pixels.tobytes()
    found.save_as(path)
    assert read_dicom_slice(path)[0][1, 0] == 40


def test_no_file_hangs_or_grows(tmp_path):
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "zero.dcm").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(ValueError, match="must be a regular file"):
            read_dicom(tmp_path / f"{name}.dcm")


def test_the_patient_is_hashed(tmp_path):
    first = read_dicom(dicom(tmp_path / "a.dcm")).patient
    assert first == hashed_patient("P-1 ") != hashed_patient("P-2") and len(first) == 16
    assert "P-1" not in first
    assert read_dicom(dicom(tmp_path / "b.dcm", PatientID="")).patient is None


def test_dicom_with_masks(tmp_path):
    import cv2

    for name, patient in (("p1/a.dcm", "X"), ("p1/b.dcm", ""), ("c.dcm", "X")):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        dicom(tmp_path / "images" / name, PatientID=patient)
        mask = tmp_path / "masks" / name.replace(".dcm", ".png")
        mask.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(mask), np.eye(SIDE, dtype=np.uint8))
    folders = tmp_path / "images", tmp_path / "masks"
    crops = {p.key: p.read() for p in find_image_mask_pictures(*folders, window=(0, 160))}
    whose = {key: crop.metadata.get("patient") for key, crop in crops.items()}
    assert whose == {"p1/a": hashed_patient("X"), "p1/b": "p1", "c": hashed_patient("X")}
    assert all((crop.image == 0.25).all() for crop in crops.values())  # 40 HU
    assert crops["c"].spacing == (0.8, 0.6)
    with pytest.raises(ValueError, match="needs a window"):
        find_image_mask_pictures(*folders)[0].read()
