"""CBAM: the fused operator and the public function.

Woo, Park, Lee, Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018. Where the paper
and the authors' code differ, this follows the code: the maximum map comes before the mean, the
7x7 convolution has no bias, and a batch norm may follow it.
"""

from collections.abc import Iterable
from typing import Any, List

import torch

from ..launch import (
    NAMESPACE,
    OptionalTensor,
    Tile,
    check,
    empty_like_shape,
    is_channels_last,
    random_tensors,
    runs_kernels,
    warm_up,
)
from ..launches import Launches, pieces
from ..norms import in_kernels_reach, settle
from ..plans import Call, alone, dtypes_of, plan_of, typed
from ..transforms import each_of_batch, is_transformed, no_double_backward
from .backward import allocate_cbam_gradients, launch_cbam_backward
from .forward import CbamSaved, allocate_cbam, launch_cbam_forward, saved_by_cbam
from .reference import cbam_reference


@torch.library.custom_op(f"{NAMESPACE}::cbam", mutates_args=())
def cbam_op(
    x: torch.Tensor, w1: torch.Tensor, b1: OptionalTensor, w2: torch.Tensor, b2: OptionalTensor,
    conv_weight: torch.Tensor, conv_bias: OptionalTensor, norm_weight: OptionalTensor,
    norm_bias: OptionalTensor, running_mean: OptionalTensor, running_var: OptionalTensor,
    batch_stats: bool, eps: float, residual: OptionalTensor, scale: OptionalTensor,
    shift: OptionalTensor, momentum: float = 0.0,
) -> tuple[
    torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor,
    torch.Tensor, torch.Tensor,
]:  # fmt: skip
    """y and the seven tensors of `CbamSaved`."""
    y, saved = launch_cbam_forward(
        x, w1, b1, w2, b2, conv_weight, conv_bias, norm_weight, norm_bias, running_mean,
        running_var, batch_stats, eps, residual, scale, shift, momentum,
    )  # fmt: skip
    maps = saved.maps, saved.top, saved.logit, saved.stats
    return y, saved.pooled, saved.peak_index, saved.gate, *maps


@cbam_op.register_fake
def _(x, w1, b1, w2, b2, conv_weight, conv_bias, norm_weight, *rest):
    y, saved = allocate_cbam(x, norm_weight is not None)
    return y, *saved


@torch.library.custom_op(f"{NAMESPACE}::cbam_backward", mutates_args=())
def cbam_backward_op(
    dy: torch.Tensor, x: torch.Tensor, y: torch.Tensor, saved: List[torch.Tensor],
    w1: torch.Tensor, b1: OptionalTensor, w2: torch.Tensor, b2: OptionalTensor,
    conv_weight: torch.Tensor, conv_bias: OptionalTensor, norm_weight: OptionalTensor,
    batch_stats: bool, residual_dtype: torch.dtype | None, scale: OptionalTensor,
    shift: OptionalTensor,
) -> List[torch.Tensor]:  # fmt: skip
    """dx, dresidual, the prologue's two gradients and the eight parameters'."""
    return list(
        launch_cbam_backward(
            dy, x, y, CbamSaved(*saved), w1, b1, w2, b2, conv_weight, conv_bias, norm_weight,
            batch_stats, residual_dtype, scale, shift,
        )
    )  # fmt: skip


@cbam_backward_op.register_fake
def _(
    dy, x, y, saved, w1, b1, w2, b2, conv_weight, conv_bias, norm_weight, batch_stats,
    residual_dtype, scale, shift,
):  # fmt: skip
    norm = norm_weight is not None
    return list(allocate_cbam_gradients(x, w1, conv_weight, norm, residual_dtype, scale))


def _sorted(gradients, parameters, prologue, residual_dtype) -> tuple:
    """Gradients in the order of x, the eight parameters, residual, scale, shift."""
    dx, dresidual, dprologue, *rest = gradients
    folds = (None, None)
    if prologue[0] is not None:
        folds = typed(dprologue.unbind(), prologue)
    dresidual = None if residual_dtype is None else dresidual
    return dx, typed(rest, parameters), dresidual, folds


def _set_up_cbam(ctx, inputs, output):
    x, w1, b1, w2, b2, conv_weight, conv_bias, norm_weight, _, _, _, batch_stats, *rest = inputs
    _, residual, scale, shift, _ = rest
    y, *saved = output
    tensors = (w1, b1, w2, b2, conv_weight, conv_bias, norm_weight, scale, shift)
    # The output is needed only for the mask of the final ReLU.
    ctx.save_for_backward(x, y if residual is not None else x, *saved, *tensors)
    ctx.batch_stats = batch_stats
    ctx.residual_dtype = None if residual is None else residual.dtype
    ctx.parameters = dtypes_of(inputs[1:9])
    ctx.prologue = dtypes_of((scale, shift))
    ctx.mark_non_differentiable(*saved)
    ctx.set_materialize_grads(False)


def _backward_of_cbam(ctx, dy, *_):
    if dy is None:
        return (None,) * 17
    x, y, *rest = ctx.saved_tensors
    saved, (w1, b1, w2, b2, conv_weight, conv_bias, norm_weight, scale, shift) = rest[:7], rest[7:]
    found = cbam_backward_op(
        dy, x, y, saved, w1, b1, w2, b2, conv_weight, conv_bias, norm_weight, ctx.batch_stats,
        ctx.residual_dtype, scale, shift,
    )  # fmt: skip
    dx, parameters, dresidual, folds = _sorted(
        found, ctx.parameters, ctx.prologue, ctx.residual_dtype
    )
    return (dx, *parameters, None, None, None, None, dresidual, *folds, None)


cbam_op.register_autograd(_backward_of_cbam, setup_context=_set_up_cbam)
cbam_backward_op.register_autograd(no_double_backward("cbam"))
cbam_backward_op.register_vmap(each_of_batch(cbam_backward_op))


def _checked(
    x, fc1_weight, fc1_bias, fc2_weight, fc2_bias, conv_weight, conv_bias, norm_weight, norm_bias,
    running_mean, running_var, residual, scale, shift, *, training,
) -> bool:  # fmt: skip
    """Raise for arguments that do not fit; whether the batch's statistics are taken."""
    check("x", x, (-1, -1, -1, -1), x)
    n, c, h, w = x.shape
    if c * h * w == 0:
        raise ValueError(f"x must be empty in its batch alone, got shape {list(x.shape)}")
    check("fc1_weight", fc1_weight, (-1, c), x)
    r = fc1_weight.shape[0]
    check("fc1_bias", fc1_bias, (r,), x, optional=True)
    check("fc2_weight", fc2_weight, (c, r), x)
    check("fc2_bias", fc2_bias, (c,), x, optional=True)
    check("conv_weight", conv_weight, (1, 2, -1, -1), x)
    k = conv_weight.shape[-1]
    if conv_weight.shape[-2] != k or k % 2 == 0:
        raise ValueError(
            f"conv_weight must be square and of odd size, got shape {list(conv_weight.shape)}"
        )
    check("conv_bias", conv_bias, (1,), x, optional=True)
    check("norm_weight", norm_weight, (1,), x, optional=True)
    check("norm_bias", norm_bias, (1,), x, optional=norm_weight is None)
    check("running_mean", running_mean, (1,), x, optional=True)
    check("running_var", running_var, (1,), x, optional=running_mean is None)
    check("residual", residual, (n, c, h, w), x, optional=True)
    check("scale", scale, (c,), x, optional=True)
    check("shift", shift, (c,), x, optional=scale is None)
    batch_stats = norm_weight is not None and (training or running_mean is None)
    if batch_stats and n * h * w == 1:
        raise ValueError("x must have more than one pixel for batch statistics, got one")
    return batch_stats


def _kernels(x: torch.Tensor, residual: OptionalTensor) -> bool:
    return runs_kernels(x) and (residual is None or runs_kernels(residual))


class _CbamCall(Call):
    """Calls of `cbam` by plans."""

    kept = (True,) * 8 + (False,) * 4 + (True,) * 2

    def __init__(self, tensors: Any, batch_stats: bool, momentum: float, eps: float):
        x, *parameters, running_mean, running_var, residual, scale, shift = tensors
        self.batch_stats, self.momentum, self.eps = batch_stats, momentum, eps
        self.norm = parameters[6] is not None
        self.layout = pieces(*saved_by_cbam(x, self.norm))
        self.keeps_output = residual is not None
        self.parameters, self.prologue = dtypes_of(parameters), dtypes_of((scale, shift))
        self.residual_dtype = None if residual is None else residual.dtype
        self.blended = batch_stats and running_mean is not None and x.shape[0] > 0
        if self.blended and in_kernels_reach(running_mean, running_var):
            self.updated = (9, 10)

    def forward(self, launches, *tensors):
        x = tensors[0]
        y = launches.result(empty_like_shape(x, is_channels_last(x)))
        buffer = launches.result(torch.empty(self.layout.size, device=x.device))
        saved = CbamSaved(*launches.split(buffer, self.layout))
        given = [*tensors[:11], self.batch_stats, self.eps, *tensors[11:], self.momentum]
        launch_cbam_forward(*given, into=(y, saved), launches=launches, update=bool(self.updated))
        return [y, buffer]

    def settle(self, buffer, tensors):
        if self.blended and not self.updated:
            x, running_mean, running_var = tensors[0], *tensors[9:11]
            stats = CbamSaved(*self.layout.views(buffer)).stats
            _settle(running_mean, running_var, stats, x, self.momentum)

    def _given(self, launches, dy, y, buffer, x, *kept) -> list[Any]:
        """What the backward is given, as both ways to it take it."""
        saved = CbamSaved(*launches.split(buffer, self.layout))
        *parameters, _, _, _, _, scale, shift = kept
        head = [dy, x, x if y is None else y, saved, *parameters]
        return [*head, self.batch_stats, self.residual_dtype, scale, shift]

    def backward(self, launches, *given):
        _, _, _, x, w1, _, _, _, conv_weight, *_, scale, _ = given
        into = allocate_cbam_gradients(x, w1, conv_weight, self.norm, self.residual_dtype, scale)
        for tensor in into:
            launches.result(tensor)
        arguments = self._given(launches, *given)
        return list(launch_cbam_backward(*arguments, into=into, launches=launches))

    def operator(self, *given):
        dy, x, y, saved, *rest = self._given(Launches(), *given)
        return cbam_backward_op(dy, x, y, list(saved), *rest)

    def sorted(self, gradients):
        dx, parameters, dresidual, folds = _sorted(
            gradients, self.parameters, self.prologue, self.residual_dtype
        )
        return dx, *parameters, None, None, dresidual, *folds


def _call_of_cbam(tensors, training: bool, momentum: float, eps: float) -> Call | None:
    batch_stats = _checked(*tensors, training=training)
    if not _kernels(tensors[0], tensors[11]):
        return None
    return _CbamCall(tensors, batch_stats, momentum, eps)


def _settle(running_mean, running_var, stats, x, momentum) -> None:
    _, _, mean, _, var, new_mean, new_var = stats.unbind()
    count = x.numel() // x.shape[1]
    settle(running_mean, running_var, mean, var, new_mean, new_var, count, momentum)


def cbam(
    x: torch.Tensor,
    fc1_weight: torch.Tensor,
    fc1_bias: OptionalTensor,
    fc2_weight: torch.Tensor,
    fc2_bias: OptionalTensor,
    conv_weight: torch.Tensor,
    conv_bias: OptionalTensor = None,
    *,
    norm_weight: OptionalTensor = None,
    norm_bias: OptionalTensor = None,
    running_mean: OptionalTensor = None,
    running_var: OptionalTensor = None,
    training: bool = False,
    momentum: float = 0.01,
    eps: float = 1e-5,
    residual: OptionalTensor = None,
    scale: OptionalTensor = None,
    shift: OptionalTensor = None,
) -> torch.Tensor:
    """Convolutional block attention: a channel gate, then a spatial gate, each times x.

    With ``x' = x * sigmoid(MLP(avg x) + MLP(max x))`` the result is
    ``x' * sigmoid(norm(conv([max_c x', mean_c x'])))``, and ``relu(result + residual)`` where a
    residual is given. Sums and products are float32 whatever the dtype; the result has x's dtype
    and memory format. CUDA tensors in float32, float16 and bfloat16 run the Triton kernels,
    everything else, and more than 32767 channels or 2^30 pixels, runs
    `cbam_reference`, which also answers under `torch.func` and forward-mode differentiation.

    Parameters
    ----------
    x : Tensor [N, C, H, W]
        Contiguous or channels_last is walked where it lies; other layouts are copied.
    fc1_weight, fc1_bias : Tensor [R, C], Tensor [R] or None
    fc2_weight, fc2_bias : Tensor [C, R], Tensor [C] or None
        The MLP shared by both pools.
    conv_weight, conv_bias : Tensor [1, 2, K, K] with K odd, Tensor [1] or None
        The spatial gate's convolution over maximum and mean, in this order.
    norm_weight, norm_bias, running_mean, running_var : Tensor [1] or None
        Batch norm behind the convolution, on when `norm_weight` is given. As in
        `torch.nn.functional.batch_norm`, the batch's statistics are taken when `training` is
        set, and then blended into the running ones by `momentum`, or when there are no others.
    residual : Tensor [N, C, H, W] or None
        Epilogue: added, then ReLU.
    scale, shift : Tensor [C] or None
        Prologue: ``x * scale + shift`` is taken for x, computed while reading; for a batch norm
        that stands before.

    Returns
    -------
    Tensor [N, C, H, W]

    Raises
    ------
    ValueError
        For shapes or devices that do not fit.
    TypeError
        For missing or non-floating tensors.
    NotImplementedError
        From the kernels' second derivative.

    Notes
    -----
    A maximum's gradient goes to the first of equal values, as in torch.max(dim) and max pooling.
    """
    given = (
        x, fc1_weight, fc1_bias, fc2_weight, fc2_bias, conv_weight, conv_bias, norm_weight,
        norm_bias, running_mean, running_var, residual, scale, shift,
    )  # fmt: skip
    kernels = None
    if alone():
        options = bool(training), float(momentum), float(eps)
        plan = plan_of("cbam", given, options, _call_of_cbam)
        if plan is not None and plan.call is not None:
            return plan(given)
        kernels = None if plan is None else False
    if kernels is None:
        batch_stats = _checked(*given, training=training)
        kernels = not is_transformed(*given) and _kernels(x, residual)
        if kernels:
            y, *saved = cbam_op(*given[:11], batch_stats, eps, residual, scale, shift, momentum)
            if batch_stats and running_mean is not None and x.shape[0] > 0:
                _settle(running_mean, running_var, saved[-1], x, momentum)
            return y
    return cbam_reference(
        x, fc1_weight, fc1_bias, fc2_weight, fc2_bias, conv_weight, conv_bias,
        norm_weight=norm_weight, norm_bias=norm_bias, running_mean=running_mean,
        running_var=running_var, training=training, momentum=momentum, eps=eps,
        residual=residual, scale=scale, shift=shift,
    )  # fmt: skip


def warmup_cbam(
    shapes: Iterable[tuple[int, int, int, int]],
    *,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    reduction: int = 16,
    kernel_size: int = 7,
    bias: bool = True,
    norm: bool = False,
    residual: bool = False,
    prologue: bool = False,
    backward: bool = True,
    find_tile: bool = False,
    device: torch.device | str = "cuda",
) -> dict[Tile, float]:
    """Compile the kernels that these shapes need before the first step needs them.

    Parameters
    ----------
    shapes : iterable of (N, C, H, W)
    dtype, channels_last
        Of x; the parameters are float32.
    reduction, kernel_size, bias, norm, residual, prologue
        Which of `cbam`'s variants: hidden units ``max(1, C // reduction)``, size of the spatial
        convolution, biases in the MLP, batch norm in the spatial gate, epilogue, prologue.
    backward : bool
        The gradients' kernels as well.
    find_tile : bool
        Time each of the few tiles over all shapes together and use the fastest for this memory
        format from now on in this process.
    device
        A CUDA device.

    Returns
    -------
    dict of Tile to float
        Milliseconds for all shapes together with each tile; empty without `find_tile`.

    Raises
    ------
    ValueError
        For a device that runs no kernels.
    """
    image, weight = random_tensors(dtype, channels_last, device, backward)
    calls = []
    for n, c, h, w in shapes:
        r = max(1, c // reduction)
        given: dict[str, Any] = {
            "x": image(n, c, h, w),
            "fc1_weight": weight(r, c),
            "fc1_bias": weight(r) if bias else None,
            "fc2_weight": weight(c, r),
            "fc2_bias": weight(c) if bias else None,
            "conv_weight": weight(1, 2, kernel_size, kernel_size),
        }
        if residual:
            given["residual"] = image(n, c, h, w)
        if norm:
            given |= {"norm_weight": weight(1), "norm_bias": weight(1), "training": True}
        if prologue:
            given |= {"scale": weight(c), "shift": weight(c)}
        calls.append(given)
    return warm_up(cbam, calls, channels_last=channels_last, backward=backward, find_tile=find_tile)
