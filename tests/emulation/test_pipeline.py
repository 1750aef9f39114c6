"""Batches whose cuts and matting run on a device, here with the CPU in its place."""

import threading

import numpy as np
import pytest

from dsnet import _C
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import SoftLabel, label_batch
from dsnet.labeling.edge_model import native_network
from dsnet.labeling.gpu import engine as gpu_engine
from dsnet.labeling.gpu.pipeline import STAGES, MattingSettings, Pipeline
from dsnet.labeling.matting.closed_form import DEFAULT_RTOL
from dsnet.labeling.notes import EMPTY
from dsnet.labeling.soft_mask import PRIOR_WEIGHT
from host_engine import HostEngine

SETTINGS = MattingSettings(PRIOR_WEIGHT, DEFAULT_RTOL)


def crops(count, size=20):
    phantoms = [make_phantom(KINDS[i % len(KINDS)], size, seed=i) for i in range(count)]
    return np.stack([p.image for p in phantoms]), np.stack([p.mark.coordinates for p in phantoms])


def pipeline(engine=None, settings=SETTINGS):
    return Pipeline(engine or HostEngine(), native_network(), settings)


def native(images, coordinates, threads=1):
    found = _C.label_batch(
        images, coordinates, native_network(), PRIOR_WEIGHT, DEFAULT_RTOL, threads
    )
    return list(zip(*found, strict=True))


def assert_same(rows, expected):
    assert len(rows) == len(expected)
    for row, want in zip(rows, expected, strict=True):
        assert np.abs(row[0] - want[0]).max() < 1e-3
        assert np.array_equal(row[1], want[1]) and np.array_equal(row[2], want[2])
        state, wanted = row[3], list(want[3])
        assert state[:4] + state[5:] == wanted[:4] + wanted[5:]  # all but the iterations
        # The expected Dice goes by the cut alone.
        assert np.array_equal(row[5][:2], want[5][:2])
        assert np.allclose(row[5], want[5], atol=2e-3)


@pytest.fixture
def on_host(monkeypatch):
    """`label_batch` with device="cuda", on the CPU."""
    engine = HostEngine()
    monkeypatch.setattr(gpu_engine, "device_index", lambda device: 0)
    monkeypatch.setattr(gpu_engine, "CudaEngine", lambda device: engine)
    monkeypatch.setattr(gpu_engine, "_pipelines", {})
    yield engine
    engine.close()


@pytest.mark.parametrize(("count", "chunk"), [(1, None), (11, 3), (8, 1), (6, 6)])
def test_labels_are_the_cpus_in_order(count, chunk):
    images, coordinates = crops(count)
    runs = pipeline()
    rows = runs.run(images, coordinates, 2, chunk)
    assert_same(rows, native(images, coordinates))
    assert runs.again == 0
    sizes = [shape[0] for shape in runs.engine.launched]
    assert sum(sizes) == count and max(sizes) <= (chunk or count)


def test_sizes_are_grouped():
    small, large, marks = crops(3, 16), crops(3, 24), []
    images = []
    for k in range(3):
        images += [small[0][k], large[0][k]]
        marks += [small[1][k], large[1][k]]
    runs = pipeline()
    rows = runs.run(images, np.array(marks), 1, 2)
    assert_same(rows, native(images, np.array(marks)))
    assert runs.engine.launched == [(2, 16, 16), (1, 16, 16), (2, 24, 24), (1, 24, 24)]


def test_a_bad_row_costs_itself_alone(on_host):
    images, marks = crops(6)
    images = [*images, np.full((2, 2), 0.5, np.float32), np.zeros((20, 20), np.uint8)]
    marks = [*marks, [0, 0, 1, 1, 0, 1, 1, 0], marks[0]]
    images[1] = np.where(np.eye(20, dtype=bool), np.nan, images[1]).astype(np.float32)
    marks[2] = marks[2] + 1000
    marks[4] = [1, 2, 3]
    # The end points' box touches the image, the ellipse does not.
    images.append(images[0])
    marks.append([-30, 10, -0.3, 10, -15, 0, -15, 20])
    expected, found = label_batch(images, marks, 1), label_batch(images, marks, 1, device="cuda")
    assert on_host.launched
    for label, want in zip(found, expected, strict=True):
        assert type(label) is type(want)
        if isinstance(want, ValueError):
            assert str(label) == str(want)
        else:
            assert np.array_equal(label.binary, want.binary) and label.notes == want.notes
            assert np.abs(label.alpha - want.alpha).max() < 1e-3
            assert label.quality.keys() == want.quality.keys()
            assert label.quality["expected_dice"] == want.quality["expected_dice"]
            assert all(seconds >= 0 for seconds in label.seconds.values())
    assert sum(isinstance(label, SoftLabel) for label in found) == 4
    assert EMPTY in found[-1].notes


def test_an_empty_batch_has_no_labels(on_host):
    assert label_batch([], [], device="cuda") == []
    assert label_batch(np.zeros((0, 8, 8), np.float32), [], device="cuda") == []


def test_a_crop_that_does_not_converge_is_labelled_by_the_cpu():
    images, coordinates = crops(4)
    runs = pipeline(settings=MattingSettings(PRIOR_WEIGHT, DEFAULT_RTOL, max_iterations=1))
    rows = runs.run(images, coordinates, 1, 2)
    assert runs.again == 4
    for row, want in zip(rows, native(images, coordinates), strict=True):
        assert row[0].tobytes() == want[0].tobytes() and row[3] == list(want[3])


def test_a_chunk_that_does_not_fit_is_halved():
    images, coordinates = crops(9)
    # Three slots of two crops fit: 14 bytes a pixel, a row's word of seeds, and a plan.
    engine = HostEngine(room=3 * (2 * (20 * 20 * 14 + 20 * 8 + _C.CUT_PLAN_BYTES) + 200))
    rows = pipeline(engine).run(images, coordinates, 1, 8)
    assert_same(rows, native(images, coordinates))
    assert {shape[0] for shape in engine.launched} <= {1, 2}


@pytest.mark.parametrize("name", ["cut", "solve", "host_memory"])
def test_memory_that_runs_out_on_the_way_loses_nothing(name):
    images, coordinates = crops(9)
    engine = HostEngine(faults={name: _C.OutOfDeviceMemory("full")}, after=3)
    rows = pipeline(engine).run(images, coordinates, 1, 2)
    assert_same(rows, native(images, coordinates))


def test_no_room_for_one_crop_is_an_error():
    images, coordinates = crops(2)
    runs = pipeline(HostEngine(room=100))
    with pytest.raises(MemoryError, match="no room for"):
        runs.run(images, coordinates, 1)


@pytest.mark.parametrize("after", [1, 3])
@pytest.mark.parametrize(
    "stage", ["to_device", "cut", "cutting", "solve", "solving", "to_host", "mark", "wait"]
)
def test_a_failure_stops_without_a_thread_left(stage, after):
    images, coordinates = crops(8, 12)
    engine = HostEngine(faults={stage: RuntimeError("the GPU fell off the bus")}, after=after)
    runs = pipeline(engine)
    with pytest.raises(RuntimeError, match="fell off the bus"):
        runs.run(images, coordinates, 1, 1)
    assert not [t for t in threading.enumerate() if t.name == "dsnet-begin-labels"]
    # The next batch starts afresh.
    assert_same(runs.run(images, coordinates, 1, 3), native(images, coordinates))
    engine.close()


def test_a_second_batch_allocates_nothing():
    images, coordinates = crops(6)
    runs = pipeline()
    runs.run(images, coordinates, 1, 2)
    before = runs.engine.allocations
    runs.run(images, coordinates, 1, 2)
    assert runs.engine.allocations == before


def test_a_failure_before_matting_is_told():
    images, coordinates = crops(3)
    with pytest.raises(TypeError, match="images must have dtype float32"):
        pipeline().run(list(images.astype(np.float64)), coordinates, 1, 1)


def test_stages_add_up():
    images, coordinates = crops(6)
    runs = pipeline()
    assert dict(runs.stages()) == dict.fromkeys(STAGES, 0.0)
    runs.run(images, coordinates, 1, 6)
    first = dict(runs.stages())
    assert tuple(first) == STAGES and all(seconds > 0 for seconds in first.values())
    runs.run(images, coordinates, 1, 2)
    assert all(seconds > first[stage] for stage, seconds in runs.stages())


def test_stages_of_a_device_are_told(on_host):
    assert list(gpu_engine.stages("cuda")) == []
    images, coordinates = crops(3)
    label_batch(images, coordinates, device="cuda")
    told = dict(gpu_engine.stages("cuda"))
    assert tuple(told) == STAGES and all(seconds > 0 for seconds in told.values())
