"""Arrays in a GPU's memory and the choice of a GPU, with host memory in its place."""

import sys
import types

import numpy as np
import pytest

from dsnet import _C
from dsnet.data.phantom import make_phantom
from dsnet.labeling import (
    closed_form_matting,
    dilate,
    erode,
    label_batch,
    split_trimap,
    trimap_from_mask,
    trimap_from_raters,
    trimap_from_recist,
)
from dsnet.labeling.edge_model import compiled, edge_network, native_network
from dsnet.labeling.gpu import arrays, engine
from dsnet.labeling.gpu.batches import trimap_on_device
from dsnet.labeling.gpu.network import network_on_device
from dsnet.labeling.prior import mask_prior
from host_engine import has_device
from host_gpu import Array, ByDlpack, Gpu, OnCpu


@pytest.fixture
def gpu(monkeypatch):
    """A GPU, and CuPy and a library with DLPack alone, that are none."""
    import contextlib

    cupy = types.ModuleType("cupy")
    cupy.cuda = types.SimpleNamespace(Device=lambda number: contextlib.nullcontext())
    cupy.empty = lambda shape, dtype: Array(np.full(shape, 77, dtype))
    cupy.asarray = lambda values: Array(values.copy())
    other = types.ModuleType("otherlib")
    other.from_dlpack = lambda made: np.from_dlpack(OnCpu(made))
    monkeypatch.setattr(Array, "__module__", "cupy._core")
    monkeypatch.setattr(ByDlpack, "__module__", "otherlib.arrays")
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "otherlib", other)
    return Gpu(monkeypatch)


def scene(count=3, size=16):
    phantoms = [make_phantom("part-solid", size, seed=i) for i in range(count)]
    return np.stack([p.image for p in phantoms]), np.stack([p.alpha >= 0.5 for p in phantoms])


@pytest.mark.parametrize("kind", [Array, ByDlpack])
@pytest.mark.parametrize("batch", [True, False])
def test_trimaps_and_alphas_are_the_hosts(gpu, kind, batch):
    images, masks = scene() if batch else (part[0] for part in scene(1))
    made = trimap_from_mask(kind(masks), spacing=(0.5, 1.0), dilation=2.0)
    trimaps = getattr(made, "memory", made)
    expected = [
        trimap_from_mask(mask, spacing=(0.5, 1.0), dilation=2.0)
        for mask in np.atleast_3d(masks if batch else masks[None])
    ]
    assert np.array_equal(trimaps, expected if batch else expected[0])
    prior = np.full(images.shape, 0.25, np.float32)
    made, info = closed_form_matting(
        kind(images), kind(trimaps), prior=kind(prior), prior_weight=0.5
    )
    alphas = getattr(made, "memory", made)
    assert alphas.shape == images.shape and alphas.dtype == np.float32
    for i, alpha in enumerate(alphas if batch else alphas[None]):
        image, trimap = (part[i] if batch else part for part in (images, trimaps))
        exact, told = closed_form_matting(
            image, trimap, prior=np.full(image.shape, 0.25), prior_weight=0.5
        )
        assert np.abs(alpha - exact).max() < 1e-3
        assert np.atleast_1d(info.unknowns)[i] == told.unknowns
    assert np.all(info.converged) and np.all(info.valid) and np.all(info.iterations > 0)
    assert np.all(info.residual <= 3e-6) and info.solver == "jacobi"
    assert np.shape(info.residual) == (images.shape[:1] if batch else ())
    assert set(gpu.streams) == {7 if kind is Array else arrays.LEGACY_STREAM}


def test_batches_go_through_the_engine(gpu, monkeypatch):
    monkeypatch.setattr(_C, "cuda_device_count", lambda: 2)
    monkeypatch.setattr(engine, "_pipelines", {})
    phantoms = [make_phantom("solid", 16, seed=i) for i in range(5)]
    images, marks = np.stack([p.image for p in phantoms]), [p.mark for p in phantoms]
    for device, stream in (("cuda", 70), ("cuda:1", 71), ("cuda", 70)):
        found = label_batch(images, marks, 1, device=device)
        assert gpu.streams == [stream, stream]  # a cut, and matting
        gpu.streams.clear()
        for label, want in zip(found, label_batch(images, marks, 1), strict=True):
            assert np.abs(label.alpha - want.alpha).max() < 1e-3
            assert np.array_equal(label.binary, want.binary)
            for stage in ("cut", "matting"):
                assert label.seconds[stage] == pytest.approx(0.25 / 5, abs=0.01)
    assert len(engine._pipelines) == 2


def test_core_and_default_margins(gpu):
    _, masks = scene()
    core = np.zeros_like(masks)
    core[:, 8, 8] = True
    made = trimap_from_mask(Array(masks), core=Array(core.astype(np.uint8)), erosion=50.0)
    for trimap, mask, kept in zip(made.memory, masks, core, strict=True):
        assert np.array_equal(trimap, trimap_from_mask(mask, core=kept, erosion=50.0))


@pytest.mark.parametrize("batch", [True, False])
def test_priors_come_with_the_trimaps(gpu, batch):
    _, masks = scene() if batch else (None, scene(1)[1][0])
    band = {"erosion": 1.5, "dilation": None, "spacing": (0.5, 1.0)}
    trimaps, priors = trimap_on_device(Array(masks), **band, with_prior=True)
    assert priors.memory.dtype == np.float32
    for mask, trimap, prior in zip(
        *((a if batch else a[None]) for a in (masks, trimaps.memory, priors.memory)), strict=True
    ):
        assert np.array_equal(trimap, trimap_from_mask(mask, **band))
        assert prior.tobytes() == mask_prior(mask, trimap, (0.5, 1.0)).tobytes()
    empty = trimap_on_device(Array(np.zeros((0, 4, 5), bool)), **band, with_prior=True)
    assert [made.memory.shape for made in empty] == [(0, 4, 5)] * 2


@pytest.mark.parametrize("kind", [Array, ByDlpack])
@pytest.mark.parametrize("batch", [True, False])
def test_morphology_is_the_hosts(gpu, kind, batch):
    _, masks = scene() if batch else (None, scene(1)[1][0])
    own = [0.0, 1.5, 3.0] if batch else 2.0
    for options in ({}, {"spacing": (0.5, 1.25)}):
        for function, *radii in ((erode, own), (dilate, own), (split_trimap, 1.0, own)):
            made = function(kind(masks), *radii, **options)
            made = getattr(made, "memory", made)
            expected = function(masks, *radii, **options)
            assert made.dtype == expected.dtype and np.array_equal(made, expected)
    made = dilate(kind(masks.astype(np.uint8)), own)
    assert np.array_equal(getattr(made, "memory", made), dilate(masks, own))
    assert set(gpu.streams) == {7 if kind is Array else arrays.LEGACY_STREAM}


def test_unusable_arguments_of_morphology_are_named(gpu):
    masks = Array(np.ones((3, 4, 6), bool))
    for function in (erode, dilate):
        for radius, error, words in (
            (-1.0, ValueError, "radius must be finite and >= 0, got -1.0"),
            (
                [1, 2],
                ValueError,
                r"radius must be a number or \[3\], one for each image, got shape",
            ),
            ("2", TypeError, "radius must be a number or one for each image, got '2'"),
        ):
            with pytest.raises(error, match=words):
                function(masks, radius)
        with pytest.raises(TypeError, match="mask must have dtype bool or uint8, got float32"):
            function(Array(np.ones((4, 6), np.float32)), 1.0)
        with pytest.raises(
            ValueError, match=r"mask must be \[H, W\] or \[N, H, W\] with H, W >= 1"
        ):
            function(Array(np.ones((3, 0, 6), bool)), 1.0)
    with pytest.raises(ValueError, match="dilation must be finite and >= 0, got nan"):
        split_trimap(masks, 1.0, [0.0, np.nan, 1.0])
    with pytest.raises(ValueError, match=r"spacing must be \(row, column\) in mm per pixel"):
        split_trimap(masks, 1.0, 1.0, (0.0, 1.0))
    assert gpu.streams == []


@pytest.mark.parametrize("kind", [Array, ByDlpack])
@pytest.mark.parametrize("batch", [True, False])
def test_trimaps_of_raters(gpu, kind, batch):
    _, masks = scene(6)
    masks = masks.reshape(2, 3, 16, 16) if batch else masks[:3]
    made = trimap_from_raters(kind(masks), dilation=2.0, spacing=(0.5, 1.0))
    made = getattr(made, "memory", made)
    for trimap, raters in zip(*((made, masks) if batch else ([made], [masks])), strict=True):
        expected = trimap_from_raters(raters, dilation=2.0, spacing=(0.5, 1.0))
        assert trimap.dtype == np.uint8 and np.array_equal(trimap, expected)
    with pytest.raises(ValueError, match=r"masks must be \[R, H, W\] or \[N, R, H, W\] with R, H"):
        trimap_from_raters(kind(masks.reshape(-1, 16)))


@pytest.mark.parametrize("kind", [Array, ByDlpack])
def test_trimaps_of_marks(gpu, kind):
    phantoms = [make_phantom("solid", 16, seed=i) for i in range(3)]
    images, marks = np.stack([p.image for p in phantoms]), [p.mark for p in phantoms]
    expected = [trimap_from_recist(*pair) for pair in zip(images, marks, strict=True)]
    made = trimap_from_recist(kind(images), marks)
    assert np.array_equal(getattr(made, "memory", made), expected)
    one = trimap_from_recist(kind(images[1]), marks[1])
    assert np.array_equal(getattr(one, "memory", one), expected[1])
    with pytest.raises(ValueError, match=r"marks must be as many as images \(3\), got 1"):
        trimap_from_recist(kind(images), marks[0])
    with pytest.raises(TypeError, match="mark must be a RecistMark, got list"):
        trimap_from_recist(kind(images), [[1, 2, 3, 4, 5, 6, 7, 8]] * 3)
    with pytest.raises(ValueError, match="mark 1 must be finite and touch the image"):
        trimap_from_recist(kind(images), [marks[0], marks[1].translated(99, 0), marks[2]])


def test_the_network_is_copied_to_a_device_once(gpu, monkeypatch):
    network, memory = native_network(), _C.CudaMemory

    def no_room(nbytes, device):
        raise _C.OutOfDeviceMemory("no room")

    monkeypatch.setattr(_C, "CudaMemory", no_room)
    with pytest.raises(_C.OutOfDeviceMemory):
        network_on_device(network, 0)
    monkeypatch.setattr(_C, "CudaMemory", memory)
    there = network_on_device(network, 0)
    assert np.array_equal(there.memory, network.bytes)
    assert there.nbytes == _C.EDGE_NETWORK_BYTES
    monkeypatch.setattr(_C, "cuda_copy_to_device", lambda *_: pytest.fail("copied again"))
    phantom = make_phantom("solid", 16, seed=0)
    trimap_from_recist(Array(phantom.image), phantom.mark)
    assert network_on_device(network, 0) is there
    monkeypatch.setattr(_C, "cuda_copy_to_device", gpu.copy)
    other = network_on_device(network, 1), network_on_device(compiled(edge_network()), 0)
    assert all(copy is not there for copy in other)


def test_an_empty_batch(gpu):
    empty = Array(np.zeros((0, 8, 8), np.float32))
    alpha, info = closed_form_matting(empty, Array(np.zeros((0, 8, 8), np.uint8)))
    assert alpha.memory.shape == (0, 8, 8) and info.iterations.shape == (0,)
    assert trimap_from_mask(Array(np.zeros((0, 8, 8), bool))).memory.shape == (0, 8, 8)
    assert erode(Array(np.zeros((0, 8, 8), bool)), []).memory.shape == (0, 8, 8)
    assert gpu.streams == []


def test_unusable_arrays_are_named(gpu):
    image, trimap = np.zeros((4, 6), np.float32), np.zeros((4, 6), np.uint8)
    faults = [
        (Array(image.astype(np.float64)), Array(trimap), TypeError, "image must have dtype float"),
        (Array(image.astype(">f4")), Array(trimap), TypeError, "image must have dtype float32"),
        (Array(image), Array(trimap.astype(np.int8)), TypeError, "trimap must have dtype uint8"),
        (Array(image), trimap, TypeError, "trimap must be on the same CUDA device.*numpy.ndarray"),
        (image, Array(trimap), TypeError, "image must be on the same CUDA device"),
        (Array(image.T), Array(trimap), ValueError, "image must be C-contiguous, got strides"),
        (Array(image[:, ::2]), Array(trimap), ValueError, "image must be C-contiguous"),
        (Array(image), Array(trimap[:3]), ValueError, "trimap must have the shape of image"),
        (Array(image[0]), Array(trimap), ValueError, r"image must be \[H, W\] or \[N, H, W\]"),
        (Array(image[:0]), Array(trimap), ValueError, "H, W >= 1"),
        (Array(image, stream=0), Array(trimap), ValueError, "image tells stream 0"),
        (Array(image, mask=1), Array(trimap), TypeError, "image must not be a masked array"),
    ]
    for first, second, error, words in faults:
        with pytest.raises(error, match=words):
            closed_form_matting(first, second)
    assert gpu.streams == []
    # Read-only memory is none of them: arguments are not written to.
    assert Array(image).__cuda_array_interface__["data"][1]
    closed_form_matting(Array(image), Array(trimap))


def test_devices_must_not_be_mixed(gpu):
    image, trimap = Array(np.zeros((4, 4), np.float32)), Array(np.zeros((4, 4), np.uint8))
    gpu.device_of[trimap.memory.ctypes.data] = 1
    with pytest.raises(ValueError, match="trimap must be on the device of image, cuda:0, got cud"):
        closed_form_matting(image, trimap)
    gpu.device_of[trimap.memory.ctypes.data] = -1
    with pytest.raises(ValueError, match="trimap tells an address that is not in a CUDA device"):
        closed_form_matting(image, trimap)


def test_options_that_a_gpu_has_not(gpu):
    image, trimap = Array(np.zeros((4, 4), np.float32)), Array(np.zeros((4, 4), np.uint8))
    for options, words in (
        ({"solver": "amg"}, "solver must be auto, native or jacobi for arrays on a GPU, got 'am"),
        ({"window_radius": 2}, "window_radius 1 and no constraint_weight"),
        ({"constraint_weight": 100.0}, "window_radius 1 and no constraint_weight"),
        ({"epsilon": 0.0}, "epsilon must be finite"),
        ({"rtol": 2.0}, "rtol must lie between 0 and 1"),
        ({"prior": image, "prior_weight": -1.0}, "prior_weight must be finite and > 0"),
    ):
        with pytest.raises(ValueError, match=words):
            closed_form_matting(image, trimap, **options)
    with pytest.raises(ValueError, match="erosion must be finite and >= 0"):
        trimap_from_mask(trimap, erosion=-1.0)


def test_a_library_that_cannot_take_an_array_is_told(gpu, monkeypatch):
    monkeypatch.setattr(Array, "__module__", "unknownlib")
    with pytest.raises(TypeError, match="mask must be a CUDA array of torch, CuPy, numba"):
        trimap_from_mask(Array(np.zeros((4, 4), bool)))


def test_dlpack_is_read_and_kept():
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    told = _C.read_dlpack(values.__dlpack__())
    assert told["address"] == values.ctypes.data and told["shape"] == (2, 3)
    assert (told["code"], told["bits"], told["device"][0]) == (2, 32, 1)
    before = sys.getrefcount(values)
    capsule = _C.dlpack_capsule(values, values.ctypes.data, [6], 2, 32, 1, 0)
    assert sys.getrefcount(values) == before + 1
    assert _C.read_dlpack(capsule)["strides"] is None
    del capsule
    assert sys.getrefcount(values) == before
    with pytest.raises(TypeError, match="dltensor"):
        _C.read_dlpack(object())


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:-1", "CUDA", "cuda:x", "cuda0", 0, None])
def test_other_devices_are_refused(device):
    with pytest.raises(ValueError, match="device must be 'cpu', 'cuda', 'cuda:N' or 'auto', got"):
        label_batch([], [], device=device)


def test_a_device_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(_C, "cuda_device_count", lambda: 2)
    assert [engine.device_index(name) for name in ("cuda", "cuda:0", "cuda:1")] == [0, 0, 1]
    with pytest.raises(RuntimeError, match="there is no cuda:2: this machine has 2 CUDA devices"):
        engine.device_index("cuda:2")


@pytest.mark.skipif(has_device(), reason="there is a CUDA device")
def test_without_a_device_there_is_one_sentence():
    with pytest.raises(RuntimeError, match=r"^[^\n]+, or use device='cpu'$"):
        label_batch([], [], device="cuda")
    assert issubclass(_C.OutOfDeviceMemory, MemoryError)
