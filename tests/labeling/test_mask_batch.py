"""Many masks and many raters' masks at once, on the CPU: the bits of one at a time."""

import numpy as np
import pytest

from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import (
    SoftLabel,
    label_mask,
    label_mask_batch,
    label_raters,
    label_raters_batch,
)
from dsnet.labeling.notes import EMPTY


def scene(count, size=40):
    phantoms = [make_phantom(KINDS[i % len(KINDS)], size, seed=i) for i in range(count)]
    return [p.image for p in phantoms], [p.alpha >= 0.5 for p in phantoms]


def raters_of(mask, count):
    return np.stack([np.roll(mask, k, axis=k % 2) for k in range(count)])


def assert_same(labels, expected):
    assert len(labels) == len(expected)
    for label, want in zip(labels, expected, strict=True):
        assert label.alpha.tobytes() == want.alpha.tobytes()
        assert label.trimap.tobytes() == want.trimap.tobytes()
        assert np.array_equal(label.binary, want.binary)
        assert label.quality == want.quality and label.notes == want.notes
        assert label.seconds.keys() == want.seconds.keys()


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_masks_are_those_of_one_at_a_time(threads):
    images, masks = scene(7)
    images[2], masks[2] = (part[:31, 2:] for part in (images[2], masks[2]))
    masks[4] = np.zeros_like(masks[4])
    spacings = [None, (0.7, 0.7), (0.5, 1.5), None, (1, 1), (0.7, 0.7), (2, 2)]
    band = {"erosion": 1.5, "dilation": None}
    expected = [
        label_mask(*row, spacing=spacing, **band)
        for *row, spacing in zip(images, masks, spacings, strict=True)
    ]
    found = label_mask_batch(images, masks, spacing=spacings, threads=threads, **band)
    assert_same(found, expected)
    assert found[4].notes == ("empty mask", EMPTY)


def test_raters_are_those_of_one_at_a_time():
    images, masks = scene(6)
    masks = [raters_of(mask, 1 + k % 4) for k, mask in enumerate(masks)]
    masks[3][:] = False
    masks[5][0] = False
    for spacing in (None, (0.6, 0.8)):
        expected = [label_raters(*row, spacing=spacing) for row in zip(images, masks, strict=True)]
        assert_same(label_raters_batch(images, masks, spacing=spacing, threads=2), expected)


def test_blocks_are_taken():
    images, masks = (np.stack(part) for part in scene(2))
    expected = [label_mask(*row, spacing=(1, 2)) for row in zip(images, masks, strict=True)]
    # Of two images a pair is the spacing of both.
    assert_same(label_mask_batch(images, masks, spacing=(1, 2)), expected)
    assert_same(label_mask_batch(images, masks, spacing=np.array([[1, 2], [1, 2]])), expected)
    raters = np.stack([raters_of(mask, 3) for mask in masks])
    expected = [label_raters(*row) for row in zip(images.astype(np.float64), raters, strict=True)]
    assert_same(label_raters_batch(images.astype(np.float64), raters), expected)
    assert label_mask_batch(images[:0], masks[:0]) == []
    assert label_raters_batch([], [], spacing=[]) == []


def test_a_bad_row_costs_itself_alone():
    images, masks = scene(7)
    images[1] = np.full_like(images[1], np.nan)
    masks[2] = masks[2][:-1]
    images[3] = (255 * images[3]).astype(np.uint8)
    masks[4] = np.full(masks[4].shape, "x")
    spacings = [None] * 5 + [(1, 0), None]
    labels = label_mask_batch(images, masks, spacing=spacings, threads=2)
    told = {i: str(label) for i, label in enumerate(labels) if not isinstance(label, SoftLabel)}
    assert all(isinstance(labels[i], ValueError) for i in told)
    assert told == {
        1: "image must be finite, got NaN or infinite values",
        2: "mask must have the image's shape (40, 40), got (39, 40)",
        3: "image must be floating point in 0..1 after the HU window, got dtype uint8",
        4: "mask must be boolean or numeric, got dtype <U1",
        5: "spacing must be (row, column) in mm per pixel, > 0, got (1, 0)",
    }
    (error,) = label_raters_batch(images[:1], [masks[0]])
    assert str(error) == "masks must be [R, H, W] with R, H, W >= 1, got shape (40, 40)"


def test_wrong_arguments_are_named():
    images, masks = scene(2, 16)
    for wrong, text in (
        ({"masks": masks[:1]}, r"masks must be as many as images \(2\), got 1"),
        ({"threads": -1}, "threads must be >= 0, got -1"),
        ({"erosion": -1}, "erosion must be finite and >= 0, got -1"),
        ({"dilation": np.inf}, "dilation must be finite and >= 0, got inf"),
        ({"spacing": 0.7}, r"spacing must be \(row, column\) in mm per pixel, > 0, got 0.7"),
        ({"spacing": (0.7, -1)}, r"spacing must be \(row, column\) in mm per pixel, > 0, got"),
        ({"spacing": [None] * 3}, r"spacing must be .* one for each image \(2\), got 3"),
        ({"device": "tpu"}, "device must be .*, got 'tpu'"),
    ):
        for label in (label_mask_batch, label_raters_batch):
            with pytest.raises(ValueError, match=text):
                label(images, **{"masks": masks, **wrong})
