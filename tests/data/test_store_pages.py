"""Rows of a shard that are read one by one, by their planes' pages: those that pyarrow reads."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dsnet.data.store import LabelRecord
from dsnet.data.store.pages import Unknown, pages_of, value_at
from dsnet.data.store.record import encode, usual_score_columns
from dsnet.data.store.shards import OpenShard, write_parquet
from dsnet.data.store.stage import Recipe, ShardBuilder


def record(rng, number: int, most: int) -> LabelRecord:
    """Any kind of row: labelled, with raters, failed with and without an image."""
    key, shape = f"k{number}", tuple(rng.integers(1, most, 2))
    alpha = (rng.random(shape) * (rng.random() < 0.8)).astype(np.float32)
    kind = rng.integers(6)
    if kind == 0:
        return LabelRecord.from_error(key, "s", "no")
    if kind == 1:
        return LabelRecord(key, status="failed", error="x", image=alpha)
    found = LabelRecord(
        key,
        image=rng.random(shape).astype(np.float32),
        alpha=alpha,
        binary=alpha >= 0.5,
        trimap=rng.choice(np.array([0, 128, 255], np.uint8), shape),
        metadata={"number": number},
    )
    if kind == 2:
        found.truth = alpha >= 0.4
    if kind == 3:
        found.readers, found.neighbours = alpha, np.stack([alpha, alpha])
    return found


def shard(path, rng, rows: int, most: int, bits: int = 16) -> list[dict]:
    """Write a shard; the column values of its rows."""
    builder = ShardBuilder(Recipe(str(path.parent), bits, b"{}"))
    records = [record(rng, number, most) for number in range(rows)]
    for one in records:
        builder.append(one)
    write_parquet(path, builder.made(usual_score_columns())[0])
    return [encode(one, bits) for one in records]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("rows", "most"), [(1, 9), (32, 9), (33, 40), (129, 70), (300, 8)])
def test_every_row_is_what_was_encoded_and_what_pyarrow_reads(tmp_path, bits, rows, most):
    wanted = shard(tmp_path / "s", np.random.default_rng(rows), rows, most, bits)
    whole = pq.read_table(tmp_path / "s").to_pylist()
    opened = OpenShard(tmp_path / "s")
    for number in {0, rows - 1, *np.random.default_rng(0).permutation(rows)[:60].tolist()}:
        row = opened.row(number)
        assert row == whole[number]
        assert {name: row[name] for name in wanted[number]} == wanted[number]
    opened.close()


def chunk_of(path, name: str):
    source = pa.OSFile(str(path))
    group = pq.ParquetFile(source).metadata.row_group(0)
    chunks = {group.column(n).path_in_schema: group.column(n) for n in range(group.num_columns)}
    return source, chunks[name]


def test_a_group_has_many_pages_and_one_is_read_alone(tmp_path):
    wanted = shard(tmp_path / "s", np.random.default_rng(1), 128, 70)
    source, chunk = chunk_of(tmp_path / "s", "image")
    pages = pages_of(source, chunk)
    assert len(pages) > 2 and sum(page.rows for page in pages) == 128
    read = []

    class Counted:
        def read_at(self, count, offset):
            read.append(count)
            return source.read_at(count, offset)

    assert value_at(Counted(), pages, 127) == wanted[127]["image"]
    assert read == [pages[-1].length]


@pytest.mark.parametrize("name", ["image", "trimap"])
def test_any_changed_byte_of_a_column_is_told_or_changes_nothing(tmp_path, name):
    rng = np.random.default_rng(2)
    wanted = shard(tmp_path / "s", rng, 40, 12)
    data = (tmp_path / "s").read_bytes()
    _, chunk = chunk_of(tmp_path / "s", name)
    begin, length = chunk.data_page_offset, chunk.total_compressed_size
    places = {*range(40), *rng.integers(0, length, 60).tolist()}
    told = 0
    for at in places:
        changed = bytearray(data)
        changed[begin + at] ^= int(rng.integers(1, 256))
        (tmp_path / "changed").write_bytes(changed)
        opened = OpenShard(tmp_path / "changed")
        for number in (0, 20, 39):
            try:
                row = opened.row(number)
            except ValueError as error:
                assert "damaged" in str(error)
                told += 1
            else:
                assert row[name] == wanted[number][name]
        opened.close()
    assert told > 50


def test_columns_of_another_kind_are_left_to_pyarrow(tmp_path):
    values = [bytes([n]) * n for n in range(1, 60)]
    table = pa.table({"image": pa.array(values, pa.binary())})
    for options in (
        {"compression": "zstd"},
        {"compression": "lz4", "use_dictionary": True},
        {"compression": "lz4", "use_dictionary": False, "data_page_version": "2.0"},
        {"compression": "lz4", "use_dictionary": False, "write_page_checksum": False},
    ):
        pq.write_table(table, tmp_path / "s", **{"write_page_checksum": True, **options})
        source, chunk = chunk_of(tmp_path / "s", "image")
        with pytest.raises(Unknown):
            pages_of(source, chunk)
        opened = OpenShard(tmp_path / "s")
        assert [opened.row(n)["image"] for n in range(59)] == values
        opened.close()


def test_nulls_in_runs_and_in_turns_are_found(tmp_path):
    rng = np.random.default_rng(3)
    for there in (np.ones(90), np.zeros(90), np.arange(90) % 2, np.arange(90) > 70, rng.random(90)):
        values = [bytes([n]) * n if given > 0.5 else None for n, given in enumerate(there)]
        table = pa.table({"image": pa.array(values, pa.binary())})
        options = {"use_dictionary": False, "write_statistics": False, "data_page_size": 200}
        pq.write_table(
            table, tmp_path / "s", compression="lz4", write_page_checksum=True,
            write_batch_size=4, **options,
        )  # fmt: skip
        source, chunk = chunk_of(tmp_path / "s", "image")
        pages = pages_of(source, chunk)
        assert [value_at(source, pages, number) for number in range(90)] == values
