"""Trimaps and matting of arrays that are in a GPU's memory, and stay there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dsnet import _C
from dsnet.labeling.arguments import as_radii
from dsnet.labeling.edge_model import native_network
from dsnet.labeling.gpu.arrays import Maker, address_of, read, require_same

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
    many = len(masks.shape) == 3
    count, rows, cols = masks.shape if many else (1, *masks.shape)
    values = [as_radii(value, name, count if many else None) for name, value in radii.items()]
    maker, device = Maker(mask, masks), masks.device
    out = maker.empty(masks.shape, "uint8" if work == "split_trimap" else "bool")
    if count:
        on_device = [maker.uploaded(each) for each in values]
        at = [address_of(each) for each in on_device]
        erosion, dilation = {"erode": (at[0], 0), "dilate": (0, at[0])}.get(work, tuple(at))
        square = spacing == (1.0, 1.0)
        steps = None if square else maker.full((count, 2), spacing, "float64")
        statuses = maker.empty((count,), "int32")
        each = getattr(_C, f"cuda_{work}_workspace_bytes")(rows, cols, device)
        nbytes = each * min(count, _MOST_AT_A_TIME)
        workspace = maker.empty((max(nbytes, 1),), "uint8")
        getattr(_C, f"cuda_{work}")(
            masks.address, 0, erosion, dilation, 0 if steps is None else address_of(steps),
            address_of(out), address_of(statuses), count, rows, cols, address_of(workspace), nbytes,
            device, masks.stream,
        )  # fmt: skip
    return maker.give(out)


def raters_on_device(
    masks: Any,
    *,
    erosion: float | None,
    dilation: float | None,
    spacing: tuple[float, float],
) -> Any:
    """Strategy 2's trimaps of CUDA arrays [R, H, W] or [N, R, H, W] on the caller's stream."""
    given = read(masks, "masks", ("bool", "uint8"), axes=("R", "H", "W"))
    count, raters, rows, cols = (1, *given.shape) if len(given.shape) == 3 else given.shape
    device = given.device
    band = [math.nan if radius is None else radius for radius in (erosion, dilation)]
    maker = Maker(masks, given)
    out = maker.empty((*given.shape[:-3], rows, cols), "uint8")
    if count:
        nbytes = _C.cuda_raters_workspace_bytes(count, rows, cols, _MOST_AT_A_TIME, device)
        workspace = maker.empty((nbytes,), "uint8")
        _C.cuda_trimap_from_raters(
            given.address, *band, spacing, address_of(out), count, raters, rows, cols,
            address_of(workspace), nbytes, device, given.stream,
        )  # fmt: skip
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
    count, rows, cols = (1, *images.shape) if len(images.shape) == 2 else images.shape
    if len(coordinates) != count:
        raise ValueError(f"marks must be as many as images ({count}), got {len(coordinates)}")
    if rows < 3 or cols < 3:
        raise ValueError(f"image must have at least 3x3 pixels, got {rows}x{cols}")
    maker, device = Maker(image, images), images.device
    mask, trimap, prior = (
        maker.empty(images.shape, dtype) for dtype in ("bool", "uint8", "float32")
    )
    if count:
        up = [maker.uploaded(a) for a in _C.plan_cuts(coordinates, rows, cols)]
        results = maker.empty((count, _C.CUT_RESULT.itemsize), "uint8")
        nbytes = _C.cuda_cut_workspace_bytes(count, rows, cols, device)
        workspace = maker.empty((nbytes,), "uint8")
        _C.cuda_cut(
            images.address, *map(address_of, up), native_network(), address_of(mask),
            address_of(trimap), address_of(prior), address_of(results), count, rows, cols,
            address_of(workspace), nbytes, device, images.stream,
        )  # fmt: skip
    return tuple(maker.give(made) for made in (mask, trimap, prior))
