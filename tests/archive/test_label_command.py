import os
import signal
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from dsnet import label
from dsnet.archive import ProcessExecutor
from dsnet.archive.report import failure_reasons, summary_rows
from dsnet.console import Stop
from dsnet.data.store import StoreWriter, open_store, validate_store
from dsnet.data.store.record import LabelRecord
from dsnet.data.store.sums import LOW_DICE, LOW_QUALITY
from dsnet.labeling.notes import EMPTY
from label_command import LIMIT, content, outcomes, telling_command, wait_for_line
from worker_jobs import Job

COMMANDS = ("demo", "recist", "masks", "raters", "show", "check", "export")


def test_demo_writes_sheet_and_store(tmp_path, capsys):
    import cv2

    out = tmp_path / "demo"
    assert label.main(["demo", "--out", str(out), "--count", "6", "--size", "48"]) == 0
    told = capsys.readouterr().out
    assert "labelled: 6 (100.0 %)" in told and "matting, mean:" in told
    assert "\x1b" not in told
    sheet = cv2.imread(str(out / "sheet.png"))
    assert sheet is not None and sheet.std() > 10
    records = list(open_store(out / "store").records())
    assert [r.metadata["kind"] for r in records] == [
        "solid",
        "part-solid",
        "ground-glass",
        "spiculated",
        "wall-attached",
        "vessel-attached",
    ]
    assert np.mean([r.metadata["dice"] for r in records]) > 0.9
    assert validate_store(out / "store") == []


def test_workers_do_not_change_the_store(tmp_path):
    for workers in ("1", "2"):
        arguments = ["demo", "--out", str(tmp_path / workers), "--count", "7", "--size", "32"]
        assert label.main([*arguments, "--workers", workers]) == 0
    assert content(tmp_path / "1/store") == content(tmp_path / "2/store")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_run_is_completed_by_resume(tmp_path, workers, number):
    out = tmp_path / "demo"
    arguments = ["demo", "--out", str(out), "--size", "24", "--workers", str(workers)]
    # More than the pipe holds lines for, were the signal late.
    run = telling_command(*arguments, "--count", 20000, start_new_session=True)
    wait_for_line(run, "1 of 20000 rows")
    # A terminal sends Ctrl-C to every process of the group.
    (os.killpg if number == signal.SIGINT else os.kill)(run.pid, number)
    _, complaint = run.communicate(timeout=LIMIT)
    assert run.returncode == 128 + number, complaint
    assert "Traceback" not in complaint
    assert complaint.strip().endswith(
        f"python -m dsnet.label demo --out {out} --size 24 --workers {workers}"
        " --count 20000 --resume"
    )
    assert validate_store(out / "store") == []
    done = len(open_store(out / "store"))
    assert 0 < done < 20000
    count = str(done + 3)
    assert label.main([*arguments[:-1], "1", "--count", count, "--resume"]) == 0
    fresh = tmp_path / "fresh"
    assert label.main(["demo", "--out", str(fresh), "--size", "24", "--count", count]) == 0
    assert content(out / "store") == content(fresh / "store")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_that_raises_costs_its_rows_only(workers, tmp_path):
    jobs = [Job(i, "raise" if i == 2 else "") for i in range(6)]
    if workers > 1:
        # The first one is done after its neighbour.
        jobs[0], jobs[1] = Job(0, "wait", tmp_path / "met"), Job(1, "meet", tmp_path / "met")
    expected = [
        (f"{i}-{part}", "OverflowError: too much" if i == 2 else "fine")
        for i in range(6)
        for part in "ab"
    ]
    assert outcomes(jobs, ProcessExecutor(workers)) == expected


def test_a_stop_ends_the_run_between_jobs():
    with Stop() as stop:
        seen = []
        for records in ProcessExecutor().run((Job(i) for i in range(100)), stop):
            seen.append(records)
            if len(seen) == 3:
                signal.raise_signal(signal.SIGINT)
        assert len(seen) == 3 and stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_summary_counts_rows_and_reasons(tmp_path):
    pixels = np.full((4, 4), 0.25, np.float32)

    def ok(key, **quality):
        return LabelRecord(
            key=key,
            image=pixels,
            alpha=pixels,
            binary=pixels >= 0.5,
            trimap=np.full((4, 4), 128, np.uint8),
            quality=quality,
            seconds={"cut": 0.002, "trimap": 0.001, "matting": 0.003},
        )

    with StoreWriter(tmp_path / "s", {}) as writer:
        writer.append(ok("a", overall=0.9))
        writer.append(ok("b", overall=LOW_QUALITY - 0.1))
        # A label from a mark goes by its expected Dice.
        writer.append(ok("f", overall=0.3, expected_dice=0.9))
        writer.append(ok("g", overall=0.9, expected_dice=LOW_DICE - 0.1))
        writer.append(replace(ok("h"), notes=("odd", EMPTY)))
        writer.append(LabelRecord.from_error("c", "x", "/data/1.png: the PNG is cut short at 12"))
        writer.append(LabelRecord.from_error("d", "y", "/data/2 3.png: no such file"))
        writer.append(LabelRecord.from_error("e", "z", "/data/4.png: the PNG is cut short at 99"))
    store = open_store(tmp_path / "s")
    lines = dict(summary_rows(store))
    assert lines["rows"] == "8"
    assert lines["labelled"] == "5 (62.5 %)"
    assert lines["failed"] == "3 (37.5 %)"
    assert lines["empty (no pixel reaches one half)"] == "1 (20.0 %)"
    assert lines["low (expected Dice < 0.8; of masks, quality < 0.6)"] == "3 (60.0 %)"
    assert lines["mean expected Dice"] == "0.800" and lines["mean quality"] == "0.650"
    assert lines["all stages, mean"] == "6.00 ms a label"
    assert failure_reasons(store)[0] == ("FILE: the PNG is cut short at #", 2)


def test_show_and_export(tmp_path, capsys):
    import cv2

    label.main(["demo", "--out", str(tmp_path / "demo"), "--count", "6", "--size", "32"])
    store = str(tmp_path / "demo/store")
    capsys.readouterr()
    assert label.main(["show", store, "--out", str(tmp_path / "sheets"), "--count", "2"]) == 0
    assert "labelled: 6" in capsys.readouterr().out
    for name in ("best", "median", "worst"):
        assert cv2.imread(str(tmp_path / "sheets" / f"{name}.png")) is not None
    for kind in ("png", "npz", "nnunet"):
        assert label.main(["export", store, "--format", kind, "--out", str(tmp_path / kind)]) == 0
        assert any((tmp_path / kind).iterdir())
    assert len(list((tmp_path / "png/alpha").iterdir())) == 6


def test_an_export_refuses_what_its_format_passes_over(tmp_path, capsys):
    """Who gives `--to` counts on objects at the server: none is passed over in silence."""
    label.main(["demo", "--out", str(tmp_path / "demo"), "--count", "3", "--size", "24"])
    capsys.readouterr()
    arguments = ["export", str(tmp_path / "demo/store"), "--out", str(tmp_path / "out")]
    server = ["--to", "http://pacs.example"]
    for form, given, formats in (
        ("png", server, "dicom-seg, dicom-sr"),
        ("nifti", [*server, "--images", str(tmp_path)], "dicom-seg, dicom-sr"),
        ("png", ["--split", "1", "1", "1"], "npz"),
        ("nnunet", ["--seed", "0"], "npz"),
        *(
            ("store", given, "dicom-seg, dicom-sr, nifti, nrrd, flare-npz")
            for given in (["--keep-identifiers"], ["--hash-key", "k"], ["--index", "i"],
                          ["--images", "ct"])
        ),
    ):  # fmt: skip
        assert label.main([*arguments, "--format", form, *given]) == 2
        told = f"{given[0]} is of --format {formats}, got {form}"
        assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    # What is not given has the default that the help tells.
    for name, more in (("a", []), ("b", ["--split", "1000", "400", "100", "--seed", "0"])):
        npz = ["--format", "npz", "--out", str(tmp_path / name)]
        assert label.main([*arguments[:2], *npz, *more]) == 0
    for part in ("train", "test", "val"):
        made = [(tmp_path / name / f"{part}.npz").read_bytes() for name in "ab"]
        assert made[0] == made[1]


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path, capsys):
    label.main(["demo", "--out", str(tmp_path / "demo"), "--count", "2", "--size", "24"])
    file = tmp_path / "table.csv"
    file.write_text("kept")
    for arguments in (["show", str(tmp_path / "demo/store")], ["demo"]):
        capsys.readouterr()
        assert label.main([*arguments, "--out", str(file)]) == 2
        told = capsys.readouterr()
        assert told.err == f"dsnet.label: --out must be a folder, {file} is a file\n"
        assert told.out == ""
    assert file.read_text() == "kept"


def test_check_tells_what_is_wrong(tmp_path, capsys):
    store = tmp_path / "demo/store"
    label.main(["demo", "--out", str(tmp_path / "demo"), "--count", "3", "--size", "24"])
    capsys.readouterr()
    assert label.main(["check", str(store)]) == 0
    assert capsys.readouterr().out == "3 rows, all checksums right\n"
    shard = store / "shard-00000.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 0xFF
    shard.write_bytes(data)
    assert label.main(["check", str(store)]) == 1
    told = capsys.readouterr()
    first, *_ = told.out.splitlines()
    assert first == f"shard {shard} is damaged: its checksum is not the manifest's"
    assert "checksums right" not in told.out and told.err == ""
    assert label.main(["check", str(tmp_path / "demo")]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'demo'} is not a label store: it has no _manifest.parquet"
    ]


def test_a_repaired_store_is_completed_by_resume(tmp_path, capsys):
    arguments = ["demo", "--out", str(tmp_path / "demo"), "--size", "24", "--count"]
    label.main([*arguments, "2"])
    label.main([*arguments, "5", "--resume"])
    whole = sorted(content(tmp_path / "demo/store"))
    first, *others = sorted((tmp_path / "demo/store").glob("shard-*.parquet"))
    first.write_bytes(b"")
    lost = 5 - sum(pq.read_metadata(shard).num_rows for shard in others)
    assert label.main(["show", str(tmp_path / "demo/store")]) == 2
    assert "check STORE --repair" in capsys.readouterr().err
    assert label.main(["check", str(tmp_path / "demo/store"), "--repair"]) == 0
    told, count = capsys.readouterr().out.splitlines()
    assert told.startswith(f"taken out: shard {first} is damaged")
    assert told.endswith(f"({lost} row{'s' * (lost > 1)} lost)")
    assert count == f"{5 - lost} rows, all checksums right"
    assert label.main([*arguments, "5", "--resume"]) == 0
    assert sorted(content(tmp_path / "demo/store")) == whole


def test_a_store_is_called_as_people_like(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("run:1", "[/]", "[red]x", "-dash", "new\nline"):
        out = ["--out=" + name, "--count", "2", "--size", "24"]
        assert label.main(["demo", *out]) == 0
        assert "\nlook at " in capsys.readouterr().out
        store = f"./{name}/store"
        assert label.main(["show", store]) == 0 and label.main(["check", store]) == 0
        assert label.main(["export", store, "--format", "png", f"--out={name}-png"]) == 0
        told = capsys.readouterr().out
        assert f"to {name}-png".replace("\n", "\\n") in told


@pytest.mark.parametrize("window", [("nan", "nan"), ("0", "inf"), ("5", "5"), ("x", "1")])
def test_a_window_must_be_one(tmp_path, window, capsys):
    (tmp_path / "table.csv").write_text("File_name,Measurement_coordinates\na.png,\n")
    recist = ["recist", "--annotations", str(tmp_path / "table.csv"), "--images", str(tmp_path)]
    try:
        code = label.main([*recist, "--out", str(tmp_path / "s"), "--window", *window])
    except SystemExit as end:
        code = end.code
    assert code == 2 and "--window" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_users_faults_are_one_line(tmp_path, capsys):
    label.main(["demo", "--out", str(tmp_path / "demo"), "--count", "1", "--size", "24"])
    capsys.readouterr()
    nowhere = str(tmp_path / "nowhere")
    faults = [
        ["demo", "--out", str(tmp_path / "demo")],
        ["demo", "--out", str(tmp_path / "demo"), "--size", "32", "--resume"],
        ["recist", "--annotations", nowhere, "--images", str(tmp_path), "--out", nowhere],
        ["masks", "--images", nowhere, "--masks", str(tmp_path), "--out", nowhere],
        ["raters", "--data", nowhere, "--out", nowhere],
        ["show", nowhere],
        ["check", nowhere],
        ["export", nowhere, "--format", "png", "--out", str(tmp_path / "png")],
    ]
    for arguments in faults:
        assert label.main(arguments) == 2, arguments
        complaint = capsys.readouterr().err
        assert complaint.startswith("dsnet.label: ") and complaint.count("\n") == 1
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches(name, capsys):
    with pytest.raises(SystemExit) as exit:
        label.main([name, "--help"])
    assert exit.value.code == 0
    assert f"python -m dsnet.label {name}" in capsys.readouterr().out.split("examples:")[1]


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        label.main(["--help"])
    told = capsys.readouterr().out
    assert all(f"\n    {name} " in told for name in COMMANDS)
    assert "--resume" in told
