"""`label ... --out ADDRESS`: the store lies there, as it would lie in a folder."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from dsnet import label
from dsnet.archive import label_archive
from dsnet.archive.jobs import phantom_jobs
from dsnet.data.store import open_store, validate_store
from dsnet.files import write_png
from label_command import LIMIT, content

pytest.importorskip("fsspec")


def write_pictures(folder, count):
    draw = np.random.default_rng(3)
    yy, xx = np.mgrid[:40, :40]
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(count):
        mask = np.hypot(yy - 20, xx - 19) < 6 + number
        image = np.where(mask, 170, 60) + draw.integers(0, 20, mask.shape)
        write_png(folder / "images" / f"p{number}_a.png", image.astype(np.uint8))
        write_png(folder / "masks" / f"p{number}_a.png", mask.astype(np.uint8) * 255)


def test_the_command_writes_to_an_address(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path, 5)
    address = f"file://{tmp_path}/away"
    masks = ["masks", "--images", "images", "--masks", "masks", "--patients", "^[^_]+"]
    assert label.main([*masks, "--out", "here"]) == 0
    assert label.main([*masks, "--out", address, "--limit", "3"]) == 0
    assert "rows: 3\n" in capsys.readouterr().out
    assert label.main([*masks, "--out", address]) == 2
    assert f"{address} is not empty: add --resume" in capsys.readouterr().err
    assert label.main([*masks, "--out", address, "--resume", "--workers", "2"]) == 0
    told = capsys.readouterr().out
    assert "3 rows are in the store already" in told and "labelled: 5 (100.0 %)" in told
    assert content(address) == content("here")
    assert label.main(["check", address]) == 0
    assert capsys.readouterr().out == "5 rows, all checksums right\n"
    assert set(os.listdir("away")) == {"_manifest.parquet", *open_store(address).shards}


def test_what_is_no_place_for_a_store_is_told(tmp_path, capsys):
    for command, place, told in (
        (["demo"], "s3://b/s", "--out: must be a folder, got the address s3://b/s"),
        (["masks", "--images", "a", "--masks", "b"], "nowhere://b/s", "--out: nowhere://b/s: "),
    ):
        with pytest.raises(SystemExit):
            label.main([*command, "--out", place])
        assert told in capsys.readouterr().err
    with pytest.raises(ValueError, match="out must be where other processes write, too, got mem"):
        label_archive(phantom_jobs(3, 16), "memory://bucket/store", workers=2)


RUN = """
import sys
from dsnet.archive import label_archive
from dsnet.archive.jobs import phantom_jobs
def told(record):
    print(record.key, flush=True)
if __name__ == "__main__":
    label_archive(phantom_jobs(600, 16), sys.argv[1], workers=2, resume=True, progress=told)
"""


@pytest.mark.long
def test_killed_runs_are_completed_from_anywhere(tmp_path):
    address, script = f"file://{tmp_path}/away", tmp_path / "run.py"
    script.write_text(RUN)
    before = 0
    for lines in (3, 40, 90):
        run = subprocess.Popen([sys.executable, str(script), address], stdout=subprocess.PIPE)
        for _ in range(lines):
            assert run.stdout.readline()
        run.send_signal(signal.SIGKILL)
        run.communicate(timeout=LIMIT)
        there = len(open_store(address))
        assert before < there < 600 and validate_store(address) == []
        before = there
    label_archive(phantom_jobs(600, 16), address, workers=2, resume=True)
    label_archive(phantom_jobs(600, 16), tmp_path / "here")
    assert content(address) == content(tmp_path / "here") and validate_store(address) == []
    assert set(os.listdir(tmp_path / "away")) == {"_manifest.parquet", *open_store(address).shards}
