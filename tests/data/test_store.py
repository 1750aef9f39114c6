"""The label store: what goes in comes out, row by row, as a table and in other engines."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dsnet.data.store import LabelRecord, StoreWriter, open_store, validate_store
from dsnet.data.store.codes import dequantise, quantise
from dsnet.data.store.manifest import MANIFEST, OLD_MANIFEST
from dsnet.data.store.record import ARRAY_COLUMNS
from dsnet.labeling import RecistMark


def make(key="a", shape=(12, 10), seed=0, **changes):
    random = np.random.default_rng(seed)
    alpha = random.random(shape, dtype=np.float32)
    fields = {
        "key": key,
        "source": "series/001.png",
        "image": random.random(shape, dtype=np.float32),
        "alpha": alpha,
        "binary": alpha >= 0.5,
        "trimap": random.choice(np.array([0, 128, 255], np.uint8), shape),
        "mark": random.random(8) * 10,
        "spacing": (0.7, 0.8),
        "offset": (101.5, -3.0),
        "scale": (1.25, 1.0),
        "quality": {"overall": 0.75, "cut": 1.0},
        "seconds": {"cut": 0.001, "matting": 0.02},
        "notes": ("axes do not cross",),
        "metadata": {"patient": "P 1", "type": 5},
    }
    return LabelRecord(**{**fields, **changes})


def failed(key, error="truncated PNG"):
    return LabelRecord.from_error(key, "series/002.png", ValueError(error))


def write(path, records, settings=None, **options):
    # Shards by their rows: time is the machine's.
    with StoreWriter(path, settings or {"crop": 64}, shard_seconds=1e9, **options) as writer:
        for record in records:
            writer.append(record)
    return open_store(path)


@pytest.mark.parametrize("alpha_bits", [8, 16])
def test_round_trip(tmp_path, alpha_bits):
    record = make(metadata={"note": "früh 结节", "nested": {"a": [1, 2.5, None]}, "nan": np.nan})
    back = write(tmp_path / "store", [record], alpha_bits=alpha_bits).read("a")
    assert np.abs(back.image - record.image).max() <= 0.5 / 65535 + 1e-7
    assert np.abs(back.alpha - record.alpha).max() <= 0.5 / (2**alpha_bits - 1) + 1e-7
    assert back.image.dtype == back.alpha.dtype == np.float32
    assert back.binary.dtype == bool
    assert np.array_equal(back.binary, record.binary)
    assert np.array_equal(back.binary, back.alpha >= 0.5)
    assert np.array_equal(back.trimap, record.trimap)
    assert np.array_equal(back.mark, record.mark)
    for name in ("key", "source", "status", "error", "spacing", "offset", "scale"):
        assert getattr(back, name) == getattr(record, name), name
    assert (back.quality, back.seconds, back.notes) == (
        record.quality,
        record.seconds,
        record.notes,
    )
    assert back.metadata == {"note": "früh 结节", "nested": {"a": [1, 2.5, None]}, "nan": None}


def test_a_mark_without_its_short_axis_comes_back(tmp_path):
    marks = [np.arange(8.0), np.array([1.5, 2, 3, 4, *[np.nan] * 4]), None]
    records = [make(f"{i}", mark=mark) for i, mark in enumerate(marks)]
    store = write(tmp_path / "store", records)
    for record, mark in zip(store.records(), marks, strict=True):
        assert (record.mark is None) == (mark is None)
        assert mark is None or np.array_equal(record.mark, mark, equal_nan=True)
    assert store.table(["mark"]).to_pydict()["mark"][1] == [1.5, 2, 3, 4, None, None, None, None]
    assert RecistMark.from_coordinates(store.read("1").mark).short_axis is None
    assert store.validate() == []


@pytest.mark.parametrize("bits", [8, 16])
@given(values=arrays.arrays(np.float32, 64, elements=st.floats(0, 1, width=32)))
def test_quantising_keeps_the_binary_mask(bits, values):
    near = np.float32(0.5) + np.arange(-8, 8, dtype=np.float32) * np.float32(2**-25)
    values = np.concatenate([values, near])
    back = dequantise(quantise(values, bits), bits)
    assert np.array_equal(back >= 0.5, values >= 0.5)
    assert np.abs(back.astype(float) - values).max() <= 0.5 / (2**bits - 1) + 2**-25
    # What was stored once is stored the same again.
    assert np.array_equal(quantise(back, bits), quantise(values, bits))


def test_mixed_sizes_and_access(tmp_path):
    shapes = [(5 + i % 3, 7 + i % 4) for i in range(150)]
    records = [make(f"k{i}", shape, seed=i) for i, shape in enumerate(shapes)]
    store = write(tmp_path, records, shard_rows=70)
    assert [s["rows"] for s in store.manifest["shards"]] == [70, 70, 10]
    assert len(store) == 150
    for index in (0, 63, 64, 69, 70, 139, 140, 149):
        for record in (store.read(index), store.read(f"k{index}"), store.read(index - 150)):
            assert record.key == f"k{index}"
            assert record.binary.shape == shapes[index]
            assert np.array_equal(record.binary, records[index].binary)
    assert [record.key for record in store] == [record.key for record in records]
    assert "k3" in store and "x" not in store
    with pytest.raises(KeyError, match="'x'"):
        store.read("x")
    for index in (150, -151):
        with pytest.raises(IndexError, match="150"):
            store.read(index)
    with pytest.raises(ValueError, match="one size"):
        store.arrays()
    assert store.validate() == []


def test_arrays_are_stacked(tmp_path):
    records = [make(f"k{i}", seed=i) for i in range(3)]
    store = write(tmp_path, [records[0], failed("bad"), *records[1:]])
    keys, images, alphas, binaries, trimaps = store.arrays()
    assert keys == ["k0", "k1", "k2"]
    assert images.shape == alphas.shape == binaries.shape == (3, 12, 10)
    assert binaries.dtype == bool and images.dtype == np.float32
    assert np.array_equal(trimaps, [record.trimap for record in records])
    assert np.array_equal(binaries, [record.binary for record in records])


def test_unicode_keys_and_paths(tmp_path):
    keys = ["a/b", "ключ", "结节 7", "a'\"\n"]
    path = tmp_path / "хранилище ü"
    store = write(path, [make(key) for key in keys])
    assert store.keys == keys
    assert store.read("结节 7").key == "结节 7"
    assert store.validate() == []


def test_empty_store(tmp_path):
    store = write(tmp_path, [])
    assert len(store) == 0
    assert store.manifest["counts"] == {"rows": 0, "ok": 0, "failed": 0}
    assert list(store.records()) == []
    assert store.table().num_rows == 0
    assert {"key", "status", "quality_overall"} <= set(store.table().column_names)
    assert store.validate() == []
    with pytest.raises(ValueError, match="one size"):
        store.arrays()


def test_failed_only_store(tmp_path):
    store = write(tmp_path, [failed("a"), failed("b", "NaN coordinates")])
    assert store.manifest["counts"] == {"rows": 2, "ok": 0, "failed": 2}
    record = store.read("b")
    assert (record.status, record.error, record.image) == ("failed", "NaN coordinates", None)
    assert store.table(["error"])["error"].to_pylist() == ["truncated PNG", "NaN coordinates"]
    assert store.validate() == []


def test_records_of_crops_and_labels(tmp_path):
    full = make()
    mark = RecistMark.from_coordinates([2, 2, 9, 9, 4, 6, 6, 4])
    crop = SimpleNamespace(
        image=full.image,
        mark=mark,
        spacing=full.spacing,
        masks=None,
        key="crop",
        source="s.png",
        offset=(4.0, 5.0),
        scale=(1.0, 1.0),
        metadata={"slice": np.int64(7)},
        notes=("the mask was grey",),
        neighbours=np.stack([full.image, 1 - full.image]),
    )
    record = LabelRecord.from_label(crop, full)
    error = LabelRecord.from_error("bad", "s.png", ValueError("flat"), crop=crop)
    store = write(tmp_path, [record, error])
    assert np.array_equal(store.read("crop").mark, mark.coordinates)
    assert store.read("crop").metadata == {"slice": 7}
    assert store.read("crop").notes == ("the mask was grey", "axes do not cross")
    assert store.read("bad").notes == ("the mask was grey",)
    assert store.read("bad").image.shape == (12, 10)
    assert store.read("bad").alpha is None
    assert LabelRecord.from_error("k", "s", KeyError()).error == "KeyError"


def test_file_names_that_are_no_unicode(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    record = make(source=Path(name), notes=(name,), metadata={"file": name})
    error = LabelRecord.from_error("b", name, OSError(name))
    store = write(tmp_path, [record, error], {"images": name})
    assert store.manifest["settings"] == {"images": name}
    assert store.read("a").source == store.read("b").error == "caf\\udce9.png"
    assert store.read("a").metadata == {"file": name}


@pytest.mark.parametrize("image", [np.full((3, 3), np.nan), np.ones(3), np.full((2, 2), 9.0)])
def test_failed_row_does_without_an_image_that_is_wrong(tmp_path, image):
    crop = make(image=image, mark=None)
    record = LabelRecord.from_error("b", "s.png", "bad crop", crop=crop)
    assert write(tmp_path, [record]).read("b").image is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": None}, "alpha must be given"),
        ({"image": np.zeros((3, 3))}, "one shape"),
        ({"image": np.full((12, 10), 1.5)}, "image must lie in 0..1"),
        ({"alpha": np.full((12, 10), np.nan)}, "alpha must lie in 0..1"),
        ({"binary": np.zeros((12, 10), bool)}, "binary must be alpha"),
        ({"trimap": np.full((12, 10), 7, np.uint8)}, "trimap must hold"),
        ({"image": np.zeros((0, 3))}, "image must be"),
        ({"mark": np.zeros(7)}, "mark must be 8"),
        ({"mark": np.full(8, np.nan)}, "mark must be finite"),
        ({"mark": [1, 2, 3, 4, np.nan, np.nan, 5, np.nan]}, "mark must be finite"),
        ({"mark": [1, 2, 3, np.inf, np.nan, np.nan, np.nan, np.nan]}, "mark must be finite"),
        ({"scale": (1.0, 0.0)}, "scale must be 2 finite numbers above 0"),
        ({"offset": (np.inf, 0.0)}, "offset must be 2 finite numbers"),
        ({"spacing": (1.0,)}, "spacing must be 2"),
        ({"status": "fine"}, "status must be"),
        ({"key": ""}, "key must not"),
        ({"key": "a\udc80"}, "key must be valid Unicode"),
    ],
)
def test_wrong_records_are_refused_and_leave_no_trace(tmp_path, changes, message):
    with StoreWriter(tmp_path, {}) as writer:
        with pytest.raises(ValueError, match=message):
            writer.append(make(**changes))
        assert writer.done == set()
        writer.append(make())
    assert open_store(tmp_path).keys == ["a"]


def test_wrong_types_are_refused(tmp_path):
    with StoreWriter(tmp_path / "s", {}) as writer:
        with pytest.raises(TypeError, match="key"):
            writer.append(make(key=7))
        with pytest.raises(TypeError, match="metadata"):
            writer.append(make(metadata={"a": object()}))
    with pytest.raises(TypeError, match="settings"):
        StoreWriter(tmp_path / "t", [1])
    with pytest.raises(ValueError, match="alpha_bits"):
        StoreWriter(tmp_path / "t", {}, alpha_bits=12)
    with pytest.raises(ValueError, match="shard_rows"):
        StoreWriter(tmp_path / "t", {}, shard_rows=0)
    assert not (tmp_path / "t").exists()


def test_new_score_columns_are_null_in_older_shards(tmp_path):
    write(tmp_path, [make("a")])
    with StoreWriter(tmp_path, {"crop": 64}, resume=True) as writer:
        writer.append(make("b", quality={"novel": 0.25}))
    store = open_store(tmp_path)
    assert store.table(["quality_novel"])["quality_novel"].to_pylist() == [None, 0.25]
    assert store.table(["quality_overall"])["quality_overall"].to_pylist() == [0.75, None]
    with pytest.raises(ValueError, match="'quality_no'"):
        store.table(["quality_no"])


def test_table_leaves_arrays_out_unless_asked(tmp_path):
    store = write(tmp_path, [make()])
    assert not set(ARRAY_COLUMNS) & set(store.table().column_names)
    assert store.table(["binary", "key"]).column_names == ["binary", "key"]
    assert store.table(["binary"])["binary"][0].as_py() == make().binary.tobytes()


@pytest.mark.parametrize("engine", ["pandas", "polars", "duckdb", "pyarrow.dataset"])
@pytest.mark.parametrize("how", ["folder", "shards"])
def test_other_engines_read_the_store(tmp_path, engine, how):
    module = pytest.importorskip(engine)
    records = [make("a"), failed("b"), make("c", (4, 5), quality={"overall": 0.25})]
    path = tmp_path / "store"
    write(path, records, shard_rows=1)
    where = path if how == "folder" else f"{path}/*.parquet"
    if engine == "polars":
        rows = module.read_parquet(where).to_dicts()
    elif engine == "duckdb":
        cursor = module.connect().execute("select * from read_parquet(?)", [f"{path}/*.parquet"])
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    elif engine == "pandas":
        where = where if how == "folder" else sorted(path.glob("*.parquet"))
        rows = module.read_parquet(where).to_dict("records")
    else:
        where = where if how == "folder" else [str(p) for p in path.glob("*.parquet")]
        rows = module.dataset(where, format="parquet").to_table().to_pylist()
    assert sorted(row["key"] for row in rows) == ["a", "b", "c"]
    (row,) = [r for r in rows if (r["quality_overall"] or 0) > 0.5]
    assert row["key"] == "a"
    shape = (int(row["height"]), int(row["width"]))
    codes = np.frombuffer(row["alpha"], "<u2").reshape(shape)
    assert np.array_equal(dequantise(codes, 16) >= 0.5, records[0].binary)
    assert list(row["mark"]) == records[0].mark.tolist()
    assert json.loads(row["metadata"]) == {"patient": "P 1", "type": 5}


README = Path(__file__).resolve().parents[2] / "README.md"
SENTENCE = re.findall(r"`((?:[\w.]+\(|from )[\"'][^`]*store[^`]*)`", README.read_text("utf-8"))


def test_the_readme_names_the_engines():
    assert [call.split("(")[0].split()[0] for call in SENTENCE] == [
        "pandas.read_parquet",
        "polars.read_parquet",
        "pyarrow.dataset.dataset",
        "from",
    ]


@pytest.mark.parametrize("call", SENTENCE)
def test_the_readmes_sentence_on_other_engines_is_true(tmp_path, monkeypatch, call):
    write(tmp_path / "store", [make("a"), failed("b"), make("c", (4, 5))], shard_rows=2)
    monkeypatch.chdir(tmp_path)
    if call.startswith("from "):
        rows = pytest.importorskip("duckdb").sql(f"select key {call}").fetchall()
        keys = [key for (key,) in rows]
    else:
        engine = call.split(".")[0]
        pytest.importorskip(engine)
        importlib.import_module(call.split("(")[0].rpartition(".")[0])
        found = eval(call, {engine: importlib.import_module(engine)})
        keys = found.to_table()["key"].to_pylist() if engine == "pyarrow" else list(found["key"])
    assert sorted(keys) == ["a", "b", "c"]


def as_older_versions_wrote(path):
    """Turn a store into one with its manifest as JSON beside the shards."""
    manifest = open_store(path).manifest
    (path / MANIFEST).unlink()
    (path / OLD_MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def test_stores_of_older_versions_open_and_go_on(tmp_path):
    write(tmp_path, [make("a"), failed("b")])
    manifest = as_older_versions_wrote(tmp_path)
    store = open_store(tmp_path)
    assert store.manifest == manifest and store.keys == ["a", "b"]
    assert np.array_equal(store.read("a").binary, make("a").binary) and store.validate() == []
    with StoreWriter(tmp_path, {"crop": 64}, resume=True) as writer:
        assert writer.done == {"a", "b"}
        writer.append(make("c"))
    assert open_store(tmp_path).keys == ["a", "b", "c"]
    assert not (tmp_path / OLD_MANIFEST).exists() and (tmp_path / MANIFEST).exists()


@pytest.mark.parametrize("name", ["run:1", "s3:", "[red]", "[/]", "a%20b", os.fsdecode(b"caf\xe9")])
def test_any_name_of_a_folder_will_do(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = write(Path(name, "store"), [make("a"), failed("b")], shard_rows=1)
    assert store.keys == ["a", "b"] and store.table(["key"]).num_rows == 2
    assert np.array_equal(store.read("a").binary, make("a").binary)
    with StoreWriter(Path(name, "store"), {"crop": 64}, resume=True, retry_failed=True) as writer:
        assert writer.done == {"a"}
    assert validate_store(Path(name, "store")) == []


def test_store_does_not_load_torch_or_opencv():
    code = (
        "import sys, dsnet.data.store, dsnet.data.store.export, dsnet.drawing.sheet;"
        "print('torch' in sys.modules, 'cv2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_writing_a_shard_does_not_load_pandas(tmp_path):
    pytest.importorskip("pandas")
    code = (
        "import sys; import numpy as np\n"
        "from dsnet.data.store import LabelRecord, StoreWriter, open_store\n"
        f"with StoreWriter({str(tmp_path / 's')!r}, {{}}) as writer:\n"
        "    writer.append(LabelRecord.from_error('a', 's', 'e', metadata={'patient': 1}))\n"
        "    alpha = np.ones((3, 2), np.float32)\n"
        "    label = dict(image=alpha, alpha=alpha, binary=alpha > 0)\n"
        "    label['trimap'] = np.uint8(255 * alpha)\n"
        "    writer.append(LabelRecord('b', notes=('odd',), **label))\n"
        "assert open_store(writer.path).sums.rows == 2\n"
        "print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False"], done.stderr
