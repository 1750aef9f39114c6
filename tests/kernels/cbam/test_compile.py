"""CBAM's operators under torch's compilers, and the package without Triton."""

import subprocess
import sys

import suites
from operations import CBAM


class TestCompile(suites.Compile):
    operation = CBAM


def test_without_triton():
    """The package imports and the reference runs where Triton is not installed."""
    program = """
import sys
sys.modules["triton"] = None
import torch, dsnet_kernels
x, w1, w2, conv = (torch.ones(s) for s in ((1, 4, 3, 3), (2, 4), (4, 2), (1, 2, 3, 3)))
assert dsnet_kernels.cbam(x, w1, None, w2, None, conv).shape == x.shape
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1000:]
