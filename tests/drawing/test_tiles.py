"""Tiles and the pictures that are made of them, checked on the pixels."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from dsnet.drawing.comparison import TILE, draw_comparison
from dsnet.drawing.overlay import CROP, MARK, OUTLINE, draw_overlay
from dsnet.drawing.overlay import TILE as OVERLAY_TILE
from dsnet.drawing.overlay import TITLE as OVERLAY_TITLE
from dsnet.drawing.panel import write_panel
from dsnet.drawing.tiles import Tile, fitted, paper, put, write
from dsnet.labeling import RecistMark

GREEN, BLACK = (0, 255, 0), (0, 0, 0)


def places(picture, colour, tolerance=60):
    difference = np.abs(picture.astype(int) - np.array(colour)).max(axis=2)
    return (difference <= tolerance).nonzero()


@pytest.mark.parametrize("oversampling", [1, 3])
@pytest.mark.parametrize("factor", [4, 49])
def test_squares_stay_squares(oversampling, factor):
    image = np.random.default_rng(0).random((5, 7), dtype=np.float32)
    picture = Tile(image, (7 * factor, 5 * factor), oversampling=oversampling).picture()
    grey = np.rint(image * 255).astype(np.uint8)
    assert np.array_equal(picture, grey.repeat(factor, 0).repeat(factor, 1)[..., None].repeat(3, 2))


def test_colours_and_what_is_no_number():
    image = np.zeros((2, 2, 3), np.float32)
    image[0, 0] = (1, 0.5, 0)
    image[1, 1] = np.nan
    picture = Tile(image, (2, 2)).picture()
    assert picture[0, 0].tolist() == [255, 128, 0] and not picture[1, 1].any()


@pytest.mark.parametrize("oversampling", [1, 3])
def test_lines_run_through_pixel_centres(oversampling):
    tile = Tile(np.zeros((16, 16)), (160, 160), oversampling=oversampling)
    tile.line(np.array([[3.0, 5.0], [12.0, 5.0]]), GREEN, oversampling)
    tile.line(np.array([[np.nan, 5.0], [12.0, 5.0]]), (255, 255, 255), 9)
    rows, columns = places(tile.picture(), GREEN, 130)
    # Pixel centre x is at (x + 0.5) * 10 - 0.5.
    assert abs(rows.mean() - 54.5) <= 0.5
    assert abs(columns.min() - 34.5) <= 1 and abs(columns.max() - 124.5) <= 1


@pytest.mark.parametrize("fineness", [None, 8])
def test_an_outline_lies_between_pixels_and_closes_at_the_border(fineness):
    level = np.zeros((16, 12), np.float32)
    level[4:, 3:9] = 1
    tile = Tile(np.zeros(level.shape), (120, 160), oversampling=3)
    tile.outline(level, GREEN, 3, fineness=fineness)
    rows, columns = places(tile.picture(), GREEN, 130)
    assert abs(columns.min() - 30) <= 1 and abs(columns.max() - 89) <= 1
    assert abs(rows.min() - 40) <= 1 and rows.max() == 159
    higher = Tile(np.zeros(level.shape), (120, 160), oversampling=3)
    higher.outline(level, GREEN, 3, at=0.9, fineness=fineness)
    assert places(higher.picture(), GREEN, 130)[0].min() > rows.min()


def test_a_frame_of_one_pixel_lies_inside_of_its_box():
    tile = Tile(np.zeros((20, 20)), (40, 40))
    tile.frame((4, 6, 19, 9), GREEN, 1)
    rows, columns = places(tile.picture(), GREEN, 0)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (8, 39, 12, 19)


def test_a_tint_is_half_the_colour_where_alpha_is_one():
    tile = Tile(np.full((4, 4), 1.0), (8, 8))
    alpha = np.zeros((4, 4), np.float32)
    alpha[:, :2] = 1
    tile.tint(alpha, (0, 0, 255))
    picture = tile.picture()
    assert picture[0, 0].tolist() == [127, 127, 255] and picture[0, 7].tolist() == [255] * 3


@pytest.mark.parametrize("keep_end", [False, True])
@pytest.mark.parametrize("truetype", [True, False])
def test_text_stays_in_its_room(monkeypatch, keep_end, truetype):
    if not truetype:  # As in OpenCV 4.
        monkeypatch.delattr(cv2, "FontFace", raising=False)
    drawn = {}
    for words in ("ab" * 60, "a" * 119 + "B", "A" + "b" * 119):
        sheet = paper(30, 400)
        write(sheet, words, (10, 20), 12, BLACK, 200, keep_end=keep_end)
        columns = (sheet < 128).any(axis=(0, 2)).nonzero()[0]
        assert columns.min() >= 8 and 150 < columns.max() <= 213
        drawn[words[0], words[-1]] = sheet
    # Of two texts that differ at the end that is cut off, the same is left.
    assert np.array_equal(drawn["a", "b"], drawn["a", "B"]) is False
    short = paper(30, 400)
    write(short, "ab", (10, 20), 12, BLACK, 200, keep_end=keep_end)
    assert (short < 128).any(axis=(0, 2)).nonzero()[0].max() < 40


def test_a_smaller_picture_stands_in_the_middle():
    sheet = paper(20, 30)
    put(sheet, np.zeros((4, 6, 3), np.uint8), 10, 5, 10, 10)
    rows, columns = places(sheet, BLACK, 0)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 11, 12, 17)
    assert fitted((10, 40), 100) == (100, 25) and fitted((1, 999), 100) == (100, 1)


def test_the_overlay_shows_crop_mark_and_outline():
    soft = np.zeros((100, 120), np.float32)
    soft[40:60, 50:80] = 1
    lesion = SimpleNamespace(
        mark=RecistMark.from_coordinates([50, 50, 79, 50, 65, 40, 65, 59]),
        soft=soft,
        binary=soft >= 0.5,
        crop_box=(33, 18, 96, 81),
    )
    drawn = draw_overlay(np.zeros((100, 120)), [lesion], ["title"])
    grow = 1024 / 120
    whole, side = drawn[:, :1024], drawn[OVERLAY_TITLE : OVERLAY_TITLE + OVERLAY_TILE, 1024:]
    rows, columns = places(whole, CROP, 20)
    assert abs(columns.min() - 33 * grow) <= 1 and abs(columns.max() - 97 * grow) <= 2
    assert abs(rows.min() - 18 * grow) <= 1 and abs(rows.max() - 82 * grow) <= 2
    rows, columns = places(whole, OUTLINE)
    assert abs(columns.min() - 50 * grow) < grow and abs(columns.max() - 80 * grow) < grow
    plain, masked = side[:, :OVERLAY_TILE], side[:, OVERLAY_TILE : 2 * OVERLAY_TILE]
    rows, columns = places(plain, MARK, 130)
    assert abs(columns.min() - (50 - 33 + 0.5) * 4) <= 2
    assert abs(columns.max() - (79 - 33 + 0.5) * 4) <= 2
    assert not len(places(plain, OUTLINE)[0]) and len(places(masked, OUTLINE)[0])
    # Half of the mask's red, on black.
    assert masked[128, 128].tolist() == [20, 20, 115]
    # An unknown short axis is not drawn: nothing but the line along row 50.
    lesion.mark = RecistMark.from_long_axis([50, 50, 79, 50])
    alone = draw_overlay(np.zeros((100, 120)), [lesion], ["title"])
    alone = alone[OVERLAY_TITLE : OVERLAY_TITLE + OVERLAY_TILE, 1024 : 1024 + OVERLAY_TILE]
    line, _ = places(alone, MARK, 130)
    assert np.abs(line - (50 - 18 + 0.5) * 4).max() <= 2 < np.ptp(rows)


def test_a_slice_without_a_lesion_is_itself():
    drawn = draw_overlay(np.full((8, 8), 0.5), [], [])
    assert drawn.shape == (1024, 1024, 3) and (drawn == 128).all()


def test_the_comparison_has_a_column_for_each_network():
    random = np.random.default_rng(0)
    truth = np.zeros((2, 32, 32), bool)
    truth[:, 10:20, 12:22] = True
    row = SimpleNamespace(
        name="a",
        keys=["x", "y"],
        image=random.random((2, 32, 32), dtype=np.float32) * 0.2,
        truth=truth,
        soft=truth.astype(np.float32) / 2,
        cut=np.full(2, 0.25, np.float32),
        values={"dice": np.array([1.0, 0.5])},
    )
    other = SimpleNamespace(**{**vars(row), "name": "b", "keys": ["x", "z"]})
    drawn = draw_comparison([row, other], 9)
    # Only x is among the cases of both.
    assert drawn.shape[1] == 24 + 4 * TILE + 3 * 6
    assert drawn.shape[0] == 24 + 30 + (TILE + 24) + 28
    top = 12 + 30
    tiles = [drawn[top : top + TILE, 12 + i * (TILE + 6) :][:, :TILE] for i in range(4)]
    green = [len(places(tile, (70, 215, 70))[0]) for tile in tiles]
    red = [len(places(tile, (60, 60, 245))[0]) for tile in tiles]
    assert green[0] == red[0] == red[1] == 0 and green[1] > 300
    assert min(red[2:]) > 300  # Over the truth, which it equals.
    assert len(places(tiles[0], (0, 205, 255))[0]) > 300


def test_the_panel_shows_too_much_in_red_and_too_little_in_blue(tmp_path):
    truth, prediction = (np.zeros((2, 8, 8), np.float32) for _ in range(2))
    truth[:, :, :2], prediction[:, :, 6:] = 1, 1
    write_panel(tmp_path / "p.png", truth, truth, prediction)
    drawn = cv2.imread(str(tmp_path / "p.png"))
    assert drawn.shape == (20 + 2 * 128, 4 * 128, 3)
    difference = drawn[20:148, 384:]
    assert difference[64, 10].tolist() == [255, 0, 0]
    assert difference[64, 64].tolist() == [255, 255, 255]
    assert difference[64, 120].tolist() == [0, 0, 255]
