"""Whatever a store or a reader writes is shown as text, and no other address is asked."""

import numpy as np
import pytest

from dsnet.data.store import LabelRecord
from review_page import phantom_records, until, write_store

HOSTILE = (
    "<script>window.struck = 1</script>",
    "<img src=x onerror='window.struck = 2'>",
    "../../../etc/passwd",
    "\x1b[31mred\x1b[0m\x07",
    "javascript:alert(1)",
    "\u202egnp.exe",
    '"><svg onload=alert(3)>',
    "{{7*7}} ${7*7} %s %00",
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    records = list(phantom_records(len(HOSTILE)))
    for record, text in zip(records, HOSTILE, strict=True):
        record.key = record.source = text
        record.notes = (text,)
        record.metadata = {text: text, "kind": text}
    broken = LabelRecord.from_error("broken " + HOSTILE[0], HOSTILE[1], HOSTILE[1])
    broken.image = np.zeros((48, 48), np.float32)
    return write_store(tmp_path_factory.mktemp("hostile") / "store", [*records, broken])


def test_hostile_keys_notes_and_comments_are_text(serve, read, hostile):
    served = serve(hostile)
    asked = []
    reader = read(served, "<b>Eve")
    page = reader.page
    page.on("request", lambda request: asked.append(request.url))
    elements = "() => document.querySelectorAll('script, img, svg [onload], b, iframe').length"
    shown = page.locator("#key")
    for number in range(len(HOSTILE) + 1):
        key = reader.wait_for_label()
        until(lambda: shown.text_content() != "")
        if key == HOSTILE[3]:
            until(lambda: shown.text_content() == "\ufffd[31mred\ufffd[0m\ufffd")
        if key == HOSTILE[5]:
            until(lambda: shown.text_content() == "\ufffdgnp.exe")
        page.locator("#comment").fill(HOSTILE[number % len(HOSTILE)].replace("\x1b", ""))
        page.locator("#canvas").focus()
        if number < len(HOSTILE):
            reader.decide("u")
    reader.press("u")
    rows = served.wait_for_rows(len(HOSTILE) + 1)
    assert {row.key for row in rows} == {*HOSTILE, "broken " + HOSTILE[0]}
    assert {row.reader for row in rows} == {"<b>Eve"}
    # One `b` is the page's own: the score's.
    assert reader.ask(elements) <= 2 and reader.ask("() => window.struck") is None
    assert {url.split("/api/")[0] for url in asked} == {served.origin}


def test_no_other_origin_is_asked_and_nothing_inline_is_run(serve, read, chromium, phantoms):
    served = serve(phantoms)
    context = chromium.new_context()
    asked, complaints = [], []
    context.on("request", lambda request: asked.append(request.url))
    context.on("console", lambda message: complaints.append(message.text))
    reader = read(served, context=context)
    for key in ("s", "t", "v", "l", "?", "Escape", "a", "z"):
        reader.press(key)
    reader.wait_for_label()
    own = [url for url in asked if not url.startswith("data:")]
    assert len(own) > 20 and all(url.startswith(served.origin + "/") for url in own)
    assert complaints == []
    page = served.origin + "/"
    text = reader.ask("async page => (await fetch(page)).text()", page)
    assert "<style" not in text and "style=" not in text and " onclick" not in text
    context.close()
