"""`python -m dsnet.predict`: tables in, masks, pictures and rows out."""

import csv

import cv2
import numpy as np
import pytest
import torch

from dsnet import predict as command
from dsnet.data.crop_settings import CropSettings
from dsnet.data.datasets.boxes import read_boxes
from dsnet.data.datasets.deeplesion import read_annotations, read_crops
from dsnet.data.store.lock import writing
from dsnet.inference import segment, segment_slice, slices
from dsnet.labeling import RecistMark
from dsnet.models import build, load_model, save_model
from echo_network import Echo
from shared_data import shared

BOX = (40, 30, 52, 46)


def noise(height=96, width=120):
    # Sixteenths of these are exact, so that a mean of equal values is that value.
    levels = np.random.default_rng(3).integers(0, 4097, (height, width))
    return (levels / 4096).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "best.pt"
    torch.manual_seed(1)
    save_model(path, build("unet", width=4, depth=2), CropSettings(64, "auto").to_dict())
    return str(path)


def table(path, header, *rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def lesions(out):
    with open(out / "lesions.csv", newline="") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


def test_boxes_of_pictures_give_masks_an_overlay_and_a_row_each(tmp_path, model, capsys):
    images, out = tmp_path / "images", tmp_path / "out"
    (images / "a").mkdir(parents=True)
    cv2.imwrite(str(images / "a" / "s.png"), (noise() * 255).astype(np.uint8))
    boxes = table(
        tmp_path / "boxes.csv",
        "File,x0,y0,x1,y1,spacing_mm,key",
        "a/s.png,40,30,52,46,0.5 0.8,",
        "a/s.png,50,40,66,50,0.5 0.8,second",
        "a/s.png,5,5,5,9,,",
        "none.png,1,1,5,9,,",
        "../s.png,1,1,5,9,,",
        "a/s.png,nan,1,5,9,,",
        ",1,1,5,9,,",
        "a/s.png,1,1",
    )
    arguments = [model, "--images", str(images), "--boxes", boxes, "--out", str(out)]
    assert command.main([*arguments, "--pictures", "--threshold", "0.05"]) == 0
    rows = lesions(out)
    reasons = [
        ("a/s#", ""),
        ("second", ""),
        ("a/s#", "x0 < x1"),
        ("none#", "No such file"),
        ("../s#", "below --images"),
        ("a/s#", "x0 < x1"),
        ("nameless#", "file is empty"),
        ("a/s#", "must be 4 numbers"),
    ]
    assert len(rows) == len(reasons)
    # In the table's order within a slice, slices in the order of their first rows.
    by_line = [rows[a.key] for a in read_boxes(boxes)]
    for row, (start, word) in zip(by_line, reasons, strict=True):
        assert row["key"].startswith(start) and word in row["reason"]
        assert row["status"] == ("failed" if word else "ok")
    soft = cv2.imread(str(out / "soft/a/s.png"), -1)
    binary = cv2.imread(str(out / "binary/a/s.png"), -1)
    expected = segment_slice(
        load_model(model),
        (noise() * 255).astype(np.uint8) / np.float32(255),
        [BOX, (50, 40, 66, 50)],
        threshold=0.05,
    )
    assert soft.dtype == np.uint16 and np.abs(soft / 65535 - expected.soft).max() < 1e-4
    assert np.array_equal(binary > 0, expected.binary)
    first, area = by_line[0], expected.lesions[0].area_pixels
    assert int(first["area_px"]) == area and float(first["area_mm2"]) == pytest.approx(0.4 * area)
    assert float(first["mean_alpha"]) == pytest.approx(expected.lesions[0].mean_alpha, abs=1e-3)
    overlay = cv2.imread(str(out / "overlay/a/s.png"))
    assert overlay.shape[0] >= 800 and len(np.unique(overlay.reshape(-1, 3), axis=0)) > 256
    assert command.main([*arguments, "--pictures", "--threshold", "0.05"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert command.main([*arguments, "--pictures", "--overwrite", "--strict"]) == 1
    # Without --pictures 8 bits are no HU: every row says so.
    (out / "s.png").write_bytes(b"where ../s.png leads")
    assert command.main([*arguments, "--overwrite"]) == 1
    assert "--pictures" in lesions(out)["second"]["reason"]
    # No mask of the run before stands for one that failed now.
    assert [path.name for path in out.rglob("*.png")] == ["s.png"]


def test_predict_takes_the_threshold_that_the_model_has(tmp_path, model, capsys):
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "s.png"), (noise() * 255).astype(np.uint8))
    boxes = table(tmp_path / "boxes.csv", "file,x0,y0,x1,y1", "s.png,40,30,52,46")
    chosen = str(tmp_path / "chosen.pt")
    crop = CropSettings(64, "auto").to_dict()
    picture = (noise() * 255).astype(np.uint8) / np.float32(255)
    soft = segment_slice(load_model(model), picture, [BOX]).soft
    middle = round(float(np.median(soft[soft > 0])), 5)
    save_model(chosen, load_model(model), crop, threshold=middle)
    for file, options, at, says in (
        (chosen, [], middle, f"from {middle:g} on, as "),
        (chosen, ["--threshold", "0.05"], 0.05, "from 0.05 on, as given"),
        (model, [], 0.5, "model has no threshold of its own"),
    ):
        out = tmp_path / f"out-{at}"
        arguments = [file, "--images", str(images), "--boxes", boxes, "--out", str(out)]
        assert command.main([*arguments, "--pictures", *options]) == 0
        told = capsys.readouterr().out
        assert says.replace("model has", f"{model} has") in told
        soft, binary = (cv2.imread(str(out / kind / "s.png"), -1) for kind in ("soft", "binary"))
        # The picture's soft mask is rounded.
        sure = np.abs(soft / 65535 - at) > 1e-5
        assert at != middle or 0 < (binary > 0).sum() < (soft > 0).sum()
        assert np.array_equal((binary > 0)[sure], (soft / 65535 >= at)[sure])


def test_deeplesions_marks_are_cut_as_for_training(tmp_path, model, monkeypatch):
    images, out = shared("deeplesion", "Images_png"), tmp_path / "out"
    rows = read_annotations(shared("deeplesion", "DL_info.csv"), origin=0)[:4]
    crops = [crop.image for _, crop in read_crops(rows, images)]
    echo = Echo()
    real = segment._answers
    monkeypatch.setattr(
        segment, "_answers", lambda model, *rest: (real(echo, *rest), real(model, *rest))[1]
    )
    marks = str(shared("deeplesion", "DL_info.csv"))
    arguments = [model, "--images", str(images), "--annotations", marks, "--out", str(out)]
    assert command.main([*arguments, "--limit", "4", "--origin", "0"]) == 0
    assert np.array_equal(torch.cat(echo.seen)[:, 0].numpy(), np.stack(crops))
    found = lesions(out)
    assert list(found) == [row.key for row in rows] and found[rows[0].key]["window_low"] == "-175.0"
    assert (out / "overlay" / rows[0].file_name).is_file()


def test_marks_of_a_table_count_from_its_origin(tmp_path, model, monkeypatch, capsys):
    cv2.imwrite(str(tmp_path / "s_1.png"), (noise() * 255).astype(np.uint8))
    marks = table(
        tmp_path / "marks.csv",
        "File_name,Measurement_coordinates",
        's_1.png,"40.5, 30.5, 60.5, 50.5"',
        's_1.png,"41, 31, 61, 51, 61, 31, 48, 44"',
    )
    seen, real = [], segment_slice
    monkeypatch.setattr(
        slices, "segment_slice", lambda m, i, p, **o: seen.append(p) or real(m, i, p, **o)
    )
    arguments = [model, "--images", str(tmp_path), "--annotations", marks, "--pictures"]
    for n, options in enumerate(([], ["--origin", "1"])):
        out = tmp_path / f"out{n}"
        assert command.main([*arguments, "--threshold", "0.05", "--out", str(out), *options]) == 0
        assert [row["status"] for row in lesions(out).values()] == ["ok", "ok"]
    (line, both), (_, shifted) = seen
    assert line == RecistMark.from_long_axis([40, 30, 60, 50])
    assert both == RecistMark.from_coordinates([40.5, 30.5, 60.5, 50.5, 60.5, 30.5, 47.5, 43.5])
    assert shifted == both.translated(-0.5, -0.5)
    assert command.main([*arguments, "--out", str(tmp_path / "o"), "--origin", "2"]) == 2
    assert "origin must be within 0 and 1 pixels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--images", "nowhere"], "--images must be a folder"),
        (["--boxes", "nowhere.csv"], "No such file"),
        (["--device", "cuda"], "or use device='cpu'"),
        (["--origin", "0.5"], "--origin is of --annotations"),
    ],
)
def test_wrong_use_is_told_in_one_line(tmp_path, model, capsys, change, words):
    if "cuda" in change and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    boxes = table(tmp_path / "b.csv", "file,x0,y0,x1,y1", "s.png,1,1,5,5")
    arguments = [model, "--images", str(tmp_path), "--boxes", boxes, "--out", str(tmp_path / "o")]
    assert command.main([*arguments, *change]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_a_table_without_its_columns_is_refused(tmp_path):
    with pytest.raises(ValueError, match="column y1 is missing"):
        read_boxes(table(tmp_path / "b.csv", "file,x0,y0,x1", "s.png,1,1,5"))
    with pytest.raises(ValueError, match="column file is missing"):
        read_boxes(table(tmp_path / "b.csv", "x0,y0,x1,y1", "1,1,5,5"))


def test_a_network_is_exported_for_other_runtimes(tmp_path, model, capsys):
    file = tmp_path / "new" / "net.pt2"
    assert command.main([model, "--export", str(file), "--size", "24"]) == 0
    assert "24 x 24 pixels" in capsys.readouterr().out
    assert [path.name for path in file.parent.iterdir()] == ["net.pt2"]
    image = torch.rand(3, 1, 24, 24)
    with torch.no_grad():
        expected = load_model(model)(image)
        assert torch.allclose(torch.export.load(file).module()(image), expected, atol=1e-5)
    assert command.main([model, "--export", str(tmp_path / "net.pth")]) == 2
    assert "--export must be a file NAME.onnx or NAME.pt2" in capsys.readouterr().err


def test_what_is_needed_to_segment_is_asked_for(tmp_path, model, capsys):
    for given, word in (([], "--annotations"), (["--boxes", "b.csv"], "--images, --out")):
        with pytest.raises(SystemExit) as exit:
            command.main([model, *given])
        assert exit.value.code == 2 and word in capsys.readouterr().err


def test_two_runs_do_not_write_to_one_folder(tmp_path, model, capsys):
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    cv2.imwrite(str(images / "s.png"), (noise() * 255).astype(np.uint8))
    boxes = table(tmp_path / "boxes.csv", "file,x0,y0,x1,y1", "s.png,40,30,52,46")
    arguments = [model, "--images", str(images), "--boxes", boxes, "--pictures", "--out", str(out)]
    with writing(out, "it"):
        for more in ([], ["--overwrite"]):
            assert command.main([*arguments, *more]) == 2
            told = capsys.readouterr().err
            assert told.count("\n") == 1
            assert f"another process is writing to the folder {out}" in told
        assert [path.name for path in out.iterdir()] == [".lock"]
    assert not out.exists()
    assert command.main(arguments) == 0 and not (out / ".lock").exists()
    assert command.main(arguments) == 2 and "is not empty" in capsys.readouterr().err
    arguments[-1] = boxes
    assert command.main([*arguments, "--overwrite"]) == 2
    assert f"--out must be a folder, {boxes} is a file" in capsys.readouterr().err
    # What is refused leaves no folder behind.
    arguments[-1] = str(tmp_path / "other")
    assert command.main(["nothing.pt", *arguments[1:]]) == 2
    assert not (tmp_path / "other").exists()


def test_rows_of_boxes_say_that_a_network_of_marks_saw_none(tmp_path, capsys):
    images, path = tmp_path / "images", tmp_path / "best.pt"
    images.mkdir()
    cv2.imwrite(str(images / "s.png"), (noise() * 255).astype(np.uint8))
    torch.manual_seed(1)
    seeing = build("unet", width=4, depth=1, mark_input=True)
    save_model(path, seeing, CropSettings(48, "none").to_dict())
    boxes = table(tmp_path / "b.csv", "file,x0,y0,x1,y1,key", "s.png,40,30,52,46,a")
    marks = table(
        tmp_path / "m.csv", "File_name,Measurement_coordinates",
        's.png,"40,38,52,38,46,30,46,46"',
    )  # fmt: skip
    given = [str(path), "--images", str(images), "--pictures", "--device", "cpu"]
    assert command.main([*given, "--boxes", boxes, "--out", str(tmp_path / "of-boxes")]) == 0
    assert "middle lines" in capsys.readouterr().err
    row = lesions(tmp_path / "of-boxes")["a"]
    assert row["status"] == "ok"
    assert row["notes"].count("a box tells no mark: the network saw its middle lines as one") == 1
    assert read_boxes(boxes)[0].from_box and not read_annotations(marks)[0].from_box
