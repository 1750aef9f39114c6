"""A store to review, and a review of it, open."""

import pytest

from dsnet.data.store import StoreWriter, open_store
from review_desk import TOKEN, Reader, labelled
from review_servers import Forks


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    """Starts servers."""
    found = Forks(tmp_path_factory.mktemp("servers"))
    yield found
    found.end()


@pytest.fixture
def write_store(tmp_path):
    """Writes a store of records; its path."""

    def write(records, name="store", **options):
        path = tmp_path / name
        with StoreWriter(path, {"crop": 48}, shard_rows=4, shard_seconds=1e9, **options) as writer:
            for record in records:
                writer.append(record)
        return path

    return write


@pytest.fixture
def store(write_store):
    """Ten labels whose expected Dice falls from 0.99 to 0.90, then a failed row with a picture."""
    records = [
        labelled(f"k{i}", i, quality={"expected_dice": 0.99 - 0.01 * i, "overall": 0.8})
        for i in range(10)
    ]
    nothing = {"alpha": None, "binary": None, "trimap": None, "mark": None, "quality": {}}
    records.append(labelled("failed", 11, status="failed", error="no mark", **nothing))
    return write_store(records)


@pytest.fixture
def open_review(store):
    """Opens a review of the store, or of another one, and a page of a reader's."""
    pytest.importorskip("starlette")
    pytest.importorskip("httpx")
    from starlette.testclient import TestClient

    from dsnet.reviewing.app import make_app
    from dsnet.reviewing.plan import Plan
    from dsnet.reviewing.review import Review

    def open_it(path=None, clock=None, **plan):
        more = {} if clock is None else {"clock": clock}
        review = Review(open_store(path or store), Plan(**plan), **more)
        client = TestClient(make_app(review, TOKEN), base_url="http://127.0.0.1:8477")
        return review, lambda name="Ann", token=TOKEN: Reader(client, name, token)

    return open_it
