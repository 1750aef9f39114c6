"""A single file stands alone: imported in an empty folder, it computes what the package does."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
import triton

import dsnet_kernels
from dsnet_kernels.single_file import OPERATIONS, main, single_file

# Runs in the empty folder: what the files compute, and which modules they pulled in.
PROGRAM = """
import importlib, sys
import torch

results = {}
for operation, arguments in torch.load("arguments.pt").items():
    alone = importlib.import_module(operation)
    leaves = {name: value.requires_grad_() for name, value in arguments.items()}
    y = getattr(alone, operation)(**leaves)
    y.square().sum().backward()
    results[operation] = [y.detach(), *(leaf.grad for leaf in leaves.values())]
    print(operation, alone.INTERPRETED)
assert not [name for name in sys.modules if name.split(".")[0] in ("dsnet", "dsnet_kernels")]
torch.save(results, "results.pt")
"""


def arguments(operation):
    generator = torch.Generator().manual_seed(0)

    def normal(*sizes):
        return torch.randn(sizes, generator=generator) / sizes[-1] ** 0.5

    sizes = {
        "cbam": {
            "x": (2, 8, 5, 6), "fc1_weight": (2, 8), "fc1_bias": (2,), "fc2_weight": (8, 2),
            "fc2_bias": (8,), "conv_weight": (1, 2, 3, 3),
        },
        "selective_fusion": {
            "u": (2, 8, 5, 6), "v": (2, 8, 5, 6), "fc_weight": (3, 8), "fc_bias": (3,),
            "a_weight": (8, 3), "a_bias": (8,), "b_weight": (8, 3), "b_bias": (8,),
        },
    }  # fmt: skip
    return {name: normal(*size) for name, size in sizes[operation].items()}


@pytest.fixture
def files(tmp_path):
    """The operations as files of an otherwise empty folder."""
    for operation in OPERATIONS:
        (tmp_path / f"{operation}.py").write_text(single_file(operation))
    return tmp_path


def check(results):
    """Each operation's output and gradients are those of the package's reference."""
    for operation in OPERATIONS:
        given = arguments(operation)
        leaves = [value.requires_grad_() for value in given.values()]
        y = getattr(dsnet_kernels, f"{operation}_reference")(**given)
        y.square().sum().backward()
        want = [y.detach(), *(leaf.grad for leaf in leaves)]
        for got, expected in zip(results[operation], want, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_the_files_alone_compute_the_same(files):
    """In a process of their own, where the Triton kernels are interpreted on the CPU."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    torch.save({name: arguments(name) for name in OPERATIONS}, files / "arguments.pt")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=files,
        env=environment | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{operation} True" for operation in OPERATIONS]
    check(torch.load(files / "results.pt"))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_file_defines_kernels_to_compile(files, operation, monkeypatch):
    """As on a machine with a GPU; on the CPU the reference answers."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    spec = importlib.util.spec_from_file_location(f"alone_{operation}", files / f"{operation}.py")
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)
    assert alone.HAS_TRITON
    assert not alone.INTERPRETED
    kernels = [name for name in vars(alone) if name.endswith("_kernel")]
    assert kernels
    assert all(isinstance(getattr(alone, name), triton.JITFunction) for name in kernels)
    given = arguments(operation)
    want = getattr(dsnet_kernels, f"{operation}_reference")(**given)
    assert torch.equal(getattr(alone, operation)(**given), want)


def test_the_command_prints_the_file(monkeypatch, capsys):
    """As `python -m` calls it, which the README's test does."""
    monkeypatch.setattr(sys, "argv", ["single_file", OPERATIONS[0]])
    main()
    assert capsys.readouterr().out == single_file(OPERATIONS[0])


def test_other_names_are_refused():
    words = "operation must be one of cbam, selective_fusion, got 'layers'"
    with pytest.raises(ValueError, match=words):
        single_file("layers")


def test_names_that_two_modules_define_are_refused(tmp_path, monkeypatch):
    """Laid one after the other, the second would silently take the first's place."""
    folder = tmp_path / "cbam"
    folder.mkdir()
    (tmp_path / "far.py").write_text('"""Help from afar."""\nFAR = 1\n')
    (folder / "near.py").write_text(
        '"""Help."""\nfrom ..far import FAR as NEAR\n\ndef f():\n    return NEAR\n'
    )
    text = '"""Operate."""\nfrom .near import f\n\n{}\n\ndef cbam():\n    return f()\n'
    (folder / "op.py").write_text(text.format("LENGTHS = [FAR for FAR in (2, 3)]"))
    monkeypatch.setattr("dsnet_kernels.single_file.FOLDER", tmp_path)
    names = {}
    exec(single_file("cbam"), names)
    assert names["cbam"]() == 1
    (folder / "op.py").write_text(text.format("if True:\n    FAR = 2"))
    with pytest.raises(ValueError, match=r"cbam/op\.py and far\.py both define FAR"):
        single_file("cbam")
