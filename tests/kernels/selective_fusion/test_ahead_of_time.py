"""What the compiler makes of selective fusion's kernels, for GPUs that need not be there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

SHARED_BYTES = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}
# Tensors of u's size that a kernel reads with prologues, and without; and whether it writes one.
STREAMS = {
    "fusion_pool_kernel": (2, 2, False),
    "fusion_mix_kernel": (2, 2, True),
    "fusion_gate_gradient_kernel": (3, 3, False),
    "fusion_branch_gradient_kernel": (3, 1, True),
}


def compile_all(*options) -> list[dict]:
    """The report on every kernel, from a process in which nothing is interpreted."""
    program = Path(__file__).parents[1] / "ahead_of_time.py"
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, program, "--operation", "selective_fusion", *map(str, options)],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_all(lines: list[dict], plain: bool) -> None:
    assert {line["kernel"] for line in lines} >= set(STREAMS)
    for line in lines:
        assert line["stack"] == line["local"] == 0, line
        assert line["shared"] <= SHARED_BYTES[line["arch"]], line
        assert line["atomics"] == 0, line
        if line["kernel"] in STREAMS:
            *tensors, writes = STREAMS[line["kernel"]]
            assert line["wide_loads"] >= tensors[plain] * line["tile_loads"], line
            assert line["store_bytes"] == 16 or not writes, line


def test_no_spills_and_wide_loads():
    """With prologues and batch norm, for three generations of GPU."""
    lines = compile_all("--arch", 80, 90, 100, "--dtype", "bfloat16")
    assert len(lines) == 3 * 2 * 11
    check_all(lines, plain=False)


@pytest.mark.long
@pytest.mark.parametrize("shape", [(4, 64, 256, 256), (4, 128, 128, 128), (16, 256, 64, 64),
                                   (1, 512, 32, 32)])  # fmt: skip
@pytest.mark.parametrize("plain", [False, True])
def test_no_spills_at_any_shape(shape, plain):
    options = ["--plain"] if plain else []
    dtypes = "bfloat16", "float16", "float32"
    check_all(compile_all("--shape", *shape, "--arch", 80, 90, 100, "--dtype", *dtypes, *options),
              plain)  # fmt: skip


def test_odd_sizes_compile():
    """Nothing is divisible by anything."""
    assert compile_all("--shape", 3, 67, 5, 7, "--dtype", "float16", "--layout", "nchw")


@pytest.mark.long
def test_strides_of_64_bits_compile():
    lines = compile_all("--shape", 2, 2112, 1024, 1024, "--dtype", "bfloat16")
    for line in lines:
        if line["kernel"] in STREAMS:
            assert line["wide_loads"] >= line["tile_loads"], line
