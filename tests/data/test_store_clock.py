"""The label store's shards by time: a run that is killed now and then gets on."""

from types import SimpleNamespace

import pytest
from store_rows import keys_of, row

from dsnet.data.store import StoreWriter, open_store
from dsnet.data.store import writer as writer_module


def test_rows_are_flushed_after_some_seconds(tmp_path):
    with StoreWriter(tmp_path, {}, shard_seconds=0) as writer:
        writer.append(row(0))
        assert open_store(tmp_path).keys == keys_of([0])


@pytest.fixture
def at(monkeypatch):
    """The writer's clock, to set."""
    now = SimpleNamespace(seconds=50.0)
    clock = SimpleNamespace(monotonic=lambda: now.seconds)
    monkeypatch.setattr(writer_module, "time", clock)
    return now


def test_the_first_rows_are_flushed_soon(tmp_path, at):
    stored = []
    with StoreWriter(tmp_path, {}, shard_seconds=32) as writer:
        for number in range(100):
            at.seconds += 1
            writer.append(row(number))
            stored.append(len(open_store(tmp_path)))
    # After 1 s, 2, 4, 8, 16, and then 32 s each.
    assert [i + 1 for i in range(100) if stored[i] == i + 1] == [1, 3, 7, 15, 31, 63, 95]


def test_a_run_that_is_killed_every_25_seconds_gets_on(tmp_path, at):
    kept = 0
    for _ in range(4):
        writer = StoreWriter(tmp_path, {}, resume=True)
        for number in range(25):
            at.seconds += 1
            writer.append(row(kept + number))
        writer._home.release()  # As the system does of a killed process.
        got_on, kept = len(open_store(tmp_path)) - kept, len(open_store(tmp_path))
        assert got_on >= 12


def test_rows_that_are_slow_are_flushed_one_by_one(tmp_path, at):
    with StoreWriter(tmp_path, {}) as writer:
        for number in range(4):
            at.seconds += 40
            writer.append(row(number))
            assert len(open_store(tmp_path)) == number + 1
