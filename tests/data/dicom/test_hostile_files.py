"""Files made to hang, grow or lead elsewhere cost their own row, in bounded memory."""

import os
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from dsnet.data.dicom import header, places, streams
from dsnet.data.dicom.index import index_series, read_slice
from dsnet.data.dicom.slices import read_dicom
from dsnet.data.dicom.streams import Limited, Pulled

pydicom = pytest.importorskip("pydicom")
from dicom_files import ENHANCED, STORED, dicom, item, slice_of  # noqa: E402

PREAMBLE = bytes(128) + b"DICM"
META = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"


def element(group, number, kind, value, length=None):
    """An explicit element, little endian."""
    size = len(value) if length is None else length
    head = struct.pack("<HH", group, number) + kind
    long = kind in (b"SQ", b"UN", b"OW", b"OB")
    return head + (struct.pack("<HI", 0, size) if long else struct.pack("<H", size)) + value


ITEM, END = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0"
SEQUENCE = element(0x0008, 0x1115, b"SQ", b"", 0xFFFFFFFF)
CLASS = element(0x0008, 0x0016, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0")
HOSTILE = {
    "empty": b"",
    "one byte": b"\x08",
    "random": np.random.default_rng(1).bytes(5000),
    "random after DICM": PREAMBLE + np.random.default_rng(2).bytes(5000),
    "random after its syntax": PREAMBLE + META + np.random.default_rng(3).bytes(5000),
    "zeros": bytes(10_000),
    "zeros after its syntax": PREAMBLE + META + bytes(10_000),
    "ends in group 2": PREAMBLE + META[:7],
    "group 2 of four billion bytes": PREAMBLE + b"\x02\x00\x10\x00OB\0\0\xff\xff\xff\xfe",
    "a value of four billion bytes": PREAMBLE + META + element(9, 1, b"UN", b"x", 0xFFFFFFFE),
    "a sequence without an end": PREAMBLE + META + CLASS + (SEQUENCE + ITEM) * 3,
    "nested 20,000 deep": PREAMBLE + META + CLASS + (SEQUENCE + ITEM) * 20_000,
    "10,000 empty items": PREAMBLE + META + CLASS + SEQUENCE + (ITEM + END) * 10_000,
    "deflated nonsense": PREAMBLE + META.replace(b"\x14\x001.2.840.10008.1.2.1\0",
                                                 b"\x16\x001.2.840.10008.1.2.1.99") + b"\xff" * 99,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_bytes_that_are_no_slice(tmp_path, name):
    (tmp_path / "bad.dcm").write_bytes(HOSTILE[name])
    slice_of(tmp_path / "good.dcm", 1)
    tracemalloc.start()
    try:
        index = index_series(tmp_path)
        with pytest.raises(ValueError, match=r"bad\.dcm: .") as caught:
            read_dicom(tmp_path / "bad.dcm")
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 600 and "\n" not in str(caught.value)
    assert len(index) == 1
    # Refused, or an object without a picture; no row is lost.
    assert len(index.problems) + sum(index.left_out.values()) == 1


@pytest.mark.parametrize("what", ["items", "values"])
def test_headers_of_more_than_a_header_needs(tmp_path, monkeypatch, what):
    monkeypatch.setattr(streams, "MAX_HEADER_ITEMS", 3000)
    monkeypatch.setattr(streams, "MAX_HEADER_READS", 20_000)
    many = {
        "items": SEQUENCE + (ITEM + END) * 2**18,
        "values": b"".join(element(9, n, b"SH", b"") for n in range(2**16)),
    }
    (tmp_path / "bad.dcm").write_bytes(PREAMBLE + META + CLASS + many[what])
    told = "its header has more than 3000 items, or 20000 values"
    with pytest.raises(ValueError, match=told):
        read_dicom(tmp_path / "bad.dcm")
    ((_, reason),) = index_series(tmp_path).problems
    assert told in reason


def test_a_file_cut_anywhere(tmp_path):
    whole = slice_of(tmp_path / "whole" / "a.dcm", 1).read_bytes()
    pixels = whole.rindex(b"\xe0\x7f\x10\x00")
    path = tmp_path / "cut.dcm"
    for end in [*range(0, len(whole) - 1, 23), pixels + 11, pixels + 13, len(whole) - 1]:
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"cut\.dcm: "):
            read_dicom(path)
    path.write_bytes(whole[:-1])
    index = index_series(tmp_path)
    reasons = dict(index.problems)
    assert "it is cut short: its pixels lack" in reasons[str(path)]


def test_flipped_bytes_of_a_header_end_in_words(tmp_path):
    """An index of damaged files: every one is a slice, is told, or is no picture any more."""
    whole = slice_of(tmp_path / "whole" / "a.dcm", 1).read_bytes()
    rng = np.random.default_rng(5)
    (tmp_path / "files").mkdir()
    for number in range(300):
        data = bytearray(whole)
        for at in rng.integers(132, whole.rindex(b"\xe0\x7f\x10\x00"), rng.integers(1, 6)):
            data[at] = rng.integers(256)
        (tmp_path / "files" / f"{number}.dcm").write_bytes(bytes(data))
    index = index_series(tmp_path / "files")
    refused = {source for source, _ in index.problems}
    slices = {entry.source for uid in index for entry in index.series(uid)}
    lost = 300 - len(refused | slices) - sum(index.left_out.values())
    assert lost == 0 and len(slices) > 0 and len(refused) > 100


HUGE = (
    ({"Rows": 60_000, "Columns": 60_000}, "the header states 60000x60000 pixels"),
    ({"NumberOfFrames": 2**31 - 1}, "must be one grey frame, got 2147483647"),
    ({"BitsAllocated": 64}, "BitsAllocated must be 8, 16 or 32, got 64"),
    ({"BitsStored": 0}, "BitsStored and HighBit must lie within"),
    ({"HighBit": 40}, "BitsStored and HighBit must lie within"),
    ({"PixelRepresentation": 7}, "PixelRepresentation must be 0 or 1, got 7"),
    ({"Rows": 13}, "PixelData must be of 312 bytes (1 x 13 x 12 of 16 bits), got 288"),
)


@pytest.mark.parametrize("tags, told", HUGE)
def test_headers_that_claim_too_much(tmp_path, tags, told):
    slice_of(tmp_path / "a.dcm", 1, **tags)
    tracemalloc.start()
    try:
        index = index_series(tmp_path)
        with pytest.raises(ValueError, match=r"a\.dcm: ") as caught:
            read_dicom(tmp_path / "a.dcm")
        assert told in str(caught.value)
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
    assert len(index) == 1


def test_frames_that_are_claimed_and_not_there(tmp_path):
    groups = [item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, n])]) for n in range(2)]
    slice_of(
        tmp_path / "a.dcm", 1, sop=ENHANCED, PerFrameFunctionalGroupsSequence=groups,
        NumberOfFrames=10**9, RescaleSlope=1, RescaleIntercept=-1024,
    )  # fmt: skip
    index = index_series(tmp_path)
    assert len(index) == 1
    assert index.problems[0][1].startswith("NumberOfFrames must be 2 as its groups are")
    with pytest.raises(ValueError, match="PixelData must be of 288000000000 bytes"):
        read_slice(index.slice("1.2.3.1", 10**9)._replace(frame=7))


def test_deflated_bombs(tmp_path, monkeypatch):
    path = dicom(tmp_path / "a.dcm")
    data = path.read_bytes()
    at = data.index(b"\x02\x00\x10\x00UI")
    begin = data.index(b"\x08\x00\x16\x00UI")
    syntax = b"\x02\x00\x10\x00UI\x16\x001.2.840.10008.1.2.1.99"
    head = data[:at] + syntax

    def deflated(content):
        packer = zlib.compressobj(wbits=-15)
        return packer.compress(content) + packer.flush()

    path.write_bytes(head + deflated(data[begin:]))
    assert (read_dicom(path).hu == STORED - 1024).all()
    monkeypatch.setattr(header, "MAX_INFLATED_BYTES", 2**22)
    monkeypatch.setattr(streams, "MAX_HEADER_READS", 2**14)
    private = element(9, 1, b"UN", b"", 2**28) + bytes(2**25)
    for content in (data[begin : pixels_at(data)] + private, bytes(2**25)):
        path.write_bytes(head + deflated(content))
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=r"a\.dcm: "):
                read_dicom(path)
            assert tracemalloc.get_traced_memory()[1] < 2**26
        finally:
            tracemalloc.stop()


def pixels_at(data):
    return data.rindex(b"\xe0\x7f\x10\x00")


def test_zips_with_outside_paths_bombs_and_damage(tmp_path):
    good = slice_of(tmp_path / "a.dcm", 1).read_bytes()
    place = tmp_path / "in" / "a.zip"
    place.parent.mkdir()
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as out:
        for name in ("../out.dcm", "/abs.dcm", "x/../../y.dcm", "C:\\z.dcm", "..\\w.dcm"):
            out.writestr(zipfile.ZipInfo(name), good)
        out.writestr("zeros.dcm", bytes(2**27))
        out.writestr("long.dcm", good[:pixels_at(good)] + element(9, 1, b"UN", b"", 2**31)
                     + bytes(2**27))  # fmt: skip
        out.writestr("bz.dcm", good, zipfile.ZIP_BZIP2)
        out.writestr("__MACOSX/._a.dcm", b"x")
        out.writestr("dir/good.dcm", good)
        out.writestr("inner.zip", b"PK\x03\x04nothing")
    tracemalloc.start()
    try:
        index = index_series(place)
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()
    told = {source.removeprefix(f"{place}!"): reason for source, reason in index.problems}
    outside = ("../out.dcm", "/abs.dcm", "x/../../y.dcm", "C:\\z.dcm", "..\\w.dcm")
    for name in outside:
        assert told.pop(name) == "its name leads out of the archive"
    assert told.pop("bz.dcm") == "it must be stored or deflated, got method 12"
    assert told.pop("zeros.dcm") == "it is no DICOM file"
    assert told.pop("long.dcm")
    assert told == {} and index.left_out == {"no DICOM": 1}
    (entry,) = index.series("1.2.3")
    assert entry.source.endswith("!dir/good.dcm")
    assert (read_slice(entry).hu == STORED - 1024).all()
    # Nothing came out of it.
    assert sorted(os.listdir(tmp_path)) == ["a.dcm", "in"] and os.listdir(place.parent) == ["a.zip"]


def test_damaged_zips(tmp_path):
    good = slice_of(tmp_path / "a.dcm", 1).read_bytes()
    (tmp_path / "a.dcm").unlink()
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("good.dcm", good)
    whole = (tmp_path / "a.zip").read_bytes()
    entry = index_series(tmp_path / "a.zip").slice("1.2.3.1")
    damaged = bytearray(whole)
    damaged[60:80] = bytes(20)
    (tmp_path / "a.zip").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"a\.zip!good\.dcm: "):
        read_slice(entry)
    assert len(index_series(tmp_path).problems) == 1
    (tmp_path / "a.zip").write_bytes(whole[: len(whole) // 2])
    index = index_series(tmp_path)
    assert len(index) == 0
    assert index.problems == [(str(tmp_path / "a.zip"), "BadZipFile: File is not a zip file")]
    with pytest.raises(ValueError, match=r"a\.zip: BadZipFile"):
        read_slice(entry)


def test_a_member_that_claims_too_much(tmp_path, monkeypatch):
    good = slice_of(tmp_path / "in" / "a.dcm", 1).read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("good.dcm", good)
    monkeypatch.setattr(places, "MAX_MEMBER_BYTES", 100)
    ((_, reason),) = index_series(tmp_path / "a.zip").problems
    assert reason == f"it must be of at most 100 bytes, got {len(good)}"


def test_a_dicomdir_that_leads_elsewhere(tmp_path):
    slice_of(tmp_path / "outside.dcm", 1)
    slice_of(tmp_path / "disk" / "images" / "in.dcm", 2)
    (tmp_path / "disk" / "link.dcm").symlink_to(tmp_path / "outside.dcm")
    names = (
        ["IMAGES", "IN.DCM"], ["..", "OUTSIDE.DCM"], ["images", "..", "..", "outside.dcm"],
        ["/etc", "passwd"], ["link.dcm"], ["missing"], ["images"],
    )  # fmt: skip
    records = [item(DirectoryRecordType="IMAGE", ReferencedFileID=name) for name in names]
    found = item(
        SOPClassUID=places.DICOMDIR_CLASS, SOPInstanceUID="1.5", DirectoryRecordSequence=records
    )
    path = tmp_path / "disk" / "DICOMDIR"
    raw = pydicom.filebase.DicomBytesIO()
    raw.is_implicit_VR, raw.is_little_endian = False, True
    pydicom.filewriter.write_dataset(raw, found)
    path.write_bytes(PREAMBLE + META + raw.getvalue())
    index = index_series(path)
    assert [entry.number for entry in index.series("1.2.3")] == [2] and len(index) == 1
    told = [reason for _, reason in index.problems]
    assert sum(reason.endswith("this leads out of its folder") for reason in told) == 4
    assert any("'missing': No such file" in reason for reason in told)
    assert any("must be a regular file" in reason for reason in told)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="DICOMDIR: it is no DICOM file"):
        index_series(path)


def test_links_that_turn_in_a_circle_and_what_is_no_file(tmp_path):
    folder = tmp_path / "files"
    slice_of(folder / "a" / "1.dcm", 1)
    (folder / "a" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    (folder / "twice").symlink_to(folder / "a", target_is_directory=True)
    (folder / "zero.dcm").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.dcm")
    (folder / ".hidden.dcm").write_bytes(b"x")
    elsewhere = slice_of(tmp_path / "elsewhere" / "2.dcm", 2).parent
    (folder / "b").symlink_to(elsewhere, target_is_directory=True)
    index = index_series(folder)
    assert [entry.number for entry in index.series("1.2.3")] == [1, 2] and index.problems == []
    assert index.left_out == {
        "links to folders that were gone through": 2, "neither files nor folders": 2, "hidden": 1,
        "files that cannot be read": 1,
    }  # fmt: skip


def test_names_that_are_no_text(tmp_path):
    folder = tmp_path / os.fsdecode(b"scan\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("the file system takes no such name")
    odd, bad, cache = (folder / os.fsdecode(n) for n in (b"\xff\xfe.dcm", b"b\xff.dcm", b".c\xff"))
    slice_of(odd, 1)
    slice_of(folder / "plain \u00e9.dcm", 2)
    bad.write_bytes(b"no DICOM")
    read = []
    for _ in range(2):
        index = index_series(folder, cache, progress=lambda *told: read.append(told))
        assert [entry.number for entry in index.series("1.2.3")] == [1, 2]
        entry = index.slice("1.2.3.1")
        assert entry.source == str(odd) and index.files(odd.name) == [entry]
        assert read_slice(entry).hu.shape == (entry.rows, entry.columns)
        assert [source for source, _ in index.problems] == [str(bad)]
    # What cannot be read is tried again, and nothing else.
    assert read[-1] == (1, 1) and len(read) == 4


def test_a_file_that_goes_is_told(tmp_path):
    path = slice_of(tmp_path / "a.dcm", 1)
    entry = index_series(tmp_path).slice("1.2.3.1")
    path.unlink()
    with pytest.raises(ValueError, match=r"a\.dcm: No such file or directory"):
        read_slice(entry)


def test_streams_end_where_they_must():
    import io

    limited = Limited(io.BytesIO(bytes(range(10))), 4)
    assert limited.read(3) == b"\0\1\2" and limited.read(2**40) == b"\3"
    with pytest.raises(ValueError, match="more than 4 bytes come before the pixels"):
        limited.read(1)
    source = io.BytesIO(bytes(range(100)))
    closed = []
    pulled = Pulled(lambda size: source.read(7), 100, lambda: closed.append(1))
    rng = np.random.default_rng(1)
    for _ in range(50):
        at, size = rng.integers(0, 120, 2).tolist()
        assert pulled.seek(at) == at == pulled.tell()
        assert pulled.read(size) == bytes(range(100))[at : at + size]
    assert pulled.seek(-3, 2) == 97 and pulled.read() == b"abc"
    pulled.close()
    pulled.close()
    assert closed == [1]
    with pytest.raises(ValueError, match="it holds more than the 99 bytes allowed"):
        Pulled(io.BytesIO(bytes(100)).read, 99).read()
