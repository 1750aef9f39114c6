"""Saved models: one call loads them, whatever wrapped them when they were saved."""

import io
import os
import random
import resource
import zipfile
from multiprocessing import get_context

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
    threshold_of,
    unwrap,
)
from dsnet.models.checkpoint import model_crop
from dsnet.models.tensor_file import save_tensors


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
    with pytest.raises(ValueError, match=r"must be a model file of dsnet, got .*other"):
        load_model(tmp_path / "other.pt")
    save_model(tmp_path / "later.pt", tiny("unet"))
    content = torch.load(tmp_path / "later.pt", weights_only=True)
    save_tensors(tmp_path / "later.pt", {**content, "version": 99})
    with pytest.raises(ValueError, match=r"path must be of version 3 at most, got .* of 99"):
        load_model(tmp_path / "later.pt")
    save_tensors(tmp_path / "kind.pt", {**content, "kind": "VGG"})
    with pytest.raises(ValueError, match="must hold a DSNet or SRResNet, got 'VGG'"):
        load_model(tmp_path / "kind.pt")
    with pytest.raises(TypeError, match="model must be a DSNet or SRResNet, got Linear"):
        save_model(tmp_path / "linear.pt", nn.Linear(1, 1))


CROP = {"size": 48, "window": [-1000.0, 200.0], "isotropic_mm": 1.0, "network_size": None}


def first_version(path, model, **more):
    """A file as the first version of the format was written, without crop and SHA-256."""
    save_model(path, model)
    content = torch.load(path, weights_only=True)
    del content["crop"]
    with open(path, "wb") as file:
        torch.save({**content, "version": 1, **more}, file)


def test_a_file_says_how_its_crops_were_made(tmp_path):
    save_model(tmp_path / "model.pt", tiny("unet"), CROP)
    assert model_crop(tmp_path / "model.pt") == CROP
    save_model(tmp_path / "model.pt", tiny("unet"))
    usual = {"size": 64, "window": "auto", "isotropic_mm": None, "network_size": None}
    assert model_crop(tmp_path / "model.pt") == usual
    save_model(tmp_path / "model.pt", tiny("unet"), None)
    assert model_crop(tmp_path / "model.pt") is None
    save_model(tmp_path / "sr.pt", SRResNet(blocks=1, features=1))
    assert model_crop(tmp_path / "sr.pt") is None
    first_version(tmp_path / "old.pt", tiny("unet"))
    assert model_crop(tmp_path / "old.pt") is None
    save_model(tmp_path / "odd.pt", tiny("unet"), "48 pixels")
    with pytest.raises(ValueError, match="must have a dict as its crop, got '48 pixels'"):
        model_crop(tmp_path / "odd.pt")


def test_others_can_read_the_file_as_torch_has_it(tmp_path):
    model = tiny("unet")
    save_model(tmp_path / "model.pt", model)
    for mapped in (False, True):
        state = torch.load(tmp_path / "model.pt", weights_only=True, mmap=mapped)["state"]
        assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert zipfile.ZipFile(tmp_path / "model.pt").comment.startswith(b"dsnet-sha256:")


def test_every_flipped_bit_and_every_cut_is_told(tmp_path):
    path = tmp_path / "model.pt"
    save_model(path, SRResNet(blocks=1, features=4), CROP)
    whole = path.read_bytes()
    generator = random.Random(0)
    ends = [*range(64), *range(len(whole) - 120, len(whole))]
    for at in ends + generator.sample(range(len(whole)), 150):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="model"):
            load_model(path)
    for length in generator.sample(range(len(whole)), 50):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="model"):
            load_model(path)
    path.write_bytes(whole)
    load_model(path)


def test_files_of_the_first_version_are_read_and_their_own_checksums_compared(tmp_path):
    path, model = tmp_path / "model.pt", tiny("unet")
    first_version(path, model)
    loaded = load_model(path)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    whole = path.read_bytes()
    needle = model.state_dict()["network.head.weight"].numpy().tobytes()
    at = whole.index(needle)
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(ValueError, match=r"model\.pt is damaged: the checksum of .* is not right"):
        load_model(path)
    first_version(path, model, version=2)
    with pytest.raises(ValueError, match="is damaged: the SHA-256 at its end is not there"):
        load_model(path)


def test_a_packed_archive_is_refused_before_it_is_unpacked(tmp_path):
    save_model(tmp_path / "model.pt", tiny("unet"))
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(tmp_path / "model.pt") as source,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    (tmp_path / "packed.pt").write_bytes(packed.getvalue())
    with pytest.raises(ValueError, match="which is compressed"):
        load_model(tmp_path / "packed.pt")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": None}, "must have a version of at least 1, got None"),
        ({"version": True}, "must have a version of at least 1, got True"),
        ({"version": "2"}, "must have a version of at least 1, got '2'"),
        ({"kind": None}, "must hold a DSNet or SRResNet, got None"),
        ({"kind": ["DSNet"]}, "must hold a DSNet or SRResNet"),
        ({"config": None}, "must have a dict as its config, got None"),
        ({"config": {"width": 4, "colour": 1}}, "must have a DSNet's config: .*colour"),
        ({"config": {1: 2}}, "must have a dict as its config"),
        ({"config": {"variant": ["unet"]}}, "variant must be one of"),
        ({"config": {"width": 10**9}}, r"width must be a whole number in 1\.\.4096"),
        ({"config": {"width": 4096, "depth": 10}}, "must have the state that its config describes"),
        ({"config": {"width": 10**200}}, r"width must be a whole number in .*, got 1000.*\.\.\."),
        ({"config": {"width": 4.0}}, "width must be a whole number"),
        ({"config": {"depth": True}}, "depth must be a whole number"),
        ({"threshold": 0}, "threshold must be a number above 0 and of at most 1, got 0"),
        ({"threshold": 1.5}, "threshold must be a number above 0 and of at most 1, got 1.5"),
        ({"threshold": float("nan")}, "threshold must be a number above 0 .*, got nan"),
        ({"threshold": "0.5"}, "threshold must be a number above 0 .*, got '0.5'"),
        ({"threshold": True}, "threshold must be a number above 0 .*, got True"),
        ({"threshold": [0.5]}, "threshold must be a number above 0"),
        ({"state": None}, "must have the state that its config describes"),
        ({"state": {}}, "must have the state that its config describes"),
    ],
)
def test_odd_content_is_told_in_words(tmp_path, change, words):
    save_model(tmp_path / "model.pt", tiny("unet"))
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    save_tensors(tmp_path / "model.pt", {**content, **change})
    with pytest.raises(ValueError, match=words):
        load_model(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda t: None, "must have a tensor as network.head.weight, got None"),
        (lambda t: t[:0], r"must have network.head.weight as \[1, 4, 1, 1\] of torch.float32"),
        (lambda t: t.to(torch.complex64), "got .* of torch.complex64"),
        (lambda t: torch.zeros(()).expand_as(t), "written out in full"),
        (lambda t: t.to_sparse(), "written out in full"),
    ],
)
def test_odd_tensors_are_told_by_name(tmp_path, make, words):
    save_model(tmp_path / "model.pt", tiny("unet"))
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    state = content["state"]
    state["network.head.weight"] = make(state["network.head.weight"])
    save_tensors(tmp_path / "model.pt", content)
    with pytest.raises(ValueError, match=words):
        load_model(tmp_path / "model.pt")


def test_a_threshold_goes_with_the_model(tmp_path):
    path, model = tmp_path / "model.pt", tiny("unet")
    image = torch.rand(2, 1, 6, 5)
    at = float(model.predict(image)[0].median())
    save_model(path, model, threshold=at)
    loaded = load_model(path)
    assert loaded.threshold == threshold_of(loaded) == at
    assert model.threshold is None and threshold_of(model) == 0.5
    soft, binary = loaded.predict(image)
    assert torch.equal(binary, soft >= at) and 0 < binary.sum() < binary.numel()
    assert torch.equal(loaded.predict(image, 0.3)[1], soft >= 0.3)
    # What a model has is saved without asking, whatever wraps it.
    save_model(path, nn.DataParallel(loaded))
    assert load_model(path).threshold == at
    for bad in (0, -1, 1.01, float("nan"), True, "0.5"):
        with pytest.raises(ValueError, match="threshold must be a number above 0"):
            save_model(path, model, threshold=bad)
    assert load_model(path).threshold == at


def test_a_file_without_a_threshold_is_cut_at_one_half(tmp_path):
    path = tmp_path / "model.pt"
    save_model(path, tiny("unet"), threshold=0.25)
    content = torch.load(path, weights_only=True)
    del content["threshold"]
    for version in (2, 3):
        save_tensors(path, {**content, "version": version})
        loaded = load_model(path)
        assert loaded.threshold is None and threshold_of(loaded) == 0.5
        soft, binary = loaded.predict(torch.rand(1, 1, 6, 5))
        assert torch.equal(binary, soft >= 0.5)


def test_half_precision_is_widened(tmp_path):
    model = tiny("unet")
    save_model(tmp_path / "half.pt", tiny("unet").to(torch.bfloat16))
    loaded = load_model(tmp_path / "half.pt").state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(loaded[name], value.to(torch.bfloat16).to(value.dtype))


def save_on_a_full_disk(path, told):
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        save_model(path, tiny("backbone"))
    except OSError as error:
        told.put((error.errno, str(error), error.filename))


def test_a_disk_that_is_full_is_told_with_the_file_and_the_old_one_stays(tmp_path):
    path = tmp_path / "model.pt"
    save_model(path, SRResNet(blocks=1, features=1))
    before, context = path.read_bytes(), get_context("fork")
    told = context.Queue()
    process = context.Process(target=save_on_a_full_disk, args=(path, told))
    process.start()
    number, text, name = told.get(timeout=120)
    process.join()
    assert number and name == str(path) and "model.pt" in text and "unexpected pos" not in text
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model.pt"]
