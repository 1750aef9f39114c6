"""Rows of any cells are those of a plain reader, whatever is asked for, and when."""

import copy
import pickle
import random
from array import array
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from dsnet.data.datasets.deeplesion import DeepLesionAnnotation, group_by_file, read_annotations
from dsnet.data.datasets.keys import row_content
from dsnet.data.datasets.layout import Layout
from plain_table import plain_annotations

COLUMNS = (
    "File_name", "Patient_index", "Study_index", "Series_ID", "Key_slice_index",
    "Measurement_coordinates", "Bounding_boxes", "Lesion_diameters_Pixel_",
    "Normalized_lesion_location", "Coarse_lesion_type", "Possibly_noisy", "Slice_range",
    "Spacing_mm_px_", "Image_size", "DICOM_windows", "Patient_gender", "Patient_age",
    "Train_Val_Test",
)  # fmt: skip
LATER = ("bounding_box", "diameters", "normalized_location", "slice_range", "gender", "age")
NUMBERS = [
    "1", "-1", "0", "-0", "-0.0", "00", "007", "1.", ".5", "1.50", "0.1", "3.14159265358979",
    "0.30000000000000004", "123456789012345", "1234567890123456", "99999999999999999999", "1e5",
    "1E-5", "+5", "--5", "0x1F", "1_0", "nan", "NaN", "inf", "-Infinity", "", " ", " 2 ", "2\t",
    "\u00a03", "\u0664", "\uff11", "1,5", "F", "0.00001", "0.0001", "1000000000", "1000000000.5",
    "512x512", '"', "1\x0b", "\u20092.5", "-", ".", "1.2.3", "1 2", "0." + "0" * 30 + "1",
]  # fmt: skip
MARK = "229.853, 108.478, 234.147, 94.5221, 229.526, 97.8419, 236.474, 100.158"
MARKS = [
    MARK, MARK.replace(" ", ""), MARK.replace(",", " ,"), MARK + ",", MARK + ", 1", f" {MARK} ",
    "30, 40.5, 10, 20, 15, 35, 25, 33", "1, 2, 3, 4", "1,2,3,4,,,,", "1,2,3,4,nan,nan,nan,nan", "",
    ",,,,,,,,", "x",
]  # fmt: skip


def random_cells(draw, separator):
    """Numbers, mostly usual ones, some of any kind."""
    usual = [f"{draw.uniform(-500, 600):.{draw.randint(0, 6)}f}" for _ in range(8)]
    odd = [draw.choice(NUMBERS) if draw.random() < 0.15 else number for number in usual]
    return separator.join(odd[: draw.choice([1, 2, 2, 3, 3, 4, 8, 8])])


def random_table(seed, rows=40):
    draw = random.Random(seed)
    columns = list(COLUMNS)
    if draw.random() < 0.5:
        columns = columns[:6] + draw.sample(columns[6:], 8)
    lines = [",".join(columns)]
    for _ in range(rows):
        cells = []
        for column in columns:
            if column == "File_name":
                cell = draw.choice(["000001_01_01_109.png", "a b.png", "\u00e4_1.png", " A ", ""])
            elif column == "Measurement_coordinates" and draw.random() < 0.6:
                cell = draw.choice(MARKS)
            elif column == "Measurement_coordinates":
                cell = ", ".join(random_cells(draw, ", ") for _ in range(draw.randint(1, 4)))
            elif draw.random() < 0.5:
                cell = draw.choice(NUMBERS)
            else:
                cell = random_cells(draw, draw.choice([", ", ",", " , ", "x"]))
            if "," in cell or '"' in cell or draw.random() < 0.2:
                cell = '"' + cell.replace('"', '""') + '"'
            cells.append(cell)
        lines.append(",".join(cells))
    return "\n".join(lines).encode()


@pytest.mark.parametrize("seed", range(4))
def test_rows_of_any_cells_are_those_of_a_plain_reader(tmp_path, seed):
    data = random_table(seed)
    (tmp_path / "t.csv").write_bytes(data)
    plain = plain_annotations(data)
    table = read_annotations(tmp_path / "t.csv")
    assert list(map(repr, table)) == list(map(repr, plain))
    grouped = sorted((row for group in group_by_file(table) for row in group), key=lambda a: a.row)
    assert [row.metadata for row in grouped] == [row.metadata for row in plain]
    assert list(map(repr, grouped)) == list(map(repr, plain))
    assert list(table.contents()) == [(row.key, row_content(row)) for row in plain]
    at_once = sum(is_plain(row) for row in table)
    assert 0 < at_once < len(plain)


def is_plain(row):
    """Whether compiled code made it."""
    return "_source" in vars(row)


@pytest.mark.parametrize(
    ("patient", "read"),
    [("1", 1), (" -7 ", -7), ("007", 7), ("1e3", 1000), ("2.5", 2), ("A,1", "A,1"), ("", None),
     ("Inf", "Inf"), ("inf 7", "inf 7"), ("O'Neil", "O'Neil"), ("a\\b", "a\\b"), ("-", "-"),
     (" \u3000H\u00e4 1\x1f", "H\u00e4 1"), ("9" * 16, 10**16), ("n", "n")],
)  # fmt: skip
def test_a_plain_row_is_the_same_as_an_odd_one(tmp_path, patient, read):
    """A quote within a cell of which nothing is read lets Python read the line."""
    cells = {"Patient_index": patient, "Study_index": "3.9", "Series_ID": "x", "Note": "-"}
    plain, odd = (one_row(tmp_path, **cells, Other=cell)() for cell in ("a", 'a""b'))
    assert (is_plain(plain), is_plain(odd)) == (True, False)
    assert plain == odd and plain.metadata == odd.metadata
    assert repr((plain.patient, plain.study, plain.series)) == repr((read, 3, None))
    assert plain.metadata["content"] == row_content(plain)


@pytest.mark.parametrize(
    ("mark", "ordered"),
    [("1,2,3,4,5,6,7,9", (5, 6, 7, 9, 1, 2, 3, 4)), ("1,2,3,4", (1, 2, 3, 4)),
     ("1,2,3,4,5,6,7,8", (1, 2, 3, 4, 5, 6, 7, 8)),
     ("0,0,3,4,9,9,14,9", (0, 0, 3, 4, 9, 9, 14, 9)),
     ("0,0,3,4,9,9,14.01,9", (9, 9, 14.01, 9, 0, 0, 3, 4)),
     ("1000000000,0,0,-1000000000", (1e9, 0, 0, -1e9)), ("1000000000.1,0,0,1", None),
     ("-1e0,2,3,4", None), ("1,2,3", None), ("1,2,3,4,5", None), ("1,2,3,4,,,,", None)],
)  # fmt: skip
@pytest.mark.parametrize("origin", [0, 0.5])
def test_plain_marks_have_their_longer_axis_first(tmp_path, mark, ordered, origin):
    data = f"File_name,Measurement_coordinates\nA.png,{chr(34)}{mark}{chr(34)}\n".encode()
    (tmp_path / "t.csv").write_bytes(data)
    (row,) = read_annotations(tmp_path / "t.csv", origin=origin)
    assert is_plain(row) == (ordered is not None)
    if ordered is not None:
        found = row.mark.numbers
        assert found[: len(ordered)] == tuple(number - origin for number in ordered)
        assert len(found) == 8 and all(number != number for number in found[len(ordered) :])


def test_names_are_hashed_as_python_does():
    text = 'x,A.png,\n\n"q",  \u00e9 .png \u3000,1\r\ny\rz,"b,c",,,\n\x1f\nw, ,'.encode()
    names = ["A.png", "\u00e9 .png", "", "b,c", ""]
    plain = Layout(("Note", "File_name", "Measurement_coordinates"), 0.0).plain
    found, stems, odd = plain.name_hashes(text)
    begins = ["A", "\u00e9 ", "nameless", "b,c", "nameless"]
    assert array("q", found).tolist() == list(map(hash, names)) and odd == []
    assert array("q", stems).tolist() == [hash(f"\0{begin}") for begin in begins]
    assert plain.name_hashes(b'x,"A\nx,A""B\nx,A')[2] == [0, 1]
    # Nobody but Python knows what is white space there.
    assert plain.name_hashes("x,A\n\u3000\n".encode()) is None
    assert plain.keys(["\u3000\n".encode()]) is None and plain.rows([b"x,A,1"], [], None) is None


def one_row(tmp_path, **cells):
    given = {
        "File_name": "A.png", "Measurement_coordinates": MARK, "Bounding_boxes": "1, 2, 3, 4",
        "Lesion_diameters_Pixel_": "5, 6", "Normalized_lesion_location": "0.1, 0.2, 0.3",
        "Slice_range": "7, 8", "Patient_gender": " F ", "Patient_age": "62.5", **cells,
    }  # fmt: skip
    lines = [",".join(given), ",".join(f'"{cell}"' for cell in given.values())]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    return lambda: read_annotations(tmp_path / "t.csv", origin=0.5)[0]


def test_what_is_read_later_is_as_if_it_had_been_read_at_once(tmp_path):
    row = one_row(tmp_path)
    told = {
        "bounding_box": (0.5, 1.5, 2.5, 3.5), "diameters": (5.0, 6.0), "slice_range": (7.0, 8.0),
        "normalized_location": (0.1, 0.2, 0.3), "gender": "F", "age": 62.5,
    }  # fmt: skip
    assert set(told) == set(LATER)
    first = row()
    assert {name: getattr(first, name) for name in LATER} == told
    assert {name: asdict(row())[name] for name in LATER} == told
    whole = DeepLesionAnnotation(**{name: getattr(first, name) for name in asdict(first)})
    assert row() == whole and whole == row() and hash(row()) == hash(whole)
    assert repr(row()) == repr(whole) and row().metadata == whole.metadata
    for again in (pickle.loads(pickle.dumps(row())), copy.copy(row()), copy.deepcopy(row())):
        assert again == whole and vars(again) == vars(whole)
    moved = replace(row(), patient="P", spacing=(1.0, 2.0))
    assert moved == replace(whole, patient="P", spacing=(1.0, 2.0)) and moved.age == 62.5
    assert moved.metadata == replace(whole, patient="P", spacing=(1.0, 2.0)).metadata
    assert moved.metadata["content"] != whole.metadata["content"]
    for name in (*LATER, "mark"):
        with pytest.raises(FrozenInstanceError):
            setattr(row(), name, None)
    with pytest.raises(AttributeError):
        _ = row().nothing
    bare = DeepLesionAnnotation("k", "A.png", 2, None)
    assert [getattr(bare, name) for name in LATER] == [None, None, None, None, "", None]


def test_digests_of_known_rows_stay_as_they_were(tmp_path):
    """Stores are resumed by them."""
    row = one_row(
        tmp_path, Patient_index="1", Study_index="2", Series_ID="3", Key_slice_index="109",
        Coarse_lesion_type="-1", Possibly_noisy="0", Spacing_mm_px_="0.8, 0.7, 5",
        Image_size="512, 512", DICOM_windows="-1024, 3071", Train_Val_Test="1",
    )()  # fmt: skip
    assert (row.key, row.metadata["content"]) == ("A#4054b0c8", "8d54ea60")
