"""Training and scoring on a store that readers reviewed: as made, or as their verdicts say."""

import json

import numpy as np
import pytest

from dsnet import evaluate, label, train
from dsnet.data.phantom import make_phantom
from dsnet.data.store import LabelRecord, StoreWriter, open_store
from dsnet.data.store.decisions import Decision, DecisionLog, new_id
from dsnet.data.store.versions import write_version
from dsnet.labeling import label_recist
from dsnet.training.dataset import DeviceDataset

SMALL = (
    "--epochs", "1", "--batch", "4", "--width", "4", "--depth", "2", "--variant", "unet",
    "--scale", "1", "--device", "cpu", "--threads", "1",
)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Twelve labels: the first three rejected, the fourth mended, the fifth accepted as made."""
    path = tmp_path_factory.mktemp("reviewed") / "store"
    with StoreWriter(path, {"crop": 32}) as writer:
        for seed in range(12):
            phantom = make_phantom("solid", 32, seed)
            made = label_recist(phantom.image, phantom.mark)
            planes = {name: getattr(made, name) for name in ("alpha", "binary", "trimap")}
            writer.append(LabelRecord(f"case-{seed}", image=phantom.image, **planes))
    opened, log = open_store(path), DecisionLog(path)
    keys = opened.keys
    rows = [verdict(log, key, "reject", reason="leaks") for key in keys[:3]]
    made = opened.read(keys[3])
    made.alpha, made.truth = np.roll(made.alpha, 5, axis=0), None
    made.binary = made.alpha >= 0.5
    (path / "_review").mkdir()
    told = write_version(path, "0" * 16, made, opened.alpha_bits)
    rows.append(
        Decision(
            new_id(), "mend", keys[3], "Ann", log.time(),
            version="0" * 16, mended_by="brush", base="made", file_sum=told,
        )
    )  # fmt: skip
    rows += [verdict(log, keys[3], "accept", version="0" * 16), verdict(log, keys[4], "accept")]
    log.append(*rows)
    return path


def verdict(log, key, said, **rest):
    return Decision(new_id(), "verdict", key, "Ann", log.time(), verdict=said, **rest)


def test_the_data_are_what_the_verdicts_leave(store):
    keys = open_store(store).keys
    made = DeviceDataset.from_store(store)
    assert made.keys == keys
    left = DeviceDataset.from_store(store, reviewed="not-rejected")
    assert left.keys == keys[3:]
    mended, before = left.soft[0, 0].numpy(), made.soft[3, 0].numpy()
    assert np.abs(mended - np.roll(before, 5, axis=0)).max() < 1e-4
    assert DeviceDataset.from_store(store, reviewed="accepted").keys == keys[3:5]
    with pytest.raises(ValueError, match="no label to train on"):
        DeviceDataset.from_store(store, reviewed="unsure")


def test_a_training_tells_what_it_passes_over_and_an_option_honours_it(store, tmp_path, capsys):
    keys = open_store(store).keys
    told = "readers rejected 3 labels and mended 1"
    common = ("--data", str(store), *SMALL)
    assert train.main([*common, "--out", str(tmp_path / "made")]) == 0
    assert f"warning: {told}" in (out := capsys.readouterr().out)
    assert "--reviewed not-rejected honours that" in out
    chosen = ("--reviewed", "not-rejected")
    assert train.main([*common, *chosen, "--out", str(tmp_path / "left")]) == 0
    out = capsys.readouterr().out
    assert "left out 3 labels, rejected by readers; 1 come as mended" in out and told not in out
    split = json.loads((tmp_path / "left" / "split.json").read_text())
    assert sorted(key for part in split.values() for key in part) == sorted(keys[3:])
    # A run goes on as it began.
    again = [*common, "--out", str(tmp_path / "left"), "--resume"]
    assert train.main(again) == 2 and "reviewed must be 'not-rejected'" in capsys.readouterr().err

    def scored(run, *options):
        out = tmp_path / f"{run}-{len(options)}"
        arguments = [str(tmp_path / run), "--out", str(out), "--no-surface", "--device", "cpu"]
        code = evaluate.main([*arguments, "--part", "all", *options])
        rows = (out / "cases.csv").read_text().splitlines()[1:] if code == 0 else []
        return code, sorted(key for key in keys if any(key in row.split(",") for row in rows))

    assert scored("made") == (0, sorted(keys))
    assert told in capsys.readouterr().out
    assert scored("left") == (0, sorted(keys[3:]))
    # Of a run that learnt from all, those are scored that the verdicts leave.
    assert scored("made", *chosen) == (0, sorted(keys[3:]))
    assert "--reviewed not-rejected leaves out 3 cases of part all" in capsys.readouterr().out


def test_a_store_that_nobody_reviewed_is_told_nothing_of(store, tmp_path):
    from dsnet.data.store.reviewed import review_note

    assert (
        label.main(["export", str(store), "--format", "store", "--out", str(tmp_path / "s")]) == 0
    )
    for which in ("as-made", "not-rejected"):
        assert review_note(tmp_path / "s", which) == ""
    assert DeviceDataset.from_store(tmp_path / "s").keys == open_store(store).keys[3:]
