"""A store as its readers left it: what is exported, in which version, and what is damaged."""

import csv

import cv2
import numpy as np
import pytest

from dsnet import label
from dsnet.archive.report import summary_rows
from dsnet.data.store import LabelRecord, StoreWriter, open_store, repair_store, validate_store
from dsnet.data.store.decisions import (
    MADE,
    Decision,
    DecisionLog,
    decision_files,
    new_id,
    read_decisions,
)
from dsnet.data.store.export import export_nnunet, export_npz, export_png, export_store
from dsnet.data.store.reviewed import ReviewedStore, open_reviewed
from dsnet.data.store.versions import version_file, write_version

KEYS = [f"k{i}" for i in range(6)]


def record(key, seed=0, **rest):
    random = np.random.default_rng(seed)
    alpha = random.random((12, 10), dtype=np.float32)
    return LabelRecord(
        key=key,
        image=random.random((12, 10), dtype=np.float32),
        alpha=alpha,
        binary=alpha >= 0.5,
        trimap=np.full((12, 10), 128, np.uint8),
        mark=np.arange(8.0),
        quality={"overall": 0.75, "expected_dice": 0.9},
        **rest,
    )


@pytest.fixture
def store(tmp_path):
    """Five labels, the last of people's masks, and a failed row with its picture."""
    path = tmp_path / "store"
    with StoreWriter(path, {"crop": 64}, shard_rows=2) as writer:
        for i, key in enumerate(KEYS[:4]):
            writer.append(record(key, i))
        writer.append(record("k4", 4, truth=np.zeros((12, 10), bool)))
        picture = record("k5", 5)
        picture.alpha = picture.binary = picture.trimap = None
        picture.status, picture.error = "failed", "no mark"
        writer.append(picture)
    return path


def decide(path, key, said, reader="Ann", version=MADE):
    log = DecisionLog(path)
    row = Decision(new_id(), "verdict", key, reader, log.time(), verdict=said, version=version)
    log.append(row)
    return row


def mend(path, key, reader="Ann"):
    """A version whose soft mask is a square; its id."""
    alpha = np.zeros((12, 10), np.float32)
    alpha[2:6, 3:7] = 1
    mended = LabelRecord(
        key=key,
        image=open_store(path).read(key).image,
        alpha=alpha,
        binary=alpha >= 0.5,
        trimap=np.where(alpha > 0, 255, 0).astype(np.uint8),
        mark=np.full(8, 3.0),
        quality={"overall": 0.25},
        notes=("mended by brush: Ann",),
    )
    version, log = new_id(), DecisionLog(path)
    told = write_version(path, version, mended, 16)
    log.append(
        Decision(
            new_id(), "mend", key, reader, log.time(),
            version=version, mended_by="brush", base=MADE, file_sum=told,
        )
    )  # fmt: skip
    return version, alpha


def test_a_store_that_nobody_reviewed_opens_as_it_is(store):
    assert type(open_reviewed(store)) is not ReviewedStore
    assert [r.key for r in open_reviewed(store).records()] == KEYS
    assert [r.key for r in open_reviewed(store, "accepted").records()] == []


def test_each_choice_lets_its_labels_through(store):
    decide(store, "k0", "accept")
    decide(store, "k1", "reject")
    decide(store, "k2", "unsure")
    decide(store, "k3", "accept")
    decide(store, "k3", "reject", "Bob")
    chosen = {
        "not-rejected": ["k0", "k2", "k4", "k5"],
        "accepted": ["k0"],
        "unsure": ["k2"],
        "rejected": ["k1", "k3"],
        "as-made": KEYS,
    }
    for which, keys in chosen.items():
        opened = open_reviewed(store, which)
        assert [r.key for r in opened.records()] == keys
        assert opened.table()["key"].to_pylist() == keys
        assert opened.table(["source"]).num_rows == len(keys)
        assert [r.key for r in opened.records("ok")] == [k for k in keys if k != "k5"]
    assert open_reviewed(store).told() == (
        "left out 2 labels, rejected by readers; 0 come as mended"
    )
    with pytest.raises(ValueError, match="which must be one of"):
        open_reviewed(store, "all")
    with pytest.raises(ValueError, match="status must be one of"):
        open_reviewed(store).records("good")


def test_a_mended_label_comes_in_the_version_that_was_accepted(store):
    version, alpha = mend(store, "k0")
    # A mend alone is no verdict.
    before = open_reviewed(store).records()
    assert not np.array_equal(next(iter(before)).alpha, alpha)
    decide(store, "k0", "accept", version=version)
    opened = open_reviewed(store, "accepted")
    (found,) = opened.records("ok")
    made = open_store(store).read("k0")
    assert np.array_equal(found.alpha, alpha) and np.array_equal(found.image, made.image)
    assert found.mark.tolist() == [3.0] * 8 and found.quality == {"overall": 0.25}
    assert found.notes == ("mended by brush: Ann",) and opened.mended == 1
    (row,) = opened.table().to_pylist()
    assert row["mark"] == [3.0] * 8 and row["quality_expected_dice"] is None
    assert row["review_verdict"] == "accepted" and row["review_version"] == version
    assert opened.arrays().alphas.shape == (1, 12, 10)
    # As it was made it is still there.
    assert np.array_equal(next(open_reviewed(store, "as-made").records()).alpha, made.alpha)


def test_a_failed_row_that_got_a_label_is_one(store):
    version, alpha = mend(store, "k5")
    decide(store, "k5", "accept", version=version)
    opened = open_reviewed(store)
    assert [r.key for r in opened.records("ok")] == KEYS
    assert opened.table()["status"].to_pylist() == ["ok"] * 6
    assert np.array_equal(list(opened.records())[5].alpha, alpha)


def test_all_exporters_honour_verdicts_and_mends(store, tmp_path):
    version, alpha = mend(store, "k4")
    decide(store, "k4", "accept", version=version)
    decide(store, "k0", "reject")
    opened = open_reviewed(store)
    assert export_png(opened, tmp_path / "png") == 4
    names = sorted(p.stem for p in (tmp_path / "png" / "alpha").iterdir())
    assert names == ["k1", "k2", "k3", "k4"]
    picture = cv2.imread(str(tmp_path / "png/binary/k4.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(picture > 0, alpha >= 0.5)
    # What people had drawn is what was drawn last.
    truth = cv2.imread(str(tmp_path / "png/truth/k4.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(truth > 0, alpha >= 0.5)
    with open(tmp_path / "png/labels.csv", newline="") as file:
        rows = {row["key"]: row for row in csv.DictReader(file)}
    assert list(rows) == names and rows["k4"]["quality_overall"] == "0.25"
    assert rows["k4"]["review_verdict"] == "accepted" and rows["k1"]["review_verdict"] == ""

    assert sum(export_npz(opened, tmp_path / "npz", (1, 0, 0)).values()) == 4
    arrays = np.load(tmp_path / "npz/train.npz")
    place = arrays["keys"].tolist().index("k4")
    assert np.array_equal(arrays["alphas"][place], alpha) and "k0" not in arrays["keys"]

    assert export_store(opened, tmp_path / "chosen") == 4
    chosen = open_store(tmp_path / "chosen")
    assert chosen.keys == names and validate_store(tmp_path / "chosen") == []
    assert np.array_equal(chosen.read("k4").alpha, alpha) and chosen.read("k4").truth.any()
    assert chosen.manifest["settings"] == opened.manifest["settings"]
    assert np.array_equal(chosen.read("k1").alpha, open_store(store).read("k1").alpha)

    assert export_nnunet(opened, tmp_path / "Dataset001") == 4
    mask = cv2.imread(str(tmp_path / "Dataset001/labelsTr/k4.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(mask > 0, alpha >= 0.5)


@pytest.mark.parametrize(
    ("option", "count"), [([], 4), (["--reviewed", "accepted"], 1), (["--reviewed", "as-made"], 5)]
)
def test_the_command_exports_what_readers_left(store, tmp_path, capsys, option, count):
    decide(store, "k1", "accept")
    decide(store, "k2", "reject")
    out = tmp_path / "png"
    arguments = ["export", str(store), "--format", "png", "--out", str(out), *option]
    assert label.main(arguments) == 0
    told = capsys.readouterr().out
    assert f"wrote {count} labels" in told and len(list((out / "image").iterdir())) == count
    assert ("rejected by readers" in told) == (option == [])


@pytest.mark.parametrize("damage", ["missing", "flipped", "of another label"])
def test_a_damaged_version_is_told_and_exports_nothing_wrong(store, caplog, damage):
    version, _ = mend(store, "k0")
    decide(store, "k0", "accept", version=version)
    decide(store, "k1", "accept")
    file = version_file(store, version)
    if damage == "missing":
        file.unlink()
    elif damage == "flipped":
        data = bytearray(file.read_bytes())
        data[len(data) // 3] ^= 1
        file.write_bytes(data)
    else:
        other, _ = mend(store, "k1")
        file.write_bytes(version_file(store, other).read_bytes())
    opened = open_reviewed(store)
    for _ in range(2):  # Exporters go through it twice.
        records = list(opened.records())
        assert records[0].status == "failed" and "damaged" in records[0].error
        assert [r.key for r in opened.records("ok")] == ["k1", "k2", "k3", "k4"]
    assert list(opened.damaged) == ["k0"] and "k0" in caplog.text
    assert opened.table()["status"].to_pylist()[0] == "failed"
    (problem,) = validate_store(store)
    assert "mended version of 'k0'" in problem
    assert repair_store(store) == [problem]
    assert validate_store(store) == []
    # The verdict on what is lost went along; what was kept aside has both.
    assert {row.key for row in read_decisions(store).rows} == {"k1"}
    assert any("decisions" in p.name for p in (store.parent / "store-damaged").iterdir())


def test_damaged_lines_are_problems_and_torn_ones_are_none(store):
    decide(store, "k0", "accept")
    decide(store, "k1", "reject")
    # Of one second their names are in any order.
    first, second = sorted(decision_files(store), key=lambda file: b"reject" in file.read_bytes())
    second.write_bytes(second.read_bytes()[:-5])
    assert validate_store(store) == []
    first.write_bytes(first.read_bytes().replace(b"accept", b"reject"))
    (problem,) = validate_store(store)
    assert str(first) in problem and "line 1" in problem
    assert repair_store(store) == [problem] and validate_store(store) == []


def test_show_tells_how_far_the_review_is(store):
    assert not any("reviewed" in what for what, _ in summary_rows(open_store(store)))
    version, _ = mend(store, "k5")
    decide(store, "k5", "accept", version=version)
    decide(store, "k1", "reject")
    decide(store, "k1", "accept", "Bob")
    decide(store, "gone", "accept")
    rows = dict(summary_rows(open_store(store)))
    assert rows["reviewed"] == "2 (33.3 %)"
    told = ("accepted", "rejected", "unsure", "accepted as mended", "readers")
    assert [rows[name] for name in told] == ["1", "1", "0", "1", "2"]


def test_shards_are_never_rewritten_and_other_tools_read_the_store(store):
    import pandas

    before = {p.name: p.read_bytes() for p in store.glob("*.parquet")}
    version, _ = mend(store, "k0")
    decide(store, "k0", "accept", version=version)
    assert {p.name: p.read_bytes() for p in store.glob("*.parquet")} == before
    assert pandas.read_parquet(store)["key"].tolist() == KEYS
    with StoreWriter(store, {"crop": 64}, resume=True) as writer:
        assert writer.done == set(KEYS)
    assert len(read_decisions(store).rows) == 2
