"""Trimaps and matting of arrays that are in a GPU's memory, and stay there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsnet import _C
from dsnet.labeling.arguments import as_radii
from dsnet.labeling.edge_model import native_network
from dsnet.labeling.gpu.arrays import DeviceArray, Maker, read, require_same
from dsnet.labeling.gpu.network import network_on_device

# Images that share workspace at a time where shared memory does not hold one.
_MOST_AT_A_TIME = 1024


class DeviceMattingInfo:
    """What a matting solve on a GPU did; it is fetched, and waited for, when first asked.

    For one image [H, W] the attributes are numbers, for a batch [N, H, W] arrays [N]; they mean
    what those of `MattingInfo` do.

    Attributes
    ----------
    solver : str
        "jacobi": conjugate gradients preconditioned by the diagonal.
    valid : bool
        False where the image is not finite or beyond +-16, the trimap has other values than 0,
        128, 255, or the prior is outside 0..1: alpha is NaN there.
    """

    solver = "jacobi"

    def __init__(self, results: DeviceArray, count: int | None) -> None:
        self._fetch: DeviceArray | None = results
        self._count = count
        self._results: Any = None

    @property
    def iterations(self) -> Any:
        """Conjugate gradient iterations."""
        return self._told("iterations")

    @property
    def residual(self) -> Any:
        """True relative residual before clipping."""
        return self._told("residual")

    @property
    def converged(self) -> Any:
        """Whether the residual is at most rtol, or at the level of rounding."""
        return self._told("converged") != 0

    @property
    def unknowns(self) -> Any:
        """Unknown pixels of the trimap."""
        return self._told("unknowns")

    @property
    def valid(self) -> Any:
        """Whether the arguments were usable."""
        return self._told("status") == 0

    def _told(self, name: str) -> Any:
        if self._fetch is not None:
            results = np.zeros(1 if self._count is None else self._count, _C.MATTING_RESULT)
            if results.size:
                there = self._fetch
                _C.cuda_read(results, there.address, there.device, there.stream)
            self._results = results[0] if self._count is None else results
            self._fetch = None
        return self._results[name]


def matting_on_device(
    image: Any,
    trimap: Any,
    *,
    prior: Any,
    prior_weight: float,
    epsilon: float,
    rtol: float,
    max_iterations: int,
) -> tuple[Any, DeviceMattingInfo]:
    """Closed-form matting of CUDA arrays [H, W] or [N, H, W] on the caller's stream."""
    images = read(image, "image", ("float32",))
    trimaps = read(trimap, "trimap", ("uint8",))
    require_same(trimaps, images)
    priors = None
    if prior is not None:
        priors = read(prior, "prior", ("float32",))
        require_same(priors, images)
        if not 0 < prior_weight < math.inf:
            raise ValueError(f"prior_weight must be finite and > 0, got {prior_weight!r}")
    many = len(images.shape) == 3
    count, rows, cols = shape = images.shape if many else (1, *images.shape)
    maker = Maker(image, images)
    alpha = maker.empty(images.shape, "float32")
    results = maker.empty((count, _C.MATTING_RESULT.itemsize), "uint8")
    if count:
        nbytes = _C.cuda_matting_workspace_bytes(count, rows, cols, images.device)
        batch = _C.MattingBatch(
            shape,
            images=images,
            trimaps=trimaps,
            priors=priors,
            alphas=alpha,
            results=results,
            workspace=maker.empty((nbytes,), "uint8"),
            prior_weight=0.0 if priors is None else float(prior_weight),
            epsilon=float(epsilon),
            rtol=float(rtol),
            max_iterations=int(max_iterations),
        )
        _C.cuda_matting(batch, images.device, images.stream)
    return maker.give(alpha), DeviceMattingInfo(results, count if many else None)


def trimap_on_device(
    mask: Any,
    *,
    erosion: float | None,
    dilation: float | None,
    spacing: tuple[float, float],
    core: Any = None,
    with_prior: bool = False,
) -> Any:
    """Strategy 1's trimaps of CUDA arrays [H, W] or [N, H, W] on the caller's stream.

    With `with_prior` a pair: trimaps, and priors as `dsnet.labeling.prior.mask_prior` gives them.
    """
    masks = read(mask, "mask", ("bool", "uint8"))
    cores = None
    if core is not None:
        cores = read(core, "core", ("bool", "uint8"))
        require_same(cores, masks)
    count = masks.shape[0] if len(masks.shape) == 3 else 1
    maker = Maker(mask, masks)
    out = maker.empty(masks.shape, "uint8")
    priors = maker.empty(masks.shape, "float32") if with_prior else None
    if count:
        radii = {
            name: maker.full((count,), (math.nan if radius is None else radius,), "float64")
            for name, radius in (("erosion", erosion), ("dilation", dilation))
        }
        _work("trimap_from_mask", maker, masks, out, radii, spacing, cores, priors)
    trimap = maker.give(out)
    return trimap if priors is None else (trimap, maker.give(priors))


def morphology_on_device(
    work: str, mask: Any, radii: dict[str, Any], spacing: tuple[float, float]
) -> Any:
    """`erode`, `dilate` or `split_trimap` of CUDA arrays [H, W] or [N, H, W], on their stream.

    Parameters
    ----------
    work : str
        One of these names.
    mask : bool or uint8 array on a CUDA device
    radii : dict
        By the names of the arguments; each one number, or one for each image.
    spacing : (row, column)
    """
    masks = read(mask, "mask", ("bool", "uint8"))
    count = masks.shape[0] if len(masks.shape) == 3 else None
    values = [as_radii(value, name, count) for name, value in radii.items()]
    maker = Maker(mask, masks)
    out = maker.empty(masks.shape, "uint8" if work == "split_trimap" else "bool")
    names = {"erode": ("erosion",), "dilate": ("dilation",)}.get(work, ("erosion", "dilation"))
    if count != 0:
        on_device = {n: maker.uploaded(each) for n, each in zip(names, values, strict=True)}
        _work(work, maker, masks, out, on_device, spacing)
    return maker.give(out)


def _work(
    work: str,
    maker: Maker,
    masks: DeviceArray,
    out: DeviceArray,
    radii: dict[str, DeviceArray],
    spacing: tuple[float, float],
    cores: DeviceArray | None = None,
    priors: DeviceArray | None = None,
) -> None:
    """Start work on masks."""
    count, rows, cols = shape = masks.shape if len(masks.shape) == 3 else (1, *masks.shape)
    square = spacing == (1.0, 1.0)
    each = _C.cuda_morphology_workspace_bytes(work, rows, cols, masks.device)
    batch = _C.MorphologyBatch(
        shape,
        masks=masks,
        cores=cores,
        **radii,
        spacing=None if square else maker.full((count, 2), spacing, "float64"),
        out=out,
        statuses=maker.empty((count,), "int32"),
        priors=priors,
        workspace=maker.empty((max(each * min(count, _MOST_AT_A_TIME), 1),), "uint8"),
    )
    _C.cuda_morphology(work, batch, masks.device, masks.stream)


def raters_on_device(
    masks: Any,
    *,
    erosion: float | None,
    dilation: float | None,
    spacing: tuple[float, float],
) -> Any:
    """Strategy 2's trimaps of CUDA arrays [R, H, W] or [N, R, H, W] on the caller's stream."""
    given = read(masks, "masks", ("bool", "uint8"), axes=("R", "H", "W"))
    count, _, rows, cols = shape = given.shape if len(given.shape) == 4 else (1, *given.shape)
    maker = Maker(masks, given)
    out = maker.empty((*given.shape[:-3], rows, cols), "uint8")
    if count:
        nbytes = _C.cuda_raters_workspace_bytes(count, rows, cols, _MOST_AT_A_TIME, given.device)
        batch = _C.RatersBatch(
            shape,
            masks=given,
            erosion=erosion,
            dilation=dilation,
            spacing=spacing,
            out=out,
            workspace=maker.empty((nbytes,), "uint8"),
        )
        _C.cuda_trimap_from_raters(batch, given.device, given.stream)
    return maker.give(out)


def cut_on_device(image: Any, coordinates: np.ndarray) -> tuple[Any, Any, Any]:
    """Strategy 3's cuts of a CUDA array [H, W] or [N, H, W] on the caller's stream.

    Parameters
    ----------
    image : float32 array on a CUDA device
        Grey values in 0..1.
    coordinates : float64 [1, 8] or [N, 8], in host memory
        Of marks that touch the image, the long axis first.

    Returns
    -------
    mask, trimap, prior : bool, uint8, float32
        As the image's library makes them: the cut, its trimap, and the cut's probabilities where
        that is unknown.
    """
    images = read(image, "image", ("float32",))
    count, rows, cols = shape = images.shape if len(images.shape) == 3 else (1, *images.shape)
    if len(coordinates) != count:
        raise ValueError(f"marks must be as many as images ({count}), got {len(coordinates)}")
    if rows < 3 or cols < 3:
        raise ValueError(f"image must have at least 3x3 pixels, got {rows}x{cols}")
    maker = Maker(image, images)
    mask, trimap, prior = (
        maker.empty(images.shape, dtype) for dtype in ("bool", "uint8", "float32")
    )
    if count:
        plans, seeds = (maker.uploaded(a) for a in _C.plan_cuts(coordinates, rows, cols))
        nbytes = _C.cuda_cut_workspace_bytes(count, rows, cols, images.device)
        batch = _C.CutBatch(
            shape,
            images=images,
            plans=plans,
            seeds=seeds,
            network=network_on_device(native_network(), images.device),
            masks=mask,
            trimaps=trimap,
            priors=prior,
            results=maker.empty((count, _C.CUT_RESULT.itemsize), "uint8"),
            workspace=maker.empty((nbytes,), "uint8"),
        )
        _C.cuda_cut(batch, images.device, images.stream)
    return tuple(maker.give(made) for made in (mask, trimap, prior))
