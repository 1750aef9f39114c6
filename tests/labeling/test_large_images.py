"""Images whose pixels cannot be numbered are refused in a line, before anything is read of them."""

import numpy as np
import pytest

from dsnet import _C
from dsnet.labeling import (
    RecistMark,
    SoftLabel,
    closed_form_matting,
    dilate,
    erode,
    label_batch,
    label_mask,
    label_mask_batch,
    label_raters,
    label_recist,
    soft_mask,
    split_trimap,
    trimap_from_mask,
    trimap_from_raters,
)
from dsnet.labeling.cut import cut_recist
from dsnet.labeling.gpu import arrays

MARK = RecistMark.from_coordinates([46000.0, 46005, 46020, 46005, 46010, 46000, 46010, 46010])
SMALL = np.random.default_rng(0).random((24, 24), np.float32)
SMALL_MARK = RecistMark.from_coordinates([6.0, 12, 18, 12, 12, 7, 12, 17])
REFUSED = "must have at most 2147483647 pixels, got"


def pixels(shape, value=0.5, dtype=np.float32):
    """An image of one number in memory, however large."""
    return np.broadcast_to(dtype(value), shape)


# The one that was indexed below zero, and long ones.
SHAPES = [(46341, 46341), (1, 2**31), (2**31, 1), (2**16, 2**16), (3, 2**40)]


@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_of_too_many_pixels_is_refused(shape):
    image, mask = pixels(shape), pixels(shape, 1, np.uint8)
    calls = {
        "image": [
            lambda: label_recist(image, MARK),
            lambda: label_mask(image, mask),
            lambda: label_raters(image, mask[None]),
            lambda: cut_recist(image, MARK),
            lambda: closed_form_matting(image, mask),
        ],
        "mask": [
            lambda: label_mask(SMALL, mask),
            lambda: trimap_from_mask(mask),
            lambda: erode(mask, 1),
            lambda: dilate(mask, 1),
            lambda: split_trimap(mask, 1, 1),
        ],
        "masks": [
            lambda: label_raters(SMALL, mask[None]),
            lambda: trimap_from_raters(mask[None]),
        ],
    }
    for name, each in calls.items():
        for call in each:
            with pytest.raises(ValueError, match=f"{name} {REFUSED}"):
                call()


def test_in_a_batch_it_costs_its_own_row():
    large, mask = pixels((46341, 46341)), pixels((24, 24), 1, np.uint8)
    rows = label_batch([SMALL, large, SMALL], [SMALL_MARK, MARK, SMALL_MARK], threads=1)
    assert [type(row) for row in rows] == [SoftLabel, ValueError, SoftLabel]
    assert REFUSED in str(rows[1])
    rows = label_mask_batch([SMALL, large], [mask, pixels(large.shape, 1, np.uint8)], threads=1)
    assert [type(row) for row in rows] == [SoftLabel, ValueError] and REFUSED in str(rows[1])
    block = label_batch(large[None], [MARK], threads=1)
    assert len(block) == 1 and REFUSED in str(block[0])


def test_the_compiled_module_refuses_it_as_well():
    mask = pixels((46341, 46341), 1, np.uint8)
    for call in (
        lambda: _C.distance_squared(mask),
        lambda: _C.trimap_from_mask(mask),
        lambda: _C.matting(pixels(mask.shape), mask),
    ):
        with pytest.raises(ValueError, match=REFUSED):
            call()


class OnDevice:
    """What an array on a GPU tells of itself, of any shape."""

    def __init__(self, shape):
        self.__cuda_array_interface__ = {
            "data": (0, False), "shape": shape, "typestr": "<f4", "version": 3,
        }  # fmt: skip


def test_on_a_gpu_fewer_are_taken():
    most = _C.MOST_DEVICE_PIXELS
    assert most == 2**29
    assert arrays.read(OnDevice((1, most)), "image", ("float32",)).shape == (1, most)
    for shape in ((1, most + 1), (2, 2**15, 2**14 + 1), (7, 1, most + 1)):
        with pytest.raises(ValueError, match=f"image must have at most {most} pixels, got"):
            arrays.read(OnDevice(shape), "image", ("float32",))


def test_what_matting_on_a_gpu_cannot_number_is_labelled_by_the_cpu(monkeypatch):
    on_device = []

    class Pipeline:
        def run(self, images, coordinates, threads, make):
            on_device.extend(image.shape for image in images)
            return soft_mask._label_natively(images, coordinates, threads)

    monkeypatch.setattr(soft_mask.engine, "device_index", lambda device: 0)
    monkeypatch.setattr(soft_mask.engine, "pipeline", lambda *_: Pipeline())
    monkeypatch.setattr(soft_mask._C, "MOST_MATTING_PIXELS", 500)
    images = [SMALL[:20, :20], SMALL, SMALL[:22, :20]]
    rows = label_batch(images, [SMALL_MARK] * 3, threads=1, device="cuda")
    assert on_device == [(20, 20), (22, 20)]
    for row, image in zip(rows, images, strict=True):
        assert row.alpha.tobytes() == label_recist(image, SMALL_MARK).alpha.tobytes()
