"""Crops of slices that were decoded in part: the same bits as crops of whole slices."""

import cv2
import numpy as np
import pytest

from dsnet import _C
from dsnet.data.crop import Crop
from dsnet.data.ct_image import (
    LUNG_WINDOW,
    SOFT_TISSUE_WINDOW,
    choose_window,
    codes_of,
    read_ct_png,
)
from dsnet.data.datasets.deeplesion import DeepLesionAnnotation, read_crops
from dsnet.data.neighbours import cut_shown, read_neighbours
from dsnet.data.picture_file import Picture, open_picture
from dsnet.labeling import RecistMark


def write(folder, name, codes):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), codes)
    return path


def ct(rng, shape):
    """Noise of air, lung, soft tissue and bone, each in a patch of its own."""
    coarse = rng.choice([-1000, -800, -100, 40, 700], (shape[0] // 16 + 1, shape[1] // 16 + 1))
    hu = np.kron(coarse, np.ones((16, 16)))[: shape[0], : shape[1]] + rng.normal(0, 20, shape)
    return np.rint(hu + 32768).astype(np.uint16)


def random_mark(rng, shape):
    """Anywhere, the picture's borders included, and at times outside of it."""
    centre = rng.uniform(-5, 5, 2) + rng.uniform(0, 1, 2) * shape[::-1]
    turn, long = rng.uniform(0, np.pi), rng.choice([4, 20, 70]) * rng.uniform(0.5, 1.5)
    along = np.array([np.cos(turn), np.sin(turn)]) * long / 2
    across = along[::-1] * [-1, 1] * rng.uniform(0.3, 1)
    ends = [centre - along, centre + along, centre - across, centre + across]
    return RecistMark.from_coordinates(np.concatenate(ends))


def random_annotation(rng, i, shape):
    return DeepLesionAnnotation(
        key=f"k{i}",
        file_name="000001_01_01_009.png",
        row=i,
        mark=random_mark(rng, shape),
        spacing=tuple(rng.uniform(0.4, 1.2, 2)) if rng.random() < 0.8 else None,
        window=(-160.0, 240.0) if rng.random() < 0.3 else None,
    )


def of_whole_slices(annotation, path, size, window, isotropic_mm, neighbours):
    hu = read_ct_png(path)
    beside = read_neighbours(path, neighbours, hu.shape, read_ct_png)
    try:
        if window == "auto":
            window = choose_window(hu, annotation.mark, annotation.window)
        how = {"spacing": annotation.spacing, "isotropic_mm": isotropic_mm}
        return cut_shown(hu, annotation.mark, size, beside, window, **how)
    except ValueError as error:
        return error


@pytest.mark.parametrize("seed", range(6))
def test_crops_are_those_of_whole_slices(tmp_path, seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(30, 150, 2))
    for number in (8, 9, 10):
        write(tmp_path, f"000001_01_01/{number:03}.png", ct(rng, shape))
    path = tmp_path / "000001_01_01/009.png"
    made = 0
    for size in (16, 40, 64):
        for window in ("auto", (-500.0, 300.0)):
            for isotropic_mm in (None, 0.8):
                neighbours = int(rng.integers(3))
                annotations = [random_annotation(rng, i, shape) for i in range(4)]
                how = {"isotropic_mm": isotropic_mm, "neighbours": neighbours}
                found = read_crops(annotations, tmp_path, size=size, window=window, **how)
                for annotation, crop in found:
                    wanted = of_whole_slices(annotation, path, size, window, **how)
                    if isinstance(wanted, ValueError):
                        assert str(crop) == str(wanted)
                        continue
                    made += 1
                    assert isinstance(crop, Crop) and np.array_equal(crop.image, wanted.image)
                    assert (crop.offset, crop.scale) == (wanted.offset, wanted.scale)
                    assert crop.mark == wanted.mark and crop.notes == wanted.notes
                    if neighbours == 0:
                        assert crop.neighbours is None
                    else:
                        assert np.array_equal(crop.neighbours, wanted.neighbours)
    assert made > 15


def test_plain_plans_give_the_crops_of_compiled_ones(tmp_path, monkeypatch):
    rng = np.random.default_rng(11)
    shape = (120, 90)
    for number in (8, 9, 10):
        write(tmp_path, f"000001_01_01/{number:03}.png", ct(rng, shape))
    annotations = [random_annotation(rng, i, shape) for i in range(12)]

    def read():
        found = []
        for window, isotropic_mm in (("auto", None), ((-500.0, 300.25), 0.7), ("none", None)):
            how = {"window": window, "isotropic_mm": isotropic_mm, "neighbours": 1}
            found += [crop for _, crop in read_crops(annotations, tmp_path, size=32, **how)]
        return found

    compiled = read()
    monkeypatch.setattr(_C, "planned_crops", lambda marks, *how: ([None for _ in marks], 0, 0))
    made = 0
    for crop, wanted in zip(compiled, read(), strict=True):
        if isinstance(wanted, ValueError):
            assert str(crop) == str(wanted)
            continue
        made += 1
        assert np.array_equal(crop.image, wanted.image)
        assert np.array_equal(crop.neighbours, wanted.neighbours)
        assert crop.mark.coordinates.tobytes() == wanted.mark.coordinates.tobytes()
        for name in ("spacing", "key", "source", "offset", "scale", "metadata", "notes"):
            assert getattr(crop, name) == getattr(wanted, name)
    assert made > 20


def test_pictures_are_those_of_whole_pictures(tmp_path):
    rng = np.random.default_rng(7)
    for dtype in (np.uint8, np.uint16):
        top = np.iinfo(dtype).max
        pixels = rng.integers(0, top, (90, 70), endpoint=True).astype(dtype)
        write(tmp_path, "000001_01_01/009.png", pixels)
        annotations = [random_annotation(rng, i, pixels.shape) for i in range(8)]
        for annotation, crop in read_crops(annotations, tmp_path, size=24, window="none"):
            whole = pixels.astype(np.float32) / np.float32(top)
            try:
                wanted = cut_shown(whole, annotation.mark, 24, [], None, spacing=annotation.spacing)
            except ValueError as error:
                assert str(crop) == str(error)
                continue
            assert np.array_equal(crop.image, wanted.image)


def window_by_the_ring(hu, mark):
    """The rule in the words of `choose_window`, pixel by pixel."""
    x_min, y_min, x_max, y_max = mark.bounds()
    lung = ring = 0
    for y in range(hu.shape[0]):
        for x in range(hu.shape[1]):

            def within(margin, x=x, y=y):
                return int(x_min - margin) <= x <= int(x_max + margin) and int(
                    y_min - margin
                ) <= y <= int(y_max + margin)

            if within(10) and not within(0):
                ring += 1
                lung += hu[y, x] < -500
    return LUNG_WINDOW if lung > 0.2 * ring else SOFT_TISSUE_WINDOW


def test_the_window_is_that_of_the_ring(tmp_path):
    rng = np.random.default_rng(8)
    chosen = set()
    for i in range(25):
        shape = tuple(rng.integers(20, 70, 2))
        path = write(tmp_path, f"{i}.png", ct(rng, shape))
        mark = random_mark(rng, shape)
        hu = read_ct_png(path)
        wanted = window_by_the_ring(hu, mark)
        assert choose_window(hu, mark, None) == wanted
        annotation = DeepLesionAnnotation("k", f"{i}.png", i, mark)
        ((_, crop),) = read_crops([annotation], tmp_path, size=16)
        if not isinstance(crop, ValueError):
            assert (crop.metadata["window_low"], crop.metadata["window_high"]) == wanted
        chosen.add(wanted)
    assert len(chosen) == 2


def test_no_more_is_decoded_than_the_crops_need(tmp_path, monkeypatch):
    rng = np.random.default_rng(9)
    write(tmp_path, "000001_01_01/009.png", ct(rng, (512, 512)))
    asked = []
    pixels = Picture.pixels_and_least
    monkeypatch.setattr(
        Picture, "pixels_and_least", lambda *of: asked.append(of[1:]) or pixels(*of)
    )
    marks = [[100, 90, 120, 90, 110, 80, 110, 100], [200, 30, 240, 30, 220, 20, 220, 40]]
    annotations = [
        DeepLesionAnnotation(f"{i}", "000001_01_01_009.png", i, RecistMark.from_coordinates(mark))
        for i, mark in enumerate(marks)
    ]
    crops = [crop for _, crop in read_crops(annotations, tmp_path, size=64)]
    assert [crop.image.shape for crop in crops] == [(64, 64)] * 2
    # The crop around (110, 90) ends at row 122, that around (220, 30) at column 252.
    assert asked == [(122, 252)]


def windowed_already(shape=(60, 60)):
    ramp = np.linspace(0, 65535, shape[0] * shape[1]).reshape(shape)
    return ramp.astype(np.uint16)


def test_values_that_are_no_hu_are_found_in_what_is_decoded(tmp_path):
    path = write(tmp_path, "a.png", windowed_already())
    with pytest.raises(ValueError, match="got 37% of its pixels below -8192 HU"):
        codes_of(open_picture(path), 3, 3)
    # The whole slice decides: a few such pixels are metal's, or the scanner's.
    codes = np.full((60, 60), 32768 + 40, np.uint16)
    codes[1, 1:30] = 100
    few = write(tmp_path, "b.png", codes)
    assert codes_of(open_picture(few), 3, 3)[:2, :2].tolist() == [[32808, 32808], [32808, 100]]
    # 0 is what was outside of the scanner's circle.
    codes[1:] = 0
    part = codes_of(open_picture(write(tmp_path, "c.png", codes)), 3, 3)
    assert part.tolist() == [[32808] * 3, [0] * 3, [0] * 3]
    # Of other pictures decoding does not tell the least value.
    for name, wanted in (("d.tif", codes), ("e.tif", windowed_already())):
        picture = open_picture(write(tmp_path, name, wanted))
        if name == "d.tif":
            assert np.array_equal(codes_of(picture, 60, 60), codes)
        else:
            with pytest.raises(ValueError, match="got 37% of its pixels below -8192 HU"):
                codes_of(picture, 3, 3)


def test_pictures_of_8_bits_are_no_hu(tmp_path):
    for value in (0, 200):
        path = write(tmp_path, "a.png", np.full((20, 20), value, np.uint8))
        with pytest.raises(ValueError, match=r"a\.png: must be a 16-bit PNG .* got uint8"):
            codes_of(open_picture(path), 20, 20)
