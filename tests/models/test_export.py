"""Exported networks give what the network gives, for another batch size too."""

import sys

import pytest
import torch

from dsnet.models import SRResNet, build, export_onnx, export_program

SIZE = (10, 7)


def tiny(variant: str):
    torch.manual_seed(0)
    return build(variant, width=4, depth=2, teacher_blocks=1, teacher_features=8)


def image(n=3, channels=1):
    return torch.rand(n, channels, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "variant",
    [
        "dsnet",
        *(pytest.param(v, marks=pytest.mark.long) for v in ("unet", "sr-input", "edrfm")),
    ],
)
def test_export_program(variant, tmp_path, settle):
    model = settle(tiny(variant), image())
    export_program(model, tmp_path / "model.pt2", SIZE)
    assert model.training
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    with torch.no_grad():
        for n in (1, 3):
            expected = model.eval()(image(n))
            assert expected.std() > 0.2
            assert torch.allclose(loaded(image(n)), expected, atol=1e-5)


def test_exported_program_has_only_pytorch_s_operators():
    program = export_program(tiny("dsnet"), size=SIZE)
    called = {str(n.target) for n in program.graph.nodes if n.op == "call_function"}
    assert any("conv2d" in name for name in called)
    assert not any("dsnet" in name or "triton" in name for name in called)


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
