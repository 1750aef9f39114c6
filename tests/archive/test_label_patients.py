"""Labels of DICOM whose patient nothing tells stay together all the same."""

import csv
import os

import numpy as np
import pytest

pytest.importorskip("pydicom")
from dicom_files import slice_of
from dsnet import label
from dsnet.data.patients import known_patient, patient_of
from dsnet.data.phantom import make_phantom
from dsnet.data.store import open_store

SIDE = 64


def archive(folder, person, studies=(1, 1, 2)):
    """A slice and a mark for each study named; the paths of both folders."""
    rows = [["sop_instance_uid", "x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4", "origin"]]
    for number, study in enumerate(studies, 1):
        shown = make_phantom("solid", SIDE, number, diameter_mm=12.0)
        hu = np.rint(shown.image * 1500 - 1350).astype(np.int16)
        slice_of(
            folder / "images" / f"{number}.dcm", number, f"1.2.{study}", signed=1, Rows=SIDE,
            Columns=SIDE, PixelData=hu.tobytes(), RescaleIntercept=0, StudyInstanceUID=f"1.{study}",
            PatientID=person(number),
        )  # fmt: skip
        rows.append([f"1.2.{study}.{number}", *(shown.mark.coordinates + 0.5), 0.5])
    (folder / "marks").mkdir()
    with open(folder / "marks" / "marks.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return ["--images", str(folder / "images"), "--marks", str(folder / "marks")]


def owners(store):
    return [patient_of(r.key, r.metadata) for r in open_store(store).records("ok")]


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("person", [lambda _: "", lambda _: None], ids=["empty", "absent"])
def test_the_labels_of_a_study_are_in_one_part_of_a_split(tmp_path, person, hashed):
    (tmp_path / "key").write_bytes(b"sixteen bytes of a secret")
    more = ["--hash-key", str(tmp_path / "key")] if hashed else []
    given = archive(tmp_path, person)
    assert label.main(["dicom", *given, "--out", str(tmp_path / "s"), *more]) == 0
    first, second, other = owners(tmp_path / "s")
    assert first == second != other
    # Two studies may be of one patient, so it is told that nobody knows.
    for record in open_store(tmp_path / "s").records():
        assert known_patient(record.key, record.metadata) is None


def test_two_studies_of_one_patient_are_in_one_part_of_a_split(tmp_path):
    given = archive(tmp_path, lambda number: f" P-7{' ' * number}")
    assert label.main(["dicom", *given, "--out", str(tmp_path / "s")]) == 0
    assert len(set(owners(tmp_path / "s"))) == 1


@pytest.mark.parametrize("hashed", [False, True])
def test_a_folder_of_marks_whose_name_is_no_unicode_is_read(tmp_path, hashed):
    (tmp_path / "key").write_bytes(b"sixteen bytes of a secret")
    more = ["--hash-key", str(tmp_path / "key")] if hashed else []
    *images, _, marks = archive(tmp_path, lambda _: "P-7")
    odd = str(tmp_path / os.fsdecode(b"\xe9\xff"))
    os.rename(marks, odd)
    given = [*images, "--marks", odd]
    assert label.main(["dicom", *given, "--out", str(tmp_path / "s"), *more]) == 0
    assert len(owners(tmp_path / "s")) == 3


OPTIONS = {
    "dicom": ("--images", "--marks", "--out", "--seg", "--index", "--hash-key"),
    "lidc": ("--images", "--xml", "--out", "--patients"),
    "masks": ("--images", "--masks", "--out", "--patients"),
    "raters": ("--data", "--out", "--patients"),
    "volumes": ("--data", "--out", "--patients"),
    "recist": ("--annotations", "--images", "--out", "--patients"),
    "export": ("--out", "--images", "--index", "--to"),
    "show": ("--out",),
}


@pytest.mark.parametrize("command", OPTIONS)
def test_an_empty_name_is_told_by_its_option(command, capsys):
    """Of a shell's variable that is not set: no rule for patients is not what was asked for."""
    for name in OPTIONS[command]:
        with pytest.raises(SystemExit):
            label.main([command, name, ""])
        assert f"argument {name}: must not be empty" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["show", "check", "compact", "export"])
def test_an_empty_store_is_none(command, capsys):
    with pytest.raises(SystemExit):
        label.main([command, ""])
    assert "argument STORE: must not be empty" in capsys.readouterr().err
