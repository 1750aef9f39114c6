"""Folders of outlined pictures, PNG files and DICOM slices."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from dsnet.data.ct_image import apply_window, read_ct_png, read_mask, read_picture
from dsnet.data.datasets.folders import find_image_mask_pictures
from dsnet.data.datasets.lidc import find_rater_pictures
from dsnet.data.dicom.slices import read_dicom_slice
from shared_data import shared


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def noise(dtype, shape=(20, 30)):
    top = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, top, shape, endpoint=True).astype(dtype)


def test_ct_png_is_value_less_32768(tmp_path):
    pixels = noise(np.uint16)
    write(tmp_path / "a.png", pixels)
    hu = read_ct_png(tmp_path / "a.png")
    assert hu.dtype == np.float32 and np.array_equal(hu, pixels.astype(np.float64) - 32768)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_of_both_depths_span_0_to_1(tmp_path, dtype):
    pixels = noise(dtype)
    write(tmp_path / "a.png", pixels)
    image = read_picture(tmp_path / "a.png")
    assert np.allclose(image, pixels / np.iinfo(dtype).max) and image.dtype == np.float32
    write(tmp_path / "mask.png", np.where(pixels > 99, pixels.max(), 0).astype(dtype))
    mask, note = read_mask(tmp_path / "mask.png")
    assert np.array_equal(mask, pixels > 99) and note == ""


def test_every_cut_of_a_png_is_noticed(tmp_path):
    write(tmp_path / "whole.png", noise(np.uint16))
    data = (tmp_path / "whole.png").read_bytes()
    for length in [*range(0, 60), *range(60, len(data), 37), len(data) - 1]:
        (tmp_path / "cut.png").write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"cut\.png"):
            read_ct_png(tmp_path / "cut.png")


def test_a_flipped_bit_is_noticed(tmp_path):
    write(tmp_path / "whole.png", noise(np.uint16))
    data = bytearray((tmp_path / "whole.png").read_bytes())
    data[len(data) // 2] ^= 4
    (tmp_path / "bad.png").write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        read_ct_png(tmp_path / "bad.png")


def test_wrong_kinds_of_file_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"none.png: No such file"):
        read_ct_png(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ValueError, match="not a PNG"):
        read_ct_png(tmp_path / "text.png")
    write(tmp_path / "eight.png", noise(np.uint8))
    with pytest.raises(ValueError, match=r"must be a 16-bit PNG \(HU \+ 32768\), got uint8"):
        read_ct_png(tmp_path / "eight.png")
    write(tmp_path / "colour.png", noise(np.uint8, (8, 9, 3)))
    with pytest.raises(ValueError, match="must be a grey image, got 3 channels"):
        read_picture(tmp_path / "colour.png")


def test_a_header_that_states_too_many_pixels_is_told(tmp_path):
    write(tmp_path / "huge.png", noise(np.uint16))
    data = bytearray((tmp_path / "huge.png").read_bytes())
    data[16:24] = struct.pack(">II", 100000, 100000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "huge.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"huge\.png: the PNG could not be decoded"):
        read_ct_png(tmp_path / "huge.png")


def test_window():
    hu = np.array([-2000.0, -1350, -600, 150, 900, np.nan])
    image = apply_window(hu, -1350, 150)
    assert np.array_equal(image[:5], np.float32([0, 0, 0.5, 1, 1])) and np.isnan(image[5])
    with pytest.raises(ValueError, match="low < high"):
        apply_window(hu, 1, 1)


def test_folders_pair_by_name_and_tell_what_is_wrong(tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    image = noise(np.uint8)
    for name in ("a", "deep/b", "lonely", "other-size"):
        write(images / f"{name}.png", image)
    mask = (image > 128).astype(np.uint8)
    write(masks / "a.png", mask)
    write(masks / "deep/b.png", 255 * mask)
    write(masks / "other-size.png", mask[1:])
    pictures = find_image_mask_pictures(images, masks, spacing=(0.5, 0.7))
    found = {picture.key: picture for picture in pictures}
    assert list(found) == ["a", "deep/b", "lonely", "other-size"]
    for key in ("a", "deep/b"):
        crop = found[key].read()
        assert np.array_equal(crop.masks, [mask != 0]) and crop.spacing == (0.5, 0.7)
        assert crop.key == key and crop.source.endswith(f"{key}.png")
    with pytest.raises(ValueError, match="no mask of that name"):
        found["lonely"].read()
    with pytest.raises(
        ValueError, match=r"mask must be like its picture \(20, 30\), got \(19, 30\)"
    ):
        found["other-size"].read()


def test_missing_and_empty_folders_are_told(tmp_path):
    with pytest.raises(ValueError, match="must be a folder"):
        find_image_mask_pictures(tmp_path / "none", tmp_path)
    with pytest.raises(ValueError, match="must hold PNG pictures"):
        find_image_mask_pictures(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="must be a folder"):
        find_rater_pictures(tmp_path / "none")
    with pytest.raises(ValueError, match="must hold PATIENT"):
        find_rater_pictures(tmp_path)


def test_rater_folders(tmp_path):
    root = tmp_path / "slices"
    for reader in range(3):
        write(root / f"P1/nodule-0/mask-{reader}/slice-2.png", np.full((6, 7), reader, np.uint8))
    write(root / "P1/nodule-0/images/slice-2.png", noise(np.uint8, (6, 7)))
    (tmp_path / "nodules.csv").write_text("patient,nodule,spacing_mm\nP1,nodule-0,0.625\n")
    (picture,) = find_rater_pictures(root)
    crop = picture.read()
    assert picture.key == crop.key == "P1/nodule-0/slice-2" and crop.spacing == (0.625, 0.625)
    assert crop.masks.shape == (3, 6, 7) and crop.masks.any(axis=(1, 2)).tolist() == [0, 1, 1]
    (tmp_path / "nodules.csv").write_text("patient,nodule\nP1,nodule-0\n")
    with pytest.raises(ValueError, match=r"nodules.csv: patient, nodule, spacing_mm expected"):
        find_rater_pictures(root)


@pytest.mark.parametrize("spacing", ["nan", "0", "-1", "inf", "x", ""])
def test_a_spacing_that_is_none_is_refused(tmp_path, spacing):
    write(tmp_path / "P" / "nodule-0" / "images" / "slice-0.png", noise(np.uint8))
    (tmp_path / "nodules.csv").write_text(f"patient,nodule,spacing_mm\nP,nodule-0,{spacing}\n")
    with pytest.raises(ValueError, match=r"nodules\.csv: patient, nodule, spacing_mm expected"):
        find_rater_pictures(tmp_path)


def test_real_raters():
    pictures = find_rater_pictures(shared("lidc", "LIDC-IDRI-slices"))
    assert len(pictures) == 2270 and len({p.key for p in pictures}) == 2270
    assert all(len(p.masks) == 4 and p.spacing for p in pictures)
    crop = pictures[0].read()
    assert crop.image.shape == (128, 128) and crop.masks.shape == (4, 128, 128)


def test_real_dicom():
    pytest.importorskip("pydicom")
    hu, spacing = read_dicom_slice(shared("dicom", "pydicom", "CT_small.dcm"))
    assert hu.shape == (128, 128) and spacing == pytest.approx((0.661468, 0.661468))
    assert -1100 < hu.min() < -800 and hu.max() > 200
    with pytest.raises(ValueError, match=r"sr_document"):
        read_dicom_slice(shared("dicom", "highdicom", "sr_document_with_multiple_groups.dcm"))


def test_dicom_tags_that_are_empty_count_as_absent(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    data = pydicom.dcmread(shared("dicom", "pydicom", "CT_small.dcm"))
    stored = data.pixel_array
    for tag in ("PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        setattr(data, tag, None)
    data.save_as(tmp_path / "a.dcm")
    hu, spacing = read_dicom_slice(tmp_path / "a.dcm")
    assert np.array_equal(hu, stored.astype(np.float32)) and spacing is None
