"""The single file stands alone: imported in an empty folder, it computes what the package does."""

import os
import subprocess
import sys

import pytest
import torch

import dsnet_kernels
from dsnet_kernels.single_file import OPERATIONS, single_file

# Runs in the empty folder: what the file computes, and which modules it pulled in.
PROGRAM = """
import sys
import torch
import {operation} as alone

assert not [name for name in sys.modules if name.split(".")[0] in ("dsnet", "dsnet_kernels")]
arguments = torch.load("arguments.pt")
leaves = {{name: value.requires_grad_() for name, value in arguments.items()}}
y = alone.{operation}(**leaves)
y.square().sum().backward()
torch.save([y.detach(), *(leaf.grad for leaf in leaves.values())], "results.pt")
print(alone.INTERPRETED)
"""


def arguments(operation):
    generator = torch.Generator().manual_seed(0)

    def normal(*sizes):
        return torch.randn(sizes, generator=generator) / sizes[-1] ** 0.5

    sizes = {
        "cbam": {
            "x": (2, 8, 5, 6), "fc1_weight": (2, 8), "fc1_bias": (2,), "fc2_weight": (8, 2),
            "fc2_bias": (8,), "conv_weight": (1, 2, 7, 7),
        },
        "selective_fusion": {
            "u": (2, 8, 5, 6), "v": (2, 8, 5, 6), "fc_weight": (3, 8), "fc_bias": (3,),
            "a_weight": (8, 3), "a_bias": (8,), "b_weight": (8, 3), "b_bias": (8,),
        },
    }  # fmt: skip
    return {name: normal(*size) for name, size in sizes[operation].items()}


@pytest.mark.parametrize("interpreted", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_file_alone_computes_the_same(tmp_path, operation, interpreted):
    """On the CPU: the reference, and the Triton kernels interpreted."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["TRITON_INTERPRET"] = str(int(interpreted))
    for name, text in (
        (f"{operation}.py", single_file(operation)),
        ("program.py", PROGRAM.format(operation=operation)),
    ):
        (tmp_path / name).write_text(text)
    inputs = arguments(operation)
    torch.save(inputs, tmp_path / "arguments.pt")
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(interpreted)
    leaves = [value.requires_grad_() for value in inputs.values()]
    y = getattr(dsnet_kernels, f"{operation}_reference")(**inputs)
    y.square().sum().backward()
    want = [y.detach(), *(leaf.grad for leaf in leaves)]
    for got, expected in zip(torch.load(tmp_path / "results.pt"), want, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_the_command_prints_the_file():
    done = subprocess.run(
        [sys.executable, "-m", "dsnet_kernels.single_file", OPERATIONS[0]],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == single_file(OPERATIONS[0])
    compile(done.stdout, "single.py", "exec")


def test_other_names_are_refused():
    with pytest.raises(ValueError, match="operation is 'layers'"):
        single_file("layers")


def test_names_that_two_modules_define_are_refused(tmp_path, monkeypatch):
    """Laid one after the other, the second would silently take the first's place."""
    (tmp_path / "helper.py").write_text('"""Help."""\nSIZE = 1\n\ndef f():\n    return SIZE\n')
    text = '"""Operate."""\nfrom .helper import f\n\n{}\n\ndef cbam():\n    return f()\n'
    (tmp_path / "cbam.py").write_text(text.format("LENGTHS = [SIZE for SIZE in (2, 3)]"))
    monkeypatch.setattr("dsnet_kernels.single_file.FOLDER", tmp_path)
    names = {}
    exec(single_file("cbam"), names)
    assert names["cbam"]() == 1
    (tmp_path / "cbam.py").write_text(text.format("if True:\n    SIZE = 2"))
    with pytest.raises(ValueError, match="cbam and helper both define SIZE"):
        single_file("cbam")
