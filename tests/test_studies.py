"""The studies of trained networks: what prepare stores, that no patient leaks, that score runs."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch

from bench.common import study
from bench.studies import figures, isbi, lidc_networks, lnsm, promise, train_lidc
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.data.store import open_store
from dsnet.evaluation.score import evaluate
from dsnet.labeling import consensus, label_mask
from dsnet.models import build
from dsnet.training.dataset import DeviceDataset, split_by_patient
from dsnet.training.run import train
from dsnet.training.settings import parse
from meta_images import prostate, write_meta

TINY = [
    "--variant", "unet", "--width", "4", "--depth", "2", "--epochs", "1", "--batch", "8",
    "--threads", "1", "--device", "cpu", "--augment", "none",
]  # fmt: skip


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


@pytest.fixture
def cells(tmp_path):
    """Six pictures of cells, of no square size."""
    rng = np.random.default_rng(0)
    for number in range(6):
        inside = cv2.GaussianBlur(rng.normal(size=(60, 76)), (0, 0), 4) > -0.03
        grey = 90 + 80 * inside + rng.normal(0, 8, inside.shape)
        write(tmp_path / "em/image" / f"{number:02d}.png", grey.clip(0, 255).astype(np.uint8))
        write(tmp_path / "em/label" / f"{number:02d}.png", inside.astype(np.uint8) * 255)
    return tmp_path / "em"


def scored(study_module, store, out, *data):
    """The files that score writes, of a run that learnt for an epoch."""
    run = out / "run"
    train(parse([*TINY, "--data", *data, "--out", str(run)]))
    study_module.score(str(store), [str(run)], out)
    name = study_module.__name__.rpartition(".")[2]
    return json.loads((out / f"{name}.json").read_text()), (out / f"{name}.md").read_text()


def drawn(kind, store, runs, rows, out):
    """The columns of a sheet of `figures`, without its words."""
    given = [kind, str(store), *map(str, runs), "--cases", str(rows), "--out", str(out)]
    assert figures.main(given) == 0
    sheet = cv2.imread(str(out / f"{kind}.png"))[6:-6, 6:-6]
    assert sheet.shape[0] == 24 + rows * (160 + 24)
    each = [sheet[24 + k * 184 : 184 + k * 184] for k in range(rows)]
    count = (sheet.shape[1] + 6) // 166
    return [np.stack([row[:, 166 * i : 166 * i + 160] for row in each]) for i in range(count)]


def colourful(picture):
    return picture.max(-1).astype(int) - picture.min(-1) > 40


def test_a_turn_is_one_of_eight_symmetries():
    plane = np.arange(9).reshape(3, 3)
    views = [study.turned(plane, turn) for turn in range(8)]
    assert len({view.tobytes() for view in views}) == 8
    assert np.array_equal(views[1], [[2, 5, 8], [1, 4, 7], [0, 3, 6]])
    assert np.array_equal(views[4], [[2, 1, 0], [5, 4, 3], [8, 7, 6]])
    assert np.array_equal(study.turned(np.stack([plane, plane]), 5)[1], views[5])


def test_isbi_samples_are_windows_of_one_label_and_split_by_picture(cells, tmp_path, capsys):
    store = tmp_path / "isbi"
    assert isbi.prepare(store, cells, side=32, samples=10) == 60
    records = {record.key: record for record in open_store(store).records("ok")}
    image = cv2.imread(str(cells / "image/03.png"), cv2.IMREAD_UNCHANGED).astype(np.float32) / 255
    mask = cv2.imread(str(cells / "label/03.png"), cv2.IMREAD_UNCHANGED) > 0
    whole = label_mask(image, mask)
    for sample in range(10):
        record = records[f"03/sample-{sample}"]
        left, top = map(int, record.offset)
        window = (slice(top, top + 32), slice(left, left + 32))
        for plane, wanted in ((record.truth, mask), (record.alpha, whole.alpha)):
            # Undone by hand: mirrored back, then turned back.
            undone = plane[:, ::-1] if sample % 8 >= 4 else plane
            undone = np.rot90(undone, -(sample % 4))
            assert np.allclose(undone, wanted[window], atol=1e-4), sample
        assert record.metadata["patient"] == "03"
    assert len({records[f"03/sample-{k}"].image.tobytes() for k in range(10)}) == 10
    # The same again, to the bit; another seed takes other windows.
    again, other = tmp_path / "again", tmp_path / "other"
    isbi.prepare(again, cells, side=32)
    isbi.prepare(other, cells, side=32, seed=1)
    stores = [DeviceDataset.from_store(path).digest() for path in (store, again, other)]
    assert stores[0] == stores[1] != stores[2]
    data = DeviceDataset.from_store(store)
    split = split_by_patient(data.patients, (210, 60, 30), seed=5)
    parts = [{data.patients[i] for i in part} for part in split]
    assert [len(part) for part in parts] == [4, 1, 1] and len(set().union(*parts)) == 6
    with pytest.raises(ValueError, match="must be of 64 pixels"):
        isbi.prepare(tmp_path / "large", cells, side=64)
    found, text = scored(isbi, store, tmp_path, str(store), "--shares", "210", "60", "30")
    assert found["test samples"]["cases"] == 10 and found["test samples"]["patients"] == 1
    assert 0 <= found["test samples"]["rows"]["run"]["DICE"][0] <= 100
    assert "| DSNet, paper | 95.8 | 91.3 | 94.7 |  |" in text
    # Figure 8: image, truth, trimap, soft mask and what the run found, two samples held out.
    columns = drawn("soft-masks", store, [tmp_path / "run"], 2, tmp_path)
    assert len(columns) == 5
    assert set(np.unique(columns[1])) >= {0, 255} and not colourful(columns[1]).any()
    assert 128 in columns[2]
    capsys.readouterr()


def test_promise_slices_are_centred_and_split_by_volume(tmp_path, capsys):
    for case in range(5):
        image, outline = prostate(4, 50, 44, seed=case)
        outline[0] = 0
        path = tmp_path / "mr" / f"Case{case:02d}.mhd"
        write_meta(path, image, spacing=(2.5, 2.5, 3.6))
        if case < 4:
            write_meta(
                path.with_name(f"Case{case:02d}_segmentation.mhd"), outline, spacing=(2.5, 2.5, 3.6)
            )
    store = tmp_path / "store"
    assert promise.prepare(store, tmp_path / "mr", side=32) == 12
    records = list(open_store(store).records())
    assert sum(record.status == "failed" for record in records) == 4  # Case04 has no outline
    for record in records[:3]:
        assert record.image.shape == (32, 32) and record.spacing == pytest.approx((4, 4))
        # 128 mm around the slice's middle hold all of it, at 2.5 / 4 of the pixels a side.
        _, outline = prostate(4, 50, 44)
        area = outline[record.metadata["slice"]].sum() * (2.5 / 4) ** 2
        assert record.truth.sum() == pytest.approx(area, rel=0.1)
        middle = np.argwhere(record.truth).mean(0)
        assert np.abs(middle - 15.5).max() < 0.6
    found, text = scored(promise, store, tmp_path, str(store), "--shares", "460", "65", "130")
    assert found["test slices"]["patients"] == 1 and found["test slices"]["cases"] == 3
    assert "| DSNet, paper | 92.1 | 88.7 | 93.6 |  |" in text
    capsys.readouterr()


@pytest.fixture
def lidc(tmp_path):
    """LIDC's layout: eight patients, a nodule each, two slices, one of them empty to a reader."""
    rows = []
    for number in range(8):
        patient = f"LIDC-IDRI-{number + 1:04d}"
        folder = tmp_path / "lidc/LIDC-IDRI-slices" / patient / "nodule-0"
        for k in range(2):
            made = make_phantom(KINDS[number % len(KINDS)], 96, 10 * number + k, diameter_mm=14)
            outline = (made.alpha >= 0.5).astype(np.uint8) * 255
            write(folder / f"images/slice-{k}.png", np.rint(made.image * 255).astype(np.uint8))
            for reader in range(4):
                drawn = np.roll(outline, reader % 2, 0) if (k, reader) != (1, 3) else 0 * outline
                write(folder / f"mask-{reader}/slice-{k}.png", drawn)
        mark = make_phantom(KINDS[number % len(KINDS)], 96, 10 * number, diameter_mm=14).mark
        ends = {
            f"{axis}{end + 1}": float(value)
            for end, point in enumerate(mark.coordinates.reshape(4, 2))
            for axis, value in zip("xy", point, strict=True)
        }
        rows.append({"patient": patient, "nodule": "nodule-0", "largest_slice": "slice-0.png",
                     "spacing_mm": 0.7, **ends})  # fmt: skip
    with open(tmp_path / "lidc/nodules.csv", "w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return tmp_path / "lidc"


def test_lnsm_trains_on_marks_alone_and_holds_out_patients(lidc, tmp_path, capsys):
    folder = tmp_path / "lnsm"
    assert lnsm.prepare(folder, lidc, side=48) == {"train": 8, "held-out": 8}
    training, held = (list(open_store(folder / name).records()) for name in lnsm.STORES)
    patients = [{record.metadata["patient"] for record in part} for part in (training, held)]
    assert len(patients[0]) == len(patients[1]) == 4 and not patients[0] & patients[1]
    for record in training:
        # Nothing that a reader drew: no truth, and a mark whose ends are off the consensus.
        assert record.truth is None and "readers" not in record.metadata
        assert record.mark is not None and record.metadata["mark"] == "replayed"
    for record in held:
        name = record.key.replace("slice-", "images/slice-") + ".png"
        drawn = [
            cv2.imread(str(lidc / "LIDC-IDRI-slices" / name.replace("images", f"mask-{k}")), -1) > 0
            for k in range(4)
        ]
        left, top = map(int, record.offset)
        wanted = consensus(np.stack(drawn))
        assert record.scale == (1, 1) and record.truth.sum() == wanted.sum()
        window = wanted[max(top, 0) : top + 48, max(left, 0) : left + 48]
        assert window.sum() == wanted.sum()
        assert len(record.metadata["readers"]) == (3 if record.key.endswith("1") else 4)
    again = tmp_path / "again"
    lnsm.prepare(again, lidc, side=48)
    for one, other in zip(training, open_store(again / "train").records(), strict=True):
        assert np.array_equal(one.mark, other.mark)
    found, text = scored(
        lnsm, folder, tmp_path, str(folder / "train"), "--shares", "1000", "100", "0"
    )
    assert found["one slice a nodule, the largest"]["cases"] == 4
    rows = found["all slices"]["rows"]
    assert found["all slices"]["cases"] == 8 and list(rows) == [
        "run", "one reader", "strategy 3 of a replayed mark",
    ]  # fmt: skip
    # Phantoms' masks that are one pixel apart: readers are close, and so is a label of a mark.
    assert rows["one reader"]["DICE"][0] > 90 and rows[list(rows)[2]]["DICE"][0] > 70
    assert "| DSNet, paper | 91.90 ± 1.50 | 89.97 ± 1.30 | 94.29 ± 2.50 |  |" in text
    capsys.readouterr()


def test_networks_are_compared_over_seeds_and_with_the_readers(lidc, tmp_path, monkeypatch, capsys):
    for module in (train_lidc, lidc_networks, figures):
        monkeypatch.setattr(module, "shared_data", lambda name: lidc)
    store, runs = str(tmp_path / "store"), str(tmp_path / "runs")
    train_lidc.prepare(store, side=48)
    sizes = ["--seeds", "2", "--epochs", "1", "--width", "2", "--threads", "1"]
    only = ["--only", "unet", "backbone, mark"]
    assert lidc_networks.main(["train", store, runs, *sizes, *only]) == 0
    assert lidc_networks.main(["score", store, runs, *sizes, "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "lidc_networks.json").read_text())
    rows = result["parts"]["all slices"]
    assert list(rows) == ["unet", "backbone, mark", "one reader"]
    for name, row in list(rows.items())[:2]:
        # Both slices of each patient held out; as evaluate has them.
        assert row["cases"] == 2 * row["patients"] and row["seeds"] == 2
        folders = [str(lidc_networks.folder_of(runs, name, seed)) for seed in range(2)]
        (found,) = evaluate(folders, surface=False)
        assert row["dice"] == pytest.approx(100 * found.values["dice"].mean())
        assert row["dice"] == pytest.approx(np.mean(row["dice_seeds"]))
    difference = rows["backbone, mark"]["dice"] - rows["unet"]["dice"]
    assert rows["backbone, mark"]["dice_difference"][0] == pytest.approx(difference)
    # Readers 1 and 3 drew the same, readers 2 and 4 too: a pixel lower; the consensus is both's.
    table = result["readers"]
    place = {name: k for k, name in enumerate(table["columns"])}
    dice = np.array(table["dice"])
    assert np.allclose(np.diag(dice), 100) and np.allclose(dice, dice.T)
    assert dice[place["reader 1"], place["reader 3"]] == pytest.approx(100)
    assert 60 < dice[place["reader 1"], place["reader 2"]] < 100
    text = (tmp_path / "lidc_networks.md").read_text()
    assert "| unet |" in text and "backbone, mark" in text and "reader 4" in text
    # Figure 7: the nodule, four readers, their consensus, a network.
    unet = lidc_networks.folder_of(runs, "unet", 0)
    columns = drawn("readers", store, [unet], 2, tmp_path)
    assert len(columns) == 7 and not colourful(columns[0]).any()
    for k, column in enumerate(columns[1:6]):
        _, green, red = column[colourful(column)].T.astype(int)
        assert len(red) > 100 and ((green > red) if k == 4 else (red > green)).all()
    # Readers 1 and 3 drew the same, reader 2 a pixel lower.
    assert (columns[1] == columns[3]).all() and (columns[1] != columns[2]).any()


def test_rungs_stand_beside_the_one_before_and_are_drawn(lidc, tmp_path, monkeypatch, capsys):
    for module in (train_lidc, lidc_networks, figures):
        monkeypatch.setattr(module, "shared_data", lambda name: lidc)
    # Of every second slice a dot is left, which crops of fewer pixels have no longer.
    dot = np.zeros((96, 96), np.uint8)
    dot[48, 48] = 255
    for file in lidc.rglob("mask-*/slice-1.png"):
        write(file, dot)
    store, runs = str(tmp_path / "store"), str(tmp_path / "runs")
    train_lidc.prepare(store, side=24)
    sizes = ["--rows", "rungs", "--seeds", "1", "--epochs", "1", "--width", "2", "--threads", "1"]
    assert lidc_networks.main(["teacher", store, runs, "--sr-steps", "1", "--threads", "1"]) == 0
    learnt = json.loads((tmp_path / "runs/teacher.json").read_text())
    only = ["--only", "unet", "backbone", "sdrfm"]
    assert lidc_networks.main(["train", store, runs, *sizes, *only]) == 0
    made = json.loads((tmp_path / "runs/sdrfm-0/settings.json").read_text())
    assert made["teacher"] == str(tmp_path / "runs/teacher.pt") and made["scale"] == 4
    assert made["batch"] == 8 and made["size"] == 16 and made["lr"] == pytest.approx(2e-4 * 8**0.5)
    patients = {key.partition("/")[0] for key in json.loads(
        (tmp_path / "runs/unet-0/split.json").read_text())["train"]}  # fmt: skip
    assert {path.rpartition("/")[2] for path in learnt["images"]} == patients
    assert lidc_networks.main(["score", store, runs, *sizes, "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "lidc_rungs.json").read_text())
    rows = result["parts"]["all slices"]
    # Readers drew on finer pixels.
    assert list(rows) == ["unet", "backbone", "sdrfm"]
    for name, before in (("backbone", "unet"), ("sdrfm", "backbone")):
        step = rows[name]["dice"] - rows[before]["dice"]
        assert rows[name]["dice_step"][0] == pytest.approx(step)
    assert rows["sdrfm"]["paper"] == 82.83
    assert rows["unet"]["cases"] == rows["unet"]["patients"] == result["vanished"]
    assert "| 82.83 |" in (tmp_path / "lidc_rungs.md").read_text()
    # Figure 5: the slice enlarged, the teacher's, the first block's attention.
    folders = [tmp_path / "runs/backbone-0", tmp_path / "runs/sdrfm-0"]
    assert len(drawn("attention", store, folders, 1, tmp_path)) == 4
    with pytest.raises(ValueError, match="must have CBAM blocks"):
        drawn("attention", store, [tmp_path / "runs/unet-0"], 1, tmp_path)
    capsys.readouterr()


def test_a_runs_sizes_are_its_groups_or_the_papers(tmp_path, monkeypatch):
    def sizes(*given):
        asked = []
        monkeypatch.setattr(
            lidc_networks, "train", lambda settings: asked.append(settings) or {"stopped": True}
        )
        assert lidc_networks.main(["train", "store", str(tmp_path), *given]) == 0
        names = ("width", "epochs", "batch", "size", "scale", "judge_width", "teacher_blocks")
        return [getattr(asked[0], name) for name in names], asked[0].lr

    assert sizes() == ([8, 30, 32, 0, 1, 64, 16], 1.1e-3)
    small = ([8, 6, 8, 16, 4, 16, 8], pytest.approx(2e-4 * 8**0.5))
    assert sizes("--rows", "rungs") == small
    assert sizes("--rows", "rungs", "--full") == ([64, 60, 32, 0, 4, 64, 16], 1.1e-3)
    given = ["--epochs", "3", "--batch", "16", "--size", "24", "--full"]
    assert sizes("--rows", "rungs", *given) == ([64, 3, 16, 24, 4, 64, 16], 8e-4)


def test_a_run_that_was_stopped_is_not_done(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        lidc_networks, "train", lambda settings: asked.append(settings) or {"stopped": True}
    )
    folder = lidc_networks.folder_of(str(tmp_path), "unet", 0)
    folder.mkdir()
    for resume in (False, True):
        assert lidc_networks.main(["train", "store", str(tmp_path)]) == 0
        assert asked[-1].resume == resume and not list(tmp_path.rglob("done"))
        (folder / "checkpoint.pt").touch()
    capsys.readouterr()


def test_the_attention_drawn_is_the_blocks_own():
    torch.manual_seed(0)
    network = build("backbone", width=4, depth=1, scale=1).eval()
    block = network.network.encoder[0]
    spatial = block.cbam.SpatialGate["spatial"]
    torch.nn.init.normal_(spatial["bn"].weight, std=30)
    torch.nn.init.normal_(spatial["bn"].bias)
    image = torch.rand(2, 1, 9, 7)
    found = figures.spatial_attention(network, image)
    assert not block.conv2._forward_hooks
    # What the block makes of its input, over what it makes where the gate is one half everywhere.
    seen = []
    block.cbam.register_forward_pre_hook(
        lambda module, given, more: seen.append((given[0], more)), with_kwargs=True
    )
    with torch.no_grad():
        network(image)
        x, how = seen[0][0], {name: seen[0][1][name] for name in ("scale", "shift")}
        gated = block.cbam(x, **how)
        spatial["bn"].weight.zero_()
        spatial["bn"].bias.zero_()
        half = block.cbam(x, **how)
    strongest = half.abs().argmax(1, keepdim=True)
    wanted = (gated / half).gather(1, strongest)[:, 0, :9, :7] / 2
    assert np.allclose(found, wanted, atol=1e-5) and found.std() > 0.01
