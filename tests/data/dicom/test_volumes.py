"""NIfTI and NRRD: the soft masks on the series' own grid, as other programs read them."""

import csv
import itertools

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")

from dicom_rows import Headers, drawn_slice, labelled_row, store_of  # noqa: E402
from dsnet.data.crop import Crop, paste_back  # noqa: E402
from dsnet.data.nifti import write_nifti  # noqa: E402
from dsnet.data.store.volumes import export_nifti, export_nrrd  # noqa: E402
from shared_data import shared  # noqa: E402

MARK = [18, 30, 30, 30, 24, 25, 24, 36]
EXPORTS = {"nii.gz": export_nifti, "nrrd": export_nrrd}


def read(path):
    """Voxels [slices, rows, columns] and the affine to LPS, by nibabel or pynrrd."""
    if path.name.endswith(".nii.gz"):
        image = pytest.importorskip("nibabel").load(path)
        lps = np.diag([-1, -1, 1, 1]) @ image.affine
        return np.asarray(image.dataobj).transpose(2, 1, 0), lps
    voxels, header = pytest.importorskip("nrrd").read(str(path))
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = header["space directions"].T, header["space origin"]
    return voxels.transpose(2, 1, 0), affine


def expected_alpha(record, shape):
    crop = Crop(image=record.image, offset=record.offset, scale=record.scale)
    return paste_back(record.alpha, crop, shape)


def lps_of(header, row, column):
    """Where a pixel's centre lies: DICOM PS3.3, equation C.7.6.2.1-1."""
    orientation = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    down, right = map(float, header.PixelSpacing)
    position = np.array(header.ImagePositionPatient, float)
    return position + orientation[0] * right * column + orientation[1] * down * row


def rows_on(slices, numbers, **options):
    headers = list(slices.datasets.values())
    return [
        labelled_row(headers[n], headers[n].pixel_array - 1024.0, MARK, key=f"r{i}", **options)
        for i, n in enumerate(numbers)
    ]


@pytest.mark.parametrize("ending", EXPORTS)
def test_voxels_lie_where_the_slices_pixels_do(tmp_path, ending):
    # Out of order, not square, and turned.
    turned = [0.8, 0.6, 0, 0, 0, -1]
    normal = np.cross(turned[:3], turned[3:])
    slices = Headers(
        drawn_slice(
            number, shape=(61, 47), spacing=(0.9, 0.6), ImageOrientationPatient=turned,
            ImagePositionPatient=list(np.array([5.0, -7, 9]) + 3 * place * normal),
        )
        for number, place in ((1, 2), (2, 0), (3, 1), (4, 3))
    )  # fmt: skip
    store = store_of(tmp_path / "store", rows_on(slices, [0, 2, 3]))
    assert EXPORTS[ending](store, tmp_path / "out", slices) == (3, {})
    folder = tmp_path / "out" / "2.25.77"
    name = "labels.nii.gz" if ending == "nii.gz" else "labels.seg.nrrd"
    labels, affine = read(folder / name)
    soft, soft_affine = read(folder / f"soft.{ending}")
    assert labels.shape == soft.shape == (4, 61, 47)
    assert np.array_equal(affine, soft_affine)
    by_row = {0: 2, 1: 1, 2: 3}
    for number, (record, n) in enumerate(zip(store.records("ok"), [0, 2, 3], strict=True), 1):
        alpha = expected_alpha(record, (61, 47))
        index = by_row[number - 1]
        assert np.array_equal(soft[index], alpha)
        assert np.array_equal(labels[index] == number, alpha >= 0.5)
        header = list(slices.datasets.values())[n]
        for row, column in itertools.product((0, 60), (0, 46)):
            there = affine @ [column, row, index, 1]
            assert there[:3] == pytest.approx(lps_of(header, row, column), abs=2e-5)
    assert not labels[0].any() and not soft[0].any()
    with open(folder / "lesions.csv", newline="", encoding="utf-8") as file:
        told = list(csv.DictReader(file))
    assert [(row["number"], row["slice"], row["key"]) for row in told] == [
        ("1", "2", "r0"), ("2", "1", "r1"), ("3", "3", "r2"),
    ]  # fmt: skip


@pytest.mark.parametrize("ending", EXPORTS)
def test_simpleitk_finds_the_same_place(tmp_path, ending):
    sitk = pytest.importorskip("SimpleITK")
    slices = Headers(drawn_slice(number, spacing=(0.9, 0.6)) for number in (1, 2, 3))
    store = store_of(tmp_path / "store", rows_on(slices, [1]))
    EXPORTS[ending](store, tmp_path / "out", slices)
    image = sitk.ReadImage(str(tmp_path / "out" / "2.25.77" / f"soft.{ending}"))
    assert image.GetSize() == (47, 61, 3)
    assert image.GetSpacing() == pytest.approx((0.6, 0.9, 2.5), abs=1e-6)
    assert image.GetOrigin() == pytest.approx((-10.0, 20.5, 102.5), abs=1e-5)
    assert image.GetDirection() == pytest.approx((1, 0, 0, 0, 1, 0, 0, 0, 1), abs=1e-6)
    alpha = expected_alpha(next(store.records("ok")), (61, 47))
    assert np.array_equal(sitk.GetArrayFromImage(image)[1], alpha)


@pytest.mark.parametrize("ending", EXPORTS)
@pytest.mark.parametrize("name", ["philips_-18.5_865648", "philips_16.5_003033"])
def test_a_tilted_series_is_a_sheared_grid(tmp_path, ending, name):
    folder = shared("dicom_ct_zoo", f"series_tilt_{name}")
    slices = Headers(path for path in sorted(folder.iterdir()) if path.is_file())
    headers = list(slices.datasets.values())
    mark = [240, 260, 270, 262, 255, 250, 254, 272]
    rows = [
        labelled_row(h, slices.hu(slices._entries(h)[0]), mark, key=h.SOPInstanceUID)
        for h in headers[1:3]
    ]
    store = store_of(tmp_path / "store", rows)
    assert EXPORTS[ending](store, tmp_path / "out", slices) == (2, {})
    soft, affine = read(tmp_path / "out" / headers[0].SeriesInstanceUID / f"soft.{ending}")
    for record in store.records("ok"):
        alpha = expected_alpha(record, (512, 512))
        header = slices.header(record.key)
        (index,) = [i for i, one in enumerate(soft) if np.array_equal(one, alpha)]
        for row, column in itertools.product((0, 511), (0, 511)):
            there = affine @ [column, row, index, 1]
            assert there[:3] == pytest.approx(lps_of(header, row, column), abs=1e-3)


@pytest.mark.parametrize("ending", EXPORTS)
def test_lesions_that_overlap_are_in_layers_and_none_is_lost(tmp_path, ending):
    slices = Headers([drawn_slice(1)])
    (header,) = slices.datasets.values()
    hu = header.pixel_array - 1024.0
    shapes = (MARK, [19, 31, 31, 31, 25, 26, 25, 37], [3, 8, 9, 8, 6, 5, 6, 11])
    rows = [labelled_row(header, hu, m, key=f"reader{i}") for i, m in enumerate(shapes)]
    store = store_of(tmp_path / "store", rows)
    EXPORTS[ending](store, tmp_path / "out", slices)
    folder = tmp_path / "out" / "2.25.77"
    with open(folder / "lesions.csv", newline="", encoding="utf-8") as file:
        layers = [int(row["layer"]) for row in csv.DictReader(file)]
    assert layers[:2] == [1, 2]
    for number, (record, layer) in enumerate(zip(store.records("ok"), layers, strict=True), 1):
        suffix = "" if layer == 1 else f"-{layer}"
        kind = "labels{}.nii.gz" if ending == "nii.gz" else "labels{}.seg.nrrd"
        labels, affine = read(folder / kind.format(suffix))
        soft, _ = read(folder / f"soft{suffix}.{ending}")
        alpha = expected_alpha(record, (61, 47))
        assert np.array_equal(labels[0] == number, alpha >= 0.5)
        assert np.array_equal(np.where(alpha > 0, soft[0], 0), alpha)
        # One slice is as thick as its header says.
        assert affine[:3, 2] == pytest.approx([0, 0, 2.5])


@pytest.mark.parametrize("ending", EXPORTS)
def test_bytes_are_the_same_each_time(tmp_path, ending):
    slices = Headers(drawn_slice(number) for number in (1, 2))
    store = store_of(tmp_path / "store", rows_on(slices, [0, 1]))
    for name in "ab":
        EXPORTS[ending](store, tmp_path / name, slices)
    files = sorted(p.name for p in (tmp_path / "a" / "2.25.77").iterdir())
    assert len(files) == 3
    for file in files:
        first, again = (tmp_path / name / "2.25.77" / file for name in "ab")
        assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"ImagePositionPatient": [-10, 20.5, 111]}, "not equal"),
        ({"ImagePositionPatient": [-10, 20.5, 105]}, "one place"),
        ({"ImagePositionPatient": None}, "no position"),
        ({"PixelSpacing": [0.7, 0.8]}, "differ in spacing"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.8, 0.6]}, "differ in orientation"),
        ({"Rows": 60}, "differ in size"),
    ],
)
def test_a_series_that_is_no_volume_is_refused_and_another_is_written(tmp_path, tags, reason):
    odd = [drawn_slice(1), drawn_slice(2), drawn_slice(3, **tags)]
    fine = drawn_slice(1, series="2.25.88")
    slices = Headers([*odd, fine])
    rows = [
        labelled_row(one, one.pixel_array - 1024.0, MARK, key=key)
        for key, one in (("odd", odd[0]), ("fine", fine))
    ]
    store = store_of(tmp_path / "store", rows)
    told = export_nifti(store, tmp_path / "out", slices)
    assert told.written == 1 and reason in told.refused["odd"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["2.25.88"]


def test_nifti_says_any_rotation_twice_alike(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    random = np.random.default_rng(5)
    for number in range(40):
        axes, _ = np.linalg.qr(random.normal(size=(3, 3)))
        if number % 3 == 0:  # half turns, where a quaternion's first part is 0
            axes = np.diag(random.permutation([1.0, -1.0, -1.0]))
        affine = np.eye(4)
        affine[:3, :3] = axes * random.uniform(0.3, 5, 3)
        affine[:3, 3] = random.uniform(-300, 300, 3)
        write_nifti(tmp_path / "a.nii.gz", affine, (1, 2, 3), "uint8", [np.ones((2, 3))])
        header = nibabel.load(tmp_path / "a.nii.gz").header
        want = np.diag([-1, -1, 1, 1]) @ affine
        assert header.get_sform() == pytest.approx(want, abs=1e-4)
        assert header.get_qform() == pytest.approx(want, abs=1e-4)
    with pytest.raises(ValueError, match=r"at most 32767, got 40000"):
        write_nifti(tmp_path / "a.nii.gz", np.eye(4), (1, 2, 40000), "uint8", [])
