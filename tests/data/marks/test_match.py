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


def test_files_that_differ_by_rounding_hold_one_mark(index):
    """Reports have single precision, AIM decimals: an end may round to either side."""
    place = {"instance_uid": "1.2.3.1"}
    for number in range(200):
        ends = LONG + np.random.default_rng(number).integers(0, 2000, (2, 2)) / 200
        marks = [
            FoundMark(ends, source="a.xml", **place),
            FoundMark(ends.astype(np.float32).astype(float), source="a.dcm", **place),
            FoundMark(ends + 0.0201, source="b.xml", **place),
        ]
        assert [f.mark.source for f in match_marks(marks, index)] == ["a.xml", "b.xml"]


def test_what_the_other_files_tell_of_a_mark_is_kept(index):
    place = {"instance_uid": "1.2.3.1"}
    marks = [
        FoundMark(LONG, source="a", reader="A", person=("Doe",), **place),
        FoundMark(LONG, source="b", reader="B", label="left", tracking_id="1", **place),
        FoundMark(LONG, source="c", reader="A", label="x", person=("X",), **place),
    ]
    (found,) = match_marks(marks, index)
    mark = found.mark
    assert (mark.reader, mark.label, mark.tracking_id) == ("A, B", "left", "1")
    assert mark.person == ("Doe", "X") and mark.notes == ("2 other files hold the same mark",)


def test_a_localizer_of_the_same_frame_of_reference_is_not_meant(tmp_path):
    for number in range(1, 6):
        slice_of(tmp_path / f"{number}.dcm", number, z=2.5 * number)
    slice_of(
        tmp_path / "scout.dcm", 1, series="1.2.4", ImagePositionPatient=[-100, 40, 100],
        ImageOrientationPatient=[1, 0, 0, 0, 0, -1], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )  # fmt: skip
    index = index_series(tmp_path)
    found = matched(index, world=world(7.5), frame_of_reference_uid="1.9")
    assert (found.error, found.entry.instance_uid) == ("", "1.2.3.3")
    off = matched(index, world=world(30.0), frame_of_reference_uid="1.9")
    assert off.error == "the mark lies on no slice of the 2 series of its place"


def test_slices_at_one_place_are_not_guessed(tmp_path):
    """Phases of one series, as of a perfusion."""
    for number, z in enumerate((1, 1, 3, 5), 1):
        slice_of(tmp_path / f"{number}.dcm", number, z=z)
    index = index_series(tmp_path)
    assert matched(index, world=world(1.0), series_uid="1.2.3").error == (
        "2 slices of the series lie where the mark does: which is meant cannot be told"
    )
    assert matched(index, world=world(3.1), series_uid="1.2.3").entry.instance_uid == "1.2.3.3"
    named = matched(index, world=world(1.0), instance_uid="1.2.3.2")
    assert (named.error, named.entry.instance_uid) == ("", "1.2.3.2")


@pytest.mark.parametrize("place", [{"series_uid": "1.2.3"}, {"instance_uid": "1.2.3.3"}])
def test_a_mark_across_slices_is_none_of_a_slice(index, place):
    """Drawn on a reformatted plane: on an axial slice it would be shorter."""
    ends = world(7.5)
    ends[:, 2] += (-6, 6)
    found = matched(index, world=ends, **place)
    assert (found.entry, found.error) == (None, "an end of the mark lies 6.0 mm from its slice")
    ends[:, 2] = (7.0, 8.0)
    assert matched(index, world=ends, **place).error == ""


def test_a_place_and_an_instance_that_differ_are_not_believed(index):
    found = matched(index, world=world(12.5), instance_uid="1.2.3.1")
    assert found.error == "an end of the mark lies 10.0 mm from its slice"
