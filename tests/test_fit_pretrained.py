"""The fit of the released weights, tiny: files, figures and model card of one piece."""

import json
import re

import cv2
import numpy as np
import pytest
import torch

from bench.fits import pretrained as fit
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.data.store import StoreWriter
from dsnet.data.store.record import LabelRecord
from dsnet.models import DSNet, load_model
from dsnet.models.checkpoint import model_crop, model_inputs
from dsnet.models.released import FOLDER

PATIENTS = 12


@pytest.fixture
def lidc(tmp_path):
    """A store and whole pictures of the same patients."""
    with StoreWriter(str(tmp_path / "store"), {"strategy": "raters", "side": 16}) as writer:
        for number in range(PATIENTS):
            made = make_phantom(KINDS[number % len(KINDS)], 16, number)
            patient = f"LIDC-IDRI-{number:04d}"
            writer.append(
                LabelRecord(
                    key=f"{patient}/nodule-0/slice-0",
                    source="phantom",
                    image=made.image,
                    alpha=made.alpha,
                    binary=made.alpha >= 0.5,
                    trimap=np.zeros((16, 16), np.uint8),
                    metadata={"largest": number % 2 == 0, "patient": patient},
                )
            )
            whole = make_phantom(KINDS[number % len(KINDS)], 48, number).image
            file = tmp_path / "pictures" / patient / "nodule-0" / "images" / "slice-0.png"
            file.parent.mkdir(parents=True)
            cv2.imwrite(str(file), np.rint(whole * 255).astype(np.uint8))
    return tmp_path


@pytest.mark.long
def test_all_three_are_written_with_figures_and_card(lidc):
    threads = torch.get_num_threads()
    given = [
        str(lidc / "store"), "--epochs", "1", "--width", "2", "--threads", "1", "--sr-steps", "2",
        "--sr-patch", "32", "--pictures", str(lidc / "pictures"), "--runs", str(lidc / "runs"),
        "--out", str(lidc / "weights"), "--results", str(lidc / "results"),
    ]  # fmt: skip
    try:
        assert fit.main([*given, "--only", "dsnet-lidc-sr"]) == 0
        assert fit.main(given) == 0
    finally:
        torch.set_num_threads(threads)
    told = json.loads((lidc / "results" / "pretrained.json").read_text())["weights"]
    assert list(told) == ["dsnet-lidc", "dsnet-lidc-mark", "dsnet-lidc-sr"]
    card = (lidc / "weights" / "README.md").read_text()
    for name in told:
        file = lidc / "weights" / f"{name}.safetensors"
        model = load_model(file)
        count = sum(p.numel() for p in model.parameters())
        assert told[name]["parameters"] == count and told[name]["bytes"] == file.stat().st_size
        assert f"- `{name}`: {count:,} parameters" in card
        if isinstance(model, DSNet):
            crop = {"size": 16, "window": [-1000.0, 400.0], "isotropic_mm": None}
            assert model_crop(file) == {**crop, "network_size": None}
            assert model_inputs(file) == (0, name == "dsnet-lidc-mark")
            held = told[name]["held_out"]
            # A sixth of the patients is held out, and of these the even ones are the largest.
            assert held["all slices"]["patients"] == held["all slices"]["cases"] == 2
            assert held["largest"]["cases"] < 2 or held["largest"]["patients"] == 2
            assert f"{held['all slices']['DICE'][0]:.2f}" in card
    assert told["dsnet-lidc-sr"]["held_out"]["slices"] == 2
    assert "Not measured yet" not in card and "CC BY 3.0" in card
    # All but the block is the card as it was.
    between = re.compile(f"{re.escape(fit.BEGIN)}.*{re.escape(fit.END)}", re.DOTALL)
    assert between.sub("", card) == between.sub("", (FOLDER / "README.md").read_text())


def test_a_width_that_makes_large_files_is_refused_at_once(tmp_path):
    with pytest.raises(SystemExit, match=r"--width must make files of 10 MB at most, 32 makes"):
        fit.main(["store", "--width", "32", "--out", str(tmp_path), "--results", str(tmp_path)])


def test_a_card_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="the model card must have the lines"):
        fit.card("# Weights\n", {})
