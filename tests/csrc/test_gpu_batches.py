"""Batches for a GPU: what they are told of memory, and that faults are named. No GPU is needed."""

import sys

import numpy as np
import pytest

from dsnet import _C
from dsnet.labeling.edge_model import native_network

SHAPE = (2, 5, 70)


class There:
    """Memory as a batch is told of it."""

    def __init__(self, shape, dtype=None):
        self.address, self.nbytes = 4096, int(np.prod(shape)) * np.dtype(dtype or "u1").itemsize
        if dtype is not None:
            self.dtype = np.dtype(dtype)


def given():
    """By kind: the class, its shape and arguments that it takes."""
    grey, bytes_, workspace = There(SHAPE, "f4"), There(SHAPE, "u1"), There(640)
    matting = {"images": grey, "trimaps": bytes_, "alphas": grey, "workspace": workspace}
    matting["results"] = There((2, _C.MATTING_RESULT.itemsize))
    cut = {"images": grey, "masks": bytes_, "trimaps": bytes_, "priors": grey}
    cut |= {"plans": There((2, _C.CUT_PLAN_BYTES)), "seeds": There((2, 5, 2), "u8")}
    cut |= {"results": There((2, _C.CUT_RESULT.itemsize)), "workspace": workspace}
    cut["network"] = There(_C.EDGE_NETWORK_BYTES)
    masks = {"masks": bytes_, "out": bytes_, "statuses": There(2, "i4"), "workspace": workspace}
    masks["priors"] = grey
    raters = {"masks": There((2, 3, 5, 70), "?"), "out": bytes_, "workspace": workspace}
    raters["priors"] = grey
    return {
        "matting": (_C.MattingBatch, SHAPE, matting),
        "cut": (_C.CutBatch, SHAPE, cut),
        "masks": (_C.MorphologyBatch, SHAPE, masks),
        "raters": (_C.RatersBatch, (2, 3, 5, 70), raters),
    }


@pytest.mark.parametrize("kind", given())
def test_what_they_hold_is_read_by_name(kind):
    make, shape, arguments = given()[kind]
    batch = make(shape, **arguments)
    assert (batch.count, batch.rows, batch.cols) == SHAPE and batch.workspace_bytes == 640
    for name in arguments:
        assert getattr(batch, name) == 4096


def test_what_is_left_out_is_none_or_the_default():
    _, shape, arguments = given()["matting"]
    batch = _C.MattingBatch(shape, **arguments, rtol=1e-3)
    assert (batch.priors, batch.prior_weight, batch.rtol) == (0, 0.0, 1e-3)
    assert (batch.epsilon, batch.max_iterations) == (1e-7, 1000)
    _, shape, arguments = given()["masks"]
    batch = _C.MorphologyBatch(shape, **{**arguments, "masks": There((2, 5, 2), "u8")}, packed=True)
    assert batch.packed and batch.erosion == batch.spacing == batch.cores == 0
    _, shape, arguments = given()["raters"]
    batch = _C.RatersBatch(shape, **arguments, erosion=1.5, spacing=(0.5, 2.0))
    assert (batch.raters, batch.erosion, batch.row_spacing, batch.col_spacing) == (3, 1.5, 0.5, 2.0)
    assert np.isnan(batch.dilation)


def test_memory_is_kept():
    make, shape, arguments = given()["matting"]
    images = arguments["images"]
    before = sys.getrefcount(images)
    batch = make(shape, **arguments)
    assert sys.getrefcount(images) == before + 2  # alphas are the same
    del batch
    assert sys.getrefcount(images) == before


@pytest.mark.parametrize(
    ("kind", "name", "value", "error", "words"),
    [
        ("cut", "images", None, TypeError, "device memory .* of float32, got NoneType"),
        ("cut", "seeds", There((2, 5, 1), "u8"), ValueError, "hold 160 bytes, got 80"),
        ("cut", "masks", There(SHAPE, "f4"), TypeError, "dtype bool or uint8, got float32"),
        ("cut", "network", There(_C.EDGE_NETWORK_BYTES - 1), ValueError, "hold [0-9]+ bytes, got"),
        ("cut", "network", native_network(), TypeError, "device memory .* uint8, got EdgeNetwork"),
        ("cut", "plans", There(9), ValueError, "hold [0-9]+ bytes, got 9"),
        ("matting", "alphas", 4096, TypeError, "device memory .* of float32, got int"),
        ("matting", "priors", There(SHAPE, "f8"), TypeError, "dtype float32, got float64"),
        ("matting", "results", There(8), ValueError, "hold [0-9]+ bytes, got 8"),
        ("matting", "workspace", None, TypeError, "device memory .* of uint8, got NoneType"),
        ("masks", "masks", np.ones(SHAPE, bool), TypeError, "device memory .*, got bool array of"),
        ("masks", "spacing", There(3, "f8"), ValueError, "hold 32 bytes, got 24"),
        ("masks", "erosion", There(2, "f4"), TypeError, "dtype float64, got float32"),
        ("masks", "statuses", There(2, "i8"), TypeError, "dtype int32, got int64"),
        ("raters", "masks", There(SHAPE, "?"), ValueError, "hold 2100 bytes, got 700"),
        ("raters", "erosion", -1.0, ValueError, "finite and not negative, got -1.0"),
    ],
)
def test_unusable_arguments_are_named(kind, name, value, error, words):
    make, shape, arguments = given()[kind]
    with pytest.raises(error, match=f"^{name} must .*{words}"):
        make(shape, **{**arguments, name: value})


def test_shapes_are_checked():
    for kind, shape in (
        ("cut", (2, 0, 7)),
        ("matting", (-1, 5, 7)),
        ("masks", (1, 1, 2**31)),
        ("masks", (1, 2**15, 2**14 + 1)),
    ):
        make, _, arguments = given()[kind]
        with pytest.raises(ValueError, match=r"shape must be \(N, H, W\) with H, W >= 1, got \("):
            make(shape, **arguments)
    make, _, arguments = given()["raters"]
    with pytest.raises(ValueError, match=r"shape must be \(N, R, H, W\) with R, H, W >= 1"):
        make((2, 0, 5, 70), **arguments)
