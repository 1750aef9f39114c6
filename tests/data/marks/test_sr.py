"""Structured reports as they are met: private codes, missing parts, odd trees."""

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
from mark_files import (  # noqa: E402
    code,
    dicom_bytes,
    group,
    image_item,
    item,
    line_item,
    number_item,
    report,
)

from dsnet.data.marks.find import find_marks  # noqa: E402
from dsnet.data.marks.sr import read_sr  # noqa: E402

LONG = np.array([[10.5, 20.5], [30.5, 24.5]])
SHORT = np.array([[21.5, 16.5], [19.5, 28.5]])
SRT_LONG, SRT_SHORT = ("G-A185", "SRT", "Long Axis"), ("G-A186", "SRT", "Short Axis")


def axes(long=SRT_LONG, short=SRT_SHORT, unit="mm", lengths=(20.4, 12.2), instance="1.2.3"):
    return (
        number_item(long, lengths[0], unit, [line_item(LONG, instance)]),
        number_item(short, lengths[1], unit, [line_item(SHORT, instance)]),
    )


@pytest.mark.parametrize(
    ("long", "short"),
    [
        (SRT_LONG, SRT_SHORT),
        (("103339001", "SCT", "x"), ("103340004", "SCT", "y")),
        # Codes that nobody knows: what they are called decides.
        (("1", "99CORNERSTONEJS", "Long Axis"), ("2", "99CORNERSTONEJS", "Short Axis")),
        (("LA", "CST4", "longestDiameter"), ("SA", "CST4", "Perpendicular diameter")),
        # A known code says more than a wrong name.
        (("G-A185", "SRT", "Short Axis"), ("G-A186", "SRT", "Long Axis")),
        # A known number of another scheme says nothing.
        (("G-A186", "99ACME", "Long axis"), ("G-A185", "99ACME", "Short axis")),
    ],
)
def test_codes_first_meaning_second(long, short):
    (mark,) = read_sr("made", report(group(*axes(long, short)[::-1])))
    assert np.allclose(mark.long_axis, LONG - 0.5) and np.allclose(mark.short_axis, SHORT - 0.5)
    assert (mark.long_mm, mark.short_mm, mark.units) == (20.4, 12.2, "mm")
    assert mark.instance_uid == "1.2.3" and mark.notes == ()


def test_geometry_does_not_decide_which_is_which():
    (mark,) = read_sr("made", report(group(*axes(SRT_SHORT, SRT_LONG))))
    assert np.allclose(mark.long_axis, SHORT - 0.5) and np.allclose(mark.short_axis, LONG - 0.5)
    # Labelling's mark has the longer one first, whatever it is called.
    assert np.allclose(mark.recist().long_axis, LONG - 0.5)
    # Two lengths that cross are two marks, and told.
    length = ("G-D7FE", "SRT", "Length")
    both = [number_item(length, 1, content=[line_item(ends)]) for ends in (LONG, SHORT)]
    marks = read_sr("made", report(group(*both)))
    assert [mark.short_axis for mark in marks] == [None, None]
    assert all("no code says that they are axes" in mark.notes[0] for mark in marks)


def test_four_points_are_both_axes_where_a_code_says_so():
    four = line_item(np.concatenate([LONG, SHORT]))
    (mark,) = read_sr("made", report(group(number_item(SRT_LONG, 20, content=[four]))))
    assert np.allclose(mark.short_axis, SHORT - 0.5)
    tracked = item("TEXT", ("112039", "DCM", "Tracking Identifier"), TextValue="X:Bidirectional")
    (mark,) = read_sr("made", report(group(tracked, line_item(np.concatenate([LONG, SHORT])))))
    assert np.allclose(mark.long_axis, LONG - 0.5)
    assert read_sr("made", report(group(line_item(np.concatenate([LONG, SHORT]))))) == []
    # An outline of four corners with a diameter beside is no pair of axes.
    square = line_item([[0, 0], [9, 0], [9, 9], [0, 9]])
    with pytest.raises(ValueError, match="four points must be two axes that cross"):
        read_sr("made", report(group(number_item(SRT_LONG, 20, content=[square]))))


def test_what_lacks_still_leaves_a_mark():
    bare = line_item(LONG, instance=None)
    del bare.GraphicType, bare.RelationshipType
    (mark,) = read_sr("made", report(bare))
    assert np.allclose(mark.long_axis, LONG - 0.5)
    assert mark.instance_uid is None and mark.series_uid is None and mark.long_mm is None
    assert (mark.label, mark.tracking_id, mark.reader) == ("", None, None)


def test_a_line_without_an_image_lies_on_the_only_one_of_the_report():
    bare = number_item(SRT_LONG, 20, content=[line_item(LONG, instance=None)])
    (mark,) = read_sr("made", report(image_item("1.2.3"), group(bare)))
    assert mark.instance_uid == "1.2.3"
    assert mark.notes == ("it names no image: the report refers to one alone",)
    (mark,) = read_sr("made", report(image_item("1.2.3"), image_item("1.2.4"), group(bare)))
    assert mark.instance_uid is None and mark.notes == ()


def test_a_report_that_tells_its_modality_alone(tmp_path):
    made = pydicom.dcmread(pydicom.filebase.DicomBytesIO(report(group(*axes()))))
    del made.SOPClassUID, made.file_meta.MediaStorageSOPClassUID
    made.save_as(tmp_path / "a")
    assert len(find_marks(tmp_path).marks) == 1
    made.Modality = "CT"
    made.save_as(tmp_path / "a")
    assert find_marks(tmp_path).marks == [] and find_marks(tmp_path).refused == []


def test_no_diameters():
    arrow = item("TEXT", ("112039", "DCM", "Tracking Identifier"), TextValue="T:ArrowAnnotate")
    place = item(
        "SCOORD", ("122438", "DCM", "Reference Points"), GraphicType="POLYLINE",
        GraphicData=[1.0, 2.0, 3.0, 4.0],
    )  # fmt: skip
    angle = number_item(("1483009", "SCT", "Angle"), 90, "deg", [line_item(LONG)])
    area = number_item(("42798000", "SCT", "Area"), 9, "mm2", [line_item(LONG)])
    assert read_sr("made", report(group(arrow, line_item(LONG)), place, group(angle))) == []
    assert read_sr("made", report(group(area))) == []


def test_axes_on_two_images_are_not_paired():
    long, short = axes()
    short.ContentSequence[0].ContentSequence = [image_item("1.2.4")]
    (mark,) = read_sr("made", report(group(long, short)))
    assert mark.instance_uid == "1.2.3" and mark.short_axis is None
    assert "another image" in mark.notes[0]


def test_a_short_axis_alone_is_told():
    data = report(group(axes()[1]), group(*axes()))
    refused = []
    assert len(read_sr("made", data, refused)) == 1
    assert refused == [("made", "short axis of 'no name': no long axis goes with it")]
    with pytest.raises(ValueError, match="no long axis goes with it"):
        read_sr("made", data)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e12])
def test_coordinates_that_are_none_cost_their_own_mark(bad):
    ends = LONG.copy()
    ends[1, 0] = bad
    data = report(group(number_item(SRT_LONG, 1, content=[line_item(ends)])), group(*axes()))
    refused = []
    assert len(read_sr("made", data, refused)) == 1
    assert len(refused) == 1 and "finite and within" in refused[0][1]


@pytest.mark.parametrize(("unit", "long_mm"), [("cm", 204.0), ("1", None), ("{pixels}", None)])
def test_units_of_lengths(unit, long_mm):
    (mark,) = read_sr("made", report(group(*axes(unit=unit))))
    assert mark.long_mm == pytest.approx(long_mm) and mark.units == unit
    assert bool(mark.notes) == (long_mm is None)


def test_a_short_axis_of_a_length_alone_is_kept_as_such():
    (mark,) = read_sr("made", report(group(axes()[0], number_item(SRT_SHORT, 12.2))))
    assert mark.short_axis is None and (mark.long_mm, mark.short_mm) == (20.4, 12.2)


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]
)
@pytest.mark.parametrize("preamble", [True, False])
def test_transfer_syntaxes_with_and_without_a_preamble(syntax, preamble, tmp_path):
    made = pydicom.dcmread(pydicom.filebase.DicomBytesIO(report(group(*axes()))))
    implicit, little = syntax == "1.2.840.10008.1.2", not syntax.endswith("1.2.2")
    plain = pydicom.Dataset()
    plain.update(made)
    body = pydicom.filebase.DicomBytesIO()
    body.is_implicit_VR, body.is_little_endian = implicit, little
    pydicom.filewriter.write_dataset(body, plain)
    data = body.getvalue()
    if preamble:
        uid = syntax.encode() + b"\0" * (len(syntax) % 2)
        element = b"\x02\x00\x10\x00UI" + len(uid).to_bytes(2, "little") + uid
        size = b"\x02\x00\x00\x00UL\x04\x00" + len(element).to_bytes(4, "little")
        data = bytes(128) + b"DICM" + size + element + data
    (tmp_path / "a").write_bytes(data)
    found = find_marks(tmp_path)
    assert [mark.long_mm for mark in found.marks] == [20.4] and not found.refused


def test_label_frame_reader_and_series():
    evidence, series, instance = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    instance.ReferencedSOPInstanceUID = "1.2.3"
    series.SeriesInstanceUID, series.ReferencedSOPSequence = "1.2.9", [instance]
    evidence.ReferencedSeriesSequence = [series]
    reader = item("PNAME", ("121008", "DCM", "Person Observer Name"), PersonName="Doe^Jane")
    finding = item("CODE", ("121071", "DCM", "Finding"), ConceptCodeSequence=[
        code("CORNERSTONEFREETEXT", "CORNERSTONEJS", "left\nupper \x07 lobe")])  # fmt: skip
    line = line_item(LONG, None)
    line.ContentSequence = [image_item("1.2.3", 7)]
    made = pydicom.dcmread(
        pydicom.filebase.DicomBytesIO(
            report(reader, group(finding, number_item(SRT_LONG, 20, content=[line])))
        )
    )
    made.CurrentRequestedProcedureEvidenceSequence = [evidence]
    (mark,) = read_sr("made", dicom_bytes(made))
    assert (mark.series_uid, mark.frame, mark.reader) == ("1.2.9", 7, "Doe^Jane")
    assert mark.label == "left upper lobe"


def test_points_of_the_patient():
    world = np.array([[1.5, -20.25, 30.0], [11.5, -20.25, 31.0]])
    line = line_item(world, None, kind="SCOORD3D", ReferencedFrameOfReferenceUID="1.2.5")
    (mark,) = read_sr("made", report(group(number_item(SRT_LONG, 10, content=[line]))))
    assert mark.long_axis is None and np.array_equal(mark.world, world)
    assert mark.frame_of_reference_uid == "1.2.5"
    with pytest.raises(ValueError, match="patient coordinates alone"):
        mark.recist()


def test_coordinates_referred_to_by_their_place():
    reference = pydicom.Dataset()
    reference.RelationshipType = "INFERRED FROM"
    reference.ReferencedContentItemIdentifier = [1, 1, 1]
    number = number_item(SRT_LONG, 20, content=[reference])
    (mark,) = read_sr("made", report(group(line_item(LONG)), group(number)))
    assert np.allclose(mark.long_axis, LONG - 0.5) and mark.long_mm == 20
    assert mark.instance_uid == "1.2.3"
    # A place that is none, or its own, leads nowhere.
    for target in ([1, 9], [1, 2, 1, 1], [0], [2**31]):
        reference.ReferencedContentItemIdentifier = target
        assert len(read_sr("made", report(group(line_item(LONG)), group(number)))) == 1


def test_what_is_no_report_is_refused_by_name():
    with pytest.raises(ValueError, match="made: must be a structured report"):
        read_sr("made", report(group(*axes()), sop_class="1.2.840.10008.5.1.4.1.1.2"))
    with pytest.raises(ValueError, match=r"nowhere\.dcm"):
        read_sr("nowhere.dcm")
