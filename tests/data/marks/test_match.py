"""Marks find their slices by instance, file or place, and what does not match is told."""

import numpy as np
import pytest

pytest.importorskip("pydicom")
from dicom_files import slice_of
from dsnet.data.dicom.index import index_series
from dsnet.data.marks.match import match_marks
from dsnet.data.marks.record import FoundMark

LONG = np.array([[2.0, 5.0], [9.0, 5.0]])
SHORT = np.array([[5.0, 3.0], [5.0, 8.0]])


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Five slices 2.5 mm apart and one of another series in another frame of reference."""
    folder = tmp_path_factory.mktemp("slices")
    for number in range(1, 6):
        slice_of(folder / "a" / f"{number}.dcm", number, z=2.5 * number)
    slice_of(folder / "b" / "1.dcm", 1, series="1.2.4", FrameOfReferenceUID="1.8")
    return index_series(folder)


def world(z, ends=LONG):
    """Pixels in mm of `dicom_files.slice_of`: 0.6 mm along x, 0.8 mm along y, from -10, -20."""
    return np.array([[-10 + 0.6 * x, -20 + 0.8 * y, z] for x, y in ends])


def matched(index, **fields):
    (found,) = match_marks([FoundMark(**{"long_axis": None, **fields})], index)
    return found


def test_by_instance(index):
    found = matched(index, long_axis=LONG, short_axis=SHORT, instance_uid="1.2.3.2")
    assert (found.entry.instance_uid, found.error) == ("1.2.3.2", "")
    assert np.array_equal(found.mark.recist().long_axis, LONG)
    gone = matched(index, long_axis=LONG, instance_uid="1.2.3.9")
    assert (gone.entry, gone.error) == (None, "no slice of the instance that the mark names")
    frames = matched(index, long_axis=LONG, instance_uid="1.2.3.2", frame=2)
    assert frames.error == "the mark's instance has 1 frames, the mark names 2 of them"


def test_by_file(index):
    assert matched(index, long_axis=LONG, file="a/3.dcm").entry.instance_uid == "1.2.3.3"
    assert "no DICOM slice of the file" in matched(index, long_axis=LONG, file="9.dcm").error
    assert matched(index, long_axis=LONG, file="1.dcm").error.startswith("2 slices are of files")


@pytest.mark.parametrize("place", [{"series_uid": "1.2.3"}, {"frame_of_reference_uid": "1.9"}])
def test_by_its_place_in_the_patient(index, place):
    both = np.concatenate([world(7.5), world(7.5, SHORT)])
    found = matched(index, world=both, **place)
    assert found.entry.instance_uid == "1.2.3.3" and found.error == ""
    assert np.allclose(found.mark.long_axis, LONG) and np.allclose(found.mark.short_axis, SHORT)
    beside = matched(index, world=world(8.7), **place)
    assert beside.entry.instance_uid == "1.2.3.3"
    assert beside.mark.notes == ("the mark lies 1.2 mm beside its slice",)
    far = matched(index, world=world(14.5), **place)
    assert (far.entry, far.error) == (None, "the mark lies 2.0 mm from the nearest slice")


def test_a_place_alone_is_none(index):
    assert (
        matched(index, world=world(5.0)).error
        == "the mark lies in the patient, and names no series"
    )
    assert matched(index, long_axis=LONG).error.startswith("the mark names no instance")
    gone = matched(index, world=world(5.0), series_uid="9")
    assert gone.error == "no slice of the series that the mark names"


def test_two_series_of_one_frame_of_reference_are_not_guessed(tmp_path):
    for series in ("1.2.3", "1.2.4"):
        slice_of(tmp_path / f"{series}.dcm", 1, series=series)
    found = matched(index_series(tmp_path), world=world(1.0), frame_of_reference_uid="1.9")
    assert found.error.startswith("2 series share the frame of reference")


def test_one_mark_of_several_files_is_there_once(index):
    place = {"instance_uid": "1.2.3.1"}
    turned = LONG[::-1] + 0.001
    marks = [
        FoundMark(LONG, SHORT, source="report.dcm", reader="A", **place),
        FoundMark(turned, SHORT, source="report.xml", **place),
        FoundMark(LONG, SHORT, source="report.json", **place),
        FoundMark(LONG + 0.5, SHORT, source="report.json", index=1, **place),
        FoundMark(LONG, None, source="report.json", index=2, **place),
        # Two equal ones of one file are two.
        FoundMark(LONG, SHORT, source="report.dcm", index=1, **place),
    ]
    found = match_marks(marks, index)
    assert [(f.mark.source, f.mark.index) for f in found] == [
        ("report.dcm", 0), ("report.json", 1), ("report.json", 2), ("report.dcm", 1)
    ]  # fmt: skip
    assert found[0].mark.notes == ("2 other files hold the same mark",)
    assert found[0].mark.reader == "A"


def test_a_written_length_that_differs_is_noted(index):
    right = matched(index, long_axis=LONG, long_mm=4.2, instance_uid="1.2.3.1")
    assert right.mark.notes == ()  # 7 pixels of 0.6 mm
    wrong = matched(index, long_axis=LONG, long_mm=7.0, instance_uid="1.2.3.1")
    assert "7.00 mm" in wrong.mark.notes[0] and "4.20 mm" in wrong.mark.notes[0]
