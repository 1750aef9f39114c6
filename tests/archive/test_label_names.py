"""What names a patient does not leave `label dicom`, wherever it stands."""

import csv
import zipfile

import numpy as np
import pytest

pytest.importorskip("pydicom")
from mark_files import dicom_bytes, group, item, line_item, number_item, report

from dicom_files import slice_of
from dsnet import label
from dsnet.data.phantom import make_phantom
from dsnet.data.store import open_store

SIDE = 96
LONG = ("103339001", "SCT", "Long Axis")
COLUMNS = ["sop_instance_uid", "x1", "y1", "x2", "y2", "origin", "label", "tracking_id", "reader"]


def write_slice(path, number, name="Li^Na", **tags):
    shown = make_phantom("solid", SIDE, 1, diameter_mm=15.0)
    hu = np.rint(shown.image * 1500 - 1350).astype(np.int16)
    tags = {
        "signed": 1, "Rows": SIDE, "Columns": SIDE, "PixelData": hu.tobytes(),
        "RescaleIntercept": 0, "PixelSpacing": [0.7, 0.7], "PatientName": name,
        "PatientBirthDate": "19700102", "PatientID": "P-1", "AccessionNumber": "A-77", **tags,
    }  # fmt: skip
    return slice_of(path, number, **tags)


def ends():
    return make_phantom("solid", SIDE, 1, diameter_mm=15.0).mark.coordinates[:4]


def write_table(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


def everything(out):
    """All that a store holds, as texts."""
    rows = repr(open_store(out).table().to_pylist())
    return rows + "".join(f.read_bytes().decode("latin1") for f in out.rglob("*") if f.is_file())


def run(images, marks, out, *options):
    arguments = ["dicom", "--images", str(images), "--marks", str(marks), "--out", str(out)]
    return label.main([*arguments, *options])


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("label", "Li nodule"), ("label", "P-1"), ("label", "born 1970-01-02"),
        ("tracking_id", "LiNa1"), ("tracking_id", "A 77"), ("reader", "NA LI"),
    ],
)  # fmt: skip
def test_every_text_of_a_mark_is_looked_through(tmp_path, column, said):
    write_slice(tmp_path / "images" / "1.dcm", 1)
    texts = {"label": "solid", "tracking_id": "target 1", "reader": "R1"}
    write_table(
        tmp_path / "marks.csv",
        [["1.2.3.1", *ends(), 0, *{**texts, column: said}.values()]],
    )
    assert run(tmp_path / "images", tmp_path / "marks.csv", tmp_path / "store") == 0
    (found,) = open_store(tmp_path / "store").records()
    assert {name: found.metadata[name] or None for name in texts} == {**texts, column: None}
    reason = f"the mark's text is left out ({column}): it holds what names the patient"
    assert found.status == "ok" and reason in found.notes
    assert said not in everything(tmp_path / "store")


def test_a_mark_without_a_readable_slice_has_no_texts(tmp_path):
    """Whose it is nobody can tell; where a header can be read its words are looked for."""
    write_slice(tmp_path / "images" / "1.dcm", 1, PixelData=b"\0\0")
    rows = [
        ["1.2.3.9", *ends(), 0, "of Jane Doe", "Doe1", "Doe"],
        ["Doe_Jane_CT_1", *ends(), 0, "", "", ""],
        ["1.2.3.1", *ends(), 0, "Li, left", "target 1", "R1"],
    ]
    write_table(tmp_path / "marks.csv", rows)
    assert run(tmp_path / "images", tmp_path / "marks.csv", tmp_path / "store") == 0
    gone, odd, short = open_store(tmp_path / "store").records()
    assert gone.error == "no slice of the instance that the mark names"
    assert gone.notes == (
        "the mark's text is left out (label, tracking_id, reader): whose it is is not known",
    )
    assert len(odd.metadata["instance_uid"]) == 32  # a name in place of a UID is hashed
    assert "PixelData must be" in short.error
    assert (short.metadata["label"], short.metadata["tracking_id"]) == ("", "target 1")
    told = everything(tmp_path / "store")
    assert not [name for name in ("Doe", "Jane", "Li,") if name in told]


def test_the_names_of_a_report_count_where_its_slices_were_anonymized(tmp_path):
    write_slice(tmp_path / "images" / "1.dcm", 1, name="ANON", PatientID="X1")
    tracked = item("TEXT", ("112039", "DCM", "Tracking Identifier"), TextValue="Jane Doe 1")
    number = number_item(LONG, 10, content=[line_item(ends() + 0.5, "1.2.3.1")])
    import io

    import pydicom

    made = pydicom.dcmread(io.BytesIO(report(group(tracked, number))))
    made.PatientName, made.PatientID = "Doe^Jane", "P-1"
    (tmp_path / "report.dcm").write_bytes(dicom_bytes(made))
    assert run(tmp_path / "images", tmp_path / "report.dcm", tmp_path / "store") == 0
    (found,) = open_store(tmp_path / "store").records()
    assert (found.status, found.metadata["tracking_id"]) == ("ok", None)
    assert "Doe" not in everything(tmp_path / "store")


def test_paths_and_values_of_files_are_not_told(tmp_path, capfd):
    """Of a person's folder and archive: duplicates, what is damaged, what a table says."""
    home = tmp_path / "Doe_Jane"
    images = home / "images"
    write_slice(images / "Doe_1.dcm", 1)
    write_slice(images / "O'Brien 1.dcm", 1)
    (images / "Doe_2.dcm").write_bytes(b"nothing")
    with zipfile.ZipFile(images / "Doe.zip", "w") as archive:
        archive.write(write_slice(tmp_path / "2.dcm", 2), "Jane/2.dcm")
        archive.writestr("../Jane/3.dcm", b"")
    marks = home / "marks"
    marks.mkdir()
    write_table(
        marks / "Jane.csv",
        [
            ["1.2.3.2", *ends(), 0, "", "", ""],
            ["1.2.3.2", "Doe", *ends()[1:], 0, "", "", ""],
        ],
    )
    short = number_item(("103340004", "SCT", "Short"), 9, content=[line_item(ends(), "1.2.3.1")])
    tracked = item("TEXT", ("112039", "DCM", "Tracking Identifier"), TextValue="Jane 1")
    (marks / "report.dcm").write_bytes(report(group(tracked, short)))
    assert run(images, marks, home / "store", "--dry-run") == 0
    told = capfd.readouterr().out
    assert "the same instance as '...': left out" in told
    assert "short axis of '...': no long axis goes with it" in told
    assert "row 3: x1 must be a number, got '...'" in told
    assert run(images, marks, home / "store") == 0
    told += "".join(capfd.readouterr()) + everything(home / "store")
    assert not [name for name in ("Doe", "Jane", "O'Brien") if name in told]


def test_a_zip_that_was_damaged_is_told_without_its_path(tmp_path, capfd):
    from dsnet.archive.naming import Naming

    path = tmp_path / "Doe_Jane.zip"
    path.write_bytes(b"PK")
    source = f"{path}!1.dcm"
    for said in (f"{path}: File is not a zip file", f"{source}: cannot be unpacked"):
        told = Naming().error(said, source, "1.2.3.1")
        assert told.startswith("1.2.3.1: ") and "Doe" not in told
        assert Naming(keep_identifiers=True).error(said, source, "1.2.3.1") == said
    assert Naming().error("Doe is none", "a", "b", ["Doe^Jane"]) == (
        "the reason is left out: it holds what names the patient"
    )


def test_digits_of_a_path_are_keyed_with_a_secret():
    """Who has a list of names could try them otherwise."""
    from dsnet.archive.naming import Naming

    told = {Naming(key).file("/Doe/marks.csv") for key in (b"", b"a" * 16, b"b" * 16)}
    assert len(told) == 3 and all(len(each) == 8 for each in told)
