"""Every file of marks at hand against a reading of it by hand: ends to 0.01 px, and where they lie.

The table was written once, with ElementTree, json and a dump of the reports' graphic data; 0.5 is
taken off. What is not in it has no mark.
"""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom")
from dsnet.data.marks.find import find_marks
from dsnet.data.marks.geometry import checked
from shared_data import shared

NCI = "1.3.6.1.4.1.9328.50.1."
# File, reader, instance, long axis, length as written in mm.
TWO_READERS = (
    ("0022BaselineA", "10717", (142.5, 299.5, 91.5, 325.5), 39.580),
    ("0022BaselineB", "10717", (108.5, 288.5, 124.5, 336.5), 34.983),
    ("0022FollowupA", "10884", (163.5, 270.5, 104.5, 290.5), 42.221),
    ("0022FollowupB", "10884", (124.5, 309.5, 134.5, 255.5), 37.220),
    ("0023BaselineA", "11065", (53.5, 291.5, 63.5, 343.5), 36.612),
    ("0023BaselineB", "11065", (33.5, 312.5, 77.5, 337.5), 34.990),
    ("0023FollowupA", "11451", (63.5, 335.5, 93.5, 401.5), 49.135),
    ("0023FollowupB", "11451", (47.5, 331.5, 113.5, 384.5), 57.368),
    ("0024BaselineA", "11623", (99.5, 198.5, 185.5, 154.5), 66.791),
    ("0024BaselineB", "11623", (190.5, 157.5, 100.5, 197.5), 68.096),
    ("0024FollowupA", "12011", (149.5, 187.5, 256.5, 167.5), 73.773),
    ("0024FollowupB", "12011", (223.5, 154.5, 218.5, 295.5), 95.621),
    ("0025BaselineA", "12138", (316.5, 182.5, 322.5, 293.5), 76.858),
    ("0025BaselineB", "12138", (329.5, 187.5, 321.5, 295.5), 74.876),
    ("0025FollowupA", "12733", (273.5, 169.5, 300.5, 265.5), 67.587),
    ("0025FollowupB", "12733", (264.5, 191.5, 303.5, 289.5), 71.484),
)
EPAD = "1.2.840.113704.1.111."
# First part of the file's name, instance, long axis, label.
ONE_PATIENT = (
    ("2.85495", "3788.1218052192.1571", (307.976, 280.320, 381.018, 246.990), "Lesion3, pancreas"),
    ("2224336", "2128.1223562659.906", (125.018, 295.921, 159.766, 292.375), "Lesion1, liver"),
    ("2290364", "3788.1218052187.1565", (108.708, 276.065, 144.165, 287.411), "Lesion1, liver"),
    ("3.1726", "2128.1223562664.911", (100.198, 265.428, 136.364, 276.774), "Lesion2, liver"),
    ("3758329", "3788.1218052192.1571", (73.960, 268.974, 98.071, 248.409), "Lesion2, liver"),
    ("460094", "3844.1212776204.2784", (75.771, 253.990, 104.468, 228.314), "Lesion2, liver"),
    ("4975004754", "3820.1207241492.1630", (323.578, 295.921, 380.309, 288.120),
     "Lesion3, pancreas"),
    ("62986", "3820.1207241489.1627", (139.201, 271.810, 156.929, 295.921), "Lesion1, liver"),
    ("6995867818", "3844.1212776204.2784", (314.403, 266.827, 399.736, 248.704),
     "Lesion3, pancreas"),
    ("86102", "3820.1207241492.1630", (102.325, 249.118, 125.018, 287.411), "Lesion2, liver"),
    ("86914783", "2128.1223562664.911", (316.486, 291.666, 394.492, 279.611), "Lesion3, pancreas"),
    ("873", "3844.1212776204.2784", (190.968, 207.278, 209.406, 199.478), "Lesion1, liver"),
    ("recist_sample", "3844.1212776204.2784", (75.771, 253.990, 104.468, 228.314),
     "Lesion2, liver"),
)  # fmt: skip
SQUARES = "1.2.826.0.1.3680043.9.7278.1.83798073110115.20240516075655.3.6"
OHIF = "1.2.840.113619.2.5.1762583153.215519.978957063.123"
DCMJS = "1.3.6.1.4.1.25403.52237031786.3872.20100510032220."
BIDIRECTIONAL = (286.671, 331.890, 439.029, 326.713), (357.744, 386.619, 353.975, 275.680)
LENGTH = (167.594, 235.002, 306.640, 200.241)
# File, and of each of its marks: instance, long axis, short axis, lengths as written in mm.
REPORTS = {
    "measurements/dwv/dwv034/sr-ruler.dcm": [
        (SQUARES, (3.488, 5.553, 7.547, 5.553), None, (4.0593, None)),
        (SQUARES, (15.524, 5.482, 19.583, 5.482), None, (4.0593, None)),
        (SQUARES, (15.524, 17.375, 19.583, 17.447), None, (4.0600, None)),
    ],
    "measurements/dwv/tid1500-0/sr-ruler.dcm": [
        (SQUARES, (3.411, 5.348, 7.437, 5.348), None, (4.0253, None)),
        (SQUARES, (15.487, 5.348, 19.513, 5.348), None, (4.0253, None)),
        (SQUARES, (15.487, 17.5, 19.513, 17.5), None, (4.0253, None)),
    ],
    "measurements/ohif_sr/sr_len_bidirectional.dcm": [
        (OHIF, *BIDIRECTIONAL, (59.5495, 43.3603)),
        (OHIF, LENGTH, None, (55.9864, None)),
    ],
    "measurements/ohif_sr/sr_len_bidirectional.json": [
        (OHIF, *BIDIRECTIONAL, (59.5495, 43.3603)),
        (OHIF, LENGTH, None, (55.9864, None)),
    ],
    "dicom/dcmjs/sample-sr.dcm": [
        ("1.3.6.1.4.1.14519.5.2.1.3098.5025.258689768683178195119522016250",
         (580.219, 1090.336, 542.854, 987.892), (598.902, 1027.731, 524.171, 1050.497),
         (None, None)),
    ],
    "dicom/dcmjs/structured_report.dcm": [
        (DCMJS + "11", (71, 328.5, 139, 396.5), (88, 379.5, 122, 345.5), (93.9, 47.0)),
        (DCMJS + "11", (237, 391.5, 272, 371.5), None, (39.3665, None)),
        (DCMJS + "12", (167, 287.5, 262, 386.5), None, (133.9921, None)),
    ],
}  # fmt: skip
# Reports and states without a line: outlines, circles, ellipses, angles, arrows, tables of colours.
EMPTY = {
    *(f"measurements/dwv/{kind}/sr-{shape}.dcm" for kind in ("dwv034", "tid1500-0")
      for shape in ("arrow", "circle", "ellipse", "protractor", "rectangle", "roi")),
    "measurements/gsps_no_graphics/prLUTs.dcm",
    "measurements/gsps_no_graphics/prOverlay.dcm",
    "measurements/ohif_sr/sr_arrow_ellipse.dcm",
    "measurements/ohif_sr/sr_arrow_ellipse.json",
    "dicom/dcmqi/sr.dcm",
    "dicom/highdicom/sr_document.dcm",
    "dicom/highdicom/sr_document_with_multiple_groups.dcm",
}  # fmt: skip


@pytest.fixture(scope="module")
def found():
    """Marks by file, of all that lies in the two folders."""
    root = shared("measurements").parent
    both = [find_marks(root / folder) for folder in ("measurements", "dicom")]
    by_file = {}
    for mark in [mark for each in both for mark in each.marks]:
        by_file.setdefault(Path(mark.source).relative_to(root).as_posix(), []).append(mark)
    refused = [row for each in both for row in each.refused]
    empty = {Path(name).relative_to(root).as_posix() for each in both for name, _ in each.empty}
    return by_file, refused, empty


def close(axis, expected):
    return np.allclose(axis.ravel(), expected, rtol=0, atol=0.01)


@pytest.mark.parametrize(("folder", "ending"), [("xml", "xml"), ("sr", "dcm")])
@pytest.mark.parametrize("row", TWO_READERS, ids=[row[0] for row in TWO_READERS])
def test_two_readers_in_aim_and_in_reports(found, row, folder, ending):
    name, instance, long, length = row
    (mark,) = found[0][f"measurements/aim_v3_two_readers/{folder}/{name}.{ending}"]
    assert close(mark.long_axis, long) and mark.short_axis is None
    assert mark.instance_uid == NCI + instance and mark.frame is None
    assert mark.reader == name[-1] and mark.tracking_id == name[:4]
    assert mark.long_mm == pytest.approx(length, abs=1e-3) and mark.units == "mm"
    assert mark.format == ("aim" if folder == "xml" else "sr")


@pytest.mark.parametrize("row", ONE_PATIENT, ids=[row[0] for row in ONE_PATIENT])
def test_three_lesions_at_four_dates(found, row):
    name, instance, long, label = row
    start = f"measurements/aim_v4_epad/{name}"
    (mark,) = [mark for file, marks in found[0].items() if file.startswith(start) for mark in marks]
    assert close(mark.long_axis, long) and mark.short_axis is None
    assert mark.instance_uid == EPAD + instance and mark.frame == 1
    assert (mark.label, mark.reader, mark.units) == (label, "admin", "linear")
    # "linear" is no unit: the written number is told, and not believed.
    assert mark.long_mm is None and "in linear" in mark.notes[0]


def test_a_line_in_centimetres(found):
    (mark,) = found[0]["measurements/aim_v4_epad/roi_sample_aim.json"]
    assert close(mark.long_axis, (112.255, 221.558, 178.988, 200.848))
    assert mark.instance_uid == "1.3.12.2.1107.5.8.2.484849.837749.68675556.20031107184625010"
    assert mark.series_uid == "1.3.12.2.1107.5.8.2.484849.837749.68675556.2003110718442012313"
    assert mark.long_mm == pytest.approx(49.129, abs=1e-3)


@pytest.mark.parametrize("file", REPORTS)
def test_reports(found, file):
    marks = found[0][file]
    assert len(marks) == len(REPORTS[file])
    for mark, (instance, long, short, (long_mm, short_mm)) in zip(
        marks, REPORTS[file], strict=True
    ):
        assert mark.instance_uid == instance
        assert close(mark.long_axis, long)
        assert mark.short_axis is None if short is None else close(mark.short_axis, short)
        assert mark.long_mm == pytest.approx(long_mm, abs=1e-3)
        assert mark.short_mm == pytest.approx(short_mm, abs=1e-3)


def test_nothing_else_is_a_mark_and_nothing_is_refused(found):
    by_file, refused, empty = found
    known = len(TWO_READERS) * 2 + len(ONE_PATIENT) + 1 + sum(map(len, REPORTS.values()))
    assert sum(map(len, by_file.values())) == known
    assert refused == []
    assert empty == EMPTY


def test_lengths_that_carry_another_images_spacing_are_told(found):
    # The files' lengths are 0.691406 mm a pixel on every slice; that is right for 0022 baseline.
    spacing = {
        "10717": 0.691406, "10884": 0.742188, "11065": 0.621094, "11451": 0.611328,
        "11623": 0.589844, "12011": 0.654297, "12138": 0.722656, "12733": 0.769531,
    }  # fmt: skip
    told = {}
    for name, instance, *_ in TWO_READERS:
        (mark,) = found[0][f"measurements/aim_v3_two_readers/xml/{name}.xml"]
        told[name] = checked(mark, (spacing[instance],) * 2)
    assert not told["0022BaselineA"] and not told["0022BaselineB"]
    assert sum(map(bool, told.values())) == 14
    assert told["0024BaselineA"] == (
        "the long axis is written as 66.79 mm, its ends are 56.98 mm apart",
    )


def test_the_tables_of_real_marks(found):
    marks = find_marks(shared("human_marks") / "DL_info_human_marks.csv").marks
    assert len(marks) == 6173 and all(mark.short_axis is not None for mark in marks)
    first = marks[0]
    assert (first.index, first.format, first.file) == (2, "deeplesion", "000001_01_01_109.png")
    assert close(first.long_axis, (233.037, 94.5204, 233.557, 106.477))
    assert close(first.short_axis, (230.669, 101.105, 235.752, 100.643))
    assert first.written_spacing == (0.488281, 0.488281)
