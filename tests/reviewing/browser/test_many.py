"""A store of 100,000 labels."""

import numpy as np
import pytest

from dsnet.data.store import LabelRecord
from review_page import Served, until, write_store

COUNT = 100_000


def tiny_records():
    random = np.random.default_rng(0)
    image = random.random((8, 8), dtype=np.float32)
    alpha = np.zeros((8, 8), np.float32)
    alpha[2:6, 2:6] = 1
    trimap = np.where(alpha > 0, 255, 0).astype(np.uint8)
    scores = random.random(COUNT)
    for number in range(COUNT):
        yield LabelRecord(
            key=f"label-{number:06d}",
            image=image,
            alpha=alpha,
            binary=alpha >= 0.5,
            trimap=trimap,
            mark=np.array([2.0, 3, 5, 3, 4, 2, 4, 5]),
            quality={"expected_dice": float(scores[number])},
        )


@pytest.mark.long
def test_a_hundred_thousand_labels_open_and_scroll(tmp_path, read, forks):
    served = Served(forks, write_store(tmp_path / "store", tiny_records())).start()
    try:
        reader = read(served)
        opened = reader.ask("() => dsnetReview.timings.opened")
        print(f"opened in {opened:.0f} ms")
        assert opened < 20_000
        rows = reader.page.locator("#rows .row")
        scores = []
        for share in (0.0, 0.25, 0.5, 1.0):
            reader.ask(
                "share => { const box = document.getElementById('rows');"
                " box.scrollTop = share * (box.scrollHeight - box.clientHeight); }",
                share,
            )
            until(lambda share=share: seen(rows, share))
            scores.append(float(rows.nth(5).locator(".score").text_content()))
        # In the order of the score from end to end, and no more rows than are seen.
        assert scores == sorted(scores) and scores[0] < 0.01 and scores[-1] > 0.99
        assert rows.count() < 60
        assert rows.last.get_attribute("aria-posinset") == str(COUNT)
        rows.last.click()
        last = reader.wait_for_label(other_than=reader.key)
        assert last == rows.last.locator(".key").text_content()
    finally:
        served.kill()


def seen(rows, share):
    """Whether the rows of that place are filled in."""
    place = int(rows.first.get_attribute("aria-posinset")) / COUNT
    return abs(place - share) < 0.01 and rows.locator(".key").count() == rows.count()
