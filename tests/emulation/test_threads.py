"""What of the kernels is a GPU's alone, on emulated threads: barriers, sums, clusters."""

import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import dsnet
from dsnet import _C
from dsnet.data.phantom import KINDS, make_phantom
from emulation_module import emulated_network, emulation

ROOT = Path(__file__).resolve().parents[2]
FORWARDS, BACKWARDS, SHUFFLED = range(3)


def build(name, folder, *sources):
    if dsnet.build_info()["sanitizers"]:
        pytest.skip("the sanitizers' run-time cannot follow fibers")
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None or platform.system() != "Linux":
        pytest.skip("needs g++ or clang++ and Linux")
    program = folder / name
    command = [compiler, "-std=c++17", "-O1", "-ffp-contract=off", "-o", program]
    command += ["-I", ROOT / "tests/emulation", "-I", ROOT / "csrc"]
    command += [ROOT / f"tests/emulation/{name}.cpp", *sources]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return program


def test_emulated_threads_give_the_bits_of_the_host_blocks(tmp_path):
    program = build("matting_threads", tmp_path, ROOT / "tests/emulation/matting.cpp")
    done = subprocess.run([program], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and done.stdout.count("the same") == 4, done.stdout + done.stderr


@pytest.fixture(scope="module")
def block_threads(tmp_path_factory):
    """Runs block_threads on arrays; returns arrays like those given."""
    folder = tmp_path_factory.mktemp("block_threads")
    program = build("block_threads", folder)

    def run(header, arrays, like):
        parts = [np.array(header, np.int64), *arrays]
        data = b"".join(a.tobytes() + bytes(-a.nbytes % 16) for a in parts)
        (folder / "input").write_bytes(data)
        command = [program, folder / "input", folder / "output"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        data, found = (folder / "output").read_bytes(), []
        assert len(data) == sum(array.nbytes for array in like)
        for array in like:
            found.append(np.frombuffer(data[: array.nbytes], array.dtype).reshape(array.shape))
            data = data[array.nbytes :]
        return found

    return run


@pytest.mark.parametrize("order", [FORWARDS, BACKWARDS, SHUFFLED])
@pytest.mark.parametrize(("rows", "cols"), [(40, 33), (30, 70)])
def test_cuts(block_threads, order, rows, cols):
    rng = np.random.default_rng(rows)
    phantoms = [make_phantom(kind, 70, seed=i) for i, kind in enumerate(KINDS)]
    images = np.stack([p.image[35 - rows // 2 :, 35 - cols // 2 :] for p in phantoms])
    marks = np.stack([p.mark.coordinates for p in phantoms])
    marks = marks.reshape(-1, 4, 2) - [35 - cols // 2, 35 - rows // 2]
    images = np.ascontiguousarray(images[:, :rows, :cols])
    images[1] = rng.random((rows, cols)) / 2 + images[1] / 2  # many parts
    images[2] = 0.5  # no contrast
    plans, seeds = _C.plan_cuts(marks.reshape(-1, 8), rows, cols)
    plans[3] = 0  # no cut wanted
    network = emulated_network()
    expected = emulation.cut_block(images, plans, seeds, network)
    assert expected[3]["fallback"].tolist()[1:4] == [0, 1, -1]
    header = (0, order, len(images), 0, rows, cols)
    found = block_threads(header, (images, plans, seeds, network.bytes), expected)
    for array, want in zip(found, expected, strict=True):
        assert array.tobytes() == want.tobytes()


@pytest.mark.parametrize("order", [FORWARDS, BACKWARDS, SHUFFLED])
def test_raters_and_strategy_1(block_threads, order):
    rng = np.random.default_rng(0)
    masks = (rng.random((4, 3, 21, 66)) < 0.004).astype(np.uint8)
    masks[:3, :, 4:15, 10:40] = 1
    masks[0, 1], masks[2, 1:] = 0, 0
    masks[1, 2, 6:, 30:50] = 1
    expected = emulation.raters_block(masks, np.nan, np.nan, (1.0, 0.5))
    for array in expected:
        assert len({image.tobytes() for image in array}) == 4
    found = block_threads((1, order, 4, 3, 21, 66), (masks,), expected)
    for array, want in zip(found, expected, strict=True):
        assert array.tobytes() == want.tobytes()
