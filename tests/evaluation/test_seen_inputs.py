"""A network that sees neighbours and marks: trained, resumed, scored and used by the commands."""

import csv

import cv2
import numpy as np
import pytest
import torch

from dsnet import evaluate, predict, train
from dsnet.console import Stop
from dsnet.data.neighbours import missing_notes
from dsnet.data.phantom import make_phantoms
from dsnet.data.store import StoreWriter
from dsnet.data.store.record import LabelRecord
from dsnet.evaluation.score import evaluate as score
from dsnet.models import load_model, mark_plane
from dsnet.training.dataset import DeviceDataset

SIDE = 16
RUN = [
    "--variant", "unet", "--width", "4", "--depth", "1", "--reduction", "2", "--epochs", "2",
    "--batch", "2", "--device", "cpu", "--threads", "1", "--shares", "4", "2", "2",
]  # fmt: skip
BOTH = ["--neighbours", "1", "--mark-input"]


def write(path, neighbours=True):
    made = make_phantoms(8, SIDE, 3)
    with StoreWriter(path, {"strategy": "raters", "size": SIDE}) as writer:
        for k, phantom in enumerate(made):
            beside = np.stack([made[k - 1].image, np.roll(phantom.image, 1, 0)])
            writer.append(
                LabelRecord(
                    f"P-{k}/slice-0", image=phantom.image, alpha=phantom.alpha,
                    binary=phantom.alpha >= 0.5, trimap=np.zeros((SIDE, SIDE), np.uint8),
                    truth=phantom.alpha >= 0.5, metadata={"patient": f"P-{k}"},
                    neighbours=beside if neighbours else None,
                    notes=missing_notes(beside[:1] if k > 2 else [None, None]),
                )
            )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "both"
    assert train.main([*RUN, *BOTH, "--data", str(store), "--out", str(out)]) == 0
    return out


def test_a_stopped_run_resumes_bit_for_bit(run, store, tmp_path, monkeypatch):
    arguments = [*RUN, *BOTH, "--data", str(store), "--out", str(tmp_path)]
    monkeypatch.setattr(Stop, "__bool__", lambda self: True)
    assert train.main(arguments) == 0
    monkeypatch.undo()
    assert train.main([*arguments, "--resume"]) == 0
    assert (tmp_path / "last.pt").read_bytes() == (run / "last.pt").read_bytes()
    assert train.main([*arguments, "--resume", "--no-mark-input"]) == 2


def test_a_training_tells_how_many_cases_lack_neighbours(store, tmp_path, capsys):
    arguments = [*RUN, "--neighbours", "1", "--data", str(store), "--out", str(tmp_path)]
    assert train.main(arguments) == 0
    told = capsys.readouterr().out
    assert "warning: 3 of 8 cases lack neighbours: the slice itself stands for them" in told
    data = DeviceDataset.from_store(store, neighbours=1)
    assert data.stood_in == [2, 2, 2, 0, 0, 0, 0, 0]
    assert data.subset([2, 5]).stood_in == [2, 0] and not DeviceDataset.from_store(store).stood_in


def test_it_is_scored_with_what_it_sees(run, store, tmp_path, capsys):
    (row,) = score([run], device="cpu", surface=False)
    model, data = load_model(run / "best.pt"), DeviceDataset.from_store(store, neighbours=1)
    seen = data.with_marks(1).inputs()
    assert seen.shape == (8, 4, SIDE, SIDE)
    for key, soft in zip(row.keys, row.seeds[0].soft, strict=True):
        k = data.keys.index(key)
        expected, _ = model.predict(seen[k : k + 1])
        np.testing.assert_allclose(soft, expected[0, 0], atol=1e-5)
    assert any("marks replayed" in note for note in row.notes)
    assert np.array_equal(
        row.seeds[0].image, data.image[[data.keys.index(k) for k in row.keys], 0].numpy()
    )
    # A model file alone says the same of itself.
    (alone,) = score([run / "best.pt"], data=str(store), device="cpu", surface=False)
    assert np.array_equal(alone.seeds[0].soft, row.seeds[0].soft)


def test_a_store_without_the_slices_is_told_in_a_line(run, tmp_path, capsys):
    plain = str(write(tmp_path / "plain", neighbours=False))
    training = [*RUN, "--neighbours", "1", "--data", plain, "--out", str(tmp_path / "out")]
    scoring = [str(run), "--data", plain, "--no-surface", "--out", str(tmp_path / "e")]
    for command, words in ((train, training), (evaluate, [*scoring, "--device", "cpu"])):
        capsys.readouterr()
        assert command.main(words) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "must hold 1 neighbouring slices on either side" in error
        assert "P-0/slice-0 has 0: dsnet.label --neighbours writes them" in error
    with pytest.raises(SystemExit):
        train.main([*RUN, "--neighbours", "1", "--out", str(tmp_path / "none")])
    assert "--neighbours must come with --data" in capsys.readouterr().err


def test_predict_reads_the_files_beside_and_tells_of_those_that_lack(run, tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (3, 60, 70), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    for number, image in enumerate(images, 1):
        cv2.imwrite(str(tmp_path / "images" / f"s{number}.png"), image)
    (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\ns2.png,30,20,40,32\ns3.png,9,9,19,17\n")
    words = [str(run / "best.pt"), "--images", str(tmp_path / "images"), "--pictures", "--boxes",
             str(tmp_path / "boxes.csv"), "--size", "32", "--isotropic", "native",
             "--device", "cpu", "--threads", "1", "--out"]  # fmt: skip
    assert predict.main([*words, str(tmp_path / "out"), "--flips"]) == 0
    assert "a box tells no mark" in capsys.readouterr().err
    with open(tmp_path / "out" / "lesions.csv", newline="") as file:
        whole, last = list(csv.DictReader(file))
    assert "no slice" not in whole["notes"]
    assert "no slice above (there is no file of that number, or more than one)" in last["notes"]
    soft = cv2.imread(str(tmp_path / "out/soft/s2.png"), -1) / 65535
    # By hand: the crop of 32 pixels around the box, of all three pictures.
    x, y = round(35.5 - 16), round(26.5 - 16)
    grey = torch.from_numpy(images[[1, 0, 2], y : y + 32, x : x + 32] / np.float32(255))
    # The longer middle line is the long axis.
    mark = torch.tensor([[35.0, 20, 35, 32, 30, 26, 40, 26]])
    plane = mark_plane(mark - torch.tensor([x, y] * 4), (32, 32))[0]
    model = load_model(run / "best.pt")
    expected, _ = model.predict(torch.cat([grey, plane])[None], flips=True)
    np.testing.assert_allclose(soft[y : y + 32, x : x + 32], expected[0, 0], atol=1e-4)
