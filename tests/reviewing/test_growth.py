"""A store that changes while it is reviewed: rows come, are tried again, shards merge."""

import numpy as np
import pytest

from dsnet.data.store import LabelRecord, StoreWriter, open_store
from dsnet.data.store.check import repair_store
from dsnet.data.store.compact import compact_store
from dsnet.data.store.decisions import read_decisions
from review_desk import labelled, planes


def append(path, *records, **options):
    """As a run does that resumes the store."""
    with StoreWriter(path, {"crop": 48}, resume=True, shard_seconds=1e9, **options) as writer:
        for record in records:
            writer.append(record)


def fresh(number, dice=0.5):
    quality = {"expected_dice": dice, "overall": 0.5}
    return labelled(f"new{number}", 20 + number, quality=quality, source="later.png")


def alpha_of(reader, index):
    return planes(reader.ask(f"label/{index}/planes"))["alpha"]


def test_what_is_appended_is_reviewed_too(open_review, store):
    review, reader = open_review()
    ann, bob = reader("Ann"), reader("Bob")
    ann.tell("label/9/verdict", verdict="reject", reason="leaks")
    told = ann.tell("label/8/verdict", verdict="accept", mend={"threshold": 0.3})
    assert bob.indices(count=1) == [10] and not review.look()
    append(store, fresh(0, 0.95), fresh(1, 0.2))
    assert review.look() and not review.look()
    session = ann.ask("session")
    assert (session["count"], session["reviewed"], session["left"]) == (13, 2, 11)
    assert "later.png" in [source["name"] for source in session["sources"]]
    # The worst first, whenever it came; what Bob holds he still holds.
    assert ann.indices(count=3) == [12, 7, 6] and bob.indices(count=1) == [10]
    assert [item["index"] for item in ann.ask("list", count=2)["items"]] == [10, 12]
    assert np.array_equal(alpha_of(ann, 12), planes_of(fresh(1)))
    ann.tell("label/12/verdict", verdict="accept", key="new1", seconds=1.0)
    assert ann.ask("label/8")["version"] == told["version"]
    rows = {row.key: row.verdict for row in read_decisions(store).rows if row.kind == "verdict"}
    assert rows == {"k9": "reject", "k8": "accept", "new1": "accept"}
    assert open_store(store).validate() == []


def planes_of(record):
    return np.floor(record.alpha.astype(np.float64) * 255 + 0.5).astype(np.uint8)


def test_failed_rows_that_are_tried_again_keep_their_numbers(open_review, write_store):
    lost = [LabelRecord.from_error(f"f{i}", "s.png", "no file") for i in range(2)]
    for record in lost:
        record.image = np.zeros((48, 48), np.float32)
    before = [labelled("a", 1), lost[0], labelled("b", 2), lost[1], labelled("c", 3)]
    path = write_store(before, "tried")
    review, reader = open_review(path)
    ann = reader("Ann")
    wanted = {index: alpha_of(ann, index) for index in (0, 2, 4)}
    ann.tell("label/4/verdict", verdict="unsure")
    # One comes labelled, behind the others; one is gone.
    append(path, labelled("f1", 4), retry_failed=True)
    assert open_store(path).keys == ["a", "b", "c", "f1"]
    assert review.look()
    for index, alpha in wanted.items():
        assert np.array_equal(alpha_of(ann, index), alpha)
    assert ann.ask("label/3")["status"] == "ok"
    assert np.array_equal(alpha_of(ann, 3), planes_of(labelled("f1", 4)))
    assert "no row 'f0'" in ann.ask("label/1", 507)["error"]
    assert sorted(ann.indices(count=50)) == [0, 2, 3]
    assert ann.ask("session")["count"] == 4
    ann.tell("label/2/verdict", verdict="accept", key="b")
    assert [row.key for row in read_decisions(path).rows] == ["c", "b"]
    # It comes back under the number that it had.
    append(path, labelled("f0", 5))
    assert review.look() and ann.ask("label/1")["key"] == "f0"
    assert ann.ask("session")["count"] == 5


def test_a_store_whose_first_row_goes_is_the_same_store(open_review, write_store):
    """What a browser keeps of it until it is sent goes by its id."""
    path = write_store([LabelRecord.from_error("f", "s.png", "no file"), labelled("a", 1)], "first")
    before = open_review(path)[1]().ask("session")["store_id"]
    append(path, labelled("b", 2), retry_failed=True)
    assert open_store(path).keys == ["a", "b"]
    assert open_review(path)[1]().ask("session")["store_id"] == before


def test_a_store_that_is_compacted_is_read_on(open_review, store):
    _, reader = open_review()
    ann = reader("Ann")
    wanted = alpha_of(ann, 2)
    # Nobody looked yet: the label's own file is gone when it is read.
    assert compact_store(store) == (3, 1)
    assert np.array_equal(alpha_of(ann, 9), planes_of(labelled("k9", 9)))
    assert np.array_equal(alpha_of(ann, 2), wanted)
    ann.tell("label/9/verdict", verdict="accept", key="k9")
    assert ann.indices(count=50) == [10, 8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_a_sample_stays_what_it_was(open_review, store):
    review, reader = open_review(sample=4, seed=3)
    chosen = review.view().order.tolist()
    append(store, fresh(0))
    assert review.look()
    assert review.view().order.tolist() == chosen and reader().ask("session")["count"] == 4
    assert reader().ask("label/11")["key"] == "new0"


def test_a_random_order_keeps_its_order_when_more_comes(open_review, store):
    review, _ = open_review(order="random", seed=5)
    before = review.view().order.tolist()
    append(store, *(fresh(n) for n in range(5)))
    assert review.look()
    after = review.view().order.tolist()
    assert [index for index in after if index < 11] == before and sorted(after) == [*range(16)]


def test_several_readings_and_leases_over_a_change(open_review, store):
    now = [0.0]
    review, reader = open_review(clock=lambda: now[0], readings=2)
    ann, bob = reader("Ann"), reader("Bob")
    ann.tell("label/9/verdict", verdict="accept")
    assert ann.indices(count=2) == [10, 8]
    append(store, fresh(0, 0.1))
    assert review.look()
    assert bob.indices(count=50) == [11, 9, *range(7, -1, -1)]
    told = bob.tell("label/9/verdict", verdict="accept")
    assert (told["reviewed"], told["count"]) == (1, 12)
    assert 9 not in ann.indices(count=50)


def test_a_repair_waits_for_the_server_to_end(store):
    from dsnet.data.store.review_lock import review_lock

    lock = review_lock(store, "x")
    lock.tell("http://127.0.0.1:8477 (process 1 on \x1b[31mhost)")
    with pytest.raises(RuntimeError, match=r"being reviewed at http://127\.0\.0\.1:8477") as error:
        repair_store(store)
    assert "stop that server, then repair" in str(error.value) and "\x1b" not in str(error.value)
    lock.release()
    assert repair_store(store) == [] and not (store / ".review.lock").exists()
