"""What the page tells of the review: agreement, what was taken back, a server that cannot go on."""

from review_page import until


def cells(table):
    """The texts of a table's rows, without its heads."""
    return [row.locator("td").all_text_contents() for row in table.locator("tr").all()[1:]]


def test_the_overview_tells_how_two_readers_agree(serve, read, phantoms):
    served = serve(phantoms, "--readings", "2")
    said = {"Ada": ["a", "a", "r1", "u"], "Bea": ["a", "r1", "r1", "u"]}
    labels = {}
    for name, verdicts in said.items():
        reader = read(served, name)
        labels[name] = [reader.decide(*keys) for keys in verdicts]
    assert labels["Ada"] == labels["Bea"]
    # What the other one said is not told before.
    assert reader.page.locator("#past").inner_text() == ""
    served.wait_for_rows(8)
    reader.press("o")
    overview = reader.page.get_by_role("dialog", name="What was decided")
    overview.wait_for()
    table = lambda name: overview.get_by_role("table", name=name)  # noqa: E731
    # Observed 3 of 4; by chance (2 * 1 + 1 * 2 + 1 * 1) / 16.
    kappa = (3 / 4 - 5 / 16) / (1 - 5 / 16)
    assert cells(table("Agreement")) == [["Ada and Bea", "4", "0.75", f"{kappa:.2f}"]]
    assert cells(table("Labels")) == [["36", "1", "2", "1", "32"]]
    readers = [row[:6] for row in cells(table("Readers"))]
    assert readers == [["Ada", "4", "2", "1", "1", "0"], ["Bea", "4", "1", "2", "1", "0"]]
    assert cells(table("Rejected for")) == [["wrong place", "3"]]
    reader.press("Escape")
    until(lambda: not overview.is_visible())
    reader.decide("a")


def test_what_was_taken_back_is_told_so_and_a_finger_needs_no_reason(serve, read, phantoms):
    served = serve(phantoms)
    reader = read(served, has_touch=True, is_mobile=True, viewport={"width": 820, "height": 1180})
    first = reader.key
    reader.page.get_by_role("button", name="Reject").tap()
    reader.page.get_by_role("button", name="no reason").tap()
    reader.wait_for_label(other_than=first)
    (row,) = served.wait_for_rows(1)
    assert (row.key, row.verdict, row.reason) == (first, "reject", "")
    reader.page.get_by_role("button", name="Undo").tap()
    until(lambda: reader.key == first)
    until(lambda: "taken back" in reader.page.locator("#past").inner_text())


def test_a_server_that_cannot_write_says_why_and_nothing_is_lost(serve, read, phantoms):
    served = serve(phantoms)
    reader = read(served)
    there = served.store / "_review"
    there.write_text("in the way of the decisions")
    decided = reader.decide("a")
    alert = reader.page.get_by_role("alert")
    alert.get_by_text("The server cannot go on: not kept:").wait_for()
    alert.get_by_text("1 decision of yours is kept in this browser").wait_for()
    there.unlink()
    assert served.wait_for_rows(1)[0].key == decided
    until(lambda: not alert.is_visible())
