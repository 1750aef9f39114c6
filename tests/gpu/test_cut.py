"""Cuts on a CUDA device: the bits of the same code on the CPU."""

import numpy as np
import pytest

from dsnet import _C
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling.edge_model import native_network
from dsnet.labeling.gpu.engine import CudaEngine
from emulation_module import emulated_network, emulation

pytestmark = pytest.mark.gpu

UP, DOWN = ("images", "plans", "seeds"), ("masks", "trimaps", "priors", "cuts")


def on_gpu(images, plans, seeds, workspace=None):
    """As `emulation.cut_block`."""
    engine = CudaEngine(0)
    block, stream = images.shape, engine.stream()
    found = {
        "masks": np.full(block, 7, np.uint8),
        "trimaps": np.full(block, 7, np.uint8),
        "priors": np.full(block, 7, np.float32),
        "cuts": np.zeros(len(images), _C.CUT_RESULT),
    }
    memory = {name: engine.device_memory(a.nbytes) for name, a in found.items()}
    for name, array in zip(UP, (images, plans, seeds), strict=True):
        memory[name] = engine.device_memory(array.nbytes)
        engine.to_device(memory[name], array, stream)
    memory["workspace"] = engine.device_memory(workspace or engine.workspace_bytes(*block))
    engine.cut(memory, block, native_network(), stream)
    for name in DOWN:
        engine.to_host(found[name], memory[name], stream)
    engine.wait(engine.mark(stream))
    return [found[name] for name in DOWN]


def scene(count, size):
    phantoms = [make_phantom(KINDS[i % len(KINDS)], size, seed=i) for i in range(min(count, 20))]
    order = np.arange(count) % len(phantoms)
    images = np.stack([p.image for p in phantoms])[order]
    marks = np.stack([p.mark.coordinates for p in phantoms])[order]
    images[count // 2] = 0.5  # falls back
    plans, seeds = _C.plan_cuts(marks, size, size)
    plans[count // 3] = 0  # not wanted
    return images, plans, seeds


def assert_same(found, expected):
    for name, array, want in zip(DOWN, found, expected, strict=True):
        if name == "priors":  # the exponential's last bit
            assert np.abs(array - want).max() <= 2**-23
        else:
            assert np.array_equal(array, want), name


@pytest.mark.parametrize(("size", "count"), [(24, 9), (64, 700), (130, 20), (256, 6)])
def test_cuts_of_every_size(size, count):
    images, plans, seeds = scene(count, size)
    found = on_gpu(images, plans, seeds)
    few = min(count, 40)
    at = np.unique([*range(few), count // 2, count // 3])
    expected = emulation.cut_block(images[at], plans[at], seeds[at], emulated_network())
    assert_same([array[at] for array in found], expected)
    assert set(expected[3]["fallback"]) == {0, 1, -1}
    again = on_gpu(images, plans, seeds)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(found, again, strict=True))


def test_one_image_at_a_time():
    images, plans, seeds = scene(5, 40)
    one = _C.cuda_cut_workspace_bytes(1, 40, 40, 0)
    found = on_gpu(images, plans, seeds, workspace=one)
    assert_same(found, emulation.cut_block(images, plans, seeds, emulated_network()))


def test_random_images_and_marks():
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows, cols = rng.integers(3, 140, 2)
        images = np.round(rng.random((4, rows, cols)) * 9).astype(np.float32) / 9
        centre = rng.random((4, 1, 2)) * [cols, rows]
        marks = (centre + rng.normal(size=(4, 4, 2)) * rng.choice([1, 4, 15])).reshape(4, 8)
        inside = [
            not emulation.rasterise_recist(m, rows, cols, 1.0)["problems"] & 16 for m in marks
        ]
        if any(inside):
            images = np.ascontiguousarray(images[inside])
            plans, seeds = _C.plan_cuts(marks[inside], rows, cols)
            expected = emulation.cut_block(images, plans, seeds, emulated_network())
            assert_same(on_gpu(images, plans, seeds), expected)
