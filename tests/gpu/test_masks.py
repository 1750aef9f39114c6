"""Labels of masks and of several raters on a CUDA device beside the CPU's."""

import numpy as np
import pytest

import dsnet
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import label_mask_batch, label_raters_batch
from dsnet.labeling.gpu.engine import CudaEngine
from dsnet.labeling.gpu.masks import DrawnBatch, MaskPipeline
from dsnet.labeling.gpu.pipeline import MattingSettings
from dsnet.labeling.matting.closed_form import DEFAULT_RTOL

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def built_with_cuda():
    if not dsnet.build_info()["cuda"]:
        pytest.skip("dsnet was built without CUDA")


def scene(count, size):
    phantoms = [make_phantom(KINDS[i % len(KINDS)], size, seed=i) for i in range(count)]
    return [p.image for p in phantoms], [p.alpha >= 0.5 for p in phantoms]


def raters_of(masks, count):
    return [np.stack([np.roll(m, k, axis=k % 2) for k in range(count)]) for m in masks]


def assert_close(labels, expected):
    for label, want in zip(labels, expected, strict=True):
        assert type(label) is type(want)
        if isinstance(want, ValueError):
            assert str(label) == str(want)
            continue
        assert np.array_equal(label.trimap, want.trimap)
        assert np.abs(label.alpha - want.alpha).max() < 1e-3
        assert label.notes == want.notes
        assert label.quality["overall"] == pytest.approx(want.quality["overall"], abs=2e-3)


@pytest.mark.parametrize("batch", [label_mask_batch, label_raters_batch])
@pytest.mark.parametrize(("size", "count"), [(16, 40), (64, 600), (128, 60), (600, 6)])
def test_batches_are_the_cpus(batch, size, count):
    images, masks = scene(min(count, 30), size)
    order = np.arange(count) % len(images)
    images, masks = [images[i] for i in order], [masks[i] for i in order]
    if batch is label_raters_batch:
        masks = raters_of(masks, 4)
    spacings = [(0.5 + 0.1 * (k % 7), 0.7) for k in range(count)]
    found = batch(images, masks, spacing=spacings, device="cuda")
    assert_close(found, batch(images, masks, spacing=spacings))
    again = batch(images, masks, spacing=spacings, device="cuda:0")
    assert all(a.alpha.tobytes() == b.alpha.tobytes() for a, b in zip(found, again, strict=True))


def test_sizes_raters_radii_and_bad_rows():
    small, large = scene(6, 32), scene(6, 90)
    images = [image for pair in zip(small[0], large[0], strict=True) for image in pair]
    masks = [mask for pair in zip(small[1], large[1], strict=True) for mask in pair]
    images[3] = np.full_like(images[3], np.nan)
    masks[4], masks[6] = np.zeros_like(masks[4]), np.ones_like(masks[6])
    images[7], masks[7] = images[7][:2, :2], masks[7][:2, :2]
    masks[8] = masks[8][1:]
    raters = [raters_of([mask], 1 + k % 5)[0] for k, mask in enumerate(masks)]
    raters[9][0] = False
    for band in ({}, {"erosion": 2.0, "dilation": 1.3}):
        assert_close(
            label_mask_batch(images, masks, device="cuda", **band),
            label_mask_batch(images, masks, **band),
        )
        assert_close(
            label_raters_batch(images, raters, device="cuda", **band),
            label_raters_batch(images, raters, **band),
        )


@pytest.mark.parametrize("raters", [None, 3])
def test_many_chunks_through_few_slots(raters):
    images, masks = scene(50, 48)
    drawn = masks if raters is None else raters_of(masks, raters)
    spacings = [(1.0, 1.0 + k % 3) for k in range(50)]
    pipeline = MaskPipeline(CudaEngine(0), MattingSettings(0.0, DEFAULT_RTOL))
    batch = DrawnBatch(images, drawn, spacings, np.nan, np.nan)
    found = pipeline.run(batch, 4, lambda *told: told, chunk=7)
    label = label_mask_batch if raters is None else label_raters_batch
    for told, want in zip(found, label(images, drawn, spacing=spacings), strict=True):
        _, trimap, alpha, info, _ = told
        assert np.array_equal(trimap, want.trimap) and info.converged
        assert np.abs(alpha - want.alpha).max() < 1e-3
    assert [told[0] for told in found] == list(range(50))
