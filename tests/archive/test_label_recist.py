"""The label command on archives of RECIST marks, on the CPU and with a device."""

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

from dsnet import _C, label
from dsnet.archive import gpu as archive_gpu
from dsnet.archive import processes, workers
from dsnet.data.phantom import make_phantom
from dsnet.data.store import open_store, validate_store
from host_engine import has_device, stand_in
from label_command import assert_close, content, outcomes, write_slice
from shared_data import shared
from worker_jobs import Job

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
    marks = ["--annotations", str(table), "--origin", "0"]  # a phantom's are at pixels' centres
    return ["recist", *marks, "--images", str(images)], len(bad)


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
    engine = stand_in(monkeypatch)
    yield engine
    engine.close()


def test_a_device_writes_the_same_store(archive, tmp_path, monkeypatch, on_host):
    arguments, _ = archive
    arguments += ["--crop", "32"]
    monkeypatch.setattr(archive_gpu, "GROUP_ROWS", 3)
    assert label.main([*arguments, "--out", str(tmp_path / "cpu")]) == 0
    assert label.main([*arguments, "--out", str(tmp_path / "cuda"), "--device", "cuda"]) == 0
    assert on_host.launched
    expected, found = content(tmp_path / "cpu"), content(tmp_path / "cuda")
    assert_close(found, expected)
    for row, want in zip(found, expected, strict=True):
        assert row[6][2:] == want[6][2:]


def test_a_device_that_fails_ends_the_run_and_resumes(
    archive, tmp_path, monkeypatch, on_host, capsys
):
    arguments, _ = archive
    out = ["--out", str(tmp_path / "store"), "--crop", "32", "--device", "cuda"]
    monkeypatch.setattr(archive_gpu, "GROUP_ROWS", 1)
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
    groups = []
    monkeypatch.setattr(
        processes.ProcessExecutor, "run", lambda self, jobs, stop: groups.extend(jobs)
    )
    archive_gpu.GpuExecutor("cuda", 2, rows=4).run(jobs, False)
    assert [group.jobs for group in groups] == [tuple(jobs[i : i + 2]) for i in (0, 2, 4)]
    assert groups[1].rows == jobs[2].rows + jobs[3].rows
    for number, device in ((0, "cuda:0"), (1, "cuda:1"), (2, "cuda:0")):
        monkeypatch.setattr(workers, "_worker_number", number)
        assert archive_gpu.worker_device("cuda") == device
    assert archive_gpu.worker_device("cuda:1") == "cuda:1"


def test_a_group_that_kills_its_process_costs_one_job(monkeypatch):
    class Pool:
        """A process that job 5 kills."""

        begun, deserted = True, False

        def __init__(self, number):
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

    monkeypatch.setattr(workers, "Pool", Pool)
    monkeypatch.setattr(_C, "cuda_device_count", lambda: 1)
    jobs = [Job(i) for i in range(9)]
    found = outcomes(jobs, archive_gpu.GpuExecutor("cuda", 2, rows=14))
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
    assert "device must be 'cpu', 'cuda', 'cuda:N' or 'auto', got 'tpu'" in capsys.readouterr().err


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


def test_recist_on_real_slices(tmp_path):
    root = shared("deeplesion")
    # These marks were derived from masks, in pixel centres.
    table = ["--annotations", str(root / "DL_info.csv"), "--origin", "0"]
    table += ["--images", str(root / "Images_png")]
    assert label.main(["recist", *table, "--out", str(tmp_path / "s"), "--limit", "6"]) == 0
    records = list(open_store(tmp_path / "s").records())
    assert [r.status for r in records] == ["ok"] * 6
    assert np.mean([r.quality["axes_agreement"] for r in records]) > 0.8
