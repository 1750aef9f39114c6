"""Slices of a folder, a zip or a DICOMDIR are found by what names them."""

import os
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dsnet.data.dicom.index import SeriesIndex, index_series, read_slice
from dsnet.data.dicom.table import SCHEMA
from shared_data import shared

pydicom = pytest.importorskip("pydicom")
from dicom_files import ENHANCED, STORED, item, slice_of  # noqa: E402


def archive(folder):
    """Two series in two folders; the files' names are in another order than the slices."""
    for number in (1, 2, 3):
        slice_of(folder / "a" / f"{9 - number}.dcm", number)
    slice_of(folder / "b" / "only", 7, series="1.2.4", FrameOfReferenceUID="1.8")
    (folder / "notes.txt").write_text("nothing of DICOM")
    return folder


def test_slices_are_found_by_every_name(tmp_path):
    index = index_series(archive(tmp_path))
    assert (len(index), list(index), index.problems) == (4, ["1.2.3", "1.2.4"], [])
    assert index.left_out == {"no DICOM": 1}
    found = index.slice("1.2.3.2")
    assert found.source == str(tmp_path / "a" / "7.dcm")
    assert (found.series_uid, found.study_uid, found.frame) == ("1.2.3", "1.2", None)
    assert (found.rows, found.columns, found.frames, found.modality) == (12, 12, 1, "CT")
    assert found.spacing == (0.8, 0.6) and found.position == (-10, -20, 2)
    assert found.orientation == (1, 0, 0, 0, 1, 0) and found.number == 2
    assert found.transfer_syntax == "1.2.840.10008.1.2.1"
    assert found.frame_of_reference_uid == "1.9"
    assert index.slice("1.2.3.2", 1) == found and index.slice("1.2.3.2", 2) is None
    assert [index.slice(uid) for uid in ("1.2.3", "1.2.3.20", "", "1.2.5")] == [None] * 4
    assert [s.number for s in index.series("1.2.3")] == [1, 2, 3] and index.series("9") == []
    assert [s.number for s in index.in_frame_of_reference("1.9")] == [3, 2, 1]
    assert [s.number for s in index.in_frame_of_reference("1.8")] == [7]
    for name in ("7.dcm", "a/7.dcm", tmp_path / "a" / "7.dcm", "a\\7.dcm"):
        assert index.file(name) == found
    for name in (".dcm", "b/7.dcm", "dcm", ""):
        assert index.file(name) is None
    assert index.header("1.2.3.2").InstanceNumber == 2
    assert "PixelData" not in index.header("1.2.3.2")
    with pytest.raises(KeyError):
        index.header("1.2.5")


def test_an_entry_tells_nothing_of_the_patient(tmp_path):
    slice_of(tmp_path / "a.dcm", 1, PatientName="Doe^Jane", PatientBirthDate="19700101")
    index = index_series(tmp_path, tmp_path / "cache" / "index.parquet")
    kept = repr(index.slice("1.2.3.1")) + repr(index.summary())
    kept += (tmp_path / "cache" / "index.parquet").read_bytes().decode("latin1")
    assert not [name for name in ("Doe", "19700101", "P-1") if name in kept]


def test_the_same_from_a_zip(tmp_path):
    folder = archive(tmp_path / "files")
    with zipfile.ZipFile(tmp_path / "files.ZIP", "w", zipfile.ZIP_DEFLATED) as out:
        for path in sorted(folder.rglob("*")):
            out.write(path, path.relative_to(folder))
    plain, zipped = index_series(folder), index_series(tmp_path / "files.ZIP")
    for uid in ("1.2.3", "1.2.4"):
        for one, other in zip(plain.series(uid), zipped.series(uid), strict=True):
            name = os.path.relpath(one.source, folder)
            assert other == one._replace(source=f"{tmp_path / 'files.ZIP'}!{name}")
            assert np.array_equal(read_slice(one).hu, read_slice(other).hu)
            assert zipped.file(name) == zipped.file(other.source) == other
    # A zip among files is gone through, too.
    (tmp_path / "files.ZIP").rename(folder / "more.zip")
    both = index_series(folder)
    assert len(both) == 4 and len(both.problems) == 4
    assert both.problems[0][1].startswith("the same instance as ")


def test_a_dicomdir_names_its_files(tmp_path):
    fileset = pytest.importorskip("pydicom.fileset").FileSet()
    for number in (1, 2):
        tags = {"PatientID": "X", "StudyID": "1", "SeriesNumber": 1, "StudyDate": "20200101"}
        tags |= {"StudyTime": "120000", "PatientName": "A"}
        fileset.add(slice_of(tmp_path / "in" / f"{number}.dcm", number, **tags))
    fileset.write(tmp_path / "disk")
    slice_of(tmp_path / "disk" / "not_listed.dcm", 3)
    index = index_series(tmp_path / "disk" / "DICOMDIR")
    assert [s.number for s in index.series("1.2.3")] == [1, 2] and index.problems == []
    assert index_series(tmp_path / "disk").left_out == {"DICOMDIR": 1}


def test_only_what_changed_is_read_again(tmp_path, monkeypatch):
    from dsnet.data.dicom import scan

    folder, cache = archive(tmp_path / "files"), tmp_path / "index.parquet"
    first = index_series(folder, cache)
    read = []
    really = scan.read_file
    monkeypatch.setattr(scan, "read_file", lambda file: read.append(file.path) or really(file))

    def again():
        read.clear()
        index = index_series(folder, cache)
        return index, [os.path.relpath(path, folder) for path in read]

    index, names = again()
    assert names == [] and index.series("1.2.3") == first.series("1.2.3")
    assert index.left_out == first.left_out

    slice_of(folder / "a" / "8.dcm", 1, z=-5.5, SeriesDescription="longer")
    (folder / "a" / "6.dcm").unlink()
    slice_of(folder / "a" / "5.dcm", 5)
    index, names = again()
    assert names == ["a/5.dcm", "a/8.dcm"]
    assert [s.number for s in index.series("1.2.3")] == [1, 2, 5]
    assert index.slice("1.2.3.1").position == (-10, -20, -5.5) and index.slice("1.2.3.3") is None

    # Of the same size, at another time.
    state = (folder / "a" / "5.dcm").stat()
    slice_of(folder / "a" / "5.dcm", 5, z=6)
    os.utime(folder / "a" / "5.dcm", ns=(0, state.st_mtime_ns + 1))
    index, names = again()
    assert names == ["a/5.dcm"] and index.slice("1.2.3.5").position[2] == 6
    assert again()[1] == []
    whole = index.series("1.2.3")

    # A cache of another place, or that is damaged, is no cache.
    assert len(index_series(folder / "b", cache)) == 1
    again()
    content = cache.read_bytes()
    for damaged in (content[:-1], content[:100], b"PAR1", b"", *flipped(content)):
        cache.write_bytes(damaged)
        index, names = again()
        assert len(names) in (0, 5) and index.series("1.2.3") == whole
        assert again()[1] == []


def flipped(content):
    """The bytes of a file, each time with another bit wrong."""
    for at in np.random.default_rng(0).integers(4, len(content), 60):
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(at) % 8
        yield bytes(damaged)


@pytest.mark.parametrize("kind", ["table.csv", "marks.parquet", "folder"])
def test_what_is_no_index_is_not_written_over(tmp_path, kind):
    slice_of(tmp_path / "a" / "1.dcm", 1)
    other = tmp_path / kind
    if kind == "folder":
        other.mkdir()
    elif kind == "table.csv":
        other.write_text("a,b")
    else:
        pq.write_table(pa.table({"x1": [1.0]}), other)
    before = other.read_bytes() if other.is_file() else None
    with pytest.raises(ValueError, match="cache must be a"):
        index_series(tmp_path / "a", other)
    assert before == (other.read_bytes() if other.is_file() else None)


def test_processes_find_the_same(tmp_path):
    for number in range(130):
        slice_of(tmp_path / f"{number:03}.dcm", number)
    (tmp_path / "bad.dcm").write_bytes(b"x" * 200)
    seen = []
    index = index_series(tmp_path, workers=2, progress=lambda *count: seen.append(count))
    assert [s.number for s in index.series("1.2.3")] == list(range(130))
    assert index.problems == [(str(tmp_path / "bad.dcm"), "it is no DICOM file")]
    assert seen == [(n, 131) for n in range(1, 132)]


def test_frames_of_an_enhanced_ct_have_their_own_places(tmp_path):
    def groups(z, spacing):
        return item(
            PixelMeasuresSequence=[item(PixelSpacing=spacing)],
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])],
            PixelValueTransformationSequence=[
                item(RescaleSlope=2, RescaleIntercept=-1000 - z, RescaleType="HU")
            ],
        )

    shared_groups = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
    )
    path = slice_of(
        tmp_path / "a.dcm", 1, sop=ENHANCED, frames=3,
        PerFrameFunctionalGroupsSequence=[groups(z, [0.5, 0.4 + z / 10]) for z in (4, 0, 2)],
        SharedFunctionalGroupsSequence=[shared_groups],
    )  # fmt: skip
    found = pydicom.dcmread(path)
    pixels = found.pixel_array.copy()
    pixels[1] += 100
    found.PixelData = pixels.tobytes()
    found.save_as(path)
    index = index_series(tmp_path)
    assert [s.frame for s in index.series("1.2.3")] == [2, 3, 1] and len(index) == 3
    assert index.slice("1.2.3.1") is None and index.slice("1.2.3.1", 4) is None
    second = index.slice("1.2.3.1", 2)
    assert (second.position, second.spacing) == ((0, 0, 0), (0.5, 0.4))
    read = read_slice(second)
    assert (read.hu == 2 * (STORED + 100) - 1000).all()
    assert (read.position, read.spacing) == (second.position, second.spacing)
    assert read.orientation == (1, 0, 0, 0, 1, 0)
    assert (read_slice(index.slice("1.2.3.1", 1)).hu == 2 * STORED - 1004).all()
    assert index.header("1.2.3.1").NumberOfFrames == 3
    assert len(index.files("a.dcm")) == 3 and index.file("a.dcm") is None


def test_frames_without_places_are_one_entry_that_answers_to_each(tmp_path):
    slice_of(tmp_path / "a.dcm", 1, frames=3)
    index = index_series(tmp_path)
    assert len(index) == 1 and index.slice("1.2.3.1") is None
    assert [index.slice("1.2.3.1", f).frame for f in (1, 3)] == [1, 3]
    assert index.slice("1.2.3.1", 4) is None and index.slice("1.2.3.1", 0) is None
    assert (read_slice(index.slice("1.2.3.1", 3)).hu == STORED - 1024).all()


def test_an_instance_that_is_there_twice_is_told(tmp_path):
    for name, number in (("c", 1), ("a", 1), ("b", 2), ("d", 1)):
        slice_of(tmp_path / f"{name}.dcm", number)
    index = index_series(tmp_path)
    assert index.slice("1.2.3.1").source.endswith("a.dcm") and len(index) == 2
    first = f"the same instance as {str(tmp_path / 'a.dcm')!r}: left out"
    assert sorted(index.problems) == [(str(tmp_path / f"{n}.dcm"), first) for n in "cd"]


FAULTY = (
    ({"SeriesInstanceUID": None}, "it has no SeriesInstanceUID: it is in no series"),
    ({"SOPInstanceUID": "9" * 65}, "SOPInstanceUID must be of at most 64 printable characters"),
    ({"PixelData": None}, "it has no pixels"),
    ({"PixelSpacing": [0.5]}, "PixelSpacing must be two numbers > 0, got [0.5]"),
    ({"ImagePositionPatient": [1, 2]}, "ImagePositionPatient must be 3 numbers, got [1.0, 2.0]"),
    ({"Columns": None}, "Rows and Columns must be 1 to 65535, got 12 and 0"),
)


@pytest.mark.parametrize("tags, told", FAULTY)
def test_what_is_wrong_with_a_header_is_told_of_its_file(tmp_path, tags, told):
    slice_of(tmp_path / "a.dcm", 1, **tags)
    slice_of(tmp_path / "b.dcm", 2)
    index = index_series(tmp_path)
    ((source, reason),) = index.problems
    assert source == str(tmp_path / "a.dcm") and told in reason
    assert index.slice("1.2.3.2") is not None


def test_no_such_place(tmp_path):
    (tmp_path / "a.csv").write_text("a,b")
    for place in (tmp_path / "none", tmp_path / "a.csv"):
        with pytest.raises(ValueError, match=r"place must be a folder, a zip or a DICOMDIR"):
            index_series(place)
    assert len(index_series(tmp_path)) == 0 == len(list(index_series(tmp_path)))


@pytest.mark.filterwarnings("ignore")
def test_every_series_of_the_zoo():
    """Slices a series, counted by pydicom."""
    place = shared("dicom_ct_zoo")
    wanted: dict[str, set] = {}
    for path in sorted(p for p in place.rglob("*") if p.suffix not in (".csv", ".md")):
        if path.is_file():
            found = pydicom.dcmread(path, stop_before_pixels=True)
            frames = range(int(found.get("NumberOfFrames", 1)))
            names = wanted.setdefault(found.SeriesInstanceUID, set())
            names.update((found.SOPInstanceUID, frame) for frame in frames)
    index = index_series(place)
    assert {uid: len(index.series(uid)) for uid in index} == {k: len(v) for k, v in wanted.items()}
    assert index.left_out == {"no DICOM": 2}
    others = [reason for _, reason in index.problems if "the same instance" not in reason]
    assert others == ["PixelSpacing must be two numbers > 0, got [0.2, 0.0, 0.2]"]


def million(count):
    """The table of an archive of so many slices, 400 a series."""
    number = np.arange(count)
    series = pa.DictionaryArray.from_arrays(
        (number // 400).astype(np.int32), [f"1.2.840.99.{n}" for n in range(-(-count // 400))]
    )
    folders = pa.DictionaryArray.from_arrays(
        series.indices, [f"/data/ct/{n}" for n in range(len(series.dictionary))]
    )
    few = {"status": "slice", "study_uid": "1.2", "modality": "CT"}
    texts = {
        "name": [f"{n:08}.dcm" for n in number],
        "instance_uid": [f"1.2.840.113619.2.55.3.{n * 7919 % count}" for n in number],
    }
    columns = []
    for field in SCHEMA:
        if field.name in texts:
            columns.append(pa.array(texts[field.name]))
        elif field.name == "folder":
            columns.append(folders)
        elif field.name in ("series_uid", "frame_of_reference_uid"):
            columns.append(series)
        elif field.name in few:
            column = pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), [few[field.name]])
            columns.append(column)
        elif field.name in ("rows", "columns", "frames"):
            columns.append(pa.array(np.full(count, 1, np.int32)))
        elif field.name == "position":
            flat = np.repeat(number.astype(float), 3)
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), 3))
        else:
            columns.append(pa.nulls(count, field.type))
    return pa.table(columns, schema=SCHEMA)


@pytest.mark.parametrize("count", [20_001, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_a_slice_of_an_archive_of_many(count):
    index = SeriesIndex(million(count), [], {})
    assert len(index) == count and index.nbytes < 260 * count
    rng = np.random.default_rng(3)
    for number in [0, count - 1, *rng.integers(0, count, 50).tolist()]:
        found = index.slice(f"1.2.840.113619.2.55.3.{number * 7919 % count}")
        assert found.source == f"/data/ct/{number // 400}/{number:08}.dcm"
        assert found.position == (number,) * 3 and found.series_uid == f"1.2.840.99.{number // 400}"
        assert index.file(f"{number // 400}/{number:08}.dcm") == found
    assert index.slice("1.2.840.113619.2.55.3") is None
    assert len(index.series("1.2.840.99.7")) == 400
