"""`label recist` over a table in Parquet: the store is the one that its CSV file gives."""

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest

from bench.common.broken_archive import write_archive
from dsnet import label
from dsnet.data.datasets import deeplesion
from dsnet.data.store import open_store
from label_command import content

ROWS = 8


def typed(table):
    """Lists of numbers in the place of their text."""
    for at, name in enumerate(table.column_names):
        texts = table[name].to_pylist()
        if all(isinstance(text, str) and "," in text for text in texts):
            numbers = [[float(number) for number in text.split(",")] for text in texts]
            table = table.set_column(at, name, pa.array(numbers))
    return table


@pytest.fixture
def begun(tmp_path):
    """A folder of Parquet, the store of three rows of the CSV file, and the words to go on."""
    archive = write_archive(tmp_path / "a", ROWS, 0.0, seed=0, marks=4, slices=1)
    words = ["--images", str(archive.images), "--crop", "16", "--out"]
    words = ["recist", "--annotations", str(archive.table), *words]
    assert label.main([*words, str(tmp_path / "whole")]) == 0
    assert label.main([*words, str(tmp_path / "store"), "--limit", "3"]) == 0
    table = typed(arrow_csv.read_csv(archive.table))
    assert pa.list_(pa.float64()) in table.schema.types
    folder = tmp_path / "marks"
    folder.mkdir()
    pq.write_table(table.slice(0, 5), folder / "0.parquet")
    pq.write_table(table.slice(5), folder / "1.parquet")
    words[2] = str(folder)
    return folder, [*words, str(tmp_path / "store"), "--resume"]


def test_a_store_of_csv_is_resumed_from_parquet(begun, tmp_path, capsys, monkeypatch):
    _, words = begun
    capsys.readouterr()
    assert label.main(words) == 0
    told = capsys.readouterr()
    assert "are labelled from" not in told.out + told.err
    assert "not in the table" not in told.out + told.err
    whole, store = (open_store(tmp_path / name) for name in ("whole", "store"))
    assert content(store.path) == content(whole.path) and len(store) == ROWS
    assert [r.metadata for r in store] == [r.metadata for r in whole]
    # The same files again: nothing of them is read.
    monkeypatch.setattr(deeplesion, "read_annotations", None)
    assert label.main(words) == 0
    assert f"{ROWS} rows are in the store already" in capsys.readouterr().out


def test_what_has_changed_in_it_is_told(begun, capsys):
    folder, words = begun
    assert label.main(words) == 0
    part = pq.read_table(folder / "0.parquet")
    at = part.column_names.index("Spacing_mm_px_")
    part = part.set_column(at, "Spacing_mm_px_", pa.array([[0.7, 0.7, 5.0]] * len(part)))
    pq.write_table(part, folder / "0.parquet")
    capsys.readouterr()
    assert label.main(words) == 0
    assert "5 rows are labelled from other columns" in capsys.readouterr().out


def test_a_folder_without_a_table_is_told_in_a_line(begun, capsys):
    folder, words = begun
    (folder / "1.parquet").rename(folder / "1.csv")
    assert label.main(words) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "files of Parquet and nothing else, got 1.csv" in told
    words[2] = str(folder / "none")
    assert label.main(words) == 2
    assert "--annotations must be a file, there is none at" in capsys.readouterr().err
