"""A label is mended by its mark's ends, a brush, a threshold or a new mark; the old one stays."""

import numpy as np

from dsnet.data.store import LabelRecord, open_store
from dsnet.labeling import RecistMark, label_recist
from review_page import until, write_store


def made_of(store, key, mark):
    """Alpha of a mark on a label's image, as the page gets it."""
    index = open_store(store).keys.index(key)
    image = open_store(store).read(index).image
    alpha = label_recist(image, RecistMark.from_coordinates(mark)).alpha
    return np.floor(alpha * 255.0 + 0.5).astype(np.uint8).tobytes()


def test_the_label_follows_an_end_that_is_dragged(serve, read, phantoms):
    served = serve(phantoms)
    reader = read(served)
    key, mark, before = reader.key, reader.mark, reader.alpha
    reader.drag(mark[:2], (mark[0] + 5.0, mark[1] - 3.0))
    reader.until("before => dsnetReview.timings.drag.length > 0 && !dsnetReview.mending.asking")
    moved = reader.mark
    assert np.allclose(moved[:2], (mark[0] + 5.0, mark[1] - 3.0), atol=0.2)
    assert moved[2:] == mark[2:]
    wanted = made_of(served.store, key, np.round(moved, 2))
    assert reader.alpha != before and until(lambda: reader.alpha == wanted)
    assert reader.page.locator("#over").text_content().endswith("labelling")
    times = [time["shown"] for time in reader.ask("() => dsnetReview.timings.drag")]
    print(f"from drag to mask: median {np.median(times):.0f} ms of {len(times)}")
    assert min(times) < 2000
    # Z takes the drag back; A decides on the mended one.
    reader.press("z")
    until(lambda: reader.alpha == before)
    assert reader.mark == mark
    reader.drag(mark[:2], (mark[0] + 5.0, mark[1] - 3.0))
    reader.decide("a")
    (mend,) = served.wait_for_rows(1, "mend")
    (row,) = served.wait_for_rows(1)
    assert (mend.key, mend.mended_by, mend.base) == (key, "mark", "made")
    assert (row.verdict, row.version) == ("accept", mend.version)
    # Undo gives the reader back what was before the one key, the drag included.
    reader.press("z")
    reader.until("key => dsnetReview.shown?.label?.key === key", key)
    until(lambda: served.rows() == [] and served.rows("mend") == [])
    reader.until(
        "() => !dsnetReview.mending.isEmpty && dsnetReview.shown?.label?.version === 'made'"
    )
    until(lambda: reader.alpha == wanted)


def test_an_end_is_moved_by_keys(serve, read, phantoms):
    served = serve(phantoms)
    reader = read(served)
    key, mark = reader.key, reader.mark
    reader.press("g", "g", "ArrowRight", "ArrowRight", "Shift+ArrowDown")
    assert np.allclose(reader.mark[2:4], (mark[2] + 1.0, mark[3] + 3.0))
    end = reader.page.locator(".end:focus")
    assert end.get_attribute("aria-label").startswith("long axis, second end: column")
    wanted = made_of(served.store, key, np.round(reader.mark, 2))
    until(lambda: reader.alpha == wanted)
    reader.press("k")
    (mend,) = served.wait_for_rows(1, "mend")
    reader.until("version => dsnetReview.shown?.label?.version === version", mend.version)
    reader.page.locator("#past").get_by_text("mark by Ada (shown)").wait_for()
    assert served.rows() == []


def test_the_brush_adds_and_removes_and_its_label_stays(serve, read, phantoms):
    served = serve(phantoms)
    reader = read(served)
    key, before = reader.key, np.frombuffer(reader.alpha, np.uint8).reshape(48, 48)
    assert before[40, 8] < 128
    reader.press("e")
    reader.drag((8, 40), (14, 40))
    until(lambda: np.frombuffer(reader.alpha, np.uint8).reshape(48, 48)[40, 8:15].min() == 255)
    reader.press("x")
    middle = np.argwhere(before == 255).mean(axis=0)
    reader.drag(middle[::-1], middle[::-1] + 0.5)
    row, column = np.rint(middle).astype(int)
    until(lambda: np.frombuffer(reader.alpha, np.uint8).reshape(48, 48)[row, column] == 0)
    painted = reader.alpha
    reader.press("z")
    until(lambda: np.frombuffer(reader.alpha, np.uint8).reshape(48, 48)[row, column] > 128)
    # By keys: the brush stands where the pointer was; Space paints there.
    reader.press("Space")
    until(lambda: reader.alpha != painted and "strokes" in str(reader.ask(BODY)))
    reader.decide("a")
    (mend,) = served.wait_for_rows(1, "mend")
    assert (mend.key, mend.mended_by) == (key, "brush")
    made = open_store(served.store).read(open_store(served.store).keys.index(key))
    assert made.alpha[40, 8] < 0.5


BODY = "() => dsnetReview.mending.body()"


def test_the_threshold_moves_the_outline(reviewed, read, phantoms):
    reader = read(reviewed, "Hedy")
    key = reader.key
    index = open_store(phantoms).keys.index(key)
    alpha = open_store(phantoms).read(index).alpha
    area = "() => dsnetReview.shown.picture.area"
    assert reader.ask(area) == (alpha >= 0.5).sum()
    reader.press("[", "[", "[")
    until(lambda: reader.ask(area) == (alpha >= 0.35).sum())
    reader.press("]", "]", "]")
    until(lambda: reader.ask(area) == (alpha >= 0.5).sum())
    assert reader.ask(BODY) is None


def test_a_mark_is_drawn_where_there_is_none(serve, read, tmp_path):
    random = np.random.default_rng(7)
    image = random.uniform(0.1, 0.2, (48, 48)).astype(np.float32)
    y, x = np.mgrid[:48, :48]
    image[np.hypot(x - 25, y - 22) < 8] += 0.6
    record = LabelRecord.from_error("no mark", "phantom", "mark must be there")
    record.image = image
    served = serve(write_store(tmp_path / "markless", [record]))
    reader = read(served)
    reader.press("a")
    assert "no mask to accept" in reader.said
    reader.press("d")
    reader.drag((17, 22), (33, 22))
    reader.drag((25, 14), (25, 30))
    until(lambda: len(reader.ask(BODY).get("mark", [])) == 8 and reader.ask(BODY)["mark"][7])
    reader.until("() => dsnetReview.shown.picture.alpha !== null && !dsnetReview.mending.asking")
    found = np.frombuffer(reader.alpha, np.uint8).reshape(48, 48) >= 128
    true = np.hypot(x - 25, y - 22) < 8
    assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.9
    reader.press("a")
    (row,) = served.wait_for_rows(1)
    assert row.verdict == "accept" and row.version != "made"


def test_what_was_not_finished_is_there_again(serve, read, phantoms):
    served = serve(phantoms)
    reader = read(served)
    key, mark = reader.key, reader.mark
    reader.drag(mark[4:6], (mark[4] - 4.0, mark[5]))
    moved = reader.mark
    reader.press("c")
    reader.page.keyboard.type("half done")
    context = reader.page.context
    reader.page.close()
    again = read(served, context=context)
    assert again.key == key
    until(lambda: again.mark == moved)
    assert again.page.locator("#comment").input_value() == "half done"
    wanted = made_of(served.store, key, np.round(moved, 2))
    until(lambda: again.alpha == wanted)
    assert served.rows() == [] and served.rows("mend") == []
