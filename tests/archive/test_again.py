"""A finished run that is given again: it is known by what it asked for, until anything changes."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.common.broken_archive import write_archive
from dsnet import label
from dsnet.archive import jobs, label_archive
from dsnet.archive.again import asked_of, asked_of_pictures, is_compared, is_finished, nothing_left
from dsnet.archive.jobs import WORKER_DIED, failed_rows
from dsnet.archive.review import ReviewedJobs
from dsnet.data.datasets import deeplesion
from dsnet.data.store import StoreWriter, open_store, repair_store
from label_command import content
from worker_jobs import Job

ROWS = 8


@pytest.fixture
def command(tmp_path):
    """The command over a tiny archive, and the same to go on."""
    archive = write_archive(tmp_path / "a", ROWS, 0.0, seed=0, marks=4, slices=1)
    words = ["recist", "--annotations", str(archive.table), "--images", str(archive.images)]
    words += ["--crop", "16", "--out", str(tmp_path / "store")]
    assert label.main(words) == 0
    return [*words, "--resume"]


def test_no_table_is_read_for_a_finished_run(command, tmp_path, monkeypatch, capsys):
    before = content(tmp_path / "store")
    monkeypatch.setattr(deeplesion, "read_annotations", None)
    for _ in range(2):
        assert label.main(command) == 0
    told = capsys.readouterr().out
    assert told.count(f"{ROWS} rows are in the store already") == 2
    assert len(before) == ROWS and content(tmp_path / "store") == before


def test_settings_of_another_run_are_refused_all_the_same(command, tmp_path, capsys):
    assert label.main([*command, "--crop", "24"]) != 0
    assert "crop" in (told := capsys.readouterr().err) or "size" in told


def test_a_row_more_is_labelled(command, tmp_path):
    table = tmp_path / "a" / "DL_info.csv"
    *_, last = table.read_text().splitlines(keepends=True)
    table.write_text(table.read_text() + last)
    assert label.main(command) == 0
    assert len(open_store(tmp_path / "store")) == ROWS + 1


def test_what_was_left_out_by_an_option_is_labelled(tmp_path, command):
    few = [*(word for word in command if word != "--resume"), "--limit", "3"]
    few[few.index("--out") + 1] = str(tmp_path / "few")
    assert label.main(few) == 0 and len(open_store(tmp_path / "few")) == 3
    assert label.main([*few, "--resume", "--limit", "5"]) == 0
    assert len(open_store(tmp_path / "few")) == 5


def test_what_has_changed_is_told_each_time(command, tmp_path, capsys):
    table = tmp_path / "a" / "DL_info.csv"
    table.write_text(table.read_text().replace('"0.8, 0.8, 5"', '"0.7, 0.7, 5"'))
    for _ in range(2):
        assert label.main(command) == 0
        assert f"{ROWS} rows are labelled from other columns" in capsys.readouterr().out


def asked(jobs, **options) -> bool:
    """Whether a run of such jobs leaves a finished store."""
    given = ReviewedJobs(lambda done: iter(jobs), lambda store: [], "asked")
    label_archive(given, options["out"], **{k: v for k, v in options.items() if k != "out"})
    return is_finished(options["out"], "asked")


def test_a_run_that_stopped_or_lost_a_worker_is_not_finished(tmp_path):
    class Dying:
        def run(self, jobs, stop):
            for job in jobs:
                yield failed_rows(job, WORKER_DIED)

    assert asked([Job(0)], out=tmp_path / "whole")
    assert not asked([Job(0)], out=tmp_path / "stopped", stop=True)
    assert not asked([Job(0)], out=tmp_path / "died", executor=Dying())
    assert asked([Job(0)], out=tmp_path / "died", resume=True)
    assert not is_finished(tmp_path / "whole", "else") and not is_finished(tmp_path, "asked")


def test_whatever_changes_rows_makes_it_forget(tmp_path):
    store = tmp_path / "s"
    assert asked([Job(0), Job(1)], out=store)
    with StoreWriter(store, {}, resume=True):
        assert not is_finished(store, "asked")
    assert not is_finished(store, "asked")
    label_archive(nothing_left("asked"), store, resume=True)
    assert is_finished(store, "asked") and len(open_store(store)) == 4
    next(store.glob("shard-*")).write_bytes(b"damaged")
    assert repair_store(store) and not is_finished(store, "asked")


def test_a_store_is_compared_once_with_what_is_asked_for(tmp_path):
    store, seen, told = tmp_path / "s", [], []

    def review(found):
        seen.append(len(found))
        return list(told)

    def run(asked, count, **options):
        def left(done):
            return (job for n in range(count) if (job := Job(n)).rows[0][0] not in done)

        given = ReviewedJobs(left, review, asked)
        return label_archive(given, store, resume=True, **options).added

    # A run that makes the store, and is stopped: its rows are of what it asks for.
    rows = []
    assert run("a", 3, progress=rows.append, stop=lambda: len(rows) == 2) == 2
    assert is_compared(store, "a") and not is_finished(store, "a")
    assert run("a", 3) == 4 and seen == [] and is_finished(store, "a")
    # One that asks for more compares, once.
    assert run("b", 4, stop=True) == 0 and seen == [6]
    assert is_compared(store, "b") and not is_compared(store, "a")
    assert run("b", 4) == 2 and seen == [6]
    # What has changed is told until it has not.
    told.append("something has changed")
    assert run("c", 4) == run("c", 4) == 0 and seen == [6, 8, 8]
    told.clear()
    assert run("c", 4) == run("c", 4) == 0 and seen == [6, 8, 8, 8]
    # Whoever else writes does not say what its rows agree with.
    StoreWriter(store, {}, resume=True).close()
    assert not is_compared(store, "c") and not is_compared(tmp_path, "c")
    assert run("c", 4) == 0 and seen == [6, 8, 8, 8, 8]


def test_a_row_that_is_gone_is_told_once_the_run_goes_on_with_the_other_table(command, capsys):
    table = Path(command[command.index("--annotations") + 1])
    whole = table.read_text()
    table.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    for _ in range(2):
        assert label.main(command) == 0
        assert "1 row is in the store and not in the table" in capsys.readouterr().out
    table.write_text(whole)
    assert label.main(command) == 0 and "in the table" not in capsys.readouterr().out


def test_what_cannot_be_told_is_not_asked_for_again(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("a,b\n")
    first = asked_of([str(file)], {"limit": None})
    assert len(first) == 64 and first == asked_of([str(file)], {"limit": None})
    assert len({first, asked_of([str(file)], {"limit": 1}), asked_of([], {"limit": None})}) == 3
    file.write_text("a,c\n")
    assert asked_of([str(file)], {"limit": None}) != first
    os.mkfifo(tmp_path / "pipe.csv")
    for other in (tmp_path / "pipe.csv", tmp_path / "none.csv", tmp_path, "memory://t.csv"):
        assert asked_of([str(file), str(other)], {}) == ""
    assert not is_finished(tmp_path, "")


def test_a_finished_folder_is_not_looked_at_again(tmp_path, monkeypatch, capsys):
    disc = np.zeros((24, 24), np.uint8)
    cv2.circle(disc, (12, 12), 6, 255, -1)

    def add(name):
        for folder, pixels in (("images", disc // 2 + 60), ("masks", disc)):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / name), pixels)

    for name in "ab":
        add(f"{name}.png")
    words = ["masks", "--images", str(tmp_path / "images"), "--masks", str(tmp_path / "masks")]
    words += ["--out", str(tmp_path / "store"), "--resume"]
    assert label.main(words) == 0
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "review_pictures", None)
        patch.setattr(jobs, "picture_jobs", None)
        capsys.readouterr()
        assert label.main(words) == 0
        assert "2 rows are in the store already" in capsys.readouterr().out
    # One more, one of another file, and one less.
    add("c.png")
    assert label.main(words) == 0 and len(open_store(tmp_path / "store")) == 3
    pixels = cv2.imread(str(tmp_path / "images" / "a.png"), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(tmp_path / "images" / "a.bmp"), pixels)
    for gone in ("images/a.png", "images/b.png"):
        (tmp_path / gone).unlink()
    for _ in range(2):  # As long as it is so.
        capsys.readouterr()
        assert label.main(words) == 0
        told = capsys.readouterr().out
        assert "1 row is in the store and not in the folders: b" in told
        assert "1 row is labelled from other files than there are now" in told
    words[words.index("--resume")] = "--retry-failed"
    assert label.main(words) == 0
    few = [*(word for word in words if word != "--retry-failed"), "--limit", "1"]
    few[few.index("--out") + 1] = str(tmp_path / "few")
    assert label.main(few) == 0
    assert label.main([*few[:-1], "2", "--resume"]) == 0
    assert [r.key for r in open_store(tmp_path / "few")] == ["a", "c"]


def test_pictures_are_told_apart_by_key_and_source():
    asked = asked_of_pictures([("a", "x/a.png")], {"limit": None})
    assert len(asked) == 64 and asked == asked_of_pictures([("a", "x/a.png")], {"limit": None})
    others = [
        asked_of_pictures([("a", "x/a.bmp")], {"limit": None}),
        asked_of_pictures([("b", "x/a.png")], {"limit": None}),
        asked_of_pictures([("a", "x/a.png")], {"limit": 1}),
        asked_of_pictures([("a", "x/a.png"), ("b", "b\udce9")], {"limit": None}),
        asked_of_pictures([], {"limit": None}),
    ]
    assert len({asked, *others}) == 6
