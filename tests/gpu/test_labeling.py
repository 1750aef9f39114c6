"""Labels, matting and trimaps on a CUDA device beside the CPU's."""

import numpy as np
import pytest
import torch

import dsnet
from dsnet import _C
from dsnet.data.phantom import KINDS, make_phantom
from dsnet.labeling import (
    closed_form_matting,
    label_batch,
    trimap_from_mask,
    trimap_from_recist,
)
from dsnet.labeling.edge_model import native_network
from dsnet.labeling.gpu import engine
from dsnet.labeling.gpu.pipeline import MattingSettings, Pipeline
from dsnet.labeling.matting.closed_form import DEFAULT_RTOL
from dsnet.labeling.soft_mask import PRIOR_WEIGHT

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def built_with_cuda():
    if not dsnet.build_info()["cuda"]:
        pytest.skip("dsnet was built without CUDA")


def scene(count, size):
    phantoms = [make_phantom(KINDS[i % len(KINDS)], size, seed=i) for i in range(count)]
    images = np.stack([p.image for p in phantoms])
    masks = np.stack([p.alpha >= 0.5 for p in phantoms])
    return images, masks, [p.mark for p in phantoms]


def assert_close(labels, expected):
    for label, want in zip(labels, expected, strict=True):
        assert type(label) is type(want)
        if isinstance(want, ValueError):
            assert str(label) == str(want)
            continue
        assert np.abs(label.alpha - want.alpha).max() < 1e-3
        assert np.array_equal(label.binary, want.binary)
        assert np.array_equal(label.trimap, want.trimap)
        assert label.quality["overall"] == pytest.approx(want.quality["overall"], abs=2e-3)
        assert label.quality["expected_dice"] == want.quality["expected_dice"]


@pytest.mark.parametrize(("size", "count"), [(16, 40), (64, 600), (128, 40), (256, 6)])
def test_batches_are_the_cpus(size, count):
    images, _, marks = scene(min(count, 60), size)
    order = np.arange(count) % len(images)
    images, marks = images[order], [marks[i] for i in order]
    found = label_batch(images, marks, device="cuda")
    assert_close(found, label_batch(images, marks))
    again = label_batch(images, marks, device="cuda:0")
    assert all(a.alpha.tobytes() == b.alpha.tobytes() for a, b in zip(found, again, strict=True))


def test_sizes_and_bad_rows():
    small, large = scene(6, 32), scene(6, 96)
    images = [image for pair in zip(small[0], large[0], strict=True) for image in pair]
    marks = [mark for pair in zip(small[2], large[2], strict=True) for mark in pair]
    images[3] = np.full_like(images[3], np.nan)
    marks[5] = marks[5].translated(5000, 0)
    images[7] = np.full((2, 2), 0.5, np.float32)
    assert_close(label_batch(images, marks, device="cuda"), label_batch(images, marks))


def test_many_chunks_through_few_slots():
    images, _, marks = scene(50, 48)
    runs = Pipeline(
        engine.CudaEngine(0), native_network(), MattingSettings(PRIOR_WEIGHT, DEFAULT_RTOL)
    )
    coordinates = np.stack([mark.coordinates for mark in marks])
    rows = runs.run(images, coordinates, 4, chunk=7)
    for row, want in zip(rows, label_batch(images, marks), strict=True):
        assert np.abs(row[0] - want.alpha).max() < 1e-3 and np.array_equal(row[1], want.binary)
    assert runs.again == 0


def test_memory_that_is_not_there_has_its_own_error():
    with pytest.raises(_C.OutOfDeviceMemory, match="the GPU has no room for"):
        _C.CudaMemory(1 << 50, 0)
    # A failure that leaves nothing behind.
    images, _, marks = scene(2, 32)
    assert_close(label_batch(images, marks, device="cuda"), label_batch(images, marks))


@pytest.mark.parametrize("size", [17, 64, 200])
@pytest.mark.parametrize("with_prior", [False, True])
def test_matting_of_tensors(size, with_prior):
    images, masks, _ = scene(5, size)
    trimaps = np.stack([trimap_from_mask(mask, erosion=3, dilation=3) for mask in masks])
    priors = np.random.default_rng(0).random(images.shape, dtype=np.float32)
    on_gpu = [torch.from_numpy(array).cuda() for array in (images, trimaps, priors)]
    options = {"prior": on_gpu[2], "prior_weight": 0.5} if with_prior else {}
    alpha, info = closed_form_matting(*on_gpu[:2], **options)
    assert alpha.is_cuda and alpha.shape == images.shape
    assert info.converged.all() and info.valid.all() and info.unknowns.shape == (5,)
    for i in range(5):
        options = {"prior": priors[i], "prior_weight": 0.5} if with_prior else {}
        exact, told = closed_form_matting(images[i], trimaps[i], solver="direct", **options)
        assert np.abs(alpha[i].cpu().numpy() - exact).max() < 1e-3
        assert info.unknowns[i] == told.unknowns
    one, _ = closed_form_matting(on_gpu[0][1], on_gpu[1][1])
    assert one.shape == (size, size)


def test_marks_on_tensors():
    from dsnet.torch_ops import recist_soft_mask

    images, _, marks = scene(12, 64)
    images[3] = 0.5  # falls back
    coordinates = torch.from_numpy(np.stack([mark.coordinates for mark in marks]))
    trimaps = trimap_from_recist(torch.from_numpy(images).cuda(), marks)
    assert trimaps.is_cuda
    expected = [trimap_from_recist(*pair) for pair in zip(images, marks, strict=True)]
    assert np.array_equal(trimaps.cpu().numpy(), expected)
    images[5, 1, 1] = np.nan
    image = torch.from_numpy(images)
    found, wanted = (
        recist_soft_mask(image.cuda(), coordinates),
        recist_soft_mask(image, coordinates),
    )
    assert found.is_cuda and found[5].isnan().all() and wanted[5].isnan().all()
    found, wanted = found.cpu().nan_to_num(), wanted.nan_to_num()
    assert (found - wanted).abs().max() < 1e-3
    assert torch.equal(found >= 0.5, wanted >= 0.5)


def test_an_unusable_image_is_nan():
    images, masks, _ = scene(3, 32)
    images[1, 4, 4] = np.inf
    trimaps = torch.from_numpy(np.stack([trimap_from_mask(mask) for mask in masks])).cuda()
    alpha, info = closed_form_matting(torch.from_numpy(images).cuda(), trimaps)
    assert list(info.valid) == [True, False, True]
    assert alpha[1].isnan().all() and alpha[::2].isfinite().all()


@pytest.mark.parametrize("size", [1, 31, 64, 300])
@pytest.mark.parametrize(
    "options", [{}, {"erosion": 2.5}, {"dilation": 4.0, "spacing": (0.5, 1.25)}]
)
def test_trimaps_of_tensors(size, options):
    rng = np.random.default_rng(size)
    smooth = rng.random((9, size, size))
    masks = smooth > np.linspace(0.1, 0.99, 9)[:, None, None]
    if size >= 31:
        masks[:4] |= scene(4, size)[1]
    found = trimap_from_mask(torch.from_numpy(masks).cuda(), **options).cpu().numpy()
    for trimap, mask in zip(found, masks, strict=True):
        assert np.array_equal(trimap, trimap_from_mask(mask, **options))


def test_work_runs_on_the_callers_stream():
    images, masks, _ = scene(4, 64)
    trimaps = torch.from_numpy(np.stack([trimap_from_mask(mask) for mask in masks])).cuda()
    expected, _ = closed_form_matting(torch.from_numpy(images).cuda(), trimaps)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    image = torch.zeros(images.shape, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        image.copy_(torch.from_numpy(images), non_blocking=True)
        alpha, _ = closed_form_matting(image, trimaps)
        doubled = alpha * 2
    stream.synchronize()
    assert torch.equal(doubled, expected * 2)


@pytest.mark.parametrize("library", ["cupy", "numba.cuda"])
def test_other_libraries_keep_their_arrays(library):
    module = pytest.importorskip(library)
    if library == "numba.cuda" and not module.is_available():
        pytest.skip("numba finds no CUDA driver")
    to_device = module.asarray if library == "cupy" else module.to_device
    images, masks, _ = scene(3, 40)
    trimaps = trimap_from_mask(to_device(masks.astype(np.uint8)))
    assert type(trimaps) is type(to_device(images))
    alpha, _ = closed_form_matting(to_device(images), trimaps)
    to_host = module.asnumpy if library == "cupy" else type(alpha).copy_to_host
    for i, mask in enumerate(masks):
        wanted = trimap_from_mask(mask)
        assert np.array_equal(to_host(trimaps)[i], wanted)
        exact, _ = closed_form_matting(images[i], wanted)
        assert np.abs(to_host(alpha)[i] - exact).max() < 1e-3


def test_operators_on_tensors():
    from dsnet.torch_ops import soft_mask
    from dsnet.torch_ops import trimap_from_mask as trimaps_of

    images, masks, _ = scene(4, 64)
    image, mask = torch.from_numpy(images), torch.from_numpy(masks)
    assert torch.equal(trimaps_of(mask.cuda(), 2.0).cpu(), trimaps_of(mask, 2.0))
    assert (soft_mask(image.cuda(), mask.cuda()).cpu() - soft_mask(image, mask)).abs().max() < 1e-3
    torch.library.opcheck(torch.ops.dsnet.trimap_from_mask, (mask.cuda(), 2.0))
    torch.library.opcheck(torch.ops.dsnet.soft_mask, (image.cuda(), mask.cuda()))

    def step(image, mask):
        return ((image - soft_mask(image, mask)) ** 2).mean()

    compiled = torch.compile(step, fullgraph=True)
    assert torch.allclose(
        compiled(image.cuda(), mask.cuda()), step(image.cuda(), mask.cuda()), rtol=1e-4
    )
