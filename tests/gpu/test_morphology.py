"""Morphology on a CUDA device: the CPU's bits."""

import numpy as np
import pytest
import torch

from dsnet import _C
from dsnet.labeling import (
    dilate,
    erode,
    split_trimap,
    trimap_from_mask,
    trimap_from_raters,
)
from host_gpu import there

pytestmark = pytest.mark.gpu
# The last two do not fit a block's shared memory.
SHAPES = [(1, 1), (63, 65), (64, 64), (128, 130), (256, 256), (700, 640), (2100, 90)]


def masks_of(rows, cols, count=5):
    rng = np.random.default_rng([rows, cols])
    y, x = np.mgrid[:rows, :cols]
    masks = [np.zeros((rows, cols), bool), np.ones((rows, cols), bool)]
    while len(masks) < count:
        mask = rng.random((rows, cols)) < 0.002
        for _ in range(3):
            centre, radius = rng.uniform(0, (rows, cols)), rng.uniform(0.5, max(rows, cols) / 4)
            mask |= (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
        masks.append(mask)
    return np.stack(masks)


@pytest.mark.parametrize(("rows", "cols"), SHAPES)
@pytest.mark.parametrize("radii", [(None, None), (0.0, 2.5), (3.0, None), (40.0, 7.0)])
def test_strategy_1_equals_the_cpu(rows, cols, radii):
    masks = masks_of(rows, cols)
    erosion, dilation = radii
    given = {"erosion": erosion, "dilation": dilation, "spacing": (1.0, 0.7)}
    found = trimap_from_mask(torch.from_numpy(masks).cuda(), **given)
    assert found.is_cuda and found.dtype == torch.uint8
    wanted = np.stack([trimap_from_mask(mask, **given) for mask in masks])
    assert np.array_equal(found.cpu().numpy(), wanted)


def packed(masks):
    """Words of 64 pixels, the lowest bit the first; beyond the last column bits are set."""
    padded = np.pad(masks, ((0, 0), (0, 0), (0, -masks.shape[2] % 64)), constant_values=True)
    words = np.packbits(padded, axis=2, bitorder="little").view("<u8")
    return np.ascontiguousarray(words)


@pytest.mark.parametrize(("rows", "cols"), SHAPES)
@pytest.mark.parametrize("work", ["split_trimap", "erode", "dilate"])
@pytest.mark.parametrize("bits", [False, True])
def test_a_radius_of_its_own_for_each_image(rows, cols, work, bits):
    masks, device = masks_of(rows, cols), 0
    radii = np.random.default_rng(0).uniform(0, 20, (2, len(masks)))
    given = packed(masks).view(np.int64) if bits else masks
    on_gpu = torch.from_numpy(given).cuda()
    erosion, dilation = (torch.from_numpy(each).cuda() for each in radii)
    out = torch.empty(masks.shape, dtype=torch.uint8, device="cuda")
    statuses = torch.empty(len(masks), dtype=torch.int32, device="cuda")
    # Room for two images at a time.
    nbytes = 2 * _C.cuda_morphology_workspace_bytes(work, rows, cols, device)
    workspace = torch.empty(max(nbytes, 1), dtype=torch.uint8, device="cuda")
    batch = _C.MorphologyBatch(
        masks.shape,
        masks=there(on_gpu),
        erosion=there(erosion),
        dilation=there(dilation),
        out=there(out),
        statuses=there(statuses),
        workspace=there(workspace),
        packed=bits,
    )
    _C.cuda_morphology(work, batch, device, torch.cuda.current_stream().cuda_stream)
    wanted = np.stack(
        [_C.split_trimap(mask, *pair, 1.0, 1.0) for mask, pair in zip(masks, radii.T, strict=True)]
    )
    if work != "split_trimap":
        wanted = (wanted == 255) if work == "erode" else (wanted > 0)
    assert np.array_equal(out.cpu().numpy(), wanted) and not statuses.any()


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (64, 64), (256, 250)])
def test_cores(rows, cols):
    masks = masks_of(rows, cols)
    cores = np.random.default_rng(1).random(masks.shape) < 0.05
    on_gpu = [torch.from_numpy(array).cuda() for array in (masks, cores)]
    found = trimap_from_mask(on_gpu[0], core=on_gpu[1], erosion=60.0).cpu().numpy()
    for trimap, mask, core in zip(found, masks, cores, strict=True):
        assert np.array_equal(trimap, trimap_from_mask(mask, core=core, erosion=60.0))


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (64, 64), (130, 127), (700, 640)])
@pytest.mark.parametrize("radii", [(None, None), (2.0, 0.0)])
def test_raters(rows, cols, radii):
    masks = masks_of(rows, cols, 12).reshape(3, 4, rows, cols)
    given = dict(zip(("erosion", "dilation"), radii, strict=True)) | {"spacing": (1.0, 0.7)}
    found = trimap_from_raters(torch.from_numpy(masks).cuda(), **given)
    assert found.is_cuda and found.shape == (3, rows, cols)
    wanted = np.stack([trimap_from_raters(raters, **given) for raters in masks])
    assert np.array_equal(found.cpu().numpy(), wanted)


@pytest.mark.parametrize(("rows", "cols"), SHAPES)
@pytest.mark.parametrize("spacing", [None, (1.0, 0.7)])
def test_public_erosion_dilation_and_split(rows, cols, spacing):
    masks = masks_of(rows, cols)
    own = np.random.default_rng(2).uniform(0, 20, len(masks))
    on_gpu = torch.from_numpy(masks).cuda()
    for function, *radii in ((erode, own), (dilate, 2.5), (split_trimap, 1.0, own)):
        found = function(on_gpu, *radii, spacing)
        wanted = function(masks, *radii, spacing)
        assert found.is_cuda and np.array_equal(found.cpu().numpy(), wanted)
        one = [r[-1] if np.ndim(r) else r for r in radii]
        assert np.array_equal(function(on_gpu[-1], *one, spacing).cpu().numpy(), wanted[-1])
