"""Neighbouring slices: found beside a slice's file, cut like it, stored, and read back."""

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from dsnet import label
from dsnet.data.crop import cut_crop
from dsnet.data.ct_image import apply_window
from dsnet.data.datasets.deeplesion import read_annotations, read_crops
from dsnet.data.datasets.lidc import find_rater_pictures
from dsnet.data.neighbours import (
    cut_shown,
    missing_in,
    missing_notes,
    neighbour_files,
    read_neighbours,
)
from dsnet.data.store import StoreWriter, open_store
from dsnet.data.store.record import LabelRecord
from dsnet.data.store.verify import verify_row
from dsnet.labeling import RecistMark

MARK = RecistMark.from_coordinates([40, 30, 60, 34, 49, 24, 51, 40])


@pytest.mark.parametrize(
    "name, there, expected",
    [
        ("109.png", ["108.png", "110.png"], ["108.png", "110.png"]),
        ("slice-9.png", ["slice-10.png", "slice-8.PNG"], [None, "slice-10.png"]),
        ("slice-10.png", ["slice-9.png", "slice-11.png"], ["slice-9.png", "slice-11.png"]),
        ("010.png", ["9.png", "009.png", "011.png"], ["009.png", "011.png"]),
        ("a1_000.png", ["a1_001.png", "a2_000.png"], [None, "a1_001.png"]),
        ("99.png", ["98.png", "100.png"], ["98.png", "100.png"]),
        ("none.png", ["none1.png"], [None, None]),
        ("5.png", ["4.jpg", "06.png"], [None, None]),
        ("0010.png", ["9.png", "11.png"], [None, None]),
        ("10.png", ["09.png", "9.png", "11.png"], [None, "11.png"]),
        ("10.png", ["09.png"], ["09.png", None]),
        ("0.png", ["1.png", "-1.png"], [None, "1.png"]),
        ("1999999999.png", ["2000000000.png", "11000000000.png"], [None, "2000000000.png"]),
        ("9" * 251 + ".png", ["9" * 250 + "8.png"], ["9" * 250 + "8.png", None]),
    ],
)
def test_neighbours_differ_in_their_last_number_alone(tmp_path, name, there, expected):
    for file in [name, *there]:
        (tmp_path / file).touch()
    (tmp_path / "6.png").mkdir()
    found = neighbour_files(tmp_path / name, 1)
    assert [file and file.name for file in found] == expected


def test_two_on_either_side_come_the_nearest_first(tmp_path):
    for number in (7, 8, 9, 11):
        (tmp_path / f"{number}.png").touch()
    found = neighbour_files(tmp_path / "9.png", 2)
    assert [file and file.name for file in found] == ["8.png", None, "7.png", "11.png"]


def test_what_cannot_be_had_says_why(tmp_path):
    for number in (1, 2, 3):
        (tmp_path / f"{number}.png").touch()

    def read(path):
        if path.name == "1.png":
            raise ValueError("1.png: broken")
        return np.zeros((4, 5))

    planes = read_neighbours(tmp_path / "2.png", 2, (4, 4), read)
    none = "(there is no file of that number, or more than one)"
    assert missing_notes(planes) == [
        "no slice below (1.png: broken): the slice itself stands for it",
        "no slice above (3.png has another size): the slice itself stands for it",
        f"no slice 2 below {none}: the slice itself stands for it",
        f"no slice 2 above {none}: the slice itself stands for it",
    ]
    beside = read_neighbours(tmp_path / "2.dcm", 1, (4, 5), read)
    assert all("DICOM" in str(plane) for plane in beside) and len(beside) == 2


def slices(count, shape=(90, 110), seed=0):
    return np.random.default_rng(seed).uniform(-1000, 400, (count, *shape)).astype(np.float32)


@pytest.mark.parametrize("how", [{}, {"spacing": (0.8, 0.6), "isotropic_mm": 0.7}])
def test_neighbours_are_cut_and_shown_as_the_slice_is(how):
    low, middle = slices(2)
    crop = cut_shown(middle, MARK, 32, [low, None], (-600.0, 100.0), **how, key="k")
    for plane, source in zip((crop.image, *crop.neighbours), (middle, low, middle), strict=True):
        expected = apply_window(cut_crop(source, MARK, 32, **how).image, -600, 100)
        assert np.array_equal(plane, expected)
    assert crop.key == "k" and crop.notes == ("no slice above: the slice itself stands for it",)
    assert cut_shown(middle, MARK, 32, [], None).neighbours is None


def record(key, planes):
    alpha = np.random.default_rng(1).random((6, 5), dtype=np.float32)
    return LabelRecord(
        key, image=alpha, alpha=alpha, binary=alpha >= 0.5, trimap=np.zeros((6, 5), np.uint8),
        neighbours=planes,
    )  # fmt: skip


def test_a_store_holds_them_or_none(tmp_path):
    planes = np.random.default_rng(0).random((4, 6, 5), dtype=np.float32)
    with StoreWriter(tmp_path / "s", {}) as writer:
        writer.append(record("with", planes))
        writer.append(record("without", None))
        for odd in (planes[:3], planes[0], planes[:, :3], planes[:0], planes - 1):
            with pytest.raises(ValueError, match=r"neighbours|one shape"):
                writer.append(record("odd", odd))
    store = open_store(tmp_path / "s")
    found = store.read("with").neighbours
    np.testing.assert_allclose(found, planes, atol=1e-5)
    assert found.dtype == np.float32 and store.read("without").neighbours is None
    assert not store.validate()
    row = next(pq.ParquetFile(f).read().to_pylist()[0] for f in (tmp_path / "s").glob("shard*"))
    for data in (b"", row["neighbours"][:-1], row["neighbours"][:60]):
        with pytest.raises(ValueError, match="neighbours must be 120 bytes"):
            verify_row({**row, "neighbours": data}, 16)
    del row["neighbours"]  # a shard of before
    verify_row(row, 16)


def write_slices(folder, planes, first=4):
    folder.mkdir(parents=True)
    for number, plane in enumerate(planes, first):
        cv2.imwrite(str(folder / f"{number:03d}.png"), (plane + 32768).astype(np.uint16))


def test_recist_labels_store_the_slices_beside(tmp_path):
    planes = slices(3).round()
    write_slices(tmp_path / "images" / "s", planes[:2])
    table = tmp_path / "t.csv"
    numbers = ",".join(str(v + 0.5) for v in MARK.coordinates)
    table.write_text(
        f'File_name,Measurement_coordinates,DICOM_windows\ns_005.png,"{numbers}","-600,100"\n'
    )
    ((_, crop),) = read_crops(read_annotations(table), tmp_path / "images", size=32, neighbours=1)
    below = apply_window(cut_crop(planes[0], MARK, 32).image, -600, 100)
    assert np.array_equal(crop.neighbours, np.stack([below, crop.image]))
    words = ["recist", "--annotations", str(table), "--images", str(tmp_path / "images"),
             "--crop", "32", "--out"]  # fmt: skip
    assert label.main([*words, str(tmp_path / "s"), "--neighbours", "1"]) == 0
    (row,) = open_store(tmp_path / "s").records("ok")
    np.testing.assert_allclose(row.neighbours, crop.neighbours, atol=1e-5)
    assert any("no slice above (there is no file" in note for note in row.notes)
    assert open_store(tmp_path / "s").manifest["settings"]["neighbours"] == 1
    assert label.main([*words, str(tmp_path / "plain")]) == 0
    (plain,) = open_store(tmp_path / "plain").records("ok")
    assert plain.neighbours is None and np.array_equal(plain.alpha, row.alpha)
    assert "neighbours" not in open_store(tmp_path / "plain").manifest["settings"]


@pytest.mark.parametrize("said", ["table", "rule"])
def test_another_patients_slice_is_no_neighbour(tmp_path, said):
    planes = slices(4).round()
    write_slices(tmp_path / "images" / "s", planes, first=1)
    numbers = ",".join(str(v + 0.5) for v in MARK.coordinates)
    head, rows = "File_name,Measurement_coordinates", [("s_002.png", "A"), ("s_003.png", "B")]
    if said == "table":
        rows = [(f"s_00{n}.png", "AABB"[n - 1]) for n in (1, 2, 3, 4)]
        lines = [f'{name},"{numbers}",{patient}\n' for name, patient in rows]
        text, words = f"{head},Patient_index\n" + "".join(lines), []
    else:
        # 1 and 4 are in no table.
        text = f"{head}\n" + "".join(f'{name},"{numbers}"\n' for name, _ in rows)
        (tmp_path / "p.csv").write_text("file,patient\ns_001,A\ns_002,A\ns_003,B\ns_004,B\n")
        words = ["--patients", str(tmp_path / "p.csv")]
    (tmp_path / "t.csv").write_text(text)
    assert label.main(
        ["recist", "--annotations", str(tmp_path / "t.csv"), "--images", str(tmp_path / "images"),
         "--out", str(tmp_path / "out"), "--neighbours", "1", "--window", "-600", "100", "--crop",
         "32", *words]
    ) == 0  # fmt: skip
    found = {row.key[:5]: row for row in open_store(tmp_path / "out").records("ok")}
    shown = [apply_window(cut_crop(plane, MARK, 32).image, -600, 100) for plane in planes]
    for key, places in {"s_002": (0, 1), "s_003": (2, 3)}.items():
        np.testing.assert_allclose(found[key].neighbours, [shown[i] for i in places], atol=1e-5)
    told = "(the file of that number is another patient's)"
    assert any(f"above {told}" in note for note in found["s_002"].notes)
    assert any(f"below {told}" in note for note in found["s_003"].notes)


def test_raters_pictures_have_the_slices_beside(tmp_path):
    nodule = tmp_path / "P-1" / "nodule-0"
    pictures = np.random.default_rng(2).integers(0, 256, (3, 20, 24), dtype=np.uint8)
    mask = np.zeros((20, 24), np.uint8)
    mask[5:12, 6:15] = 255
    for folder in ("images", "mask-0", "mask-1"):
        (nodule / folder).mkdir(parents=True)
    for number, picture in enumerate(pictures, 8):
        cv2.imwrite(str(nodule / "images" / f"slice-{number}.png"), picture)
        for reader in (0, 1):
            cv2.imwrite(str(nodule / f"mask-{reader}" / f"slice-{number}.png"), mask)
    found = {p.key: p.read() for p in find_rater_pictures(tmp_path, neighbours=1)}
    grey = pictures / np.float32(255)
    expected = {8: (0, 1), 9: (0, 2), 10: (1, 2)}
    for number, places in expected.items():
        crop = found[f"P-1/nodule-0/slice-{number}"]
        assert np.array_equal(crop.neighbours, grey[list(places)])
        assert ("no slice" in str(crop.notes)) == (number != 9)
    assert label.main(
        ["raters", "--data", str(tmp_path), "--out", str(tmp_path / "s"), "--neighbours", "1"]
    ) == 0  # fmt: skip
    rows = list(open_store(tmp_path / "s").records("ok"))
    assert len(rows) == 3 and all(row.neighbours.shape == (2, 20, 24) for row in rows)


def test_what_stood_in_is_counted_by_the_notes():
    plane, gone = np.zeros((2, 2)), ValueError("gone: the slice itself stands for it")
    notes = ["the mark was short", *missing_notes([gone, plane, None, None, plane, gone])]
    assert [missing_in(notes, count) for count in (0, 1, 2, 3)] == [0, 1, 3, 4]
    assert missing_in(["no slice below ground"], 1) == 0
