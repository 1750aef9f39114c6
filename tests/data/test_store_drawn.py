"""What people drew, beside a label: their consensus, and the share of them who marked a pixel."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from dsnet.data.crop import Crop
from dsnet.data.store import LabelRecord, StoreWriter, open_store
from dsnet.data.store.manifest import write_manifest
from dsnet.data.store.record import usual_score_columns
from dsnet.data.store.shards import describe_shard


def make(key="a", **changes):
    random = np.random.default_rng(0)
    alpha = random.random((12, 10), dtype=np.float32)
    fields = {
        "key": key,
        "image": random.random((12, 10), dtype=np.float32),
        "alpha": alpha,
        "binary": alpha >= 0.5,
        "trimap": random.choice(np.array([0, 128, 255], np.uint8), (12, 10)),
    }
    return LabelRecord(**{**fields, **changes})


def write(path, records):
    with StoreWriter(path, {"crop": 64}, shard_seconds=1e9) as writer:
        for record in records:
            writer.append(record)
    return open_store(path)


def test_truth_is_kept_beside_the_binarised_soft_mask(tmp_path):
    truth = np.random.default_rng(3).random((12, 10)) < 0.5
    store = write(tmp_path, [make("a"), make("b", truth=truth)])
    assert store.read("a").truth is None
    back = store.read("b").truth
    assert back.dtype == bool
    assert np.array_equal(back, truth)
    with pytest.raises(ValueError, match="truth must be bool"):
        write(tmp_path / "t", [make(truth=np.full((12, 10), 2))])
    with pytest.raises(ValueError, match="one shape"):
        write(tmp_path / "u", [make(truth=truth[1:])])


def test_the_readers_share_is_kept(tmp_path):
    random = np.random.default_rng(4)
    share = (random.integers(0, 5, (12, 10)) / 4).astype(np.float32)
    store = write(tmp_path / "store", [make("a"), make("b", readers=share)])
    assert store.read("a").readers is None
    back = store.read("b").readers
    assert back.dtype == np.float32 and np.abs(back - share).max() <= 0.5 / 65535 + 1e-7
    assert np.array_equal(back >= 0.5, share >= 0.5) and np.array_equal(back == 1, share == 1)
    assert store.validate() == []
    for name, odd in (("t", np.full((12, 10), 1.5)), ("v", np.full((12, 10), np.nan))):
        with pytest.raises(ValueError, match=r"readers must lie in 0\.\.1"):
            write(tmp_path / name, [make(readers=odd)])
    with pytest.raises(ValueError, match="one shape"):
        write(tmp_path / "u", [make(readers=share[1:])])


def test_of_raters_masks_the_share_comes_into_the_record():
    masks = np.zeros((3, 2, 4), bool)
    masks[0, :, :3], masks[1, :, :2] = True, True  # the third one marked nothing
    crop = Crop(np.zeros((2, 4), np.float32), masks=masks, key="a")
    label = SimpleNamespace(alpha=None, binary=None, trimap=None, quality={}, seconds={}, notes=())
    record = LabelRecord.from_label(crop, label)
    assert (
        record.readers.tolist()
        == [[np.float32(2 / 3), np.float32(2 / 3), np.float32(1 / 3), 0]] * 2
    )
    assert np.array_equal(record.truth, record.readers >= 0.5)
    # One mask is no share.
    alone = LabelRecord.from_label(replace(crop, masks=masks[:1]), label)
    assert alone.readers is None and alone.truth.sum() == 6
    assert LabelRecord.from_label(replace(crop, masks=None), label).readers is None


@pytest.mark.parametrize("column", ["truth", "readers"])
def test_shards_without_a_later_column_still_read(tmp_path, column):
    store = write(tmp_path, [make("a")])
    (shard,) = tmp_path.glob("shard-*.parquet")
    table = pq.read_table(shard).drop_columns([column])
    pq.write_table(table, shard)
    manifest = {**store.manifest, "shards": [describe_shard(shard, 1)]}
    write_manifest(tmp_path, manifest, usual_score_columns())
    store = open_store(tmp_path)
    assert getattr(store.read("a"), column) is None
    assert store.table([column])[column].to_pylist() == [None]
    # A run that goes on writes it beside.
    with StoreWriter(tmp_path, {"crop": 64}, resume=True) as writer:
        writer.append(make("b", **{column: np.ones((12, 10), np.float32)}))
    store = open_store(tmp_path)
    assert getattr(store.read("b"), column).all() and getattr(store.read("a"), column) is None
    assert store.validate() == []
