"""Marks of a long axis alone: what is assumed, and that no label is blamed for it."""

import pickle

import numpy as np
import pytest

from bench.common.lidc import dice, read_nodules
from dsnet import _C
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import RecistMark, SoftLabel, label_batch, label_recist, recist_from_mask
from dsnet.labeling.cut import cut_recist
from dsnet.labeling.mark_model import MarkedMask
from dsnet.labeling.notes import ASSUMED
from dsnet.labeling.prompts import as_mark
from dsnet.labeling.quality import score
from dsnet.labeling.recist import FARTHEST, ordered_coordinates
from dsnet.labeling.reference.cut import cut_recist_reference
from dsnet.labeling.reference.label import label_recist_by_stages
from dsnet.labeling.reference.quality import score_reference
from emulation_module import emulation
from shared_data import shared

NAN = float("nan")


def lines(count, shape, seed=0):
    """Random long axes in and around an image, some of no length, some far away."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        ends = rng.uniform(-0.3, 1.3, 4) * np.tile(shape[::-1], 2)
        if i % 7 == 0:
            ends[2:] = ends[:2]
        if i % 11 == 0:
            ends = np.round(ends)
        if i % 13 == 0:
            ends *= 1e5
        yield RecistMark.from_long_axis(ends)


def test_the_short_axis_is_unknown_and_not_zero():
    mark = RecistMark.from_long_axis([10, 20, 30, 20])
    assert mark.short_axis is None and np.isnan(mark.short_diameter)
    assert mark.long_diameter == 20
    assert np.array_equal(mark.coordinates, [10, 20, 30, 20, *[NAN] * 4], equal_nan=True)
    assert mark == RecistMark.from_coordinates(mark.coordinates) == as_mark(mark)
    assert mark == as_mark(mark.coordinates) == pickle.loads(pickle.dumps(mark))
    assert hash(mark) == hash(RecistMark.from_coordinates(mark.coordinates))
    assert mark != mark.assumed() and mark != RecistMark.from_long_axis([30, 20, 10, 20])
    # Four numbers are a box where a prompt is asked for.
    assert as_mark([10, 20, 30, 40]).short_diameter == 20


def test_what_is_assumed_of_the_short_axis():
    assumed = RecistMark.from_long_axis([10, 20, 30, 20]).assumed()
    # Through the middle, perpendicular, three quarters of the length.
    assert assumed.coordinates.tolist() == [10, 20, 30, 20, 20, 12.5, 20, 27.5]
    askew = RecistMark.from_long_axis([0, 0, 8, 16]).assumed()
    assert askew.coordinates.tolist() == [0, 0, 8, 16, 10, 5, -2, 11]
    assert assumed.assumed() is assumed
    for drawn in (RecistMark.from_long_axis([10, 20, 30, 20]), assumed):
        assert drawn.bounds() == (10, 12.5, 30, 27.5) and drawn.center.tolist() == [20, 20]
        assert [along.tolist() for along in drawn.directions] == [[1, 0], [0, 1]]


def test_masks_are_those_of_the_assumed_mark():
    for mark in lines(60, (40, 50)):
        for name in ("ellipse_mask", "quadrilateral_mask", "axes_mask"):
            mine, assumed = (getattr(m, name)((40, 50)) for m in (mark, mark.assumed()))
            assert np.array_equal(mine, assumed)
        assert np.array_equal(mark.quadrilateral, mark.assumed().quadrilateral)


def test_moving_and_scaling_leave_it_unknown():
    mark = RecistMark.from_long_axis([-0.5, 2, 9.5, 2])
    assert mark.translated(2, -1) == RecistMark.from_long_axis([1.5, 1, 11.5, 1])
    assert mark.scaled(3, 2) == RecistMark.from_long_axis([-0.5, 4.5, 29.5, 4.5])


@pytest.mark.parametrize(
    ("ends", "found"),
    [
        ([10, 10, 30, 12], []),
        ([10, 10, 10, 10], ["zero-length long axis"]),
        # The assumed short axis leaves the image, the one that was drawn does not.
        ([1, 10, 1, 50], []),
        ([1, 10, 1, 90], ["mark lies partly outside the image"]),
        # And it touches an image that the long one misses.
        ([-2, 10, -2, 50], ["mark lies outside the image"]),
    ],
)
def test_problems_are_those_of_what_was_drawn(ends, found):
    mark = RecistMark.from_long_axis(ends)
    assert mark.problems((64, 64)) == found
    image = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    (label,) = label_batch([image], [mark.coordinates])
    if "mark lies outside the image" in found:
        assert isinstance(label, ValueError) and "must touch the image" in str(label)
    else:
        told = [note for note in label.notes if not note.startswith(("cut fell", "matting"))]
        assert told == [*found, "short axis unknown: one is assumed"]
        assert label.quality["mark_soundness"] == 0.5 ** len(found)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1, 2, 3], "ends must be 4 numbers, got 3"),
        ([1, 2, 3, 4, NAN, NAN, NAN, NAN], "ends must be 4 numbers, got 8"),
        ([1, 2, 3, NAN], "ends must be finite"),
        ([1, 2, 3, 2e9], "ends must be within"),
    ],
)
def test_bad_ends_are_named(value, words):
    with pytest.raises(ValueError, match=words):
        RecistMark.from_long_axis(value)
    with pytest.raises(TypeError, match="ends must be 4 numbers"):
        RecistMark.from_long_axis(["a"] * 4)


def test_any_other_pattern_of_nan_is_refused_everywhere():
    image = np.random.default_rng(1).random((16, 16), dtype=np.float32)
    usable = [2.0, 8.0, 13.0, 8.0, 8.0, 4.0, 8.0, 12.0]
    rows = np.array([[NAN if b >> k & 1 else v for k, v in enumerate(usable)] for b in range(256)])
    expected = [b in (0, 0b11110000) for b in range(256)]
    labels = label_batch(np.repeat(image[None], 256, 0), rows)
    assert [isinstance(label, SoftLabel) for label in labels] == expected
    ordered = ordered_coordinates(rows)
    for row, found, good, label in zip(rows, ordered, expected, labels, strict=True):
        if good:
            assert np.array_equal(found, RecistMark.from_coordinates(row).coordinates, True)
            _C.plan_cuts(found[None], 16, 16)
        else:
            assert np.isnan(found).all() and "coordinates must be finite" in str(label)
            for refuse in (
                lambda row=row: RecistMark.from_coordinates(row),
                lambda row=row: _C.plan_cuts(row[None], 16, 16),
                lambda row=row: _C.trimap_from_cut(image > 0.5, image, row),
            ):
                with pytest.raises(ValueError, match="must be finite"):
                    refuse()


def test_many_rows_at_once_are_read_as_one():
    rng = np.random.default_rng(2)
    rows = rng.normal(0, 20, (300, 8))
    rows[::2, 4:] = NAN
    rows[::10] *= 1e9
    rows[5, 4:] = NAN, NAN, NAN, 1
    rows[6, 2] = NAN
    for row, ordered in zip(rows, ordered_coordinates(rows), strict=True):
        try:
            expected = RecistMark.from_coordinates(row).coordinates
        except ValueError:
            expected = np.full(8, NAN)
        assert np.array_equal(ordered, expected, equal_nan=True)
    assert (np.abs(rows[::2, :4]) > FARTHEST).any()


def test_the_compiled_mark_is_the_references():
    for mark in lines(150, (40, 50), seed=3):
        coordinates = mark.assumed().coordinates
        for given in (mark.coordinates, coordinates):
            drawn = emulation.rasterise_recist(given, 40, 50, 1.0)
            assert np.array_equal(drawn["ellipse"], mark.ellipse_mask((40, 50)))
            assert np.array_equal(drawn["quadrilateral"], mark.quadrilateral_mask((40, 50)))
            assert np.array_equal(drawn["axes"], mark.axes_mask((40, 50)))
        if "mark lies outside the image" not in mark.problems((40, 50)):
            plan, seeds = _C.plan_cuts(mark.coordinates[None], 40, 50)
            same_plan, same_seeds = _C.plan_cuts(coordinates[None], 40, 50)
            # Nothing but the network's constant that tells it.
            told = np.flatnonzero(plan[0] != same_plan[0])
            assert 0 < len(told) <= 8 and told.max() - told.min() < 8
            assert seeds.tobytes() == same_seeds.tobytes()


@pytest.fixture(scope="module")
def phantoms():
    return [make_phantom(kind, 48, seed) for seed in range(3) for kind in KINDS]


def line_of(phantom):
    return RecistMark.from_long_axis(phantom.mark.long_axis.ravel())


def test_cuts_and_labels_equal_the_reference(phantoms):
    for phantom in phantoms:
        mark = line_of(phantom)
        cut, wanted = (f(phantom.image, mark) for f in (cut_recist, cut_recist_reference))
        assert np.array_equal(cut.mask, wanted.mask) and cut.fallback == wanted.fallback
        assert np.array_equal(cut.log_odds, wanted.log_odds)
    for phantom in phantoms[: len(KINDS)]:
        mark = line_of(phantom)
        label, by_stages = (f(phantom.image, mark) for f in (label_recist, label_recist_by_stages))
        assert np.array_equal(label.binary, by_stages.binary) and label.notes == by_stages.notes
        assert label.quality == pytest.approx(by_stages.quality, abs=1e-5)


def test_a_batch_has_the_bits_of_one_at_a_time(phantoms):
    images = np.stack([phantom.image for phantom in phantoms])
    known = [phantom.mark for phantom in phantoms]
    unknown = [line_of(phantom) for phantom in phantoms]
    mixed = [marks[i % 2] for i, marks in enumerate(zip(known, unknown, strict=True))]
    single = [label_recist(i, mark) for i, mark in zip(images, mixed, strict=True)]
    coordinates = np.stack([mark.coordinates for mark in mixed])
    lists = [list(row) for row in coordinates]
    for given, threads in ((mixed, 2), (coordinates, 1), (lists, 3), ([*mixed[:3], *lists[3:]], 1)):
        for label, alone in zip(label_batch(images, given, threads), single, strict=True):
            assert isinstance(label, SoftLabel)
            assert label.alpha.tobytes() == alone.alpha.tobytes()
            assert label.trimap.tobytes() == alone.trimap.tobytes()
            assert (label.quality, label.notes) == (alone.quality, alone.notes)
    # The network knows that the short axis is assumed: another label than that of such a mark.
    labels = [
        [label_recist(phantom.image, m).alpha for m in (mark, mark.assumed())]
        for phantom, mark in zip(phantoms, unknown, strict=True)
    ]
    assert any(not np.array_equal(label, other) for label, other in labels)


def test_labels_of_long_axes_find_the_lesion(phantoms):
    overlap = []
    for phantom in phantoms:
        truth, found = phantom.alpha >= 0.5, label_recist(phantom.image, line_of(phantom)).binary
        overlap.append(2 * (truth & found).sum() / (truth.sum() + found.sum()))
    assert np.mean(overlap) > 0.93 and min(overlap) > 0.75, overlap


def test_the_label_tells_that_an_axis_is_assumed_and_the_mark_keeps_what_was_drawn(phantoms):
    for phantom in phantoms[:4]:
        line = line_of(phantom)
        label = label_recist(phantom.image, line)
        assert label.notes[-1] == ASSUMED and np.isnan(line.coordinates[4:]).all()
        for both in (phantom.mark, line.assumed()):
            assert ASSUMED not in label_recist(phantom.image, both).notes
        batch = label_batch([phantom.image] * 2, [line, phantom.mark])
        assert [ASSUMED in each.notes for each in batch] == [True, False]


def test_long_axes_of_real_nodules_do_almost_as_well_as_both():
    """Of patients that nothing was chosen on; all 502 of their marks: 0.921 and 0.926."""
    shared("lidc")
    nodules = [nodule for nodule in read_nodules() if nodule.half == 1][::8]
    rng = np.random.default_rng(7)
    scores = []
    for nodule in nodules:
        mark = MarkedMask(nodule.truth).draw(rng, lesion=int(rng.integers(2**31)))
        line = RecistMark.from_long_axis(mark.long_axis)
        labels = [label_recist(nodule.image, each) for each in (line, mark)]
        scores.append([dice(label.binary, nodule.truth) for label in labels])
    alone, both = np.mean(scores, axis=0)
    assert len(scores) > 30
    assert alone > 0.90 and alone > both - 0.015


@pytest.mark.parametrize("half_width", [1.2, 4.0, 15.0])
def test_no_label_is_blamed_for_an_assumed_axis(half_width):
    """However wide the lesion is, one that its long axis fits has full marks."""
    y, x = np.mgrid[:64, :64] - 31.5
    turn = 0.4
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    mask = (u / 18) ** 2 + (v / half_width) ** 2 <= 1
    mark = RecistMark.from_long_axis(recist_from_mask(mask).long_axis.ravel())
    image, alpha = np.where(mask, 0.8, 0.2).astype(np.float32), mask.astype(np.float32)
    trimap = np.where(mask, 255, 0).astype(np.uint8)
    quality = score(image, alpha, trimap, mark=mark, cut_worked=True)
    assert quality["axes_agreement"] > 0.95
    assert quality["mark_inside"] == quality["mark_soundness"] == 1
    assert score(image, alpha, trimap, mark=mark.assumed())["axes_agreement"] < 0.95
    # A label that misses half of the line is told.
    half = alpha * (x < 0)
    assert 0.4 < score(image, half, trimap, mark=mark)["mark_inside"] < 0.6


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2), (30, 31), (40, 129)])
def test_scores_equal_the_reference(shape):
    rng = np.random.default_rng(sum(shape))
    for mark in lines(80, shape, seed=sum(shape)):
        image, alpha = rng.random((2, *shape), dtype=np.float32)
        alpha = np.where(alpha > rng.random(), alpha, 0).astype(np.float32)
        trimap = rng.choice(np.array([0, 128, 255], np.uint8), shape)
        arguments = (image, alpha, trimap)
        found = score(*arguments, mark=mark, cut_worked=True)
        assert found == pytest.approx(score_reference(*arguments, mark=mark, cut_worked=True))
