"""Released weights: names, files that tell when a byte changed, half precision, other runtimes."""

import hashlib
import json
import os
import random

import numpy as np
import pytest
import torch

from dsnet.models import (
    DSNet,
    SRResNet,
    build,
    export_onnx,
    load_model,
    released,
    save_model,
    threshold_of,
)
from dsnet.models.checkpoint import model_crop, model_inputs
from dsnet.models.pretrained import is_name, load, names, path_of, save_pretrained
from dsnet.models.weights_file import half

CROP = {"size": 64, "window": [-1000.0, 400.0], "isotropic_mm": None, "network_size": None}


def network(mark=False, width=6):
    torch.manual_seed(0)
    return build("backbone", width=width, depth=2, scale=1, mark_input=mark)


def settled(settle, mark=False):
    return settle(network(mark), torch.rand(4, 2 if mark else 1, 20, 24)).eval()


@pytest.fixture
def folder(tmp_path, monkeypatch, settle):
    """All released names, tiny, in a folder of their own."""
    place = tmp_path / "weights"
    monkeypatch.setattr(released, "FOLDER", place)
    save_pretrained(path_of("dsnet-lidc"), settled(settle), CROP, 0.4)
    save_pretrained(path_of("dsnet-lidc-mark"), settled(settle, mark=True), CROP, 0.45)
    teacher = settle(SRResNet(blocks=1, features=4), torch.rand(2, 1, 8, 8))
    save_pretrained(path_of("dsnet-lidc-sr"), teacher)
    return place


def checked(path, data):
    """Put bytes at a path, and their SHA-256 beside it."""
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    (path.parent / "checksums.json").write_text(json.dumps({path.name: digest}))


def test_the_names():
    assert names() == ("dsnet-lidc", "dsnet-lidc-mark", "dsnet-lidc-sr")
    assert is_name("dsnet-lidc") and not is_name("dsnet") and not is_name("./dsnet-lidc")
    assert path_of("dsnet-lidc-sr").name == "dsnet-lidc-sr.safetensors"
    for call in (path_of, load):
        with pytest.raises(ValueError, match=r"must be one of dsnet-lidc, .*-sr, got 'dsnet'"):
            call("dsnet")


def test_a_round_trip_keeps_the_soft_mask_within_half_precision(tmp_path, settle):
    model, image = settled(settle), torch.rand(3, 1, 20, 24)
    path = tmp_path / "new" / "mine.safetensors"
    save_pretrained(path, model, CROP, 0.37)
    assert sorted(os.listdir(tmp_path / "new")) == ["checksums.json", "mine.safetensors"]
    loaded = load_model(path)
    assert isinstance(loaded, DSNet) and loaded.config == model.config and not loaded.training
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    soft, wanted = loaded(image), model(image)
    assert wanted.std() > 0.1 and 0 < (soft - wanted).abs().max() < 5e-3
    assert threshold_of(loaded) == 0.37 and model_crop(path) == CROP
    for name, value in model.state_dict().items():
        wanted = value.half().to(value.dtype) if value.is_floating_point() else value
        assert torch.equal(loaded.state_dict()[name], wanted), name
    size = path.stat().st_size
    assert size < 2.5 * sum(p.numel() for p in model.parameters()) + 20_000


def test_what_half_precision_cannot_tell_stays_in_full():
    fits = torch.tensor([0.0, 6.2e-5, 1.0, 65504.0])
    assert half("bn.running_var", fits).dtype == torch.float16
    for odd in (65520.0, 6e-5, 1e-9, float("inf"), float("nan")):
        tensor = torch.tensor([1.0, odd])
        kept = half("bn.running_var", tensor)
        assert kept.dtype == torch.float32 and torch.equal(kept.nan_to_num(), tensor.nan_to_num())
    # A weight that vanishes is a weight of nothing; one that overflows is not.
    assert half("conv.weight", torch.tensor([1e-9])).dtype == torch.float16
    assert half("conv.weight", torch.tensor([-1e5])).dtype == torch.float32
    count = torch.tensor(70_000)
    assert half("bn.num_batches_tracked", count).dtype == torch.int64


def test_variances_out_of_range_are_read_as_they_were(tmp_path):
    model = network()
    norm = next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    norm.running_var[:2] = torch.tensor([1e-8, 3e6])
    save_pretrained(tmp_path / "m.safetensors", model)
    loaded = next(
        m
        for m in load_model(tmp_path / "m.safetensors").modules()
        if isinstance(m, torch.nn.BatchNorm2d)
    )
    assert torch.equal(loaded.running_var, norm.running_var)


def test_equal_models_are_equal_files_and_anyone_can_read_them(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    for name in ("a", "b"):
        save_pretrained(tmp_path / f"{name}.safetensors", network(), CROP, 0.5)
    data = (tmp_path / "a.safetensors").read_bytes()
    assert data == (tmp_path / "b.safetensors").read_bytes()
    sums = json.loads((tmp_path / "checksums.json").read_text())
    assert sums == dict.fromkeys(
        ("a.safetensors", "b.safetensors"), hashlib.sha256(data).hexdigest()
    )
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        told = json.loads(file.metadata()["dsnet"])
        assert set(file.keys()) == set(network().state_dict())
    assert told["format"] == "dsnet-model" and told["version"] == 3 and told["kind"] == "DSNet"
    assert told["config"]["width"] == 6 and told["crop"] == CROP and told["threshold"] == 0.5


def test_every_flipped_byte_and_every_cut_is_told(tmp_path):
    path = tmp_path / "m.safetensors"
    save_pretrained(path, SRResNet(blocks=1, features=2))
    whole, drawn = path.read_bytes(), random.Random(0)
    for at in [*range(12), len(whole) - 1, *drawn.sample(range(len(whole)), 60)]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << drawn.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"m\.safetensors is damaged: its SHA-256 is not"):
            load_model(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="is damaged"):
        load_model(path)
    path.write_bytes(whole)
    assert isinstance(load_model(path), SRResNet)
    for sums, words in (
        ("{}", "must have its SHA-256 in checksums.json beside it, got none"),
        ("no JSON", r"checksums\.json is damaged"),
        ("[1]", "must tell a SHA-256 for each file"),
        ('{"m.safetensors": 3}', "must tell a SHA-256 for each file"),
    ):
        (tmp_path / "checksums.json").write_text(sums)
        with pytest.raises(ValueError, match=words):
            load_model(path)


def test_odd_files_with_their_right_checksum_are_told(tmp_path):
    pytest.importorskip("safetensors")
    from safetensors.torch import load as parse
    from safetensors.torch import save as pack

    path = tmp_path / "m.safetensors"
    save_pretrained(path, network())
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    told = json.loads(json.loads(whole[8 : 8 + length])["__metadata__"]["dsnet"])
    state = parse(whole)
    head = "network.head.weight"
    cases = [
        (b"", "cannot be read"),
        (b"no tensors at all", "cannot be read"),
        (whole[:-4], "cannot be read"),
        (pack(state), "cannot be read"),
        (pack(state, {"dsnet": "no JSON"}), "cannot be read"),
        (pack(state, {"dsnet": "[" * 100_000}), "cannot be read"),
        (pack(state, {"dsnet": "[1]"}), "path must be a model file of dsnet"),
        (pack(state, {"dsnet": json.dumps({**told, "format": "x"})}), "must be a model file"),
        (pack(state, {"dsnet": json.dumps({**told, "version": 99})}), "of version 3 at most"),
        (pack(state, {"dsnet": json.dumps({**told, "kind": "VGG"})}), "must hold a DSNet or"),
        (pack(state, {"dsnet": json.dumps({**told, "threshold": 2})}), "threshold must be"),
        (pack({head: state[head]}, {"dsnet": json.dumps(told)}), "must have the state"),
        (pack({**state, head: state[head][:, :1]}, {"dsnet": json.dumps(told)}), f"have {head}"),
    ]
    for data, words in cases:
        checked(path, data)
        with pytest.raises(ValueError, match=words) as no:
            load_model(path)
        assert "m.safetensors" in str(no.value) and "\n" not in str(no.value)
    with pytest.raises(ValueError, match=r"path must be a file NAME\.safetensors, got .*m\.pt"):
        save_pretrained(tmp_path / "m.pt", network())
    with pytest.raises(TypeError, match="model must be a DSNet or SRResNet, got Linear"):
        save_pretrained(path, torch.nn.Linear(1, 1))


def test_names_are_read_as_files_are(folder, settle):
    image = torch.rand(1, 1, 20, 24)
    model = load("dsnet-lidc")
    assert torch.equal(model(image), load_model("dsnet-lidc")(image))
    assert (model.threshold, load("dsnet-lidc-mark").threshold) == (0.4, 0.45)
    assert model_crop("dsnet-lidc") == CROP and model_crop("dsnet-lidc-sr") is None
    assert model_inputs("dsnet-lidc") == (0, False)
    assert model_inputs("dsnet-lidc-mark") == (0, True)
    assert isinstance(load("dsnet-lidc-sr"), SRResNet)


def test_what_lies_at_a_path_outranks_the_name(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model("dsnet-lidc", network(width=3), threshold=0.2)
    assert load_model("dsnet-lidc").config.width == 3
    assert load("dsnet-lidc").config.width == 6
    (tmp_path / "dsnet-lidc-mark").mkdir()
    with pytest.raises(FileNotFoundError, match="there is none at dsnet-lidc-mark"):
        load_model("dsnet-lidc-mark")


def test_what_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(released, "FOLDER", tmp_path)
    for call in (load, load_model):
        with pytest.raises(FileNotFoundError, match="dsnet-lidc do not come with"):
            call("dsnet-lidc")
    with pytest.raises(
        FileNotFoundError,
        match="one of dsnet-lidc, dsnet-lidc-mark, dsnet-lidc-sr, there is none at dsnet-lidk",
    ):
        load_model("dsnet-lidk")


def onnx_differs_by(model, path, sizes):
    """The most by which an exported graph differs from torch, over sizes and batches."""
    for module in ("onnx", "onnxscript"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    export_onnx(model, path, crop=CROP)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    channels = session.get_inputs()[0].shape[1]
    worst = 0.0
    for batch, (height, width) in enumerate(sizes, 1):
        image = np.random.default_rng(batch).random((batch, channels, height, width), np.float32)
        with torch.no_grad():
            wanted = model(torch.from_numpy(image))
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for ours, theirs in zip(session.run(None, {"image": image}), wanted, strict=True):
            assert ours.shape == tuple(theirs.shape)
            worst = max(worst, float((torch.from_numpy(ours) - theirs).abs().max()))
    return worst


SIZES = [(64, 64), (32, 96), (128, 80)]


@pytest.mark.long
@pytest.mark.parametrize("name", names())
def test_onnx_of_the_released_weights_is_torch_at_several_sizes(name, tmp_path):
    if not path_of(name).is_file():
        pytest.skip(f"the weights {name} are not in this checkout: {path_of(name)}")
    assert onnx_differs_by(load(name), tmp_path / "m.onnx", SIZES) < 1e-4


@pytest.mark.long
@pytest.mark.parametrize("name", names())
def test_onnx_of_tiny_weights_is_torch_at_several_sizes(name, folder, tmp_path):
    assert onnx_differs_by(load(name), tmp_path / "m.onnx", SIZES) < 1e-4


@pytest.mark.parametrize("name", names())
def test_the_released_file_is_what_the_card_says(name):
    if not path_of(name).is_file():
        pytest.skip(f"the weights {name} are not in this checkout: {path_of(name)}")
    model, card = load(name), (path_of(name).parent / "README.md").read_text()
    assert isinstance(model, SRResNet) == (name == "dsnet-lidc-sr")
    assert f"- `{name}`: {sum(p.numel() for p in model.parameters()):,} parameters" in card
    assert all(value.isfinite().all() for value in model.state_dict().values())
    if isinstance(model, DSNet):
        assert model.config.mark_input == (name == "dsnet-lidc-mark")
        assert model_crop(name) == CROP and model.threshold is not None


def test_the_folder_of_the_weights_is_whole_and_small():
    place = path_of("dsnet-lidc").parent
    files = {path.name for path in place.glob("*.safetensors")}
    assert set(json.loads((place / "checksums.json").read_text())) == files
    assert sum((place / file).stat().st_size for file in files) < 10_000_000
    card = (place / "README.md").read_text()
    for needed in (*names(), "CC BY 3.0", "Not a medical device", "National Cancer Institute"):
        assert needed in card
