"""Crops: against dense matrices, loops and values by hand; the same bits on every vector unit."""

import numpy as np
import pytest

from dsnet import _C
from dsnet.data.ct_image import apply_window

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


def test_codes_are_shown_as_the_float_path_shows_them(unit):
    rng = np.random.default_rng(2)
    for shape in [(1, 1), (7, 40), (90, 33), (64, 130)]:
        for window in WINDOWS:
            codes = rng.integers(31000, 34000, shape).astype(np.uint16)
            codes[rng.random(shape) < 0.1] = rng.choice([0, 65535])
            for size in (1, 8, 64):
                for scale in ((1.0, 1.0), (0.3, 0.3), (1.0, 0.7), (1.7, 0.05)):
                    offset = tuple(rng.uniform(-size, n) for n in shape[::-1])
                    if scale == (1.0, 1.0):
                        offset = tuple(np.rint(offset).tolist())
                    wanted = shown(codes, shape, size, offset, scale, window)
                    how = (shape, size, offset, scale, 32768, window)
                    # A part of the slice is enough; it may be one of a larger array.
                    rows = _C.crop_source((size, offset[1], scale[1], shape[0], 1.0))
                    columns = _C.crop_source((size, offset[0], scale[0], shape[1], 1.0))
                    part = codes[: rows.stop, : columns.stop]
                    for given in (codes, part, part.copy()):
                        found = _C.shown_codes(given, *how)
                        assert found.dtype == np.float32 and np.array_equal(found, wanted)


def test_codes_below_are_counted_in_the_ring_alone(unit):
    rng = np.random.default_rng(3)
    for shape in [(1, 1), (9, 40), (50, 33), (70, 300)]:
        codes = rng.integers(32000, 32600, shape).astype(np.uint16)
        for _ in range(20):
            edges = [np.sort(rng.integers(0, n + 20, 4)).tolist() for n in shape]
            outer = tuple(slice(e[0], e[3]) for e in edges)
            inner = tuple(slice(e[1], e[2]) for e in edges)
            ring = np.zeros(shape, bool)
            ring[outer] = True
            ring[inner] = False
            level = int(rng.integers(31990, 32610))
            wanted = int((codes[ring] < level).sum()), int(ring.sum())
            assert _C.ring_below(codes, (outer, inner), level) == wanted
            padded = np.pad(codes, 2)[2:-2, 2:-2]
            assert _C.ring_below(padded, (outer, inner), level) == wanted


def test_a_plan_by_hand():
    mark = (30.0, 40.0, 50.0, 40.0, 40.0, 30.0, 40.0, 50.0)
    offset, scale, box, rings, placed = _C.planned_crop(mark, (512, 70), 64, (1.0, 1.0), 10.0)
    # The middle of pixels 30 to 50 is 40.5, that of the crop 32: of 8.5 the even one.
    assert (offset, scale, box) == ((8.0, 8.0), (1.0, 1.0), np.s_[8:72, 8:70])
    assert rings == (np.s_[20:61, 20:61], np.s_[30:51, 30:51])
    assert placed == (22.0, 32.0, 42.0, 32.0, 32.0, 22.0, 32.0, 42.0)

    # 100 pixels and a quarter of them on either side are 150.
    mark = (100.0, 150.0, 200.0, 150.0, 150.0, 120.0, 150.0, 180.0)
    offset, scale, box, rings, placed = _C.planned_crop(mark, (512, 512), 64, (1.0, 1.0), 10.0)
    assert offset == (75.5, 75.5) and scale == (64 / 150, 64 / 150)
    assert box == np.s_[75:226, 75:226] and rings[1] == np.s_[120:181, 100:201]
    ends = ((25, 75), (125, 75), (75, 45), (75, 105))
    assert placed == pytest.approx([n * 64 / 150 - 0.5 for end in ends for n in end])

    # Of a line 20 long the short axis is 15; in pixels of half the height the axes change places.
    line = (30.0, 40.0, 50.0, 40.0, *[np.nan] * 4)
    *_, rings, placed = _C.planned_crop(line, (80, 80), 64, (1.0, 1.0), 10.0)
    assert rings[1] == np.s_[32:48, 30:51] and np.isnan(placed[4:]).all()
    cross = (30.0, 40.0, 50.0, 40.0, 40.0, 32.0, 40.0, 48.0)
    *_, placed = _C.planned_crop(cross, (80, 80), 64, (1.0, 2.0), 10.0)
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
    assert _C.planned_crop(mark, shape, size, scale, 10.0) is None


@pytest.mark.parametrize("ring", [np.nan, np.inf, -np.inf, -1.0, 1.1e12])
def test_a_ring_is_a_number_of_pixels(ring):
    mark = (20.0, 20.0, 30.0, 20.0, 25.0, 18.0, 25.0, 22.0)
    assert _C.planned_crop(mark, (64, 64), 32, (1.0, 1.0), 1e12)[3][0] == (
        slice(0, 10**12 + 22 + 1),
        slice(0, 10**12 + 30 + 1),
    )
    with pytest.raises(ValueError, match="ring must be within an image's reach, got "):
        _C.planned_crop(mark, (64, 64), 32, (1.0, 1.0), ring)


def test_what_cannot_be_cut_is_named():
    codes, piece = np.ones((20, 20), np.uint16), np.ones((4, 4))
    axis = (8, 0.0, 1.0, 20, 1.0)
    usual = [codes, (20, 20), 8, (0.0, 0.0), (1.0, 1.0), 32768, (0.0, 1.0)]
    assert _C.shown_codes(*usual).shape == (8, 8)

    def with_one(place, value):
        return [value if at == place else each for at, each in enumerate(usual)]

    for place, value, told in [
        (1, (20, 0), "size and length must be at least 1"),
        (2, 0, "size and length must be at least 1"),
        (2, 2**31, "scale must be > 0|size"),
        (3, (np.nan, 0.0), "offset must be within"),
        (3, (0.0, 1e13), "offset must be within"),
        (4, (0.0, 1.0), "scale must be > 0"),
        (4, (np.inf, 1.0), "scale must be > 0"),
        (4, (1e-9, 1.0), "scale must be > 0"),
        (0, codes[:7], "codes must be the crop's source"),
        (0, codes[:, :7], "codes must be the crop's source"),
        (6, (1.0, 1.0), "window must have low < high"),
        (6, (np.nan, 1.0), "window must have low < high"),
        (6, (0.0, np.inf), "window must have low < high"),
    ]:
        with pytest.raises(ValueError, match=told):
            _C.shown_codes(*with_one(place, value))
    for wrong in (codes.astype(float), codes[:, ::2], codes[::-1], codes[0]):
        with pytest.raises(TypeError):
            _C.shown_codes(*with_one(0, wrong))
    for wrong in (piece[:3], piece[0], np.ones((20, 20))):
        with pytest.raises(ValueError, match="piece must be the pixels of both axes' sources, 8x8"):
            _C.resampled(wrong, axis, axis)
    with pytest.raises(TypeError):
        _C.resampled(piece.astype(np.float32), axis, axis)
    box = np.s_[0:4, 0:4]
    for wrong in (np.s_[-1:4, 0:4], np.s_[0:4, 0:4:2], (1, 2)):
        with pytest.raises((ValueError, TypeError), match="box must be of slices"):
            _C.ring_below(codes, (box, wrong), 3)
    with pytest.raises(TypeError, match="slice indices must be integers"):
        _C.ring_below(codes, (box, np.s_[0:"a", 0:4]), 3)
