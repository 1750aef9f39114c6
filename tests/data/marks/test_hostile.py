"""Files that were made to break a reader: one clear refusal, bounded memory, nothing written."""

import io
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
from mark_files import (  # noqa: E402
    aim_v3,
    aim_v4,
    as_json,
    dicom_bytes,
    group,
    line_item,
    number_item,
    report,
)

from dsnet.data.marks import sr  # noqa: E402
from dsnet.data.marks.content_tree import Code, Item  # noqa: E402
from dsnet.data.marks.find import find_marks, read_marks  # noqa: E402
from dsnet.data.marks.sr import read_sr  # noqa: E402
from dsnet.labeling.recist import RecistMark  # noqa: E402

MARK = RecistMark.from_coordinates([100.25, 200, 140, 210, 118, 220, 122.5, 190])
LONG = ("G-A185", "SRT", "Long Axis")


class Image:
    SOPInstanceUID, SeriesInstanceUID, PixelSpacing = "1.2.3", "1.2.2", [0.5, 0.5]


def good_report():
    return report(group(number_item(LONG, 20, content=[line_item(MARK.long_axis)])))


FILES = {
    "a.dcm": good_report,
    "a.xml": lambda: aim_v3(MARK, Image),
    "a.json": lambda: as_json(aim_v4(MARK, Image)),
    "b.mrk.json": lambda: as_json({"markups": [{"type": "Line", "coordinateSystem": "LPS",
        "controlPoints": [{"position": [0, 0, 0]}, {"position": [9, 0, 0]}]}]}),
    "c.json": lambda: as_json([{"toolName": "Length", "points": [[1, 2, 3], [4, 5, 6]]}]),
    "d.csv": lambda: b"sop_instance_uid,x1,y1,x2,y2,origin\n1.2,1,2,30,4,0\n",
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_cut_short_anywhere(name):
    whole = FILES[name]()
    assert len(read_marks(name, whole).marks) == 1
    random = np.random.default_rng(2)
    for count in [0, 1, 2, *random.integers(3, len(whole), 60).tolist(), len(whole) - 1]:
        found = read_marks(name, whole[:count])
        # What is still whole may be read; it is the same mark or nothing.
        assert len(found.marks) <= 1
        assert all(len(reason) < 1000 and "\n" not in reason for _, reason in found.refused)


@pytest.mark.parametrize("name", FILES)
def test_bytes_changed_at_random(name):
    whole = FILES[name]()
    random = np.random.default_rng(3)
    for _ in range(60):
        data = np.frombuffer(whole, np.uint8).copy()
        places = random.integers(0, len(data), random.integers(1, 12))
        data[places] = random.integers(0, 256, len(places))
        for mark in read_marks(name, data.tobytes()).marks:
            ends = mark.world if mark.long_axis is None else mark.long_axis
            assert np.isfinite(ends).all()


@pytest.mark.parametrize("name", ["a.dcm", "a.xml", "a.json", "d.csv", "e.parquet", "f.npz"])
def test_random_bytes(name):
    random = np.random.default_rng(4)
    starts = {
        "a.dcm": bytes(128) + b"DICM",
        "a.xml": b"<ImageAnnotation",
        "e.parquet": b"PAR1",
        "a.json": b'{"ImageAnnotation"',
        "f.npz": b"PK\x03\x04",
        "d.csv": b"file,x1,y1,x2,y2\n",
    }
    for count in (1, 10, 1000, 100_000):
        data = starts[name] + random.integers(0, 256, count, dtype=np.uint8).tobytes()
        assert read_marks(name, data).marks == []


BAD = (
    None, 1, -1, True, "", "x", [], {}, [[]], [None], {"value": None}, "9" * 400, 10**400,
    "x" * 9000, float("nan"), float("inf"), -1e308,
)  # fmt: skip


def places(value, path=()):
    """The paths to all values inside of one."""
    if path:
        yield path
    inner = enumerate(value) if isinstance(value, list) else ()
    for key, held in value.items() if isinstance(value, dict) else inner:
        yield from places(held, (*path, key))


@pytest.mark.parametrize("name", ["a.json", "b.mrk.json", "c.json", "d.json"])
def test_values_of_other_kinds_anywhere(name):
    annotation = {
        "metadata": {"toolName": "Bidirectional", "referencedImageId": "wadors:a/instances/1.2"},
        "data": {"label": "x", "handles": {"points": [[0, 0, 0], [9, 0, 0], [4, -3, 0], [4, 3, 0]]},
                 "cachedStats": {"a": {"length": 9, "width": 6, "unit": "mm"}}},
    }  # fmt: skip
    whole = json.loads(FILES[name]()) if name in FILES else [annotation]
    for path in list(places(whole)):
        for bad in BAD:
            changed = json.loads(json.dumps(whole))
            held = changed
            for key in path[:-1]:
                held = held[key]
            held[path[-1]] = bad
            found = read_marks(name, as_json(changed))
            for mark in found.marks:
                ends = mark.world if mark.long_axis is None else mark.long_axis
                assert np.isfinite(ends).all() and len(mark.label) <= 256
            assert all(len(told) < 500 for _, told in found.refused)


def test_billion_laughs():
    bomb = (
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "ha">'
        + b"".join(b'<!ENTITY %c "%s">' % (99 + i, b"&%c;" % (98 + i) * 20) for i in range(20))
        + b"]><ImageAnnotation>&v;</ImageAnnotation>"
    )
    outside = (
        b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
        b'<ImageAnnotation name="&e;">&e;</ImageAnnotation>'
    )
    by_dtd = b'<!DOCTYPE a SYSTEM "http://localhost:1/a.dtd"><ImageAnnotation/>'
    for data in (bomb, outside, by_dtd):
        ((_, reason),) = read_marks("a.xml", data).refused
        assert "must declare no document type" in reason


@pytest.mark.parametrize("count", [100, 100_000])
def test_deep_nesting(count):
    for name, data in {
        "a.xml": b"<ImageAnnotation>" + b"<a>" * count + b"</a>" * count + b"</ImageAnnotation>",
        "a.json": b'{"ImageAnnotation":' + b'{"a":' * count + b"1" + b"}" * (count + 1),
        "c.json": b'{"toolName":"Length","handles":1,"x":' + b"[" * count + b"]" * count + b"}",
    }.items():
        found = read_marks(name, data)
        assert found.marks == []
        ((_, reason),) = found.refused
        assert "deep" in reason


def test_many_parts():
    elements = b"<ImageAnnotation>" + b"<a/>" * 300_000 + b"</ImageAnnotation>"
    ((_, reason),) = read_marks("a.xml", elements).refused
    assert "at most 200000 elements" in reason
    objects = b'{"ImageAnnotation": [' + b"{}," * 300_000 + b"{}]}"
    ((_, reason),) = read_marks("a.json", objects).refused
    assert "at most 200000 objects" in reason
    items = sum_of_items(300_000)
    ((_, reason),) = read_marks("a.dcm", items).refused
    assert "at most 200000 items" in reason


def sum_of_items(count):
    """A report whose content is a sequence of empty items that never ends."""
    head = good_report()
    at = head.find(b"\x40\x00\x30\xa7SQ")  # ContentSequence
    endless = b"\x40\x00\x30\xa7SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\x00\x00\x00\x00"
    return head[:at] + endless + b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * count


@pytest.mark.parametrize("depth", [70, 400, 20_000])
def test_reports_nested_deeply(depth):
    opened = b"\x40\x00\x30\xa7SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closed = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    head = good_report()
    at = head.find(b"\x40\x00\x30\xa7SQ")
    for data in (head[:at] + opened * depth + closed * depth, head[:at] + opened * depth):
        found = read_marks("a.dcm", data)
        assert found.marks == []
        assert len(found.refused) + len(found.empty) == 1


def test_a_tree_that_refers_to_itself():
    loop = pydicom.Dataset()
    loop.RelationshipType, loop.ReferencedContentItemIdentifier = "CONTAINS", [1, 1]
    assert read_sr("made", report(group(loop), loop)) == []


def test_deflated_reports():
    plain = pydicom.dcmread(io.BytesIO(good_report()))
    plain.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    plain.file_meta.MediaStorageSOPClassUID = plain.SOPClassUID
    plain.file_meta.MediaStorageSOPInstanceUID = plain.SOPInstanceUID
    data = dicom_bytes(plain)
    assert len(read_marks("a.dcm", data).marks) == 1
    end = 144 + int.from_bytes(data[140:144], "little")
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = data[:end] + squeeze.compress(bytes(2**28)) + squeeze.flush()
    assert len(bomb) < 2**19
    peak = traced(lambda: reasons(read_marks("a.dcm", bomb), "once inflated"))
    assert peak < 2**26
    reasons(read_marks("a.dcm", data[:end] + data[end : end + 20]), "cut short")


def traced(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def reasons(found, part):
    assert found.marks == []
    ((_, reason),) = found.refused
    assert part in reason


def test_files_that_are_too_large(tmp_path):
    for name in ("a.dcm", "a.xml", "a.json"):
        data = FILES[name]()
        with open(tmp_path / name, "wb") as file:
            file.write(data)
            file.truncate(2**25)  # the rest is a hole
    peak = traced(lambda: check_large(tmp_path))
    assert peak < 2**24


def check_large(folder):
    found = find_marks(folder)
    assert found.marks == [] and len(found.refused) == 3
    assert all("must be of at most 16777216 bytes" in reason for _, reason in found.refused)


def test_zips(tmp_path):
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    inside.mkdir()
    with zipfile.ZipFile(inside / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("../outside/a.dcm", "/var/b.dcm", "c/../../d.dcm", "C:\\e.dcm", "..\\f.dcm"):
            archive.writestr(name, good_report())
        archive.writestr("good/a.dcm", good_report())
        archive.writestr("bomb.json", b'{"ImageAnnotation": 1}' + b" " * 2**28)
        archive.writestr("bomb.dcm", good_report() + bytes(2**28))
        archive.writestr("nested.zip", b"PK\x03\x04")
    (inside / "b.zip").write_bytes(b"PK\x03\x04 and no more")
    (inside / "c.zip").write_bytes((inside / "a.zip").read_bytes()[:-10])
    before = listed(tmp_path)
    found = None

    def read():
        nonlocal found
        found = find_marks(inside)

    assert traced(read) < 2**27
    assert [Path(mark.source).name for mark in found.marks] == ["a.dcm"]
    assert found.marks[0].source.endswith("a.zip!good/a.dcm")
    told = [reason for _, reason in found.refused]
    assert sum("leads out of the zip" in reason for reason in told) == 5
    assert sum("must be of at most" in reason for reason in told) == 2
    assert sum("no zip can be read" in reason for reason in told) == 2
    assert sum("inside of a zip" in reason for reason in told) == 1
    assert len(told) == 10
    assert listed(tmp_path) == before and not outside.exists()


def listed(folder):
    return sorted(str(path) for path in folder.rglob("*"))


def test_a_zip_whose_members_are_damaged(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", good_report())
        archive.writestr("b.dcm", good_report())
    data = bytearray(path.read_bytes())
    data[60:80] = bytes(20)
    path.write_bytes(bytes(data))
    found = find_marks(path)
    assert [Path(mark.source).name for mark in found.marks] == ["a.zip!b.dcm"]
    ((source, reason),) = found.refused
    assert source.endswith("a.dcm") and "cannot be unpacked" in reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_pipes_links_and_folders_with_names_of_files(tmp_path):
    os.mkfifo(tmp_path / "a.dcm")
    (tmp_path / "b.dcm").mkdir()
    (tmp_path / "c.dcm").symlink_to(tmp_path / "nowhere")
    (tmp_path / "b.dcm" / "loop").symlink_to(tmp_path)
    (tmp_path / "b.dcm" / "d.dcm").write_bytes(good_report())
    found = find_marks(tmp_path)
    assert len(found.marks) == 1
    # A link to a disk that is not there, or a folder beside, may be where marks are.
    none = "neither a file nor a folder, or a link to none"
    assert found.refused == [
        (str(tmp_path / "a.dcm"), none),
        (str(tmp_path / "c.dcm"), none),
        (str(tmp_path / "b.dcm" / "loop"), "a link to a folder is not followed"),
    ]
    with pytest.raises(ValueError, match="no such file or folder"):
        find_marks(tmp_path / "nowhere")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "a").mkdir(mode=0)
    ((source, reason),) = find_marks(tmp_path).refused
    assert source == str(tmp_path / "a") and reason.startswith("cannot be read: PermissionError")


def test_a_folder_that_vanishes_is_told(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    real = os.scandir

    def scandir(place):
        if os.fspath(place).endswith("a"):
            raise OSError(5, "Input/output error", os.fspath(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    ((source, reason),) = find_marks(tmp_path).refused
    assert source == str(tmp_path / "a") and reason.startswith("cannot be read: OSError")


@pytest.mark.long
def test_a_whole_folder_of_them_within_a_bound_of_memory(tmp_path):
    """By the operating system's count, in a process of its own: what parsers take is told, too."""
    (tmp_path / "items.dcm").write_bytes(sum_of_items(199_000))
    (tmp_path / "elements.xml").write_bytes(
        b"<ImageAnnotation>" + b"<a/>" * 199_000 + b"</ImageAnnotation>"
    )
    (tmp_path / "lists.json").write_bytes(b'{"ImageAnnotation":[' + b"[]," * (2**22) + b"[]]}")
    (tmp_path / "tags.dcm").write_bytes(good_report() + b"\x08\x00\x18\x00UI\x00\x00" * (2**20))
    code = (
        "import resource, sys; from dsnet.data.marks.find import find_marks;"
        f"found = find_marks({str(tmp_path)!r});"
        "print(len(found.marks), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    marks, kilobytes = map(int, out.stdout.split())
    assert kilobytes < 800_000
    assert marks <= 2


def test_a_long_name_and_many_siblings_take_no_longer_than_they_are():
    """Patterns that take the square of a name's length; children that each line looks through."""
    name = ("1", "X", "long " * 200_000)
    named = report(group(number_item(name, 5, content=[line_item([1, 2, 9, 2])])))
    assert read_marks("a.dcm", named).marks == []
    root = Item(kind="CONTAINER")
    looked = []
    for _ in range(1000):
        root.children.append(Item(kind="NUM", concept=Code("1", "X", "Length"), parent=root))

    class Counted(list):
        def __iter__(self):
            looked.append(1)
            return super().__iter__()

    root.children = Counted(root.children)
    for child in root.children:
        assert sr._near(child, "112039") == "" and sr._image(child, root) is None
    assert len(looked) == 3  # the loop itself, and each kind of answer once
