"""Exports hold what the store holds, under safe names, and overwrite nothing."""

import csv
import json
import os
import signal
import subprocess
import sys
import tracemalloc
import zipfile
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsnet.data.store import LabelRecord, StoreWriter, export, open_store
from dsnet.data.store.npz import NpzRows


def record(key, overall=0.5, shape=(6, 8)):
    random = np.random.default_rng(len(key))
    alpha = random.random(shape, dtype=np.float32)
    return LabelRecord(
        key=key,
        image=random.random(shape, dtype=np.float32),
        alpha=alpha,
        binary=alpha >= 0.5,
        trimap=np.where(alpha > 0.9, 255, np.where(alpha < 0.1, 0, 128)).astype(np.uint8),
        quality={} if overall is None else {"overall": overall},
    )


def store_of(path, records, alpha_bits=16):
    with StoreWriter(path, {}, alpha_bits=alpha_bits) as writer:
        for item in records:
            writer.append(item)
        writer.append(LabelRecord.from_error("broken", "x.png", "truncated"))
    return open_store(path)


def read(path):
    data = np.frombuffer(path.read_bytes(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("alpha_bits", [8, 16])
def test_png_folder_holds_the_labels(tmp_path, alpha_bits):
    keys = ["a", "A", "x/y", "结节", "..", "1.2.840_000"]
    store = store_of(tmp_path / "store", [record(key) for key in keys], alpha_bits)
    out = tmp_path / "out ü" / "png"
    assert export.export_png(store, out) == len(keys)
    with open(out / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == keys
    assert sorted(row["file"] for row in rows) == sorted(os.listdir(out / "alpha"))
    assert rows[-1]["file"] == "1.2.840_000.png"
    for row in rows:
        label = store.read(row["key"])
        top = 2**alpha_bits - 1
        images = {part: read(out / part / row["file"]) for part in ("image", "alpha")}
        assert images["image"].dtype == np.uint16
        assert images["alpha"].dtype == f"uint{alpha_bits}"
        assert np.array_equal((images["image"] / 65535).astype(np.float32), label.image)
        assert np.array_equal((images["alpha"] / top).astype(np.float32), label.alpha)
        assert np.array_equal(read(out / "binary" / row["file"]), label.binary * np.uint8(255))
        assert np.array_equal(read(out / "trimap" / row["file"]), label.trimap)


def test_png_alphas_of_8_bits_keep_the_binary_mask(tmp_path):
    store = store_of(tmp_path / "store", [record("a")])
    export.export_png(store, tmp_path / "png", alpha_bits=8)
    alpha = read(tmp_path / "png" / "alpha" / "a.png")
    assert alpha.dtype == np.uint8
    assert np.array_equal(alpha / 255 >= 0.5, store.read("a").binary)
    with pytest.raises(ValueError, match="alpha_bits"):
        export.export_png(store, tmp_path / "more", alpha_bits=4)


def test_npz_parts(tmp_path):
    store = store_of(tmp_path / "store", [record(f"k{i:02d}") for i in range(30)])
    assert export.export_npz(store, tmp_path / "npz") == {"train": 20, "test": 8, "val": 2}
    seen = []
    for name, count in (("train", 20), ("test", 8), ("val", 2)):
        part = np.load(tmp_path / "npz" / f"{name}.npz")
        assert part["images"].shape == (count, 6, 8)
        assert [part[a].dtype for a in ("images", "alphas", "binaries", "trimaps")] == [
            np.float32,
            np.float32,
            np.bool_,
            np.uint8,
        ]
        for index, key in enumerate(part["keys"].tolist()):
            label = store.read(key)
            assert np.array_equal(part["images"][index], label.image)
            assert np.array_equal(part["alphas"][index], label.alpha)
            assert np.array_equal(part["binaries"][index], label.binary)
            assert np.array_equal(part["trimaps"][index], label.trimap)
            seen.append(key)
    assert sorted(seen) == [f"k{i:02d}" for i in range(30)]


def test_npz_is_what_numpy_writes_of_the_same_arrays(tmp_path):
    records = [record(f"k{i:02d}", shape=(5, 7)) for i in range(9)]
    store = store_of(tmp_path / "store", records)
    export.export_npz(store, tmp_path / "npz", (5, 0, 4), seed=3)
    assert sorted(os.listdir(tmp_path / "npz")) == ["test.npz", "train.npz", "val.npz"]
    for name in ("train", "test", "val"):
        file = tmp_path / "npz" / f"{name}.npz"
        keys = np.load(file)["keys"]
        labels = [store.read(key).labelled() for key in keys.tolist()]
        stacked = {
            plural: np.array([label[i] for label in labels], dtype).reshape(-1, 5, 7)
            for i, (plural, dtype) in enumerate(
                [("images", "f4"), ("alphas", "f4"), ("binaries", bool), ("trimaps", "u1")]
            )
        }
        np.savez_compressed(tmp_path / name, keys=keys, **stacked)
        with zipfile.ZipFile(file) as got, zipfile.ZipFile(tmp_path / f"{name}.npz") as want:
            assert got.testzip() is None and got.namelist() == want.namelist()
            for member in want.namelist():
                assert got.read(member) == want.read(member), member
            assert {i.compress_type for i in got.infolist()} == {zipfile.ZIP_DEFLATED}


def test_npz_takes_no_more_memory_for_more_labels(tmp_path):
    def peak(count):
        records = (record(f"k{i:04d}", shape=(128, 128)) for i in range(count))
        store = store_of(tmp_path / f"s{count}", records)
        tracemalloc.start()
        try:
            export.export_npz(store, tmp_path / f"npz{count}")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # what is loaded once
    # Their pixels alone are 164 kB a label; a key, its patient and its place stay in memory, and
    # one row group of 8 MiB is read at a time.
    assert peak(192) - peak(96) < 96 * 1500


def test_a_killed_npz_export_leaves_no_file_and_the_next_one_clears(tmp_path):
    store_of(tmp_path / "store", [record(f"k{i}") for i in range(6)])
    program = """
import os, signal, sys
from dsnet.data.store import export, npz, open_store
written = npz.NpzRows.save
def killed(self, path, **small):
    written(self, path, **small)
    os.kill(os.getpid(), signal.SIGKILL)
npz.NpzRows.save = killed
export.export_npz(open_store(sys.argv[1]), sys.argv[2])
"""
    run = [sys.executable, "-c", program, str(tmp_path / "store"), str(tmp_path / "npz")]
    assert subprocess.run(run).returncode == -signal.SIGKILL
    left = set(os.listdir(tmp_path)) - {"store"}
    assert len(left) == 1 and "npz" not in left
    export.export_npz(open_store(tmp_path / "store"), tmp_path / "npz")
    assert sorted(os.listdir(tmp_path)) == ["npz", "store"]
    assert sorted(os.listdir(tmp_path / "npz")) == ["test.npz", "train.npz", "val.npz"]


def test_rows_that_were_not_filled_are_told(tmp_path):
    with NpzRows(tmp_path, 2, {"a": ((3,), np.float32)}) as rows:
        rows.put(1, {"a": np.arange(3)})
        with pytest.raises(ValueError, match=r"a must have shape \(3,\), got \(2,\)"):
            rows.put(0, {"a": np.arange(2)})
        with pytest.raises(ValueError, match="rows must all be filled, 1 are not"):
            rows.save(tmp_path / "a.npz")


def test_npz_needs_one_size(tmp_path):
    store = store_of(tmp_path / "store", [record("a"), record("b", shape=(3, 3))])
    with pytest.raises(ValueError, match=r"one size.*\(3, 3\)"):
        export.export_npz(store, tmp_path / "npz")
    assert not (tmp_path / "npz").exists()


def test_papers_split_is_exact_and_seeded():
    keys = [str(i) for i in range(1500)]
    parts = export.split_keys(keys, export.SPLIT, 0)
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 1000,
        "test": 400,
        "val": 100,
    }
    assert parts == export.split_keys(keys[::-1], export.SPLIT, 0)
    assert parts != export.split_keys(keys, export.SPLIT, 1)
    for split in ((1, 2), (1, -1, 1), (0, 0, 0)):
        with pytest.raises(ValueError, match="split must"):
            export.split_keys(keys, split, 0)


@given(st.integers(0, 400), st.tuples(*[st.integers(0, 50)] * 3).filter(any))
def test_split_loses_and_doubles_no_key(count, split):
    keys = [str(i) for i in range(count)]
    parts = export.split_keys(keys, split, 3)
    assert Counter(key for part in parts.values() for key in part) == Counter(keys)
    for part, share in zip(parts.values(), split, strict=True):
        assert abs(len(part) - count * share / sum(split)) < 1


@given(st.lists(st.text(min_size=1), unique=True), st.randoms())
def test_file_names_are_safe_unique_and_independent_of_order(keys, random):
    names = export.file_names(keys)
    assert list(sorted(names)) == sorted(keys)
    assert len({name.casefold() for name in names.values()}) == len(keys)
    for name in names.values():
        assert name.isascii() and 0 < len(name) < 200
        assert not set(name) & set('/\\:*?"<>| \0\n') and name[0] not in ".-"
    shuffled = list(keys)
    random.shuffle(shuffled)
    assert export.file_names(shuffled) == names


def test_file_names_do_not_run_into_checksummed_ones():
    (name,) = export.file_names(["a b"]).values()
    names = export.file_names(["a b", name])
    assert names[name] == name and names["a b"] != name


def test_nnunet_layout(tmp_path):
    keys = ["a", "b_0000", "c d"]
    store = store_of(tmp_path / "store", [record(key) for key in keys])
    out = tmp_path / "Dataset501_Lesion"
    assert export.export_nnunet(store, out) == 3
    description = json.loads((out / "dataset.json").read_text())
    assert description == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": 3,
        "file_ending": ".png",
        "soft_labels": {"folder": "softTr", "file_ending": ".png", "label": 1, "one": 65535},
    }
    cases = sorted(os.listdir(out / "labelsTr"))
    assert sorted(os.listdir(out / "imagesTr")) == sorted(
        f"{case.removesuffix('.png')}_0000.png" for case in cases
    )
    assert read(out / "imagesTr" / "a_0000.png").dtype == np.uint16
    label = read(out / "labelsTr" / "a.png")
    assert label.dtype == np.uint8 and np.array_equal(label, store.read("a").binary)
    assert sorted(os.listdir(out / "softTr")) == cases


@pytest.mark.parametrize("alpha_bits", [8, 16])
def test_nnunet_has_the_soft_masks_beside_the_labels(tmp_path, alpha_bits):
    store = store_of(tmp_path / "store", [record("a"), record("b", shape=(1, 5))], alpha_bits)
    out = tmp_path / "Dataset501_Lesion"
    export.export_nnunet(store, out)
    for key in "ab":
        soft, label = (read(out / part / f"{key}.png") for part in ("softTr", "labelsTr"))
        assert soft.dtype == np.uint16
        # Nothing is lost, and one half is where the label is cut.
        assert np.array_equal((soft / 65535).astype(np.float32), store.read(key).alpha)
        assert np.array_equal(soft >= 32768, label == 1)


def test_nnunet_learns_from_what_people_drew(tmp_path):
    drawn = np.zeros_like(record("a").binary)
    drawn[0, 0] = True
    store = store_of(tmp_path / "store", [replace(record("a"), truth=drawn)])
    export.export_nnunet(store, tmp_path / "Dataset501_Lesion")
    label = read(tmp_path / "Dataset501_Lesion" / "labelsTr" / "a.png")
    assert np.array_equal(label, drawn) and not np.array_equal(drawn, store.read("a").binary)


def test_nnunets_folds_share_no_patient(tmp_path):
    records = [
        replace(record(f"k{i}{j}"), metadata={"patient": f"P{i}"}) for i in range(7) for j in "ab"
    ]
    out = tmp_path / "Dataset501_Lesion"
    export.export_nnunet(store_of(tmp_path / "store", records), out)
    folds = json.loads((out / "splits_final.json").read_text())
    cases = sorted(record.key for record in records)
    assert len(folds) == 5 and sorted(c for fold in folds for c in fold["val"]) == cases
    for fold in folds:
        assert sorted(fold["train"] + fold["val"]) == cases
        assert not {c[:2] for c in fold["train"]} & {c[:2] for c in fold["val"]}
    alone = store_of(tmp_path / "alone", records[:2])
    export.export_nnunet(alone, tmp_path / "one")
    assert not (tmp_path / "one" / "splits_final.json").exists()


EXPORTERS = [export.export_png, export.export_npz, export.export_nnunet]


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_quality_limit_and_nothing_to_export(tmp_path, exporter):
    records = [record("low", 0.2), record("high", 0.9), record("none", None)]
    store = store_of(tmp_path / "store", records)
    written = exporter(store, tmp_path / "good", min_quality=0.5)
    assert (sum(written.values()) if isinstance(written, dict) else written) == 1
    with pytest.raises(ValueError, match=r"quality >= 0\.95"):
        exporter(store, tmp_path / "best", min_quality=0.95)
    for empty in ([], [LabelRecord.from_error("e", "", "x")]):
        nothing = store_of(tmp_path / f"failed{len(empty)}", empty)
        with pytest.raises(ValueError, match="no label of status 'ok'"):
            exporter(nothing, tmp_path / "best")
    assert not (tmp_path / "best").exists()


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_nothing_is_overwritten_and_nothing_half_written_stays(tmp_path, exporter, monkeypatch):
    store = store_of(tmp_path / "store", [record("a")])
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("x")
    with pytest.raises(FileExistsError, match="empty folder"):
        exporter(store, out)
    assert os.listdir(out) == ["precious.txt"]
    (out / "precious.txt").unlink()

    def full_disk(*arguments, **keywords):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(export, "encode_png", full_disk)
        patch.setattr(NpzRows, "save", full_disk)
        with pytest.raises(OSError, match="disk full"):
            exporter(store, out)
    assert sorted(os.listdir(tmp_path)) == ["out", "store"] and not os.listdir(out)
    exporter(store, out)
    assert os.listdir(out)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_links_are_followed_and_mount_points_filled(tmp_path, exporter, monkeypatch):
    store = store_of(tmp_path / "store", [record("a"), record("b")])
    for name in ("plain", "linked", "mounted"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "linked")
    exporter(store, tmp_path / "plain")
    exporter(store, tmp_path / "link")
    mounted = tmp_path / "mounted"
    inode = mounted.stat().st_ino
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(mounted))
    exporter(store, mounted)
    assert (tmp_path / "link").is_symlink() and mounted.stat().st_ino == inode
    held = sorted(os.listdir(tmp_path / "plain"))
    assert held and held == sorted(os.listdir(mounted)) == sorted(os.listdir(tmp_path / "linked"))


def test_current_folder_can_be_the_output(tmp_path, monkeypatch):
    store = store_of(tmp_path / "store", [record("a")])
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert export.export_png(store, ".") == 1
    assert (tmp_path / "here" / "image" / "a.png").is_file()


def test_the_table_holds_no_formulas(tmp_path):
    names = ["=1+1", "+a", "-b", "@SUM(A1)", "ok", "-2.5"]
    store = store_of(tmp_path / "s", [replace(record(n), source=f"={n}") for n in names])
    export.export_png(store, tmp_path / "png")
    with open(tmp_path / "png/labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["key"] for r in rows] == ["'=1+1", "'+a", "'-b", "'@SUM(A1)", "ok", "-2.5"]
    assert all(r["source"] == f"'={name}" for r, name in zip(rows, names, strict=True))
