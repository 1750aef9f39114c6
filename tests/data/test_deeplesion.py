import csv
import hashlib
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from dsnet.data.crop import Crop
from dsnet.data.ct_image import choose_window
from dsnet.data.datasets.deeplesion import (
    find_image,
    group_by_file,
    read_annotations,
    read_crops,
    select,
)
from dsnet.data.datasets.keys import row_content
from dsnet.data.datasets.slice_places import find_slice, open_slice
from dsnet.data.picture_file import MAX_PIXELS, Picture
from dsnet.labeling import RecistMark
from shared_data import shared

GOOD = {
    "File_name": "000001_01_01_109.png",
    "Patient_index": "1",
    "Study_index": "1",
    "Series_ID": "1",
    "Key_slice_index": "109",
    "Measurement_coordinates": "20.5, 30, 44.5, 30, 32, 22.25, 32, 38",
    "Bounding_boxes": "15, 17, 49, 43",
    "Lesion_diameters_Pixel_": "24, 15.75",
    "Normalized_lesion_location": "0.4, 0.2, 0.5",
    "Coarse_lesion_type": "5",
    "Possibly_noisy": "0",
    "Slice_range": "103, 115",
    "Spacing_mm_px_": "0.8, 0.7, 5",
    "Image_size": "64, 64",
    "DICOM_windows": "-1500, 500",
    "Patient_gender": "F",
    "Patient_age": "62",
    "Train_Val_Test": "3",
}


def table(folder, *rows):
    path = folder / "DL_info.csv"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(GOOD))
        writer.writeheader()
        writer.writerows({**GOOD, **row} for row in rows)
    return path


def ct(folder, name="000001_01_01/109.png", seed=0):
    path = folder / "Images_png" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    hu = np.random.default_rng(seed).integers(-1000, 200, (64, 64))
    cv2.imwrite(str(path), (hu + 32768).astype(np.uint16))
    return hu


def test_every_column_is_read(tmp_path):
    (a,) = read_annotations(table(tmp_path, {}))
    said = "['000001_01_01_109', 20.5, 30.0, 44.5, 30.0, 32.0, 22.25, 32.0, 38.0]"
    digest = hashlib.sha256(said.encode()).hexdigest()[:8]
    assert a.error == "" and a.key == f"000001_01_01_109#{digest}" and a.row == 2
    # From the corner of the first pixel to the centres of pixels: half a pixel less.
    assert a.mark == RecistMark.from_coordinates([20, 29.5, 44, 29.5, 31.5, 21.75, 31.5, 37.5])
    assert (a.patient, a.study, a.series, a.key_slice) == (1, 1, 1, 109)
    assert a.bounding_box == (14.5, 16.5, 48.5, 42.5) and a.diameters == (24, 15.75)
    assert a.normalized_location == (0.4, 0.2, 0.5) and a.slice_range == (103, 115)
    assert a.spacing == (0.7, 0.8) and a.slice_spacing == 5  # the table gives x, y, z
    assert a.image_size == (64, 64) and a.window == (-1500, 500)
    assert (a.lesion_type, a.split, a.possibly_noisy) == ("lung", "test", False)
    assert (a.gender, a.age) == ("F", 62)


def test_bad_rows_tell_and_cost_only_themselves(tmp_path):
    path = table(
        tmp_path,
        {},
        {"Measurement_coordinates": "1, 2, 3"},
        {"Measurement_coordinates": "1, 2, 3, x, 5, 6, 7, 8"},
        {"Measurement_coordinates": "nan, 2, 3, 4, 5, 6, 7, 8"},
        {"Measurement_coordinates": ""},
        {"File_name": ""},
        {"Spacing_mm_px_": "0, nan, 1", "Patient_age": "", "Coarse_lesion_type": "?"},
    )
    rows = read_annotations(path)
    assert [bool(a.error) for a in rows] == [False, True, True, True, True, True, False]
    assert rows[1].error == (
        "row 3: Measurement_coordinates must be 8 numbers, or 4 of a long axis alone, got 3"
    )
    assert "'1, 2, 3, x, 5, 6, 7, 8'" in rows[2].error and "finite" in rows[3].error
    assert rows[6].spacing is None and rows[6].age is None and rows[6].lesion_type == "unknown"
    assert len({a.key for a in rows}) == 7


def test_a_table_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        read_annotations(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="File_name, Measurement_coordinates is missing"):
        read_annotations(tmp_path / "empty.csv")
    (tmp_path / "other.csv").write_text("File_name,x\na,1\n")
    with pytest.raises(ValueError, match="column Measurement_coordinates is missing"):
        read_annotations(tmp_path / "other.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match="UTF-8"):
        read_annotations(tmp_path / "binary.csv")


def test_filters(tmp_path):
    rows = read_annotations(
        table(
            tmp_path,
            {"File_name": "a.png"},
            {"File_name": "b.png", "Coarse_lesion_type": "4", "Train_Val_Test": "2"},
            {"File_name": "c.png", "Coarse_lesion_type": "-1", "Train_Val_Test": "1"},
            {"File_name": "d.png", "Coarse_lesion_type": "-1", "DICOM_windows": "-175, 275"},
            {"File_name": "e.png", "Possibly_noisy": "1"},
            {"File_name": "f.png", "Spacing_mm_px_": "2, 2, 1"},
        )
    )

    def names(**options):
        return "".join(a.file_name[0] for a in select(rows, **options))

    assert names() == "abcdef" and names(types=["lung"]) == "acef"
    assert names(types=["liver"]) == "b" and names(types=["unknown"]) == "cd"
    assert names(splits=["val", "train"]) == "bc" and names(include_noisy=False) == "abcdf"
    assert names(min_diameter_mm=40) == "f" and names(max_diameter_mm=40) == "abcde"
    with pytest.raises(ValueError, match=r"types must be of .*got \['lungs'\]"):
        names(types=["lungs"])


def test_images_are_found_in_every_layout_and_nowhere_else(tmp_path):
    (a,) = read_annotations(table(tmp_path, {}))
    with pytest.raises(ValueError, match=r"no image 000001_01_01/109.png"):
        find_image(tmp_path, a)
    ct(tmp_path)
    nested = tmp_path / "Images_png" / "000001_01_01" / "109.png"
    assert find_image(tmp_path, a) == find_image(tmp_path / "Images_png", a) == nested
    flat = tmp_path / "flat" / "000001_01_01_109.png"
    flat.parent.mkdir()
    nested.rename(flat)
    assert find_image(flat.parent, a) == flat
    (tmp_path / "001.png").write_bytes(b"")
    for name in ("../../etc_passwd.png", ".._001.png"):
        (outside,) = read_annotations(table(tmp_path, {"File_name": name}))
        with pytest.raises(ValueError, match="must be a file's name"):
            find_image(flat.parent, outside)
        with pytest.raises(ValueError, match="must be a file's name"):
            open_slice(flat.parent, name, MAX_PIXELS)
    (endless,) = read_annotations(table(tmp_path, {"File_name": "a" * 300 + "_1.png"}))
    with pytest.raises(ValueError, match="no image aaa"):
        find_image(tmp_path, endless)


def test_a_slice_is_opened_where_it_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ct(tmp_path)
    nested = tmp_path / "Images_png" / "000001_01_01" / "109.png"
    data = nested.read_bytes()
    name = "000001_01_01_109.png"
    # Something else at a place that is looked at before.
    (tmp_path / "000001_01_01" / "109.png").mkdir(parents=True)
    os.mkfifo(tmp_path / name)
    for folder in (tmp_path, ".", f"{tmp_path}/./", "Images_png", "./Images_png/"):
        found = open_slice(folder, name, MAX_PIXELS)
        assert found.path == str(Path(folder, nested.relative_to(tmp_path / "Images_png"))) or (
            found.path == str(Path(folder, nested.relative_to(tmp_path)))
        )
        assert found.path == str(find_slice(folder, name)) and Path(found.path).samefile(nested)
    for odd, at in ((".__109.png", "._/109.png"), ("._8.png", "8.png"), ("a_", "a"), ("b_.", "b")):
        (tmp_path / at).parent.mkdir(exist_ok=True)
        (tmp_path / at).write_bytes(data)
        assert open_slice(tmp_path, odd, MAX_PIXELS).path == str(tmp_path / at)
    nested.write_bytes(data[:-20])
    with pytest.raises(ValueError, match=r"Images_png/000001_01_01/109.png: the PNG is cut short"):
        open_slice(tmp_path, name, MAX_PIXELS)
    nested.unlink()
    with pytest.raises(ValueError, match=r"no image 000001_01_01/109.png or 000001_01_01_109.png"):
        open_slice(tmp_path, name, MAX_PIXELS)


def test_keys_are_unique_whatever_the_names(tmp_path):
    names = ["A", "A.png", "B.png", "B.png", "B#2.png", "B.png", "row-9.png", "", ""]
    rows = read_annotations(table(tmp_path, *({"File_name": name} for name in names)))
    first, again = rows[0].key, rows[1].key
    assert re.fullmatch("A#[0-9a-f]{8}", first) and again == f"{first}-2"
    assert rows[3].key == f"{rows[2].key}-2" and rows[5].key == f"{rows[2].key}-3"
    assert re.fullmatch("B#2#[0-9a-f]{8}", rows[4].key)
    assert rows[7].key.startswith("nameless#") and rows[8].key == f"{rows[7].key}-2"
    assert len({a.key for a in rows}) == len(names)


def test_a_key_follows_from_the_file_and_its_mark(tmp_path):
    marks = ["1, 2, 3, 4, 5, 6, 7, 8", "1, 2, 3, 4, 5, 6, 7, 9", "1, 2, 3", "?", ""]
    rows = [{"File_name": n, "Measurement_coordinates": m} for n in "ab" for m in marks]

    def keys(rows):
        found = {}
        for a, row in zip(read_annotations(table(tmp_path, *rows)), rows, strict=True):
            found[row["File_name"], row.get("Measurement_coordinates")] = a.key
        return found

    before = keys(rows)
    assert len(set(before.values())) == 10
    # Turned around, some taken out, others put in front, numbers written otherwise.
    for other in (rows[::-1], rows[3:], [{"File_name": "a", "Possibly_noisy": "1"}, *rows]):
        now = keys(other)
        assert all(now[what] == before[what] for what in now.keys() & before.keys())
    (same,) = read_annotations(
        table(tmp_path, {"File_name": "a.png", "Measurement_coordinates": "1.0,2,3,4,5, 6,7,8e0"})
    )
    assert same.key == before["a", marks[0]]
    one, other = read_annotations(table(tmp_path, {}, {"Spacing_mm_px_": "0.8, 0.8, 5"}))
    assert row_content(one) != row_content(other) and other.key == f"{one.key}-2"


def test_crops_keep_rows_together_and_decode_once(tmp_path, monkeypatch):
    hu = ct(tmp_path)
    ct(tmp_path, "000002_01_01/007.png", seed=1)
    other = "10, 10, 20, 10, 15, 7, 15, 14"
    rows = read_annotations(
        table(
            tmp_path,
            {},
            {"File_name": "000002_01_01_007.png"},
            {"Measurement_coordinates": other},
            {"Measurement_coordinates": "900, 900, 920, 900, 910, 890, 910, 915"},
            {"Measurement_coordinates": "1, 2"},
            {"File_name": "000003_01_01_001.png"},
        )
    )
    decoded = []
    read = Picture.pixels_and_least
    monkeypatch.setattr(Picture, "pixels_and_least", lambda *of: decoded.append(of) or read(*of))
    found = list(read_crops(rows, tmp_path, size=48, window=(-1000, 200)))
    assert [a.row for a, _ in found] == [2, 4, 5, 6, 3, 7] and len(decoded) == 2
    crops = {a.row: c for a, c in found}
    assert [isinstance(crops[row], Crop) for row in (2, 3, 4)] == [True] * 3
    assert "outside the image" in str(crops[5]) and "got 2" in str(crops[6])
    assert "no image 000003_01_01/001.png" in str(crops[7])
    left, top = (int(v) for v in crops[2].offset)
    assert [crops[row].key for row in (2, 4)] == [rows[0].key, rows[2].key]
    expected = np.clip((np.pad(hu, 64, mode="edge") + 1000) / 1200, 0, 1)
    window = expected[64 + top : 112 + top, 64 + left : 112 + left]
    assert np.allclose(crops[2].image, window, atol=1e-6)
    assert [len(group) for group in group_by_file(rows)] == [4, 1, 1]


def test_pictures_that_are_windowed_already(tmp_path):
    hu = ct(tmp_path)
    path = tmp_path / "Images_png/000001_01_01/109.png"
    cv2.imwrite(str(path), (hu % 256).astype(np.uint8))
    rows = read_annotations(table(tmp_path, {}))
    ((_, error),) = read_crops(rows, tmp_path)
    assert "must be a 16-bit PNG (HU + 32768), got uint8" in str(error)
    ((_, crop),) = read_crops(rows, tmp_path, size=48, window="none")
    left, top = (int(v) for v in crop.offset)
    expected = np.pad(hu % 256, 64, mode="edge")[64 + top : 112 + top, 64 + left : 112 + left]
    assert np.allclose(crop.image, expected / 255)


@pytest.mark.parametrize("window", ["row", (3, 3), (0, np.nan), None])
def test_a_window_that_is_none_is_refused(tmp_path, window):
    with pytest.raises(ValueError, match="window must be"):
        list(read_crops([], tmp_path, window=window))


def test_window_choice():
    mark = RecistMark.from_coordinates([20, 30, 40, 30, 30, 22, 30, 38])
    lung, tissue = np.full((64, 64), -850.0), np.full((64, 64), 40.0)
    for hu in (lung, tissue):
        assert choose_window(hu, mark, (-160.0, 240.0)) == (-160, 240)
    wide = (-1024.0, 3071.0)
    assert choose_window(lung, mark, wide) == choose_window(lung, mark, None) == (-1350, 150)
    assert choose_window(tissue, mark, wide) == (-175, 275)


def test_real_rows():
    rows = read_annotations(shared("deeplesion", "DL_info_real_rows_without_images.csv"))
    assert len(rows) == 158 and not any(a.error for a in rows)
    assert all(a.mark.problems() == [] for a in rows)
    for a in rows:
        assert a.mark.long_diameter == pytest.approx(a.diameters[0], abs=0.01)
        x_min, y_min, x_max, y_max = a.mark.bounds()
        assert np.allclose(a.bounding_box, (x_min - 5, y_min - 5, x_max + 5, y_max + 5), atol=0.01)


def test_real_slices():
    rows = read_annotations(shared("deeplesion", "DL_info.csv"), origin=0)
    found = list(read_crops(rows, shared("deeplesion", "Images_png")))
    assert len(found) == 30 and all(isinstance(crop, Crop) for _, crop in found)
    for _, crop in found:
        assert crop.image.shape == (64, 64) and 0 <= crop.image.min() < crop.image.max() <= 1
        assert crop.image.std() > 0.02
