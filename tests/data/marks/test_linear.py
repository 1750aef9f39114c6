"""Readers take as many steps as a file is long: thrice the marks take thrice the steps."""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
from mark_files import dicom_bytes, group, item, line_item, number_item, report  # noqa: E402

import dsnet.data.marks  # noqa: E402
from dsnet.data.marks.find import read_marks  # noqa: E402

ROOM = str(Path(dsnet.data.marks.__file__).parent)
FEW, FACTOR = 6, 3


def steps(name, data):
    """Lines and turns of loops that run within the readers, and the marks."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        if not frame.f_code.co_filename.startswith(ROOM):
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        found = read_marks(name, data)
    finally:
        sys.settrace(before)
    assert found.refused == []
    return count, found.marks


def place(number):
    """A line that crosses no other one."""
    return [
        20 * (number % 60),
        30 * (number // 60),
        20 * (number % 60) + 9,
        30 * (number // 60) + 2,
    ]


def dataset(**tags):
    made = pydicom.Dataset()
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def references(*uids):
    return [dataset(ReferencedSOPInstanceUID=uid) for uid in uids]


def state(annotations, areas, images) -> bytes:
    made = dataset(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.11.1", SOPInstanceUID="1.2", Modality="PR",
        GraphicAnnotationSequence=annotations, DisplayedAreaSelectionSequence=areas,
        ReferencedSeriesSequence=[
            dataset(SeriesInstanceUID="1.3", ReferencedImageSequence=references(*images))
        ],
    )  # fmt: skip
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    return dicom_bytes(made)


def drawn(number, **tags):
    tags = {"GraphicAnnotationUnits": "PIXEL", "GraphicData": place(number), **tags}
    return dataset(GraphicType="POLYLINE", **tags)


def areas_of_their_own(count):
    """An annotation, a displayed area and a picture for each line."""
    uids = [f"1.4.{n}" for n in range(count)]
    corners = {
        "DisplayedAreaTopLeftHandCorner": [1, 1],
        "DisplayedAreaBottomRightHandCorner": [512, 512],
    }
    units = {"GraphicAnnotationUnits": "DISPLAY", "GraphicData": [0.1, 0.1, 0.2, 0.3]}
    lines = [drawn(0, **units)]
    annotations = [
        dataset(ReferencedImageSequence=references(uid), GraphicObjectSequence=lines)
        for uid in uids
    ]
    areas = [dataset(ReferencedImageSequence=references(uid), **corners) for uid in uids]
    return "a.dcm", state(annotations, areas, uids)


def of_all_pictures(count):
    """Annotations that name no picture are of all of the state's."""
    uids = [f"1.4.{n}" for n in range(count)]
    lines = [dataset(GraphicObjectSequence=[drawn(n)]) for n in range(count)]
    return "a.dcm", state(lines, [], uids)


def rulers_and_texts(count):
    """Lines, rulers beside them, and texts, all of one annotation."""
    rulers = [
        dataset(
            CompoundGraphicType="RULER", CompoundGraphicUnits="PIXEL",
            GraphicData=np.add(place(n), [0, 10, 0, 10]).tolist(),
        )
        for n in range(count)
    ]  # fmt: skip
    texts = [
        dataset(
            UnformattedTextValue=f"t{n}", AnchorPointAnnotationUnits="PIXEL",
            AnchorPoint=place(n)[:2],
        )
        for n in range(count)
    ]  # fmt: skip
    made = dataset(
        GraphicObjectSequence=[drawn(n) for n in range(count)],
        CompoundGraphicSequence=rulers, TextObjectSequence=texts,
    )  # fmt: skip
    return "a.dcm", state([made], [], ["1.4.1"])


LENGTH, LONG = ("410668003", "SCT", "Length"), ("103339001", "SCT", "Long Axis")


def one_group(count):
    """A report's group of many long axes and comments."""
    lines = [number_item(LONG, 9.2, content=[line_item(place(n))]) for n in range(count)]
    comments = [item("TEXT", ("121106", "DCM", "Comment"), TextValue=f"c{n}") for n in range(count)]
    return "a.dcm", report(group(*lines, *comments))


def many_groups(count):
    return "a.dcm", report(
        *(group(number_item(LENGTH, 9.2, content=[line_item(place(n))])) for n in range(count))
    )


def value(text):
    return {"value": text}


def aim(count):
    """One annotation of many lines, calculations, statements of both, and places."""
    lines = [
        {
            "xsi:type": "TwoDimensionMultiPoint", "uniqueIdentifier": {"root": f"1.5.{n}"},
            "imageReferenceUid": {"root": "1.4.1"}, "referencedFrameNumber": value(1),
            "twoDimensionSpatialCoordinateCollection": {"TwoDimensionSpatialCoordinate": [
                {"coordinateIndex": value(k), "x": value(x), "y": value(y)}
                for k, (x, y) in enumerate(np.reshape(place(n), (2, 2)).tolist())
            ]},
        }
        for n in range(count)
    ]  # fmt: skip
    calculations = [
        {
            "uniqueIdentifier": {"root": f"1.6.{n}"}, "description": value("Length"),
            "calculationResultCollection": {"CalculationResult": [
                {"unitOfMeasure": value("mm"), "value": value(9.2)}]},
        }
        for n in range(count)
    ]  # fmt: skip
    statements = [
        {
            "subjectUniqueIdentifier": {"root": f"1.6.{n}"},
            "objectUniqueIdentifier": {"root": "1.5.0"},
        }
        for n in range(count)
    ]
    places = [{"label": value("x"), "typeCode": [{"iso:displayName": value("lung")}]}] * count
    annotation = {
        "name": value("many"), "uniqueIdentifier": {"root": "1.7"},
        "markupEntityCollection": {"MarkupEntity": lines},
        "calculationEntityCollection": {"CalculationEntity": calculations},
        "imageAnnotationStatementCollection": {"ImageAnnotationStatement": statements},
        "imagingPhysicalEntityCollection": {"ImagingPhysicalEntity": places},
    }  # fmt: skip
    return "a.json", json.dumps({"ImageAnnotations": {"ImageAnnotation": [annotation]}}).encode()


def ohif(count):
    marks = [
        {"toolName": "Length", "points": [[0, n, 1], [9, n, 1]], "SOPInstanceUID": "1.4.1",
         "data": {"imageId:a": {"length": 9.0, "unit": "mm"}}}
        for n in range(count)
    ]  # fmt: skip
    return "a.json", json.dumps(marks).encode()


def ohif_table(count):
    head = "SOPInstanceUID,Label,AnnotationType,points"
    rows = [f"1.4.1,,Cornerstone:Length,0 {n} 1;9 {n} 1" for n in range(count)]
    return "a.csv", "\n".join([head, *rows]).encode()


def slicer(count):
    lines = [
        {"type": "Line", "coordinateSystem": "LPS", "controlPoints": [
            {"position": [*place(n)[:2], 1.0]}, {"position": [*place(n)[2:], 1.0]}]}
        for n in range(count)
    ]  # fmt: skip
    return "a.mrk.json", json.dumps({"markups": lines}).encode()


@pytest.mark.parametrize(
    "made, marks",
    [
        (areas_of_their_own, 1), (of_all_pictures, 1), (rulers_and_texts, 2), (one_group, 1),
        (many_groups, 1), (aim, 1), (ohif, 1), (ohif_table, 1), (slicer, 1),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)  # fmt: skip
def test_thrice_the_marks_take_thrice_the_steps(made, marks):
    taken = []
    for count in (FEW, FACTOR * FEW, FACTOR**2 * FEW):
        number, found = steps(*made(count))
        assert len(found) == marks * count
        taken.append(number)
    # What is the same for all sizes goes out with the difference; a square would be 9.
    assert np.diff(taken)[1] / np.diff(taken)[0] < 1.25 * FACTOR


def test_texts_stand_by_the_lines_that_they_are_nearest_to():
    """Of one annotation, of an annotation without a line, and of one that is too far."""
    name, data = rulers_and_texts(6)
    found = read_marks(name, data).marks
    # Rulers come after the lines.
    assert [mark.label for mark in found] == [f"t{n}" for n in range(6)] + [""] * 6
    lines = dataset(GraphicObjectSequence=[drawn(0), drawn(9)])

    def words(text, x, y):
        return dataset(TextObjectSequence=[dataset(
            UnformattedTextValue=text, AnchorPointAnnotationUnits="PIXEL", AnchorPoint=[x, y])]
        )  # fmt: skip

    apart = [words("near", 190, 40), words("far", 400, 400)]
    found = read_marks("a.dcm", state([lines, *apart], [], ["1.4.1"])).marks
    assert [mark.label for mark in found] == ["", "near"]


def test_a_ruler_over_its_line_is_there_once():
    """Within a hundredth of a pixel, on whichever side of a rounding step."""
    for off in itertools.product((-0.009, 0.0, 0.009), repeat=2):
        ruler = dataset(
            CompoundGraphicType="RULER", CompoundGraphicUnits="PIXEL",
            GraphicData=np.add(place(1), [*off, *off]).tolist(),
        )  # fmt: skip
        made = dataset(GraphicObjectSequence=[drawn(1)], CompoundGraphicSequence=[ruler, ruler])
        assert len(read_marks("a.dcm", state([made], [], ["1.4.1"])).marks) == 1
    ruler.GraphicData = np.add(place(1), [0.03, 0, 0, 0]).tolist()
    assert len(read_marks("a.dcm", state([made], [], ["1.4.1"])).marks) == 2
