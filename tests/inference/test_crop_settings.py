"""How the crops were made that a network learnt from: of its file, its training's, or a store."""

import inspect
import json
from dataclasses import replace

import numpy as np
import pytest

from dsnet import label
from dsnet import predict as command
from dsnet.data.crop import Crop
from dsnet.data.crop_settings import CropSettings, of_store
from dsnet.data.store import StoreWriter
from dsnet.data.store.record import LabelRecord
from dsnet.inference import crop_settings, segment_slice
from dsnet.labeling import label_mask
from dsnet.models import build, save_model

CROP = CropSettings(48, (-1000.0, 200.0), 0.7, 32)


def test_a_model_file_says_how_its_crops_are_cut(tmp_path):
    file = tmp_path / "best.pt"
    save_model(file, build("unet", width=4, depth=2), CROP.to_dict())
    # What lies beside it is of no account.
    (tmp_path / "settings.json").write_text(json.dumps({"data": "", "size": 96}))
    found = crop_settings(file)
    assert replace(found, source="") == CROP and "best.pt" in found.source
    assert replace(crop_settings(file, size=64), source="") == CropSettings(64, CROP.window, 0.7)
    assert crop_settings(file, window="auto").window == "auto"
    assert crop_settings(file, isotropic_mm="native").isotropic_mm is None
    assert crop_settings(file, isotropic_mm=0.5).network_size == 32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 0}, "size must be a whole number in 1..65536, got 0"),
        ({"size": None}, "size must be"),
        ({"window": [200, -1000]}, "window must be .* low below high"),
        ({"window": [1, float("nan")]}, "window must be"),
        ({"window": ["a", "b"]}, "window must be"),
        ({"window": None}, "window must be"),
        ({"isotropic_mm": 0.0}, "isotropic_mm must be a number above 0"),
        ({"isotropic_mm": "0.7"}, "isotropic_mm must be a number above 0"),
        ({"network_size": 1.5}, "network_size must be"),
        ({1: 1}, r"best\.pt must have \[.*, got \["),
        ({"colour": 1}, r"best\.pt must have \[.*, got \["),
    ],
)
def test_what_a_file_cannot_have_as_its_crop_is_told(tmp_path, change, words):
    save_model(tmp_path / "best.pt", build("unet", width=4, depth=2), {**CROP.to_dict(), **change})
    with pytest.raises(ValueError, match=words):
        crop_settings(tmp_path / "best.pt")


def test_a_store_may_be_made_with_what_a_model_file_may_say(capsys):
    assert CropSettings(64, "auto", 1000).isotropic_mm == 1000
    said = "must be a number above 0 and of at most 1000, got 1000.5"
    with pytest.raises(ValueError, match=f"isotropic_mm {said}"):
        CropSettings(64, "auto", 1000.5)
    where = ["--images", "i", "--annotations", "t.csv", "--out", "o", "--isotropic", "1000.5"]
    for main, first in ((label.main, "recist"), (command.main, "m.pt")):
        with pytest.raises(SystemExit) as ended:
            main([first, *where])
        assert ended.value.code == 2 and said in capsys.readouterr().err


def test_a_model_that_is_saved_with_nothing_more_has_the_usual_crops(tmp_path):
    file = tmp_path / "best.pt"
    save_model(file, build("unet", width=4, depth=2))
    # What is read is what the defaults of the function that uses it are.
    found = crop_settings(file)
    assert replace(found, source="") == CropSettings(64, "auto", None)
    defaults = inspect.signature(segment_slice).parameters
    for name in ("size", "isotropic_mm", "network_size"):
        assert getattr(found, name) == defaults[name].default
    assert crop_settings(file, size=96).size == 96


def test_a_model_file_that_does_not_say_is_asked_for_in_words(tmp_path, capsys):
    file = tmp_path / "best.pt"
    save_model(file, build("unet", width=4, depth=2), None)
    for given in ({}, {"size": 64}, {"size": 64, "window": "auto"}):
        with pytest.raises(ValueError, match=r"give --size, --window .* and --isotropic"):
            crop_settings(file, **given)
    found = crop_settings(file, size=64, window=(-1, 1), isotropic_mm="native")
    assert replace(found, source="") == CropSettings(64, (-1, 1))
    boxes = tmp_path / "b.csv"
    boxes.write_text("file,x0,y0,x1,y1\ns.png,1,1,5,5\n")
    where = ["--images", str(tmp_path), "--boxes", str(boxes), "--out", str(tmp_path / "o")]
    assert command.main([str(file), *where]) == 2
    error = capsys.readouterr().err
    assert "does not say how the crops were made" in error and error.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_of_an_older_file_the_store_is_asked_that_its_training_names(tmp_path):
    file = tmp_path / "best.pt"
    save_model(file, build("unet", width=4, depth=2), None)
    store = tmp_path / "store"
    made = {"strategy": "recist", "size": 96, "window": [-1350, 150], "isotropic_mm": 0.7}
    StoreWriter(store, made).close()
    (tmp_path / "settings.json").write_text(json.dumps({"data": str(store), "size": 32}))
    found = crop_settings(file)
    assert replace(found, source="") == CropSettings(96, (-1350, 150), 0.7, 32)
    assert str(store) in found.source
    store.rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="does not say how the crops were made"):
        crop_settings(file)
    (tmp_path / "settings.json").write_text(json.dumps({"data": "", "size": 48}))
    assert replace(crop_settings(file), source="") == CropSettings(48, (-1350.0, 150.0))
    for odd, words in (
        ("[]", "must be a JSON object, got list"),
        ('{"data": 1}', "must have data"),
    ):
        (tmp_path / "settings.json").write_text(odd)
        with pytest.raises(ValueError, match=rf"settings\.json: {words}"):
            crop_settings(file)


def test_a_store_says_how_its_crops_were_cut(tmp_path):
    def crops(name, settings):
        with StoreWriter(tmp_path / name, settings) as writer:
            image = np.random.default_rng(3).random((40, 40), np.float32)
            label = label_mask(image, image > 0.9)
            writer.append(LabelRecord.from_label(Crop(image, key="a"), label))
        found = of_store(tmp_path / name)
        return found and replace(found, source="")

    # Of whole pictures the rows say the size, and pictures are taken as they are.
    assert crops("masks", {"strategy": "masks"}) == CropSettings(40, "none")
    assert crops("hu", {"strategy": "masks", "window": [-1, 1]}) == CropSettings(40, (-1, 1))
    assert crops("auto", {"strategy": "recist", "size": 40, "window": "auto"}) == CropSettings(
        40, "auto"
    )
    phantoms = {"strategy": "recist", "size": 40, "phantoms": True}
    assert crops("phantoms", phantoms) == CropSettings(40, (-1350.0, 150.0))
    assert crops("unknown", {}) is None
    for odd in ({"size": "big"}, {"window": [1]}, {"isotropic_mm": -1}):
        with pytest.raises(ValueError, match=f"settings of .*{next(iter(odd))} must be"):
            crops(f"odd-{odd}", {"strategy": "recist", **odd})
