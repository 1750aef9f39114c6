"""A table whose rows are made when they are asked for has the rows of one that holds them all."""

import os
import pickle
import random

import pytest

from dsnet.archive.jobs import slice_jobs
from dsnet.data import lines
from dsnet.data.datasets.deeplesion import group_by_file, read_annotations, select
from dsnet.data.datasets.keys import row_content
from dsnet.data.patients import owner_by_table, patients_by, with_patients
from dsnet.data.store.keys import KeyIndex, KeySet
from dsnet.data.tables import LONGEST_FIELD, row_of
from plain_table import plain_annotations, plain_groups, plain_row, plain_with_patients

COLUMNS = (
    "File_name", "Patient_index", "Measurement_coordinates", "Coarse_lesion_type",
    "Possibly_noisy", "Spacing_mm_px_", "DICOM_windows", "Train_Val_Test", "Note",
)  # fmt: skip
NAMES = [
    "A", "A.png", "B.png", "B#2.png", ".png", "", "nameless", "nameless.png", "  C_1.png ",
    "C_1.png", "C_2.png", "C_3.png", "\u00e4\u00f6.png", "\U0001d518.png", '"q", r.png', "P7_x.png",
]  # fmt: skip
MARKS = [
    "20.5, 30, 44.5, 30, 32, 22.25, 32, 38", "20.50,30,44.5,30,32,22.25,32,3.8e1", "1, 2, 3, 4",
    "1,2,3,4,,,,", "9, 9, 10, 9, 1, 5, 1, 6", "1, 2, 3", "nan, 1, 2, 3", "x", "",
    "1_0, 2, 3, 4", "1e10, 2, 3, 4", "-0.0, 2, 3, 4", "0, 2, 3, 4",
]  # fmt: skip
# Lines that are no rows, or not of the header's length.
ODD = [
    "", "   ", "\t", "\x1c", "\u3000 ", "A.png", "A.png,1", '"A.png,1,2', 'A.png,"1', 'A.png,"1""',
    '"A"x,1', 'A"B.png,1,"1, 2, 3, 4",,,,,,', "B.png" + ",7" * 12, "B.png,,x,,,,,,,, ,",
    "C_2.png," + "9" * (LONGEST_FIELD + 1), "C_2.png" + "," * (LONGEST_FIELD + 9), "\x00",
    ",,,,,,,,",
]  # fmt: skip


def quoted(cell, draw):
    if "," in cell or '"' in cell or draw.random() < 0.2:
        return '"' + cell.replace('"', '""') + '"'
    return cell


def random_table(seed, rows=60):
    """A table's bytes, of rows that are of few files, odd lines between them."""
    draw = random.Random(seed)
    columns = list(COLUMNS)
    if draw.random() < 0.5:
        draw.shuffle(columns)
    out = [",".join(columns)]
    for _ in range(rows):
        if draw.random() < 0.25:
            out.append(draw.choice(ODD))
            continue
        said = {
            "File_name": draw.choice(NAMES),
            "Patient_index": draw.choice(["", "7", "H-1", " 8.0 ", "x"]),
            "Measurement_coordinates": draw.choice(MARKS),
            "Coarse_lesion_type": draw.choice(["", "5", "-1", "4", "?"]),
            "Possibly_noisy": draw.choice(["", "0", "1"]),
            "Spacing_mm_px_": draw.choice(["", "0.8, 0.7, 5", "0, 1, 1", "2, 2, 1"]),
            "DICOM_windows": draw.choice(["", "-1500, 500", "-175, 275"]),
            "Train_Val_Test": draw.choice(["", "1", "2", "3"]),
            "Note": draw.choice(["", "a", "b c", 'say "no"']),
        }
        out.append(",".join(quoted(said[name], draw) for name in columns))
    ends = draw.choice([["\n"], ["\r\n"], ["\r"], ["\n", "\r\n", "\r"]])
    text = "".join(line + draw.choice(ends) for line in out)
    if draw.random() < 0.3:
        text = text.rstrip("\r\n")
    if draw.random() < 0.3:
        text = draw.choice(ends) * 2 + text
    return (b"\xef\xbb\xbf" if draw.random() < 0.3 else b"") + text.encode()


def same(found, wanted):
    """By what they say: a row may hold nan."""
    assert [repr(a) for a in found] == [repr(a) for a in wanted]


@pytest.fixture(params=["held", "on disk"])
def place(request, monkeypatch):
    """Where a text lies; on the disk it comes in pieces of a few bytes, too."""
    if request.param == "on disk":
        monkeypatch.setattr(lines, "HELD_BYTES", 0)
        monkeypatch.setattr(lines, "_PART_BYTES", 37)
    return request.param


def seeds(first, quick, whole=12):
    """Numbers of tables: few, or with --long many."""
    return [
        pytest.param(first + i, marks=[] if i < quick else [pytest.mark.long]) for i in range(whole)
    ]


def written(folder, data):
    path = folder / "t.csv"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("seed", seeds(0, 3))
def test_random_tables_say_what_lists_of_their_rows_say(tmp_path, place, seed):
    data = random_table(seed)
    path, plain = written(tmp_path, data), plain_annotations(data)
    table = read_annotations(path)
    assert len(table) == len(plain)
    same(table, plain)
    same((table[i] for i in range(-len(plain), len(plain))), plain + plain)
    for part in (slice(7), slice(5, None), slice(3, 40, 4), slice(None, None, -1), slice(-9, -2)):
        same(table[part], plain[part])
        same(table[part][1:], plain[part][1:])
    with pytest.raises(IndexError):
        table[len(plain)]
    same(read_annotations(path, origin=0), plain_annotations(data, 0))


@pytest.mark.parametrize("seed", seeds(100, 2))
def test_files_of_random_tables_are_grouped_as_of_lists(tmp_path, place, seed):
    data = random_table(seed)
    table, plain = read_annotations(written(tmp_path, data)), plain_annotations(data)
    for part in (slice(None), slice(30), slice(10, None, 3), slice(None, None, -1)):
        groups, wanted = group_by_file(table[part]), plain_groups(plain[part])
        assert [len(group) for group in groups] == [len(group) for group in wanted]
        for group, rows in zip(groups, wanted, strict=True):
            assert group.keys() == [row.key for row in rows]
            assert group.first() == (rows[0].file_name, rows[0].patient)
            same(pickle.loads(pickle.dumps(group)), rows)
            same([group[-1]], rows[-1:])
        same(groups[len(wanted) - 1], wanted[-1])


CHOICES = [
    {},
    {"types": ["lung"]},
    {"types": ["liver", "unknown"], "splits": ["train", "val"]},
    {"include_noisy": False},
    {"min_diameter_mm": 5, "max_diameter_mm": 40},
    {"splits": ["test"], "min_diameter_mm": 20},
]


@pytest.mark.parametrize("seed", seeds(200, 2))
def test_rows_are_chosen_and_named_as_of_lists(tmp_path, place, seed):
    data, rule = random_table(seed), r"^(P7|A|C)"
    table, plain = read_annotations(written(tmp_path, data)), plain_annotations(data)
    named, wanted = with_patients(table, rule), plain_with_patients(plain, patients_by(rule))
    same(named, wanted)
    for choice in CHOICES:
        same(select(table, **choice), select(plain, **choice))
        chosen, of_list = select(named, **choice)[:20], select(wanted, **choice)[:20]
        same(chosen, of_list)
        groups = [pickle.loads(pickle.dumps(group)) for group in group_by_file(chosen)]
        assert list(map(repr, map(list, groups))) == list(map(repr, plain_groups(of_list)))
    for rows, of_list in ((table, plain), (named, wanted), (table[5:30], plain[5:30])):
        ours, theirs = (
            owner_by_table(rows, patients_by("B")),
            owner_by_table(of_list, patients_by("B")),
        )
        assert [ours(n.strip()) for n in NAMES] == [theirs(n.strip()) for n in NAMES]
        assert ours("nobody.png") is None and ours("xB") == "B"


class Asked(KeySet):
    """Keys that are done, as a store's."""

    def __init__(self, keys):
        super().__init__(KeyIndex(self, {}, list), {}, list, more=keys)

    def glob(self, pattern):
        return []


@pytest.mark.parametrize("seed", seeds(300, 2))
def test_jobs_of_a_table_are_those_of_a_list(tmp_path, place, seed):
    data, draw = random_table(seed), random.Random(seed)
    table, plain = read_annotations(written(tmp_path, data)), plain_annotations(data)
    done = {row.key for row in draw.sample(plain, 20)}
    for how in ({}, {"neighbours": 2, "patient": patients_by("H|C")}):
        for rows, of_list in ((table, plain), (table[3:45:2], plain[3:45:2])):
            for keys in (set(), done, Asked(done)):
                ours = list(slice_jobs(rows, tmp_path, table=table, size=32, **how)(keys))
                theirs = list(slice_jobs(of_list, tmp_path, table=plain, size=32, **how)(set(keys)))
                assert [len(job.rows) for job in ours] == [len(job.rows) for job in theirs]
                for job, other in zip(ours, theirs, strict=True):
                    job = pickle.loads(pickle.dumps(job))
                    assert job.rows == list(other.rows) and job.options == other.options
                    same(job.annotations, other.annotations)


def test_rows_come_to_a_worker_as_text(tmp_path):
    """The parent takes none apart: a row's cost there is that of its bytes."""
    table = read_annotations(written(tmp_path, random_table(1)))
    for job in slice_jobs(table, tmp_path)(set()):
        (_, (annotations, *_), *_) = job.__reduce_ex__(4)[:3], (job.annotations,)
        assert annotations._made is None and len(job.rows) == len(annotations)
        assert annotations._made is None


@pytest.mark.parametrize("seed", seeds(400, 5, 40))
def test_odd_lines_are_rows_as_csv_takes_them_apart(seed):
    draw = random.Random(seed)
    pieces = [
        '"',
        '""',
        ",",
        "a",
        " ",
        "b c",
        "\u00e9",
        ",,",
        '","',
        'x"',
        "\x0b",
        "\u2028",
        "\x00",
    ]
    texts = ["".join(draw.choices(pieces, k=draw.randint(1, 9))) for _ in range(50)]
    texts.insert(draw.randrange(50), "z" * (LONGEST_FIELD + 1))
    texts.insert(draw.randrange(50), '"' + "z" * 200_000)
    columns = ["k", "l", "m"]
    for text in texts:
        row = row_of(3, text, columns)
        assert (row.line, row.fields, row.error) == (3, *plain_row(text, columns))


def test_bad_text_is_told_by_its_place_wherever_it_lies(tmp_path, place):
    for data in (
        b"\xff\xfe\x00",
        b"\xef\xbb\xbfa,b\n" + b"x,\xe2\x82\n" * 9,
        b"a\n" * 90 + b"\xe2\x82",
    ):
        with pytest.raises(UnicodeDecodeError) as told:
            data.decode("utf-8-sig")
        with pytest.raises(ValueError) as error:
            read_annotations(written(tmp_path, data))
        assert str(error.value) == f"{tmp_path / 't.csv'}: not a text file in UTF-8: {told.value}"


def test_a_file_that_is_written_to_meanwhile_is_told_and_one_in_its_place_not_seen(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(lines, "HELD_BYTES", 0)
    monkeypatch.setattr(lines, "_PART_BYTES", 64)
    data = random_table(3)
    path, plain = written(tmp_path, data), plain_annotations(data)
    table = read_annotations(path)
    (tmp_path / "other.csv").write_bytes(data[: len(data) // 2])
    os.replace(tmp_path / "other.csv", path)
    same(table, plain)
    table = read_annotations(path)
    with open(path, "ab") as file:
        file.write(b"A.png\n")
    with pytest.raises(ValueError, match=r"t\.csv: was written to while it was read"):
        list(table)
    with pytest.raises(TypeError, match="cannot go to another process"):
        pickle.dumps(table)


def contents_of(rows):
    return [(row.key, row_content(row)) for row in rows]


@pytest.mark.parametrize("seed", seeds(500, 2))
def test_contents_are_those_of_the_rows(tmp_path, place, seed):
    data, draw = random_table(seed), random.Random(seed)
    path, plain = written(tmp_path, data), plain_annotations(data)
    table = read_annotations(path)
    assert list(table.contents()) == contents_of(plain)
    for part in (slice(3, 40), slice(0, 0), slice(None, None, 3), slice(30, None, -2)):
        assert list(table[part].contents()) == contents_of(plain[part])
    rule = draw.choice([r"^([A-C])", r"_(\d)"])
    named = plain_with_patients(plain, patients_by(rule))
    assert list(with_patients(table, rule).contents()) == contents_of(named)


def test_contents_have_every_column_that_counts(tmp_path):
    columns = {
        "File_name": "A.png", "Measurement_coordinates": "1, 2, 3, 4", "Patient_index": "7",
        "Study_index": "2", "Series_ID": "3", "Key_slice_index": "88", "Image_size": "512, 512",
        "Spacing_mm_px_": "0.8, 0.7, 5", "DICOM_windows": "-1500, 500", "Coarse_lesion_type": "5",
        "Possibly_noisy": "1", "Train_Val_Test": "2",
    }  # fmt: skip
    changed = [{**columns, name: "4, 5, 6"} for name in list(columns)[2:]]
    lines = [",".join(columns), *(",".join(f'"{v}"' for v in r.values()) for r in changed)]
    data = "\n".join(lines).encode()
    found = list(read_annotations(written(tmp_path, data)).contents())
    assert found == contents_of(plain_annotations(data))
    assert len({content for _, content in found}) == len(changed)
