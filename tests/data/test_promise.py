"""PROMISE12's volumes: slices with their masks, and every fault costs the rows that it concerns."""

import numpy as np
import pytest

from dsnet.data.datasets.promise import find_promise_slices, read_slices
from meta_images import prostate, write_meta


def write_case(folder, name, *, ending=".mhd", seed=0, dtype=np.int16, **options):
    image, outline = prostate(seed=seed, dtype=dtype)
    write_meta(folder / f"{name}{ending}", image, **options)
    write_meta(folder / f"{name}_segmentation{ending}", outline, **options)
    return image, outline


def of_case(found, case):
    return [crop for one, crop in read_slices(found) if one.key.startswith(case)]


@pytest.mark.parametrize("ending", [".mhd", ".mha"])
@pytest.mark.parametrize(
    "options", [{}, {"compressed": True}, {"big_endian": True}, {"dtype": np.float32}]
)
def test_slices_come_with_mask_spacing_and_patient(tmp_path, ending, options):
    spacing = (0.41, 0.73, 2.2)  # x, y, z
    image, outline = write_case(tmp_path, "Case07", ending=ending, spacing=spacing, **options)
    found = find_promise_slices(tmp_path)
    assert [one.key for one in found] == [f"Case07/slice-{k:03d}" for k in range(4)]
    assert found.left_out == {}
    # 1st and 99th percentile of the whole volume: linear between the sorted voxels.
    ordered = np.sort(image.astype(np.float64).ravel())
    place = np.array([0.01, 0.99]) * (len(ordered) - 1)
    low, high = np.interp(place, np.arange(len(ordered)), ordered)
    for k, crop in enumerate(of_case(found, "Case07")):
        wanted = np.clip((image[k].astype(np.float64) - low) / (high - low), 0, 1)
        assert crop.image.dtype == np.float32 and np.allclose(crop.image, wanted, atol=1e-6)
        assert np.array_equal(crop.masks, [outline[k] == 1]) and crop.masks.dtype == bool
        assert crop.spacing == (0.73, 0.41) and crop.key == found[k].key
        assert crop.metadata["patient"] == "Case07" and crop.metadata["slice"] == k
        assert crop.metadata["grey_low"] == pytest.approx(low)
        assert crop.metadata["grey_high"] == pytest.approx(high)
        assert crop.source == str(tmp_path / f"Case07{ending}") and crop.notes == ()
        assert np.array_equal(found[k].read().image, crop.image)


def test_each_volume_is_shown_by_itself(tmp_path):
    image, outline = prostate()
    for name, factor in (("Case00", 1), ("Case01", 7)):
        write_meta(tmp_path / f"{name}.mhd", (image * factor).astype(np.int16))
        write_meta(tmp_path / f"{name}_segmentation.mhd", outline)
    first, second = (of_case(find_promise_slices(tmp_path), f"Case0{k}") for k in "01")
    for a, b in zip(first, second, strict=True):
        assert np.allclose(a.image, b.image, atol=1e-6)


def test_folders_cases_and_what_is_left_out(tmp_path):
    write_case(tmp_path / "TrainingData_Part1", "Case00")
    write_case(tmp_path / "TrainingData_Part2", "Case01", compressed=True)
    _, outline = prostate()
    write_meta(tmp_path / "TrainingData_Part2" / "Case09_segmentation.mhd", outline)
    (tmp_path / "readme.txt").write_text("x")
    # Capital letters circulate, too.
    image, _ = prostate(seed=4)
    write_meta(tmp_path / "Case02.mhd", image)
    write_meta(tmp_path / "Case02_Segmentation.mhd", outline)
    found = find_promise_slices(tmp_path)
    keys = {one.key.rsplit("/", 1)[0] for one in found}
    assert keys == {"Case02", "TrainingData_Part1/Case00", "TrainingData_Part2/Case01"}
    assert {one.metadata["patient"] for one in found} == {"Case00", "Case01", "Case02"}
    assert found.left_out == {"of ending .txt": 1, "segmentations without a volume": 1}
    assert not any(isinstance(crop, ValueError) for _, crop in read_slices(found))
    named = find_promise_slices(tmp_path, patients=r"Case(\d+)")
    assert {one.metadata["patient"] for one in named} == {"00", "01", "02"}


def test_a_fault_costs_its_own_volume_and_is_told(tmp_path):
    image, outline = prostate()
    write_case(tmp_path, "Case00")
    write_meta(tmp_path / "Case01.mhd", image)
    write_case(tmp_path, "Case02")
    raw = tmp_path / "Case02.raw"
    raw.write_bytes(raw.read_bytes()[:-1])
    write_case(tmp_path, "Case03")
    write_meta(tmp_path / "Case03_segmentation.mhd", outline[:, 1:])
    write_case(tmp_path, "Case04")
    write_meta(tmp_path / "Case04_segmentation.mhd", outline, spacing=(0.6, 0.625, 3.6))
    write_case(tmp_path, "Case05")
    write_meta(tmp_path / "Case05_segmentation.mhd", outline, Offset="-12.5 31 4.25")
    write_case(tmp_path, "Case06")
    write_meta(tmp_path / "Case06_segmentation.mhd", outline * 40 + np.int8(1))
    write_case(tmp_path, "Case07")
    (tmp_path / "Case07_segmentation.raw").unlink()
    write_meta(tmp_path / "Case08.mhd", np.full_like(image, 5))
    write_meta(tmp_path / "Case08_segmentation.mhd", outline)
    bright = image.astype(np.float32)
    bright[0, 0, 0] = np.nan
    write_meta(tmp_path / "Case09.mhd", bright)
    write_meta(tmp_path / "Case09_segmentation.mhd", outline)
    write_case(tmp_path, "Case10")
    write_case(tmp_path, "Case10", ending=".mha")
    write_case(tmp_path, "Case11")
    write_meta(tmp_path / "Case11_segmentation.mha", outline)
    write_case(tmp_path, "Case12")
    write_meta(tmp_path / "Case12_segmentation.mhd", outline.astype(np.float32) * 0.5)
    write_case(tmp_path, "Case13")
    (tmp_path / "Case13.mhd").write_text("NDims = 3\nDimSize = a\n")
    told = {
        "Case01": r"Case01\.mhd: no segmentation Case01_segmentation beside it",
        "Case02": r"Case02\.raw: the voxels are cut short: 15360 bytes wanted, got 15359",
        "Case03": r"Case03_segmentation\.mhd: segmentation must be like its volume \(4, 48, 40\)",
        "Case04": r"Case04_segmentation\.mhd: spacing must be like its volume's",
        "Case05": r"Case05_segmentation\.mhd: position must be like its volume's",
        "Case06": r"Case06_segmentation\.mhd: mask must be 0 outside of the lesion",
        "Case07": r"Case07_segmentation\.raw: No such file",
        "Case08": r"Case08\.mhd: voxels must differ, by a finite number, got 5 and 5",
        "Case09": r"Case09\.mhd: voxels must be finite",
        "Case10": r"Case10\.mha: several volumes of that name: Case10\.mha, Case10\.mhd",
        "Case11": r"several segmentations of that name",
        "Case12": r"Case12_segmentation\.mhd: segmentation must be of two values",
        "Case13": r"Case13\.mhd: .*",
    }
    found = find_promise_slices(tmp_path)
    for case, line in told.items():
        errors = of_case(found, case)
        # A header that is none does not tell how many slices there are.
        assert len(errors) == {"Case10": 8, "Case13": 1}.get(case, 4), case
        for error in errors:
            assert isinstance(error, ValueError)
        with pytest.raises(ValueError, match=line):
            raise errors[0]
        assert "\n" not in str(errors[0])
    assert len({one.key for one in found}) == len(found)
    assert [one.key for one in found if one.key.startswith("Case13")] == ["Case13"]
    assert all(not isinstance(crop, ValueError) for crop in of_case(found, "Case00"))


def test_names_that_differ_in_case_alone_share_no_segmentation(tmp_path):
    image, outline = write_case(tmp_path, "Case01")
    write_meta(tmp_path / "case01.mhd", image)
    write_meta(tmp_path / "CASE02.mhd", image)  # alone of its name
    write_meta(tmp_path / "Case02_segmentation.mhd", outline)
    if len(list(tmp_path.glob("*01.mhd"))) < 2:
        pytest.skip("the file system does not tell the names apart")
    found = {one.key: crop for one, crop in read_slices(find_promise_slices(tmp_path))}
    assert np.array_equal(found["Case01/slice-001"].masks[0], outline[1] == 1)
    assert np.array_equal(found["CASE02/slice-001"].masks[0], outline[1] == 1)
    assert "no segmentation case01_segmentation beside it" in str(found["case01/slice-001"])


def test_voxels_too_far_apart_to_scale_are_refused(tmp_path):
    image, outline = prostate(dtype=np.float64)
    for name, most in (("Case00", 1e307), ("Case01", 1.7e308)):
        write_meta(tmp_path / f"{name}.mhd", np.where(image > 400, most, -most))
        write_meta(tmp_path / f"{name}_segmentation.mhd", outline)
    found = find_promise_slices(tmp_path)
    for k, crop in enumerate(of_case(found, "Case00")):
        assert np.array_equal(crop.image, image[k] > 400)
    assert all("by a finite number" in str(crop) for crop in of_case(found, "Case01"))


def test_labels_of_several_parts_are_the_lesion_with_a_note(tmp_path):
    image, outline = prostate()
    zones = outline.copy()
    zones[:, 24:][outline[:, 24:] == 1] = 2
    write_meta(tmp_path / "Case00.mhd", image)
    write_meta(tmp_path / "Case00_segmentation.mhd", zones)
    for k, crop in enumerate(of_case(find_promise_slices(tmp_path), "Case00")):
        assert np.array_equal(crop.masks[0], outline[k] == 1)
        assert crop.notes == ("mask has 3 values in 0..2: all but 0 are the lesion",)


def test_what_is_no_folder_of_volumes_is_told(tmp_path):
    with pytest.raises(ValueError, match="root must be a folder"):
        find_promise_slices(tmp_path / "none")
    with pytest.raises(ValueError, match=r"root must hold CaseNN\.mhd volumes"):
        find_promise_slices(tmp_path)
    write_case(tmp_path, "Case00")
    with pytest.raises(ValueError, match="--patients must be"):
        find_promise_slices(tmp_path, patients="(")
    (one, *_) = find_promise_slices(tmp_path, max_pixels=100)
    with pytest.raises(ValueError, match="states 40x48 pixels, more than the 100 allowed"):
        one.read()


def test_itk_reads_the_same_slices(tmp_path):
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    rng = np.random.default_rng(11)
    for name, compressed in (("Case00", False), ("Case01", True)):
        voxels = rng.integers(-300, 2000, (3, 17, 29)).astype(np.int16)
        outline = (rng.random(voxels.shape) < 0.3).astype(np.int8)
        for stem, array in ((name, voxels), (f"{name}_segmentation", outline)):
            image = itk.GetImageFromArray(array)
            image.SetSpacing((0.39, 0.61, 3.0))
            itk.WriteImage(image, str(tmp_path / f"{stem}.mhd"), useCompression=compressed)
    for one, crop in read_slices(find_promise_slices(tmp_path)):
        read = itk.ReadImage(str(one.image))
        voxels = itk.GetArrayFromImage(read)[one.number].astype(np.float64)
        low, high = crop.metadata["grey_low"], crop.metadata["grey_high"]
        assert np.allclose(crop.image, np.clip((voxels - low) / (high - low), 0, 1), atol=1e-6)
        mask = itk.GetArrayFromImage(itk.ReadImage(str(one.mask)))[one.number]
        assert np.array_equal(crop.masks[0], mask == 1)
        assert crop.spacing == pytest.approx(read.GetSpacing()[1::-1])
