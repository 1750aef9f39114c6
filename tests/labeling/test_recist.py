import csv

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsnet.labeling import RecistMark, recist_from_mask
from dsnet.labeling.recist import FARTHEST, ordered_coordinates
from shared_data import shared

coordinate = st.floats(-50, 150, allow_nan=False, width=32)
coordinates = st.lists(coordinate, min_size=8, max_size=8)


def ellipse(shape, center, half_axes, angle):
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    x, y = x - center[0], y - center[1]
    u = x * np.cos(angle) + y * np.sin(angle)
    v = -x * np.sin(angle) + y * np.cos(angle)
    return (u / half_axes[0]) ** 2 + (v / half_axes[1]) ** 2 <= 1


def test_axes_come_in_any_order():
    long_axis, short_axis = [10, 10, 30, 12], [20, 5, 19, 16]
    a = RecistMark.from_coordinates(long_axis + short_axis)
    b = RecistMark.from_coordinates(short_axis + long_axis)
    assert a == b and hash(a) == hash(b)
    assert a.coordinates.tolist() == long_axis + short_axis
    assert a.long_diameter == pytest.approx(np.hypot(20, 2))
    assert a.short_diameter == pytest.approx(np.hypot(1, 11))


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ([1, 2, 3], ValueError, "8 numbers, got 3"),
        ([1, 2, 3, 4, 5, 6, 7, np.nan], ValueError, "finite"),
        ([1, 2, 3, 4, 5, 6, 7, np.inf], ValueError, "finite"),
        (["a"] * 8, TypeError, "8 numbers"),
        (None, ValueError, "8 numbers"),
    ],
)
def test_bad_coordinates_are_named(value, error, words):
    with pytest.raises(error, match=words):
        RecistMark.from_coordinates(value)


def test_scaling_keeps_pixel_edges_on_pixel_edges():
    # The edges of a 10 pixel wide image lie at -0.5 and 9.5, of the tripled one at -0.5 and 29.5.
    mark = RecistMark.from_coordinates([-0.5, 2, 9.5, 2, 4, -0.5, 4, 3.5]).scaled(3, 2)
    assert mark.long_axis[:, 0].tolist() == [-0.5, 29.5]
    assert mark.short_axis[:, 1].tolist() == [-0.5, 7.5]


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.0, 2.5])
def test_ellipse_of_the_axes_is_the_ellipse(angle):
    along, across = (
        np.array([np.cos(angle), np.sin(angle)]),
        np.array([-np.sin(angle), np.cos(angle)]),
    )
    center = np.array([31.2, 28.7])
    ends = np.concatenate(
        [center - 20 * along, center + 20 * along, center - 9 * across, center + 9 * across]
    )
    mark = RecistMark.from_coordinates(ends)
    assert np.allclose(mark.center, center)
    assert np.array_equal(mark.ellipse_mask((64, 60)), ellipse((64, 60), center, (20, 9), angle))


def test_ellipse_spans_axes_that_do_not_cross_in_the_middle():
    mark = RecistMark.from_coordinates([10, 20, 40, 20, 15, 12, 15, 26])
    assert mark.center.tolist() == [25, 19]
    rows, columns = np.nonzero(mark.ellipse_mask((50, 50)))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (10, 40, 12, 26)


def test_quadrilateral_matches_matching_polygon_fill():
    rng = np.random.default_rng(5)
    for _ in range(50):
        # Whole-numbered corners: OpenCV fills polygons on whole pixels, border included.
        corners = rng.integers(2, 60, 8)
        mark = RecistMark.from_coordinates(corners)
        hull = cv2.convexHull(corners.reshape(4, 1, 2).astype(np.int32))
        area = cv2.contourArea(hull)
        if area < 20:
            continue
        filled = np.zeros((64, 64), np.uint8)
        cv2.fillConvexPoly(filled, hull, 1)
        ours = mark.quadrilateral_mask((64, 64))
        # OpenCV also paints the pixels its outline touches.
        assert not (ours & (filled == 0)).any()
        outline = cv2.arcLength(hull, True)
        assert abs(int(ours.sum()) - area) <= outline / 2 + 1


def test_a_mark_without_area_keeps_one_pixel():
    mark = RecistMark.from_coordinates([5.3, 5.4] * 4)
    assert np.argwhere(mark.quadrilateral_mask((9, 9))).tolist() == [[5, 5]]
    assert not mark.ellipse_mask((9, 9)).all()
    assert mark.problems() == ["zero-length long axis", "zero-length short axis"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([10, 10, 30, 10, 20, 10, 20, 10], "zero-length short axis"),
        ([10, 10, 30, 10, 20, 20, 20, 30], "axes do not cross"),
        ([10, 10, 30, 10, 14, 7, 26, 13], "axes are more than 30 degrees from perpendicular"),
        ([10, 10, 90, 10, 20, 5, 20, 15], "mark lies partly outside the image"),
        ([110, 10, 190, 10, 120, 5, 120, 15], "mark lies outside the image"),
    ],
)
def test_problems_are_told(value, problem):
    assert problem in RecistMark.from_coordinates(value).problems((64, 64))


def test_a_sound_mark_has_no_problems():
    assert RecistMark.from_coordinates([10, 10, 30, 10, 20, 5, 21, 15]).problems((64, 64)) == []


@given(coordinates, st.integers(1, 40), st.integers(1, 40))
def test_masks_of_any_mark_fit_the_image(values, height, width):
    mark = RecistMark.from_coordinates(values)
    for mask in (
        mark.ellipse_mask((height, width)),
        mark.quadrilateral_mask((height, width)),
        mark.axes_mask((height, width)),
    ):
        assert mask.shape == (height, width) and mask.dtype == bool
    assert isinstance(mark.problems((height, width)), list)


@given(coordinates)
def test_transposing_the_mark_transposes_its_masks(values):
    mark = RecistMark.from_coordinates(np.round(values, 2))
    turned = RecistMark.from_coordinates(mark.coordinates.reshape(4, 2)[:, ::-1].ravel())
    a, b = mark.quadrilateral_mask((40, 31)), turned.quadrilateral_mask((31, 40))
    assert np.count_nonzero(a != b.T) <= 2 and mark.problems((40, 31)) == turned.problems((31, 40))


def test_mark_of_a_rectangle():
    mask = np.zeros((20, 80), bool)
    mask[5:7, 4:65] = True
    mark = recist_from_mask(mask)
    # From corner to corner of the pixel centres, half a pixel farther at each end.
    assert mark.long_diameter == pytest.approx(np.hypot(60, 1) + 1)
    assert mark.short_diameter == pytest.approx(2)
    assert np.sort(mark.long_axis[:, 0]) == pytest.approx([3.5, 64.5], abs=1e-3)


def test_mark_of_one_pixel_and_of_nothing():
    mask = np.zeros((5, 5))
    with pytest.raises(ValueError, match="at least one lesion pixel"):
        recist_from_mask(mask)
    mask[2, 3] = 1
    mark = recist_from_mask(mask)
    assert mark.center.tolist() == [3, 2] and mark.long_diameter == mark.short_diameter == 1


def test_marks_of_real_consensus_masks():
    with open(shared("lidc", "nodules.csv")) as file:
        rows = list(csv.DictReader(file))[::10]
    agree = []
    for row in rows:
        folder = shared("lidc", "LIDC-IDRI-slices", row["patient"], row["nodule"])
        masks = [
            cv2.imread(str(folder / f"mask-{k}" / row["largest_slice"]), cv2.IMREAD_UNCHANGED) > 0
            for k in range(4)
        ]
        mark = recist_from_mask(np.mean(masks, axis=0) >= 0.5)
        given = RecistMark.from_coordinates([row[f"{c}{i}"] for i in range(1, 5) for c in "xy"])
        assert mark.long_diameter == pytest.approx(given.long_diameter, abs=4e-3)
        agree.append(abs(mark.short_diameter - given.short_diameter) < 4e-3)
    # Several longest chords may tie, and then differ in what is perpendicular to them.
    assert np.mean(agree) > 0.8, agree


def test_many_coordinates_at_once():
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 20, (200, 8))
    rows[::7, 4:] = rows[::7, :4]  # ties
    rows[::11] *= 1e9
    rows[3, 2], rows[5, 6] = np.nan, np.inf
    found = ordered_coordinates(rows)
    for row, ordered in zip(rows, found, strict=True):
        if (np.abs(row) <= FARTHEST).all():
            assert np.array_equal(RecistMark.from_coordinates(row).coordinates, ordered)
        else:
            assert np.isnan(ordered).all()
            with pytest.raises(ValueError, match="coordinates must be"):
                RecistMark.from_coordinates(row)
    assert np.array_equal(ordered_coordinates(rows.astype(np.float32)[:0]), np.zeros((0, 8)))
