"""A tilted gantry and `--isotropic`: masks and volumes lie in the patient where the mark does."""

import csv

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")
nibabel = pytest.importorskip("nibabel")

from dicom_files import slice_of  # noqa: E402
from dsnet import label  # noqa: E402
from dsnet.data.phantom import make_phantom  # noqa: E402

SIDE, SPACING, STEP = 64, (0.9, 0.6), 3.0
DOWN = (0.0, np.cos(np.radians(16)), -np.sin(np.radians(16)))
FIRST = np.array([-10.0, -20.0, 5.0])
MIDDLE = 2


def world(x, y, number):
    """mm of a pixel of a slice; slices follow each other straight along the patient."""
    place = FIRST + np.array([0, 0, STEP * number])
    return place + np.array([1.0, 0, 0]) * SPACING[1] * x + np.array(DOWN) * SPACING[0] * y


def test_masks_of_a_tilted_series_lie_where_the_mark_does(tmp_path):
    shown = make_phantom("solid", SIDE, 3, diameter_mm=18.0)
    hu = np.rint(shown.image * 1500 - 1350).astype(np.int16)
    for number in range(5):
        slice_of(
            tmp_path / "images" / f"{number}.dcm", number + 1, signed=1, Rows=SIDE, Columns=SIDE,
            PixelData=hu.tobytes(), RescaleIntercept=0, PixelSpacing=list(SPACING),
            ImagePositionPatient=world(0, 0, number).tolist(),
            ImageOrientationPatient=[1, 0, 0, *DOWN],
        )  # fmt: skip
    ends = shown.mark.coordinates
    with open(tmp_path / "marks.csv", "w", newline="") as file:
        names = "sop_instance_uid x1 y1 x2 y2 x3 y3 x4 y4 origin"
        csv.writer(file).writerows([names.split(), [f"1.2.3.{MIDDLE + 1}", *ends, 0]])
    images = ["--images", str(tmp_path / "images")]
    flat = {}
    for name, more in (("native", []), ("isotropic", ["--isotropic", "0.7", "--neighbours", "1"])):
        store = str(tmp_path / name)
        marks = ["--marks", str(tmp_path / "marks.csv"), "--out", store]
        assert label.main(["dicom", *images, *marks, *more]) == 0
        for form in ("dicom-seg", "nifti"):
            out = ["--format", form, "--out", str(tmp_path / f"{name}-{form}")]
            assert label.main(["export", store, *images, *out]) == 0
        (path,) = (tmp_path / f"{name}-dicom-seg").rglob("binary.dcm")
        made = pydicom.dcmread(path)
        (groups,) = made.PerFrameFunctionalGroupsSequence
        at = groups.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(at, world(0, 0, MIDDLE), atol=1e-3)
        flat[name] = made.pixel_array.reshape(SIDE, SIDE).astype(bool)
        (path,) = (tmp_path / f"{name}-nifti").rglob("labels.nii.gz")
        volume = nibabel.load(path)
        voxels = np.argwhere(np.asarray(volume.dataobj) > 0)
        # NIfTI counts x and y the other way.
        there = (voxels @ volume.affine[:3, :3].T + volume.affine[:3, 3]) * [-1, -1, 1]
        here = [world(x, y, MIDDLE) for y, x in np.argwhere(flat[name])]
        assert np.allclose(np.sort(there, 0), np.sort(here, 0), atol=1e-3)
    inside = shown.alpha >= 0.5
    for mask in flat.values():
        assert 2 * (mask & inside).sum() / (mask.sum() + inside.sum()) > 0.9
