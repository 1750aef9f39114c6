"""Structured reports: axes in millimetres and where they lie, read back by a walk of one's own."""

import datetime
import io

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from dicom_rows import Headers, aim_rows, dciodvfy, drawn_slice, labelled_row, store_of  # noqa: E402
from dsnet.data.marks.sr import read_sr  # noqa: E402
from dsnet.data.store.dicom_objects import export_dicom_seg, export_dicom_sr  # noqa: E402
from dsnet.labeling import recist_from_mask  # noqa: E402
from shared_data import shared  # noqa: E402

MARK = [18, 30, 30, 30, 24, 25, 24, 36]
BIDIRECTIONAL = "Cornerstone3DTools@^0.1.0:Bidirectional"
LENGTH = "Cornerstone3DTools@^0.1.0:Length"


def concept(item):
    return item.ConceptNameCodeSequence[0] if "ConceptNameCodeSequence" in item else None


def groups_of(path):
    """Of each measurement group: what its items say, and its axes as ends, mm and image."""
    found = pydicom.dcmread(path)
    (container,) = [item for item in found.ContentSequence if concept(item).CodeValue == "126010"]
    told = []
    for group in container.ContentSequence:
        assert concept(group).CodeValue == "125007"
        said, axes = {}, {}
        for item in group.ContentSequence:
            name = concept(item)
            if item.ValueType == "NUM":
                (value,) = item.MeasuredValueSequence
                assert value.MeasurementUnitsCodeSequence[0].CodeValue == "mm"
                (place,) = [i for i in item.ContentSequence if i.ValueType == "SCOORD"]
                (image,) = place.ContentSequence
                assert place.GraphicType == "POLYLINE"
                axes[name.CodeMeaning] = (
                    name.CodeValue,
                    np.array(place.GraphicData, float).reshape(2, 2) - 0.5,
                    float(value.NumericValue),
                    image.ReferencedSOPSequence[0],
                )
            else:
                value = item.get("TextValue") or item.get("UID")
                said[name.CodeValue] = value or item.ConceptCodeSequence[0].CodeMeaning
        told.append((said, axes))
    return found, told


def test_real_marks_and_the_axes_of_their_masks_are_read_back(tmp_path):
    rows, slices = aim_rows(shared("measurements", "aim_v3_two_readers"))
    store = store_of(tmp_path / "store", rows)
    assert export_dicom_sr(store, tmp_path / "sr", slices) == (16, {})
    export_dicom_seg(store, tmp_path / "seg", slices)
    seen = 0
    for folder in (tmp_path / "sr").iterdir():
        assert dciodvfy(folder / "measurements.dcm") == []
        _, groups = groups_of(folder / "measurements.dcm")
        mine = [r for r in store.records("ok") if r.metadata["series_uid"] == folder.name]
        seg = pydicom.dcmread(tmp_path / "seg" / folder.name / "binary.dcm")
        frames = seg.pixel_array.reshape(-1, 512, 512)
        assert len(groups) == 2 * len(mine)
        for record, frame, segment, mask, mark in zip(
            mine, frames, seg.SegmentSequence, groups[::2], groups[1::2], strict=True
        ):
            header = slices.header(record.metadata["instance_uid"])
            spacing = [float(value) for value in header.PixelSpacing]
            said, axes = mask
            assert said["112039"] == BIDIRECTIONAL
            # The mask that was measured has the same tracking UID.
            assert said["112040"] == segment.TrackingUID == record.metadata["tracking_uid"]
            assert said["111001"] == "dsnet" and said["121106"] == "lung lesion"
            want = recist_from_mask(frame)
            for name, code, axis in (
                ("Long Axis", "103339001", want.long_axis),
                ("Short Axis", "103340004", want.short_axis),
            ):
                value, ends, length, image = axes[name]
                assert value == code
                assert np.abs(ends - axis).max() < 0.01
                step = (ends[1] - ends[0]) * spacing[::-1]
                assert length == pytest.approx(np.hypot(*step), abs=1e-3)
                assert image.ReferencedSOPInstanceUID == header.SOPInstanceUID
            said, axes = mark
            assert said["112039"] == f"{LENGTH}:{record.key}" and "111001" not in said
            assert said["121106"] == "lung lesion (mark)"
            drawn = (record.mark[:4].reshape(2, 2) + 0.5) / record.scale - 0.5 + record.offset
            assert list(axes) == ["Long Axis"]
            assert np.abs(axes["Long Axis"][1] - drawn).max() < 0.01
            seen += 1
    assert seen == 16


def test_pixels_that_are_not_square_are_measured_in_millimetres(tmp_path):
    # Longest in pixels is up and down, 31 of 0.5 mm; longest in millimetres across, 21 of 1.5.
    one = drawn_slice(1, spacing=(0.5, 1.5))
    slices = Headers([one])
    row = labelled_row(one, one.pixel_array - 1024.0, MARK, label="liver mass")
    alpha = np.zeros(row.alpha.shape, np.float32)
    alpha[20:51, 20:41] = 1.0
    row.alpha, row.binary, row.scale = alpha, alpha >= 0.5, (1.0, 1.0)
    row.mark = np.array(MARK, float)
    row.offset = (-9.0, -12.0)
    store = store_of(tmp_path / "store", [row])
    export_dicom_sr(store, tmp_path / "sr", slices)
    assert dciodvfy(tmp_path / "sr" / "2.25.77" / "measurements.dcm") == []
    _, ((said, axes), (mark_said, mark_axes)) = groups_of(
        tmp_path / "sr" / "2.25.77" / "measurements.dcm"
    )
    assert said["121071"] == "Mass" and said["363698007"] == "Liver"
    _, ends, length, _ = axes["Long Axis"]
    # Corner to corner: 20 by 30 pixels between centres, and half a pixel more at each end.
    reach = 1 + 1 / np.hypot(20, 30)
    assert np.sort(np.abs(ends[1] - ends[0])) == pytest.approx([20 * reach, 30 * reach], abs=1e-3)
    assert length == pytest.approx(np.hypot(20 * 1.5, 30 * 0.5) * reach, abs=1e-3)
    _, across, short, _ = axes["Short Axis"]
    along, other = ((e[1] - e[0]) * [1.5, 0.5] for e in (ends, across))
    cosine = np.dot(along, other) / np.hypot(*along) / np.hypot(*other)
    assert short <= length and abs(cosine) < 0.08
    assert np.abs(mark_axes["Long Axis"][1] - [[9, 18], [21, 18]]).max() < 1e-3
    assert mark_axes["Long Axis"][2] == pytest.approx(12 * 1.5, abs=1e-3)
    assert mark_axes["Short Axis"][2] == pytest.approx(11 * 0.5, abs=1e-3)
    assert mark_said["112039"] == BIDIRECTIONAL
    assert mark_said["112040"] != said["112040"]


def test_reports_are_the_same_each_time_and_tell_no_day_and_no_name(tmp_path):
    one = drawn_slice(1)
    slices = Headers([one])
    row = labelled_row(one, one.pixel_array - 1024.0, MARK, label="knöchern")
    store = store_of(tmp_path / "store", [row])
    for name in "ab":
        export_dicom_sr(store, tmp_path / name, slices)
    first, again = (
        (tmp_path / name / "2.25.77" / "measurements.dcm").read_bytes() for name in "ab"
    )
    assert first == again
    assert f"{datetime.date.today():%Y%m%d}".encode() not in first
    told = str(pydicom.dcmread(io.BytesIO(first)))
    assert [word for word in ("4711", "Muster", "House", "ACC-90") if word in told] == []
    export_dicom_sr(store, tmp_path / "kept", slices, keep_identifiers=True)
    kept = tmp_path / "kept" / "2.25.77" / "measurements.dcm"
    assert dciodvfy(kept) == []
    assert pydicom.dcmread(kept).PatientName == "Muster^Jörg"


def test_a_slice_without_spacing_is_not_measured(tmp_path):
    odd, fine = drawn_slice(1, PixelSpacing=None), drawn_slice(1, series="2.25.88")
    rows = [
        labelled_row(one, fine.pixel_array - 1024.0, MARK, key=key)
        for key, one in (("odd", odd), ("fine", fine))
    ]
    store = store_of(tmp_path / "store", rows)
    told = export_dicom_sr(store, tmp_path / "out", Headers([odd, fine]))
    assert told.written == 1 and "has no spacing" in told.refused["odd"]


def test_marks_go_out_as_ohif_draws_them_and_come_back_under_their_own_names(tmp_path):
    """What each is called: the mark's name, what OHIF takes it for, what the reader gives again."""
    lesion, ruler = f"{BIDIRECTIONAL}:Lesion 1", "Cornerstone3DTools@^0.1.0:Length"
    one = drawn_slice(1)
    cases = [("Lesion 1", lesion, "Lesion 1"), (BIDIRECTIONAL, BIDIRECTIONAL, BIDIRECTIONAL),
             (ruler, ruler, ruler), ("Arrow of text", f"{BIDIRECTIONAL}:Arrow of text",
                                     "Arrow of text")]  # fmt: skip
    for number, (name, shown, again) in enumerate(cases):
        row = labelled_row(one, one.pixel_array - 1024.0, MARK, label="nodule")
        row.metadata.update(tracking_id=name, tracking_uid="2.25.5")
        store = store_of(tmp_path / f"store{number}", [row])
        export_dicom_sr(store, tmp_path / f"out{number}", Headers([one]))
        path = tmp_path / f"out{number}" / "2.25.77" / "measurements.dcm"
        _, ((mask, _), (mark, _)) = groups_of(path)
        assert (mask["112039"], mark["112039"]) == (BIDIRECTIONAL, shown)
        measured, drawn = read_sr(str(path))
        assert (measured.tracking_uid, measured.tracking_id) == ("2.25.5", BIDIRECTIONAL)
        assert drawn.tracking_id == again and drawn.tracking_uid != "2.25.5"
        assert (measured.label, drawn.label) == ("nodule, Nodule", "nodule (mark), Nodule")
