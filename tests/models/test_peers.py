"""Networks of other packages in DSNet's place: of any size, stored and exported."""

import copy
import importlib.util
import sys

import pytest
import torch
from torch import nn

from dsnet.dependencies import MissingDependency
from dsnet.models import (
    PEERS,
    VARIANTS,
    DSNetConfig,
    build,
    export_onnx,
    export_program,
    load_model,
    save_model,
)
from dsnet.models.export import multiple_of
from dsnet.models.peers import PeerNetwork
from dsnet.training.dataset import DeviceDataset
from dsnet.training.step import AdversarialStep, Batch
from fresh_interpreter import Absent

WIDTH = {"monai-segresnet": 8, "monai-swin-unetr": 12}


def lacking(name: str) -> str:
    """Why a peer cannot be made here; empty where it can."""
    try:
        with torch.device("meta"):
            PeerNetwork(name, 1, 24)
    except ImportError as error:
        return str(error)
    return ""


def each():
    """Every peer; one whose package is not here is skipped with its reason."""
    reasons = {name: lacking(name) for name in PEERS}
    marked = [
        pytest.param(name, marks=pytest.mark.skipif(bool(reason), reason=reason))
        for name, reason in reasons.items()
    ]
    return pytest.mark.parametrize("name", marked)


EACH = each()


def tiny(name: str, **settings):
    torch.manual_seed(0)
    return build(name, **{"width": WIDTH.get(name, 4), "depth": 2, "scale": 1, **settings})


def directly(name: str, channels: int, width: int) -> nn.Module:
    """The library's own network, its settings written out."""
    if name.startswith("monai"):
        from monai.networks import nets
    else:
        import segmentation_models_pytorch as smp
    levels = (width, width, 2 * width, 4 * width, 8 * width, width)
    decoder = (16 * width, 8 * width, 4 * width, 2 * width, width)
    coded = {"encoder_weights": None, "in_channels": channels, "classes": 1}
    makers = {
        "monai-basic-unet": lambda: nets.BasicUNet(2, channels, 1, levels),
        "monai-basic-unet++": lambda: nets.BasicUNetPlusPlus(2, channels, 1, levels),
        "monai-attention-unet": lambda: nets.AttentionUnet(
            2, channels, 1, channels=(width, 2 * width, 4 * width), strides=(2, 2)
        ),
        "monai-segresnet": lambda: nets.SegResNet(2, width, channels, 1),
        "monai-dynunet": lambda: nets.DynUNet(
            2, channels, 1, (3, 3, 3), (1, 2, 2), (2, 2), filters=(width, 2 * width, 4 * width)
        ),
        "monai-swin-unetr": lambda: nets.SwinUNETR(
            in_channels=channels, out_channels=1, feature_size=width, spatial_dims=2
        ),
        "smp-unet": lambda: smp.Unet("resnet34", decoder_channels=decoder, **coded),
        "smp-unet++": lambda: smp.UnetPlusPlus("resnet34", decoder_channels=decoder, **coded),
        "smp-deeplabv3+": lambda: smp.DeepLabV3Plus("resnet34", decoder_channels=width, **coded),
        "smp-segformer": lambda: smp.Segformer(
            "mit_b0", decoder_segmentation_channels=width, **coded
        ),
    }
    return makers[name]()


def test_peers_stand_beside_the_rungs():
    assert not set(PEERS) & set(VARIANTS)
    assert all(name.startswith(("monai-", "smp-")) for name in PEERS)


@EACH
def test_it_is_the_librarys_own_network(name):
    width = WIDTH.get(name, 4)
    model, theirs = tiny(name, image_channels=2), directly(name, 2, width)
    found, expected = model.network.net.state_dict(), theirs.state_dict()
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in expected.items()}
    count = sum(p.numel() for p in theirs.parameters())
    assert sum(p.numel() for p in model.parameters()) == count
    # A multiple of the sizes needs no filling up: the same logits, out of the same weights.
    image = torch.rand(2, 2, 64, 32)
    theirs.load_state_dict(found)
    logits = theirs.eval()(image)
    logits = logits[-1] if isinstance(logits, list) else logits
    assert torch.equal(model.eval().network(image), logits)


@pytest.mark.skipif(importlib.util.find_spec("monai") is None, reason="monai not installed")
def test_default_sizes_are_the_librarys_defaults():
    from monai.networks import nets

    with torch.device("meta"):
        for name, width, theirs in (
            ("monai-basic-unet", 32, nets.BasicUNet(2, 3, 1)),
            ("monai-basic-unet++", 32, nets.BasicUNetPlusPlus(2, 3, 1)),
            ("monai-segresnet", 8, nets.SegResNet(2, in_channels=3, out_channels=1)),
            # Of 256 pixels, nnU-Net's plan halves six times.
            ("monai-dynunet", 32, nets.DynUNet(2, 3, 1, [3] * 7, [1] + [2] * 6, [2] * 6)),
        ):
            ours = build(name, width=width, depth=6)
            count = sum(p.numel() for p in theirs.parameters())
            assert sum(p.numel() for p in ours.parameters()) == count, name


@EACH
def test_images_of_any_size_are_segmented(name):
    model = tiny(name)
    for size in ((9, 7), (1, 1), (33, 17)):
        model.train()
        for count in (1, 2)[PEERS[name].least_batch - 1 :]:
            mask = model(torch.rand(count, 1, *size))
            assert mask.shape == (count, 1, *size) and mask.isfinite().all()
    mask = tiny(name, scale=4).eval()(torch.rand(1, 1, 9, 7))
    assert mask.shape == (1, 1, 36, 28) and 0 < mask.min() < mask.max() < 1
    with pytest.raises(ValueError, match=r"x must be \[N, 3, H, W\] with H, W >= 1"):
        model.network(torch.rand(1, 2, 8, 8))


@EACH
def test_fresh_masks_are_mostly_background(name):
    assert 0.02 < tiny(name).eval()(torch.rand(4, 1, 32, 32)).mean() < 0.35
    bias = tiny(name).network.head.bias
    assert torch.sigmoid(bias).item() == pytest.approx(0.1)


@EACH
def test_round_trip(name, tmp_path):
    model = tiny(name)
    model(torch.rand(2, 1, 16, 16))
    save_model(tmp_path / "model.pt", model)
    before = torch.get_rng_state()
    with torch.device("meta"):
        build(name, width=WIDTH.get(name, 4))
    assert torch.equal(before, torch.get_rng_state())
    loaded = load_model(tmp_path / "model.pt")
    image = torch.rand(2, 1, 11, 9)
    assert loaded.config == model.config and not loaded.training
    assert torch.equal(loaded(image), model.eval()(image))
    soft, binary = loaded.predict(image)
    assert soft.shape == binary.shape == (2, 1, 11, 9)


@EACH
def test_it_learns(name):
    data = DeviceDataset.phantoms(4, 32, 0)
    step = AdversarialStep(tiny(name))
    assert step.discriminator is None
    batch = Batch(data.image, data.soft, data.binary)
    losses = []
    for _ in range(3):
        torch.manual_seed(1)  # the same dropout in every step
        losses.append(step.run([batch], 1e-4))
    assert losses[0].total == 0.5 * losses[0].dice and losses[0].gan == 0
    assert losses[2].dice < losses[1].dice < losses[0].dice
    # What has no gradient would stop a training on several devices.
    assert all(p.grad is not None for p in step.network.trainable_parameters())


@EACH
def test_autocast_and_channels_last(name):
    model = tiny(name).eval()
    image = torch.rand(2, 1, 32, 32)
    expected = model(image)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    out = last(image.to(memory_format=torch.channels_last))
    assert torch.allclose(out, expected, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(image)
    assert out.dtype == torch.float32 and (out - expected).abs().mean() < 0.02


@pytest.mark.long
@EACH
def test_export_program(name):
    model = tiny(name).eval()
    step = multiple_of(model)
    assert (step is None) == (not PEERS[name].open_sizes)
    size = (64, 96)
    program = export_program(model, size=size).module()
    for n, other in ((1, size), (3, size), (2, size if step is None else (96, 64))):
        image = torch.rand(n, 1, *other)
        with torch.no_grad():
            assert torch.allclose(program(image), model(image), atol=1e-5)


@pytest.mark.long
@EACH
def test_export_onnx(name, tmp_path):
    for module in ("onnx", "onnxscript"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model = tiny(name).eval()
    size = (64, 96)
    path = export_onnx(model, tmp_path / "model.onnx", size)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for n, other in ((1, size), (3, size), (2, size if multiple_of(model) is None else (96, 64))):
        image = torch.rand(n, 1, *other)
        (out,) = session.run(None, {"image": image.numpy()})
        with torch.no_grad():
            assert torch.allclose(torch.from_numpy(out), model(image), atol=1e-4)


@pytest.mark.long
@EACH
def test_it_compiles_to_one_graph(name):
    torch._dynamo.reset()
    data = DeviceDataset.phantoms(2, 32, 0)
    batch = Batch(data.image, data.soft, data.binary)
    eager, step = AdversarialStep(tiny(name)), AdversarialStep(tiny(name), compile="eager")
    if not PEERS[name].one_graph:
        with pytest.raises(torch._dynamo.exc.Unsupported):
            step.run([batch], 1e-3)
        return
    found = []
    for each_way in (eager, step):
        torch.manual_seed(1)  # the same dropout in both
        found.append(torch.stack(each_way.run([batch], 1e-3)))
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("monai-segresnet", {"width": 12}, "width must be a multiple of 8 for .*got 12"),
        ("monai-swin-unetr", {"width": 64}, "width must be a multiple of 12 for .*got 64"),
        ("monai-attention-unet", {"width": 3}, "width must be a multiple of 2 for .*got 3"),
        ("monai-dynunet", {"depth": 1}, "depth must be at least 2 for .*got 1"),
        ("monai-unet", {}, "variant must be one of unet, .*, monai-basic-unet, .*got 'monai-unet'"),
    ],
)
def test_sizes_that_a_peer_cannot_have_are_told(name, settings, words):
    with pytest.raises(ValueError, match=words):
        DSNetConfig(variant=name, **settings)


def make_absent(package: str, monkeypatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(package), *sys.meta_path])


@pytest.mark.parametrize(
    ("name", "package", "words"),
    [
        ("monai-dynunet", "monai", r"variant monai-dynunet needs MONAI: .*'dsnet\[peers\]'"),
        ("monai-swin-unetr", "einops", r"variant monai-swin-unetr needs einops: .*\[peers\]"),
        (
            "smp-unet",
            "segmentation_models_pytorch",
            r"variant smp-unet needs segmentation_models_pytorch: pip install 'dsnet\[smp\]'",
        ),
    ],
)
def test_a_package_that_lacks_is_told_with_its_extra(name, package, words, monkeypatch):
    make_absent(package, monkeypatch)
    with pytest.raises(MissingDependency, match=words):
        PeerNetwork(name, 1, 24)


def test_a_torchvision_that_does_not_fit_is_told_in_a_line(tmp_path, monkeypatch):
    make_absent("segmentation_models_pytorch", monkeypatch)
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[1:])
    (tmp_path / "segmentation_models_pytorch.py").write_text(
        'raise RuntimeError("operator torchvision::nms does not exist\\nand more")\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportError) as no:
        PeerNetwork("smp-unet", 1)
    assert str(no.value) == (
        f"variant smp-unet needs a torchvision that fits torch {torch.__version__}: "
        "segmentation_models_pytorch could not be imported "
        "(operator torchvision::nms does not exist)"
    )
