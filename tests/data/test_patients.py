"""Whose picture it is: folders, names, DICOM, rules; and splits that keep patients together."""

from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsnet.data.datasets.deeplesion import read_annotations
from dsnet.data.datasets.folders import find_image_mask_pictures
from dsnet.data.datasets.lidc import find_rater_pictures
from dsnet.data.patients import known_patient, patient_of, patients_by, with_patients
from dsnet.data.store.export import split_keys

MARK = '"20, 30, 44, 30, 32, 22, 32, 38"'


@pytest.mark.parametrize(
    "key, metadata, known, whose",
    [
        ("x", {"patient": 12}, "12", "12"),
        ("000017_02_01_015#2", {"patient": None}, "000017", "000017"),
        ("LIDC-IDRI-0055/nodule-0/slice-1", {}, "LIDC-IDRI-0055", "LIDC-IDRI-0055"),
        ("scan#2", {"patient": None, "slice_file": "scan.png"}, None, "scan.png"),
        ("alone", {"patient": ""}, None, "alone"),
    ],
)
def test_who_is_known(key, metadata, known, whose):
    assert known_patient(key, metadata) == known and patient_of(key, metadata) == whose


@pytest.mark.parametrize(
    "rule, name, patient",
    [
        ("^[^_]+", "P12_slice3.png", "P12"),
        (r"pat(\d+)/", "a/pat7/3.png", "7"),
        (r"(\d+)-(?P<patient>\w+)\.", "12-ab.png", "ab"),
        (r"x(\d*)", "ax.png", None),
        ("nobody", "P12.png", None),
    ],
)
def test_a_regular_expression_names_the_patient(rule, name, patient):
    named = patients_by(rule)
    if patient is None:
        with pytest.raises(ValueError, match="names no patient in"):
            named(name)
    else:
        assert named(name) == patient


def test_a_table_names_the_patients(tmp_path):
    path = tmp_path / "who.csv"
    path.write_text("File,note,Patient_ID\na/1.png,x,P1\n./a/2,,P1\nb\\3.png,,P2\n")
    named = patients_by(str(path))
    assert [named(n) for n in ("a/1.png", "a/2.png", "b/3.png")] == ["P1", "P1", "P2"]
    with pytest.raises(ValueError, match=r"who\.csv has no row for 'c\.png'"):
        named("c.png")
    for text, told in (
        ("file,patient\na,P1\na,P2\n", "row 3: a has a second patient, 'P2'"),
        ("file,patient\na,\n", "row 2: file or patient is empty"),
        ("file,patient\na,P1,P2\n", "row 2: must have 2 fields"),
        ("name,patient\na,P1\n", "columns file and patient are wanted"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"who\.csv: {told}"):
            patients_by(str(path))
    with pytest.raises(ValueError, match=r"none\.csv: No such file"):
        patients_by("none.csv")
    with pytest.raises(ValueError, match="must be a CSV file or a regular expression"):
        patients_by("(")


def drawn(folder, *names):
    for name in names:
        for kind in ("images", "masks"):
            path = folder / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.eye(12, dtype=np.uint8) * 255)
    return folder / "images", folder / "masks"


def test_folders_and_names_tell_the_patients(tmp_path):
    folders = drawn(
        tmp_path, "p1/a.png", "p1/deep/b.png", "p2/a.png", "fold/LIDC-IDRI-0007_3.png", "flat.png"
    )
    found = {p.key: p for p in find_image_mask_pictures(*folders)}
    whose = {key: known_patient(key, p.read().metadata) for key, p in found.items()}
    assert whose == {
        "p1/a": "p1", "p1/deep/b": "p1", "p2/a": "p2",
        "fold/LIDC-IDRI-0007_3": "LIDC-IDRI-0007", "flat": None,
    }  # fmt: skip


def test_a_picture_that_the_rule_names_none_of_fails(tmp_path):
    folders = drawn(tmp_path, "P1_a.png", "odd.png")
    named, odd = find_image_mask_pictures(*folders, patients=r"^(P\d+)_")
    assert named.read().metadata["patient"] == "P1"
    with pytest.raises(ValueError, match=r"names no patient in 'odd\.png'"):
        odd.read()


def test_raters_take_a_rule_too(tmp_path):
    for folder in ("images", "mask-0"):
        path = tmp_path / "A-1" / "nodule-0" / folder / "slice-0.png"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), np.eye(12, dtype=np.uint8) * 255)
    (plain,) = find_rater_pictures(tmp_path)
    (ruled,) = find_rater_pictures(tmp_path, patients=r"^(\w)-")
    assert plain.read().metadata["patient"] == "A-1" and ruled.read().metadata["patient"] == "A"


def test_a_tables_rows_take_a_rule(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        f"File_name,Patient_index,Measurement_coordinates\nP1_a.png,5,{MARK}\nb.png,,{MARK}\n"
        f'c.png,H-7,{MARK}\nP2_d.png,,"1, 2"\n'
    )
    rows = read_annotations(path)
    assert [row.patient for row in rows] == [5, None, "H-7", None]
    assert rows[1].metadata["slice_file"] == "b.png" and "slice_file" not in rows[0].metadata
    ruled = with_patients(rows, r"^P\d")
    assert [row.patient for row in ruled] == ["P1", None, "H-7", "P2"]
    assert "names no patient" in ruled[1].error and ruled[1].mark is None
    assert ruled[3].error == rows[3].error != ""


@given(
    st.lists(st.integers(0, 12), max_size=200),
    st.tuples(*[st.integers(0, 50)] * 3).filter(any),
    st.integers(0, 9),
)
def test_no_patient_is_in_two_parts(patients, split, seed):
    keys = [f"k{i}" for i in range(len(patients))]
    names = [str(patient) for patient in patients]
    parts = split_keys(keys, split, seed, names)
    assert Counter(key for part in parts.values() for key in part) == Counter(keys)
    whose = dict(zip(keys, names, strict=True))
    groups = [{whose[key] for key in part} for part in parts.values()]
    assert sum(map(len, groups)) == len(set(names))
    largest = max(Counter(names).values(), default=0)
    done = wanted = 0.0
    for part, share in zip(parts.values(), split, strict=True):
        done, wanted = done + len(part), wanted + len(keys) * share / sum(split)
        assert abs(done - wanted) <= largest / 2 + 1
        assert share > 0 or not part
    assert parts == split_keys(keys[::-1], split, seed, names[::-1])


def test_patients_of_one_label_each_fill_the_parts_exactly():
    keys = [str(i) for i in range(77)]
    named = split_keys(keys, (5, 3, 2), 4, [f"p{key}" for key in keys])
    assert [len(part) for part in named.values()] == [39, 23, 15]  # 38.5, 23.1, 15.4
    assert split_keys(keys, (5, 3, 2), 4, keys) == split_keys(keys, (5, 3, 2), 4)
