"""AIM's pairs, exports of OHIF and cornerstoneTools, Slicer's markups."""

import copy

import numpy as np
import pytest
from mark_files import aim_v3, aim_v4, aim_v4_xml, as_json

from dsnet.data.marks.aim import read_aim
from dsnet.data.marks.cornerstone import read_cornerstone
from dsnet.data.marks.find import find_marks
from dsnet.data.marks.slicer import read_slicer
from dsnet.labeling.recist import RecistMark

CROSS = RecistMark.from_coordinates([100.25, 200, 140, 210, 118, 220, 122.5, 190])
WORLD = np.array([[10.0, -20, 5], [40, -20, 5], [26, -30, 5], [25, -8, 5]])


class Image:
    SOPInstanceUID, SeriesInstanceUID, PixelSpacing = "1.2.3", "1.2.2", [0.5, 0.5]


def same(found, mark=CROSS):
    assert np.abs(found.long_axis - mark.long_axis).max() < 1e-9
    assert np.abs(found.short_axis - mark.short_axis).max() < 1e-9


def test_aim_pairs_by_calculations_or_by_crossing():
    linked = aim_v4(CROSS, Image)
    for data in (as_json(linked), aim_v4_xml(linked), as_json([linked])):
        (mark,) = read_aim("made", data)
        same(mark)
        assert mark.notes == () and mark.long_mm == pytest.approx(20.49, abs=0.01)
        assert mark.short_mm == pytest.approx(15.17, abs=0.01)
    (mark,) = read_aim("made", as_json(aim_v4(CROSS, Image, linked=False)))
    same(mark)
    (mark,) = read_aim("made", aim_v3(CROSS, Image))
    same(mark)
    assert mark.notes == ("two lines that cross, taken for the two axes",)
    assert (mark.series_uid, mark.frame) == ("1.2.2", 1)


def test_aim_of_four_points_and_of_the_patient():
    four = aim_v4(CROSS, Image, linked=False)
    (held,) = four["ImageAnnotationCollection"]["imageAnnotations"]["ImageAnnotation"]
    markups = held["markupEntityCollection"]["MarkupEntity"]
    ends = (CROSS.coordinates.reshape(4, 2) + 0.5).tolist()
    markups[0]["twoDimensionSpatialCoordinateCollection"] = {"TwoDimensionSpatialCoordinate": [
        {"coordinateIndex": {"value": i}, "x": {"value": x}, "y": {"value": y}}
        for i, (x, y) in enumerate(ends)]}  # fmt: skip
    del markups[1]
    (mark,) = read_aim("made", as_json(four))
    same(mark)
    assert (mark.long_mm, mark.short_mm) == (
        pytest.approx(20.49, abs=0.01), pytest.approx(15.17, abs=0.01),
    )  # fmt: skip
    del markups[0]["twoDimensionSpatialCoordinateCollection"]
    markups[0]["xsi:type"] = "ThreeDimensionMultiPoint"
    markups[0]["frameOfReferenceUid"] = {"root": "1.2.5"}
    markups[0]["threeDimensionSpatialCoordinateCollection"] = {"ThreeDimensionSpatialCoordinate": [
        {"coordinateIndex": {"value": i}, "x": {"value": x}, "y": {"value": y}, "z": {"value": z}}
        for i, (x, y, z) in enumerate(WORLD[:2].tolist())]}  # fmt: skip
    (mark,) = read_aim("made", as_json(four))
    assert mark.long_axis is None and np.array_equal(mark.world, WORLD[:2])
    assert mark.frame_of_reference_uid == "1.2.5"


def test_aim_lines_apart_are_two_marks_and_circles_none():
    apart = RecistMark(CROSS.long_axis, CROSS.short_axis + 100)
    assert [mark.short_axis for mark in read_aim("made", aim_v3(apart, Image))] == [None, None]
    circles = aim_v3(CROSS, Image).replace(b'"MultiPoint"', b'"Circle"')
    assert read_aim("made", circles) == []


def test_aim_bad_lines_are_told():
    bad = aim_v3(CROSS, Image).replace(b'x="100.75"', b'x="somewhere"')
    refused = []
    assert read_aim("made", bad, refused) == []
    assert refused == [
        ("made", "annotation 'Lesion 1': coordinates must be numbers, got ['somewhere', '200.5', "
         "'140.5', '210.5']"),
    ]  # fmt: skip
    two = aim_v3(CROSS, Image).replace(b'imageReferenceUID="1.2.3"', b'imageReferenceUID="9"', 1)
    with pytest.raises(ValueError, match="annotation 'Lesion 1': a line must lie on one image"):
        read_aim("made", two)
    with pytest.raises(ValueError, match="made: must have an ImageAnnotation"):
        read_aim("made", b"<other/>")


IMAGE_ID = "wadors:http://server/dicom-web/studies/1.2.1/series/1.2.2/instances/1.2.3/frames/4"


def cornerstone3d():
    return {
        "annotationUID": "0f-1",
        "metadata": {
            "toolName": "Bidirectional", "FrameOfReferenceUID": "1.2.5",
            "referencedImageId": IMAGE_ID,
        },
        "data": {
            "label": "segment 6",
            "handles": {"points": WORLD.tolist(), "textBox": {"worldPosition": [1, 2, 3]}},
            "cachedStats": {f"imageId:{IMAGE_ID}": {"length": 30.0, "width": 22.02, "unit": "mm"}},
        },
    }  # fmt: skip


def test_cornerstone3d_annotations():
    held = cornerstone3d()
    nested = {"1.2.5": {"Bidirectional": [held], "Probe": [{"data": {"handles": {"points": []}},
              "metadata": {"toolName": "Probe"}}]}}  # fmt: skip
    typed = copy.deepcopy(held)
    typed["data"]["handles"]["points"] = [dict(zip("012", p, strict=True)) for p in WORLD.tolist()]
    for content in (held, [held], nested, typed):
        (mark,) = read_cornerstone("made", as_json(content))
        assert mark.long_axis is None and np.array_equal(mark.world, WORLD)
        assert (mark.frame_of_reference_uid, mark.tracking_uid) == ("1.2.5", "0f-1")
        assert (mark.series_uid, mark.instance_uid, mark.frame) == ("1.2.2", "1.2.3", 4)
        assert (mark.label, mark.long_mm, mark.short_mm) == ("segment 6", 30.0, 22.02)


def test_ohif_measurements():
    content = {
        "measurements": [
            {
                "uid": "m-1", "SOPInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.5",
                "referenceSeriesUID": "1.2.2", "toolName": "Bidirectional", "label": "node",
                "type": "value_type::bidirectional", "points": WORLD.tolist(),
                "longestDiameter": 30, "shortestDiameter": 22,
            },
            {"uid": "m-2", "SOPInstanceUID": "1.2.4", "toolName": "Length",
             "points": WORLD[:2].tolist(), "length": 30},
            {"uid": "m-3", "toolName": "RectangleROI", "points": WORLD.tolist()},
        ]
    }  # fmt: skip
    both, line = read_cornerstone("made", as_json(content))
    assert np.array_equal(both.world, WORLD) and np.array_equal(line.world, WORLD[:2])
    assert (both.instance_uid, both.series_uid, both.label) == ("1.2.3", "1.2.2", "node")
    assert (both.long_mm, both.short_mm, line.long_mm) == (30, 22, 30)


def handles(mark):
    ends = mark.coordinates.reshape(4, 2) + 0.5
    names = ("start", "end", "perpendicularStart", "perpendicularEnd")
    return {name: {"x": x, "y": y} for name, (x, y) in zip(names, ends.tolist(), strict=True)}


def test_cornerstone_tools_state():
    data = [{"handles": handles(CROSS), "longestDiameter": "20.5", "shortestDiameter": "15.2",
             "uuid": "u-1", "location": "liver"}]  # fmt: skip
    content = {IMAGE_ID: {"Bidirectional": {"data": data}, "FreehandRoi": {"data": [
        {"handles": {"points": [{"x": 1, "y": 2}]}}]}}}  # fmt: skip
    (mark,) = read_cornerstone("made", as_json(content))
    same(mark)
    assert (mark.instance_uid, mark.series_uid, mark.frame) == ("1.2.3", "1.2.2", 4)
    assert (mark.label, mark.tracking_uid, mark.long_mm) == ("liver", "u-1", 20.5)
    undrawn = handles(CROSS)
    undrawn["perpendicularEnd"] = undrawn["perpendicularStart"]
    data[0]["handles"] = undrawn
    (mark,) = read_cornerstone("made", as_json(content))
    assert mark.short_axis is None


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (WORLD[:3].tolist(), "a tool called 'Bidirectional' must have 4 ends, got 3"),
        ([[1, 2]] * 4, "a point must be three numbers"),
        ([[1, 2, float("nan")]] * 4, "finite"),
        ([[1, 2, None]] * 4, "coordinates must be numbers"),
    ],
)
def test_a_bad_measurement_costs_itself(points, reason):
    bad = cornerstone3d()
    bad["data"]["handles"]["points"] = points
    refused = []
    assert len(read_cornerstone("made", as_json([bad, cornerstone3d()]), refused)) == 1
    assert len(refused) == 1 and reason in refused[0][1]


def markup(ends, system="LPS", name="", kind="Line"):
    return {
        "type": kind, "coordinateSystem": system, "coordinateUnits": "mm",
        "controlPoints": [
            {"id": str(i), "label": f"{name}-{i}", "position": list(p), "positionStatus": "defined"}
            for i, p in enumerate(np.asarray(ends).tolist())
        ],
        "measurements": [{"name": "length", "enabled": True, "units": "mm",
                          "value": float(np.linalg.norm(np.subtract(*ends[:2])))}],
    }  # fmt: skip


def slicer(*markups):
    return as_json({"@schema": "https://slicer.org/markups-schema-v1.0.3.json#",
                    "markups": list(markups)})  # fmt: skip


@pytest.mark.parametrize("system", ["LPS", "RAS", 0, 1])
def test_slicer_pair_in_one_file(system):
    flip = np.array([-1, -1, 1]) if system in ("RAS", 0) else 1
    data = slicer(markup(WORLD[2:] * flip, system, "S"), markup(WORLD[:2] * flip, system, "L"))
    (mark,) = read_slicer("made", data)
    assert np.array_equal(mark.world, WORLD) and mark.long_axis is None
    assert (mark.long_mm, mark.short_mm) == (30, pytest.approx(22.0227, abs=1e-4))
    assert mark.notes == ("two lines that cross, taken for the two axes",)


def test_slicer_lines_of_one_folder(tmp_path):
    for name, ends in (("long", WORLD[:2]), ("short", WORLD[2:]), ("other", WORLD[:2] + 50)):
        (tmp_path / f"{name}.mrk.json").write_bytes(slicer(markup(ends, name=name)))
    # In another folder, and in another slice: no pair.
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "short.mrk.json").write_bytes(slicer(markup(WORLD[2:] + 50)))
    (tmp_path / "apart.mrk.json").write_bytes(slicer(markup(WORLD[2:] + np.array([50, 50, 53]))))
    marks = find_marks(tmp_path).marks
    assert sorted(len(mark.world) for mark in marks) == [2, 2, 2, 4]
    (both,) = [mark for mark in marks if len(mark.world) == 4]
    assert np.array_equal(both.world, WORLD)
    assert both.notes == ("two lines that cross, taken for the two axes, of two files",)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"coordinateSystem": "IJK"}, "coordinateSystem must be LPS or RAS, got 'IJK'"),
        ({"coordinateSystem": None}, "coordinateSystem must be LPS or RAS, got 'None'"),
        ({"coordinateUnits": "cm"}, "coordinateUnits must be mm, got 'cm'"),
        ({"controlPoints": []}, "two defined control points, got 0"),
        ({"controlPoints": [{"position": [1, 2]}, {"position": [1, 2, 3]}]}, "points of 3 numbers"),
    ],
)
def test_slicer_bad_markup_costs_itself(change, reason):
    refused = []
    data = slicer({**markup(WORLD[:2]), **change}, markup(WORLD[:2]), markup(WORLD, kind="Curve"))
    assert len(read_slicer("made", data, refused)) == 1
    assert len(refused) == 1 and reason in refused[0][1]
