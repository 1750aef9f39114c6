"""Selective fusion in plain PyTorch: what the kernels compute, and what runs where they do not."""

from typing import Any

import torch
import torch.nn.functional as F

from ..launch import OptionalTensor, no_autocast
from ..norms import blend


def selective_fusion_reference(
    u: torch.Tensor, v: torch.Tensor, fc_weight: torch.Tensor, fc_bias: OptionalTensor,
    a_weight: torch.Tensor, a_bias: OptionalTensor, b_weight: torch.Tensor, b_bias: OptionalTensor,
    *, norm_weight: OptionalTensor = None, norm_bias: OptionalTensor = None,
    running_mean: OptionalTensor = None, running_var: OptionalTensor = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
    u_scale: OptionalTensor = None, u_shift: OptionalTensor = None,
    v_scale: OptionalTensor = None, v_shift: OptionalTensor = None, negative_slope: float = 0.01,
) -> torch.Tensor:  # fmt: skip
    """`selective_fusion` in plain PyTorch. Half precision is computed in float32."""
    dtype = torch.promote_types(torch.promote_types(u.dtype, v.dtype), torch.float32)

    def wide(tensor: OptionalTensor) -> Any:
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
            # The batch is looked at where it must be: an exported one is of any size.
            if (training or running_mean is None) and hidden.shape[0] > 0:
                var, mean = torch.var_mean(hidden, 0, correction=0)
                blend(running_mean, running_var, mean, var, hidden.shape[0], momentum)
            if mean is not None:
                hidden = (hidden - mean) * torch.rsqrt(var + eps)
            hidden = hidden * wide(norm_weight) + wide(norm_bias)
        hidden = F.relu(hidden)
        logit_a = F.linear(hidden, wide(a_weight), wide(a_bias))
        logit_b = F.linear(hidden, wide(b_weight), wide(b_bias))
        gate = torch.sigmoid(logit_a - logit_b)[:, :, None, None]
        out = gate * left + (1 - gate) * right
    return out.to(u.dtype)
