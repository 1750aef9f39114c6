"""Trimaps and soft masks as torch operators."""

import math

import numpy as np
import pytest
import torch

from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import label_batch, label_mask
from dsnet.labeling import trimap_from_mask as one_trimap
from dsnet.torch_ops import recist_soft_mask, soft_mask, trimap_from_mask


@pytest.fixture(scope="module")
def scene():
    phantoms = [make_phantom(KINDS[i], 20, seed=i) for i in range(4)]
    image = torch.from_numpy(np.stack([p.image for p in phantoms]))
    return image, torch.from_numpy(np.stack([p.alpha >= 0.5 for p in phantoms]))


@pytest.mark.parametrize(
    "options", [{}, {"erosion": 2.0}, {"dilation": 3.0, "spacing": (0.5, 1.0)}]
)
def test_they_are_what_labeling_makes(scene, options):
    image, mask = scene
    trimaps = trimap_from_mask(mask, **options)
    alphas = soft_mask(image, mask.to(torch.uint8), **options)
    for i in range(len(mask)):
        label = label_mask(image[i].numpy(), mask[i].numpy(), **options)
        assert np.array_equal(trimaps[i], label.trimap)
        assert alphas[i].numpy().tobytes() == label.alpha.tobytes()


def test_any_strides_go_in_and_no_gradient_comes_out(scene):
    image, mask = scene
    turned = soft_mask(image.mT.requires_grad_(), mask.mT)
    with pytest.raises(RuntimeError, match=r"soft_mask.*no autograd formula was registered"):
        turned.sum().backward()
    assert torch.equal(turned.detach(), soft_mask(image.mT.contiguous(), mask.mT.contiguous()))


def test_opcheck(scene):
    image, mask = (part[:2] for part in scene)
    torch.library.opcheck(torch.ops.dsnet.trimap_from_mask, (mask, 1.5, None, [1.0, 0.5]))
    torch.library.opcheck(torch.ops.dsnet.soft_mask, (image, mask))


def test_they_run_inside_a_compiled_step(scene):
    image, mask = scene

    def step(image, mask, scale):
        target = soft_mask(image, mask, dilation=2.0)
        band = trimap_from_mask(mask) == 128
        return (((image * scale - target) ** 2) * band).sum()

    scale = torch.tensor(0.5, requires_grad=True)
    expected = step(image, mask, scale)
    expected.backward()
    wanted, scale.grad = scale.grad, None
    found = torch.compile(step, fullgraph=True, backend="aot_eager")(image, mask, scale)
    found.backward()
    assert torch.allclose(found, expected) and torch.allclose(scale.grad, wanted)
    assert wanted != 0


@pytest.mark.parametrize("shape", [(0, 8, 8), (3, 1, 1), (2, 2, 5), (1, 3, 3)])
def test_small_and_empty_batches(shape):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(shape, generator=generator)
    mask = torch.rand(shape, generator=generator) > 0.5
    alpha = soft_mask(image, mask)
    assert alpha.shape == shape and ((alpha >= 0) & (alpha <= 1)).all()
    for i in range(shape[0]):
        trimap = one_trimap(mask[i].numpy())
        assert np.array_equal(trimap_from_mask(mask)[i], trimap)
        exact = label_mask(image[i].numpy(), mask[i].numpy()).alpha
        assert alpha[i].numpy().tobytes() == exact.tobytes()


@pytest.mark.parametrize("size", [20, 65, 130])
def test_on_the_cpu_it_is_the_label_to_the_bit(size):
    phantoms = [make_phantom(kind, size, seed=i) for i, kind in enumerate(KINDS)]
    images = [p.image for p in phantoms]
    images[1] = (phantoms[1].alpha >= 0.5).astype(np.float32)  # all but untied pixels
    image, mask = (
        torch.from_numpy(np.stack(arrays))
        for arrays in (images, [p.alpha >= 0.5 for p in phantoms])
    )
    for options in ({}, {"erosion": 3.0, "dilation": 6.0}):
        for i, alpha in enumerate(soft_mask(image, mask, **options).numpy()):
            expected = label_mask(image[i].numpy(), mask[i].numpy(), **options).alpha
            assert alpha.tobytes() == expected.tobytes()


@pytest.mark.parametrize("rows", [20, 2])
def test_an_unusable_image_is_nan_and_alone(scene, rows):
    image, mask = (part.clone()[:, :rows] for part in scene)
    image[1, 1, 3], image[2, 0, 0] = math.nan, 40.0
    alpha = soft_mask(image, mask)
    assert alpha[1:3].isnan().all() and alpha[::3].isfinite().all()


def test_all_but_untied_pixels_are_solved(scene):
    _, mask = scene
    alpha = soft_mask(mask.float(), mask, erosion=3.0, dilation=6.0)
    for i in range(len(mask)):
        label = label_mask(mask[i].float().numpy(), mask[i].numpy(), erosion=3.0, dilation=6.0)
        assert np.abs(alpha[i].numpy() - label.alpha).max() < 1e-6


def test_faults_are_named(scene):
    image, mask = scene
    for arguments, error, words in (
        ((image.double(), mask), TypeError, "image must have dtype float32, got torch.float64"),
        ((image, image), TypeError, "mask must have dtype bool or uint8, got torch.float32"),
        ((image[0], mask[0]), ValueError, r"image must be \[N, H, W\]"),
        ((image, mask[1:]), ValueError, "mask must have the shape of image"),
        ((image, mask.to("meta")), ValueError, "mask must be on the device of image, cpu"),
        ((image, mask, -1.0), ValueError, "erosion must be finite and not negative"),
        ((image, mask, None, math.inf), ValueError, "dilation must be finite"),
        ((image, mask, None, None, (1.0, 0.0)), ValueError, "spacing must be positive"),
        ((image, mask, None, None, (1.0,)), ValueError, r"spacing must be \(row, column\)"),
    ):
        with pytest.raises(error, match=words):
            soft_mask(*arguments)


@pytest.fixture
def marked():
    phantoms = [make_phantom(KINDS[i], 24, seed=i) for i in range(4)]
    image = torch.from_numpy(np.stack([p.image for p in phantoms]))
    return image, torch.from_numpy(np.stack([p.mark.coordinates for p in phantoms]))


def test_marks_become_what_labeling_makes(marked):
    image, coordinates = marked
    labels = label_batch(image.numpy(), coordinates.numpy())
    found = recist_soft_mask(image, coordinates)
    assert all(np.array_equal(a, label.alpha) for a, label in zip(found, labels, strict=True))
    turned = coordinates[:, [4, 5, 6, 7, 0, 1, 2, 3]]  # the longer axis is the long one
    assert torch.equal(recist_soft_mask(image, turned), found)
    assert recist_soft_mask(image[:0], coordinates[:0]).shape == (0, 24, 24)
    torch.library.opcheck(torch.ops.dsnet.recist_soft_mask, (image[:1], coordinates[:1]))
    step = torch.compile(lambda i, c: 1 - recist_soft_mask(i, c), fullgraph=True, backend="eager")
    assert torch.equal(step(image, coordinates), 1 - found)


def test_the_short_axis_may_be_unknown(marked):
    image, coordinates = marked
    coordinates[1:3, 4:] = math.nan
    labels = label_batch(image.numpy(), coordinates.numpy())
    found = recist_soft_mask(image, coordinates)
    assert all(np.array_equal(a, label.alpha) for a, label in zip(found, labels, strict=True))
    coordinates[2, 7] = 1.0
    with pytest.raises(ValueError, match="mark 2 must be finite"):
        recist_soft_mask(image, coordinates)


def test_an_image_of_no_use_is_nan_and_a_mark_of_no_use_is_told(marked):
    image, coordinates = marked
    image[1, 3, 3], image[2, 4, 4] = math.nan, 1.5
    nan = recist_soft_mask(image, coordinates).isnan()
    assert nan.flatten(1).all(1).tolist() == nan.flatten(1).any(1).tolist()
    assert nan[:, 0, 0].tolist() == [False, True, True, False]
    for wrong, error, words in (
        (coordinates + 1000, ValueError, "mark 0 must be finite and touch the image"),
        (coordinates * math.nan, ValueError, "mark 0 must be finite"),
        (coordinates[:2], ValueError, r"coordinates must have shape \[4, 8\], got \(2, 8\)"),
        (
            coordinates.float(),
            TypeError,
            "coordinates must be float64 on the CPU, got torch.float32",
        ),
    ):
        with pytest.raises(error, match=words):
            recist_soft_mask(image, wrong)
    with pytest.raises(ValueError, match=r"at least 3x3 pixels, got .2, 24"):
        recist_soft_mask(image[:, :2], coordinates)
