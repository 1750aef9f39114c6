"""Every snippet in kernels/README.md runs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "kernels"

# What the README takes as given.
PRELUDE = """
import sys
from pathlib import Path
import torch
from hosts import LinearCBAM

class HostCBAM(LinearCBAM):
    def __init__(self, channels):
        super().__init__(channels, channels // 16)

weight = torch.randn
model = torch.nn.Sequential(torch.nn.Conv2d(64, 64, 1), HostCBAM(64))
x = torch.randn(2, 64, 6, 7, requires_grad=True)
u, v = torch.randn(2, 2, 64, 6, 7).unbind()
"""
CHECK = """
assert y.shape == x.shape and y.isfinite().all()
"""


def snippets(language):
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)


def test_every_snippet_runs(tmp_path):
    pytest.importorskip("kernels", reason="needs Hugging Face kernels: pip install kernels")
    (tmp_path / "kernels").symlink_to(FOLDER, target_is_directory=True)
    commands = [line for snippet in snippets("sh") for line in snippet.splitlines()]
    for command in commands:
        assert command.startswith("python -m dsnet_kernels."), command
        words, _, target = command.partition(" > ")
        with open(tmp_path / target, "w") as out:
            subprocess.run([sys.executable, *shlex.split(words)[1:]], stdout=out, check=True)
    blocks = snippets("python")
    assert len(blocks) >= 5
    # `hosts`, and what this process was given, if anything.
    path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    program = PRELUDE + "".join(block + CHECK for block in blocks)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path), "TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
