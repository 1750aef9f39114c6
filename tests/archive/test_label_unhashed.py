"""`label dicom --hash-key`: who has the secret and the images gets objects on the same slices."""

import os

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from dicom_files import slice_of  # noqa: E402
from dsnet import label  # noqa: E402
from dsnet.data.phantom import make_phantom  # noqa: E402
from dsnet.data.store import open_store  # noqa: E402

SIDE = 64


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two series of two slices with a mark each, stores of them with and without a secret."""
    place = tmp_path_factory.mktemp("hashed")
    rows = ["sop_instance_uid,x1,y1,x2,y2,x3,y3,x4,y4,origin,tracking_uid"]
    for number, series in enumerate(("1.2.3", "1.2.3", "1.2.4", "1.2.4")):
        shown = make_phantom("solid", SIDE, number, diameter_mm=15.0)
        hu = np.rint(shown.image * 1500 - 1350).astype(np.int16)
        slice_of(
            place / "images" / f"{number}.dcm", number + 1, series, signed=1, Rows=SIDE,
            Columns=SIDE, PixelData=hu.tobytes(), RescaleIntercept=0, PixelSpacing=[0.7, 0.7],
        )  # fmt: skip
        ends = ",".join(map(str, shown.mark.coordinates))
        rows.append(f"{series}.{number + 1},{ends},0,2.25.{number}")
    (place / "marks.csv").write_text("\n".join(rows))
    (place / "secret").write_bytes(b"sixteen bytes of a secret")
    (place / "other").write_bytes(b"sixteen bytes of another")
    made = ["dicom", "--images", str(place / "images"), "--marks", str(place / "marks.csv")]
    for name, more in (("plain", []), ("keyed", ["--hash-key", str(place / "secret")])):
        seg = ["--out", str(place / name), "--seg", str(place / f"{name}-seg")]
        assert label.main([*made, *seg, *more]) == 0
    return place


def exported(place, name, out, *options):
    arguments = ["export", str(place / name), "--format", "dicom-seg", "--out", str(out)]
    return label.main([*arguments, "--images", str(place / "images"), *options])


def frames(folder):
    """Of each written segmentation the slices that its frames lie on, and their pixels."""
    found = {}
    for path in sorted(folder.rglob("soft.dcm")):
        made = pydicom.dcmread(path)
        pixels = made.pixel_array.reshape(-1, SIDE, SIDE)
        for groups, frame in zip(made.PerFrameFunctionalGroupsSequence, pixels, strict=True):
            source = groups.DerivationImageSequence[0].SourceImageSequence[0]
            found[made.SeriesInstanceUID, source.ReferencedSOPInstanceUID] = frame
    return {slice_uid: frame for (_, slice_uid), frame in found.items()}


def test_the_same_secret_finds_the_slices_again(place, tmp_path):
    assert exported(place, "keyed", tmp_path / "keyed", "--hash-key", str(place / "secret")) == 0
    assert exported(place, "plain", tmp_path / "plain") == 0
    keyed, plain = frames(tmp_path / "keyed"), frames(tmp_path / "plain")
    assert sorted(keyed) == ["1.2.3.1", "1.2.3.2", "1.2.4.3", "1.2.4.4"] == sorted(plain)
    assert all(np.array_equal(keyed[uid], plain[uid]) and plain[uid].any() for uid in plain)
    # The command that labelled has written the same.
    assert frames(place / "keyed-seg").keys() == keyed.keys()
    for path in (tmp_path / "keyed").rglob("*.dcm"):
        again = place / "keyed-seg" / path.relative_to(tmp_path / "keyed")
        assert again.read_bytes() == path.read_bytes()
    # The store knows them as little as before.
    assert not {r.metadata["instance_uid"] for r in open_store(place / "keyed").records()} & {
        *keyed
    }


@pytest.mark.parametrize("form", ["dicom-sr", "nifti", "nrrd", "flare-npz"])
def test_every_format_takes_the_secret(place, tmp_path, form):
    arguments = ["--format", form, "--out", str(tmp_path / "out")]
    arguments += ["--images", str(place / "images"), "--hash-key", str(place / "secret")]
    assert label.main(["export", str(place / "keyed"), *arguments]) == 0
    names = {path.relative_to(tmp_path / "out").parts[0] for path in (tmp_path / "out").iterdir()}
    assert {name.removesuffix(".npz") for name in names} == {"1.2.3", "1.2.4"}


@pytest.mark.parametrize(
    "name, key, told",
    [
        ("keyed", None, "--hash-key must be the file that the store was made with"),
        ("keyed", "other", "--hash-key must be the secret that the store was made with"),
        ("keyed", "gone", "--hash-key must be a file with a secret"),
        ("plain", "secret", "--hash-key must be left out: the store was made without one"),
    ],
)
def test_another_secret_is_told_in_a_line(place, tmp_path, capsys, name, key, told):
    more = [] if key is None else ["--hash-key", str(place / key)]
    assert exported(place, name, tmp_path / "out", *more) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_slices_that_are_not_there_are_told_without_a_path(place, tmp_path, capsys):
    """Some of the images lack, and one went away after it was found."""
    some = tmp_path / "some"
    some.mkdir()
    for number in (0, 1, 2):
        (some / f"{number}.dcm").write_bytes((place / "images" / f"{number}.dcm").read_bytes())
    index = ["--index", str(tmp_path / "index.parquet")]
    arguments = ["export", str(place / "plain"), "--format", "dicom-seg", "--images", str(some)]
    assert label.main([*arguments, "--out", str(tmp_path / "first"), *index]) == 1
    error = capsys.readouterr().err
    assert "1.2.4.4 is not among the images" in error and error.count("not written: ") == 1
    state = (some / "1.dcm").stat()
    (some / "1.dcm").write_bytes(b"x" * state.st_size)
    os.utime(some / "1.dcm", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert label.main([*arguments, "--out", str(tmp_path / "again"), *index]) == 1
    error = capsys.readouterr().err
    assert "instance 1.2.3.2 cannot be read: it is no DICOM file" in error
    assert str(tmp_path) not in error
