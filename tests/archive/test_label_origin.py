"""The label command on tables with another origin, and on marks of a long axis alone."""

import csv
import json

import numpy as np
import pytest

from dsnet import label
from dsnet.archive import label_archive
from dsnet.archive.jobs import slice_jobs
from dsnet.data.datasets.deeplesion import read_annotations
from dsnet.data.phantom import make_phantom
from dsnet.data.store import open_store, validate_store
from dsnet.data.store.export import export_npz, export_png
from dsnet.data.store.manifest import write_manifest
from dsnet.data.store.record import usual_score_columns
from dsnet.labeling import RecistMark, label_recist
from host_engine import stand_in
from label_command import assert_close, content, write_slice

NAME = "000001_01_01_001.png"


@pytest.fixture
def phantom(tmp_path):
    made = make_phantom("solid", 96, 3)
    write_slice(tmp_path / "Images_png", NAME, made.hu)
    return made


def table(folder, *marks) -> list[str]:
    with open(folder / "marks.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["File_name", "Measurement_coordinates", "DICOM_windows", "Bounding_boxes"])
        for mark in marks:
            text = mark if isinstance(mark, str) else ", ".join(repr(float(v)) for v in mark)
            rows.writerow([NAME, text, "-1350, 150", "10, 20, 30, 40"])
    images = str(folder / "Images_png")
    return ["recist", "--annotations", str(folder / "marks.csv"), "--images", images]


def on_slice(record) -> np.ndarray:
    return record.mark + np.tile(record.offset, 4)


@pytest.mark.parametrize(
    ("options", "origin"), [([], 0.5), (["--origin", "0"], 0), (["--origin", "1"], 1)]
)
def test_the_origin_is_taken_off_and_told(phantom, tmp_path, options, origin):
    marks, out = phantom.mark.coordinates, tmp_path / "store"
    assert label.main([*table(tmp_path, marks + origin), "--out", str(out), *options]) == 0
    store = open_store(out)
    assert store.manifest["settings"]["origin"] == origin
    (record,) = store.records()
    assert record.scale == (1, 1) and on_slice(record) == pytest.approx(marks, abs=1e-9)
    # Crop and mark go together: the label is that of the phantom's own mark.
    left, top = (int(v) for v in record.offset)
    moved = RecistMark.from_coordinates(marks).translated(-left, -top)
    again = label_recist(record.image, moved)
    assert np.mean(again.binary != record.binary) < 1e-3
    (row,) = read_annotations(tmp_path / "marks.csv", origin=origin)
    assert row.bounding_box == (10 - origin, 20 - origin, 30 - origin, 40 - origin)


def test_a_store_of_another_origin_is_not_resumed(phantom, tmp_path, capsys):
    arguments, out = table(tmp_path, phantom.mark.coordinates), tmp_path / "store"
    arguments += ["--out", str(out)]
    assert label.main([*arguments, "--origin", "0"]) == 0
    before = content(out)
    for again in ("--resume", "--retry-failed"):
        capsys.readouterr()
        assert label.main([*arguments, again]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "setting 'origin' differs from the store's: got 0.5, the store has 0.0" in error
        assert content(out) == before
    assert label.main([*arguments, "--origin", "0", "--resume"]) == 0
    assert content(out) == before


def test_a_store_from_before_origins_were_told_has_zero(phantom, tmp_path, capsys):
    arguments, out = table(tmp_path, phantom.mark.coordinates), tmp_path / "store"
    arguments += ["--out", str(out)]
    assert label.main([*arguments, "--origin", "0"]) == 0
    manifest = open_store(out).manifest
    del manifest["settings"]["origin"]
    write_manifest(out, manifest, usual_score_columns())
    assert label.main([*arguments, "--resume"]) == 2
    assert "got 0.5, the store has 0.0" in capsys.readouterr().err
    assert label.main([*arguments, "--origin", "0", "--resume"]) == 0
    assert open_store(out).manifest["settings"]["origin"] == 0
    # A program that tells none has such a store, too, and none of another origin.
    jobs = slice_jobs(read_annotations(tmp_path / "marks.csv", origin=0), tmp_path)
    settings = {k: v for k, v in open_store(out).manifest["settings"].items() if k != "origin"}
    assert label_archive(jobs, out, settings=settings, resume=True).added == 0
    with pytest.raises(ValueError, match=r"'origin' differs from the store's: got 0\.25"):
        label_archive(jobs, out, settings={**settings, "origin": 0.25}, resume=True)


@pytest.mark.parametrize("origin", ["-1", "1.01", "1e300"])
def test_an_origin_that_no_table_has_is_told_in_one_line(phantom, tmp_path, capsys, origin):
    arguments = table(tmp_path, phantom.mark.coordinates)
    out = tmp_path / "store"
    assert label.main([*arguments, "--out", str(out), f"--origin={origin}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "origin must be within 0 and 1 pixels" in error
    assert not out.exists()


@pytest.mark.parametrize("origin", ["nan", "inf", "half"])
def test_an_origin_that_is_no_number_is_told_by_its_option(phantom, tmp_path, capsys, origin):
    arguments = table(tmp_path, phantom.mark.coordinates)
    out = tmp_path / "store"
    with pytest.raises(SystemExit) as stopped:
        label.main([*arguments, "--out", str(out), f"--origin={origin}"])
    assert stopped.value.code == 2
    assert f"--origin: must be a finite number, got {origin}" in capsys.readouterr().err
    assert not out.exists()


@pytest.fixture
def lines(phantom, tmp_path):
    """A table of one mark in every form, and of rows that are none."""
    both = phantom.mark.coordinates + 0.5
    line = ", ".join(map(repr, both[:4].tolist()))
    forms = [both, line, f"{line}, , , , ", f"{line},nan,nan,nan,nan"]
    bad = ["1, 2, 3", f"{line}, 5, nan, 6, 7", f"{line}, 1", "nan, 1, 2, 3"]
    return table(tmp_path, *forms, *bad), len(forms)


def test_marks_of_a_long_axis_are_labelled(phantom, lines, tmp_path):
    arguments, good = lines
    out = tmp_path / "store"
    assert label.main([*arguments, "--out", str(out)]) == 0
    known, *unknown = (r for r in open_store(out).records() if r.status == "ok")
    assert len(unknown) == good - 1
    assert all(r.error for r in open_store(out).records("failed"))
    truth = phantom.alpha >= 0.5
    for record in unknown:
        assert np.isnan(record.mark[4:]).all()
        assert np.array_equal(on_slice(record)[:4], on_slice(known)[:4])
        crop = RecistMark.from_coordinates(record.mark)
        expected = label_recist(record.image, crop)
        # The store's image has 16 bits: a threshold may lie a step aside.
        differ = np.count_nonzero(record.binary != expected.binary)
        assert differ <= 0.04 * record.binary.sum() and record.notes == expected.notes
        assert record.quality["axes_agreement"] > 0.85 and record.quality["mark_soundness"] == 1
        left, top = (int(v) for v in record.offset)
        found = np.zeros((200, 200), bool)
        found[64 + top : 128 + top, 64 + left : 128 + left] = record.binary
        found = found[64:160, 64:160]
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9
    assert validate_store(out) == []
    again = tmp_path / "again"
    assert label.main([*arguments, "--out", str(again), "--workers", "2"]) == 0
    assert content(out) == content(again)
    assert label.main(["show", str(out)]) == 0


def test_long_axes_survive_the_store_and_its_exports(lines, tmp_path):
    arguments, good = lines
    out = tmp_path / "store"
    assert label.main([*arguments, "--out", str(out)]) == 0
    marks = open_store(out).table(["status", "mark"]).to_pylist()
    marks = [row["mark"] for row in marks if row["status"] == "ok"]
    assert marks[1][4:] == [None] * 4 and None not in marks[0]
    assert export_png(open_store(out), tmp_path / "png") == good
    with open(tmp_path / "png" / "labels.csv", newline="") as file:
        told = [json.loads(row["mark"]) for row in csv.DictReader(file)]
    assert told == marks
    parts = export_npz(open_store(out), tmp_path / "npz", (1, 1, 0))
    assert sum(parts.values()) == good
    # A row that is kept on resuming keeps its mark.
    assert label.main([*arguments, "--out", str(out), "--retry-failed"]) == 0
    again = open_store(out).table(["status", "mark"]).to_pylist()
    assert [row["mark"] for row in again if row["status"] == "ok"] == marks


def test_a_device_labels_long_axes_as_the_cpu_does(lines, tmp_path, monkeypatch):
    arguments, _ = lines
    arguments += ["--crop", "32"]
    engine = stand_in(monkeypatch)
    try:
        assert label.main([*arguments, "--out", str(tmp_path / "cpu")]) == 0
        assert label.main([*arguments, "--out", str(tmp_path / "cuda"), "--device", "cuda"]) == 0
        assert engine.launched
    finally:
        engine.close()
    assert_close(content(tmp_path / "cuda"), content(tmp_path / "cpu"))
