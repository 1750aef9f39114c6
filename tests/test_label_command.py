import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from host_engine import HostEngine, has_device

from dsnet import _C, _label_device, _label_runs, label
from dsnet._label_report import LOW_QUALITY, failure_reasons, summary_rows
from dsnet._label_runs import Stop, run_jobs
from dsnet.data.phantom import make_phantom
from dsnet.data.record import LabelRecord
from dsnet.data.store import StoreWriter, open_store, validate_store
from dsnet.labeling import _device
from shared_data import shared
from worker_jobs import Job

COMMANDS = ("demo", "recist", "masks", "raters", "show", "export")


def content(path) -> list[tuple]:
    """What must not depend on the number of workers: all but times."""
    rows = []
    for record in open_store(path).records():
        arrays = [getattr(record, name) for name in ("image", "alpha", "binary", "trimap")]
        rows.append(
            (
                record.key,
                record.status,
                record.error,
                record.notes,
                record.quality,
                record.metadata,
                [None if a is None else a.tobytes() for a in arrays],
            )
        )
    return rows


def command(*arguments, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "dsnet.label", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


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
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_is_completed_by_resume(tmp_path, workers, number):
    # Compiled code is cached at its first use; the timing below counts on it.
    assert command("demo", "--out", tmp_path / "warm", "--count", 1).wait() == 0
    out = tmp_path / "demo"
    arguments = ["demo", "--out", str(out), "--size", "24", "--workers", str(workers)]
    # Far more than are labelled before the signal.
    run = command(*arguments, "--count", 20000, start_new_session=True)
    manifest = out / "store" / "manifest.json"
    deadline = time.monotonic() + 60
    while not manifest.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(3 if workers == 1 else 5)
    # A terminal sends Ctrl-C to every process of the group.
    (os.killpg if number == signal.SIGINT else os.kill)(run.pid, number)
    _, complaint = run.communicate(timeout=60)
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


def outcomes(jobs, workers):
    with Stop() as stop:
        return [(r.key, r.error) for records in run_jobs(jobs, workers, stop) for r in records]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_that_raises_costs_its_rows_only(workers):
    jobs = [Job(i, "raise" if i == 2 else "wait" if i == 0 else "") for i in range(6)]
    expected = [
        (f"{i}-{part}", "OverflowError: too much" if i == 2 else "fine")
        for i in range(6)
        for part in "ab"
    ]
    assert outcomes(jobs, workers) == expected


def test_a_killed_worker_costs_its_rows_only():
    jobs = [Job(i, "die" if i in (1, 2, 9) else "") for i in range(14)]
    found = outcomes(jobs, 2)
    assert [key for key, _ in found] == [f"{i}-{part}" for i in range(14) for part in "ab"]
    died = {key for key, error in found if "worker process died" in error}
    assert died == {f"{i}-{part}" for i in (1, 2, 9) for part in "ab"}
    assert all(error == "fine" for key, error in found if key not in died)


def test_a_stop_ends_the_run_between_jobs():
    with Stop() as stop:
        seen = []
        for records in run_jobs((Job(i) for i in range(100)), 1, stop):
            seen.append(records)
            if len(seen) == 3:
                signal.raise_signal(signal.SIGINT)
        assert len(seen) == 3 and stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_summary_counts_rows_and_reasons(tmp_path):
    pixels = np.full((4, 4), 0.25, np.float32)

    def ok(key, overall):
        return LabelRecord(
            key=key,
            image=pixels,
            alpha=pixels,
            binary=pixels >= 0.5,
            trimap=np.full((4, 4), 128, np.uint8),
            quality={"overall": overall},
            seconds={"cut": 0.002, "trimap": 0.001, "matting": 0.003},
        )

    with StoreWriter(tmp_path / "s", {}) as writer:
        writer.append(ok("a", 0.9))
        writer.append(ok("b", LOW_QUALITY - 0.1))
        writer.append(LabelRecord.from_error("c", "x", "/data/1.png: the PNG is cut short at 12"))
        writer.append(LabelRecord.from_error("d", "y", "/data/2 3.png: no such file"))
        writer.append(LabelRecord.from_error("e", "z", "/data/4.png: the PNG is cut short at 99"))
    store = open_store(tmp_path / "s")
    lines = dict(summary_rows(store))
    assert lines["rows"] == "5"
    assert lines["labelled"] == "2 (40.0 %)"
    assert lines["failed"] == "3 (60.0 %)"
    assert lines[f"low quality (overall < {LOW_QUALITY:g})"] == "1 (50.0 %)"
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


HEADER = (
    "File_name,Patient_index,Study_index,Series_ID,Key_slice_index,Measurement_coordinates,"
    "Bounding_boxes,Lesion_diameters_Pixel_,Normalized_lesion_location,Coarse_lesion_type,"
    "Possibly_noisy,Slice_range,Spacing_mm_px_,Image_size,DICOM_windows,Patient_gender,"
    "Patient_age,Train_Val_Test"
)


def table_row(file_name, coordinates, lesion_type=5, split=1) -> str:
    marks = ", ".join(str(c) for c in coordinates)
    return (
        f'{file_name},1,1,1,1,"{marks}","1, 1, 2, 2","5, 4","0.5, 0.5, 0.5",{lesion_type},0,'
        f'"1, 1","0.7, 0.7, 5","128, 128","-1350, 150",M,60,{split}'
    )


def write_slice(images, name, hu) -> None:
    import cv2

    path = images / name[:-8] / name[-7:]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), (np.rint(hu).astype(np.int32) + 32768).astype(np.uint16))


@pytest.fixture
def archive(tmp_path):
    """A folder like DeepLesion with two good slices and every kind of bad row."""
    import cv2

    images, rows = tmp_path / "Images_png", []
    for number in range(2):
        made = make_phantom("solid", 128, number)
        name = f"000001_01_0{number + 1}_001.png"
        write_slice(images, name, made.hu)
        rows.append(table_row(name, made.mark.coordinates))
        good, mark = name, made.mark.coordinates
    x, y = made.mark.center
    bad = {
        "missing": table_row("000009_01_01_001.png", mark),
        "truncated": table_row("000002_01_01_001.png", mark),
        "8-bit": table_row("000003_01_01_001.png", mark),
        "not finite": table_row(good, ["NaN", *mark[1:]]),
        "outside": table_row(good, mark + 5000),
    }
    odd = {
        "zero-length": table_row(good, [*mark[:4], x, y, x, y]),
        "do not cross": table_row(good, [*mark[:4], *(mark[4:] + 6 * (mark[0] - mark[2]))]),
        "constant": table_row("000004_01_01_001.png", mark, lesion_type=2, split=3),
    }
    write_slice(images, "000002_01_01_001.png", made.hu)
    whole = images / "000002_01_01" / "001.png"
    whole.write_bytes(whole.read_bytes()[:2000])
    grey = images / "000003_01_01" / "001.png"
    grey.parent.mkdir()
    cv2.imwrite(str(grey), np.full((128, 128), 90, np.uint8))
    write_slice(images, "000004_01_01_001.png", np.full((128, 128), -800.0))
    table = tmp_path / "DL_info.csv"
    table.write_text("\n".join([HEADER, *rows, *bad.values(), *odd.values()]) + "\n")
    return ["recist", "--annotations", str(table), "--images", str(images)], len(bad)


def test_a_bad_row_is_one_row_with_its_reason(archive, tmp_path, capsys):
    arguments, bad = archive
    out = tmp_path / "store"
    assert label.main([*arguments, "--out", str(out)]) == 0
    records = list(open_store(out).records())
    assert len(records) == 2 + bad + 3
    assert [r.status for r in records[:2]] == ["ok", "ok"]
    assert {r.metadata["row"] for r in records} == set(range(2, len(records) + 2))
    failed = [r for r in records if r.status == "failed"]
    assert len(failed) >= bad and all(r.error for r in failed)
    assert f"failed: {len(failed)} " in capsys.readouterr().out
    odd = [r for r in records if r.status == "ok"][2:]
    assert all(r.notes and r.quality["overall"] < 0.9 for r in odd)
    assert validate_store(out) == []
    assert label.main([*arguments, "--out", str(tmp_path / "again"), "--workers", "2"]) == 0
    assert content(out) == content(tmp_path / "again")
    assert label.main([*arguments, "--out", str(tmp_path / "strict"), "--strict"]) == 1


@pytest.fixture
def on_host(monkeypatch):
    """What --device cuda asks for, on the CPU."""
    engine = HostEngine()
    monkeypatch.setattr(_device, "device_index", lambda device: 0)
    monkeypatch.setattr(_device, "CudaEngine", lambda device: engine)
    monkeypatch.setattr(_device, "_pipelines", {})
    monkeypatch.setattr(_C, "cuda_device_count", lambda: 2)
    yield engine
    engine.close()


def test_a_device_writes_the_same_store(archive, tmp_path, monkeypatch, on_host):
    arguments, _ = archive
    arguments += ["--crop", "32"]
    monkeypatch.setattr(_label_device, "GROUP_ROWS", 3)
    assert label.main([*arguments, "--out", str(tmp_path / "cpu")]) == 0
    assert label.main([*arguments, "--out", str(tmp_path / "cuda"), "--device", "cuda"]) == 0
    assert on_host.launched
    expected, found = content(tmp_path / "cpu"), content(tmp_path / "cuda")
    for row, want in zip(found, expected, strict=True):
        assert row[:4] == want[:4] and row[5] == want[5]
        (image, alpha, *masks), (same_image, wanted, *same_masks) = row[6], want[6]
        assert image == same_image and masks == same_masks
        if alpha is not None:
            difference = np.frombuffer(alpha, np.float32) - np.frombuffer(wanted, np.float32)
            assert np.abs(difference).max() < 1e-3


def test_a_device_that_fails_ends_the_run_and_resumes(
    archive, tmp_path, monkeypatch, on_host, capsys
):
    arguments, _ = archive
    out = ["--out", str(tmp_path / "store"), "--crop", "32", "--device", "cuda"]
    monkeypatch.setattr(_label_device, "GROUP_ROWS", 1)
    on_host.faults, on_host.after = {"solve": RuntimeError("the GPU fell off the bus")}, 2
    assert label.main([*arguments, *out]) == 2
    assert capsys.readouterr().err == "dsnet.label: the GPU fell off the bus\n"
    assert validate_store(tmp_path / "store") == []
    done = len(open_store(tmp_path / "store"))
    assert label.main([*arguments, *out, "--resume"]) == 0
    assert done < len(open_store(tmp_path / "store")) == 10


def test_processes_share_the_devices_out(monkeypatch):
    monkeypatch.setattr(_C, "cuda_device_count", lambda: 2)
    jobs = [Job(i) for i in range(5)]
    groups = list(_label_device.in_groups(jobs, "cuda", 2, rows=4))
    assert [group.jobs for group in groups] == [tuple(jobs[i : i + 2]) for i in (0, 2, 4)]
    assert groups[1].rows == jobs[2].rows + jobs[3].rows
    for number, device in ((0, "cuda:0"), (1, "cuda:1"), (2, "cuda:0")):
        monkeypatch.setattr(_label_runs, "_worker_number", number)
        assert _label_device.worker_device("cuda") == device
    assert _label_device.worker_device("cuda:1") == "cuda:1"


def test_a_group_that_kills_its_process_costs_one_job(monkeypatch):
    class Pool:
        """A process that job 5 kills."""

        def __init__(self, workers):
            pass

        def submit(self, group):
            future = Future()
            if 5 in [job.number for job in group.jobs]:
                future.set_exception(BrokenProcessPool())
            else:
                future.set_result([r for job in group.jobs for r in job.run()])
            return future

        def close(self):
            pass

    monkeypatch.setattr(_label_runs, "_Pool", Pool)
    groups = _label_device.in_groups([Job(i) for i in range(9)], "cuda", 2, rows=14)
    found = outcomes(groups, 2)
    assert [key for key, _ in found] == [f"{i}-{part}" for i in range(9) for part in "ab"]
    assert {key for key, error in found if "worker process died" in error} == {"5-a", "5-b"}


@pytest.mark.skipif(has_device(), reason="there is a CUDA device")
def test_no_device_is_told_in_one_line(archive, tmp_path, capsys):
    arguments, _ = archive
    out = tmp_path / "store"
    assert label.main([*arguments, "--out", str(out), "--device", "cuda"]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("dsnet.label: ") and complaint.count("\n") == 1
    assert "or use device='cpu'" in complaint and not out.exists()
    assert label.main([*arguments, "--out", str(out), "--device", "tpu"]) == 2
    assert "device must be 'cpu', 'cuda' or 'cuda:N', got 'tpu'" in capsys.readouterr().err


def test_recist_filters_and_resume(archive, tmp_path):
    arguments, _ = archive
    out = tmp_path / "store"
    assert label.main([*arguments, "--out", str(out), "--limit", "1", "--crop", "32"]) == 0
    (record,) = open_store(out).records()
    assert record.image.shape == (32, 32)
    assert label.main([*arguments, "--out", str(out), "--crop", "64", "--resume"]) == 2
    assert label.main([*arguments, "--out", str(out), "--crop", "32", "--resume"]) == 0
    whole = tmp_path / "whole"
    assert label.main([*arguments, "--out", str(whole), "--crop", "32"]) == 0
    assert content(out) == content(whole)
    for name, wanted in (("--type", "abdomen"), ("--split", "test")):
        chosen = tmp_path / wanted
        assert label.main([*arguments, "--out", str(chosen), name, wanted]) == 0
        assert len(open_store(chosen)) == 1
    assert label.main([*arguments, "--out", str(tmp_path / "no"), "--type", "tooth"]) == 2
    none_left = ["--out", str(tmp_path / "no"), "--min-mm", "5000"]
    usable = ["--type", "abdomen"]
    assert label.main([*arguments, *usable, *none_left]) == 2
    pictures = tmp_path / "pictures"
    assert label.main([*arguments, *usable, "--out", str(pictures), "--pictures"]) == 0
    (picture,) = open_store(pictures).records()
    assert picture.status == "ok" and "window_low" not in picture.metadata


def test_failed_rows_are_tried_again_when_asked(archive, tmp_path):
    arguments, _ = archive
    out = tmp_path / "store"
    assert label.main([*arguments, "--out", str(out)]) == 0
    failed = open_store(out).manifest["counts"]["failed"]
    images = tmp_path / "Images_png"
    write_slice(images, "000002_01_01_001.png", make_phantom("solid", 128, 1).hu)
    assert label.main([*arguments, "--out", str(out), "--resume"]) == 0
    assert open_store(out).manifest["counts"]["failed"] == failed
    assert label.main([*arguments, "--out", str(out), "--retry-failed"]) == 0
    assert open_store(out).manifest["counts"]["failed"] == failed - 1


def test_masks_and_raters(tmp_path):
    import cv2

    for number in range(2):
        made = make_phantom("solid", 64, number)
        lesion = (made.alpha >= 0.5).astype(np.uint8) * 255
        grey = np.rint(made.image * 255).astype(np.uint8)
        folders = {"images": grey, "mask-0": lesion, "mask-1": cv2.dilate(lesion, None)}
        for folder, picture in folders.items():
            path = tmp_path / "data/LIDC-IDRI-0001" / f"nodule-{number}" / folder / "slice-0.png"
            path.parent.mkdir(parents=True)
            cv2.imwrite(str(path), picture)
            flat = tmp_path / folder / f"{number}.png"
            flat.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(flat), picture)
    (tmp_path / "images/unmasked.png").write_bytes((tmp_path / "images/0.png").read_bytes())
    folders = ["--images", str(tmp_path / "images"), "--masks", str(tmp_path / "mask-0")]
    assert label.main(["masks", *folders, "--out", str(tmp_path / "m")]) == 0
    raters = ["raters", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "r")]
    assert label.main(raters) == 0
    for store, score in (("m", "mask_agreement"), ("r", "rater_agreement")):
        records = list(open_store(tmp_path / store).records("ok"))
        assert len(records) == 2
        assert all(r.quality[score] > 0.7 for r in records)
        # Of two raters one suffices: the consensus is the wider mask.
        drawn = "mask-0" if store == "m" else "mask-1"
        for number, record in enumerate(records):
            picture = cv2.imread(str(tmp_path / drawn / f"{number}.png"), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(record.truth, picture > 0)
    (failed,) = open_store(tmp_path / "m").records("failed")
    assert failed.key == "unmasked" and "no mask" in failed.error


def test_recist_on_real_slices(tmp_path):
    root = shared("deeplesion")
    table = ["--annotations", str(root / "DL_info.csv"), "--images", str(root / "Images_png")]
    assert label.main(["recist", *table, "--out", str(tmp_path / "s"), "--limit", "6"]) == 0
    records = list(open_store(tmp_path / "s").records())
    assert [r.status for r in records] == ["ok"] * 6
    assert np.mean([r.quality["axes_agreement"] for r in records]) > 0.8
