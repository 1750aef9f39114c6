"""What a run appends to the store, and what a vanished reader held, comes to a reader who waits."""

from dataclasses import replace

from dsnet.data.store import StoreWriter
from review_page import phantom_records, until, write_store


def test_labels_that_come_later_are_shown_to_a_reader_who_waits(serve, read, tmp_path):
    record = next(phantom_records(1))
    served = serve(write_store(tmp_path / "few", [record]))
    reader = read(served)
    reader.press("a")
    nothing = reader.page.get_by_text("Nothing is left here for you").first
    nothing.wait_for()
    with StoreWriter(served.store, {"crop": 48}, resume=True) as writer:
        writer.append(replace(record, key="later"))
    until(lambda: reader.key == "later")
    until(lambda: "of 2 labels decided" in reader.page.locator("#progress").text_content())
    assert not nothing.is_visible()
    reader.press("u")
    assert [row.key for row in served.wait_for_rows(2)] == [record.key, "later"]
