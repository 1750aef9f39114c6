"""A dragged mark, a brush, a threshold: against what they are made of, and by their properties."""

import statistics
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import RecistMark, closed_form_matting, label_recist
from dsnet.labeling.soft_mask import PRIOR_WEIGHT
from dsnet.reviewing.brush import Stroke, paint, read_strokes
from dsnet.reviewing.mending import moved, noted, read_mending
from review_desk import labelled, planes


def stroke(add=True, radius=2.0, points=((5, 5),)):
    return {"add": add, "radius": radius, "points": [list(p) for p in points]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_dragged_mark_gives_the_label_of_that_mark(kind):
    record = labelled("k", 3, kind)
    ends = record.mark.copy()
    ends[:2] += (1.5, -2.25)
    mended = read_mending({"mark": ends.tolist()}).apply(record)
    expected = label_recist(record.image, RecistMark.from_coordinates(ends))
    assert np.array_equal(mended.alpha, expected.alpha)
    assert np.array_equal(mended.trimap, expected.trimap) and mended.quality == expected.quality
    # The longer axis comes first.
    assert np.array_equal(mended.mark, RecistMark.from_coordinates(ends).coordinates)


@pytest.mark.parametrize("ends", [[10, 10, 30, 30], [10, 10, 30, 30, None, None, None, None]])
def test_a_long_axis_alone_is_a_mark(ends):
    mended = read_mending({"mark": ends}).apply(labelled("k"))
    expected = label_recist(mended.image, RecistMark.from_long_axis([10, 10, 30, 30]))
    assert np.array_equal(mended.alpha, expected.alpha) and np.isnan(mended.mark[4:]).all()


@given(
    st.lists(st.integers(0, 65535), min_size=1, max_size=30), st.floats(0.02, 0.98)
)  # fmt: skip
def test_a_moved_threshold_is_one_half_and_keeps_the_order(codes, threshold):
    alpha = (np.array(codes, np.float64) / 65535).astype(np.float32)[None]
    found = moved(alpha, threshold)
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
    assert np.array_equal(found >= 0.5, alpha >= np.float32(threshold))
    order = np.argsort(alpha[0], kind="stable")
    assert (np.diff(found[0][order]) >= 0).all()
    assert (found[alpha == 0] == 0).all() and (found[alpha == 1] == 1).all()


def test_a_threshold_of_one_half_changes_next_to_nothing():
    alpha = np.linspace(0, 1, 1001, dtype=np.float32)[None]
    assert np.abs(moved(alpha, 0.5) - alpha).max() < 1e-6
    # By hand: 0.2 lies half way below 0.4, 0.7 half way above.
    assert np.allclose(moved(np.float32([[0.2, 0.4, 0.7]]), 0.4), [[0.25, 0.5, 0.75]])


def test_a_stroke_is_sure_and_its_border_is_open():
    trimap = np.zeros((9, 11), np.uint8)
    painted = paint(trimap, [Stroke(True, 2.0, np.array([[5.0, 4.0]]))])
    y, x = np.mgrid[:9, :11]
    away = np.hypot(x - 5, y - 4)
    assert np.array_equal(painted == 255, away <= 2)
    assert np.array_equal(painted == 128, (away > 2) & (away <= 3.5))
    assert not trimap.any()
    taken = paint(np.full((9, 11), 255, np.uint8), [Stroke(False, 2.0, np.array([[5.0, 4.0]]))])
    assert np.array_equal(taken == 0, away <= 2) and np.array_equal(taken == 128, painted == 128)


def test_a_line_of_a_brush_has_no_gap_and_the_last_stroke_wins():
    line = Stroke(True, 1.0, np.array([[2.0, 3.0], [30.0, 3.0]]))
    painted = paint(np.zeros((8, 40), np.uint8), [line])
    assert (painted[2:5, 2:31] == 255).all() and (painted[3, :1] == 128).all()
    again = paint(painted, [Stroke(False, 1.0, np.array([[16.0, 3.0]]))])
    assert (again[2:5, 16] == 0).all() and (again[3, 2:13] == 255).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 3)])
@pytest.mark.parametrize("point", [(0.0, 0.0), (-50.0, 9.0), (0.4, 0.3), (1e6, -1e6)])
def test_strokes_of_any_size_anywhere(shape, point):
    for radius in (0.01, 1.0, 1000.0):
        painted = paint(np.zeros(shape, np.uint8), [Stroke(True, radius, np.array([point]))])
        y, x = np.mgrid[: shape[0], : shape[1]]
        inside = np.hypot(x - point[0], y - point[1]) <= radius
        assert (painted[inside] == 255).all()
        if abs(point[0]) < 1:
            assert (painted == 255).any(), "a brush finer than a pixel paints the one it is on"


def test_the_brush_is_solved_by_matting():
    record = labelled("k", 2)
    told = {"strokes": [stroke(True, 3.0, [(8, 8), (14, 12)]), stroke(False, 2.0, [(24, 24)])]}
    mended = read_mending(told).apply(record)
    painted = paint(record.trimap, read_strokes(told["strokes"]))
    prior = np.where(painted == record.trimap, record.alpha, np.float32(0.5))
    expected, _ = closed_form_matting(
        record.image, painted, prior=prior, prior_weight=PRIOR_WEIGHT, solver="direct"
    )
    assert np.array_equal(mended.trimap, painted)
    # Within 4 pixels of a stroke it is the solve, beyond 10 as it was.
    y, x = np.mgrid[:48, :48]
    along = np.clip(((x - 8) * 6 + (y - 8) * 4) / 52, 0, 1)
    first = np.hypot(x - 8 - 6 * along, y - 8 - 4 * along) - 3
    away = np.minimum(first, np.hypot(x - 24, y - 24) - 2)
    assert np.abs(mended.alpha - expected)[away <= 4].max() < 1e-3
    assert np.array_equal(mended.alpha[away > 10], record.alpha[away > 10])
    between = (away > 4) & (away < 10)
    low, high = np.minimum(expected, record.alpha), np.maximum(expected, record.alpha)
    assert ((mended.alpha >= low - 1e-3) & (mended.alpha <= high + 1e-3))[between].all()
    near = away <= 4
    assert (mended.alpha[near & (painted == 255)] == 1).all()
    assert (mended.alpha[near & (painted == 0)] == 0).all()
    assert np.array_equal(mended.binary, mended.alpha >= 0.5)
    assert "expected_dice" not in mended.quality and 0 <= mended.quality["overall"] <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_far_from_the_strokes_the_label_stays(kind):
    record = labelled("k", 3, kind, size=64)
    told = {"strokes": [stroke(True, 2.0, [(4, 4)]), stroke(False, 1.0, [(60, 8), (60, 12)])]}
    mended = read_mending(told).apply(record)
    y, x = np.mgrid[:64, :64]
    away = (np.hypot(x - 4, y - 4) > 12) & (np.hypot(x - 60, y - np.clip(y, 8, 12)) > 11)
    assert away.sum() > 2000
    assert np.array_equal(mended.alpha[away], record.alpha[away])


def test_a_brush_draws_where_there_was_nothing():
    record = labelled("k", alpha=None, binary=None, trimap=None, mark=None, status="failed")
    mended = read_mending({"strokes": [stroke(True, 4.0, [(20, 20)])]}).apply(record)
    assert mended.status == "ok" and mended.binary[20, 20] and not mended.binary[0, 0]
    wiped = read_mending({"strokes": [stroke(False, 4.0, [(20, 20)])]}).apply(record)
    assert not wiped.binary.any()


def test_all_three_follow_one_another():
    record = labelled("k", 1)
    mark, strokes = record.mark.tolist(), [stroke(True, 2.5, [(9, 30)])]
    mending = read_mending({"mark": mark, "strokes": strokes, "threshold": 0.3})
    assert mending.by == "mark+brush+threshold"
    one = read_mending({"mark": mark}).apply(record)
    two = read_mending({"strokes": strokes}).apply(one)
    three = read_mending({"threshold": 0.3}).apply(two)
    assert np.array_equal(mending.apply(record).alpha, three.alpha)
    assert np.array_equal(three.binary, two.alpha >= np.float32(0.3))


def test_notes_are_those_of_the_label_as_it_is_now():
    phantom = make_phantom("solid", 48, 5)
    ends = phantom.mark.coordinates.copy()
    ends[4:] += 15  # The axes do not cross.
    crossed = labelled("k", 5, mark=ends)
    crossed.notes = (
        "no slice below",
        *label_recist(crossed.image, RecistMark.from_coordinates(ends)).notes,
    )
    assert "axes do not cross" in crossed.notes
    mended = read_mending({"mark": phantom.mark.coordinates.tolist()}).apply(crossed)
    assert noted(crossed, mended, "mark", "Ann").notes == ("no slice below", "mended by mark: Ann")
    moved_on = read_mending({"threshold": 0.4}).apply(crossed)
    assert noted(crossed, moved_on, "threshold", "Ann").notes == (
        *crossed.notes, "mended by threshold: Ann",
    )  # fmt: skip


def test_what_is_kept_is_what_was_shown(open_review, store):
    _, reader = open_review()
    ann = reader()
    ends = [e + 1.25 for e in ann.ask("label/4")["mark"]]
    told = {"mark": ends, "strokes": [stroke(False, 1.0, [(20, 22)])], "base": "made"}
    shown = ann.tell("label/4/preview", **told)
    assert float(shown.headers["X-DSNet-Milliseconds"]) > 0
    version = ann.tell("label/4/mend", **told)["version"]
    kept = planes(ann.ask("label/4/planes", version=version))
    for name, plane in planes(shown).items():
        if name == "alpha":  # As the store has it: 16 bits, then 8.
            assert np.abs(plane.astype(int) - kept[name]).max() <= 1
        else:
            assert np.array_equal(plane, kept[name])
    # A further one goes on from there.
    again = ann.tell("label/4/mend", threshold=0.6, base=version)
    assert [v["base"] for v in again["versions"]] == ["", "made", version]
    assert [v["what"] for v in again["versions"]][1:] == ["mark+brush", "threshold"]


@pytest.mark.parametrize("size", [64, 256])
def test_a_drag_is_answered_within_a_fifth_of_a_second(open_review, write_store, size):
    """The middle one of many, on whatever machine: the page asks for one after the other."""
    _, reader = open_review(write_store([labelled("k", 1, size=size)], f"size{size}"))
    ann = reader()
    ends = np.array(ann.ask("label/0")["mark"])
    spent = []
    for step in range(21):
        start = time.perf_counter()
        ann.tell("label/0/preview", mark=(ends + 0.1 * step).tolist())
        spent.append(time.perf_counter() - start)
    assert statistics.median(spent) < 0.2
