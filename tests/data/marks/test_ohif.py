"""Marks that were drawn in OHIF 3.12 with the mouse, as it saved them, against what it told itself.

`ohif_3_12` holds what the running viewer wrote over phantoms: its measurements and its annotations
in JSON, the table of its button "CSV", and the report of "Create SR". The ends below are those of
its measurement service, in the patient's mm.
"""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom")
from dicom_files import slice_of
from dsnet.data.dicom.index import index_series
from dsnet.data.marks.find import find_marks
from dsnet.data.marks.match import match_marks
from dsnet.data.marks.ohif_csv import is_ohif_csv, read_ohif_csv

FOLDER = Path(__file__).parent / "ohif_3_12"
FILES = ("annotations.json", "measurements.json", "report.csv", "report.dcm")
SIDE = 0.8  # mm, of a pixel
BOTH = [[3.850119, -16.064252], [-8.127077, 11.519596], [-14.448960, -7.784810],
        [9.112827, 2.445962]]  # fmt: skip
ALONE = [[2.761283, -13.886580], [-7.219715, 8.797506]]
# Of the pixels that are not square, 0.9 mm from row to row and 0.6 along a row.
OBLONG = [[-17.493527, -8.936817], [-21.984976, 23.728266], [-28.735582, 6.064307],
          [-10.143884, 8.620665]]  # fmt: skip
CORNER = (-70.5, -81.25)


def images(folder, series, sides):
    for number in range(1, 6):
        slice_of(
            folder / f"{number}.dcm", number, series=series, PixelSpacing=sides,
            SOPInstanceUID=f"{series[:-1]}4{number}", FrameOfReferenceUID=f"{series[:-1]}3",
            ImagePositionPatient=[*CORNER, 10 + 2.5 * number],
        )  # fmt: skip
    return index_series(folder)


def pixels(ends, row, column):
    return (np.array(ends) - CORNER) / [column, row]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return images(tmp_path_factory.mktemp("square"), "2.25.182", [SIDE, SIDE])


@pytest.mark.parametrize("name", FILES)
def test_a_mark_and_a_length_are_read_as_ohif_measured_them(name, index):
    found = find_marks(FOLDER / name)
    assert found.refused == found.empty == []
    both, alone = match_marks(found.marks, index)
    assert (both.error, alone.error) == ("", "")
    assert (both.entry.instance_uid, alone.entry.instance_uid) == ("2.25.1843", "2.25.1842")
    mark = both.mark
    ends = np.concatenate([mark.long_axis, mark.short_axis])
    assert np.abs(ends - pixels(BOTH, SIDE, SIDE)).max() < 1e-4
    assert np.abs(alone.mark.long_axis - pixels(ALONE, SIDE, SIDE)).max() < 1e-4
    assert alone.mark.short_axis is None and alone.mark.short_mm is None
    # By the words on its screen: L 30.1, W 25.7, and 24.8 mm.
    lengths = (mark.long_mm, mark.short_mm, alone.mark.long_mm)
    assert lengths == pytest.approx((30.0719, 25.6871, 24.7828), abs=1e-4)
    assert (mark.label, alone.mark.label) == ("target 1", "")
    assert mark.notes == alone.mark.notes == ()


def test_its_files_are_known_to_hold_the_same_marks(index):
    found = find_marks(FOLDER)
    square = [mark for mark in found.marks if mark.series_uid == "2.25.182"]
    assert len(square) == 8
    assert [each.mark.notes for each in match_marks(square, index)] == [
        ("3 other files hold the same mark",)
    ] * 2


def test_a_report_of_pixels_that_are_not_square_is_refused_and_its_table_read(tmp_path):
    """OHIF divides by the wrong side there: what it wrote lies half an image away."""
    index = images(tmp_path, "2.25.172", [0.9, 0.6])
    both, _ = match_marks(find_marks(FOLDER / "not_square.csv").marks, index)
    assert both.error == "" and both.mark.notes == ()
    ends = np.concatenate([both.mark.long_axis, both.mark.short_axis])
    assert np.abs(ends - pixels(OBLONG, 0.9, 0.6)).max() < 1e-4
    wrong = match_marks(find_marks(FOLDER / "not_square.dcm").marks, index)
    told = "the mark's ends fit its lengths only where the sides of a pixel are swapped"
    assert [each.error.startswith(told) for each in wrong] == [True, True]
    assert [each.entry.instance_uid for each in wrong] == ["2.25.1743", "2.25.1742"]


def test_rows_of_its_table_that_are_no_marks():
    head, both, alone = (FOLDER / "report.csv").read_text().splitlines()
    comma = both.replace("target 1", "target 1, new")
    ellipse = both.replace("Bidirectional", "EllipticalROI")
    short = both.replace(";9.112826603325416 2.445961995249424 17.499999999999986", "")
    flat = alone.replace(" 14.999999999999986", "")
    data = "\n".join([head, comma, ellipse, short, flat, both, ""]).encode()
    refused = []
    (mark,) = read_ohif_csv("made", data, refused)
    assert (mark.index, mark.label, len(mark.world)) == (6, "target 1", 4)
    assert [why.split(",")[0] for _, why in refused] == [
        "row 2: must have 12 fields as the header",
        "row 4: points must be 4 of three numbers",
        "row 5: points must be 2 of three numbers",
    ]
    named = "\n".join([head, both.replace(",,", "P-7,Doe^J,", 1)]).encode()
    (mark,) = read_ohif_csv("made", named)
    assert mark.person == ("Doe^J", "P-7")
    assert is_ohif_csv(data) and not is_ohif_csv(b"x1,y1,x2,y2,sop_instance_uid\n")
    with pytest.raises(ValueError, match="made: must have the columns annotationtype"):
        read_ohif_csv("made", b"a,b\n1,2\n")
