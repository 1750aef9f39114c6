"""Batches of masks whose trimaps and matting run on a device, here with the CPU in its place."""

import threading

import numpy as np
import pytest

from dsnet import _C
from dsnet.data.datasets.lidc import find_rater_pictures
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import (
    SoftLabel,
    label_mask,
    label_mask_batch,
    label_raters,
    label_raters_batch,
)
from dsnet.labeling.gpu.masks import STAGES, DrawnBatch, MaskPipeline, stages
from dsnet.labeling.gpu.pipeline import MattingSettings
from dsnet.labeling.matting.closed_form import DEFAULT_RTOL
from host_engine import HostEngine, stand_in
from shared_data import shared

SETTINGS = MattingSettings(0.0, DEFAULT_RTOL)


def scene(count, size=24):
    phantoms = [make_phantom(KINDS[i % len(KINDS)], size, seed=i) for i in range(count)]
    return [p.image for p in phantoms], [p.alpha >= 0.5 for p in phantoms]


def raters_of(masks, count=3):
    return [np.stack([np.roll(m, k, axis=k % 2) for k in range(count)]) for m in masks]


def assert_same(labels, expected):
    assert len(labels) == len(expected)
    for label, want in zip(labels, expected, strict=True):
        assert type(label) is type(want)
        if isinstance(want, ValueError):
            assert str(label) == str(want)
            continue
        assert label.trimap.tobytes() == want.trimap.tobytes()
        assert np.abs(label.alpha - want.alpha).max() < 1e-3
        near = np.abs(want.alpha - 0.5) < 1e-3
        assert np.array_equal(label.binary | near, want.binary | near)
        assert label.notes == want.notes and label.quality.keys() == want.quality.keys()
        assert label.quality["overall"] == pytest.approx(want.quality["overall"], abs=2e-3)
        assert label.seconds["cut"] == 0
        assert all(seconds >= 0 for seconds in label.seconds.values())


@pytest.fixture
def on_host(monkeypatch):
    """What device="cuda" asks for, on the CPU."""
    engine = stand_in(monkeypatch)
    yield engine
    engine.close()


def test_masks_are_the_cpus(on_host):
    images, masks = scene(8)
    for k in (1, 4):
        images[k], masks[k] = (part[:17, 3:] for part in (images[k], masks[k]))
    masks[2] = np.zeros_like(masks[2])
    masks[3] = np.ones_like(masks[3])
    spacings = [None, (0.7, 0.7), (0.5, 1.5), None, (1, 1), (0.7, 0.7), None, (2, 2)]
    for band in ({}, {"erosion": 1.5, "dilation": 2.0}, {"dilation": 0.0}):
        found = label_mask_batch(images, masks, spacing=spacings, device="cuda", threads=2, **band)
        expected = label_mask_batch(images, masks, spacing=spacings, threads=1, **band)
        assert_same(found, expected)
        assert on_host.launched == [(6, 24, 24), (2, 17, 21)]
        on_host.launched.clear()


def test_raters_are_the_cpus_in_order(on_host):
    images, masks = scene(9)
    masks = [r[: 1 + (k > 5)] for k, r in enumerate(raters_of(masks))]
    masks[6][0] = masks[7][:] = False
    masks[8] = np.stack([np.eye(24) > 0, np.roll(np.eye(24), 7, 0) > 0])  # no pixel in common
    spacings = [(0.7, 0.7), None, (0.7, 0.7), (0.5, 1.5), None, (0.7, 0.7), (2, 1), None, (2, 1)]
    for band in ({}, {"erosion": 2.0, "dilation": 1.0}):
        found = label_raters_batch(images, masks, spacing=spacings, device="cuda", **band)
        expected = label_raters_batch(images, masks, spacing=spacings, threads=1, **band)
        assert_same(found, expected)
        # Who marked nothing does not go there, and one alone is strategy 1.
        assert on_host.launched == [(8, 24, 24), (1, 24, 24)]
        on_host.launched.clear()
    assert "no pixel was marked by all raters" in found[8].notes[0]


def test_real_readers_are_the_cpus(on_host):
    pictures = find_rater_pictures(shared("lidc", "LIDC-IDRI-slices"))[::180]
    crops = [picture.read() for picture in pictures]
    images, spacings = [c.image for c in crops], [c.spacing for c in crops]
    masks = [c.masks for c in crops]
    found = label_raters_batch(images, masks, spacing=spacings, device="cuda")
    assert_same(found, [label_raters(c.image, c.masks, spacing=c.spacing) for c in crops])
    found = label_mask_batch(images, [m[0] for m in masks], spacing=spacings, device="cuda")
    assert_same(found, [label_mask(c.image, c.masks[0], spacing=c.spacing) for c in crops])


def test_a_bad_row_costs_itself_alone(on_host):
    images, masks = scene(6)
    images[1] = np.where(np.eye(24, dtype=bool), np.nan, images[1]).astype(np.float32)
    masks[2] = masks[2][1:]
    images[4], masks[4] = images[4][:2, :2], np.ones((2, 2), bool)
    spacings = [None, None, None, (1, -1), None, None]
    found = label_mask_batch(images, masks, spacing=spacings, device="cuda")
    assert_same(found, label_mask_batch(images, masks, spacing=spacings))
    assert [k for k, label in enumerate(found) if isinstance(label, SoftLabel)] == [0, 4, 5]
    # Below 3x3 pixels there is no window for the device.
    assert on_host.launched == [(2, 24, 24)]
    assert label_mask_batch([], [], device="cuda") == []
    assert all(isinstance(x, ValueError) for x in label_raters_batch(images, masks, device="cuda"))


def run(pipeline, count=8, raters=None, chunk=None, size=12):
    """Rows through a pipeline, and whether they are the CPU's trimaps in order."""
    images, masks = scene(count, size)
    masks = masks if raters is None else raters_of(masks, raters)
    batch = DrawnBatch(images, masks, [(1.0, 1.0 + k % 2) for k in range(count)], np.nan, np.nan)
    found = pipeline.run(batch, 2, lambda *told: told, chunk)
    label = label_mask if raters is None else label_raters
    for k, (row, trimap, alpha, info, seconds) in enumerate(found):
        want = label(images[k], masks[k], spacing=batch.spacings[k])
        assert row == k and np.array_equal(trimap, want.trimap) and seconds >= 0
        assert not info.converged or np.abs(alpha - want.alpha).max() < 1e-3
    return found


@pytest.mark.parametrize("raters", [None, 2])
@pytest.mark.parametrize(("count", "chunk"), [(1, None), (11, 3), (8, 1), (6, 6)])
def test_chunks_go_through_few_slots(raters, count, chunk):
    pipeline = MaskPipeline(HostEngine(), SETTINGS)
    assert len(run(pipeline, count, raters, chunk)) == count
    sizes = [shape[0] for shape in pipeline.engine.launched]
    assert sum(sizes) == count and max(sizes) <= (chunk or count)
    before = pipeline.engine.allocations
    run(pipeline, count, raters, chunk)
    assert pipeline.engine.allocations == before


def test_stages_add_up(on_host):
    pipeline = MaskPipeline(on_host, SETTINGS)
    assert dict(pipeline.stages()) == dict.fromkeys(STAGES, 0.0)
    run(pipeline, chunk=8)
    first = dict(pipeline.stages())
    assert tuple(first) == STAGES and all(seconds > 0 for seconds in first.values())
    run(pipeline, raters=2, chunk=3)
    assert all(seconds > first[stage] for stage, seconds in pipeline.stages())
    assert list(stages(0)) == []
    label_mask_batch(*scene(2), device="cuda")
    assert tuple(dict(stages(0))) == STAGES


def test_a_row_that_does_not_converge_is_labelled_by_the_cpu(on_host, monkeypatch):
    monkeypatch.setattr(
        "dsnet.labeling.mask_batch.MattingSettings",
        lambda weight, rtol: MattingSettings(weight, rtol, max_iterations=1),
    )
    images, masks = scene(4)
    for label, batch, drawn in (
        (label_mask, label_mask_batch, masks),
        (label_raters, label_raters_batch, raters_of(masks)),
    ):
        found = batch(images, drawn, spacing=(0.7, 0.7), device="cuda")
        for row, *what in zip(found, images, drawn, strict=True):
            want = label(*what, spacing=(0.7, 0.7))
            assert row.alpha.tobytes() == want.alpha.tobytes() and row.notes == want.notes
    assert on_host.launched


def test_a_chunk_that_does_not_fit_is_halved():
    # Three slots of two crops of 12x12 fit: 14 bytes a pixel, and numbers.
    pipeline = MaskPipeline(HostEngine(room=3 * (2 * (144 * 14 + 100) + 100)), SETTINGS)
    assert len(run(pipeline, 9, chunk=8)) == 9
    assert {shape[0] for shape in pipeline.engine.launched} <= {1, 2}


@pytest.mark.parametrize("name", ["trimap_from_mask", "solve", "host_memory"])
def test_memory_that_runs_out_on_the_way_loses_nothing(name):
    engine = HostEngine(faults={name: _C.OutOfDeviceMemory("full")}, after=3)
    assert len(run(MaskPipeline(engine, SETTINGS), 9, chunk=2)) == 9


def test_no_room_for_one_row_is_an_error():
    with pytest.raises(MemoryError, match="no room for"):
        run(MaskPipeline(HostEngine(room=100), SETTINGS))


@pytest.mark.parametrize("after", [1, 3])
@pytest.mark.parametrize(
    "stage",
    ["to_device", "trimap_from_raters", "trimaps", "solve", "solving", "to_host", "mark", "wait"],
)
def test_a_failure_stops_without_a_thread_left(stage, after):
    engine = HostEngine(faults={stage: RuntimeError("the GPU fell off the bus")}, after=after)
    pipeline = MaskPipeline(engine, SETTINGS)
    with pytest.raises(RuntimeError, match="fell off the bus"):
        run(pipeline, raters=2, chunk=1)
    assert not [t for t in threading.enumerate() if t.name.startswith("dsnet-finish")]
    # The next batch starts afresh.
    assert len(run(pipeline, raters=2, chunk=3)) == 8
    engine.close()
