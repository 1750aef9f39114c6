"""Every line of a table is a row, by number, or the table is refused by name."""

import os
import tracemalloc

import pytest

from dsnet.data.datasets.boxes import read_boxes
from dsnet.data.datasets.deeplesion import read_annotations
from dsnet.data.picture_file import read_regular_file
from dsnet.data.tables import LONGEST_FIELD, read_table

HEADER = "File_name,Measurement_coordinates,Spacing_mm_px_\n"


def line(number, name="", mark="20, 30, 44, 30, 32, 22, 32, 38"):
    return f'{name or f"s_{number}.png"},"{mark}","0.7, 0.7, 5"\n'


def written(folder, text):
    path = folder / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("stray", ['"s_50.png,', 's_50.png,"', 's_50.png,""", ', '"s_50.png"x,'])
def test_a_stray_quote_costs_its_line_alone(tmp_path, stray):
    lines = [line(number) for number in range(200)]
    lines[50] = lines[50].replace("s_50.png,", stray)
    rows = read_annotations(written(tmp_path, HEADER + "".join(lines)))
    assert [row.row for row in rows] == list(range(2, 202))
    assert [row.row for row in rows if row.error] == [52]
    assert all(row.file_name == f"s_{row.row - 2}.png" for row in rows if not row.error)


def test_two_stray_quotes_swallow_nothing_between(tmp_path):
    lines = [f"s_{n}.png,1,1,9,{n + 5}\n" for n in range(100)]
    lines[10], lines[90] = '"' + lines[10], lines[90].replace(".png,", '.png",')
    rows = read_boxes(written(tmp_path, "file,x0,y0,x1,y1\n" + "".join(lines)))
    assert len(rows) == 100 and [row.row for row in rows if row.mark is None] == [12]
    # The quote at the end of a name is the name's: no such file, which reading tells.
    assert rows[90].file_name == 's_90.png"'


def test_a_field_over_several_lines_costs_these(tmp_path):
    text = HEADER + line(0) + 's_1.png,"20, 30, 44, 30,\n32, 22, 32, 38","0.7, 0.7, 5"\n' + line(2)
    rows = read_annotations(written(tmp_path, text))
    assert [(row.row, bool(row.error)) for row in rows] == [
        (2, False), (3, True), (4, True), (5, False),
    ]  # fmt: skip


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028"])
def test_other_line_separators_are_part_of_a_name(tmp_path, separator):
    name = f"a{separator}b.png"
    rows = read_annotations(written(tmp_path, HEADER + line(0, name) + line(1)))
    assert [row.file_name for row in rows] == [name, "s_1.png"]
    assert not any(row.error for row in rows)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_end_as_systems_end_them(tmp_path, ending):
    text = (HEADER + line(0) + "\n" + line(1)).replace("\n", ending)
    rows = read_annotations(written(tmp_path, text))
    assert [row.row for row in rows] == [2, 4] and not any(row.error for row in rows)


def test_a_row_of_another_length_is_told(tmp_path):
    text = HEADER + "a.png,20, 30, 44, 30, 32, 22, 32, 38\n" + "b.png\n" + line(2).strip() + ",,\n"
    rows = read_annotations(written(tmp_path, text))
    assert rows[0].error == "row 2: must have 3 fields as the header, got 9"
    assert rows[1].error == "row 3: must have 3 fields as the header, got 1"
    assert [row.file_name for row in rows] == ["a.png", "b.png", "s_2.png"] and not rows[2].error


@pytest.mark.parametrize("length", [LONGEST_FIELD + 1, 140_000])
def test_endless_fields_cost_their_row(tmp_path, length):
    rows = read_annotations(written(tmp_path, HEADER + line(0, "a" * length) + line(1)))
    assert len(rows) == 2 and len(rows[0].error) < 200 and not rows[1].error
    with pytest.raises(ValueError, match=r"t\.csv: line 1, the header"):
        read_annotations(written(tmp_path, "a" * 140_000 + "\n" + line(0)))


def test_a_column_twice_is_refused_by_name(tmp_path):
    header = "File_name,Measurement_coordinates,Measurement_coordinates\n"
    with pytest.raises(ValueError, match=r"t\.csv: column Measurement_coordinates comes more than"):
        read_annotations(written(tmp_path, header + line(0)))
    with pytest.raises(ValueError, match=r"t\.csv: column x0 comes more than once"):
        read_boxes(written(tmp_path, "file,x0,y0,x1,y1,X0\na.png,1,1,9,9,2\n"))


def test_what_is_no_table_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"t\.csv: not a text file in UTF-8"):
        read_table(written(tmp_path, b"file\n\xe9.png\n"))
    with pytest.raises(ValueError, match=r"t\.csv: line 1, the header"):
        read_table(written(tmp_path, 'file,"x\n'))
    # Of a spreadsheet where the comma is the decimal's; the header may be a long one.
    for divider, told in ((";", "semicolons"), ("\t", "tabs")):
        for read in (read_annotations, read_boxes):
            text = (HEADER.strip() + ",more" * 60 + "\n" + line(0)).replace(",", divider)
            with pytest.raises(ValueError, match=f"header: names .* commas, got {told}"):
                read(written(tmp_path, text))
    with pytest.raises(ValueError, match="must be a regular file"):
        read_table("/dev/zero")
    with pytest.raises(ValueError, match=r"must hold files of Parquet .*, got t\.csv"):
        read_table(tmp_path)
    (row,) = read_table(written(tmp_path, b"\xef\xbb\xbfa , b\n1,2")).rows
    assert row.fields == {"a": "1", "b": "2"}


def test_a_pipe_of_a_shell_is_read(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b"a,b\n1,2\n")
    os.close(writing)
    try:
        (row,) = read_table(f"/dev/fd/{reading}").rows
        assert row.fields == {"a": "1", "b": "2"}
    finally:
        os.close(reading)


def test_rows_are_taken_apart_as_they_are_asked_for_and_again(tmp_path):
    rows = read_table(written(tmp_path, "\n a,b\r\n1,2\r\n\r\n  \n3\n4,5")).rows
    wanted = [(3, {"a": "1", "b": "2"}), (6, {"a": "3"}), (7, {"a": "4", "b": "5"})]
    assert len(rows) == 3 and [(row.line, row.fields) for row in rows] == wanted
    assert [(row.line, row.fields) for row in rows] == wanted
    none = read_table(written(tmp_path, "\n\n")).rows
    assert len(none) == 0 and list(none) == []


def test_a_small_file_asks_for_little_memory(tmp_path):
    path = written(tmp_path, HEADER + line(0))
    tracemalloc.start()
    try:
        rows = read_annotations(path)
        assert len(read_regular_file(path, 2**31)) == path.stat().st_size
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(rows) == 1 and most < 2**22
