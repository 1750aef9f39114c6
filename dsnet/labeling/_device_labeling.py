"""Trimaps and matting of arrays that are in a GPU's memory, and stay there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsnet import _C
from dsnet.labeling._device_arrays import Maker, address_of, read, require_same

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

    def __init__(self, results: Any, address: int, count: int | None, device: int, stream: int):
        self._fetch = (results, address, count, device, stream)
        self._results: np.ndarray | None = None

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
        if self._results is None:
            _, address, count, device, stream = self._fetch
            results = np.zeros(1 if count is None else count, _C.MATTING_RESULT)
            if results.size:
                _C.cuda_read(results, address, device, stream)
            self._results = results[0] if count is None else results
            self._fetch = (None, 0, count, device, stream)
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
    count, rows, cols = (1, *images.shape) if len(images.shape) == 2 else images.shape
    device, stream = images.device, images.stream
    maker = Maker(image, images)
    alpha = maker.empty(images.shape, "float32")
    results = maker.empty((count, _C.MATTING_RESULT.itemsize), "uint8")
    if count:
        nbytes = _C.cuda_matting_workspace_bytes(count, rows, cols, device)
        workspace = maker.empty((nbytes,), "uint8")
        _C.cuda_matting(
            images.address, trimaps.address, 0 if priors is None else priors.address,
            address_of(alpha), address_of(results), count, rows, cols,
            0.0 if priors is None else float(prior_weight), float(epsilon), float(rtol),
            int(max_iterations), address_of(workspace), nbytes, device, stream,
        )  # fmt: skip
    many = None if len(images.shape) == 2 else count
    address = address_of(results) if count else 0
    return maker.give(alpha), DeviceMattingInfo(results, address, many, device, stream)


def trimap_on_device(
    mask: Any,
    *,
    erosion: float | None,
    dilation: float | None,
    spacing: tuple[float, float],
    core: Any,
) -> Any:
    """Strategy 1's trimaps of CUDA arrays [H, W] or [N, H, W] on the caller's stream."""
    masks = read(mask, "mask", ("bool", "uint8"))
    cores = None
    if core is not None:
        cores = read(core, "core", ("bool", "uint8"))
        require_same(cores, masks)
    count, rows, cols = (1, *masks.shape) if len(masks.shape) == 2 else masks.shape
    device = masks.device
    maker = Maker(mask, masks)
    out = maker.empty(masks.shape, "uint8")
    if count:
        radii = [
            maker.full((count,), (math.nan if radius is None else radius,), "float64")
            for radius in (erosion, dilation)
        ]
        square = spacing == (1.0, 1.0)
        steps = None if square else maker.full((count, 2), spacing, "float64")
        statuses = maker.empty((count,), "int32")
        each = _C.cuda_trimap_from_mask_workspace_bytes(rows, cols, device)
        nbytes = each * min(count, _MOST_AT_A_TIME)
        workspace = maker.empty((max(nbytes, 1),), "uint8")
        _C.cuda_trimap_from_mask(
            masks.address, 0 if cores is None else cores.address, *map(address_of, radii),
            0 if steps is None else address_of(steps), address_of(out), address_of(statuses),
            count, rows, cols, address_of(workspace), nbytes, device, masks.stream,
        )  # fmt: skip
    return maker.give(out)
