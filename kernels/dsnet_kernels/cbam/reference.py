"""CBAM in plain PyTorch: what the kernels compute, and what runs where they do not."""

from typing import Any

import torch
import torch.nn.functional as F

from ..launch import OptionalTensor, no_autocast
from ..norms import blend


def cbam_reference(
    x: torch.Tensor, fc1_weight: torch.Tensor, fc1_bias: OptionalTensor, fc2_weight: torch.Tensor,
    fc2_bias: OptionalTensor, conv_weight: torch.Tensor, conv_bias: OptionalTensor = None, *,
    norm_weight: OptionalTensor = None, norm_bias: OptionalTensor = None,
    running_mean: OptionalTensor = None, running_var: OptionalTensor = None,
    training: bool = False, momentum: float = 0.01, eps: float = 1e-5,
    residual: OptionalTensor = None, scale: OptionalTensor = None, shift: OptionalTensor = None,
) -> torch.Tensor:  # fmt: skip
    """`cbam` in plain PyTorch. Half precision is computed in float32 and rounded at the end."""
    dtype = torch.promote_types(x.dtype, torch.float32)

    def wide(tensor: OptionalTensor) -> Any:
        return None if tensor is None else tensor.to(dtype)

    with no_autocast(x):
        out = wide(x)
        if scale is not None:
            out = out * wide(scale)[:, None, None] + wide(shift)[:, None, None]

        def mlp(pooled):
            hidden = F.relu(F.linear(pooled, wide(fc1_weight), wide(fc1_bias)))
            return F.linear(hidden, wide(fc2_weight), wide(fc2_bias))

        peak = out.flatten(2).max(2)[0]
        gate = torch.sigmoid(mlp(out.mean((2, 3))) + mlp(peak))
        out = out * gate[:, :, None, None]
        maps = torch.cat([out.max(1, keepdim=True)[0], out.mean(1, keepdim=True)], 1)
        padding = conv_weight.shape[-1] // 2
        logit = F.conv2d(maps, wide(conv_weight), wide(conv_bias), padding=padding)
        if norm_weight is not None:
            mean, var = wide(running_mean), wide(running_var)
            if (training or running_mean is None) and logit.numel() > 0:
                var, mean = torch.var_mean(logit, correction=0)
                blend(running_mean, running_var, mean, var, logit.numel(), momentum)
            if mean is not None:
                logit = (logit - mean) * torch.rsqrt(var + eps)
            logit = logit * wide(norm_weight) + wide(norm_bias)
        out = out * torch.sigmoid(logit)
        if residual is not None:
            out = F.relu(out + wide(residual))
    return out.to(x.dtype)
