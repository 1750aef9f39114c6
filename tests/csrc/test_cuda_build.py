"""What the compiler made of the kernels, read from the compiled module: no GPU is needed."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import dsnet
from dsnet import _C
from emulation_module import emulation

# Bytes of shared memory that a block may have, and what of it the driver keeps.
SHARED = {"sm_80": (166912, 0), "sm_90": (232448, 1024), "sm_100": (232448, 1024)}
REGISTERS = 65536
# Of the matting kernels: bytes of static shared memory, for reductions and the block's own state.
STATIC = {"solve_small": 1632, "solve_bands": 3392, "solve_large": 1632}
MORPHOLOGY = {"split_images", "trimap_images", "work_on_bands", "vote_images", "join_images"}
KERNELS = {*STATIC, *MORPHOLOGY, "cut_images"}
# Clusters came with sm_90: before it the kernel is there, and empty.
EMPTY = {("sm_80", "solve_bands")}


def find_cuobjdump() -> str | None:
    """On PATH, beside nvcc, or Triton's."""
    nvcc = shutil.which("nvcc")
    folders = [Path(nvcc).resolve().parent] if nvcc else []
    triton = importlib.util.find_spec("triton")
    for place in (triton.submodule_search_locations or []) if triton else []:
        folders.append(Path(place, "backends", "nvidia", "bin"))
    found = [shutil.which("cuobjdump")] + [shutil.which("cuobjdump", path=f) for f in folders]
    return next((path for path in found if path), None)


def read_usage(cuobjdump: str) -> dict[str, dict[str, dict[str, int]]]:
    """Of every kernel on every architecture: registers, stack, shared and local memory."""
    done = subprocess.run([cuobjdump, "-res-usage", _C.__file__], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    usage, arch, name = {}, None, None
    for line in done.stdout.splitlines():
        if match := re.match(r"arch = (\w+)", line):
            arch = match[1]
        elif match := re.match(r"\s*Function (\S+):", line):
            name = match[1]
        elif figures := re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", line):
            usage.setdefault(arch, {})[name] = {key: int(value) for key, value in figures}
    return usage


@pytest.fixture(scope="module")
def usage():
    if not dsnet.build_info()["cuda"]:
        pytest.skip("dsnet was built without CUDA")
    cuobjdump = find_cuobjdump()
    if cuobjdump is None:
        pytest.skip("no cuobjdump: it comes with the CUDA toolkit and with Triton")
    return read_usage(cuobjdump)


def kernels_of(usage, arch):
    if arch not in usage:
        pytest.skip(f"dsnet was built for {', '.join(sorted(usage))} alone")
    return usage[arch]


def test_every_kernel_is_there(usage):
    # All that are supported, or those that CMAKE_ARGS asked for.
    assert {"sm_80", "sm_90"} <= set(usage) or "ARCHITECTURES" in os.environ.get("CMAKE_ARGS", "")
    for kernels in usage.values():
        names = " ".join(kernels)
        assert not [kernel for kernel in KERNELS if kernel not in names]


@pytest.mark.parametrize("arch", SHARED)
def test_nothing_spills_to_local_memory(usage, arch):
    for name, used in kernels_of(usage, arch).items():
        assert used["STACK"] == 0 and used["LOCAL"] == 0, (name, used)


@pytest.mark.parametrize("arch", SHARED)
def test_matting_has_the_registers_and_shared_memory_that_were_planned(usage, arch):
    most, reserved = SHARED[arch]
    plans = emulation.matting_block_kernels()
    assert set(plans) == set(STATIC)
    for kernel, plan in plans.items():
        if (arch, kernel) in EMPTY:
            continue
        found = [used for name, used in kernels_of(usage, arch).items() if kernel in name]
        assert found
        for used in found:
            # A warp's registers are handed out in eights.
            assert -(-used["REG"] // 8) * 8 * plan["threads"] <= REGISTERS, (kernel, used)
            assert used["SHARED"] == STATIC[kernel] + reserved, (kernel, used)
            assert used["SHARED"] + plan["shared_bytes"] <= most, (kernel, used)


@pytest.mark.parametrize("arch", SHARED)
def test_four_blocks_of_cuts_fit_a_multiprocessor(usage, arch):
    most, reserved = SHARED[arch]
    (used,) = [used for name, used in kernels_of(usage, arch).items() if "cut_images" in name]
    assert -(-used["REG"] // 8) * 8 * 128 * 4 <= REGISTERS, used
    # The mark's frame, and what 16 reductions share.
    assert used["SHARED"] == 27736 + 16 * 16 + reserved, used
    assert 4 * used["SHARED"] <= most
