"""The endurance study: what its archive holds, what its account sees, and a run with kills."""

import json
import signal
from collections import Counter

import numpy as np
import pytest

from bench.common.broken_archive import BROKEN_FILES, KINDS, REASONS, write_archive
from bench.common.processes import Family
from bench.common.store_account import account_of
from bench.studies import archive_endurance
from dsnet.archive import label_archive
from dsnet.archive.jobs import slice_jobs
from dsnet.data.datasets.deeplesion import read_annotations

ROWS, BROKEN = 82, 41


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """An archive in which every kind is, and its store."""
    folder = tmp_path_factory.mktemp("endurance")
    archive = write_archive(folder / "a", ROWS, BROKEN / ROWS, seed=3, marks=4, slices=2)
    jobs = slice_jobs(read_annotations(archive.table), archive.images, size=16)
    label_archive(jobs, folder / "store")
    return archive, folder / "store"


def test_each_kind_of_row_ends_as_its_maker_says(labelled):
    archive, store = labelled
    assert Counter(archive.kinds.tolist()).keys() == set(range(len(KINDS)))
    account = account_of(store, archive)
    assert not account.problems and not account.wrong and not account.strangers
    assert account.times.tolist() == [1] * ROWS and account.digests.any(1).all()
    failed = sum(bool(REASONS[KINDS[kind]]) for kind in archive.kinds)
    assert account.statuses == {"failed": failed, "ok": ROWS - failed}


def test_the_archive_is_the_same_from_the_same_seed(labelled, tmp_path):
    archive, _ = labelled
    again = write_archive(tmp_path, ROWS, BROKEN / ROWS, seed=3, marks=4, slices=2)
    assert again.table.read_bytes() == archive.table.read_bytes()
    assert np.array_equal(again.kinds, archive.kinds)


def test_the_account_sees_what_is_lost_and_what_is_wrong(labelled, tmp_path):
    archive, _ = labelled
    rows = read_annotations(archive.table)
    label_archive(slice_jobs(rows[:-2], archive.images, size=16), tmp_path / "s")
    account = account_of(tmp_path / "s", archive)
    assert account.told()["lost"] == 2 and f"line {ROWS} is lost" in account.problems
    # A failed row where a sound one was, and a sound one where a broken one was.
    kinds = archive.kinds.copy()
    first, other = (int(np.flatnonzero(kinds == k)[0]) for k in (0, KINDS.index("empty")))
    kinds[[first, other]] = kinds[[other, first]]
    account = account_of(tmp_path / "s", archive._replace(kinds=kinds))
    assert account.wrong == {"sound": 1, "empty": 1}


def test_a_family_is_known_when_its_head_is_gone(tmp_path):
    family = Family(["sh", "-c", "sleep 600 & sleep 601 & wait"], tmp_path / "log", {})
    while len(found := family.look()) < 2:
        assert not family.ended
    assert sorted(found.values()) == ["sleep 600", "sleep 601"]
    assert family.kill(family.head.pid) and family.head.wait() == -signal.SIGKILL
    assert family.look().keys() == found.keys()
    for pid in found:
        assert family.kill(pid)
    assert family.wait() == -signal.SIGKILL and not family.look()


def test_memory_is_told_by_quarters_while_rows_come():
    looks = [(float(t), 0, 900.0, 900.0) for t in range(3)]
    looks += [(3.0 + t, 10 + t, 100.0 + t // 4, 50.0) for t in range(16)]
    looks += [(20.0 + t, 99, 900.0, 900.0) for t in range(3)]
    found = archive_endurance.memory(looks)
    assert found["looks"] == 16
    assert found["parent_mb"] == {
        "by_quarter": [100.0, 101.0, 102.0, 103.0], "last_to_second": 103 / 101, "most": 103.0,
    }  # fmt: skip
    assert found["worker_mb"]["last_to_second"] == 1.0
    # Those of other nodes are not among the command's children.
    alone = archive_endurance.memory([(*look[:3], 0.0) for look in looks])
    assert alone == {"looks": 16, "parent_mb": found["parent_mb"]}


@pytest.mark.long
@pytest.mark.parametrize(
    ("executor", "count"), [("processes", 4000), ("ray", 20_000), ("nodes", 20_000)]
)
def test_kills_change_nothing(tmp_path, executor, count):
    if executor != "processes":
        pytest.importorskip("ray")
    rows = ["--rows", str(count), "--broken", "0.01", "--marks", "5", "--kills", "2"]
    out = tmp_path / "found.json"
    for by, step in (("processes", "undisturbed"), (executor, "disturbed")):
        words = ["--executor", by, "--steps", step, "--out", str(out)]
        archive_endurance.main([str(tmp_path / "a"), *rows, *words])
    found = json.loads(out.read_text())[f"{executor}, {count} rows"]["disturbed"]
    assert found["stored_once"] == count and found["rows_of_other_bits"] == 0
    assert found["starts"] == 2 and sum(found["struck"].values()) == 2


def test_a_file_is_broken_for_a_few_rows_alone(labelled):
    archive, _ = labelled
    lines = archive.table.read_text(encoding="utf-8").splitlines()[1:]
    names = [
        line.split(",")[0]
        for line, kind in zip(lines, archive.kinds, strict=True)
        if KINDS[kind] in BROKEN_FILES
    ]
    assert max(Counter(names).values()) <= 3
