"""Workers that write the shards of one store: order, deaths, stops, errors."""

import errno
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from dsnet.archive import ProcessExecutor, label_archive, phantom_jobs
from dsnet.archive.blocks import Block, BlockResult, Blocks
from dsnet.archive.jobs import WORKER_DIED
from dsnet.data.store import LabelRecord, StoreWriter, open_store, validate_store
from dsnet.data.store.stage import Recipe, ShardBuilder
from label_command import LIMIT, content
from worker_jobs import Job

KEYS = [f"{i}-{part}" for i in range(40) for part in "ab"]


@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.long)])
def test_a_store_of_several_workers_is_that_of_one(tmp_path, workers):
    jobs = phantom_jobs(30, 24)
    label_archive(jobs, tmp_path / "one", settings={"a": 1})
    label_archive(jobs, tmp_path / "more", settings={"a": 1}, workers=workers)
    assert content(tmp_path / "more") == content(tmp_path / "one")
    assert validate_store(tmp_path / "more") == []
    names = sorted(os.listdir(tmp_path / "more"))
    assert names[0] == "_manifest.parquet" and all(n.startswith("shard-") for n in names[1:])


def test_workers_that_die_cost_their_rows_only(tmp_path):
    jobs = [Job(i, "die" if i in (3, 17, 39) else "") for i in range(40)]
    summary = label_archive(jobs, tmp_path / "s", workers=2)
    found = {r.key: r.error for r in open_store(tmp_path / "s")}
    assert list(found) == KEYS and summary.rows == summary.added == 80
    died = {key for key, error in found.items() if error == WORKER_DIED}
    assert died == {f"{i}-{part}" for i in (3, 17, 39) for part in "ab"}
    assert {error for key, error in found.items() if key not in died} == {"fine"}


@pytest.mark.parametrize("deaths", [pytest.param(1, marks=pytest.mark.long), 2, 3])
def test_a_job_is_blamed_when_it_kills_its_process_alone_twice(tmp_path, deaths):
    jobs = [Job(i, f"die {deaths}" if i == 5 else "", tmp_path / "died") for i in range(20)]
    label_archive(jobs, tmp_path / "s", workers=2)
    found = {r.key: r.error for r in open_store(tmp_path / "s")}
    blamed = {"5-a", "5-b"} if deaths == 3 else set()
    assert {key for key, error in found.items() if error == WORKER_DIED} == blamed
    assert list(found) == KEYS[:40] and validate_store(tmp_path / "s") == []


def test_what_is_no_record_costs_its_rows(tmp_path):
    jobs = [Job(i, {1: "unsendable", 2: "raise"}.get(i, "")) for i in range(4)]
    label_archive(jobs, tmp_path / "s", workers=2)
    found = {r.key: r.error for r in open_store(tmp_path / "s")}
    assert list(found) == KEYS[:8]
    assert found["1-a"] == "a job must return LabelRecords, got lock"
    assert found["2-b"] == "OverflowError: too much" and found["3-a"] == "fine"


def test_a_job_that_cannot_be_sent_costs_its_rows(tmp_path):
    jobs = [Job(i, "", threading.Lock() if i == 2 else None) for i in range(6)]
    label_archive(jobs, tmp_path / "s", workers=2)
    found = {r.key: r.error for r in open_store(tmp_path / "s")}
    assert list(found) == KEYS[:12]
    assert {key for key, error in found.items() if "pickle" in error} == {"2-a", "2-b"}


def test_a_shard_that_cannot_be_written_ends_the_run(tmp_path):
    recipe = Recipe(str(tmp_path / "nowhere"), 16, b"{}")
    with pytest.raises(OSError, match="nowhere"):
        list(ProcessExecutor(2).stage([Job(1)], False, recipe))


def test_a_full_disk_is_named_by_who_stages_a_shard(tmp_path, monkeypatch):
    def full(descriptor, some):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    made = Block((Job(1),), Recipe(str(tmp_path), 16, b"{}")).run()
    # As it comes from another process.
    error = pickle.loads(pickle.dumps(made.error))
    assert f"No space left on device: '{tmp_path}" in str(error) and os.listdir(tmp_path) == []


def test_keys_that_come_again_are_left_out(tmp_path):
    told = []

    class Observer:
        def begin(self, stored):
            told.append(stored)

        def add(self, record):
            told.append((record.key, record.error))

        def say(self, text):
            told.append(text)

    jobs = [Job(0), Job(1), Job(0), Job(2)]
    label_archive(jobs, tmp_path / "s", workers=2, progress=Observer())
    assert open_store(tmp_path / "s").keys == ["0-a", "0-b", "1-a", "1-b", "2-a", "2-b"]
    assert sorted(map(str, told)) == sorted(
        ["0", *(f"('{i}-{p}', 'fine')" for i in range(3) for p in "ab"),
         *(f"left out, its key came before: 0-{p}" for p in "ab")]
    )  # fmt: skip


def test_the_store_leaves_out_what_it_has(tmp_path):
    with StoreWriter(tmp_path / "s", {}) as writer:
        for keys in (["a", "b"], ["b", "c", "c"], ["a", "c"]):
            builder = ShardBuilder(writer.recipe)
            for key in keys:
                builder.take(LabelRecord.from_error(key, "x", "y"))
            told = writer.commit(builder.stage())
            assert (
                told
                == {
                    "a b": ("shard-00000.parquet", []),
                    "b c c": ("shard-00001.parquet", ["c", "b"]),
                    "a c": ("", ["a", "c"]),
                }[" ".join(keys)]
            )
        assert writer.done == {"a", "b", "c"} and len(writer.done) == 3
    assert open_store(tmp_path / "s").keys == ["a", "b", "c"]
    assert validate_store(tmp_path / "s") == []
    assert sorted(os.listdir(tmp_path / "s"))[1:] == ["shard-00000.parquet", "shard-00001.parquet"]


def test_what_cannot_be_stored_is_a_failed_row(tmp_path):
    bad = LabelRecord("a", image=np.full((2, 2), 7.0), alpha=None)
    with StoreWriter(tmp_path / "s", {}) as writer:
        builder = ShardBuilder(writer.recipe)
        builder.take(bad)
        writer.commit(builder.stage())
    (row,) = open_store(tmp_path / "s")
    assert row.status == "failed"
    assert row.error == "cannot be stored: image must lie in 0..1, got 7.0..7.0"


def test_blocks_are_whole_and_in_order():
    jobs = [Job(i) for i in range(50)]
    blocks = Blocks(iter(jobs), Recipe("x", 16, b""), 1)
    taken = []
    while (block := blocks.next()) is not None:
        taken.append(block)
    assert [job for block in taken for job in block.jobs] == jobs
    assert {len(block.rows) for block in taken[:-1]} == {8}
    block = Block(tuple(jobs[:5]), Recipe("x", 16, b""))
    assert [[j.number for j in b.jobs] for b in block.around(2)] == [[0, 1], [2], [3, 4]]
    assert [b.suspect for b in block.around(2)] == [False, True, False]
    assert [[j.number for j in b.jobs] for b in block.around(0)] == [[0], [1, 2, 3, 4]]
    assert [[j.number for j in b.jobs] for b in block.around(4)] == [[0, 1, 2, 3], [4]]
    assert block.around(-1) == block.around(5) == ()
    assert Block(tuple(jobs[:1]), Recipe("x", 16, b"")).around(0) == ()


@pytest.mark.parametrize("workers", [2, 5])
def test_the_last_blocks_are_smaller_and_smaller(workers):
    jobs = [Job(i) for i in range(5000)]
    blocks = Blocks(iter(jobs), Recipe("x", 16, b""), workers)
    taken = []
    while (block := blocks.next()) is not None:
        taken.append(block)
        blocks.learn(BlockResult([], 800, 2.0, cut=False))
    assert [job for block in taken for job in block.jobs] == jobs
    sizes = [len(block.rows) for block in taken]
    assert sizes[0] == 8 and max(sizes) == 800
    # From the largest on each is what is left by the workers, at least a part of a whole one.
    for number in range(sizes.index(800), len(sizes)):
        left = sum(sizes[number:])
        assert sizes[number] <= max(min(800, -(-left // workers) + 1), 26), sizes
    assert sizes[-1] <= 26


def test_blocks_grow_while_the_first_one_is_not_done(tmp_path):
    # The first job ends when one has begun that is in none of the first eight rows of eight.
    deeds = {0: "wait", 34: "meet"}
    jobs = [Job(i, deeds.get(i, ""), tmp_path / "met") for i in range(40)]
    summary = label_archive(jobs, tmp_path / "s", workers=2)
    assert summary.rows == 80 and open_store(tmp_path / "s").keys == KEYS


def test_no_worker_waits_until_its_rows_are_stored(tmp_path):
    jobs = [Job(i, "meet", tmp_path / f"met-{i}") for i in range(10)]
    rows = []
    for shards in ProcessExecutor(1).stage(jobs, False, Recipe(str(tmp_path), 16, b"{}")):
        if not rows:  # Whoever stores them is slow: the last job is begun meanwhile.
            limit = time.monotonic() + LIMIT
            while not (tmp_path / "met-9").exists():
                assert time.monotonic() < limit, sorted(os.listdir(tmp_path))
                time.sleep(0.01)
        rows += [row.key for shard in shards for row in shard.rows]
    assert rows == KEYS[:20]


def test_a_stopped_run_has_no_gap(tmp_path):
    stop, rows = threading.Event(), []

    def progress(record):
        rows.append(record.key)
        if len(rows) == 20:
            stop.set()

    summary = label_archive(
        phantom_jobs(5000, 24), tmp_path / "s", workers=2, progress=progress, stop=stop
    )
    assert summary.stopped and 20 <= summary.rows < 5000
    keys = open_store(tmp_path / "s").keys
    assert (
        keys == rows == [key for ((key, _),) in (j.rows for j in phantom_jobs(len(keys), 24)(()))]
    )
    assert not [n for n in os.listdir(tmp_path / "s") if n.startswith(".")]


KILLED = """
import json, sys
from dsnet.archive import label_archive
from worker_jobs import Job
if __name__ == "__main__":
    label_archive([Job(i) for i in range(300)], sys.argv[1], resume=True, workers=2,
                  progress=lambda record: print(record.key, flush=True))
"""


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_kills_of_the_run_and_of_its_workers_lose_and_double_nothing(tmp_path, seed):
    script, out, draw = tmp_path / "run.py", tmp_path / "s", random.Random(seed)
    script.write_text(KILLED)
    here = os.path.dirname(os.path.abspath(__file__))
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    for _ in range(3):
        run = subprocess.Popen(
            [sys.executable, str(script), str(out)], stdout=subprocess.PIPE, text=True,
            env=environment,
        )  # fmt: skip
        for _ in range(draw.randrange(1, 120)):
            if not run.stdout.readline():
                break
        run.send_signal(signal.SIGKILL)
        run.wait(LIMIT)
        run.stdout.close()
        if out.exists() and (out / "_manifest.parquet").exists():
            keys = open_store(out).keys
            assert keys == [f"{i}-{p}" for i in range(300) for p in "ab"][: len(keys)]
    label_archive([Job(i) for i in range(300)], out, resume=True, workers=2)
    store = open_store(out)
    assert store.keys == [f"{i}-{p}" for i in range(300) for p in "ab"]
    assert store.validate() == [] and {r.error for r in store} == {"fine"}
    assert not [name for name in os.listdir(out) if name.startswith(".")]
