"""Trimaps and soft masks as torch operators, for use inside a (compiled) training step.

`trimap_from_mask`, `soft_mask` and `recist_soft_mask` of `torch.ops.dsnet` exist once this module
is imported. They run where their tensors are: on the CPU on torch's number of threads, on a CUDA
device on its current stream. Labels carry no gradient: none has a backward.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dsnet import _C
from dsnet.labeling import closed_form_matting
from dsnet.labeling import trimap_from_mask as _trimap_from_mask
from dsnet.labeling.arguments import as_radius, as_spacing
from dsnet.labeling.edge_model import native_network
from dsnet.labeling.gpu.batches import cut_on_device, trimap_on_device
from dsnet.labeling.matting.closed_form import DEFAULT_RTOL
from dsnet.labeling.prior import MASK_PRIOR_WEIGHT
from dsnet.labeling.recist import ordered_coordinates
from dsnet.labeling.soft_mask import PRIOR_WEIGHT

__all__ = ["recist_soft_mask", "soft_mask", "trimap_from_mask"]

BELOW_HALF = 0.49999997  # the float32 before one half
LARGEST_GREY = 16.0  # beyond it matting loses too many digits
_OPTIONS = "float? erosion=None, float? dilation=None, float[]? spacing=None"


def trimap_from_mask(
    mask: Tensor,
    erosion: float | None = None,
    dilation: float | None = None,
    spacing: tuple[float, float] | None = None,
) -> Tensor:
    """Trimaps of binary masks (strategy 1), as `dsnet.labeling.trimap_from_mask` tells.

    Parameters
    ----------
    mask : Tensor [N, H, W], bool or uint8
        Non-zero is lesion.
    erosion, dilation : float, optional
        Radii in pixels, or in mm where `spacing` is given.
    spacing : (row, column), optional
        Millimetres a pixel.

    Returns
    -------
    Tensor [N, H, W], uint8
        0 background, 128 unknown, 255 lesion; to the bit the same on every device.

    Raises
    ------
    TypeError, ValueError
        For another dtype or shape, or a radius or spacing that none can be.
    """
    return torch.ops.dsnet.trimap_from_mask(mask, erosion, dilation, spacing)


def soft_mask(
    image: Tensor,
    mask: Tensor,
    erosion: float | None = None,
    dilation: float | None = None,
    spacing: tuple[float, float] | None = None,
) -> Tensor:
    """Soft masks of binary masks (the paper's strategy 1): trimap, then closed-form matting.

    Parameters
    ----------
    image : Tensor [N, H, W], float32
        Grey values in 0..1.
    mask : Tensor [N, H, W], bool or uint8
        On the image's device.
    erosion, dilation, spacing
        As in `trimap_from_mask`.

    Returns
    -------
    Tensor [N, H, W], float32
        Alpha in 0..1 as `dsnet.labeling.label_mask` gives it, on the CPU to the bit, on a CUDA
        device within 1e-3; NaN all over an image that is not finite or
        has values beyond +-16.

    Raises
    ------
    TypeError, ValueError
        As in `trimap_from_mask`, and when the shapes or devices differ.
    """
    return torch.ops.dsnet.soft_mask(image, mask, erosion, dilation, spacing)


def recist_soft_mask(image: Tensor, coordinates: Tensor) -> Tensor:
    """Soft masks of RECIST marks (the paper's strategy 3): cut, trimap, closed-form matting.

    Parameters
    ----------
    image : Tensor [N, H, W], float32
        Grey values in 0..1, at least 3x3 pixels.
    coordinates : Tensor [N, 8], float64, on the CPU
        x1, y1, x2, y2 of one axis, then of the other, in the image's pixels.

    Returns
    -------
    Tensor [N, H, W], float32
        Alpha as `dsnet.labeling.label_recist` gives it, on a CUDA device within 1e-3 of that and
        on the same side of one half; NaN all over an image that holds NaN or values outside 0..1.

    Raises
    ------
    TypeError, ValueError
        For another dtype, shape or device, or a mark that is not finite or lies outside its image.
    """
    return torch.ops.dsnet.recist_soft_mask(image, coordinates)


def _check(tensor: Tensor, name: str, dtypes: tuple[torch.dtype, ...]) -> None:
    if tensor.dtype not in dtypes:
        allowed = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise TypeError(f"{name} must have dtype {allowed}, got {tensor.dtype}")
    if tensor.dim() != 3 or 0 in tensor.shape[1:]:
        raise ValueError(
            f"{name} must be [N, H, W] with H, W >= 1, got shape {tuple(tensor.shape)}"
        )


def _check_mask(mask: Tensor) -> None:
    _check(mask, "mask", (torch.bool, torch.uint8))


def _check_pair(image: Tensor, mask: Tensor) -> None:
    _check(image, "image", (torch.float32,))
    _check_mask(mask)
    if mask.shape != image.shape:
        raise ValueError(
            f"mask must have the shape of image {tuple(image.shape)}, got {tuple(mask.shape)}"
        )
    if mask.device != image.device:
        raise ValueError(f"mask must be on the device of image, {image.device}, got {mask.device}")


def _spacing(spacing: list[float] | None) -> tuple[float, float]:
    if spacing is None:
        return 1.0, 1.0
    if len(spacing) != 2:
        raise ValueError(f"spacing must be (row, column) in mm per pixel, got {spacing}")
    return spacing[0], spacing[1]


@torch.library.custom_op(
    "dsnet::trimap_from_mask",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor mask, {_OPTIONS}) -> Tensor",
)
def _trimap_op(mask, erosion=None, dilation=None, spacing=None):
    _check_mask(mask)
    masks = mask.contiguous().view(torch.uint8).numpy()
    threads = torch.get_num_threads()
    return torch.from_numpy(
        _C.trimap_batch(masks, erosion, dilation, *_spacing(spacing), threads=threads)
    )


@_trimap_op.register_kernel("cuda")
def _(mask, erosion=None, dilation=None, spacing=None):
    _check_mask(mask)
    return _trimap_from_mask(
        mask.contiguous(), erosion=erosion, dilation=dilation, spacing=_spacing(spacing)
    )


@_trimap_op.register_fake
def _(mask, erosion=None, dilation=None, spacing=None):
    _check_mask(mask)
    return mask.new_empty(mask.shape, dtype=torch.uint8)


@torch.library.custom_op(
    "dsnet::soft_mask",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor image, Tensor mask, {_OPTIONS}) -> Tensor",
)
def _soft_mask_op(image, mask, erosion=None, dilation=None, spacing=None):
    _check_pair(image, mask)
    images, threads = image.detach().contiguous().numpy(), torch.get_num_threads()
    masks = mask.contiguous().view(torch.uint8).numpy()
    trimaps = _trimap_op(mask, erosion, dilation, spacing).numpy()
    priors = _C.mask_prior(masks, trimaps, *_spacing(spacing), threads=threads)
    if min(images.shape[1:]) >= 3:
        alphas, converged = _C.matting_batch(
            images, trimaps, DEFAULT_RTOL, threads, priors, MASK_PRIOR_WEIGHT
        )
    else:  # the native solver has no windows there
        alphas = torch.full(image.shape, math.nan).numpy()
        converged = ~(image.abs() <= LARGEST_GREY).flatten(1).all(1).numpy()  # NaN is none
    for i in (~converged).nonzero()[0]:
        # The exact solvers take what conjugate gradients left, all but untied pixels.
        alphas[i], _ = closed_form_matting(
            images[i], trimaps[i], prior=priors[i], prior_weight=MASK_PRIOR_WEIGHT
        )
    return torch.from_numpy(alphas)


@_soft_mask_op.register_kernel("cuda")
def _(image, mask, erosion=None, dilation=None, spacing=None):
    _check_pair(image, mask)
    trimap, prior = trimap_on_device(
        mask.contiguous(),
        erosion=None if erosion is None else as_radius(erosion, "erosion"),
        dilation=None if dilation is None else as_radius(dilation, "dilation"),
        spacing=as_spacing(_spacing(spacing)),
        with_prior=True,
    )
    alpha, _ = closed_form_matting(
        image.detach().contiguous(), trimap, prior=prior, prior_weight=MASK_PRIOR_WEIGHT
    )
    return alpha


@_soft_mask_op.register_fake
def _(image, mask, erosion=None, dilation=None, spacing=None):
    _check_pair(image, mask)
    return image.new_empty(image.shape, dtype=torch.float32)


def _check_marks(image: Tensor, coordinates: Tensor) -> None:
    _check(image, "image", (torch.float32,))
    if 0 < min(image.shape[1:]) < 3:
        raise ValueError(f"image must have at least 3x3 pixels, got {tuple(image.shape[1:])}")
    if coordinates.dtype != torch.float64 or coordinates.device.type != "cpu":
        raise TypeError(
            f"coordinates must be float64 on the CPU, got {coordinates.dtype} on "
            f"{coordinates.device}"
        )
    if coordinates.shape != (len(image), 8):
        raise ValueError(
            f"coordinates must have shape [{len(image)}, 8], got {tuple(coordinates.shape)}"
        )


@torch.library.custom_op(
    "dsnet::recist_soft_mask",
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor image, Tensor coordinates) -> Tensor",
)
def _recist_op(image, coordinates):
    _check_marks(image, coordinates)
    images, marks = image.detach().contiguous().numpy(), ordered_coordinates(coordinates.numpy())
    _C.plan_cuts(marks, *images.shape[1:])  # raises for a mark that is of no use
    alphas, *_, states, _, _ = _C.label_batch(
        images, marks, native_network(), PRIOR_WEIGHT, DEFAULT_RTOL, torch.get_num_threads()
    )
    alphas[states[:, 0] != 0] = math.nan
    return torch.from_numpy(alphas)


@_recist_op.register_kernel("cuda")
def _(image, coordinates):
    _check_marks(image, coordinates)
    image = image.detach().contiguous()
    mask, trimap, prior = cut_on_device(image, ordered_coordinates(coordinates.numpy()))
    alpha, _ = closed_form_matting(image, trimap, prior=prior, prior_weight=PRIOR_WEIGHT)
    # Each pixel keeps the cut's side of one half.
    alpha = torch.where(mask, alpha.clamp(min=0.5), alpha.clamp(max=BELOW_HALF))
    usable = ((image >= -1e-3) & (image <= 1 + 1e-3)).flatten(1).all(1)
    return torch.where(usable[:, None, None], alpha, math.nan)


@_recist_op.register_fake
def _(image, coordinates):
    _check_marks(image, coordinates)
    return image.new_empty(image.shape, dtype=torch.float32)
