"""The GPU's morphology, run on the CPU a thread at a time, against the CPU's own: equal bits."""

import numpy as np
import pytest
from scipy import ndimage

from dsnet import _C
from emulation_module import emulation
from shared_data import shared

SIZES = [(1, 1), (1, 70), (70, 1), (5, 63), (64, 64), (65, 129), (40, 192), (130, 16)]
BANDS = [(530, 40), (190, 257)]  # of more than one band, where they are large


def random_masks(rng, count, rows, cols):
    masks = []
    for _ in range(count):
        kind = rng.integers(6)
        if kind == 0:
            mask = np.full((rows, cols), rng.random() < 0.5)
        elif kind == 1:
            mask = rng.random((rows, cols)) < rng.random()
        else:
            noise = ndimage.gaussian_filter(rng.standard_normal((rows, cols)), rng.uniform(0.5, 6))
            mask = noise > rng.normal() * 0.1
        masks.append(mask)
    return np.stack(masks).astype(np.uint8) * np.uint8(rng.integers(1, 256))


def random_radii(rng, count):
    radii = rng.uniform(0, 9, count)
    whole, far = rng.random(count) < 0.3, rng.random(count) < 0.1
    return np.where(far, rng.uniform(0, 300, count), np.where(whole, radii.round(), radii))


def random_spacing(rng, count):
    if rng.random() < 0.4:
        return None, np.ones((count, 2))
    spacing = rng.choice([0.5, 0.7, 1.0, 1.25, 3.0], (count, 2))
    return spacing, spacing


def as_bits(masks):
    padded = np.pad(masks != 0, ((0, 0), (0, 0), (0, -masks.shape[2] % 64)))
    return np.packbits(padded, axis=-1, bitorder="little").view(np.uint64)


@pytest.mark.parametrize(("rows", "cols"), [*SIZES, *BANDS])
@pytest.mark.parametrize("large", [False, True])
def test_split_erode_and_dilate(rows, cols, large):
    rng = np.random.default_rng([rows, cols, large])
    masks, radii = random_masks(rng, 6, rows, cols), [random_radii(rng, 6) for _ in range(2)]
    given, spacing = random_spacing(rng, 6)
    for work, alone in (
        ("split", lambda i: _C.split_trimap(masks[i], radii[0][i], radii[1][i], *spacing[i])),
        ("erode", lambda i: _C.erode(masks[i], radii[0][i], *spacing[i])),
        ("dilate", lambda i: _C.dilate(masks[i], radii[1][i], *spacing[i])),
    ):
        wanted = np.stack([alone(i) for i in range(6)])
        for backwards in (False, True):
            out, statuses = emulation.morphology_block(
                work, masks, *radii, given, large=large, backwards=backwards
            )
            assert not statuses.any() and np.array_equal(out, wanted), work
        out, _ = emulation.morphology_block(
            work, as_bits(masks), *radii, given, cols=cols, large=large
        )
        assert np.array_equal(out, wanted), work


@pytest.mark.parametrize(("rows", "cols"), SIZES)
@pytest.mark.parametrize("default", ["erosion", "dilation", "both", "none"])
def test_strategy_1(rows, cols, default):
    rng = np.random.default_rng([rows, cols, len(default)])
    masks, (erosion, dilation) = (
        random_masks(rng, 6, rows, cols),
        random_radii(rng, 12).reshape(2, 6),
    )
    if default in ("erosion", "both"):
        erosion[:] = np.nan
    if default in ("dilation", "both"):
        dilation[:] = np.nan
    given, spacing = random_spacing(rng, 6)
    cores = (rng.random(masks.shape) < 0.02).astype(np.uint8)
    for core in (None, cores):
        wanted = [
            _C.trimap_from_mask(
                masks[i] != 0,
                None if np.isnan(erosion[i]) else erosion[i],
                None if np.isnan(dilation[i]) else dilation[i],
                *spacing[i],
                core=None if core is None else core[i] != 0,
            )
            for i in range(6)
        ]
        for backwards in (False, True):
            out, statuses, priors = emulation.morphology_block(
                "trimap", masks, erosion, dilation, given, core, backwards=backwards
            )
            assert not statuses.any() and np.array_equal(out, wanted)
            for i, prior in enumerate(priors):
                own = _C.mask_prior(masks[i : i + 1], out[i : i + 1], *spacing[i])
                assert prior.tobytes() == own.tobytes()


def test_many_small_parts_and_a_membrane():
    rng = np.random.default_rng(5)
    masks = (rng.random((3, 48, 48)) < [[[0.05]], [[0.3]], [[0.9]]]).astype(np.uint8)
    open_radii = np.full(3, np.nan)
    out, _, priors = emulation.morphology_block("trimap", masks, open_radii, open_radii)
    wanted = [_C.trimap_from_mask(mask != 0, None, None, 1.0, 1.0, core=None) for mask in masks]
    assert np.array_equal(out, wanted)
    assert priors.tobytes() == _C.mask_prior(masks, out).tobytes()


def test_real_masks():
    import cv2

    root = shared("lidc", "LIDC-IDRI-slices")
    files = sorted(root.glob("*/nodule-*/mask-0/*.png"))[:400:10]
    masks = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files]
    masks = [mask for mask in masks if mask.shape == masks[0].shape]
    open_radii = np.full(len(masks), np.nan)
    out, *_ = emulation.morphology_block("trimap", np.stack(masks), open_radii, open_radii)
    for mask, trimap in zip(masks, out, strict=True):
        assert np.array_equal(
            trimap, _C.trimap_from_mask(mask != 0, None, None, 1.0, 1.0, core=None)
        )


def test_a_bad_row_costs_itself_alone():
    masks = np.ones((6, 5, 5), np.uint8)
    masks[:, 0] = 0
    erosion = np.array([1.0, -1.0, np.nan, 1.0, 1.0, 1.0])
    dilation = np.array([1.0, 1.0, 1.0, np.inf, 1.0, 1.0])
    spacing = np.ones((6, 2))
    spacing[4, 1] = 0.0
    for large in (False, True):
        out, statuses = emulation.morphology_block(
            "split", masks, erosion, dilation, spacing, large=large
        )
        assert statuses.tolist() == [0, 1, 1, 2, 3, 0]
        for i in (0, 5):
            assert np.array_equal(out[i], _C.split_trimap(masks[i], 1.0, 1.0, 1.0, 1.0))
        assert not out[1:5].any()
    out, statuses, priors = emulation.morphology_block("trimap", masks, erosion, dilation, spacing)
    assert statuses.tolist() == [0, 1, 0, 2, 3, 0]
    # None of the rows that were worked on is without a lesion.
    assert [bool(prior.any()) for prior in priors] == [True, False, True, False, False, True]


def test_arguments_are_checked():
    masks, radii = np.ones((2, 3, 3), np.uint8), np.ones(2)
    with pytest.raises(ValueError, match="split, erode, dilate or trimap, got 'open'"):
        emulation.morphology_block("open", masks, radii, radii)
    with pytest.raises(ValueError, match="erosion"):
        emulation.morphology_block("split", masks, np.ones(3), radii)
    with pytest.raises(TypeError, match="masks"):
        emulation.morphology_block("split", masks.astype(np.int64), radii, radii)
