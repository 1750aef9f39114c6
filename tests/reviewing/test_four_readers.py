"""Four readers at once: nobody gets another one's label, every verdict stays."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from dsnet.data.store import open_store
from dsnet.data.store.decisions import read_decisions
from review_desk import TOKEN, Reader, labelled

pytest.importorskip("starlette")
pytest.importorskip("httpx")

from starlette.testclient import TestClient

from dsnet.reviewing.app import make_app
from dsnet.reviewing.plan import Plan
from dsnet.reviewing.review import Review

NAMES = ("Ann", "Bob", "Eve", "Max")
LABELS = 60


@pytest.fixture
def desk(write_store):
    """(the store's path, the review, a page of a reader's, the clock of the leases)"""
    record = labelled("k")
    path = write_store([replace(record, key=f"k{i}") for i in range(LABELS)], "many")

    def open_it(**plan):
        now = [0.0]
        review = Review(open_store(path), Plan(**plan), clock=lambda: now[0])
        app = make_app(review, TOKEN)
        reader = lambda name: Reader(TestClient(app, base_url="http://127.0.0.1:8477"), name)  # noqa: E731
        return path, review, reader, now

    return open_it


def read_all(reader, seen, lock, before, readings):
    """A reader who takes two labels at a time until nothing is left."""
    own = []
    while items := reader.ask("queue", count=2)["items"]:
        with lock:
            taken = {item["index"] for item in items}
            before[reader.name] = set()
            clash = taken & set().union(*before.values())
            before[reader.name] = taken
        assert not clash, f"{clash} lies before two readers"
        for item in items:
            index = item["index"]
            assert reader.ask(f"label/{index}")["lent_to"] == reader.name
            if readings == 1 and index % 7 == 3:
                # Taken back, and said anew; of several readings it may be another one's by then.
                reader.tell(f"label/{index}/verdict", verdict="reject", key=item["key"])
                reader.tell("undo")
            with lock:
                # From the verdict on it may lie before the next one of several readers.
                before[reader.name] = before[reader.name] - {index}
            reader.tell(f"label/{index}/verdict", verdict="unsure", key=item["key"])
            own.append(index)
    seen[reader.name] = own


@pytest.mark.parametrize("readings", [1, 4])
def test_four_readers_share_a_store(desk, readings):
    path, review, page, _ = desk(readings=readings)
    seen, before, lock = {}, {}, threading.Lock()
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(read_all, page(n), seen, lock, before, readings) for n in NAMES]:
            done.result()
    everyone = [index for own in seen.values() for index in own]
    if readings == 1:
        assert sorted(everyone) == list(range(LABELS))
        assert all(seen.values())
    told = {row["name"]: row["decided"] for row in page("Ann").ask("session")["readers"]}
    assert told == {name: len(own) for name, own in seen.items()}
    rows = read_decisions(path).rows
    undone = {row.undoes for row in rows if row.kind == "undo"}
    stands = [
        (row.reader, row.key) for row in rows if row.kind == "verdict" if row.id not in undone
    ]
    assert sorted(stands) == sorted((n, f"k{i}") for n, own in seen.items() for i in own)
    # A server that is begun anew knows the same.
    again = Review(open_store(path), Plan(readings=readings))
    assert {row["name"]: row["decided"] for row in again.decided_by()} == told
    assert again.progress("Ann")["reviewed"] == review.progress("Ann")["reviewed"]


def test_a_reader_who_vanishes_frees_the_labels(desk):
    _, _, page, now = desk()
    ann, bob, eve, max_ = map(page, NAMES)
    held = [reader.indices(count=LABELS // 4) for reader in (ann, bob, eve, max_)]
    assert sorted(index for own in held for index in own) == list(range(LABELS))
    assert ann.indices(after=held[0][-1], count=50) == []
    now[0] = 60.0
    for reader, own in ((ann, held[0]), (bob, held[1]), (eve, held[2])):
        assert reader.tell("lease", indices=own)["held"] == own
    now[0] = 91.0  # Max is gone since the beginning.
    assert ann.indices(count=50) == held[0] + held[3]
    # Somebody who comes back finds his labels with another reader, and what he decided counts.
    assert max_.tell("lease", indices=held[3])["held"] == [] and max_.indices(count=50) == []
    max_.tell(f"label/{held[3][0]}/verdict", verdict="unsure")
    assert held[3][0] not in ann.indices(count=50)
