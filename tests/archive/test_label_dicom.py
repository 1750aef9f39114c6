"""`label dicom`: a folder of DICOM and a folder of marks become a store, and nobody is named."""

import csv
import hashlib
import hmac
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("pydicom")
from dicom_files import slice_of
from dicom_servers import SERVERS, started
from dicom_servers import store as store_files
from dsnet import label
from dsnet.data.ct_image import apply_window
from dsnet.data.phantom import make_phantom
from dsnet.data.store import open_store
from dsnet.labeling import label_recist
from label_command import content
from shared_data import shared

NAMES = ("Doe", "Jane", "P-1", "19700101", "A-77")
PERSON = {"PatientName": "Doe^Jane", "PatientBirthDate": "19700101", "AccessionNumber": "A-77"}
COLUMNS = ["sop_instance_uid", "x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4", "origin",
           "label", "reader", "long_mm"]  # fmt: skip
SIDE = 96


def phantom(number):
    return make_phantom("solid", SIDE, number, diameter_mm=15.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Three slices of a person and marks: on each, off it, of no slice, of a long axis alone."""
    folder = tmp_path_factory.mktemp("Doe_Jane")
    rows = []
    for number in (1, 2, 3):
        shown = phantom(number)
        hu = np.rint(shown.image * 1500 - 1350).astype(np.int16)
        slice_of(
            folder / "images" / f"Doe_{number}.dcm", number, signed=1, Rows=SIDE, Columns=SIDE,
            PixelData=hu.tobytes(), RescaleIntercept=0, PixelSpacing=[0.7, 0.7], **PERSON,
        )  # fmt: skip
        ends = shown.mark.coordinates + 0.5
        rows.append([f"1.2.3.{number}", *ends, 0.5, "nodule", "R1", 15.0])
    rows.append(["1.2.3.1", *(ends + 500), 0.5, "off", "R1", ""])
    rows.append(["1.2.3.9", *ends, 0.5, "gone", "R1", ""])
    alone = phantom(2).mark.coordinates[:4]
    rows.append(["1.2.3.2", *alone, "", "", "", "", 0, "of Jane Doe", "R2", ""])
    marks = folder / "marks"
    marks.mkdir()
    with open(marks / "marks.csv", "w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    (marks / "Jane.json").write_text("{]")
    return folder


def run(place, out, *options):
    arguments = ["--images", str(place / "images"), "--marks", str(place / "marks"), *options]
    return label.main(["dicom", *arguments, "--out", str(out)])


@pytest.fixture(scope="module")
def store(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "store"
    assert run(place, out) == 0
    return out


def test_marks_become_labels(place, store):
    records = {
        (r.metadata["instance_uid"], r.metadata["label"]): r for r in open_store(store).records()
    }
    assert len(records) == 6
    for number in (1, 2, 3):
        found, shown = records[f"1.2.3.{number}", "nodule"], phantom(number)
        assert found.status == "ok" and found.spacing == (0.7, 0.7)
        x, y = (int(v) for v in found.offset)
        moved = shown.mark.translated(-x, -y)
        assert np.allclose(found.mark, moved.coordinates, atol=1e-9)
        hu = np.rint(shown.image * 1500 - 1350)[y : y + 64, x : x + 64].astype(np.float32)
        expected = label_recist(
            apply_window(hu, *(found.metadata[f"window_{e}"] for e in ("low", "high"))), moved
        )
        assert np.array_equal(found.binary, expected.binary)
        assert np.abs(found.alpha - expected.alpha).max() <= 2**-15
        inside = shown.alpha[y : y + 64, x : x + 64] >= 0.5
        assert 2 * (found.binary & inside).sum() / (found.binary.sum() + inside.sum()) > 0.9
        assert found.metadata["slice"]["position"] == [-10, -20, number]
        assert (found.metadata["series_uid"], found.metadata["reader"]) == ("1.2.3", "R1")
        assert found.metadata["mark_format"] == "table"
    lonely = records["1.2.3.2", ""]
    assert np.isnan(lonely.mark[4:]).all() and lonely.status == "ok"
    assert any("text is left out" in note for note in lonely.notes)


def test_folders_need_no_name_in_utf_8(place, store, tmp_path):
    odd = tmp_path / os.fsdecode(b"scan\xe9")
    shutil.copytree(place / "images", odd / "images")
    shutil.copytree(place / "marks", odd / "marks")
    (odd / "images" / "Doe_1.dcm").rename(odd / "images" / os.fsdecode(b"Doe\xff.dcm"))
    index = str(odd / os.fsdecode(b"index\xff"))
    for out in ("first", "by the index"):
        assert run(odd, tmp_path / out, "--index", index) == 0
        for found, expected in zip(content(tmp_path / out), content(store), strict=True):
            # Of the metadata one is a hash of the marks' path.
            assert found[:4] == expected[:4] and found[6] == expected[6]


def test_what_does_not_fit_is_a_row_with_its_reason(store):
    failed = {
        r.metadata["label"]: r.error for r in open_store(store).records() if r.status == "failed"
    }
    # Whose a mark without a slice is cannot be told, and so not whether its text names them.
    assert failed[""] == "no slice of the instance that the mark names"
    assert "outside the image" in failed["off"] and len(failed) == 2


def test_nobody_is_named(place, store, tmp_path, capfd):
    out = tmp_path / "again"
    assert run(place, out) == 0
    assert label.main(["show", str(out)]) == 0
    told = "".join(capfd.readouterr()).replace(str(tmp_path), "")
    written = b"".join(f.read_bytes() for f in sorted(out.rglob("*")) if f.is_file()).decode(
        "latin1"
    )
    rows = "".join(repr(r) for r in open_store(out).table().to_pylist())
    for name in NAMES:
        assert name not in told and name not in written and name not in rows


def test_identifiers_are_kept_where_that_is_asked_for(place, tmp_path):
    assert run(place, tmp_path / "store", "--keep-identifiers") == 0
    found = next(iter(open_store(tmp_path / "store").records("ok")))
    assert found.metadata["PatientName"] == "Doe^Jane" and found.metadata["PatientID"] == "P-1"
    assert found.source.endswith("Doe_1.dcm") and found.metadata["mark_source"].endswith(
        "marks.csv"
    )


def test_uids_become_keyed_hashes(place, tmp_path, capsys):
    secret = tmp_path / "secret"
    secret.write_bytes(b"sixteen bytes of a secret\n")
    out = tmp_path / "store"
    assert run(place, out, "--hash-key", str(secret)) == 0
    found = next(iter(open_store(out).records("ok")))
    expected = hmac.new(b"sixteen bytes of a secret", b"1.2.3.1", hashlib.sha256).hexdigest()[:32]
    assert found.metadata["instance_uid"] == found.source == expected
    assert found.key.startswith(expected + "#")
    assert b"1.2.3." not in b"".join(f.read_bytes() for f in out.rglob("*") if f.is_file())
    secret.write_bytes(b"another secret of more bytes")
    capsys.readouterr()
    assert run(place, out, "--hash-key", str(secret), "--resume") == 2
    assert "hash_key" in capsys.readouterr().err
    secret.write_bytes(b"short")
    assert run(place, tmp_path / "more", "--hash-key", str(secret)) == 2
    assert "at least 16 bytes, got 5" in capsys.readouterr().err


def test_a_dry_run_tells_and_writes_nothing(place, tmp_path, capsys):
    out = tmp_path / "store"
    assert run(place, out, "--dry-run") == 0
    assert not out.exists()
    told = capsys.readouterr().out
    assert "1 series:" in told and "6 marks, 6 of them different:" in told
    lines = [" ".join(line.split()) for line in told.splitlines()]
    assert "1.2.3 CT 3 96x96 5" in lines and "table 6 6 5 1" in lines
    assert "1 no slice of the instance that the mark names" in lines
    assert not [name for name in NAMES if name in told]
    arguments = ["dicom", "--images", str(place / "images"), "--marks", str(place / "marks")]
    assert label.main(arguments) == 2
    assert "--out must be the folder" in capsys.readouterr().err
    assert label.main([*arguments, "--dry-run"]) == 0


def test_neighbours_lie_along_the_normal(place, tmp_path):
    assert run(place, tmp_path / "store", "--neighbours", "1") == 0
    found = {r.metadata["instance_uid"]: r for r in open_store(tmp_path / "store").records("ok")}
    middle = found["1.2.3.2"]
    x, y = (int(v) for v in middle.offset)
    for plane, number in zip(middle.neighbours, (1, 3), strict=True):
        hu = np.rint(phantom(number).image * 1500 - 1350)[y : y + 64, x : x + 64]
        low, high = middle.metadata["window_low"], middle.metadata["window_high"]
        assert np.abs(plane - apply_window(hu, low, high)).max() < 1e-3  # stored as 16 bits
    assert any(note.startswith("no slice below") for note in found["1.2.3.1"].notes)


def test_resume_and_workers_give_the_same_store(place, store, tmp_path):
    """A mark whose slice came later is labelled by --retry-failed, and keeps its key."""
    out = tmp_path / "store"
    images = tmp_path / "images"
    images.mkdir()
    later = images / "Doe_1.dcm"
    for number in (2, 3):
        name = f"Doe_{number}.dcm"
        (images / name).write_bytes((place / "images" / name).read_bytes())
    command = [sys.executable, "-m", "dsnet.label", "dicom", "--images", str(images), "--marks",
               str(place / "marks"), "--out", str(out), "--workers", "2"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    assert sum(r.status == "failed" for r in open_store(out).records()) == 3
    later.write_bytes((place / "images" / "Doe_1.dcm").read_bytes())
    subprocess.run([*command, "--retry-failed"], check=True, capture_output=True)
    assert sorted(content(out)) == sorted(content(store))


def test_the_real_reports_are_labelled(tmp_path):
    """Marks of two readers on each slice, every one in a report and in AIM."""
    folder = shared("measurements", "aim_v3_two_readers")
    out = tmp_path / "store"
    arguments = ["--images", str(folder), "--marks", str(folder), "--out", str(out)]
    assert label.main(["dicom", *arguments]) == 0
    found = list(open_store(out).records())
    labelled = [r for r in found if r.status == "ok"]
    assert {r.metadata["reader"] for r in labelled} == {"A", "B"}
    assert all("1 other file holds the same mark" in r.notes for r in found)
    assert len({r.metadata["instance_uid"] for r in labelled}) * 2 == len(labelled) == len(found)


def test_an_npz_has_its_own_slices(tmp_path):
    """Lines drawn with the lesion's number, spacing in the order x, y, z."""
    shown = phantom(4)
    (x1, y1), (x2, y2) = np.rint(shown.mark.long_axis).astype(int)
    drawn = np.zeros((3, SIDE, SIDE), np.uint8)
    for t in np.linspace(0, 1, 4 * SIDE):
        drawn[1, round(y1 + t * (y2 - y1)), round(x1 + t * (x2 - x1))] = 7
    images = np.zeros_like(drawn)
    images[1] = np.rint(255 * shown.image)
    np.savez_compressed(tmp_path / "a.npz", imgs=images, recist=drawn, spacing=[0.6, 0.7, 5.0])
    arguments = ["--images", str(tmp_path), "--marks", str(tmp_path / "a.npz")]
    assert label.main(["dicom", *arguments, "--out", str(tmp_path / "store")]) == 0
    (found,) = open_store(tmp_path / "store").records()
    assert (found.status, found.spacing) == ("ok", (0.7, 0.6))
    assert (found.metadata["frame"], found.metadata["label"]) == (2, "7")
    x, y = (int(v) for v in found.offset)
    expected = images[1, y : y + 64, x : x + 64] / 255
    assert np.abs(found.image - expected).max() < 1e-4
    assert np.isnan(found.mark[4:]).all()
    inside = shown.alpha[y : y + 64, x : x + 64] >= 0.5
    assert 2 * (found.binary & inside).sum() / (found.binary.sum() + inside.sum()) > 0.85


@pytest.mark.parametrize("name", SERVERS)
def test_marks_and_slices_of_a_server_give_the_same_labels(name, tmp_path):
    """Real reports and slices, from a folder and from a DICOMweb server they were sent to."""
    folder = shared("measurements", "aim_v3_two_readers")
    files = sorted(folder.rglob("*.dcm"))
    reports = tmp_path / "reports"
    reports.mkdir()
    for file in files:
        (reports / file.relative_to(folder).as_posix().replace("/", "_")).symlink_to(file)
    (tmp_path / "server").mkdir()
    with started(name, tmp_path / "server") as root:
        store_files(root, files)
        for place, out in ((root, "web"), (str(reports), "files")):
            arguments = ["--images", place, "--marks", place, "--out", str(tmp_path / out)]
            assert label.main(["dicom", *arguments]) == 0
    web, files = ({row[0]: row for row in content(tmp_path / out)} for out in ("web", "files"))
    assert len(web) == 16 and web.keys() == files.keys()
    for key, row in web.items():
        other = files[key]
        # What tells files apart differs: where a mark came from.
        assert {**row[5], "mark_source": ""} == {**other[5], "mark_source": ""}
        assert (*row[:5], row[6]) == (*other[:5], other[6])


def test_errors_name_the_option(place, tmp_path, capsys):
    gone, table = str(tmp_path / "gone"), tmp_path / "table.csv"
    table.write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    usual = {"--images": str(place / "images"), "--marks": str(place / "marks"),
             "--out": str(tmp_path / "store")}  # fmt: skip
    for change, told in (
        ({"--images": gone}, "--images must be a folder, a zip or a DICOMDIR, there is none at"),
        ({"--images": "http://me:secret@here"}, "--images must hold no password: write it to"),
        ({"--marks": gone}, f"--marks: {gone}: no such file or folder"),
        ({"--hash-key": gone}, "--hash-key must be a file with a secret"),
        ({"--index": str(table)}, "--index must be a new file or an index of slices"),
        ({"--out": str(tmp_path / "full")}, "full is not empty: add --resume"),
    ):
        given = [word for pair in {**usual, **change}.items() for word in pair]
        assert label.main(["dicom", *given]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("dsnet.label: ") and told in line and "secret@" not in line
    assert table.read_text() == "mine" and not (tmp_path / "store").exists()
