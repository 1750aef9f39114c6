"""A reader goes through labels by keys; what was decided is on the disk, once each."""

import numpy as np

from dsnet.data.store import open_store
from review_page import Reader, until

REASONS = ("wrong-place", "leaks", "too-small", "no-lesion", "bad-image")


def test_thirty_labels_by_keys_the_worst_first(serve, read, phantoms):
    served = serve(phantoms)
    reader = read(served)
    keys = [["a"], ["u"], *(["r", str(n)] for n in range(1, 6)), ["r", "Enter"]]
    decided = [reader.decide(*keys[number % len(keys)]) for number in range(30)]
    rows = served.wait_for_rows(30)
    table = open_store(phantoms).table(["key", "quality_expected_dice"]).to_pydict()
    order = np.argsort(table["quality_expected_dice"], kind="stable")
    assert decided == [table["key"][index] for index in order[:30]]
    assert len(rows) == 30
    assert {row.reader for row in rows} == {"Ada"}
    wanted = [("accept", ""), ("unsure", ""), *(("reject", r) for r in REASONS), ("reject", "")]
    # One who decides every 20 ms is no reader, and the rows' times are the decisions' own.
    found = {row.key: (row.verdict, row.reason) for row in rows}
    assert found == {key: wanted[n % 8] for n, key in enumerate(decided)}
    assert all(0 <= row.seconds < 60 and row.version == "made" for row in rows)
    times = reader.ask("() => dsnetReview.timings.change")
    # Ten are fetched ahead: no label waits for the server. The limit is that of a loaded machine.
    assert np.median(times[1:]) < 1000
    print(f"from key to picture: median {np.median(times[1:]):.0f} ms of {len(times) - 1}")
    assert "30 of 36 labels decided" in reader.page.locator("#progress").text_content()


def test_undo_goes_back_without_limit_and_over_sessions(serve, read, phantoms):
    served = serve(phantoms)
    reader = read(served)
    decided = []
    for key in "aauua":
        decided.append(reader.decide(key))
        # The last one over sessions is the last by its time, which is told to some milliseconds.
        served.wait_for_rows(len(decided))
    for key in reversed(decided[2:]):
        reader.press("z")
        reader.until("key => dsnetReview.shown?.label?.key === key", key)
    until(lambda: sorted(row.key for row in served.rows()) == sorted(decided[:2]))
    # The page is opened anew: the rows of before can be taken back, too.
    context = reader.page.context
    reader.page.close()
    reader = read(served, context=context)
    assert reader.key == decided[2]
    for key in reversed(decided[:2]):
        reader.press("z")
        reader.until("key => dsnetReview.shown?.label?.key === key", key)
    until(lambda: len(served.rows("undo")) == 5)
    assert served.rows() == []


def test_a_comment_goes_with_the_verdict(serve, read, phantoms):
    served = serve(phantoms)
    reader = read(served, "Grace Hopper-Müller")
    reader.press("c")
    reader.page.keyboard.type("a vessel, r1 a u z?")
    reader.press("Enter")
    first = reader.decide("a")
    assert reader.page.locator("#comment").input_value() == ""
    second = reader.decide("u")
    rows = served.wait_for_rows(2)
    assert {row.key: row.comment for row in rows} == {first: "a vessel, r1 a u z?", second: ""}
    assert {row.reader for row in rows} == {"Grace Hopper-Müller"}


def test_escape_leaves_the_rejection_and_letters_are_no_reason(serve, read, phantoms):
    served = serve(phantoms)
    reader = read(served)
    first = reader.key
    reader.press("r", "Escape", "2")
    assert reader.key == first and not reader.page.locator("#reasons").is_visible()
    reader.page.locator("#reject").click()
    reader.page.get_by_role("button", name="leaks").click()
    reader.wait_for_label(other_than=first)
    (row,) = served.wait_for_rows(1)
    assert (row.key, row.verdict, row.reason) == (first, "reject", "leaks")


def test_skipped_labels_come_back_and_a_chosen_one_is_shown(serve, read, phantoms):
    served = serve(phantoms)
    reader = read(served)
    first = reader.key
    reader.press("ArrowRight")
    second = reader.wait_for_label(other_than=first)
    reader.press("ArrowLeft")
    assert reader.wait_for_label(other_than=second) == first
    row = reader.page.locator("#rows .row").nth(7)
    name = row.locator(".key").text_content()
    row.click()
    assert reader.wait_for_label(other_than=first) == name
    assert served.rows() == []


# Until then the label before lies there, and a key would be about it.
CHOSEN = """([menu, choice]) => dsnetReview.feed.filter[menu] === choice
    && dsnetReview.shown !== null && dsnetReview.feed.current === dsnetReview.shown"""


def test_menus_choose_type_and_order(serve, read, phantoms):
    reader = read(serve(phantoms))
    reader.page.locator("#type").select_option("spiculated")
    keys = reader.page.locator("#rows .row .key")
    until(lambda: {text.split("-")[0] for text in keys.all_text_contents()} == {"spiculated"})
    reader.until(CHOSEN, ["type", "spiculated"])
    assert reader.key.startswith("spiculated")
    assert keys.count() == 6
    reader.page.locator("#order").select_option("size")
    reader.until(CHOSEN, ["order", "size"])
    sizes = []
    for _ in range(5):
        reader.wait_for_label()
        sizes.append(reader.ask(f"() => Math.hypot(...{LONG})"))
        reader.decide("u")
    assert sizes == sorted(sizes)


LONG = "[0, 1].map((i) => dsnetReview.shown.label.mark[i + 2] - dsnetReview.shown.label.mark[i])"


def test_a_reader_is_asked_for_a_name_once(serve, chromium, phantoms):
    served = serve(phantoms)
    context = chromium.new_context()
    reader = Reader(context.new_page(), served, "Rosalind")
    reader.page.goto(served.address("").removesuffix("&reader="))
    dialog = reader.page.get_by_role("dialog", name="Who reads?")
    dialog.get_by_label("Name").fill("Rosalind")
    reader.press("Enter")
    reader.decide("a")
    (row,) = served.wait_for_rows(1)
    assert row.reader == "Rosalind"
    reader.page.reload()
    reader.wait_for_label()
    assert not dialog.is_visible()
    assert reader.page.locator("#name").text_content() == "Rosalind"
    context.close()


def test_a_blind_review_shows_no_score(serve, read, phantoms):
    served = serve(phantoms, "--blind", "--order", "random", "--sample", "8")
    reader = read(served)
    shown = reader.page.locator("aside").inner_text() + reader.page.locator("nav").inner_text()
    assert "Scores are hidden" in shown and "0.9" not in shown
    assert not reader.page.locator("#strip").is_visible()
    for _ in range(7):
        reader.decide("a")
    reader.press("a")
    reader.page.get_by_text("Nothing is left here for you").first.wait_for()
    assert len(served.wait_for_rows(8)) == 8


def test_hiding_shows_the_picture_alone(reviewed, read):
    reader = read(reviewed, "Hedy")
    pixels = "() => { dsnetReview.view.draw(); return dsnetReview.view.canvas.toDataURL(); }"
    shown = reader.ask(pixels)
    reader.page.keyboard.down("h")
    hidden = reader.ask(pixels)
    reader.page.keyboard.up("h")
    assert hidden != shown and reader.ask(pixels) == shown
    for key in "mb":
        reader.press(key)
    assert reader.ask(pixels) == hidden
    for key in "st":
        reader.press(key)
        assert reader.ask(pixels) != hidden
        reader.press(key)
    reader.press("3")
    assert reader.ask("() => [dsnetReview.view.low, dsnetReview.view.high]") == [0.25, 0.75]
    assert reader.ask(pixels) != hidden
    reader.press("1", "ArrowUp")
    reader.until("() => dsnetReview.view.slice !== null")
    assert reader.page.locator("#slice").text_content() == "1 above"
