"""Every format of `label export` follows verdicts: on no label, on some, on all."""

import csv

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")
nibabel = pytest.importorskip("nibabel")

from dicom_rows import drawn_slice, labelled_row, store_of  # noqa: E402
from dsnet import label  # noqa: E402
from dsnet.data.crop import Crop, paste_back  # noqa: E402
from dsnet.data.marks.find import find_marks  # noqa: E402
from dsnet.data.store import open_store  # noqa: E402
from dsnet.data.store.reviewed import open_reviewed  # noqa: E402
from dsnet.reviewing.mending import Mending  # noqa: E402
from dsnet.reviewing.review import Review  # noqa: E402

SHAPE = (61, 47)
FORMATS = (
    "png", "npz", "nnunet", "store", "dicom-seg", "dicom-sr", "nifti", "nrrd", "flare-npz",
)  # fmt: skip
# Of the three labels which are accepted, as mended, and rejected; then how many are left.
STATES = {
    "undecided": ([], [], [], {"accepted": 0, "not-rejected": 3, "rejected": 0}),
    "partly": ([0], [1], [], {"accepted": 2, "not-rejected": 3, "rejected": 0}),
    "fully": ([0], [1], [2], {"accepted": 2, "not-rejected": 2, "rejected": 1}),
}


@pytest.fixture(scope="module", params=list(STATES))
def reviewed(request, tmp_path_factory):
    """A store of marks on three slices of one series, the slices, and what is left by choice."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "ct").mkdir()
    rows = []
    for number in (1, 2, 3):
        header = drawn_slice(number, shape=SHAPE)
        header.save_as(folder / "ct" / f"{number}.dcm", enforce_file_format=True)
        hu = header.pixel_array - 1024.0
        mark = [15.5, 30, 31.5, 30, 23, 22.5, 23, 37.5]
        told = {"tracking_uid": f"2.25.{number}", "window_low": -1350.0, "window_high": 150.0}
        rows.append(labelled_row(header, hu, mark, key=f"k{number}", size=48, **told))
    store_of(folder / "store", rows)
    review = Review(open_store(folder / "store"))
    accepted, mended, rejected, left = STATES[request.param]
    for index in accepted:
        review.decide(index, "Ann", "accept")
    for index in mended:
        review.decide(index, "Ann", "accept", change=Mending(threshold=0.05))
    for index in rejected:
        review.decide(index, "Ann", "reject", reason="leaks")
    return folder, left


def pasted(record):
    crop = Crop(image=record.image, offset=record.offset, scale=record.scale)
    return paste_back(record.alpha, crop, SHAPE)


@pytest.mark.parametrize(
    "which", ["accepted", "not-rejected", pytest.param("rejected", marks=pytest.mark.long)]
)
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_the_chosen_labels(reviewed, tmp_path, capsys, form, which):
    folder, left = reviewed
    out = tmp_path / "out"
    arguments = ["export", str(folder / "store"), "--format", form, "--out", str(out)]
    if form in ("dicom-seg", "dicom-sr", "nifti", "nrrd", "flare-npz"):
        arguments += ["--images", str(folder / "ct")]
    code = label.main([*arguments, "--reviewed", which])
    told = capsys.readouterr()
    if not left[which]:
        assert code == 2 and not out.exists()
        assert f"that --reviewed {which} lets through" in told.err
        assert "has no label" in told.err
        return
    assert code == 0, told
    records = list(open_reviewed(folder / "store", which).records("ok"))
    assert len(records) == left[which]
    assert counted(form, out) == len(records)
    if form == "dicom-seg":
        (soft,) = out.rglob("soft.dcm")
        found = pydicom.dcmread(soft).pixel_array.reshape(-1, *SHAPE)
        wanted = np.stack([pasted(record) for record in records])
        assert np.abs(found / 255 - wanted).max() <= 0.5 / 255 + 1e-6
    if form == "nifti":
        (file,) = out.rglob("*soft*.nii.gz")
        volume = np.asarray(nibabel.load(file).dataobj)
        wanted = sum(pasted(record).sum() for record in records)
        assert volume.sum() == pytest.approx(wanted, rel=0.01)


def counted(form, out):
    """How many labels there are, by what a reader of the format sees."""
    if form == "store":
        return len(open_store(out))
    if form == "dicom-sr":
        return len({mark.instance_uid for mark in find_marks(out).marks})
    if form == "dicom-seg":
        return sum(len(pydicom.dcmread(file).SegmentSequence) for file in out.rglob("soft.dcm"))
    if form == "npz":
        return sum(len(np.load(file)["keys"]) for file in out.glob("*.npz"))
    if form == "png":
        return len(list((out / "alpha").iterdir()))
    if form == "nnunet":
        return len(list((out / "labelsTr").iterdir()))
    if form == "flare-npz":
        # A number of its own for each lesion.
        return sum(len(set(np.unique(np.load(file)["gts"])) - {0}) for file in out.glob("*.npz"))
    with_rows = list(out.rglob("lesions.csv"))
    assert with_rows
    return sum(len(list(csv.DictReader(file.open(encoding="utf-8")))) for file in with_rows)
