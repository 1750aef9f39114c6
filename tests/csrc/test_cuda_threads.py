"""What of the matting kernels is a GPU's alone, on emulated threads: barriers, sums, clusters."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

import dsnet

ROOT = Path(__file__).resolve().parents[2]


def test_emulated_threads_give_the_bits_of_the_host_blocks(tmp_path):
    if dsnet.build_info()["sanitizers"]:
        pytest.skip("the sanitizers' run-time cannot follow fibers")
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None or platform.system() != "Linux":
        pytest.skip("needs g++ or clang++ and Linux")
    program = tmp_path / "matting_threads"
    command = [compiler, "-std=c++17", "-O1", "-ffp-contract=off", "-o", program]
    command += ["-I", ROOT / "tests/csrc/emulation", "-I", ROOT / "csrc"]
    command += [ROOT / "tests/csrc/emulation/matting_threads.cpp"]
    command += [ROOT / "csrc/matting_host_block.cpp"]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.count("the same") == 4, done.stdout + done.stderr
