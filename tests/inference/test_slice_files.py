"""Slices from files as they lie about: one bad file costs its rows, and no two share a picture."""

import csv
import os

import cv2
import numpy as np
import pytest
import torch

from dsnet import predict as command
from dsnet.data.crop_settings import CropSettings
from dsnet.models import build, save_model

MARK = '"30, 40, 50, 40, 40, 32, 40, 48"'


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "best.pt"
    torch.manual_seed(1)
    save_model(path, build("unet", width=2, depth=1), CropSettings(64, "auto").to_dict())
    return str(path)


def slice_file(path, side=96, codes=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    if codes is None:
        codes = random.integers(-900, 100, (side, side)) + 32768
    ok, data = cv2.imencode(path.suffix, codes.astype(np.uint16))
    assert ok
    path.write_bytes(data.tobytes())


def lesions(out):
    with open(out / "lesions.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_slice_of_another_size_than_the_tables_fails(tmp_path, model):
    slice_file(tmp_path / "images/s_1.png")
    text = "File_name,Measurement_coordinates,Image_size\n"
    text += "".join(f's_1.png,{MARK},"{size}"\n' for size in ("96, 96", "192, 192", ""))
    (tmp_path / "t.csv").write_text(text)
    arguments = [model, "--images", str(tmp_path / "images"), "--device", "cpu"]
    arguments += ["--annotations", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out")]
    assert command.main(arguments) == 0
    rows = lesions(tmp_path / "out")
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    assert "Image_size 192x192, got 96x96 pixels" in rows[1]["reason"]


def test_one_bad_file_costs_its_rows(tmp_path, model, capsys):
    images = tmp_path / "images"
    for name in ("a.png", "z.tif"):
        slice_file(images / name)
    slice_file(images / "windowed.png", codes=np.random.default_rng(0).integers(0, 65536, (96, 96)))
    slice_file(images / "large.png", side=97)
    os.mkfifo(images / "pipe.png")
    (images / "zero.dcm").symlink_to("/dev/zero")
    (images / "text.dcm").write_text("no DICOM")
    names = ("a.png", "windowed.png", "large.png", "pipe.png", "zero.dcm", "text.dcm", "z.tif")
    rows = "".join(f"{name},30,32,50,48\n" for name in names)
    (tmp_path / "b.csv").write_text("file,x0,y0,x1,y1\n" + rows)
    arguments = [model, "--images", str(images), "--boxes", str(tmp_path / "b.csv")]
    arguments += ["--out", str(tmp_path / "out"), "--device", "cpu", "--max-pixels", "9216"]
    assert command.main(arguments) == 0
    reasons = {row["file"]: row["reason"] for row in lesions(tmp_path / "out")}
    assert list(reasons) == list(names)
    assert reasons["a.png"] == reasons["z.tif"] == ""
    for name, told in (
        ("windowed.png", "must hold HU + 32768"),
        ("large.png", "97x97 pixels, more than the 9216 allowed"),
        ("pipe.png", "regular file"),
        ("zero.dcm", "regular file"),
        ("text.dcm", "text.dcm: "),
    ):
        assert told in reasons[name]
    assert "--pictures takes windowed ones" in reasons["windowed.png"]


def test_files_that_differ_in_their_endings_keep_their_pictures(tmp_path, model):
    images = tmp_path / "images"
    for name in ("a.png", "a.tif", "b.png"):
        slice_file(images / name)
    rows = "a.png,20,20,30,30\na.tif,60,60,80,80\nb.png,20,20,30,30\n"
    (tmp_path / "b.csv").write_text("file,x0,y0,x1,y1\n" + rows)
    arguments = [model, "--images", str(images), "--boxes", str(tmp_path / "b.csv")]
    arguments += ["--out", str(tmp_path / "out"), "--device", "cpu"]
    assert command.main(arguments) == 0
    for kind in ("soft", "binary", "overlay"):
        names = sorted(path.name for path in (tmp_path / "out" / kind).iterdir())
        assert names == ["a.png.png", "a.tif.png", "b.png"]


def test_a_folder_that_is_no_utf8_is_no_hindrance(tmp_path, model):
    images = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"caf\xe9"))
    os.mkdir(images)
    (tmp_path / "b.csv").write_text("file,x0,y0,x1,y1\nnone.png,1,1,9,9\n")
    arguments = [model, "--images", images, "--boxes", str(tmp_path / "b.csv")]
    arguments += ["--out", str(tmp_path / "out"), "--device", "cpu"]
    assert command.main(arguments) == 1
    (row,) = lesions(tmp_path / "out")
    assert "caf\\udce9" in row["reason"] and "No such file" in row["reason"]
