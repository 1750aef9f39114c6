"""Selective fusion: the fused operator and the public function.

Li, Wang, Hu, Yang, "Selective Kernel Networks", CVPR 2019, equations 1 to 6, for two branches:
the context u and the detail v are weighed against each other, a channel at a time.
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
from .backward import allocate_fusion_gradients, launch_fusion_backward
from .forward import FusionSaved, allocate_fusion, launch_fusion_forward, saved_by_fusion
from .reference import selective_fusion_reference


@torch.library.custom_op(f"{NAMESPACE}::selective_fusion", mutates_args=())
def selective_fusion_op(
    u: torch.Tensor, v: torch.Tensor, fc_weight: torch.Tensor, fc_bias: OptionalTensor,
    a_weight: torch.Tensor, a_bias: OptionalTensor, b_weight: torch.Tensor, b_bias: OptionalTensor,
    norm_weight: OptionalTensor, norm_bias: OptionalTensor, running_mean: OptionalTensor,
    running_var: OptionalTensor, batch_stats: bool, eps: float, u_scale: OptionalTensor,
    u_shift: OptionalTensor, v_scale: OptionalTensor, v_shift: OptionalTensor,
    negative_slope: float, momentum: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """out and the four tensors of `FusionSaved`."""
    out, saved = launch_fusion_forward(
        u, v, fc_weight, fc_bias, a_weight, a_bias, b_weight, b_bias, norm_weight, norm_bias,
        running_mean, running_var, batch_stats, eps, u_scale, u_shift, v_scale, v_shift,
        negative_slope, momentum,
    )  # fmt: skip
    return out, saved.pooled, saved.hidden, saved.gate, saved.stats


@selective_fusion_op.register_fake
def _(u, v, fc_weight, fc_bias, a_weight, a_bias, b_weight, b_bias, norm_weight, *rest):
    out, saved = allocate_fusion(u, fc_weight, norm_weight is not None)
    return out, *saved


@torch.library.custom_op(f"{NAMESPACE}::selective_fusion_backward", mutates_args=())
def selective_fusion_backward_op(
    dout: torch.Tensor, u: torch.Tensor, v: torch.Tensor, saved: List[torch.Tensor],
    fc_weight: torch.Tensor, a_weight: torch.Tensor, b_weight: torch.Tensor,
    norm_weight: OptionalTensor, norm_bias: OptionalTensor, batch_stats: bool,
    u_scale: OptionalTensor, u_shift: OptionalTensor, v_scale: OptionalTensor,
    v_shift: OptionalTensor, negative_slope: float,
) -> List[torch.Tensor]:  # fmt: skip
    """du, dv, the prologues' four gradients and the eight parameters'."""
    return list(
        launch_fusion_backward(
            dout, u, v, FusionSaved(*saved), fc_weight, a_weight, b_weight, norm_weight, norm_bias,
            batch_stats, u_scale, u_shift, v_scale, v_shift, negative_slope,
        )
    )  # fmt: skip


@selective_fusion_backward_op.register_fake
def _(
    dout, u, v, saved, fc_weight, a_weight, b_weight, norm_weight, norm_bias, batch_stats,
    u_scale, u_shift, v_scale, v_shift, negative_slope,
):  # fmt: skip
    prologue = u_scale is not None or v_scale is not None
    return list(allocate_fusion_gradients(u, v, fc_weight, norm_weight is not None, prologue))


def _sorted(gradients, parameters, prologue) -> tuple:
    """Gradients in the order of u, v, the eight parameters, the prologues."""
    du, dv, dprologue, *rest = gradients
    folds = (None,) * 4
    if any(dtype is not None for dtype in prologue):
        folds = typed(dprologue.unbind(), prologue)
    return du, dv, typed(rest, parameters), folds


def _set_up_fusion(ctx, inputs, output):
    u, v, *parameters = inputs[:10]
    batch_stats, _, *prologue, slope, _ = inputs[12:]
    fc_weight, _, a_weight, _, b_weight, _, norm_weight, norm_bias = parameters
    _, *saved = output
    weights = (fc_weight, a_weight, b_weight, norm_weight, norm_bias)
    ctx.save_for_backward(u, v, *saved, *weights, *prologue)
    ctx.batch_stats, ctx.negative_slope = batch_stats, slope
    ctx.parameters, ctx.prologue = dtypes_of(parameters), dtypes_of(prologue)
    ctx.mark_non_differentiable(*saved)
    ctx.set_materialize_grads(False)


def _backward_of_fusion(ctx, dout, *_):
    if dout is None:
        return (None,) * 20
    u, v, *rest = ctx.saved_tensors
    saved, weights, prologue = rest[:4], rest[4:9], rest[9:]
    found = selective_fusion_backward_op(
        dout, u, v, saved, *weights, ctx.batch_stats, *prologue, ctx.negative_slope
    )
    du, dv, parameters, folds = _sorted(found, ctx.parameters, ctx.prologue)
    return (du, dv, *parameters, None, None, None, None, *folds, None, None)


selective_fusion_op.register_autograd(_backward_of_fusion, setup_context=_set_up_fusion)
selective_fusion_backward_op.register_autograd(no_double_backward("selective_fusion"))
selective_fusion_backward_op.register_vmap(each_of_batch(selective_fusion_backward_op))


def _checked(
    u, v, fc_weight, fc_bias, a_weight, a_bias, b_weight, b_bias, norm_weight, norm_bias,
    running_mean, running_var, u_scale, u_shift, v_scale, v_shift, *, training,
) -> bool:  # fmt: skip
    """Raise for arguments that do not fit; whether the batch's statistics are taken."""
    check("u", u, (-1, -1, -1, -1), u)
    n, c, h, w = u.shape
    if c * h * w == 0:
        raise ValueError(f"u must be empty in its batch alone, got shape {list(u.shape)}")
    check("v", v, (n, c, h, w), u)
    check("fc_weight", fc_weight, (-1, c), u)
    d = fc_weight.shape[0]
    check("fc_bias", fc_bias, (d,), u, optional=True)
    for name, weight, bias in (("a", a_weight, a_bias), ("b", b_weight, b_bias)):
        check(f"{name}_weight", weight, (c, d), u)
        check(f"{name}_bias", bias, (c,), u, optional=True)
    check("norm_weight", norm_weight, (d,), u, optional=True)
    check("norm_bias", norm_bias, (d,), u, optional=norm_weight is None)
    check("running_mean", running_mean, (d,), u, optional=True)
    check("running_var", running_var, (d,), u, optional=running_mean is None)
    for name, scale, shift in (("u", u_scale, u_shift), ("v", v_scale, v_shift)):
        check(f"{name}_scale", scale, (c,), u, optional=True)
        check(f"{name}_shift", shift, (c,), u, optional=scale is None)
    batch_stats = norm_weight is not None and (training or running_mean is None)
    if batch_stats and n == 1:
        raise ValueError("u must have more than one sample for batch statistics, got one")
    return batch_stats


class _FusionCall(Call):
    """Calls of `selective_fusion` by plans."""

    # All but the biases of the layers and the running statistics.
    kept = (True,) * 3 + (False, True) * 2 + (False,) + (True,) * 2 + (False,) * 2 + (True,) * 4

    def __init__(self, tensors: Any, batch_stats: bool, momentum: float, eps: float, slope: float):
        u, _, *parameters = tensors[:10]
        running_mean, running_var, *prologue = tensors[10:]
        self.batch_stats, self.momentum, self.eps, self.slope = batch_stats, momentum, eps, slope
        self.norm = parameters[6] is not None
        self.layout = pieces(*saved_by_fusion(u, parameters[0], self.norm))
        self.parameters, self.prologue = dtypes_of(parameters), dtypes_of(prologue)
        self.blended = batch_stats and running_mean is not None and u.shape[0] > 0
        if self.blended and in_kernels_reach(running_mean, running_var):
            self.updated = (10, 11)

    def forward(self, launches, *tensors):
        u = tensors[0]
        out = launches.result(empty_like_shape(u, is_channels_last(u)))
        buffer = launches.result(torch.empty(self.layout.size, device=u.device))
        saved = FusionSaved(*launches.split(buffer, self.layout))
        scalars = self.slope, self.momentum
        given = [*tensors[:12], self.batch_stats, self.eps, *tensors[12:], *scalars]
        launch_fusion_forward(
            *given, into=(out, saved), launches=launches, update=bool(self.updated)
        )
        return [out, buffer]

    def settle(self, buffer, tensors):
        if self.blended and not self.updated:
            stats = FusionSaved(*self.layout.views(buffer)).stats
            _settle(tensors[10], tensors[11], stats, tensors[0], self.momentum)

    def _given(self, launches, dout, _, buffer, u, v, fc_weight, *kept) -> list[Any]:
        """What the backward is given, as both ways to it take it."""
        saved = FusionSaved(*launches.split(buffer, self.layout))
        _, a_weight, _, b_weight, _, norm_weight, norm_bias, _, _, *prologue = kept
        weights = fc_weight, a_weight, b_weight, norm_weight, norm_bias
        return [dout, u, v, saved, *weights, self.batch_stats, *prologue, self.slope]

    def backward(self, launches, *given):
        _, _, _, u, v, fc_weight, *_ = given
        prologue = any(dtype is not None for dtype in self.prologue)
        into = allocate_fusion_gradients(u, v, fc_weight, self.norm, prologue)
        for tensor in into:
            launches.result(tensor)
        arguments = self._given(launches, *given)
        return list(launch_fusion_backward(*arguments, into=into, launches=launches))

    def operator(self, *given):
        dout, u, v, saved, *rest = self._given(Launches(), *given)
        return selective_fusion_backward_op(dout, u, v, list(saved), *rest)

    def sorted(self, gradients):
        du, dv, parameters, folds = _sorted(gradients, self.parameters, self.prologue)
        return du, dv, *parameters, None, None, *folds


def _call_of_fusion(tensors, training: bool, momentum: float, eps: float, slope: float):
    batch_stats = _checked(*tensors, training=training)
    if not (runs_kernels(tensors[0]) and runs_kernels(tensors[1])):
        return None
    return _FusionCall(tensors, batch_stats, momentum, eps, slope)


def _settle(running_mean, running_var, stats, u, momentum) -> None:
    mean, _, var, new_mean, new_var = stats.unbind()
    settle(running_mean, running_var, mean, var, new_mean, new_var, u.shape[0], momentum)


def selective_fusion(
    u: torch.Tensor,
    v: torch.Tensor,
    fc_weight: torch.Tensor,
    fc_bias: OptionalTensor,
    a_weight: torch.Tensor,
    a_bias: OptionalTensor,
    b_weight: torch.Tensor,
    b_bias: OptionalTensor,
    *,
    norm_weight: OptionalTensor = None,
    norm_bias: OptionalTensor = None,
    running_mean: OptionalTensor = None,
    running_var: OptionalTensor = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    u_scale: OptionalTensor = None,
    u_shift: OptionalTensor = None,
    v_scale: OptionalTensor = None,
    v_shift: OptionalTensor = None,
    negative_slope: float = 0.01,
) -> torch.Tensor:
    """Weigh two branches against each other, a channel at a time: ``a * u + (1 - a) * v``.

    ``z = relu(norm(fc(mean_p(u + v))))`` and a is the first of the softmax over the two logits
    ``fc_a(z)`` and ``fc_b(z)``, that is the sigmoid of their difference. Sums and products are
    float32 whatever the dtype; the result has u's dtype and memory format. CUDA tensors in
    float32, float16 and bfloat16 run the Triton kernels, everything else, and more than 32767
    channels or 2^30 pixels, runs `selective_fusion_reference`, which also answers under
    `torch.func` and forward-mode differentiation.

    Parameters
    ----------
    u, v : Tensor [N, C, H, W]
        Contiguous or channels_last is walked where it lies; other layouts, and v where its
        layout is not u's, are copied.
    fc_weight, fc_bias : Tensor [D, C], Tensor [D] or None
    a_weight, a_bias : Tensor [C, D], Tensor [C] or None
        Of u's logit.
    b_weight, b_bias : Tensor [C, D], Tensor [C] or None
        Of v's logit.
    norm_weight, norm_bias, running_mean, running_var : Tensor [D] or None
        Batch norm behind the first layer, on when `norm_weight` is given. As in
        `torch.nn.functional.batch_norm`, the batch's statistics are taken when `training` is
        set, and then blended into the running ones by `momentum`, or when there are no others.
    u_scale, u_shift, v_scale, v_shift : Tensor [C] or None
        Prologue of either branch: ``leaky_relu(u * u_scale + u_shift, negative_slope)`` is taken
        for u, computed while reading; for a batch norm and an activation that stand before.

    Returns
    -------
    Tensor [N, C, H, W]

    Raises
    ------
    ValueError
        For shapes or devices that do not fit, and for batch statistics of a single sample.
    TypeError
        For missing or non-floating tensors.
    NotImplementedError
        From the kernels' second derivative.
    """
    given = (
        u, v, fc_weight, fc_bias, a_weight, a_bias, b_weight, b_bias, norm_weight, norm_bias,
        running_mean, running_var, u_scale, u_shift, v_scale, v_shift,
    )  # fmt: skip
    kernels = None
    if alone():
        options = bool(training), float(momentum), float(eps), float(negative_slope)
        plan = plan_of("selective_fusion", given, options, _call_of_fusion)
        if plan is not None and plan.call is not None:
            return plan(given)
        kernels = None if plan is None else False
    if kernels is None:
        batch_stats = _checked(*given, training=training)
        kernels = not is_transformed(*given) and runs_kernels(u) and runs_kernels(v)
        if kernels:
            out, *saved = selective_fusion_op(
                *given[:12], batch_stats, eps, *given[12:], negative_slope, momentum
            )
            if batch_stats and running_mean is not None and u.shape[0] > 0:
                _settle(running_mean, running_var, saved[-1], u, momentum)
            return out
    return selective_fusion_reference(
        u, v, fc_weight, fc_bias, a_weight, a_bias, b_weight, b_bias,
        norm_weight=norm_weight, norm_bias=norm_bias, running_mean=running_mean,
        running_var=running_var, training=training, momentum=momentum, eps=eps,
        u_scale=u_scale, u_shift=u_shift, v_scale=v_scale, v_shift=v_shift,
        negative_slope=negative_slope,
    )  # fmt: skip


def warmup_selective_fusion(
    shapes: Iterable[tuple[int, int, int, int]],
    *,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    hidden: int | None = None,
    bias: bool = False,
    norm: bool = True,
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
        Of u and v; the parameters are float32.
    hidden, bias, norm, prologue
        Which of `selective_fusion`'s variants: hidden units (None: ``max(C // 16, 32)``), biases
        in all layers, batch norm (by running statistics where N is 1), prologues of both branches.
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
        d = max(c // 16, 32) if hidden is None else hidden
        given: dict[str, Any] = {"u": image(n, c, h, w), "v": image(n, c, h, w)}
        for name, sizes in (("fc", (d, c)), ("a", (c, d)), ("b", (c, d))):
            given[f"{name}_weight"] = weight(*sizes)
            given[f"{name}_bias"] = weight(sizes[0]) if bias else None
        if norm:
            given |= {"norm_weight": weight(d), "norm_bias": weight(d), "training": n > 1}
            if n == 1:
                given["running_mean"] = torch.zeros(d, device=device)
                given["running_var"] = torch.ones(d, device=device)
        if prologue:
            given |= {name: weight(c) for name in ("u_scale", "u_shift", "v_scale", "v_shift")}
        calls.append(given)
    return warm_up(
        selective_fusion, calls, channels_last=channels_last, backward=backward,
        find_tile=find_tile,
    )  # fmt: skip
