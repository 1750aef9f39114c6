"""Tables of marks in CSV and Parquet, and npz files with drawn marks."""

import io
import zipfile

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dsnet.data.marks.find import find_marks
from dsnet.data.marks.npz import read_npz
from dsnet.data.marks.tables import COLUMNS, read_marks_table
from shared_data import shared

HEADER = (
    "sop_instance_uid,file,x1,y1,x2,y2,x3,y3,x4,y4,origin,frame,label,long_mm,row_spacing,"
    "column_spacing"
)
GOOD = "1.2.3,,10.5,20.5,30.5,24.5,21.5,16.5,19.5,28.5,0.5,2,node,15,0.7,0.8"
ALONE = ",a/b.png,10,20,30,24,,,,,0,,,,,"


def csv(*rows, header=HEADER):
    return "\n".join([header, *rows]).encode()


def test_csv():
    both, line = read_marks_table("t.csv", csv(GOOD, ALONE))
    assert both.long_axis.tolist() == [[10, 20], [30, 24]]
    assert both.short_axis.tolist() == [[21, 16], [19, 28]]
    assert (both.instance_uid, both.file, both.frame, both.label) == ("1.2.3", None, 2, "node")
    assert (both.long_mm, both.units, both.written_spacing) == (15, "mm", (0.7, 0.8))
    assert line.long_axis.tolist() == [[10, 20], [30, 24]] and line.short_axis is None
    assert (line.file, line.instance_uid, line.index, line.written_spacing) == (
        "a/b.png", None, 3, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",,10,20,30,24,,,,,0,,,,,", "sop_instance_uid or file must tell the picture"),
        ("1.2,,10,20,30,24,,,,,,,,,,", "origin must be stated"),
        ("1.2,,10,20,30,24,,,,,3,,,,,", "origin must be within 0 and 1"),
        ("1.2,,10,20,30,,,,,,0,,,,,", "x1, y1, x2, y2 must be four numbers or none"),
        ("1.2,,,,,,1,2,3,4,0,,,,,", "x1, y1, x2, y2 must be numbers, got none"),
        ("1.2,,10,20,30,24,1,2,,,0,,,,,", "x3, y3, x4, y4 must be four numbers or none"),
        ("1.2,,ten,20,30,24,,,,,0,,,,,", "x1 must be a number, got 'ten'"),
        ("1.2,,inf,20,30,24,,,,,0,,,,,", "x1 must be finite"),
        ("1.2,,1e12,20,30,24,,,,,0,,,,,", "finite and within +-1e9"),
        ("1.2,,10,20,30,24,,,,,0,0,,,,", "frame must be a whole number from 1, got 0"),
        ("1.2,,10,20,30,24,,,,,0,,,-15,,", "long_mm and short_mm must be >= 0, got -15"),
        ("1.2,,10,20,30,24,,,,,0,,,,0,1", "row_spacing and column_spacing must be > 0"),
        ("1.2,,10,20", "must have 16 fields"),
    ],
)
def test_a_bad_row_costs_itself(row, reason):
    refused = []
    assert len(read_marks_table("t.csv", csv(row, GOOD), refused)) == 1
    assert len(refused) == 1 and refused[0][0] == "t.csv"
    assert refused[0][1].startswith("row 2: ") and reason in refused[0][1]
    with pytest.raises(ValueError, match=r"t\.csv: row 2: "):
        read_marks_table("t.csv", csv(row, GOOD))


def test_origin_of_the_whole_table():
    (mark,) = read_marks_table("t.csv", csv("1.2,,10,20,30,24,,,,,,,,,,"), origin=1)
    assert mark.long_axis.tolist() == [[9, 19], [29, 23]]
    # The row's own says more.
    (mark,) = read_marks_table("t.csv", csv(ALONE), origin=1)
    assert mark.long_axis.tolist() == [[10, 20], [30, 24]]


def test_parquet_is_the_same(tmp_path):
    table = pa.table(
        {
            "SOP_Instance_UID": ["1.2.3", "1.2.4", None],
            **{name: [10.0 + i, 1.0, 2.0] for i, name in enumerate(("x1", "y1", "x2", "y2"))},
            **{name: [None, float("nan"), 1.0] for name in ("x3", "y3", "x4", "y4")},
            "origin": [0.5, 0.0, 0.0],
            "frame": pa.array([3, None, None], pa.int32()),
            "else": [b"x", b"y", b"z"],
        }
    )
    pq.write_table(table, tmp_path / "marks.parquet")
    found = find_marks(tmp_path)
    assert found.counts == {"table": 2}
    assert found.marks[0].long_axis.tolist() == [[9.5, 10.5], [11.5, 12.5]]
    assert [mark.short_axis for mark in found.marks] == [None, None]
    assert [mark.frame for mark in found.marks] == [3, None]
    ((_, reason),) = found.refused
    assert reason == "row 4: sop_instance_uid or file must tell the picture, got neither"


def test_other_tables_are_passed_over(tmp_path):
    (tmp_path / "a.csv").write_text("name,x1\na,1\n")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "c.csv").write_text("")
    # As spreadsheets of other countries and "Unicode text" have it: marks, and nobody reads them.
    text = "file,x1,y1,x2,y2,origin\na.png,1,2,3,4,0\n"
    (tmp_path / "f.csv").write_text(text.replace(",", ";"))
    (tmp_path / "g.CSV").write_bytes(text.encode("utf-16"))
    (tmp_path / "h.tsv").write_text(text.replace(",", "\t"))
    (tmp_path / "i.json").write_text("[]")
    (tmp_path / "j.txt").write_text(text)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "d.parquet")
    (tmp_path / "e.parquet").write_bytes(b"PAR1" + bytes(50))
    found = find_marks(tmp_path)
    assert found.marks == [] and found.empty == []
    assert [(source[-5:], reason) for source, reason in found.other] == [
        (name, "of no format of marks that is known")
        for name in ("a.csv", "b.csv", "c.csv", "rquet", "f.csv", "g.CSV", "h.tsv", ".json")
    ]
    ((source, reason),) = found.refused
    assert source.endswith("e.parquet") and "no Parquet can be read" in reason
    with pytest.raises(ValueError, match="must have the columns sop_instance_uid or file, x1"):
        read_marks_table(str(tmp_path / "d.parquet"))
    assert set(HEADER.split(",")) <= set(COLUMNS)


def drawn(shape, lines, thickness=1):
    picture = np.zeros(shape, np.uint8)
    for number, ends in lines:
        cv2.line(picture, *[tuple(map(int, end)) for end in ends], number, thickness)
    return picture


@pytest.mark.parametrize("thickness", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_npz_of_drawn_lines(tmp_path, dtype, thickness):
    long, short = [[10, 20], [50, 30]], [[27, 40], [33, 12]]
    recist = np.zeros((5, 64, 72), dtype)
    recist[1] = drawn((64, 72), [(1, long), (1, short)], thickness)
    recist[3] = drawn((64, 72), [(7, long)], thickness)
    path = tmp_path / "case.npz"
    np.savez_compressed(path, imgs=recist, spacing=np.array([0.8, 0.7, 5.0]), recist=recist)
    both, line = read_npz(str(path))
    slack = thickness
    assert np.abs(both.long_axis - long).max() <= slack
    assert np.abs(both.short_axis[np.argsort(-both.short_axis[:, 1])] - short).max() <= slack
    assert line.short_axis is None and np.abs(line.long_axis - long).max() <= slack
    assert (both.frame, line.frame, both.label, line.label) == (2, 4, "1", "7")
    assert both.written_spacing == (0.7, 0.8) and both.file == str(path)
    if thickness == 1:
        assert both.long_axis.tolist() == long and line.long_axis.tolist() == long
    assert find_marks(path).counts == {"npz": 2}
    assert [m.label for m in read_npz("x", path.read_bytes())] == ["1", "7"]


def test_npz_without_marks_and_with_areas(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, imgs=np.zeros((2, 8, 8)))
    assert read_npz(str(path)) == []
    area = np.zeros((3, 64, 64), np.uint8)
    area[1, 10:50, 10:50] = 1
    area[2, 10, 10:50] = 2
    np.savez(path, recist=area)
    refused = []
    (mark,) = read_npz(str(path), None, refused)
    assert mark.frame == 3 and mark.long_axis.tolist() == [[10, 10], [49, 10]]
    assert refused == [
        (str(path), "slice 2: a mark must be drawn as lines, got 1600 pixels 55 across")
    ]


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"recist": np.array([{}], object)}, "recist must be numbers"),
        ({"recist": np.zeros((2, 2, 2, 2))}, "recist must be numbers"),
        ({"recist": np.zeros((2, 4, 4), complex)}, "recist must be numbers"),
        ({"recist": np.full((1, 2, 2), np.nan)}, "recist must have at most"),
        ({"recist": np.zeros((1, 4, 4)), "spacing": [1.0, 0.0, 1.0]}, "spacing must be > 0"),
        (
            {"recist": np.zeros((1, 4, 4)), "spacing": np.ones((4, 4))},
            "spacing must be the 3 numbers",
        ),
        (
            {"recist": np.zeros((1, 4, 4)), "spacing": [5.0, 0.8, 0.8]},
            "spacing must be x, y, z, got 5, 0.8, 0.8",
        ),
    ],
)
def test_bad_npz(arrays, reason):
    with pytest.raises(ValueError, match=f"made: .*{reason}"):
        read_npz("made", npz(**arrays))


def test_npz_whose_header_claims_more_than_it_holds():
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 60000, 60000)}
    )
    for shape_bytes, reason in ((header.getvalue(), "at most 16777216 pixels"),):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("recist.npy", shape_bytes)
        with pytest.raises(ValueError, match=reason):
            read_npz("made", buffer.getvalue())
    whole = npz(recist=np.ones((4, 64, 64), np.uint8))
    for count in (10, 100, len(whole) // 2, len(whole) - 30):
        with pytest.raises(ValueError, match="made: "):
            read_npz("made", whole[:count])


def test_the_spacing_of_files_as_they_circulate():
    """MedSAM2's lesions with a mark drawn in: 0.772 mm a pixel, 5 mm a slice."""
    path = shared("human_marks", "volumes_medsam2") / "CT_Lesion_000010_01_01_078-090.npz"
    with np.load(path) as held:
        images, spacing = held["imgs"], held["spacing"]
    recist = np.zeros_like(images)
    recist[6] = drawn(images.shape[1:], [(1, ([200, 210], [230, 240]))])
    (mark,) = read_npz("made", npz(imgs=images, spacing=spacing, recist=recist))
    assert mark.written_spacing == pytest.approx((0.772, 0.772)) and mark.frame == 7
    assert mark.long_axis.tolist() == [[200, 210], [230, 240]]
