"""Selective fusion: the reference in plain PyTorch, the fused operator and the public function.

Li, Wang, Hu, Yang, "Selective Kernel Networks", CVPR 2019, equations 1 to 6, for two branches:
the context u and the detail v are weighed against each other, a channel at a time.
"""

import torch
import torch.nn.functional as F

from .launch import blend, check, no_autocast

OptionalTensor = torch.Tensor | None


def selective_fusion_reference(
    u, v, fc_weight, fc_bias, a_weight, a_bias, b_weight, b_bias, *,
    norm_weight=None, norm_bias=None, running_mean=None, running_var=None,
    training=False, momentum=0.1, eps=1e-5, u_scale=None, u_shift=None, v_scale=None,
    v_shift=None, negative_slope=0.01,
) -> torch.Tensor:  # fmt: skip
    """`selective_fusion` in plain PyTorch. Half precision is computed in float32."""
    dtype = torch.promote_types(torch.promote_types(u.dtype, v.dtype), torch.float32)

    def wide(tensor):
        return None if tensor is None else tensor.to(dtype)

    def branch(x, scale, shift):
        if scale is None:
            return wide(x)
        x = wide(x) * wide(scale)[:, None, None] + wide(shift)[:, None, None]
        return F.leaky_relu(x, negative_slope)

    with no_autocast(u):
        left, right = branch(u, u_scale, u_shift), branch(v, v_scale, v_shift)
        hidden = F.linear((left + right).mean((2, 3)), wide(fc_weight), wide(fc_bias))
        if norm_weight is not None:
            mean, var = wide(running_mean), wide(running_var)
            if len(hidden) > 0 and (training or running_mean is None):
                var, mean = torch.var_mean(hidden, 0, correction=0)
                blend(running_mean, running_var, mean, var, len(hidden), momentum)
            if mean is not None:
                hidden = (hidden - mean) * torch.rsqrt(var + eps)
            hidden = hidden * wide(norm_weight) + wide(norm_bias)
        hidden = F.relu(hidden)
        logit_a = F.linear(hidden, wide(a_weight), wide(a_bias))
        logit_b = F.linear(hidden, wide(b_weight), wide(b_bias))
        gate = torch.sigmoid(logit_a - logit_b)[:, :, None, None]
        out = gate * left + (1 - gate) * right
    return out.to(u.dtype)


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
    float32 whatever the dtype; the result has u's dtype and memory format.

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
    """
    check("u", u, (-1, -1, -1, -1), u)
    n, c, h, w = u.shape
    if c * h * w == 0:
        raise ValueError(f"u has shape {list(u.shape)}; only the batch may be empty")
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
        raise ValueError("batch statistics need more than one sample; u has one")
    return selective_fusion_reference(
        u, v, fc_weight, fc_bias, a_weight, a_bias, b_weight, b_bias,
        norm_weight=norm_weight, norm_bias=norm_bias, running_mean=running_mean,
        running_var=running_var, training=training, momentum=momentum, eps=eps,
        u_scale=u_scale, u_shift=u_shift, v_scale=v_scale, v_shift=v_shift,
        negative_slope=negative_slope,
    )  # fmt: skip
