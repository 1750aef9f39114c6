"""A table in Parquet says what a CSV file of the same rows does."""

import csv
import io
import math
import os
import random
from decimal import Decimal

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest

from dsnet.archive.again import asked_of
from dsnet.data import lines, parquet_cells, parquet_table
from dsnet.data.datasets.boxes import read_boxes
from dsnet.data.datasets.deeplesion import group_by_file, read_annotations, select
from dsnet.data.marks.tables import is_table, read_marks_table
from dsnet.data.patients import patients_by
from dsnet.data.tables import LONGEST_FIELD
from plain_table import plain_annotations

MARK = [20.5, 30.0, 44.5, 30.0, 32.0, 22.25, 32.0, 38.0]
TEXT = "20.5, 30, 44.5, 30, 32, 22.25, 32, 38"
# What a column of a table in DeepLesion's layout holds, as people have it.
LISTS = [
    MARK, [1, 2, 3, 4], None, [], [1, 2, 3], [9, 9, 10, 9, 1, 5, 1, 6], [1, 2, 3, 4] + [None] * 4,
    [1, 2, 3, 4] + [math.nan] * 4, [-0.0, 2, 3, 4], [1e10, 2, 3, 4], [math.inf, 2, 3, 4],
    [0.1, 1 / 3, 20.7, 1e-7],
]  # fmt: skip
NAMES = ["A.png", "A", "B.png", None, "", '"q", r.png', "äö.png", " C_1.png ", "C_2.png"]


def cell(value):
    """As a CSV file has it; a list between commas."""
    if isinstance(value, list):
        return ",".join(map(cell, value))
    return "" if value is None else str(value)


def csv_of(columns):
    """The bytes of a CSV file, by Python's own writer."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows(
        zip(*([cell(value) for value in column] for column in columns.values()), strict=True)
    )
    return out.getvalue().encode()


def parquet(path, columns, types=(), **options):
    arrays = {n: pa.array(v, dict(types).get(n)) for n, v in columns.items()}
    pq.write_table(pa.table(arrays), path, **options)
    return path


def random_columns(seed, rows=50):
    draw = random.Random(seed)

    def some(values):
        return [draw.choice(values) for _ in range(rows)]

    return {
        "Note": some(["x", None, 'say "no"']),
        "File_name": some(NAMES),
        "Patient_index": some([None, 7, 1, 2**40]),
        "Measurement_coordinates": some(LISTS),
        "Coarse_lesion_type": some([None, 5, -1, 4]),
        "Possibly_noisy": some([True, False, None]),
        "Spacing_mm_px_": some(
            [[0.9, 0.6, 5.0], [0.8, 0.7, 5.0], [0.0, 1.0, 1.0], [2.0, 2.0, 1.0]]
        ),
        "DICOM_windows": some([None, [-1500.0, 500.0], [-175.0, 275.0]]),
        "Image_size": some([None, [512, 512], [64, 32]]),
        "Patient_age": some([None, Decimal("61.00"), Decimal("0.50")]),
        "Train_Val_Test": some([None, 1, 2, 3]),
        "Bounding_boxes": some([None, [1.5, 2.0, 3.0, 4.25]]),
    }


def said(annotations):
    """With keys, rows and errors; a row may hold nan."""
    return [repr(a) for a in annotations]


DOUBLES = pa.list_(pa.float64())


@pytest.mark.parametrize("seed", range(8))
def test_rows_are_those_of_the_csv(tmp_path, seed, monkeypatch):
    monkeypatch.setattr(parquet_cells, "BATCH", 7 + seed)
    columns = random_columns(seed)
    draw, wide = random.Random(seed), seed % 2
    types = {
        "File_name": draw.choice(
            [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())]
        ),
        "Measurement_coordinates": pa.large_list(pa.float64()) if wide else DOUBLES,
        "Spacing_mm_px_": pa.list_(pa.float64(), 3),
        "Coarse_lesion_type": pa.int8() if wide else pa.float64(),
        "Train_Val_Test": pa.dictionary(pa.int8(), pa.int64()) if wide else pa.uint8(),
        "Patient_age": pa.decimal128(6, 2) if wide else None,
    }
    path = parquet(tmp_path / "t.parquet", columns, types.items(), row_group_size=11)
    found, text = read_annotations(path), csv_of(columns)
    wanted = read_annotations("t.csv", data=text)
    assert said(found) == said(wanted) == said(plain_annotations(text))
    assert list(found.contents()) == list(wanted.contents())
    assert [said(g) for g in group_by_file(found)] == [said(g) for g in group_by_file(wanted)]
    chosen = [select(table, types=["lung", "liver"])[:5] for table in (found, wanted)]
    assert said(chosen[0]) == said(chosen[1])


def test_a_row_says_what_it_did(tmp_path):
    columns = {
        "File_name": ["000001_01_01_109.png"],
        "Measurement_coordinates": [MARK],
        "Patient_index": [1.0],
        "Spacing_mm_px_": [[0.75, 0.5, 5.0]],
        "Possibly_noisy": [True],
        "Coarse_lesion_type": [5],
    }
    (row,) = read_annotations(parquet(tmp_path / "a.parquet", columns), origin=0)
    assert row.mark is not None and row.mark.long_axis.tolist() == [[20.5, 30], [44.5, 30]]
    assert row.mark.short_axis is not None
    assert row.mark.short_axis.tolist() == [[32, 22.25], [32, 38]]
    assert (row.row, row.error, row.patient, row.spacing) == (2, "", 1, (0.5, 0.75))
    assert (row.slice_spacing, row.lesion_type, row.possibly_noisy) == (5.0, "lung", True)
    # The key is of the numbers, however they are written.
    columns["Measurement_coordinates"] = [TEXT]
    (text,) = read_annotations("a.csv", data=csv_of(columns), origin=0)
    assert row.key == text.key and row.key.startswith("000001_01_01_109#")


def test_arrows_own_csv_is_the_same(tmp_path):
    table = pa.table(
        {
            "File_name": ["a.png", "b.png", None],
            "Measurement_coordinates": [TEXT, "1,2,3,4", "x"],
            "Patient_index": pa.array([1.0, None, 3.0]),
            "Patient_age": [0.1, 61.0, 1e-7],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    arrow_csv.write_csv(table, tmp_path / "a.csv")
    found, wanted = (read_annotations(tmp_path / name) for name in ("a.parquet", "a.csv"))
    assert said(found) == said(wanted)
    assert [row.error for row in found] == [
        "",
        "",
        "row 4: Measurement_coordinates must be 8 numbers, got 'x'",
    ]


def test_a_missing_number_is_no_patient_of_that_name(tmp_path):
    """Without pandas' metadata a missing one may be NaN; in CSV its text would be a patient."""
    columns: dict = {"File_name": ["a", "b"], "Measurement_coordinates": [TEXT] * 2}
    columns["Patient_index"] = [math.nan, 2.0]
    rows = read_annotations(parquet(tmp_path / "a.parquet", columns))
    assert [row.patient for row in rows] == [None, 2]


def test_a_bad_row_costs_itself(tmp_path):
    names = [
        b"a.png",
        b"b\xe9.png",
        b"c\n.png",
        b"d\r\n.png",
        b"x" * (LONGEST_FIELD + 1),
        b"",
        b"f",
    ]
    columns = {
        "File_name": names,
        "Measurement_coordinates": [TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, "1,2,\n3,4"],
    }
    rows = read_annotations(parquet(tmp_path / "a.parquet", columns))
    assert [row.row for row in rows] == [2, 3, 4, 5, 6, 7, 8]
    assert [row.file_name for row in rows[:4]] == ["a.png", r"b\xe9.png", r"c\n.png", r"d\r\n.png"]
    assert [row.error for row in rows] == [
        "", "", "", "",
        f"row 6: fields must be of at most {LONGEST_FIELD} characters, got {LONGEST_FIELD + 1}",
        "row 7: File_name is empty",
        r"row 8: Measurement_coordinates must be 8 numbers, got '1,2,\\n3,4'",
    ]  # fmt: skip


def test_only_what_is_read_has_to_be_in_order(tmp_path):
    nested = pa.array([{"bytes": b"\x00"}])
    table = pa.table(
        {"image": nested, "File_name": ["a"], "Measurement_coordinates": [TEXT], "v": [[[1.0]]]}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    (row,) = read_annotations(tmp_path / "a.parquet")
    assert row.error == "" and row.file_name == "a"
    pq.write_table(table.drop_columns(["File_name"]), tmp_path / "b.parquet")
    told = (
        r"b.parquet: column File_name is missing; the table has \['image', "
        r"'Measurement_coordinates', 'v'\]"
    )
    with pytest.raises(ValueError, match=told):
        read_annotations(tmp_path / "b.parquet")
    pq.write_table(table.select(["v"]), tmp_path / "c.parquet")
    with pytest.raises(ValueError, match=r"File_name, Measurement_coordinates is missing"):
        read_annotations(tmp_path / "c.parquet")


@pytest.mark.parametrize(
    "values", [[{"x": 1.0}], [[[1.0]]], pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8()))]
)
def test_a_nested_column_is_told(tmp_path, values):
    columns = {"File_name": ["a"], "Measurement_coordinates": values}
    told = (
        r"a.parquet: column Measurement_coordinates must be of text, numbers or lists of them, "
        r"got (struct|list|map)<"
    )
    with pytest.raises(ValueError, match=told):
        read_annotations(parquet(tmp_path / "a.parquet", columns))


def test_what_is_no_parquet_is_told(tmp_path):
    columns = {"File_name": ["a"] * 99, "Measurement_coordinates": [TEXT] * 99}
    good = parquet(tmp_path / "a.parquet", columns).read_bytes()
    bad = {
        "empty": b"",
        "csv": csv_of(columns),
        "cut": good[:-9],
        "begun": good[:4],
        "head": b"PARE" + good[4:-4] + b"PARE",
    }
    checks = {"write_page_checksum": True, "use_dictionary": False, "compression": "none"}
    checked = bytearray(parquet(tmp_path / "c.parquet", columns, **checks).read_bytes())
    checked[checked.index(TEXT.encode(), len(checked) // 3)] ^= 1  # One of its many cells.
    bad["inside"] = bytes(checked)
    for name, data in bad.items():
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(data)
        with pytest.raises(ValueError, match=rf"{name}.parquet: no Parquet can be read: ") as told:
            read_annotations(path)
        assert "\n" not in str(told.value)
    # By its first bytes, whatever its name.
    (tmp_path / "t.csv").write_bytes(good)
    assert len(read_annotations(tmp_path / "t.csv")) == 99
    pq.write_table(pa.table(columns).slice(0, 0), tmp_path / "none.parquet")
    assert list(read_annotations(tmp_path / "none.parquet")) == []
    doubled = pa.table([pa.array(["a"]), pa.array(["b"])], [" File_name", "File_name"])
    pq.write_table(doubled, tmp_path / "d.parquet")
    with pytest.raises(ValueError, match=r"d.parquet: column File_name comes more than once"):
        read_annotations(tmp_path / "d.parquet")


def test_an_encrypted_one_is_told(tmp_path):
    import pyarrow.parquet.encryption as encryption

    class Plain(encryption.KmsClient):
        def wrap_key(self, key_bytes, master_key_identifier):
            return key_bytes.hex()

        def unwrap_key(self, wrapped_key, master_key_identifier):
            return bytes.fromhex(wrapped_key)

    how = encryption.EncryptionConfiguration(
        footer_key="k", column_keys={"k": ["File_name"]}, plaintext_footer=False
    )
    factory = encryption.CryptoFactory(lambda config: Plain())
    secret = factory.file_encryption_properties(encryption.KmsConnectionConfig(), how)
    columns = {"File_name": ["a"], "Measurement_coordinates": [TEXT]}
    path = parquet(tmp_path / "a.parquet", columns, encryption_properties=secret)
    with pytest.raises(ValueError, match=r"a.parquet: no Parquet can be read: .*ncrypt"):
        read_annotations(path)


def test_a_folder_is_its_files_in_order(tmp_path):
    columns, folder = random_columns(5), tmp_path / "t"
    folder.mkdir()
    types = {"Measurement_coordinates": DOUBLES}
    for part, begin in (("a", 0), ("b", 20), ("c", 20)):
        some = {name: v[begin : {"a": 20, "b": 20, "c": 50}[part]] for name, v in columns.items()}
        if part == "c":
            some = dict(sorted(some.items()))
        parquet(folder / f"{part}.parquet", some, types.items())
    (folder / "_SUCCESS").touch()
    (folder / ".a.parquet.crc").touch()
    found = read_annotations(folder)
    assert said(found) == said(plain_annotations(csv_of(columns))) and found[-1].row == 51
    asked = asked_of([str(folder)], {})
    assert asked and asked == asked_of([str(folder)], {})
    parquet(folder / "c.parquet", {"File_name": ["a"], "Measurement_coordinates": [MARK]})
    assert asked_of([str(folder)], {}) not in ("", asked)
    with pytest.raises(ValueError, match=r"c.parquet: must have the columns .*, differs in Bound"):
        read_annotations(folder)
    for name, make in (("d.csv", os.mknod), ("d.parquet", os.mkdir)):
        make(folder / name)
        told = rf"t: a folder must hold files of Parquet and nothing else, got {name}"
        with pytest.raises(ValueError, match=told):
            read_annotations(folder)
        assert asked_of([str(folder)], {}) == ""
        (os.rmdir if make is os.mkdir else os.remove)(folder / name)
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="none: a folder must hold files of Parquet"):
        read_annotations(tmp_path / "none")


def test_one_at_an_address(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    columns = {"File_name": ["a", "b"], "Measurement_coordinates": [MARK, [1.0, 2, 3, 4]]}
    data = parquet(tmp_path / "a.parquet", columns).read_bytes()
    here, system = said(read_annotations(tmp_path / "a.parquet")), fsspec.filesystem("memory")
    system.pipe_file("/parquet-table/marks/0.parquet", data)
    system.pipe_file("/parquet-table/marks/_SUCCESS", b"")
    try:
        for name in ("marks/0.parquet", "marks", "marks/"):
            assert said(read_annotations(f"memory://parquet-table/{name}")) == here
        with pytest.raises(ValueError, match="parquet-table/other: No such file"):
            read_annotations("memory://parquet-table/other")
    finally:
        system.rm("/parquet-table", recursive=True)


def test_a_large_one_is_kept_on_the_disk(tmp_path, monkeypatch):
    columns = random_columns(2, rows=300)
    path = parquet(tmp_path / "a.parquet", columns, {"Measurement_coordinates": DOUBLES}.items())
    wanted = said(read_annotations(path))
    monkeypatch.setattr(parquet_table, "HELD_BYTES", 1000)
    monkeypatch.setattr(lines, "HELD_BYTES", 1000)
    found = read_annotations(path)
    before = os.stat(path).st_size
    assert said(found) == wanted and len(wanted) == 300 and before > 1000
    # The file is not needed any more.
    path.unlink()
    assert said(found) == wanted
    monkeypatch.setattr(parquet_table, "MOST_BYTES", 2000)
    parquet(path, columns)
    with pytest.raises(ValueError, match=r"a.parquet: must be of at most 2000 bytes as CSV"):
        read_annotations(path)


def test_a_pipe(tmp_path):
    columns = {"File_name": ["a"], "Measurement_coordinates": [MARK]}
    data = parquet(tmp_path / "a.parquet", columns).read_bytes()
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    try:
        (row,) = read_annotations(f"/dev/fd/{reading}")
    finally:
        os.close(reading)
    assert row.file_name == "a" and row.error == ""


def test_other_tables(tmp_path):
    boxes = {"Image": ["a.png", "b.png"], "X0": [1, 5.5], "y0": [2, 6], "x1": [9, 8], "y1": [9, 9]}
    boxes["spacing_mm"] = [[0.5, 0.75], [1.0]]
    (tmp_path / "b.csv").write_bytes(csv_of(boxes))
    parquet(tmp_path / "b.parquet", boxes)
    found, wanted = (read_boxes(tmp_path / name) for name in ("b.parquet", "b.csv"))
    assert said(found) == said(wanted) and found[0].spacing == (0.5, 0.75)
    parquet(tmp_path / "p.parquet", {"File": ["a.png"], "PatientID": ["P1"], "n": [None]})
    assert patients_by(str(tmp_path / "p.parquet"))("a.png") == "P1"
    marks = {"File_name": ["a.png", "b"], "Measurement_coordinates": [MARK, [1.0]]}
    data, refused = parquet(tmp_path / "m.parquet", marks).read_bytes(), []
    (mark,) = read_marks_table("m.parquet", data, refused, origin=0)
    assert is_table(data) and mark.long_axis is not None
    assert mark.long_axis.tolist() == [[20.5, 30], [44.5, 30]]
    told = "row 3: Measurement_coordinates must be 8 numbers, or 4 of a long axis alone, got 1"
    assert refused == [("m.parquet", told)]
