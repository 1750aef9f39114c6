"""Crops on the device: what a store gives back, and patients that never cross a split."""

import numpy as np
import pytest
import torch

from dsnet.data.store import StoreWriter
from dsnet.data.store.record import LabelRecord
from dsnet.training.dataset import (
    DeviceDataset,
    epoch_order,
    fold_split,
    patient_of,
    split_by_patient,
)


def record(key, side=16, quality=0.9, patient=None):
    rng = np.random.default_rng(side)
    alpha = rng.random((side, side), dtype=np.float32)
    return LabelRecord(
        key=key,
        image=rng.random((side, side), dtype=np.float32),
        alpha=alpha,
        binary=alpha >= 0.5,
        trimap=np.zeros((side, side), np.uint8),
        quality={"overall": quality},
        metadata={} if patient is None else {"patient": patient},
    )


def write(path, records):
    with StoreWriter(path, {}) as writer:
        for each in records:
            writer.append(each)
    return path


def test_a_store_comes_back_as_tensors(tmp_path):
    one = record("a", patient=7)
    path = write(tmp_path / "s", [one, LabelRecord.from_error("b", "x", "broken"), record("c")])
    data = DeviceDataset.from_store(path)
    assert data.keys == ["a", "c"] and data.patients == ["7", "c"] and len(data) == 2
    assert data.image.shape == data.soft.shape == data.binary.shape == (2, 1, 16, 16)
    assert data.binary.dtype == torch.bool
    # The store quantises to 16 bits.
    torch.testing.assert_close(data.image[0, 0].numpy(), one.image, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(data.binary[0, 0].numpy(), one.binary)


def test_several_sizes_need_a_size(tmp_path):
    path = write(tmp_path / "s", [record("a"), record("b", 24)])
    with pytest.raises(ValueError, match="give a size"):
        DeviceDataset.from_store(path)
    assert DeviceDataset.from_store(path, size=20).image.shape == (2, 1, 20, 20)


def test_quality_bar(tmp_path):
    path = write(tmp_path / "s", [record("a", quality=0.4), record("b", quality=0.8)])
    assert DeviceDataset.from_store(path, min_quality=0.5).keys == ["b"]
    with pytest.raises(ValueError, match="no label"):
        DeviceDataset.from_store(path, min_quality=0.95)


def test_phantoms_are_the_same_for_the_same_seed():
    a, b, c = (DeviceDataset.phantoms(3, 16, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(a.image, b.image) and not torch.equal(a.image, c.image)
    assert torch.equal(a.binary, a.soft >= 0.5)
    part = a.subset([2, 0])
    assert part.keys == [a.keys[2], a.keys[0]] and torch.equal(part.soft[0], a.soft[2])


@pytest.mark.parametrize("folds", [None, 4])
def test_no_patient_in_two_parts_and_every_case_once(folds):
    patients = [f"p{i % 23}" for i in range(100)]
    splits = (
        [split_by_patient(patients, seed=3)]
        if folds is None
        else [fold_split(patients, k, folds, seed=3) for k in range(folds)]
    )
    for split in splits:
        assert sorted(i for part in split for i in part) == list(range(100)) and all(split)
        owners = [{patients[i] for i in part} for part in split]
        assert not (owners[0] & owners[1] or owners[0] & owners[2] or owners[1] & owners[2])
    if folds:
        assert sorted(i for s in splits for i in s.test) == list(range(100))


def test_shares_are_the_papers_where_every_patient_has_one_case():
    split = split_by_patient([str(i) for i in range(986)])
    assert [len(part) for part in split] == [387, 55, 544]
    assert split == split_by_patient([str(i) for i in range(986)])
    assert split != split_by_patient([str(i) for i in range(986)], seed=1)


def test_too_few_patients_are_refused():
    with pytest.raises(ValueError, match=r"must be enough to fill parts of .*, got 2 different"):
        split_by_patient(["a", "a", "b"])
    with pytest.raises(ValueError, match="must be at least 4 different ones for 4 folds, got 3"):
        fold_split(["a", "b", "c"], 0, 4)
    with pytest.raises(ValueError, match="must be 0 to folds - 1 of at least 2 folds, got 4 of 4"):
        fold_split(list("abcdefgh"), 4, 4)


def test_an_epoch_has_every_case_and_fills_the_last_batch():
    order = epoch_order(10, seed=0, epoch=3, multiple=4)
    assert len(order) == 12 and set(order.tolist()) == set(range(10))
    assert torch.equal(order, epoch_order(10, 0, 3, 4))
    assert not torch.equal(order, epoch_order(10, 0, 4, 4))
    assert len(epoch_order(2, 0, 0, 5)) == 5


@pytest.mark.parametrize(
    "key, metadata, expected",
    [
        ("x", {"patient": 12}, "12"),
        ("000017_02_01_015.png#0", {}, "000017"),
        ("LIDC-IDRI-0055/nodule-0/slice-1", {}, "LIDC-IDRI-0055"),
        ("alone", {"patient": None}, "alone"),
    ],
)
def test_patient_of(key, metadata, expected):
    assert patient_of(key, metadata) == expected


def test_the_drawn_mask_is_the_truth_where_there_is_one(tmp_path):
    random = np.random.default_rng(0)
    drawn = random.random((16, 16)) < 0.3
    alpha = random.random((16, 16), dtype=np.float32)
    with StoreWriter(tmp_path, {}) as writer:
        for key, truth in (("mark", None), ("raters", drawn)):
            writer.append(
                LabelRecord(
                    key, image=alpha, alpha=alpha, binary=alpha >= 0.5, truth=truth,
                    trimap=np.full((16, 16), 128, np.uint8),
                )
            )  # fmt: skip
    data = DeviceDataset.from_store(tmp_path)
    assert np.array_equal(data.binary[0, 0].numpy(), alpha >= 0.5)
    assert np.array_equal(data.binary[1, 0].numpy(), drawn)
