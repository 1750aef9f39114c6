"""npz files as FLARE and MedSAM2 read them, and as this project reads them back."""

import numpy as np
import pytest

pytest.importorskip("pydicom")

from dicom_rows import Headers, drawn_slice, labelled_row, store_of
from dsnet.data.crop import Crop, paste_back
from dsnet.data.marks.npz import read_npz, read_npz_slice
from dsnet.data.store.flare import export_flare_npz

MARK = [18, 30, 30, 30, 24, 25, 24, 36]


def expected_alpha(record, shape):
    crop = Crop(image=record.image, offset=record.offset, scale=record.scale)
    return paste_back(record.alpha, crop, shape)


def test_volumes_labels_and_marks_are_there_and_read_back(tmp_path):
    slices = Headers(drawn_slice(number, spacing=(0.9, 0.6)) for number in (1, 2, 3))
    headers = list(slices.datasets.values())
    far = [5.2, 7.6, 12.4, 7.9, 9.2, 4.1, 8.7, 11.3]
    shapes = [(2, MARK), (2, far), (0, MARK), (2, [19, 31, 31, 31, 25, 26, 25, 37])]
    rows = [
        labelled_row(
            headers[n], headers[n].pixel_array - 1024.0, mark, key=f"r{i}",
            window_low=-1350.0, window_high=150.0,
        )
        for i, (n, mark) in enumerate(shapes)
    ]  # fmt: skip
    rows[2].mark = None
    store = store_of(tmp_path / "store", rows)
    told = export_flare_npz(store, tmp_path / "out", slices, slices.hu)
    assert told == (4, {})
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["2.25.77-2.npz", "2.25.77.npz"]
    first, second = (np.load(tmp_path / "out" / name) for name in reversed(files))
    assert sorted(first.files) == ["gts", "imgs", "recist", "spacing"]
    # SimpleITK's order: column, row, slice.
    assert first["spacing"] == pytest.approx([0.6, 0.9, 2.5])
    for n, header in enumerate(headers):
        shown = np.clip((header.pixel_array - 1024.0 + 1350) / 1500, 0, 1) * 255
        assert np.abs(first["imgs"][n] - shown).max() <= 0.5
    assert first["imgs"].dtype == first["gts"].dtype == np.uint8
    for number, (record, (n, _)) in enumerate(zip(store.records("ok"), shapes, strict=True), 1):
        file = second if number == 4 else first
        alpha = expected_alpha(record, (61, 47))
        assert np.array_equal(file["gts"][n] == number, alpha >= 0.5)
        (planes,) = np.nonzero((file["recist"] == number).any(axis=(1, 2)))
        assert list(planes) == [n]
    marks = read_npz(str(tmp_path / "out" / "2.25.77.npz"))
    found = {mark.label: mark for mark in marks}
    for label, mark in (("1", MARK), ("2", far)):
        numbers = np.array(mark, float).reshape(2, 2, 2)
        for axis, want in (
            (found[label].long_axis, numbers[0]),
            (found[label].short_axis, numbers[1]),
        ):
            ordered = min(np.abs(axis - want).max(), np.abs(axis[::-1] - want).max())
            assert ordered <= 1.0
    assert found["1"].frame == 3
    # Ours, the lesion without a mark: its mask's axes are drawn.
    assert found["3"].frame == 1 and found["3"].short_axis is not None
    image, _ = read_npz_slice(str(tmp_path / "out" / "2.25.77.npz"), 2)
    assert np.array_equal(image, first["imgs"][1] / np.float32(255))


def test_a_repeat_has_the_same_bytes(tmp_path):
    slices = Headers([drawn_slice(1)])
    (header,) = slices.datasets.values()
    row = labelled_row(header, header.pixel_array - 1024.0, MARK)
    store = store_of(tmp_path / "store", [row])
    for name in "ab":
        export_flare_npz(store, tmp_path / name, slices, slices.hu)
    first, again = ((tmp_path / name / "2.25.77.npz").read_bytes() for name in "ab")
    assert first == again


def test_a_slice_that_cannot_be_read_costs_its_series(tmp_path):
    slices = Headers([drawn_slice(1), drawn_slice(1, series="2.25.88")])
    rows = [
        labelled_row(header, header.pixel_array - 1024.0, MARK, key=key)
        for key, header in zip(("bad", "good"), slices.datasets.values(), strict=True)
    ]

    def read(entry):
        if entry.series_uid == "2.25.77":
            raise ValueError("a.dcm: cannot be decoded")
        return slices.hu(entry)

    store = store_of(tmp_path / "store", rows)
    told = export_flare_npz(store, tmp_path / "out", slices, read)
    assert told == (1, {"bad": "a.dcm: cannot be decoded"})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["2.25.88.npz"]
