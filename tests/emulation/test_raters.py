"""The GPU's trimaps and priors of several raters, run a thread at a time: the CPU's bits."""

import csv

import cv2
import numpy as np
import pytest

from dsnet.labeling import trimap_from_raters
from dsnet.labeling.prior import mask_prior, votes_prior
from emulation_module import emulation
from shared_data import shared


def assert_same(masks, erosion=None, dilation=None, spacing=None):
    masks = np.ascontiguousarray(masks, np.uint8)
    radii = [np.nan if radius is None else radius for radius in (erosion, dilation)]
    expected = [
        trimap_from_raters(m, erosion=erosion, dilation=dilation, spacing=spacing) for m in masks
    ]
    for backwards in (False, True):
        found, priors = emulation.raters_block(masks, *radii, spacing or (1.0, 1.0), backwards)
        assert found.shape == priors.shape == (len(masks), *masks.shape[2:])
        assert np.array_equal(found, expected)
        for raters, trimap, prior in zip(masks, found, priors, strict=True):
            (spoke,) = raters.any(axis=(1, 2)).nonzero()
            want = (
                mask_prior(raters[spoke[0]], trimap, spacing)
                if len(spoke) == 1
                else votes_prior(raters)
            )
            assert prior.tobytes() == want.tobytes()


def random_raters(rng, count, raters, rows, cols):
    """Discs that some draw larger or elsewhere, some not at all; a few pixels at random."""
    y, x = np.mgrid[:rows, :cols]
    centre = rng.random((count, 1, 2, 1, 1)) * [[[rows]], [[cols]]]
    centre = centre + rng.normal(size=(count, raters, 2, 1, 1)) * rng.choice([0, 1, 4])
    radius = rng.uniform(0, 0.4 * min(rows, cols) + 1, (count, 1, 1, 1))
    radius = radius + rng.normal(size=(count, raters, 1, 1)) * rng.choice([0, 1])
    masks = (y - centre[:, :, 0]) ** 2 + (x - centre[:, :, 1]) ** 2 <= radius**2
    masks[rng.random((count, raters)) < 0.2] = False
    return (masks ^ (rng.random(masks.shape) < rng.choice([0, 0.02]))).astype(np.uint8)


@pytest.mark.parametrize("seed", range(8))
def test_random_raters(seed):
    rng = np.random.default_rng(seed)
    for _ in range(6):
        rows, cols = rng.integers(1, 5, 2) if rng.random() < 0.2 else rng.integers(5, 90, 2)
        masks = random_raters(rng, 3, rng.integers(1, 6), rows, cols)
        radii = [None if rng.random() < 0.5 else rng.choice([0, 0.5, 1, 2.3, 7]) for _ in range(2)]
        spacing = None if rng.random() < 0.5 else tuple(rng.uniform(0.4, 2.5, 2))
        assert_same(masks, *radii, spacing)


def test_none_one_and_apart():
    masks = np.zeros((4, 3, 20, 70), np.uint8)
    masks[1, 1, 3:15, 50:68] = 1  # one spoke
    masks[2, 0, 3:9, 3:9] = masks[2, 1, 12:18, 60:66] = 1  # no pixel in common
    masks[3] = 1
    assert_same(masks)
    assert_same(masks, 2.0, 1.0)
    found, _ = emulation.raters_block(masks, np.nan, np.nan)
    assert not found[0].any() and (found[3] == 255).all()


def test_real_readers():
    with open(shared("lidc", "nodules.csv")) as file:
        rows = list(csv.DictReader(file))[::40]
    for row in rows:
        folder = shared("lidc", "LIDC-IDRI-slices", row["patient"], row["nodule"])
        names = sorted(path.name for path in (folder / "mask-0").iterdir())
        read = [
            [cv2.imread(str(folder / f"mask-{k}" / name), cv2.IMREAD_GRAYSCALE) for k in range(4)]
            for name in names[:2]
        ]
        assert_same(np.array(read) > 0)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"masks must be \[N, R, H, W\]"):
        emulation.raters_block(np.zeros((2, 3, 4), np.uint8), 1.0, 1.0)
    with pytest.raises(TypeError, match="uint8"):
        emulation.raters_block(np.zeros((2, 3, 4, 5), bool), 1.0, 1.0)
