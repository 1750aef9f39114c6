"""Exported networks give what the network gives, for another batch size too."""

import json
import resource
import sys
from multiprocessing import get_context

import pytest
import torch

from dsnet.models import SRResNet, build, export_onnx, export_program

SIZE = (10, 7)


def tiny(variant: str):
    torch.manual_seed(0)
    return build(variant, width=4, depth=2, teacher_blocks=1, teacher_features=8)


def image(n=3, channels=1, size=SIZE):
    return torch.rand(n, channels, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "variant",
    [
        "dsnet",
        *(pytest.param(v, marks=pytest.mark.long) for v in ("unet", "sr-input", "edrfm")),
    ],
)
def test_export_program(variant, tmp_path, settle):
    model = settle(tiny(variant), image())
    program = export_program(model, tmp_path / "model.pt2", (10, 8))
    assert model.training
    called = {str(n.target) for n in program.graph.nodes if n.op == "call_function"}
    assert any("conv2d" in name for name in called)
    assert not any("dsnet" in name or "triton" in name for name in called)
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    with torch.no_grad():
        for n, size in ((1, (10, 8)), (3, (5, 9))):
            given = image(n, size=size)
            expected = model.eval()(given)
            assert expected.std() > 0.2
            assert torch.allclose(loaded(given), expected, atol=1e-5)


@pytest.mark.parametrize("variant", [pytest.param("dsnet", marks=pytest.mark.long), "unet"])
def test_a_program_takes_other_sizes(variant, tmp_path, settle):
    """With two halvings on a grid four times as fine, of every size; a third asks for even ones."""
    for depth, sizes in ((2, [(5, 9), (2, 3)]), (3, [(6, 10), (4, 4)])):
        torch.manual_seed(0)
        model = build(variant, width=4, depth=depth, teacher_blocks=1, teacher_features=8)
        model = settle(model, image()).eval()
        program = export_program(model, size=(10, 8)).module()
        for n, size in enumerate(sizes, 1):
            one = torch.rand(n, 1, *size)
            with torch.no_grad():
                assert torch.allclose(program(one), model(one), atol=1e-5)
    fixed = export_program(model, size=(10, 7)).module()
    assert fixed(torch.rand(1, 1, 10, 7)).shape == (1, 1, 40, 28)
    with pytest.raises(Exception, match=r"size|shape"):
        fixed(torch.rand(1, 1, 10, 9))


def test_a_program_says_how_its_crops_are_made_and_its_masks_cut(tmp_path):
    crop = {"size": 48, "window": [-1000.0, 200.0], "isotropic_mm": 1.0, "network_size": None}
    model = tiny("unet")
    model.threshold = 0.41
    export_program(model, tmp_path / "model.pt2", SIZE, crop)
    extra = {"crop.json": "", "threshold.json": ""}
    torch.export.load(tmp_path / "model.pt2", extra_files=extra)
    assert json.loads(extra["crop.json"]) == crop
    assert json.loads(extra["threshold.json"]) == 0.41
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    written = onnx.load(export_onnx(model, tmp_path / "model.onnx", (8, 8), crop=crop))
    told = {p.key: p.value for p in written.metadata_props}
    assert json.loads(told["crop"]) == crop and told["threshold"] == "0.41"
    (given,) = written.graph.input
    assert all(axis.dim_param for axis in (given.type.tensor_type.shape.dim[k] for k in (0, 2, 3)))


@pytest.mark.long
@pytest.mark.parametrize("variant", ["unet", "backbone", "sr-input", "edrfm", "dsnet"])
def test_export_onnx(variant, tmp_path, settle):
    for module in ("onnx", "onnxscript"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model = settle(tiny(variant), image())
    path = export_onnx(model, tmp_path / "model.onnx", SIZE)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["image"]
    assert [o.name for o in session.get_outputs()] == ["mask"]
    assert "threshold" not in session.get_modelmeta().custom_metadata_map
    for n in (1, 3):
        (out,) = session.run(None, {"image": image(n).numpy()})
        expected = model.eval()(image(n)).detach()
        assert expected.std() > 0.2
        assert torch.allclose(torch.from_numpy(out), expected, atol=1e-5)


@pytest.mark.long
def test_export_teacher(tmp_path, settle):
    for module in ("onnx", "onnxscript"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    torch.manual_seed(0)
    teacher = settle(SRResNet(channels=3, blocks=1, features=8), image(2, 3))
    path = export_onnx(teacher, tmp_path / "sr.onnx", SIZE)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    out = session.run(["image_4x", "features"], {"image": image(2, 3).numpy()})
    for ours, theirs in zip(out, teacher.eval()(image(2, 3)), strict=True):
        assert torch.allclose(torch.from_numpy(ours), theirs, atol=1e-4)


def test_onnx_absent_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"export_onnx needs ONNX: pip install 'dsnet\[export\]'"):
        export_onnx(tiny("unet"), tmp_path / "model.onnx", SIZE)


def export_on_a_full_disk(path, told):
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    try:
        export_program(build("unet", width=4, depth=1), path, SIZE)
    except OSError as error:
        told.put((error.strerror, error.filename))


def test_a_full_disk_is_told_and_leaves_no_file(tmp_path):
    """In a process of its own: where torch's own writer fails the process ends."""
    path, context = tmp_path / "model.pt2", get_context("fork")
    told = context.Queue()
    process = context.Process(target=export_on_a_full_disk, args=(path, told))
    process.start()
    process.join()
    assert process.exitcode == 0 and told.get() == ("File too large", str(path))
    assert not list(tmp_path.iterdir())
