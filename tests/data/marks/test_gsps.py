"""Presentation states: units, origins, pairs, texts. Written by highdicom over a real slice."""

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")
from mark_files import dicom_bytes, highdicom_state  # noqa: E402

from dsnet.data.marks.gsps import read_gsps  # noqa: E402
from dsnet.labeling.recist import RecistMark  # noqa: E402
from shared_data import shared  # noqa: E402

CROSS = RecistMark.from_coordinates([100.25, 200, 140, 210, 118, 220, 122.5, 190])
OTHER = RecistMark.from_coordinates([300, 200, 330, 200, 315, 190, 315, 208])
LINE = RecistMark.from_long_axis([50, 60, 70, 66])


@pytest.fixture(scope="module")
def image():
    folder = shared("measurements", "aim_v3_two_readers", "ct")
    found = pydicom.dcmread(folder / "0022Baseline.dcm")
    found.PatientName = "Doe^Jane"
    return found


def same(found, mark):
    assert np.abs(found.long_axis - mark.long_axis).max() < 0.01
    if mark.short_axis is None:
        assert found.short_axis is None
    else:
        assert np.abs(found.short_axis - mark.short_axis).max() < 0.01


def changed(data, **tags):
    """The state with tags set; of `DisplayedArea...` those of its area."""
    made = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))
    for name, value in tags.items():
        area = name.startswith("DisplayedArea")
        setattr(made.DisplayedAreaSelectionSequence[0] if area else made, name, value)
    return dicom_bytes(made)


@pytest.mark.parametrize("units", ["PIXEL", "DISPLAY"])
def test_pairs_lines_and_texts(image, units):
    texts = [("target 1", (90, 195)), ("node", (52, 50)), ("12 mm", (125, 230))]
    data = highdicom_state([CROSS, LINE, OTHER], image, units, texts)
    first, second, third = read_gsps("made", data)
    same(first, CROSS)
    same(second, LINE)
    same(third, OTHER)
    assert [first.label, second.label, third.label] == ["target 1, 12 mm", "node", ""]
    assert (first.reader, first.tracking_id, first.tracking_uid) == ("Reader^Two", "T", "1.2.7")
    assert first.instance_uid == image.SOPInstanceUID
    assert first.series_uid == image.SeriesInstanceUID


@pytest.mark.parametrize("origin", [0.0, 0.5, 1.0])
def test_both_origins_of_pixel_units(image, origin):
    # The standard counts from the corner of the first pixel; some viewers draw at the centres.
    data = highdicom_state([CROSS, LINE], image, origin=origin)
    found = read_gsps("made", data, origin=origin)
    same(found[0], CROSS)
    same(found[1], LINE)
    by_default = read_gsps("made", data)[0]
    assert np.allclose(by_default.long_axis, CROSS.long_axis + origin - 0.5, atol=0.01)
    with pytest.raises(ValueError, match="origin must be within 0 and 1"):
        read_gsps("made", data, origin=2)


def test_display_units_of_a_part_of_the_picture(image):
    # The displayed area: columns 101 to 300, rows 151 to 250, counted from 1.
    data = changed(
        highdicom_state([CROSS], image, "DISPLAY"),
        DisplayedAreaTopLeftHandCorner=[101, 151],
        DisplayedAreaBottomRightHandCorner=[300, 250],
    )
    (found,) = read_gsps("made", data)
    fractions = (CROSS.long_axis + 0.5) / 512
    expected = np.array([100, 150]) + fractions * np.array([200, 100]) - 0.5
    assert np.abs(found.long_axis - expected).max() < 0.01


@pytest.mark.parametrize(
    ("rotation", "corners", "where"),
    [
        # Which pixel of the picture is shown at fractions (u, v), by turning a picture in the head.
        (0, ([1, 1], [512, 512]), lambda u, v: (u, v)),
        (90, ([1, 512], [512, 1]), lambda u, v: (v, 1 - u)),
        (180, ([512, 512], [1, 1]), lambda u, v: (1 - u, 1 - v)),
        (270, ([512, 1], [1, 512]), lambda u, v: (1 - v, u)),
        # Flipped from left to right: the top left is the picture's top right.
        (0, ([512, 1], [1, 512]), lambda u, v: (1 - u, v)),
    ],
)
def test_display_units_of_a_turned_picture(image, rotation, corners, where):
    data = changed(
        highdicom_state([LINE], image, "DISPLAY"),
        ImageRotation=rotation,
        DisplayedAreaTopLeftHandCorner=corners[0],
        DisplayedAreaBottomRightHandCorner=corners[1],
    )
    (found,) = read_gsps("made", data)
    u, v = ((LINE.long_axis + 0.5) / 512).T
    expected = np.stack(where(u, v), axis=1) * 512 - 0.5
    assert np.abs(found.long_axis - expected).max() < 0.01


def test_lines_that_do_not_cross_near_their_middles_stay_alone(image):
    near_the_end = RecistMark.from_coordinates([100, 100, 140, 100, 139, 90, 139, 110])
    slanting = RecistMark.from_coordinates([200, 100, 240, 100, 205, 92, 235, 108])
    found = read_gsps("made", highdicom_state([near_the_end, slanting], image))
    assert [mark.short_axis for mark in found] == [None] * 4


def test_an_annotation_a_line(image):
    # Some write each line, and each text, as an annotation of its own.
    texts = [("target", (90, 195)), ("in a corner", (500, 500))]
    made = pydicom.dcmread(
        pydicom.filebase.DicomBytesIO(highdicom_state([CROSS], image, texts=texts))
    )
    (whole,) = made.GraphicAnnotationSequence
    parts = []
    for name in ("GraphicObjectSequence", "TextObjectSequence"):
        for one in whole[name].value:
            part = pydicom.Dataset()
            part.ReferencedImageSequence = whole.ReferencedImageSequence
            part.GraphicLayer = whole.GraphicLayer
            setattr(part, name, [one])
            parts.append(part)
    made.GraphicAnnotationSequence = parts
    (found,) = read_gsps("made", dicom_bytes(made))
    same(found, CROSS)
    assert found.label == "target"
    # Lines on two pictures are no mark.
    second = pydicom.Dataset()
    second.ReferencedSOPClassUID, second.ReferencedSOPInstanceUID = image.SOPClassUID, "1.2.3"
    parts[1].ReferencedImageSequence = [second]
    assert len(read_gsps("made", dicom_bytes(made))) == 2


def test_outlines_are_no_marks(image):
    made = pydicom.dcmread(pydicom.filebase.DicomBytesIO(highdicom_state([LINE], image)))
    graphics = made.GraphicAnnotationSequence[0].GraphicObjectSequence
    graphics[0].GraphicData = [1.0, 1.0, 5.0, 5.0, 9.0, 1.0]
    graphics[0].NumberOfGraphicPoints = 3
    assert read_gsps("made", dicom_bytes(made)) == []
    graphics[0].GraphicType, graphics[0].GraphicData = "CIRCLE", [1.0, 1.0, 5.0, 5.0]
    assert read_gsps("made", dicom_bytes(made)) == []


def test_a_ruler_is_a_line_once(image):
    made = pydicom.dcmread(pydicom.filebase.DicomBytesIO(highdicom_state([LINE], image)))
    ruler = pydicom.Dataset()
    ruler.CompoundGraphicType, ruler.CompoundGraphicUnits = "RULER", "PIXEL"
    ruler.GraphicData = [float(v) for v in LINE.long_axis.ravel() + 0.5]
    annotation = made.GraphicAnnotationSequence[0]
    annotation.CompoundGraphicSequence = [ruler]
    assert len(read_gsps("made", dicom_bytes(made))) == 1
    del annotation.GraphicObjectSequence
    (found,) = read_gsps("made", dicom_bytes(made))
    same(found, LINE)


def test_an_annotation_without_images_is_of_those_of_the_state(image):
    made = pydicom.dcmread(pydicom.filebase.DicomBytesIO(highdicom_state([LINE], image)))
    del made.GraphicAnnotationSequence[0].ReferencedImageSequence
    (found,) = read_gsps("made", dicom_bytes(made))
    assert found.instance_uid == image.SOPInstanceUID and found.notes == ()
    images = made.ReferencedSeriesSequence[0].ReferencedImageSequence
    second = pydicom.Dataset()
    second.ReferencedSOPClassUID, second.ReferencedSOPInstanceUID = image.SOPClassUID, "1.2.3"
    images.append(second)
    (found,) = read_gsps("made", dicom_bytes(made))
    assert found.instance_uid is None
    assert found.notes == ("drawn on 2 images: none is named alone",)


def test_bad_units_cost_their_line(image):
    made = pydicom.dcmread(pydicom.filebase.DicomBytesIO(highdicom_state([CROSS], image)))
    graphics = made.GraphicAnnotationSequence[0].GraphicObjectSequence
    graphics[1].GraphicAnnotationUnits = "MATRIX"
    refused = []
    (found,) = read_gsps("made", dicom_bytes(made), refused)
    assert found.short_axis is None
    assert refused == [
        ("made", "line 2: GraphicAnnotationUnits must be PIXEL or DISPLAY, got 'MATRIX'")
    ]
