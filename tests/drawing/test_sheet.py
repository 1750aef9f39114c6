"""Contact sheets: what is drawn where, checked on the pixels."""

import csv
import os

import cv2
import numpy as np
import pytest

from dsnet.drawing.sheet import CONTOUR, LONG_AXIS, SHORT_AXIS, render
from dsnet.labeling import RecistMark, trimap_from_mask
from shared_data import shared


def row(title="a", size=(32, 32), grey=0.25):
    image = np.full(size, grey, np.float32)
    alpha = np.zeros(size, np.float32)
    alpha[8:16, 8:20] = 1
    mark = RecistMark.from_coordinates([8, 12, 19, 12, 14, 8, 14, 15])
    return title, image, mark, trimap_from_mask(alpha >= 0.5), alpha, alpha >= 0.5


def sheet(rows, path, **options):
    assert render(rows, path, **options) == path
    return cv2.imread(str(path)).astype(int)


def near(picture, colour, tolerance=60):
    return (np.abs(picture - np.array(colour)).max(axis=2) <= tolerance).nonzero()


def panel(rows, path, name, factor, **options):
    """The one picture of a sheet of one label and one panel."""
    height, width = rows[0][1].shape
    drawn = sheet(rows, path, panels=[name], tile=max(height, width) * factor, **options)
    right, bottom = drawn.shape[1] - 24, drawn.shape[0] - 24 - 8
    return drawn[bottom - height * factor : bottom, right - width * factor : right]


def test_axes_lie_where_the_mark_says(tmp_path):
    drawn = panel([row()], tmp_path / "a.png", "mark", 8)
    for colour, x, y in ((LONG_AXIS, (8, 19), (12, 12)), (SHORT_AXIS, (14, 14), (8, 15))):
        rows, columns = near(drawn, colour)
        # Pixel centre (x, y) is at ((x + 0.5) * 8 - 0.5) of the picture; lines are 1.4 wide.
        for found, ends in ((columns, x), (rows, y)):
            assert abs(found.min() - ((ends[0] + 0.5) * 8 - 0.5)) < 2
            assert abs(found.max() - ((ends[1] + 0.5) * 8 - 0.5)) < 2


def test_an_unknown_short_axis_is_not_drawn(tmp_path):
    title, image, mark, *layers = row()
    alone = RecistMark.from_long_axis(np.ravel(getattr(mark, "coordinates", mark))[:4])
    both = panel([row()], tmp_path / "a.png", "mark", 8)
    for given in (alone, alone.coordinates):
        drawn = panel([(title, image, given, *layers)], tmp_path / "b.png", "mark", 8)
        assert len(near(both, SHORT_AXIS)[0]) and not len(near(drawn, SHORT_AXIS)[0])
        for found, wanted in zip(near(drawn, LONG_AXIS), near(both, LONG_AXIS), strict=True):
            assert (found.min(), found.max()) == (wanted.min(), wanted.max())


def test_contour_follows_the_soft_masks_half(tmp_path):
    label = row()
    drawn = panel([label], tmp_path / "a.png", "contour", 8)
    rows, columns = near(drawn, CONTOUR)
    # The mask covers columns 8..19 and rows 8..15, so its edges are at 8 * 8 and 20 * 8.
    assert abs(columns.min() - 64) < 2 and abs(columns.max() - 159) < 2
    assert abs(rows.min() - 64) < 2 and abs(rows.max() - 127) < 2
    inside = drawn[70:120, 70:150]
    assert (inside == round(0.25 * 255)).all()
    # Without alpha the binary mask's edge is drawn.
    again = panel([(*label[:4], None, label[5])], tmp_path / "b.png", "contour", 8)
    assert np.array_equal(again, drawn)


def test_contour_closes_at_the_crops_border(tmp_path):
    label = row()
    whole = np.ones_like(label[4])
    drawn = panel([(*label[:4], whole, whole >= 0.5)], tmp_path / "a.png", "contour", 8)
    rows, columns = near(drawn, CONTOUR, 120)
    assert rows.min() <= 1 and rows.max() >= 254 and columns.min() <= 1 and columns.max() >= 254


@pytest.mark.parametrize(("name", "layer"), [("trimap", 3), ("soft mask", 4)])
def test_pixels_are_enlarged_unsmoothed(tmp_path, name, layer):
    label = list(row())
    label[4] = np.random.default_rng(0).random((32, 32), dtype=np.float32)
    label[5] = label[4] >= 0.5
    drawn = panel([tuple(label)], tmp_path / "a.png", name, 5)
    grey = label[layer] / (255 if name == "trimap" else 1)
    expected = np.rint(grey * 255).astype(int).repeat(5, 0).repeat(5, 1)
    assert np.array_equal(drawn, expected[:, :, None].repeat(3, axis=2))


def test_missing_parts_and_mixed_sizes(tmp_path):
    rows = [
        row("x" * 500),
        ("nothing but an image", np.zeros((7, 90), np.float32), None, None, None, None),
        ("", np.full((1, 1), np.nan), np.full(8, np.nan), None, None, None),
        ("far outside", row()[1], [-1e9, 0, 1e9, 3, 4, 5, 6, 7], None, None, None),
        row("结节 ü", (64, 48)),
    ]
    picture = sheet(rows, tmp_path / "ünï" / "sheet.png", heading="heading " * 100)
    assert picture.shape[1] < 3000
    assert os.listdir(tmp_path / "ünï") == ["sheet.png"]


def test_eighteen_labels_fit_one_sheet(tmp_path):
    height, width = sheet([row(str(i), (64, 64)) for i in range(18)], tmp_path / "a.png").shape[:2]
    assert width <= 2560 and height <= 1600


def test_older_opencv_without_truetype_fonts(tmp_path, monkeypatch):
    monkeypatch.delattr(cv2, "FontFace", raising=False)
    picture = sheet([row("title " * 100)], tmp_path / "a.png", heading="heading")
    # The heading's line holds ink, and the title ends where its label does.
    assert (picture[24:44, 24:100] < 128).any()
    assert (picture[:, -24:] == 255).all()


def test_same_rows_same_bytes(tmp_path):
    rows = [row(str(i)) for i in range(4)]
    first = render(rows, tmp_path / "a.png").read_bytes()
    assert render(rows, tmp_path / "b.png").read_bytes() == first
    assert render(rows, tmp_path / "a.png", columns=2).read_bytes() != first


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda r: [], {}, "rows must not be empty"),
        (lambda r: [r[:3]], {}, "got 3 items"),
        (lambda r: [(r[0], np.zeros((2, 2, 3)), *r[2:])], {}, "image must be"),
        (lambda r: [(*r[:3], np.zeros((2, 2)), *r[4:])], {}, "trimap must be like"),
        (lambda r: [(*r[:2], [1, 2, 3], *r[3:])], {}, "mark must have 8"),
        (lambda r: [r], {"panels": ["alpha"]}, "got 'alpha'"),
        (lambda r: [r], {"panels": []}, "panels must not be empty"),
        (lambda r: [r], {"columns": 0}, "columns must be"),
        (lambda r: [r] * 9000, {}, "smaller sheet"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, change, options, message):
    with pytest.raises(ValueError, match=message):
        render(change(row()), tmp_path / "a.png", **options)
    assert os.listdir(tmp_path) == []


def test_real_nodules(tmp_path):
    root = shared("lidc")
    rows = []
    with open(root / "nodules.csv", newline="") as file:
        for nodule in list(csv.DictReader(file))[::100]:
            folder = root / "LIDC-IDRI-slices" / nodule["patient"] / nodule["nodule"]
            name = nodule["largest_slice"]
            image = cv2.imread(str(folder / "images" / name), 0).astype(np.float32) / 255
            masks = [cv2.imread(str(folder / f"mask-{k}" / name), 0) > 0 for k in range(4)]
            alpha = np.mean(masks, axis=0, dtype=np.float32)
            ends = [float(nodule[n]) for n in ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")]
            trimap = trimap_from_mask(alpha >= 0.5)
            mark = RecistMark.from_coordinates(ends)
            rows.append((nodule["patient"], image, mark, trimap, alpha, alpha >= 0.5))
    picture = sheet(rows, tmp_path / "a.png")
    for colour in (LONG_AXIS, SHORT_AXIS, CONTOUR):
        assert len(near(picture, colour)[0]) > 10 * len(rows)
