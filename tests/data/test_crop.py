import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnet.data.crop import cut_crop, paste_back
from dsnet.labeling import RecistMark

places = st.floats(-4, 60, width=32)


def mark_at(x, y, long=12.0, short=8.0):
    return RecistMark.from_coordinates(
        [x - long / 2, y, x + long / 2, y, x, y - short / 2, x, y + short / 2]
    )


def ramp(height, width):
    y, x = np.mgrid[:height, :width]
    return (0.2 + 0.004 * x + 0.003 * y).astype(np.float32)


@settings(deadline=None)
@given(places, places, st.integers(28, 65), st.integers(1, 70), st.integers(1, 70))
def test_a_small_mark_is_copied_with_edge_padding(x, y, size, height, width):
    image = np.random.default_rng(0).random((height, width), dtype=np.float32)
    mark = mark_at(x, y)
    if "mark lies outside the image" in mark.problems(image.shape):
        with pytest.raises(ValueError, match="outside the image"):
            cut_crop(image, mark, size)
        return
    crop = cut_crop(image, mark, size)
    left, top = (int(v) for v in crop.offset)
    padded = np.pad(image, 200, mode="edge")
    expected = padded[200 + top :, 200 + left :][:size, :size]
    assert np.array_equal(crop.image, expected) and crop.scale == (1, 1)
    assert np.allclose(crop.mark.coordinates, mark.translated(-left, -top).coordinates)
    assert np.abs(crop.mark.center - (size - 1) / 2).max() <= 1.0


@settings(deadline=None, max_examples=50)
@given(st.integers(30, 80), st.floats(60, 200), st.floats(0.4, 2.0))
def test_a_large_mark_is_shrunk_into_view_and_a_ramp_stays_a_ramp(size, long, ratio):
    image = ramp(512, 512) / 3
    mark = mark_at(250.3, 260.8, long, 0.6 * long)
    crop = cut_crop(image, mark, size, spacing=(0.7 * ratio, 0.7), isotropic_mm=0.7)
    x_min, y_min, x_max, y_max = crop.mark.bounds()
    assert min(x_min, y_min) > 0 and max(x_max, y_max) < size - 1
    assert crop.spacing[0] == pytest.approx(crop.spacing[1])
    # The grey value under any point of the mark is the same in the crop and in the image.
    i, j = np.mgrid[:size, :size]
    x = crop.offset[0] + (j + 0.5) / crop.scale[0] - 0.5
    y = crop.offset[1] + (i + 0.5) / crop.scale[1] - 0.5
    inside = (x > 2) & (x < 509) & (y > 2) & (y < 509)
    expected = (0.2 + 0.004 * x + 0.003 * y) / 3
    # A pixel cut by an edge counts as flat: an eighth of a pixel of the slope at most.
    assert np.abs(crop.image - expected)[inside].max() < 2 * (0.004 + 0.003) / 3 / 8
    ends = crop.mark.coordinates.reshape(4, 2)
    # The crop's pixels may be square where the image's are not: the axes may change places.
    back = sorted(((ends + 0.5) / crop.scale - 0.5 + crop.offset).round(6).tolist())
    assert np.allclose(back, sorted(mark.coordinates.reshape(4, 2).round(6).tolist()))


def test_resampling_to_finer_pixels_interpolates():
    crop = cut_crop(ramp(64, 64), mark_at(30, 33), 64, spacing=(1.0, 1.0), isotropic_mm=0.5)
    assert crop.scale == (2, 2) and crop.spacing == (0.5, 0.5)
    j = np.arange(64)
    x = crop.offset[0] + (j + 0.5) / 2 - 0.5
    assert np.allclose(np.diff(crop.image[32]), 0.002, atol=1e-6)
    assert np.allclose(crop.image[32] - crop.image[32, 0], 0.004 * (x - x[0]), atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(places, places, st.integers(28, 65), st.integers(10, 70), st.integers(10, 70))
def test_pasting_back_undoes_an_unscaled_crop(x, y, size, height, width):
    image = np.random.default_rng(1).random((height, width), dtype=np.float32)
    mark = mark_at(x, y)
    if "mark lies outside the image" in mark.problems(image.shape):
        return
    crop = cut_crop(image, mark, size)
    back = paste_back(crop.image, crop, image.shape)
    left, top = (int(v) for v in crop.offset)
    rows = slice(max(top, 0), max(top + size, 0))
    columns = slice(max(left, 0), max(left + size, 0))
    covered = np.zeros(image.shape, bool)
    covered[rows, columns] = True
    assert np.array_equal(back[covered], image[covered]) and not back[~covered].any()


def test_pasting_back_a_shrunk_crop_keeps_its_place_and_area():
    y, x = np.mgrid[:300, :300]
    disc = ((x - 150) ** 2 + (y - 140) ** 2 <= 60**2).astype(np.float32)
    crop = cut_crop(disc, mark_at(150, 140, 121, 121), 64)
    back = paste_back(crop.image, crop, disc.shape)
    assert back.sum() == pytest.approx(disc.sum(), rel=0.01)
    assert np.abs(back - disc).mean() < 0.01


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image": np.zeros(5)}, r"image must be \[H, W\]"),
        ({"image": np.zeros((40, 40)), "size": 4}, "size must be at least 8"),
        ({"image": np.full((40, 40), np.nan)}, "image must be finite around the mark"),
        ({"image": np.zeros((40, 40)), "isotropic_mm": 0.5}, "needs spacing"),
        ({"image": np.zeros((5, 5))}, "lies outside the image of 5x5"),
        (
            {"image": np.zeros((5, 30)), "masks": np.zeros((5, 30))},
            r"masks must be .*got shape \(5, 30\)",
        ),
    ],
)
def test_bad_input_is_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        cut_crop(mark=mark_at(20, 20), **arguments)


@pytest.mark.parametrize("reach", [100, 1e9])
def test_a_mark_far_longer_than_the_image_is_refused(reach):
    mark = RecistMark.from_coordinates([-reach, 20, reach, 20, 20, 10, 20, 30])
    with pytest.raises(ValueError, match="more than the image of 40x40"):
        cut_crop(np.zeros((40, 40)), mark)


@pytest.mark.parametrize("width", [20, 120])
def test_masks_are_cut_like_the_image(width):
    y, x = np.mgrid[:200, :220]
    disc = (x - 5) ** 2 + (y - 90) ** 2 <= (width / 2) ** 2
    masks = np.stack([disc, ~disc])
    crop = cut_crop(disc.astype(float), mark_at(5, 90, width, width), 64, masks=masks)
    assert crop.masks.shape == (2, 64, 64) and crop.masks.dtype == bool
    source_x = (np.arange(64) + 0.5) / crop.scale[0] + crop.offset[0]
    inside = source_x > 0.5 / crop.scale[0]
    assert np.array_equal(crop.masks[0][:, inside], crop.image[:, inside] >= 0.5)
    assert not crop.masks[:, :, source_x < -0.5 / crop.scale[0]].any()


def test_nan_far_from_the_mark_does_not_matter():
    image = np.zeros((200, 200), np.float32)
    image[190, 190] = np.nan
    assert np.isfinite(cut_crop(image, mark_at(40, 40), 32).image).all()


@pytest.mark.parametrize(
    "options, told",
    [
        ({"spacing": (1e-5, 0.7), "isotropic_mm": 0.7}, "pixels of the image along y"),
        ({"spacing": (0.7, 1e-12), "isotropic_mm": 0.7}, "pixels of the image along x"),
        ({"size": 1_000_000}, "size must be at most 4096"),
    ],
)
def test_crops_that_would_take_gigabytes_are_refused_before(options, told):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=told):
            cut_crop(ramp(64, 64), mark_at(30, 33), **{"size": 64, **options})
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_paste_that_would_take_gigabytes_is_refused_before():
    crop = cut_crop(ramp(64, 64), mark_at(30, 33), 64)
    crop.scale = (1e5, 1.0)
    with pytest.raises(ValueError, match="scale must not take"):
        paste_back(crop.image, crop, (4096, 4096))
