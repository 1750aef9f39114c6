"""Segmentation objects: the masks as labelled, on the source's grid, and valid by dciodvfy."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")

from dicom_rows import Headers, aim_rows, dciodvfy, drawn_slice, labelled_row, store_of  # noqa: E402
from dsnet.data.crop import Crop, paste_back  # noqa: E402
from dsnet.data.store import LabelRecord  # noqa: E402
from dsnet.data.store.decisions import MADE, Decision, DecisionLog, new_id  # noqa: E402
from dsnet.data.store.dicom_objects import export_dicom_seg  # noqa: E402
from dsnet.data.store.reviewed import open_reviewed  # noqa: E402
from dsnet.data.store.versions import write_version  # noqa: E402
from shared_data import shared  # noqa: E402

MARK = [18, 30, 30, 30, 24, 25, 24, 36]


def frames_of(path):
    """Of each segment: its Dataset, its frame and the instance that the frame names."""
    found = pydicom.dcmread(path)
    pixels = found.pixel_array
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    shared_groups = found.SharedFunctionalGroupsSequence[0]
    told = []
    for frame, group in zip(pixels, found.PerFrameFunctionalGroupsSequence, strict=True):
        identified = group if "SegmentIdentificationSequence" in group else shared_groups
        number = identified.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        told.append((found.SegmentSequence[number - 1], frame, source, group))
    return found, told


def expected_alpha(record, shape):
    crop = Crop(image=record.image, offset=record.offset, scale=record.scale)
    return paste_back(record.alpha, crop, shape)


def exported(tmp_path, rows, slices, **options):
    store = store_of(tmp_path / "store", rows)
    told = export_dicom_seg(store, tmp_path / "out", slices, **options)
    return store, told, tmp_path / "out"


def test_real_marks_come_back_on_their_own_slices(tmp_path):
    rows, slices = aim_rows(shared("measurements", "aim_v3_two_readers"))
    assert len(rows) == 16
    store, told, out = exported(tmp_path, rows, slices)
    assert told == (16, {})
    seen = 0
    for folder in sorted(out.iterdir()):
        assert sorted(p.name for p in folder.iterdir()) == ["binary.dcm", "soft.dcm"]
        mine = [r for r in store.records("ok") if r.metadata["series_uid"] == folder.name]
        for name in ("soft.dcm", "binary.dcm"):
            assert dciodvfy(folder / name) == []
            found, frames = frames_of(folder / name)
            assert len(frames) == len(mine)
            for record, (segment, frame, source, group) in zip(mine, frames, strict=True):
                header = slices.header(record.metadata["instance_uid"])
                alpha = expected_alpha(record, (512, 512))
                if name == "soft.dcm":
                    assert np.abs(frame / 255 - alpha).max() <= 0.5 / 255 + 1e-6
                else:
                    assert np.array_equal(frame, alpha >= 0.5)
                assert frame.any()
                assert source.ReferencedSOPInstanceUID == header.SOPInstanceUID
                position = group.PlanePositionSequence[0].ImagePositionPatient
                assert list(position) == list(header.ImagePositionPatient)
                assert segment.TrackingID == record.key
                assert segment.TrackingUID == record.metadata["tracking_uid"]
                assert segment.AnatomicRegionSequence[0].CodeValue == "39607008"
                seen += 1
            groups = found.SharedFunctionalGroupsSequence[0]
            assert list(groups.PixelMeasuresSequence[0].PixelSpacing) == list(header.PixelSpacing)
            assert found.ReferencedSeriesSequence[0].SeriesInstanceUID == folder.name
            assert found.FrameOfReferenceUID == header.FrameOfReferenceUID
    assert seen == 32


def test_simpleitk_reads_the_masks_and_their_place(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    # GDCM 3.0 misreads bits of frames that fill no byte; whole bytes are what CT has.
    slices = Headers([drawn_slice(number, shape=(61, 48)) for number in (1, 2)])
    rows = [
        labelled_row(one, slices.hu(slices.series("2.25.77")[0]), MARK, key=f"r{i}")
        for i, one in enumerate(slices.datasets.values())
    ]
    store, _, out = exported(tmp_path, rows, slices)
    for name in ("soft.dcm", "binary.dcm"):
        image = sitk.ReadImage(str(out / "2.25.77" / name))
        assert image.GetSpacing()[:2] == (0.8, 0.8)
        assert image.GetOrigin()[:2] == (-10.0, 20.5)
        for frame, record in zip(sitk.GetArrayFromImage(image), store.records("ok"), strict=True):
            alpha = expected_alpha(record, (61, 48))
            # ITK shows a bit as 255.
            want = alpha if name == "soft.dcm" else alpha >= 0.5
            assert np.abs(frame / 255 - want).max() <= 0.5 / 255 + 1e-6


def test_a_resampled_crop_is_pasted_back_on_the_slices_own_pixels(tmp_path):
    one = drawn_slice(1, shape=(97, 83), spacing=(0.9, 0.6))
    slices = Headers([one])
    middle = [30, 48, 52, 48, 41, 42, 41, 54]
    near_edge = [-3, 90, 12, 90, 4, 85, 4, 95]
    hu = slices.hu(slices.series("2.25.77")[0])
    rows = [
        labelled_row(one, hu, middle, key="scaled", isotropic_mm=0.5, size=96),
        labelled_row(one, hu, middle, key="overlaps"),
        labelled_row(one, hu, near_edge, key="edge"),
    ]
    assert rows[0].scale != (1.0, 1.0) and min(rows[2].offset) < 0
    store, told, out = exported(tmp_path, rows, slices)
    assert told == (3, {})
    for name in ("soft.dcm", "binary.dcm"):
        assert dciodvfy(out / "2.25.77" / name) == []
        found, frames = frames_of(out / "2.25.77" / name)
        for record, (_, frame, _, _) in zip(store.records("ok"), frames, strict=True):
            alpha = expected_alpha(record, (97, 83))
            assert alpha.sum() > 20
            want = np.rint(alpha * 255) if name == "soft.dcm" else alpha >= 0.5
            assert np.array_equal(frame, want)
        if name == "binary.dcm":
            assert found.SegmentsOverlap == "YES"


@pytest.mark.parametrize("shape", [(33, 35), (8, 9)])
@pytest.mark.parametrize("count", [1, 3])
def test_bits_of_frames_that_fill_no_byte_are_where_they_belong(tmp_path, shape, count):
    # 33 x 35 and 8 x 9 pixels are no multiple of eight, or of sixteen, bits.
    from dsnet.data.dicom.lesions import PlacedLesion
    from dsnet.data.dicom.objects import file_bytes
    from dsnet.data.dicom.seg import segmentation

    random = np.random.default_rng(shape[0] * count)
    header = drawn_slice(1, shape=shape)
    lesions = []
    for number in range(count):
        alpha = random.random((5, 4), dtype=np.float32)
        alpha[0, 0] = 1.0
        lesions.append(
            PlacedLesion(
                f"k{number}", "2.25.7", "2.25.77", "2.25.77.1", None, shape,
                (int(random.integers(0, shape[0] - 4)), int(random.integers(0, shape[1] - 3))),
                alpha, None, "结节", "", f"2.25.{number + 1}", "",
            )
        )  # fmt: skip
    made = segmentation(lesions, {"2.25.77.1": header}, "binary")
    found = pydicom.dcmread(io.BytesIO(file_bytes(made)))
    pixels = found.pixel_array.reshape(count, *shape)
    for lesion, frame in zip(lesions, pixels, strict=True):
        assert np.array_equal(frame, lesion.on_slice(lesion.alpha >= 0.5))
    assert found.SegmentSequence[0].SegmentLabel == "结节 1"


def test_a_repeat_is_the_same_object_and_another_mask_another(tmp_path):
    one = drawn_slice(1)
    slices = Headers([one])
    hu = slices.hu(slices.series("2.25.77")[0])
    row = labelled_row(one, hu, MARK)
    for name, rows in (("a", [row]), ("b", [row]), ("c", [labelled_row(one, hu, MARK[:4])])):
        (tmp_path / name).mkdir()
        exported(tmp_path / name, rows, slices)
    first, again, other = (tmp_path / name / "out" / "2.25.77" for name in "abc")
    for name in ("soft.dcm", "binary.dcm"):
        assert (first / name).read_bytes() == (again / name).read_bytes()
        uids = [pydicom.dcmread(folder / name).SOPInstanceUID for folder in (first, other)]
        assert uids[0] != uids[1]
    soft, binary = (pydicom.dcmread(first / name) for name in ("soft.dcm", "binary.dcm"))
    assert soft.SeriesInstanceUID != binary.SeriesInstanceUID
    # The mark had no tracking identifier: both objects have the same one, made of its content.
    assert soft.SegmentSequence[0].TrackingUID == binary.SegmentSequence[0].TrackingUID


def test_no_identifier_goes_out_unless_it_is_kept(tmp_path):
    one = drawn_slice(1, OtherPatientIDs="4712", InstitutionName="Klinik Nord",
                      PatientComments="calls himself Jörg", PatientAge="074Y")  # fmt: skip
    slices = Headers([one])
    row = labelled_row(one, slices.hu(slices.series("2.25.77")[0]), MARK)
    secret = ("4711", "4712", "Muster", "Jörg", "19500101", "House", "Klinik", "074Y", "ACC-90")
    for keep in (False, True):
        (tmp_path / str(keep)).mkdir()
        _, _, out = exported(tmp_path / str(keep), [row], slices, keep_identifiers=keep)
        for name in ("soft.dcm", "binary.dcm"):
            assert dciodvfy(out / "2.25.77" / name) == []
            data = (out / "2.25.77" / name).read_bytes()
            found = pydicom.dcmread(io.BytesIO(data))
            assert found.StudyDate == "20240229"
            if keep:
                assert found.PatientID == "4711" and found.PatientName == "Muster^Jörg"
                assert found.PatientBirthDate == "19500101" and found.AccessionNumber == "ACC-90"
            else:
                assert [word for word in secret if word in str(found)] == []
                assert len(found.PatientID) == 16 and found.PatientName == ""
                assert found.PatientSex == "" and found.PatientBirthDate == ""


def test_rows_that_belong_nowhere_cost_themselves_alone(tmp_path):
    one, other_size = drawn_slice(1), drawn_slice(9, series="2.25.99")
    slices = Headers([one, other_size])
    hu = slices.hu(slices.series("2.25.77")[0])
    good = labelled_row(one, hu, MARK, key="good")
    empty = labelled_row(one, hu, MARK, key="empty")
    empty.alpha, empty.binary = np.full_like(empty.alpha, 0.25), np.zeros_like(empty.binary)
    png = labelled_row(one, hu, MARK, key="png")
    png.metadata = {"patient": "7"}
    gone = labelled_row(one, hu, MARK, key="gone", instance_uid="2.25.5")
    smaller = labelled_row(other_size, hu, MARK, key="smaller")
    smaller.metadata["slice"]["rows"] = 30
    hostile = labelled_row(one, hu, MARK, key="hostile", series_uid="../../x", label="a")
    unplaced = labelled_row(one, hu, MARK, key="unplaced")
    unplaced.offset = None
    failed = LabelRecord.from_error("failed", "x.dcm", "no pixels")
    told = []
    rows = [good, empty, png, gone, smaller, unplaced, failed, hostile]
    _, result, out = exported(tmp_path, rows, slices, refuse=lambda *pair: told.append(pair))
    assert dict(told) == result.refused
    assert result.written == 1
    reasons = result.refused
    assert "one half" in reasons["empty"]
    assert "no DICOM series" in reasons["png"]
    assert "2.25.5 is not among the images" in reasons["gone"]
    assert "must be of 30x47 pixels" in reasons["smaller"] and "got 61x47" in reasons["smaller"]
    assert "must be of series ../../x, got 2.25.77" in reasons["hostile"]
    assert "where its crop lies" in reasons["unplaced"]
    assert set(reasons) == {"empty", "png", "gone", "smaller", "unplaced", "hostile"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "store"]
    assert [p.name for p in out.iterdir()] == ["2.25.77"]


def test_nothing_is_written_where_no_row_can_be(tmp_path):
    one = drawn_slice(1)
    row = labelled_row(one, Headers([one]).hu(Headers([one]).series("2.25.77")[0]), MARK)
    store = store_of(tmp_path / "store", [row])
    with pytest.raises(ValueError, match=r"no label that can be written.*not among the images"):
        export_dicom_seg(store, tmp_path / "out", Headers([]))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"FrameOfReferenceUID": None}, "has no FrameOfReferenceUID"),
        ({"PixelSpacing": None}, "has no PixelSpacing"),
        ({"ImagePositionPatient": None}, "has no ImagePositionPatient"),
    ],
)
def test_a_slice_without_its_place_is_told(tmp_path, tags, reason):
    bad, good = drawn_slice(1, **tags), drawn_slice(2, series="2.25.88")
    slices = Headers([bad, good])
    hu = good.pixel_array - 1024.0
    rows = [labelled_row(one, hu, MARK, key=k) for one, k in ((bad, "bad"), (good, "good"))]
    _, told, _ = exported(tmp_path, rows, slices)
    assert told.written == 1 and reason in told.refused["bad"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("series_tilt_ge_18.5_813892", None),
        ("series_tilt_philips_-18.5_865648", None),
        ("series_tilt_philips_16.5_003033", None),
        ("series_bad_geometry/gantrytilting_001", "has no FrameOfReferenceUID"),
        ("series_bad_geometry/notavolume_001", "has no FrameOfReferenceUID"),
    ],
)
def test_real_series_have_each_lesion_on_its_slice(tmp_path, name, reason):
    folder = shared("dicom_ct_zoo", *name.split("/"))
    slices = Headers(path for path in sorted(folder.iterdir()) if path.is_file())
    random = np.random.default_rng(7)
    rows = []
    for number, header in enumerate(slices.datasets.values()):
        hu = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
        for mark in range(2):
            x, y = random.uniform(200, 300, 2)
            ends = [x - 14, y, x + 12, y + 3, x + 1, y - 9, x - 2, y + 10]
            isotropic = 0.6 if mark else None
            key = f"{number}.{mark}"
            rows.append(labelled_row(header, hu, ends, key=key, isotropic_mm=isotropic))
    if reason is not None:
        store = store_of(tmp_path / "store", rows)
        with pytest.raises(ValueError, match=reason):
            export_dicom_seg(store, tmp_path / "out", slices)
        return
    store, told, out = exported(tmp_path, rows, slices)
    (folder,) = out.iterdir()
    records = [r for r in store.records("ok") if r.key not in told.refused]
    assert len(records) >= 6 and all("one half" in why for why in told.refused.values())
    for file in ("soft.dcm", "binary.dcm"):
        assert dciodvfy(folder / file) == []
        _, frames = frames_of(folder / file)
        for record, (_, frame, source, group) in zip(records, frames, strict=True):
            header = slices.header(record.metadata["instance_uid"])
            assert source.ReferencedSOPInstanceUID == header.SOPInstanceUID
            position = group.PlanePositionSequence[0].ImagePositionPatient
            assert list(position) == list(header.ImagePositionPatient)
            alpha = expected_alpha(record, (512, 512))
            want = np.rint(alpha * 255) if file == "soft.dcm" else alpha >= 0.5
            assert np.array_equal(frame, want)


def test_a_header_that_breaks_its_reader_costs_its_own_series(tmp_path):
    odd, fine = drawn_slice(1), drawn_slice(1, series="2.25.88")
    rows = [
        labelled_row(one, fine.pixel_array - 1024.0, MARK, key=key)
        for key, one in (("odd", odd), ("fine", fine))
    ]
    # No date, as some anonymisers leave it: pydicom takes it, highdicom does not.
    odd.add(pydicom.DataElement(0x00080020, "DA", "yesterday", validation_mode=0))
    _, told, out = exported(tmp_path, rows, Headers([odd, fine]))
    assert told.written == 1 and told.refused["odd"]
    assert [path.name for path in out.iterdir()] == ["2.25.88"]


def test_what_readers_mended_goes_out_as_mended_and_what_they_rejected_does_not(tmp_path):
    one, other = drawn_slice(1), drawn_slice(1, series="2.25.88")
    hu = one.pixel_array - 1024.0
    # Rows of two series in turn.
    rows = [
        labelled_row(header, hu, MARK, key=key)
        for key, header in (("a", one), ("b", other), ("mended", one), ("no", one), ("c", other))
    ]
    path = tmp_path / "store"
    store = store_of(path, rows)
    made, log, version = store.read("mended"), DecisionLog(path), new_id()
    alpha = np.zeros_like(made.alpha)
    alpha[20:31, 22:30] = 1
    changed = replace(
        made, alpha=alpha, binary=alpha >= 0.5, trimap=np.where(alpha > 0, 255, 0).astype(np.uint8)
    )
    told = write_version(path, version, changed, 16)
    log.append(
        Decision(new_id(), "mend", "mended", "Ann", log.time(), version=version,
                 mended_by="brush", base=MADE, file_sum=told)
    )  # fmt: skip
    for key, verdict, of in (("mended", "accept", version), ("no", "reject", MADE)):
        said = {"verdict": verdict, "version": of}
        log.append(Decision(new_id(), "verdict", key, "Ann", log.time(), **said))
    told = export_dicom_seg(open_reviewed(path), tmp_path / "out", Headers([one, other]))
    assert told == (4, {})
    for series, keys in (("2.25.77", ["a", "mended"]), ("2.25.88", ["b", "c"])):
        _, frames = frames_of(tmp_path / "out" / series / "binary.dcm")
        for key, (_, frame, _, _) in zip(keys, frames, strict=True):
            record = changed if key == "mended" else store.read(key)
            assert np.array_equal(frame, expected_alpha(record, (61, 47)) >= 0.5)


def test_a_full_disk_is_no_fault_of_a_series(tmp_path, monkeypatch):
    one = drawn_slice(1)
    row = labelled_row(one, one.pixel_array - 1024.0, MARK)
    store = store_of(tmp_path / "store", [row])

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        export_dicom_seg(store, tmp_path / "out", Headers([one]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


def test_a_frame_of_an_enhanced_ct_names_its_number(tmp_path):
    folder = shared("dicom_ct_zoo", "fragments_and_frames")
    slices = Headers([folder / "CT0012.explicit_little_endian.dcm"])
    (header,) = slices.datasets.values()
    hu = header.pixel_array[1] - 1024.0
    row = labelled_row(header, hu, [230, 250, 262, 250, 246, 240, 246, 262], frame=2)
    store, told, out = exported(tmp_path, [row], slices)
    assert told == (1, {})
    for name in ("soft.dcm", "binary.dcm"):
        assert dciodvfy(out / header.SeriesInstanceUID / name) == []
        _, ((_, frame, source, group),) = frames_of(out / header.SeriesInstanceUID / name)
        assert source.ReferencedFrameNumber == 2
        theirs = header.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
        mine = group.PlanePositionSequence[0]
        assert list(mine.ImagePositionPatient) == list(theirs.ImagePositionPatient)
        alpha = expected_alpha(next(store.records("ok")), (512, 512))
        one = 255 if name == "soft.dcm" else 1
        want = alpha if one == 255 else alpha >= 0.5
        assert np.abs(frame / one - want).max() <= 0.5 / 255 + 1e-6
