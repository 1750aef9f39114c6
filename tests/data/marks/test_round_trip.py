"""Marks that people drew, written as reports, presentation states and AIM over six real slices, and
read back to 0.01 px."""

import csv
import zipfile

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
from mark_files import (  # noqa: E402
    aim_v3,
    aim_v4,
    aim_v4_xml,
    as_json,
    highdicom_report,
    highdicom_state,
)

from dsnet.data.marks.aim import read_aim  # noqa: E402
from dsnet.data.marks.find import find_marks, read_marks  # noqa: E402
from dsnet.data.marks.geometry import checked, placed  # noqa: E402
from dsnet.data.marks.gsps import read_gsps  # noqa: E402
from dsnet.data.marks.sr import read_sr  # noqa: E402
from dsnet.labeling.recist import RecistMark  # noqa: E402
from shared_data import shared  # noqa: E402

SLICES = ("0022Baseline", "0022Followup", "0023Baseline", "0023Followup", "0024Baseline",
          "0024Followup")  # fmt: skip


@pytest.fixture(scope="module", params=range(6), ids=SLICES)
def case(request):
    """A slice, a mark of both axes and a long axis alone, all real."""
    folder = shared("measurements", "aim_v3_two_readers")
    image = pydicom.dcmread(folder / "ct" / f"{SLICES[request.param]}.dcm")
    image.PatientName = "Doe^Jane"  # what it has is none, of which highdicom warns
    with open(shared("human_marks") / "DL_info_human_marks.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    written = [float(v) for v in rows[97 * request.param]["Measurement_coordinates"].split(",")]
    mark = RecistMark.from_coordinates(np.array(written) - 0.5)
    (line,) = read_aim(str(folder / "xml" / f"{SLICES[request.param]}A.xml"))
    return image, mark, line.recist()


def same(found, mark):
    assert np.abs(found.long_axis - mark.long_axis).max() < 0.01
    if mark.short_axis is None:
        assert found.short_axis is None
    else:
        assert np.abs(found.short_axis - mark.short_axis).max() < 0.01


@pytest.mark.parametrize("which", [1, 2], ids=["both axes", "long axis alone"])
@pytest.mark.parametrize("kind", ["sr", "gsps", "gsps display", "aim 3", "aim 4", "aim 4 xml"])
def test_read_back(case, kind, which):
    image, mark = case[0], case[which]
    if kind == "sr" or kind.startswith("gsps"):
        pytest.importorskip("highdicom")
    data = {
        "sr": lambda: highdicom_report(mark, image),
        "gsps": lambda: highdicom_state([mark], image),
        "gsps display": lambda: highdicom_state([mark], image, "DISPLAY"),
        "aim 3": lambda: aim_v3(mark, image),
        "aim 4": lambda: as_json(aim_v4(mark, image)),
        "aim 4 xml": lambda: aim_v4_xml(aim_v4(mark, image)),
    }[kind]()
    read = {"sr": read_sr, "gsps": read_gsps}.get(kind.split()[0], read_aim)
    (found,) = read("made", data)
    same(found, mark)
    assert found.instance_uid == image.SOPInstanceUID
    assert found.series_uid == image.SeriesInstanceUID
    assert found.recist() == found.recist().assumed() or mark.short_axis is None
    assert checked(found, image.PixelSpacing) == ()
    if kind == "sr":
        assert (found.tracking_id, found.label) == ("Lesion 1", "Nodule, Lung")
        assert found.reader == "Reader^One"
    if kind.startswith("aim"):
        assert (found.tracking_id, found.reader) == ("Lesion 1", "Reader")
    if kind.startswith("aim 4"):
        length = np.hypot(*((mark.long_axis[1] - mark.long_axis[0]) * image.PixelSpacing[::-1]))
        assert found.long_mm == pytest.approx(length, abs=1e-6)


def test_in_the_patients_coordinates(case):
    pytest.importorskip("highdicom")
    image, mark, _ = case
    along, down = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = (float(v) for v in image.PixelSpacing)
    x, y = mark.coordinates.reshape(4, 2).T
    world = np.array(image.ImagePositionPatient, float) + np.outer(x * column_mm, along)
    world += np.outer(y * row_mm, down)
    (found,) = read_sr("made", highdicom_report(mark, image, world))
    assert found.long_axis is None and found.frame_of_reference_uid == image.FrameOfReferenceUID
    assert np.abs(found.world - world).max() < 1e-3
    back, distance = placed(
        found, image.ImagePositionPatient, image.ImageOrientationPatient, image.PixelSpacing
    )
    same(back, mark)
    assert distance < 1e-3


def test_a_folder_of_all_of_them_and_its_zip(case, tmp_path):
    pytest.importorskip("highdicom")
    image, mark, line = case
    files = {
        "a.dcm": highdicom_report(mark, image),
        "b": highdicom_state([mark, line], image),  # a name without an ending
        "c/d.xml": aim_v3(mark, image),
        "c/e.json": as_json(aim_v4(line, image)),
        "f.txt": b"no mark",
    }
    for name, data in files.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    image.save_as(tmp_path / "folder" / "ct.dcm")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in (tmp_path / "folder").rglob("*"):
            archive.write(path, path.relative_to(tmp_path / "folder"))
    for place in ("folder", "all.zip"):
        found = find_marks(tmp_path / place)
        assert found.counts == {"sr": 1, "gsps": 2, "aim": 2}
        assert not found.refused and not found.empty
    assert [mark.format for mark in read_marks("served", files["a.dcm"]).marks] == ["sr"]
    assert [mark.format for mark in read_marks("served.json", files["c/e.json"]).marks] == ["aim"]
