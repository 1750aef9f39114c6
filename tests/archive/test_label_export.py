"""`label dicom` and `label export`: from reports and slices to objects and volumes."""

import csv
import shutil

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from dicom_files import slice_of  # noqa: E402
from dicom_rows import dciodvfy  # noqa: E402
from dicom_servers import SERVERS, started  # noqa: E402
from dsnet import label  # noqa: E402
from dsnet.data.crop import Crop, paste_back  # noqa: E402
from dsnet.data.marks.find import find_marks  # noqa: E402
from dsnet.data.store import open_store  # noqa: E402
from shared_data import shared  # noqa: E402


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """The real slices and reports of both readers, labelled by the command, with --seg."""
    folder = shared("measurements", "aim_v3_two_readers")
    out = tmp_path_factory.mktemp("labelled")
    code = label.main(
        ["dicom", "--images", str(folder / "ct"), "--marks", str(folder / "sr"),
         "--out", str(out / "store"), "--seg", str(out / "seg")]
    )  # fmt: skip
    assert code == 0
    return folder, out


def export(labelled, out, form, *options):
    folder, made = labelled
    return label.main(
        ["export", str(made / "store"), "--format", form, "--images", str(folder / "ct"),
         "--out", str(out), *options]
    )  # fmt: skip


def alphas(store):
    for record in store.records("ok"):
        crop = Crop(image=record.image, offset=record.offset, scale=record.scale)
        yield record, paste_back(record.alpha, crop, (512, 512))


def test_real_marks_are_labelled_written_and_read_back(labelled, tmp_path):
    _, made = labelled
    store = open_store(made / "store")
    assert export(labelled, tmp_path / "seg", "dicom-seg") == int(len(list(alphas(store))) < 16)
    found = {}
    for path in (tmp_path / "seg").rglob("soft.dcm"):
        # The command that labelled has written the same.
        again = made / "seg" / path.relative_to(tmp_path / "seg")
        assert again.read_bytes() == path.read_bytes()
        assert dciodvfy(path) == [] == dciodvfy(path.with_name("binary.dcm"))
        object_ = pydicom.dcmread(path)
        pixels = object_.pixel_array.reshape(-1, 512, 512)
        for segment, frame in zip(object_.SegmentSequence, pixels, strict=True):
            found.setdefault(path.parent.name, []).append((segment, frame))
    seen = 0
    for record, alpha in alphas(store):
        segment, frame = found[record.metadata["series_uid"]].pop(0)
        assert np.abs(frame / 255 - alpha).max() <= 0.5 / 255 + 1e-6
        if record.metadata["tracking_uid"]:
            assert segment.TrackingUID == record.metadata["tracking_uid"]
        seen += 1
    assert seen == 16 and not any(found.values())


def test_reports_are_read_back_by_this_project(labelled, tmp_path):
    _, made = labelled
    assert export(labelled, tmp_path / "sr", "dicom-sr") == 0
    marks = find_marks(tmp_path / "sr").marks
    records = [record for record, _ in alphas(open_store(made / "store"))]
    assert len(marks) == 2 * len(records)
    both = [mark for mark in marks if mark.short_axis is not None]
    assert len(both) == len(records)
    for record in records:
        drawn = (record.mark[:4].reshape(2, 2) + 0.5) / record.scale - 0.5 + record.offset
        same = [
            mark
            for mark in marks
            if mark.instance_uid == record.metadata["instance_uid"]
            and np.abs(mark.long_axis - drawn).max() < 0.01
        ]
        assert same


@pytest.mark.parametrize(
    ("form", "files"),
    [
        ("nifti", ["labels.nii.gz", "lesions.csv", "soft.nii.gz"]),
        ("nrrd", ["labels.seg.nrrd", "lesions.csv", "soft.nrrd"]),
    ],
)
def test_volumes_lie_on_the_series(labelled, tmp_path, form, files):
    assert export(labelled, tmp_path / "out", form) == 0
    rows = 0
    for folder in (tmp_path / "out").iterdir():
        assert set(files) <= {path.name for path in folder.iterdir()}
        with open(folder / "lesions.csv", newline="", encoding="utf-8") as file:
            rows += len(list(csv.DictReader(file)))
    assert rows == 16


def test_flare_has_the_slices_in_the_window_they_were_labelled_in(labelled, tmp_path):
    folder, made = labelled
    assert export(labelled, tmp_path / "out", "flare-npz") == 0
    record, _ = next(alphas(open_store(made / "store")))
    told = record.metadata
    (path,) = (p for p in (folder / "ct").iterdir()
               if pydicom.dcmread(p).SOPInstanceUID == told["instance_uid"])  # fmt: skip
    one = pydicom.dcmread(path)
    hu = one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept)
    low, high = told["window_low"], told["window_high"]
    shown = np.clip((hu - low) / (high - low), 0, 1) * 255
    file = np.load(tmp_path / "out" / f"{told['series_uid']}.npz")
    # What the scanner padded is air, as it was when it was labelled.
    real = one.pixel_array != -2000
    assert 0.5 < real.mean() < 1
    assert np.abs(file["imgs"][0] - shown)[real].max() <= 0.5 + 1e-3


def test_rows_whose_slices_are_gone_are_told_and_the_others_written(labelled, tmp_path, capsys):
    folder, made = labelled
    some = tmp_path / "some"
    some.mkdir()
    shutil.copy(folder / "ct" / "0022Baseline.dcm", some)
    code = label.main(
        ["export", str(made / "store"), "--format", "dicom-seg", "--images", str(some),
         "--out", str(tmp_path / "out")]
    )  # fmt: skip
    told = capsys.readouterr()
    assert code == 1 and "wrote 2 labels" in told.out
    lines = told.err.strip().splitlines()
    assert len(lines) == 14
    assert all(
        line.startswith("not written: ") and "not among the images" in line for line in lines
    )


@pytest.mark.parametrize("name", SERVERS)
def test_reports_arrive_on_a_server_and_are_counted(labelled, tmp_path, capsys, name):
    (tmp_path / "server").mkdir()
    with started(name, tmp_path / "server") as root:
        assert export(labelled, tmp_path / "sr", "dicom-sr", "--to", root) == 0
    files = list((tmp_path / "sr").rglob("*.dcm"))
    assert f"{len(files)} objects are on the server" in capsys.readouterr().out
    # Nobody is there any more: what was written stays, and a line says so.
    assert export(labelled, tmp_path / "again", "dicom-sr", "--to", root) == 2
    assert "cannot be reached" in capsys.readouterr().err
    assert len(list((tmp_path / "again").rglob("*.dcm"))) == len(files)


def test_pydicom_quotes_no_value_of_a_header(tmp_path, recwarn):
    """A hashed UID is longer than one may be; a warning of it has the value, and a path of ours."""
    series = "d" * 64
    stored = np.random.default_rng(0).integers(-900, 300, (64, 64)).astype(np.int16)
    slice_of(
        tmp_path / "ct/1.dcm", 1, series, SOPInstanceUID="c" * 64, FrameOfReferenceUID="b" * 64,
        Rows=64, Columns=64, PixelRepresentation=1, PixelData=stored.tobytes(),
        RescaleIntercept=0, PixelSpacing=[0.7, 0.7],
    )  # fmt: skip
    (tmp_path / "marks.csv").write_text(
        f"sop_instance_uid,x1,y1,x2,y2,origin\n{'c' * 64},20,32,44,32,0\n"
    )
    images = ["--images", str(tmp_path / "ct"), "--out"]
    marks = ["--marks", str(tmp_path / "marks.csv")]
    recwarn.clear()
    assert label.main(["dicom", *marks, *images, str(tmp_path / "store")]) == 0
    for form in ("dicom-sr", "dicom-seg", "nifti"):
        given = ["export", str(tmp_path / "store"), "--format", form]
        assert label.main([*given, *images, str(tmp_path / form)]) == 0
    assert not [str(warning.message) for warning in recwarn if "VR" in str(warning.message)]


def test_wrong_use_is_told_on_a_line_before_anything_is_written(labelled, tmp_path, capsys):
    folder, made = labelled
    base = ["export", str(made / "store"), "--format", "nifti", "--out", str(tmp_path / "out")]
    assert label.main(base) == 2
    assert "--images must be" in capsys.readouterr().err
    assert label.main([*base, "--images", str(tmp_path / "nowhere")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("dsnet.label: --images must be a folder") and "nowhere" in told
    index = ["--images", str(folder / "ct"), "--index", str(made / "store")]
    assert label.main([*base, *index]) == 2
    assert capsys.readouterr().err.startswith("dsnet.label: --index must be a file")
    images = ["--images", str(folder / "ct"), "--to"]
    assert label.main([*base, *images, "http://127.0.0.1:9/x"]) == 2
    assert "--to is of --format dicom-seg, dicom-sr, got nifti" in capsys.readouterr().err
    base[3] = "dicom-sr"
    assert label.main([*base, *images, "http://me:secret@pacs/x"]) == 2
    told = capsys.readouterr().err
    assert "must hold no password" in told and "secret" not in told
    full = tmp_path / "full"
    full.mkdir()
    (full / "a").write_text("mine")
    base = ["dicom", "--images", str(folder / "ct"), "--marks", str(folder / "sr"),
            "--out", str(tmp_path / "store")]  # fmt: skip
    assert label.main([*base, "--seg", str(full)]) == 2
    assert "--seg must be a new or empty folder" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]
