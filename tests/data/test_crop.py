import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnet.data.crop import cut_crop, paste_back
from dsnet.data.crop_plan import plan_crop, plan_plainly
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
        ({"spacing": (0.7, 0.0), "isotropic_mm": 0.7}, "cover inf pixels of the image along x"),
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


def any_mark(rng, shape):
    """Small or longer than the image, a line or a point, within it or beyond any border."""
    reach = rng.choice([1, 10, 100, 1000]) * rng.uniform(0, 2)
    ends = rng.uniform(-reach, reach, (4, 2)) + rng.uniform(-0.1, 1.1, 2) * shape[::-1]
    if rng.random() < 0.3:
        ends = np.rint(ends * 2) / 2
    if rng.random() < 0.2:
        return RecistMark.from_long_axis(ends[:2].ravel())
    return RecistMark.from_coordinates(ends.ravel())


def told_or(made, *arguments, **options):
    try:
        return made(*arguments, **options)
    except ValueError as error:
        return str(error)


def test_compiled_plans_are_the_plain_ones():
    rng = np.random.default_rng(2)
    kinds = {"copied": 0, "resampled": 0, "refused": 0}
    for _ in range(4000):
        shape = tuple(int(n) for n in rng.choice([1, 3, 40, 512, 700], 2))
        size = int(rng.choice([7, 8, 31, 64, 200, 5000], p=[0.02, 0.1, 0.3, 0.4, 0.16, 0.02]))
        how = {}
        if rng.random() < 0.7:
            how["spacing"] = (
                tuple(10 ** rng.uniform(-1, 1, 2)) if rng.random() < 0.5 else (0.7, 0.7)
            )
            if rng.random() < 0.5:
                how["isotropic_mm"] = float(rng.choice([0.35, 0.7, 1.0, 1e-4, 0.0, np.nan]))
        mark = any_mark(rng, shape)
        found, wanted = (
            told_or(plan, shape, mark, size, **how) for plan in (plan_crop, plan_plainly)
        )
        assert found == wanted
        if isinstance(wanted, str):
            kinds["refused"] += 1
        else:
            kinds["copied" if wanted.is_copy else "resampled"] += 1
            for one, other in ((found.offset, wanted.offset), (found.scale, wanted.scale)):
                assert np.array(one).tobytes() == np.array(other).tobytes()
            assert found.mark.coordinates.tobytes() == wanted.mark.coordinates.tobytes()
    assert min(kinds.values()) > 500


@pytest.mark.parametrize("size", [8, 64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_odd_pixel_of_those_that_a_crop_is_made_of_is_seen(size, value):
    rng = np.random.default_rng(3)
    for how in (
        {},
        {"spacing": (0.8, 0.6), "isotropic_mm": 0.3},
        {"spacing": (2.0, 1.0), "isotropic_mm": 1.0},
    ):
        for _ in range(20):
            image, mark = rng.random((90, 70)), mark_at(*rng.uniform(0, 70, 2))
            box = plan_crop(image.shape, mark, size, **how).box
            rows, columns = (np.r_[part] for part in box)
            at = rng.choice(rows), rng.choice(columns)
            odd = image.copy()
            odd[at] = value
            with pytest.raises(ValueError, match="image must be finite around the mark"):
                cut_crop(odd, mark, size, **how)
            beyond = np.full(image.shape, value)
            beyond[box] = image[box]
            usual = cut_crop(image, mark, size, **how).image
            assert np.array_equal(cut_crop(beyond, mark, size, **how).image, usual)


def test_arrays_of_any_kind_and_layout_are_cut_alike():
    image = np.random.default_rng(4).integers(0, 200, (80, 90)).astype(np.uint8)
    for long in (12.0, 70.0):
        wanted = cut_crop(image.astype(np.float64), mark_at(40, 41, long), 40).image
        others = [image.astype(kind) for kind in (np.uint8, np.int16, np.float32, ">f4")]
        others += [
            np.asfortranarray(image),
            np.repeat(image, 2, 1)[:, ::2],
            image[::-1].copy()[::-1],
        ]
        for odd in others:
            assert np.array_equal(cut_crop(odd, mark_at(40, 41, long), 40).image, wanted)
