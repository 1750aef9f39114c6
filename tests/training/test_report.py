"""What a training writes about itself."""

import csv

import pytest

from dsnet.training.report import Log, Table


def test_a_resumed_log_holds_every_step_once(tmp_path):
    log = Log(tmp_path, 9)
    for step in (2, 4, 6):
        log.read(step, {"total": step / 2})
        log.validated(step, step // 2, 4, step / 10, 0.41, step / 20)
    log.close()
    with open(tmp_path / "log.csv", "a") as file:
        file.write("8,0.")  # The run was killed here; its last checkpoint is of step 4.
    log = Log(tmp_path, 9, done=4)
    log.read(6, {"total": 5.0})
    log.close()
    table = list(csv.DictReader((tmp_path / "validation.csv").read_text().splitlines()))
    assert [tuple(row[n] for n in ("step", "epoch", "dice", "dice_half")) for row in table] == [
        ("2", "1", "0.2", "0.1"),
        ("4", "2", "0.4", "0.2"),
    ]
    assert [row["threshold"] for row in table] == ["0.41", "0.41"]
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [(row["step"], row["total"]) for row in rows] == [("2", "1"), ("4", "2"), ("6", "5")]


def test_a_table_that_an_older_version_began_keeps_its_columns(tmp_path):
    (tmp_path / "validation.csv").write_text("step,epoch,dice,seconds\n2,1,0.5,7\n")
    log = Log(tmp_path, 9, done=2)
    log.validated(4, 2, 4, 0.6, 0.41, 0.55)
    log.close()
    rows = list(csv.DictReader((tmp_path / "validation.csv").read_text().splitlines()))
    assert [(row["step"], row["dice"]) for row in rows] == [("2", "0.5"), ("4", "0.6")]
    assert not any(None in row or "threshold" in row for row in rows)


def test_a_full_disk_is_told_with_the_table(tmp_path):
    table = Table(tmp_path / "log.csv", 0)
    table._file.close()
    table._file = open("/dev/full", "a", newline="")  # noqa: SIM115
    table._writer = csv.writer(table._file)
    for write in (lambda: table.write(1, {"total": 0.5}), table.close):
        with pytest.raises(OSError, match=r"No space left on device: '.*/log\.csv'"):
            write()
