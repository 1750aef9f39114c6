"""Cells of coordinates, and where they count from."""

import csv

import cv2
import numpy as np
import pytest

from dsnet.data.datasets.coordinates import CORNER, check_origin, read_mark
from dsnet.data.datasets.deeplesion import read_annotations
from dsnet.labeling import RecistMark
from shared_data import shared

LINE = [9.5, 19.5, 29.5, 24.5]


@pytest.mark.parametrize(
    "text",
    [
        "10, 20, 30, 25",
        "10,20,30,25,",
        "10, 20, 30, 25, , , , ",
        "10,20,30,25,,,,",
        " 10, 20, 30, 25, nan, NaN, nan, nan",
        "10,20,30,25,nan,,nan,",
    ],
)
def test_a_long_axis_alone(text):
    mark = read_mark(text, 0.5)
    assert mark.short_axis is None and mark.long_axis.ravel().tolist() == LINE


def test_both_axes():
    for text in ("1, 2, 3, 4, 2, 4, 3, 2", "1,2,3,4,2,4,3,2,"):
        assert read_mark(text, 0) == RecistMark.from_coordinates([1, 2, 3, 4, 2, 4, 3, 2])
        assert read_mark(text, 1) == RecistMark.from_coordinates([0, 1, 2, 3, 1, 3, 2, 1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "must be 8 numbers, or 4 of a long axis alone, got 0"),
        ("", "got 0"),
        (" , ,", "got 3"),
        ("1, 2, 3", "got 3"),
        ("1, 2, 3, 4, 5, 6, ,", "coordinates must be finite"),
        ("1, 2, 3, 4, nan", "got 5"),
        ("1, 2, , , 3, 4", "got 6"),
        ("1,,2,3,4,5,6,7,8", "got 9"),
        (",,,,1,2,3,4", "coordinates must be finite"),
        ("1,2,3,4,,6,7,8", "coordinates must be finite"),
        ("nan,nan,nan,nan,nan,nan,nan,nan", "coordinates must be finite"),
        ("1,,3,4", "ends must be finite"),
        ("1,2,3,inf", "ends must be finite"),
        ("1,2,3,2e9", "ends must be within +-1e+09 pixels, got [1.0, 2.0, 3.0, 2000000000.0]"),
        ("1,2,3,2e9,,,,", "coordinates must be within"),
        ("1,2,3,4,inf,inf,inf,inf", "coordinates must be finite"),
        ("1,2,3,x", "must be 8 numbers, got '1,2,3,x'"),
    ],
)
def test_other_cells_are_refused(text, words):
    with pytest.raises(ValueError) as refusal:
        read_mark(text, CORNER)
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("origin", [np.nan, np.inf, -0.5, 1.5, -1e-9])
def test_an_origin_that_no_table_has_is_refused(tmp_path, origin):
    with pytest.raises(ValueError, match=r"origin must be within 0 and 1 pixels .*, got"):
        check_origin(origin)
    with pytest.raises(ValueError, match="origin must be"):
        read_annotations(tmp_path / "none.csv", origin=origin)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def overlaps(rows, masks, column, origin):
    """Mean Dice of the marks' ellipses with the masks of the same slices."""
    found = []
    for row in rows:
        mask = cv2.imread(str(masks(row)), cv2.IMREAD_UNCHANGED) > 0
        found.append(dice(read_mark(row[column], origin).ellipse_mask(mask.shape), mask))
    return np.mean(found)


def test_marks_that_people_drew_count_from_the_corner():
    folder = shared("human_marks", "manual_masks")
    with open(folder / "pairs.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 94
    by_origin = [
        overlaps(rows, lambda row: folder / row["File_name"], "measurement_coordinates", origin)
        for origin in (0, CORNER, 1)
    ]
    assert by_origin == pytest.approx([0.836, 0.843, 0.823], abs=5e-4)


@pytest.mark.parametrize(
    ("name", "masks", "ending", "expected"),
    [
        ("deeplesion", "masks_grabcut_uls23", "_sample_0.png", [0.921, 0.905]),
        ("lung_ct", "masks", ".png", [0.902, 0.896]),
    ],
)
def test_marks_derived_from_masks_count_from_the_first_centre(name, masks, ending, expected):
    with open(shared(name, "DL_info.csv")) as file:
        rows = list(csv.DictReader(file))

    def mask_of(row):
        return shared(name, masks, row["File_name"].removesuffix(".png") + ending)

    by_origin = [overlaps(rows, mask_of, "Measurement_coordinates", o) for o in (0, CORNER)]
    assert by_origin == pytest.approx(expected, abs=1e-3)


def test_every_mark_that_people_drew_is_read():
    rows = read_annotations(shared("human_marks", "DL_info_human_marks.csv"))
    assert len(rows) == 6173 and not any(row.error for row in rows)
    ratios = [row.mark.short_diameter / row.mark.long_diameter for row in rows]
    # What a short axis that is unknown is taken for.
    assert np.median(ratios) == pytest.approx(0.75, abs=0.005)
