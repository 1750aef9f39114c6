"""Saved models: one call loads them, whatever wrapped them when they were saved."""

import os

import pytest
import torch
from torch import nn

from dsnet.models import (
    VARIANTS,
    DSNet,
    SRResNet,
    build,
    load_model,
    save_model,
    state_of,
    unwrap,
)


def tiny(variant: str = "dsnet"):
    torch.manual_seed(0)
    return build(variant, width=4, depth=1, teacher_blocks=1, teacher_features=8)


@pytest.mark.parametrize("variant", VARIANTS)
def test_round_trip(variant, tmp_path, settle):
    image = torch.rand(2, 1, 6, 5)
    model = settle(tiny(variant), image)
    save_model(tmp_path / "new" / "model.pt", model)
    assert os.listdir(tmp_path / "new") == ["model.pt"]
    loaded = load_model(tmp_path / "new" / "model.pt")
    assert loaded.config == model.config
    assert not loaded.training
    assert torch.equal(loaded(image), model.eval()(image))
    assert all(not p.requires_grad for n, p in loaded.named_parameters() if n.startswith("teacher"))


def test_teacher_round_trip(tmp_path):
    teacher = SRResNet(channels=2, blocks=1, features=8, global_skip=True)
    save_model(tmp_path / "sr.pt", teacher)
    loaded = load_model(tmp_path / "sr.pt")
    image = torch.rand(1, 2, 5, 5)
    assert torch.equal(loaded(image).features, teacher.eval()(image).features)
    assert loaded.config == teacher.config


def test_compiled_and_parallel_models_leave_no_prefix(tmp_path):
    model = tiny()
    model.network.head = torch.compile(model.network.head)
    wrapped = nn.DataParallel(torch.compile(model))
    assert unwrap(wrapped) is model
    assert any("_orig_mod" in name for name in wrapped.state_dict())
    assert set(state_of(wrapped)) == set(tiny().state_dict())
    save_model(tmp_path / "model.pt", wrapped)
    assert isinstance(load_model(tmp_path / "model.pt"), DSNet)
    raw = torch.load(tmp_path / "model.pt", weights_only=True)
    assert not any("_orig_mod" in name or name.startswith("module.") for name in raw["state"])


def test_memory_format_does_not_reach_the_file(tmp_path):
    model = tiny().to(memory_format=torch.channels_last)
    save_model(tmp_path / "model.pt", model)
    raw = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(value.is_contiguous() for value in raw["state"].values())


def test_equal_models_are_equal_files(tmp_path):
    for name in ("a", "b"):
        save_model(tmp_path / f"{name}.pt", tiny())
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    save_model(path, tiny("unet"))
    before = path.read_bytes()

    def half_written(content, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(OSError, match="disk full"):
        save_model(path, tiny("backbone"))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.pt"]


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pt"):
        load_model(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("no model")
    with pytest.raises(ValueError, match=r"path must be a model file of dsnet, got .*text\.pt"):
        load_model(tmp_path / "text.pt")
    torch.save({"state": {}}, tmp_path / "other.pt")
    with pytest.raises(
        ValueError, match=r"must be a model file, which save_model writes, got .*other"
    ):
        load_model(tmp_path / "other.pt")
    save_model(tmp_path / "later.pt", tiny("unet"))
    content = torch.load(tmp_path / "later.pt", weights_only=True)
    torch.save({**content, "version": 99}, tmp_path / "later.pt")
    with pytest.raises(ValueError, match=r"path must be of version 1 at most, got .* of 99"):
        load_model(tmp_path / "later.pt")
    torch.save({**content, "kind": "VGG"}, tmp_path / "kind.pt")
    with pytest.raises(ValueError, match="must hold a DSNet or SRResNet, got VGG"):
        load_model(tmp_path / "kind.pt")
    with pytest.raises(TypeError, match="model must be a DSNet or SRResNet, got Linear"):
        save_model(tmp_path / "linear.pt", nn.Linear(1, 1))
