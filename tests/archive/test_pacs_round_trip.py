"""Marks into objects, out of them, to labels, to segmentations, and back, on six real slices.

Through a folder, and through a DICOMweb server that the objects were sent to.
"""

import io

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")
from mark_files import aim_v3, aim_v4, as_json, dicom_bytes, highdicom_report, highdicom_state  # noqa: E402

from dicom_servers import started, store  # noqa: E402
from dsnet import label  # noqa: E402
from dsnet.data.crop import Crop, paste_back  # noqa: E402
from dsnet.data.dicom.query import web_files  # noqa: E402
from dsnet.data.store import open_store  # noqa: E402
from dsnet.labeling import RecistMark  # noqa: E402
from shared_data import shared  # noqa: E402

WRITERS = {
    "sr": (lambda mark, image: highdicom_report(mark, image), "dcm"),
    "gsps": (lambda mark, image: highdicom_state([mark], image), "dcm"),
    "aim": (lambda mark, image: aim_v3(mark, image), "xml"),
    "aim4": (lambda mark, image: as_json(aim_v4(mark, image)), "json"),
}
OBJECTS = ("sr", "gsps")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Six real slices of their own, and a mark with both axes over each: the reader's long axis,
    and a short one across it."""
    folder = shared("measurements", "aim_v3_two_readers")
    place = tmp_path_factory.mktemp("round_trip")
    (place / "images").mkdir()
    rng = np.random.default_rng(7)
    marks = {}
    for file in sorted(folder.rglob("*.dcm")):
        image = pydicom.dcmread(file)
        if image.Modality != "CT" or len(marks) == 6:
            continue
        middle = rng.uniform(150, 350, 2)
        along = np.array([np.cos(turn := rng.uniform(0, 6)), np.sin(turn)])
        across = np.array([-along[1], along[0]])
        half, short = rng.uniform(8, 20), rng.uniform(5, 8)
        ends = [middle - half * along, middle + half * along,
                middle - short * across, middle + (short + 1) * across]  # fmt: skip
        marks[image.SOPInstanceUID] = RecistMark.from_coordinates(np.ravel(ends))
        (place / "images" / file.name).symlink_to(file)
        for kind, (write, ending) in WRITERS.items():
            (place / kind).mkdir(exist_ok=True)
            data = write(marks[image.SOPInstanceUID], image)
            if kind in OBJECTS:
                data = named(data, f"2.25.{len(marks)}{OBJECTS.index(kind)}")
            (place / kind / f"{len(marks)}.{ending}").write_bytes(data)
    assert len(marks) == 6
    return place, marks


def named(data, uid):
    """The object as one of its own: the writers give all of them one UID."""
    made = pydicom.dcmread(io.BytesIO(data))
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = uid
    made.SeriesInstanceUID = f"{uid}.1"
    return dicom_bytes(made)


def labelled(images, marks, out):
    """The labels by instance, of a run that labelled each slice once."""
    assert label.main(["dicom", "--images", images, "--marks", marks, "--out", str(out)]) == 0
    found = {r.metadata["instance_uid"]: r for r in open_store(out).records()}
    assert len(found) == len(open_store(out)) == 6
    assert all(r.status == "ok" for r in found.values()), [r.error for r in found.values()]
    return found


def in_slice(record):
    """A row's mark in pixels of its slice, by the crop's definition."""
    points = record.mark.reshape(4, 2)
    scale, offset = np.array(record.scale), np.array(record.offset)
    return (points + 0.5) / scale + offset - 0.5


def require_the_same(found, marks):
    for uid, mark in marks.items():
        assert np.abs(in_slice(found[uid]) - mark.coordinates.reshape(4, 2)).max() <= 0.01


def require_segmentations(files, found):
    """Soft and binary objects hold the labels: alpha to 1/255, on the slices they name."""
    seen = {"FRACTIONAL": set(), "BINARY": set()}
    for data in files:
        image = pydicom.dcmread(io.BytesIO(data))
        frames = image.pixel_array.reshape(-1, image.Rows, image.Columns)
        most = image.MaximumFractionalValue if image.SegmentationType == "FRACTIONAL" else 1
        for frame, groups in zip(frames, image.PerFrameFunctionalGroupsSequence, strict=True):
            source = groups.DerivationImageSequence[0].SourceImageSequence[0]
            record = found[source.ReferencedSOPInstanceUID]
            crop = Crop(record.image, offset=record.offset, scale=record.scale)
            expected = paste_back(record.alpha, crop, frame.shape)
            if image.SegmentationType == "BINARY":
                expected = expected >= 0.5
            assert np.abs(frame / most - expected).max() <= 1 / 255
            seen[image.SegmentationType].add(source.ReferencedSOPInstanceUID)
    assert seen["FRACTIONAL"] == seen["BINARY"] == set(found)


@pytest.mark.parametrize("kind", WRITERS)
def test_through_a_folder(drawn, kind, tmp_path):
    place, marks = drawn
    found = labelled(str(place / "images"), str(place / kind), tmp_path / "store")
    require_the_same(found, marks)
    arguments = ["--images", str(place / "images"), "--out", str(tmp_path / "seg")]
    command = ["export", str(tmp_path / "store"), "--format", "dicom-seg", *arguments]
    assert label.main(command) == 0
    require_segmentations([f.read_bytes() for f in (tmp_path / "seg").rglob("*.dcm")], found)


@pytest.mark.parametrize("name", ["orthanc", "tiny-pacs"])
@pytest.mark.parametrize("kind", OBJECTS)
def test_through_a_server(drawn, kind, name, tmp_path, capsys):
    """Slices and marks are sent to it, labelled from it, and the segmentations sent back."""
    place, marks = drawn
    (tmp_path / "server").mkdir()
    with started(name, tmp_path / "server") as root:
        store(root, sorted((place / "images").iterdir()))
        store(root, sorted((place / kind).iterdir()))
        found = labelled(root, root, tmp_path / "store")
        require_the_same(found, marks)
        command = ["export", str(tmp_path / "store"), "--format", "dicom-seg", "--images", root]
        assert label.main([*command, "--out", str(tmp_path / "seg"), "--to", root]) == 0
        problems: list = []
        files = [data for _, data in web_files(root, ["SEG"], 2**28, problems)]
    assert not problems
    require_segmentations(files, found)
    here = labelled(str(place / "images"), str(place / kind), tmp_path / "here")
    for uid, record in here.items():
        assert np.array_equal(record.alpha, found[uid].alpha)
