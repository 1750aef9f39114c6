"""Crops: against dense matrices, loops and values by hand; the same bits on every vector unit."""

import numpy as np
import pytest

from dsnet import _C
from dsnet.data.ct_image import apply_window
from dsnet.labeling import RecistMark

WINDOWS = [(-1350.0, 150.0), (-175.0, 275.0), (0.1, 0.3), (-1e300, 1e300)]


@pytest.fixture(params=_C.vector_units())
def unit(request):
    _C.use_vector_unit(request.param)
    yield request.param
    _C.use_vector_unit(_C.vector_units()[-1])


def dense(axis):
    """First source pixel, and the share of each source pixel in each pixel of the crop."""
    size, offset, scale, length, beyond = axis
    edges = offset + np.arange(size + 1) / scale
    pixel = np.arange(np.floor(edges[0]) - 1, np.ceil(edges[-1]) + 2)
    if scale <= 1:
        low, high = np.maximum(edges[:-1, None], pixel), np.minimum(edges[1:, None], pixel + 1)
        share = np.maximum(high - low, 0) * scale
        used = pixel[(pixel + 1 > edges[0]) & (pixel < edges[-1])]
    else:
        centre = (edges[1:] + edges[:-1]) / 2 - 0.5
        share = np.maximum(1 - np.abs(centre[:, None] - pixel), 0)
        used = np.arange(np.floor(centre[0]), np.floor(centre[-1]) + 2)
    first, last = (int(np.clip(used[end], 0, length - 1)) for end in (0, -1))
    folded = np.zeros((size, last + 1 - first))
    for column, at in zip(share.T, pixel, strict=True):
        if column.any():
            outside = at < 0 or at >= length
            folded[:, int(np.clip(at, 0, length - 1)) - first] += column * (
                beyond if outside else 1.0
            )
    return first, folded


def random_axis(rng, beyond=1.0):
    """Shrunk up to 20 times or enlarged, in an image of any length, from any place."""
    size, length = int(rng.integers(1, 40)), int(rng.choice([1, 2, 7, 60, 300]))
    scale = float(rng.choice([rng.uniform(0.05, 1), rng.uniform(1, 9), 1.0, 0.5, 2.0]))
    offset = rng.uniform(-size / scale, length)
    if rng.random() < 0.4:
        offset = float(np.rint(offset))
    return size, float(offset), scale, length, beyond


def test_resampling_is_the_product_of_dense_matrices(unit):
    rng = np.random.default_rng(0)
    for _ in range(300):
        beyond = float(rng.choice([0.0, 1.0]))
        rows, columns = random_axis(rng, beyond), random_axis(rng, beyond)
        (top, down), (left, along) = dense(rows), dense(columns)
        height, width = _C.crop_source(rows), _C.crop_source(columns)
        assert (height.start, height.stop) == (top, top + down.shape[1])
        assert (width.start, width.stop) == (left, left + along.shape[1])
        piece = rng.uniform(-3000, 3000, (down.shape[1], along.shape[1]))
        found = _C.resampled(piece, rows, columns)
        np.testing.assert_allclose(found, down @ piece @ along.T, rtol=1e-11, atol=1e-8)


def test_values_by_hand():
    def along(values, scale, size, offset=0.0, beyond=1.0):
        row = (size, offset, scale, len(values), beyond)
        return _C.resampled(np.array([values], float), (1, 0.0, 1.0, 1, 1.0), row)[0].tolist()

    assert along([0, 1, 2, 3], 0.5, 2) == [0.5, 2.5]
    assert along([0, 1, 2], 2 / 3, 2) == pytest.approx([1 / 3, 5 / 3], rel=1e-15)
    assert along([0, 4], 2.0, 4) == [0, 1, 3, 4]
    assert along([8, 4], 1.0, 2, 0.25) == [7, 4]
    assert along([8, 4], 0.5, 3, -2.0) == [8, 6, 4]
    assert along([8, 4], 0.5, 3, -2.0, beyond=0.0) == [0, 6, 0]
    assert along([8, 4], 0.25, 1, -1.0, beyond=0.0) == [3]
    # Rows are summed up before columns.
    piece = np.array([[1.0, 2.0], [3.0, 6.0]])
    assert _C.resampled(piece, (1, 0.0, 0.5, 2, 1.0), (2, 0.0, 1.0, 2, 1.0)).tolist() == [[2, 4]]


def in_order(piece, rows, columns):
    """Down the rows, then along the columns, one by one."""
    (_, down), (_, along) = dense(rows), dense(columns)
    sums = np.zeros((len(down), piece.shape[1]))
    for k in range(down.shape[1]):
        sums += down[:, k : k + 1] * piece[k]
    values = np.zeros((len(down), len(along)))
    for k in range(along.shape[1]):
        values += sums[:, k : k + 1] * along[:, k]
    return values


def test_sums_are_in_one_order_to_the_bit(unit):
    rng = np.random.default_rng(1)
    for _ in range(100):
        rows, columns = random_axis(rng), random_axis(rng)
        shape = [s.stop - s.start for s in (_C.crop_source(rows), _C.crop_source(columns))]
        piece = rng.normal(0, 1000, shape)
        assert np.array_equal(_C.resampled(piece, rows, columns), in_order(piece, rows, columns))


def shown(codes, shape, size, offset, scale, window):
    """In NumPy and in loops, of the whole slice."""
    rows = (size, offset[1], scale[1], shape[0], 1.0)
    columns = (size, offset[0], scale[0], shape[1], 1.0)
    (top, down), (left, along) = dense(rows), dense(columns)
    piece = codes[top : top + down.shape[1], left : left + along.shape[1]].astype(float) - 32768
    return apply_window(in_order(piece, rows, columns).astype(np.float32), *window)


def planned(mark, shape, size, scale, ring=10.0):
    """The plan of one mark, or None."""
    marks = [RecistMark.of_numbers(mark)]
    ((plan,), *_) = _C.planned_crops(marks, shape, size, [scale], [False], ring)
    return plan


def random_mark(rng, shape, long):
    """Around any place, over the borders, too; of a short axis at times."""
    ends = rng.uniform(-long, long, (4, 2)) / 2 + rng.uniform(-0.2, 1.2, 2) * shape[::-1]
    if rng.random() < 0.2:
        ends[2:] = np.nan
    return tuple(ends.ravel().tolist())


def test_codes_are_shown_as_the_float_path_shows_them(unit):
    rng = np.random.default_rng(2)
    copied = resampled = 0
    for shape in [(1, 1), (7, 40), (90, 33), (64, 130)]:
        for window in WINDOWS:
            codes = rng.integers(31000, 34000, shape).astype(np.uint16)
            codes[rng.random(shape) < 0.1] = rng.choice([0, 65535])
            for size in (8, 31, 64):
                for scale in ((1.0, 1.0), (1.0, 1.0), (0.3, 0.3), (1.0, 0.7), (1.7, 0.1)):
                    mark = random_mark(rng, shape, rng.choice([3.0, 12.0, 80.0]))
                    plan = planned(mark, shape, size, scale)
                    if plan is None:
                        continue
                    offset, scale, (rows, columns), *_ = plan.parts
                    copied, resampled = copied + (scale == (1, 1)), resampled + (scale != (1, 1))
                    wanted = shown(codes, shape, size, offset, scale, window)
                    # A part of the slice is enough; it may be one of a larger array.
                    part = codes[: rows.stop, : columns.stop]
                    for given in (codes, part, part.copy()):
                        found = plan.shown(given, 32768, window)
                        assert found.dtype == np.float32 and np.array_equal(found, wanted)
    assert min(copied, resampled) > 20


def test_whole_windows_show_each_code_as_the_float_path_does(unit):
    """All of the codes there are, by windows of whole numbers, wide ones and odd ones."""
    codes = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    plan = planned(
        (127.0, 127.0, 128.0, 127.0, 127.5, 126.0, 127.5, 129.0), (256, 256), 256, (1, 1)
    )
    assert plan.parts[2] == np.s_[0:256, 0:256]
    hu = codes.astype(np.float32) - 32768
    rng = np.random.default_rng(5)
    lows = rng.integers(-33000, 33000, 12)
    windows = [
        (low, low + width) for low, width in zip(lows, rng.integers(1, 70000, 12), strict=True)
    ]
    windows += [(-(2**22), -(2**22) + 2**20), (2**22 - 3, 2**22), (-32768, 2**20 - 32768)]
    windows += [(-32769, 2**20 - 32768), (-(2**22) - 1, 5), (-1024, 2**22 + 1), (-1.5, 2.5)]
    for window in [*WINDOWS, *windows]:
        found = plan.shown(codes, 32768, tuple(map(float, window)))
        assert np.array_equal(found, apply_window(hu, *window)), window


def ring_of(plan, shape):
    """What is around the mark, bool."""
    outer, inner = plan.parts[3]
    ring = np.zeros(shape, bool)
    ring[outer] = True
    ring[inner] = False
    return ring


def counts(plan, codes, level):
    """How many codes around the mark are below a level, of which window is chosen."""
    ring = ring_of(plan, codes.shape)
    wanted, pixels = int((codes[ring] < level).sum()), max(int(ring.sum()), 1)
    for below, chosen in ((wanted - 0.5, True), (wanted + 0.5, False)):
        rule = (level, below / pixels, (0, 1), (2.5, 3))
        found = plan.crop(codes, 32768, None, rule)[1]
        assert found == ((0, 1) if chosen and ring.any() else (2.5, 3))
    return wanted


def test_the_window_is_chosen_by_the_codes_of_the_ring_alone(unit):
    rng = np.random.default_rng(3)
    counted = 0
    for shape in [(1, 1), (9, 40), (50, 33), (70, 300)]:
        codes = rng.integers(32000, 32600, shape).astype(np.uint16)
        for _ in range(30):
            mark = random_mark(rng, shape, rng.choice([3.0, 30.0, 100.0]))
            ring = float(rng.choice([0.0, 3.0, 10.0, 1e9]))
            plan = planned(mark, shape, 8, (1.0, 1.0), ring)
            if plan is None:
                continue
            for level in (int(rng.integers(31990, 32610)), -(2**31), 0, 65535, 65536, 2**31 - 1):
                counts(plan, codes, level)
                counted += counts(plan, np.pad(codes, 2)[2:-2, 2:-2], level) > 0
            # What is around the mark and in the crop is enough, and is asked for.
            box, (outer, _) = plan.parts[2:4]
            rows, columns = (
                min(max(one.stop, other.stop), n)
                for one, other, n in zip(box, outer, shape, strict=True)
            )
            rule = (32300, 0.5, (0, 1), (2, 3))
            usual = plan.crop(codes, 32768, None, rule)
            found = plan.crop(codes[:rows, :columns], 32768, None, rule)
            assert found[1] is usual[1] and np.array_equal(found[0], usual[0])
            for short in (codes[: rows - 1], codes[:, : columns - 1]):
                if 0 not in short.shape:
                    with pytest.raises(ValueError, match="codes must be what is looked at"):
                        plan.crop(short, 32768, None, rule)
    assert counted > 100


def test_a_crop_is_what_its_plan_and_its_window_give():
    codes = np.random.default_rng(6).integers(31000, 34000, (90, 80)).astype(np.uint16)
    plan = planned((30.0, 40.0, 50.0, 40.0, 40.0, 30.0, 40.0, 50.0), codes.shape, 24, (0.7, 0.7))
    offset, scale, _, _, mark = plan.parts
    for window in ((-1350.0, 150.0), (-160, 240)):
        image, *rest = plan.crop(codes, 32768, window, (0, 0.0, None, None))
        assert np.array_equal(image, plan.shown(codes, 32768, window))
        assert rest == [window, offset, scale, mark] and rest[0] is window


def test_a_high_box_is_counted_whole(unit):
    codes = np.zeros((70000, 18), np.uint16)
    codes[::50] = 7
    mark = (5.0, 9.0, 8.0, 9.0, 6.0, 8.0, 6.0, 10.0)
    assert counts(planned(mark, codes.shape, 8, (1.0, 1.0), 1e6), codes, 7) > 18 * 2**16


def test_an_extent_holds_all_that_is_cut_and_looked_at():
    # The box is 8:72, its ring 20:61; of the other one 140:160, 100:110, 138:162, 90:112.
    near = RecistMark.of_numbers((30.0, 40.0, 50.0, 40.0, 40.0, 30.0, 40.0, 50.0))
    far = RecistMark.of_numbers((100.0, 150.0, 101.0, 150.0, 100.5, 149.0, 100.5, 151.0))

    def extent(marks, looks, shape=(512, 512), size=8, scales=None):
        return _C.planned_crops(marks, shape, size, scales, looks, 10.0)[1:]

    assert extent([near], [False], size=64) == extent([near], [True], size=64) == (72, 72)
    assert extent([far], [False]) == (160, 110) and extent([far], [True]) == (162, 112)
    assert extent([far, near], [False, True], size=64) == (182, 133)
    assert extent([None, far], [True, False]) == (160, 110)
    assert extent([far], [True], shape=(156, 107)) == (156, 107)
    assert extent([far], [False], size=64) == extent([far], [False], size=64, scales=[(1.0, 1.0)])
    assert extent([far, far], [False] * 2, size=64, scales=[(2.0, 1.0), None]) == (182, 118)
    assert extent([], []) == extent([None], [True]) == (0, 0)
    plans = _C.planned_crops([far, None], (512, 512), 8, [None, None], [True, True], 10.0)
    assert plans == ([None, None], 0, 0)
    for scales, looks in (([(1.0, 1.0)], []), ([], [True])):
        with pytest.raises(ValueError, match="scales and looks must be as many as the marks, 1, g"):
            _C.planned_crops([far], (512, 512), 8, scales, looks, 10.0)
    with pytest.raises(AttributeError):
        _C.planned_crops([far.numbers], (512, 512), 8, None, [True], 10.0)


def test_quotients_are_rounded_as_by_division(unit):
    """Resampled HU whose share lies in the middle between two float32, or is tiny."""
    rng = np.random.default_rng(7)
    mark = (30.0, 0.0, 33.0, 0.0, 31.0, -1.0, 31.0, 1.0)
    plan = planned(mark, (1, 64), 64, (1.0, 0.999))
    assert plan.parts[1] == (1.0, 0.999)
    codes = np.full((1, 64), 32769, np.uint16)  # 1 HU
    by_inverse = 0
    for width in rng.integers(1, 1000, 500).tolist():
        middle = 0.25 + (2 * int(rng.integers(2**22)) + 1) * 2.0**-26
        low, high = 1 - width * middle, 1 - width * middle + width
        assert high - low == width and (1 - low) / width == middle
        wanted = np.float32(middle)
        by_inverse += np.float32((1 - low) * (1 / width)) != wanted
        assert np.all(plan.shown(codes, 32768, (low, high)) == wanted)
    assert by_inverse > 5
    for low in (0.0, -3.0, 1e-20):
        for width in (7.0, 2.0**-20, 1e-99, 1e-101, 1e99, 1e101, 1e300):
            codes[:] = 32768 + rng.integers(-2, 5, 64)
            window = (low, low + width)
            if window[0] < window[1]:
                offset, scale, *_ = plan.parts
                wanted = shown(codes, (1, 64), 64, offset, scale, window)
                assert np.array_equal(plan.shown(codes, 32768, window), wanted)


def test_a_plan_by_hand():
    mark = (30.0, 40.0, 50.0, 40.0, 40.0, 30.0, 40.0, 50.0)
    offset, scale, box, rings, placed = planned(mark, (512, 70), 64, (1.0, 1.0)).parts
    # The middle of pixels 30 to 50 is 40.5, that of the crop 32: of 8.5 the even one.
    assert (offset, scale, box) == ((8.0, 8.0), (1.0, 1.0), np.s_[8:72, 8:70])
    assert rings == (np.s_[20:61, 20:61], np.s_[30:51, 30:51])
    assert placed == (22.0, 32.0, 42.0, 32.0, 32.0, 22.0, 32.0, 42.0)

    # 100 pixels and a quarter of them on either side are 150.
    mark = (100.0, 150.0, 200.0, 150.0, 150.0, 120.0, 150.0, 180.0)
    offset, scale, box, rings, placed = planned(mark, (512, 512), 64, (1.0, 1.0)).parts
    assert offset == (75.5, 75.5) and scale == (64 / 150, 64 / 150)
    assert box == np.s_[75:226, 75:226] and rings[1] == np.s_[120:181, 100:201]
    ends = ((25, 75), (125, 75), (75, 45), (75, 105))
    assert placed == pytest.approx([n * 64 / 150 - 0.5 for end in ends for n in end])

    # Of a line 20 long the short axis is 15; in pixels of half the height the axes change places.
    line = (30.0, 40.0, 50.0, 40.0, *[np.nan] * 4)
    *_, rings, placed = planned(line, (80, 80), 64, (1.0, 1.0)).parts
    assert rings[1] == np.s_[32:48, 30:51] and np.isnan(placed[4:]).all()
    cross = (30.0, 40.0, 50.0, 40.0, 40.0, 32.0, 40.0, 48.0)
    *_, placed = planned(cross, (80, 80), 64, (1.0, 2.0)).parts
    assert placed[3] - placed[1] == 32 and placed[6] - placed[4] == 20


@pytest.mark.parametrize(
    "mark, shape, size, scale",
    [
        ((200.0, 40.0, 220.0, 40.0, 210.0, 30.0, 210.0, 50.0), (80, 80), 64, (1.0, 1.0)),
        ((-200.0, 40.0, 290.0, 40.0, 40.0, 30.0, 40.0, 50.0), (80, 80), 64, (1.0, 1.0)),
        ((30.0, 40.0, np.nan, 40.0, 40.0, 30.0, 40.0, 50.0), (80, 80), 64, (1.0, 1.0)),
        ((30.0, 40.0, 50.0, 40.0, 40.0, 30.0, 40.0, np.nan), (80, 80), 64, (1.0, 1.0)),
        ((30.0, 40.0, np.inf, 40.0, 40.0, 30.0, 40.0, 50.0), (80, 80), 64, (1.0, 1.0)),
        ((30.0, 40.0, 50.0, 40.0, 40.0, 30.0, 40.0, 50.0), (80, 80), 7, (1.0, 1.0)),
        ((30.0, 40.0, 50.0, 40.0, 40.0, 30.0, 40.0, 50.0), (80, 80), 4097, (1.0, 1.0)),
        ((30.0, 40.0, 50.0, 40.0, 40.0, 30.0, 40.0, 50.0), (0, 80), 64, (1.0, 1.0)),
        ((30.0, 40.0, 30.0, 40.0, 30.0, 40.0, 30.0, 40.0), (80, 80), 64, (1.0, 65.0)),
        ((30.0, 40.0, 50.0, 40.0, 40.0, 30.0, 40.0, 50.0), (80, 80), 64, (1e-9, 1.0)),
        ((30.0, 40.0, 50.0, 40.0, 40.0, 30.0, 40.0, 50.0), (80, 80), 64, (0.0, 1.0)),
        ((30.0, 40.0, 50.0, 40.0, 40.0, 30.0, 40.0, 50.0), (80, 80), 64, (np.nan, 1.0)),
    ],
)
def test_around_some_marks_no_crop_is_planned(mark, shape, size, scale):
    assert planned(mark, shape, size, scale) is None


@pytest.mark.parametrize("ring", [np.nan, np.inf, -np.inf, -1.0, 1.1e12])
def test_a_ring_is_a_number_of_pixels(ring):
    mark = (20.0, 20.0, 30.0, 20.0, 25.0, 18.0, 25.0, 22.0)
    assert planned(mark, (64, 64), 32, (1.0, 1.0), 1e12).parts[3][0] == (
        slice(0, 10**12 + 22 + 1),
        slice(0, 10**12 + 30 + 1),
    )
    with pytest.raises(ValueError, match="ring must be within an image's reach, got "):
        planned(mark, (64, 64), 32, (1.0, 1.0), ring)


def test_what_cannot_be_cut_is_named():
    codes, piece = np.ones((20, 20), np.uint16), np.ones((4, 4))
    axis = (8, 0.0, 1.0, 20, 1.0)
    plan = planned((3.0, 4.0, 5.0, 4.0, 4.0, 3.0, 4.0, 5.0), (20, 20), 8, (1.0, 1.0))
    assert plan.parts[2] == np.s_[0:14, 0:14]
    assert plan.shown(codes[:14, :14], 32768, (0.0, 1.0)).shape == (8, 8)
    for short in (codes[:13], codes[:, :13]):
        with pytest.raises(
            ValueError, match="codes must be what is looked at, at least, got shape"
        ):
            plan.shown(short, 32768, (0.0, 1.0))
    for window in ((1.0, 1.0), (np.nan, 1.0), (0.0, np.inf)):
        with pytest.raises(ValueError, match="window must have low < high in HU, got"):
            plan.shown(codes, 32768, window)
        with pytest.raises(ValueError, match="window must have low < high in HU, got"):
            plan.crop(codes, 32768, None, (0, 0.5, window, window))
    for wrong in (codes.astype(float), codes[:, ::2], codes[::-1], codes[0]):
        with pytest.raises(TypeError):
            plan.shown(wrong, 32768, (0.0, 1.0))
        with pytest.raises(TypeError):
            plan.crop(wrong, 32768, None, (0, 0.5, (0, 1), (0, 1)))
    for wrong in (piece[:3], piece[0], np.ones((20, 20))):
        with pytest.raises(ValueError, match="piece must be the pixels of both axes' sources, 8x8"):
            _C.resampled(wrong, axis, axis)
    with pytest.raises(TypeError):
        _C.resampled(piece.astype(np.float32), axis, axis)
    for place, value, told in [
        (0, 0, "size and length must be at least 1"),
        (3, 0, "size and length must be at least 1"),
        (0, 2**31, "scale must be > 0|size"),
        (1, np.nan, "offset must be within"),
        (1, 1e13, "offset must be within"),
        (2, 0.0, "scale must be > 0"),
        (2, np.inf, "scale must be > 0"),
        (2, 1e-9, "scale must be > 0"),
    ]:
        wrong = tuple(value if at == place else one for at, one in enumerate(axis))
        with pytest.raises(ValueError, match=told):
            _C.crop_source(wrong)
