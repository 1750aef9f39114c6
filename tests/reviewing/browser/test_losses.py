"""Closed pages, killed servers and several readers: nothing that was decided is lost."""

from urllib.parse import urlsplit

from review_page import TOKEN, until


def test_a_page_that_is_closed_at_once_loses_nothing(serve, read, phantoms):
    served = serve(phantoms)
    reader = read(served)
    mark, context = reader.mark, reader.page.context
    first = reader.key
    reader.drag(mark[:2], (mark[0] + 4.0, mark[1] - 4.0))
    reader.press("a")
    reader.page.close()
    (row,) = served.wait_for_rows(1)
    (mend,) = served.wait_for_rows(1, "mend")
    assert (row.key, row.verdict, row.version) == (first, "accept", mend.version)
    again = read(served, context=context)
    assert again.key != first
    second = again.decide("u")
    assert {row.key for row in served.wait_for_rows(2)} == {first, second}


def test_decisions_of_while_the_server_was_dead_come_when_it_is_back(serve, read, phantoms):
    served = serve(phantoms)
    reader = read(served)
    decided = [reader.decide("a")]
    served.wait_for_rows(1)
    reader.until("() => dsnetReview.feed.ahead.length === 10")
    reader.until("() => dsnetReview.feed.ahead.every((entry) => entry.label)")
    served.kill()
    # The ten that were fetched ahead are there.
    decided += [reader.decide(*keys) for keys in (["a"], ["r", "2"], ["u"])]
    alert = reader.page.get_by_role("alert")
    alert.get_by_text("The server does not answer").wait_for()
    alert.get_by_text("3 decisions of yours are kept in this browser").wait_for()
    mark, before = reader.mark, reader.alpha
    reader.drag(mark[:2], (mark[0] + 4.0, mark[1] + 4.0))
    served.start()
    rows = served.wait_for_rows(4)
    assert {row.key for row in rows} == set(decided) and len(rows) == 4
    until(lambda: not alert.is_visible())
    # The last row is on the disk before the page is told so.
    reader.until("() => dsnetReview.outbox.waiting === 0")
    # The label follows the end that was dragged meanwhile.
    until(lambda: reader.alpha != before)
    reader.decide("a")
    assert len(served.wait_for_rows(5)) == 5


def test_what_a_closed_page_could_not_send_is_sent_by_the_next_one(serve, read, phantoms):
    served = serve(phantoms)
    reader = read(served)
    reader.until("() => dsnetReview.feed.ahead.length === 10")
    reader.until("() => dsnetReview.feed.ahead.every((entry) => entry.label)")
    served.kill()
    decided = [reader.decide(key) for key in "au"]
    context = reader.page.context
    reader.page.close()
    served.start()
    again = read(served, context=context)
    rows = served.wait_for_rows(2)
    assert sorted((row.key, row.verdict) for row in rows) == sorted(
        zip(decided, ("accept", "unsure"), strict=True)
    )
    until(lambda: again.ask("() => dsnetReview.outbox.waiting") == 0)


def test_a_server_that_was_begun_anew_with_another_token_is_told(serve, read, phantoms):
    served = serve(phantoms)
    reader = read(served)
    reader.ask("() => dsnetReview.api.renew('another-token-1234567')")
    first = reader.key
    reader.press("a")
    alert = reader.page.get_by_role("alert")
    alert.get_by_text("does not know this page").wait_for()
    assert served.rows() == []
    alert.get_by_label("Address that the command printed").fill(served.address("x"))
    alert.get_by_role("button", name="Go on").click()
    (row,) = served.wait_for_rows(1)
    assert (row.key, row.reader) == (first, "Ada")
    until(lambda: not alert.is_visible())


def test_two_readers_have_no_label_at_once_and_both_verdicts_stay(serve, read, phantoms):
    served = serve(phantoms, "--readings", "2")
    ada, max_ = read(served, "Ada"), read(served, "Max")
    assert ada.key != max_.key
    seen = {"Ada": [], "Max": []}
    for _ in range(6):
        for reader, key in ((ada, "a"), (max_, "u")):
            seen[reader.name].append(reader.decide(key))
    assert not set(seen["Ada"]) & set(seen["Max"])
    served.wait_for_rows(12)
    # Max looks at one of Ada's and says otherwise.
    shared = seen["Ada"][0]
    before = max_.key
    row = max_.page.locator("#rows .row", has_text=shared).first
    max_.page.locator("#rows").evaluate("box => { box.scrollTop = 0; }")
    row.click()
    assert max_.wait_for_label(other_than=before) == shared
    # What she said is not told: their agreement is measured.
    max_.page.locator("#key").get_by_text(shared, exact=True).wait_for()
    assert max_.page.locator("#past").inner_text() == ""
    max_.decide("r", "4")
    rows = [row for row in served.wait_for_rows(13) if row.key == shared]
    found = {(row.reader, row.verdict, row.reason) for row in rows}
    assert found == {("Ada", "accept", ""), ("Max", "reject", "no-lesion")}


def test_the_token_leaves_the_address_and_a_reload_keeps_it(reviewed, read):
    reader = read(reviewed, "Hedy")
    assert urlsplit(reader.page.url).query == "" and TOKEN not in reader.page.content()
    key = reader.key
    reader.page.reload()
    assert reader.wait_for_label() == key
